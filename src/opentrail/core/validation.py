"""Validation of a trail's digests and log files, without I/O: fed what was found, it says what to fetch next.

Rules (``log-files-and-digests.md``; it must agree with ``aws cloudtrail validate-logs`` but for the weaknesses of the
judge that are named there):

* The caller lists; it feeds every key of the digest folder in byte order to ``receive_key`` and every key of the log
  folders, each in byte order, to ``add_log_key``.  It reads what ``FetchDigest`` asks with ``read_digest`` and feeds
  the reading, in the order of the asking, to ``receive_digest``.  It checks what ``FetchLogFile`` asks with
  ``read_log_file`` and is done with it, but for what the reading says of the trail's changes: they go to the
  ``LoggingHistory`` that all chains of a run share, which explains the gaps when all chains are finished.
* What cannot be read is fed too: a digest as a reading that says so, a folder of digests to ``receive_unread``.
* ``DigestProven`` asks for nothing: it is for whoever counts.
* Those two checks are pure functions of one object, so they may run in a pool.
* Keys and buckets are those that the files were delivered under.  Whoever reads a copy maps its names back.
* Memory does not grow with the trail, when the log folders are listed as far as the digests have come
  (``verification.chain_walk`` shows how); results do not depend on it.
* The newest end of a chain is named by no digest.  That it was cut off shows against ``expected_until``, or where a
  time was asked for that has passed: then the next digest behind it is read, too, for what it says of those before.
* When all was fed, ``further`` asks for witnesses one by one, then comes ``end_digests``; where it ``asks_before``, the
  newest digest before the view goes to ``receive_before``; ``finish`` is last (``core.view_edges``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from opentrail.core import values
from opentrail.core.copied_signatures import CopiedSignatures
from opentrail.core.digest_chain import (
    BackfillChain,
    ChainScope,
    DigestChain,
    ProvenDigest,
    is_signature_lost,
    is_unread,
)
from opentrail.core.digests import Digest, DigestedLogFile
from opentrail.core.errors import FormatError
from opentrail.core.events import format_time
from opentrail.core.findings import Finding, FindingCode, counted, found
from opentrail.core.layout import (
    DigestKey,
    OtherDigestPattern,
    TrailFolder,
    digest_day_prefix,
    digest_prefix,
    parse_digest_key,
)
from opentrail.core.log_folder import NEXT_DIGEST, Hole, LogFolder
from opentrail.core.logging_changes import LoggingHistory
from opentrail.core.object_checks import DigestReading
from opentrail.core.shared_folders import SharedFolders
from opentrail.core.unproven_links import ClaimedFiles, UnprovenLinks, UnprovenStarts
from opentrail.core.view_edges import DigestBefore, DigestsBehind, judge_before

_MOST_OTHER_TRAILS: Final = 100  # that are named
LATEST_DIGEST: Final = NEXT_DIGEST
WITNESS_WITHIN: Final = timedelta(days=2)  # of the end of the time in view: so far the digest folder is to be listed


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchDigest:
    """Fetch the digest object at ``key``: bytes and metadata."""

    key: str


@values.dataclass(frozen=True, slots=True, kw_only=True)
class FetchLogFile:
    """Fetch the log file ``file`` (mind its bucket) that the digest at ``digest_key`` names.

    ``with_changes``: ``read_log_file`` should look through it for calls that changed a trail.
    """

    file: DigestedLogFile
    digest_key: str
    with_changes: bool = False


@values.dataclass(frozen=True, slots=True, kw_only=True)
class DigestProven:
    """The digest at ``key``, of ``start`` to ``end``, is as the key of ``fingerprint`` signed it.

    It comes before the log files that the digest names.  The link of the next proven one may still accuse it; with
    ``is_backfill`` any may, up to the end.
    """

    key: str
    fingerprint: str
    start: datetime
    end: datetime
    is_backfill: bool


Step = Finding | FetchDigest | FetchLogFile | DigestProven


class ChainValidator:
    """Validates one trail's files for one account and region: ``trail`` in ``bucket``.

    In view are the digests that end from ``start`` to ``end`` (None: no bound).  At ``expected_until`` (None: logging
    may have stopped at any time) a digest must have been delivered that ends then or later.  ``metadata_kept`` is False
    for a copy that has the metadata of no object; ``read_digest`` must be told the same.  ``history`` is told of gaps.
    ``asked_at`` is now: nothing later can have been delivered.  ``shared`` is told of log files in no digest,
    ``starts`` of chains that start with a digest which a copy cannot prove.
    """

    def __init__(
        self,
        trail: TrailFolder,
        *,
        bucket: str,
        start: datetime | None = None,
        end: datetime | None = None,
        expected_until: datetime | None = None,
        asked_at: datetime | None = None,
        metadata_kept: bool = True,
        history: LoggingHistory | None = None,
        shared: SharedFolders | None = None,
        starts: UnprovenStarts | None = None,
    ) -> None:
        self._trail = trail
        self._bucket = bucket
        self._start = start
        self._end = end
        self._expected_until = expected_until
        self._asked_at = asked_at
        self._behind = DigestsBehind(end)
        self._days_behind = "\U0010ffff"  # what sorts here or behind is of days after the time in view
        if end is not None:
            self._days_behind = digest_day_prefix(trail.folder, end.astimezone(UTC) + timedelta(days=1))
        scope = ChainScope(trail=trail, bucket=bucket, start=start)
        self._unread = scope.unread
        self._chain = DigestChain(scope)
        self._backfill = BackfillChain(scope)
        self._log_folder = LogFolder(trail.folder, is_cut=start is not None, end=end, asked_at=asked_at)
        self._signatures = None if metadata_kept else CopiedSignatures()
        self._starts = starts or UnprovenStarts()
        self._links = UnprovenLinks(scope, self._starts, end=end)
        self._history = history
        self._shared = shared
        self._is_home = trail.folder.region == trail.home_region
        self._other_trails: set[TrailFolder] = set()
        self._other_digests = OtherDigestPattern(trail)
        self._lone_start: datetime | None = None  # of an unproven digest, the first, that says that a chain starts
        self._last_before_proven: Digest | None = None  # the last unproven digest before the first proven one
        self._is_told_before = False  # why there is no digest in view
        self._is_ended = False
        self._empty: list[str] = []  # the first and the last digest that name no log file
        self._empty_count = 0
        if history is not None and self._is_home:
            history.add_read(trail.folder)

    def receive_key(self, text: str) -> Iterator[Step]:
        """A key of the digest folder: whether it is to be fetched."""
        if text.endswith("/"):
            return  # the marker of a folder
        if len(self._other_trails) == _MOST_OTHER_TRAILS and self._other_digests.is_sure(text):
            return  # whoever plants digests of a million trails must not make it slow
        try:
            key = parse_digest_key(text)
        except FormatError:
            key = None
        if text >= self._days_behind and (key is None or key.trail != self._trail):
            return
        if key is None or key.trail.folder != self._trail.folder:
            yield found(FindingCode.OBJECT_UNEXPECTED, text, "lies among the digests and is not named like one")
        elif key.trail != self._trail:
            yield from self._share(key.trail, text)
        elif self.is_behind(key):
            if self._behind.is_asked(text, key):
                yield FetchDigest(key=text)
        elif self._start is None or self._start <= key.end_time:
            yield FetchDigest(key=text)

    def receive_unread(self, refusal: Finding) -> Iterator[Finding]:
        """A folder below that of the digests cannot be listed; in its place among the keys, ``refusal`` says so."""
        if refusal.key >= self._days_behind:
            self._behind.refusals.append(refusal)
            return
        self._unread.add(refusal.key)
        self._log_folder.is_cut = self._log_folder.is_unsure = True
        yield refusal

    def is_behind(self, key: DigestKey) -> bool:
        """Whether the digest ends behind the time in view: it is read as a witness, and not counted."""
        return self._behind.hold(key)

    def receive_digest(self, reading: DigestReading) -> Iterator[Step]:
        """A digest that was asked for: what is wrong with it and its links, and the log files that it names.

        Where signatures are to be found in the next digest, a digest is judged when that one comes.
        """
        if reading.key.backfill and self.is_behind(reading.key):
            self._behind.receive_backfill(reading, self._log_folder)
        elif reading.key.backfill:
            yield from reading.findings
            if reading.digest and reading.public_key:
                self._log_folder.add_unproven(reading.digest.log_files)
            if is_unread(reading):
                self._log_folder.is_unsure = True
            yield from self._take(self._backfill.receive(reading))
        elif self._signatures is None:
            yield from self._judge(reading)
        else:
            for decided in self._signatures.receive(reading):
                yield from self._judge(decided)

    def add_log_key(self, text: str) -> Iterable[Finding]:
        """A key of a log folder."""
        return self._log_folder.add_listed(text)

    def further(self) -> Iterator[FetchDigest]:
        """Witnesses that are needed after all, each to be fed before the next is asked for."""
        for text in self._behind.further():
            yield FetchDigest(key=text)

    def end_digests(self) -> Iterator[Step]:
        """All digests were fed: what shows at their end."""
        self._is_ended = True
        for reading in self._signatures.finish() if self._signatures else ():
            yield from self._judge(reading)
        for hole in self._chain.finish():
            yield from self._add_hole(hole)

    @property
    def asks_before(self) -> bool:
        """Whether the newest digest before the view tells more: a chain starts in view, or there is nothing."""
        return self._start is not None and self._begins_at() is not None

    def receive_before(self, before: DigestReading | Finding) -> Iterator[Finding]:
        """The newest digest before the view, or what keeps it from being found."""
        begins_at = self._begins_at()
        judged = judge_before(before) if isinstance(before, DigestReading) else before
        if isinstance(judged, Finding):
            yield judged
        if begins_at is None or isinstance(judged, Finding):
            return
        judged.tell_names(self._log_folder)
        if self._last_before_proven and self._last_before_proven.previous:  # the chain before goes on in view
            judged = DigestBefore(digest=self._last_before_proven, is_proven=False)
        gap = judged.gap_until(begins_at, is_empty=self._chain.newest is None and not self._chain.starts_later)
        if gap is not None and self._history is not None:
            self._is_told_before = True
            self._history.add_gap(self._trail, gap, is_proven=judged.is_proven)
        if self._is_home and not judged.is_proven:
            claim = ClaimedFiles(key=judged.digest.key, files=judged.digest.log_files)
            self._starts.add_claim(self._trail, claim)

    def finish(self) -> Iterator[Step]:
        """All digests and keys were fed: what shows at the end, also log files that are proven only then."""
        if not self._is_ended:
            yield from self.end_digests()
        self._add_gap_at_end()
        yield from self._take(self._backfill.finish(self._chain.chains))
        if not self._chain.is_witnessed:
            yield from self._behind.refusals
            yield from self._behind.doubt(self._chain.known_end)
        elif (span := self._behind.span()) is not None:
            self._log_folder.add_digest(*span)
        yield from self._check_newest()
        self._log_folder.is_begun = self._chain.began_at is not None
        yield from self._log_folder.finish()
        if self._log_folder.is_undigested:
            self._add_gap_at_end(is_undigested=True)
        if self._shared is not None:
            folder = self._log_folder
            self._shared.add(self._trail, self._other_trails, folder.unnamed, names_any=folder.names_any)
        yield from self._sum_up()

    def _judge(self, reading: DigestReading) -> Iterator[Step]:
        if self._signatures is not None:
            reading, further = self._links.receive(reading)
            yield from further
            if is_signature_lost(reading) and self._chain.proven_end is None:
                self._log_folder.is_cut = True
        if self.is_behind(reading.key):
            yield from self._judge_witness(reading)
            return
        if is_unread(reading) and self._chain.proven_end is None:
            self._log_folder.is_cut = True
        if is_signature_lost(reading) and reading.digest is not None:
            self._log_folder.add_unproven_digest(reading.digest)
            if self._chain.newest is None and not reading.digest.previous:
                self._lone_start = reading.digest.start_time
            if self._chain.proven_end is None:
                self._last_before_proven = reading.digest
        yield from reading.findings
        yield from self._take(self._chain.receive(reading))
        if reading.is_trusted:  # until then nobody knows what those before it, that are not, leave unproven
            yield from self._log_folder.report_overdue(reading.key.end_time)

    def _judge_witness(self, reading: DigestReading) -> Iterator[Step]:
        if is_unread(reading):
            self._behind.refusals += reading.findings
        elif self._behind.receive(reading) and reading.digest is not None:
            yield from self._take(self._chain.receive_witness(reading, self._behind.keys))
            for file in reading.digest.log_files if self._chain.is_witnessed else ():
                if file.bucket == self._bucket:
                    self._log_folder.add_named(file.key)

    def _begins_at(self) -> datetime | None:
        """When the chain starts before which nothing lies in view; where nothing lies there at all, the view's end."""
        chain = self._chain
        if chain.began_at is not None:
            return chain.began_at
        if chain.proven_end is None and self._lone_start is not None:
            return self._lone_start
        if chain.newest is not None or self._unread or chain.is_witnessed or self._asked_at is None:
            return None
        return min(self._end or self._asked_at, self._asked_at)

    def _share(self, other: TrailFolder, text: str) -> Iterator[Finding]:
        self._log_folder.is_shared = True
        if other not in self._other_trails and len(self._other_trails) < _MOST_OTHER_TRAILS:
            self._other_trails.add(other)
            message = f"the trail {other.trail_name} of {other.home_region} has its digests in this folder, too"
            yield found(FindingCode.OTHER_TRAIL, text, message, trail=other.trail_name, home_region=other.home_region)

    def _take(self, items: Iterable[Finding | Hole | ProvenDigest]) -> Iterator[Step]:
        for item in items:
            match item:
                case Finding():
                    yield item
                case Hole():
                    yield from self._add_hole(item)
                case ProvenDigest(key=key, digest=digest):
                    is_backfill = parse_digest_key(key).backfill
                    yield DigestProven(
                        key=key,
                        fingerprint=digest.public_key_fingerprint,
                        start=digest.start_time,
                        end=digest.end_time,
                        is_backfill=is_backfill,
                    )
                    if not is_backfill:  # it speaks for its files, not for an hour
                        self._log_folder.add_digest(digest.start_time, digest.end_time)
                        if self._history is not None:
                            self._history.add_digest(self._trail, digest.end_time, self._bucket)
                        if not digest.log_files:
                            self._empty_count += 1
                            self._empty = [*self._empty[:1], key]
                    for file in digest.log_files:
                        if file.bucket == self._bucket:
                            self._log_folder.add_named(file.key)
                        yield FetchLogFile(file=file, digest_key=key, with_changes=self._is_home)

    def _sum_up(self) -> Iterator[Finding]:
        folder = digest_prefix(self._trail.folder)
        if self._signatures is not None:
            message = "the copy has lost the metadata: each signature was taken from the digest that follows"
            yield found(FindingCode.METADATA_LOST, folder, message)
        if self._empty_count:
            message = f"{counted(self._empty_count, 'digest')} without a log file: none was delivered in that time"
            details = {"count": str(self._empty_count), "first": self._empty[0], "last": self._empty[-1]}
            yield found(FindingCode.DIGESTS_EMPTY, folder, message, **details)

    def _add_hole(self, hole: Hole) -> Iterator[Finding]:
        self._log_folder.add_hole(hole)
        if not hole.is_damage and self._history is not None:
            self._history.add_gap(self._trail, hole, is_proven=self._signatures is None)
        if hole.is_damage:
            start, end = format_time(hole.start), format_time(hole.end)
            message = f"no digest proves what was delivered from {start} to {end}"
            folder = digest_prefix(self._trail.folder)
            yield found(FindingCode.SPAN_UNPROVEN, folder, message, start=start, end=end)

    def _add_gap_at_end(self, *, is_undigested: bool = False) -> None:
        """A chain that ends before the time that was asked for, and that no other follows, is a gap to be explained.

        So is one that ends before now, when no time was asked for, and log files say that logging ``is_undigested``.
        """
        last_end = self._chain.known_end
        if self._asked_at is None or last_end is None or self._chain.is_witnessed:
            return
        if self._end is None and not is_undigested:
            return
        end = min(self._end or self._asked_at, self._asked_at)
        if last_end + LATEST_DIGEST < end and self._history is not None:
            hole = Hole(start=last_end, end=end, is_damage=False, since=self._chain.proven_start)
            self._history.add_gap(self._trail, hole, is_proven=self._signatures is None)

    def _check_newest(self) -> Iterator[Finding]:
        newest, expected = self._chain.newest, self._expected_until
        folder = digest_prefix(self._trail.folder)
        ends = [newest.key.end_time] if newest else []
        ends += [self._unread.until] if self._unread.until else []  # it may lie in there
        if expected is not None and max(ends, default=expected - LATEST_DIGEST) < expected:
            last = newest.text if newest else "none at all"
            message = (
                f"the newest digests are missing: the last is {last}, one is expected up to {format_time(expected)}"
            )
            details = {"newest": newest.text if newest else "", "expected_until": format_time(expected)}
            yield found(FindingCode.CHAIN_CUT_OFF, folder, message, **details)
        elif newest is None and not (self._chain.starts_later or self._is_told_before or self._unread):
            in_time = " that ends in the time that was asked for" if self._start or self._end else ""
            yield found(FindingCode.NO_DIGESTS, folder, f"no digest of the trail lies here{in_time}")
