"""Every call whose caller is proven is in the journal exactly once, whatever came of it; nobody else's is.

In the words of all six protocols, for services that are here and for services that are not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError

from opentrail.core.errors import StorageError
from opentrail.core.http import Tls
from opentrail.journal.base import EntryKind

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/x-amz-json-1.1"}
CBOR = {"Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor", "Accept": "application/cbor"}
TARGET = "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101."


@dataclass(frozen=True, kw_only=True)
class Case:
    """One request and what its answer and its record say."""

    service: str
    method: str = "POST"
    target: str = "/"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    status: int = 200
    name: str
    error: str = ""


def query(service: str, name: str, body: bytes, status: int = 200, error: str = "") -> Case:
    """A form: the query protocol and EC2's."""
    return Case(service=service, headers=FORM, body=body, status=status, name=name, error=error)


def json_call(target: str, body: bytes, status: int = 200, error: str = "") -> Case:
    """A call of CloudTrail or, by its whole target, of another service in JSON."""
    service = "cloudtrail" if target.startswith(TARGET) else target.partition("_")[0].lower()
    headers = JSON | {"X-Amz-Target": target}
    name = target.rpartition(".")[2]
    return Case(service=service, headers=headers, body=body, status=status, name=name, error=error)


def rest(service: str, request: str, name: str, status: int = 200, error: str = "", **more: Any) -> Case:
    """A call whose method and path, ``request``, say what it is."""
    method, target = request.split()
    return Case(service=service, method=method, target=target, status=status, name=name, error=error, **more)


def cbor(name: str, body: bytes, status: int, error: str) -> Case:
    """A call of CloudWatch in CBOR."""
    target = f"/service/GraniteServiceVersion20100801/operation/{name}"
    return rest("monitoring", f"POST {target}", name, status, error, headers=CBOR, body=body)


