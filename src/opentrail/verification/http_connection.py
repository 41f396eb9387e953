"""HTTP/1.1 over a socket of our own: one GET after the other on a connection that is kept open.

Rules: it is a client of object stores and knows what they answer (RFC 9112): interim answers, a status line, fields, a
body with a length, in chunks, or up to the connection's end.  Whatever else comes, in whatever amount, is a
``StoreError`` that may be tried again; and so is a server that is slower than ``Patience`` allows.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from opentrail.core.errors import StoreError

_PIECE_BYTES: Final = 64 * 1024  # as the inflater takes them; for a buffer of twice that malloc asks the kernel
_MAX_HEAD_BYTES: Final = 64 * 1024
_MAX_LINE_BYTES: Final = 4 * 1024  # of a chunk's length with its extensions
_MOST_INTERIM: Final = 16  # answers 1xx before the answer
_NO_BODY: Final = frozenset({204, 304})
_UNKNOWN_ISSUER: Final = frozenset({18, 19, 20, 21})  # X509_V_ERR_*, x509_vfy.h
_LENGTH: Final = {10: re.compile(r"[0-9]{1,18}", re.ASCII), 16: re.compile(r"[0-9a-fA-F]{1,15}", re.ASCII)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How slow a server may be.

    Nothing for ``silence_seconds`` is too slow, and so is an answer that comes, after ``grace_seconds`` of waiting, at
    fewer than ``floor_bytes_per_second``: the hundred reads that share the worst of lines are faster.
    """

    silence_seconds: float = 30.0
    grace_seconds: float = 60.0
    floor_bytes_per_second: float = 128.0


PATIENCE: Final = Patience()


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """Whom to go through, in plain HTTP; ``authorization`` is for the proxy alone, "" for none."""

    host: str
    port: int
    authorization: str = ""


