"""One walk over a chain: its digests in order, the log folders beside them, and which log files to check.

Rules: digests are read and their signatures checked ahead, links afterwards and in order; log folders are listed as far
as the digests have come, so that memory stays flat (``core.validation``).  A digest or a folder that the source refuses
is told, and gone past (``refusals``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from heapq import merge
from itertools import chain, islice
from typing import Final

from opentrail.core.digests import MAX_DIGEST_BYTES, SIGNATURE, decode_digest, hash_of
from opentrail.core.errors import FormatError, StoreError
from opentrail.core.findings import Finding, FindingCode
from opentrail.core.gzip_member import decode_member
from opentrail.core.layout import (
    Folder,
    LogKind,
    TrailFolder,
    digest_prefix,
    log_day_prefix,
    log_prefix,
    parse_digest_key,
)
from opentrail.core.logging_changes import LoggingHistory
from opentrail.core.object_checks import DigestReading, check_signature
from opentrail.core.public_keys import PublicKey
from opentrail.core.shared_folders import SharedFolders
from opentrail.core.unproven_links import UnprovenStarts
from opentrail.core.validation import WITNESS_WITHIN, ChainValidator, DigestProven, FetchDigest, FetchLogFile, Step
from opentrail.verification.before_view import find_newest_before
from opentrail.verification.day_folders import list_readable_days
from opentrail.verification.digest_reader import DigestReader
from opentrail.verification.odd_objects import OddObjects
from opentrail.verification.read_ahead import NoReadAhead, ReadAhead
from opentrail.verification.refusals import is_of_one_object
from opentrail.verification.request import VerifyRequest
from opentrail.verification.source import TrailSource

_DELIVERED: Final = re.compile(
    r"/(?P<y>[0-9]{4})/(?P<m>[0-9]{2})/(?P<d>[0-9]{2})/[^/]*_(?P<time>(?P=y)(?P=m)(?P=d)T[0-9]{4})Z_[^/]*\Z", re.ASCII
)
_DAY: Final = len("/2015/08/17")
_HOUR: Final = timedelta(hours=1)  # a digest covers no more
_HINTS: Final = 1000  # digests looked at for the bucket's name, until one is proven

WalkItem = Finding | DigestReading | FetchLogFile | DigestProven


def walk_chain(
    source: TrailSource,
    trail: TrailFolder,
    request: VerifyRequest,
    reader: DigestReader,
    *,
    bucket: str,
    history: LoggingHistory,
    ahead: ReadAhead,
    shared: SharedFolders | None = None,
    starts: UnprovenStarts | None = None,
) -> Iterator[WalkItem]:
    """What is found on the way, each digest that was read, and that is proven, and the log files to check.

    ``bucket`` is the one that the digests were made for; ``history`` is told of gaps, ``shared`` of log files in no
    digest, ``starts`` of what a copy cannot prove.  Raises ``StoreError``.
    """
    validator = ChainValidator(
        trail,
        bucket=bucket,
        start=request.start,
        end=request.end,
        expected_until=request.expected_until,
        asked_at=request.asked_at,
        metadata_kept=source.keeps_metadata,
        history=history,
        shared=shared,
        starts=starts,
    )
    log_keys = _LogKeys(source, trail.folder, request, ahead)
    odd = OddObjects(source)

    def read(step: Step) -> WalkItem:
        if not isinstance(step, FetchDigest):
            return step
        return reader.read(step.key, bucket)

    digests = list_readable_days(source, digest_prefix(trail.folder), request.start, _witnessed(request))
    listed = ahead.iterate(digests)
    steps = (
        step
        for item in listed
        for step in (validator.receive_key(item) if isinstance(item, str) else validator.receive_unread(item))
    )
    for item in ahead.map(read, steps):
        if not isinstance(item, DigestReading):
            yield item
            continue
        if validator.is_behind(item.key):
            yield from _without_digests(validator.receive_digest(item))
            continue
        yield item
        for listed_log in log_keys.up_to(item.key.end_time):
            yield from _add_listed_log(validator, listed_log, odd)
        yield from _without_digests(validator.receive_digest(item))
    for witness in validator.further():
        yield from _without_digests(validator.receive_digest(reader.read(witness.key, bucket)))
    for listed_log in log_keys.up_to(None):
        yield from _add_listed_log(validator, listed_log, odd)
    yield from _without_digests(validator.end_digests())
    if request.start is not None and validator.asks_before:
        before = find_newest_before(source, trail, request.start, ahead)
        if before is not None:
            yield from validator.receive_before(reader.read(before, bucket) if isinstance(before, str) else before)
    yield from _without_digests(validator.finish())


def find_bucket(
    source: TrailSource, trail: TrailFolder, request: VerifyRequest, public_keys: Mapping[str, PublicKey]
) -> str:
    """The bucket that the digests of ``trail`` were made for, as the first one says that is proven, in view or beside.

    Where none is, it is what the first says that stands in its place: a wrong name makes every digest foreign, it makes
    none good.
    """
    name = ""
    before: DigestReading | None = None
    listed = list_readable_days(source, digest_prefix(trail.folder), request.start, _witnessed(request))
    keys = islice(_keys_of(trail, listed), _HINTS)
    for text in chain(keys, _newest_before(source, trail, request)):
        reading = _read_where_it_says(source, text, public_keys)
        if reading is None or reading.digest is None:
            continue
        link = reading.digest.previous
        if _is_signed(reading, reading.signature):
            return reading.digest.bucket
        if before and before.digest and link and link.key == before.text and _is_signed(before, link.signature):
            return before.digest.bucket
        name = name or reading.digest.bucket
        before = reading
    return name


def _witnessed(request: VerifyRequest) -> datetime | None:
    """Up to when digests are read: those behind the view may tell of its end."""
    return request.end + WITNESS_WITHIN if request.end else None


def _newest_before(source: TrailSource, trail: TrailFolder, request: VerifyRequest) -> Iterator[str]:
    """The key of the newest digest before the view, if it has one that can be found."""
    before = find_newest_before(source, trail, request.start, NoReadAhead()) if request.start else None
    if isinstance(before, str):
        yield before


def _keys_of(trail: TrailFolder, listed: Iterable[str | Finding]) -> Iterator[str]:
    """The keys among ``listed`` that are of digests of ``trail``."""
    own = f"_{trail.trail_name}_{trail.home_region}_"
    for text in listed:
        with suppress(FormatError):
            if isinstance(text, str) and own in text and parse_digest_key(text).trail == trail:
                yield text


def _read_where_it_says(source: TrailSource, text: str, public_keys: Mapping[str, PublicKey]) -> DigestReading | None:
    """The digest at ``text``, in the bucket that it names, without its log files.

    None where it names another place, or cannot be read.
    """
    try:
        found = source.read(text, limit=MAX_DIGEST_BYTES)
    except StoreError as error:
        if is_of_one_object(error, source, text):
            return None
        raise
    with suppress(FormatError):
        content = decode_member(found.data, max_size=MAX_DIGEST_BYTES)
        digest = replace(decode_digest(content, with_extra=False), log_files=())
        if digest.key == text:
            return DigestReading(
                key=parse_digest_key(text),
                text=text,
                digest=digest,
                hash_value=hash_of(content),
                signature=found.metadata.get(SIGNATURE, ""),
                public_key=public_keys.get(digest.public_key_fingerprint),
            )
    return None


def _is_signed(reading: DigestReading, signature: str) -> bool:
    """Whether ``signature`` (hex) proves ``reading``, of which nothing was checked."""
    return reading.public_key is not None and check_signature(reading, signature, reading.public_key).is_trusted


class _LogKeys:
    """The keys of the log folders, in the order of delivery, and in their places which folders cannot be listed."""

    def __init__(self, source: TrailSource, folder: Folder, request: VerifyRequest, ahead: ReadAhead) -> None:
        listings = (_timed(ahead.iterate(_list_logs(source, folder, kind, request))) for kind in LogKind)
        self._keys = merge(*listings)  # no two have the same key
        self._next = next(self._keys, None)

    def up_to(self, end: datetime | None) -> Iterator[str | Finding]:
        """The keys not yet given out, up to those delivered at ``end``."""
        last = f"{end.astimezone(UTC):%Y%m%dT%H%M}" if end else ""
        while self._next is not None and (end is None or self._next[0] <= last):
            yield self._next[2] or self._next[1]
            self._next = next(self._keys, None)


def _list_logs(source: TrailSource, folder: Folder, kind: LogKind, request: VerifyRequest) -> Iterator[str | Finding]:
    """The log files of the days in view, and of the end of the day before: the first digest may begin there."""
    start, prefix = request.start, log_prefix(folder, kind)
    if start is None or (first := start.astimezone(UTC) - _HOUR).date() == start.astimezone(UTC).date():
        return list_readable_days(source, prefix, start, request.end)
    day = log_day_prefix(folder, kind, first)
    name = f"{day}{folder.account_id}_{kind}_{folder.region}_"
    listed = list_readable_days(source, prefix, first, request.end, after=f"{name}{first:%Y%m%dT%H%M}")
    return (
        key
        for key in listed
        if not isinstance(key, str) or not key.startswith(day) or _DELIVERED.match(key, len(day) - _DAY - 1)
    )


def _timed(listed: Iterator[str | Finding]) -> Iterator[tuple[str, str, Finding | None]]:
    """Each key with its time of delivery (YYYYMMDDTHHMM); what is not named so comes with the one before it.

    So does a folder that cannot be listed, with the finding that says so.

    Text is enough for the order, and reading the whole name would cost ten times as much.
    """
    time = ""
    for key in listed:
        if isinstance(key, Finding):
            yield time, key.key, key
            continue
        match = _DELIVERED.match(key, max(0, key.rfind("/") - _DAY))
        if match is not None:
            time = match["time"]
        yield time, key, None


def _add_listed_log(validator: ChainValidator, listed: str | Finding, odd: OddObjects) -> Iterable[Finding]:
    if not isinstance(listed, str):
        return (listed,)
    if listed.endswith("/"):
        return odd.judge(listed)
    findings = validator.add_log_key(listed)
    return _look_into_odd(findings, odd) if findings else ()


def _look_into_odd(findings: Iterable[Finding], odd: OddObjects) -> Iterator[Finding]:
    for finding in findings:
        if finding.code is FindingCode.OBJECT_UNEXPECTED:
            yield from odd.judge(finding.key)
        else:
            yield finding


def _without_digests(steps: Iterable[Step]) -> Iterator[Finding | FetchLogFile | DigestProven]:
    for step in steps:
        assert not isinstance(step, FetchDigest), "only receive_key asks for digests"
        yield step
