"""Collecting evidence: everything that proves, or disproves, what a trail says of a span of time.

What is taken in, for each account and region that the request wants:

* every digest, of every trail in the folder, that ends from ``start`` to the end of the span: the first digest behind
  ``end`` and the time that delivery may take.  What happened until ``end`` stands in log files that it names, or that
  those before it name.
* one more digest on either side, without its log files: links lead there, and where metadata were lost the one behind
  holds the last one's signature;
* every log file that was delivered in the time of those digests, whether one names it or not, and those elsewhere
  that one names.

So a verification of the bundle says of the span what one of the source would have said.  What has a name that is none
of a trail's files is left out, and the manifest says so.

Rules: one pass, in byte order of the keys; an object is in memory while it is written, besides nothing grows but the
names of log files that do not lie where their digest's time says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import merge
from typing import Final

from opentrail.core.digests import MAX_DIGEST_BYTES, Digest, decode_digest
from opentrail.core.errors import FormatError, NoSuchObject
from opentrail.core.gzip_member import decode_member
from opentrail.core.layout import (
    DigestKey,
    Folder,
    LogKind,
    TrailFolder,
    digest_prefix,
    log_prefix,
    parse_digest_key,
    parse_log_key,
)
from opentrail.core.object_checks import MAX_CHECKED_BYTES
from opentrail.verification.bundle import BundleWriter, is_plain_key
from opentrail.verification.discovery import list_days
from opentrail.verification.read_ahead import ReadAhead
from opentrail.verification.result import Span
from opentrail.verification.source import ObjectTooLarge, SourceObject, TrailSource

DELIVERY: Final = timedelta(minutes=15)  # a log file lies in its bucket this long after the call, at the latest
LONGEST: Final = timedelta(hours=2)  # a digest covers an hour; and may be late
_MINUTE: Final = timedelta(minutes=1)  # a log file's name holds the minute of delivery
_MOST_ELSEWHERE: Final = 100_000  # names of a folder: what has no end is forged, and found to be
_NEIGHBOURS: Final = timedelta(days=1)  # how far before the span its last digest is looked for

Progress = Callable[[int, int], None]  # objects and bytes so far


def span_of(source: TrailSource, folders: Iterable[Folder], start: datetime, end: datetime) -> Span:
    """The digests, by ``digestEndTime``, that prove all that happened from ``start`` to ``end``.

    Raises ``StoreError``.
    """
    delivered = end + DELIVERY
    last = delivered
    for folder in folders:
        first: dict[TrailFolder, datetime] = {}
        for _, key in _digests(source, folder, Span(start=delivered, end=delivered + LONGEST)):
            first.setdefault(key.trail, key.end_time)
        last = max(last, *first.values(), last)
    return Span(start=start, end=last)


def collect(
    source: TrailSource,
    folders: Iterable[Folder],
    span: Span,
    writer: BundleWriter,
    *,
    ahead: ReadAhead,
    progress: Progress,
) -> None:
    """Write what is evidence into ``writer``.  Raises ``StoreError``."""
    collection = _Collection(source, span)
    for prefix, keys in collection.areas(folders):
        limit = MAX_DIGEST_BYTES if "CloudTrail-Digest/" in prefix else MAX_CHECKED_BYTES
        readings = ahead.map(lambda key, limit=limit: _read(source, key, limit), keys)  # type: ignore[misc]  # mypy: lambda's default
        for reading in readings:
            if isinstance(reading.found, str):
                writer.leave_out(reading.key, reading.found)
                continue
            collection.learn(reading.key, reading.found)
            writer.add_object(reading.key, reading.found)
            progress(writer.count, writer.size)


@dataclass(frozen=True, slots=True)
class _Reading:
    """An object, or why it is left out."""

    key: str
    found: SourceObject | str


@dataclass(slots=True)
class _Named:
    """What the digests of one folder say: their time in the span, and which log files do not lie in it."""

    start: datetime | None = None
    end: datetime | None = None
    is_followed: bool = False  # by a digest behind the span, which names what was delivered after ``end``
    elsewhere: set[str] = field(default_factory=set)


class _Collection:
    """Which keys are in: those of digests by their times, then those of log files by what the digests say."""

    def __init__(self, source: TrailSource, span: Span) -> None:
        self._source = source
        self._span = span
        self._named: dict[Folder, _Named] = defaultdict(_Named)

    def areas(self, folders: Iterable[Folder]) -> Iterator[tuple[str, Iterator[str]]]:
        """The prefixes in byte order, each with its keys; a folder's digests come before its log files."""
        areas: dict[str, tuple[Folder, LogKind | None]] = {}
        for folder in folders:
            areas[digest_prefix(folder)] = folder, None
            areas.update({log_prefix(folder, kind): (folder, kind) for kind in LogKind})
        for prefix in sorted(areas, key=str.encode):
            folder, kind = areas[prefix]
            yield prefix, self._digest_keys(folder) if kind is None else self._log_keys(folder, kind)

    def learn(self, key: str, found: SourceObject) -> None:
        """Look into a digest of the span, which need not be a good one: which log files it names."""
        with suppress(FormatError):
            name = parse_digest_key(key)
            digest = decode_digest(decode_member(found.data, max_size=MAX_DIGEST_BYTES))
            named = self._named[name.trail.folder]
            if _holds(self._span, name.end_time):
                start = max(digest.start_time, name.end_time - LONGEST)  # nobody has checked who wrote it
                named.start = min(named.start or start, start)
                named.end = max(named.end or name.end_time, name.end_time)
                if len(named.elsewhere) < _MOST_ELSEWHERE:
                    named.elsewhere.update(_named_elsewhere(digest, name.trail.folder))
            elif name.end_time > self._span.end:
                named.is_followed = True

    def _digest_keys(self, folder: Folder) -> Iterator[str]:
        """The digests of the span, and of each trail one before and one behind."""
        span = self._span
        ahead = Span(start=span.start - _NEIGHBOURS, end=span.start - timedelta(seconds=1))
        before = {key.trail: text for text, key in _digests(self._source, folder, ahead)}
        behind = set()
        for text, key in _digests(self._source, folder, Span(start=ahead.start, end=span.end + LONGEST)):
            if key.end_time < span.start:
                is_in = before[key.trail] == text
            else:
                is_in = key.end_time <= span.end or key.trail not in behind
            if key.end_time > span.end and not key.backfill:
                behind.add(key.trail)
            if is_in:
                yield text

    def _log_keys(self, folder: Folder, kind: LogKind) -> Iterator[str]:
        self._learn_ahead(folder, log_prefix(folder, kind))
        named = self._named[folder]
        start = named.start or self._span.start
        end = named.end if named.end and named.is_followed else self._span.end
        listed = (
            key
            for key in list_days(self._source, log_prefix(folder, kind), start, end)
            if (moment := _delivered_at(key)) is not None and start - _MINUTE < moment <= end
        )
        elsewhere = [key for key in named.elsewhere if parse_log_key(key).kind is kind]
        last = ""
        for key in merge(listed, sorted(elsewhere, key=str.encode), key=str.encode):
            if key != last:
                yield key
            last = key

    def _learn_ahead(self, folder: Folder, prefix: str) -> None:
        """Look into the digests now where log files (aggregated ones) come before them."""
        is_learnt = prefix > digest_prefix(folder) or folder in self._named
        if is_learnt or next(self._source.list_keys(prefix), None) is None:
            return
        for key in self._digest_keys(folder):
            reading = _read(self._source, key, MAX_DIGEST_BYTES)
            if isinstance(reading.found, SourceObject):
                self.learn(key, reading.found)


