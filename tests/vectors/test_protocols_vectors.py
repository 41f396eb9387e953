"""botocore's protocol cases, run as a server: what a client sends is parsed, what a server says is read by botocore.

A case is altered in three ways only, each by a rule: what travels in no request is not expected (nulls, empty
containers that the protocol leaves out), what the client makes up is not compared (idempotency tokens), and what
concerns the client's own configuration is undone (an endpoint with a path).
"""

from __future__ import annotations

import gzip
import json
import math
from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree as ET

import pytest
from botocore.awsrequest import HeadersDict
from botocore.model import ServiceModel as BotocoreModel
from botocore.parsers import ResponseParserError, ResponseParserFactory
from botocore.serialize import create_serializer
from botocore.utils import parse_timestamp

from opentrail.core.errors import ServiceFault
from opentrail.core.http import Headers, HttpRequest, HttpResponse
from opentrail.core.wire.faults import format_fault
from opentrail.core.wire.model import ServiceModel, Shape
from opentrail.core.wire.protocols import format_response, parse_request
from opentrail.core.wire.responses import parse_response
from opentrail.core.wire.routing import Route, Scope, identify

_FOLDER = Path(__file__).resolve().parents[2] / "../shared/data/protocols"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _cases(side: str) -> list[Any]:
    folder = _FOLDER / side
    if not folder.is_dir():
        return [pytest.param({}, {}, marks=pytest.mark.skip(reason="data/protocols is absent"))]
    return [
        pytest.param(suite, case, id=f"{path.stem}-{case['id']}")
        for path in sorted(folder.glob("*.json"))
        for suite in json.loads(path.read_text())
        for case in suite["cases"]
    ]


class OneServiceCatalog:
    """A catalog of the one service that a suite describes."""

    def __init__(self, service: ServiceModel) -> None:
        self._service = service

    def service(self, name: str) -> ServiceModel:
        assert name == self._service.name
        return self._service

    def by_signing_name(self, signing_name: str) -> tuple[str, ...]:
        return (self._service.name,) if signing_name == self._service.signing_name else ()

    def by_target_prefix(self, prefix: str) -> tuple[str, ...]:
        return (self._service.name,) if prefix == self._service.target_prefix else ()

    def by_version(self, version: str) -> tuple[str, ...]:
        return (self._service.name,) if version == self._service.api_version else ()

    def protocols(self, name: str) -> tuple[str, ...]:
        return self.service(name).protocols

    def endpoint_prefix(self, name: str) -> str:
        return self.service(name).endpoint_prefix


def _document(suite: Mapping[str, Any], case: Mapping[str, Any]) -> dict[str, Any]:
    given = dict(case["given"])
    metadata = {"endpointPrefix": "vectors", **suite["metadata"]}
    if metadata["protocol"] == "query" and "output" in given:
        # Real models name the element around a query result; the suites leave it out though their bodies have it.
        given["output"] = {**given["output"], "resultWrapper": f"{given['name']}Result"}
    return {"metadata": metadata, "operations": {given["name"]: given}, "shapes": suite["shapes"]}


