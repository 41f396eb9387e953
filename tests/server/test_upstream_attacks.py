"""What an attacker sends to be taken for one thing here and for another by the upstream, or to forge a record."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError

from opentrail.testing.local_endpoint import Key
from opentrail.testing.stub_upstream import StubConnection, answer_everything, run_stub_upstream
from opentrail.testing.upstream_trail import UPSTREAM_KEY, UpstreamTrail, run_upstream_trail


@pytest.fixture(scope="module", params=[False, True], ids=["pass-through", "re-sign"])
def trail(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpstreamTrail]:
    folder = tmp_path_factory.mktemp("attacks")
    with run_stub_upstream() as stub, run_upstream_trail(folder, stub, signs=request.param) as found:
        yield found


@pytest.fixture(scope="module")
def signing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpstreamTrail]:
    folder = tmp_path_factory.mktemp("signing")
    with run_stub_upstream() as stub, run_upstream_trail(folder, stub, signs=True) as found:
        yield found


def send(trail: UpstreamTrail, data: bytes) -> bytes:
    """All that comes back for ``data``."""
    with trail.connect() as connection:
        connection.sendall(data)
        answer = b""
        try:
            while part := connection.recv(1 << 16):
                answer += part
        except ConnectionResetError:
            pass
    return answer


INNER = b"DELETE /bucket/victim HTTP/1.1\r\nhost: x\r\n\r\n"
FRAMINGS = [
    [f"content-length: {len(INNER)}", "content-length: 0"],
    ["content-length: 0", f"content-length: {len(INNER)}"],
    [f"content-length: {len(INNER)}", "transfer-encoding: chunked"],
    ["transfer-encoding: chunked", f"content-length: {len(INNER)}"],
    ["transfer-encoding: identity", f"content-length: {len(INNER)}"],
    ["transfer-encoding: chunked, identity"],
    ["transfer-encoding:\x0bchunked", "content-length: 0"],
    ["transfer-encoding : chunked", "content-length: 0"],
    ["transfer-encoding: chunked", "transfer-encoding: identity"],
    ["x-pad: a\r\n transfer-encoding: chunked", "content-length: 0"],
    [f"content-length: +{len(INNER)}"],
    ["content-length: 0x10"],
    ["x-pad: a\rtransfer-encoding: chunked", "content-length: 0"],
    ["x-pad: a\x00b", "content-length: 0"],
    ["connection: close, content-length", f"content-length: {len(INNER)}"],
]


@pytest.mark.parametrize("lines", FRAMINGS, ids=lambda lines: repr(lines)[:60])
def test_no_second_request_is_smuggled(trail: UpstreamTrail, lines: list[str]) -> None:
    trail.play(answer_everything)
    head = trail.signed_head("PUT", "/bucket/k", *lines, "connection: close", x_amz_content_sha256="UNSIGNED-PAYLOAD")
    send(trail, head + INNER)
    assert not trail.stub.confused
    assert all(request.path == "/bucket/k" for request in trail.stub.requests), trail.stub.requests
    assert all("transfer-encoding" not in value for request in trail.stub.requests for _, value in request.pairs)


@pytest.mark.parametrize("target", ["http://evil.example/bucket/k", "http://127.0.0.1/bucket/k?versionId=1"])
def test_a_target_in_absolute_form_is_sent_in_origin_form(trail: UpstreamTrail, target: str) -> None:
    trail.play(answer_everything)
    head = trail.signed_head("GET", "/bucket/k" + target.partition("/k")[2], "connection: close")
    answer = send(trail, head.replace(b"GET /bucket/k", b"GET http://evil.example/bucket/k", 1))
    assert answer.startswith(b"HTTP/1.1 200 ")
    (request,) = trail.stub.requests
    assert request.line == "GET /bucket/k" + target.partition("/k")[2] + " HTTP/1.1"
    assert "evil" not in json.dumps(trail.record()["requestParameters"])


@pytest.mark.parametrize("name", ["x-amz-copy-source", "range", "authorization", "host", "x-amz-tagging"])
def test_connection_hides_no_header_from_the_upstream(trail: UpstreamTrail, name: str) -> None:
    """Opentrail reads it, so the upstream must: else the record would tell of a copy where nothing was copied."""
    trail.play(answer_everything)
    head = trail.signed_head(
        "PUT", "/bucket/k", "content-length: 0", f"connection: close, {name}", x_amz_copy_source="/bucket/secret",
        range="bytes=0-1", x_amz_tagging="a=b",
    )  # fmt: skip
    send(trail, head)
    (request,) = trail.stub.requests
    assert name in request.headers
    assert "connection" not in request.headers
    assert trail.is_signed(request)
    assert trail.record()["eventName"] == "CopyObject"


@pytest.mark.parametrize(
    ("service", "line", "target"),
    [
        ("dynamodb", "x-amz-target: DynamoDB_20120810.DeleteTable", "DynamoDB_20120810.DescribeTable"),
        ("s3", "x-amz-copy-source: /bucket/other", ""),
        ("s3", "host: other.example", ""),
        ("s3", "content-type: text/html", ""),
    ],
)
def test_a_header_that_says_two_things_is_refused(trail: UpstreamTrail, service: str, line: str, target: str) -> None:
    trail.play(answer_everything)
    if service == "dynamodb":
        body = b'{"TableName": "t"}'
        head = trail.signed_head(
            "POST", "/", f"content-length: {len(body)}", "connection: close", line, service=service, body=body,
            x_amz_target=target, content_type="application/x-amz-json-1.0",
        )  # fmt: skip
    else:
        body = b""
        head = trail.signed_head(
            "PUT", "/bucket/k", "content-length: 0", "connection: close", line, x_amz_copy_source="/bucket/a",
            content_type="text/plain",
        )  # fmt: skip
    assert b" 200 " not in send(trail, head + body).partition(b"\r\n")[0]
    assert trail.stub.requests == []


@pytest.mark.parametrize(
    "path",
    ["/x/../2015-03-31/functions/f", "/x/%2e%2e/2015-03-31/functions/f", "//2015-03-31/functions/f",
     "/2015-03-31/functions/open%2F..%2Ff", "/./2015-03-31/functions/f", "/2015-03-31/functions/f/../f"],
)  # fmt: skip
def test_a_path_that_the_upstream_could_tidy_is_refused_where_opentrail_authorises(
    signing: UpstreamTrail, path: str
) -> None:
    signing.play(answer_everything)
    head = signing.signed_head("DELETE", path, "connection: close", service="lambda")
    answer = send(signing, head)
    assert answer.startswith(b"HTTP/1.1 4"), answer
    assert signing.stub.requests == []
    assert signing.record()["errorCode"]


def test_the_upstreams_credentials_stay_behind(signing: UpstreamTrail, caplog: pytest.LogCaptureFixture) -> None:
    """S3 quotes the canonical request, with key ID and session token, to whoever signed wrong: here Opentrail."""
    secrets = (UPSTREAM_KEY.secret, UPSTREAM_KEY.session_token, UPSTREAM_KEY.access_key_id)

    def script(connection: StubConnection) -> None:
        while (request := connection.read()) is not None:
            told = "".join(f"{name}:{value}\n" for name, value in request.pairs)
            text = f"<Error><Code>SignatureDoesNotMatch</Code><Message>{told}</Message><X>{told}</X></Error>"
            connection.answer(403, text.encode())

    signing.play(script)
    with pytest.raises(ClientError) as caught:
        signing.client("s3").get_object(Bucket="bucket", Key="k")
    told = json.dumps(caught.value.response, default=str) + json.dumps(signing.record()) + caplog.text
    assert signing.stub.requests, "it was asked"
    assert UPSTREAM_KEY.session_token in signing.stub.requests[0].headers["x-amz-security-token"]
    for secret in secrets:
        assert secret not in told
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    assert "credentials" in caught.value.response["Error"]["Message"]


def test_whoever_claims_a_key_that_is_not_theirs_is_unknown(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The upstream believes everything (as moto does): the record names no principal of Opentrail's all the same."""
    folder = tmp_path_factory.mktemp("claims")
    with run_stub_upstream() as stub, run_upstream_trail(folder, stub) as trail:
        root = trail.local.key
        for key in (Key(id=root.id, secret="wrong"), Key(id="AKIDNOBODY", secret="x")):
            trail.forget()
            trail.client("s3", key).put_object(Bucket="bucket", Key="k", Body=b"c")
            record = trail.record()
            assert record["userIdentity"] == {"type": "Unknown", "accessKeyId": key.id}
            assert record["additionalEventData"]["callerVouchedForBy"] == "upstream"
        trail.forget()
        trail.client("s3", root).put_object(Bucket="bucket", Key="k", Body=b"c")
        record = trail.record()
        assert record["userIdentity"]["type"] == "Root"
        assert "callerVouchedForBy" not in record["additionalEventData"]
