"""An upstream that does what a test says, down to the byte: for faults that no real endpoint shows on demand.

A script is a function of one connection; it runs on a thread of its own, once a connection, and what it did not close
is closed when it returns.  Requests are kept in the order in which their heads came.  Framing is read strictly: what
two readers of HTTP could take for two things is an ``AssertionError``, which ``StubUpstream.confused`` keeps.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_READ_BYTES = 1 << 16
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LINE = re.compile(r"[A-Z]+ /[!-~]* HTTP/1\.1")


@dataclass(slots=True, kw_only=True)
class StubRequest:
    """What came of a request; ``complete`` where its body, out of its frames, came to its end.

    Header names are lower case; ``pairs`` are the headers as they came, ``headers`` those that came last of each name.
    """

    line: str
    pairs: list[tuple[str, str]]
    body: bytes = field(default=b"", repr=False)
    complete: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """The headers by name."""
        return dict(self.pairs)

    @property
    def path(self) -> str:
        """The path, without the query."""
        return self.line.split(" ")[1].partition("?")[0]


class StubConnection:
    """One connection, as a script sees it."""

    def __init__(self, connection: socket.socket, requests: list[StubRequest]) -> None:
        self._requests = requests
        self.socket = connection
        self._data = b""

    def read_head(self) -> StubRequest | None:
        """The next request's head; None where the client has closed."""
        while b"\r\n\r\n" not in self._data:
            if not self._read():
                return None
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        line, *rest = head.decode("latin-1").split("\r\n")
        fields = [each.partition(":") for each in rest]
        request = StubRequest(line=line, pairs=[(name.lower(), value.strip()) for name, _, value in fields])
        self._requests.append(request)
        names = [name for name, _ in request.pairs if name in {"content-length", "transfer-encoding"}]
        assert len(names) <= 1, f"framed twice: {request.pairs}"
        assert all(_TOKEN.fullmatch(name) for name, _ in request.pairs), f"no header: {request.pairs}"
        assert _LINE.fullmatch(line), f"no request line: {line!r}"
        return request

    def read_body(self, request: StubRequest) -> None:
        """The body of ``request``, as far as it comes."""
        if "transfer-encoding" in request.headers:
            assert request.headers["transfer-encoding"] == "chunked", request.pairs
            self._read_chunks(request)
            return
        length = int(request.headers.get("content-length", "0"))
        while len(self._data) < length and self._read():
            pass
        request.complete = len(self._data) >= length
        request.body, self._data = self._data[:length], self._data[length:]

    def _read_chunks(self, request: StubRequest) -> None:
        while True:
            while b"\r\n" not in self._data:
                if not self._read():
                    return
            line, _, self._data = self._data.partition(b"\r\n")
            size = int(line, 16)
            while len(self._data) < size + 2:
                if not self._read():
                    request.body += self._data[:size]
                    return
            assert self._data[size : size + 2] == b"\r\n", "a chunk has its length"
            request.body += self._data[:size]
            self._data = self._data[size + 2 :]
            if not size:
                request.complete = True
                return

    def read(self) -> StubRequest | None:
        """The next request, whole, asked for where it waits for that; None where the client has closed."""
        request = self.read_head()
        if request is not None:
            if "expect" in request.headers:
                self.send("HTTP/1.1 100 Continue\r\n\r\n")
            self.read_body(request)
        return request

    def send(self, *parts: bytes | str) -> None:
        """Write ``parts``."""
        self.socket.sendall(b"".join(part.encode("latin-1") if isinstance(part, str) else part for part in parts))

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Write an answer with its length; ``x_amz_request_id`` is the header ``x-amz-request-id``."""
        fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        self.send(f"HTTP/1.1 {status} Status\r\n{fields}content-length: {len(body)}\r\n\r\n", body)

    def wait_for_end(self) -> None:
        """Return when the client has closed."""
        while self._read():
            pass

    def _read(self) -> bool:
        try:
            data = self.socket.recv(_READ_BYTES)
        except OSError:
            return False
        self._data += data
        return bool(data)


Script = Callable[[StubConnection], None]


def answer_everything(connection: StubConnection) -> None:
    """Answer each request with 200 and no body, until the client has enough."""
    while connection.read() is not None:
        connection.answer(200)


class StubUpstream:
    """The upstream on ``port``; ``script`` may be changed between calls."""

    def __init__(self, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        self._listener = listener
        self._tls = tls
        self.port: int = listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.script: Script = answer_everything
        self.requests: list[StubRequest] = []
        self.connections = 0
        self.confused: list[str] = []
        self._open: list[socket.socket] = []

    def play(self, script: Script) -> None:
        """Do as ``script`` says with what comes next; forget what came, and let go of who is connected."""
        self.drop()
        self.script = script
        self.requests = []
        self.connections = 0

    def drop(self) -> None:
        """End all connections."""
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def serve(self) -> None:
        """Take connections until the listener is closed."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            play = connection, self.script, self.requests  # whatever comes over it belongs to this play
            threading.Thread(target=self._run, args=play, daemon=True).start()

    def _run(self, connection: socket.socket, script: Script, requests: list[StubRequest]) -> None:
        with connection, suppress(OSError):
            talks = self._tls.wrap_socket(connection, server_side=True) if self._tls is not None else connection
            with talks:
                try:
                    script(StubConnection(talks, requests))
                except AssertionError as error:
                    self.confused.append(str(error))


@contextmanager
def run_stub_upstream(tls: ssl.SSLContext | None = None) -> Iterator[StubUpstream]:
    """An upstream on a free port of 127.0.0.1, until the block is left; with ``tls`` it has the certificate of that."""
    listener = socket.create_server(("127.0.0.1", 0))
    stub = StubUpstream(listener, tls)
    thread = threading.Thread(target=stub.serve, name="stub-upstream", daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        stub.drop()
