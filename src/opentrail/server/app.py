"""The ASGI application: messages in, ``handle_call``, messages out.  A bare callable, no framework.

Beside the AWS APIs it answers two unsigned requests, GET or HEAD: ``/healthz`` and ``/metrics``.  Signed, the same
paths are ordinary S3 requests to buckets of those names.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

from opentrail.core.errors import OpentrailError
from opentrail.core.http import Headers, HttpRequest, HttpResponse, RelayedBody, Tls
from opentrail.server.bodies import Receive, RequestBody
from opentrail.server.call_threads import CallThreads
from opentrail.server.calls import handle_call
from opentrail.server.front_door import FrontDoor
from opentrail.server.http_protocol import WHOLE_ANSWER, WholeAnswer
from opentrail.server.payloads import MAX_LENGTH_DIGITS

MAX_DISCARDED_BYTES = 64 << 20  # of a body that nobody wants

log = logging.getLogger("opentrail.app")

Send = Callable[[dict[str, Any]], Awaitable[None]]
Scope = dict[str, Any]


class Application:
    """One endpoint.  ``max_header_bytes`` bounds a request's head (``http_protocol``)."""

    def __init__(self, door: FrontDoor, *, max_header_bytes: int) -> None:
        self._door = door
        self.max_header_bytes = max_header_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request = read_request(scope)
        body = RequestBody(receive, _declared_length(request.headers))
        response = self._answer_operator(request)
        if response is None:
            response = await handle_call(request, body, self._door, self._door.clock())
        if "expect" in request.headers and not body.is_complete:
            # Nobody asked for the body, and whether it comes all the same only the client knows (RFC 9110, 10.1.1):
            # what follows on this connection could be it.
            response = with_header(response, "connection", "close")
        head_only = request.method == "HEAD"
        if not body.is_complete and body.declared != 0 and _closes(scope, request):
            await _send_and_drain(response, body, receive, send, self._door.threads, head_only=head_only)
        elif head_only or not _answer_whole(scope, response):
            await send_response(response, receive, send, self._door.threads, head_only=head_only)

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


def read_request(scope: Scope) -> HttpRequest:
    """The request's head out of its ASGI scope."""
    client = scope.get("client")
    tls = (scope.get("extensions") or {}).get("tls")
    return HttpRequest(
        method=scope["method"],
        path=scope["raw_path"].decode("latin-1") or "/",
        query=scope["query_string"].decode("latin-1"),
        headers=Headers(
            [(name.decode("latin-1"), value.decode("latin-1").strip()) for name, value in scope["headers"]]
        ),
        source_ip=client[0] if client else "",
        tls=Tls(version=tls["tls_version"], cipher_suite=tls["cipher_suite"]) if tls else None,
    )


def with_header(response: HttpResponse, name: str, value: str) -> HttpResponse:
    """``response`` with one header more."""
    return replace(response, headers=(*response.headers, (name, value)))


def _answer_whole(scope: Scope, response: HttpResponse) -> bool:
    """Whether ``response`` is sent, because it is at hand in full and the connection has the extension for it."""
    answer: WholeAnswer | None = (scope.get("extensions") or {}).get(WHOLE_ANSWER)
    return (
        answer is not None
        and response.relayed is None
        and isinstance(response.body, bytes)
        and answer(scope, response.status, response.headers, response.body)
    )


def _closes(scope: Scope, request: HttpRequest) -> bool:
    """Whether the connection ends with this answer."""
    return scope.get("http_version") == "1.0" or "close" in request.headers.get("connection").lower()


async def send_response(
    response: HttpResponse, receive: Receive, send: Send, threads: CallThreads, *, head_only: bool = False
) -> None:
    """Write ``response``; a streamed body is pulled on a thread, a part at a time, while its client is there."""
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in response.headers]
    body = response.body
    if response.relayed is not None:
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        if await _relay_parts(response.relayed, receive, send):
            await send({"type": "http.response.body", "body": b""})
        return
    if isinstance(body, bytes):
        if (
            not head_only
            and response.status not in {204, 304}
            and not any(name == b"content-length" for name, _ in headers)
        ):
            headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if head_only else body})
        return
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    try:
        complete = head_only or await _send_parts(body, receive, send, threads)
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            await threads.run(close)
    if complete:
        await send({"type": "http.response.body", "body": b""})


async def _send_and_drain(
    response: HttpResponse, body: RequestBody, receive: Receive, send: Send, threads: CallThreads, *, head_only: bool
) -> None:
    """Answer a request that was not read to its end, on a connection that ends with the answer.

    Closed with bytes unread it would be reset, and a client that is still sending might never see the answer: so the
    answer is sent, some more of the request is read, and only then the end is declared.
    """

    async def hold(message: dict[str, Any]) -> None:
        await send(message if message["type"] == "http.response.start" else message | {"more_body": True})

    await send_response(response, receive, hold, threads, head_only=head_only)
    await body.discard(MAX_DISCARDED_BYTES)
    await send({"type": "http.response.body", "body": b""})


async def _send_parts(body: Iterator[bytes], receive: Receive, send: Send, threads: CallThreads) -> bool:
    """Send all parts; False when the client went away or the store failed: the connection then ends short."""
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        while not gone.done():
            part = await threads.run(next, body, b"")
            if not part:
                return True
            await send({"type": "http.response.body", "body": part, "more_body": True})
    except OpentrailError as error:
        log.error("an answer is cut short: %s", error)  # noqa: TRY400  the message says it all
    finally:
        gone.cancel()
    return False


async def _relay_parts(body: RelayedBody, receive: Receive, send: Send) -> bool:
    """Send on all parts as they come; False when the client went away or there is no good end: it then ends short."""
    gone = asyncio.ensure_future(_disconnected(receive))
    gone.add_done_callback(lambda _gone: body.abandon())
    try:
        while part := await body.read():
            await send({"type": "http.response.body", "body": part, "more_body": True})
    except OpentrailError as error:
        log.error("an answer is cut short: %s", error)  # noqa: TRY400  the message says it all
        return False
    finally:
        gone.cancel()
        await body.close()
    return body.complete


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _declared_length(headers: Headers) -> int | None:
    """The Content-Length; 0 for a request that declares no body at all; None for a chunked one."""
    text = headers.get("content-length")
    if text.isascii() and text.isdigit() and len(text) <= MAX_LENGTH_DIGITS:
        return int(text)
    return None if "transfer-encoding" in headers or text else 0
