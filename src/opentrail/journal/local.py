"""The embedded journal: segment files in a folder, one writing process.

Rules:

* ``append`` is one write at the end of the active segment and one fdatasync; only then its entries can be read.
* A segment that has reached ``segment_bytes`` is sealed at the next append, in the order that ``recovery`` relies on.
* ``trim`` removes whole sealed segments, the oldest first, each removal durable before the next: no crash leaves a gap.
* Files have mode 0600, the folder 0700.

Format: ``segments``; what a crash leaves and how it is mended: ``recovery``; why no database: docs/adr/0004.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from opentrail.core.errors import ConfigError, JournalError
from opentrail.journal.base import MAX_BATCH_BYTES, Entry, StoredEntry, check_entry
from opentrail.journal.durable import Segment, create_segment, sync_folder, write_durably, write_room
from opentrail.journal.files import Files, OsFiles
from opentrail.journal.reading import Reader, View
from opentrail.journal.recovery import Cut, Recovered, recover
from opentrail.journal.segments import CLOSED, SEALED, SegmentHeader

SEGMENT_BYTES: Final = 64 << 20
_ROOM_BYTES: Final = 1 << 20
_SMALL_BYTES: Final = 128 << 10  # larger batches gain less from room than writing everything twice costs
_LOCK: Final = "lock"


def open_local_journal(
    folder: Path,
    *,
    segment_bytes: int = SEGMENT_BYTES,
    files: Files | None = None,
    new_id: Callable[[int], bytes] = os.urandom,
) -> LocalJournal:
    """Open the journal in ``folder`` (made where it is missing; its parent must be there) for this process alone.

    Compare the followers' cursors with ``end`` before the first append: one beyond it means that the last block was
    damaged after a crash, or that this is not the journal they read.

    Raises ``ConfigError`` where another process has it open or the folder cannot be made, ``JournalError`` where the
    journal is damaged or cannot be read.
    """
    files = files or OsFiles()
    lock = _lock(files, folder)
    try:
        recovered = recover(files, folder, new_id)
    except OSError as error:
        files.close(lock)
        raise JournalError(f"cannot open the journal in {folder}: {error}", retryable=False) from error
    except BaseException:
        files.close(lock)
        raise
    return LocalJournal(folder=folder, segment_bytes=segment_bytes, files=files, lock=lock, recovered=recovered)


class LocalJournal:
    """A ``Journal`` in a folder; made by ``open_local_journal``.  ``cut`` is what opening it had to cut off."""

    def __init__(self, *, folder: Path, segment_bytes: int, files: Files, lock: int, recovered: Recovered) -> None:
        self.cut: Cut | None = recovered.cut
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._files = files
        self._lock_descriptor = lock
        self._framing = recovered.framing
        self._reader = Reader(files, recovered.framing)
        self._descriptor = recovered.descriptor
        self._room_end = recovered.active.size  # up to here the active segment's file is written, with zeros at least
        self._marked_closed = recovered.closed or recovered.end == 0
        self._failure: JournalError | None = None
        self._closed = False
        # Readers take this reference and need no lock; it is replaced under _write_lock.
        self._view = View(sealed=recovered.sealed, active=recovered.active, end=recovered.end)
        self._write_lock = threading.Lock()
        self._trim_lock = threading.Lock()
        # Trimmed but perhaps still on disk: a removal that fails may have happened all the same, so nobody may read on.
        self._hidden: deque[Segment] = deque()

    @property
    def id(self) -> bytes:
        """See ``Journal``."""
        return self._framing.journal_id

    @property
    def start(self) -> int:
        """See ``Journal``."""
        return self._view.start

    @property
    def end(self) -> int:
        """See ``Journal``."""
        return self._view.end

    @property
    def failure(self) -> JournalError | None:
        """See ``Journal``."""
        return self._failure

    def append(self, entries: Sequence[Entry]) -> int:
        """See ``Journal``."""
        _check_batch(entries)
        with self._write_lock:
            self._check_usable()
            try:
                return self._append(entries)
            except JournalError as error:
                if not error.retryable:
                    self._failure = error
                raise
            except BaseException as error:
                # Interrupted (Ctrl-C, say) between write and sync: as unknown as a failed sync.
                self._failure = JournalError(f"an append was interrupted: {error!r}", retryable=False)
                raise

    def read(self, after: int, *, max_entries: int = 10_000, max_bytes: int = 1 << 20) -> list[StoredEntry]:
        """See ``Journal``; payloads are views into chunks of about 1 MB, or of one append."""
        if self._closed:
            raise JournalError("the journal is closed", retryable=False)
        return self._reader.read(self._view, after, max_entries=max_entries, max_bytes=max_bytes)

    def trim(self, before: int) -> None:
        """See ``Journal``; removes the sealed segments all of whose positions lie below ``before``."""
        with self._trim_lock:
            with self._write_lock:
                self._check_usable()
                while (segment := self._view.removable(before)) is not None:
                    self._view = replace(self._view, sealed=self._view.sealed[1:])
                    self._hidden.append(segment)
            while self._hidden:
                self._remove(self._hidden[0])
                self._hidden.popleft()

    def close(self) -> None:
        """See ``Journal``; leaves the mark by which the next opening tells damage to the last block from a crash."""
        with self._trim_lock, self._write_lock:
            if self._closed:
                return
            self._closed = True
            try:
                if self._failure is None and not self._marked_closed:
                    self._write_mark(CLOSED)
            except JournalError:
                pass  # every entry is durable without the mark; the next opening takes this end for a crash
            finally:
                self._failure = self._failure or JournalError("the journal is closed", retryable=False)
                for descriptor in (self._descriptor, self._lock_descriptor):
                    with suppress(OSError):
                        self._files.close(descriptor)

    def _append(self, entries: Sequence[Entry]) -> int:
        # Decided by what is on disk alone, whatever the batch: after a rotation that failed halfway the next append
        # must finish it, as an empty segment with the next position may already be there.
        active = self._view.active
        if active.size >= self._segment_bytes and active.first_position <= self._view.end:
            self._rotate()
        first = self._view.end + 1
        self._write(self._framing.encode_block(first, entries), self._view.end + len(entries))
        self._marked_closed = False
        return first

    def _write(self, block: bytes, end: int, *, is_last: bool = False) -> None:
        """Append ``block`` to the active segment, durably, and let readers see up to ``end``."""
        view = self._view
        path, offset = view.active.path, view.active.size
        size = offset + len(block)
        if size > self._room_end:
            self._room_end = size
            wanted = min(offset + _ROOM_BYTES, self._segment_bytes)
            if (
                len(block) <= _SMALL_BYTES
                and wanted > size
                and write_room(self._files, self._descriptor, offset, wanted)
            ):
                self._room_end = wanted
        try:
            write_durably(self._files, self._descriptor, path, block, offset, is_last=is_last)
        except JournalError:
            self._room_end = offset  # undoing the write cut the room off too
            raise
        self._view = View(sealed=view.sealed, active=replace(view.active, size=size), end=end)

    def _write_mark(self, kind: int) -> None:
        end = self._view.end
        self._write(self._framing.encode_mark(kind, end + 1), end, is_last=True)

    def _rotate(self) -> None:
        next_position = self._view.end + 1
        header = SegmentHeader(journal_id=self.id, first_position=next_position)
        descriptor, active = create_segment(self._files, self._folder, header)
        try:
            self._write_mark(SEALED)
        except BaseException:
            self._files.close(descriptor)
            raise
        previous, self._descriptor = self._descriptor, descriptor
        self._room_end = active.size
        self._view = View(sealed=(*self._view.sealed, self._view.active), active=active, end=self._view.end)
        with suppress(OSError):  # all of it is synced: close has nothing left to lose
            self._files.close(previous)

    def _remove(self, segment: Segment) -> None:
        try:
            self._files.unlink(segment.path)
        except FileNotFoundError:
            pass  # an earlier try removed it and was told otherwise
        except OSError as error:
            raise JournalError(f"{segment.path}: cannot remove: {error.strerror or error}", retryable=True) from error
        try:
            sync_folder(self._files, self._folder)
        except JournalError as error:
            self._failure = error
            raise

    def _check_usable(self) -> None:
        if self._failure is not None:
            raise JournalError(str(self._failure), retryable=False)


def _lock(files: Files, folder: Path) -> int:
    path = folder / _LOCK
    try:
        files.make_folder(folder)
        return files.lock(path, str(os.getpid()).encode())
    except BlockingIOError as error:
        raise ConfigError(
            f"the journal in {folder} is in use by process {_holder(files, path)}: stop it first"
        ) from error
    except OSError as error:
        raise ConfigError(f"cannot use {folder} for the journal: {error}") from error


def _holder(files: Files, path: Path) -> str:
    """The process id that the lock file names."""
    try:
        descriptor = files.open(path)
        try:
            return files.read(descriptor, 20, 0).decode("ascii", "replace") or "unknown"
        finally:
            files.close(descriptor)
    except OSError:
        return "unknown"


def _check_batch(entries: Sequence[Entry]) -> None:
    """Raises ``ValueError``."""
    if not entries:
        raise ValueError("a batch has at least one entry")
    if (size := sum(map(check_entry, entries))) > MAX_BATCH_BYTES:
        raise ValueError(f"a batch of {size} bytes: the limit is {MAX_BATCH_BYTES}")
