"""How calls of Amazon EC2 are recorded: the older operations by its WSDL, the newer ones as they were sent.

Rules (read off real records; the operations of each kind and their names are ``record_rules/ec2.json``):

* An operation that the 2014-10-01 API had is recorded as its WSDL names it (``ec2_wsdl``).
* A newer one is ``{"<Operation>Request": ...}``: the form as it was sent, an index being the attribute ``tag``, and
  ``{"<Operation>Response": ...}``: the answer as it came, both in the JSON that XML becomes (``sent_xml``); a request
  without parameters is ``""``.
* A write that answers nothing is ``{"requestId": ..., "_return": true}``.
* A refused call keeps its parameters.  Of an operation that the model does not have nothing is told: which of its
  parameters are secret nobody can say.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from opentrail.core.errors import FormatError
from opentrail.core.recording import sent_xml
from opentrail.core.recording.ec2_query import (
    Secrets,
    answer_members,
    item_shape,
    numbered,
    own_text,
    request_members,
    sent_parameters,
)
from opentrail.core.recording.ec2_targets import Targets
from opentrail.core.recording.ec2_wsdl import AnswerWriter, RequestWriter
from opentrail.core.recording.rules import OperationFacts
from opentrail.core.recording.sent_xml import typed
from opentrail.core.wire import codec_xml
from opentrail.core.wire.calls import ApiCall, Outcome
from opentrail.core.wire.codec_query import Tree
from opentrail.core.wire.model import Shape

_XMLNS = "http://ec2.amazonaws.com/doc/2016-11-15/"
_CONTENT, _INDEX = "content", "tag"


def ec2_request_parameters(call: ApiCall, facts: OperationFacts, hidden: list[str]) -> dict[str, Any]:
    """``requestParameters`` of an EC2 call; the texts of what is hidden are added to ``hidden``."""
    operation, tables = call.operation, facts.tables
    if operation.name not in operation.service.operations:
        return {}
    secrets = _secrets(facts, hidden)
    tree = sent_parameters(call)
    own = tables.get("wsdlOperations", {}).get(operation.name)
    if own is None:
        name = tables.get("requestNames", {}).get(operation.name, f"{operation.name}Request")
        return {name: _sent_members(tree, operation.input, secrets) or ""}
    targets = Targets(own=own, everywhere=tables.get("everywhere", {}))
    named = RequestWriter(targets=targets, secrets=secrets).write(tree, operation.input)
    attributes = tables.get("attributes", {}).get(operation.name)
    if attributes is not None:
        _tell_attribute(named, attributes)
    return named


def ec2_response_elements(call: ApiCall, outcome: Outcome, facts: OperationFacts, hidden: list[str]) -> Any:
    """``responseElements`` of an EC2 call that changed something and did not fail; ``None`` where it told nothing."""
    if call.operation.name not in call.operation.service.operations:
        return None
    if outcome.answer is not None:
        with suppress(FormatError):  # an upstream's answer that is no XML, or too long to be kept
            return _response_elements(call, outcome.answer.body, facts, hidden)
    with suppress(FormatError):  # a result with characters that XML does not have
        return _response_elements(call, _document(call, outcome.result or {}), facts, hidden)
    return None


def _response_elements(call: ApiCall, body: bytes, facts: OperationFacts, hidden: list[str]) -> dict[str, Any]:
    operation, tables = call.operation, facts.tables
    secrets = _secrets(facts, hidden)
    if operation.name not in tables.get("wsdlOperations", {}):
        name, value = sent_xml.decode(body)
        return {name: _without_secrets(value, operation.output, secrets)}
    writer = AnswerWriter(
        names=tables.get("answerNames", {}).get(operation.name, {}),
        item_keys=tables.get("answerItemKeys", {}),
        always=tables.get("answerAlways", {}),
        secrets=secrets,
    )
    named = writer.write(codec_xml.decode(body), operation.output)
    if operation.output is None and not named.keys() - {"requestId"}:
        named["_return"] = True
    return named


def _secrets(facts: OperationFacts, hidden: list[str]) -> Secrets:
    names = frozenset(name.lower() for name in facts.tables.get("hiddenNames", ()))
    return Secrets(names=names, replacement=facts.replacement, texts=hidden)


def _document(call: ApiCall, result: Mapping[str, Any]) -> bytes:
    """The answer's document as it would leave, of a call whose answer is known by its result alone."""
    name, output = f"{call.operation.name}Response", call.operation.output
    out: list[str] = []
    if output is not None:
        codec_xml.writer(output, name)(
            out, {member: value for member, value in result.items() if member in output.members}
        )
    inner = "".join(out).removeprefix(f"<{name}>").removesuffix(f"</{name}>")
    request_id = f"<requestId>{codec_xml.escape(call.request_id)}</requestId>"
    return f'<{name} xmlns="{_XMLNS}">{request_id}{inner}</{name}>'.encode(errors="replace")


