"""Who stopped logging: what the records of proven log files say of the trail itself, held against its chains' gaps.

Rules:

* Only records of log files that are as delivered count: ``read_log_file`` looks after it has proven the content.
* A record explains the gap of a trail only from where that trail's calls are recorded: the home region of its account.
  Another account, or another region, may have a trail of the same name, and its owner may stop it when it suits him.
* The calls that change a trail are recorded in its home region: no other region's log files are looked through.
  They are few; a search for their event source comes first, which costs a third of what the hash costs.
* However large the log file, a few pieces of it are held, or a record.
* A chain that ends and begins anew without a call that explains it is suspicious.  Unless the home region's log files
  were not read (all of them, or some of that time), or the record would stand in the last digest before the gap, whose
  signature a copy has lost: then nothing is said but that.

CloudTrail user guide, "CloudTrail record contents"; the calls are those of CloudTrail's API reference.
"""

from __future__ import annotations

import json
from codecs import getincrementaldecoder
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from opentrail.core.errors import FormatError
from opentrail.core.events import format_time
from opentrail.core.findings import Finding, FindingCode, found
from opentrail.core.layout import Folder, TrailFolder, digest_prefix, parse_digest_key, parse_log_key
from opentrail.core.log_folder import Hole

EVENT_SOURCE: Final = b"cloudtrail.amazonaws.com"

_CHANGING: Final = frozenset(
    {
        "StopLogging",
        "DeleteTrail",
        "UpdateTrail",
        "StartLogging",
        "CreateTrail",
        "PutEventSelectors",
        "PutInsightSelectors",
    }
)
_MOVING: Final = ("s3BucketName", "s3KeyPrefix", "isMultiRegionTrail", "isOrganizationTrail")  # of an UpdateTrail
_NAMES: Final = tuple(f'"{name}"'.encode() for name in sorted(_CHANGING))
_PIECE: Final = 256 * 1024
_BLOCK: Final = 64 * 1024
_LONGEST_RECORD: Final = 4 * 1024 * 1024  # characters: sixteen times what CloudTrail puts into one
_MOST_STOPS: Final = 10_000  # kept to explain gaps with; the oldest are forgotten
_HOUR: Final = timedelta(hours=1)
_UNREAD: Final = frozenset(
    {FindingCode.DIGEST_UNREACHABLE, FindingCode.FOLDER_UNREACHABLE, FindingCode.LOG_FILE_UNREACHABLE}
)
_BEFORE_GAP: Final = timedelta(hours=2)  # the last digest comes within the hour of the call that ends the chain


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailChange:
    """A call, recorded and answered without an error, that changed what a trail logs."""

    log_key: str  # the log file that says so
    event_name: str
    event_id: str
    event_time: datetime
    user: str  # the caller's ARN, or what the record has instead
    source_ip: str
    trail: str  # the trail's name or ARN, as the caller said it
    validation_off: bool  # the call turned log file validation off
    moves_files: bool = False  # it changed where the trail delivers, or for whom: a chain may end there, too

    @property
    def stops_logging(self) -> bool:
        """Whether no digests are made from then on."""
        return self.event_name in {"StopLogging", "DeleteTrail"} or self.validation_off

    @property
    def ends_chain(self) -> bool:
        """Whether a chain of digests may end by it."""
        return self.stops_logging or self.moves_files


def find_changes(log_key: str, content: bytes) -> tuple[TrailChange, ...]:
    """The calls in the log file at ``log_key`` (``content``: uncompressed, proven) that changed a trail.

    What cannot be read is passed over: the content is as CloudTrail delivered it.
    """
    if content.rfind(EVENT_SOURCE) < 0 or not any(name in content for name in _NAMES):  # from behind: a third faster
        return ()
    reader = ChangeReader(log_key)
    for at in range(0, len(content), _PIECE):
        reader.feed(content[at : at + _PIECE])
    return tuple(reader.changes)


class ChangeSearch:
    """Whether a log file may hold calls that changed a trail, told from its pieces as they come.

    It overlooks none whose name stands less than ``_BLOCK`` bytes before its source: they are neighbours in a record.
    """

    def __init__(self) -> None:
        self.is_found = False
        self._has_source = False
        self._before = b""  # the block before
        self._pieces: list[bytes] = []  # of the next block
        self._size = 0

    def feed(self, piece: bytes) -> None:
        """The next piece of the content."""
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size >= _BLOCK:
            self.finish()

    def finish(self) -> None:
        """Look at what has come."""
        block = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        if not self._has_source and _is_in(EVENT_SOURCE, self._before, block):
            self._has_source = True
            self.is_found = any(name in self._before for name in _NAMES)
        if self._has_source and not self.is_found:
            self.is_found = any(_is_in(name, self._before, block) for name in _NAMES)
        self._before = block


