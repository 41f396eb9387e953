"""One walk over a chain: its digests in order, the log folders beside them, and which log files to check.

Rules: digests are read and their signatures checked ahead, links afterwards and in order; log folders are listed as far
as the digests have come, so that memory stays flat (``core.validation``).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from heapq import merge
from itertools import islice
from typing import Final

from opentrail.core.digests import MAX_DIGEST_BYTES, decode_digest
from opentrail.core.errors import FormatError, NoSuchObject
from opentrail.core.findings import Finding
from opentrail.core.gzip_member import decode_member
from opentrail.core.layout import Folder, LogKind, TrailFolder, digest_prefix, log_prefix
from opentrail.core.logging_changes import LoggingHistory
from opentrail.core.object_checks import DigestReading, read_digest, too_large_digest
from opentrail.core.public_keys import PublicKey
from opentrail.core.shared_folders import SharedFolders
from opentrail.core.unproven_links import UnprovenStarts
from opentrail.core.validation import WITNESS_WITHIN, ChainValidator, FetchDigest, FetchLogFile, Step
from opentrail.verification.discovery import list_days
from opentrail.verification.read_ahead import ReadAhead
from opentrail.verification.request import VerifyRequest
from opentrail.verification.source import ObjectTooLarge, TrailSource

_DELIVERED: Final = re.compile(
    r"/(?P<y>[0-9]{4})/(?P<m>[0-9]{2})/(?P<d>[0-9]{2})/[^/]*_(?P<time>(?P=y)(?P=m)(?P=d)T[0-9]{4})Z_[^/]*\Z", re.ASCII
)
_DAY: Final = len("/2015/08/17")
_SMALL_BYTES: Final = 4096  # as it lies there: no more than 4 MB inflated, be it a bomb
_TURN: Final = threading.Lock()  # a larger digest may take 80 MB to read: one at a time, however many are read ahead
_HINTS: Final = 5  # digests looked at for the bucket's name

WalkItem = Finding | DigestReading | FetchLogFile


def walk_chain(
    source: TrailSource,
    trail: TrailFolder,
    request: VerifyRequest,
    public_keys: Mapping[str, PublicKey],
    *,
    bucket: str,
    history: LoggingHistory,
    ahead: ReadAhead,
    shared: SharedFolders | None = None,
    starts: UnprovenStarts | None = None,
) -> Iterator[WalkItem]:
    """What is found on the way, each digest that was read, and the log files to check.

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

    def read(step: Step) -> WalkItem:
        if not isinstance(step, FetchDigest):
            return step
        return _read(source, step.key, bucket, public_keys)

    witnessed = request.end + WITNESS_WITHIN if request.end else None
    keys = ahead.iterate(list_days(source, digest_prefix(trail.folder), request.start, witnessed))
    steps = (step for key in keys for step in validator.receive_key(key))
    for item in ahead.map(read, steps):
        if not isinstance(item, DigestReading):
            yield item
            continue
        if validator.is_behind(item.key):
            yield from _without_digests(validator.receive_digest(item))
            continue
        yield item
        for key in log_keys.up_to(item.key.end_time):
            yield from validator.add_log_key(key)
        yield from _without_digests(validator.receive_digest(item))
    for key in log_keys.up_to(None):
        yield from validator.add_log_key(key)
    yield from _without_digests(validator.finish())


def find_bucket(source: TrailSource, trail: TrailFolder, request: VerifyRequest) -> str:
    """The bucket that the digests of ``trail`` were made for, as the first ones that stand in their place say.

    They are not proven here: a name that is wrong makes every digest foreign, it makes none good.
    """
    keys = list_days(source, digest_prefix(trail.folder), request.start, request.end)
    for text in islice(keys, _HINTS):
        with suppress(FormatError, NoSuchObject, ObjectTooLarge):
            found = source.read(text, limit=MAX_DIGEST_BYTES)
            digest = decode_digest(decode_member(found.data, max_size=MAX_DIGEST_BYTES))
            if digest.key == text:
                return digest.bucket
    return ""


class _LogKeys:
    """The keys of the log folders, in the order of delivery."""

    def __init__(self, source: TrailSource, folder: Folder, request: VerifyRequest, ahead: ReadAhead) -> None:
        listings = (
            _timed(ahead.iterate(list_days(source, log_prefix(folder, kind), request.start, request.end)))
            for kind in LogKind
        )
        self._keys = merge(*listings)
        self._next = next(self._keys, None)

    def up_to(self, end: datetime | None) -> Iterator[str]:
        """The keys not yet given out, up to those delivered at ``end``."""
        last = f"{end.astimezone(UTC):%Y%m%dT%H%M}" if end else ""
        while self._next is not None and (end is None or self._next[0] <= last):
            yield self._next[1]
            self._next = next(self._keys, None)


def _timed(keys: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Each key with its time of delivery (YYYYMMDDTHHMM); what is not named so comes with the one before it.

    Text is enough for the order, and reading the whole name would cost ten times as much.
    """
    time = ""
    for key in keys:
        match = _DELIVERED.match(key, max(0, key.rfind("/") - _DAY))
        if match is not None:
            time = match["time"]
        yield time, key


def _read(source: TrailSource, key: str, bucket: str, public_keys: Mapping[str, PublicKey]) -> DigestReading:
    data: bytes | None
    try:
        found = source.read(key, limit=MAX_DIGEST_BYTES)
        data, metadata = found.data, found.metadata
    except NoSuchObject:
        data, metadata = None, {}
    except ObjectTooLarge:
        return too_large_digest(key, MAX_DIGEST_BYTES)
    read_it = partial(
        read_digest, key, data, metadata, bucket=bucket, public_keys=public_keys, metadata_kept=source.keeps_metadata
    )
    if data is None or len(data) <= _SMALL_BYTES:
        return read_it()
    with _TURN:
        return read_it()


def _without_digests(steps: Iterable[Step]) -> Iterator[Finding | FetchLogFile]:
    for step in steps:
        assert not isinstance(step, FetchDigest), "only receive_key asks for digests"
        yield step
