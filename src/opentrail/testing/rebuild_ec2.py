"""Records of Amazon EC2 back to the calls they tell of: the inverse of ``core/recording/ec2*.py``.

It is made of the same tables, read the other way.  What a record hides comes back as something else; sets that are told
though nothing was sent come back as nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from xml.sax.saxutils import escape

from opentrail.core.http import Headers
from opentrail.core.recording.ec2_query import answer_members, capitalised, item_shape, request_members
from opentrail.core.recording.ec2_targets import FIRST, PLAIN, Target, Targets, parse_target
from opentrail.core.recording.ec2_wsdl import default_target
from opentrail.core.recording.rules import RecordRules
from opentrail.core.wire.calls import WireAnswer
from opentrail.core.wire.model import ServiceModel, Shape
from opentrail.core.wire.scalars import format_iso8601_milliseconds
from opentrail.testing.rebuilt_call import CONTENT, RebuiltCall, element, error_status, scalar_text

_XMLNS = "http://ec2.amazonaws.com/doc/2016-11-15/"
_INDEX = "tag"
_UNTOLD = "c2VjcmV0"  # what comes back for a hidden value: it is base64 too

Pairs = Iterator[tuple[str, str]]
Sent = tuple[str, Shape | None, Target]  # a name on the wire, its shape, and where it is recorded


def rebuild_ec2(record: Mapping[str, Any], service: ServiceModel, rules: RecordRules) -> RebuiltCall:
    """The call of ``record``; ``service`` is EC2's model."""
    name = record["eventName"]
    form = [("Action", name), ("Version", service.api_version), *form_of(record, service, rules)]
    return RebuiltCall(
        operation=name,
        method="POST",
        path="/",
        query="",
        headers=(("content-type", "application/x-www-form-urlencoded; charset=utf-8"),),
        body=urlencode(form).encode(),
        answer=_answer(record, service, rules),
    )


def form_of(record: Mapping[str, Any], service: ServiceModel, rules: RecordRules) -> list[tuple[str, str]]:
    """The parameters of the record's call, as its form named them, without ``Action`` and ``Version``."""
    said = rules.of(service.name)
    name, tables = record["eventName"], said.tables
    recorded = _retold(record.get("requestParameters") or {}, said.replacement)
    own = tables["wsdlOperations"].get(name)
    if own is None:
        (document,) = recorded.values() if recorded else ({},)
        return list(_sent(document or {}, ""))
    operation = service.operations.get(name)
    targets = Targets(own=own, everywhere=tables["everywhere"])
    attributes = {told: sent for sent, told in tables["attributes"].get(name, {}).items()}
    if attributes and isinstance(recorded.get("attributeType"), str):
        told = recorded["attributeType"]
        recorded = {**recorded, "attributeType": attributes.get(told, told)}
    written = _FormWriter(targets=targets).structure(recorded, operation.input if operation else None, (), "")
    return list(dict(written).items())  # two rules may lead to one name: no form says it twice


def _retold(recorded: Any, replacement: str) -> Any:
    """What was recorded, with values of its own for those that are hidden."""
    if isinstance(recorded, Mapping):
        return {name: _retold(value, replacement) for name, value in recorded.items()}
    if isinstance(recorded, list):
        return [_retold(value, replacement) for value in recorded]
    return _UNTOLD if recorded == replacement else recorded


