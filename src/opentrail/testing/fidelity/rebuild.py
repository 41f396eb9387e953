"""The call that a record must have been: which operation, with which parameters, answered how.

The inverse of ``core.recording.parameters``, form by form.  Members that no model knows cannot be sent; the comparison
then shows them.  A record names several operations where services share a source (``rds``, ``neptune``): the one whose
model has most of its members is meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlencode

from opentrail.core.errors import ServiceFault
from opentrail.core.http import Headers
from opentrail.core.recording.elements import recorded_name
from opentrail.core.recording.rules import OMITTED, Form, HiddenMember, OperationFacts, RecordRules
from opentrail.core.wire import codec_json
from opentrail.core.wire.calls import WireAnswer
from opentrail.core.wire.faults import format_fault
from opentrail.core.wire.model import Operation, ServiceModel, Shape
from opentrail.core.wire.protocols import format_response
from opentrail.core.wire.routing import Route
from opentrail.server.catalog import BotocoreCatalog
from opentrail.testing.fidelity.botocore_client import BotocoreClient
from opentrail.testing.fidelity.cases import Record
from opentrail.testing.fidelity.items import item_parameters
from opentrail.testing.fidelity.values import planted, read_members, read_value, shown_name
from opentrail.testing.rebuild_ec2 import rebuild_ec2
from opentrail.testing.rebuild_s3 import is_s3_control, rebuild_s3
from opentrail.testing.rebuilt_call import RebuiltCall, scalar_text

Parameters = dict[str, Any]

_REQUEST_ID = "11111111-2222-4333-8444-555555555555"
_S3_SOURCES = frozenset({"s3.amazonaws.com", "s3express.amazonaws.com"})
_RESULT = "result"  # in a rule of resources: the answer
_NOTHING_FITS, _VERSION_FITS = 10, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """A call that can be made: the request to send, and what the upstream answers."""

    service: ServiceModel
    call: RebuiltCall


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A call by its parameters, and what it came to (``result`` or ``fault``); ``fit``: how well a record fits it."""

    operation: Operation
    parameters: Parameters
    result: Parameters
    fault: ServiceFault | None
    fit: int


