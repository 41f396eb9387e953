"""One request on its connection and the answer to it: ``Exchange``.

Rules:

* An answer that is at hand in full leaves in one write: half the system calls of two, and no client ever sees a head
  whose body a crash has kept back.
* ``100 Continue`` is sent when somebody asks for the body, and never after the answer (RFC 9110, section 10.1.1).
* Not more than ``HIGH_WATER_BYTES`` of a body wait here: the client is then not read from until they are taken.
* What is written to a client that is gone goes nowhere; an answer that cannot be sent as it is raises ``ValueError``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence, Sized
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from opentrail.core.http import HttpRequest

HIGH_WATER_BYTES = 64 << 10

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_WITHOUT_BODY = frozenset({204, 304})
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

Pairs = Sequence[tuple[str, str]]


class Flow:
    """How fast the two ends of a connection may send; ``waiting`` are the requests that wait for their turn."""

    def __init__(self, transport: Any, waiting: Sized) -> None:
        self._transport = transport
        self._waiting = waiting
        self._writable = asyncio.Event()
        self._writable.set()
        self.read_paused = False
        self.write_paused = False

    def pause_reading(self) -> None:
        """Read nothing more from the client for now."""
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on, unless a request waits already: of a client that sends ahead nothing more is wanted."""
        if self.read_paused and not self._waiting:
            self.read_paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """The client reads more slowly than it is answered."""
        self.write_paused = True
        self._writable.clear()

    def resume_writing(self) -> None:
        """The client has read on, or is gone."""
        self.write_paused = False
        self._writable.set()

    async def drain(self) -> None:
        """Wait until more may be written."""
        await self._writable.wait()


