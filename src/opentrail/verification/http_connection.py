"""HTTP/1.1 over a socket of our own: one GET after the other on a connection that is kept open.

Rules: it is a client of object stores and knows what they answer (RFC 9112): a status line, fields, a body with a
length, in chunks, or up to the connection's end.  Whatever else comes is a ``StoreError`` that may be tried again.
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from opentrail.core.errors import StoreError

TIMEOUT_SECONDS: Final = 30.0
_PIECE_BYTES: Final = 64 * 1024  # as the inflater takes them; for a buffer of twice that malloc asks the kernel
_TIMEOUT: Final = struct.pack("@ll", int(TIMEOUT_SECONDS), 0)  # struct timeval
_MAX_HEAD_BYTES: Final = 64 * 1024
_NO_BODY: Final = frozenset({204, 304})


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Whom to connect to."""

    host: str
    port: int
    is_tls: bool

    @property
    def authority(self) -> str:
        """The Host field: without the port that the scheme has anyway."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"


class HttpConnection:
    """A connection to ``origin``; for one thread at a time.  Raises ``StoreError``, retryable, for all that fails."""

    def __init__(self, origin: Origin, tls: ssl.SSLContext | None) -> None:
        self._origin = origin
        self._buffer = bytearray()
        self.is_usable = True  # for another request
        self.is_used = False
        try:
            self._socket = socket.create_connection((origin.host, origin.port), TIMEOUT_SECONDS)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                self._socket = tls.wrap_socket(self._socket, server_hostname=origin.host)
            elif os.name == "posix":  # the kernel keeps the time: no poll before each call
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEOUT)
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEOUT)
                self._socket.settimeout(None)
        except OSError as error:
            raise StoreError(f"{origin.authority}: {error}", retryable=not _is_final(error)) from error

    def get(self, request: bytes) -> HttpAnswer:
        """Send ``request`` and read the answer's head."""
        try:
            self._socket.sendall(request)
            while (end := self._buffer.find(b"\r\n\r\n")) < 0:
                if len(self._buffer) > _MAX_HEAD_BYTES:
                    raise self._broken("its answer has no end of header fields")
                self._receive()
        except OSError as error:
            raise self._broken(_reason(error)) from error
        head = bytes(self._buffer[:end]).decode("latin-1")
        del self._buffer[: end + 4]
        first, *lines = head.split("\r\n")
        version, _, rest = first.partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise self._broken("its answer is not HTTP")
        fields: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
        self.is_used = True
        self.is_usable = version != "HTTP/1.0" and fields.get("connection", "").lower() != "close"
        return HttpAnswer(int(rest[:3]), fields, self)

    def read_body(self, status: int, fields: Mapping[str, str]) -> Iterator[bytes]:
        """The body that follows, in pieces; whoever does not read it to its end closes the connection."""
        is_kept, self.is_usable = self.is_usable, False
        try:
            if status in _NO_BODY:
                pass
            elif fields.get("transfer-encoding", "").lower() == "chunked":
                yield from self._read_chunked()
            elif "content-length" in fields:
                yield from self._read_counted(_number(fields["content-length"], 10, self))
            else:
                is_kept = False
                yield from self._read_all()
        except OSError as error:
            raise self._broken(_reason(error)) from error
        self.is_usable = is_kept

    def close(self) -> None:
        """Close the socket."""
        self.is_usable = False
        self._socket.close()

    def _read_counted(self, size: int) -> Iterator[bytes]:
        while size:
            if not self._buffer:
                piece = self._socket.recv(min(size, _PIECE_BYTES))
                if not piece:
                    raise self._broken("it closed the connection within a body")
            else:
                piece = bytes(self._buffer[:size])
                del self._buffer[:size]
            size -= len(piece)
            yield piece

    def _read_chunked(self) -> Iterator[bytes]:
        while size := _number(self._read_line().partition(";")[0], 16, self):
            yield from self._read_counted(size)
            self._read_line()
        while self._read_line():
            pass  # a trailer

    def _read_all(self) -> Iterator[bytes]:
        yield bytes(self._buffer)
        self._buffer.clear()
        while piece := self._socket.recv(_PIECE_BYTES):
            yield piece

    def _read_line(self) -> str:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > _MAX_HEAD_BYTES:
                raise self._broken("its answer has a line without an end")
            self._receive()
        line = bytes(self._buffer[:end]).decode("latin-1")
        del self._buffer[: end + 2]
        return line.strip()

    def _receive(self) -> None:
        piece = self._socket.recv(_PIECE_BYTES)
        if not piece:
            raise self._broken("it closed the connection")
        self._buffer += piece

    def _broken(self, why: str) -> StoreError:
        self.close()
        return StoreError(f"{self._origin.authority}: {why}", retryable=True)


class HttpAnswer:
    """An answer whose head has come."""

    def __init__(self, status: int, fields: Mapping[str, str], connection: HttpConnection) -> None:
        self.status = status
        self.fields = fields
        self._connection = connection

    def chunks(self) -> Iterator[bytes]:
        """The body, once."""
        return self._connection.read_body(self.status, self.fields)


def _number(text: str, base: int, connection: HttpConnection) -> int:
    try:
        number = int(text, base)
    except ValueError:
        number = -1
    if number < 0:
        connection.close()
        raise StoreError("an answer says no length that could be read", retryable=True)
    return number


def _reason(error: OSError) -> str:
    if isinstance(error, BlockingIOError):  # what the kernel says of a timeout
        return "timed out"
    return str(error) or type(error).__name__


def _is_final(error: OSError) -> bool:
    """Whether trying again is of no use: a certificate that is not trusted, a host that nobody knows."""
    return isinstance(error, ssl.SSLCertVerificationError | socket.gaierror)
