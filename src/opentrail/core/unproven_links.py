"""What digests that a copy cannot prove say of the digest before them, and whether that can be so.

Rules (a plain copy; a digest's signature stands in the one that follows, so the newest of a chain has none):

* One unproven digest is no news where nothing follows: at the newest end, and before a stop.  What it says of its
  predecessor is checked all the same, for whoever rewrites several digests must let each name another one, or none.
* It follows the digest before it, and if that one is not there, it is missing.  One that passes by the digest before it
  contradicts it, and one of the two was changed; one that a proven digest passes by, and one that follows itself or a
  later one, was never delivered.  It begins where that one ends, and is not much longer than those that are proven: no
  digest stands for the time of many.
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

from opentrail.core.chain_ends import ChainEnd, is_home
from opentrail.core.digest_chain import ChainScope, is_signature_lost
from opentrail.core.digests import Digest, DigestedLogFile, PreviousDigest
from opentrail.core.events import format_time
from opentrail.core.findings import Concern, Finding, FindingCode, Severity, found
from opentrail.core.layout import Folder, TrailFolder, digest_prefix, parse_digest_key
from opentrail.core.log_folder import DELIVERY
from opentrail.core.logging_changes import LoggingHistory
from opentrail.core.object_checks import DigestReading
from opentrail.core.trail_changes import TrailChange

_MOST_STARTS: Final = 2_000  # of a run: there is enough to accuse, then
_MOST_CLAIMED: Final = 100_000  # log files of unproven digests of a run
_LONGEST: Final = timedelta(hours=2)  # a digest covers an hour, and may be late
_MOST_ACCUSED: Final = 48  # damaged digests in a row whose names are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class UnprovenStart:
    """An unproven digest that says that a chain starts with it, and the digest that lies before it."""

    key: str
    start: datetime
    before_start: datetime
    before_end: datetime
    is_before_proven: bool
    is_in_view: bool

    @property
    def chain_end(self) -> ChainEnd:
        """That of the chain before it."""
        return ChainEnd(end=min(self.before_end, self.start), next_start=self.start, since=self.before_start)


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
        """All was read: what speaks against the starts.  ``read`` gives a log file's changes, if it is as named.

        ``history`` hears of the starts, and of what else may explain them and its gaps.
        """
        for trail, starts in self._starts.items():
            for start in starts.values():
                history.add_end(trail, start.chain_end)
        in_doubt = history.unproven_gaps() | self._starts.keys()
        history.add_claimed(self._claimed_stops(in_doubt, read))
        for trail in sorted(self._starts, key=_home_first):
            proven, claimed = history.explain(trail)
            for _, start in sorted(self._starts[trail].items()):
                if start.chain_end in proven:
                    continue
                is_read = history.is_home_read(trail) and not self._is_damaged_elsewhere(trail)
                is_read = is_read and not history.may_lack(trail, start.before_start, start.start)
                is_open = start.chain_end in claimed or not is_read or not start.is_in_view
                finding = _doubt(trail, start, is_open=is_open)
                if finding is not None:
                    self.add_finding(trail, finding)
                    yield trail, finding

    def _is_damaged_elsewhere(self, trail: TrailFolder) -> bool:
        """Whether the records about ``trail`` stand in another chain, of which something is lost."""
        return any(home != trail.folder and is_home(home, trail) for home in self._damaged)

    def _claimed_stops(self, trails: Collection[TrailFolder], read: ReadChanges) -> Iterator[TrailChange]:
        """The changes that may stand in unproven log files of the home regions of ``trails``."""
        for home, claims in self._claims.items():
            if any(is_home(home.folder, trail) for trail in trails):
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
        self._longest = _LONGEST  # that a digest may be: some make theirs every day
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
        elif reading.digest is not None and reading.is_trusted:
            self._longest = max(self._longest, reading.digest.end_time - reading.digest.start_time)
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
        if before is not None and digest.end_time - digest.start_time > self._longest:
            span = f"from {format_time(digest.start_time)} to {format_time(digest.end_time)}"
            message = f"says that it covers all {span}, for which there should be several digests"
            return replace(reading, findings=(found(FindingCode.DIGEST_LINK_UNFOUNDED, reading.text, message),)), ()
        if link is None or not self._scope.holds(link):
            if before is not None:
                self._start(reading, digest, before)
            return reading, ()
        if link.key in self._accused:
            return reading, ()
        fault = self._fault_of(link, digest)
        if fault is not None:
            code, why = fault
            message = f"says that it follows {link.key}, {why}"
            finding = found(code, reading.text, message, previous=link.key)
            return replace(reading, findings=(finding,)), ()
        return reading, self._find_missing(link, reading)

    def _fault_of(self, link: PreviousDigest, digest: Digest) -> tuple[FindingCode, str] | None:
        """What is wrong with ``link``, which leads to no digest that is accused."""
        before = self._before
        if not self._scope.leads_back(link, digest):
            return FindingCode.DIGEST_LINK_UNFOUNDED, "which is not before it"
        if before is not None and link.key < before.text:
            why = f"and passes by {before.text}: one of the two was changed"
            return FindingCode.DIGEST_SIGNATURE_DISPUTED, why
        if before is not None and before.digest is not None and link.key == before.text:
            ended = before.digest.end_time
            if digest.start_time > ended + DELIVERY:
                why = f"which ended at {format_time(ended)}: it starts later, at {format_time(digest.start_time)}"
                return FindingCode.DIGEST_LINK_UNFOUNDED, why
        return None

    def _find_missing(self, link: PreviousDigest, reading: DigestReading) -> tuple[Finding, ...]:
        """That what ``link`` of ``reading`` names is not there, where it is not and should be."""
        is_there = self._before is not None and link.key == self._before.text
        is_behind = self._end is not None and parse_digest_key(link.key).end_time > self._end
        if is_there or self._scope.is_too_old(link) or is_behind or self._scope.unread.hold(link.key):
            return ()
        message = f"is not there, though {reading.text} follows it, which is itself not proven"
        return (found(FindingCode.DIGEST_MISSING, link.key, message, named_by=reading.text),)

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
