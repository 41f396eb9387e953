"""The system calls that the embedded journal makes, as a seam for fault injection.

``OsFiles`` is the operating system; ``testing.simulated_files`` is a disk in memory that fails, is killed and loses
power.  Everything that can fail raises ``OSError``.
"""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path
from typing import Final, Protocol

_FILE_MODE: Final = 0o600
_FOLDER_MODE: Final = 0o700


class Files(Protocol):
    """What a journal asks of a file system.  Offsets and sizes are bytes."""

    def make_folder(self, path: Path) -> None:
        """Create the folder (mode 0700, its parent synced) where it is not there."""
        ...

    def names(self, folder: Path) -> list[str]:
        """The names in ``folder``, in no order."""
        ...

    def lock(self, path: Path, holder: bytes) -> int:
        """Lock the file at ``path`` until the descriptor is closed or the process dies, and write ``holder`` into it.

        Raises ``BlockingIOError`` where it is locked.
        """
        ...

    def create(self, path: Path) -> int:
        """Open ``path`` for reading and writing, mode 0600, emptied."""
        ...

    def open(self, path: Path) -> int:
        """Open ``path``, which exists, for reading and writing."""
        ...

    def close(self, descriptor: int) -> None:
        """Close the descriptor."""
        ...

    def size(self, descriptor: int) -> int:
        """The file's size."""
        ...

    def read(self, descriptor: int, length: int, offset: int) -> bytes:
        """Up to ``length`` bytes at ``offset``; fewer only at the end of the file."""
        ...

    def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        """Write ``data`` at ``offset``; returns how many bytes were taken."""
        ...

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut the file to ``size``."""
        ...

    def sync(self, descriptor: int) -> None:
        """Make the file's data and size durable (fdatasync)."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Rename within a folder, replacing ``target``."""
        ...

    def unlink(self, path: Path) -> None:
        """Remove the file."""
        ...

    def sync_folder(self, path: Path) -> None:
        """Make the folder's names durable (fsync)."""
        ...


class OsFiles:
    """``Files`` of the operating system."""

    def make_folder(self, path: Path) -> None:
        """See ``Files``."""
        if path.is_dir():
            return
        path.mkdir(_FOLDER_MODE)
        self.sync_folder(path.absolute().parent)

    def names(self, folder: Path) -> list[str]:
        """See ``Files``."""
        return [path.name for path in folder.iterdir()]

    def lock(self, path: Path, holder: bytes) -> int:
        """See ``Files``; flock(2), which also excludes a second opening by the same process."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, holder, 0)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def create(self, path: Path) -> int:
        """See ``Files``."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _FILE_MODE)

    def open(self, path: Path) -> int:
        """See ``Files``."""
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def close(self, descriptor: int) -> None:
        """See ``Files``."""
        os.close(descriptor)

    def size(self, descriptor: int) -> int:
        """See ``Files``."""
        return os.fstat(descriptor).st_size

    def read(self, descriptor: int, length: int, offset: int) -> bytes:
        """See ``Files``; one pread(2) as a rule, more where it stops early."""
        data = os.pread(descriptor, length, offset)
        while len(data) < length and (more := os.pread(descriptor, length - len(data), offset + len(data))):
            data += more
        return data

    def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        """See ``Files``."""
        return os.pwrite(descriptor, data, offset)

    def truncate(self, descriptor: int, size: int) -> None:
        """See ``Files``."""
        os.ftruncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        """See ``Files``; on macOS fsync(2) stops at the drive's cache, F_FULLFSYNC does not."""
        if sys.platform == "darwin":
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """See ``Files``."""
        source.replace(target)

    def unlink(self, path: Path) -> None:
        """See ``Files``."""
        path.unlink()

    def sync_folder(self, path: Path) -> None:
        """See ``Files``."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
