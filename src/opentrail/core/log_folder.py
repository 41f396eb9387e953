"""Which log files lie in the folder and stand in no digest.

Rules: named keys and listed keys may come in any order and interleaving, the listed ones of one kind in byte order; the
result is the same.  Memory stays small when both advance together: a key that is both named and listed is forgotten,
one that no digest has named for ``LATEST_NAMING`` is reported and forgotten, and of more than ``MOST_WAITING`` the
oldest are.  (So in a folder with that many files in no digest, one that a digest names weeks late is reported for it.)
Log files of other trails are counted, not told one by one; ``unnamed`` is for ``core.shared_folders``.

A log file behind the newest digest waits for the next one, which comes within two hours: of a bucket, or of the copy
that somebody made of it then (``_COPYING``: it may have taken long, and digests are copied first).  What is newer
than that was delivered while no digests were made, which the caller has to explain; what has not come yet is planted.

Other programs do not ask for CloudTrail's names: Athena, pandas and ``zcat *.gz`` read whatever lies in the folder.  So
what ends like a log file is one that no digest names, however it is called; anything else is merely unexpected.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from opentrail.core.digests import Digest, DigestedLogFile
from opentrail.core.errors import FormatError
from opentrail.core.findings import Finding, FindingCode, counted, found
from opentrail.core.layout import Folder, LogKeyPattern, LogKind, parse_log_key
from opentrail.core.shared_folders import UnnamedLogs

DELIVERY: Final = timedelta(minutes=15)  # a log file lies in its bucket this long after the call, at the latest
LATEST_NAMING: Final = timedelta(days=31)  # a file may wait 30 days for its bucket, with the name of its first attempt
MOST_WAITING: Final = 100_000  # listed and not yet named: anybody may put objects there
MOST_ODD: Final = 1000  # of those, listed or named, that are not named as CloudTrail names them
_READ_BY_OTHERS: Final = (".gz", ".json")  # ends of names
_MOST_AHEAD: Final = 4096  # named and not yet listed, before those are sorted out that will never be
NEXT_DIGEST: Final = timedelta(hours=2)  # a digest covers an hour, and may be late
_COPYING: Final = timedelta(days=1)
_SECOND: Final = timedelta(seconds=1)
_MINUTE: Final = timedelta(minutes=1)  # a name holds the minute of delivery: the file is of some second in it


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """A span of time for which no trusted digest speaks."""

    start: datetime
    end: datetime
    is_damage: bool  # a digest is damaged or missing; otherwise none was made, logging or validation being off
    since: datetime | None = None  # the last trusted digest before it starts then; None: it is not known


class _Count:
    """Log files that are counted, and not told one by one."""

    def __init__(self) -> None:
        self._count = 0
        self._first = self._last = ""

    def add(self, key: str) -> None:
        """One more."""
        self._count += 1
        self._first = min(self._first or key, key)
        self._last = max(self._last, key)

    def told(self, code: FindingCode, why: str) -> Iterator[Finding]:
        """The finding about all of them, if there are any."""
        if self._count:
            details = {"count": str(self._count), "first": self._first, "last": self._last}
            yield found(code, self._first, f"{counted(self._count, 'log file')} {why}", **details)


class LogFolder:
    """Compares the log files that digests name with those that are listed.

    Where it ``is_cut`` at its start, a digest before the first trusted one may name a file of the minute of that start.
    The time in view ends at ``end``, and now is ``asked_at`` (None: it is not known).
    """

    def __init__(
        self,
        folder: Folder,
        *,
        is_shared: bool = False,
        is_cut: bool = False,
        end: datetime | None = None,
        asked_at: datetime | None = None,
    ) -> None:
        self.is_shared = is_shared  # other trails deliver into the same folder
        self.is_cut = is_cut
        self.is_begun = False  # no digest was made before the first trusted one
        self.is_undigested = False  # log files were delivered long after the last digest
        self._view_end = end
        self._asked_at = asked_at
        self.names_any = False  # some digest named a log file
        self.is_unsure = False  # a digest cannot be read that may name log files of any time: a backfill digest
        self._pattern = LogKeyPattern(folder)
        self._waiting: dict[str, None] = {}  # listed, not named yet; in order of delivery but for the kinds
        self._named_ahead: dict[str, LogKind] = {}  # named, not listed yet
        self._most_ahead = _MOST_AHEAD
        self._listed: dict[LogKind, str] = {}  # the last key listed of each kind
        self._odd_listed: dict[str, None] = {}  # whose names are not CloudTrail's ...
        self._odd_named: set[str] = set()  # ... and those of them that a digest names all the same
        self._unproven: set[str] = set()
        self._of_others = _Count()
        self._older = _Count()  # than the first digest
        self._holes: list[Hole] = []
        self.unnamed = UnnamedLogs()
        self._start: datetime | None = None
        self._end: datetime | None = None

    def add_named(self, key: str) -> None:
        """A trusted digest names ``key``."""
        self.names_any = True
        if key in self._waiting:
            del self._waiting[key]
            return
        try:
            kind = parse_log_key(key).kind
        except FormatError:
            self._odd_listed.pop(key, None)
            if len(self._odd_named) < MOST_ODD:
                self._odd_named.add(key)
            return
        if key > self._listed.get(kind, ""):
            self._named_ahead[key] = kind
            self._forget_passed()

    def add_unproven(self, files: Iterable[DigestedLogFile]) -> None:
        """A digest names ``files`` that nothing proves, and nothing accuses: its signature was lost."""
        self._unproven.update(file.key for file in files)

    def add_unproven_digest(self, digest: Digest) -> None:
        """Such a digest, which speaks for its own time alone: it may reach into the first hour of the next chain."""
        for file in digest.log_files:
            with suppress(FormatError):
                if digest.start_time - _MINUTE <= parse_log_key(file.key).delivered_at <= digest.end_time:
                    self._unproven.add(file.key)

    def add_listed(self, key: str) -> Iterable[Finding]:
        """``key`` lies in the folder."""
        kind = self._pattern.kind_of(key)
        if kind is None:
            if key.endswith("/"):
                return ()  # the marker of a folder, as consoles and CloudTrail itself make them
            return self._add_odd(key)
        self._listed[kind] = key
        if self._named_ahead and self._named_ahead.pop(key, None) is not None:
            return ()
        self._waiting[key] = None
        return self._report_oldest() if len(self._waiting) > MOST_WAITING else ()

    def add_digest(self, start: datetime, end: datetime) -> None:
        """A digest, good or bad, covers ``start`` to ``end``."""
        self._start = start if self._start is None else min(self._start, start)
        self._end = end if self._end is None else max(self._end, end)

    def add_hole(self, hole: Hole) -> None:
        """No trusted digest speaks for this span."""
        last = self._holes[-1] if self._holes else None
        if last is not None and last.is_damage == hole.is_damage and hole.start <= last.end:
            hole = Hole(start=min(last.start, hole.start), end=max(last.end, hole.end), is_damage=hole.is_damage)
            self._holes.pop()
        self._holes.append(hole)

    def report_overdue(self, now: datetime) -> Iterator[Finding]:
        """Report and forget what no digest up to ``now`` has named in time."""
        limit = now - LATEST_NAMING
        while self._waiting:
            key = next(iter(self._waiting))
            if parse_log_key(key).delivered_at >= limit:
                break
            yield from self._report_oldest()
        self._holes = [hole for hole in self._holes if hole.end >= limit - _MINUTE]

    def finish(self) -> Iterator[Finding]:
        """Report all that was listed and never named."""
        yield from map(_odd, self._odd_listed)
        self._odd_listed.clear()
        newer, behind = _Count(), _Count()
        for key in self._waiting:
            minute = parse_log_key(key).delivered_at
            is_newer = self._end is None or minute + _MINUTE > self._end
            if self._is_to_come(minute):
                message = "lies in the folder, and is named after a time that has not come yet"
                yield found(FindingCode.LOG_FILE_NOT_NAMED, key, message)
            elif not is_newer or any(hole.is_damage for hole in self._holes_at(minute)):
                yield from self._report(key)
            elif self.is_shared:
                self._leave_unnamed(key, is_covered=False)
                newer.add(key)
            elif self._view_end is not None and minute > self._view_end:
                behind.add(key)
            elif self._is_late(minute):
                self.is_undigested = True
                yield found(FindingCode.LOG_FILE_WITHOUT_DIGESTS, key, "was delivered while no digests were made")
            else:
                newer.add(key)
        self._waiting.clear()
        yield from self._report_counts(newer, behind)

    def _report_counts(self, newer: _Count, behind: _Count) -> Iterator[Finding]:
        for count, why in (
            (newer, "newer than the newest digest: to be named by the next one"),
            (behind, "newer than the newest digest that was read, and than the time that was asked for"),
        ):
            yield from count.told(FindingCode.LOG_FILES_NOT_YET_NAMED, why)
        why = "in no digest of this trail, but others share the folder"
        yield from self._of_others.told(FindingCode.LOG_FILES_OF_OTHER_TRAIL, why)
        if self.is_begun and not self.is_shared:
            why = "older than the first digest: nothing proves that they were delivered"
            yield from self._older.told(FindingCode.LOG_FILES_BEFORE_DIGESTS, why)

    def _is_to_come(self, minute: datetime) -> bool:
        return self._asked_at is not None and minute > self._asked_at + DELIVERY

    def _is_late(self, minute: datetime) -> bool:
        """Whether what was delivered at ``minute``, behind the newest digest, should stand in another by now."""
        end, now = self._end, self._asked_at
        return end is not None and now is not None and end + _COPYING < minute < now - NEXT_DIGEST

    def _add_odd(self, key: str) -> Iterable[Finding]:
        """``key`` lies in the folder and is not named as CloudTrail names log files."""
        if not is_read_by_others(key):
            return (found(FindingCode.OBJECT_UNEXPECTED, key, "lies among the log files and is not named like one"),)
        if key in self._odd_named:
            return ()
        if len(self._odd_listed) >= MOST_ODD:
            return (_odd(key),)
        self._odd_listed[key] = None
        return ()

    def _holes_at(self, minute: datetime) -> list[Hole]:
        return [hole for hole in self._holes if minute + _MINUTE > hole.start and minute <= hole.end]

    def _forget_passed(self) -> None:
        """Of what was named ahead, forget what the listing has passed by: it is missing, and has been accused."""
        if len(self._named_ahead) > self._most_ahead:
            listed = self._listed
            self._named_ahead = {key: kind for key, kind in self._named_ahead.items() if key > listed.get(kind, "")}
            self._most_ahead = max(_MOST_AHEAD, 2 * len(self._named_ahead))

    def _leave_unnamed(self, key: str, *, is_covered: bool) -> None:
        """No trusted digest names ``key``.  Where one does that was not accused, it is not nobody's."""
        if key not in self._unproven:
            self.unnamed.add(key, is_covered=is_covered)

    def _report_oldest(self) -> Iterator[Finding]:
        oldest = next(iter(self._waiting))
        del self._waiting[oldest]
        yield from self._report(oldest)

    def _report(self, key: str) -> Iterator[Finding]:
        minute = parse_log_key(key).delivered_at
        unsure = _SECOND if self.is_cut else _MINUTE
        is_older = self._start is None or minute + unsure <= self._start
        holes = self._holes_at(minute)
        is_lost = self.is_unsure or key in self._unproven or any(hole.is_damage for hole in holes)
        if self.is_shared:
            is_behind = self._view_end is not None and minute > self._view_end  # the others' digests were not read
            self._leave_unnamed(key, is_covered=not (is_older or is_lost or holes or is_behind))
        if is_older:  # not part of what is verified
            self._older.add(key)
            return
        if is_lost:
            yield found(
                FindingCode.LOG_FILE_UNPROVEN,
                key,
                "the digest that should name it is damaged or missing, or its signature is, or it cannot be read",
            )
        elif holes:
            yield found(FindingCode.LOG_FILE_WITHOUT_DIGESTS, key, "was delivered while no digests were made")
        elif self.is_shared:
            self._of_others.add(key)
        else:
            yield found(FindingCode.LOG_FILE_NOT_NAMED, key, "lies in the folder, but no digest names it")


def is_read_by_others(key: str) -> bool:
    """Whether programs that read whole folders of log files would take ``key`` for one."""
    return key.lower().endswith(_READ_BY_OTHERS)


def _odd(key: str) -> Finding:
    message = "lies among the log files, where other programs will read it, and no digest names it"
    return found(FindingCode.LOG_FILE_NOT_NAMED, key, message)
