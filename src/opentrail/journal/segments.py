"""The bytes of a segment file: a header, then blocks.  Pure: bytes in, values out.

Format version 1, little endian::

    segment = header block* zero*
    header  = "OTJOURNL" version:u32 0:u32 first_position:u64 journal_id:16 0:20 crc:u32          64 bytes
    block   = marker:4 crc:u32 length:u32 count:u32 first_position:u64 kind:u8 0:7  body          32 bytes + length
    body    = entry*
    entry   = payload_length:u32 route_length:u16 kind:u8 0:u8 event_time_ms:i64 event_id:16  route payload

Rules:

* A block is one ``append``: it is written only after the block before it is durable.  So a bad block that any good
  block follows was damaged after it was acknowledged; a bad block with nothing good behind it is an append that a crash
  cut short, wholly or in any part.
* A block's CRC-32 (zlib's) covers all of it behind the field and starts from the CRC of the journal's id, whose first
  bytes are the marker: bytes of another journal, or made up by a caller in a payload, are never taken for a block.
* Zeros at the end of a file are room written in advance, no part of the segment.
* ``CLOSED`` (the process ended in order) and ``SEALED`` (nothing follows in this segment, the next one begins at
  ``first_position``) are blocks without entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final

from isal import isal_zlib

from opentrail.core.errors import FormatError
from opentrail.journal.base import ENTRY_OVERHEAD_BYTES, Entry, EntryKind, StoredEntry

MAGIC: Final = b"OTJOURNL"
VERSION: Final = 1
JOURNAL_ID_BYTES: Final = 16

ENTRIES: Final = 1
CLOSED: Final = 2
SEALED: Final = 3

_HEADER: Final = Struct("<8sI4xQ16s20xI")
_BLOCK: Final = Struct("<4sIIIQB7x")
_BLOCK_BEHIND_CRC: Final = Struct("<IIQB7x")
_ENTRY: Final = Struct("<IHBxq16s")
HEADER_BYTES: Final = _HEADER.size
BLOCK_BYTES: Final = _BLOCK.size
_ENTRY_BYTES: Final = _ENTRY.size
assert _ENTRY_BYTES == ENTRY_OVERHEAD_BYTES  # base.entry_size is the size on disk
_CRC_BYTES: Final = 4
_COVERED_FROM: Final = 8  # marker and crc stand outside the crc

# Decoding looks kinds up in a tuple: EntryKind(number) costs four times as much.
_KINDS: Final = (None, *EntryKind)
assert [kind for kind in _KINDS if kind] == [EntryKind(number) for number in range(1, len(_KINDS))]


class IncompleteBlockError(FormatError):
    """The bytes end before the block does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentHeader:
    """Which journal a segment belongs to and where it begins."""

    journal_id: bytes
    first_position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block without its body."""

    kind: int
    count: int  # entries
    first_position: int
    size: int  # bytes, with its own 32

    @property
    def next_position(self) -> int:
        """The position behind its last entry."""
        return self.first_position + self.count


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What the good blocks at the start of a segment come to."""

    size: int  # bytes up to the end of the last good block
    next_position: int
    last_offset: int | None  # where the last good block begins; None: there is none
    last_kind: int | None
    torn: str | None  # why the bytes behind ``size`` are no block; None: there are none, or zeros alone


def encode_header(header: SegmentHeader) -> bytes:
    """The 64 bytes that open a segment."""
    data = _HEADER.pack(MAGIC, VERSION, header.first_position, header.journal_id, 0)
    return data[:-_CRC_BYTES] + isal_zlib.crc32(data[:-_CRC_BYTES]).to_bytes(_CRC_BYTES, "little")


def decode_header(data: bytes) -> SegmentHeader:
    """The header at the start of ``data``; raises ``FormatError`` that says what is wrong with it, and nothing else."""
    if len(data) < HEADER_BYTES:
        raise FormatError(f"{len(data)} bytes: a segment has a header of {HEADER_BYTES}")
    magic, version, first_position, journal_id, crc = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise FormatError("not a journal segment: other first bytes")
    if crc != isal_zlib.crc32(data[: HEADER_BYTES - _CRC_BYTES]):
        raise FormatError("the header's checksum is wrong")
    if version != VERSION:
        raise FormatError(f"format version {version}: this program reads version {VERSION}")
    return SegmentHeader(journal_id=journal_id, first_position=first_position)


