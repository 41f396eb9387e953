"""Request bodies between the event loop and the services.

A body is read either whole (``read_whole``: at most a given size) or as a stream that a service pulls from its own
thread (``StreamedPayload``), never more than about a megabyte ahead, so an upload of any size needs constant memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from opentrail.core.errors import ServiceFault
from opentrail.server.call_threads import waiting_for_client

READ_AHEAD_BYTES = 1 << 20

#: The next part of a body and whether more is to come; None once the client is gone (``http_exchange``).
Receive = Callable[[], Awaitable[tuple[bytes, bool] | None]]


class PayloadDecoder(Protocol):
    """Turns the body as sent into the payload, checking it on the way (``core.wire.payload``)."""

    def feed(self, data: bytes) -> bytes:
        """The payload bytes within ``data``.  Raises ``ServiceFault``."""
        ...

    def finish(self) -> bytes:
        """What is left at the end of the body.  Raises ``ServiceFault`` when the body is not what its head declared."""
        ...


class RequestBody:
    """The body of one request, as its exchange brings it.  ``received`` counts its bytes.

    An empty part where more is to come says that the connection waited long enough for it (``http_protocol``).
    """

    def __init__(self, receive: Receive, declared: int | None) -> None:
        self._receive = receive
        self._more = True
        self.declared = declared
        self.received = 0

    async def read_whole(self, limit: int) -> bytes:
        """All of it.  Raises ``ServiceFault`` when it is longer than ``limit`` bytes."""
        if self.declared == 0:
            self._more = False
            return b""
        if self.declared is not None and self.declared > limit:
            raise _too_large(limit)
        parts: list[bytes] = []
        while self._more:
            parts.append(await self._next())
            if self.received > limit:
                raise _too_large(limit)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def read_some(self) -> bytes:
        """The next part, about a megabyte; ``b""`` at the end."""
        parts: list[bytes] = []
        size = 0
        while self._more and size < READ_AHEAD_BYTES:
            part = await self._next()
            parts.append(part)
            size += len(part)
        return b"".join(parts)

    async def discard(self, limit: int) -> None:
        """Read what is left, about ``limit`` bytes at most, to nowhere."""
        limit += self.received
        with suppress(ServiceFault):  # gone, or too slow: so be it
            while self._more and self.received < limit:
                await self._next()

    @property
    def is_complete(self) -> bool:
        """Whether the client has nothing more to send; not before anything was read."""
        return not self._more

    async def _next(self) -> bytes:
        received = await self._receive()
        if received is None:
            self._more = False
            raise ServiceFault("RequestTimeout", "The client closed the connection before the request was complete.")
        part, self._more = received
        if not part and self._more:
            self._more = False  # nobody waits for the rest a second time
            raise ServiceFault(
                "RequestTimeout",
                "Your socket connection to the server was not read from or written to within the timeout period.",
            )
        self.received += len(part)
        if not self._more and self.declared is not None and self.received != self.declared:
            text = "You did not provide the number of bytes specified by the Content-Length HTTP header"
            raise ServiceFault("IncompleteBody", text)
        return part


class BytesPayload:
    """A payload that is already here."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def length(self) -> int:
        """Its length in bytes."""
        return len(self._data)

    def read(self, size: int = -1, /) -> bytes:
        """The next ``size`` bytes."""
        start = self._at
        self._at = len(self._data) if size < 0 else min(len(self._data), start + size)
        return self._data[start : self._at] if (start, self._at) != (0, len(self._data)) else self._data


class StreamedPayload:
    """A payload that a service's thread pulls out of the event loop, decoded and checked on the way."""

    def __init__(
        self, body: RequestBody, decoder: PayloadDecoder, length: int | None, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._body = body
        self._decoder = decoder
        self._loop = loop
        self._rest = b""
        self._ended = False
        self._length = length

    @property
    def length(self) -> int | None:
        """The decoded length that the head declares."""
        return self._length

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes; ``b""`` once all is read and good.  Raises ``ServiceFault``."""
        if size < 0:
            parts = []
            while part := self.read(READ_AHEAD_BYTES):
                parts.append(part)
            return b"".join(parts)
        while not self._rest and not self._ended:
            with waiting_for_client():
                data = asyncio.run_coroutine_threadsafe(self._body.read_some(), self._loop).result()
            if data:
                self._rest = self._decoder.feed(data)
            else:
                self._ended = True
                self._rest = self._decoder.finish()
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def _too_large(limit: int) -> ServiceFault:
    return ServiceFault(
        "RequestEntityTooLarge", f"The request body is longer than the limit of {limit} bytes.", status=413
    )
