"""Malformed input: always the protocol's own error, naming the field and never the value, and nothing else."""

from __future__ import annotations

import gzip
import json

import pytest

from opentrail.core.errors import ServiceFault
from opentrail.core.http import Headers, HttpRequest
from opentrail.core.wire.inflate import MAX_BYTES
from opentrail.core.wire.protocols import parse_request
from opentrail.core.wire.routing import Route, Scope, identify
from opentrail.server.catalog import BotocoreCatalog

TRAIL = {"x-amz-target": "CloudTrail_20131101.CreateTrail"}
PUT_ITEM = {"x-amz-target": "DynamoDB_20120810.PutItem"}
METRICS = {"smithy-protocol": "rpc-v2-cbor"}
METRICS_PATH = "/service/GraniteServiceVersion20100801/operation/PutMetricData"


def _route(
    catalog: BotocoreCatalog, line: str, body: bytes, scope: str, headers: dict[str, str]
) -> tuple[Route, HttpRequest]:
    method, _, target = line.partition(" ")
    path, _, query = target.partition("?")
    request = HttpRequest(method=method, path=path, query=query, headers=Headers(headers.items()))
    return identify(request, body, Scope(signing_name=scope), catalog), request


def _fault(
    catalog: BotocoreCatalog, line: str, body: bytes, scope: str, headers: dict[str, str] | None = None
) -> ServiceFault:
    route, request = _route(catalog, line, body, scope, headers or {})
    assert route.operation is not None, route.fault
    with pytest.raises(ServiceFault) as refusal:
        parse_request(route, request, body)
    return refusal.value


def _nested_json(levels: int) -> bytes:
    return b'{"Item":{"a":' + b'{"M":{"a":' * levels + b'{"S":"x"}' + b"}}" * levels + b"}}"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff",
        b'{"Name":"\xed\xa0\x80"}',
        b'{"Name":"\\ud800"}',
        b'{"Name":NaN}',
        b'{"Name":1}',
        b'{"Name":["x"]}',
        b'{"IsMultiRegionTrail":"true"}',
        b'{"TagsList":{"Key":"a"}}',
        b'{"TagsList":[null]}',
        b'{"TagsList":[{"Key":{}}]}',
        b'{"Name":"x"} {}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"Name":' + b"9" * 10_000 + b"}",
    ],
)
def test_json(catalog: BotocoreCatalog, body: bytes) -> None:
    assert _fault(catalog, "POST /", body, "cloudtrail", TRAIL).code == "SerializationException"


def test_json_that_another_reader_takes_is_taken(catalog: BotocoreCatalog) -> None:
    for body in (
        b'\xef\xbb\xbf{"Name":"x"}',
        '{"Name":"x"}'.encode("utf-16"),
        b'{"Name":"y","Name":"x"}',
        b'{"Name":"x","Later":{"new":[1e400]},"S3BucketName":null}',
    ):
        route, request = _route(catalog, "POST /", body, "cloudtrail", TRAIL)
        assert parse_request(route, request, body) == {"Name": "x"}


def test_json_nesting_has_a_limit(catalog: BotocoreCatalog) -> None:
    route, request = _route(catalog, "POST /", b"", "dynamodb", PUT_ITEM)
    assert parse_request(route, request, _nested_json(45))
    assert _fault(catalog, "POST /", _nested_json(60), "dynamodb", PUT_ITEM).code == "SerializationException"


def test_a_message_names_the_member_and_not_the_value(catalog: BotocoreCatalog) -> None:
    body = json.dumps({"Name": "x", "TagsList": [{"Key": "a"}, {"Key": 12345}]}).encode()
    fault = _fault(catalog, "POST /", body, "cloudtrail", TRAIL)
    assert fault.message == "Malformed input: TagsList[1].Key: a number can not be converted to a string"


@pytest.mark.parametrize(
    ("value", "ok"), [(2**31 - 1, True), (-(2**31), True), (2**31, False), (1e3, True), (1.5, False), (True, False)]
)
def test_integers_have_32_bits(catalog: BotocoreCatalog, value: float, ok: bool) -> None:
    headers = {"x-amz-target": "CloudTrail_20131101.LookupEvents"}
    body = json.dumps({"MaxResults": value}).encode()
    route, request = _route(catalog, "POST /", body, "cloudtrail", headers)
    if ok:
        assert parse_request(route, request, body) == {"MaxResults": value}
    else:
        assert "MaxResults" in _fault(catalog, "POST /", body, "cloudtrail", headers).message


