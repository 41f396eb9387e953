"""A disk in memory for ``journal.files.Files``: it fails, its process is killed, it loses power.

The model, as hostile as POSIX allows:

* What is written lies in the page cache until ``sync``; so do names until ``sync_folder``.  ``kill`` leaves the cache,
  ``lose_power`` keeps what was synced and, of the rest, any subset of 512-byte sectors and of folder changes.
* A ``sync`` that fails forgets what was to be written: the cache still shows it, later syncs succeed, the disk never
  gets it ("fsyncgate").
* ``fault`` decides, for the n-th call that changes something, whether and how it goes wrong.
* ``room`` is the free space in bytes: a write beyond it is taken in part, then refused with ENOSPC.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final

_SECTOR_BYTES: Final = 512


class Fault(Enum):
    """How a call goes wrong."""

    FAILS = "fails"
    FAILS_BUT_PERSISTED = "fails, but it was done"
    KILLED_BEFORE = "the process is killed before"
    KILLED_AFTER = "the process is killed after"


class KilledError(BaseException):
    """The process is dead: no handler may act on this, every further call raises it again."""


@dataclass(slots=True, eq=False)
class _File:
    """One inode: what the cache shows, what the disk holds, and the changes in between."""

    cached: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    unsynced: list[tuple[int, bytes] | int] = field(default_factory=list)  # (offset, sector or less), or a new size


@dataclass(frozen=True, slots=True)
class _Link:
    """A folder change: ``path`` is now ``file`` (None: gone); a rename removes ``source`` in the same instant."""

    path: Path
    file: _File | None
    source: Path | None = None


class SimulatedFiles:
    """``Files`` in memory, of one folder.  ``calls`` names the changing calls so far."""

    def __init__(self) -> None:
        self.fault: Callable[[int, str], Fault | None] = lambda _number, _name: None
        self.room: int | None = None
        self.calls: list[str] = []
        self._names: dict[Path, _File] = {}
        self._durable_names: dict[Path, _File] = {}
        self._unsynced_links: list[_Link] = []
        self._descriptors: dict[int, _File] = {}
        self._locked: dict[int, Path] = {}
        self._next_descriptor = 3
        self._dead = False

    # What happens to the machine.

    def kill(self) -> None:
        """The process dies: descriptors and locks go, the page cache stays; the next process may start."""
        self._descriptors.clear()
        self._locked.clear()
        self._dead = False
        self.fault = lambda _number, _name: None

    def lose_power(self, rng: random.Random) -> None:
        """As ``kill``, and what was not synced is on disk in any part, chosen by ``rng``."""
        self.kill()
        names = dict(self._durable_names)
        for link in self._unsynced_links:
            if rng.random() < 0.5:
                _apply(names, link)
        files = {id(file): file for file in (*names.values(), *self._durable_names.values())}
        chance = rng.choice((0.0, 0.2, 0.8, 1.0))
        for file in files.values():
            _lose(file, rng, chance)
        self._names, self._durable_names, self._unsynced_links = names, dict(names), []

    @property
    def open_descriptors(self) -> int:
        """How many descriptors the process holds."""
        return len(self._descriptors)

    def content(self, path: Path) -> bytes:
        """The file's bytes, as the cache shows them."""
        return bytes(self._names[path].cached)

    def overwrite(self, path: Path, content: bytes) -> None:
        """Replace the file's bytes, durably: damage, done by another hand."""
        file = self._names[path]
        file.cached, file.durable, file.unsynced = bytearray(content), bytearray(content), []

    def remove(self, path: Path) -> None:
        """Remove the file, durably, by another hand."""
        del self._names[path]
        self._durable_names.pop(path, None)

    # What the process asks for: ``Files``.

    def make_folder(self, path: Path) -> None:
        """See ``Files``; the one folder is always there."""

    def names(self, folder: Path) -> list[str]:
        """See ``Files``."""
        self._check_alive()
        return [path.name for path in self._names if path.parent == folder]

    def lock(self, path: Path, holder: bytes) -> int:
        """See ``Files``."""
        self._check_alive()
        if path in self._locked.values():
            raise BlockingIOError(errno.EWOULDBLOCK, "locked")
        file = self._names.setdefault(path, _File())
        file.cached[:] = holder
        descriptor = self._descriptor(file)
        self._locked[descriptor] = path
        return descriptor

    def create(self, path: Path) -> int:
        """See ``Files``."""
        with self._change("create"):
            file = self._names.get(path)
            if file is None:
                file = _File()
                self._link(_Link(path, file))
            else:
                file.unsynced.append(0)
            del file.cached[:]
        return self._descriptor(file)

    def open(self, path: Path) -> int:
        """See ``Files``."""
        self._check_alive()
        if path not in self._names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return self._descriptor(self._names[path])

    def close(self, descriptor: int) -> None:
        """See ``Files``; a dead process's descriptors are closed already."""
        self._locked.pop(descriptor, None)
        if not self._dead:
            del self._descriptors[descriptor]

    def size(self, descriptor: int) -> int:
        """See ``Files``."""
        self._check_alive()
        return len(self._descriptors[descriptor].cached)

    def read(self, descriptor: int, length: int, offset: int) -> bytes:
        """See ``Files``."""
        self._check_alive()
        return bytes(self._descriptors[descriptor].cached[offset : offset + length])

    def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        """See ``Files``."""
        with self._change("write"):
            file = self._descriptors[descriptor]
            taken = bytes(data)
            if self.room is not None:
                taken = taken[: max(0, self.room - max(0, offset - len(file.cached)))]
                if not taken:
                    raise _failure("write")
                self.room -= max(0, offset + len(taken) - len(file.cached))
            _put(file.cached, taken, offset)
            file.unsynced += _sectors(taken, offset)
        return len(taken)

    def truncate(self, descriptor: int, size: int) -> None:
        """See ``Files``."""
        with self._change("truncate"):
            file = self._descriptors[descriptor]
            if self.room is not None:
                self.room += len(file.cached) - size
            _resize(file.cached, size)
            file.unsynced.append(size)

    def sync(self, descriptor: int) -> None:
        """See ``Files``."""
        file = self._descriptors.get(descriptor)
        try:
            with self._change("sync"):
                assert file is not None
                _write_back(file, lambda: True)
        except OSError:
            assert file is not None
            file.unsynced = []
            raise

    def rename(self, source: Path, target: Path) -> None:
        """See ``Files``."""
        with self._change("rename"):
            self._link(_Link(target, self._names[source], source))

    def unlink(self, path: Path) -> None:
        """See ``Files``."""
        if not self._dead and path not in self._names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        with self._change("unlink"):
            if self.room is not None:
                self.room += len(self._names[path].cached)
            self._link(_Link(path, None))

    def sync_folder(self, path: Path) -> None:
        """See ``Files``."""
        assert path.name, "a folder has a name"
        with self._change("sync_folder"):
            self._durable_names, self._unsynced_links = dict(self._names), []

    @contextmanager
    def _change(self, name: str) -> Iterator[None]:
        """Run the body as a changing call: before it, after it, or in its stead its fault comes."""
        self._check_alive()
        fault = self.fault(len(self.calls), name)
        self.calls.append(name)
        if fault is Fault.KILLED_BEFORE:
            self._dead = True
            raise KilledError
        if fault is Fault.FAILS:
            raise _failure(name)
        yield
        if fault is Fault.KILLED_AFTER:
            self._dead = True
            raise KilledError
        if fault is Fault.FAILS_BUT_PERSISTED:
            raise _failure(name)

    def _check_alive(self) -> None:
        if self._dead:
            raise KilledError

    def _descriptor(self, file: _File) -> int:
        descriptor, self._next_descriptor = self._next_descriptor, self._next_descriptor + 1
        self._descriptors[descriptor] = file
        return descriptor

    def _link(self, link: _Link) -> None:
        _apply(self._names, link)
        self._unsynced_links.append(link)


