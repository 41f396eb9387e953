"""Objects as files below a folder: what a person sees there is the bucket.

``bucket/a/b.gz`` lies at ``ROOT/bucket/a/b.gz`` with its metadata beside it (``local_names``, ``local_sidecars``).
Needs a file system with POSIX renames, case-sensitive names and ordered metadata (ext4, xfs, btrfs, zfs).  Rules:

* A large object is made durable in its own files before ``put`` returns (``local_objects``); a small one by one shared
  flush of the write log (``local_log``), and its files follow within milliseconds (``local_backlog``).
* Whoever changes a key holds the key's lock; so changes come in the same order in log, memory and files.
* One process at a time writes below a root; any number may read (``read_only`` touches nothing, for auditors).
* A failed flush is not retryable, a full disk is; neither leaves debris.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeGuard

from opentrail.core.errors import NoSuchObject, StoreError
from opentrail.stores.base import ObjectInfo, OnStored, StoredObject, stored_now
from opentrail.stores.local_backlog import Backlog
from opentrail.stores.local_files import StoreErrors
from opentrail.stores.local_log import DELETE, FORGET, PUT, LogRecord, Segment, WriteLog, can_log, read_last_records
from opentrail.stores.local_objects import ObjectFiles
from opentrail.stores.local_sidecars import SidecarEntry, new_entry
from opentrail.stores.local_work import WorkFolder, dead_folders, remove_folder

LOGGED_BYTES = 64 * 1024  # objects up to this size go through the write log
_STRIPES = 1024


class LocalStore:
    """An ``ObjectStore`` of files below ``root``, recovered from a crash when it is opened.

    ``logged`` False writes small objects as large ones are written.  Raises ``StoreError``.
    """

    def __init__(self, root: str | os.PathLike[str], *, read_only: bool = False, logged: bool = True) -> None:
        self._root = os.path.abspath(root)
        self._files = ObjectFiles(self._root, others_write=read_only)
        self._read_only = read_only
        self._logged = logged and can_log()
        self._stripes = tuple(threading.Lock() for _ in range(_STRIPES))
        self._opening = threading.Lock()
        self._work: WorkFolder | None = None
        self._log: WriteLog | None = None
        self._backlog: Backlog | None = None
        if not read_only:
            with StoreErrors("open"):
                os.makedirs(self._root, mode=0o700, exist_ok=True)
                self._recover()

    def put(self, key: str, data: bytes | Iterable[bytes], metadata: Mapping[str, str]) -> ObjectInfo:
        """Store ``data`` under ``key``."""
        if self._is_logged(data):
            return stored_now(self, key, data, metadata)
        path = self._files.path_of(key)
        work = self._open_work()
        chunks = (data,) if isinstance(data, bytes) else data
        gate = _Gate(chunks, self._lock(key), lambda: self._drain(key))
        try:
            entry = self._files.write(path, gate, metadata, work.temporary_path())
            self._forget(key)
        finally:
            gate.leave()
        return _info_of(key, entry)

    def put_soon(self, key: str, data: bytes, metadata: Mapping[str, str], done: OnStored) -> None:
        """Store ``data`` under ``key`` and call ``done``; holds the key's lock until then."""
        if not self._is_logged(data):
            done(self.put(key, data, metadata), None)
            return
        self._files.path_of(key)  # refuses a key that no file can have
        self._open_work()
        log, backlog = self._log, self._backlog
        assert log is not None, "who may write has one"
        assert backlog is not None, "a log has one"
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        entry = new_entry((0, time.time_ns(), len(data)), md5, metadata)
        record, info = _record_of(key, entry, data), _info_of(key, entry)
        backlog.make_room(len(data))
        lock = self._lock(key)

        def finish(segment: Segment | None, error: StoreError | None) -> None:
            if segment is not None:
                backlog.add(record, segment)
            lock.release()
            done(info if segment is not None else None, error)

        lock.acquire()
        try:
            log.submit(record, finish)
        except BaseException:
            lock.release()
            raise

    def get(self, key: str, *, start: int = 0, end: int | None = None) -> StoredObject:
        """Open bytes ``start`` to ``end`` of ``key``."""
        path = self._files.path_of(key)
        record = self._backlog.find(key) if self._backlog is not None else None
        if record is not None:
            part = record.data[start:end]
            return StoredObject(info=_info_of(key, _entry_of(record)), chunks=iter((part,) if part else ()))
        entry, chunks = self._files.open(key, path, start, end)
        return StoredObject(info=_info_of(key, entry), chunks=chunks)

    def head(self, key: str) -> ObjectInfo:
        """The object's info."""
        path = self._files.path_of(key)
        record = self._backlog.find(key) if self._backlog is not None else None
        return _info_of(key, self._files.find(key, path) if record is None else _entry_of(record))

    def replace_metadata(self, key: str, metadata: Mapping[str, str]) -> ObjectInfo:
        """Give ``key`` other metadata."""
        path = self._files.path_of(key)
        work = self._open_work()
        with self._lock(key):
            self._drain(key)
            entry = self._files.replace_metadata(key, path, metadata, work.temporary_path())
            self._forget(key)
        return _info_of(key, entry)

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Every object below ``prefix`` after ``start_after``, in byte order."""
        if self._backlog is not None:
            self._backlog.drain()
        for key, entry in self._files.list(prefix, start_after):
            yield _info_of(key, replace(entry, metadata={}))

    def delete(self, key: str) -> None:
        """Remove ``key``."""
        path = self._files.path_of(key)
        self._open_work()
        with self._lock(key):
            try:
                self.head(key)
            except NoSuchObject:
                return
            if self._backlog is None:
                self._files.remove(path, flush=True)
            else:
                self._append(LogRecord(operation=DELETE, key=key))

    def close(self) -> None:
        """Bring the write log to its end and leave nothing behind."""
        with self._opening, StoreErrors("close"):
            if self._log is not None:
                self._log.stop()
            is_clean = self._backlog is None or self._backlog.close()
            if self._log is not None:
                self._log.close()
            if self._work is not None:
                self._work.close(keep=not is_clean)
            self._work = self._log = self._backlog = None

    def _is_logged(self, data: object) -> TypeGuard[bytes]:
        return self._logged and not self._read_only and isinstance(data, bytes) and len(data) <= LOGGED_BYTES

    def _lock(self, key: str) -> threading.Lock:
        return self._stripes[hash(key) % _STRIPES]

    def _open_work(self) -> WorkFolder:
        if self._work is not None:
            return self._work
        if self._read_only:
            raise StoreError("the store is open for reading alone", retryable=False)
        with self._opening, StoreErrors("open"):
            if self._work is None:
                work = WorkFolder(self._root)
                if self._logged:
                    self._log = WriteLog(work.path)
                    self._backlog = Backlog(self._log, self._apply, self._root)
                self._work = work
            return self._work

    def _append(self, record: LogRecord) -> None:
        """Make a change durable and let it be seen; the key's lock is held."""
        assert self._log is not None, "whoever asks has a backlog"
        assert self._backlog is not None, "and it has a log"
        self._backlog.add(record, self._log.append(record))

    def _drain(self, key: str) -> None:
        """Before a change of the files themselves: what memory holds of the key must be in them."""
        if self._backlog is not None and self._backlog.find(key) is not None:
            self._backlog.drain()

    def _forget(self, key: str) -> None:
        """After a change of the files themselves: what the log holds of the key must not come back.

        A crash before this brings the older object back; nobody was told of the newer one.
        """
        if self._log is not None and self._log.holds(key):
            self._log.applied(self._log.append(LogRecord(operation=FORGET, key=key)))

    def _apply(self, record: LogRecord) -> None:
        """Bring a durable change into its files, without a flush."""
        path = self._files.path_of(record.key)
        if record.operation == DELETE:
            self._files.remove(path, flush=False)
        else:
            assert self._work is not None, "changes are applied before the store is closed"
            temporary = self._work.temporary_path()
            self._files.place(path, record.data, _entry_of(record), temporary, flush=False)

    def _recover(self) -> None:
        """Write again what dead processes had made durable in their logs, and sweep what they left."""
        for folder in dead_folders(self._root):
            for record in read_last_records(folder):
                path = self._files.path_of(record.key)
                if record.operation == DELETE:
                    self._files.remove(path, flush=True)
                elif record.operation == PUT:
                    entry = _entry_of(record)
                    if not self._files.is_whole(record.key, path, record.data, entry):
                        temporary = f"{folder}/recovered"
                        self._files.place(path, record.data, entry, temporary, flush=True)
            remove_folder(folder)


