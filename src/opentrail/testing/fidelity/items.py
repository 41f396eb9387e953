"""DynamoDB's calls on items, off their records: the inverse of ``core.recording.attributes``.

What AWS left out is made up: attributes hold a planted secret, which must not come back; so do a statement's literals.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentrail.core.recording.attributes import REDACTED
from opentrail.core.recording.elements import recorded_name
from opentrail.core.wire.model import Operation, Shape
from opentrail.testing.fidelity.values import PLANTED, read_value

Parameters = dict[str, Any]

_SEVERAL = "requestItems"
_WRITES = {"Put": "PutRequest", "Delete": "DeleteRequest"}


def item_parameters(operation: Operation, asked: Mapping[str, Any]) -> Parameters:
    """The parameters of the call on items whose record asked for ``asked``."""
    assert operation.input is not None, "a call on items has parameters"
    parameters = _members(operation.input, asked)
    if _SEVERAL in asked:
        name = next(name for name in operation.input.members if name.endswith(("Items", "Statements")))
        parameters[name] = _several(operation.input.members[name], asked[_SEVERAL])
    return parameters


def _members(shape: Shape, told: Mapping[str, Any]) -> Parameters:
    found: Parameters = {}
    for name, member in shape.members.items():
        key = "items" if name == "Item" and "items" in told else recorded_name(name)
        if key in told and not (key == _SEVERAL and isinstance(told[key], list)):
            found[name] = _value(member, told[key])
    return found


def _value(shape: Shape, told: Any) -> Any:
    if shape.name == "Key":
        return {name: {"S": str(value)} for name, value in told.items()}
    if shape.name == "PutItemInputAttributeMap":
        return {name: {"S": PLANTED} for name in told}
    if shape.name == "KeyList":
        return [_value(shape.member, each) for each in told]
    if isinstance(told, str):
        return told.replace(REDACTED, f"'{PLANTED}'")
    return read_value(shape, told)


def _several(shape: Shape, told: list[Mapping[str, Any]]) -> Any:
    if shape.type == "list":
        item = shape.member
        return [
            {each["operation"]: _members(item.members[each["operation"]], each)}
            if "operation" in each
            else _members(item, each)
            for each in told
        ]
    tables: dict[str, Any] = {}
    for each in told:
        if "operation" in each:
            name = _WRITES[each["operation"]]
            request = {name: _members(shape.value.member.members[name], each)}
            tables.setdefault(each["tableName"], []).append(request)
        else:
            tables[each["tableName"]] = _members(shape.value, each)
    return tables