CASES = {
    "query: good": query("sts", "GetCallerIdentity", b"Action=GetCallerIdentity&Version=2011-06-15"),
    "query: fails in the service": query(
        "iam", "GetUser", b"Action=GetUser&Version=2010-05-08&UserName=nobody", 404, "NoSuchEntityException"
    ),
    "query: fails the model": query(
        "iam", "CreateUser", b"Action=CreateUser&Version=2010-05-08&UserName=a+b", 400, "ValidationError"
    ),
    "query: not implemented": query(
        "iam", "ListSAMLProviders", b"Action=ListSAMLProviders&Version=2010-05-08", 501, "NotImplemented"
    ),
    "query: unknown operation": query("sts", "Dance", b"Action=Dance&Version=2011-06-15", 400, "InvalidAction"),
    "query: no operation": query("sts", "UnknownOperation", b"a=b", 400, "MissingAction"),
    "query: not UTF-8": query(
        "iam", "CreateUser", b"Action=CreateUser&Version=2010-05-08&UserName=\xff", 400, "MalformedInput"
    ),
    "query: in the address": rest("sts", "GET /?Action=GetCallerIdentity&Version=2011-06-15", "GetCallerIdentity"),
    "ec2: not implemented": query(
        "ec2",
        "DescribeInstances",
        b"Action=DescribeInstances&Version=2016-11-15&InstanceId.1=i-0123456789abcdef0",
        501,
        "Server.NotImplemented",
    ),
    "ec2: malformed": query(
        "ec2",
        "RunInstances",
        b"Action=RunInstances&Version=2016-11-15&MinCount=many&MaxCount=1",
        400,
        "Client.InvalidParameterValue",
    ),
    "ec2: unknown operation": query("ec2", "Dance", b"Action=Dance&Version=2016-11-15", 400, "Client.InvalidAction"),
    "json: good": json_call(TARGET + "ListTrails", b"{}"),
    "json: fails in the service": json_call(TARGET + "GetTrail", b'{"Name": "a"}', 400, "InvalidTrailNameException"),
    "json: a parameter is missing": json_call(TARGET + "GetTrail", b"{}", 400, "ValidationException"),
    "json: not implemented": json_call("DynamoDB_20120810.ListTables", b"{}", 400, "UnknownOperationException"),
    "json: unknown operation": json_call(TARGET + "Dance", b"{}", 400, "UnknownOperationException"),
    "json: no JSON": json_call(TARGET + "ListTrails", b"{", 400, "SerializationException"),
    "json: nested too deep": json_call(
        TARGET + "ListTrails", b'{"x":' * 5000 + b"1" + b"}" * 5000, 400, "SerializationException"
    ),
    "json: of another type": json_call(
        TARGET + "DescribeTrails", b'{"trailNameList": {"a": 1}}', 400, "SerializationException"
    ),
    "rest-json: not implemented": rest(
        "lambda", "GET /2015-03-31/functions/", "ListFunctions20150331", 501, "NotImplemented"
    ),
    "rest-json: malformed": rest(
        "lambda", "POST /2015-03-31/functions", "CreateFunction20150331", 400, "SerializationException", body=b"["
    ),
    "rest-json: unknown operation": rest(
        "lambda", "POST /nowhere", "UnknownOperation", 404, "UnknownOperationException"
    ),
    "rest-xml: not implemented": rest(
        "route53", "GET /2013-04-01/hostedzone", "ListHostedZones", 501, "NotImplemented"
    ),
    "rest-xml: malformed": rest(
        "route53", "POST /2013-04-01/hostedzone", "CreateHostedZone", 400, "MalformedInput", body=b"<a"
    ),
    "s3: good": rest("s3", "GET /", "ListBuckets"),
    "s3: fails in the service": rest("s3", "GET /no-such-bucket/key", "GetObject", 404, "NoSuchBucket"),
    "s3: not implemented": rest("s3", "GET /no-such-bucket?website", "GetBucketWebsite", 501, "NotImplemented"),
    "s3: malformed": rest("s3", "POST /no-such-bucket?delete", "DeleteObjects", 400, "MalformedXML", body=b"<Delete>"),
    "s3: another method": rest("s3", "PATCH /no-such-bucket/key", "UnknownOperation", 405, "MethodNotAllowed"),
    "s3: a checksum that is wrong": rest(
        "s3",
        "PUT /no-such-bucket/key",
        "PutObject",
        400,
        "BadDigest",
        headers={"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="},
        body=b"body",
    ),
    "cbor: not implemented": cbor("ListMetrics", b"\xa0", 400, "UnknownOperationException"),
    "cbor: malformed": cbor("ListMetrics", b"\xff", 400, "SerializationException"),
    "cbor: unknown operation": cbor("Dance", b"\xa0", 400, "UnknownOperationException"),
    "a service that nobody knows": rest(
        "no-such-service", "POST /anything", "UnknownOperation", 404, "UnknownOperationException", body=b"x"
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_call_is_recorded_once_whatever_comes_of_it(name: str, local: Any) -> None:
    case = CASES[name]
    request = local.sign(
        case.method,
        case.target,
        service=case.service,
        region="eu-central-1",
        headers={**case.headers, "User-Agent": "the tests"},
        body=case.body,
    )
    status, headers, body = local.request(request)
    assert status == case.status, body
    (entry,) = local.entries()
    assert entry.kind is EntryKind.EVENT
    record = json.loads(bytes(entry.payload))
    assert (record["eventSource"], record["eventName"]) == (f"{case.service}.amazonaws.com", case.name)
    assert record.get("errorCode", "") == case.error
    assert record["userIdentity"]["type"] == "Root"
    assert record["userIdentity"]["accessKeyId"] == local.key.id
    assert record["recipientAccountId"] == local.runtime.account_id
    assert record["sourceIPAddress"] == "127.0.0.1"
    assert "the tests" in record["userAgent"]
    assert record["awsRegion"] in {"eu-central-1", "us-east-1"}
    assert record["requestID"] in {value for name, value in headers if "request" in name and "id" in name}
    if case.error:
        assert record["responseElements"] is None
        assert record["errorMessage"]


def test_a_write_leaves_an_intent_and_an_event_of_one_id(local: Any) -> None:
    local.client("iam").create_user(UserName="alice")
    intent, event = local.entries()
    assert (intent.kind, event.kind) == (EntryKind.INTENT, EntryKind.EVENT)
    assert intent.event_id == event.event_id
    record = json.loads(bytes(event.payload))
    assert record["responseElements"]["user"]["userName"] == "alice"
    assert json.loads(bytes(intent.payload))["responseElements"] is None


def test_a_denied_call_is_recorded_and_not_carried_out(local: Any) -> None:
    alice = local.new_user("alice")
    before = len(local.records())
    for service, call in (("iam", "create_user"), ("s3", "create_bucket"), ("cloudtrail", "create_trail")):
        client = local.client(service, alice)
        parameters: dict[str, Any] = {
            "create_user": {"UserName": "eve"},
            "create_bucket": {"Bucket": "eves-bucket"},
            "create_trail": {"Name": "trail", "S3BucketName": "eves-bucket"},
        }[call]
        with pytest.raises(ClientError, match="AccessDenied"):
            getattr(client, call)(**parameters)
    denied = local.records()[before:]
    assert [record["errorCode"] for record in denied] == ["AccessDenied"] * 3
    assert all(record["userIdentity"]["userName"] == "alice" for record in denied)
    assert all("no identity-based policy allows" in record["errorMessage"] for record in denied)
    kinds = [entry.kind for entry in local.entries()][-3:]
    assert kinds == [EntryKind.EVENT] * 3, "what is denied leaves no intent"


def forged(local: Any, **changes: Any) -> Any:
    return type(local.key)(id=changes.get("id", local.key.id), secret=changes.get("secret", local.key.secret))


def _stranger(local: Any) -> Any:
    return local.sign("GET", "/", service="s3", key=forged(local, id="AKIA" + "X" * 16))


def _wrong_secret(local: Any) -> Any:
    return local.sign("GET", "/", service="s3", key=forged(local, secret="wrong"))


def _tampered(local: Any) -> Any:
    request = local.sign("POST", "/", service="sts", headers=FORM, body=b"Action=GetCallerIdentity&Version=2011-06-15")
    request.body = b"Action=GetSessionToken&Version=2011-06-15"
    return request


def _other_service(local: Any) -> Any:
    return local.sign("POST", "/", service="sts", headers=FORM, body=b"Action=CreateUser&Version=2010-05-08")


def _unsigned(_local: Any) -> Any:
    from botocore.awsrequest import AWSRequest

    return AWSRequest("POST", "http://127.0.0.1/", headers=FORM, data=b"Action=GetCallerIdentity").prepare()


def _anonymous(_local: Any) -> Any:
    from botocore.awsrequest import AWSRequest

    return AWSRequest("GET", "http://127.0.0.1/").prepare()


@pytest.mark.parametrize("make", [_stranger, _wrong_secret, _tampered, _unsigned, _anonymous])
def test_a_call_of_nobody_is_counted_and_not_recorded(make: Callable[[Any], Any], local: Any) -> None:
    status, _, _ = local.request(make(local))
    assert 400 <= status < 500
    assert local.entries() == []
    _, data = local.runtime.door.metrics.render()
    anonymous = make is _anonymous  # S3's anonymous caller is a caller, only nobody's trail holds it
    assert (b"opentrail_unauthenticated_calls_total{" in data) is not anonymous


def test_an_inactive_key_is_nobodys(local: Any) -> None:
    alice = local.new_user("alice")
    local.client("sts", alice).get_caller_identity()
    local.client("iam").update_access_key(UserName="alice", AccessKeyId=alice.id, Status="Inactive")
    before = local.records()
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        local.client("sts", alice).get_caller_identity()
    assert local.records() == before


def test_a_public_object_is_recorded_in_its_owners_account(local: Any) -> None:
    s3 = local.client("s3")
    s3.create_bucket(Bucket="public")
    s3.put_object(Bucket="public", Key="k", Body=b"v")
    before = len(local.records())
    status, _, _ = local.send("GET", "/public/k", [(b"host", b"127.0.0.1")])
    assert status == 403
    s3.put_public_access_block(
        Bucket="public",
        PublicAccessBlockConfiguration={"BlockPublicPolicy": False, "RestrictPublicBuckets": False},
    )
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::public/*"}
    s3.put_bucket_policy(Bucket="public", Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    status, _, body = local.send("GET", "/public/k", [(b"host", b"127.0.0.1")])
    assert (status, body) == (200, b"v")
    refused, *_, allowed = local.records()[before:]
    for record in (refused, allowed):
        assert record["userIdentity"]["accountId"] == "anonymous"
        assert record["recipientAccountId"] == local.runtime.account_id
    assert (refused.get("errorCode"), allowed.get("errorCode")) == ("AccessDenied", None)


def _raises(error: Exception) -> Callable[..., Any]:
    def handler(*_arguments: Any) -> Any:
        raise error

    return handler


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ValueError("our own mistake"), 500, "InternalError"),
        (StorageError("the disk is gone", retryable=False), 500, "InternalError"),
        (StorageError("try again", retryable=True), 503, "ServiceUnavailable"),
    ],
)
@pytest.mark.parametrize("where", ["handler", "permissions"])
def test_what_nobody_foresaw_costs_one_call_and_is_recorded(
    error: Exception, status: int, code: str, where: str, local: Any
) -> None:
    from dataclasses import replace

    service = local.runtime.door.services["iam"]
    broken = replace(service.operations["GetUser"], **{where: _raises(error)})
    local.runtime.door.services["iam"] = replace(service, operations={**service.operations, "GetUser": broken})
    with pytest.raises(ClientError) as caught:
        local.client("iam").get_user()
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert caught.value.response["Error"]["Code"] == code
    assert str(error) not in str(caught.value)
    (record,) = local.records()
    assert record["errorCode"] == code
    local.client("sts").get_caller_identity()


def test_a_result_that_cannot_be_written_is_an_error_that_is_recorded(local: Any) -> None:
    from dataclasses import replace

    service = local.runtime.door.services["iam"]
    broken = replace(service.operations["GetUser"], handler=lambda _call, _deps: {"User": {"NoSuchMember": 1}})
    local.runtime.door.services["iam"] = replace(service, operations={**service.operations, "GetUser": broken})
    with pytest.raises(ClientError, match="InternalError"):
        local.client("iam").get_user()
    assert [record["errorCode"] for record in local.records()] == ["InternalError"]


def test_the_record_of_a_huge_request_keeps_to_its_size(local: Any) -> None:
    document = json.dumps({"Version": "2012-10-17", "Statement": [], "Id": "x" * 120_000})
    local.client("iam").create_user(UserName="alice")
    with pytest.raises(ClientError):
        local.client("iam").put_user_policy(UserName="alice", PolicyName="p", PolicyDocument=document)
    record = local.records()[-1]
    assert (record["eventName"], record["requestParameters"]) == ("PutUserPolicy", None)
    host = b"h" * 30_000
    for tls in (None, Tls(version="TLSv1.3", cipher_suite="TLS_AES_128_GCM_SHA256")):
        request = local.key.sign("GET", f"http://{host.decode()}/", service="s3")
        headers = [(name.encode(), value.encode()) for name, value in request.headers.items()]
        status, _, _ = local.send("GET", "/", [(b"host", host), *headers], tls=tls)
        assert status == 200
    assert len(bytes(local.entries()[-1].payload)) < 256 << 10
    assert len(local.records()[-1]["tlsDetails"]["clientProvidedHostHeader"]) == 1024


def test_a_presigned_url_is_recorded_without_what_signs_it(local: Any) -> None:
    s3 = local.client("s3")
    s3.create_bucket(Bucket="bucket")
    url = s3.generate_presigned_url("put_object", Params={"Bucket": "bucket", "Key": "k"}, ExpiresIn=60)
    target = url.partition("4577")[2]
    assert local.send("PUT", target, [(b"host", b"127.0.0.1:4577"), (b"content-length", b"1")], b"x")[0] == 200
    record = local.records()[-1]
    assert record["additionalEventData"]["AuthenticationMethod"] == "QueryString"
    assert "Signature" not in json.dumps(record["requestParameters"])
