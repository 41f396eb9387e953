"""An upstream that fails, and clients that do: whatever happens, one record tells the truth."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, HTTPClientError, ResponseStreamingError

from opentrail.journal.base import EntryKind
from opentrail.server.config import Settings
from opentrail.server.serving import ThreadedEndpoint, serve_on_thread
from opentrail.server.upstream_settings import Upstream
from opentrail.testing.live_server import free_port
from opentrail.testing.local_endpoint import LocalEndpoint
from opentrail.testing.stub_upstream import Script, StubConnection, StubUpstream, run_stub_upstream

LARGE = 5 << 20
READ_TIMEOUT = 0.5


class Trail:
    """The endpoint, its client, and what it recorded since the last look."""

    def __init__(self, endpoint: ThreadedEndpoint, stub: StubUpstream, connect: Callable[..., Any], key: Any) -> None:
        self.endpoint = endpoint
        self.stub = stub
        self.key = key
        self._connect = connect
        self._local = LocalEndpoint(endpoint.runtime, endpoint.loop)
        self._seen = 0
        self.clients: list[Any] = []

    @property
    def port(self) -> int:
        return int(self.endpoint.url.rpartition(":")[2])

    def client(self, service: str) -> Any:
        self.clients.append(self._connect(service, self.endpoint.url, self.key))
        return self.clients[-1]

    def play(self, script: Script) -> None:
        """What the upstream does next; records from before are forgotten."""
        self.stub.play(script)
        self._seen = self.endpoint.runtime.journal.end

    def record(self) -> dict[str, Any]:
        """The one record of the one call since ``play``; waits for it."""
        deadline = time.monotonic() + 10
        while not (records := self._local.records(self._seen)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(records) == 1, [(each["eventName"], each.get("errorCode")) for each in records]
        assert self.endpoint.runtime.door.recorder.oldest_open_intent() is None
        return records[0]

    def intents(self) -> int:
        """How many intents were left since ``play``."""
        return sum(entry.kind is EntryKind.INTENT for entry in self._local.entries(self._seen))


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory, boto3_client: Callable[..., Any], make_key: Any) -> Iterator[Trail]:
    with run_stub_upstream() as stub, _serve(tmp_path_factory.mktemp("upstream"), stub.port) as endpoint:
        found = Trail(endpoint, stub, boto3_client, make_key("AKIDUPSTREAM", "secret"))
        yield found
        for client in found.clients:
            client.close()


@contextmanager
def _serve(folder: Path, port: int) -> Iterator[ThreadedEndpoint]:
    upstream = Upstream(service="*", host="127.0.0.1", port=port, connect_timeout=1, read_timeout=READ_TIMEOUT)
    settings = Settings(port=0, data_dir=folder / "data", upstream=(upstream,), own=("cloudtrail",))
    with serve_on_thread(settings) as endpoint:
        yield endpoint


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
def test_a_write_whose_answer_fails_has_an_unknown_outcome(trail: Trail, script: Script, words: str) -> None:
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
def test_a_read_whose_answer_fails(trail: Trail, script: Script, words: str) -> None:
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
    trail: Trail, service: str, operation: str, arguments: dict[str, Any], code: str
) -> None:
    trail.play(close_at_once)
    with pytest.raises(ClientError) as caught:
        getattr(trail.client(service), operation)(**arguments)
    assert caught.value.response["Error"]["Code"] == code
    assert trail.record()["errorCode"].removeprefix("Server.") == code  # as EC2 records have it


def test_an_upstream_that_is_not_there(tmp_path: Path, boto3_client: Callable[..., Any], make_key: Any) -> None:
    with _serve(tmp_path, free_port()) as endpoint:
        found = Trail(endpoint, StubUpstream.__new__(StubUpstream), boto3_client, make_key("AKIDUPSTREAM", "secret"))
        cases: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
            ("s3", "ServiceUnavailable", lambda client: client.put_object(Bucket="bucket", Key="k", Body=b"c")),
            ("ec2", "Unavailable", lambda client: client.create_vpc(CidrBlock="10.0.0.0/16")),
        )
        for service, code, call in cases:
            found._seen = endpoint.runtime.journal.end
            client = found.client(service)
            with pytest.raises(ClientError) as caught:
                call(client)
            client.close()
            assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
            assert caught.value.response["Error"]["Code"] == code
            record = found.record()
            assert record["errorCode"].removeprefix("Server.") == code
            assert "could not be reached" in record["errorMessage"]


def test_all_connections_busy(tmp_path: Path, boto3_client: Callable[..., Any], make_key: Any) -> None:
    with run_stub_upstream() as stub:
        upstream = Upstream(service="*", host="127.0.0.1", port=stub.port, connect_timeout=0.3, max_connections=1)
        settings = Settings(port=0, data_dir=tmp_path / "data", upstream=(upstream,), own=("cloudtrail",))
        with serve_on_thread(settings) as endpoint:
            found = Trail(endpoint, stub, boto3_client, make_key("AKIDUPSTREAM", "secret"))
            found.play(silent)
            with socket.create_connection(("127.0.0.1", found.port)) as first:
                first.sendall(b"GET /bucket/k HTTP/1.1\r\nhost: x\r\n\r\n")
                while not stub.requests:
                    time.sleep(0.01)
                client = found.client("s3")
                with pytest.raises(ClientError) as caught:
                    client.get_object(Bucket="bucket", Key="k")
                client.close()
            assert "busy" in caught.value.response["Error"]["Message"]
            assert found.record()["errorCode"] == "ServiceUnavailable"
            stub.drop()


def test_a_dead_connection_is_found_by_reads_and_never_costs_a_write_twice(trail: Trail) -> None:
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


def test_a_connection_that_was_closed_meanwhile_costs_nothing(trail: Trail) -> None:
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
def test_a_long_answer_that_ends_early(trail: Trail, framing: str) -> None:
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


def test_a_client_that_leaves_in_the_middle_of_an_answer(trail: Trail) -> None:
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


def _upload_head(trail: Trail, sign: Callable[..., Any], length: int, *more: str) -> bytes:
    request = sign(
        trail.key,
        "PUT",
        f"{trail.endpoint.url}/bucket/k",
        service="s3",
        headers={"x-amz-content-sha256": "UNSIGNED-PAYLOAD"},
    )
    lines = [
        f"{name}: {value.decode() if isinstance(value, bytes) else value}"
        for name, value in request.headers.items()
        if name.lower() != "content-length"
    ]
    head = ["PUT /bucket/k HTTP/1.1", f"host: 127.0.0.1:{trail.port}", *lines, f"content-length: {length}", *more]
    return "\r\n".join(head).encode() + b"\r\n\r\n"


def test_a_client_that_leaves_in_the_middle_of_its_upload(trail: Trail, sign_request: Callable[..., Any]) -> None:
    trail.play(answer_when_complete)
    with socket.create_connection(("127.0.0.1", trail.port)) as connection:
        connection.sendall(_upload_head(trail, sign_request, LARGE) + b"x" * (LARGE // 2))
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


def test_a_client_that_does_not_wait_for_the_answer(trail: Trail, sign_request: Callable[..., Any]) -> None:
    def slow(connection: StubConnection) -> None:
        request = connection.read()
        time.sleep(0.2)
        assert request is not None
        connection.answer(200, x_amz_request_id="UPSTREAM2")

    trail.play(slow)
    with socket.create_connection(("127.0.0.1", trail.port)) as connection:
        connection.sendall(_upload_head(trail, sign_request, 10) + b"x" * 10)
        while not trail.stub.requests:
            time.sleep(0.01)
    record = trail.record()
    assert "errorCode" not in record, record["errorMessage"]
    assert record["requestID"] == "UPSTREAM2"
    assert trail.stub.requests[0].complete


def test_an_upload_that_the_upstream_refuses_before_it_has_come(trail: Trail, sign_request: Callable[..., Any]) -> None:
    def refuse(connection: StubConnection) -> None:
        request = connection.read_head()
        assert request is not None
        assert request.headers["expect"] == "100-continue"
        connection.answer(403, b"<Error><Code>AccessDenied</Code><Message>No</Message></Error>")
        connection.wait_for_end()

    trail.play(refuse)
    with socket.create_connection(("127.0.0.1", trail.port), timeout=10) as connection:
        connection.sendall(_upload_head(trail, sign_request, LARGE, "expect: 100-continue"))
        answer = connection.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.1 403 ")
    record = trail.record()
    assert record["errorCode"] == "AccessDenied"
    assert record["additionalEventData"]["bytesTransferredIn"] == 0


def test_an_upstream_that_never_takes_the_upload(trail: Trail, sign_request: Callable[..., Any]) -> None:
    def deaf(connection: StubConnection) -> None:
        connection.read_head()
        time.sleep(READ_TIMEOUT + 1.5)

    trail.play(deaf)
    with socket.create_connection(("127.0.0.1", trail.port), timeout=10) as connection:
        connection.sendall(_upload_head(trail, sign_request, 200 << 20))
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


def test_the_refusal_of_an_unknown_key_is_recorded_as_nobody_s(trail: Trail) -> None:
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
