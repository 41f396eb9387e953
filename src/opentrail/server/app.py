"""The application: an exchange in, ``handle_call``, its answer out.  A bare callable, no framework.

Beside the AWS APIs it answers two unsigned requests, GET or HEAD: ``/healthz`` and ``/metrics``.  Signed, the same
paths are ordinary S3 requests to buckets of those names.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from opentrail.core.errors import OpentrailError
from opentrail.core.http import Headers, HttpRequest, HttpResponse, RelayedBody
from opentrail.server.bodies import RequestBody
from opentrail.server.call_threads import CallThreads
from opentrail.server.calls import handle_call
from opentrail.server.front_door import FrontDoor
from opentrail.server.payloads import MAX_LENGTH_DIGITS

MAX_DISCARDED_BYTES = 64 << 20  # of a body that nobody wants

log = logging.getLogger("opentrail.app")


class Exchange(Protocol):
    """A request and the way back to its client: a connection's (``http_exchange``), or a test's."""

    request: HttpRequest

    @property
    def is_last(self) -> bool:
        """Whether the client means to send nothing behind this request."""
        ...

    async def receive(self) -> tuple[bytes, bool] | None:
        """The body's next part, and whether more is to come; None once the client is gone or the answer was sent."""
        ...

    async def answer(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        """Send an answer that is at hand in full."""
        ...

    async def start(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        """Send the head of an answer whose body follows in parts."""
        ...

    async def write(self, part: bytes) -> None:
        """Send a part of the body; nothing of it goes to a client that asked for the head alone."""
        ...

    async def end(self) -> None:
        """The answer is complete; one that never is ends short, and its client can see that."""
        ...


class Application:
    """One endpoint.  ``max_header_bytes`` bounds a request's head (``http_protocol``)."""

    def __init__(self, door: FrontDoor, *, max_header_bytes: int) -> None:
        self._door = door
        self.max_header_bytes = max_header_bytes

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        request = exchange.request
        body = RequestBody(exchange.receive, _declared_length(request.headers))
        response = self._answer_operator(request)
        if response is None:
            response = await handle_call(request, body, self._door, self._door.clock())
        is_complete = body.is_complete
        if not is_complete and "expect" in request.headers:
            # Nobody asked for the body, and whether it comes all the same only the client knows (RFC 9110, 10.1.1):
            # what follows on this connection could be it.
            response = with_header(response, "connection", "close")
        if not is_complete and body.declared != 0 and exchange.is_last:
            await _send_and_drain(response, body, exchange, self._door.threads)
        elif response.relayed is None and isinstance(response.body, bytes):
            await exchange.answer(response.status, response.headers, response.body)
        elif await _send(response, exchange, self._door.threads):
            await exchange.end()

    def count_refusal(self, code: str) -> None:
        """What could not even be read as a request was refused."""
        self._door.metrics.count_refusal(code)

    def _answer_operator(self, request: HttpRequest) -> HttpResponse | None:
        if request.path not in {"/healthz", "/metrics"} or request.method not in {"GET", "HEAD"}:
            return None
        if "authorization" in request.headers or request.query:
            return None
        if request.path == "/healthz":
            problem = self._door.health()
            text = (problem or "ok") + "\n"
            headers = (("content-type", "text/plain; charset=utf-8"),)
            return HttpResponse(status=503 if problem else 200, headers=headers, body=text.encode())
        content_type, data = self._door.metrics.render()
        return HttpResponse(status=200, headers=(("content-type", content_type),), body=data)


def with_header(response: HttpResponse, name: str, value: str) -> HttpResponse:
    """``response`` with one header more."""
    return replace(response, headers=(*response.headers, (name, value)))


async def _send(response: HttpResponse, exchange: Exchange, threads: CallThreads) -> bool:
    """Send ``response`` but for its end; False where it is cut short.

    A streamed body is pulled on a thread, a part at a time, while its client is there.
    """
    body = response.body
    await exchange.start(response.status, response.headers)
    if response.relayed is not None:
        return await _relay_parts(response.relayed, exchange)
    if isinstance(body, bytes):
        await exchange.write(body)
        return True
    try:
        return exchange.request.method == "HEAD" or await _send_parts(body, exchange, threads)
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            await threads.run(close)


async def _send_and_drain(response: HttpResponse, body: RequestBody, exchange: Exchange, threads: CallThreads) -> None:
    """Answer a request that was not read to its end, on a connection that ends with the answer.

    Closed with bytes unread it would be reset, and a client that is still sending might never see the answer: so the
    answer is sent, some more of the request is read, and only then the end is declared.
    """
    has_length = exchange.request.method == "HEAD" or response.header("content-length")
    if response.body and isinstance(response.body, bytes) and not has_length:  # it is not to wait for the end
        response = with_header(response, "content-length", str(len(response.body)))
    if await _send(response, exchange, threads):
        await body.discard(MAX_DISCARDED_BYTES)
        await exchange.end()


async def _send_parts(body: Iterator[bytes], exchange: Exchange, threads: CallThreads) -> bool:
    """Send all parts; False when the client went away or the store failed: the connection then ends short."""
    gone = asyncio.ensure_future(_disconnected(exchange))
    try:
        while not gone.done():
            part = await threads.run(next, body, b"")
            if not part:
                return True
            await exchange.write(part)
    except OpentrailError as error:
        log.error("an answer is cut short: %s", error)  # noqa: TRY400  the message says it all
    finally:
        gone.cancel()
    return False


async def _relay_parts(body: RelayedBody, exchange: Exchange) -> bool:
    """Send on all parts as they come; False when the client went away or there is no good end: it then ends short."""
    gone = asyncio.ensure_future(_disconnected(exchange))
    gone.add_done_callback(lambda _gone: body.abandon())
    try:
        while part := await body.read():
            await exchange.write(part)
    except OpentrailError as error:
        log.error("an answer is cut short: %s", error)  # noqa: TRY400  the message says it all
        return False
    finally:
        gone.cancel()
        await body.close()
    return body.complete


async def _disconnected(exchange: Exchange) -> None:
    while await exchange.receive() is not None:
        pass


def _declared_length(headers: Headers) -> int | None:
    """The Content-Length; 0 for a request that declares no body at all; None for a chunked one."""
    text = headers.get("content-length")
    if text.isascii() and text.isdigit() and len(text) <= MAX_LENGTH_DIGITS:
        return int(text)
    return None if "transfer-encoding" in headers or text else 0
