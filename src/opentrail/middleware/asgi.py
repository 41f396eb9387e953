"""ASGI middleware: every HTTP call of an application becomes an event.

Rules:

* The event is safe before the first byte of the answer leaves.  An answer that is at hand with its first message, or
  whose fields are to be recorded and that says how short it is, is recorded with its body; a stream at its beginning.
* A stream that breaks off later becomes a second event of the same ``UID`` with the error code ``ResponseInterrupted``.
* A client that goes away before there was an answer leaves an event with the error code ``ClientDisconnected``.
* Messages pass unchanged, and so do exceptions.  WebSockets and the lifespan are none of this middleware's business.

Source: ASGI 3.0, "HTTP & WebSocket ASGI Message Format" and "Extensions" (zero copy send, path send).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any

from opentrail.core.errors import StorageError
from opentrail.middleware.api import Api
from opentrail.middleware.audit_log import AuditLog
from opentrail.middleware.exchange import ClientDisconnected, Exchange, ResponseInterrupted, Route
from opentrail.middleware.identifiers import unique_id
from opentrail.middleware.recording import UNAVAILABLE, UNAVAILABLE_HEADERS, Capture, is_short_json, record_on_loop
from opentrail.middleware.routes import RouteOf, asgi_route, find_route

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_BODIES = frozenset({"http.response.body", "http.response.zerocopysend", "http.response.pathsend"})


class ASGIMiddleware:
    """``app`` with every call recorded in ``audit_log`` by the rules of ``api``."""

    def __init__(self, app: Application, *, audit_log: AuditLog, api: Api, route: RouteOf = asgi_route) -> None:
        self._app = app
        self._audit_log = audit_log
        self._api = api
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call, or pass on what is none."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            if self._audit_log.is_open:
                self._audit_log.check()
            else:
                await asyncio.to_thread(self._audit_log.check)
        except StorageError:
            if self._audit_log.refuses:
                await _refuse(send)  # before anything has happened
                return
        call = _Call(self, scope, receive, send)
        await call.run(self._app)

    async def record(self, exchange: Exchange, uid: str) -> bool:
        """Make the event of ``exchange`` safe; False where the call must be refused."""
        return await record_on_loop(self._audit_log, self._api, exchange, uid)

    @property
    def api(self) -> Api:
        """The rules."""
        return self._api

    def route(self, scope: Scope) -> Route | None:
        """The route that the call of ``scope`` took."""
        return find_route(self._route, scope)


class _Call:
    """One call on its way: what was seen of it, and which messages of its answer are held back."""

    def __init__(self, middleware: ASGIMiddleware, scope: Scope, receive: Receive, send: Send) -> None:
        api = middleware.api
        self._middleware = middleware
        self._scope = scope
        self._receive = receive
        self._send = send
        self._time = datetime.now(UTC)
        self._uid = unique_id()
        self._headers = _headers(scope["headers"])
        wanted = api.reads_request_body and is_short_json(self._headers, api.max_body_bytes, needs_length=False)
        self._request = Capture(api.max_body_bytes if wanted else 0)
        self._response = Capture(0)
        self._start: Message | None = None  # the answer's head, while it is held back
        self._body: list[Message] = []  # and what came after it
        self._status: int | None = None
        self._recorded = False
        self._finished = False  # the answer is whole
        self._holds = False  # the answer, until it is whole
        self._refused = False
        self._gone = False  # the client

    async def run(self, app: Application) -> None:
        try:
            await app(self._scope, self._take, self._give)
        except asyncio.CancelledError as error:
            self._gone = True
            await asyncio.shield(self._close(error))
            raise
        except BaseException as error:
            await self._close(error)
            raise
        await self._close(None)

    async def _take(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._request.add(message.get("body", b""), last=not message.get("more_body", False))
        elif message["type"] == "http.disconnect" and not self._finished:
            self._gone = True
        return message

    async def _give(self, message: Message) -> None:
        if self._refused:
            return
        if message["type"] == "http.response.start":
            self._start, self._status = message, message["status"]
            if self._middleware.api.reads_response_body:
                self._capture_response(_headers(message.get("headers", ())))
            return
        last = message["type"] in _BODIES and not message.get("more_body", False)
        if self._start is None:
            self._finished = self._finished or last
            await self._send(message)
            return
        if message["type"] == "http.response.body":
            self._response.add(message.get("body", b""), last=last)
        self._body.append(message)
        if self._holds and not last and not self._response.is_over:
            return
        await self._release(None)
        self._finished = self._finished or last

    def _capture_response(self, headers: Mapping[str, str]) -> None:
        limit = self._middleware.api.max_body_bytes
        if is_short_json(headers, limit, needs_length=False):
            self._response = Capture(limit)
            self._holds = is_short_json(headers, limit, needs_length=True)

    async def _release(self, error: BaseException | None) -> None:
        """Record the call as it stands, then send what was held back."""
        start, self._start = self._start, None
        if not await self._record(self._exchange(error)):
            self._refused = True
            await _refuse(self._send)
            return
        if start is not None:
            await self._send(start)
            for message in self._body:
                await self._send(message)
        self._body = []

    async def _close(self, error: BaseException | None) -> None:
        """The application is done: record what is not recorded yet."""
        if self._refused or (self._recorded and self._finished):
            return
        if self._recorded:  # a stream that broke off
            await self._record(self._exchange(error, interrupted=True))
        elif error is not None or self._start is None:
            self._status = None  # a head that was held back never left: the server answers in its place
            await self._record(self._exchange(error, interrupted=self._gone and self._status is None))
        else:
            await self._release(None)

    async def _record(self, exchange: Exchange) -> bool:
        self._recorded = True
        return await self._middleware.record(exchange, self._uid)

    def _exchange(self, error: BaseException | None, *, interrupted: bool = False) -> Exchange:
        scope = self._scope
        client = scope.get("client")
        if interrupted:
            error = ResponseInterrupted() if self._status is not None else ClientDisconnected()
        return Exchange(
            method=scope["method"],
            path=scope["path"],
            query=scope.get("query_string", b"").decode("latin-1"),
            headers=self._headers,
            peer=str(client[0]) if client else "",
            context=scope,
            time=self._time,
            route=self._middleware.route(scope),
            status=self._status,
            exception=error,
            request_body=self._request.whole,
            response_body=self._response.whole,
        )


def _headers(pairs: Any) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in pairs}


async def _refuse(send: Send) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in UNAVAILABLE_HEADERS]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": UNAVAILABLE})
