"""What was asked and what was answered: ``requestParameters`` and ``responseElements``, by the form of the service.

Rules (read off real records):

* Nothing to report is null, never ``{}``; what is empty within stays.
* A denied or throttled call has no parameters; the forms that write down what was sent keep them.
* What changes nothing has no response elements, nor has what failed; a REST service in the wire's form tells its error
  there, and not as ``errorMessage``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from opentrail.core.errors import ServiceFault
from opentrail.core.recording.attributes import attribute_parameters, attribute_texts
from opentrail.core.recording.ec2 import ec2_request_parameters, ec2_response_elements
from opentrail.core.recording.elements import ElementWriter, recorded_name
from opentrail.core.recording.redaction import collect_texts
from opentrail.core.recording.rules import Form, OperationFacts
from opentrail.core.recording.s3 import s3_request_parameters, s3_response_elements
from opentrail.core.wire.binding import input_binding
from opentrail.core.wire.calls import ApiCall, Outcome
from opentrail.core.wire.model import Operation, Shape
from opentrail.core.wire.scalars import text_formatter

_REFUSALS = ("AccessDenied", "Throttl")
_LEAST_LETTERS_UNTOLD = 8  # a shorter text that is no secret is in an error's message by chance
_KEEP_REFUSED = frozenset({Form.EC2, Form.S3, Form.WIRE})

Parameters = dict[str, Any] | None


def request_parameters(call: ApiCall, outcome: Outcome, facts: OperationFacts, hidden: list[str]) -> Any:
    """``requestParameters``; the texts of what is hidden are added to ``hidden``."""
    named = _REQUESTS[facts.form](call, facts, hidden)
    if facts.request is not None:
        named = facts.request.apply(named)
    for member in facts.composed:
        named |= member.told(call)
    refused = outcome.fault is not None and outcome.fault.code.startswith(_REFUSALS)
    return None if refused and facts.form not in _KEEP_REFUSED else named or None


def response_elements(call: ApiCall, outcome: Outcome, facts: OperationFacts, hidden: list[str]) -> Any:
    """``responseElements``; the texts of what is hidden are added to ``hidden``."""
    operation = call.operation
    if not facts.responds or (facts.form is Form.ATTRIBUTES and facts.is_data):
        return None
    if outcome.fault is not None:
        return _error_response(operation, outcome.fault) if tells_error_as_response(operation, facts) else None
    if outcome.result is None:
        return None
    if facts.form in _RESPONSES:
        return _RESPONSES[facts.form](call, outcome, facts, hidden) or None
    if operation.output is None:
        return None
    writer = _writer(facts, hidden)
    named = writer.write(operation.output, outcome.result, facts.hidden_response)
    if facts.hoists_response and _hoisted(operation.output):
        named = next(iter(named.values()), {})
    if facts.response is not None:
        named = facts.response.apply(named)
    return named or None


def untold_texts(call: ApiCall, facts: OperationFacts) -> list[str]:
    """The texts of parameters that no record of the operation tells, secret or not: no error message may tell them."""
    shape = call.operation.input
    if shape is None:
        return []
    if facts.form is Form.ATTRIBUTES and facts.is_data:
        texts = attribute_texts(shape, call.parameters)
    else:
        texts = []
        shown = facts.request.only if facts.request is not None else None
        if shown is not None:
            collect_texts(
                {name: each for name, each in call.parameters.items() if recorded_name(name) not in shown}, texts
            )
    return [text for text in texts if len(text) >= _LEAST_LETTERS_UNTOLD]


def tells_error_as_response(operation: Operation, facts: OperationFacts) -> bool:
    """Whether the message of an error stands in ``responseElements``, where those are told, and nowhere else."""
    return facts.form is Form.WIRE and operation.service.protocol == "rest-json"


def _error_response(operation: Operation, fault: ServiceFault) -> dict[str, str]:
    """The error's message, by the name that it has on the wire."""
    error = next((each for each in operation.errors if each.error is not None and each.error.code == fault.code), None)
    members = error.members if error is not None else {}
    name = next((each.wire_name(name) for name, each in members.items() if name.lower() == "message"), "message")
    return {name: fault.message}


