"""Answers as bytes: how each is framed, and what cannot be sent as it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from opentrail.core.http import HttpRequest
from opentrail.server.http_exchange import HIGH_WATER_BYTES, Exchange, Flow

LENGTH = (("content-length", "4"),)


class Wire:
    """A transport whose other end is the test."""

    def __init__(self) -> None:
        self.written = b""
        self.is_closed = False
        self.is_read = True

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True


Act = Callable[[Exchange], Coroutine[Any, Any, None]]


def sent(act: Act, *, method: str = "GET", version: str = "1.1", expects: bool = False) -> Wire:
    """What a client got of an exchange that was answered by ``act``."""
    wire = Wire()

    async def run() -> None:
        exchange = Exchange(
            HttpRequest(method=method, path="/"),
            wire,
            Flow(wire, ()),
            version=version,
            keep_alive=version != "1.0",
            expects_continue=expects,
            state=SimpleNamespace(default_headers=[(b"date", b"today")]),
            done=lambda: None,
        )
        await act(exchange)

    asyncio.run(run())
    return wire


async def in_parts(exchange: Exchange) -> None:
    await exchange.start(200, ())
    await exchange.write(b"ab")
    await exchange.write(b"")
    await exchange.write(b"cd")
    await exchange.end()


def test_an_answer_at_hand_is_one_message_with_its_length() -> None:
    wire = sent(lambda exchange: exchange.answer(200, (("X-Amz-Id", "é"),), b"abcd"))
    assert wire.written == b"HTTP/1.1 200 OK\r\ndate: today\r\nx-amz-id: \xe9\r\ncontent-length: 4\r\n\r\nabcd"
    assert not wire.is_closed


def test_parts_without_a_length_are_chunks() -> None:
    wire = sent(in_parts)
    assert wire.written.endswith(b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n")


def test_a_client_of_http_1_0_gets_no_chunks_but_the_end_of_the_connection() -> None:
    wire = sent(in_parts, version="1.0")
    assert b"transfer-encoding" not in wire.written
    assert wire.written.endswith(b"connection: close\r\n\r\nabcd")
    assert wire.is_closed


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_has_no_body_declares_none(status: int) -> None:
    assert b"content-length" not in sent(lambda exchange: exchange.answer(status, (), b"")).written


def test_head_gets_the_length_and_no_body() -> None:
    wire = sent(lambda exchange: exchange.answer(200, LENGTH, b""), method="HEAD")
    assert wire.written.endswith(b"content-length: 4\r\n\r\n")


@pytest.mark.parametrize(
    "act",
    [
        lambda exchange: exchange.answer(200, (("x-amz-meta-a", "b\r\nc: d"),), b""),
        lambda exchange: exchange.answer(200, LENGTH, b"abc"),
    ],
)
def test_what_would_break_the_framing_is_not_sent(act: Act) -> None:
    def refused(exchange: Exchange) -> Coroutine[Any, Any, None]:
        async def run() -> None:
            with pytest.raises(ValueError, match=r"header|declared"):
                await act(exchange)
            assert not exchange.is_started

        return run()

    assert sent(refused).written == b""


@pytest.mark.parametrize("parts", [(b"abc",), (b"abc", b"de")])
def test_a_body_that_is_not_as_long_as_declared(parts: tuple[bytes, ...]) -> None:
    async def rest(exchange: Exchange) -> None:
        for part in parts:
            await exchange.write(part)
        await exchange.end()

    async def act(exchange: Exchange) -> None:
        await exchange.start(200, LENGTH)
        with pytest.raises(ValueError, match="than its head declared"):
            await rest(exchange)
        assert not exchange.is_complete

    sent(act)


def test_continue_is_said_once_and_only_to_who_asks() -> None:
    async def act(exchange: Exchange) -> None:
        exchange.feed_end()
        assert await exchange.receive() == (b"", False)

    assert sent(act, expects=True).written == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert b"100" not in sent(lambda exchange: exchange.answer(200, (), b""), expects=True).written


def test_a_body_that_nobody_takes_is_not_read_on() -> None:
    async def act(exchange: Exchange) -> None:
        exchange.feed(bytes(HIGH_WATER_BYTES + 1))

    assert not sent(act).is_read

    async def take(exchange: Exchange) -> None:
        await act(exchange)
        assert await exchange.receive() == (bytes(HIGH_WATER_BYTES + 1), True)

    assert sent(take).is_read


def test_a_client_that_is_gone() -> None:
    async def act(exchange: Exchange) -> None:
        exchange.lose()
        assert await exchange.receive() is None
        await in_parts(exchange)
        await exchange.answer(200, (), b"abcd")

    assert sent(act).written == b""