def _tell_attribute(named: dict[str, Any], attributes: Mapping[str, str]) -> None:
    """``attributeType``: which attribute is meant, told or not, and the older way to change a permission as the newer.

    ``attributes`` maps the attributes' names to what is recorded of them.
    """
    present = next((name for name in attributes if name in named), next(iter(attributes)))
    name = named.get("attributeType", present)
    if not isinstance(name, str):
        return
    named["attributeType"] = attributes.get(name, name)
    change = named.get("operationType")
    users, groups = (named.get(members) for members in ("userIds", "groupNames"))
    changed = [item for members in (users, groups) if isinstance(members, dict) for item in members.get("items", ())]
    if change in ("add", "remove") and changed and name in attributes:
        for older in ("operationType", "userIds", "groupNames"):
            named.pop(older, None)
        named[name] = {change: {"items": changed}}


def _sent_members(tree: Tree, shape: Shape | None, secrets: Secrets) -> dict[str, Any]:
    members = request_members(shape)
    named: dict[str, Any] = {}
    for name, value in tree.items():
        member = members.get(name)
        if name:
            hides = secrets.are_in(name, member)
            named[name] = secrets.hide(value) if hides else _sent_value(value, member, secrets)
    return named


def _sent_value(value: Any, shape: Shape | None, secrets: Secrets) -> Any:
    """One name's value: a scalar, an element with members, or elements that carry their index as ``tag``."""
    if isinstance(value, str):
        return typed(value)
    items = numbered(value)
    if items is None:
        named = _sent_members(value, shape, secrets)
        text = own_text(value)
        if text is not None:
            named[_CONTENT] = typed(text)
        return named
    inner = item_shape(shape)
    hides = inner is not None and inner.sensitive
    tagged = [
        _tagged(index, secrets.hide(each) if hides else _sent_value(each, inner, secrets)) for index, each in items
    ]
    return tagged[0] if len(tagged) == 1 else tagged


def _tagged(index: int, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {**value, _INDEX: index}
    return {_INDEX: index} if value == "" else {_INDEX: index, _CONTENT: value}


def _without_secrets(value: Any, shape: Shape | None, secrets: Secrets) -> Any:
    """The answer's ``value`` with its secrets hidden."""
    if isinstance(value, list):
        return [_without_secrets(each, shape, secrets) for each in value]
    if not isinstance(value, dict):
        return secrets.hide(str(value)) if shape is not None and shape.sensitive else value
    inner, members = item_shape(shape), answer_members(shape)
    shown: dict[str, Any] = {}
    for name, each in value.items():
        member = inner if inner is not None else members.get(name)
        hides = secrets.are_in(name, member)
        shown[name] = secrets.hide(_as_texts(each)) if hides else _without_secrets(each, member, secrets)
    return shown


def _as_texts(value: Any) -> Any:
    """The value with its scalars as the texts that they were."""
    if isinstance(value, dict):
        return {name: _as_texts(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_as_texts(each) for each in value]
    return str(value)
