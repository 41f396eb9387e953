"""JSON bodies: bytes to parameters, results to bytes (protocols json 1.0 and 1.1, rest-json).

Rules: blobs are base64 text, timestamps epoch seconds unless the model says otherwise, NaN and the infinities are text.
A repeated key counts as its last occurrence, as in AWS's readers.  ``MAX_DEPTH`` levels of nesting, no more.
A reader raises ``FormatError`` and nothing else.  RFC 8259; Smithy, "AWS JSON 1.0 and 1.1", "AWS restJson1".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson

from opentrail.core.errors import FormatError
from opentrail.core.wire.model import Shape
from opentrail.core.wire.scalars import (
    TIMESTAMP_FORMATS,
    checked_integer,
    epoch_seconds,
    format_blob,
    format_float,
    integer_bits,
    parse_blob,
    parse_epoch,
    parse_float,
    parse_timestamp,
)
from opentrail.core.wire.trees import Convert, Leaves, mismatch, reader, writer

MAX_DEPTH = 100


def decode(body: bytes) -> Any:
    """The value that ``body`` holds.

    Raises ``FormatError`` for anything that is not one JSON value in UTF-8 (or UTF-16 or 32), or is nested too deep.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = _decode_slowly(body)
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH:
        _check_depth(value)
    return value


def _decode_slowly(body: bytes) -> Any:
    """What orjson refuses and AWS's reader takes: a byte order mark, UTF-16 and UTF-32, numbers out of range."""
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate is no text, and could never be recorded
    except (ValueError, RecursionError) as error:
        raise FormatError("the body is not valid JSON") from error
    return value


def _refuse_constant(text: str) -> Any:
    raise ValueError(text)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return
    raise FormatError("the body is nested too deep")


def parse(shape: Shape, body: bytes) -> Any:
    """The parameter of ``shape`` that ``body`` holds.

    Raises ``FormatError``.
    """
    return reader(shape, LEAVES)(decode(body))


def encode(value: Any) -> bytes:
    """``value``, a plain tree, as JSON in UTF-8."""
    try:
        return orjson.dumps(value)
    except TypeError:  # an integer of more than 64 bits, out of a document
        return json.dumps(value, separators=(",", ":")).encode()


def format(shape: Shape, value: Any) -> bytes:  # noqa: A001  parse/format is the pair of verbs of every codec
    """A value of ``shape`` as JSON."""
    write = writer(shape, LEAVES)
    return encode(value if write is None else write(value))


def tree(shape: Shape, value: Mapping[str, Any]) -> dict[str, Any]:
    """A structure as a plain tree with the names on the wire."""
    write = writer(shape, LEAVES)
    assert write is not None, "a structure always has a writer"
    result: dict[str, Any] = write(value)
    return result


def _read_string(value: Any) -> str:
    if type(value) is str:
        return value
    raise mismatch(value, "a string")


def _integer_reader(shape: Shape) -> Convert:
    bits = integer_bits(shape)

    def read(value: Any) -> int:
        if type(value) is int:
            return checked_integer(value, bits)
        if type(value) is float and value.is_integer():
            return checked_integer(int(value), bits)
        raise mismatch(value, "an integer")

    return read


def _read_float(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        try:
            return float(value)
        except OverflowError as error:
            raise FormatError("number out of range") from error
    if value in ("NaN", "Infinity", "-Infinity"):
        return parse_float(value)
    raise mismatch(value, "a number")


def _read_boolean(value: Any) -> bool:
    if type(value) is bool:
        return value
    raise mismatch(value, "a boolean")


def _read_blob(value: Any) -> bytes:
    return parse_blob(_read_string(value))


def _timestamp_reader(shape: Shape) -> Convert:
    if shape.timestamp_format in ("", "unixtimestamp"):
        return _read_epoch
    return _read_timestamp


def _read_epoch(value: Any) -> datetime:
    if type(value) in (int, float) and abs(value) < 1e12:
        return parse_epoch(value)
    raise mismatch(value, "seconds since the epoch")


def _read_timestamp(value: Any) -> datetime:
    return parse_timestamp(_read_string(value))


def _read_any_timestamp(value: Any) -> datetime:
    return _read_timestamp(value) if type(value) is str else _read_epoch(value)


def _write_float(value: float) -> float | str:
    return value if math.isfinite(value) else format_float(value)


def _timestamp_writer(shape: Shape) -> Convert:
    if shape.timestamp_format in ("", "unixtimestamp"):
        return epoch_seconds
    return TIMESTAMP_FORMATS[shape.timestamp_format]


LEAVES = Leaves(
    name="json",
    readers={
        "string": lambda _: _read_string,
        "character": lambda _: _read_string,
        "integer": _integer_reader,
        "long": _integer_reader,
        "float": lambda _: _read_float,
        "double": lambda _: _read_float,
        "boolean": lambda _: _read_boolean,
        "blob": lambda _: _read_blob,
        "timestamp": _timestamp_reader,
    },
    writers={
        "string": lambda _: None,
        "character": lambda _: None,
        "integer": lambda _: None,
        "long": lambda _: None,
        "float": lambda _: _write_float,
        "double": lambda _: _write_float,
        "boolean": lambda _: None,
        "blob": lambda _: format_blob,
        "timestamp": _timestamp_writer,
    },
)

#: For answers that someone else wrote: a time may have any of its forms.
LENIENT_LEAVES = replace(
    LEAVES, name="json-lenient", readers={**LEAVES.readers, "timestamp": lambda _: _read_any_timestamp}, lenient=True
)
