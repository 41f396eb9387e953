"""The HTTP/1.1 connection: httptools' parser, and what an AWS endpoint adds.

* A head over the limit is refused with 431, what is no request with 400; the connection is then closed.
* A client that lets the connection wait loses it (``check_patience``): one that does not finish its head, one that does
  not read its answer.  One that does not send the body it announced has its call answered first: the application gets
  an empty part where more was to come.
* Of a client that sends requests ahead of their answers nothing more is read until the last of them has its turn.
* No connection is upgraded, and no field behind a chunked body is a header (RFC 9110, section 6.5.1).
* A request carries the connection's TLS version and cipher suite, for ``tlsDetails``.

It takes the place of uvicorn's own protocol, whose ``Server`` makes it, counts its calls and ends it: without ASGI's
messages between the two a call costs 14 us less.  The request and its answer: ``http_exchange``.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

import httptools

from opentrail.core.http import Headers, HttpRequest, Tls
from opentrail.server.http_exchange import Exchange, Flow

CLIENT_TIMEOUT_SECONDS = 60
LINGER_SECONDS = 2  # how long a refused client may go on sending before the connection is closed under it

_REFUSAL = (
    b"<Error><Code>RequestHeaderSectionTooLarge</Code><Message>Your request header section exceeds the maximum "
    b"allowed request header section size.</Message></Error>"
)
_MISTAKE = b"Internal Server Error"
_TEXT = ("content-type", "text/plain; charset=utf-8")

log = logging.getLogger("opentrail.http")


class EndpointProtocol(asyncio.Protocol):
    """One connection.

    The application (``config.app``) answers an ``Exchange``, hears of refusals (``count_refusal``) and says how large a
    head may be (``max_header_bytes``).
    """

    def __init__(self, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> None:  # noqa: ARG002  uvicorn's signature
        self.loop: asyncio.AbstractEventLoop = _loop or asyncio.get_running_loop()
        self.transport: Any = None
        self._app: Any = config.app
        self._max_header_bytes: int = config.app.max_header_bytes
        self._keep_alive_seconds: float = config.timeout_keep_alive
        self._state = server_state
        self._parser: Any = httptools.HttpRequestParser(self)
        # An answer may close the connection before all that came with its request is read.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._source_ip = ""
        self._tls: Tls | None = None
        self._flow: Flow
        self._waiting: deque[Exchange] = deque()  # requests that were sent ahead, the next one first
        self._answering: Exchange | None = None
        self._exchange: Exchange | None = None  # the last that began: its body may still be read
        self._url = b""
        self._headers: list[tuple[str, str]] = []
        self._expects_continue = False
        self._head_bytes = 0  # of the head that is being read; what the parser holds back counts as well
        self._in_head = True
        self._one_ended = False  # a request, within the bytes that are being read
        self._too_large = False
        self._refused = False
        self._heard_at = self.loop.time()
        self._write_paused_at = 0.0

    # ------------------------------------------------------------------------- the connection

    def connection_made(self, transport: Any) -> None:
        """A client connected: note its address and its TLS parameters."""
        self._state.connections.add(self)
        self.transport = transport
        self._flow = Flow(transport, self._waiting)
        peer = transport.get_extra_info("peername")
        self._source_ip = str(peer[0]) if isinstance(peer, tuple) else ""
        ssl_object = transport.get_extra_info("ssl_object")
        if ssl_object is not None:
            cipher = ssl_object.cipher()
            self._tls = Tls(version=ssl_object.version() or "", cipher_suite=cipher[0] if cipher else "")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        """The client is gone; what it asked for is carried out all the same."""
        self._state.connections.discard(self)
        for exchange in (self._answering, self._exchange):
            if exchange is not None:
                exchange.lose()
        self._flow.resume_writing()
        self.transport.close()
        self._parser = self._answering = self._exchange = None  # it refers to this, and this to it
        self._waiting.clear()

    def shutdown(self) -> None:
        """The server ends: close as soon as nothing is owed."""
        if self._exchange is None or self._exchange.is_complete:
            self.transport.close()
        else:
            self._exchange.keep_alive = False

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._refused:
            return
        self._heard_at = self.loop.time()
        self._one_ended = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._refuse()
            return
        except httptools.HttpParserUpgrade:
            pass  # not taken: the request is answered, and the connection closed
        if self._in_head and not self._one_ended and not self.transport.is_closing():  # else most was that one's
            self._head_bytes += len(data)
            if self._head_bytes > 2 * self._max_header_bytes:  # each byte may count here and in on_header
                self._too_large = True
                self._refuse()

    def pause_writing(self) -> None:
        """The client reads more slowly than it is answered."""
        self._write_paused_at = self.loop.time()
        self._flow.pause_writing()

    def resume_writing(self) -> None:
        """The client has read on."""
        self._flow.resume_writing()

    def check_patience(self, now: float) -> None:
        """Give up on a client that lets the connection wait; ``now`` is the loop's time.  To be called now and then."""
        exchange = self._exchange
        if self._flow.write_paused:
            if now - self._write_paused_at > CLIENT_TIMEOUT_SECONDS:
                self.transport.abort()
        elif exchange is not None and exchange.is_complete and not self._in_head:
            if now - self._heard_at > self._keep_alive_seconds:
                self.transport.close()
        elif now - self._heard_at <= CLIENT_TIMEOUT_SECONDS or self.transport.is_closing():
            return
        elif self._in_head:
            self.transport.close()
        elif exchange is not None and exchange.more_body and not (exchange.is_complete or exchange.is_cut_off):
            if self._flow.read_paused or exchange.has_unread:
                return  # the application is the slow one
            exchange.cut_off()

    # ------------------------------------------------------------------------- the parser's callbacks

    def on_message_begin(self) -> None:
        """A request begins."""
        self._url = b""
        self._headers = []
        self._expects_continue = False
        self._in_head = True
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A part of the request's target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or one field behind a chunked body, is complete."""
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes + len(self._url) > self._max_header_bytes:
            self._too_large = True
            raise ValueError("the head is too large")  # stops the parser, and the request is refused
        if not self._in_head:
            return  # a trailer field of a chunked body: taken for a header it would be what no signature covers
        name = name.lower()
        if name == b"transfer-encoding" and value.lower() != b"chunked":
            raise ValueError("a body that ends where the connection does")  # RFC 9112, 6.3: refused
        if name == b"expect" and value.lower() == b"100-continue":
            self._expects_continue = True
        self._headers.append((name.decode("latin-1"), value.decode("latin-1").strip()))

    def on_headers_complete(self) -> None:
        """The head is complete: the request has its turn, or waits for it."""
        self._in_head = False
        parser = self._parser
        headers = Headers(self._headers)
        upgrade = parser.should_upgrade()
        if upgrade and ("content-length" in headers or "transfer-encoding" in headers):
            raise ValueError("the parser would take the body for another protocol")
        path, query = _target(self._url)
        version = parser.get_http_version()
        self._exchange = exchange = Exchange(
            HttpRequest(
                method=parser.get_method().decode("ascii"),
                path=path,
                query=query,
                headers=headers,
                source_ip=self._source_ip,
                tls=self._tls,
            ),
            self.transport,
            self._flow,
            version=version,
            keep_alive=not upgrade and version != "1.0" and parser.should_keep_alive(),
            expects_continue=self._expects_continue,
            state=self._state,
            done=self._on_answered,
        )
        if self._answering is None:
            self._begin(exchange)
        else:
            self._waiting.append(exchange)
            self._flow.pause_reading()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self._exchange is not None:
            self._exchange.feed(body)

    def on_message_complete(self) -> None:
        """The body is complete."""
        self._one_ended = True
        if self._exchange is not None:
            self._exchange.feed_end()

    # ------------------------------------------------------------------------- answers

    def _begin(self, exchange: Exchange) -> None:
        self._answering = exchange
        self._state.tasks.add(self.loop.create_task(self._answer(exchange)))

    async def _answer(self, exchange: Exchange) -> None:
        try:
            await self._app(exchange)
        except Exception:  # the boundary: a mistake of our own costs this connection alone
            log.exception("an answer could not be sent")
            if not exchange.is_started:
                exchange.keep_alive = False
                await exchange.answer(500, (_TEXT,), _MISTAKE)
        finally:
            if not exchange.is_complete:  # it ends short, and the client is to see that
                self.transport.close()
            self._state.tasks.discard(asyncio.current_task())

    def _on_answered(self) -> None:
        """An answer was sent: the next request that waits has its turn, or the connection may rest."""
        self._state.total_requests += 1
        self._heard_at = self.loop.time()
        self._answering = None
        if self.transport.is_closing():
            return
        waiting = self._waiting
        following = waiting.popleft() if waiting else None
        self._flow.resume_reading()
        if following is not None:
            self._begin(following)

    def _refuse(self) -> None:
        """Refuse what cannot be read as a request, and close."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        exchange = self._exchange
        if exchange is not None and not exchange.is_complete:
            # A request before this one is being answered, and a refusal now would be taken for its answer.
            exchange.cut_off()
            return
        status, content_type, body = "400 Bad Request", _TEXT[1].encode(), b"Invalid HTTP request received."
        if self._too_large:
            status, content_type, body = "431 Request Header Fields Too Large", b"application/xml", _REFUSAL
        self._app.count_refusal("RequestHeaderSectionTooLarge" if self._too_large else "BadRequest")
        head = (
            f"HTTP/1.1 {status}\r\ncontent-type: {content_type.decode()}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        if self.transport.can_write_eof():
            # Closed with bytes unread, the kernel would reset the connection, and the client might never see why.
            self.transport.write_eof()
            self.loop.call_later(LINGER_SECONDS, self.transport.close)
        else:
            self.transport.close()


def _target(url: bytes) -> tuple[str, str]:
    """Path and query of a request's target (RFC 9112, section 3.2).  Raises ``ValueError``."""
    if url[:1] != b"/" or b"#" in url:
        parsed = httptools.parse_url(url)
        path, query = parsed.path or b"/", parsed.query or b""
    else:
        path, _, query = url.partition(b"?")
    return path.decode("ascii"), query.decode("latin-1")