class HttpConnection:
    """A connection to ``origin``; for one thread at a time.  Raises ``StoreError`` for all that fails."""

    def __init__(
        self, origin: Origin, tls: ssl.SSLContext | None, *, proxy: Proxy | None = None, patience: Patience = PATIENCE
    ) -> None:
        self._origin = origin
        self._patience = patience
        self._buffer = bytearray()
        self._waited, self._received = 0.0, 0  # seconds and bytes of the answer under way
        self._request_start = "GET "  # what stands before a path
        self._request_fields = ""
        self.is_usable = True  # for another request
        self.is_used = False
        address = (proxy.host, proxy.port) if proxy else (origin.host, origin.port)
        try:
            self._socket = socket.create_connection(address, patience.silence_seconds)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if proxy is not None:
                self._go_through(proxy)
            if tls is not None:
                self._socket = tls.wrap_socket(self._socket, server_hostname=origin.host)
            elif os.name == "posix":  # the kernel keeps the time: no poll before each call
                seconds = struct.pack("@ll", *_timeval(patience.silence_seconds))
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds)
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
                self._socket.settimeout(None)
        except UnicodeError:
            self.close()
            raise StoreError(f"{origin.authority!a} is no name of a host", retryable=False) from None
        except OSError as error:
            self.close()
            via = f" (through the proxy {proxy.host}:{proxy.port})" if proxy else ""
            text = f"{origin.authority}{via}: {_reason(error)}"
            raise StoreError(text, retryable=not _is_final(error)) from error

    def __del__(self) -> None:
        """A thread's connection ends with the thread."""
        self.close()

    def get(self, target: str, fields: str) -> HttpAnswer:
        """GET ``target`` (a path with its query) with ``fields`` (lines, each with its end); read the answer's head."""
        request = f"{self._request_start}{target} HTTP/1.1\r\n{self._request_fields}{fields}\r\n"
        version, status, answer_fields = self._exchange(request.encode("latin-1"))
        self.is_used = True
        self.is_usable = version != "HTTP/1.0" and answer_fields.get("connection", "").lower() != "close"
        return HttpAnswer(status, answer_fields, self)

    def read_body(self, status: int, fields: Mapping[str, str]) -> Iterator[bytes]:
        """The body that follows, in pieces; whoever does not read it to its end closes the connection."""
        is_kept, self.is_usable = self.is_usable, False
        coding = fields.get("transfer-encoding", "").lower()
        try:
            if status in _NO_BODY:
                pass
            elif coding == "chunked":
                yield from self._read_chunked()
            elif coding:
                raise self._broken(f"its answer has the transfer coding {coding[:40]!r}")
            elif "content-length" in fields:
                yield from self._read_counted(self._number(fields["content-length"], 10))
            else:
                is_kept = False
                yield from self._read_all()
        except OSError as error:
            raise self._broken(_reason(error)) from error
        self.is_usable = is_kept and not self._buffer

    def abort(self) -> None:
        """Have whatever thread waits for the server hear that there is no more to come."""
        self.is_usable = False
        with suppress(OSError):  # it was not connected any more
            # Not an SSLSocket's own, which would take the session from under the other thread.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket."""
        self.is_usable = False
        if hasattr(self, "_socket"):  # it was connected
            self._socket.close()

    def _go_through(self, proxy: Proxy) -> None:
        """Have the proxy open a tunnel, or ask it for what is not encrypted."""
        fields = f"proxy-authorization: {proxy.authorization}\r\n" if proxy.authorization else ""
        if not self._origin.is_tls:
            self._request_start = f"GET http://{self._origin.authority}"
            self._request_fields = fields
            return
        host = f"[{self._origin.host}]" if ":" in self._origin.host else self._origin.host
        place = f"{host}:{self._origin.port}"
        _, status, _ = self._exchange(f"CONNECT {place} HTTP/1.1\r\nhost: {place}\r\n{fields}\r\n".encode("latin-1"))
        if status // 100 != 2:
            self.close()
            text = f"{self._origin.authority}: the proxy {proxy.host}:{proxy.port} answers HTTP {status}"
            raise StoreError(text, retryable=status >= 500)
        if self._buffer:
            raise self._broken("the proxy sends what nobody asked for")

    def _exchange(self, request: bytes) -> tuple[str, int, dict[str, str]]:
        """Send ``request``; the answer's version, status and fields."""
        self._waited, self._received = 0.0, len(self._buffer)
        try:
            self._socket.sendall(request)
            for _ in range(_MOST_INTERIM):
                version, status, fields = self._read_head()
                if status >= 200:
                    return version, status, fields
        except OSError as error:
            raise self._broken(_reason(error)) from error
        raise self._broken("it says again and again that the answer is still to come")

    def _read_head(self) -> tuple[str, int, dict[str, str]]:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _MAX_HEAD_BYTES:
                raise self._broken("its answer has no end of header fields")
            self._receive()
        head = bytes(self._buffer[:end]).decode("latin-1")
        del self._buffer[: end + 4]
        first, *lines = head.split("\r\n")
        version, _, rest = first.partition(" ")
        if not version.startswith("HTTP/1.") or not (rest[:3].isascii() and rest[:3].isdigit() and len(rest) >= 3):
            raise self._broken("its answer is not HTTP")
        return version, int(rest[:3]), self._read_fields(lines)

    def _read_fields(self, lines: Iterable[str]) -> dict[str, str]:
        """Fields by their lower-case names; one that comes again is a list, and no body has two lengths (RFC 9110)."""
        fields: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            name, value = name.lower(), value.strip()
            if name not in fields:
                fields[name] = value
            elif name != "content-length":
                fields[name] += f", {value}"
            elif fields[name] != value:
                raise self._broken("its answer says two lengths")
        return fields

    def _read_counted(self, size: int) -> Iterator[bytes]:
        while size:
            if not self._buffer:
                piece = self._receive_piece(min(size, _PIECE_BYTES))
                if not piece:
                    raise self._broken("it closed the connection within a body")
            else:
                piece = bytes(self._buffer[:size])
                del self._buffer[:size]
            size -= len(piece)
            yield piece

    def _read_chunked(self) -> Iterator[bytes]:
        while size := self._number(self._read_line(_MAX_LINE_BYTES).partition(";")[0], 16):
            yield from self._read_counted(size)
            self._read_line(0)
        left = _MAX_HEAD_BYTES
        while line := self._read_line(left):
            left = max(0, left - len(line) - 2)  # a trailer

    def _read_all(self) -> Iterator[bytes]:
        yield bytes(self._buffer)
        self._buffer.clear()
        while piece := self._receive_piece(_PIECE_BYTES):
            yield piece

    def _read_line(self, most: int) -> str:
        """The next line, of at most ``most`` bytes."""
        while (end := self._buffer.find(b"\r\n")) < 0 and len(self._buffer) <= most + 1:
            self._receive()
        if not 0 <= end <= most:
            raise self._broken("its answer has a line that is too long")
        line = bytes(self._buffer[:end]).decode("latin-1")
        del self._buffer[: end + 2]
        return line

    def _receive(self) -> None:
        piece = self._receive_piece(_PIECE_BYTES)
        if not piece:
            raise self._broken("it closed the connection")
        self._buffer += piece

    def _receive_piece(self, most: int) -> bytes:
        """What has come, once something has; only the time that is spent here counts as the server's."""
        began = time.monotonic()
        piece = self._socket.recv(most)
        self._waited += time.monotonic() - began
        self._received += len(piece)
        over = self._waited - self._patience.grace_seconds
        if over > 0 and self._received < over * self._patience.floor_bytes_per_second:
            raise self._broken(f"too slow: {self._received} bytes in {self._waited:.0f} seconds")
        return piece

    def _number(self, text: str, base: int) -> int:
        """A length.  Python's own ``int`` takes more than the RFC does."""
        if not _LENGTH[base].fullmatch(text.strip()):
            raise self._broken("its answer says no length that could be read")
        return int(text, base)

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


def _timeval(seconds: float) -> tuple[int, int]:
    return int(seconds), int(seconds % 1 * 1_000_000)


def _reason(error: OSError) -> str:
    if isinstance(error, BlockingIOError):  # what the kernel says of a timeout
        return "timed out"
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = "; AWS_CA_BUNDLE names a file of those to trust" if error.verify_code in _UNKNOWN_ISSUER else ""
        return f"its certificate is not to be trusted: {error.verify_message}{hint}"
    if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        return "it does not speak TLS; is it http://?"
    return str(error) or type(error).__name__


def _is_final(error: OSError) -> bool:
    """Whether trying again is of no use: a handshake that fails, a host that nobody knows."""
    if isinstance(error, ssl.SSLError):
        return not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError)
    return isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN
