"""Recorded values back to what they were made of, by their shapes: the inverse of ``core.recording.elements``.

What AWS hid cannot come back: a planted secret stands in its place, and must be hidden again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from opentrail.core.errors import FormatError
from opentrail.core.recording.elements import recorded_name
from opentrail.core.wire.model import Shape
from opentrail.core.wire.scalars import parse_epoch, parse_timestamp
from opentrail.testing.fidelity.compare import PLACEHOLDERS

PLANTED = "planted-secret-7f3a9c"
_MAX_DEPTH = 6
_MILLISECONDS = 1e11  # a larger number counts milliseconds, not seconds
_JAVA_FORMATS = ("%b %d, %Y, %I:%M:%S %p", "%b %d, %Y %I:%M:%S %p")


NameOf = Callable[[str, Shape], str]


def shown_name(name: str, _member: Shape) -> str:
    """What a member is called in the records of most services."""
    return recorded_name(name)


def read_value(shape: Shape, recorded: Any, name_of: NameOf = shown_name) -> Any:
    """The value of ``shape`` whose record is ``recorded``; ``name_of`` says what a member is called there.

    What no member is called is left out: it cannot be sent.
    """
    if isinstance(recorded, str) and recorded in PLACEHOLDERS:
        return planted(shape)
    if shape.document:
        return recorded
    kind, read = _READERS.get(shape.type, (object, _read_scalar))
    return read(shape, recorded, name_of) if isinstance(recorded, kind) else None


def _read_structure(shape: Shape, recorded: Any, name_of: NameOf) -> dict[str, Any]:
    return read_members(shape.members, recorded, name_of, shape.required)


def _read_list(shape: Shape, recorded: Any, name_of: NameOf) -> list[Any]:
    return [read_value(shape.member, item, name_of) for item in recorded]


def _read_map(shape: Shape, recorded: Any, name_of: NameOf) -> dict[str, Any]:
    return {key: read_value(shape.value, item, name_of) for key, item in recorded.items()}


def _read_scalar(shape: Shape, recorded: Any, _name_of: NameOf) -> Any:
    return _SCALARS.get(shape.type, lambda value: value)(recorded)


def read_members(
    members: Mapping[str, Shape],
    recorded: Mapping[str, Any],
    name_of: NameOf = shown_name,
    required: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The ``members`` that ``recorded`` holds, and those that are ``required`` and that a record never shows."""
    found: dict[str, Any] = {}
    for name, member in members.items():
        key = name_of(name, member)
        if recorded.get(key) is not None:
            value = read_value(member, recorded[key], name_of)
            if value is not None:
                found[name] = value
        elif name in required and (member.sensitive or member.type == "blob"):
            found[name] = planted(member)
    return found


def planted(shape: Shape, depth: int = 0) -> Any:
    """Some value of ``shape`` whose texts are the planted secret."""
    if shape.type == "structure":
        if depth > _MAX_DEPTH:
            return {}
        return {name: planted(member, depth + 1) for name, member in shape.members.items() if name in shape.required}
    if shape.type == "list":
        return [planted(shape.member, depth + 1)]
    if shape.type == "map":
        return {PLANTED: planted(shape.value, depth + 1)}
    return _PLANTED_SCALARS.get(shape.type, PLANTED)


def _read_time(recorded: Any) -> Any:
    if isinstance(recorded, int | float):
        return parse_epoch(recorded if abs(recorded) < _MILLISECONDS else recorded / 1000)
    for form in _JAVA_FORMATS:
        try:
            return datetime.strptime(recorded, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    try:
        return parse_timestamp(recorded)
    except FormatError:
        return None


def _read_integer(recorded: Any) -> Any:
    return int(recorded) if isinstance(recorded, str) and recorded.lstrip("-").isdigit() else recorded


def _read_text(recorded: Any) -> Any:
    return recorded if isinstance(recorded, str) else str(recorded)


_READERS: Mapping[str, tuple[type, Callable[[Shape, Any, NameOf], Any]]] = {
    "structure": (dict, _read_structure),
    "list": (list, _read_list),
    "map": (dict, _read_map),
}
_SCALARS: Mapping[str, Callable[[Any], Any]] = {
    "timestamp": _read_time,
    "integer": _read_integer,
    "long": _read_integer,
    "string": _read_text,
}
_PLANTED_SCALARS: Mapping[str, Any] = {
    "integer": 417,
    "long": 417,
    "float": 4.17,
    "double": 4.17,
    "boolean": True,
    "blob": PLANTED.encode(),
    "timestamp": datetime(2001, 2, 3, tzinfo=UTC),
}
