"""The spool: events of an application, on its own disk until Opentrail has them.

A spool is a folder with segment files, to which events are only ever appended, and a cursor that says how far they were
delivered.  Rules:

* When ``append`` returns, the event survives ``kill -9``, and where the spool is ``durable`` the loss of power as well:
  threads that append at the same time share one ``fdatasync``.
* An event is there from ``append`` until ``advance`` has passed it.  The cursor is not synchronised: after a crash some
  events are read again, never too few.  Their ids make one event of them at the other end.
* What is undelivered is bounded by ``max_bytes``; beyond that ``append`` refuses.  Delivered segments are deleted.
* After a failed ``fdatasync`` nothing is taken any more: what the disk holds is unknown until the spool is opened anew.
* One process has a spool at a time (``flock``).

An event in a segment: its length and CRC-32, four bytes each, little-endian, then its bytes.  A crash may cut the last
event of the last segment short; it was not answered, and is cut off.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from opentrail.core.errors import StorageError

log = logging.getLogger("opentrail.middleware")

SEGMENT_BYTES = 4 << 20
_HEAD = struct.Struct("<II")
_SUFFIX = ".spool"


class Place(NamedTuple):
    """Between two events: a segment's number and an offset in it."""

    segment: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Events in the order in which they came, and the place behind the last."""

    events: tuple[bytes, ...]
    end: Place


class Spool:
    """The spool in ``folder``, which is made where it is missing.  ``append`` may be called from any thread.

    ``read`` and ``advance`` are for one thread.  ``filled`` is set when there is something to read.
    Raises ``StorageError``, also where another process has the folder.
    """

    def __init__(
        self, folder: Path, *, durable: bool = True, max_bytes: int = 256 << 20, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        self.folder = folder
        self.filled = threading.Event()
        self._durable = durable
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()  # held by whoever writes
        self._sync = threading.Lock()  # held by whoever waits for the disk, for all who have written by then
        self._written = self._synced = 0  # events, since the spool was opened
        self._failure: StorageError | None = None
        self._cursor = self._end = Place(1, 0)
        self._fd = -1
        self._waiting_bytes = 0
        self._is_full = False  # an event found no room, and nothing was delivered since
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock_fd = _take_lock(folder / "lock")
            try:
                self._open()
            except BaseException:
                os.close(self._lock_fd)
                raise
        except OSError as error:
            raise _failure(folder, error) from error

    def append(self, event: bytes) -> None:
        """Add one event; returns when it is safe.  Raises ``StorageError``: it was not taken."""
        with self._lock:
            self._check(len(event))
            try:
                mine = self._write(event)
            except OSError as error:
                raise _failure(self.folder, error) from error
        if self._durable:
            self._wait_for_disk(mine)
        self.filled.set()

    def check(self) -> None:
        """Raise the ``StorageError`` that an ``append`` would meet for sure."""
        with self._lock:
            self._check(0)

    def read(self, max_events: int, max_bytes: int) -> Batch:
        """Events that are not delivered: at least one, where there is one, and more within these limits."""
        events: list[bytes] = []
        size = 0
        place, end = self._cursor, self._end  # what is appended from now on is the next batch's
        for event, behind in self._events(place, end):
            size += len(event)
            if events and (len(events) >= max_events or size > max_bytes):
                break
            events.append(event)
            place = behind
        if not events and self._cursor < end:  # what cannot be read any more was reported
            self._cursor = place = end
        if not events:
            with self._lock:
                if self._cursor == self._end:
                    self.filled.clear()
        return Batch(events=tuple(events), end=place)

    def advance(self, batch: Batch) -> None:
        """The events of ``batch`` need not be kept.  Raises ``StorageError``."""
        try:
            os.pwrite(self._cursor_fd, b"%020d %020d\n" % batch.end, 0)
            with self._lock:
                self._waiting_bytes -= sum(len(event) + _HEAD.size for event in batch.events)
                self._is_full = False
            for number in range(self._cursor.segment, batch.end.segment):
                self._path(number).unlink(missing_ok=True)
        except OSError as error:
            raise _failure(self.folder, error) from error
        self._cursor = batch.end

    @property
    def waiting_bytes(self) -> int:
        """The bytes of the events that are not delivered."""
        return self._waiting_bytes

    def close(self) -> None:
        """Release the folder.  What is not delivered stays in it."""
        for descriptor in (self._fd, self._cursor_fd, self._lock_fd):
            os.close(descriptor)

    def _open(self) -> None:
        numbers = sorted(int(path.stem) for path in self.folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal())
        self._cursor_fd = os.open(self.folder / "cursor", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        number = numbers[-1] if numbers else 1
        self._start_segment(number)
        self._cursor = self._read_cursor(numbers[0] if numbers else 1)
        length = _intact_length(self._path(number))
        os.ftruncate(self._fd, length)
        self._end = Place(number, length)
        self._cursor = min(self._cursor, self._end)
        for event, _ in self._events(self._cursor, self._end):
            self._waiting_bytes += len(event) + _HEAD.size
        if self._waiting_bytes:
            self.filled.set()

    def _read_cursor(self, first: int) -> Place:
        try:
            place = Place(*map(int, os.pread(self._cursor_fd, 64, 0).split()))
        except (ValueError, TypeError):
            return Place(first, 0)
        return max(place, Place(first, 0))

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:016d}{_SUFFIX}"

    def _start_segment(self, number: int) -> None:
        fd = os.open(self._path(number), os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        with self._sync:
            if self._fd >= 0:
                if self._durable:
                    os.fdatasync(self._fd)
                    self._synced = self._written
                os.close(self._fd)
            self._fd = fd
        self._end = Place(number, 0)

    def _check(self, size: int) -> None:
        if self._failure is not None:
            raise self._failure
        if self._is_full or self._waiting_bytes + size >= self._max_bytes:
            self._is_full = True  # also for ``check``, which does not know how large the next event is
            raise StorageError(f"the spool {self.folder} is full: {self._waiting_bytes} bytes wait", retryable=True)

    def _write(self, event: bytes) -> int:
        if self._end.offset >= self._segment_bytes:
            self._start_segment(self._end.segment + 1)
        segment, offset = self._end
        data = _HEAD.pack(len(event), zlib.crc32(event)) + event
        try:
            _write_whole(self._fd, data)
        except OSError:
            os.ftruncate(self._fd, offset)
            raise
        self._end = Place(segment, offset + len(data))
        self._waiting_bytes += len(data)
        self._written += 1
        return self._written

    def _wait_for_disk(self, mine: int) -> None:
        with self._sync:
            if self._synced >= mine:
                return
            if self._failure is not None:
                raise self._failure
            written = self._written  # before: what is written from now on may not be covered
            try:
                os.fdatasync(self._fd)
            except OSError as error:
                self._failure = _failure(self.folder, error)
                raise self._failure from error
            self._synced = written

    def _events(self, place: Place, end: Place) -> Iterator[tuple[bytes, Place]]:
        """The events from ``place`` to ``end``, each with the place behind it."""
        while place < end:
            limit = end.offset if place.segment == end.segment else None
            found = None
            with suppress(FileNotFoundError):
                for found in _read_segment(self._path(place.segment), place, limit):
                    yield found
            if place.segment >= end.segment:
                return
            last = found[1].offset if found else place.offset
            path = self._path(place.segment)
            if path.exists() and last < path.stat().st_size:
                log.error("%s is damaged at byte %d: the rest of it cannot be delivered", path, last)
            place = Place(place.segment + 1, 0)


def _take_lock(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


def _write_whole(fd: int, data: bytes) -> None:
    written = os.write(fd, data)
    if written != len(data):
        raise OSError(f"only {written} of {len(data)} bytes could be written")


def _read_segment(path: Path, place: Place, limit: int | None) -> Iterator[tuple[bytes, Place]]:
    """The intact events of a segment from ``place`` on, up to byte ``limit``."""
    offset = place.offset
    with path.open("rb") as file:
        file.seek(offset)
        while limit is None or offset < limit:
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size:
                return
            length, checksum = _HEAD.unpack(head)
            event = file.read(length)
            if len(event) < length or zlib.crc32(event) != checksum:
                return
            offset += _HEAD.size + length
            yield event, Place(place.segment, offset)


def _intact_length(path: Path) -> int:
    length = 0
    for _, place in _read_segment(path, Place(0, 0), None):
        length = place.offset
    return length


def _failure(folder: Path, error: OSError) -> StorageError:
    taken = isinstance(error, BlockingIOError)
    reason = "another process has it" if taken else error.strerror or str(error)
    return StorageError(f"the spool {folder} cannot be used: {reason}", retryable=True)
