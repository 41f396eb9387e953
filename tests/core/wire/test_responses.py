"""Answers of an upstream are read as a client reads them, and nothing that an upstream says breaks the reader."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opentrail.core.errors import ServiceFault
from opentrail.core.http import Headers
from opentrail.core.wire.calls import WireAnswer
from opentrail.core.wire.faults import format_fault
from opentrail.core.wire.model import Operation
from opentrail.core.wire.protocols import format_response
from opentrail.core.wire.responses import answered_request_id, parse_response
from opentrail.core.wire.routing import Route
from opentrail.server.catalog import BotocoreCatalog

CATALOG = BotocoreCatalog()
SERVICES = ("iam", "ec2", "sqs", "lambda", "s3", "cloudfront", "arc-region-switch", "dynamodb", "route53", "eks")
OPERATIONS = ("iam.CreateUser", "ec2.RunInstances", "sqs.SendMessage", "lambda.CreateFunction", "s3.CopyObject")


def route_of(operation: Operation, protocol: str = "", method: str = "") -> Route:
    service = operation.service
    return Route(
        service=service,
        operation=operation,
        operation_name=operation.name,
        protocol=protocol or service.protocol,
        method=method or operation.http_method,
        path="/",
        query="",
    )


def operation_of(name: str) -> Operation:
    service, _, operation = name.partition(".")
    return CATALOG.service(service).operations[operation]


def plain(value: Any) -> Any:
    """A value without what a protocol cannot tell: times to the millisecond, numbers as numbers."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return round(value.timestamp())
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


@pytest.mark.parametrize("name", SERVICES)
def test_what_we_write_is_read_back(name: str, make: Callable[[object], Any]) -> None:
    service = CATALOG.service(name)
    for operation in list(service.operations.values())[::3]:
        output = operation.output
        if output is None or operation.event_stream_output or operation.streaming_output:
            continue
        headers = ("a", "b", "A-b_c")
        result = make(operation.name).value(output, ("a", "b c", "x&y=<z>"), headers=headers)
        status = next((each for each, member in output.members.items() if member.location == "statusCode"), "")
        if status:
            result[status] = 200
        for protocol in service.protocols:
            response = format_response(route_of(operation, protocol), result, "id")
            assert isinstance(response.body, bytes)
            sent = Headers((key.lower(), value) for key, value in response.headers)
            outcome = parse_response(route_of(operation, protocol), response.status, sent, response.body)
            assert outcome.fault is None, operation.name
            assert outcome.result is not None
            read = {each: value for each, value in plain(outcome.result).items() if value not in ({}, [], "")}
            wanted = {each: value for each, value in plain(result).items() if value not in ({}, [], "")}
            for each, member in output.members.items():
                if member.location in {"header", "headers"} or (protocol == "query" and member.type == "blob"):
                    read.pop(each, None)
                    wanted.pop(each, None)
            assert read.keys() == wanted.keys(), operation.name


@pytest.mark.parametrize("name", OPERATIONS)
def test_our_errors_are_read_back(name: str) -> None:
    operation = operation_of(name)
    fault = ServiceFault("SomethingWrong", "It was <wrong> & bad.", status=409)
    response = format_fault(route_of(operation), fault, "the-id")
    assert isinstance(response.body, bytes)
    headers = Headers((key.lower(), value) for key, value in response.headers)
    outcome = parse_response(route_of(operation), response.status, headers, response.body)
    assert outcome.result is None
    assert outcome.fault is not None
    assert (outcome.fault.code, outcome.fault.message) == ("SomethingWrong", "It was <wrong> & bad.")
    assert outcome.fault.status == 409
    assert outcome.answer is not None
    assert answered_request_id(outcome.answer) == "the-id"


@pytest.mark.parametrize(
    ("name", "method", "status", "code"),
    [
        ("s3.HeadObject", "HEAD", 404, "NoSuchKey"),
        ("s3.HeadBucket", "HEAD", 404, "NoSuchBucket"),
        ("s3.HeadBucket", "HEAD", 403, "AccessDenied"),
        ("s3.GetObject", "GET", 304, "NotModified"),
        ("iam.CreateUser", "POST", 502, "BadGateway"),
        ("sqs.SendMessage", "POST", 599, "599"),
    ],
)
def test_an_error_without_words_is_named_after_its_status(name: str, method: str, status: int, code: str) -> None:
    outcome = parse_response(route_of(operation_of(name), method=method), status, Headers(), b"")
    assert outcome.fault is not None
    assert outcome.fault.code == code
    garbage = parse_response(route_of(operation_of(name), method="GET"), status, Headers(), b"<html>Bad gateway")
    assert garbage.fault is not None


