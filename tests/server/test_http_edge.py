"""HTTP as it comes: too much of it, too little, too slow, in pieces, or none at all."""

from __future__ import annotations

import gzip
import http.client
import os
import socket
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

ACTION = b"Action=GetCallerIdentity&Version=2011-06-15"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
BUCKET = "edge-bucket"


@pytest.fixture(autouse=True, scope="module")
def _bucket(server: Any) -> None:
    server.client("s3").create_bucket(Bucket=BUCKET)


@pytest.fixture
def whoami(server: Any, on_the_wire: Callable[..., bytes]) -> Callable[..., bytes]:
    """A good request for GetCallerIdentity as bytes."""

    def make(*, headers: dict[str, str] | None = None, path: str = "/", **options: Any) -> bytes:
        signed = server.sign("POST", path, service="sts", headers=FORM | (headers or {}), body=ACTION)
        return on_the_wire(signed, **options)

    return make


def answered(server: Any, count: int) -> bool:
    """Whether the server has answered so many calls to STS."""
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=20) as answer:
        line = f'opentrail_calls_total{{operation="GetCallerIdentity",service="sts",status="200"}} {count}.0'
        return line in answer.read().decode()


def statuses(server: Any, data: bytes) -> list[int]:
    return [status for status, _, _ in server.exchange(data)]


def alive(server: Any) -> None:
    server.client("sts").get_caller_identity()


# Heads


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS ClientHello
        b"\x00" * 100,
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET / HTTP/1.1\r\nNo colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\r\n folded: c\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\x00c\r\n\r\n",
        b"GET /caf\xc3\xa9 HTTP/1.1\r\n\r\n",
        b"CONNECT 127.0.0.1:443 HTTP/1.1\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused_and_hurts_nobody(server: Any, data: bytes) -> None:
    answers = server.exchange(data)
    assert [status for status, _, _ in answers] == [400]
    assert answers[0][1]["connection"] == "close"
    alive(server)