def _plain(value: Any) -> Any:
    """A value as the cases write it: text for blobs, seconds for timestamps, words for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, datetime):
        return (value - _EPOCH) / timedelta(seconds=1)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


# ----------------------------------------------------------------------------- requests


def _body(case: Mapping[str, Any], model: BotocoreModel) -> bytes:
    serialized = case["serialized"]
    protocol = model.metadata["protocol"]
    if "body" in serialized:
        return b64decode(serialized["body"]) if protocol.endswith("cbor") else serialized["body"].encode()
    if serialized.get("headers", {}).get("Content-Encoding", "").endswith("gzip"):
        # The compression cases give headers alone; their bodies are made as a client makes them.
        operation = model.operation_model(case["given"]["name"])
        body = create_serializer(protocol).serialize_to_request(case["params"], operation)["body"]
        return gzip.compress(urlencode(body).encode() if isinstance(body, dict) else body)
    return b""


def _request(case: Mapping[str, Any], metadata: Mapping[str, Any], body: bytes) -> HttpRequest:
    serialized = case["serialized"]
    uri = urlsplit(serialized.get("uri", "/"))
    path, host = uri.path, serialized.get("host", "vectors.example.com")
    host, _, base = host.partition("/")
    if base:  # an endpoint with a path is the client's configuration
        path = path.removeprefix(f"/{base}")
    headers = {"host": host, "content-length": str(len(body))}
    headers |= {name.lower(): value for name, value in serialized.get("headers", {}).items()}
    if "jsonVersion" in metadata:  # a case lists the headers that it is about; a client always sends this one
        headers.setdefault("x-amz-target", f"{metadata['targetPrefix']}.{case['given']['name']}")
    return HttpRequest(
        method=serialized.get("method", "POST"), path=path, query=uri.query, headers=Headers(headers.items())
    )


def _expected_parameters(case: Mapping[str, Any], actual: dict[str, Any], shape: Shape | None) -> dict[str, Any]:
    expected = {name: value for name, value in case.get("params", {}).items() if value is not None}
    members = shape.members if shape else {}
    named = {member.wire_name(name) for name, member in members.items() if member.location == "querystring"}
    for name, member in members.items():
        if member.idempotency_token and name not in expected and name in actual:
            expected[name] = actual[name]  # made up by the client
        if member.jsonvalue and member.location == "header" and name in expected:
            expected[name] = json.loads(expected[name])  # the case writes the value's JSON
        if member.location == "querystring" and member.type == "map":
            # A server sees every query parameter there (Smithy, httpQueryParams), the client's case but the others.
            for side in (actual, expected):
                side[name] = {key: value for key, value in side.get(name, {}).items() if key not in named}
        if name not in actual and expected.get(name) in ([], {}):
            del expected[name]  # the protocol has no way to send an empty container
    if shape is not None and shape.payload:
        if members[shape.payload].streaming:
            expected.pop(shape.payload, None)  # the stream is the call's payload, not a parameter
        elif actual.get(shape.payload) == {}:
            expected.setdefault(shape.payload, {})  # "{}" is what a client sends for a structure without a value
    return expected


@pytest.mark.parametrize(("suite", "case"), _cases("input"))
def test_a_request_is_parsed_into_the_parameters_that_made_it(suite: dict[str, Any], case: dict[str, Any]) -> None:
    document = _document(suite, case)
    service = ServiceModel(document, "vectors")
    body = _body(case, BotocoreModel(document, "vectors"))
    request = _request(case, suite["metadata"], body)

    route = identify(request, body, Scope(signing_name=service.signing_name), OneServiceCatalog(service))
    assert route.operation_name == case["given"]["name"]
    assert route.protocol == suite["metadata"]["protocol"]

    parameters = _plain(parse_request(route, request, body))
    assert route.operation is not None
    assert parameters == _expected_parameters(case, parameters, route.operation.input)


# ----------------------------------------------------------------------------- responses


def _value(shape: Shape, value: Any) -> Any:
    """A result as a service gives it, out of how the cases write it."""
    if value is None or shape.document:
        return value
    if shape.jsonvalue and shape.location == "header":
        return json.loads(value)
    convert = _FROM_PLAIN.get(shape.type)
    return convert(shape, value) if convert else value


_FROM_PLAIN: dict[str, Callable[[Shape, Any], Any]] = {
    "structure": lambda shape, value: {name: _value(shape.members[name], item) for name, item in value.items()},
    "list": lambda shape, value: [_value(shape.member, item) for item in value],
    "map": lambda shape, value: {key: _value(shape.value, item) for key, item in value.items()},
    "blob": lambda _, value: value.encode(),
    "timestamp": lambda _, value: _EPOCH + timedelta(seconds=value),
    "float": lambda _, value: float(value),
    "double": lambda _, value: float(value),
}


def _route(service: ServiceModel, protocol: str) -> Route:
    operation = next(iter(service.operations.values()))
    return Route(
        service=service,
        operation=operation,
        operation_name=operation.name,
        protocol=protocol,
        method=operation.http_method,
        path="/",
        query="",
    )


def _for_botocore(response: HttpResponse) -> dict[str, Any]:
    headers = HeadersDict()
    for name, value in response.headers:
        headers[name] = value
    assert isinstance(response.body, bytes)
    return {"status_code": response.status, "headers": headers, "body": response.body, "context": {}}


def _parse(model: BotocoreModel, response: dict[str, Any], shape: Any) -> dict[str, Any]:
    factory = ResponseParserFactory()
    factory.set_parser_defaults(timestamp_parser=lambda value: parse_timestamp(value).astimezone(UTC))
    parsed: dict[str, Any] = factory.create_parser(model.metadata["protocol"]).parse(response, shape)
    return parsed


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _results(side: list[Any], *, errors: bool) -> list[Any]:
    return [param for param in side if ("error" in param.values[1]) == errors or not param.values[1]]


@pytest.mark.parametrize(("suite", "case"), _results(_cases("output"), errors=False))
def test_botocore_reads_the_result_out_of_our_response(suite: dict[str, Any], case: dict[str, Any]) -> None:
    document = _document(suite, case)
    service, model = ServiceModel(document, "vectors"), BotocoreModel(document, "vectors")
    route = _route(service, suite["metadata"]["protocol"])
    assert route.operation is not None
    output = route.operation.output
    result = _value(output, case["result"]) if output else {}

    response = format_response(route, result, "request-id")

    assert response.status == case["response"]["status_code"]
    shape = model.operation_model(case["given"]["name"]).output_shape
    expected = _without_nulls(case["result"])
    for name, member in output.members.items() if output else ():
        if member.jsonvalue and name in expected:
            expected[name] = json.loads(expected[name])  # the case writes the value's JSON
    says_nothing = not case["response"].keys() & {"body", "headers"}
    if says_nothing or _read_by_botocore(model, _case_response(case, model), shape, expected) == expected:
        assert _read_by_botocore(model, _for_botocore(response), shape, expected) == expected
    else:  # botocore cannot read the case's own response, so that response is the judge
        _assert_same_response(response, case["response"])


def _read_by_botocore(model: BotocoreModel, response: dict[str, Any], shape: Any, expected: dict[str, Any]) -> Any:
    try:
        parsed = _plain(_parse(model, response, shape))
    except (ResponseParserError, TypeError, KeyError) as error:
        return error
    parsed.pop("ResponseMetadata", None)
    for name, value in list(parsed.items()):
        if value in ({}, "") and name not in expected:
            del parsed[name]  # botocore shows an empty map of headers, and an empty payload, for none
        elif shape.members[name].serialization.get("location") == "headers":
            ours = {"content-type", "x-amzn-requestid", "x-amz-request-id", "x-amz-id-2"}
            parsed[name] = {key: item for key, item in value.items() if key not in ours}  # a prefix of "" takes all
    return parsed


def _case_response(case: Mapping[str, Any], model: BotocoreModel) -> dict[str, Any]:
    response = case["response"]
    body = response.get("body", "").encode()
    if model.metadata["protocol"].endswith("cbor"):
        body = b64decode(body)
    headers = HeadersDict()
    for name, value in response.get("headers", {}).items():
        headers[name] = value
    return {"status_code": response["status_code"], "headers": headers, "body": body, "context": {}}


def _assert_same_response(response: HttpResponse, expected: Mapping[str, Any]) -> None:
    for name, value in expected.get("headers", {}).items():
        if name.lower() not in ("content-type", "content-length"):
            assert response.header(name) == value
    assert isinstance(response.body, bytes)
    body = expected.get("body", "")
    if body.startswith("<"):
        assert _elements(response.body) == _elements(body.encode())
    elif body.startswith("{"):
        assert json.loads(response.body) == _without_nulls(json.loads(body))
    else:
        assert response.body == body.encode()


def _elements(body: bytes) -> list[tuple[str, str]]:
    """The elements below the root with their texts, in order, but for those that tell the request's id."""
    return [
        (element.tag.rpartition("}")[2], (element.text or "").strip())
        for element in list(ET.fromstring(body).iter())[1:]
        if not element.tag.lower().endswith(("requestid", "responsemetadata"))
    ]