class _Gate:
    """Data whose end is reached only under the key's lock, all earlier changes in their files."""

    def __init__(self, data: Iterable[bytes], lock: threading.Lock, before_end: Callable[[], None]) -> None:
        self._data = iter(data)
        self._lock = lock
        self._before_end = before_end
        self._entered = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        for chunk in self._data:
            return chunk
        if not self._entered:
            self._lock.acquire()
            self._entered = True
            self._before_end()
        raise StopIteration

    def leave(self) -> None:
        """Let go of the lock, if it was taken."""
        if self._entered:
            self._lock.release()


def _record_of(key: str, entry: SidecarEntry, data: bytes) -> LogRecord:
    return LogRecord(
        operation=PUT, key=key, etag=entry.etag, modified_ns=entry.modified_ns, metadata=entry.metadata, data=data
    )


def _entry_of(record: LogRecord) -> SidecarEntry:
    """The entry of a record's object, but for its mark.  Raises ``NoSuchObject`` where the record deletes it."""
    if record.operation == DELETE:
        raise NoSuchObject(record.key)
    mark = (0, record.modified_ns, len(record.data))
    return SidecarEntry(mark=mark, etag=record.etag, modified_ns=record.modified_ns, metadata=record.metadata)


def _info_of(key: str, entry: SidecarEntry) -> ObjectInfo:
    modified = datetime.fromtimestamp(entry.modified_ns / 1e9, UTC)
    return ObjectInfo(key=key, size=entry.mark[2], etag=entry.etag, last_modified=modified, metadata=entry.metadata)
