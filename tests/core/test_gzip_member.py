"""One gzip member: the fast way to read it accepts nothing that the strict one refuses."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentrail.core.errors import FormatError
from opentrail.core.gzip_member import AT_ONCE_BYTES, MemberReader, decode_at_once, decode_member, encode_member

MOST = 1 << 20
CONTENT = b'{"Records":[' + b",".join(b'{"eventID":"%d"}' % number for number in range(500)) + b"]}"
MEMBER = encode_member([CONTENT])[0]


def strictly(data: bytes) -> bytes | None:
    """What the reader of pieces makes of it."""
    reader = MemberReader(max_size=MOST)
    try:
        content = b"".join(reader.feed(data))
        reader.finish()
    except FormatError:
        return None
    return content


@given(st.binary(max_size=2000), st.integers(0, 9))
def test_what_any_encoder_wrote_is_read_at_once(content: bytes, level: int) -> None:
    data = gzip.compress(content, level)
    assert decode_at_once(data, max_size=MOST) in (content, None)
    assert decode_member(data, max_size=MOST) == content


def test_a_log_file_is_read_at_once() -> None:
    assert decode_at_once(MEMBER, max_size=MOST) == CONTENT
    assert decode_at_once(MEMBER, max_size=len(CONTENT) - 1) is None


@pytest.mark.parametrize(
    "behind",
    [b"x", MEMBER[-8:], MEMBER, bytes(8), b"forged" + MEMBER[-8:], gzip.compress(CONTENT, 1), gzip.compress(b"")],
    ids=["a byte", "its trailer", "itself", "zeros", "forged", "its content again", "an empty member"],
)
def test_nothing_may_follow_whatever_its_last_bytes_say(behind: bytes) -> None:
    assert decode_at_once(MEMBER + behind, max_size=MOST) is None
    with pytest.raises(FormatError, match="follow"):
        decode_member(MEMBER + behind, max_size=MOST)


def test_content_that_holds_its_own_trailer_is_left_to_the_strict_reader() -> None:
    """Stored, not compressed: the eight bytes stand twice in a file that is as it should be."""
    name = b"n" + MEMBER[-8:].replace(b"\0", b"") + b"\0"
    deflated = MEMBER[10:]
    named = MEMBER[:3] + b"\x08" + MEMBER[4:10] + name + deflated
    assert decode_member(named, max_size=MOST) == CONTENT


@given(st.data())
def test_a_changed_member_is_what_the_strict_reader_says_it_is(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(MEMBER) - 1))
    changed = bytearray(MEMBER)
    changed[at] ^= data.draw(st.integers(1, 255))
    cut = bytes(changed[: data.draw(st.integers(0, len(MEMBER)))])
    for damaged in (bytes(changed), cut):
        found = decode_at_once(damaged, max_size=MOST)
        assert found is None or found == strictly(damaged)


def test_a_trailer_that_lies_about_the_size_does_not_help_a_bomb() -> None:
    bomb = encode_member([bytes(64 * MOST)])[0]
    assert len(bomb) > AT_ONCE_BYTES, "it is read piece by piece"
    small = encode_member([bytes(8 * MOST)])[0]
    lying = small[:-4] + (1000).to_bytes(4, "little")
    assert decode_at_once(lying, max_size=MOST) is None
    with pytest.raises(FormatError, match="more than"):
        decode_member(lying, max_size=MOST)


@given(st.lists(st.integers(1, 5000), max_size=20))
def test_fed_in_any_pieces_it_is_the_same(sizes: list[int]) -> None:
    reader, at, content = MemberReader(max_size=MOST), 0, b""
    for size in [*sizes, len(MEMBER)]:
        content += b"".join(reader.feed(MEMBER[at : at + size]))
        at += size
    reader.finish()
    assert content == CONTENT
    assert zlib.crc32(content).to_bytes(4, "little") == MEMBER[-8:-4]
