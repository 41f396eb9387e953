"""The write log of a local store: small objects become durable together, with one flush, before their files do.

Making one small object durable by itself costs three flushes (data, metadata, folder).  Instead its whole record is
appended here; all calls that wait at the same moment share one ``fdatasync``; the object's files follow later, without
a flush.  After a crash of the machine whatever the files lack is written again from the log.  Rules:

* One thread writes whatever waits, flushes once and tells everyone, in the order of ``submit``; whoever was told says
  when the record's effect is in files (``applied``).
* When the effects of every record of a segment are in their files, the whole file system is flushed (``syncfs``), and
  only then the segment is removed, durably (``retire``).
* Recovery looks at the last record of each key alone (``read_last_records``).
* A segment ends at its first broken record: that one was never acknowledged.
* A failed flush is final: nothing after it is known, so every later call fails too.

Record: length and CRC-32 of the rest (little-endian, 4 bytes each), a line of JSON, the object's bytes.
"""

from __future__ import annotations

import ctypes
import logging
import os
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import orjson

from opentrail.core.errors import StoreError
from opentrail.stores.local_files import StoreErrors, flush_error, sync_folder, write_all

log = logging.getLogger("opentrail.stores")

SEGMENT_BYTES = 64 * 1024 * 1024
SEGMENT_SECONDS = 60.0

PUT, DELETE, FORGET = "put", "delete", "forget"

_HEAD = struct.Struct("<II")
_SUFFIX = ".log"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LogRecord:
    """One change: PUT with the object, DELETE, or FORGET (what the log says of the key so far is past)."""

    operation: str
    key: str
    etag: str = ""
    modified_ns: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)
    data: bytes = b""


@dataclass(slots=True, kw_only=True, eq=False)
class Segment:
    """A log file, how much is in it, and the keys that it speaks of."""

    path: str
    descriptor: int
    started: float  # monotonic seconds
    size: int = 0  # bytes
    unapplied: int = 0  # records
    keys: set[str] = field(default_factory=set)


OnDurable = Callable[[Segment | None, StoreError | None], None]  # (segment, None) or (None, error); should not raise
_Waiting = tuple[bytes, str, OnDurable]  # the encoded record, its key, who waits for it


class _Waiter:
    """Whoever blocks until a record is durable."""

    def __init__(self) -> None:
        self._done = threading.Lock()
        self._done.acquire()
        self._segment: Segment | None = None
        self._error: StoreError | None = None

    def __call__(self, segment: Segment | None, error: StoreError | None) -> None:
        self._segment, self._error = segment, error
        self._done.release()

    def wait(self) -> Segment:
        self._done.acquire()
        if self._segment is None:
            assert self._error is not None, "a record is in a segment or has an error"
            raise self._error
        return self._segment


