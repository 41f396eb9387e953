"""WSGI middleware: every call of an application becomes an event.

Rules:

* The event is safe before the first byte of the answer leaves.  An answer that is at hand in one piece, or whose fields
  are to be recorded and that says how short it is, is recorded with its body; a stream at its beginning.
* A stream that breaks off later becomes a second event of the same ``UID`` with the error code ``ResponseInterrupted``.
* Bodies pass unchanged, ``close`` is called, exceptions pass.

Source: PEP 3333, "Python Web Server Gateway Interface".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from opentrail.core.errors import StorageError
from opentrail.middleware.api import Api
from opentrail.middleware.audit_log import AuditLog
from opentrail.middleware.exchange import Exchange, ResponseInterrupted, Route
from opentrail.middleware.identifiers import unique_id
from opentrail.middleware.recording import UNAVAILABLE, UNAVAILABLE_HEADERS, Capture, is_short_json, record
from opentrail.middleware.routes import RouteOf, find_route, wsgi_route

Environ = dict[str, Any]  # PEP 3333: a builtin dictionary
StartResponse = Callable[..., Any]
Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class WSGIMiddleware:
    """``app`` with every call recorded in ``audit_log`` by the rules of ``api``."""

    def __init__(self, app: Application, *, audit_log: AuditLog, api: Api, route: RouteOf = wsgi_route) -> None:
        self._app = app
        self._audit_log = audit_log
        self._api = api
        self._route = route

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one call."""
        try:
            self._audit_log.check()
        except StorageError:
            if self._audit_log.refuses:
                return _refuse(start_response)  # before anything has happened
        call = _Call(self._audit_log, self._api, self._route, environ, start_response)
        return call.run(self._app)


class _Call:
    """One call on its way: what was seen of it, and the head of its answer while that is held back."""

    def __init__(
        self, audit_log: AuditLog, api: Api, route: RouteOf, environ: Environ, start_response: StartResponse
    ) -> None:
        self._audit_log = audit_log
        self._api = api
        self._route = route
        self._environ = environ
        self._start_response = start_response
        self._time = datetime.now(UTC)
        self._uid = unique_id()
        self._headers = _request_headers(environ)
        wanted = api.reads_request_body and is_short_json(self._headers, api.max_body_bytes, needs_length=True)
        self._request = Capture(api.max_body_bytes if wanted else 0)
        self._response = Capture(api.max_body_bytes if api.reads_response_body else 0)
        self._writer: Callable[[bytes], object] = start_response  # the server's write(), once it has the head
        self._head: tuple[Any, ...] | None = None  # the arguments of start_response, until it is called
        self._response_headers: dict[str, str] = {}
        self._status: int | None = None
        self._recorded = False
        self._found: Route | None = None

    def run(self, app: Application) -> Iterable[bytes]:
        if self._request.is_on:
            length = int(self._headers["content-length"])
            self._environ["wsgi.input"] = _Input(self._environ["wsgi.input"], self._request, length)
        try:
            result = app(self._environ, self._start)
        except BaseException as error:
            self._record(error)
            raise
        return _Answer(self, result)

    def chunks(self, result: Iterable[bytes]) -> Iterator[bytes]:
        """The answer's body; the event is safe before its first byte."""
        iterator = iter(result)
        try:
            held = self._hold(iterator, len(result) if isinstance(result, list | tuple) else None)
        except BaseException as error:
            if not self._recorded:
                self._record(error)
            raise
        if not self._recorded and not self._record(None):
            yield from _refuse(self._start_response)
            return
        self._send_head()
        yield from held
        try:
            yield from iterator
        except GeneratorExit:  # whoever closes the answer tells of it
            raise
        except BaseException:  # also the exit of a worker whose time is over
            self._record(ResponseInterrupted())
            raise

    def broken_off(self) -> None:
        """The server closed the answer before its end."""
        self._record(ResponseInterrupted() if self._recorded else None)

    def _hold(self, iterator: Iterator[bytes], count: int | None) -> list[bytes]:
        """The first parts of the body: up to the first that is not empty, or all where the event is made of them."""
        held: list[bytes] = []
        for part in iterator:
            held.append(part)
            self._response.add(part, last=len(held) == count)
            complete = self._response.size >= self._length
            if complete:
                self._response.add(b"", last=True)
            if part and (complete or not self._collects or self._response.is_over):
                return held
        self._response.add(b"", last=True)
        return held

    @property
    def _collects(self) -> bool:
        """Whether the event waits for the whole body."""
        api = self._api
        return api.reads_response_body and is_short_json(self._response_headers, api.max_body_bytes, needs_length=True)

    @property
    def _length(self) -> float:
        length = self._response_headers.get("content-length", "")
        return int(length) if length.isdecimal() else float("inf")

    def _start(self, status: str, headers: Sequence[tuple[str, str]], exc_info: Any = None) -> Any:
        if self._head is None and self._recorded:
            return self._start_response(status, headers, exc_info)  # the server raises ``exc_info``: bytes have left
        self._head = (status, headers, exc_info) if exc_info else (status, headers)
        self._found = find_route(
            self._route, self._environ
        )  # now: Flask takes its request out of the environ at the end
        self._status = int(status[:3]) if status[:3].isdecimal() else None
        self._response_headers = {name.lower(): value for name, value in headers}
        return self._write

    def _write(self, data: bytes) -> object:
        """The old way to send a body (PEP 3333, "The write() Callable"); such an answer is recorded as a stream."""
        if not self._recorded and not self._record(None):
            raise StorageError("the call could not be recorded", retryable=True)
        self._send_head()
        return self._writer(data)

    def _send_head(self) -> None:
        if self._head is not None:
            head, self._head = self._head, None
            self._writer = self._start_response(*head)

    def _record(self, error: BaseException | None) -> bool:
        self._recorded = True
        environ = self._environ
        exchange = Exchange(
            method=environ.get("REQUEST_METHOD", ""),
            path=environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""),
            query=environ.get("QUERY_STRING", ""),
            headers=self._headers,
            peer=environ.get("REMOTE_ADDR", ""),
            context=environ,
            time=self._time,
            route=self._found or find_route(self._route, environ),
            status=self._status,
            exception=error,
            request_body=self._request.whole,
            response_body=self._response.whole,
        )
        return record(self._audit_log, self._api, exchange, self._uid)


