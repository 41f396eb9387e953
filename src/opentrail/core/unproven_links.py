"""What digests that a copy cannot prove say of the digest before them, and whether that can be so.

Rules (a plain copy; a digest's signature stands in the one that follows, so the newest of a chain has none):

* One unproven digest is no news where nothing follows: at the newest end, and before a stop.  What it says of its
  predecessor is checked all the same, for whoever rewrites several digests must let each name another one, or none.
* It follows the digest before it, and if that one is not there, it is missing.  One that passes by the digest before it
  contradicts it, and one of the two was changed; one that a proven digest passes by, and one that follows itself or a
  later one, was never delivered.
* One that says that a chain starts with it (or comes from elsewhere) was made after a stop, which stands in the log
  files of the home region.  A record that is proven explains it; each stop explains one start.  A record that stands
  in log files of digests that are unproven themselves, or a home region that was not read, lets nobody say whether the
  stop was real.  Without a record there was none: at the very second at which the digest before it ends, nobody could
  have stopped logging unseen; where time lies between, it is a gap that nobody explains, as between proven chains
  (a trail without management events tells of no stop).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from opentrail.core.digest_chain import ChainScope
from opentrail.core.digests import Digest, DigestedLogFile, PreviousDigest
from opentrail.core.events import format_time
from opentrail.core.findings import Concern, Finding, FindingCode, Severity, found
from opentrail.core.layout import Folder, TrailFolder, digest_prefix, parse_digest_key
from opentrail.core.log_folder import DELIVERY
from opentrail.core.logging_changes import LoggingHistory, TrailChange, is_about, is_home
from opentrail.core.object_checks import DigestReading

_MOST_STARTS: Final = 2_000  # of a run: there is enough to accuse, then
_MOST_CLAIMED: Final = 100_000  # log files of unproven digests of a run
_MOST_ACCUSED: Final = 48  # damaged digests in a row whose names are kept
_CLOCKS: Final = timedelta(minutes=1)  # a call may be recorded this much after the digest that starts by it


@dataclass(frozen=True, slots=True, kw_only=True)
class UnprovenStart:
    """An unproven digest that says that a chain starts with it, and the digest that lies before it."""

    key: str
    start: datetime
    before_start: datetime
    before_end: datetime
    is_before_proven: bool
    is_in_view: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedFiles:
    """The log files that an unproven digest of a home region names; ``key`` is the digest's."""

    key: str
    files: tuple[DigestedLogFile, ...]


ReadChanges = Callable[[DigestedLogFile], Iterable[TrailChange]]


