"""Calls of S3 and S3 Control become records as they were sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opentrail.core.errors import ServiceFault
from opentrail.core.events import Event
from opentrail.core.http import Headers, HttpRequest
from opentrail.core.recording import MAX_EVENT_BYTES, encode_record
from opentrail.core.wire.calls import Outcome, WireAnswer
from opentrail.server.catalog import BotocoreCatalog
from opentrail.server.recording_rules import load_rules
from opentrail.testing.rebuild_s3 import rebuild_s3
from opentrail.testing.recorded_calls import CallRecorder

RECORDER = CallRecorder(catalog=BotocoreCatalog(), rules=load_rules())
VIRTUAL = "docs.s3.eu-central-1.amazonaws.com"
XMLNS = "http://s3.amazonaws.com/doc/2006-03-01/"


def record_of(
    operation: str,
    *,
    method: str = "PUT",
    path: str = "/",
    query: str = "",
    headers: Mapping[str, str] | None = None,
    body: str = "",
    parameters: Mapping[str, Any] | None = None,
    outcome: Outcome | None = None,
    service: str = "s3",
) -> dict[str, Any]:
    sent = {"host": VIRTUAL, **(headers or {})}
    return RECORDER.record(
        service,
        operation,
        request=HttpRequest(method=method, path=path, query=query, headers=Headers(sent.items())),
        body=body.encode(),
        parameters={"Bucket": "docs"} if parameters is None else parameters,
        outcome=outcome,
    )


def test_a_sub_resource_is_an_empty_text() -> None:
    named = record_of("GetBucketPolicyStatus", method="GET", query="policyStatus")["requestParameters"]
    assert named == {"bucketName": "docs", "Host": VIRTUAL, "policyStatus": ""}


def test_a_query_is_told_by_its_raw_names_as_text() -> None:
    query = "list-type=2&max-keys=7&prefix=a%2Fb&delimiter=&x-id=ListObjectsV2"
    record = record_of("ListObjectsV2", method="GET", query=query)
    assert record["eventName"] == "ListObjects"
    assert record["requestParameters"] == {
        "bucketName": "docs",
        "Host": VIRTUAL,
        "list-type": "2",
        "max-keys": "7",
        "prefix": "a/b",
        "delimiter": "",
        "x-id": "ListObjectsV2",
    }


def test_headers_that_shape_the_call_are_told_and_those_that_carry_it_are_not() -> None:
    headers = {
        "x-amz-acl": "private",
        "x-amz-storage-class": "STANDARD_IA",
        "x-amz-server-side-encryption-aws-kms-key-id": "arn:aws:kms:key",
        "x-amz-tagging": "a=b",
        "x-amz-date": "20260304T050607Z",
        "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
        "x-amz-meta-note": "mine",
        "x-amz-sdk-checksum-algorithm": "CRC32",
        "x-amz-checksum-crc32": "AAAAAA==",
        "content-md5": "x",
    }
    record = record_of("PutObject", path="/a%20b", headers=headers, parameters={"Bucket": "docs", "Key": "a b"})
    assert record["requestParameters"] == {
        "bucketName": "docs",
        "Host": VIRTUAL,
        "key": "a b",
        "x-amz-acl": "private",
        "x-amz-storage-class": "STANDARD_IA",
        "x-amz-server-side-encryption-aws-kms-key-id": "arn:aws:kms:key",
        "x-amz-tagging": "a=b",
    }
    assert [each["ARN"] for each in record["resources"]] == ["arn:aws:s3:::docs/a b", "arn:aws:s3:::docs"]


def test_a_presigned_call_tells_how_it_was_signed_but_not_the_signature() -> None:
    query = (
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIASECRET%2F20260304&X-Amz-Date=20260304T050607Z"
        "&X-Amz-Expires=300&X-Amz-SignedHeaders=host&X-Amz-Security-Token=tokensecret&X-Amz-Signature=signsecret"
    )
    record = record_of("GetObject", method="GET", query=query, parameters={"Bucket": "docs", "Key": "k"})
    assert record["requestParameters"] == {
        "bucketName": "docs",
        "Host": VIRTUAL,
        "key": "k",
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Date": "20260304T050607Z",
        "X-Amz-Expires": "300",
        "X-Amz-SignedHeaders": "host",
    }
    assert "secret" not in json.dumps(record).lower()


@pytest.mark.parametrize(
    ("operation", "query", "body", "added"),
    [
        (
            "PutBucketTagging",
            "tagging",
            f'<Tagging xmlns="{XMLNS}"><TagSet><Tag><Key>a</Key><Value>true</Value></Tag></TagSet></Tagging>',
            {"tagging": "", "Tagging": {"xmlns": XMLNS, "TagSet": {"Tag": {"Key": "a", "Value": True}}}},
        ),
        (
            "PutBucketVersioning",
            "versioning",
            "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
            {"versioning": "", "VersioningConfiguration": {"Status": "Enabled"}},
        ),
        (
            "PutBucketAcl",
            "acl",
            '<Acl><Grantee xmlns:xsi="u:x" xsi:type="Group"><URI>u:g</URI></Grantee></Acl>',
            {"acl": "", "Acl": {"Grantee": {"xmlns:xsi": "u:x", "xsi:type": "Group", "URI": "u:g"}}},
        ),
        (
            "PutBucketCors",
            "cors",
            "<CORSConfiguration><CORSRule><Age>7</Age><Method>GET</Method><Method>PUT</Method></CORSRule></CORSConfiguration>",
            {"cors": "", "CORSConfiguration": {"CORSRule": {"Age": 7, "Method": ["GET", "PUT"]}}},
        ),
        (
            "PutBucketPolicy",
            "policy",
            '{"Version":"2012-10-17"}',
            {"policy": "", "bucketPolicy": {"Version": "2012-10-17"}},
        ),
        ("PutBucketPolicy", "policy", "no JSON", {"policy": ""}),
        ("PutBucketLogging", "logging", "<BucketLoggingStatus", {"logging": ""}),
        ("DeleteObjects", "delete", "<Delete><Object><Key>k</Key></Object></Delete>", {"delete": ""}),
    ],
)
def test_documents_stand_under_their_roots(operation: str, query: str, body: str, added: dict[str, Any]) -> None:
    named = record_of(operation, query=query, body=body)["requestParameters"]
    assert named == {"bucketName": "docs", "Host": VIRTUAL, **added}


def test_no_parameter_stands_in_the_place_of_bucket_key_or_host() -> None:
    body = "<Host>elsewhere</Host>"
    named = record_of("PutBucketTagging", query="bucketName=other&key=other&tagging", body=body)["requestParameters"]
    assert named == {"bucketName": "docs", "Host": VIRTUAL, "tagging": ""}


@pytest.mark.parametrize(
    "header",
    [
        "x-amz-server-side-encryption-customer-key",
        "x-amz-copy-source-server-side-encryption-customer-key",
        "x-amz-security-token",
        "x-amz-s3session-token",
        "x-amz-server-side-encryption-context",
        "x-amz-mfa",
    ],
)
def test_secrets_in_headers_are_in_no_place_of_the_record(header: str) -> None:
    secret = "V2hhdCBub2JvZHkga25vd3M="
    record = record_of("PutObject", headers={header: secret, "x-amz-acl": f"{secret}!", "user-agent": secret})
    assert secret not in json.dumps(record)
    assert header not in record["requestParameters"]


def test_an_object_writes_answer_tells_its_headers() -> None:
    headers = {
        "x-amz-version-id": "3",
        "x-amz-server-side-encryption": "AES256",
        "x-amz-server-side-encryption-bucket-key-enabled": "true",
        "x-amz-checksum-crc32": "AAAAAA==",
        "x-amz-request-id": "R",
        "x-amz-id-2": "I",
        "etag": "e",
    }
    answer = WireAnswer(status=200, headers=Headers(headers.items()))
    forwarded = record_of("PutObject", outcome=Outcome(result={}, answer=answer))
    own = record_of("PutObject", outcome=Outcome(result={"VersionId": "3", "BucketKeyEnabled": True, "ETag": "e"}))
    told = {"x-amz-version-id": "3", "x-amz-server-side-encryption-bucket-key-enabled": "true"}
    assert forwarded["responseElements"] == {**told, "x-amz-server-side-encryption": "AES256"}
    assert own["responseElements"] == told


def test_bucket_operations_and_reads_tell_no_response() -> None:
    assert record_of("CreateBucket", outcome=Outcome(result={"Location": "/docs"}))["responseElements"] is None
    assert record_of("GetObject", method="GET", outcome=Outcome(result={"VersionId": "3"}))["responseElements"] is None


def test_a_denied_call_keeps_its_parameters_and_its_code() -> None:
    outcome = Outcome(fault=ServiceFault("AccessDenied", "Access Denied", status=403))
    record = record_of("GetBucketAcl", method="GET", query="acl", outcome=outcome)
    assert record["errorCode"] == "AccessDenied"
    assert record["requestParameters"] == {"bucketName": "docs", "Host": VIRTUAL, "acl": ""}


@pytest.mark.parametrize(
    ("host", "path", "bucket", "key"),
    [
        (VIRTUAL, "/a/b%20c", "docs", "a/b c"),
        ("docs.localhost:4577", "/a", "docs", "a"),
        ("localhost:4577", "/docs/a/b", "docs", "a/b"),
        ("localhost:4577", "/docs", "docs", None),
    ],
)
def test_a_call_that_did_not_parse_tells_bucket_and_key_by_its_host_and_path(
    host: str, path: str, bucket: str, key: str | None
) -> None:
    named = record_of("PutObject", path=path, headers={"host": host}, parameters={})["requestParameters"]
    assert (named["bucketName"], named.get("key"), named["Host"]) == (bucket, key, host)


def test_s3_control_tells_its_host_and_query_alone() -> None:
    host = "123456789012.s3-control.us-east-1.amazonaws.com"
    record = record_of(
        "ListAccessPoints",
        service="s3control",
        method="GET",
        path="/v20180820/accesspoint",
        query="bucket=docs&maxResults=1",
        headers={"host": host, "x-amz-account-id": "123456789012"},
        parameters={"AccountId": "123456789012", "Bucket": "docs", "MaxResults": 1},
    )
    assert record["eventSource"] == "s3.amazonaws.com"
    assert record["requestParameters"] == {"Host": host, "bucket": "docs", "maxResults": "1"}


def test_a_rebuilt_call_goes_the_way_that_the_record_tells() -> None:
    service = RECORDER.catalog.service("s3")
    named = {"bucketName": "docs", "key": "a b", "x-amz-acl": "private", "versionId": "3"}
    record = {"eventName": "PutObjectAcl", "requestParameters": {**named, "Host": VIRTUAL, "acl": ""}}
    call = rebuild_s3(record, service, RECORDER.rules)
    assert call is not None
    assert (call.method, call.path, call.query) == ("PUT", "/a%20b", "acl=&versionId=3")
    assert call.headers == (("host", VIRTUAL), ("x-amz-acl", "private"))
    record = {"eventName": "ListObjects", "requestParameters": {**named, "Host": "s3.example", "list-type": "2"}}
    call = rebuild_s3(record, service, RECORDER.rules)
    assert call is not None
    assert (call.operation, call.path) == ("ListObjectsV2", "/docs")
    assert rebuild_s3({"eventName": "NoSuchOperation"}, service, RECORDER.rules) is None


@settings(max_examples=80, deadline=None)
@given(
    operation=st.sampled_from(["PutBucketTagging", "PutBucketPolicy", "PutObject", "CompleteMultipartUpload"]),
    query=st.text(alphabet="abc&=%+;ÿ\0", max_size=40),
    headers=st.dictionaries(st.sampled_from(["x-amz-acl", "x-amz-", "x-amz-mfa", "host"]), st.text(max_size=9)),
    body=st.text(alphabet="<a>/b&\"'= 1{}:", max_size=60),
)
def test_any_request_has_a_record(operation: str, query: str, headers: dict[str, str], body: str) -> None:
    record = record_of(operation, query=query, headers=headers, body=body)
    assert len(encode_record(Event(record=record))) <= MAX_EVENT_BYTES
