"""CBOR bodies of the protocol smithy-rpc-v2-cbor: bytes to parameters, results to bytes.

Rules: text keys alone, each once; tag 1 (epoch seconds) alone; ``MAX_DEPTH`` levels of nesting; nothing after the item.
A length is checked against what is left before anything is built.  A reader raises ``FormatError`` and nothing else.
RFC 8949; Smithy, "RPC v2 CBOR protocol".
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar

from opentrail.core.errors import FormatError
from opentrail.core.wire.model import Shape
from opentrail.core.wire.scalars import checked_integer, epoch_seconds, integer_bits, parse_epoch
from opentrail.core.wire.trees import Convert, Leaves, mismatch, reader, writer

MAX_DEPTH = 100

_BREAK = object()
_SIMPLE = {20: False, 21: True, 22: None, 23: None}
_FLOATS = {25: struct.Struct(">e"), 26: struct.Struct(">f"), 27: struct.Struct(">d")}
_LARGEST = (1 << 1024) - (1 << 970)  # the largest double
_DOUBLE = struct.Struct(">Bd")


class _Decoder:
    """One pass over one item and all within it."""

    __slots__ = ("_body", "_position")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._position = 0

    def decode(self) -> Any:
        value = self._item(0)
        if value is _BREAK or self._position != len(self._body):
            raise FormatError("the body is not one CBOR item")
        return value

    def _take(self, count: int) -> bytes:
        start = self._position
        if count > len(self._body) - start:
            raise FormatError("the body ends within a CBOR item")
        self._position = start + count
        return self._body[start : self._position]

    def _argument(self, info: int) -> int:
        """The number that follows an initial byte (a value or a length)."""
        if info < 24:
            return info
        if info > 27:
            raise FormatError("the body holds a malformed CBOR item")
        return int.from_bytes(self._take(1 << (info - 24)), "big")

    def _item(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise FormatError("the body is nested too deep")
        initial = self._take(1)[0]
        return self._majors[initial >> 5](self, initial & 31, depth)

    def _unsigned(self, info: int, _depth: int) -> int:
        return self._argument(info)

    def _negative(self, info: int, _depth: int) -> int:
        return -1 - self._argument(info)

    def _bytes(self, info: int, _depth: int) -> bytes:
        return self._chunks(2, info)

    def _text(self, info: int, _depth: int) -> str:
        try:
            return self._chunks(3, info).decode()
        except UnicodeDecodeError as error:
            raise FormatError("the body holds text that is not UTF-8") from error

    def _chunks(self, major: int, info: int) -> bytes:
        """A string of a definite length, or one in chunks that are."""
        if info != 31:
            return self._take(self._argument(info))
        chunks = []
        while (initial := self._take(1)[0]) != 0xFF:
            if initial >> 5 != major or initial & 31 == 31:
                raise FormatError("the body holds a malformed CBOR string")
            chunks.append(self._take(self._argument(initial & 31)))
        return b"".join(chunks)

    def _array(self, info: int, depth: int) -> list[Any]:
        count = self._count(info)
        items: list[Any] = []
        while len(items) != count:
            item = self._item(depth + 1)
            if item is _BREAK:
                if count is None:
                    break
                raise FormatError("the body holds a malformed CBOR array")
            items.append(item)
        return items

    def _map(self, info: int, depth: int) -> dict[str, Any]:
        count = self._count(info)
        items: dict[str, Any] = {}
        while len(items) != count:
            key = self._item(depth + 1)
            if key is _BREAK and count is None:
                break
            value = self._item(depth + 1)
            if type(key) is not str or key in items or value is _BREAK:
                raise FormatError("the body holds a malformed CBOR map")
            items[key] = value
        return items

    def _count(self, info: int) -> int | None:
        if info == 31:
            return None
        count = self._argument(info)
        if count > len(self._body) - self._position:
            raise FormatError("the body ends within a CBOR item")
        return count

    def _tagged(self, info: int, depth: int) -> datetime:
        tag = self._argument(info)
        value = self._item(depth + 1)
        if tag != 1 or type(value) not in (int, float) or not abs(value) < 1e12:
            raise FormatError("the body holds a CBOR tag that is no timestamp")
        return parse_epoch(value)

    def _simple(self, info: int, _depth: int) -> Any:
        if info in _SIMPLE:
            return _SIMPLE[info]
        if info in _FLOATS:
            form = _FLOATS[info]
            return form.unpack(self._take(form.size))[0]
        if info == 31:
            return _BREAK
        raise FormatError("the body holds an unknown CBOR simple value")

    _majors: ClassVar[tuple[Callable[..., Any], ...]] = (
        _unsigned,
        _negative,
        _bytes,
        _text,
        _array,
        _map,
        _tagged,
        _simple,
    )


def decode(body: bytes) -> Any:
    """The value that ``body`` holds: dict, list, str, bytes, int, float, bool, ``None`` or a ``datetime``.

    Raises ``FormatError``.
    """
    return _Decoder(body).decode()


def parse(shape: Shape, body: bytes) -> Any:
    """The parameter of ``shape`` that ``body`` holds.

    Raises ``FormatError``.
    """
    return reader(shape, LEAVES)(decode(body))


def encode(value: Any) -> bytes:
    """``value``, a plain tree, as one CBOR item of definite lengths."""
    out = bytearray()
    _encode(value, out)
    return bytes(out)


def format(shape: Shape, value: Any) -> bytes:  # noqa: A001  parse/format is the pair of verbs of every codec
    """A value of ``shape`` as CBOR."""
    write = writer(shape, LEAVES)
    return encode(value if write is None else write(value))


def tree(shape: Shape, value: Mapping[str, Any]) -> dict[str, Any]:
    """A structure as a plain tree with the names on the wire."""
    write = writer(shape, LEAVES)
    assert write is not None, "a structure always has a writer"
    result: dict[str, Any] = write(value)
    return result


def _head(major: int, number: int, out: bytearray) -> None:
    if number < 24:
        out.append(major << 5 | number)
        return
    size = 0 if number < 1 << 8 else 1 if number < 1 << 16 else 2 if number < 1 << 32 else 3
    out.append(major << 5 | 24 + size)
    out += number.to_bytes(1 << size, "big")


def _encode(value: Any, out: bytearray) -> None:
    if isinstance(value, str):
        data = value.encode("utf-8", "replace")
        _head(3, len(data), out)
        out += data
    elif value is None or isinstance(value, bool):
        out.append(0xF6 if value is None else 0xF5 if value else 0xF4)
    elif isinstance(value, int):
        _encode_integer(value, out)
    elif isinstance(value, float):
        out += _DOUBLE.pack(0xFB, value)
    elif isinstance(value, bytes | bytearray):
        _head(2, len(value), out)
        out += value
    elif isinstance(value, datetime):
        out.append(0xC1)
        _encode(epoch_seconds(value), out)
    else:
        _encode_container(value, out)


def _encode_integer(value: int, out: bytearray) -> None:
    if not -(1 << 64) <= value < 1 << 64:  # out of a document; clients read no bignums, so the nearest number there is
        _encode(math.copysign(min(abs(value), _LARGEST), value), out)
    elif value >= 0:
        _head(0, value, out)
    else:
        _head(1, -1 - value, out)


def _encode_container(value: Any, out: bytearray) -> None:
    if isinstance(value, Mapping):
        _head(5, len(value), out)
        for key, item in value.items():
            _encode(key, out)
            _encode(item, out)
    else:
        _head(4, len(value), out)
        for item in value:
            _encode(item, out)


def _read_string(value: Any) -> str:
    if type(value) is str:
        return value
    raise mismatch(value, "a string")


def _integer_reader(shape: Shape) -> Convert:
    bits = integer_bits(shape)

    def read(value: Any) -> int:
        if type(value) is int:
            return checked_integer(value, bits)
        raise mismatch(value, "an integer")

    return read


def _read_float(value: Any) -> float:
    if type(value) is float or type(value) is int:
        return float(value)  # at most 64 bits wide, so never out of range
    raise mismatch(value, "a number")


def _read_boolean(value: Any) -> bool:
    if type(value) is bool:
        return value
    raise mismatch(value, "a boolean")


def _read_blob(value: Any) -> bytes:
    if type(value) is bytes:
        return value
    raise mismatch(value, "a blob")


def _read_timestamp(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    raise mismatch(value, "a timestamp")


def _write_blob(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value


_UNCHANGED = ("string", "character", "integer", "long", "boolean", "timestamp")

LEAVES = Leaves(
    name="cbor",
    readers={
        "string": lambda _: _read_string,
        "character": lambda _: _read_string,
        "integer": _integer_reader,
        "long": _integer_reader,
        "float": lambda _: _read_float,
        "double": lambda _: _read_float,
        "boolean": lambda _: _read_boolean,
        "blob": lambda _: _read_blob,
        "timestamp": lambda _: _read_timestamp,
    },
    writers={
        **dict.fromkeys(_UNCHANGED, lambda _: None),
        "float": lambda _: float,
        "double": lambda _: float,
        "blob": lambda _: _write_blob,
    },
)

#: For answers that someone else wrote.
LENIENT_LEAVES = replace(LEAVES, name="cbor-lenient", lenient=True)