class ChangeReader:
    """Reads the calls that changed a trail from a log file's pieces as they come: ``changes``, in their order."""

    def __init__(self, log_key: str) -> None:
        self.changes: list[TrailChange] = []
        self._log_key = log_key
        self._utf8 = getincrementaldecoder("utf-8")(errors="replace")
        self._json = json.JSONDecoder()
        self._text = ""  # from where reading goes on
        self._is_inside = False  # the list of records
        self._is_readable = True

    def feed(self, piece: bytes) -> None:
        """The next piece of the content."""
        if not self._is_readable:
            return
        self._text += self._utf8.decode(piece)
        at = 0
        if not self._is_inside:
            at = self._text.find("[") + 1
            self._is_inside = at > 0
        while self._is_inside and (start := self._text.find("{", at)) >= 0:
            try:
                record, at = self._json.raw_decode(self._text, start)
            except RecursionError:
                self._is_readable = False
                break
            except ValueError:  # it is not whole yet, or not JSON
                at = start
                break
            change = _read_change(self._log_key, record)  # an object, as it began with a brace
            if change is not None:
                self.changes.append(change)
        self._text = self._text[at:]
        if len(self._text) > _LONGEST_RECORD:
            self._is_readable = False
            self._text = ""


class LoggingHistory:
    """Gathers the changes and the gaps of all chains of a run, and explains the ones by the others."""

    def __init__(self) -> None:
        self._stops: deque[tuple[TrailFolder | None, TrailChange]] = deque(maxlen=_MOST_STOPS)
        self._seen: deque[str] = deque(maxlen=64)  # ids of events: two trails may deliver the same one
        self._gaps: dict[tuple[TrailFolder, Hole], bool] = {}  # a chain that is begun anew tells its gaps twice
        self._read: set[Folder] = set()
        self._unread: dict[Folder, set[datetime | None]] = {}  # the hours of which something was not; None: of any

    def add_read(self, folder: Folder) -> None:
        """The log files of ``folder`` are looked through."""
        self._read.add(folder)

    def add_finding(self, trail: TrailFolder, finding: Finding) -> None:
        """Something was found in the chain of ``trail``: it may be that records cannot be read."""
        if finding.code in _UNREAD:
            hours = self._unread.setdefault(trail.folder, set())
            hours.update(_hours_of(finding.key))

    def may_lack(self, trail: TrailFolder, since: datetime, until: datetime) -> bool:
        """Whether a call that changed ``trail`` from ``since`` to ``until`` may stand in what could not be read."""
        hours = (hour for read, hours in self._unread.items() if is_home(read, trail) for hour in hours)
        return any(hour is None or (since < hour + _HOUR and hour <= until) for hour in hours)

    def add_gap(self, trail: TrailFolder, gap: Hole, *, is_proven: bool = True) -> None:
        """A chain of ``trail`` ended at the gap's start and another began at its end.

        Unless ``is_proven``, the log files before the gap are not, and were not looked through.
        """
        self._gaps[trail, gap] = is_proven

    def add_change(self, change: TrailChange, told_by: TrailFolder | None = None) -> Iterator[Finding]:
        """A record, in a log file that the chain of ``told_by`` proves, says that a trail was changed."""
        if change.event_id in self._seen:
            return
        self._seen.append(change.event_id)
        if change.ends_chain:
            self._stops.append((told_by, change))
        if not change.stops_logging:
            message = f"{change.event_name} of {change.trail} by {change.user} at {format_time(change.event_time)}"
            yield found(FindingCode.TRAIL_CHANGED, change.log_key, message, **_details(change))

    def stops(self) -> tuple[TrailChange, ...]:
        """The changes so far by which a chain may have ended."""
        return tuple(change for _, change in self._stops)

    def is_home_read(self, trail: TrailFolder) -> bool:
        """Whether the log files were looked through in which calls that change ``trail`` stand."""
        return any(is_home(read, trail) for read in self._read)

    def gaps_of(self, trail: TrailFolder) -> tuple[Hole, ...]:
        """The gaps of ``trail`` so far."""
        return tuple(gap for of, gap in list(self._gaps) if of == trail)

    def finish(self) -> Iterator[tuple[TrailFolder | None, Finding]]:
        """All was read: each gap with the call that explains it, and the calls that explain none.

        With each, the chain that it concerns: the one with the gap, or the one whose log file has the call.
        """
        used: set[str] = set()
        for (trail, gap), is_proven in sorted(self._gaps.items(), key=_place_of):
            change = self._explanation(trail, gap)
            if change is not None:
                used.add(change.event_id)
                yield trail, _stopped(change, trail, gap)
            else:
                yield trail, self._unexplained(trail, gap, is_proven=is_proven)
        for told_by, change in self._stops:
            if change.event_id not in used and change.stops_logging:
                yield told_by, _stopped(change)

    def _explanation(self, trail: TrailFolder, gap: Hole) -> TrailChange | None:
        fitting = [
            change
            for _, change in self._stops
            if gap.start - _BEFORE_GAP <= change.event_time <= gap.end and is_about(change, trail)
        ]
        return max(fitting, key=lambda change: (change.stops_logging, change.event_time), default=None)

    def _unexplained(self, trail: TrailFolder, gap: Hole, *, is_proven: bool) -> Finding:
        start, end = format_time(gap.start), format_time(gap.end)
        folder = digest_prefix(trail.folder)
        is_home_read = self.is_home_read(trail)
        is_in_part = self.may_lack(trail, gap.start - _BEFORE_GAP, gap.end)
        if not is_proven or not is_home_read or is_in_part:
            why = "not all of which can be read" if is_in_part else "the last of which are unproven"
            why = why if is_home_read else "which were not read"
            message = (
                f"no digests were made from {start} to {end}; who stopped them would stand in the log files of the"
                f" home region {trail.home_region}, {why}"
            )
            return found(FindingCode.GAP_UNEXAMINED, folder, message, start=start, end=end)
        message = f"no digests were made from {start} to {end}, and no record says that anybody stopped logging"
        return found(FindingCode.GAP_UNEXPLAINED, folder, message, start=start, end=end)


