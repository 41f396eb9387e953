"""Validation of a trail's digests and log files, without I/O: fed what was found, it says what to fetch next.

Rules (``log-files-and-digests.md``; it must agree with ``aws cloudtrail validate-logs`` but for the weaknesses of the
judge that are named there):

* The caller lists; it feeds every key of the digest folder in byte order to ``receive_key`` and every key of the log
  folders, each in byte order, to ``add_log_key``.  It reads what ``FetchDigest`` asks with ``read_digest`` and feeds
  the reading, in the order of the asking, to ``receive_digest``.  It checks what ``FetchLogFile`` asks with
  ``check_log_file`` and is done with it: the result concerns nobody else.
* Those two checks are pure functions of one object, so they may run in a pool.
* Memory does not grow with the trail, when the log folders are listed as far as the digests have come
  (``validate_chain`` in ``stores.chain_reader`` shows how); results do not depend on it.
* The newest end of a chain is named by no digest.  That it was cut off shows only against ``expected_until``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from opentrail.core.digest_chain import BackfillChain, ChainScope, DigestChain, ProvenDigest
from opentrail.core.digests import DigestedLogFile
from opentrail.core.errors import FormatError
from opentrail.core.events import format_time
from opentrail.core.findings import Finding, FindingCode, error, info, warning
from opentrail.core.layout import TrailFolder, digest_prefix, parse_digest_key
from opentrail.core.log_folder import Hole, LogFolder
from opentrail.core.object_checks import DigestReading


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchDigest:
    """Fetch the digest object at ``key``: bytes and metadata."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLogFile:
    """Fetch the log file ``file`` (mind its bucket) that the digest at ``digest_key`` names."""

    file: DigestedLogFile
    digest_key: str


Step = Finding | FetchDigest | FetchLogFile


class ChainValidator:
    """Validates one trail's files for one account and region: ``trail`` in ``bucket``.

    In view are the digests that end from ``start`` to ``end`` (None: no bound).  At ``expected_until`` (None: logging
    may have stopped at any time) a digest must have been delivered that ends then or later.
    """

    def __init__(
        self,
        trail: TrailFolder,
        *,
        bucket: str,
        start: datetime | None = None,
        end: datetime | None = None,
        expected_until: datetime | None = None,
    ) -> None:
        self._trail = trail
        self._bucket = bucket
        self._start = start
        self._end = end
        self._expected_until = expected_until
        scope = ChainScope(trail=trail, bucket=bucket, start=start)
        self._chain = DigestChain(scope)
        self._backfill = BackfillChain(scope)
        self._log_folder = LogFolder(trail.folder)

    def receive_key(self, text: str) -> Iterator[Step]:
        """A key of the digest folder: whether it is to be fetched."""
        if text.endswith("/"):
            return  # the marker of a folder
        try:
            key = parse_digest_key(text)
        except FormatError:
            key = None
        if key is None or key.trail.folder != self._trail.folder:
            yield warning(FindingCode.OBJECT_UNEXPECTED, text, "lies among the digests and is not named like one")
        elif key.trail != self._trail:
            self._log_folder.is_shared = True
        elif (self._start is None or self._start <= key.end_time) and (self._end is None or key.end_time <= self._end):
            yield FetchDigest(key=text)

    def receive_digest(self, reading: DigestReading) -> Iterator[Step]:
        """A digest that was asked for: what is wrong with it and its links, and the log files that it names."""
        yield from reading.findings
        if reading.key.backfill:
            yield from self._take(self._backfill.receive(reading))
            return
        yield from self._take(self._chain.receive(reading))
        yield from self._log_folder.report_overdue(reading.key.end_time)

    def add_log_key(self, text: str) -> Iterator[Finding]:
        """A key of a log folder."""
        yield from self._log_folder.add_listed(text)

    def finish(self) -> Iterator[Finding]:
        """All was fed."""
        for hole in self._chain.finish():
            yield from self._add_hole(hole)
        yield from self._backfill.finish()
        yield from self._check_newest()
        yield from self._log_folder.finish()

    def _take(self, items: Iterable[Finding | Hole | ProvenDigest]) -> Iterator[Step]:
        for item in items:
            match item:
                case Finding():
                    yield item
                case Hole():
                    yield from self._add_hole(item)
                case ProvenDigest(key=key, digest=digest):
                    if not parse_digest_key(key).backfill:  # a backfill speaks for its files, not for an hour
                        self._log_folder.add_digest(digest.start_time, digest.end_time)
                    for file in digest.log_files:
                        if file.bucket == self._bucket:
                            self._log_folder.add_named(file.key)
                        yield FetchLogFile(file=file, digest_key=key)

    def _add_hole(self, hole: Hole) -> Iterator[Finding]:
        self._log_folder.add_hole(hole)
        if hole.is_damage:
            start, end = format_time(hole.start), format_time(hole.end)
            message = f"no digest proves what was delivered from {start} to {end}"
            folder = digest_prefix(self._trail.folder)
            yield info(FindingCode.SPAN_UNPROVEN, folder, message, start=start, end=end)

    def _check_newest(self) -> Iterator[Finding]:
        newest, expected = self._chain.newest, self._expected_until
        folder = digest_prefix(self._trail.folder)
        if expected is not None and (newest is None or newest.key.end_time < expected):
            last = newest.text if newest else "none at all"
            message = (
                f"the newest digests are missing: the last is {last}, one is expected up to {format_time(expected)}"
            )
            details = {"newest": newest.text if newest else "", "expected_until": format_time(expected)}
            yield error(FindingCode.CHAIN_CUT_OFF, folder, message, **details)
        elif newest is None:
            yield warning(FindingCode.NO_DIGESTS, folder, "no digest of the trail lies here")