@pytest.mark.parametrize("size", [40 << 10, 1 << 20])
@pytest.mark.parametrize("where", ["a header", "many headers", "the path", "the query", "a header that does not end"])
def test_a_head_over_the_limit_is_refused(server: Any, where: str, size: int) -> None:
    long = b"x" * size
    head = {
        "a header": b"GET / HTTP/1.1\r\nX: " + long,
        "many headers": b"GET / HTTP/1.1\r\n" + b"\r\n".join(b"X-%d: y" % number for number in range(size // 10)),
        "the path": b"GET /" + long + b" HTTP/1.1\r\nHost: x",
        "the query": b"GET /?" + long + b" HTTP/1.1\r\nHost: x",
        "a header that does not end": b"GET / HTTP/1.1\r\nX: " + long * 2,
    }[where]
    answers = server.exchange(head + (b"" if where.endswith("end") else b"\r\n\r\n"))
    assert [status for status, _, _ in answers] == [431]
    ((_, _, metrics),) = server.exchange(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b'opentrail_unauthenticated_calls_total{code="RequestHeaderSectionTooLarge"}' in metrics
    assert b"RequestHeaderSectionTooLarge" in answers[0][2]
    alive(server)


def test_a_head_just_under_the_limit_is_read(server: Any, whoami: Callable[..., bytes]) -> None:
    data = whoami().replace(b"\r\n\r\n", b"\r\nX-Long: " + b"x" * (31 << 10) + b"\r\n\r\n", 1)
    assert statuses(server, data) == [200]


def test_an_absolute_target_means_its_path(server: Any, whoami: Callable[..., bytes]) -> None:
    assert statuses(server, whoami().replace(b"POST / ", f"POST {server.url}/ ".encode())) == [200]


def test_methods_that_nobody_knows(server: Any) -> None:
    for method in (b"OPTIONS * ", b"TRACE / ", b"PROPFIND / ", b"M-SEARCH / "):
        (status,) = statuses(server, method + b"HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert status in {400, 403, 405}
    alive(server)


def test_http_1_0(server: Any, whoami: Callable[..., bytes]) -> None:
    ((status, headers, body),) = server.exchange(whoami(close=False).replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert (status, headers["connection"]) == (200, "close")
    assert b"GetCallerIdentityResponse" in body


def test_an_upgrade_is_not_taken(server: Any, on_the_wire: Callable[..., bytes], whoami: Callable[..., bytes]) -> None:
    wish = b"\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"
    buckets = on_the_wire(server.sign("GET", "/", service="s3"), close=False).replace(b"Content-Length: 0\r\n", b"")
    ((status, headers, _),) = server.exchange(buckets.replace(b"\r\n\r\n", wish, 1))
    assert (status, headers["connection"]) == (200, "close")
    assert statuses(server, whoami(close=False).replace(b"\r\n\r\n", wish, 1)) == [400]


# Connections


def test_a_connection_is_kept_and_requests_may_be_pipelined(server: Any, whoami: Callable[..., bytes]) -> None:
    data = whoami(close=False) * 5 + whoami(close=True)
    assert statuses(server, data) == [200] * 6
    assert statuses(server, whoami(close=False) + b"nonsense\r\n\r\n") == [200]


def test_requests_that_came_together_are_answered_though_the_last_is_not_all_there(server: Any) -> None:
    count = 2000  # more bytes than a head may have
    request = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    with server.connect() as connection:
        connection.sendall(request * count + request[:20])
        time.sleep(0.5)
        connection.sendall(request[20:-4] + b"\r\nConnection: close\r\n\r\n")
        answers = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert answers.count(b"HTTP/1.1 200 OK") == count + 1


def test_a_field_behind_the_body_is_no_header(server: Any) -> None:
    """Not even where it comes together with the head."""
    signed = server.sign("GET", "/", service="s3")
    fields = "".join(f"{name}: {value}\r\n" for name, value in signed.headers.items()).encode()
    head = b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n" % server.url.removeprefix("http://").encode()
    assert statuses(server, head + fields + b"\r\n") == [200]
    assert statuses(server, head + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + fields + b"\r\n") == [403]


@pytest.mark.parametrize(
    ("connection", "broken"),
    [
        (b"keep-alive", b"-5\r\nhello\r\n"),
        (b"keep-alive", b'5;a="\r\nhello\r\n'),
        (b"keep-alive", b"5\r\nhello\r\n0\r\n" + b"a: b\r\n" * 10_000),
        (b"close", b"-5\r\nhello\r\n"),
        (b"close", b"5\r\nhello\r\n-5\r\nhello\r\n"),
    ],
)
def test_a_chunked_body_that_cannot_be_read_is_not_waited_for(server: Any, connection: bytes, broken: bytes) -> None:
    started = time.monotonic()
    head = b"PUT /edge-bucket/k HTTP/1.1\r\nHost: a\r\nConnection: %b\r\nTransfer-Encoding: chunked\r\n\r\n"
    data = head % connection + broken
    assert [status // 100 for status in statuses(server, data)] == [4]
    assert time.monotonic() - started < 3  # the next look at those who wait is 5 s away


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the server's memory from /proc")
def test_requests_sent_ahead_of_their_answers_wait_outside(serve: Any) -> None:
    """A client that sends and sends is read as fast as it is answered: what it sends costs the server no memory."""
    server = serve()

    def resident() -> int:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))

    before = resident()
    with server.connect() as connection:
        connection.settimeout(1)
        with suppress(TimeoutError):
            connection.sendall(b"GET /healthz HTTP/1.1\r\n\r\n" * 400_000)
        assert resident() - before < 60_000, "kilobytes"


def test_every_byte_may_come_alone(server: Any, whoami: Callable[..., bytes]) -> None:
    with server.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in whoami():
            connection.send(bytes([byte]))
        assert connection.recv(20).startswith(b"HTTP/1.1 200")


def test_head_has_the_head_of_get_and_no_body(server: Any) -> None:
    s3 = server.client("s3")
    s3.put_object(Bucket=BUCKET, Key="seven", Body=b"1234567")
    head, get = s3.head_object(Bucket=BUCKET, Key="seven"), s3.get_object(Bucket=BUCKET, Key="seven")
    assert get["Body"].read() == b"1234567"
    assert (head["ContentLength"], head["ETag"]) == (get["ContentLength"], get["ETag"])
    with pytest.raises(ClientError) as caught:
        s3.head_object(Bucket=BUCKET, Key="none")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


def test_the_same_connection_after_a_head(server: Any) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    for method in ("HEAD", "GET", "HEAD", "GET"):
        signed = server.sign(method, f"/{BUCKET}/none", service="s3")
        connection.request(method, f"/{BUCKET}/none", headers=dict(signed.headers))
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (404, method == "GET")
    connection.close()


# Bodies


def test_a_chunked_body(server: Any, whoami: Callable[..., bytes]) -> None:
    head, _, body = whoami().partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
    chunked = b"".join(b"%x\r\n%b\r\n" % (1, body[at : at + 1]) for at in range(len(body))) + b"0\r\n\r\n"
    data = b"\r\n".join([*lines, b"Transfer-Encoding: chunked"]) + b"\r\n\r\n" + chunked
    assert statuses(server, data) == [200]


@pytest.mark.parametrize(
    ("service", "headers", "said"),
    [
        ("sts", FORM, b"<ErrorResponse"),
        ("cloudtrail", {"X-Amz-Target": "CloudTrail_20131101.ListTrails"}, b'"__type"'),
        ("ec2", FORM, b"<Response><Errors>"),
        ("s3", {}, b"<Error><Code>RequestEntityTooLarge"),
        ("no-such-service", {}, b'"message"'),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused_in_the_words_of_its_protocol(
    server: Any, on_the_wire: Callable[..., bytes], *, service: str, headers: dict[str, str], said: bytes, chunked: bool
) -> None:
    body = b"x" * (17 << 20)
    path = "/" if service != "s3" else f"/{BUCKET}?policy"
    signed = server.sign("PUT" if service == "s3" else "POST", path, service=service, headers=headers, body=body)
    data = on_the_wire(signed, body=False)
    if chunked:
        head = data.replace(f"Content-Length: {len(body)}".encode(), b"Transfer-Encoding: chunked")
        data = head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    else:
        data += body
    ((status, answer, content),) = server.exchange(data)
    assert status == 413
    assert said in content
    assert b"16777216 bytes" in content
    assert answer["connection"] == "close"


def test_a_gzipped_body_is_bounded_by_what_it_becomes(server: Any, on_the_wire: Callable[..., bytes]) -> None:
    body = gzip.compress(b"Action=PutMetricData&Version=2010-08-01&x=" + b"0" * (64 << 20))
    signed = server.sign("POST", "/", service="monitoring", headers=FORM | {"Content-Encoding": "gzip"}, body=body)
    ((status, _, _),) = server.exchange(on_the_wire(signed))
    assert 400 <= status < 500
    alive(server)


def test_a_client_that_waits_for_a_word_gets_it(server: Any, whoami: Callable[..., bytes]) -> None:
    head, _, body = whoami(headers={"Expect": "100-continue"}).partition(b"\r\n\r\n")
    with server.connect() as connection:
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert connection.recv(20).startswith(b"HTTP/1.1 200")


def test_a_client_that_waits_and_is_refused_does_not_send_its_body(
    server: Any, on_the_wire: Callable[..., bytes]
) -> None:
    size = 64 << 20
    headers = {"Expect": "100-continue", "Content-Length": str(size), "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    signed = server.sign("PUT", "/no-such-bucket/key", service="s3", headers=headers)
    with server.connect() as connection:
        connection.sendall(on_the_wire(signed, close=False, body=False))
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 404
        assert answer.getheader("connection") == "close", "else the next request would be read as the body"
        assert b"NoSuchBucket" in answer.read()
        assert connection.recv(1) == b""


def test_a_refused_upload_that_comes_all_the_same_is_answered(server: Any) -> None:
    body = os.urandom(8 << 20)
    signed = server.sign("PUT", "/no-such-bucket/key", service="s3", body=body)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    for _ in range(2):  # and the connection can be used again
        connection.request("PUT", "/no-such-bucket/key", body=body, headers=dict(signed.headers))
        answer = connection.getresponse()
        assert answer.status == 404
        answer.read()
    connection.close()


def test_many_slow_uploads_are_in_nobodys_way(server: Any, on_the_wire: Callable[..., bytes]) -> None:
    upload = on_the_wire(server.sign("PUT", f"/{BUCKET}/slow", service="s3", body=bytes(2 << 20)), close=False)
    with ExitStack() as slow:
        for _ in range(100):
            slow.enter_context(server.connect()).sendall(upload[:2000])
        time.sleep(0.5)
        server.client("s3").put_object(Bucket=BUCKET, Key="quick", Body=b"x")


def test_a_slow_body_is_waited_for(server: Any, on_the_wire: Callable[..., bytes]) -> None:
    body = b"0123456789" * 1000
    data = on_the_wire(server.sign("PUT", f"/{BUCKET}/slow", service="s3", body=body))
    with server.connect() as connection:
        for at in range(0, len(data), 2000):
            connection.sendall(data[at : at + 2000])
            time.sleep(0.05)
        assert connection.recv(20).startswith(b"HTTP/1.1 200")
    assert server.client("s3").get_object(Bucket=BUCKET, Key="slow")["Body"].read() == body


def test_a_large_answer_whose_reader_leaves(server: Any, on_the_wire: Callable[..., bytes]) -> None:
    s3 = server.client("s3")
    s3.put_object(Bucket=BUCKET, Key="large", Body=bytes(32 << 20))
    data = on_the_wire(server.sign("GET", f"/{BUCKET}/large", service="s3"))
    for _ in range(3):
        with server.connect() as connection:
            connection.sendall(data)
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
    alive(server)
    assert "Traceback" not in server.log


# Clients that go away


def test_a_client_gone_in_the_middle_of_an_upload_leaves_one_true_record_and_nothing_else(
    serve: Any, on_the_wire: Callable[..., bytes]
) -> None:
    server = serve()
    s3 = server.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    sizes = {"small": 100 << 10, "large": 5 << 20}  # read before its service is called, and while it works
    for key, size in sizes.items():
        body = os.urandom(size)
        data = on_the_wire(server.sign("PUT", f"/{BUCKET}/{key}", service="s3", body=body))
        with server.connect() as connection:
            connection.sendall(data[: len(data) - size // 2])
            time.sleep(0.3)
        with pytest.raises(ClientError, match="404"):
            s3.head_object(Bucket=BUCKET, Key=key)
    with server.connect() as connection:  # gone before its body began, of a service that needs it to be proven
        connection.sendall(on_the_wire(server.sign("POST", "/", service="sts", headers=FORM, body=ACTION), body=False))
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET)
    assert server.stop() == 0
    puts = [record for record in server.records() if record["eventName"] == "PutObject"]
    assert sorted(record["requestParameters"]["key"] for record in puts) == ["large", "small"]
    for record in puts:
        assert record["errorCode"] == "RequestTimeout"
        assert "closed the connection" in record["errorMessage"]
        key = record["requestParameters"]["key"]
        assert 0 < record["additionalEventData"]["bytesTransferredIn"] <= sizes[key] - sizes[key] // 2
        assert record["responseElements"] is None
    assert not [record for record in server.records() if record["eventSource"] == "sts.amazonaws.com"]


def test_a_client_gone_after_its_request_is_recorded_as_answered(serve: Any, on_the_wire: Callable[..., bytes]) -> None:
    server = serve()
    data = on_the_wire(server.sign("POST", "/", service="sts", headers=FORM, body=ACTION))
    for _ in range(20):
        with server.connect() as connection:
            connection.sendall(data)
    deadline = time.monotonic() + 30  # a loaded machine may not have accepted all of them yet
    while not answered(server, 20) and time.monotonic() < deadline:
        time.sleep(0.05)
    server.stop()
    records = server.records()
    assert len(records) == 20
    assert all("errorCode" not in record for record in records)