class UnprovenStarts:
    """Gathers the unproven starts of all chains of a run, and judges them when all is read."""

    def __init__(self) -> None:
        self._starts: dict[TrailFolder, dict[str, UnprovenStart]] = {}  # a chain that is begun anew tells them twice
        self._claims: dict[TrailFolder, dict[str, ClaimedFiles]] = {}
        self._damaged: set[Folder] = set()  # home regions in which records may be lost
        self._started = self._claimed = 0

    def add_start(self, trail: TrailFolder, start: UnprovenStart) -> None:
        """A digest of ``trail`` says so."""
        if self._started < _MOST_STARTS:
            self._started += 1
            self._starts.setdefault(trail, {})[start.key] = start

    def add_claim(self, trail: TrailFolder, claim: ClaimedFiles) -> None:
        """A digest of ``trail``, in its home region, names these."""
        if self._claimed + len(claim.files) < _MOST_CLAIMED:
            self._claimed += 1 + len(claim.files)
            self._claims.setdefault(trail, {})[claim.key] = claim

    def add_finding(self, trail: TrailFolder, finding: Finding) -> None:
        """Something was found in the chain of ``trail``."""
        if finding.concern is not Concern.NOTE and trail.folder.region == trail.home_region:
            self._damaged.add(trail.folder)

    def starts_of(self, trail: TrailFolder) -> tuple[UnprovenStart, ...]:
        """Those of ``trail`` so far."""
        return tuple(self._starts.get(trail, {}).values())

    def claims_of(self, trail: TrailFolder) -> tuple[ClaimedFiles, ...]:
        """Those of ``trail`` so far."""
        return tuple(self._claims.get(trail, {}).values())

    def judge(self, history: LoggingHistory, read: ReadChanges) -> Iterator[tuple[TrailFolder, Finding]]:
        """All was read: what speaks against the starts.  ``read`` gives a log file's changes, if it is as named."""
        for trail in sorted(self._starts, key=_home_first):
            since: datetime | None = None  # what was recorded before has explained an earlier start ...
            used: set[str] = set()  # ... and so have these, for sessions shorter than the second of a record's time
            proven = [change for change in history.stops() if is_about(change, trail)]
            claimed = [change for change in self._claimed_stops(trail, read) if is_about(change, trail)]
            for _, start in sorted(self._starts[trail].items()):
                stop = _explanation(proven, start, since, used)
                if stop is None:
                    stop = _explanation(claimed, start, since, used)
                    is_read = history.is_home_read(trail) and not self._is_damaged_elsewhere(trail)
                    is_read = is_read and not history.may_lack(trail, start.before_start, start.start)
                    finding = _doubt(trail, start, is_open=stop is not None or not is_read or not start.is_in_view)
                    if finding is not None:
                        self.add_finding(trail, finding)
                        yield trail, finding
                since = start.start
                if stop is not None:
                    since = max(since, stop.event_time)
                    used.add(stop.event_id)

    def _is_damaged_elsewhere(self, trail: TrailFolder) -> bool:
        """Whether the records about ``trail`` stand in another chain, of which something is lost."""
        return any(home != trail.folder and is_home(home, trail) for home in self._damaged)

    def _claimed_stops(self, trail: TrailFolder, read: ReadChanges) -> Iterator[TrailChange]:
        for home, claims in self._claims.items():
            if is_home(home.folder, trail):
                files = (file for claim in claims.values() for file in claim.files)
                yield from (change for file in files for change in read(file) if change.ends_chain)


class UnprovenLinks:
    """Checks one chain's unproven digests, which come with all others in byte order of their keys.

    ``end`` is the end of the time in view (None: no bound).
    """

    def __init__(self, scope: ChainScope, starts: UnprovenStarts, *, end: datetime | None) -> None:
        self._scope = scope
        self._starts = starts
        self._end = end
        self._before: DigestReading | None = None  # the last one that nothing accuses
        self._accused: deque[str] = deque(maxlen=_MOST_ACCUSED)  # behind it, and those that cannot be read
        self._is_ended = False

    def receive(self, reading: DigestReading) -> tuple[DigestReading, tuple[Finding, ...]]:
        """The next digest with what is found of it, and what its link says of others.

        Of those behind the view only the first is looked at, for what it says of the last one in view.
        """
        if self._is_ended:
            return reading, ()
        self._is_ended = self._is_behind(reading)
        further = self._check_passed(reading)
        if reading.digest is not None and is_signature_lost(reading):
            reading, further = self._check(reading, reading.digest)
            self._claim(reading)
        if reading.digest is None or any(each.severity is Severity.ERROR for each in reading.findings):
            self._accused.append(reading.text)
        else:
            self._before = replace(reading, digest=reading.digest and replace(reading.digest, log_files=()))
            self._accused.clear()
        return reading, further

    def _is_behind(self, reading: DigestReading) -> bool:
        return self._end is not None and reading.key.end_time > self._end

    def _check_passed(self, reading: DigestReading) -> tuple[Finding, ...]:
        """Whether a proven digest passes by the unproven one before it, which was put there then."""
        link, before = reading.digest.previous if reading.digest else None, self._before
        if link is None or before is None or not reading.is_trusted or not is_signature_lost(before):
            return ()
        if not self._scope.holds(link) or link.key >= before.text:
            return ()
        message = f"the chain passes it by: {reading.text}, which is proven, names {link.key} before itself"
        return (found(FindingCode.DIGEST_LINK_UNFOUNDED, before.text, message, named_by=reading.text),)

    def _check(self, reading: DigestReading, digest: Digest) -> tuple[DigestReading, tuple[Finding, ...]]:
        link, before = digest.previous, self._before
        if link is None or not self._scope.holds(link):
            if before is not None:
                self._start(reading, digest, before)
            return reading, ()
        if link.key in self._accused or (before is not None and link.key == before.text):
            return reading, ()
        if not self._scope.leads_back(link, digest):
            return _accuse(reading, link, FindingCode.DIGEST_LINK_UNFOUNDED, "which is not before it"), ()
        if before is not None and link.key < before.text:
            why = f"and passes by {before.text}: one of the two was changed"
            return _accuse(reading, link, FindingCode.DIGEST_SIGNATURE_DISPUTED, why), ()
        is_behind = self._end is not None and parse_digest_key(link.key).end_time > self._end
        if self._scope.is_too_old(link) or is_behind or self._scope.unread.hold(link.key):
            return reading, ()
        message = f"is not there, though {reading.text} follows it, which is itself not proven"
        return reading, (found(FindingCode.DIGEST_MISSING, link.key, message, named_by=reading.text),)

    def _start(self, reading: DigestReading, digest: Digest, before: DigestReading) -> None:
        assert before.digest is not None, "nothing accuses it"
        ended = parse_digest_key(self._accused[-1]).end_time if self._accused else before.digest.end_time
        self._starts.add_start(
            self._scope.trail,
            UnprovenStart(
                key=reading.text,
                start=digest.start_time,
                before_start=before.digest.start_time,
                before_end=ended,
                is_before_proven=before.is_trusted,
                is_in_view=not self._is_behind(reading),
            ),
        )

    def _claim(self, reading: DigestReading) -> None:
        trail, digest = self._scope.trail, reading.digest
        if digest is not None and trail.folder.region == trail.home_region:
            named = (file for file in digest.log_files if file.bucket == self._scope.bucket)
            files = tuple(  # they are kept long: what nobody asks for is left out
                replace(file, bucket=self._scope.bucket, newest_event_time=None, oldest_event_time=None)
                for file in named
            )
            claim = ClaimedFiles(key=reading.text, files=files)
            self._starts.add_claim(trail, claim)