def _digests(source: TrailSource, folder: Folder, span: Span) -> Iterator[tuple[str, DigestKey]]:
    """The digests in ``folder`` that end in ``span``, of whatever trail, in byte order of their keys."""
    for text in list_days(source, digest_prefix(folder), span.start, span.end):
        with suppress(FormatError):
            key = parse_digest_key(text)
            if key.trail.folder == folder and _holds(span, key.end_time):
                yield text, key


def _holds(span: Span, moment: datetime) -> bool:
    return span.start <= moment <= span.end


def _named_elsewhere(digest: Digest, folder: Folder) -> Iterator[str]:
    """The log files that ``digest`` names whose names tell of another time than its own."""
    for file in digest.log_files:
        with suppress(FormatError):
            key = parse_log_key(file.key)
            is_in_time = digest.start_time - _MINUTE < key.delivered_at <= digest.end_time
            if file.bucket == digest.bucket and key.folder == folder and not is_in_time:
                yield file.key


def _delivered_at(key: str) -> datetime | None:
    try:
        return parse_log_key(key).delivered_at
    except FormatError:
        return None


def _read(source: TrailSource, key: str, limit: int) -> _Reading:
    if not is_plain_key(key):
        return _Reading(key, "its name could do harm where the bundle is unpacked")
    try:
        return _Reading(key, source.read(key, limit=limit))
    except NoSuchObject:
        return _Reading(key, "it is not there")
    except ObjectTooLarge:
        return _Reading(key, f"it has more than {limit} bytes")
