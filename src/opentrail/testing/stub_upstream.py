"""An upstream that does what a test says, down to the byte: for faults that no real endpoint shows on demand.

A script is a function of one connection; it runs on a thread of its own, once a connection, and what it did not close
is closed when it returns.  Requests are kept in the order in which their heads came.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_READ_BYTES = 1 << 16


@dataclass(slots=True, kw_only=True)
class StubRequest:
    """What came of a request; ``complete`` where its body came to its end.  Header names are lower case."""

    line: str
    headers: dict[str, str]
    body: bytes = field(default=b"", repr=False)
    complete: bool = False


class StubConnection:
    """One connection, as a script sees it."""

    def __init__(self, stub: StubUpstream, connection: socket.socket) -> None:
        self._stub = stub
        self.socket = connection
        self._data = b""

    def read_head(self) -> StubRequest | None:
        """The next request's head; None where the client has closed."""
        while b"\r\n\r\n" not in self._data:
            if not self._read():
                return None
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        line, *rest = head.decode("latin-1").split("\r\n")
        fields = (each.partition(":") for each in rest)
        request = StubRequest(line=line, headers={name.strip().lower(): value.strip() for name, _, value in fields})
        self._stub.requests.append(request)
        return request

    def read_body(self, request: StubRequest) -> None:
        """The body of ``request``, as far as it comes."""
        if request.headers.get("transfer-encoding") == "chunked":
            while not (self._data == b"0\r\n\r\n" or self._data.endswith(b"\r\n0\r\n\r\n")):
                if not self._read():
                    break
            request.complete = self._data.endswith(b"0\r\n\r\n")
            request.body, self._data = self._data, b""
            return
        length = int(request.headers.get("content-length", "0"))
        while len(self._data) < length and self._read():
            pass
        request.complete = len(self._data) >= length
        request.body, self._data = self._data[:length], self._data[length:]

    def read(self) -> StubRequest | None:
        """The next request, whole; None where the client has closed."""
        request = self.read_head()
        if request is not None:
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

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.port: int = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.script: Script = answer_everything
        self.requests: list[StubRequest] = []
        self.connections = 0
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
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self.script(StubConnection(self, connection))


@contextmanager
def run_stub_upstream() -> Iterator[StubUpstream]:
    """An upstream on a free port of 127.0.0.1, until the block is left."""
    listener = socket.create_server(("127.0.0.1", 0))
    stub = StubUpstream(listener)
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