def _sent(document: Mapping[str, Any], prefix: str) -> Pairs:
    """The names and values of a newer operation's document."""
    for name, value in document.items():
        if name == _INDEX:
            continue
        items = value if isinstance(value, list) else [value]
        for item in items:
            below = f"{prefix}{name}"
            if not isinstance(item, Mapping):
                yield below, scalar_text(item)
                continue
            if _INDEX in item:
                below = f"{below}.{item[_INDEX]}"
            if CONTENT in item:
                yield below, scalar_text(item[CONTENT])
            elif item.keys() == {_INDEX}:
                yield below, ""
            else:
                yield from _sent(item, f"{below}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _FormWriter:
    """An older operation's parameters as its form names them, by the operation's rules."""

    targets: Targets

    def structure(self, recorded: Mapping[str, Any], shape: Shape | None, path: tuple[str, ...], prefix: str) -> Pairs:
        known = self._by_recorded_name(shape, path)
        for name, value in recorded.items():
            for wire_name, member, target in known.get(name) or [(capitalised(name), None, Target(path=(name,)))]:
                found = _follow(value, target.path[1:])
                if found is not None:
                    below = (*path, *wire_name.split("."))
                    yield from self._value(found, member, target, below, f"{prefix}{wire_name}")

    def _by_recorded_name(self, shape: Shape | None, path: tuple[str, ...]) -> dict[str, list[Sent]]:
        known: dict[str, list[Sent]] = {}
        members = request_members(shape)
        rows = [name for name, text in self.targets.own.items() if not path and text and name not in members]
        for name in (*members, *rows):
            text, _ = self.targets.find(path, name)
            if text == "":
                continue
            member = _member_at(shape, name)
            target = parse_target(text) if text is not None else default_target(name, "", member)
            known.setdefault(target.path[0], []).append((name, member, target))
        return known

    def _value(self, value: Any, shape: Shape | None, target: Target, path: tuple[str, ...], name: str) -> Pairs:
        if target.item is not None:
            yield from self._set(value, shape, target, path, name)
        elif target.emptied:
            yield name, ""
        elif isinstance(value, Mapping) and isinstance(value.get("items"), list):
            for index, item in enumerate(value["items"], start=1):
                yield from _unknown_item(item, f"{name}.{index}")
        elif isinstance(value, Mapping):
            yield from self.structure(value, shape, path, f"{name}.")
        elif shape is not None and shape.type == "structure":  # hidden whole
            yield f"{name}.Value", scalar_text(value)
        elif shape is not None and shape.type == "timestamp" and isinstance(value, int):
            yield name, _time(value)
        else:
            yield name, scalar_text(value)

    def _set(self, value: Any, shape: Shape | None, target: Target, path: tuple[str, ...], name: str) -> Pairs:
        items = value if target.item == PLAIN else value.get(target.key, ()) if isinstance(value, Mapping) else ()
        inner = item_shape(shape)
        index = 0
        for item in items:
            if target.item in {"", PLAIN}:
                index += 1
                yield from self.structure(item, inner, path, f"{name}.{index}.")
            elif isinstance(item, Mapping) and (target.item in item or not item):
                index += 1
                yield f"{name}.{index}", scalar_text(item.get(target.item, ""))


def _member_at(shape: Shape | None, wire_name: str) -> Shape | None:
    for part in wire_name.split("."):
        shape = request_members(shape).get(part)
    return shape


def _follow(value: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        if not isinstance(value, Mapping):
            return None
        value = next(iter(value.get("items", ())), None) if step == FIRST else value.get(step)
    return value


def _unknown_item(item: Any, name: str) -> Pairs:
    if not isinstance(item, Mapping):
        yield name, scalar_text(item)
    for key, value in item.items() if isinstance(item, Mapping) else ():
        yield f"{name}.{capitalised(key)}", scalar_text(value)


def _answer(record: Mapping[str, Any], service: ServiceModel, rules: RecordRules) -> WireAnswer:
    name, code = record["eventName"], record.get("errorCode", "")
    if code:
        wire_code = code.removeprefix("Client.").removeprefix("Server.")
        inner = f"<Code>{escape(wire_code)}</Code><Message>{escape(record.get('errorMessage', ''))}</Message>"
        document = f"<Response><Errors><Error>{inner}</Error></Errors><RequestID>r</RequestID></Response>"
        return _wire_answer(error_status(code), document)
    said = rules.of(service.name)
    elements, tables = _retold(record.get("responseElements"), said.replacement), said.tables
    if elements is None:
        return _wire_answer(200, f'<{name}Response xmlns="{_XMLNS}"><requestId>r</requestId></{name}Response>')
    if name not in tables["wsdlOperations"]:
        return _wire_answer(200, "".join(element(root, value) for root, value in elements.items()))
    operation = service.operations.get(name)
    renamed = {
        parse_target(text).path[-1]: wire_name for wire_name, text in tables["answerNames"].get(name, {}).items()
    }
    keys = {"items", *tables["answerItemKeys"].values()}
    inner = _elements(elements, operation.output if operation else None, renamed, keys)
    return _wire_answer(200, f'<{name}Response xmlns="{_XMLNS}">{inner}</{name}Response>')


def _wire_answer(status: int, document: str) -> WireAnswer:
    headers = Headers((("content-type", "text/xml;charset=UTF-8"),))
    return WireAnswer(status=status, headers=headers, body=document.encode())


def _elements(recorded: Mapping[str, Any], shape: Shape | None, renamed: Mapping[str, str], keys: set[str]) -> str:
    members = answer_members(shape)
    out = []
    for name, value in recorded.items():
        wire_name = "return" if name == "_return" else renamed.get(name, name)
        out.append(_element(wire_name, value, members.get(wire_name), renamed, keys))
    return "".join(out)


def _element(name: str, value: Any, shape: Shape | None, renamed: Mapping[str, str], keys: set[str]) -> str:
    if isinstance(value, Mapping):
        (key, items) = next(iter(value.items()), ("", None))
        if len(value) == 1 and key in keys and isinstance(items, list):
            inner = "".join(_element("item", item, item_shape(shape), renamed, keys) for item in items)
        else:
            inner = _elements(value, shape, renamed, keys)
        return f"<{name}>{inner}</{name}>"
    if isinstance(value, list):
        return "".join(_element(name, each, shape, renamed, keys) for each in value)
    if shape is not None and shape.type == "timestamp" and isinstance(value, int):
        return f"<{name}>{_time(value)}</{name}>"
    return f"<{name}>{escape(scalar_text(value))}</{name}>"


def _time(milliseconds: int) -> str:
    return format_iso8601_milliseconds(datetime.fromtimestamp(milliseconds / 1000, UTC))
