"""An upstream that fails, and clients that do: whatever happens, one record tells the truth."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, HTTPClientError, ResponseStreamingError

from opentrail.testing.live_server import free_port
from opentrail.testing.stub_upstream import Script, StubConnection, run_stub_upstream
from opentrail.testing.upstream_trail import UpstreamTrail, run_upstream_trail

LARGE = 5 << 20
READ_TIMEOUT = 0.7


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpstreamTrail]:
    folder = tmp_path_factory.mktemp("upstream")
    with run_stub_upstream() as stub, run_upstream_trail(folder, stub, read_timeout=READ_TIMEOUT) as found:
        yield found


def close_at_once(connection: StubConnection) -> None:
    connection.read()


def garbage(connection: StubConnection) -> None:
    connection.read()
    connection.send(b"\x00\x01 I am no web server\r\n\r\n")


def switch_protocols(connection: StubConnection) -> None:
    connection.read()
    connection.send("HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n")


def large_head(connection: StubConnection) -> None:
    connection.read()
    connection.send("HTTP/1.1 200 OK\r\n", *(f"x-{number}: {'y' * 1000}\r\n" for number in range(100)), "\r\n")


def endless_head(connection: StubConnection) -> None:
    connection.read()
    connection.send("HTTP/1.1 200 OK\r\nx: ")
    for _ in range(300):
        connection.send(b"y" * 1000)


def silent(connection: StubConnection) -> None:
    connection.read()
    connection.wait_for_end()


def cut_in_head(connection: StubConnection) -> None:
    connection.read()
    connection.send("HTTP/1.1 200 OK\r\ncontent-le")


def cut_in_body(connection: StubConnection) -> None:
    connection.read()
    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n", b"x" * 10)


def cut_in_chunk(connection: StubConnection) -> None:
    connection.read()
    connection.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: application/xml\r\n\r\n5\r\nab")


FAULTS = [
    (close_at_once, "closed the connection without an answer"),
    (garbage, "not HTTP"),
    (switch_protocols, "not HTTP"),
    (large_head, "header section that is too large"),
    (endless_head, "header section that is too large"),
    (silent, "did not answer in time"),
    (cut_in_head, "before its answer was complete"),
    (cut_in_body, "before its answer was complete"),
]


@pytest.mark.parametrize(("script", "words"), FAULTS)
def test_a_write_whose_answer_fails_has_an_unknown_outcome(trail: UpstreamTrail, script: Script, words: str) -> None:
    trail.play(script)
    with pytest.raises(ClientError) as caught:
        trail.client("s3").put_object(Bucket="bucket", Key="k", Body=b"content")
    error = caught.value.response
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert error["Error"]["Code"] == "InternalError"
    assert words in error["Error"]["Message"]
    assert "not known" in error["Error"]["Message"]
    record = trail.record()
    assert record["eventName"] == "PutObject"
    assert record["errorCode"] == "InternalError"
    assert record["errorMessage"] == error["Error"]["Message"]
    assert record["additionalEventData"]["callerVouchedForBy"] == "nobody"
    assert record["userIdentity"] == {"type": "Unknown", "accessKeyId": "AKIDUPSTREAM"}
    assert trail.intents() == 1
    assert len(trail.stub.requests) == 1, "a write was tried twice"


@pytest.mark.parametrize(("script", "words"), FAULTS)
def test_a_read_whose_answer_fails(trail: UpstreamTrail, script: Script, words: str) -> None:
    trail.play(script)
    with pytest.raises(ClientError) as caught:
        trail.client("s3").get_object(Bucket="bucket", Key="k")
    assert words in caught.value.response["Error"]["Message"]
    assert "not known" not in caught.value.response["Error"]["Message"]
    assert trail.record()["errorCode"] == "InternalError"
    assert trail.intents() == 0


@pytest.mark.parametrize(
    ("service", "operation", "arguments", "code"),
    [
        ("sqs", "create_queue", {"QueueName": "q"}, "InternalFailure"),
        ("iam", "create_user", {"UserName": "u"}, "InternalFailure"),
        ("ec2", "create_vpc", {"CidrBlock": "10.0.0.0/16"}, "InternalError"),
        ("lambda", "delete_function", {"FunctionName": "f"}, "InternalFailure"),
        ("cloudwatch", "delete_alarms", {"AlarmNames": ["a"]}, "InternalFailure"),
    ],
)
def test_each_protocol_has_its_own_words(
    trail: UpstreamTrail, service: str, operation: str, arguments: dict[str, Any], code: str
) -> None:
    trail.play(close_at_once)
    with pytest.raises(ClientError) as caught:
        getattr(trail.client(service), operation)(**arguments)
    assert caught.value.response["Error"]["Code"] == code
    assert trail.record()["errorCode"].removeprefix("Server.") == code  # as EC2 records have it


def test_an_upstream_that_is_not_there(tmp_path: Path) -> None:
    cases: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
        ("s3", "ServiceUnavailable", lambda client: client.put_object(Bucket="bucket", Key="k", Body=b"c")),
        ("ec2", "Unavailable", lambda client: client.create_vpc(CidrBlock="10.0.0.0/16")),
    )
    with run_stub_upstream() as stub, run_upstream_trail(tmp_path, stub, port=free_port()) as found:
        for service, code, call in cases:
            found.forget()
            with pytest.raises(ClientError) as caught:
                call(found.client(service))
            assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
            assert caught.value.response["Error"]["Code"] == code
            record = found.record()
            assert record["errorCode"].removeprefix("Server.") == code
            assert "could not be reached" in record["errorMessage"]


def test_all_connections_busy(tmp_path: Path) -> None:
    options: dict[str, Any] = {"connect_timeout": 0.3, "max_connections": 1, "read_timeout": 60}
    with run_stub_upstream() as stub, run_upstream_trail(tmp_path, stub, **options) as found:
        found.play(silent)
        with found.connect() as first:
            first.sendall(b"GET /bucket/k HTTP/1.1\r\nhost: x\r\n\r\n")
            while not stub.requests:
                time.sleep(0.01)
            with pytest.raises(ClientError) as caught:
                found.client("s3").get_object(Bucket="bucket", Key="k")
        assert "busy" in caught.value.response["Error"]["Message"]
        assert found.record()["errorCode"] == "ServiceUnavailable"
        stub.drop()


def test_a_dead_connection_is_found_by_reads_and_never_costs_a_write_twice(trail: UpstreamTrail) -> None:
    def answer_once(connection: StubConnection) -> None:
        request = connection.read()
        connection.answer(200, b"first" if request and request.line.startswith("GET") else b"")
        if trail.stub.connections > 1:
            while connection.read() is not None:
                connection.answer(200, b"again")
        connection.read()  # the next request comes, and is not answered

    client = trail.client("s3")
    trail.play(answer_once)
    assert client.get_object(Bucket="bucket", Key="k")["Body"].read() == b"first"
    assert client.get_object(Bucket="bucket", Key="k")["Body"].read() == b"first"  # over a second connection
    assert trail.stub.connections == 2
    assert [request.line for request in trail.stub.requests] == ["GET /bucket/k HTTP/1.1"] * 3
    trail.play(answer_once)
    time.sleep(0.1)  # what was dropped is known to be gone
    client.put_object(Bucket="bucket", Key="k", Body=b"content")
    with pytest.raises(ClientError):
        client.put_object(Bucket="bucket", Key="k", Body=b"content")
    assert trail.stub.connections == 1
    assert len(trail.stub.requests) == 2


def test_a_connection_that_was_closed_meanwhile_costs_nothing(trail: UpstreamTrail) -> None:
    def answer_and_close(connection: StubConnection) -> None:
        connection.read()
        connection.answer(200)

    client = trail.client("s3")
    for _ in range(5):
        trail.play(answer_and_close)
        client.put_object(Bucket="bucket", Key="k", Body=b"content")
        assert "errorCode" not in trail.record()
        time.sleep(0.02)


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_long_answer_that_ends_early(trail: UpstreamTrail, framing: str) -> None:
    def script(connection: StubConnection) -> None:
        connection.read()
        if framing == "length":
            connection.send(f"HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n", b"x" * (LARGE // 2))
        else:
            connection.send(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", f"{LARGE:x}\r\n", b"x" * (LARGE // 2)
            )

    trail.play(script)
    with pytest.raises((HTTPClientError, ResponseStreamingError)):
        trail.client("s3").get_object(Bucket="bucket", Key="k")["Body"].read()
    record = trail.record()
    assert record["errorCode"] == "InternalError"
    assert "before its answer was complete" in record["errorMessage"]
    assert 0 < record["additionalEventData"]["bytesTransferredOut"] <= LARGE // 2
    assert trail.intents() == 1, "a part of the answer left before there was any trace"


def test_a_client_that_leaves_in_the_middle_of_an_answer(trail: UpstreamTrail) -> None:
    ended = []

    def script(connection: StubConnection) -> None:
        connection.read()
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
        try:
            while True:
                connection.send(b"x" * 100_000)
        except OSError:
            ended.append(True)

    trail.play(script)
    body = trail.client("s3").get_object(Bucket="bucket", Key="k")["Body"]
    assert len(body.read(100_000)) == 100_000
    body.close()
    record = trail.record()
    assert "errorCode" not in record
    assert 100_000 <= record["additionalEventData"]["bytesTransferredOut"] < 1_000_000_000
    assert record["additionalEventData"]["callerVouchedForBy"] == "upstream"
    deadline = time.monotonic() + 5
    while not ended and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ended, "the upstream was left to send to nobody"


def _upload_head(trail: UpstreamTrail, length: int, *more: str) -> bytes:
    lines = (f"content-length: {length}", *more)
    return trail.signed_head("PUT", "/bucket/k", *lines, x_amz_content_sha256="UNSIGNED-PAYLOAD")


def test_a_client_that_leaves_in_the_middle_of_its_upload(trail: UpstreamTrail) -> None:
    trail.play(answer_when_complete)
    with trail.connect() as connection:
        connection.sendall(_upload_head(trail, LARGE) + b"x" * (LARGE // 2))
        while not trail.stub.requests:
            time.sleep(0.01)
    record = trail.record()
    assert record["errorCode"] == "RequestTimeout"
    assert record["eventName"] == "PutObject"
    assert record["userIdentity"]["accessKeyId"] == "AKIDUPSTREAM"
    deadline = time.monotonic() + 5
    while len(trail.stub.requests[0].body) == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not trail.stub.requests[0].complete


def answer_when_complete(connection: StubConnection) -> None:
    request = connection.read()
    if request is not None and request.complete:
        connection.answer(200, x_amz_request_id="UPSTREAM1")


def test_a_client_that_does_not_wait_for_the_answer(trail: UpstreamTrail) -> None:
    def slow(connection: StubConnection) -> None:
        request = connection.read()
        time.sleep(0.1)
        assert request is not None
        connection.answer(200, x_amz_request_id="UPSTREAM2")

    trail.play(slow)
    with trail.connect() as connection:
        connection.sendall(_upload_head(trail, 10) + b"x" * 10)
        while not trail.stub.requests:
            time.sleep(0.01)
    record = trail.record()
    assert "errorCode" not in record, record["errorMessage"]
    assert record["requestID"] == "UPSTREAM2"
    assert trail.stub.requests[0].complete


def test_an_upload_that_the_upstream_refuses_before_it_has_come(trail: UpstreamTrail) -> None:
    def refuse(connection: StubConnection) -> None:
        request = connection.read_head()
        assert request is not None
        assert request.headers["expect"] == "100-continue"
        connection.answer(403, b"<Error><Code>AccessDenied</Code><Message>No</Message></Error>")
        connection.wait_for_end()

    trail.play(refuse)
    with trail.connect() as connection:
        connection.sendall(_upload_head(trail, LARGE, "expect: 100-continue"))
        answer = connection.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.1 403 ")
    record = trail.record()
    assert record["errorCode"] == "AccessDenied"
    assert record["additionalEventData"]["bytesTransferredIn"] == 0


def test_an_upstream_that_never_takes_the_upload(trail: UpstreamTrail) -> None:
    def deaf(connection: StubConnection) -> None:
        connection.read_head()
        time.sleep(READ_TIMEOUT + 1.5)

    trail.play(deaf)
    with trail.connect() as connection:
        connection.sendall(_upload_head(trail, 200 << 20))
        connection.settimeout(0.2)
        data = b"x" * (1 << 20)
        try:
            for _ in range(200):
                connection.sendall(data)
        except OSError:
            pass
        record = trail.record()
    assert record["errorCode"] == "InternalError"
    assert "did not answer in time" in record["errorMessage"]


def test_the_refusal_of_an_unknown_key_is_recorded_as_nobody_s(trail: UpstreamTrail) -> None:
    def refuse(connection: StubConnection) -> None:
        while connection.read() is not None:
            body = b"<Error><Code>InvalidAccessKeyId</Code><Message>No such key</Message></Error>"
            connection.answer(403, body, content_type="application/xml")

    trail.play(refuse)
    with pytest.raises(ClientError) as caught:
        trail.client("s3").put_object(Bucket="bucket", Key="k", Body=b"content")
    assert caught.value.response["Error"]["Code"] == "InvalidAccessKeyId"
    record = trail.record()
    assert record["errorCode"] == "InvalidAccessKeyId"
    assert record["additionalEventData"]["callerVouchedForBy"] == "nobody"
    assert json.dumps(record).count("secret") == 0
