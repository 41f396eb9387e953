"""One HTTP/1.1 connection to an upstream: a request out, its answer in, both as they come.

Rules:

* An answer that is complete within ``KEPT_BYTES`` is handed over whole; a longer one, and one that its reader wants so,
  from its head on, its body as a stream.  Some ``WAITING_BYTES`` wait for a slow reader, then the upstream waits.
* What goes wrong is an ``UpstreamError``, whose ``reason`` says what and whose ``heard`` says whether a byte of the
  answer came.  An upstream that is silent for ``read_timeout`` seconds while it is its turn is given up.
* An informational answer (1xx) is no answer; a switch of protocols was never asked for.
* The end of the connection is the end of an answer only where nothing else is (RFC 9112, section 6.3).
* Used by the event loop's thread alone, for one exchange at a time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple

import httptools

from opentrail.core.errors import OpentrailError

KEPT_BYTES = 1 << 20
WAITING_BYTES = 256 << 10  # of a stream: a slow reader's connection holds as much again on its way out
MAX_HEAD_BYTES = 64 << 10

Pairs = list[tuple[str, str]]
WantsStream = Callable[[int, Pairs], bool]


class Reason(StrEnum):
    """What an upstream failed at, in the words of the client's error message."""

    UNREACHABLE = "The upstream of this service could not be reached"
    UNTRUSTED = "The upstream of this service showed a certificate that is not trusted"
    KEY_REFUSED = "The upstream of this service does not take the credentials that Opentrail has for it"
    BUSY = "All connections to the upstream of this service are busy"
    SILENT = "The upstream of this service did not answer in time"
    CLOSED = "The upstream of this service closed the connection without an answer"
    CUT = "The upstream of this service closed the connection before its answer was complete"
    GARBAGE = "The upstream of this service answered with something that is not HTTP"
    LARGE_HEAD = "The upstream of this service answered with a header section that is too large"


class UpstreamError(OpentrailError):
    """An exchange failed.  ``sent``: a part of the request has left; ``heard``: a part of the answer has come."""

    def __init__(self, reason: Reason, *, sent: bool = True, heard: bool = False) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.sent = sent
        self.heard = heard


class UpstreamAnswer(NamedTuple):
    """An answer: whole, or with ``body`` None, from its head on; header names are lower case."""

    status: int
    headers: Pairs
    body: bytes | None


class _TooLargeError(Exception):
    """Stops the parser."""


