"""Requests that two readers read in two ways are refused in both modes; what was authorised is what is done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from opentrail.testing.stub_upstream import answer_everything, run_stub_upstream
from opentrail.testing.upstream_trail import UpstreamTrail, run_upstream_trail

JSON = "application/x-amz-json-1.0"
FORM = "application/x-www-form-urlencoded"
URL = "http://x/1/q"


@pytest.fixture(scope="module", params=[False, True], ids=["pass-through", "re-sign"])
def trail(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpstreamTrail]:
    folder = tmp_path_factory.mktemp("ambiguity")
    with run_stub_upstream() as stub, run_upstream_trail(folder, stub, signs=request.param) as found:
        yield found


class Sent(NamedTuple):
    """A request and the code that refuses it ("": it is forwarded)."""

    name: str
    code: str
    service: str
    method: str
    target: str
    body: bytes = b""
    headers: dict[str, str] = {}  # noqa: RUF012  never changed


def _json(name: str, code: str, body: str, target: str = "DynamoDB_20120810.DeleteTable", **headers: str) -> Sent:
    given = {"x_amz_target": target, "content_type": JSON, **headers}
    return Sent(name, code, target.partition("_")[0].lower(), "POST", "/", body.encode(), given)


def _form(name: str, code: str, body: str, service: str = "sns", **headers: str) -> Sent:
    return Sent(name, code, service, "POST", "/", body.encode(), {"content_type": FORM, **headers})


def _s3(name: str, code: str, method: str, target: str, **headers: str) -> Sent:
    return Sent(name, code, "s3", method, target, b"", headers)


PUBLISH = "Version=2010-03-31&TopicArn=arn:aws:sns:us-east-1:1:a&Message=m"
SENT = [
    _json("key", "SerializationException", '{"TableName":"a","TableName":"b"}'),
    _json("escaped key", "SerializationException", '{"TableName":"a","Table\\u004eame":"b"}'),
    _json("deep key", "SerializationException", '{"TableName":"a","Tags":[{"Key":"a","Key":"b"}]}'),
    _json("key with a byte order mark", "SerializationException", '\ufeff{"TableName":"a","TableName":"b"}'),
    _json("key in another case", "SerializationException", '{"TableName":"a","tablename":"b"}'),
    _json("member in another case", "SerializationException", '{"tableName":"b"}'),
    _json("colons in texts", "", '{"TableName":"a:b\\":c","Tags":[{"Key":"::","Value":"{\\"a\\":1,\\"a\\":2}"}]}',
          "DynamoDB_20120810.CreateTable"),
    _json("two protocols", "InvalidRequest", '{"TableName":"a"}', smithy_protocol="rpc-v2-cbor"),
    _form("action", "MalformedInput", f"Action=ListTopics&Action=Publish&{PUBLISH}"),
    _form("encoded action", "MalformedInput", f"Action=ListTopics&%41ction=Publish&{PUBLISH}"),
    _form("parameter", "MalformedInput", f"Action=Publish&{PUBLISH}&TopicArn=arn:aws:sns:us-east-1:1:b"),
    _form("parameter in another case", "MalformedInput", f"Action=Publish&{PUBLISH}&topicarn=b"),
    _form("index", "MalformedInput", "Action=DeleteAlarms&Version=2010-08-01&AlarmNames.member.1=a"
          "&AlarmNames.member.01=b", "monitoring"),
    _form("ec2 parameter", "InvalidParameterValue", "Action=TerminateInstances&Version=2016-11-15&InstanceId.1=i-1"
          "&InstanceId.1=i-2", "ec2"),
    _form("form of a protocol that the model has no more", "SerializationException",
          f"Action=ListQueues&Version=2012-11-05&Action=DeleteQueue&QueueUrl={URL}", "sqs"),
    Sent("action in query and body", "InvalidArgument", "sns", "POST", "/?Action=ListTopics&Action=Publish",
         PUBLISH.encode(), {"content_type": FORM}),
    Sent("target of another protocol", "InvalidRequest", "lambda", "DELETE", "/2015-03-31/functions/f",
         headers={"x_amz_target": "foo.ListFunctions"}),
    Sent("protocol of another", "InvalidRequest", "lambda", "DELETE", "/2015-03-31/functions/f",
         headers={"smithy_protocol": "rpc-v2-cbor"}),
    Sent("payload of the user's", "", "lambda", "POST", "/2015-03-31/functions/f/invocations", b'{"a":1,"a":2}'),
    Sent("list in the query", "", "apigateway", "DELETE", "/tags/arn%3Aaws?tagKeys=a&tagKeys=b"),
    Sent("parameter of REST", "InvalidArgument", "lambda", "GET", "/2015-03-31/functions/f?Qualifier=1&Qualifier=2"),
    _s3("method", "InvalidRequest", "POST", "/bucket/k?uploads", x_http_method_override="DELETE"),
    _s3("path", "InvalidRequest", "GET", "/bucket/k", x_original_url="/bucket/secret"),
    _s3("version", "InvalidArgument", "GET", "/bucket/k?versionId=a&versionId=b"),
    _s3("sub-resource and action", "InvalidRequest", "GET", "/bucket?Action=ListBuckets"),
    _s3("target", "InvalidRequest", "GET", "/bucket/k", x_amz_target="DynamoDB_20120810.ListTables"),
]  # fmt: skip


@pytest.mark.parametrize("sent", SENT, ids=lambda sent: sent.name)
def test_what_can_be_read_in_two_ways_is_refused(trail: UpstreamTrail, sent: Sent) -> None:
    trail.play(answer_everything)
    framing = [] if sent.method in {"GET", "DELETE"} else [f"content-length: {len(sent.body)}"]
    head = trail.signed_head(
        sent.method, sent.target, *framing, "connection: close", service=sent.service, body=sent.body, **sent.headers
    )
    answer = trail.ask(head + sent.body)
    if not sent.code:
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        assert len(trail.stub.requests) == 1
        return
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert trail.stub.requests == []
    assert trail.record()["errorCode"].removeprefix("Client.") == sent.code
