"""What lies before the time that was asked for: the newest digest there, and the records of why its chain ended.

Rules: it is looked for only where a chain starts in view (``core.view_edges``), day by day backwards; the names of a
trail's digests of one day have a prefix of their own, so a page for each is enough, however many trails lie there.
Nothing of it is verified for its own sake, nor counted: a digest that is not trusted, or a log file that is not as it
names it, is no finding but as the reason why nobody can tell what happened at the start of the view.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from itertools import chain, islice
from typing import Final

from opentrail.core.chain_ends import is_about, is_home
from opentrail.core.copied_signatures import CopiedSignatures
from opentrail.core.digests import DigestedLogFile
from opentrail.core.errors import FormatError, StoreError
from opentrail.core.events import format_time
from opentrail.core.findings import Finding, FindingCode, found
from opentrail.core.layout import (
    DIGEST_FOLDER,
    DigestKey,
    TrailFolder,
    digest_day_prefix,
    digest_prefix,
    format_digest_key,
    parse_digest_key,
)
from opentrail.core.log_folder import DELIVERY, NEXT_DIGEST, Hole
from opentrail.core.logging_changes import LoggingHistory
from opentrail.core.object_checks import DigestReading, LogFileReading
from opentrail.core.unproven_links import ClaimedFiles, UnprovenStarts
from opentrail.verification.day_folders import is_date, list_readable_days
from opentrail.verification.digest_reader import DigestReader
from opentrail.verification.read_ahead import ReadAhead
from opentrail.verification.refusals import is_of_one_folder
from opentrail.verification.request import VerifyRequest
from opentrail.verification.result import Span
from opentrail.verification.source import TrailSource

_MOST_DAYS: Final = 5000  # longer than there are digests
_DAY: Final = timedelta(days=1)

ReadRecords = Callable[[DigestedLogFile], LogFileReading]


def find_newest_before(
    source: TrailSource, trail: TrailFolder, start: datetime, ahead: ReadAhead
) -> str | Finding | None:
    """The key of the newest digest of ``trail`` that ends before ``start``; what keeps it from being found; or neither.

    Raises ``StoreError`` when the source fails and may do better later.
    """
    folder = trail.folder
    name = f"{folder.account_id}_{DIGEST_FOLDER}_{folder.region}_{trail.trail_name}_{trail.home_region}_"

    def newest_of(day: str) -> str | Finding | None:
        try:
            keys = [key for key in source.list_keys(day + name) if _is_before(key, trail, start)]
        except StoreError as error:
            return _unlisted(day, error)
        return max(keys, key=lambda key: parse_digest_key(key).end_time, default=None)

    today = start.astimezone(UTC).date()
    for day in (today, today - _DAY):
        newest = newest_of(digest_day_prefix(folder, day))
        if newest is not None:
            return newest
    try:
        days = list(islice(_days_before(source, digest_prefix(folder), today - _DAY), _MOST_DAYS))
    except StoreError as error:
        return _unlisted(digest_prefix(folder), error)
    return next((each for each in ahead.map(newest_of, days) if each is not None), None)


class RecordsBefore:
    """Looks for the records of why chains ended before the view, when all chains are walked.

    ``read`` gives what the records of a log file say of changes to trails, if it is as named.
    """

    def __init__(
        self,
        source: TrailSource,
        request: VerifyRequest,
        reader: DigestReader,
        read: ReadRecords,
        *,
        history: LoggingHistory,
        starts: UnprovenStarts,
    ) -> None:
        self._source = source
        self._request = request
        self._reader = reader
        self._read = read
        self._history = history
        self._starts = starts
        self._ended: dict[TrailFolder, set[Hole]] = {}  # the gaps from before the view into it
        self._lacking: dict[TrailFolder, str] = {}  # the first of what cannot be trusted, or read, of their home region

    def look(self, buckets: Mapping[TrailFolder, str]) -> None:
        """Tell the history what it lacks.  ``buckets`` are those of all chains.  Raises ``StoreError``."""
        start, owner = self._request.start, self._request.trail_account
        for trail in buckets if start is not None else ():
            ended = {gap for gap, _ in self._history.gaps_of(trail) if start and gap.start < start}
            if ended:
                self._ended[trail] = ended
        homes = [each for each in buckets if each.folder.region == each.home_region]
        for home in homes if self._ended else ():
            of_account = not home.folder.organization_id or owner in {"", home.folder.account_id}
            about = [trail for trail in self._ended if of_account and is_home(home.folder, trail)]
            for span in sorted({_span_of(gap) for trail in about for gap in self._ended[trail]}, key=_start_of):
                self._look_through(home, span, buckets[home], about)

    def doubt(self, trail: TrailFolder, finding: Finding, *, is_empty: bool) -> Iterator[Finding]:
        """What more is to be said where ``finding`` is of a gap of ``trail`` that nobody can explain.

        ``is_empty``: no digest of it is in view.
        """
        starts = {format_time(gap.start) for gap in self._ended.get(trail, ())}
        if finding.code is not FindingCode.GAP_UNEXAMINED or finding.details["start"] not in starts:
            return
        unread = self._lacking.get(trail, "")
        if unread and not self._request.is_excerpt:  # that has no log files of the time before
            message = "cannot be read, or is not as it was delivered: it may say why no digests were made from then on"
            yield found(FindingCode.EDGE_UNEXAMINED, unread, message, edge="start")
        elif is_empty:
            message = (
                "no digest lies here of the time that was asked for, and the records that may say why were not read"
            )
            yield found(FindingCode.EDGE_UNEXAMINED, digest_prefix(trail.folder), message, edge="start")

    def _look_through(self, home: TrailFolder, span: Span, bucket: str, about: list[TrailFolder]) -> None:
        """The log files of ``home`` that digests name which end in ``span``."""
        unread: list[str] = []
        keys = self._digests_of(home, span, unread)
        for reading in self._judged(self._reader.read(key, bucket) for key in keys):
            if reading.digest is not None and reading.is_trusted:
                for file in reading.digest.log_files:
                    if file.bucket == bucket:
                        unread += self._look_into(home, file, about)
            elif reading.digest is not None and not self._source.keeps_metadata:
                self._starts.add_claim(home, ClaimedFiles(key=reading.text, files=reading.digest.log_files))
                if self._request.is_excerpt:  # that has no log files of the time before
                    unread.append(reading.text)
            else:
                unread.append(reading.text)
        for key in unread:
            self._history.add_finding(home, found(FindingCode.LOG_FILE_UNREACHABLE, key, "before the view"))
            for trail in about:
                self._lacking.setdefault(trail, key)

    def _look_into(self, home: TrailFolder, file: DigestedLogFile, about: list[TrailFolder]) -> Iterator[str]:
        """Its records; its key where it cannot be read."""
        reading = self._read(file)
        if reading.finding is not None:
            yield file.key
        for change in reading.changes:
            if any(is_about(change, trail, self._request.trail_account) for trail in about):
                list(self._history.add_change(change, home))  # that a trail was changed then is nothing of the view

    def _digests_of(self, home: TrailFolder, span: Span, unread: list[str]) -> Iterator[str]:
        """The keys of the digests of ``home`` that end in ``span``, not those in view; of a copy, the next one, too."""
        is_last = False
        for text in list_readable_days(self._source, digest_prefix(home.folder), span.start, span.end):
            if isinstance(text, Finding):  # it is of any digest of that time
                unread += [format_digest_key(DigestKey(trail=home, end_time=end)) for end in (span.start, span.end)]
                continue
            with suppress(FormatError):
                key = parse_digest_key(text)
                if key.trail == home and key.end_time >= span.start and not is_last:
                    is_last = key.end_time > span.end or (self._request.start or key.end_time) <= key.end_time
                    if not (is_last and self._source.keeps_metadata):
                        yield text

    def _judged(self, readings: Iterable[DigestReading]) -> Iterator[DigestReading]:
        if self._source.keeps_metadata:
            yield from readings
            return
        signatures = CopiedSignatures()
        for reading in readings:
            yield from signatures.receive(reading)
        yield from signatures.finish()


def _span_of(gap: Hole) -> Span:
    """When a digest of the home region ends that names the record of the call by which the chain before it ended."""
    since = gap.start - NEXT_DIGEST if gap.since is None else gap.since
    return Span(start=since - DELIVERY, end=gap.start + NEXT_DIGEST + 2 * DELIVERY)


def _start_of(span: Span) -> datetime:
    return span.start


def _is_before(text: str, trail: TrailFolder, start: datetime) -> bool:
    try:
        key = parse_digest_key(text)
    except FormatError:
        return False
    return key.trail == trail and not key.backfill and key.end_time < start


def _days_before(source: TrailSource, prefix: str, last: date) -> Iterator[str]:
    """The folders of days before ``last`` in ``prefix``, the newest first."""
    bound = f"{prefix}{last:%Y/%m/%d}/"

    def below(folder: str) -> Iterator[str]:
        folders = (each for each in source.list_folders(folder) if is_date(each.removeprefix(prefix)))
        return reversed([each for each in folders if each < bound])

    months = chain.from_iterable(map(below, below(prefix)))
    yield from chain.from_iterable(map(below, months))


def _unlisted(folder: str, error: StoreError) -> Finding:
    if not is_of_one_folder(error):
        raise error
    message = (
        "cannot be listed, so nobody can tell whether digests are missing at the start of the time that was asked"
        f" for: {error}"
    )
    return found(FindingCode.EDGE_UNEXAMINED, folder, message, edge="start")