def is_signature_lost(reading: DigestReading) -> bool:
    """Whether nothing speaks for ``reading``, and nothing against it."""
    return any(each.code is FindingCode.DIGEST_SIGNATURE_LOST for each in reading.findings)


def _explanation(
    stops: Iterable[TrailChange], start: UnprovenStart, since: datetime | None, used: Collection[str]
) -> TrailChange | None:
    """The earliest of ``stops`` that may have ended the chain before ``start`` and has explained none before."""
    first, last = start.before_start - DELIVERY, start.start + _CLOCKS
    first = first if since is None else max(first, since)
    fitting = [each for each in stops if first <= each.event_time <= last and each.event_id not in used]
    return min(fitting, key=lambda each: each.event_time, default=None)


def _home_first(trail: TrailFolder) -> tuple[bool, str, str]:
    return trail.folder.region != trail.home_region, digest_prefix(trail.folder), trail.trail_name


def _doubt(trail: TrailFolder, start: UnprovenStart, *, is_open: bool) -> Finding | None:
    """What speaks against ``start``, which no proven record explains.

    ``is_open`` says that the records were not read which would explain it, or that nothing proves them.
    """
    moment, before = format_time(start.start), format_time(start.before_end)
    if is_open:
        message = (
            f"says that a chain starts with it at {moment}; the records of the home region that would say why were not"
            " read, or nothing proves them"
        )
        unproven = found(FindingCode.DIGEST_START_UNPROVEN, start.key, message, start=moment, previous_end=before)
        return None if start.is_before_proven else unproven
    if start.start == start.before_end:
        message = (
            f"says that a chain starts with it at {moment}, where the digest before it ends, and no record says that"
            " anybody stopped logging"
        )
        return found(FindingCode.DIGEST_LINK_UNFOUNDED, start.key, message, start=moment)
    message = (
        f"{start.key} says that a chain starts with it at {moment}; the digest before it ended at {before}, and no"
        " record says that anybody stopped logging"
    )
    details = {"start": before, "end": moment, "digest": start.key}
    return found(FindingCode.GAP_UNEXPLAINED, digest_prefix(trail.folder), message, **details)


def _accuse(reading: DigestReading, link: PreviousDigest, code: FindingCode, why: str) -> DigestReading:
    finding = found(code, reading.text, f"says that it follows {link.key}, {why}", previous=link.key)
    return replace(reading, findings=(finding,))
