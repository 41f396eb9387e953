"""Form bodies of the protocols query and ec2: flat names such as ``Tags.member.1.Key`` to parameters.

Rules: the first of several equal names counts; list indices may have gaps and any order; names that the model does not
know are ignored; at most ``MAX_DEPTH`` dots in a name.  The ec2 protocol flattens every list and capitalises names.
A reader raises ``FormatError`` and nothing else.  Smithy, "AWS query protocol" and "AWS EC2 query protocol".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import itemgetter
from typing import Any
from urllib.parse import unquote_to_bytes

from opentrail.core.errors import FormatError
from opentrail.core.wire.model import Shape
from opentrail.core.wire.scalars import at, text_parser

MAX_DEPTH = 100

#: Names split at their dots; a leaf is its text, or under the key "" where a name is both a leaf and a branch.
Tree = dict[str, Any]
Read = Callable[[Any], Any]

_INDEX = re.compile(r"[0-9]{1,9}")


def decode_text(text: str) -> str:
    """A percent-encoded form or query component as text; ``+`` is a space.

    Raises ``FormatError`` where the bytes are no UTF-8.
    """
    if "+" in text:
        text = text.replace("+", " ")
    if "%" not in text:
        return text
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError as error:
        raise FormatError("percent-encoded text is not UTF-8") from error


def decode_pairs(form: str) -> list[tuple[str, str]]:
    """The name and value pairs of a query string or form body, in order.

    Raises ``FormatError``.
    """
    pairs = []
    for part in form.split("&"):
        if part:
            name, _, value = part.partition("=")
            pairs.append((decode_text(name), decode_text(value)))
    return pairs


def decode(form: str) -> Tree:
    """The form as a tree of names.

    Raises ``FormatError``.
    """
    tree: Tree = {}
    for name, value in decode_pairs(form):
        if "." not in name:
            branch, leaf = tree, name
        else:
            *path, leaf = name.split(".")
            if len(path) > MAX_DEPTH:
                raise FormatError("a parameter's name is nested too deep")
            branch = tree
            for part in path:
                below = branch.setdefault(part, {})
                if type(below) is not dict:
                    below = branch[part] = {"": below}
                branch = below
        if type(branch.get(leaf)) is dict:
            branch[leaf].setdefault("", value)
        else:
            branch.setdefault(leaf, value)
    return tree


def parse(shape: Shape, form: str, protocol: str) -> dict[str, Any]:
    """The parameters of ``shape`` that the form of ``protocol`` (query or ec2) holds.

    Raises ``FormatError``.
    """
    result: dict[str, Any] = reader(shape, protocol)(decode(form))
    return result


def reader(shape: Shape, protocol: str) -> Read:
    """The function that turns a tree or a leaf into a parameter of ``shape``."""
    key = ("query-read", protocol)
    compiled: Read | None = shape.compiled.get(key)
    if compiled is None:
        compiled = shape.compiled[key] = _READERS.get(shape.type, _scalar_reader)(shape, protocol)
    return compiled


def _scalar_reader(shape: Shape, _protocol: str) -> Read:
    parse_text = text_parser(shape)

    def read(value: Any) -> Any:
        text = value.get("") if type(value) is dict else value
        if text is None:
            raise FormatError("a structure where a scalar is expected")
        return text if parse_text is None else parse_text(text)

    return read


def _wire_names(name: str, shape: Shape, protocol: str) -> tuple[str, ...]:
    """What the member ``name`` is called on the wire; the first that is there counts."""
    if protocol == "ec2":
        wire_name = shape.query_name or shape.location_name
        if not shape.query_name:
            wire_name = _capitalised(wire_name) if wire_name else name
        return (wire_name, _capitalised(wire_name))
    if shape.flattened and shape.type == "list" and shape.member.location_name:
        return (shape.member.location_name, shape.wire_name(name))
    return (shape.wire_name(name),)


def _capitalised(name: str) -> str:
    return name[:1].upper() + name[1:]


def _structure_reader(shape: Shape, protocol: str) -> Read:
    fields: dict[str, tuple[str, Read]] | None = None

    def compile_members() -> dict[str, tuple[str, Read]]:
        compiled: dict[str, tuple[str, Read]] = {}
        for name, member in shape.members.items():
            for wire_name in _wire_names(name, member, protocol):
                compiled.setdefault(wire_name, (name, reader(member, protocol)))
        return compiled

    def read(value: Any) -> dict[str, Any]:
        nonlocal fields
        if fields is None:
            fields = compile_members()
        if type(value) is not dict:
            if value == "":
                return {}
            raise FormatError("a scalar where a structure is expected")
        result: dict[str, Any] = {}
        wire_name = ""
        try:
            for wire_name, item in value.items():
                field = fields.get(wire_name)
                if field is not None:
                    result.setdefault(field[0], field[1](item))
        except FormatError as error:
            raise at(wire_name, error) from None
        return result

    return read


def _indexed(value: Any) -> list[Any]:
    """The numbered branches of ``value`` in the order of their numbers."""
    if type(value) is not dict:
        if value == "":
            return []
        raise FormatError("a scalar where a list is expected")
    items = []
    for index, item in value.items():
        if _INDEX.fullmatch(index):
            items.append((int(index), item))
        elif index:
            raise FormatError("a list index is not a number")
    return [item for _, item in sorted(items, key=itemgetter(0))]


def _list_reader(shape: Shape, protocol: str) -> Read:
    inner_name = "" if protocol == "ec2" or shape.flattened else shape.member.wire_name("member")

    def read(value: Any) -> list[Any]:
        if inner_name and type(value) is dict:
            value = value.get(inner_name, "")
        read_item = reader(shape.member, protocol)
        items = _indexed(value)
        result: list[Any] = []
        try:
            for item in items:
                result.append(read_item(item))  # noqa: PERF401  the except clause needs the place
        except FormatError as error:
            raise at(f"[{len(result)}]", error) from None
        return result

    return read


def _map_reader(shape: Shape, protocol: str) -> Read:
    inner_name = "" if shape.flattened else "entry"
    key_name, value_name = shape.key.wire_name("key"), shape.value.wire_name("value")

    def read(value: Any) -> dict[str, Any]:
        if inner_name and type(value) is dict:
            value = value.get(inner_name, "")
        read_key, read_value = reader(shape.key, protocol), reader(shape.value, protocol)
        result = {}
        for entry in _indexed(value):
            if type(entry) is not dict or key_name not in entry:
                raise FormatError("a map entry without a key")
            try:
                result[read_key(entry[key_name])] = read_value(entry.get(value_name, ""))
            except FormatError as error:
                raise at(f"[{len(result)}]", error) from None
        return result

    return read


_READERS: dict[str, Callable[[Shape, str], Read]] = {
    "structure": _structure_reader,
    "list": _list_reader,
    "map": _map_reader,
}