def _hours_of(unread: str) -> Iterator[datetime | None]:
    """The hours of whose calls the log file or digest at the key ``unread`` tells; None for anything else."""
    moment: datetime | None = None
    with suppress(FormatError):
        moment = parse_log_key(unread).delivered_at
    with suppress(FormatError):
        digest = parse_digest_key(unread)
        moment = None if digest.backfill else digest.end_time
    if moment is None:
        yield None
        return
    hour = moment.replace(minute=0, second=0, microsecond=0)
    yield from (hour - _HOUR, hour)  # a digest is of an hour, and a log file of ``DELIVERY`` before


def _place_of(entry: tuple[tuple[TrailFolder, Hole], bool]) -> tuple[str, str, datetime]:
    (trail, gap), _ = entry
    return digest_prefix(trail.folder), trail.trail_name, gap.start


def is_home(read: Folder, trail: TrailFolder) -> bool:
    """Whether calls that change ``trail`` stand in ``read``; an organization's trail is its management account's."""
    if read.region != trail.home_region or read.organization_id != trail.folder.organization_id:
        return False
    return bool(read.organization_id) or read.account_id == trail.folder.account_id


def is_about(change: TrailChange, trail: TrailFolder) -> bool:
    """Whether ``change`` is of ``trail``, and recorded where calls that change it are."""
    try:
        recorded = parse_log_key(change.log_key).folder
    except FormatError:
        return False
    if not is_home(recorded, trail):
        return False
    if not change.trail.startswith("arn:"):
        return change.trail == trail.trail_name
    region, _, owner_and_name = change.trail.partition(":cloudtrail:")[2].partition(":")
    owner, _, name = owner_and_name.partition(":trail/")
    is_owner = bool(trail.folder.organization_id) or owner == trail.folder.account_id
    return (region, name) == (trail.home_region, trail.trail_name) and is_owner


def _stopped(change: TrailChange, trail: TrailFolder | None = None, gap: Hole | None = None) -> Finding:
    message = f"{change.user} stopped it with {change.event_name} at {format_time(change.event_time)}"
    if trail is None or gap is None:
        return found(FindingCode.LOGGING_STOPPED, change.log_key, f"{change.trail}: {message}", **_details(change))
    start, end = format_time(gap.start), format_time(gap.end)
    message = f"no digests were made from {start} to {end}: {message}"
    details = {"start": start, "end": end, "log_file": change.log_key, **_details(change)}
    return found(FindingCode.LOGGING_STOPPED, digest_prefix(trail.folder), message, **details)


def _details(change: TrailChange) -> dict[str, str]:
    return {
        "event_name": change.event_name,
        "event_id": change.event_id,
        "event_time": format_time(change.event_time),
        "user": change.user,
        "source_ip": change.source_ip,
        "trail": change.trail,
    }


def _is_in(needle: bytes, before: bytes, block: bytes) -> bool:
    """Whether ``needle`` ends in ``block``, which comes after ``before``."""
    reach = len(needle) - 1
    return block.rfind(needle) >= 0 or needle in before[-reach:] + block[:reach]


def _read_change(log_key: str, record: dict[str, Any]) -> TrailChange | None:
    parameters, identity = record.get("requestParameters"), record.get("userIdentity")
    name = record.get("eventName")
    if record.get("eventSource") != EVENT_SOURCE.decode() or name not in _CHANGING or record.get("errorCode"):
        return None
    if not isinstance(parameters, dict) or not isinstance(identity, dict):
        return None
    try:
        event_time = datetime.fromisoformat(_text(record, "eventTime")).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return TrailChange(
        log_key=log_key,
        event_name=name,
        event_id=_text(record, "eventID"),
        event_time=event_time,
        user=next((_text(identity, key) for key in ("arn", "invokedBy", "principalId", "type") if key in identity), ""),
        source_ip=_text(record, "sourceIPAddress"),
        trail=_text(parameters, "name") or _text(parameters, "trailName"),
        validation_off=name == "UpdateTrail" and parameters.get("enableLogFileValidation") is False,
        moves_files=name == "UpdateTrail" and any(parameters.get(moved) is not None for moved in _MOVING),
    )


def _text(members: dict[str, Any], name: str) -> str:
    value = members.get(name)
    return value if isinstance(value, str) else ""
