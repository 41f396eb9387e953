"""Errors byte by byte as AWS's services write them, and how botocore reads them back."""

from __future__ import annotations

import json

import pytest

from opentrail.core.errors import ServiceFault
from opentrail.core.http import HttpResponse
from opentrail.core.wire.faults import format_fault
from opentrail.core.wire.protocols import format_response
from opentrail.core.wire.routing import Route
from opentrail.server.catalog import BotocoreCatalog


def _route(catalog: BotocoreCatalog, name: str, operation: str, protocol: str = "") -> Route:
    service = catalog.service(name)
    found = service.operations[operation]
    return Route(
        service=service,
        operation=found,
        operation_name=operation,
        protocol=protocol or service.protocol,
        method=found.http_method,
        path="/",
        query="",
    )


def _text(response: HttpResponse) -> str:
    assert isinstance(response.body, bytes)
    return response.body.decode()


def test_query(catalog: BotocoreCatalog) -> None:
    fault = ServiceFault("NoSuchEntity", "The user with name <b> cannot be found.")
    response = format_fault(_route(catalog, "iam", "GetUser"), fault, "id")
    assert response.status == 404  # the model's, for a fault with the default status
    assert response.header("content-type") == "text/xml"
    assert response.header("x-amzn-requestid") == "id"
    assert _text(response) == (
        '<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type>'
        "<Code>NoSuchEntity</Code><Message>The user with name &lt;b&gt; cannot be found.</Message></Error>"
        "<RequestId>id</RequestId></ErrorResponse>\n"
    )


def test_query_finds_the_wire_code_of_a_shape_name(catalog: BotocoreCatalog) -> None:
    fault = ServiceFault("NoSuchEntityException", "m")
    assert "<Code>NoSuchEntity</Code>" in _text(format_fault(_route(catalog, "iam", "GetUser"), fault, "id"))


def test_a_status_of_500_is_the_receivers_fault(catalog: BotocoreCatalog) -> None:
    response = format_fault(_route(catalog, "iam", "GetUser"), ServiceFault("InternalFailure", status=500), "id")
    assert response.status == 500
    assert "<Type>Receiver</Type>" in _text(response)


def test_ec2(catalog: BotocoreCatalog) -> None:
    response = format_fault(
        _route(catalog, "ec2", "DescribeInstances"), ServiceFault("UnauthorizedOperation", "No.", status=403), "id"
    )
    assert response.status == 403
    assert _text(response) == (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error><Code>UnauthorizedOperation</Code>'
        "<Message>No.</Message></Error></Errors><RequestID>id</RequestID></Response>"
    )


def test_json_1_1(catalog: BotocoreCatalog) -> None:
    fault = ServiceFault("TrailNotFoundException", "Unknown trail: x")
    response = format_fault(_route(catalog, "cloudtrail", "GetTrail"), fault, "id")
    assert (response.status, response.header("content-type")) == (400, "application/x-amz-json-1.1")
    assert json.loads(_text(response)) == {"__type": "TrailNotFoundException", "message": "Unknown trail: x"}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("ResourceNotFoundException", "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException"),
        ("SerializationException", "com.amazon.coral.service#SerializationException"),
        ("ValidationException", "com.amazon.coral.validate#ValidationException"),
    ],
)
def test_json_1_0_names_the_name_space(catalog: BotocoreCatalog, code: str, expected: str) -> None:
    response = format_fault(_route(catalog, "dynamodb", "GetItem"), ServiceFault(code, "m"), "id")
    assert json.loads(_text(response))["__type"] == expected


@pytest.mark.parametrize("code", ["ResourceNotFound", "DashboardNotFoundError"])
def test_a_former_query_service_tells_its_old_code(catalog: BotocoreCatalog, code: str) -> None:
    response = format_fault(_route(catalog, "cloudwatch", "GetDashboard", "json"), ServiceFault(code, "m"), "id")
    assert response.status == 404
    assert response.header("x-amzn-query-error") == "ResourceNotFound;Sender"
    assert json.loads(_text(response))["__type"] == "com.amazonaws.monitoring#DashboardNotFoundError"