class _Answer:
    """The body that the server iterates over, and closes."""

    def __init__(self, call: _Call, result: Iterable[bytes]) -> None:
        self._call = call
        self._result = result
        self._chunks = call.chunks(result)
        self._ended = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._chunks)
        except BaseException:  # also StopIteration: there is no more
            self._ended = True
            raise

    def close(self) -> None:
        """Close the application's own iterable; an answer that was not read to its end is told of."""
        try:
            if not self._ended:
                self._ended = True
                self._call.broken_off()
        finally:
            close = getattr(self._result, "close", None)
            if close is not None:
                close()


class _Input:
    """``wsgi.input``, with what the application reads of it kept."""

    def __init__(self, stream: Any, capture: Capture, length: int) -> None:
        self._stream = stream
        self._capture = capture
        self._length = length

    def read(self, *size: int) -> bytes:
        return self._keep(self._stream.read(*size))

    def readline(self, *size: int) -> bytes:
        return self._keep(self._stream.readline(*size))

    def readinto(self, buffer: bytearray) -> int:
        count: int = self._stream.readinto(buffer)
        self._keep(bytes(buffer[:count]))
        return count

    def readlines(self, *hint: int) -> list[bytes]:
        return [self._keep(line) for line in self._stream.readlines(*hint)]

    def __iter__(self) -> Iterator[bytes]:
        return (self._keep(line) for line in self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _keep(self, data: bytes) -> bytes:
        self._capture.add(data, last=self._capture.size + len(data) >= self._length)
        return data


def _request_headers(environ: Environ) -> dict[str, str]:
    headers = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")}
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(name):
            headers[name.replace("_", "-").lower()] = environ[name]
    return headers


def _refuse(start_response: StartResponse) -> list[bytes]:
    with suppress(AssertionError):
        start_response("503 Service Unavailable", list(UNAVAILABLE_HEADERS))
    return [UNAVAILABLE]
