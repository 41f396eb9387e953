"""Servers that are slow, endless or odd: an answer, or a sentence within the time that ``Patience`` allows."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from opentrail.core.errors import StoreError
from opentrail.verification.http_connection import HttpConnection, Origin, Patience, Proxy

PATIENCE = Patience(silence_seconds=0.3, grace_seconds=0.2, floor_bytes_per_second=10_000)
OK = b"HTTP/1.1 200 OK\r\n"
Script = Callable[[socket.socket], None]


@contextmanager
def serving(script: Script) -> Iterator[Origin]:
    """A server that does ``script`` with each request that comes, on each connection."""

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while connection.recv(65536):
                script(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield Origin(host="127.0.0.1", port=listener.getsockname()[1], is_tls=False)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def fetch(connection: HttpConnection, most: int = 1_000_000) -> bytes:
    data = b""
    for piece in connection.get("/key", "host: h\r\n").chunks():
        data += piece
        if len(data) > most:
            return data
    return data


def drip(head: bytes, piece: bytes = b"x") -> Script:
    def script(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(piece)
            time.sleep(0.03)

    return script


def flood(head: bytes, piece: bytes) -> Script:
    def script(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(piece * 100)

    return script


@pytest.mark.parametrize(
    ("script", "text"),
    [
        (lambda _: time.sleep(2), "timed out"),
        (drip(b""), "too slow"),
        (drip(b"HTTP/1.1 200 OK\r\nx: ", b"y"), "too slow"),
        (drip(OK + b"content-length: 5000\r\n\r\n"), "too slow"),
        (drip(OK + b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"), "too slow"),
        (drip(OK + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n"), "too slow"),
        (drip(OK + b"\r\n"), "too slow"),
        (drip(b"", b"HTTP/1.1 102 Processing\r\n\r\n"), "too slow|still to come"),
        (flood(OK, b"x: y\r\n"), "no end of header fields"),
        (flood(OK + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n"), "line that is too long"),
        (flood(OK + b"transfer-encoding: chunked\r\n\r\n1;", b"extension"), "line that is too long"),
        (flood(OK + b"transfer-encoding: chunked\r\n\r\n", b"0"), "line that is too long"),
        (flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "still to come"),
        (flood(b"", b"HTTP/1.1 102 Processing\r\nx: y\r\n\r\n"), "still to come"),
    ],
    ids=[
        "silent",
        "drips its head",
        "drips a field",
        "drips a body",
        "drips chunks",
        "drips trailers",
        "drips without a length",
        "drips interim answers",
        "endless fields",
        "endless trailers",
        "endless chunk extension",
        "endless chunk length",
        "endless 100",
        "endless 102",
    ],
)
def test_who_never_comes_to_an_end_is_left(script: Script, text: str) -> None:
    with serving(script) as origin:
        connection = HttpConnection(origin, None, patience=PATIENCE)
        began = time.monotonic()
        with pytest.raises(StoreError, match=text) as raised:
            fetch(connection)
        assert raised.value.retryable
        assert f"127.0.0.1:{origin.port}" in str(raised.value)
        assert time.monotonic() - began < 2
        assert not connection.is_usable


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"content-length: +5\r\n\r\nhello",
        OK + b"content-length: 1_0\r\n\r\nhello",
        OK + b"content-length: " + b"9" * 5000 + b"\r\n\r\nhello",
        OK + b"content-length: 5\r\ncontent-length: 4\r\n\r\nhello",
        OK + b"content-length: 4\r\nx: y\r\nContent-Length: 5\r\n\r\nhello",
        OK + b"content-length: 5, 4\r\n\r\nhello",
        OK + b"transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello!!\r\n0\r\n\r\n",
        OK + b"transfer-encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 2\xb2\xb2 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"ICY 200 OK\r\n\r\nhello",
    ],
)
def test_what_the_rfc_does_not_know_is_refused(answer: bytes) -> None:
    with serving(lambda connection: connection.sendall(answer)) as origin, pytest.raises(StoreError) as raised:
        fetch(HttpConnection(origin, None, patience=PATIENCE))
    assert raised.value.retryable


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"content-length: 5\r\n\r\nhello",
        OK + b"content-length: 5\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
        + OK
        + b"content-length: 5\r\n\r\nhello",
        OK + b"transfer-encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nx-trailer: y\r\n\r\n",
    ],
    ids=["plain", "a length twice", "behind interim answers", "in chunks"],
)
def test_a_whole_answer_is_read_and_the_connection_kept(answer: bytes) -> None:
    with serving(lambda connection: connection.sendall(answer)) as origin:
        connection = HttpConnection(origin, None, patience=PATIENCE)
        assert [fetch(connection), fetch(connection)] == [b"hello", b"hello"]
        assert connection.is_usable
        connection.close()


def test_a_field_that_comes_again_is_a_list() -> None:
    """Whoever takes the last one only, sees another signature than AWS's own clients do."""
    answer = OK + b"X-Amz-Meta-Signature: aa\r\nx-amz-meta-signature: bb\r\ncontent-length: 0\r\n\r\n"
    with serving(lambda connection: connection.sendall(answer)) as origin:
        connection = HttpConnection(origin, None, patience=PATIENCE)
        assert connection.get("/", "").fields["x-amz-meta-signature"] == "aa, bb"
        connection.close()


def test_bytes_behind_an_answer_are_never_the_next_ones() -> None:
    answer = OK + b"content-length: 5\r\n\r\nhello" + OK + b"content-length: 4\r\n\r\nevil"
    with serving(lambda connection: connection.sendall(answer)) as origin:
        connection = HttpConnection(origin, None, patience=PATIENCE)
        assert fetch(connection) == b"hello"
        assert not connection.is_usable


def test_time_that_the_reader_takes_is_not_the_servers() -> None:
    body = b"x" * 300_000
    answer = OK + b"content-length: %d\r\n\r\n" % len(body) + body
    with serving(lambda connection: connection.sendall(answer)) as origin:
        connection = HttpConnection(origin, None, patience=PATIENCE)
        data = b""
        for piece in connection.get("/key", "host: h\r\n").chunks():
            data += piece
            time.sleep(0.1)
        assert data == body
        connection.close()


def test_another_thread_can_end_a_wait() -> None:
    with serving(lambda _: time.sleep(5)) as origin:
        connection = HttpConnection(origin, None)
        threading.Timer(0.1, connection.abort).start()
        began = time.monotonic()
        with pytest.raises(StoreError):
            fetch(connection)
        assert time.monotonic() - began < 2


def test_a_proxy_that_wants_a_login_is_named() -> None:
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"
    with serving(lambda connection: connection.sendall(refusal)) as proxy:
        through = Proxy(host=proxy.host, port=proxy.port)
        with pytest.raises(
            StoreError, match=f"bucket.example: the proxy 127.0.0.1:{proxy.port} answers HTTP 407"
        ) as told:
            HttpConnection(Origin(host="bucket.example", port=443, is_tls=True), None, proxy=through, patience=PATIENCE)
        assert not told.value.retryable