@pytest.mark.parametrize("value", [1e300, -1e300, "2020-01-01T00:00:00Z", True, []])
def test_json_timestamps_are_seconds(catalog: BotocoreCatalog, value: object) -> None:
    headers = {"x-amz-target": "CloudTrail_20131101.LookupEvents"}
    body = json.dumps({"StartTime": value}).encode()
    assert _fault(catalog, "POST /", body, "cloudtrail", headers).message.startswith("Malformed input: StartTime: ")


@pytest.mark.parametrize(
    "body",
    [
        b"\xa1",
        b"\xff",
        b"\x00\x00",
        b"\x80",
        b"\xf7",
        b"\xa1\x01\x02",  # a key that is no text
        b"\xa2\x61a\x01\x61a\x02",  # a key twice
        b"\xa1\x61a\xc2\x41\x00",  # a tag that is no timestamp
        b"\xa1\x61a\xc1\xfb\x7f\xf0\x00\x00\x00\x00\x00\x00",  # an infinite timestamp
        b"\xa1\x61a\x62\xff\xff",  # text that is not UTF-8
        b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff",  # a length beyond all bounds
        b"\x9b\x00\x00\x00\xff\xff\xff\xff\xff",
        b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xa1\x61a" + b"\x81" * 5000,
        b"\xa1\x61a" + b"\xc1" * 5000,
        b"\xa1\x61a\x1c",
        b"\xa1\x61a\xf8\xff",
        b"\xa1\x61a\x7f\x41a\xff",  # a chunk of another kind
        b"\xa1\x69Namespace\x01",
    ],
)
def test_cbor(catalog: BotocoreCatalog, body: bytes) -> None:
    assert _fault(catalog, f"POST {METRICS_PATH}", body, "monitoring", METRICS).code == "SerializationException"


@pytest.mark.parametrize(
    "body",
    [
        b"<",
        b"\xff\xfe<\x00a\x00",
        b"<Tagging>",
        b"<Tagging><TagSet><Tag><Key>&undefined;</Key></Tag></TagSet></Tagging>",
        b'<!DOCTYPE x [<!ENTITY a "b">]><Tagging><TagSet/></Tagging>',
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><Tagging/>',
        '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x><Tagging/>'.encode("utf-16"),
        b"<Tagging><Unknown/></Tagging>",
        b"<Tagging><TagSet><Other/></TagSet></Tagging>",
        b"<Tagging><TagSet/><TagSet/></Tagging>",
        b"<Tagging><TagSet><Tag><Key><b/></Key></Tag></TagSet></Tagging>",
        b"<a>" * 200_000,
        b"<a>" * 101 + b"</a>" * 101,
        b"<Tagging>\x00</Tagging>",
    ],
)
def test_xml(catalog: BotocoreCatalog, body: bytes) -> None:
    assert _fault(catalog, "PUT /b?tagging", body, "s3").code == "MalformedXML"


def test_deep_xml_is_freed_without_a_fault(catalog: BotocoreCatalog) -> None:
    body = b"<a>" * 200_000 + b"</a>" * 200_000
    assert _fault(catalog, "PUT /b?tagging", body, "s3").code == "MalformedXML"


@pytest.mark.parametrize(
    ("line", "headers", "code", "place"),
    [
        ("GET /b?list-type=2&max-keys=x", {}, "InvalidArgument", "max-keys"),
        ("GET /b?list-type=2&max-keys=99999999999", {}, "InvalidArgument", "max-keys"),
        ("GET /b?list-type=2&prefix=%FF", {}, "InvalidURI", "URI"),
        ("GET /b/%ff", {}, "InvalidURI", "URI"),
        ("PUT /b/k", {"content-length": "abc"}, "InvalidArgument", "content-length"),
        ("PUT /b/k", {"x-amz-server-side-encryption-bucket-key-enabled": "x"}, "InvalidArgument", "bucket-key-enabled"),
        ("PUT /b/k", {"x-amz-object-lock-retain-until-date": "soon"}, "InvalidArgument", "retain-until-date"),
    ],
)
def test_s3_paths_queries_and_headers(
    *, catalog: BotocoreCatalog, line: str, headers: dict[str, str], code: str, place: str
) -> None:
    fault = _fault(catalog, line, b"", "s3", headers)
    assert fault.code == code
    assert place in fault.message


