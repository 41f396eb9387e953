"""Bulk reading of segments, for followers: few system calls, one checksum a block, no copy of payloads.

Rules: what is read is checked (checksum, position) before it is handed out; a read opens its file and closes it, so it
never meets a descriptor that a trim took away; readers on several threads share nothing but the hints.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

from opentrail.core.errors import FormatError, JournalError
from opentrail.journal.base import StoredEntry
from opentrail.journal.durable import Segment
from opentrail.journal.files import Files
from opentrail.journal.segments import BLOCK_BYTES, HEADER_BYTES, Block, Framing, IncompleteBlockError

_CHUNK_BYTES: Final = 1 << 20
_HINTS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What of a journal is durable at one moment."""

    sealed: tuple[Segment, ...]
    active: Segment
    end: int

    @property
    def start(self) -> int:
        """The first position that is still there."""
        return (self.sealed[0] if self.sealed else self.active).first_position

    def segment_of(self, position: int) -> Segment:
        """The segment that holds ``position``, which is in ``start`` to ``end``."""
        if position >= self.active.first_position:
            return self.active
        return self.sealed[bisect_right(self.sealed, position, key=lambda segment: segment.first_position) - 1]

    def removable(self, before: int) -> Segment | None:
        """The oldest segment, where it is sealed and all its positions lie below ``before``."""
        if not self.sealed:
            return None
        following = self.sealed[1] if len(self.sealed) > 1 else self.active
        return self.sealed[0] if following.first_position <= before else None


class Reader:
    """Reads views of one journal."""

    def __init__(self, files: Files, framing: Framing) -> None:
        self._files = files
        self._framing = framing
        # Where followers stopped: position -> (its segment's first position, an offset at or before its block).
        self._hints: dict[int, tuple[int, int]] = {}
        self._hints_lock = threading.Lock()

    def read(self, view: View, after: int, *, max_entries: int, max_bytes: int) -> list[StoredEntry]:
        """See ``Journal.read``."""
        if after > view.end:
            raise JournalError(f"position {after} is behind the journal's end, {view.end}", retryable=False)
        if after + 1 < view.start:
            raise _trimmed(after + 1)
        taken: list[StoredEntry] = []
        room = max_bytes
        while room > 0 and len(taken) < max_entries and after < view.end:
            entries, size = self._read_chunk(view.segment_of(after + 1), after + 1, room)
            taken += entries
            after += len(entries)
            room -= size
        del taken[max_entries:]
        return taken

    def _read_chunk(self, segment: Segment, position: int, wanted: int) -> tuple[list[StoredEntry], int]:
        """The entries from ``position`` on of one read of ``segment``, and the read's size.

        It takes the ``wanted`` bytes, and in any case the whole block that holds ``position``.
        """
        try:
            descriptor = self._files.open(segment.path)
            try:
                offset, block = self._find(descriptor, segment, position)
                length = min(max(block.size, min(wanted, _CHUNK_BYTES)), segment.size - offset)
                data = self._files.read(descriptor, length, offset)
            finally:
                self._files.close(descriptor)
        except FileNotFoundError as error:
            raise _trimmed(position) from error
        except OSError as error:
            raise JournalError(f"{segment.path}: cannot read: {error.strerror or error}", retryable=True) from error
        return self._decode(segment, offset, data, position), len(data)

    def _find(self, descriptor: int, segment: Segment, position: int) -> tuple[int, Block]:
        """The offset of the block that holds ``position``, and the block, its checksum unseen."""
        offset = self._hint(segment, position)
        while True:
            try:
                block = self._framing.peek(self._files.read(descriptor, BLOCK_BYTES, offset), 0)
            except FormatError as error:
                raise _damaged(segment, offset, str(error)) from error
            if block.first_position > position or offset + block.size > segment.size:
                raise _damaged(segment, offset, f"no block holds position {position}")
            if position < block.next_position:
                return offset, block
            offset += block.size

    def _decode(self, segment: Segment, offset: int, data: bytes, position: int) -> list[StoredEntry]:
        """The entries from ``position`` on of the whole blocks in ``data``, which lies at ``offset``."""
        framing = self._framing
        taken: list[StoredEntry] = []
        at = 0
        while at < len(data):
            try:
                block = framing.check(data, at)
            except FormatError as error:
                if isinstance(error, IncompleteBlockError) and taken:
                    break  # the end of this chunk; where it is the end of the file, the next read says so
                raise _damaged(segment, offset + at, str(error)) from error
            if block.first_position > position or block.next_position < position:
                raise _damaged(segment, offset + at, f"position {block.first_position} follows {position - 1}")
            taken += framing.decode_entries(data, at, block, position)
            position = block.next_position
            at += block.size
        self._remember(position, segment, offset + at)
        return taken

    def _hint(self, segment: Segment, position: int) -> int:
        """The nearest remembered offset at or before the block that holds ``position``."""
        with self._hints_lock:
            offsets = [
                offset
                for known, (first_position, offset) in self._hints.items()
                if known <= position and first_position == segment.first_position
            ]
        return max(offsets, default=HEADER_BYTES)

    def _remember(self, position: int, segment: Segment, offset: int) -> None:
        with self._hints_lock:
            self._hints.pop(position, None)
            self._hints[position] = (segment.first_position, offset)
            if len(self._hints) > _HINTS:
                del self._hints[next(iter(self._hints))]


def _trimmed(position: int) -> JournalError:
    return JournalError(f"position {position} is no longer in the journal: it was trimmed", retryable=False)


def _damaged(segment: Segment, offset: int, what: str) -> JournalError:
    return JournalError(f"{segment.path}: the journal is damaged: offset {offset}: {what}", retryable=False)
