"""Objects as files below a folder: what a person sees there is the bucket.

``bucket/a/b.gz`` lies at ``ROOT/bucket/a/b.gz`` with its metadata beside it (``local_names``, ``local_sidecars``).  Needs a
file system with POSIX renames, case-sensitive names and ordered metadata (ext4, xfs, btrfs, zfs).  Rules:

* A large object is written to a temporary file and flushed, then its sidecar, then both are renamed into place (sidecar
  first) and the folder is flushed.  A small one is made durable by one shared flush of the write log (``local_log``).
* Whoever changes a key holds the key's lock.  Folders are made and removed without locks: a change that finds its
  folder gone makes it again.  A file that is where a folder must be moves aside (``a`` to ``a%file``) under its own lock.
* One process at a time writes below a root; any number may read (``read_only`` touches nothing, for auditors).
* A failed flush is not retryable, a full disk is; neither leaves debris.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from opentrail.core.errors import NoSuchObject, StoreError
from opentrail.stores.base import ObjectInfo, StoredObject, UnusableKey, check_key, check_metadata
from opentrail.stores.local_files import (
    FileChunks,
    StoreErrors,
    open_data,
    remove_data,
    stat_data,
    write_file,
    write_stream,
)
from opentrail.stores.local_listing import list_files
from opentrail.stores.local_log import LogRecord, WriteLog, can_log, read_segments, sync_folder
from opentrail.stores.local_names import FILE, format_path, sidecar_path
from opentrail.stores.local_sidecars import (
    Mark,
    SidecarEntry,
    encode_sidecar,
    foreign_entry,
    mark_of,
    match_entry,
    read_sidecar,
)
from opentrail.stores.local_work import WorkFolder, dead_folders, remove_folder

LOGGED_BYTES = 64 * 1024  # objects up to this size go through the write log
PATH_BYTES = 4000  # PATH_MAX is 4096; temporary names and suffixes need a few
_STRIPES = 1024
_ATTEMPTS = 1000  # a race with other threads is lost at most so often


class LocalStore:
    """An ``ObjectStore`` of files below ``root``, recovered from a crash when it is opened.

    ``logged`` False writes small objects as large ones are written.  Raises ``StoreError``.
    """

    def __init__(self, root: str | os.PathLike[str], *, read_only: bool = False, logged: bool = True) -> None:
        self._root = os.path.abspath(root) + "/"  # noqa: PTH100  paths are text here, as os wants them
        self._read_only = read_only
        self._logged = logged and can_log()
        self._stripes = tuple(threading.RLock() for _ in range(_STRIPES))
        self._opening = threading.Lock()
        self._work: WorkFolder | None = None
        self._log: WriteLog | None = None
        if not read_only:
            with StoreErrors("open"):
                os.makedirs(self._root, mode=0o700, exist_ok=True)  # noqa: PTH103
                self._recover()

    def put(self, key: str, data: bytes | Iterable[bytes], metadata: Mapping[str, str]) -> ObjectInfo:
        """Store ``data`` under ``key``."""
        path = self._path(key)
        temporary = self._open_work().temporary_path()
        try:
            if self._log is not None and isinstance(data, bytes) and len(data) <= LOGGED_BYTES:
                md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
                entry = _entry_of(mark_of(write_file(temporary, data, flush=False)), md5, metadata)
                self._commit(key, path, entry, temporary, _record_of(key, entry, data))
            else:
                status, md5 = write_stream(temporary, (data,) if isinstance(data, bytes) else data)
                entry = _entry_of(mark_of(status), md5, metadata)
                self._commit(key, path, entry, temporary, None)
        except BaseException:  # of whatever kind: nothing stays behind
            with suppress(OSError):
                os.unlink(temporary)
            raise
        return _info_of(key, entry)

    def get(self, key: str, *, start: int = 0, end: int | None = None) -> StoredObject:
        """Open bytes ``start`` to ``end`` of ``key``."""
        path = self._path(key)
        with StoreErrors("get"):
            for _ in range(_ATTEMPTS):
                descriptor, status = open_data(self._root + path, key)
                entry = self._describe(path, mark_of(status))
                if entry is not None:
                    stop = status.st_size if end is None else min(end, status.st_size)
                    return StoredObject(info=_info_of(key, entry), chunks=FileChunks(descriptor, start, stop))
                os.close(descriptor)
        raise StoreError(f"get {key!r}: it changes all the time", retryable=True)

    def head(self, key: str) -> ObjectInfo:
        """The object's info."""
        return _info_of(key, self._find(key, self._path(key)))

    def replace_metadata(self, key: str, metadata: Mapping[str, str]) -> ObjectInfo:
        """Give ``key`` other metadata."""
        path = self._path(key)
        temporary = self._open_work().temporary_path()
        with self._lock(path), StoreErrors("replace_metadata"):
            found = self._find(key, path)
            entry = _entry_of(found.mark, found.etag, metadata)
            self._settle(key)
            write_file(temporary, _encode(entry), flush=True)
            os.rename(temporary, self._root + sidecar_path(path))
            sync_folder(self._root + path.rpartition("/")[0])
        return _info_of(key, entry)

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Every object below ``prefix`` after ``start_after``, in byte order."""
        with StoreErrors("list"):
            for key, path, status in list_files(self._root, prefix.encode(), start_after.encode()):
                try:
                    entry = self._describe(path, mark_of(status)) or self._find(key, path)
                except NoSuchObject:
                    continue
                yield _info_of(key, replace(entry, metadata={}))

    def delete(self, key: str) -> None:
        """Remove ``key``."""
        path = self._path(key)
        self._open_work()
        with StoreErrors("delete"), self._lock(path):
            if stat_data(self._root + path) is None:
                return
            log = self._log
            segment = None
            if log is not None and log.holds(key):
                segment = log.append(LogRecord(operation="delete", key=key))
            try:
                remove_data(self._root + path)
                with suppress(FileNotFoundError):
                    os.unlink(self._root + sidecar_path(path))
                remaining = self._remove_empty_folders(path)
            finally:
                if log is not None and segment is not None:
                    log.applied(segment)
            if segment is None:
                sync_folder(self._root + remaining)

    def close(self) -> None:
        """Bring the write log to its end and leave nothing behind."""
        with self._opening, StoreErrors("close"):
            work, log, self._work, self._log = self._work, self._log, None, None
            if log is not None:
                log.checkpoint()
                log.close()
            if work is not None:
                work.close()

    def _path(self, key: str) -> str:
        check_key(key)
        path = format_path(key)
        if len(path) * 4 > PATH_BYTES:
            size = len((self._root + path).encode("utf-8", "surrogateescape"))
            if size > PATH_BYTES:
                raise UnusableKey(f"a key that makes a path of {size} bytes, more than {PATH_BYTES}")
        return path

    def _lock(self, path: str) -> threading.RLock:
        return self._stripes[hash(path) % _STRIPES]

    def _open_work(self) -> WorkFolder:
        if self._work is not None:
            return self._work
        if self._read_only:
            raise StoreError("the store is open for reading alone", retryable=False)
        with self._opening, StoreErrors("open"):
            if self._work is None:
                work = WorkFolder(self._root)
                if self._logged:
                    self._log = WriteLog(work.path, self._root)
                self._work = work
            return self._work

    def _find(self, key: str, path: str) -> SidecarEntry:
        with StoreErrors("head"):
            for _ in range(_ATTEMPTS):
                status = stat_data(self._root + path)
                if status is None:
                    raise NoSuchObject(key)
                entry = self._describe(path, mark_of(status))
                if entry is not None:
                    return entry
        raise StoreError(f"head {key!r}: it changes all the time", retryable=True)

    def _describe(self, path: str, mark: Mark) -> SidecarEntry | None:
        """What is known of the data file with ``mark``; None when it is no longer the path's."""
        entries = read_sidecar(self._root + sidecar_path(path))
        entry = match_entry(entries, mark)
        if entry is not None:
            return entry if entry.mark == mark else replace(entry, mark=mark)
        status = stat_data(self._root + path)
        is_still_there = status is not None and mark_of(status) == mark
        return foreign_entry(entries, mark) if is_still_there else None

    def _commit(self, key: str, path: str, entry: SidecarEntry, temporary: str, record: LogRecord | None) -> None:
        """Put the temporary data file and its entry into place, durably."""
        with StoreErrors("put"):
            for _ in range(_ATTEMPTS):
                try:
                    with self._lock(path):
                        self._swap(key, path, entry, temporary, record)
                    break
                except (FileNotFoundError, NotADirectoryError):
                    self._make_folders(path)
            else:
                raise StoreError(f"put {key!r}: its folder disappears all the time", retryable=True)
            if self._log is not None and self._log.is_due:
                self._log.checkpoint()

    def _swap(self, key: str, path: str, entry: SidecarEntry, temporary: str, record: LogRecord | None) -> None:
        """Rename sidecar and data into place, the key's lock held.

        A crash before the last rename leaves the old object, for the sidecar still has its entry, or (``record``) the
        log brings the new one.
        """
        sidecar, new_sidecar = self._root + sidecar_path(path), temporary + ".meta"
        entries = read_sidecar(sidecar)
        old = self._current(path, entries) if entries else ()
        try:
            write_file(new_sidecar, _encode(entry, *old), flush=record is None)
            if record is None or self._log is None:
                self._settle(key)
                self._rename(temporary, new_sidecar, path, overwrite=bool(entries))
                sync_folder(self._root + path.rpartition("/")[0])
            else:
                segment = self._log.append(record)
                try:
                    self._rename(temporary, new_sidecar, path, overwrite=bool(entries))
                finally:
                    self._log.applied(segment)
        except BaseException:
            with suppress(OSError):
                os.unlink(new_sidecar)
            raise

    def _rename(self, temporary: str, new_sidecar: str, path: str, *, overwrite: bool) -> None:
        os.rename(new_sidecar, self._root + sidecar_path(path))
        try:
            os.rename(temporary, self._root + path)
        except IsADirectoryError:
            os.rename(temporary, self._root + path + FILE)
        else:
            if overwrite:  # its second name, from a time when a folder had the first
                with suppress(FileNotFoundError):
                    os.unlink(self._root + path + FILE)

    def _current(self, path: str, entries: tuple[SidecarEntry, ...]) -> tuple[SidecarEntry, ...]:
        """The entry of the data file that is about to be replaced, if it has one."""
        status = stat_data(self._root + path)
        entry = match_entry(entries, mark_of(status)) if status is not None else None
        return () if entry is None else (entry,)

    def _settle(self, key: str) -> None:
        """Before a change past the log: what the log still holds of the key must not come back after it."""
        if self._log is not None and self._log.holds(key):
            self._log.checkpoint()

    def _make_folders(self, path: str) -> None:
        """Make the folders above ``path``, durably; a file in the way moves aside."""
        folder = ""
        for name in path.split("/")[:-1]:
            above, folder = folder, f"{folder}/{name}" if folder else name
            try:
                self._make_folder(self._root + folder)
            except FileNotFoundError:
                return  # removed from above meanwhile: the caller tries again
            except FileExistsError:
                continue
            with suppress(FileNotFoundError):
                sync_folder(self._root + above)

    def _make_folder(self, folder: str) -> None:
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            with self._lock(folder.removeprefix(self._root)):
                if os.path.isdir(folder):  # noqa: PTH112
                    raise
                with suppress(FileNotFoundError):
                    os.rename(folder, folder + FILE)
                os.mkdir(folder, 0o700)

    def _remove_empty_folders(self, path: str) -> str:
        """Remove the folders above ``path`` that are empty; the first that is not."""
        folder = path.rpartition("/")[0]
        while folder:
            try:
                os.rmdir(self._root + folder)
            except FileNotFoundError:
                pass
            except OSError:
                break
            folder = folder.rpartition("/")[0]
        return folder

    def _recover(self) -> None:
        """Write again what dead processes had made durable in their logs, and sweep what they left."""
        for folder in dead_folders(self._root):
            for record in read_segments(folder):
                if record.operation == "delete":
                    self.delete(record.key)
                elif not self._is_whole(record):
                    self._restore(record)
            remove_folder(folder)

    def _is_whole(self, record: LogRecord) -> bool:
        """Whether the record's object is in its files, every byte."""
        try:
            found = self.get(record.key)
        except NoSuchObject:
            return False
        same = (found.info.etag, found.info.metadata) == (record.etag, record.metadata)
        return b"".join(found.chunks) == record.data and same

    def _restore(self, record: LogRecord) -> None:
        temporary = self._open_work().temporary_path()
        status, _ = write_stream(temporary, (record.data,), mtime_ns=record.mtime_ns)
        entry = SidecarEntry(mark=mark_of(status), etag=record.etag, metadata=record.metadata)
        self._commit(record.key, self._path(record.key), entry, temporary, None)


def _entry_of(mark: Mark, md5: str, metadata: Mapping[str, str]) -> SidecarEntry:
    kept = dict(metadata)
    check_metadata(kept)
    return SidecarEntry(mark=mark, etag=kept.get("etag") or md5, metadata=kept)


def _record_of(key: str, entry: SidecarEntry, data: bytes) -> LogRecord:
    return LogRecord(
        operation="put", key=key, etag=entry.etag, mtime_ns=entry.mark[1], metadata=entry.metadata, data=data
    )


def _encode(*entries: SidecarEntry) -> bytes:
    try:
        return encode_sidecar(*entries)
    except TypeError:
        raise StoreError("metadata must be text that UTF-8 can hold", retryable=False) from None


def _info_of(key: str, entry: SidecarEntry) -> ObjectInfo:
    _, mtime_ns, size = entry.mark
    modified = datetime.fromtimestamp(mtime_ns / 1e9, UTC)
    return ObjectInfo(key=key, size=size, etag=entry.etag, last_modified=modified, metadata=entry.metadata)
