"""Calls become the records that AWS would have written."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from opentrail.core.errors import ServiceFault
from opentrail.core.http import Headers, HttpRequest, Tls
from opentrail.core.identity import Identity, IdentityType, root_identity, service_identity
from opentrail.core.recording import MAX_EVENT_BYTES, Recipient, build_event, encode_record, format_java_date
from opentrail.core.recording.rules import RecordRules
from opentrail.core.wire.calls import ApiCall, Outcome
from opentrail.core.wire.model import Shape
from opentrail.server.catalog import BotocoreCatalog
from opentrail.server.recording_rules import load_rules

REPOSITORY = Path(__file__).resolve().parents[2]
RECORDS = REPOSITORY.parent / "shared" / "data" / "records"
NOW = datetime(2026, 3, 4, 5, 6, 7, 890000, UTC)
ACCOUNT = "123456789012"
CATALOG = BotocoreCatalog()
ALICE = Identity(
    type=IdentityType.IAM_USER,
    principal_id="AIDAEXAMPLE",
    arn=f"arn:aws:iam::{ACCOUNT}:user/alice",
    account_id=ACCOUNT,
    access_key_id="AKIAEXAMPLE",
    user_name="alice",
)


@pytest.fixture(scope="module")
def rules() -> RecordRules:
    return load_rules()


def make_call(
    service: str,
    operation: str,
    parameters: Mapping[str, Any],
    *,
    identity: Identity = ALICE,
    path: str = "/",
    query: str = "",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    tls: Tls | None = None,
) -> ApiCall:
    sent = {"host": "localhost:4577", "user-agent": "test/1.0", **(headers or {})}
    return ApiCall(
        operation=CATALOG.service(service).operations[operation],
        parameters=parameters,
        identity=identity,
        region="eu-central-1",
        now=NOW,
        event_id="00000000-0000-4000-8000-000000000001",
        request_id="00000000-0000-4000-8000-000000000002",
        request=HttpRequest(
            method="POST", path=path, query=query, headers=Headers(sent.items()), source_ip="192.0.2.7", tls=tls
        ),
        raw_body=body,
    )


def record_of(
    rules: RecordRules, call: ApiCall, outcome: Outcome | None = None, owner: str = ACCOUNT
) -> dict[str, Any]:
    recipient = Recipient(account_id=ACCOUNT, resource_account=owner)
    event = build_event(call, outcome or Outcome(result={}), rules, recipient)
    record: dict[str, Any] = json.loads(encode_record(event))
    return record


def test_the_whole_record_of_a_simple_call(rules: RecordRules) -> None:
    tls = Tls(version="TLSv1.3", cipher_suite="TLS_AES_128_GCM_SHA256")
    record = record_of(rules, make_call("iam", "CreateUser", {"UserName": "bob"}, tls=tls))
    assert list(record.items()) == [
        ("eventVersion", "1.11"),
        (
            "userIdentity",
            {
                "type": "IAMUser",
                "principalId": "AIDAEXAMPLE",
                "arn": f"arn:aws:iam::{ACCOUNT}:user/alice",
                "accountId": ACCOUNT,
                "accessKeyId": "AKIAEXAMPLE",
                "userName": "alice",
            },
        ),
        ("eventTime", "2026-03-04T05:06:07Z"),
        ("eventSource", "iam.amazonaws.com"),
        ("eventName", "CreateUser"),
        ("awsRegion", "us-east-1"),  # IAM is global
        ("sourceIPAddress", "192.0.2.7"),
        ("userAgent", "test/1.0"),
        ("requestParameters", {"userName": "bob"}),
        ("responseElements", None),
        ("requestID", "00000000-0000-4000-8000-000000000002"),
        ("eventID", "00000000-0000-4000-8000-000000000001"),
        ("readOnly", False),
        ("eventType", "AwsApiCall"),
        ("managementEvent", True),
        ("recipientAccountId", ACCOUNT),
        ("eventCategory", "Management"),
        (
            "tlsDetails",
            {
                "tlsVersion": "TLSv1.3",
                "cipherSuite": "TLS_AES_128_GCM_SHA256",
                "clientProvidedHostHeader": "localhost:4577",
            },
        ),
    ]


def test_an_answer_keeps_its_names_and_loses_its_secret(rules: RecordRules) -> None:
    key = {
        "UserName": "bob",
        "AccessKeyId": "AKIA1",
        "Status": "Active",
        "SecretAccessKey": "very-secret",
        "CreateDate": NOW,
    }
    record = record_of(
        rules, make_call("iam", "CreateAccessKey", {"UserName": "bob"}), Outcome(result={"AccessKey": key})
    )
    assert record["responseElements"] == {
        "accessKey": {
            "userName": "bob",
            "accessKeyId": "AKIA1",
            "status": "Active",
            "createDate": "Mar 4, 2026, 5:06:07 AM",
        }
    }
    assert "very-secret" not in json.dumps(record)


def test_a_hidden_value_stands_nowhere_else(rules: RecordRules) -> None:
    call = make_call(
        "iam",
        "CreateLoginProfile",
        {"UserName": "bob", "Password": "hunter2-hunter2"},
        headers={"user-agent": "curl password=hunter2-hunter2"},
    )
    fault = ServiceFault("PasswordPolicyViolation", "hunter2-hunter2 is too weak")
    text = json.dumps(record_of(rules, call, Outcome(fault=fault)))
    assert "hunter2" not in text
    assert "is too weak" in text


def test_reads_have_no_response_and_denials_no_parameters(rules: RecordRules) -> None:
    read = record_of(
        rules, make_call("iam", "GetUser", {"UserName": "bob"}), Outcome(result={"User": {"UserName": "bob"}})
    )
    assert (read["readOnly"], read["responseElements"], read["requestParameters"]) == (True, None, {"userName": "bob"})
    denied = Outcome(fault=ServiceFault("AccessDenied", "no", status=403))
    record = record_of(rules, make_call("iam", "GetUser", {"UserName": "bob"}), denied)
    assert (record["errorCode"], record["errorMessage"], record["requestParameters"]) == ("AccessDenied", "no", None)


@pytest.mark.parametrize(
    ("service", "operation", "code", "recorded"),
    [
        ("iam", "GetUser", "NoSuchEntity", "NoSuchEntityException"),
        ("cloudtrail", "DeleteTrail", "TrailNotFoundException", "TrailNotFoundException"),
        ("s3", "GetObject", "NoSuchKey", "NoSuchKey"),
        ("kms", "Decrypt", "AccessDeniedException", "AccessDenied"),
    ],
)
def test_error_codes_are_those_of_records(
    rules: RecordRules, service: str, operation: str, code: str, recorded: str
) -> None:
    record = record_of(rules, make_call(service, operation, {}), Outcome(fault=ServiceFault(code, "m")))
    assert record["errorCode"] == recorded


def test_an_s3_object_call_is_recorded_as_it_was_sent(rules: RecordRules) -> None:
    call = make_call(
        "s3",
        "PutObject",
        {"Bucket": "b", "Key": "a key/ü", "ACL": "bucket-owner-full-control"},
        path="/b/a%20key/%C3%BC",
        query="x-id=PutObject&X-Amz-Signature=abcd&X-Amz-Credential=AKIA&X-Amz-Expires=60",
        headers={
            "x-amz-acl": "bucket-owner-full-control",
            "x-amz-security-token": "token",
            "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
            "x-amz-server-side-encryption-customer-key": "c2VjcmV0LWtleQ==",
        },
    )
    outcome = Outcome(result={"ETag": '"e"', "VersionId": "v1"}, additional={"bytesTransferredIn": 3})
    record = record_of(rules, call, outcome, owner="999999999999")
    assert record["requestParameters"] == {
        "bucketName": "b",
        "Host": "localhost:4577",
        "key": "a key/ü",
        "x-id": "PutObject",
        "X-Amz-Expires": "60",
        "x-amz-acl": "bucket-owner-full-control",
    }
    assert record["responseElements"] == {"x-amz-version-id": "v1"}
    assert record["userAgent"] == "[test/1.0]"
    assert record["resources"] == [
        {"type": "AWS::S3::Object", "ARN": "arn:aws:s3:::b/a key/ü"},
        {"accountId": "999999999999", "type": "AWS::S3::Bucket", "ARN": "arn:aws:s3:::b"},
    ]
    assert (record["eventCategory"], record["managementEvent"], record["readOnly"]) == ("Data", False, False)
    assert record["additionalEventData"] == {"bytesTransferredIn": 3}


def test_a_caller_cannot_put_another_bucket_into_the_record(rules: RecordRules) -> None:
    call = make_call(
        "s3",
        "PutBucketTagging",
        {"Bucket": "real"},
        path="/real",
        query="tagging&bucketName=other&Host=elsewhere&key=secret",
        body=b"<bucketName>third</bucketName>",
    )
    parameters = record_of(rules, call)["requestParameters"]
    assert (parameters["bucketName"], parameters["Host"]) == ("real", "localhost:4577")
    assert "key" not in parameters


def test_s3_bodies_stand_under_their_root_with_json_types(rules: RecordRules) -> None:
    xml = (
        b'<Tagging xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><TagSet><Tag><Key>a</Key><Value>true</Value></Tag>'
        b"<Tag><Key>b</Key><Value>7</Value></Tag></TagSet></Tagging>"
    )
    call = make_call("s3", "PutBucketTagging", {"Bucket": "b"}, path="/b", query="tagging", body=xml)
    assert record_of(rules, call)["requestParameters"] == {
        "bucketName": "b",
        "Host": "localhost:4577",
        "tagging": "",
        "Tagging": {
            "xmlns": "http://s3.amazonaws.com/doc/2006-03-01/",
            "TagSet": {"Tag": [{"Key": "a", "Value": True}, {"Key": "b", "Value": 7}]},
        },
    }
    policy = make_call(
        "s3", "PutBucketPolicy", {"Bucket": "b"}, path="/b", query="policy", body=b'{"Version": "2012-10-17"}'
    )
    assert record_of(rules, policy)["requestParameters"]["bucketPolicy"] == {"Version": "2012-10-17"}


def test_a_services_own_call_names_the_service_everywhere(rules: RecordRules) -> None:
    call = make_call(
        "s3", "PutObject", {"Bucket": "b", "Key": "k"}, identity=service_identity("cloudtrail.amazonaws.com")
    )
    record = record_of(rules, call)
    assert record["userIdentity"] == {"type": "AWSService", "invokedBy": "cloudtrail.amazonaws.com"}
    assert record["sourceIPAddress"] == record["userAgent"] == "cloudtrail.amazonaws.com"
    assert "tlsDetails" not in record


def test_the_root_user_has_no_name(rules: RecordRules) -> None:
    record = record_of(rules, make_call("sts", "GetCallerIdentity", {}, identity=root_identity(ACCOUNT, "AKIAROOT")))
    assert record["userIdentity"] == {
        "type": "Root",
        "principalId": ACCOUNT,
        "arn": f"arn:aws:iam::{ACCOUNT}:root",
        "accountId": ACCOUNT,
        "accessKeyId": "AKIAROOT",
    }


def test_what_is_too_large_is_left_out(rules: RecordRules) -> None:
    record = record_of(rules, make_call("iam", "CreateUser", {"UserName": "x" * 200_000}))
    assert record["requestParameters"] is None
    long_agent = make_call("iam", "CreateUser", {"UserName": "b"}, headers={"user-agent": "ü" * 5000})
    assert record_of(rules, long_agent)["userAgent"] == "ü" * 512
    both = Outcome(result={"User": {"UserName": "y" * 99_000}}, additional={"note": "z" * 27_000})
    call = make_call("iam", "CreateUser", {"UserName": "x" * 99_000})
    event = build_event(call, both, rules, Recipient(account_id=ACCOUNT))
    assert len(encode_record(event)) <= MAX_EVENT_BYTES


def test_dates_have_their_own_form() -> None:
    assert format_java_date(datetime(2023, 7, 10, 0, 47, tzinfo=UTC)) == "Jul 10, 2023, 12:47:00 AM"
    assert format_java_date(datetime(2023, 7, 10, 12, 47, tzinfo=UTC)) == "Jul 10, 2023, 12:47:00 PM"


def _real_records() -> Iterator[dict[str, Any]]:
    sources = {"iam.amazonaws.com", "sts.amazonaws.com", "cloudtrail.amazonaws.com"}
    for path in sorted(RECORDS.glob("*.ndjson.gz")):
        for line in gzip.decompress(path.read_bytes()).splitlines():
            record = json.loads(line)
            if record.get("eventSource") in sources and record.get("eventType") == "AwsApiCall":
                yield record


def _as_sent(shape: Shape, value: Any) -> Any:
    """The parameters whose record is ``value``; raises ``KeyError`` where the model has no such member."""
    if shape.type == "structure":
        names = {name[:1].lower() + name[1:]: name for name in shape.members}
        return {names[key]: _as_sent(shape.members[names[key]], item) for key, item in value.items()}
    if shape.type == "list":
        return [_as_sent(shape.member, item) for item in value]
    return value


@pytest.mark.skipif(not RECORDS.is_dir(), reason="the shared records are not beside this checkout")
def test_real_requests_are_named_as_aws_named_them(rules: RecordRules) -> None:
    compared = 0
    for record in _real_records():
        service = record["eventSource"].split(".")[0]
        operation = CATALOG.service(service).operations.get(record["eventName"])
        if operation is None or operation.input is None or not record.get("requestParameters"):
            continue
        try:
            parameters = _as_sent(operation.input, record["requestParameters"])
        except KeyError:  # the console's own parameters, which no model has
            continue
        outcome = Outcome(result={}) if "errorCode" not in record else Outcome(fault=ServiceFault("Other", ""))
        made = record_of(rules, make_call(service, record["eventName"], parameters), outcome)
        assert made["requestParameters"] == record["requestParameters"]
        assert made["readOnly"] == record.get("readOnly", made["readOnly"])
        compared += 1
    assert compared > 100