class Rebuilder:
    """Turns records into calls, by the models of ``catalog`` and the inverse of ``rules``."""

    def __init__(self, catalog: BotocoreCatalog, rules: RecordRules) -> None:
        self._catalog = catalog
        self._rules = rules
        self._client = BotocoreClient()

    def rebuild(self, record: Record) -> Rebuilt | None:
        """The call behind ``record``; ``None`` where no model has its operation."""
        source = record["eventSource"]
        if source in _S3_SOURCES:
            service = self._catalog.service("s3control" if is_s3_control(record) else "s3")
            call = rebuild_s3(record, service, self._rules)
            return Rebuilt(service=service, call=call) if call is not None else None
        operations = self._operations(record)
        if source == "ec2.amazonaws.com":
            service = self._catalog.service("ec2")
            return Rebuilt(service=service, call=rebuild_ec2(record, service, self._rules)) if operations else None
        candidates = [self._candidate(operation, record) for operation in operations]
        if not candidates:
            return self._unlisted(record)
        return self._make(max(candidates, key=lambda each: each.fit))

    def _unlisted(self, record: Record) -> Rebuilt | None:
        """A call of an operation that no model has; ``None`` where a request cannot name its operation."""
        name, prefix = record["eventName"], record["eventSource"].partition(".")[0]
        service = next((self._catalog.service(each) for each in self._catalog.by_signing_name(prefix)), None)
        if service is None or service.protocol not in {"json", "query"}:
            return None
        shape = self._rules.facts(service, name).unlisted
        asked = read_members(shape.members, record.get("requestParameters") or {}) if shape is not None else {}
        answer = WireAnswer(status=200, headers=Headers([("x-amzn-requestid", _REQUEST_ID)]))
        if service.protocol == "json":
            header = ("x-amz-target", f"{service.target_prefix}.{name}")
            body = codec_json.format(shape, asked) if shape is not None else b"{}"
        else:
            header = ("content-type", "application/x-www-form-urlencoded; charset=utf-8")
            form = [("Action", name), ("Version", service.api_version), *_flat("", asked)]
            body = urlencode(form).encode()
        host = ("host", f"{service.endpoint_prefix}.us-east-1.amazonaws.com")
        call = RebuiltCall(
            operation=name, method="POST", path="/", query="", headers=(host, header), body=body, answer=answer
        )
        return Rebuilt(service=service, call=call)

    def _make(self, asked: _Asked) -> Rebuilt:
        """The request as botocore writes it, and the answer as AWS does."""
        service, operation = asked.operation.service, asked.operation
        host = f"{service.endpoint_prefix}.us-east-1.amazonaws.com"
        request, body = self._client.request(operation, asked.parameters, host)
        route = Route(
            service=service,
            operation=operation,
            operation_name=operation.name,
            protocol=service.protocol,
            method=request.method,
            path=request.path,
            query=request.query,
        )
        if asked.fault is not None:
            response = format_fault(route, asked.fault, _REQUEST_ID, method=request.method)
        else:
            response = format_response(route, asked.result, _REQUEST_ID)
        assert isinstance(response.body, bytes), "no result here is a stream"
        call = RebuiltCall(
            operation=operation.name,
            method=request.method,
            path=request.path,
            query=request.query,
            headers=request.headers.pairs,
            body=body,
            answer=WireAnswer(
                status=response.status,
                headers=Headers((name.lower(), value) for name, value in response.headers),
                body=response.body,
            ),
        )
        return Rebuilt(service=service, call=call)

    def _operations(self, record: Record) -> list[Operation]:
        """The operations whose events have the record's source and name; the service of the source's name first."""
        source, name = record["eventSource"], record["eventName"]
        prefix = source.partition(".")[0]
        names = [*self._catalog.by_signing_name(prefix), *self._named_so(source, prefix)]
        found = []
        for service in (self._catalog.service(each) for each in dict.fromkeys(names)):
            for operation in service.operations.values():
                facts = self._rules.facts(service, operation.name)
                if facts.event_source == source and name in {facts.event_name, facts.denied_event_name}:
                    found.append(operation)
        return found

    def _named_so(self, source: str, prefix: str) -> list[str]:
        """Further services whose events have this source."""
        return [
            name
            for name in self._catalog.names()
            if self._rules.of(name).event_source == source or self._catalog.endpoint_prefix(name) == prefix
        ]

    def _candidate(self, operation: Operation, record: Record) -> _Asked:
        """The call if ``operation`` was meant."""
        facts = self._rules.facts(operation.service, operation.name)
        asked = record.get("requestParameters") or {}
        parameters = _REQUESTS[facts.form](operation, facts, asked)
        result = _result(operation, facts, record.get("responseElements"))
        _tell_resources(operation, facts, result, record)
        fit = len(parameters) + len(result) - (_NOTHING_FITS if asked and not parameters else 0)
        if facts.api_version and record.get("apiVersion") == facts.api_version:
            fit += _VERSION_FITS
        return _Asked(
            operation=operation,
            parameters=_with_labels(operation, parameters),
            result=result,
            fault=_fault(operation, record),
            fit=fit,
        )


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """A value as the query protocol's names."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(f"{name}.{key}".lstrip("."), item)
    elif isinstance(value, list):
        for index, item in enumerate(value, 1):
            yield from _flat(f"{name}.member.{index}", item)
    else:
        yield name, scalar_text(value)


def _with_labels(operation: Operation, parameters: Parameters) -> Parameters:
    """A path needs its labels, also where the record has none (a denied call)."""
    if operation.input is None:
        return parameters
    needed = {name: member for name, member in operation.input.members.items() if member.location == "uri"}
    return {name: planted(member) for name, member in needed.items()} | parameters


def _named_request(operation: Operation, facts: OperationFacts, asked: Mapping[str, Any]) -> Parameters:
    if operation.input is None:
        return {}
    if facts.request is not None:
        asked = {**asked, **{name: asked[shown] for name, shown in facts.request.names.items() if shown in asked}}
    parameters = read_members(operation.input.members, asked, required=operation.input.required)
    _plant(operation.input, parameters, facts.hidden_request)
    return parameters


def _plant(shape: Shape, parameters: Parameters, hidden: Iterable[HiddenMember]) -> None:
    """A secret where the rules leave one out: they must find it, and the record must show nothing of it."""
    left_out = {each.path[0] for each in hidden if len(each.path) == 1 and each.replacement == OMITTED}
    for name, member in shape.members.items():
        if recorded_name(name) in left_out:
            parameters.setdefault(name, planted(member))


def _wire_name(name: str, member: Shape) -> str:
    return member.wire_name(name)


def _wire_request(operation: Operation, facts: OperationFacts, asked: Mapping[str, Any]) -> Parameters:
    if operation.input is None:
        return {}

    def name_of(name: str, member: Shape) -> str:
        wire_name = member.wire_name(name)
        return recorded_name(wire_name) if member.location == "uri" and not facts.keeps_labels else wire_name

    parameters = read_members(operation.input.members, asked, name_of, operation.input.required)
    for name, member in operation.input.members.items():
        if member.location == "uri" and isinstance(parameters.get(name), str):
            parameters[name] = unquote(parameters[name])
    return parameters


def _attribute_request(operation: Operation, facts: OperationFacts, asked: Mapping[str, Any]) -> Parameters:
    if facts.is_data and operation.input is not None:
        return item_parameters(operation, asked)
    return _named_request(operation, facts, asked)


def _wrapped_request(operation: Operation, facts: OperationFacts, asked: Mapping[str, Any]) -> Parameters:
    inside = asked.get(f"{recorded_name(operation.name)}Input")
    flat = {**asked, **inside} if isinstance(inside, Mapping) else dict(asked)
    return _named_request(operation, facts, flat)


def _result(operation: Operation, facts: OperationFacts, told: Any) -> Parameters:
    """The result whose record is ``told``."""
    output = operation.output
    if output is None or not isinstance(told, Mapping):
        return {}
    if facts.response is not None:
        told = {**told, **{name: told[shown] for name, shown in facts.response.names.items() if shown in told}}
    name_of = _wire_name if facts.form is Form.WIRE else shown_name
    members = output.members
    if facts.hoists_response and len(members) == 1:
        (name, member), *_ = members.items()
        if member.type == "structure":
            return {name: read_value(member, told, name_of)}
    result = read_members(members, told, name_of, output.required)
    _plant(output, result, facts.hidden_response)
    return result


def _tell_resources(operation: Operation, facts: OperationFacts, result: Parameters, record: Record) -> None:
    """The ARNs of ``resources`` that the answer told, also where it is not recorded (the key of a ciphertext)."""
    told = {each.get("type", ""): each.get("ARN") for each in record.get("resources") or () if isinstance(each, dict)}
    members = operation.output.members if operation.output is not None else {}
    for rule in facts.resources:
        for path in rule.values:
            if len(path) == 2 and path[0] == _RESULT and path[1] in members and told.get(rule.type):
                result.setdefault(path[1], told[rule.type])
    for name, place in facts.additional.items():
        member = place.removeprefix("{result.").removesuffix("}")
        if place != member and member in members and name in (record.get("additionalEventData") or {}):
            result.setdefault(member, record["additionalEventData"][name])


def _fault(operation: Operation, record: Record) -> ServiceFault | None:
    """The error that the record tells, by its code on the wire."""
    code = record.get("errorCode")
    if not code:
        return None
    told = record.get("responseElements")
    message = record.get("errorMessage") or (
        told.get("message") or told.get("Message", "") if isinstance(told, Mapping) else ""
    )
    code = code.removeprefix("Client.").removeprefix("Server.")
    if code == "AccessDenied" and operation.service.error("AccessDenied") is None:
        code = "AccessDeniedException" if operation.service.error("AccessDeniedException") else code
    return ServiceFault(code, message, status=503 if record["errorCode"].startswith("Server.") else 400)


_REQUESTS: Mapping[Form, Callable[[Operation, OperationFacts, Mapping[str, Any]], Parameters]] = {
    Form.NAMED: _named_request,
    Form.WIRE: _wire_request,
    Form.WRAPPED: _wrapped_request,
    Form.ATTRIBUTES: _attribute_request,
}
