"""The write log of a local store: small objects become durable together, with one flush, before their files do.

Making one small object durable by itself costs three flushes (data, metadata, folder).  Instead a put appends the whole
object here; all calls that wait at the same moment share one ``fdatasync``; then the object's files are renamed
into place without a flush of their own.  After a crash of the machine whatever those files lack is written again
from the log (``read_segments``).  Rules:

* ``append`` returns when the record is durable.  The caller then applies it and says so (``applied``).
* ``checkpoint`` starts a new segment, waits until every record of the old one is applied, flushes the whole file system
  (``syncfs``) and only then removes the old segment, durably.
* A segment ends at its first broken record: that one was never acknowledged.
* A failed flush is final: nothing after it is known, so every later call fails too.

Record: length and CRC-32 of the rest (little-endian, 4 bytes each), a line of JSON, the object's bytes.
"""

from __future__ import annotations

import ctypes
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import orjson

from opentrail.core.errors import StoreError

SEGMENT_BYTES = 64 * 1024 * 1024
SEGMENT_SECONDS = 60.0

_HEAD = struct.Struct("<II")
_SUFFIX = ".log"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """One change: ``put`` with the object's ``data``, or ``delete``."""

    operation: str
    key: str
    etag: str = ""
    mtime_ns: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)
    data: bytes = b""


class _Batch:
    """The records that one flush makes durable."""

    __slots__ = ("error", "records", "segment")

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.error: StoreError | None = None
        self.segment: Segment | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Segment:
    """A log file and what is known of it."""

    path: str
    descriptor: int
    started: float  # monotonic seconds
    size: int = 0  # bytes
    unapplied: int = 0
    keys: set[str] = field(default_factory=set)


class WriteLog:
    """The log in ``folder`` of the store at ``root``.  Raises ``StoreError`` where a record cannot be made durable."""

    def __init__(self, folder: str, root: str) -> None:
        self._folder = folder
        self._sync_files = _sync_files_of(root)
        self._writer = threading.Lock()  # held to write and flush
        self._checkpointer = threading.Lock()  # held by the one checkpoint at a time
        self._state = threading.Condition()  # guards the open batch, the segments and their counts
        self._number = 0
        self._broken = False
        self._batch = _Batch()
        self._segment = self._new_segment()
        self._old: Segment | None = None

    def append(self, record: LogRecord) -> Segment:
        """Make ``record`` durable; the segment is to be given to ``applied`` when its effect is in place."""
        encoded = _encode_record(record)
        with self._state:
            batch = self._batch
            batch.records.append(encoded)
        if batch.segment is None and batch.error is None:
            with self._writer:
                if batch.segment is None and batch.error is None:
                    self._write_batch()
        if batch.error is not None:
            raise batch.error
        segment = batch.segment
        assert segment is not None, "a batch without an error is in a segment"
        segment.keys.add(record.key)
        return segment

    def applied(self, segment: Segment) -> None:
        """The record's files are in place, or its caller gave up."""
        with self._state:
            segment.unapplied -= 1
            if not segment.unapplied:
                self._state.notify_all()

    def holds(self, key: str) -> bool:
        """Whether a record of ``key`` waits for a checkpoint."""
        old = self._old
        return key in self._segment.keys or (old is not None and key in old.keys)

    @property
    def is_due(self) -> bool:
        """Whether the segment is large or old enough for a checkpoint."""
        segment = self._segment
        return segment.size > SEGMENT_BYTES or (
            segment.size > 0 and time.monotonic() - segment.started > SEGMENT_SECONDS
        )

    def checkpoint(self) -> None:
        """Make durable in their own files all objects that were appended, and forget them here."""
        with self._checkpointer:
            with self._writer, self._state:
                old = self._segment
                if not old.size:
                    return
                self._segment, self._old = self._new_segment(), old
            with self._state:
                self._state.wait_for(lambda: not old.unapplied)
            try:
                self._sync_files()
                os.unlink(old.path)
                sync_folder(self._folder)
            except OSError as error:
                self._broken = True
                raise flush_error(error) from error
            os.close(old.descriptor)
            self._old = None

    def close(self) -> None:
        """Close the files; a checkpoint first, or the log stays for the next process."""
        for segment in filter(None, (self._segment, self._old)):
            os.close(segment.descriptor)

    def _write_batch(self) -> None:
        with self._state:
            batch, self._batch = self._batch, _Batch()
        segment = self._segment
        if self._broken:
            batch.error = StoreError("an earlier flush failed: restart to recover what is durable", retryable=False)
            return
        joined = b"".join(batch.records)
        try:
            _write_all(segment.descriptor, joined)
        except OSError as error:
            os.ftruncate(segment.descriptor, segment.size)
            batch.error = StoreError(f"write log: {error.strerror}", retryable=True)
            return
        try:
            os.fdatasync(segment.descriptor)
        except OSError as error:
            self._broken = True
            batch.error = flush_error(error)
            return
        with self._state:
            segment.size += len(joined)
            segment.unapplied += len(batch.records)
        batch.segment = segment

    def _new_segment(self) -> Segment:
        path = f"{self._folder}/{self._number:08d}{_SUFFIX}"
        self._number += 1
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        sync_folder(self._folder)
        return Segment(path=path, descriptor=descriptor, started=time.monotonic())


def read_segments(folder: str) -> Iterator[LogRecord]:
    """Every whole record of the segments in ``folder``, in the order of writing."""
    for name in sorted(os.listdir(folder)):
        if not name.endswith(_SUFFIX):
            continue
        with open(os.path.join(folder, name), "rb") as file:  # noqa: PTH123  paths are text here, as os wants them
            while (head := file.read(_HEAD.size)) and len(head) == _HEAD.size:
                length, checksum = _HEAD.unpack(head)
                body = file.read(length)
                if len(body) < length or crc32(body) != checksum:
                    break
                yield _decode_record(body)


def can_log() -> bool:
    """Whether this system can flush one file system at a time (``syncfs``, Linux)."""
    return _SYNCFS is not None


def sync_folder(path: str) -> None:
    """Make the names in a folder durable.  Raises ``OSError``."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_error(error: OSError) -> StoreError:
    """A failed flush: what the disk holds is unknown, so no retry can help."""
    return StoreError(f"flush: {error.strerror}", retryable=False)


def _encode_record(record: LogRecord) -> bytes:
    head = orjson.dumps(
        {
            "operation": record.operation,
            "key": record.key,
            "etag": record.etag,
            "mtime_ns": record.mtime_ns,
            "metadata": dict(record.metadata),
        }
    )
    body = b"%b\n%b" % (head, record.data)
    return _HEAD.pack(len(body), crc32(body)) + body


def _decode_record(body: bytes) -> LogRecord:
    head, _, data = body.partition(b"\n")
    return LogRecord(**orjson.loads(head), data=data)


def _write_all(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])


def _sync_files_of(root: str) -> Callable[[], None]:
    def sync_files() -> None:
        descriptor = os.open(root, os.O_RDONLY)
        try:
            if _SYNCFS(descriptor):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
        finally:
            os.close(descriptor)

    return sync_files


_SYNCFS: Any = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
