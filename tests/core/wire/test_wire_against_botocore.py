"""The server's half against botocore's client half, over real models.

botocore serialises seeded parameters; ``identify`` and ``parse_request`` must find the operation and the parameters
again.  The other way, ``format_response`` writes seeded results and botocore's parser must read them.  The short run
takes a sample of operations of services of every protocol and of some others, which changes with botocore's version (or
``OPENTRAIL_TEST_SEED``); the long one takes every operation of every service.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

import botocore
import pytest
from botocore.awsrequest import HeadersDict
from botocore.parsers import ResponseParserFactory
from botocore.utils import parse_timestamp

from opentrail.core.wire.model import Operation, ServiceModel, Shape
from opentrail.core.wire.protocols import format_response, parse_request
from opentrail.core.wire.routing import Route, Scope, identify
from opentrail.server.catalog import BotocoreCatalog

#: Services of every protocol: what we implement, what people use, and the odd ones.
SERVICES = {
    "query": ("sts", "iam", "sns", "ses", "rds", "elbv2", "elb", "cloudformation", "autoscaling", "redshift", "sdb"),
    "ec2": ("ec2",),
    "json": ("cloudtrail", "logs", "events", "dynamodb", "kms", "ssm", "ecs", "sqs", "athena", "glue", "organizations"),
    "rest-json": ("lambda", "apigateway", "apigatewayv2", "eks", "batch", "glacier", "iot", "iot-data", "sesv2"),
    "rest-json, rarer": ("xray", "bedrock-runtime", "opensearch", "mediastore-data", "workspaces-web", "greengrass"),
    "rest-xml": ("s3", "s3control", "route53", "cloudfront"),
    "smithy-rpc-v2-cbor": ("cloudwatch", "cloudhsmv2", "mailmanager", "keyspaces", "stepfunctions", "secretsmanager"),
}
OPERATIONS_EACH = 12
OTHER_SERVICES = 12
_SEED = os.environ.get("OPENTRAIL_TEST_SEED", botocore.__version__)


def _place(*names: str) -> int:
    """Where something comes in this run's order."""
    return crc32("/".join((_SEED, *names)).encode())


def _names() -> list[str]:
    named = [name for names in SERVICES.values() for name in names]
    others = sorted(set(BotocoreCatalog().names()) - set(named), key=_place)
    return named + others[:OTHER_SERVICES]


_EMPTY: tuple[Any, ...] = ({}, [], None)


def _sample(service: ServiceModel) -> list[Operation]:
    names = sorted(service.operations, key=lambda name: _place(service.name, name))
    return [service.operations[name] for name in names[:OPERATIONS_EACH]]


def _pruned(value: Any) -> Any:
    """Without empty containers, for which not every protocol has a form; times to the second, as headers have them."""
    if isinstance(value, dict):
        pruned = {key: _pruned(item) for key, item in value.items()}
        return {key: item for key, item in pruned.items() if item not in _EMPTY}
    if isinstance(value, list):
        return [item for item in map(_pruned, value) if item not in _EMPTY]
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return value


def _comparable(values: Mapping[str, Any], shape: Shape | None) -> dict[str, Any]:
    """Parameters or results without what a message carries in another way."""
    kept = {}
    members = shape.members if shape else {}
    named = {member.wire_name(name) for name, member in members.items() if member.location == "querystring"}
    for name, value in values.items():
        member = members[name]
        if member.event_stream or (member.streaming and shape and name == shape.payload):
            continue  # the stream is the call's payload
        if member.location == "header" and member.wire_name(name).lower() in ("content-length", "content-type"):
            continue  # the client's HTTP library sets them too
        if member.location == "querystring" and member.type == "map":
            kept[name] = {key: item for key, item in value.items() if key not in named}
        elif member.location == "headers":
            ours = {"content-type", "x-amzn-requestid"}  # a prefix of "" takes every header
            kept[name] = {key.lower(): item for key, item in value.items() if key.lower() not in ours}
        else:
            kept[name] = value
    pruned: dict[str, Any] = _pruned(kept)
    return pruned


def _same_template(one: Operation, other: Operation) -> bool:
    """Whether nothing in a request can tell two operations apart: a deprecated twin, or a service's double."""
    blank = re.compile(r"\{[^}+]*")
    return (one.http_method, blank.sub("{", one.request_uri).rstrip("/")) == (
        other.http_method,
        blank.sub("{", other.request_uri).rstrip("/"),
    )


