"""The HTTP/1.1 connection: uvicorn's httptools protocol with what an AWS endpoint adds.

* A head over the limit is refused with 431 and the connection closed: uvicorn bounds no header.
* The ASGI scope carries the connection's TLS version and cipher suite (the ASGI TLS extension), for ``tlsDetails``.
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_REFUSAL = (
    b"<Error><Code>RequestHeaderSectionTooLarge</Code><Message>Your request header section exceeds the maximum "
    b"allowed request header section size.</Message></Error>"
)


class EndpointProtocol(HttpToolsProtocol):
    """One connection.  The application (``config.app``) says how large a head may be: ``max_header_bytes``."""

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._max_header_bytes: int = config.app.max_header_bytes
        self._head_bytes = 0  # of the head that is being read; what the parser holds back counts as well
        self._in_head = True
        self._too_large = False
        self._tls: dict[str, Any] | None = None

    def connection_made(self, transport: Any) -> None:
        """A client connected: note its TLS parameters."""
        super().connection_made(transport)
        ssl_object = transport.get_extra_info("ssl_object")
        if ssl_object is not None:
            cipher = ssl_object.cipher()
            self._tls = {"tls": {"tls_version": ssl_object.version(), "cipher_suite": cipher[0] if cipher else ""}}

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0
        if self._tls is not None:
            self.scope["extensions"] = self._tls

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header is complete."""
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes + len(self.url) > self._max_header_bytes:
            self._too_large = True
            raise ValueError("the head is too large")  # stops the parser, which calls send_400_response
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._in_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > 2 * self._max_header_bytes:  # each byte may count here and in on_header
                self._too_large = True
                self.send_400_response("")

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be read as a request, and close."""
        if not self._too_large:
            super().send_400_response(msg)
            return
        head = (
            "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/xml\r\n"
            f"content-length: {len(_REFUSAL)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + _REFUSAL)
        self.transport.close()
