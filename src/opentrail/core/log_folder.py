"""Which log files lie in the folder and stand in no digest.

Rules: named keys and listed keys may come in any order and interleaving, the listed ones of one kind in byte order; the
result is the same.  Memory stays small when both advance together: a key that is both named and listed is forgotten,
and one that no digest has named for ``LATEST_NAMING`` is reported and forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from opentrail.core.errors import FormatError
from opentrail.core.findings import Finding, FindingCode, info, warning
from opentrail.core.layout import Folder, LogKind, parse_log_key

LATEST_NAMING: Final = timedelta(days=31)  # a file may wait 30 days for its bucket, with the name of its first attempt
_MINUTE: Final = timedelta(minutes=1)  # a name holds the minute of delivery: the file is of some second in it


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """A span of time for which no trusted digest speaks."""

    start: datetime
    end: datetime
    is_damage: bool  # a digest is damaged or missing; otherwise none was made, logging or validation being off


class LogFolder:
    """Compares the log files that digests name with those that are listed."""

    def __init__(self, folder: Folder, *, is_shared: bool = False) -> None:
        self.is_shared = is_shared  # other trails deliver into the same folder
        self._folder = folder
        self._waiting: dict[str, datetime] = {}  # listed, not named yet; in order of delivery but for the kinds
        self._named_ahead: set[str] = set()  # named, not listed yet
        self._listed: dict[LogKind, str] = {}  # the last key listed of each kind
        self._holes: list[Hole] = []
        self._start: datetime | None = None
        self._end: datetime | None = None

    def add_named(self, key: str) -> None:
        """A trusted digest names ``key``."""
        if self._waiting.pop(key, None) is not None:
            return
        try:
            kind = parse_log_key(key).kind
        except FormatError:
            return  # signed as it is; it cannot be listed among the log files
        if key > self._listed.get(kind, ""):
            self._named_ahead.add(key)

    def add_listed(self, key: str) -> Iterator[Finding]:
        """``key`` lies in the folder."""
        if key.endswith("/"):
            return  # the marker of a folder, as consoles and CloudTrail itself make them
        try:
            log_key = parse_log_key(key)
        except FormatError:
            log_key = None
        if log_key is None or log_key.folder != self._folder:
            yield warning(FindingCode.OBJECT_UNEXPECTED, key, "lies among the log files and is not named like one")
            return
        self._listed[log_key.kind] = key
        if key in self._named_ahead:
            self._named_ahead.discard(key)
        else:
            self._waiting[key] = log_key.delivered_at

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
            if self._waiting[key] >= limit:
                break
            yield from self._report(key, self._waiting.pop(key))
        self._holes = [hole for hole in self._holes if hole.end >= limit - _MINUTE]

    def finish(self) -> Iterator[Finding]:
        """Report all that was listed and never named."""
        newer = []
        for key, minute in self._waiting.items():
            if self._end is None or minute + _MINUTE > self._end:
                newer.append(key)
            else:
                yield from self._report(key, minute)
        if newer:
            newer.sort()
            message = f"{len(newer)} log files are newer than the newest digest: the next one should name them"
            details = {"count": str(len(newer)), "first": newer[0], "last": newer[-1]}
            yield info(FindingCode.LOG_FILES_NOT_YET_NAMED, newer[0], message, **details)
        self._waiting.clear()

    def _report(self, key: str, minute: datetime) -> Iterator[Finding]:
        if self._start is None or minute + _MINUTE <= self._start:
            return  # older than the first digest: not part of what is verified
        holes = [hole for hole in self._holes if minute + _MINUTE > hole.start and minute <= hole.end]
        if any(hole.is_damage for hole in holes):
            yield info(FindingCode.LOG_FILE_UNPROVEN, key, "the digest that should name it is damaged or missing")
        elif holes:
            yield info(FindingCode.LOG_FILE_NOT_NAMED, key, "was delivered while no digests were made")
        elif self.is_shared:
            yield info(FindingCode.LOG_FILE_NOT_NAMED, key, "stands in no digest of this trail; other trails share it")
        else:
            yield warning(FindingCode.LOG_FILE_NOT_NAMED, key, "lies in the folder, but no digest names it")
