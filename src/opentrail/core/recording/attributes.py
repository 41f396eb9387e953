"""How DynamoDB's calls on items are recorded: which attributes were meant, but not what is in them.

Rules (DynamoDB developer guide, "Understanding DynamoDB log file entries"; AWS writes the values of a key, and no
others):

* A key is told plainly, ``{"Artist": "Acme"}``; of an item its attributes' names are; any other value is left out.
* A call on several items, whatever its API calls them, tells ``requestItems``: one object each, with the table and what
  is done (``operation``) where the API says so by where it puts the item.
* The literals of a PartiQL statement are ``***(Redacted)``.  AWS keeps those that are a key's; which are, only the
  table knows, as it alone knows which of a put item's attributes are its key.
* Nothing is told of what was answered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from opentrail.core.recording.elements import ElementWriter, recorded_name
from opentrail.core.recording.redaction import collect_texts
from opentrail.core.wire.calls import ApiCall
from opentrail.core.wire.model import Shape

REDACTED = "***(Redacted)"

_VALUE = "AttributeValue"
_KEY = "Key"
_ITEM = "PutItemInputAttributeMap"
_STATEMENT = "PartiQLStatement"
_PLAIN = ("S", "N")  # the types that a key's attribute may have, and that JSON can tell

#: Quoted names, texts (also one without an end) with the colon behind them, and numbers that are no part of a name.
_TOKEN = re.compile(
    r"""(?P<name>"[^"]*"?)|(?P<text>'(?:[^']|'')*(?:'|$))(?P<colon>\s*:)?|(?P<number>(?<![\w.])-?\d[\w.]*)"""
)
_BATCH_WRITES = {"PutRequest": "Put", "DeleteRequest": "Delete"}

Told = dict[str, Any]


def attribute_parameters(call: ApiCall, writer: ElementWriter) -> Told:
    """``requestParameters`` of a call on items: members by their recorded names, several items as ``requestItems``."""
    shape = call.operation.input
    if shape is None:
        return {}
    told: Told = {}
    for name, value in call.parameters.items():
        member = shape.members.get(name)
        if member is None or value is None:
            continue
        several = _SEVERAL.get(member.name)
        if several is not None:
            told["requestItems"] = list(several(member, value, writer))
        elif not _is_left_out(member):
            told[recorded_name(name)] = _tell(member, value, writer)
    return told


def attribute_texts(shape: Shape, value: Any) -> list[str]:
    """The texts in ``value`` of ``shape`` that no record tells: those of attributes that are no key's."""
    texts: list[str] = []
    _collect(shape, value, texts)
    return texts


def redact_statement(statement: str) -> str:
    """A PartiQL statement without its literals; the names in ``{'Artist': 'Acme'}`` are none."""
    return _TOKEN.sub(lambda token: REDACTED if _is_literal(token) else token.group(), statement)


def _is_literal(token: re.Match[str]) -> bool:
    return token["name"] is None and token["colon"] is None


def _is_left_out(shape: Shape) -> bool:
    """Whether a member holds values of attributes, and neither a key nor an item."""
    if shape.type == "map":
        return shape.value.name == _VALUE and shape.name not in {_KEY, _ITEM}
    return shape.name == _VALUE or (shape.type == "list" and shape.member.name == _VALUE)


def _tell(shape: Shape, value: Any, writer: ElementWriter) -> Any:
    if isinstance(value, Mapping):
        return _tell_mapping(shape, value, writer)
    if shape.type == "list" and isinstance(value, list):
        return [_tell(shape.member, each, writer) for each in value]
    if shape.name == _STATEMENT and isinstance(value, str):
        return redact_statement(value)
    return writer.write(shape, value)


def _tell_mapping(shape: Shape, value: Mapping[str, Any], writer: ElementWriter) -> Any:
    if shape.name == _KEY:
        return _plain_key(value)
    if shape.name == _ITEM:
        return list(value)
    if shape.type == "structure":
        return _members(shape, value, writer)
    return {name: _tell(shape.value, each, writer) for name, each in value.items()} if shape.type == "map" else None


def _members(shape: Shape, value: Mapping[str, Any], writer: ElementWriter) -> Told:
    return {
        recorded_name(name): _tell(shape.members[name], each, writer)
        for name, each in value.items()
        if name in shape.members and each is not None and not _is_left_out(shape.members[name])
    }


def _plain_key(key: Mapping[str, Any]) -> Told:
    """Each attribute of a key by its value; one that is bytes, or of no type that a key has, is left out."""
    told = {}
    for name, value in key.items():
        plain = next((value[kind] for kind in _PLAIN if kind in value), None) if isinstance(value, Mapping) else None
        if plain is not None:
            told[name] = plain
    return told


def _one(shape: Shape, value: Any, writer: ElementWriter, **said: str) -> Told:
    """One item of several, with what its place says of it."""
    told = {**said, **_members(shape, value if isinstance(value, Mapping) else {}, writer)}
    if isinstance(told.get("item"), list):
        told["items"] = told.pop("item")
    return told


def _transacted(shape: Shape, value: Any, writer: ElementWriter) -> Iterator[Told]:
    """``[{"Put": {...}}, ...]``: the operation is the member's name."""
    for each in value if isinstance(value, list) else ():
        for name, item in each.items() if isinstance(each, Mapping) else ():
            if name in shape.member.members and item is not None:
                yield _one(shape.member.members[name], item, writer, operation=name)


def _listed(shape: Shape, value: Any, writer: ElementWriter) -> Iterator[Told]:
    """Statements, one after the other."""
    for each in value if isinstance(value, list) else ():
        yield _one(shape.member, each, writer)


def _written(shape: Shape, value: Any, writer: ElementWriter) -> Iterator[Told]:
    """``{table: [{"PutRequest": {...}}, ...]}``."""
    members = shape.value.member.members
    for table, requests in value.items() if isinstance(value, Mapping) else ():
        for each in requests if isinstance(requests, list) else ():
            for name, item in each.items() if isinstance(each, Mapping) else ():
                if name in _BATCH_WRITES and name in members and item is not None:
                    yield _one(members[name], item, writer, operation=_BATCH_WRITES[name], tableName=table)


def _read(shape: Shape, value: Any, writer: ElementWriter) -> Iterator[Told]:
    """``{table: {"Keys": [...], ...}}``."""
    for table, each in value.items() if isinstance(value, Mapping) else ():
        yield _one(shape.value, each, writer, tableName=table)


#: The shapes that hold several items, and how each is told.
_SEVERAL: Mapping[str, Callable[[Shape, Any, ElementWriter], Iterator[Told]]] = {
    "TransactWriteItemList": _transacted,
    "TransactGetItemList": _transacted,
    "ParameterizedStatements": _listed,
    "PartiQLBatchRequest": _listed,
    "BatchWriteItemRequestMap": _written,
    "BatchGetRequestMap": _read,
}


def _collect(shape: Shape, value: Any, texts: list[str]) -> None:
    if shape.name == _KEY:
        return
    if shape.name == _VALUE:
        collect_texts(value, texts)
    elif shape.name == _STATEMENT and isinstance(value, str):
        for token in filter(_is_literal, _TOKEN.finditer(value)):
            collect_texts(token.group().strip("'"), texts)
    elif shape.type == "structure" and isinstance(value, Mapping):
        for name, each in value.items():
            if name in shape.members:
                _collect(shape.members[name], each, texts)
    elif shape.type == "list" and isinstance(value, list):
        for each in value:
            _collect(shape.member, each, texts)
    elif shape.type == "map" and isinstance(value, Mapping):
        for each in value.values():
            _collect(shape.value, each, texts)
