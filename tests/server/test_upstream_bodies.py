"""Bodies and answers of every form: what arrives at the upstream, and whether botocore would have signed it."""

from __future__ import annotations

import base64
import hmac
import socket
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any
from urllib.request import Request, urlopen
from zlib import crc32

import pytest
from botocore.exceptions import ClientError

from opentrail.testing.stub_upstream import StubConnection, StubRequest, run_stub_upstream
from opentrail.testing.upstream_trail import UpstreamTrail, run_upstream_trail

SMALL, LARGE = b"content!" * 9000, b"x" * (2 << 20)
STEP = 64 << 10


@pytest.fixture(scope="module", params=[False, True], ids=["pass-through", "re-sign"])
def trail(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpstreamTrail]:
    folder = tmp_path_factory.mktemp("bodies")
    with run_stub_upstream() as stub, run_upstream_trail(folder, stub, signs=request.param) as found:
        yield found


def take_all(connection: StubConnection) -> None:
    while (request := connection.read()) is not None:
        if request.complete:
            connection.answer(200, x_amz_request_id="TAKEN")


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), sha256).digest()


class Chunks:
    """``aws-chunked`` content as a client of S3 signs it."""

    def __init__(self, trail: UpstreamTrail, head: bytes) -> None:
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        found = {name.lower(): value for name, value in fields.items()}
        self.moment = found["x-amz-date"]
        self.scope = f"{self.moment[:8]}/us-east-1/s3/aws4_request"
        self.previous = found["authorization"].rpartition("Signature=")[2]
        key = _hmac(b"AWS4" + trail.key.secret.encode(), self.moment[:8])
        for part in ("us-east-1", "s3", "aws4_request"):
            key = _hmac(key, part)
        self.key = key

    def sign(self, kind: str, *lines: str) -> str:
        text = "\n".join([f"AWS4-HMAC-SHA256-{kind}", self.moment, self.scope, self.previous, *lines])
        self.previous = _hmac(self.key, text).hex()
        return self.previous

    def encode(self, data: bytes, trailers: Mapping[str, str] | None) -> bytes:
        frames = []
        for at in [*range(0, len(data), STEP), len(data)]:
            part = data[at : at + STEP]
            signature = self.sign("PAYLOAD", sha256(b"").hexdigest(), sha256(part).hexdigest())
            frames.append(b"%x;chunk-signature=%b\r\n%b" % (len(part), signature.encode(), part and part + b"\r\n"))
        if trailers is None:
            return b"".join(frames) + b"\r\n"
        lines = "".join(f"{name}:{value}\n" for name, value in trailers.items())
        signature = self.sign("TRAILER", sha256(lines.encode()).hexdigest())
        return (
            b"".join(frames)
            + f"{lines.replace(chr(10), chr(13) + chr(10))}x-amz-trailer-signature:{signature}\r\n\r\n".encode()
        )


def plain_chunks(data: bytes, trailers: Mapping[str, str]) -> bytes:
    frames = [b"%x\r\n%b\r\n" % (len(part), part) for at in range(0, len(data), STEP) if (part := data[at : at + STEP])]
    return (
        b"".join(frames)
        + b"0\r\n"
        + "".join(f"{name}:{value}\r\n" for name, value in trailers.items()).encode()
        + b"\r\n"
    )


def decode_chunks(body: bytes) -> tuple[bytes, dict[str, str]]:
    """The content and the trailers of unsigned ``aws-chunked``."""
    content = b""
    while True:
        line, _, body = body.partition(b"\r\n")
        size = int(line, 16)
        if not size:
            lines = body.decode().split("\r\n")
            assert lines[-2:] == ["", ""] or lines == ["", ""], lines
            pairs = (each.partition(":") for each in lines if each)
            return content, {name: value for name, _, value in pairs}
        content, body = content + body[:size], body[size + 2 :]


def exchange(connection: socket.socket, data: bytes) -> tuple[int, dict[str, str], bytes]:
    """The answer to ``data``, on a connection that ends with it; informational answers are passed over."""
    connection.sendall(data)
    answer = b""
    while part := connection.recv(1 << 16):
        answer += part
    while answer.startswith(b"HTTP/1.1 100"):
        answer = answer.partition(b"\r\n\r\n")[2]
    head, _, body = answer.partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    return int(line.split()[1]), {name: value for name, _, value in (each.partition(": ") for each in lines)}, body


