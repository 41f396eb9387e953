"""Single files, as the local store uses them: written whole and flushed, read in chunks; failures as ``StoreError``."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from stat import S_ISREG
from types import TracebackType
from typing import Self

from opentrail.core.errors import NoSuchObject, StoreError
from opentrail.stores.local_names import FILE

CHUNK_BYTES = 256 * 1024

NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY
READ = os.O_RDONLY | os.O_NONBLOCK  # a pipe of other hands holds nobody
_FINAL = frozenset({errno.EIO, errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ, errno.ELOOP})


class StoreErrors:
    """A block whose ``OSError`` becomes a ``StoreError`` that names ``what`` was tried."""

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            message = f"{self._what}: {error.strerror or error}"
            raise StoreError(message, retryable=error.errno not in _FINAL) from error


class FileChunks:
    """Bytes ``start`` to ``stop`` of an open file, once; the file is closed at the end, or with this object.

    What fits in one chunk is read at once: a reader of small objects holds no file open.
    """

    __slots__ = ("_descriptor", "_first", "_left")

    def __init__(self, descriptor: int, start: int, stop: int) -> None:
        self._descriptor = descriptor
        self._left = max(0, stop - start)
        self._first = b""
        if start:
            os.lseek(descriptor, start, os.SEEK_SET)
        if self._left <= CHUNK_BYTES:
            self._first = self._read()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        chunk, self._first = self._first or self._read(), b""
        if not chunk:
            raise StopIteration
        return chunk

    def close(self) -> None:
        """Close the file; nothing more is yielded."""
        self._left, self._first = 0, b""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        if getattr(self, "_descriptor", -1) >= 0:
            self.close()

    def _read(self) -> bytes:
        if self._descriptor < 0:
            return b""
        if not self._left:
            self.close()
            return b""
        with StoreErrors("read"):
            chunk = os.read(self._descriptor, min(CHUNK_BYTES, self._left))
        if not chunk:
            raise StoreError("read: the file became shorter while it was read", retryable=True)
        left = self._left - len(chunk)
        if not left:
            self.close()
        self._left = left
        return chunk


def open_data(path: str, key: str) -> tuple[int, os.stat_result]:
    """Open the data file of ``path``; the first name is tried again last, for a file may move between them.

    Raises ``NoSuchObject``.
    """
    for candidate in (path, path + FILE, path):
        try:
            descriptor = os.open(candidate, READ)
        except (FileNotFoundError, NotADirectoryError):
            continue
        status = os.fstat(descriptor)
        if S_ISREG(status.st_mode):
            return descriptor, status
        os.close(descriptor)
    raise NoSuchObject(key)


def stat_data(path: str) -> os.stat_result | None:
    """The status of the data file of ``path``, looked up as ``open_data`` does."""
    for candidate in (path, path + FILE, path):
        try:
            status = os.stat(candidate)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if S_ISREG(status.st_mode):
            return status
    return None


def remove_data(path: str) -> None:
    """Remove the data file of ``path`` under both of its names."""
    for candidate in (path, path + FILE):
        unlink_file(candidate)


def unlink_file(path: str) -> None:
    """Remove the file ``path``, if it is there and one."""
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    except IsADirectoryError:  # a folder has the name, or had it a moment ago: no file of ours then
        return
    except PermissionError:  # what macOS says of a folder
        if not os.path.isdir(path):
            raise


def rename_over(source: str, target: str) -> None:
    """Rename a file to ``target``, a name that no key's folder has: a folder that is there moves aside.

    Raises ``OSError``.
    """
    for number in count(1):
        with suppress(IsADirectoryError):
            os.rename(source, target)
            return
        aside = f"{target}%stray{number}"
        if not os.path.lexists(aside):
            with suppress(FileNotFoundError):
                os.rename(target, aside)


def write_file(path: str, data: bytes, *, flush: bool) -> os.stat_result:
    """Write the new file ``path``.  Raises ``StoreError``."""
    with StoreErrors("write"):
        descriptor = os.open(path, NEW, 0o600)
        try:
            write_all(descriptor, data)
            if flush:
                _flush(descriptor)
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)


def write_stream(path: str, data: Iterable[bytes]) -> tuple[os.stat_result, str]:
    """Write and flush the new file ``path``; its status and MD5.

    Raises ``StoreError``; what ``data`` raises passes through.
    """
    with StoreErrors("write"):
        descriptor = os.open(path, NEW, 0o600)
    try:
        digest = hashlib.md5(usedforsecurity=False)
        for chunk in data:
            digest.update(chunk)
            with StoreErrors("write"):
                write_all(descriptor, chunk)
        with StoreErrors("write"):
            _flush(descriptor)
            return os.fstat(descriptor), digest.hexdigest()
    finally:
        os.close(descriptor)


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


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte.  Raises ``OSError``."""
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])


def _flush(descriptor: int) -> None:
    try:
        os.fsync(descriptor)  # not fdatasync: the mark in the sidecar needs the time too
    except OSError as error:
        raise flush_error(error) from error