@pytest.mark.parametrize(("suite", "case"), _results(_cases("output"), errors=True))
def test_botocore_reads_the_error_out_of_our_response(suite: dict[str, Any], case: dict[str, Any]) -> None:
    document = _document(suite, case)
    service, model = ServiceModel(document, "vectors"), BotocoreModel(document, "vectors")
    route = _route(service, suite["metadata"]["protocol"])
    shape = service.error(case["errorCode"])
    assert shape is not None
    fields = _value(shape, case["error"])
    fault = ServiceFault(case["errorCode"], case.get("errorMessage") or "", fields=fields)

    response = _for_botocore(format_fault(route, fault, "request-id"))

    if shape.error is not None and shape.error.status is not None:
        assert response["status_code"] == shape.error.status
    parsed = _parse(model, response, model.operation_model(case["given"]["name"]).output_shape)
    assert parsed["Error"]["Code"] == case["errorCode"]
    assert (parsed["Error"]["Message"] or "") == (case.get("errorMessage") or "")
    assert parsed["ResponseMetadata"]["RequestId"] == "request-id"
    members = _plain(_parse(model, response, model.shape_for(shape.name)))
    assert {name: members.get(name) for name in case["error"]} == case["error"]


# ----------------------------------------------------------------------------- responses that someone else wrote


