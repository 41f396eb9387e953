"""Objects as files: data, sidecar, folders.  What ``LocalStore`` does with its hands.

* Data are written to a temporary file, then their sidecar; both are renamed into place (sidecar first), flushed before
  and their folder after, unless ``flush`` is False: then a log answers for them.
* Whoever changes a path holds the path's lock.  Folders are made and removed without: a change that finds its folder
  gone makes it again.  A file that is where a folder must be moves aside (``a`` to ``a%file``) under its own lock.
* A folder with a name of ours (``a%file``, ``.a%meta``) is other hands': it moves aside, and nothing in it is lost.
* A lock is never held while something else is waited for.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace

from opentrail.core.errors import NoSuchObject, StoreError
from opentrail.stores.base import UnusableKey, check_key
from opentrail.stores.local_files import (
    NEW,
    FileChunks,
    StoreErrors,
    open_data,
    remove_data,
    rename_over,
    stat_data,
    sync_folder,
    unlink_file,
    write_all,
    write_file,
    write_stream,
)
from opentrail.stores.local_listing import KeyListing
from opentrail.stores.local_names import FILE, format_path, sidecar_path
from opentrail.stores.local_sidecars import (
    Mark,
    SidecarEntry,
    encode_sidecar,
    foreign_entry,
    mark_of,
    match_entry,
    new_entry,
    read_sidecar,
)

PATH_BYTES = 4000  # PATH_MAX is 4096; temporary names and suffixes need a few
_STRIPES = 1024
_BIRTH_NS = 2_000_000_000
_ATTEMPTS = 1000  # a race with other threads is lost at most so often


class ObjectFiles:
    """The objects below ``root``, an absolute path, which another process may be writing.  Raises ``StoreError``."""

    def __init__(self, root: str, *, others_write: bool = False) -> None:
        self._root = root.rstrip("/") + "/"
        self._listing = KeyListing(self._root)
        self._others_write = others_write
        self._stripes = tuple(threading.RLock() for _ in range(_STRIPES))
        self._unborn: set[str] = set()  # paths where a first file may be being written, under their locks

    def path_of(self, key: str) -> str:
        """Where ``key`` lies, relative to the root.  Raises ``UnusableKey``."""
        check_key(key)
        path = format_path(key)
        if (len(path) + len(self._root)) * 4 > PATH_BYTES:
            size = len((self._root + path).encode("utf-8", "surrogateescape"))
            if size > PATH_BYTES:
                raise UnusableKey(f"a key that makes a path of {size} bytes, more than {PATH_BYTES}")
        return path

    def write(self, path: str, data: Iterable[bytes], metadata: Mapping[str, str], temporary: str) -> SidecarEntry:
        """Write a stream; durable on return.  What ``data`` raises passes through, and nothing stays behind."""
        try:
            status, md5 = write_stream(temporary, data)
            entry = new_entry(mark_of(status), md5, metadata)
            self._commit(path, entry, temporary, flush=True)
        except BaseException:  # of whatever kind: the debris goes first
            with suppress(OSError):
                os.unlink(temporary)
            raise
        return entry

    def place(self, path: str, data: bytes, entry: SidecarEntry, temporary: str, *, flush: bool) -> None:
        """Write an object whose ``entry`` is known but for its mark."""
        if not flush and self._create(path, data, entry):
            return
        try:
            with StoreErrors("write"):
                mark = mark_of(write_file(temporary, data, flush=flush))
            self._commit(path, replace(entry, mark=mark), temporary, flush=flush)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise

    def find(self, key: str, path: str) -> SidecarEntry:
        """What is known of the object.  Raises ``NoSuchObject``."""
        with StoreErrors("head"):
            for _ in range(_ATTEMPTS):
                status = stat_data(self._root + path)
                if self._has_waited(path):
                    continue
                if status is None or self._is_unborn(path, status):
                    raise NoSuchObject(key)
                entry = self._describe(path, mark_of(status))
                if entry is not None:
                    return entry
        raise StoreError(f"head {key!r}: it changes all the time", retryable=True)

    def open(self, key: str, path: str, start: int, end: int | None) -> tuple[SidecarEntry, FileChunks]:
        """Open the object's bytes ``start`` to ``end``.  Raises ``NoSuchObject``."""
        with StoreErrors("get"):
            for _ in range(_ATTEMPTS):
                descriptor, status = open_data(self._root + path, key)
                if not self._has_waited(path):
                    unborn = self._is_unborn(path, status)
                    entry = None if unborn else self._describe(path, mark_of(status))
                    if entry is not None:
                        stop = status.st_size if end is None else min(end, status.st_size)
                        return entry, FileChunks(descriptor, start, stop)
                    if unborn:
                        os.close(descriptor)
                        raise NoSuchObject(key)
                os.close(descriptor)
        raise StoreError(f"get {key!r}: it changes all the time", retryable=True)

    def list(self, prefix: str, start_after: str) -> Iterator[tuple[str, SidecarEntry]]:
        """Keys in byte order, each with what is known of it."""
        with StoreErrors("list"):
            for key, path, status in self._listing.walk(prefix.encode(), start_after.encode()):
                if not self._has_waited(path) and self._is_unborn(path, status):
                    continue
                try:
                    entry = self._describe(path, mark_of(status)) or self.find(key, path)
                except NoSuchObject:
                    continue
                yield key, entry

    def replace_metadata(self, key: str, path: str, metadata: Mapping[str, str], temporary: str) -> SidecarEntry:
        """Write another sidecar, durably."""
        with self._lock(path), StoreErrors("replace_metadata"):
            found = self.find(key, path)
            entry = replace(new_entry(found.mark, found.etag, metadata), modified_ns=found.modified_ns)
            write_file(temporary, encode_sidecar(entry), flush=True)
            rename_over(temporary, self._root + sidecar_path(path))
            sync_folder(self._root + path.rpartition("/")[0])
        return entry

    def remove(self, path: str, *, flush: bool) -> None:
        """Remove the object, if it is there, and the folders that it leaves empty."""
        with StoreErrors("delete"), self._lock(path):
            remove_data(self._root + path)
            unlink_file(self._root + sidecar_path(path))
            remaining = self._remove_empty_folders(path)
            if flush:
                self._sync_nearest(remaining)

    def _sync_nearest(self, folder: str) -> None:
        """Make the entries of ``folder`` durable; where another removal took it meanwhile, those of what held it."""
        while True:
            try:
                sync_folder(self._root + folder)
            except (FileNotFoundError, NotADirectoryError):
                if not folder:
                    raise
                folder = folder.rpartition("/")[0]
            else:
                return

    def is_whole(self, key: str, path: str, data: bytes, entry: SidecarEntry) -> bool:
        """Whether the files hold this object, every byte."""
        try:
            found, chunks = self.open(key, path, 0, None)
        except NoSuchObject:
            return False
        return b"".join(chunks) == data and replace(found, mark=entry.mark) == entry

    def _create(self, path: str, data: bytes, entry: SidecarEntry) -> bool:
        """Write a new object where it is to lie, in half the time; False where something is there, or no folder.

        Readers find the object in memory meanwhile.  Those who looked there before it came wait until it is here;
        those of another process pass over a file so new.
        """
        names = self._root + sidecar_path(path), self._root + path
        with self._lock(path), self._birth(path), StoreErrors("put"):
            try:
                sidecar = os.open(names[0], NEW, 0o600)
            except (FileExistsError, FileNotFoundError, NotADirectoryError):
                return False
            try:
                try:
                    descriptor = os.open(names[1], NEW, 0o600)
                except (FileExistsError, FileNotFoundError, NotADirectoryError):
                    os.unlink(names[0])
                    return False
                try:
                    write_all(descriptor, data)
                    mark = mark_of(os.fstat(descriptor))
                finally:
                    os.close(descriptor)
                write_all(sidecar, encode_sidecar(replace(entry, mark=mark)))
            except OSError:
                for name in reversed(names):
                    with suppress(FileNotFoundError):
                        os.unlink(name)
                raise
            finally:
                os.close(sidecar)
        return True

    @contextmanager
    def _birth(self, path: str) -> Iterator[None]:
        self._unborn.add(path)
        try:
            yield
        finally:
            self._unborn.discard(path)

    def _lock(self, path: str) -> threading.RLock:
        return self._stripes[hash(path) % _STRIPES]

    def _has_waited(self, path: str) -> bool:
        """Whether the file was being written here, and no longer is: what the reader saw of it is worth nothing.

        To be asked before its sidecar is read: what is finished in between has changed its size or has its sidecar.
        """
        if path not in self._unborn:
            return False
        with self._lock(path):  # who writes holds it
            return True

    def _is_unborn(self, path: str, status: os.stat_result) -> bool:
        """Whether another process may still be writing the file: it is new, and nothing is known of it."""
        if not self._others_write or time.time_ns() - status.st_mtime_ns > _BIRTH_NS:
            return False
        return not read_sidecar(self._root + sidecar_path(path))

    def _describe(self, path: str, mark: Mark) -> SidecarEntry | None:
        """What is known of the data file with ``mark``; None when it is no longer the path's."""
        entries = read_sidecar(self._root + sidecar_path(path))
        entry = match_entry(entries, mark)
        if entry is not None:
            return entry if entry.mark == mark else replace(entry, mark=mark)
        status = stat_data(self._root + path)
        is_still_there = status is not None and mark_of(status) == mark
        return foreign_entry(entries, mark) if is_still_there else None

    def _commit(self, path: str, entry: SidecarEntry, temporary: str, *, flush: bool) -> None:
        with StoreErrors("put"):
            for _ in range(_ATTEMPTS):
                try:
                    with self._lock(path):
                        self._swap(path, entry, temporary, flush=flush)
                except (FileNotFoundError, NotADirectoryError):
                    self._make_folders(path)
                else:
                    return
        raise StoreError("put: its folder disappears all the time", retryable=True)

    def _swap(self, path: str, entry: SidecarEntry, temporary: str, *, flush: bool) -> None:
        """Bring sidecar and data into place, the path's lock held.

        A crash before the last rename leaves the old object, for the sidecar still has its entry.
        """
        sidecar, new_sidecar = self._root + sidecar_path(path), temporary + ".meta"
        entries = read_sidecar(sidecar)
        old = self._current(path, entries) if entries else ()
        encoded = encode_sidecar(entry, *old)
        try:
            write_file(new_sidecar, encoded, flush=flush)
            rename_over(new_sidecar, sidecar)
        except BaseException:
            with suppress(OSError):
                os.unlink(new_sidecar)
            raise
        try:
            os.rename(temporary, self._root + path)
        except IsADirectoryError:
            rename_over(temporary, self._root + path + FILE)
        else:
            if entries:  # its second name, from a time when a folder had the first
                unlink_file(self._root + path + FILE)
        if flush:
            sync_folder(self._root + path.rpartition("/")[0])

    def _current(self, path: str, entries: tuple[SidecarEntry, ...]) -> tuple[SidecarEntry, ...]:
        """The entry of the data file that is about to be replaced, if it has one."""
        status = stat_data(self._root + path)
        entry = match_entry(entries, mark_of(status)) if status is not None else None
        return () if entry is None else (entry,)

    def _make_folders(self, path: str) -> None:
        """Make the folders above ``path``, durably; a file in the way moves aside."""
        folder = ""
        for name in path.split("/")[:-1]:
            above, folder = folder, f"{folder}/{name}" if folder else name
            try:
                self._make_folder(folder)
            except (FileNotFoundError, NotADirectoryError):
                return  # removed from above meanwhile, or a file has its place: the caller tries again
            except FileExistsError:
                continue
            with suppress(FileNotFoundError, NotADirectoryError):
                sync_folder(self._root + above)

    def _make_folder(self, folder: str) -> None:
        absolute = self._root + folder
        try:
            os.mkdir(absolute, 0o700)
        except FileExistsError:
            with self._lock(folder):
                if os.path.isdir(absolute):
                    raise
                if os.path.isfile(absolute):  # and stays one: who removes it holds the lock too
                    rename_over(absolute, absolute + FILE)
                os.mkdir(absolute, 0o700)

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
