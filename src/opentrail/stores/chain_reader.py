"""Validates a trail in a store: the plainest driver of ``core.validation``, one object after the other.

Rules: it lists lazily and holds one object at a time; a store's failure is raised, not turned into a finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from heapq import merge
from typing import Final

from opentrail.core.errors import FormatError, NoSuchObject
from opentrail.core.findings import Finding, FindingCode, found
from opentrail.core.layout import Folder, LogKind, TrailFolder, digest_prefix, log_prefix, parse_log_key
from opentrail.core.logging_changes import LoggingHistory
from opentrail.core.moved_files import MovedFiles
from opentrail.core.object_checks import LogFileReading, hash_log_file, read_digest, read_log_file
from opentrail.core.public_keys import PublicKey
from opentrail.core.validation import ChainValidator, FetchDigest, FetchLogFile, Step
from opentrail.stores.base import ObjectStore

_USER: Final = "x-amz-meta-"
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)


def validate_chain(
    store: ObjectStore,
    trail: TrailFolder,
    *,
    bucket: str,
    public_keys: Iterable[PublicKey],
    start: datetime | None = None,
    end: datetime | None = None,
    expected_until: datetime | None = None,
    other_buckets: Mapping[str, ObjectStore] | None = None,
    metadata_kept: bool = True,
    history: LoggingHistory | None = None,
) -> Iterator[Finding]:
    """Validate the digests of ``trail`` in ``store`` (the bucket ``bucket``, or a copy of it) and what they name.

    ``start``, ``end``, ``expected_until`` and ``metadata_kept`` are as ``ChainValidator`` has them; ``other_buckets``
    are where log files lie that were delivered before the trail changed its bucket.  ``history`` is the one of several
    chains, whose gaps the caller has explained in the end.  Raises ``StoreError`` when a store fails.
    """
    stores = {bucket: store, **(other_buckets or {})}
    keys = {key.fingerprint: key for key in public_keys}
    shared = history or LoggingHistory()
    validator = ChainValidator(
        trail,
        bucket=bucket,
        start=start,
        end=end,
        expected_until=expected_until,
        metadata_kept=metadata_kept,
        history=shared,
    )
    log_keys = _LogKeys(store, trail.folder, start, end)

    def steps() -> Iterator[Step]:
        for text in _list_days(store, digest_prefix(trail.folder), start, end):
            for step in validator.receive_key(text):
                if not isinstance(step, FetchDigest):
                    yield step
                    continue
                data, metadata = _read(store, step.key)
                reading = read_digest(
                    step.key, data, metadata, bucket=bucket, public_keys=keys, metadata_kept=metadata_kept
                )
                for key in log_keys.up_to(reading.key.end_time):
                    yield from validator.add_log_key(key)
                yield from validator.receive_digest(reading)
        for key in log_keys.up_to(None):
            yield from validator.add_log_key(key)
        yield from validator.finish()

    moved = MovedFiles()
    for step in steps():
        for finding in _findings_of(step, stores, shared):
            moved.add(finding)
            yield finding
    for key in moved.candidates():
        yield from moved.compare(key, hash_log_file(store.get(key).chunks))
    if history is None:
        yield from shared.finish()


def user_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """An object's metadata without S3's ``x-amz-meta-``: the names that ``core.digests`` knows."""
    return {name.removeprefix(_USER): value for name, value in metadata.items()}


class _LogKeys:
    """The keys of the log folders, in the order of delivery."""

    def __init__(self, store: ObjectStore, folder: Folder, start: datetime | None, end: datetime | None) -> None:
        listings = (_timed(_list_days(store, log_prefix(folder, kind), start, end)) for kind in LogKind)
        self._keys = merge(*listings)
        self._next = next(self._keys, None)

    def up_to(self, end: datetime | None) -> Iterator[str]:
        """The keys not yet given out, up to those delivered at ``end``."""
        while self._next is not None and (end is None or self._next[0] <= end):
            yield self._next[1]
            self._next = next(self._keys, None)


def _timed(keys: Iterator[str]) -> Iterator[tuple[datetime, str]]:
    """Each key with its time of delivery; what is not named like a log file comes with the one before it."""
    time = _EARLIEST
    for key in keys:
        with suppress(FormatError):  # add_log_key reports it
            time = parse_log_key(key).delivered_at
        yield time, key


def _list_days(store: ObjectStore, prefix: str, start: datetime | None, end: datetime | None) -> Iterator[str]:
    """The keys under ``prefix``, which holds folders YYYY/MM/DD, of the days from ``start`` to ``end``."""
    after = f"{prefix}{start.astimezone(UTC):%Y/%m/%d}" if start else ""
    before = f"{prefix}{end.astimezone(UTC) + timedelta(days=1):%Y/%m/%d}" if end else None
    for info in store.list(prefix, start_after=after):
        if before is not None and info.key >= before:
            return
        yield info.key


def _read(store: ObjectStore, key: str) -> tuple[bytes | None, Mapping[str, str]]:
    try:
        found = store.get(key)
        return b"".join(found.chunks), user_metadata(found.info.metadata)
    except NoSuchObject:
        return None, {}


def _findings_of(step: Step, stores: Mapping[str, ObjectStore], history: LoggingHistory) -> Iterator[Finding]:
    if isinstance(step, Finding):
        yield step
    elif isinstance(step, FetchLogFile):
        reading = _check(step, stores)
        if reading.finding is not None:
            yield reading.finding
        for change in reading.changes:
            yield from history.add_change(change)


def _check(step: FetchLogFile, stores: Mapping[str, ObjectStore]) -> LogFileReading:
    file = step.file
    store = stores.get(file.bucket)
    if store is None:
        message = f"lies in the bucket {file.bucket}, which is not at hand"
        return LogFileReading(finding=found(FindingCode.LOG_FILE_UNREACHABLE, file.key, message, bucket=file.bucket))
    try:
        chunks = store.get(file.key).chunks
    except NoSuchObject:
        chunks = None
    return read_log_file(file, chunks, with_changes=step.with_changes)
