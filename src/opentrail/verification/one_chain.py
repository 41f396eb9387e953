"""One chain in a store, one object after the other: the plainest driver of the rules, which the engine is held against.

Rules: it is ``walk_chain`` and the checks of log files, without the engine's processes, threads, tally and what shows
only when several chains are finished; a store's failure is raised.  No command uses it: tests of the
rules alone do, and ``tests/verification/test_engine.py`` compares both on the tamper matrix.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from opentrail.core.errors import NoSuchObject
from opentrail.core.findings import Finding, FindingCode, found
from opentrail.core.layout import TrailFolder
from opentrail.core.logging_changes import LoggingHistory
from opentrail.core.moved_files import MovedFiles
from opentrail.core.object_checks import LogFileReading, hash_log_file, read_changes, read_log_file
from opentrail.core.public_keys import PublicKey
from opentrail.core.validation import FetchLogFile
from opentrail.stores.base import ObjectStore
from opentrail.verification.chain_walk import WalkItem, walk_chain
from opentrail.verification.digest_reader import DigestReader
from opentrail.verification.public_keys_file import keys_by_fingerprint
from opentrail.verification.read_ahead import NoReadAhead
from opentrail.verification.request import VerifyRequest
from opentrail.verification.store_source import StoreSource


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
    sources = {
        name: StoreSource(lambda given=given: given, name=name, bucket=name, keeps_metadata=metadata_kept)  # type: ignore[misc]  # mypy: lambda's default
        for name, given in {**(other_buckets or {}), bucket: store}.items()
    }
    shared = history or LoggingHistory()
    walk = walk_chain(
        sources[bucket],
        trail,
        VerifyRequest(start=start, end=end, expected_until=expected_until),
        DigestReader(sources[bucket], keys_by_fingerprint(public_keys)),
        bucket=bucket,
        history=shared,
        ahead=NoReadAhead(),
    )
    moved = MovedFiles()
    for item in walk:
        for finding in _findings_of(item, sources, shared):
            moved.add(finding)
            shared.add_finding(trail, finding)
            yield finding
    for key in moved.candidates():
        yield from moved.compare(key, hash_log_file(sources[bucket].read_chunks(key)))
    if history is None:
        yield from (finding for _, finding in shared.finish())


def _findings_of(item: WalkItem, sources: Mapping[str, StoreSource], history: LoggingHistory) -> Iterator[Finding]:
    if isinstance(item, Finding):
        yield item
    elif isinstance(item, FetchLogFile):
        reading = _check(item, sources)
        if reading.finding is not None:
            yield reading.finding
        for change in reading.changes:
            yield from history.add_change(change)


def _check(step: FetchLogFile, sources: Mapping[str, StoreSource]) -> LogFileReading:
    file = step.file
    source = sources.get(file.bucket)
    if source is None:
        message = f"lies in the bucket {file.bucket}, which is not at hand"
        return LogFileReading(finding=found(FindingCode.LOG_FILE_UNREACHABLE, file.key, message, bucket=file.bucket))
    try:
        chunks = source.read_chunks(file.key)
    except NoSuchObject:
        chunks = None
    reading = read_log_file(file, chunks, with_changes=step.with_changes)
    return read_changes(file, source.read_chunks(file.key)) if reading.has_more_changes else reading
