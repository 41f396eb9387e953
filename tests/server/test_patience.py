"""Clients that let the server wait: they lose the connection, and their calls are answered and recorded first."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn

from opentrail.server import http_protocol
from opentrail.server.app import Application
from opentrail.server.http_protocol import EndpointProtocol


@pytest.fixture
def hasty(local: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``local`` behind a socket whose patience ends after half a second."""
    monkeypatch.setattr(http_protocol, "CLIENT_TIMEOUT_SECONDS", 0.5)
    app: Any = Application(local.runtime.door, max_header_bytes=32 << 10)
    config = uvicorn.Config(
        app,
        http=EndpointProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=1,
    )

    async def listen() -> tuple[asyncio.Server, list[EndpointProtocol]]:
        config.load()
        made: list[EndpointProtocol] = []

        def connect() -> EndpointProtocol:
            made.append(EndpointProtocol(config, uvicorn.server.ServerState(), {}))
            return made[-1]

        server = await asyncio.get_running_loop().create_server(connect, "127.0.0.1", 0)

        async def look() -> None:
            while True:
                await asyncio.sleep(0.1)
                for protocol in made:
                    protocol.check_patience(asyncio.get_running_loop().time())

        local.watch = asyncio.ensure_future(look())
        return server, made

    server, _ = asyncio.run_coroutine_threadsafe(listen(), local.loop).result(10)
    local.port = server.sockets[0].getsockname()[1]
    yield local

    async def close() -> None:
        local.watch.cancel()
        server.close()

    asyncio.run_coroutine_threadsafe(close(), local.loop).result(10)


def talk(port: int, *parts: bytes) -> tuple[bytes, float]:
    """Send ``parts`` and read to the end; what came, and after how many seconds the connection was closed."""
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(0.05)
        data = b""
        while received := connection.recv(65536):
            data += received
    return data, time.monotonic() - start


def test_a_connection_that_rests_is_kept_for_its_time_after_each_answer(hasty: Any) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=10) as connection:
        for _ in range(3):  # for longer than the patience with a client that owes something
            connection.sendall(request)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
            time.sleep(0.7)
    data, seconds = talk(hasty.port, request)
    assert data.startswith(b"HTTP/1.1 200 ")
    assert 0.9 < seconds < 3


@pytest.mark.parametrize("begun", [b"", b"GE", b"GET / HTTP/1.1\r\nHost:"])
def test_a_head_that_is_not_finished(hasty: Any, begun: bytes) -> None:
    data, seconds = talk(hasty.port, *([begun] if begun else []))
    assert data == b""
    assert 0.4 < seconds < 3


def test_a_body_that_does_not_come_is_a_recorded_timeout(hasty: Any, on_the_wire: Callable[..., bytes]) -> None:
    hasty.client("s3").create_bucket(Bucket="bucket")
    for size in (1000, 3 << 20):
        request = on_the_wire(hasty.sign("PUT", f"/bucket/{size}", service="s3", body=bytes(size)), close=False)
        data, seconds = talk(hasty.port, request[: -size // 2])
        assert data.startswith(b"HTTP/1.1 400")
        assert b"<Code>RequestTimeout</Code>" in data
        assert b"connection: close" in data
        assert 0.4 < seconds < 3
    records = [record for record in hasty.records() if record["eventName"] == "PutObject"]
    assert [record["errorCode"] for record in records] == ["RequestTimeout"] * 2
    assert "Contents" not in hasty.client("s3").list_objects_v2(Bucket="bucket")


def test_a_last_request_whose_body_does_not_come(hasty: Any, on_the_wire: Callable[..., bytes]) -> None:
    hasty.client("s3").create_bucket(Bucket="bucket")
    request = on_the_wire(hasty.sign("PUT", "/bucket/key", service="s3", body=bytes(1000)), close=True)
    data, seconds = talk(hasty.port, request[:-500])
    assert b"<Code>RequestTimeout</Code>" in data
    assert seconds < 3


def test_a_body_that_comes_slowly_is_no_timeout(hasty: Any, on_the_wire: Callable[..., bytes]) -> None:
    hasty.client("s3").create_bucket(Bucket="bucket")
    request = on_the_wire(hasty.sign("PUT", "/bucket/key", service="s3", body=bytes(1000)))
    parts = [request[at : at + len(request) // 20] for at in range(0, len(request), len(request) // 20)]
    data, seconds = talk(hasty.port, *parts)
    assert data.startswith(b"HTTP/1.1 200")
    assert seconds > 0.9


def test_an_answer_that_nobody_reads(hasty: Any, on_the_wire: Callable[..., bytes]) -> None:

    s3 = hasty.client("s3")
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="key", Body=bytes(32 << 20))
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=10) as connection:
        connection.sendall(on_the_wire(hasty.sign("GET", "/bucket/key", service="s3")))
        time.sleep(2)
        received = 0
        try:
            while part := connection.recv(1 << 20):
                received += len(part)
        except ConnectionResetError:
            pass
    assert received < 32 << 20
