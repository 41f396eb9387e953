"""A long or endless answer on its way from an upstream to the client: ``Relay``.

Rules: the end of the answer, which is what a client takes for its success, leaves after its record is durable: of a
body whose length is declared the last bytes, of another the end itself.  However the way ends (at the end, by an
upstream that fails, by a client that goes), ``finish`` is called once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from opentrail.server.upstream_client import AnswerStream
from opentrail.server.upstream_connection import UpstreamError

#: Makes the record durable: how many bytes went on to the client, and what the upstream failed at.
Finish = Callable[[int, UpstreamError | None], Awaitable[None]]


class Relay:
    """The parts of a body of ``length`` bytes (None: nobody knows).  To be closed by whoever read from it."""

    def __init__(self, stream: AnswerStream, length: int | None, finish: Finish) -> None:
        self._stream = stream
        self._length = length
        self._finish = finish
        self._passed = 0
        self._finished = False
        self._left_alone = False
        self.complete = False

    async def read(self) -> bytes:
        """The next part; ``b""`` when there is no more, with ``complete`` where that is the answer's end.

        Raises ``ServiceFault`` where the record cannot be made durable: the answer then stays without its end.
        """
        if self._finished:
            return b""
        try:
            part = await self._stream.read()
        except UpstreamError as error:
            await self._end(None if self._left_alone else error)
            return b""
        self._passed += len(part)
        if not part or self._passed == self._length:
            await self._end(None)
            self.complete = True
        return part

    def abandon(self) -> None:
        """The client is gone: what ``read`` waits for will not come."""
        if not self._finished:
            self._left_alone = True
            self._stream.close()

    async def close(self) -> None:
        """Let go of the upstream; what was not finished ends here."""
        self._stream.close()
        if not self._finished:
            await self._end(None)

    async def _end(self, error: UpstreamError | None) -> None:
        self._finished = True
        await self._finish(self._passed, error)
