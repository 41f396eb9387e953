"""Answers that come over time: each piece is at the client before the next is made, and the end makes the record."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any
from zlib import crc32

import pytest
from botocore.exceptions import ClientError

from opentrail.testing.stub_upstream import StubConnection, run_stub_upstream
from opentrail.testing.upstream_trail import UpstreamTrail, run_upstream_trail


@pytest.fixture(scope="module", params=[False, True], ids=["pass-through", "re-sign"])
def trail(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpstreamTrail]:
    folder = tmp_path_factory.mktemp("streams")
    with run_stub_upstream() as stub, run_upstream_trail(folder, stub, signs=request.param) as found:
        yield found


def event(kind: str, payload: bytes, content_type: str = "application/json") -> bytes:
    """One message of ``application/vnd.amazon.eventstream``."""
    names = {":message-type": "event", ":event-type": kind, ":content-type": content_type}
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + len(value).to_bytes(2, "big") + value.encode()
        for name, value in names.items()
    )
    total = 16 + len(headers) + len(payload)
    prelude = total.to_bytes(4, "big") + len(headers).to_bytes(4, "big")
    message = prelude + crc32(prelude).to_bytes(4, "big") + headers + payload
    return message + crc32(message).to_bytes(4, "big")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


HEAD = (
    "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\ntransfer-encoding: chunked\r\n"
    "x-amzn-requestid: STREAM1\r\n\r\n"
)


class Paced:
    """An upstream that makes an event only when the one before was seen; ``events`` None: without an end."""

    def __init__(self, first: bytes, make: Callable[[int], bytes], events: int | None) -> None:
        self._first, self._make, self._events = first, make, events
        self.seen = threading.Semaphore(0)
        self.made = 0
        self.left = threading.Event()

    def __call__(self, connection: StubConnection) -> None:
        if connection.read() is None:
            return
        connection.send(HEAD)
        if self._first:
            connection.send(chunk(self._first))
        try:
            while self._events is None or self.made < self._events:
                self.made += 1
                connection.send(chunk(self._make(self.made)))
                assert self.seen.acquire(timeout=10), "the client never saw the event"
        except OSError:
            return
        finally:
            self.left.set()
        connection.send("0\r\n\r\n")
        connection.wait_for_end()


def shard_event(number: int) -> bytes:
    payload = b'{"Records": [], "ContinuationSequenceNumber": "%d", "MillisBehindLatest": 0}' % number
    return event("SubscribeToShardEvent", payload)


def log_event(number: int) -> bytes:
    return event(
        "sessionUpdate", b'{"sessionMetadata": {"sampled": false}, "sessionResults": [{"message": "%d"}]}' % number
    )


def rows(number: int) -> bytes:
    return event("Records", b"row %d\n" % number, "application/octet-stream")


def part(number: int) -> bytes:
    return event("PayloadChunk", b"part %d" % number, "application/octet-stream")


def _select(trail: UpstreamTrail) -> Any:
    answer = trail.client("s3").select_object_content(
        Bucket="bucket", Key="k", Expression="SELECT * FROM s3object", ExpressionType="SQL",
        InputSerialization={"CSV": {}}, OutputSerialization={"CSV": {}},
    )  # fmt: skip
    return answer["Payload"]


def _subscribe(trail: UpstreamTrail) -> Any:
    arn = "arn:aws:kinesis:us-east-1:123456789012:stream/s/consumer/c:1"
    kinesis = trail.client("kinesis")
    return iter(
        kinesis.subscribe_to_shard(ConsumerARN=arn, ShardId="0", StartingPosition={"Type": "LATEST"})["EventStream"]
    )


def _tail(trail: UpstreamTrail) -> Any:
    logs = trail.client("logs", inject_host_prefix=False)
    arn = "arn:aws:logs:us-east-1:123456789012:log-group:g"
    return logs.start_live_tail(logGroupIdentifiers=[arn])["responseStream"]


def _invoke(trail: UpstreamTrail) -> Any:
    client = trail.client("lambda")
    return client.invoke_with_response_stream(FunctionName="f", Payload=b"{}")["EventStream"]


STREAMS = [
    ("SelectObjectContent", _select, b"", rows),
    ("SubscribeToShard", _subscribe, event("initial-response", b"{}"), shard_event),
    ("StartLiveTail", _tail, event("initial-response", b"{}"), log_event),
    ("InvokeWithResponseStream", _invoke, b"", part),
]


@pytest.mark.parametrize(("name", "call", "first", "make"), STREAMS)
def test_each_event_arrives_before_the_next_is_made(
    trail: UpstreamTrail,
    name: str,
    call: Callable[[UpstreamTrail], Any],
    first: bytes,
    make: Callable[[int], bytes],
) -> None:
    paced = Paced(first, make, 5)
    trail.play(paced)
    seen = 0
    for each in call(trail):
        assert "initial-response" not in each
        seen += 1
        assert paced.made == seen, "it waited for more than it had"
        assert trail.local.records(trail.seen) == [], "the call is not over"
        paced.seen.release()
    assert seen == 5
    record = trail.record()
    assert (record["eventName"].startswith(name), record["requestID"]) == (True, "STREAM1")
    assert "errorCode" not in record
    assert trail.intents() == 1, "the client had a part of the answer before there was a record"
    assert not trail.stub.confused


SELECT = (
    b"<SelectObjectContentRequest><Expression>SELECT 1</Expression><ExpressionType>SQL</ExpressionType>"
    b"<InputSerialization><CSV/></InputSerialization><OutputSerialization><CSV/></OutputSerialization>"
    b"</SelectObjectContentRequest>"
)
SUBSCRIBE = b'{"ConsumerARN": "arn:aws:kinesis:us-east-1:1:stream/s/consumer/c:1", "ShardId": "0"}'
SUBSCRIBE_HEADERS = {"x_amz_target": "Kinesis_20131202.SubscribeToShard", "content_type": "application/x-amz-json-1.1"}
ENDLESS: list[tuple[str, str, bytes, dict[str, str]]] = [
    ("s3", "/bucket/k?select=&select-type=2", SELECT, {}),
    ("kinesis", "/", SUBSCRIBE, SUBSCRIBE_HEADERS),
    ("lambda", "/2021-11-15/functions/f/response-streaming-invocations", b"{}", {}),
]


@pytest.mark.parametrize(("service", "target", "body", "headers"), ENDLESS)
def test_an_endless_stream_ends_with_its_client(
    trail: UpstreamTrail, service: str, target: str, body: bytes, headers: dict[str, str]
) -> None:
    paced = Paced(b"", rows, None)
    trail.play(paced)
    length = f"content-length: {len(body)}"
    with trail.connect() as connection:
        connection.sendall(trail.signed_head("POST", target, length, service=service, body=body, **headers) + body)
        for number in (1, 2, 3):
            came = b""
            while rows(number) not in came:
                came += connection.recv(1 << 16)
            paced.seen.release()
    record = trail.record()
    assert record["eventSource"] == f"{service}.amazonaws.com"
    assert record["eventName"].startswith(("SelectObjectContent", "SubscribeToShard", "InvokeWithResponseStream"))
    assert "errorCode" not in record
    assert trail.intents() == 1
    for _ in range(100):  # what it makes finds nobody
        paced.seen.release()
    assert paced.left.wait(5), "the upstream was left to send to nobody"


def test_a_stream_that_the_upstream_breaks_off(trail: UpstreamTrail) -> None:
    def break_off(connection: StubConnection) -> None:
        connection.read()
        connection.send(HEAD, chunk(event("initial-response", b"{}")), chunk(shard_event(1)), "5\r\nab")

    trail.play(break_off)
    events = iter(_subscribe(trail))
    next(events)
    with pytest.raises(Exception, match="ended prematurely"):
        next(events)
    record = trail.record()
    assert record["errorCode"] == "InternalFailure"
    assert "before its answer was complete" in record["errorMessage"]


def test_a_stream_that_is_refused(trail: UpstreamTrail) -> None:
    def refuse(connection: StubConnection) -> None:
        connection.read()
        connection.answer(400, b'{"__type": "ResourceInUseException", "message": "One at a time"}')

    trail.play(refuse)
    with pytest.raises(ClientError, match="One at a time"):
        _subscribe(trail)
    assert trail.record()["errorCode"] == "ResourceInUseException"


def test_answers_before_the_answer_are_none(trail: UpstreamTrail) -> None:
    """103 Early Hints, 102 Processing and 100 Continue that nobody asked for, in one piece and byte by byte."""
    early = (
        b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\nx-amz-request-id: WRONG\r\n\r\n"
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\ncontent-length: 5\r\n\r\n"
    )
    answer = b"HTTP/1.1 200 OK\r\nx-amz-request-id: RIGHT\r\ncontent-length: 0\r\n\r\n"

    def at_once(connection: StubConnection) -> None:
        while connection.read() is not None:
            connection.send(early + answer)

    def byte_by_byte(connection: StubConnection) -> None:
        while connection.read() is not None:
            for number in range(len(early + answer)):
                connection.send((early + answer)[number : number + 1])

    for script in (at_once, byte_by_byte):
        trail.play(script)
        s3 = trail.client("s3")
        assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == b""
        record = trail.record()
        assert record["requestID"] == "RIGHT"
        trail.forget()
        s3.put_object(Bucket="bucket", Key="k", Body=b"x" * (3 << 20))  # its body waits for 100 Continue
        assert trail.record()["requestID"] == "RIGHT"
        assert trail.stub.connections == 1, "the connection was good for another exchange"
        assert len(trail.stub.requests[-1].body) == 3 << 20