class WriteLog:
    """The log in ``folder``.  Raises ``StoreError`` where a record cannot be made durable."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._writer = threading.Lock()  # held to write and flush, and to change segments
        self._work = threading.Condition()  # of what waits, and of what is not applied
        self._waiting: list[_Waiting] = []
        self._stopping = False
        self._number = 0
        self._broken = False
        self._segment = self._new_segment()
        self._old: Segment | None = None
        self._thread = threading.Thread(target=self._run, name="store-log", daemon=True)
        self._thread.start()

    def submit(self, record: LogRecord, done: OnDurable) -> None:
        """Make ``record`` durable, and then call ``done`` on the log's thread, once.

        Raises ``StoreError`` where the log was stopped; ``done`` is then never called.
        """
        encoded = _encode_record(record)
        with self._work:
            if self._stopping:
                raise StoreError("the store is closed", retryable=False)
            self._waiting.append((encoded, record.key, done))
            if len(self._waiting) == 1:
                self._work.notify()

    def append(self, record: LogRecord) -> Segment:
        """Make ``record`` durable; returns the segment that has it."""
        waiter = _Waiter()
        self.submit(record, waiter)
        return waiter.wait()

    def stop(self) -> None:
        """Take no more records and finish those that wait."""
        with self._work:
            self._stopping = True
            self._work.notify()
        self._thread.join()

    def applied(self, segment: Segment) -> None:
        """The effect of one of the segment's records is in files."""
        with self._work:
            segment.unapplied -= 1

    def holds(self, key: str) -> bool:
        """Whether recovery would find a record of ``key``."""
        segment = (
            self._segment
        )  # read in this order, and written in the other, none is missed while one follows another
        old = self._old
        return key in segment.keys or (old is not None and key in old.keys)

    @property
    def is_due(self) -> bool:
        """Whether the segment is large or old enough to be followed by another."""
        segment = self._segment
        if self._old is not None or not segment.size:
            return False
        return segment.size > SEGMENT_BYTES or time.monotonic() - segment.started > SEGMENT_SECONDS

    def rotate(self) -> Segment | None:
        """Start another segment; the old one, to be retired once all its records are in files.

        Where that cannot be done now (a full disk), the present one goes on.
        """
        with self._writer, StoreErrors("write log"):
            if not self._segment.size:
                return None
            following = self._new_segment()
            self._old = full = self._segment
            self._segment = following
            return full

    def retire(self, segment: Segment, root: str) -> None:
        """Flush the file system of ``root`` and remove ``segment``."""
        with StoreErrors("write log"):
            files = os.open(root, os.O_RDONLY)
        try:
            _sync_files(files)
            os.unlink(segment.path)
            sync_folder(self._folder)
        except OSError as error:
            self._broken = True
            raise flush_error(error) from error
        finally:
            os.close(files)
        os.close(segment.descriptor)
        self._old = None

    def close(self) -> None:
        """Close the files; what is in them stays."""
        for segment in filter(None, (self._segment, self._old)):
            os.close(segment.descriptor)

    def _run(self) -> None:
        while batch := self._take():
            segment, error = self._write([encoded for encoded, _, _ in batch])
            for _, key, done in batch:
                if segment is not None:
                    segment.keys.add(key)  # before anyone is told: whoever holds the key's lock may ask ``holds`` next
                try:
                    done(segment, error)
                except Exception:  # the thread's boundary: the next one in the batch waits for this thread, too
                    log.exception("whoever waited for the record of %s failed; the record is durable", key)

    def _take(self) -> list[_Waiting]:
        """What waits; blocks until there is something; empty when the log is stopped."""
        with self._work:
            while not self._waiting and not self._stopping:
                self._work.wait()
            batch, self._waiting = self._waiting, []
            return batch

    def _write(self, records: list[bytes]) -> tuple[Segment | None, StoreError | None]:
        """Make the records durable together: the segment that has them, or why not."""
        with self._writer:
            try:
                return self._write_durably(b"".join(records), len(records)), None
            except StoreError as error:
                return None, error
            except BaseException as error:  # noqa: BLE001  the thread's boundary: nobody may wait for one that died
                self._broken = True
                return None, StoreError(f"write log: {error!r}", retryable=False)

    def _write_durably(self, data: bytes, count: int) -> Segment:
        segment = self._segment
        if self._broken:
            raise StoreError("an earlier flush failed: restart to recover what is durable", retryable=False)
        try:
            write_all(segment.descriptor, data)
        except OSError as error:
            os.ftruncate(segment.descriptor, segment.size)
            raise StoreError(f"write log: {error.strerror}", retryable=True) from error
        try:
            os.fdatasync(segment.descriptor)
        except OSError as error:
            self._broken = True
            raise flush_error(error) from error
        segment.size += len(data)
        with self._work:
            segment.unapplied += count
        return segment

    def _new_segment(self) -> Segment:
        path = f"{self._folder}/{self._number:08d}{_SUFFIX}"
        self._number += 1
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        try:
            sync_folder(self._folder)
        except OSError:
            os.close(descriptor)
            raise
        return Segment(path=path, descriptor=descriptor, started=time.monotonic())


def read_last_records(folder: str) -> list[LogRecord]:
    """The last whole record of each key in the segments of ``folder``, in the order of writing."""
    last: dict[str, LogRecord] = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(_SUFFIX):
            with open(f"{folder}/{name}", "rb") as file:
                while len(head := file.read(_HEAD.size)) == _HEAD.size:
                    length, checksum = _HEAD.unpack(head)
                    body = file.read(length)
                    if len(body) < length or crc32(body) != checksum:
                        break
                    record = _decode_record(body)
                    last.pop(record.key, None)
                    last[record.key] = record
    return list(last.values())


def can_log() -> bool:
    """Whether this system can flush one file system at a time (``syncfs``, Linux)."""
    return _SYNCFS is not None


def _encode_record(record: LogRecord) -> bytes:
    head = orjson.dumps(
        {
            "operation": record.operation,
            "key": record.key,
            "etag": record.etag,
            "modified_ns": record.modified_ns,
            "metadata": record.metadata,
        }
    )
    body = b"%b\n%b" % (head, record.data)
    return _HEAD.pack(len(body), crc32(body)) + body


def _decode_record(body: bytes) -> LogRecord:
    head, _, data = body.partition(b"\n")
    return LogRecord(**orjson.loads(head), data=data)


def _sync_files(descriptor: int) -> None:
    if _SYNCFS(descriptor):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


_SYNCFS: Any = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
