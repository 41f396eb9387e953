"""The spool: events of an application, on its own disk until Opentrail has them.

A spool is a folder with segment files (``segments``), to which events are only ever appended, and a cursor that says
how far they were delivered.  Rules:

* An event whose ``append`` returned, or whose ``submit`` was settled, survives ``kill -9``, and where the spool is
  ``durable`` the loss of power as well.  What comes while the disk works is the next write: many share one wait.
* An event is there from then until ``advance`` has passed it.  The cursor is not synchronised: after a crash some
  events are read again, never too few.  Their ids make one event of them at the other end.
* What is undelivered is bounded by ``max_bytes``; beyond that events are refused.  Delivered segments are deleted.
* After a failed ``fdatasync`` nothing is taken any more: what the disk holds is unknown until the spool is opened anew.
* One process has a spool at a time (``flock``).

A crash may leave a part of the last write behind the last whole event: it was not answered, and is cut off.  Room that
is written ahead (zeros) spares each wait for the disk the change of the file's size.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from opentrail.core.errors import StorageError
from opentrail.middleware.group_write import GroupWrite, Settle
from opentrail.middleware.segments import HEAD_BYTES, MAX_EVENT_BYTES, Found, find_events, pack_events

log = logging.getLogger("opentrail.middleware")

SEGMENT_BYTES = 4 << 20
_ROOM = bytes(256 << 10)
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
        self._lock = threading.Lock()  # of what is counted; never held while the disk works
        self._group = GroupWrite(self._write)
        self._failure: StorageError | None = None
        self._cursor = self._end = Place(1, 0)
        self._fd = -1
        self._room_end = 0  # up to here the last segment's file is written
        self._unwritten = self._undelivered = 0  # bytes of events; the latter lie in segments
        self._is_full = False  # an event found no room, and nothing was delivered since
        self._told: set[Place] = set()  # damage that was logged
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
        self._admit(event)
        self._group.append(event)

    def submit(self, event: bytes, settle: Settle, waiter: object) -> None:
        """Add one event without waiting; ``settle`` is told of ``waiter``, among others, when it is safe or failed.

        ``settle`` is called on another thread (``GroupWrite``).  Raises ``StorageError`` where the event is refused at
        once; ``settle`` then hears nothing of it.
        """
        self._admit(event)
        self._group.submit(event, settle, waiter)

    def check(self) -> None:
        """Raise the ``StorageError`` that an event would meet for sure."""
        with self._lock:
            self._check(0)

    def read(self, max_events: int, max_bytes: int) -> Batch:
        """Events that are not delivered: at least one, where there is one, and more within these limits.

        Raises ``StorageError``.
        """
        events: list[bytes] = []
        size = 0
        place, end = self._cursor, self._end  # what is appended from now on is the next batch's
        try:
            for event, behind in self._events(place, end):
                size += len(event)
                if events and (len(events) >= max_events or size > max_bytes):
                    break
                events.append(event)
                place = behind
        except OSError as error:
            raise _failure(self.folder, error) from error
        if not events:  # what cannot be read any more was told
            self._cursor = place = end
            with self._lock:
                if self._cursor == self._end:
                    self.filled.clear()
                    self._undelivered = 0
        return Batch(events=tuple(events), end=place)

    def advance(self, batch: Batch) -> None:
        """The events of ``batch`` need not be kept.  Raises ``StorageError``."""
        try:
            os.pwrite(self._cursor_fd, _format_cursor(batch.end), 0)
            for number in range(self._cursor.segment, batch.end.segment):
                self._path(number).unlink(missing_ok=True)
        except OSError as error:
            raise _failure(self.folder, error) from error
        self._cursor = batch.end
        with self._lock:
            self._is_full = False
            if self._cursor == self._end:  # also where events that were counted have been damaged since
                self._undelivered = 0
            else:
                self._undelivered -= sum(map(len, batch.events)) + HEAD_BYTES * len(batch.events)

    @property
    def waiting_bytes(self) -> int:
        """The bytes of the events that are not delivered."""
        return self._unwritten + self._undelivered

    def close(self) -> None:
        """Release the folder, when all that was taken is written.  What is not delivered stays in it."""
        self._group.close()
        with suppress(OSError):  # the room is zeros, which are no events
            os.ftruncate(self._fd, self._end.offset)
        self.leave()

    def leave(self) -> None:
        """Close this process's descriptors alone: for a process that was forked off, which has none of the threads."""
        for descriptor in (self._fd, self._cursor_fd, self._lock_fd):
            os.close(descriptor)

    def _open(self) -> None:
        numbers = sorted(int(path.stem) for path in self.folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal())
        self._cursor_fd = os.open(self.folder / "cursor", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        number = numbers[-1] if numbers else 1
        self._fd = self._open_segment(number)
        size = os.fstat(self._fd).st_size
        self._cursor = self._read_cursor(Place(numbers[0] if numbers else 1, 0), Place(number, size))
        self._end = Place(number, self._cursor.offset if self._cursor.segment == number else 0)
        for event, behind in self._events(self._cursor, Place(number, size)):
            self._undelivered += len(event) + HEAD_BYTES
            self._end = max(self._end, behind)
        self._cut_tail(size)
        if self._undelivered:
            self.filled.set()

    def _cut_tail(self, size: int) -> None:
        end = self._end.offset
        if os.pread(self._fd, size - end, end).strip(b"\0"):
            text = "%s ends with bytes that are no whole event, from %d on: they are cut off"
            log.warning(text, self._path(self._end.segment), end)
        os.ftruncate(self._fd, end)
        self._room_end = end

    def _read_cursor(self, first: Place, last: Place) -> Place:
        """How far was delivered, or where the first segment begins if the cursor cannot be believed."""
        try:
            place = _parse_cursor(os.pread(self._cursor_fd, 64, 0))
        except ValueError:
            return first
        return max(place, first) if place <= last else first

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:016d}{_SUFFIX}"

    def _open_segment(self, number: int) -> int:
        fd = os.open(self._path(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        except BaseException:
            os.close(fd)
            raise
        finally:
            os.close(folder)
        return fd

    def _check(self, size: int) -> None:
        if self._failure is not None:
            raise StorageError(str(self._failure), retryable=True)  # a fresh one: each thread adds its traceback
        if self._is_full or self.waiting_bytes + size >= self._max_bytes:
            self._is_full = True  # also for ``check``, which does not know how large the next event is
            raise StorageError(f"the spool {self.folder} is full: {self.waiting_bytes} bytes wait", retryable=True)

    def _admit(self, event: bytes) -> None:
        size = len(event)
        if not 0 < size <= MAX_EVENT_BYTES:
            raise StorageError(f"an event has 1 to {MAX_EVENT_BYTES} bytes, not {size}", retryable=False)
        with self._lock:
            self._check(size)
            self._unwritten += size + HEAD_BYTES

    def _write(self, events: Sequence[bytes]) -> None:
        """Make ``events`` safe with one write and one wait for the disk.  Raises ``StorageError``: none was taken."""
        data = pack_events(events)
        end = None
        try:
            end = self._write_data(data)
        except OSError as error:
            raise _failure(self.folder, error) from error
        finally:  # a signal's exception may come anywhere
            with self._lock:
                self._unwritten -= len(data)
                if end is not None:
                    self._undelivered += len(data)
                    self._end = end
                    self.filled.set()

    def _write_data(self, data: bytes) -> Place:
        if self._failure is not None:
            raise self._failure
        if self._end.offset >= self._segment_bytes:
            self._start_segment()
        segment, offset = self._end
        try:
            self._put(data, offset)
        except BaseException:
            with suppress(OSError):
                os.ftruncate(self._fd, offset)
                self._room_end = offset
            raise
        if self._durable:
            try:
                os.fdatasync(self._fd)
            except OSError as error:
                self._failure = _failure(self.folder, error)
                raise self._failure from error
        return Place(segment, offset + len(data))

    def _put(self, data: bytes, offset: int) -> None:
        end = offset + len(data)
        if end > self._room_end:
            with suppress(OSError):  # a disk with less room may still have enough for the events
                self._room_end = offset + os.pwrite(self._fd, data + _ROOM, offset)
                if self._room_end >= end:
                    return
        written = os.pwrite(self._fd, data, offset)
        if written != len(data):
            raise OSError(f"only {written} of {len(data)} bytes could be written")
        self._room_end = max(self._room_end, end)

    def _start_segment(self) -> None:
        number = self._end.segment + 1
        fd = self._open_segment(number)
        os.ftruncate(self._fd, self._end.offset)  # a crash before leaves zeros, which are no events
        os.close(self._fd)
        self._fd, self._end, self._room_end = fd, Place(number, 0), 0

    def _events(self, place: Place, end: Place) -> Iterator[tuple[bytes, Place]]:
        """The events from ``place`` to ``end``, each with the place behind it.  Raises ``OSError``."""
        while place < end:
            is_last = place.segment >= end.segment
            with suppress(FileNotFoundError):
                for event, start, behind in self._segment_events(place, end.offset if is_last else None):
                    if start > place.offset:
                        self._tell_damage(place, start)
                    place = Place(place.segment, behind)
                    yield event, place
            if is_last:
                return
            place = Place(place.segment + 1, 0)

    def _segment_events(self, place: Place, limit: int | None) -> Iterator[Found]:
        fd = os.open(self._path(place.segment), os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            behind = place.offset
            for found in find_events(fd, place.offset, size if limit is None else limit):
                behind = found.end
                yield found
            if limit is None and os.pread(fd, size - behind, behind).strip(b"\0"):
                self._tell_damage(Place(place.segment, behind), size)
        finally:
            os.close(fd)

    def _tell_damage(self, place: Place, until: int) -> None:
        if place not in self._told:
            self._told.add(place)
            path = self._path(place.segment)
            log.error("%s is damaged from byte %d to %d: what was there is lost", path, place.offset, until)


def _format_cursor(place: Place) -> bytes:
    text = b"%020d %020d" % place
    return b"%b %08x\n" % (text, zlib.crc32(text))


def _parse_cursor(text: bytes) -> Place:
    """The place that ``_format_cursor`` wrote.  Raises ``ValueError``."""
    segment, offset, _checksum = text.split()
    place = Place(int(segment), int(offset))
    if text != _format_cursor(place):
        raise ValueError("the cursor is damaged")
    return place


def _take_lock(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


def _failure(folder: Path, error: OSError) -> StorageError:
    taken = isinstance(error, BlockingIOError)
    reason = "another process has it" if taken else error.strerror or str(error)
    return StorageError(f"the spool {folder} cannot be used: {reason}", retryable=True)
