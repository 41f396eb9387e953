"""Who stopped logging: what the records of proven log files say of the trail itself, held against its chains' gaps.

Rules:

* Only records of log files that are as delivered count: ``read_log_file`` looks after it has proven the content.
* The calls that change a trail are recorded in its home region: no other region's log files are looked through.
  They are few; a search for their event source comes first, which costs a seventh of what the hash costs.
* A chain that ends and begins anew without a call that explains it is suspicious.  Unless the home region's log files
  were not read, or the record would stand in the last digest before the gap, whose signature a copy has lost: then
  nothing is said but that.

CloudTrail user guide, "CloudTrail record contents"; the calls are those of CloudTrail's API reference.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from opentrail.core.events import format_time
from opentrail.core.findings import Finding, FindingCode, found
from opentrail.core.layout import Folder, TrailFolder, digest_prefix
from opentrail.core.log_folder import Hole

EVENT_SOURCE: Final = b"cloudtrail.amazonaws.com"

_STOPPING: Final = frozenset({"StopLogging", "DeleteTrail", "UpdateTrail"})  # what can end a chain of digests
_CHANGING: Final = _STOPPING | {"StartLogging", "CreateTrail", "PutEventSelectors", "PutInsightSelectors"}
_NAMES: Final = tuple(f'"{name}"'.encode() for name in sorted(_CHANGING))
_MOST_STOPS: Final = 10_000  # kept to explain gaps with; the oldest are forgotten
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


def find_changes(log_key: str, content: bytes) -> tuple[TrailChange, ...]:
    """The calls in the log file at ``log_key`` (``content``: uncompressed, proven) that changed a trail.

    What cannot be read is passed over: the content is as CloudTrail delivered it.
    """
    if EVENT_SOURCE not in content or not any(name in content for name in _NAMES):
        return ()
    changes = (_read_change(log_key, record) for record in _records(content))
    return tuple(change for change in changes if change is not None)


class LoggingHistory:
    """Gathers the changes and the gaps of all chains of a run, and explains the ones by the others."""

    def __init__(self) -> None:
        self._stops: deque[TrailChange] = deque(maxlen=_MOST_STOPS)
        self._seen: deque[str] = deque(maxlen=64)  # ids of events: two trails may deliver the same one
        self._gaps: list[tuple[TrailFolder, Hole, bool]] = []
        self._read: set[Folder] = set()

    def add_read(self, folder: Folder) -> None:
        """The log files of ``folder`` are looked through."""
        self._read.add(folder)

    def add_gap(self, trail: TrailFolder, gap: Hole, *, is_proven: bool = True) -> None:
        """A chain of ``trail`` ended at the gap's start and another began at its end.

        Unless ``is_proven``, the log files before the gap are not, and were not looked through.
        """
        self._gaps.append((trail, gap, is_proven))

    def add_change(self, change: TrailChange) -> Iterator[Finding]:
        """A record says that a trail was changed."""
        if change.event_id in self._seen:
            return
        self._seen.append(change.event_id)
        if change.event_name in _STOPPING:
            self._stops.append(change)
        if not _stops_logging(change):
            message = f"{change.event_name} of {change.trail} by {change.user} at {format_time(change.event_time)}"
            yield found(FindingCode.TRAIL_CHANGED, change.log_key, message, **_details(change))

    def finish(self) -> Iterator[Finding]:
        """All was read: each gap with the call that explains it, and the calls that explain none."""
        used: set[str] = set()
        for trail, gap, is_proven in self._gaps:
            change = self._explanation(trail, gap)
            if change is not None:
                used.add(change.event_id)
                yield _stopped(change, trail, gap)
            else:
                yield self._unexplained(trail, gap, is_proven=is_proven)
        for change in self._stops:
            if change.event_id not in used and _stops_logging(change):
                yield _stopped(change)

    def _explanation(self, trail: TrailFolder, gap: Hole) -> TrailChange | None:
        fitting = [
            change
            for change in self._stops
            if gap.start - _BEFORE_GAP <= change.event_time <= gap.end and _is_about(change, trail)
        ]
        return max(fitting, key=lambda change: (_stops_logging(change), change.event_time), default=None)

    def _unexplained(self, trail: TrailFolder, gap: Hole, *, is_proven: bool) -> Finding:
        start, end = format_time(gap.start), format_time(gap.end)
        folder = digest_prefix(trail.folder)
        is_home_read = any(_is_home(read, trail) for read in self._read)
        if not is_proven or not is_home_read:
            why = "the last of which are unproven" if is_home_read else "which were not read"
            message = (
                f"no digests were made from {start} to {end}; who stopped them would stand in the log files of the"
                f" home region {trail.home_region}, {why}"
            )
            return found(FindingCode.GAP_UNEXAMINED, folder, message, start=start, end=end)
        message = f"no digests were made from {start} to {end}, and no record says that anybody stopped logging"
        return found(FindingCode.GAP_UNEXPLAINED, folder, message, start=start, end=end)


def _stops_logging(change: TrailChange) -> bool:
    return change.event_name in {"StopLogging", "DeleteTrail"} or change.validation_off


def _is_home(read: Folder, trail: TrailFolder) -> bool:
    """Whether calls that change ``trail`` stand in ``read``; an organization's trail is its management account's."""
    if read.region != trail.home_region or read.organization_id != trail.folder.organization_id:
        return False
    return bool(read.organization_id) or read.account_id == trail.folder.account_id


def _is_about(change: TrailChange, trail: TrailFolder) -> bool:
    if not change.trail.startswith("arn:"):
        return change.trail == trail.trail_name
    owner_and_name = change.trail.split(":", 4)[-1]
    owner, _, name = owner_and_name.partition(":trail/")
    return name == trail.trail_name and (bool(trail.folder.organization_id) or owner == trail.folder.account_id)


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


def _records(content: bytes) -> Iterator[dict[str, Any]]:
    """The records, one after the other: no more than one is held."""
    text = content.decode(errors="replace")
    decoder = json.JSONDecoder()
    at = text.find("[") + 1
    while at:
        at = text.find("{", at)
        if at < 0:
            return
        try:
            record, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return
        yield record  # an object, as it began with a brace


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
    )


def _text(members: dict[str, Any], name: str) -> str:
    value = members.get(name)
    return value if isinstance(value, str) else ""
