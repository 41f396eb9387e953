"""Log files: what is written reads back, by us and by everybody else; what is damaged is refused."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opentrail.core.errors import FormatError
from opentrail.core.gzip_member import MemberReader, TrailingDataError, decode_member, encode_member
from opentrail.core.logfiles import MAX_LOG_FILE_BYTES, decode_log_file, encode_log_file, log_file_size

DATA = Path(__file__).resolve().parents[2] / "../shared/data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is absent")

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
records = st.lists(st.dictionaries(st.text(), values, max_size=4), min_size=1, max_size=8)


def _json(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode()


@given(records)
def test_what_is_written_reads_back(written: list[dict[str, Any]]) -> None:
    encoded = encode_log_file([_json(record) for record in written])
    assert decode_log_file(encoded.data) == written
    content = gzip.decompress(encoded.data)
    assert json.loads(content) == {"Records": written}
    assert encoded.sha256 == hashlib.sha256(content).hexdigest()
    assert encoded.size == len(content)
    assert encoded.size == log_file_size(sum(len(_json(record)) for record in written), len(written))


def test_a_large_file_is_one_member_and_does_not_depend_on_how_it_is_cut() -> None:
    pieces = [_json({"n": n, "text": str(n * 7919) * 50}) for n in range(4000)]
    encoded = encode_log_file(pieces)
    decompressor = zlib.decompressobj(31)
    content = decompressor.decompress(encoded.data)
    assert decompressor.eof
    assert decompressor.unused_data == b""
    assert content == b'{"Records":[' + b",".join(pieces) + b"]}"
    assert encode_log_file(pieces).data == encoded.data


def test_the_header_holds_no_time_and_no_name() -> None:
    assert encode_log_file([b"{}"]).data[:8] == bytes.fromhex("1f8b080000000000")


def test_large_integers_and_lone_surrogates_survive() -> None:
    record = b'{"n":123456789012345678901234567890,"s":"\\ud800"}'
    assert decode_log_file(encode_log_file([record]).data) == [{"n": 123456789012345678901234567890, "s": "\ud800"}]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"Records":{}}',
        b'{"Records":[1]}',
        b'{"Records":[{}]} x',
        b'{"Records":[{"n":NaN}]}',
        b'{"Records":[{"n":' + b"[" * 100_000 + b"]}",
        b'{"Records":[{"n":"\xff"}]}',
        '{"Records":[]}'.encode("utf-16"),
        b"\xef\xbb\xbf" + b'{"Records":[]}',
    ],
    ids=lambda content: repr(content[:24]),
)
def test_what_is_no_log_file_is_refused(content: bytes) -> None:
    with pytest.raises(FormatError):
        decode_log_file(encode_member([content])[0])


def test_bytes_behind_the_member_are_refused() -> None:
    data = encode_log_file([b"{}"]).data
    for more in (b"\0", b"x", data, gzip.compress(b'{"Records":[]}')):
        with pytest.raises(TrailingDataError):
            decode_log_file(data + more)


def test_a_file_that_is_cut_anywhere_is_refused() -> None:
    data = encode_log_file([b'{"a":"b"}'] * 20).data
    for length in range(len(data)):
        with pytest.raises(FormatError):
            decode_log_file(data[:length])


def test_a_bomb_is_not_inflated_to_its_end() -> None:
    bomb, _, _ = encode_member([bytes(1 << 20)] * 64)
    reader = MemberReader(max_size=1 << 20)
    pieces: list[bytes] = []
    with pytest.raises(FormatError, match="holds more than"):
        pieces.extend(reader.feed(bomb))
    assert sum(map(len, pieces)) <= 1 << 20
    with pytest.raises(FormatError):
        decode_log_file(bomb)


def test_the_size_bound_is_exact() -> None:
    data, _, size = encode_member([b"a" * 1000])
    assert len(decode_member(data, max_size=size)) == size
    with pytest.raises(FormatError):
        decode_member(data, max_size=size - 1)


@settings(max_examples=50)
@given(st.binary(max_size=2000), st.lists(st.integers(1, 50), min_size=1, max_size=40))
def test_fed_in_pieces_is_fed_at_once(content: bytes, cuts: list[int]) -> None:
    data, _, _ = encode_member([content])
    reader = MemberReader(max_size=len(content))
    out: list[bytes] = []
    at = 0
    while at < len(data):
        step = cuts[at % len(cuts)]
        out += reader.feed(data[at : at + step])
        at += step
    reader.finish()
    assert b"".join(out) == content


@given(st.data())
def test_no_flipped_bit_changes_what_is_read(data: st.DataObject) -> None:
    """Any flip is refused, or the content is as it was (gzip's header holds a time and a system that say nothing)."""
    content = data.draw(st.binary(min_size=1, max_size=300))
    member = bytearray(encode_member([content])[0])
    bit = data.draw(st.integers(0, len(member) * 8 - 1))
    member[bit // 8] ^= 1 << bit % 8
    with suppress(FormatError):
        assert decode_member(bytes(member), max_size=10_000) == content


def test_a_file_too_large_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError):
        encode_log_file([b"x" * 1_000_000] * (MAX_LOG_FILE_BYTES // 1_000_000 + 1))
    with pytest.raises(AssertionError):
        encode_log_file([])


@needs_data
def test_real_files_read_and_write() -> None:
    for path in sorted((DATA / "invictus_files").iterdir()):
        data = path.read_bytes()
        read = decode_log_file(data)
        assert read == json.loads(gzip.decompress(data))["Records"]
        encoded = encode_log_file([json.dumps(record).encode() for record in read])
        assert decode_log_file(encoded.data) == read


@needs_data
def test_files_of_real_records_are_at_most_a_fifth_larger_than_gzip_6() -> None:
    lines = gzip.decompress((DATA / "records/invictus.ndjson.gz").read_bytes()).splitlines()
    for group in (lines, lines[:60], lines[1000:1300]):
        plain = gzip.compress(b'{"Records":[' + b",".join(group) + b"]}", 6)
        assert len(encode_log_file(group).data) <= 1.2 * len(plain)