def test_a_conditional_date_that_is_none_is_ignored(catalog: BotocoreCatalog) -> None:
    route, request = _route(catalog, "GET /b/k", b"", "s3", {"if-modified-since": "yesterday"})
    assert parse_request(route, request, b"") == {"Bucket": "b", "Key": "k"}


@pytest.mark.parametrize(
    ("form", "place"),
    [
        ("DurationSeconds=x", "DurationSeconds"),
        ("DurationSeconds=99999999999", "DurationSeconds"),
        ("DurationSeconds.a=1", "DurationSeconds"),
        ("Tags=x", "Tags"),
        ("Tags.member.x=1", "Tags"),
        ("Tags.member.1=x", "Tags[0]"),
        ("Tags.member.1.Key.b=x", "Tags[0].Key"),
        ("RoleArn=%FF", "UTF-8"),
        ("a" + ".b" * 200 + "=1", "nested"),
    ],
)
def test_query(catalog: BotocoreCatalog, form: str, place: str) -> None:
    body = f"Action=AssumeRole&Version=2011-06-15&{form}".encode()
    fault = _fault(catalog, "POST /", body, "sts")
    assert fault.code == "MalformedInput"
    assert place in fault.message


def test_query_lists_may_have_gaps_and_any_order(catalog: BotocoreCatalog) -> None:
    tags = "Tags.member.12.Key=c&Tags.member.2.Key=b&Tags.member.1.Key=a"
    body = f"Action=AssumeRole&Version=2011-06-15&RoleArn=r&RoleArn=second&{tags}&Unknown=1".encode()
    route, request = _route(catalog, "POST /", body, "sts", {})
    assert parse_request(route, request, body) == {
        "RoleArn": "r",
        "Tags": [{"Key": "a"}, {"Key": "b"}, {"Key": "c"}],
    }


def test_what_is_bound_to_the_path_cannot_come_from_the_body(catalog: BotocoreCatalog) -> None:
    body = b'{"FunctionName":"other","Qualifier":"1","Description":"x"}'
    route, request = _route(catalog, "PUT /2015-03-31/functions/mine/configuration", body, "lambda", {})
    assert parse_request(route, request, body) == {"FunctionName": "mine", "Description": "x"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (gzip.compress(b" " * (MAX_BYTES + 1), mtime=0), "RequestEntityTooLarge"),
        (b"no gzip", "SerializationException"),
        (gzip.compress(b"{}", mtime=0)[:-4], "SerializationException"),
    ],
)
def test_gzipped_bodies(catalog: BotocoreCatalog, body: bytes, code: str) -> None:
    headers = {"x-amz-target": "GraniteServiceVersion20100801.PutMetricData", "content-encoding": "gzip"}
    assert _fault(catalog, "POST /", body, "monitoring", headers).code == code


def test_aws_chunked_is_no_content_encoding(catalog: BotocoreCatalog) -> None:
    headers = {"content-length": "700", "x-amz-decoded-content-length": "500", "content-encoding": "aws-chunked,gzip"}
    route, request = _route(catalog, "PUT /b/k", b"", "s3", headers)
    assert parse_request(route, request, b"") == {
        "Bucket": "b",
        "Key": "k",
        "ContentLength": 500,
        "ContentEncoding": "gzip",
    }


def test_metadata_of_s3_is_decoded(catalog: BotocoreCatalog) -> None:
    headers = {
        "x-amz-meta-a": "plain",
        "x-amz-meta-b": "=?UTF-8?B?w6k=?=",
        "x-amz-meta-c": "é".encode().decode("latin-1"),
    }
    route, request = _route(catalog, "PUT /b/k", b"", "s3", headers)
    assert parse_request(route, request, b"")["Metadata"] == {"a": "plain", "b": "é", "c": "é"}
