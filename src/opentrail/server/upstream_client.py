"""The client of one upstream: a pool of kept connections, and exchanges over them.

Rules:

* A request goes out once.  Only where a kept connection turns out to be dead before a byte of the answer came, and
  ``repeatable`` says that doing it twice is doing it once (GET and HEAD, RFC 9110, section 9.2.2), it is sent again,
  over a new connection.
* Kept connections are used again for ``IDLE_SECONDS``, less than servers keep them: a write is to meet no dead one.
* Used by the event loop's thread alone.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress

from opentrail.core.values import dataclass
from opentrail.server.upstream_connection import Reason, UpstreamAnswer, UpstreamConnection, UpstreamError, WantsStream
from opentrail.server.upstream_settings import Upstream

IDLE_SECONDS = 4.0
CONTINUE_SECONDS = 1.0  # how long the upstream may take to ask for a body (RFC 9110, section 10.1.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A request, ready to be written.

    ``body`` are the bytes that follow the head, or the parts of a stream, framed as they are written; ``expects``: the
    head asks for ``100 Continue``.
    """

    head: bytes
    body: bytes | AsyncIterator[bytes] = b""
    head_only: bool = False
    expects: bool = False
    repeatable: bool = False


class AnswerStream:
    """The body of an answer as it comes.  ``close`` may come at any time, and comes once or more."""

    def __init__(self, client: UpstreamClient, connection: UpstreamConnection) -> None:
        self._client = client
        self._connection = connection
        self._open = True

    async def read(self) -> bytes:
        """The next part; ``b""`` at the end.  Raises ``UpstreamError``."""
        data = await self._connection.read()
        if not data:
            self.close()
        return data

    def close(self) -> None:
        """Keep the connection where the answer is complete; else let go of it, and of a ``read`` that waits."""
        if self._open:
            self._open = False
            self._client.release(self._connection)


class UpstreamClient:
    """Exchanges with ``upstream``."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self._tls = upstream.tls_context()
        self._idle: deque[UpstreamConnection] = deque()  # the one used last at the right
        self._all: set[UpstreamConnection] = set()
        self._connecting = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def exchange(
        self, request: Outgoing, wants_stream: WantsStream
    ) -> tuple[UpstreamAnswer, AnswerStream | None]:
        """The answer to ``request``, and its body's stream where it was not handed over whole.

        Raises ``UpstreamError``, and what the parts of a streamed body raise: the request then stays incomplete.
        """
        connection = await self._connection()
        try:
            try:
                return await self._exchange_over(connection, request, wants_stream)
            except UpstreamError as error:
                if not (connection.used and request.repeatable and error.reason is Reason.CLOSED):
                    raise
            connection = await self._connection(new=True)
            return await self._exchange_over(connection, request, wants_stream)
        except BaseException:
            connection.abort()
            raise

    async def _exchange_over(
        self, connection: UpstreamConnection, request: Outgoing, wants_stream: WantsStream
    ) -> tuple[UpstreamAnswer, AnswerStream | None]:
        connection.begin(head_only=request.head_only, wants_stream=wants_stream)
        if isinstance(request.body, bytes):
            connection.send(request.head + request.body)
        else:
            await _send_stream(connection, request, request.body)
        answer = await connection.answer()
        if answer.body is None:
            return answer, AnswerStream(self, connection)
        self.release(connection)
        return answer, None

    def release(self, connection: UpstreamConnection) -> None:
        """Take back a connection whose exchange is over."""
        if not connection.is_reusable:
            connection.abort()
            return
        connection.rest()
        self._idle.append(connection)
        self._wake()

    def close(self) -> None:
        """Close what is kept."""
        for connection in list(self._all):
            connection.abort()

    async def _connection(self, *, new: bool = False) -> UpstreamConnection:
        """A connection to use: a kept one, unless it must be ``new``.  Raises ``UpstreamError``, with nothing sent."""
        self._drop_stale()
        if not new and self._idle:
            return self._idle.pop()
        while len(self._all) + self._connecting >= self.upstream.max_connections:
            await self._turn()
            if not new and self._idle:
                return self._idle.pop()
            if self._idle:
                self._idle.popleft().abort()
        self._connecting += 1
        try:
            connection = await self._connect()
            self._all.add(connection)
            return connection
        finally:
            self._connecting -= 1

    def _drop_stale(self) -> None:
        oldest = asyncio.get_running_loop().time() - IDLE_SECONDS
        while self._idle and (self._idle[0].idle_since < oldest or self._idle[0].is_closing):
            self._idle.popleft().abort()
        while self._idle and self._idle[-1].is_closing:
            self._idle.pop().abort()

    async def _turn(self) -> None:
        """Wait until a connection may be free."""
        if self._idle:
            return
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            async with asyncio.timeout(self.upstream.connect_timeout):
                await waiting
        except TimeoutError:
            raise UpstreamError(Reason.BUSY, sent=False) from None

    def _wake(self) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return

    async def _connect(self) -> UpstreamConnection:
        upstream = self.upstream
        try:
            async with asyncio.timeout(upstream.connect_timeout):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: UpstreamConnection(upstream.read_timeout, self._forget),
                    upstream.host,
                    upstream.port,
                    ssl=self._tls,
                    server_hostname=upstream.host if self._tls else None,
                )
        except ssl.SSLCertVerificationError as error:
            raise UpstreamError(Reason.UNTRUSTED, sent=False) from error
        except (OSError, TimeoutError) as error:  # an ssl.SSLError is an OSError
            raise UpstreamError(Reason.UNREACHABLE, sent=False) from error
        return connection

    def _forget(self, connection: UpstreamConnection) -> None:
        self._all.discard(connection)
        with suppress(ValueError):
            self._idle.remove(connection)
        self._wake()


async def _send_stream(connection: UpstreamConnection, request: Outgoing, parts: AsyncIterator[bytes]) -> None:
    """Write a request as its body comes, until the upstream has heard enough: it answered, or is gone."""
    if not await connection.write(request.head):
        return
    if request.expects and not await connection.continued(CONTINUE_SECONDS):
        return
    async for part in parts:
        if not await connection.write(part):
            return
    connection.ended()
