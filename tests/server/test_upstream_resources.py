"""What a forwarded call that is signed anew needs: policies bite as AWS's users expect, or one more time than that."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from botocore.exceptions import ClientError

from opentrail.testing.local_endpoint import Key
from opentrail.testing.stub_upstream import StubConnection, run_stub_upstream
from opentrail.testing.upstream_trail import UpstreamTrail, run_upstream_trail

ACCOUNT = "{account}"


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpstreamTrail]:
    folder = tmp_path_factory.mktemp("resources")
    with run_stub_upstream() as stub, run_upstream_trail(folder, stub, signs=True) as found:
        yield found


@pytest.fixture(scope="module")
def alice(trail: UpstreamTrail) -> Key:
    return trail.new_user("alice")


def answer_anything(connection: StubConnection) -> None:
    """An answer that every protocol takes for an empty result."""
    while (request := connection.read()) is not None:
        kind = request.headers.get("content-type", "")
        if "json" in kind:
            connection.answer(200, b"{}", content_type=kind)
        else:
            connection.answer(200, b"<R/>" if "form" in kind else b"")


def _arn(service: str, resource: str) -> str:
    return f"arn:aws:{service}:us-east-1:{ACCOUNT}:{resource}"


def _statement(effect: str, action: str, *resources: str, **more: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": action, "Resource": list(resources) or "*", **more}


def _set_policy(trail: UpstreamTrail, *statements: dict[str, Any]) -> None:
    iam = trail.client("iam")
    account = iam.get_user(UserName="alice")["User"]["Arn"].split(":")[4]
    document = json.dumps({"Version": "2012-10-17", "Statement": statements}).replace(ACCOUNT, account)
    iam.put_user_policy(UserName="alice", PolicyName="p", PolicyDocument=document)


def _is_done(trail: UpstreamTrail, key: Key, service: str, call: Callable[[Any], Any]) -> bool:
    """Whether the upstream was asked to do it; else the caller was denied, and the record says so."""
    client = trail.client(service, key)
    trail.play(answer_anything)
    try:
        call(client)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if "Denied" not in code and code != "UnauthorizedOperation":
            raise
        assert trail.record()["errorCode"].removeprefix("Client.") in {code, code.removesuffix("Exception")}
        assert trail.stub.requests == []
        return False
    assert len(trail.stub.requests) == 1
    return True


class Denied(NamedTuple):
    """A call under "Allow all of the service" and a Deny of one resource; ``done``: the Deny speaks of another one."""

    service: str
    call: Callable[[Any], Any]
    resource: str
    done: bool


OTHER = "arn:aws:{}:us-east-1:" + "123456789012" + ":{}"
DENIED = [
    Denied("kinesis", lambda each: each.delete_stream(StreamARN=OTHER.format("kinesis", "stream/secret")),
           OTHER.format("kinesis", "stream/secret"), done=False),
    Denied("kinesis", lambda each: each.delete_stream(StreamARN=OTHER.format("kinesis", "stream/other")),
           OTHER.format("kinesis", "stream/secret"), done=True),
    Denied("kinesis", lambda each: each.delete_stream(StreamName="secret"), _arn("kinesis", "stream/sec*"), done=False),
    Denied("kms", lambda each: each.decrypt(CiphertextBlob=b"x", KeyId="alias/secret"), _arn("kms", "key/1"),
           done=False),
    Denied("kms", lambda each: each.decrypt(CiphertextBlob=b"x", KeyId="2"), _arn("kms", "key/1"), done=True),
    Denied("kms", lambda each: each.re_encrypt(CiphertextBlob=b"x", SourceKeyId="1", DestinationKeyId="2"),
           _arn("kms", "key/1"), done=False),
    Denied("kms", lambda each: each.list_keys(Marker="m"), _arn("kms", "key/1"), done=True),
    Denied("dynamodb", lambda each: each.batch_get_item(RequestItems={"t": {"Keys": [{"k": {"S": "v"}}]}}),
           _arn("dynamodb", "table/t"), done=False),
    Denied("dynamodb", lambda each: each.put_item(TableName="u", Item={"k": {"S": "t"}}), _arn("dynamodb", "table/t"),
           done=True),
    Denied("dynamodb", lambda each: each.transact_get_items(
        TransactItems=[{"Get": {"TableName": name, "Key": {"k": {"S": "v"}}}} for name in ("u", "t")]),
           _arn("dynamodb", "table/t"), done=False),
    Denied("ec2", lambda each: each.terminate_instances(InstanceIds=["i-0aaaaaaaa", "i-0bbbbbbbb"]),
           _arn("ec2", "instance/i-0bbbbbbbb"), done=False),
    Denied("ec2", lambda each: each.terminate_instances(InstanceIds=["i-0aaaaaaaa"]),
           _arn("ec2", "instance/i-0bbbbbbbb"), done=True),
    Denied("ec2", lambda each: each.describe_instances(InstanceIds=["i-0bbbbbbbb"]),
           _arn("ec2", "instance/i-0bbbbbbbb"), done=True),
    Denied("ec2", lambda each: each.run_instances(ImageId="ami-0aaaaaaaa", MinCount=1, MaxCount=1),
           _arn("ec2", "instance/*"), done=False),
    Denied("ec2", lambda each: each.delete_key_pair(KeyName="secret"), _arn("ec2", "key-pair/secret"), done=False),
    Denied("secretsmanager", lambda each: each.get_secret_value(SecretId="s"),
           _arn("secretsmanager", "secret:s-??????"), done=False),
    Denied("secretsmanager", lambda each: each.put_secret_value(
        SecretId=OTHER.format("secretsmanager", "secret:a-abcdef"), SecretString="x"),
           OTHER.format("secretsmanager", "secret:s-*"), done=True),
    Denied("ecs", lambda each: each.update_service(cluster=OTHER.format("ecs", "cluster/c"), service="web"),
           OTHER.format("ecs", "service/c/web"), done=False),
    Denied("logs", lambda each: each.delete_log_group(logGroupName="g"), _arn("logs", "log-group:g:*"), done=False),
    Denied("logs", lambda each: each.delete_log_group(logGroupName="h"), _arn("logs", "log-group:g:*"), done=True),
    Denied("secretsmanager", lambda each: each.get_secret_value(SecretId="s"), "arn:aws:s3:::bucket", done=True),
]  # fmt: skip


@pytest.mark.parametrize("case", DENIED, ids=lambda case: f"{case.service}-{case.done}")
def test_a_deny_of_a_resource_bites(trail: UpstreamTrail, alice: Key, case: Denied) -> None:
    service, call, resource, done = case
    _set_policy(trail, _statement("Allow", "*"), _statement("Deny", f"{service}:*", resource))
    assert _is_done(trail, alice, service, call) is done
    _set_policy(trail, _statement("Allow", "*"))
    assert _is_done(trail, alice, service, call)


def test_an_allow_of_a_resource_is_for_that_one(trail: UpstreamTrail, alice: Key) -> None:
    secret = OTHER.format("secretsmanager", "secret:a-abcdef")
    _set_policy(
        trail, _statement("Allow", "secretsmanager:*", secret), _statement("Allow", "ec2:*", _arn("ec2", "*/*1"))
    )
    assert _is_done(trail, alice, "secretsmanager", lambda each: each.get_secret_value(SecretId=secret))
    assert not _is_done(trail, alice, "secretsmanager", lambda each: each.get_secret_value(SecretId="a"))
    assert _is_done(trail, alice, "ec2", lambda each: each.terminate_instances(InstanceIds=["i-0aaaaaaa1"]))
    both = ["i-0aaaaaaa1", "i-0aaaaaaa2"]
    assert not _is_done(trail, alice, "ec2", lambda each: each.terminate_instances(InstanceIds=both))


B, K = "arn:aws:s3:::b", "arn:aws:s3:::b/{}"
GET_PREFIX = {"Condition": {"StringEquals": {"s3:prefix": "home/"}}}
TAGGED = {"Condition": {"StringEquals": {"s3:RequestObjectTag/level": "low"}}}
PUT = {"Bucket": "b", "Key": "k", "Body": b"x"}
COPY = {"Bucket": "b", "Key": "k", "CopySource": {"Bucket": "other", "Key": "secret"}}
S3 = [
    ("list within the prefix", [_statement("Allow", "s3:ListBucket", B, **GET_PREFIX)],
     lambda s3: s3.list_objects_v2(Bucket="b", Prefix="home/"), True),
    ("list elsewhere", [_statement("Allow", "s3:ListBucket", B, **GET_PREFIX)],
     lambda s3: s3.list_objects_v2(Bucket="b", Prefix="home"), False),
    ("list all", [_statement("Allow", "s3:ListBucket", B, **GET_PREFIX)],
     lambda s3: s3.list_objects(Bucket="b"), False),
    ("tagged", [_statement("Allow", "s3:PutObject*", K.format("*"), **TAGGED)],
     lambda s3: s3.put_object(Tagging="level=low", **PUT), True),
    ("tagged otherwise", [_statement("Allow", "s3:PutObject*", K.format("*"), **TAGGED)],
     lambda s3: s3.put_object(Tagging="level=high", **PUT), False),
    ("put", [_statement("Allow", "s3:PutObject", K.format("*"))], lambda s3: s3.put_object(**PUT), True),
    ("put with an ACL", [_statement("Allow", "s3:PutObject", K.format("*"))],
     lambda s3: s3.put_object(ACL="public-read", **PUT), False),
    ("put with a grant", [_statement("Allow", "s3:PutObject", K.format("*"))],
     lambda s3: s3.put_object(GrantRead="uri=x", **PUT), False),
    ("put with a hold", [_statement("Allow", "s3:PutObject", K.format("*"))],
     lambda s3: s3.put_object(ObjectLockLegalHoldStatus="ON", **PUT), False),
    ("bucket", [_statement("Allow", "s3:CreateBucket", B)],
     lambda s3: s3.create_bucket(Bucket="b", ACL="private"), True),
    ("public bucket", [_statement("Allow", "s3:CreateBucket", B)],
     lambda s3: s3.create_bucket(Bucket="b", ACL="public-read"), False),
    ("bypass", [_statement("Allow", "s3:DeleteObject", K.format("*"))],
     lambda s3: s3.delete_object(Bucket="b", Key="k", BypassGovernanceRetention=True), False),
    ("copy without the source", [_statement("Allow", "s3:PutObject", K.format("*"))],
     lambda s3: s3.copy_object(**COPY), False),
    ("copy without the target", [_statement("Allow", "s3:GetObject", "*")], lambda s3: s3.copy_object(**COPY), False),
    ("copy", [_statement("Allow", "s3:PutObject", K.format("*")), _statement("Allow", "s3:GetObject",
     "arn:aws:s3:::other/secret")], lambda s3: s3.copy_object(**COPY), True),
    ("part copy", [_statement("Allow", "s3:PutObject", K.format("*"))],
     lambda s3: s3.upload_part_copy(UploadId="u", PartNumber=1, **COPY), False),
    ("delete each", [_statement("Allow", "s3:DeleteObject", K.format("a/*"))],
     lambda s3: s3.delete_objects(Bucket="b", Delete={"Objects": [{"Key": "a/1"}, {"Key": "a/2"}]}), True),
    ("delete one too many", [_statement("Allow", "s3:DeleteObject", K.format("a/*"))],
     lambda s3: s3.delete_objects(Bucket="b", Delete={"Objects": [{"Key": "a/1"}, {"Key": "b"}]}), False),
    ("delete a version", [_statement("Allow", "s3:DeleteObject", K.format("a/*"))],
     lambda s3: s3.delete_objects(Bucket="b", Delete={"Objects": [{"Key": "a/1", "VersionId": "v"}]}), False),
    ("empty segments", [_statement("Allow", "s3:*"), _statement("Deny", "s3:*", K.format("secret/k"))],
     lambda s3: s3.get_object(Bucket="b", Key="/secret//k"), False),
    ("empty segments elsewhere", [_statement("Allow", "s3:*"), _statement("Deny", "s3:*", K.format("secret/k"))],
     lambda s3: s3.get_object(Bucket="b", Key="/public//k"), True),
]  # fmt: skip


@pytest.mark.parametrize(("statements", "call", "done"), [case[1:] for case in S3], ids=[case[0] for case in S3])
def test_s3_needs_what_it_needs_at_aws(
    trail: UpstreamTrail, alice: Key, statements: list[dict[str, Any]], call: Callable[[Any], Any], *, done: bool
) -> None:
    _set_policy(trail, *statements)
    assert _is_done(trail, alice, "s3", call) is done


class Raw(NamedTuple):
    """A request that boto3 would not make, and what it is answered with by policies that deny one thing."""

    name: str
    service: str
    method: str
    target: str
    status: int
    body: bytes = b""
    headers: dict[str, str] = {}  # noqa: RUF012  never changed


DELETE = b"<Delete><Object><Key>a<!-- -->b</Key></Object></Delete>"
RAW = [
    Raw("no bucket", "s3", "GET", "//b/secret", 400),
    Raw("nul", "s3", "GET", "/b/secret%00x", 400),
    Raw("backslashes", "s3", "GET", "/b/x%5C..%5Csecret", 400),
    Raw("unknown sub-resource", "s3", "GET", "/b?frobnicate", 403),
    Raw("sub-resource in another case", "s3", "GET", "/b?ACL", 403),
    Raw("custom parameter", "s3", "GET", "/b?x-caller=me", 200),
    Raw("sub-resources", "s3", "GET", "/b?acl&policy", 403),
    Raw("version in the source's key", "s3", "PUT", "/b/k", 400, b"",
        {"x_amz_copy_source": "b/secret%3FversionId=1"}),
    Raw("no source", "s3", "PUT", "/b/k", 400, b"", {"x_amz_copy_source": ""}),
    Raw("nothing to delete", "s3", "POST", "/b?delete", 400),
    Raw("comment", "s3", "POST", "/b?delete", 400, DELETE),
    Raw("key twice", "s3", "POST", "/b?delete", 400, DELETE.replace(b"<!-- -->", b"</Key><Key>")),
    Raw("form", "s3", "POST", "/b", 403, b"--x--\r\n", {"content_type": "multipart/form-data; boundary=x"}),
    Raw("unknown operation", "lambda", "GET", "/2099-01-01/x", 403),
    Raw("queue in the path", "sqs", "POST", "/1/secret", 403, b"{}",
        {"x_amz_target": "AmazonSQS.PurgeQueue", "content_type": "application/x-amz-json-1.0"}),
    Raw("form of older clients", "sqs", "POST", "/1/secret", 403, b"Action=PurgeQueue&Version=2012-11-05",
        {"content_type": "application/x-www-form-urlencoded"}),
]  # fmt: skip


@pytest.mark.parametrize("sent", RAW, ids=lambda sent: sent.name)
def test_what_an_upstream_could_understand_otherwise(
    trail: UpstreamTrail, alice: Key, sent: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied = (K.format("secret"), _arn("lambda", "function:f"), _arn("sqs", "secret"))
    _set_policy(trail, _statement("Allow", "*"), *(_statement("Deny", "*", each) for each in denied))
    monkeypatch.setattr(trail, "key", alice)
    trail.play(answer_anything)
    framing = [] if sent.method == "GET" else [f"content-length: {len(sent.body)}"]
    head = trail.signed_head(
        sent.method, sent.target, *framing, "connection: close", service=sent.service, body=sent.body, **sent.headers
    )
    answer = trail.ask(head + sent.body)
    assert answer.startswith(b"HTTP/1.1 %d " % sent.status) or (sent.service == "sqs" and b"AccessDenied" in answer), (
        answer
    )
    assert len(trail.stub.requests) == (sent.status == 200)
    assert trail.record().get("errorCode") is None or sent.status != 200