def _assert_request_is_understood(
    operation: Operation, catalog: BotocoreCatalog, client: Any, maker: Any, protocol: str
) -> None:
    service = operation.service
    parameters = maker.value(operation.input) if operation.input else {}
    for name, member in operation.input.members.items() if operation.input else ():
        if member.event_stream:
            parameters.pop(name, None)
    request, body = client.request(service, operation.name, parameters, protocol)

    route = identify(request, body, Scope(signing_name=service.signing_name), catalog)

    assert route.protocol == protocol
    assert route.operation is not None, (service.name, operation.name, request, route.fault)
    if route.operation is not operation:
        twin = route.operation
        doubles = service.name in catalog.by_signing_name(twin.service.signing_name)
        assert doubles, (service.name, operation.name, twin)
        assert _same_template(twin, operation), (service.name, operation.name, twin)
        return
    streaming = operation.streaming_input is not None
    parsed = parse_request(route, request, b"" if streaming else body)
    assert _comparable(parsed, operation.input) == _comparable(parameters, operation.input), operation


def _route(operation: Operation, protocol: str) -> Route:
    return Route(
        service=operation.service,
        operation=operation,
        operation_name=operation.name,
        protocol=protocol,
        method=operation.http_method,
        path="/",
        query="",
    )


def _assert_response_is_understood(operation: Operation, client: Any, maker: Any, protocol: str) -> None:
    service, output = operation.service, operation.output
    if operation.event_stream_output:
        return  # no event streams yet
    if service.name == "s3" and (operation.deprecated or operation.name == "GetBucketLocation"):
        return  # deprecated shapes give two members one element; the client reads the location outside its parser
    result = maker.value(output, headers=_RESPONSE_HEADER_TEXTS) if output else {}
    for name, member in output.members.items() if output else ():
        if member.location == "statusCode":
            result[name] = 201

    response = format_response(_route(operation, protocol), result, "request-id")

    headers = HeadersDict()
    for name, value in response.headers:
        headers[name] = value
    body = response.body
    if output and output.payload and output.members[output.payload].type == "blob":
        assert body == result.pop(output.payload, b"")  # botocore's parser reads a blob payload as text
        body = b""
    factory = ResponseParserFactory()
    factory.set_parser_defaults(timestamp_parser=lambda value: parse_timestamp(value).astimezone(UTC))
    shape = client.operation(service, operation.name).output_shape
    if protocol == "query" and shape is not None:
        shape.serialization.setdefault("resultWrapper", f"{operation.name}Result")  # newer models leave it out
    message = {"status_code": response.status, "headers": headers, "body": body, "context": {}}
    parsed = factory.create_parser(protocol).parse(message, shape)
    metadata = parsed.pop("ResponseMetadata", {})
    assert metadata.get("RequestId", "request-id") == "request-id"
    if output is not None:
        known = {name: value for name, value in parsed.items() if name in output.members}
        if output.payload and output.payload not in result:
            known.pop(output.payload, None)
        assert _comparable(known, output) == _comparable(result, output), operation


_RESPONSE_HEADER_TEXTS = ("a", "b c", "x=y;z", "100%")


@pytest.mark.parametrize("name", _names())
def test_a_sample_of_requests_is_understood(
    name: str, catalog: BotocoreCatalog, client: Any, make: Callable[..., Any]
) -> None:
    for operation in _sample(catalog.service(name)):
        for seed in range(3):
            for protocol in operation.service.protocols:
                maker = make((name, operation.name, seed))
                _assert_request_is_understood(operation, catalog, client, maker, protocol)


@pytest.mark.parametrize("name", _names())
def test_a_sample_of_responses_is_understood(
    name: str, catalog: BotocoreCatalog, client: Any, make: Callable[..., Any]
) -> None:
    for operation in _sample(catalog.service(name)):
        for seed in range(3):
            for protocol in operation.service.protocols:
                _assert_response_is_understood(operation, client, make((name, operation.name, seed)), protocol)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_request_and_response_of_every_service_is_understood(client: Any, make: Callable[..., Any]) -> None:
    catalog = BotocoreCatalog()
    for name in catalog.names():
        for operation in catalog.service(name).operations.values():
            for protocol in operation.service.protocols:
                maker = make((name, operation.name))
                _assert_request_is_understood(operation, catalog, client, maker, protocol)
                _assert_response_is_understood(operation, client, maker, protocol)