class Framing:
    """The blocks of one journal, whose id goes into every checksum."""

    __slots__ = ("_seed", "journal_id", "marker")

    def __init__(self, journal_id: bytes) -> None:
        self.journal_id = journal_id
        self.marker = journal_id[:4]
        self._seed: int = isal_zlib.crc32(journal_id)

    def encode_block(self, first_position: int, entries: Sequence[Entry]) -> bytes:
        """The block of ``entries``, which hold to the limits of ``base``."""
        pack = _ENTRY.pack
        parts: list[bytes] = []
        for kind, route, event_time_ms, event_id, payload in entries:
            parts += (pack(len(payload), len(route), kind, event_time_ms, event_id), route, payload)
        return self._block(ENTRIES, first_position, len(entries), b"".join(parts))

    def encode_mark(self, kind: int, next_position: int) -> bytes:
        """The block without entries that says ``CLOSED`` or ``SEALED``."""
        return self._block(kind, next_position, 0, b"")

    def _block(self, kind: int, first_position: int, count: int, body: bytes) -> bytes:
        covered = _BLOCK_BEHIND_CRC.pack(len(body), count, first_position, kind)
        crc: int = isal_zlib.crc32(body, isal_zlib.crc32(covered, self._seed))
        return b"".join((self.marker, crc.to_bytes(_CRC_BYTES, "little"), covered, body))

    def peek(self, data: bytes, offset: int) -> Block:
        """The block that claims to begin at ``offset`` of ``data``, its checksum unseen (the body need not be there).

        Raises ``FormatError`` (``IncompleteBlockError`` where ``data`` is too short), and nothing else.
        """
        if offset + BLOCK_BYTES > len(data):
            raise IncompleteBlockError("the file ends within a block")
        marker, _, length, count, first_position, kind = _BLOCK.unpack_from(data, offset)
        if marker != self.marker:
            raise FormatError("no block begins here")
        return Block(kind=kind, count=count, first_position=first_position, size=BLOCK_BYTES + length)

    def check(self, data: bytes, offset: int) -> Block:
        """The whole, good block at ``offset`` of ``data``.

        Raises ``FormatError`` (``IncompleteBlockError`` where ``data`` is too short), and nothing else.
        """
        block = self.peek(data, offset)
        if offset + block.size > len(data):
            raise IncompleteBlockError("the file ends within a block")
        crc = int.from_bytes(data[offset + _CRC_BYTES : offset + _COVERED_FROM], "little")
        if crc != isal_zlib.crc32(memoryview(data)[offset + _COVERED_FROM : offset + block.size], self._seed):
            raise FormatError("a block's checksum is wrong")
        return block

    def decode_entries(self, data: bytes, offset: int, block: Block, start: int) -> list[StoredEntry]:
        """The checked ``block``'s entries from position ``start`` on; payloads are views into ``data``."""
        unpack, make, kinds, view = _ENTRY.unpack_from, tuple.__new__, _KINDS, memoryview(data)
        entries: list[StoredEntry] = []
        end = offset + BLOCK_BYTES
        for position in range(block.first_position, block.next_position):
            payload_length, route_length, kind, event_time_ms, event_id = unpack(data, end)
            route_at = end + _ENTRY_BYTES
            payload_at = route_at + route_length
            end = payload_at + payload_length
            fields = (position, kinds[kind], data[route_at:payload_at], event_time_ms, event_id, view[payload_at:end])
            entries.append(make(StoredEntry, fields))
        assert end == offset + block.size, "a block whose checksum is good was written by this module"
        return entries[start - block.first_position :] if start > block.first_position else entries

    def scan(self, data: bytes, first_position: int) -> Scan:
        """Walk the blocks of the unsealed segment ``data``, whose header was checked.

        Raises ``FormatError`` where a bad block has good ones behind it, or positions are missing: that is damage, no
        crash leaves it.
        """
        offset, next_position, torn = HEADER_BYTES, first_position, None
        last_offset: int | None = None
        last_kind: int | None = None
        while offset < len(data):
            try:
                block = self.check(data, offset)
            except FormatError as error:
                torn = str(error) if data.count(0, offset) < len(data) - offset else None
                break
            if block.first_position != next_position:
                raise FormatError(f"offset {offset}: position {block.first_position} follows {next_position - 1}")
            last_offset, last_kind = offset, block.kind
            offset += block.size
            next_position = block.next_position
        if torn is not None and (later := self._good_block_behind(data, offset, next_position)) is not None:
            raise FormatError(f"offset {offset}: {torn}, but a later block (offset {later}) is whole")
        return Scan(size=offset, next_position=next_position, last_offset=last_offset, last_kind=last_kind, torn=torn)

    def _good_block_behind(self, data: bytes, offset: int, position: int) -> int | None:
        """The offset of a good block behind ``offset`` whose entries come at or behind ``position``."""
        while (offset := data.find(self.marker, offset + 1)) >= 0:
            try:
                block = self.check(data, offset)
            except FormatError:
                continue
            if block.first_position >= position:
                return offset
        return None
