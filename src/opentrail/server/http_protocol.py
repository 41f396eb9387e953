"""The HTTP/1.1 connection: uvicorn's httptools protocol with what an AWS endpoint adds.

* A head over the limit is refused with 431, what is no request with 400; the connection is then closed.  uvicorn bounds
  no header.
* A client that lets the connection wait loses it (``check_patience``): one that does not finish its head, one that does
  not read its answer.  One that does not send the body it announced has its call answered first: the application gets
  an empty part where more was to come.
* Of a client that sends requests ahead of their answers nothing more is read until the last of them has its turn.
* No connection is upgraded, and no field behind a chunked body is a header (RFC 9110, section 6.5.1).
* An answer that is at hand in full leaves in one write, through the scope's extension ``opentrail.whole_answer``: half
  the system calls of two ASGI messages, and no client ever sees a head whose body a crash has kept back.
* The ASGI scope carries the connection's TLS version and cipher suite (the ASGI TLS extension), for ``tlsDetails``.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

CLIENT_TIMEOUT_SECONDS = 60
LINGER_SECONDS = 2  # how long a refused client may go on sending before the connection is closed under it

WHOLE_ANSWER = "opentrail.whole_answer"
WholeAnswer = Callable[[dict[str, Any], int, tuple[tuple[str, str], ...], bytes], bool]

_WITHOUT_LENGTH = frozenset({204, 304})
_FRAMING = frozenset({"connection", "content-length", "transfer-encoding"})
_REFUSAL = (
    b"<Error><Code>RequestHeaderSectionTooLarge</Code><Message>Your request header section exceeds the maximum "
    b"allowed request header section size.</Message></Error>"
)


class EndpointProtocol(HttpToolsProtocol):
    """One connection.  The application (``config.app``) says how large a head may be: ``max_header_bytes``."""

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._app: Any = config.app
        self._max_header_bytes: int = config.app.max_header_bytes
        self._head_bytes = 0  # of the head that is being read; what the parser holds back counts as well
        self._in_head = True
        self._one_ended = False  # a request, within the bytes that are being read
        self._too_large = False
        self._refused = False
        self._heard_at = self.loop.time()
        self._write_paused_at = 0.0
        self._body_given_up = False
        self._extensions: dict[str, Any] = {}

    def connection_made(self, transport: Any) -> None:
        """A client connected: note its TLS parameters."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)
        self._extensions[WHOLE_ANSWER] = self._answer_whole
        ssl_object = transport.get_extra_info("ssl_object")
        if ssl_object is not None:
            cipher = ssl_object.cipher()
            suite = cipher[0] if cipher else ""
            self._extensions["tls"] = {"tls_version": ssl_object.version(), "cipher_suite": suite}

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0
        self._body_given_up = False
        self.scope["extensions"] = self._extensions

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or one field behind a chunked body, is complete."""
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes + len(self.url) > self._max_header_bytes:
            self._too_large = True
            raise ValueError("the head is too large")  # stops the parser, which calls send_400_response
        if not self._in_head:
            return  # a trailer field of a chunked body: taken for a header it would be what no signature covers
        if len(name) == 17 and name.lower() == b"transfer-encoding" and value.lower() != b"chunked":
            raise ValueError("a body that ends where the connection does")  # RFC 9112, 6.3: refused
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._in_head = False
        upgrade = self.parser.should_upgrade()
        if upgrade and any(name in {b"content-length", b"transfer-encoding"} for name, _ in self.headers):
            raise ValueError("the parser would take the body for another protocol")  # it calls send_400_response
        super().on_headers_complete()
        if upgrade:  # not taken: this request is answered, but the parser reads no further one
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """The body is complete."""
        self._one_ended = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer was sent: the next request that waits has its turn, or the connection may rest."""
        self.server_state.total_requests += 1
        self._heard_at = self.loop.time()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def _answer_whole(
        self, scope: dict[str, Any], status: int, headers: tuple[tuple[str, str], ...], body: bytes
    ) -> bool:
        """Answer the request of ``scope``; False, with nothing sent, where ASGI's messages must do.

        Those are for a client that reads slowly, is gone or sent its next request already, for answers that say how
        they are framed, and for values that uvicorn should look at.
        """
        cycle = self.cycle
        if cycle.scope is not scope or cycle.disconnected or not cycle.keep_alive or self.flow.write_paused:
            return False
        if status in _WITHOUT_LENGTH:
            return False
        length = str(len(body))
        head = [f"content-length: {length}\r\n"]
        for given, value in headers:
            name = given.lower()
            if name in _FRAMING:
                if name == "content-length" and value == length:
                    continue
                return False
            if not value.isprintable():
                return False
            head.append(f"{name}: {value}\r\n")
        default = [b"%b: %b\r\n" % header for header in self.server_state.default_headers]
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        fields = "".join(head).encode("latin-1", "replace")
        self.transport.write(b"".join((STATUS_LINE[status], *default, fields, b"\r\n", body)))
        cycle.message_event.set()
        cycle.on_response()
        return True

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._refused:
            return
        self._heard_at = self.loop.time()
        self._one_ended = False
        super().data_received(data)
        if self._in_head and not self._one_ended and not self.transport.is_closing():  # else most was that one's
            self._head_bytes += len(data)
            if self._head_bytes > 2 * self._max_header_bytes:  # each byte may count here and in on_header
                self._too_large = True
                self.send_400_response("")

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be read as a request, and close."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        if self.cycle is not None and not self.cycle.response_complete:
            # A request before this one is being answered, and a refusal now would be taken for its answer.
            self.cycle.keep_alive = False
            if self.cycle.more_body:  # it is what cannot be read: nothing more is worth waiting for
                self._heard_at -= CLIENT_TIMEOUT_SECONDS
            return
        status, content_type, body = "400 Bad Request", "text/plain; charset=utf-8", msg.encode()
        if self._too_large:
            status, content_type, body = "431 Request Header Fields Too Large", "application/xml", _REFUSAL
        self._app.count_refusal("RequestHeaderSectionTooLarge" if self._too_large else "BadRequest")
        head = (
            f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        if self.transport.can_write_eof():
            # Closed with bytes unread, the kernel would reset the connection, and the client might never see why.
            self.transport.write_eof()
            self.loop.call_later(LINGER_SECONDS, self.transport.close)
        else:
            self.transport.close()

    def pause_writing(self) -> None:
        """The client reads more slowly than it is answered."""
        self._write_paused_at = self.loop.time()
        super().pause_writing()

    def check_patience(self, now: float) -> None:
        """Give up on a client that lets the connection wait; ``now`` is the loop's time.  To be called now and then."""
        cycle = self.cycle
        if self.flow.write_paused:
            if now - self._write_paused_at > CLIENT_TIMEOUT_SECONDS:
                self.transport.abort()
        elif cycle is not None and cycle.response_complete and not self._in_head:
            if now - self._heard_at > self.timeout_keep_alive:
                self.transport.close()
        elif now - self._heard_at <= CLIENT_TIMEOUT_SECONDS or self.transport.is_closing():
            return
        elif self._in_head:
            self.transport.close()
        elif cycle is not None and cycle.more_body and not (cycle.response_complete or self._body_given_up):
            if self.flow.read_paused or cycle.body:
                return  # the application is the slow one
            self._body_given_up = True
            cycle.keep_alive = False
            cycle.message_event.set()


class _Flow(FlowControl):
    """uvicorn's, but that it would read on with each answer, however many requests wait for theirs."""

    def __init__(self, transport: Any, pipeline: Sized) -> None:
        super().__init__(transport)
        self._pipeline = pipeline

    def resume_reading(self) -> None:
        """Read on, unless a request waits already."""
        if not self._pipeline:
            super().resume_reading()
