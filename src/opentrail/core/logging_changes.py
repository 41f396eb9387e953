"""Who stopped logging: what the records of proven log files say of the trail itself, held against its chains' gaps.

Rules:

* Only records of log files that are as delivered count: ``read_log_file`` looks after it has proven the content.
* Which call explains which gap, ``core.chain_ends`` says; every end of a chain takes its call, also one that left no
  gap.  The calls that change a trail are recorded in its home region: no other region's log files are looked through.
* The owner of an organization's trail is its management account.  Where nobody has said which one that is, a call that
  the organization's chain of the caller's own account outlived was of another trail.
* A chain that ends and begins anew without a call that explains it is suspicious.  Unless the home region's log files
  were not asked for, or could not be read (all of them, or some of that time), or the call is in a log file that
  nothing proves, as a copy lost the signature of the digest before the gap: then nothing is said but that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from opentrail.core.chain_ends import ChainEnd, explain_ends, folder_of, is_about, is_home, may_end
from opentrail.core.errors import FormatError
from opentrail.core.events import format_time
from opentrail.core.findings import Finding, FindingCode, found
from opentrail.core.kept_changes import KeptChanges
from opentrail.core.layout import Folder, TrailFolder, digest_prefix, parse_digest_key, parse_log_key
from opentrail.core.log_folder import Hole
from opentrail.core.trail_changes import TrailChange
from opentrail.core.unread_folders import UnreadFolders

_HOUR: Final = timedelta(hours=1)
_UNREAD: Final = frozenset(
    {FindingCode.DIGEST_UNREACHABLE, FindingCode.FOLDER_UNREACHABLE, FindingCode.LOG_FILE_UNREACHABLE}
)
_BEFORE_GAP: Final = timedelta(hours=2)  # the last digest comes within the hour of the call that ends the chain

Explained = dict[ChainEnd, TrailChange]


class LoggingHistory:
    """Gathers the changes and the gaps of all chains of a run, and explains the ones by the others.

    ``trail_account`` is the owner of the trail that is verified ("": it is not known).  ``wants`` tells of a chain
    whether it was to be verified, too, if it was there (None: only one was).
    """

    def __init__(self, *, trail_account: str = "", wants: Callable[[TrailFolder], bool] | None = None) -> None:
        self._owner = trail_account
        self._wants = wants
        self._changes = KeptChanges()
        self._claimed: list[TrailChange] | None = None  # told by log files that nothing proves; None: nobody looked
        self._seen: deque[str] = deque(maxlen=64)  # ids of events: two trails may deliver the same one
        self._gaps: dict[tuple[TrailFolder, Hole], bool] = {}  # a chain that is begun anew tells its gaps twice
        self._starts: dict[TrailFolder, set[datetime]] = {}  # of chains
        self._doubtful: dict[TrailFolder, set[ChainEnd]] = {}
        self._proven: dict[TrailFolder, tuple[datetime, str]] = {}  # up to when, and in which bucket
        self._read: set[Folder] = set()
        self._unread: dict[Folder, set[datetime | None]] = {}  # the hours of which something was not; None: of any
        self._unlisted = UnreadFolders()  # in which chains may lie that nobody has seen

    def add_read(self, folder: Folder) -> None:
        """The log files of ``folder`` are looked through."""
        self._read.add(folder)

    def add_digest(self, trail: TrailFolder, end: datetime, bucket: str) -> None:
        """A proven digest of ``trail``, which delivers into ``bucket``, ends at ``end``."""
        before, _ = self._proven.get(trail, (end, bucket))
        self._proven[trail] = max(before, end), bucket

    def add_finding(self, trail: TrailFolder | None, finding: Finding) -> None:
        """Something was found in the chain of ``trail`` (None: in none).

        It may be that records cannot be read, or that another chain starts.
        """
        if trail is None:
            if finding.code is FindingCode.FOLDER_UNREACHABLE:
                self._unlisted.add(finding.key)
        elif finding.code in _UNREAD:
            hours = self._unread.setdefault(trail.folder, set())
            hours.update(_hours_of(finding.key))
        elif finding.code is FindingCode.CHAIN_STARTED:
            self._starts.setdefault(trail, set()).add(datetime.fromisoformat(finding.details["start"]))

    def may_lack(self, trail: TrailFolder, since: datetime, until: datetime) -> bool:
        """Whether a call that changed ``trail`` from ``since`` to ``until`` may stand in what could not be read."""
        hours = (hour for read, hours in self._unread.items() if is_home(read, trail) for hour in hours)
        return any(hour is None or (since < hour + _HOUR and hour <= until) for hour in hours)

    def add_gap(self, trail: TrailFolder, gap: Hole, *, is_proven: bool = True) -> None:
        """A chain of ``trail`` ended at the gap's start and another began at its end.

        Unless ``is_proven``, the log files before the gap are not, and were not looked through.
        """
        self._gaps[trail, gap] = is_proven

    def add_end(self, trail: TrailFolder, end: ChainEnd) -> None:
        """A digest of ``trail`` that nothing proves says that a chain starts with it."""
        self._doubtful.setdefault(trail, set()).add(end)

    def add_claimed(self, changes: Iterable[TrailChange]) -> None:
        """Log files tell of ``changes`` which unproven digests name; all such log files have been looked through."""
        self._claimed = [*(self._claimed or []), *changes]

    def add_change(self, change: TrailChange, told_by: TrailFolder | None = None) -> Iterator[Finding]:
        """A record, in a log file that the chain of ``told_by`` proves, says that a trail was changed."""
        if change.event_id in self._seen:
            return
        self._seen.append(change.event_id)
        self._changes.add(change, told_by)
        if not change.stops_logging:
            message = f"{change.event_name} of {change.trail} by {change.user} at {format_time(change.event_time)}"
            yield found(FindingCode.TRAIL_CHANGED, change.log_key, message, **_details(change))

    def is_home_read(self, trail: TrailFolder) -> bool:
        """Whether the log files were looked through in which calls that change ``trail`` stand."""
        return any(is_home(read, trail) for read in self._read)

    def gaps_of(self, trail: TrailFolder) -> tuple[tuple[Hole, bool], ...]:
        """The gaps of ``trail`` so far, each with whether what lies before it is proven."""
        return tuple((gap, is_proven) for (of, gap), is_proven in list(self._gaps.items()) if of == trail)

    def unproven_gaps(self) -> frozenset[TrailFolder]:
        """The chains with gaps before which log files are not proven."""
        return frozenset(trail for (trail, _), is_proven in self._gaps.items() if not is_proven)

    def explain(self, trail: TrailFolder) -> tuple[Explained, Explained]:
        """The calls by which chains of ``trail`` ended: those that are proven, and those that are only claimed."""
        began, ends = self._ends_of(trail)
        changes = [each for each in self._changes.about(trail) if is_about(each, trail, self._owner)]
        starts = [each.event_time for each in changes if each.starts_logging]
        stops = [each for each in self._stops(trail, changes) if not self._was_outlived(each, trail)]
        proven = explain_ends(ends, stops, starts, began=began)
        about = (each for each in self._claimed or () if is_about(each, trail, self._owner))
        claimed = explain_ends(ends, self._stops(trail, about), starts, began=began, explained=proven)
        return proven, {end: change for end, change in claimed.items() if end not in proven}

    def finish(self) -> Iterator[tuple[TrailFolder | None, Finding]]:
        """All was read: each gap with the call that explains it, and the calls that explain none.

        With each, the chain that it concerns: the one with the gap, or the one whose log file has the call.
        """
        used: set[str] = set()
        explained: dict[TrailFolder, tuple[Explained, Explained]] = {}
        for (trail, gap), is_proven in sorted(self._gaps.items(), key=_place_of):
            if trail not in explained:
                explained[trail] = self.explain(trail)
            proven, claimed = explained[trail]
            end = _end_at(gap)
            change = proven.get(end)
            if change is not None:
                used.add(change.event_id)
                yield trail, _stopped(change, trail, gap)
            else:
                is_claimed = end in claimed or (self._claimed is None and not is_proven)
                yield trail, self._unexplained(trail, gap, is_claimed=is_claimed)
        for told_by, change in self._changes.all():
            if change.event_id not in used and change.stops_logging:
                yield told_by, _stopped(change)

    def _ends_of(self, trail: TrailFolder) -> tuple[datetime | None, list[ChainEnd]]:
        """When the first chain began (None: before the time in view), and the ends of all, in no order."""
        ends = {_end_at(gap) for gap, _ in self.gaps_of(trail)}
        ends |= self._doubtful.get(trail, set())
        known = {end.next_start for end in ends}
        started = sorted(start for start in self._starts.get(trail, ()) if start not in known)
        is_first = bool(started) and all(started[0] < end for end in known)
        at_once = started[1:] if is_first else started  # other chains went on at once: there is no gap
        return started[0] if is_first else None, [*ends, *(ChainEnd(end=each, next_start=each) for each in at_once)]

    def _stops(self, trail: TrailFolder, changes: Iterable[TrailChange]) -> list[TrailChange]:
        _, bucket = self._proven.get(trail, (None, ""))
        return [change for change in changes if may_end(change, trail, bucket)]

    def _was_outlived(self, stop: TrailChange, trail: TrailFolder) -> bool:
        """Whether ``stop`` did not end the chain of the same name, of an organization, that tells of it."""
        recorded = folder_of(stop)
        if self._owner or not trail.folder.organization_id or recorded is None or recorded == trail.folder:
            return False
        own = replace(trail, folder=recorded)
        until, bucket = self._proven.get(own, (stop.event_time, ""))
        if until < stop.event_time + _BEFORE_GAP or not may_end(stop, own, bucket):
            return False
        changes = [each for each in self._changes.about(own) if is_about(each, own) and folder_of(each) == recorded]
        starts = [each.event_time for each in changes if each.starts_logging]
        began, ends = self._ends_of(own)
        ended_by = explain_ends(ends, self._stops(own, changes), starts, began=began)
        return stop.event_id not in {each.event_id for each in ended_by.values()}

    def _unexplained(self, trail: TrailFolder, gap: Hole, *, is_claimed: bool) -> Finding:
        start, end = format_time(gap.start), format_time(gap.end)
        folder, home = digest_prefix(trail.folder), f"the home region {trail.home_region}"
        message = f"no digests were made from {start} to {end}"
        is_there = self.is_home_read(trail)
        why = ""
        if not is_there and not self._is_home_wanted(trail):
            why = "which were not read"
        elif self.may_lack(trail, gap.start - _BEFORE_GAP, gap.end):
            why = "not all of which can be read"
        elif is_claimed:
            why = "the last of which are unproven"
        if why:
            message += f"; who stopped them would stand in the log files of {home}, {why}"
            return found(FindingCode.GAP_UNEXAMINED, folder, message, start=start, end=end)
        message += ", and no record says that anybody stopped logging"
        message += "" if is_there else f": there is no digest of {home}, where it would stand"
        return found(FindingCode.GAP_UNEXPLAINED, folder, message, start=start, end=end)

    def _is_home_wanted(self, trail: TrailFolder) -> bool:
        """Whether the chain in the home region of ``trail`` was looked for, so that it is gone if it is not there."""
        account_id = self._owner if trail.folder.organization_id else trail.folder.account_id
        folder = replace(trail.folder, account_id=account_id, region=trail.home_region)
        home = replace(trail, folder=folder)
        is_unlisted = self._unlisted.lie_below(digest_prefix(folder))
        return self._wants is not None and self._wants(home) and not is_unlisted


def _end_at(gap: Hole) -> ChainEnd:
    return ChainEnd(end=gap.start, next_start=gap.end, since=gap.since)


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