class Exchange:
    """One request, its body as it comes, and its answer.

    ``keep_alive``: the connection may be used after it.  ``is_complete``: the answer was sent; ``done`` is called then.
    ``is_cut_off``: no more of the body is waited for.
    ``state`` is uvicorn's, whose ``default_headers`` each answer has.
    """

    __slots__ = (
        "_arrival",
        "_chunked",
        "_done",
        "_expects_continue",
        "_flow",
        "_left",
        "_parts",
        "_size",
        "_state",
        "_stirred",
        "_transport",
        "_version",
        "is_complete",
        "is_cut_off",
        "is_gone",
        "is_started",
        "keep_alive",
        "more_body",
        "request",
    )

    def __init__(
        self,
        request: HttpRequest,
        transport: Any,
        flow: Flow,
        *,
        version: str,
        keep_alive: bool,
        expects_continue: bool,
        state: Any,
        done: Callable[[], None],
    ) -> None:
        self.request = request
        self.keep_alive = keep_alive
        self.more_body = True
        self.is_started = self.is_complete = self.is_gone = self.is_cut_off = False
        self._transport = transport
        self._flow = flow
        self._version = version  # of HTTP: "1.1"
        self._expects_continue = expects_continue
        self._state = state
        self._done = done
        self._parts: list[bytes] = []
        self._size = 0  # of the parts
        self._stirred = False  # something came or happened since ``receive`` was asked last
        self._arrival: asyncio.Event | None = None  # where ``receive`` waits for that
        self._chunked = False
        self._left: int | None = None  # of the answer's declared length

    @property
    def is_last(self) -> bool:
        """Whether the client means to send nothing behind this request."""
        return self._version == "1.0" or "close" in self.request.headers.get("connection").lower()

    # ------------------------------------------------------------------------- the request's body

    @property
    def has_unread(self) -> bool:
        """Whether the application has not taken all that came."""
        return bool(self._parts)

    def feed(self, part: bytes) -> None:
        """A part of the body came."""
        if not self.is_complete:
            self._parts.append(part)
            self._size += len(part)
            if self._size > HIGH_WATER_BYTES:
                self._flow.pause_reading()
            self.stir()

    def feed_end(self) -> None:
        """The body is complete."""
        if not self.is_complete:
            self.more_body = False
            self.stir()

    def lose(self) -> None:
        """The client is gone."""
        self.is_gone = not self.is_complete
        self.stir()

    def stir(self) -> None:
        """Let ``receive`` return, with whatever there is."""
        self._stirred = True
        if self._arrival is not None:
            self._arrival.set()

    def cut_off(self) -> None:
        """No more of the body will come: ``receive`` gives one empty part when the others are taken."""
        self.keep_alive = False
        self.is_cut_off = True
        self.stir()

    async def receive(self) -> tuple[bytes, bool] | None:
        """The body's next part, and whether more is to come; None once the client is gone or the answer was sent."""
        if self._expects_continue:
            self._expects_continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._flow.resume_reading()
        if not (self._stirred or self.is_gone or self.is_complete):
            if self._arrival is None:
                self._arrival = asyncio.Event()
            self._arrival.clear()
            await self._arrival.wait()
        parts = self._parts
        self._stirred = self.is_cut_off and bool(parts)  # once more, and then never again
        if self.is_gone or self.is_complete:
            return None
        part = parts[0] if len(parts) == 1 else b"".join(parts)
        self._parts, self._size = [], 0
        return part, self.more_body

    # ------------------------------------------------------------------------- the answer

    async def answer(self, status: int, headers: Pairs, body: bytes) -> None:
        """Send an answer that is at hand in full.  Raises ``ValueError``."""
        if self._flow.write_paused:
            await self._flow.drain()
        if self.is_gone:
            return
        without_body = status in _WITHOUT_BODY or self.request.method == "HEAD"
        head = self._head(status, headers, None if without_body else len(body))
        self._transport.write(head if without_body else head + body)
        self._finish()

    async def start(self, status: int, headers: Pairs) -> None:
        """Send the head of an answer whose body follows in parts.  Raises ``ValueError``."""
        if self._flow.write_paused:
            await self._flow.drain()
        if self.is_gone:
            return
        framing: Pairs = ()
        without_body = status in _WITHOUT_BODY or self.request.method == "HEAD"
        length = next((value for name, value in headers if name.lower() == "content-length"), None)
        if without_body:
            self._left = 0
        elif length is not None:
            self._left = int(length)
        elif self._version != "1.0":  # such a client reads to the connection's end
            self._chunked = True
            framing = (("transfer-encoding", "chunked"),)
        self._transport.write(self._head(status, (*headers, *framing), None))

    async def write(self, part: bytes) -> None:
        """Send a part of the body.  Raises ``ValueError`` where it is more than the head declared."""
        if self._flow.write_paused:
            await self._flow.drain()
        if self.is_gone or not part or self.request.method == "HEAD":
            return
        if self._chunked:
            part = b"%x\r\n%b\r\n" % (len(part), part)
        elif self._left is not None:
            self._left -= len(part)
            if self._left < 0:
                raise ValueError("an answer's body is longer than its head declared")
        self._transport.write(part)

    async def end(self) -> None:
        """The answer is complete.  Raises ``ValueError`` where it is less than the head declared."""
        if self.is_gone:
            return
        if self._left:
            raise ValueError("an answer's body is shorter than its head declared")
        if self._chunked:
            self._transport.write(b"0\r\n\r\n")
        self._finish()

    def _head(self, status: int, headers: Pairs, length: int | None) -> bytes:
        """The answer's head; ``length`` is that of a body at hand, which it declares."""
        lines = [_STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n", _lines(tuple(self._state.default_headers))]
        closes = False
        for given, value in headers:
            name = given.lower()
            if not value.isprintable() and _CONTROL.search(value):
                raise ValueError(f"the header {name} holds a control character")
            if name == "connection":
                closes = "close" in value.lower()
            elif name == "content-length" and length is not None:
                if value != str(length):
                    raise ValueError(f"a body of {length} bytes is declared with {value}")
                length = None
            lines.append(f"{name}: {value}\r\n")
        if length is not None:
            lines.append(f"content-length: {length}\r\n")
        if closes:
            self.keep_alive = False
        elif not self.keep_alive:
            lines.append("connection: close\r\n")
        self.is_started = True
        self._expects_continue = False
        lines.append("\r\n")
        return "".join(lines).encode("latin-1", "replace")

    def _finish(self) -> None:
        self.is_complete = True
        self.stir()
        if not self.keep_alive:
            self._transport.close()
        self._done()


@lru_cache(maxsize=4)
def _lines(headers: tuple[tuple[bytes, bytes], ...]) -> str:
    """Header lines of what changes once a second: the date."""
    return "".join([f"{name.decode()}: {value.decode()}\r\n" for name, value in headers])