def test_s3_may_fail_after_it_said_200() -> None:
    body = b"<?xml version='1.0'?>\n<Error><Code>InternalError</Code><Message>Sorry.</Message></Error>"
    outcome = parse_response(route_of(operation_of("s3.CopyObject")), 200, Headers(), body)
    assert outcome.fault is not None
    assert (outcome.fault.code, outcome.fault.message) == ("InternalError", "Sorry.")


def test_members_that_cannot_be_read_are_left_out_and_the_rest_is_told() -> None:
    route = route_of(operation_of("lambda.CreateFunction"))
    body = b'{"FunctionName": "f", "Timeout": "soon", "Layers": {"no": "list"}, "Unknown": 1}'
    assert parse_response(route, 201, Headers(), body).result == {"FunctionName": "f"}
    route = route_of(operation_of("s3.ListBuckets"))
    body = b"<R><Extra/><Buckets><Bucket><Name>b</Name><CreationDate>later</CreationDate><X/></Bucket></Buckets></R>"
    assert parse_response(route, 200, Headers(), body).result == {"Buckets": [{"Name": "b"}]}


def test_a_gzipped_answer_is_read_and_garbage_is_an_empty_result() -> None:
    route = route_of(operation_of("lambda.CreateFunction"))
    coded = Headers([("content-encoding", "gzip")])
    assert parse_response(route, 201, coded, gzip.compress(b'{"Runtime": "r"}')).result == {"Runtime": "r"}
    assert parse_response(route, 201, coded, gzip.compress(b'{"Runtime": "r"}')[:-9]).result == {}
    assert parse_response(route, 201, Headers(), b"<html>").result == {}


def test_a_code_that_the_model_does_not_know_gives_way_to_the_exceptions_name() -> None:
    headers = Headers([("x-amzn-query-error", "AWS.SimpleQueueService.NonExistentQueue;Sender")])
    body = b'{"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "m"}'
    outcome = parse_response(route_of(operation_of("sqs.SendMessage"), "json"), 400, headers, body)
    assert outcome.fault is not None
    assert outcome.fault.code == "QueueDoesNotExist"


def test_the_requests_id_may_stand_in_the_body() -> None:
    body = b"<CreateUserResponse><ResponseMetadata><RequestId> abc </RequestId></ResponseMetadata></CreateUserResponse>"
    assert answered_request_id(WireAnswer(status=200, headers=Headers(), body=body)) == "abc"
    assert answered_request_id(WireAnswer(status=200, headers=Headers())) == ""


STATUSES = st.sampled_from([200, 204, 301, 304, 400, 404, 500, 503, 999])
WORDS = (b"", b"{}", b"[]", b'"x"', b"null", b"\xa0", b"\xbf", b"<a/>", b"<Error/>", b"<Error><Code/></Error>")
BODIES = st.binary(max_size=60) | st.sampled_from([*WORDS, b'{"__type":1}'])
NAMES = (
    "content-encoding content-length etag last-modified x-amz-delete-marker x-amz-meta-a x-amz-request-id "
    "x-amzn-errortype x-amzn-query-error"
)
VALUES = ("", "gzip", "1", "true", ";", "#", ":", "a#b:c", "=?x?=", "\xff")
FIELDS = st.lists(st.tuples(st.sampled_from(NAMES.split()), st.sampled_from(VALUES)), max_size=4)


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(SERVICES), index=st.integers(0, 999), status=STATUSES, fields=FIELDS, body=BODIES)
def test_nothing_that_an_upstream_says_breaks_the_reader(
    name: str, index: int, status: int, fields: list[tuple[str, str]], body: bytes
) -> None:
    operations = list(CATALOG.service(name).operations.values())
    operation = operations[index % len(operations)]
    for protocol in operation.service.protocols:
        outcome = parse_response(route_of(operation, protocol), status, Headers(fields), body)
        assert (outcome.result is None) != (outcome.fault is None)
        assert outcome.answer is not None