def _apply(names: dict[Path, _File], link: _Link) -> None:
    if link.source is not None:
        names.pop(link.source, None)
    if link.file is None:
        names.pop(link.path, None)
    else:
        names[link.path] = link.file


def _lose(file: _File, rng: random.Random, chance: float) -> None:
    """Let each unsynced change of ``file`` reach the disk with ``chance``; the cache is then what the disk holds."""
    _write_back(file, lambda: rng.random() < chance)
    file.cached = bytearray(file.durable)


def _write_back(file: _File, arrives: Callable[[], bool]) -> None:
    """Bring to the disk each unsynced change that ``arrives``; none is unsynced any more."""
    for change in file.unsynced:
        if not arrives():
            continue
        if isinstance(change, int):
            _resize(file.durable, change)
        else:
            _put(file.durable, change[1], change[0])
    file.unsynced = []


def _sectors(data: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    """``data`` at ``offset``, cut at the disk's sectors."""
    at = 0
    while at < len(data):
        length = _SECTOR_BYTES - (offset + at) % _SECTOR_BYTES
        yield offset + at, data[at : at + length]
        at += length


def _put(content: bytearray, data: bytes, offset: int) -> None:
    if len(content) < offset:
        _resize(content, offset)
    content[offset : offset + len(data)] = data


def _resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


def _failure(name: str) -> OSError:
    number = errno.ENOSPC if name in {"write", "create"} else errno.EIO
    return OSError(number, os.strerror(number))
