"""The bytes of a segment: what is written is read, and no bytes whatever are anything but good, torn or damaged."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opentrail.core.errors import FormatError
from opentrail.journal.base import Entry, EntryKind
from opentrail.journal.segments import (
    BLOCK_BYTES,
    CLOSED,
    HEADER_BYTES,
    SEALED,
    Framing,
    SegmentHeader,
    decode_header,
    encode_header,
)
from opentrail.testing.journal_contract import as_entry, make_entry

_ID = b"0123456789abcdef"

entries = st.builds(
    Entry,
    kind=st.sampled_from(EntryKind),
    route=st.binary(max_size=511),
    event_time_ms=st.integers(-(1 << 63), (1 << 63) - 1),
    event_id=st.binary(min_size=16, max_size=16),
    payload=st.binary(max_size=2000),
)


def _segment(batches: list[list[Entry]], *, mark: int | None = None) -> bytes:
    framing = Framing(_ID)
    data, position = encode_header(SegmentHeader(journal_id=_ID, first_position=1)), 1
    for batch in batches:
        data += framing.encode_block(position, batch)
        position += len(batch)
    return data if mark is None else data + framing.encode_mark(mark, position)


@given(st.integers(0, (1 << 64) - 1), st.binary(min_size=16, max_size=16))
def test_headers_come_back(first_position: int, journal_id: bytes) -> None:
    header = SegmentHeader(journal_id=journal_id, first_position=first_position)
    data = encode_header(header)
    assert len(data) == HEADER_BYTES
    assert decode_header(data + b"more") == header


@given(st.lists(st.lists(entries, min_size=1, max_size=4), max_size=4), st.sampled_from([None, CLOSED, SEALED]))
def test_blocks_come_back(batches: list[list[Entry]], mark: int | None) -> None:
    framing, data = Framing(_ID), _segment(batches, mark=mark)
    scan = framing.scan(data, 1)
    assert (scan.size, scan.torn, scan.next_position) == (len(data), None, 1 + sum(map(len, batches)))
    assert framing.scan(data + bytes(100), 1) == scan, "room written in advance is no part of it"
    at, found = HEADER_BYTES, []
    while at < len(data):
        block = framing.check(data, at)
        found += framing.decode_entries(data, at, block, 0)
        at += block.size
    assert [as_entry(entry) for entry in found] == [entry for batch in batches for entry in batch]
    assert [entry.position for entry in found] == list(range(1, len(found) + 1))


@settings(max_examples=300)
@given(st.binary(max_size=300), st.integers(0, 400), st.integers(0, 255), st.booleans())
def test_any_bytes_are_good_torn_or_damaged(tail: bytes, at: int, value: int, cut: bool) -> None:
    """Nothing but ``FormatError`` comes out, and what the scan lets through is a prefix of what was written."""
    whole = _segment([[make_entry(1)], [make_entry(2), make_entry(3)], [make_entry(4)]])
    data = bytearray(whole + tail)
    data[at % len(data)] = value
    damaged = bytes(data[: at % len(data)] if cut else data)
    try:
        decode_header(damaged)
        scan = Framing(_ID).scan(damaged, 1)
    except FormatError:
        return
    assert damaged[HEADER_BYTES : scan.size] == whole[HEADER_BYTES : scan.size]
    assert scan.next_position in {1, 2, 4, 5}
    assert scan.torn is not None or not damaged[scan.size :].strip(b"\0")


def test_a_block_in_a_payload_is_not_taken_for_one() -> None:
    """A caller who knows the format, and a copied block of another journal: both lack the journal's id."""
    forged = Framing(b"another journal.").encode_block(9, [make_entry(9)])
    torn = _segment([[make_entry(1)], [make_entry(2, payload=forged + _ID[:4] + forged[4:])]])[:-1]
    scan = Framing(_ID).scan(torn, 1)
    assert (scan.next_position, scan.torn) == (2, "the file ends within a block")


def test_a_good_block_behind_a_bad_one_is_damage() -> None:
    whole = _segment([[make_entry(1)], [make_entry(2)], [make_entry(3)]])
    first = Framing(_ID).check(whole, HEADER_BYTES).size
    for bad in (HEADER_BYTES, HEADER_BYTES + 8, HEADER_BYTES + BLOCK_BYTES, HEADER_BYTES + first):
        data = bytearray(whole)
        data[bad] ^= 1
        with pytest.raises(FormatError, match=rf"offset {HEADER_BYTES + (first if bad > HEADER_BYTES + 40 else 0)}: "):
            Framing(_ID).scan(bytes(data), 1)
