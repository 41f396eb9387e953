"""Between parameters and plain trees of dicts, lists and scalars, as JSON and CBOR carry them.

A codec brings a table of leaves (how it reads and writes each scalar type); this module walks structures, lists and
maps.  Each shape is compiled once into a function and kept in ``Shape.compiled``.  Rules:

* Unknown members are ignored, a null member is an absent one (Smithy: readers must tolerate both).
* A reader raises ``FormatError`` with the path of the member that is wrong, and nothing else.  A lenient one, for
  answers that someone else wrote, leaves such a member out of its structure.
* A writer is given our own results: a member that the model does not know is our mistake, so an assertion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from opentrail.core.errors import FormatError
from opentrail.core.wire.model import Shape
from opentrail.core.wire.scalars import at

Convert = Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaves:
    """A codec's scalars: type -> a function that compiles the conversion; ``None`` stands for no conversion."""

    name: str
    readers: Mapping[str, Callable[[Shape], Convert]]
    writers: Mapping[str, Callable[[Shape], Convert | None]]
    lenient: bool = False


def reader(shape: Shape, leaves: Leaves) -> Convert:
    """The function that turns a decoded value into a parameter of ``shape``."""
    key = (leaves.name, "read")
    compiled: Convert | None = shape.compiled.get(key)
    if compiled is None:
        if shape.document:
            compiled = _unchanged
        else:
            make = _READERS.get(shape.type)
            compiled = make(shape, leaves) if make else leaves.readers[shape.type](shape)
        shape.compiled[key] = compiled
    return compiled


def writer(shape: Shape, leaves: Leaves) -> Convert | None:
    """The function that turns a value of ``shape`` into a plain tree; ``None`` where it already is one."""
    key = (leaves.name, "write")
    if key in shape.compiled:
        known: Convert | None = shape.compiled[key]
        return known
    compiled: Convert | None = None
    if not shape.document:
        make = _WRITERS.get(shape.type)
        compiled = make(shape, leaves) if make else leaves.writers[shape.type](shape)
    shape.compiled[key] = compiled
    return compiled


def _unchanged(value: Any) -> Any:
    return value


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return "a structure or map"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    return "null" if value is None else "a string" if isinstance(value, str) else "a scalar"


def mismatch(value: object, wanted: str) -> FormatError:
    """The error for ``value`` where ``wanted`` ("a string") belongs; its kind is named, never the value."""
    return FormatError(f"{_kind(value)} can not be converted to {wanted}")


def _structure_reader(shape: Shape, leaves: Leaves) -> Convert:
    # Members are compiled on the first call, not here: a recursive structure would never end.
    fields: dict[str, tuple[str, Convert]] | None = None

    def read(value: Any) -> dict[str, Any]:
        nonlocal fields
        if fields is None:
            fields = {member.wire_name(name): (name, reader(member, leaves)) for name, member in shape.members.items()}
        if type(value) is not dict:
            raise mismatch(value, "a structure")
        if leaves.lenient:
            return _read_what_can_be(fields, value)
        result = {}
        key = ""
        try:
            for key, item in value.items():
                field = fields.get(key)
                if field is not None and item is not None:
                    result[field[0]] = field[1](item)
        except FormatError as error:
            raise at(key, error) from None
        return result

    return read


def _read_what_can_be(fields: Mapping[str, tuple[str, Convert]], value: Mapping[str, Any]) -> dict[str, Any]:
    result = {}
    for key, item in value.items():
        field = fields.get(key)
        if field is not None and item is not None:
            with suppress(FormatError):
                result[field[0]] = field[1](item)
    return result


def _list_reader(shape: Shape, leaves: Leaves) -> Convert:
    def read(value: Any) -> list[Any]:
        if type(value) is not list:
            raise mismatch(value, "a list")
        read_item = reader(shape.member, leaves)
        result: list[Any] = []
        try:
            for item in value:
                if item is None and not shape.sparse:
                    raise mismatch(None, "an item")
                result.append(None if item is None else read_item(item))
        except FormatError as error:
            raise at(f"[{len(result)}]", error) from None
        return result

    return read


def _map_reader(shape: Shape, leaves: Leaves) -> Convert:
    def read(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise mismatch(value, "a map")
        read_item = reader(shape.value, leaves)
        result: dict[str, Any] = {}
        try:
            for key, item in value.items():
                if item is not None:
                    result[key] = read_item(item)
                elif shape.sparse:
                    result[key] = None
        except FormatError as error:
            raise at(f"[{len(result)}]", error) from None  # a key may be secret: its place is named
        return result

    return read


def _structure_writer(shape: Shape, leaves: Leaves) -> Convert:
    fields: dict[str, tuple[str, Convert | None]] | None = None

    def write(value: Mapping[str, Any]) -> dict[str, Any]:
        nonlocal fields
        if fields is None:
            fields = {name: (member.wire_name(name), writer(member, leaves)) for name, member in shape.members.items()}
        result = {}
        for name, item in value.items():
            assert name in fields, f"{shape.name} has no member {name}"
            if item is not None:
                wire_name, write_item = fields[name]
                result[wire_name] = item if write_item is None else write_item(item)
        return result

    return write


def _list_writer(shape: Shape, leaves: Leaves) -> Convert:
    def write(value: Any) -> list[Any]:
        write_item = writer(shape.member, leaves)
        if write_item is None:
            return list(value)
        return [None if item is None else write_item(item) for item in value]

    return write


def _map_writer(shape: Shape, leaves: Leaves) -> Convert:
    def write(value: Mapping[str, Any]) -> dict[str, Any]:
        write_item = writer(shape.value, leaves)
        if write_item is None:
            return dict(value)
        return {key: None if item is None else write_item(item) for key, item in value.items()}

    return write


_READERS: dict[str, Callable[[Shape, Leaves], Convert]] = {
    "structure": _structure_reader,
    "list": _list_reader,
    "map": _map_reader,
}
_WRITERS: dict[str, Callable[[Shape, Leaves], Convert]] = {
    "structure": _structure_writer,
    "list": _list_writer,
    "map": _map_writer,
}