class UpstreamConnection(asyncio.Protocol):
    """A connection.  ``begin``, ``write`` (or ``send``), ``ended``, then ``answer``; ``read`` for a streamed body.

    ``on_lost`` hears when the connection is gone.
    """

    def __init__(self, read_timeout: float, on_lost: Callable[[UpstreamConnection], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._read_timeout = read_timeout
        self._on_lost = on_lost
        self._transport: Any = None
        self._lost = False
        self._busy = False
        self._writable: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.idle_since = 0.0
        self.used = False  # an exchange was completed on it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._lost = True
        if self._busy and not self._complete:
            if self._until_close and exc is None:
                self._finish()
            else:
                self._fail(Reason.CUT if self._heard else Reason.CLOSED)
        self._wake_writer()
        if self._timer is not None:
            self._timer.cancel()
        self._on_lost(self)

    def pause_writing(self) -> None:
        """The upstream reads more slowly than it is written to."""
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._heard_at = self._loop.time()
        self._wake_writer()

    def _wake_writer(self) -> None:
        waiting, self._writable = self._writable, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    # The request.

    def begin(self, *, head_only: bool, wants_stream: WantsStream) -> None:
        """Begin an exchange, of a HEAD (``head_only``).  ``wants_stream`` is asked when the answer's head is there."""
        self._busy = True
        self._head_only = head_only
        self._wants_stream = wants_stream
        self._parser = httptools.HttpResponseParser(self)
        self._in_head = True
        self._head_bytes = 0
        self._status = 0
        self._headers: Pairs = []
        self._heard = False
        self._sent_all = False
        self._complete = False
        self._until_close = False
        self._keep_alive = False
        self._declared: int | None = None  # the body's length
        self._left: int | None = None  # of it, once its first part came
        self._streaming = False
        self._parts: deque[bytes] = deque()
        self._came = 0  # bytes of the body
        self._kept = 0  # those that nobody has read
        self._reading_paused = False
        self._failure: UpstreamError | None = None
        self._continued: asyncio.Future[None] | None = None
        self._answer: asyncio.Future[UpstreamAnswer] = self._loop.create_future()
        self._reader: asyncio.Future[None] | None = None
        self._heard_at = self._loop.time()
        self._our_turn = True
        if self._timer is None:  # one serves exchange after exchange: it finds out by itself how long to go on
            self._timer = self._loop.call_later(self._read_timeout, self._check_silence)

    def send(self, data: bytes) -> None:
        """Write a request that is at hand in full."""
        self._transport.write(data)
        self.ended()

    async def write(self, data: bytes) -> bool:
        """Write a part of the request and wait until there is room for more; False when no more is wanted."""
        if self._answer.done() or self._lost:
            return False
        self._transport.write(data)
        self._our_turn = False
        self._heard_at = self._loop.time()
        waiting = self._writable
        if waiting is not None:
            await waiting
        self._our_turn = True
        return not (self._answer.done() or self._lost)

    def ended(self) -> None:
        """The request has been written to its end."""
        self._sent_all = True
        self._our_turn = False
        self._heard_at = self._loop.time()

    async def continued(self, seconds: float) -> bool:
        """Wait for ``100 Continue``, at most ``seconds``; False when an answer, or the end, came in its place."""
        self._continued = self._loop.create_future()
        timer = self._loop.call_later(seconds, self._go_on)
        try:
            await self._continued
        finally:
            timer.cancel()
            self._continued = None
        return not self._answer.done()

    def _go_on(self) -> None:
        if self._continued is not None and not self._continued.done():
            self._continued.set_result(None)

    # The answer.

    def answer(self) -> asyncio.Future[UpstreamAnswer]:
        """The answer, or an ``UpstreamError``."""
        return self._answer

    async def read(self) -> bytes:
        """What has come of a streamed body; ``b""`` at its end.  Raises ``UpstreamError``."""
        while not self._parts:
            if self._failure is not None:
                raise self._failure
            if self._complete:
                return b""
            self._reader = self._loop.create_future()
            await self._reader
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._kept = 0
        if self._reading_paused and not self._lost:
            self._reading_paused = False
            self._heard_at = self._loop.time()
            self._transport.resume_reading()
        return data

    @property
    def is_reusable(self) -> bool:
        """Whether another exchange may follow the one that is over."""
        return self._complete and self._keep_alive and self._sent_all and not self.is_closing

    @property
    def is_closing(self) -> bool:
        """Whether it is gone, or going."""
        return self._lost or self._transport.is_closing()

    def rest(self) -> None:
        """The exchange is over, and another one may follow."""
        self._busy = False
        self.used = True
        self.idle_since = self._loop.time()

    def abort(self) -> None:
        """Let go of the connection at once; whoever waits for its answer hears ``CLOSED`` or ``CUT``."""
        if self._transport is not None:
            self._transport.abort()
        if self._busy and not self._complete:
            self._fail(Reason.CUT if self._heard else Reason.CLOSED)
        self._busy = False

    def _check_silence(self) -> None:
        self._timer = None
        if not self._busy or self._complete or self._failure is not None:
            return
        now = self._loop.time()
        if self._our_turn or self._reading_paused:
            self._heard_at = now
        left = self._heard_at + self._read_timeout - now
        if left > 0.001:
            self._timer = self._loop.call_later(left, self._check_silence)
        else:
            self._fail(Reason.SILENT)
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes from the upstream."""
        if not self._busy or self._complete or self._failure is not None:
            self._keep_alive = False  # more than was asked for
            self._transport.abort()
            return
        self._heard = True
        self._heard_at = self._loop.time()
        if self._left is not None:
            self._take(data)
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._complete:  # else it is the rest of a HEAD's answer, which should have none
                too_large = isinstance(error.__context__, _TooLargeError)
                self._fail(Reason.LARGE_HEAD if too_large else Reason.GARBAGE)
            self._keep_alive = False
            self._transport.abort()
            return
        if self._declared is not None:
            self._left = self._declared - self._came
        elif self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > 2 * MAX_HEAD_BYTES:  # each byte may count here and in on_header
                self._fail(Reason.LARGE_HEAD)
                self._transport.abort()

    def on_message_begin(self) -> None:
        """An answer begins, perhaps an informational one."""
        self._headers = []
        self._in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header is complete."""
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > MAX_HEAD_BYTES:
            raise _TooLargeError
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1").strip()))

    def on_headers_complete(self) -> None:
        """The head is complete."""
        status = self._parser.get_status_code()
        if status < 200:
            if status == 101:
                raise ValueError("nobody asked for another protocol")  # stops the parser
            return
        if status > 599:
            raise ValueError("no such status")
        self._status = status
        self._in_head = False
        connection = [value.lower() for name, value in self._headers if name == "connection"]
        is_new = self._parser.get_http_version() != "1.0"
        self._keep_alive = "close" not in ",".join(connection) if is_new else "keep-alive" in connection
        if self._head_only or status in {204, 304}:
            self._finish()
            return
        framing = {name: value for name, value in self._headers if name in {"content-length", "transfer-encoding"}}
        if "transfer-encoding" not in framing:
            self._until_close = "content-length" not in framing
            self._declared = None if self._until_close else int(framing["content-length"])
        if self._wants_stream(status, self._headers):
            self._hand_over_head()

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        if self._complete:
            self._keep_alive = False  # after a HEAD
        else:
            self._keep(data)

    def on_message_complete(self) -> None:
        """The answer is complete; not called for one that ends with the connection."""
        if not self._status:
            if self._parser.get_status_code() == 100:
                self._go_on()
        elif not self._complete:
            self._finish()

    def _take(self, data: bytes) -> None:
        """The next bytes of a body of known length: they need no parser, and no copy."""
        assert self._left is not None, "the length is known"
        if len(data) > self._left:
            self._keep_alive = False
            data = data[: self._left]
        self._left -= len(data)
        self._keep(data)
        if not self._left:
            self._finish()

    def _keep(self, data: bytes) -> None:
        self._parts.append(data)
        self._came += len(data)
        self._kept += len(data)
        if self._kept <= KEPT_BYTES and not self._streaming:
            return
        if not self._streaming:
            self._hand_over_head()
        self._wake_reader()
        if self._kept > WAITING_BYTES and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    def _hand_over_head(self) -> None:
        self._streaming = True
        if not self._answer.done():
            self._answer.set_result(UpstreamAnswer(self._status, self._headers, None))
        self._go_on()

    def _finish(self) -> None:
        self._complete = True
        if self._streaming:
            self._wake_reader()
        elif not self._answer.done():
            body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            self._answer.set_result(UpstreamAnswer(self._status, self._headers, body))
        self._go_on()
        self._wake_writer()

    def _fail(self, reason: Reason) -> None:
        if self._failure is None:
            self._failure = UpstreamError(reason, heard=self._heard)
        if not self._answer.done():
            self._answer.set_exception(self._failure)
            self._answer.exception()  # whoever has gone away need not be told
        self._wake_reader()
        self._go_on()
        self._wake_writer()

    def _wake_reader(self) -> None:
        waiting, self._reader = self._reader, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