def crc_of(data: bytes) -> str:
    return base64.b64encode(crc32(data).to_bytes(4, "big")).decode()


def content_of(trail: UpstreamTrail, request: StubRequest, *, plain: bool) -> bytes:
    """The object as the upstream understands it, all of whose declarations hold."""
    assert request.complete
    assert trail.is_signed(request)
    headers = request.headers
    if plain:
        assert "x-amz-decoded-content-length" not in headers
        assert "aws-chunked" not in headers.get("content-encoding", "")
        claimed = headers["x-amz-content-sha256"]
        assert claimed in {"UNSIGNED-PAYLOAD", sha256(request.body).hexdigest()}
        return request.body
    content, trailers = decode_chunks(request.body)
    assert headers["content-encoding"].startswith("aws-chunked")
    assert headers["x-amz-content-sha256"] == "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    assert int(headers["x-amz-decoded-content-length"]) == len(content)
    assert headers["x-amz-trailer"] in trailers
    assert trailers["x-amz-checksum-crc32"] == crc_of(content)
    return content


@pytest.mark.parametrize("data", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
@pytest.mark.parametrize("encoding", ["aws-chunked", "gzip,aws-chunked"])
def test_signed_chunks(trail: UpstreamTrail, data: bytes, encoding: str) -> None:
    trail.play(take_all)
    head = trail.signed_head(
        "PUT", "/bucket/k", x_amz_content_sha256="STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        x_amz_decoded_content_length=str(len(data)), content_encoding=encoding,
    )  # fmt: skip
    body = Chunks(trail, head).encode(data, None)
    lines = f"content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
    with trail.connect() as connection:
        status, headers, _ = exchange(connection, head[:-2] + lines + body)
    assert (status, headers["x-amz-request-id"]) == (200, "TAKEN")
    (request,) = trail.stub.requests
    if trail.signs:
        assert content_of(trail, request, plain=True) == data
        assert request.headers.get("content-encoding", "") == encoding.removesuffix("aws-chunked").rstrip(",")
    else:
        assert (request.body, request.headers["content-encoding"]) == (body, encoding)
        assert trail.is_signed(request)
    assert "errorCode" not in trail.record()


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("framing", ["length", "transfer-encoding"])
def test_trailing_checksums(trail: UpstreamTrail, data: bytes, signed: bool, framing: str) -> None:
    trail.play(take_all)
    kind = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" if signed else "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    head = trail.signed_head(
        "PUT", "/bucket/k", x_amz_content_sha256=kind, x_amz_decoded_content_length=str(len(data)),
        content_encoding="aws-chunked", x_amz_trailer="x-amz-checksum-crc32",
    )  # fmt: skip
    trailers = {"x-amz-checksum-crc32": crc_of(data)}
    body = Chunks(trail, head).encode(data, trailers) if signed else plain_chunks(data, trailers)
    if framing == "length":
        lines, sent = f"content-length: {len(body)}\r\n", body
    else:
        lines, sent = "transfer-encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    with trail.connect() as connection:
        status, _, _ = exchange(connection, head[:-2] + f"{lines}connection: close\r\n\r\n".encode() + sent)
    assert status == 200
    (request,) = trail.stub.requests
    if not trail.signs:
        assert request.body == body
        assert trail.is_signed(request)
    elif "x-amz-trailer" in request.headers:
        assert content_of(trail, request, plain=False) == data
    else:
        assert content_of(trail, request, plain=True) == data
        assert request.headers["x-amz-checksum-crc32"] == crc_of(data)
    assert "errorCode" not in trail.record()
    assert not trail.stub.confused


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("damage", ["chunk", "checksum", "short"])
def test_a_body_that_is_not_what_it_claims_arrives_whole_only_where_the_upstream_judges(
    trail: UpstreamTrail, data: bytes, damage: str
) -> None:
    trail.play(take_all)
    signed = damage == "chunk"
    kind = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" if signed else "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    head = trail.signed_head(
        "PUT", "/bucket/k", x_amz_content_sha256=kind, x_amz_decoded_content_length=str(len(data)),
        content_encoding="aws-chunked", x_amz_trailer="x-amz-checksum-crc32",
    )  # fmt: skip
    trailers = {"x-amz-checksum-crc32": crc_of(data if damage != "checksum" else b"other")}
    sent = data[:-1] if damage == "short" else data
    body = Chunks(trail, head).encode(sent, trailers) if signed else plain_chunks(sent, trailers)
    if damage == "chunk":
        body = body.replace(data[-8:] + b"\r\n0;", b"ATTACKED\r\n0;")
    lines = f"content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
    with trail.connect() as connection:
        status, _, _ = exchange(connection, head[:-2] + lines + body)
    if not trail.signs:  # the upstream is to judge, over the bytes that the client sent
        assert (status, trail.stub.requests[0].body) == (200, body)
        return
    assert 400 <= status < 500
    assert not any(request.complete for request in trail.stub.requests)
    assert trail.record()["errorCode"] in {"SignatureDoesNotMatch", "BadDigest", "IncompleteBody", "InvalidRequest"}


@pytest.mark.parametrize("length", [100, len(LARGE)])
def test_expect_100_continue(trail: UpstreamTrail, length: int) -> None:
    trail.play(take_all)
    head = trail.signed_head(
        "PUT", "/bucket/k", f"content-length: {length}", "expect: 100-continue", "connection: close",
        x_amz_content_sha256="UNSIGNED-PAYLOAD",
    )  # fmt: skip
    with trail.connect() as connection:
        connection.sendall(head)
        assert connection.recv(1 << 10).startswith(b"HTTP/1.1 100 ")
        assert exchange(connection, b"x" * length)[0] == 200
    (request,) = trail.stub.requests
    assert (request.complete, len(request.body)) == (True, length)
    assert trail.is_signed(request)
    assert trail.record()["additionalEventData"]["bytesTransferredIn"] == length


def test_answers_without_a_body(trail: UpstreamTrail) -> None:
    def script(connection: StubConnection) -> None:
        while (request := connection.read()) is not None:
            if request.line.startswith("HEAD"):
                connection.send('HTTP/1.1 200 OK\r\ncontent-length: 12345\r\netag: "e"\r\n\r\n')
            elif request.line.startswith("DELETE"):
                connection.send("HTTP/1.1 204 No Content\r\nx-amz-request-id: R\r\n\r\n")
            elif "if-none-match" in request.headers:
                connection.send('HTTP/1.1 304 Not Modified\r\netag: "e"\r\ncontent-length: 12345\r\n\r\n')
            else:
                connection.send(
                    "HTTP/1.1 206 Partial Content\r\ncontent-length: 5\r\ncontent-range: bytes 5-9/100\r\n\r\nrange"
                )

    trail.play(script)
    s3 = trail.client("s3")
    assert s3.head_object(Bucket="bucket", Key="k")["ContentLength"] == 12345
    assert trail.record()["additionalEventData"]["bytesTransferredOut"] == 0
    trail.forget()
    s3.delete_object(Bucket="bucket", Key="k")
    assert "errorCode" not in trail.record()
    trail.forget()
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket="bucket", Key="k", IfNoneMatch='"e"')
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 304
    assert trail.record()["additionalEventData"]["bytesTransferredOut"] == 0
    trail.forget()
    found = s3.get_object(Bucket="bucket", Key="k", Range="bytes=5-9")
    assert (found["ResponseMetadata"]["HTTPStatusCode"], found["ContentRange"]) == (206, "bytes 5-9/100")
    assert found["Body"].read() == b"range"
    assert trail.record()["additionalEventData"]["bytesTransferredOut"] == 5
    assert trail.stub.connections == 1, "each answer ended where it should"


@pytest.mark.parametrize("version", ["s3v4", "s3"])
@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_presigned(trail: UpstreamTrail, version: str, data: bytes) -> None:
    trail.play(take_all)
    signer = trail.client("s3", signature_version=version)
    url = signer.generate_presigned_url("put_object", Params={"Bucket": "bucket", "Key": "a key/ä+%"})
    with urlopen(Request(url, data=data, method="PUT", headers={"content-type": ""})) as answer:
        assert answer.status == 200
    (request,) = trail.stub.requests
    assert request.body == data
    if trail.signs:
        assert request.line == "PUT /bucket/a%20key/%C3%A4%2B%25 HTTP/1.1"
        assert trail.is_signed(request)
    else:
        assert request.line == f"PUT {url.removeprefix(trail.endpoint.url)} HTTP/1.1"
        assert "authorization" not in request.headers
    record: dict[str, Any] = trail.record()
    assert record["additionalEventData"]["AuthenticationMethod"] == "QueryString"
    assert record["requestParameters"]["key"] == "a key/ä+%"
    assert record["userIdentity"]["accessKeyId"] == trail.key.id
