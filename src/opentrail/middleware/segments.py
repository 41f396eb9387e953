"""The files of a spool: events one behind the other, which are found again whatever became of the bytes between them.

An event in a segment: its length and CRC-32, four bytes each, little-endian, then its bytes.  Behind the last event may
come room that is not used yet, all zeros.  Rules:

* An event is found where its length and its checksum are right, also behind bytes that are damaged: no event but the
  damaged one is lost.
* An event is not empty, for a head of zeros is room; it has up to ``MAX_EVENT_BYTES``, by which a head can be told from
  text: no other byte of JSON is a zero.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

MAX_EVENT_BYTES = (2 << 20) - 1
HEAD_BYTES = 8
_HEAD = struct.Struct("<II")
_CHUNK_BYTES = 128 << 10  # read at a time; more where an event is larger, or damaged
_LARGE_CHUNK_BYTES = 2 * (MAX_EVENT_BYTES + HEAD_BYTES)
_LENGTH = re.compile(rb"(?:[^\0].[\0-\x1f]|.[^\0][\0-\x1f]|..[\x01-\x1f])\0", re.DOTALL)  # 1 to MAX_EVENT_BYTES


class Found(NamedTuple):
    """An intact event, and where it lies in its segment."""

    event: bytes
    start: int
    end: int


def pack_events(events: Sequence[bytes]) -> bytes:
    """The bytes of ``events`` in a segment."""
    pack, checksum = _HEAD.pack, zlib.crc32
    return b"".join([part for event in events for part in (pack(len(event), checksum(event)), event)])


def find_events(descriptor: int, offset: int, limit: int) -> Iterator[Found]:
    """The intact events of a segment between two offsets, in order.  Raises ``OSError``."""
    wanted = _CHUNK_BYTES
    while offset < limit:
        data = os.pread(descriptor, min(wanted, limit - offset), offset)
        end = 0
        while (event := _event_at(data, end)) is not None:
            start, end = end, end + HEAD_BYTES + len(event)
            yield Found(event, offset + start, offset + end)
        if end:
            offset, wanted = offset + end, _CHUNK_BYTES
        elif len(data) == wanted < _LARGE_CHUNK_BYTES:
            wanted = _LARGE_CHUNK_BYTES
        elif (skipped := _next_event(data)) is not None:
            offset += skipped
        elif len(data) < wanted:
            return
        else:
            offset += wanted // 2  # an event that begins in the second half may end behind it


def _event_at(data: bytes, offset: int) -> bytes | None:
    """The event that begins at ``offset``, where there is an intact one."""
    if len(data) - offset <= HEAD_BYTES:
        return None
    length, checksum = _HEAD.unpack_from(data, offset)
    start = offset + HEAD_BYTES
    event = data[start : start + length] if 0 < length <= MAX_EVENT_BYTES else b""
    return event if event and len(event) == length and zlib.crc32(event) == checksum else None


def _next_event(data: bytes) -> int | None:
    """Where the first intact event behind the beginning of ``data`` begins."""
    written = len(data.rstrip(b"\0"))
    offset = 1
    while (match := _LENGTH.search(data, offset, written)) is not None:
        offset = match.start()
        if _event_at(data, offset) is not None:
            return offset
        offset += 1
    return None
