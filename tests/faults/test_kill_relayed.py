"""Opentrail is killed while an upstream has a call: the next start says of it, once, that its outcome is not known."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from opentrail.journal.base import EntryKind
from opentrail.journal.local import open_local_journal
from opentrail.testing.live_server import LiveServer
from opentrail.testing.stub_upstream import StubConnection, run_stub_upstream

MakeServer = Callable[..., LiveServer]
LARGE = 4 << 20


def upstream(connection: StubConnection) -> None:
    """``done`` is answered at once, ``half-answered`` without the end of its answer, all else never."""
    while (request := connection.read_head()) is not None and request.path.endswith("done"):
        connection.read_body(request)
        connection.answer(200, x_amz_request_id="DONE")
    if request is not None and request.path.endswith("half-answered"):
        connection.send(f"HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n", b"x" * (LARGE // 2))
    connection.wait_for_end()


def send_half(server: LiveServer, url: str) -> socket.socket:
    """Begin an upload to the presigned ``url``; its second half never comes."""
    connection = socket.create_connection(("127.0.0.1", server.port))
    target = url.removeprefix(server.url)
    head = f"PUT {target} HTTP/1.1\r\nhost: 127.0.0.1:{server.port}\r\ncontent-length: {LARGE}\r\n\r\n"
    connection.sendall(head.encode() + b"x" * (LARGE // 2))
    return connection


def _events(server: LiveServer) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The intents and the records in the journal of a server that has ended."""
    journal = open_local_journal(server.data / "journal")
    try:
        entries, position = [], journal.start - 1
        while position < journal.end:
            entries += journal.read(position)
            position = entries[-1].position
    finally:
        journal.close()
    found: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    for entry in entries:
        found[entry.kind is not EntryKind.INTENT].append(json.loads(bytes(entry.payload)))
    return found


def test_each_relayed_call_that_a_kill_interrupts_is_recorded_once(make_server: MakeServer) -> None:
    with run_stub_upstream() as stub:
        stub.script = upstream
        server = make_server("--upstream", f"s3={stub.url}")
        server.start()
        s3 = server.client("s3")

        def attempt(call: Callable[[], Any]) -> None:
            try:
                call()
            except (BotoCoreError, ClientError):
                failed.append(True)

        failed: list[bool] = []
        s3.put_object(Bucket="bucket", Key="done", Body=b"content")
        calls: tuple[Callable[[], Any], ...] = (
            lambda: s3.put_object(Bucket="bucket", Key="unanswered", Body=b"content"),
            lambda: list(s3.get_object(Bucket="bucket", Key="half-answered")["Body"]),
        )
        threads = [threading.Thread(target=attempt, args=(call,)) for call in calls]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 20
        url = s3.generate_presigned_url("put_object", Params={"Bucket": "bucket", "Key": "half-sent"})
        upload = send_half(server, url)
        while len(stub.requests) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.5)  # what was sent has arrived
        server.kill()
        upload.close()
        for thread in threads:
            thread.join(30)
        assert len(failed) == 2, "nobody was told of a success"
        server.start()
        assert server.stop() == 0
        assert len(stub.requests) == 4, "a restart does nothing again"
        intents, records = _events(server)
        assert len({record["eventID"] for record in records}) == len(records)
        told = {record["requestParameters"]["key"]: record for record in records}
        assert len(records) == len(told) == 4
        assert "errorCode" not in told.pop("done")
        for record in told.values():
            assert record["errorCode"] == "OutcomeUnknown"
            assert record["userIdentity"]["type"] == "Root"
        assert len(intents) == 4
        assert {record["eventID"] for record in records} == {intent["eventID"] for intent in intents}