def _writer(facts: OperationFacts, hidden: list[str]) -> ElementWriter:
    return ElementWriter(replacement=facts.replacement, hidden=hidden, on_wire=facts.form is Form.WIRE)


def _hoisted(output: Shape) -> bool:
    """Whether an answer is one structure and nothing beside it."""
    members = tuple(output.members.values())
    return len(members) == 1 and members[0].type == "structure"


def _named_parameters(call: ApiCall, facts: OperationFacts, hidden: list[str]) -> dict[str, Any]:
    if facts.unlisted is not None:
        return _writer(facts, hidden).write_members(facts.unlisted.members, call.parameters, facts.hidden_request)
    if call.operation.input is None:
        return {}
    named: dict[str, Any] = _writer(facts, hidden).write(call.operation.input, call.parameters, facts.hidden_request)
    return named


def _attribute_parameters(call: ApiCall, facts: OperationFacts, hidden: list[str]) -> dict[str, Any]:
    """DynamoDB's: a call on items tells no more of them than their keys; a call on tables is like any other."""
    if not facts.is_data:
        return _named_parameters(call, facts, hidden)
    return attribute_parameters(call, _writer(facts, hidden))


def _wire_parameters(call: ApiCall, facts: OperationFacts, hidden: list[str]) -> dict[str, Any]:
    """Labels of the path still percent-encoded, values of the query as text, the body as it was sent."""
    shape = call.operation.input
    if shape is None:
        return {}
    members = shape.members
    inside = {name: member for name, member in members.items() if not member.location}
    writer = _writer(facts, hidden)
    named = writer.write_members(inside, call.parameters, facts.hidden_request)
    for name, value in call.parameters.items():
        member = members.get(name)
        if member is None or value is None or member.location not in {"uri", "querystring"}:
            continue
        key = member.wire_name(name)
        if member.location == "uri" and not facts.keeps_labels:
            key = recorded_name(key)
        if member.sensitive or (isinstance(value, list) and member.member.sensitive):
            writer.hide(member, value)
            named[key] = facts.replacement
        elif member.location == "uri":
            named[key] = quote(_text(member, value), safe="-_.~", errors="replace")
        elif isinstance(value, Mapping):
            named |= writer.write(member, value)
        elif isinstance(value, list):
            named[key] = [_text(member.member, item) for item in value]
        else:
            named[key] = _text(member, value)
    return named


def _text(shape: Shape, value: Any) -> str:
    return text_formatter(shape, "iso8601")(value)


def _wrapped_parameters(call: ApiCall, facts: OperationFacts, hidden: list[str]) -> dict[str, Any]:
    """API Gateway's: what is in the body stands within one element that is named after the operation."""
    operation = call.operation
    if operation.input is None:
        return {}
    named = _named_parameters(call, facts, hidden)
    inside = {recorded_name(name) for name in input_binding(operation).body}
    if inside:
        wrapped = {name: named.pop(name) for name in tuple(named) if name in inside}
        named[f"{recorded_name(operation.name)}Input"] = wrapped
    return {**named, "template": False}


_REQUESTS: Mapping[Form, Callable[[ApiCall, OperationFacts, list[str]], dict[str, Any]]] = {
    Form.NAMED: _named_parameters,
    Form.WIRE: _wire_parameters,
    Form.WRAPPED: _wrapped_parameters,
    Form.EC2: ec2_request_parameters,
    Form.S3: s3_request_parameters,
    Form.ATTRIBUTES: _attribute_parameters,
}
_RESPONSES: Mapping[Form, Callable[[ApiCall, Outcome, OperationFacts, list[str]], Any]] = {
    Form.EC2: ec2_response_elements,
    Form.S3: s3_response_elements,
}