def test_rest_json_tells_code_members_and_headers(catalog: BotocoreCatalog) -> None:
    fault = ServiceFault(
        "TooManyRequestsException",
        "Rate exceeded",
        fields={"retryAfterSeconds": "3", "Reason": "CallerRateLimitExceeded"},
    )
    response = format_fault(_route(catalog, "lambda", "Invoke"), fault, "id")
    assert response.status == 429
    assert response.header("x-amzn-errortype") == "TooManyRequestsException"
    assert response.header("retry-after") == "3"
    assert json.loads(_text(response)) == {"message": "Rate exceeded", "Reason": "CallerRateLimitExceeded"}


def test_s3(catalog: BotocoreCatalog) -> None:
    fault = ServiceFault("NoSuchKey", "The specified key does not exist.", status=404, fields={"Key": "a&b"})
    response = format_fault(_route(catalog, "s3", "GetObject"), fault, "ID", "/b/a&b")
    host_id = response.header("x-amz-id-2")
    assert len(host_id) == 64
    assert response.header("x-amz-request-id") == "ID"
    assert _text(response) == (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code>'
        "<Message>The specified key does not exist.</Message><Key>a&amp;b</Key><Resource>/b/a&amp;b</Resource>"
        f"<RequestId>ID</RequestId><HostId>{host_id}</HostId></Error>"
    )


@pytest.mark.parametrize(("operation", "status"), [("HeadObject", 404), ("GetObject", 304)])
def test_no_body_where_http_allows_none(catalog: BotocoreCatalog, operation: str, status: int) -> None:
    fault = ServiceFault("NotModified", status=status, headers=(("etag", '"x"'),))
    response = format_fault(_route(catalog, "s3", operation), fault, "ID")
    assert (response.status, response.body, response.header("etag")) == (status, b"", '"x"')


def test_without_a_route_the_code_stands_in_a_header() -> None:
    response = format_fault(None, ServiceFault("UnknownOperationException", "m", status=404), "id")
    assert (response.status, response.header("x-amzn-errortype")) == (404, "UnknownOperationException")
    assert json.loads(_text(response)) == {"message": "m"}
    assert format_fault(None, ServiceFault("X"), "id", method="HEAD").body == b""


def test_no_line_can_be_smuggled_into_a_header(catalog: BotocoreCatalog) -> None:
    result = {"ContentDisposition": "a\r\nset-cookie: x", "Metadata": {"k\r\nx": "a\r\nb", "l": "é"}, "Body": b""}
    response = format_response(_route(catalog, "s3", "GetObject"), result, "id")
    assert response.header("content-disposition") == "a set-cookie: x"
    assert response.header("x-amz-meta-l") == "=?UTF-8?B?w6k=?="
    assert not any(character in name + value for name, value in response.headers for character in "\r\n\0")


def test_characters_that_xml_forbids_leave_as_references(catalog: BotocoreCatalog) -> None:
    result = {"Name": "b", "Contents": [{"Key": "a\x01\r<&>"}]}
    body = format_response(_route(catalog, "s3", "ListObjectsV2"), result, "id").body
    assert isinstance(body, bytes)
    assert b"<Key>a&#x1;&#xd;&lt;&amp;&gt;</Key>" in body
    assert b'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">' in body


def test_a_range_is_partial_content(catalog: BotocoreCatalog) -> None:
    chunks = iter([b"a", b"b"])
    result = {"Body": chunks, "ContentRange": "bytes 0-1/3", "ContentLength": 2}
    response = format_response(_route(catalog, "s3", "GetObject"), result, "id")
    assert (response.status, response.body, response.header("content-length")) == (206, chunks, "2")


@pytest.mark.parametrize(("location", "text"), [(None, ""), ("eu-west-1", "eu-west-1")])
def test_bucket_location_is_the_roots_text(catalog: BotocoreCatalog, location: str | None, text: str) -> None:
    response = format_response(_route(catalog, "s3", "GetBucketLocation"), {"LocationConstraint": location}, "id")
    expected = f'<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{text}</LocationConstraint>'
    assert _text(response).endswith(expected)


def test_a_member_that_the_model_does_not_have_is_our_mistake(catalog: BotocoreCatalog) -> None:
    for name, operation in (("sts", "GetCallerIdentity"), ("cloudtrail", "GetTrail"), ("s3", "ListObjectsV2")):
        with pytest.raises(AssertionError):
            format_response(_route(catalog, name, operation), {"NoSuchMember": 1}, "id")
