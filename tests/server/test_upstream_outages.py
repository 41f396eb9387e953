"""An upstream that comes and goes, a server that stops, clients that do not read: records tell what happened."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from opentrail.journal.base import EntryKind
from opentrail.journal.local import open_local_journal
from opentrail.testing.live_server import LiveServer
from opentrail.testing.stub_upstream import StubConnection, answer_everything, run_stub_upstream
from opentrail.testing.upstream_trail import STRANGER, UpstreamTrail, run_upstream_trail

LONG = 1_000_000_000
MOST = 40_000_000  # that four sockets of this machine and what lies between them hold


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpstreamTrail]:
    folder = tmp_path_factory.mktemp("outages")
    with run_stub_upstream() as stub, run_upstream_trail(folder, stub) as found:
        yield found


@pytest.mark.parametrize("method", ["get_object", "put_object"])
def test_an_upstream_that_accepts_and_closes(trail: UpstreamTrail, method: str) -> None:
    trail.play(lambda _connection: None)
    client = trail.client("s3")
    with pytest.raises(ClientError) as caught:
        getattr(client, method)(Bucket="bucket", Key="k")
    assert caught.value.response["Error"]["Code"] == "InternalError"
    record = trail.record()
    assert record["errorMessage"] == caught.value.response["Error"]["Message"]
    assert ("not known" in record["errorMessage"]) is (method == "put_object")


def test_an_upstream_that_restarts_under_load(trail: UpstreamTrail) -> None:
    """Every answer has its record with the same outcome, and no write was sent twice."""
    trail.play(answer_everything)
    told: list[tuple[str, int]] = []
    over = threading.Event()

    def call(worker: int) -> None:
        client = trail.client("s3")
        for turn in range(40):
            key = f"{worker}-{turn}"
            try:
                client.put_object(Bucket="bucket", Key=key, Body=b"c")
            except ClientError as error:
                told.append((key, error.response["ResponseMetadata"]["HTTPStatusCode"]))
            else:
                told.append((key, 200))

    def restart() -> None:
        while not over.wait(0.03):
            trail.stub.drop()

    restarts = threading.Thread(target=restart)
    threads = [threading.Thread(target=call, args=(worker,)) for worker in range(4)]
    for thread in (restarts, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    restarts.join()
    records = {each["requestParameters"]["key"]: each for each in trail.local.records(trail.seen)}
    assert len(told) == len(records) == 160
    for key, status in told:
        assert ("errorCode" not in records[key]) is (status == 200), (status, records[key])
    asked = [request.path for request in trail.stub.requests]
    assert len(asked) == len(set(asked)), "a write was sent twice"
    done = {f"/bucket/{key}" for key, status in told if status == 200}
    assert done <= set(asked)


def test_a_name_with_a_dead_address(tmp_path: Path) -> None:
    """``localhost`` is ``::1`` first where that exists, and nobody listens there."""
    with run_stub_upstream() as stub, run_upstream_trail(tmp_path, stub, host="localhost") as found:
        found.play(answer_everything)
        found.client("s3").put_object(Bucket="bucket", Key="k", Body=b"c")
        assert "errorCode" not in found.record()


def test_a_client_that_does_not_read_holds_the_upstream_back(trail: UpstreamTrail) -> None:
    sent = []

    def script(connection: StubConnection) -> None:
        connection.read()
        connection.send(f"HTTP/1.1 200 OK\r\ncontent-length: {LONG}\r\n\r\n")
        while True:
            connection.send(b"x" * 100_000)
            sent.append(100_000)

    trail.play(script)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        client.connect(("127.0.0.1", trail.port))
        client.sendall(trail.signed_head("GET", "/bucket/k"))
        before = -1
        while sum(sent) > before:
            before = sum(sent)
            time.sleep(0.3)
        assert sum(sent) < MOST, "sockets hold some MB; the rest would be in memory"
    record = trail.record()
    assert 0 < record["additionalEventData"]["bytesTransferredOut"] < MOST


def test_a_server_that_stops_ends_its_relays_with_records(tmp_path: Path) -> None:
    """One download ends while the server waits for it, another never would: that one is cut off by a second signal."""
    go_on = threading.Event()

    def script(connection: StubConnection) -> None:
        request = connection.read()
        assert request is not None
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 3000000\r\n\r\n", b"x" * 2_000_000)
        if request.path.endswith("finite"):
            go_on.wait(10)
            connection.send(b"x" * 1_000_000)
        else:
            connection.wait_for_end()

    with run_stub_upstream() as stub:
        stub.play(script)
        server = LiveServer(tmp_path / "data", "--upstream", f"s3={stub.url}")
        server.start()
        try:
            key = {"aws_access_key_id": STRANGER.id, "aws_secret_access_key": STRANGER.secret}
            client = server.client("s3", key=key)
            bodies = {name: client.get_object(Bucket="bucket", Key=name)["Body"] for name in ("finite", "endless")}
            for body in bodies.values():
                assert len(body.read(1_000_000)) == 1_000_000
            stopping = threading.Thread(target=_stop_twice, args=(server,))
            stopping.start()
            time.sleep(0.3)
            go_on.set()
            assert len(bodies["finite"].read()) == 2_000_000
            with pytest.raises(BotoCoreError):
                bodies["endless"].read()
            stopping.join()
        finally:
            server.end()
        records = {each["requestParameters"]["key"]: each for each in _records(tmp_path / "data")}
    assert "errorCode" not in records["finite"]
    assert records["finite"]["additionalEventData"]["bytesTransferredOut"] == 3_000_000
    assert 1_000_000 <= records["endless"]["additionalEventData"]["bytesTransferredOut"] < 3_000_000
    assert "Traceback" not in server.log()


def _stop_twice(server: LiveServer) -> None:
    """SIGTERM, and a second one for the client that has not come to its end."""
    threading.Timer(1.5, os.kill, (server.pid, signal.SIGTERM)).start()
    assert server.stop() == 0


def _records(data: Path) -> list[dict[str, Any]]:
    journal = open_local_journal(data / "journal")
    try:
        entries = journal.read(journal.start - 1)
        return [json.loads(bytes(each.payload)) for each in entries if each.kind is not EntryKind.INTENT]
    finally:
        journal.close()