def _answer(case: Mapping[str, Any], protocol: str) -> tuple[int, Headers, bytes]:
    response = case["response"]
    body = response.get("body", "").encode()
    headers = Headers((name.lower(), value) for name, value in response.get("headers", {}).items())
    return response["status_code"], headers, b64decode(body) if protocol.endswith("cbor") else body


@pytest.mark.parametrize(("suite", "case"), _results(_cases("output"), errors=False))
def test_a_response_is_parsed_into_the_result_that_made_it(suite: dict[str, Any], case: dict[str, Any]) -> None:
    protocol = suite["metadata"]["protocol"]
    route = _route(ServiceModel(_document(suite, case), "vectors"), protocol)
    assert route.operation is not None
    output = route.operation.output
    status, headers, body = _answer(case, protocol)

    outcome = parse_response(route, status, headers, body)

    expected = _without_nulls(case["result"])
    actual = _plain(outcome.result)
    for name, member in output.members.items() if output else ():
        if member.jsonvalue and name in expected:
            expected[name] = json.loads(expected[name])  # the case writes the value's JSON
        if member.streaming or (member.event_stream and name not in actual):
            expected.pop(name, None)  # a stream is no part of a result
        if name not in actual and expected.get(name) in ({}, ""):
            del expected[name]  # botocore shows an empty map of headers, and an empty payload, for none
    assert outcome.fault is None
    assert outcome.answer is not None
    assert actual == expected


@pytest.mark.parametrize(("suite", "case"), _results(_cases("output"), errors=True))
def test_an_error_response_is_parsed_into_its_fault(suite: dict[str, Any], case: dict[str, Any]) -> None:
    protocol = suite["metadata"]["protocol"]
    route = _route(ServiceModel(_document(suite, case), "vectors"), protocol)

    outcome = parse_response(route, *_answer(case, protocol))

    assert outcome.result is None
    assert outcome.fault is not None
    assert outcome.fault.code == case["errorCode"]
    assert outcome.fault.message == (case.get("errorMessage") or outcome.fault.message)
    assert outcome.fault.status == case["response"]["status_code"]
    fields = _plain(outcome.fault.fields)
    assert {name: fields.get(name) for name in case["error"]} == case["error"]
