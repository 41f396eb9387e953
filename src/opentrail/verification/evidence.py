"""Collecting evidence: everything that proves, or disproves, what a trail says of a span of time.

What is taken in, for each account and region that the request wants:

* every digest, of every trail in the folder, that ends from ``start`` to the end of the span: the first digest behind
  ``end`` and the time that delivery may take.  What happened until ``end`` stands in log files that it names, or that
  those before it name.
* one more digest on either side, without its log files: links lead there, and where metadata were lost the one behind
  holds the last one's signature;
* every log file that was delivered in the time of those digests, whether one names it or not, and those elsewhere
  that one names.

So a verification of the bundle says of the span what one of the source would have said: also of an account or region
that was asked for and is not there (the manifest names it), and of an object with more bytes than a verification
reads, of which so many are taken in that it finds the same.  What has a name that could do harm is left out, and so is
what lies in the folders of days under a name that CloudTrail gives to nothing there, what cannot be read, and what lies
in a folder that cannot be listed.  The manifest names all this, so that a verification of the bundle knows of it.

Rules: one pass, in byte order of the keys; an object of ordinary size is in memory while it is written, a larger one
goes through in pieces; besides nothing grows but the names of log files that do not lie where their digest's time says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import merge
from typing import Final

from opentrail.core.digests import MAX_DIGEST_BYTES, decode_digest
from opentrail.core.errors import FormatError, NoSuchObject, StoreError
from opentrail.core.findings import Finding, FindingCode
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
from opentrail.core.log_folder import DELIVERY, is_read_by_others
from opentrail.core.object_checks import MAX_CHECKED_BYTES
from opentrail.core.validation import LATEST_DIGEST
from opentrail.verification.bundle import DIGESTS, GONE, HARMLESS, BundleWriter, is_plain_key
from opentrail.verification.day_folders import list_readable_days
from opentrail.verification.named_logs import MINUTE, NamedLogs
from opentrail.verification.odd_objects import OddObjects
from opentrail.verification.read_ahead import ReadAhead
from opentrail.verification.refusals import is_of_one_object
from opentrail.verification.result import Span
from opentrail.verification.source import ObjectTooLarge, SourceObject, TrailSource

_NEIGHBOURS: Final = timedelta(days=1)  # how far before the span its last digest is looked for

_HELD_BYTES: Final = 64 * 1024 * 1024  # an object up to this size is read ahead
_BEYOND: Final = 1024 * 1024  # of what is larger than a verification reads: enough to find it so
_MOST_UNLISTED: Final = 100_000  # log files that are looked for by name where a folder cannot be listed
_TOLD: Final = 100  # objects that a report names, of those not taken in whole


@dataclass(slots=True)
class Collected:
    """How far a collection is, for whoever shows it, and at its end what a report has to say of it."""

    share: float = 0.0  # of the span, a guess: by the times in the names of log files, folder after folder
    objects: int = 0
    size: int = 0  # in bytes
    left_out: list[tuple[str, str]] = field(default_factory=list)  # key and why: the first ``_TOLD``
    folders: set[str] = field(default_factory=set)  # that were left out


def span_of(source: TrailSource, folders: Iterable[Folder], start: datetime, end: datetime) -> Span:
    """The digests, by ``digestEndTime``, that prove all that happened from ``start`` to ``end``.

    Raises ``StoreError``.
    """
    delivered = end + DELIVERY
    last = delivered
    for folder in folders:
        first: dict[TrailFolder, datetime] = {}
        for _, key in _digests(source, folder, Span(start=delivered, end=delivered + LATEST_DIGEST)):
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
    collected: Collected,
) -> None:
    """Write what is evidence into ``writer``.  Raises ``StoreError``."""
    odd = OddObjects(source)
    collection = _Collection(source, span, odd)
    areas = list(collection.areas(folders))
    largest = [prefix for prefix, _ in areas if prefix.split("/")[-3] == LogKind.EVENTS.value]
    for prefix, keys in areas:
        is_digests = DIGESTS in prefix
        limit = MAX_DIGEST_BYTES if is_digests else _HELD_BYTES
        readings = ahead.map(lambda item, limit=limit: _read(source, item, limit, odd), keys)  # type: ignore[misc]  # mypy: lambda's default
        for reading in readings:
            if isinstance(reading.found, SourceObject):
                collection.learn(reading.key, reading.found)
                writer.add_object(reading.key, reading.found)
            elif reading.found:
                leave_out(reading.key, reading.found, writer, collected)
            else:
                _add_long(source, reading.key, MAX_DIGEST_BYTES if is_digests else MAX_CHECKED_BYTES, writer, collected)
            collected.objects, collected.size = writer.count, writer.size
            if prefix in largest:
                collected.share = (largest.index(prefix) + _share_of(span, reading.key)) / len(largest)


def leave_out(key: str, why: str, writer: BundleWriter, collected: Collected) -> None:
    """Let the manifest and the report say that the object or folder ``key`` is not in the bundle, or not whole.

    Raises ``StoreError`` where too much was left out.
    """
    if key.endswith("/"):
        if key in collected.folders:  # more than one listing came upon it
            return
        collected.folders.add(key)
    writer.leave_out(key, why)
    if len(collected.left_out) < _TOLD:
        collected.left_out.append((key, why))


def _add_long(source: TrailSource, key: str, limit: int, writer: BundleWriter, collected: Collected) -> None:
    """Take in an object that is too long to be held, or its beginning: what a verification reads, and a little more."""
    most = limit + _BEYOND
    cut = _Cut(source.read_chunks(key), most)
    writer.add_long_object(key, cut)
    if cut.is_cut:
        leave_out(key, f"all behind its first {most} bytes: no verification reads more of it", writer, collected)


class _Cut:
    """The first ``most`` bytes of ``chunks``."""

    def __init__(self, chunks: Iterable[bytes], most: int) -> None:
        self._chunks = chunks
        self._most = most
        self.is_cut = False  # there were more

    def __iter__(self) -> Iterator[bytes]:
        left = self._most
        for chunk in self._chunks:
            yield chunk[:left]
            if len(chunk) > left:
                self.is_cut = True
                return
            left -= len(chunk)


def _share_of(span: Span, key: str) -> float:
    """Where in ``span`` the log file at ``key`` was delivered, from 0 to 1."""
    moment, whole = _delivered_at(key), (span.end - span.start).total_seconds()
    if moment is None or whole <= 0:
        return 0.0
    return min(1.0, max(0.0, (moment - span.start).total_seconds() / whole))


@dataclass(frozen=True, slots=True)
class _Reading:
    """An object, why it (or a folder) is left out, or "" for one that is too long to be held."""

    key: str
    found: SourceObject | str


class _Collection:
    """Which keys are in: those of digests by their times, then those of log files by what the digests say."""

    def __init__(self, source: TrailSource, span: Span, odd: OddObjects) -> None:
        self._source = source
        self._odd = odd
        self._span = span
        self._named = NamedLogs(span)

    def areas(self, folders: Iterable[Folder]) -> Iterator[tuple[str, Iterator[str | Finding]]]:
        """The prefixes in byte order, each with its keys; a folder's digests come before its log files.

        In the place of a folder that cannot be listed is a finding that names it.
        """
        areas: dict[str, tuple[Folder, LogKind | None]] = {}
        for folder in folders:
            areas[digest_prefix(folder)] = folder, None
            areas.update({log_prefix(folder, kind): (folder, kind) for kind in LogKind})
        for prefix in sorted(areas, key=str.encode):
            folder, kind = areas[prefix]
            yield prefix, self._digest_keys(folder) if kind is None else self._log_keys(folder, kind)

    def learn(self, key: str, found: SourceObject) -> None:
        """Look into a digest: which log files it names."""
        if DIGESTS in key:
            self._named.learn(key, found.data)

    def _digest_keys(self, folder: Folder) -> Iterator[str | Finding]:
        """The digests of the span, and of each trail one before and one behind."""
        span = self._span
        ahead = Span(start=span.start - _NEIGHBOURS, end=span.start - timedelta(seconds=1))
        before = {key.trail: text for text, key in _digests(self._source, folder, ahead)}
        behind = set()
        for text in list_readable_days(self._source, digest_prefix(folder), ahead.start, span.end + LATEST_DIGEST):
            if isinstance(text, Finding):
                yield text
                continue
            key = _digest_key(text, folder)
            if key is None:
                if not text.endswith("/"):  # the marker of a folder
                    yield text  # to be told of
                continue
            if not ahead.start <= key.end_time <= span.end + LATEST_DIGEST:
                continue
            if key.end_time < span.start:
                is_in = before[key.trail] == text
            else:
                is_in = key.end_time <= span.end or key.trail not in behind
            if key.end_time > span.end and not key.backfill:
                behind.add(key.trail)
            if is_in:
                yield text

    def _log_keys(self, folder: Folder, kind: LogKind) -> Iterator[str | Finding]:
        self._learn_ahead(folder, log_prefix(folder, kind))
        named = self._named.of(folder)
        start = named.start or self._span.start
        end = named.end if named.end and named.is_followed else self._span.end
        listed = (
            item
            for item in list_readable_days(self._source, log_prefix(folder, kind), start, end)
            if isinstance(item, Finding)
            or (any(self._odd.judge(item)) if item.endswith("/") else _is_in(item, start, end))  # a folder's marker
        )
        elsewhere = [key for key in named.elsewhere if parse_log_key(key).kind is kind]
        last = b""
        for item in merge(listed, sorted(elsewhere, key=_in_bytes), key=_in_bytes):
            if isinstance(item, Finding):
                yield item
            for key in [item] if isinstance(item, str) else self._named_in(folder, item.key):
                if _in_bytes(key) > last:
                    yield key
                    last = _in_bytes(key)

    def _named_in(self, folder: Folder, unread: str) -> list[str]:
        """The log files that digests of the span name in ``unread``, which cannot be listed: they may be readable."""
        names: set[str] = set()
        for key in self._digest_keys(folder):
            if isinstance(key, str) and self._is_of_span(key, folder) and len(names) < _MOST_UNLISTED:
                found = _read(self._source, key, MAX_DIGEST_BYTES, self._odd).found
                names.update(_named_by(found, unread) if isinstance(found, SourceObject) else ())
        return sorted(names, key=_in_bytes)

    def _is_of_span(self, text: str, folder: Folder) -> bool:
        key = _digest_key(text, folder)
        return key is not None and self._span.start <= key.end_time <= self._span.end

    def _learn_ahead(self, folder: Folder, prefix: str) -> None:
        """Look into the digests now where log files (aggregated ones) come before them."""
        is_learnt = prefix > digest_prefix(folder) or folder in self._named
        if is_learnt or next(self._source.list_keys(prefix), None) is None:
            return
        for item in self._digest_keys(folder):
            reading = _read(self._source, item, MAX_DIGEST_BYTES, self._odd)
            if isinstance(reading.found, SourceObject):
                self.learn(reading.key, reading.found)


def _digests(source: TrailSource, folder: Folder, span: Span) -> Iterator[tuple[str, DigestKey]]:
    """The digests in ``folder`` that end in ``span``, of whatever trail, in byte order of their keys."""
    for text in list_readable_days(source, digest_prefix(folder), span.start, span.end):
        key = _digest_key(text, folder) if isinstance(text, str) else None
        if isinstance(text, str) and key is not None and span.start <= key.end_time <= span.end:
            yield text, key


def _digest_key(text: str, folder: Folder) -> DigestKey | None:
    """What ``text`` says; None where it is not the name of a digest in ``folder``."""
    try:
        key = parse_digest_key(text)
    except FormatError:
        return None
    return key if key.trail.folder == folder else None


def _delivered_at(key: str) -> datetime | None:
    try:
        return parse_log_key(key).delivered_at
    except FormatError:
        return None


def _is_in(key: str, start: datetime, end: datetime) -> bool:
    """Whether what lies at ``key`` in a log folder is to be looked at; what is not named so is to be told of."""
    moment = _delivered_at(key)
    return moment is None or start - MINUTE < moment <= end


def _in_bytes(item: str | Finding) -> bytes:
    """What keys, and folders that cannot be listed, are ordered by."""
    return (item if isinstance(item, str) else item.key).encode("utf-8", "surrogateescape")


def _named_by(found: SourceObject, folder: str) -> Iterator[str]:
    """The keys in ``folder`` of log files that the digest names, which need not be a good one."""
    with suppress(FormatError):
        digest = decode_digest(decode_member(found.data, max_size=MAX_DIGEST_BYTES), with_extra=False)
        yield from (file.key for file in digest.log_files if file.key.startswith(folder) and _is_named_so(file.key))


def _is_named_so(key: str) -> bool:
    """Whether CloudTrail would give this name to a digest or a log file."""
    for parse in (parse_digest_key, parse_log_key):
        with suppress(FormatError):
            parse(key)
            return True
    return False


def _read(source: TrailSource, item: str | Finding, limit: int, odd: OddObjects) -> _Reading:
    """What ``item``, a key or the finding that a folder cannot be listed, stands for."""
    if isinstance(item, Finding):
        return _Reading(item.key, item.message)
    why = _why_left_out(item, odd)
    if why:
        return _Reading(item, why)
    try:
        return _Reading(item, source.read(item, limit=limit))
    except NoSuchObject:
        return _Reading(item, GONE)
    except ObjectTooLarge:
        return _Reading(item, "")
    except StoreError as error:
        if not is_of_one_object(error, source, item):
            raise
        return _Reading(item, f"it cannot be read: {error}")


def _why_left_out(key: str, odd: OddObjects) -> str:
    """Why the object at ``key`` is not to be read, by its name; "" if it is.  Raises ``StoreError``."""
    if _is_named_so(key):
        return "" if is_plain_key(key) else "its name could do harm where the bundle is unpacked"
    is_log = DIGESTS not in key and not is_read_by_others(key)
    if is_log and all(finding.code is FindingCode.OBJECT_UNEXPECTED for finding in odd.judge(key)):
        return HARMLESS
    return "it lies among the trail's files, and its name is none of theirs"
