"""The endpoint within the test's own process: requests in, answers out, and its journal open to be read.

The application is the one that ``opentrail serve`` runs, wired by the same composition root, on an event loop of its
own thread; only the socket is left out, and the delivery worker does not run by itself (``runtime.flush`` delivers).
"""

from __future__ import annotations

import asyncio
import configparser
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from opentrail.core.http import Headers, HttpRequest, Tls
from opentrail.core.sigv4 import canonical_request, sign, signing_key, string_to_sign
from opentrail.core.sigv4.canonical import canonical_headers, canonical_path, s3_canonical_paths
from opentrail.journal.base import EntryKind, Journal, StoredEntry
from opentrail.server.app import Application
from opentrail.server.config import Settings
from opentrail.server.runtime import Runtime, open_runtime, utc_now

Fields = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An access key."""

    id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRequest:
    """A request; ``target`` is path and query as they stand in the request line, header names are lower case."""

    method: str
    target: str
    headers: Fields = ()
    body: bytes = b""

    def signed(self, key: Key, service: str, region: str, now: datetime | None = None) -> LocalRequest:
        """The same request, signed in its header (Signature Version 4)."""
        moment = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
        digest = sha256(self.body).hexdigest()
        left_out = {"authorization", "x-amz-date", "x-amz-content-sha256"}
        headers = [(name, value) for name, value in self.headers if name not in left_out]
        headers += [("x-amz-date", moment), ("x-amz-content-sha256", digest)]
        if not any(name == "host" for name, _ in headers):
            headers.insert(0, ("host", "127.0.0.1:4577"))
        path, _, query = self.target.partition("?")
        request = HttpRequest(method=self.method, path=path, query=query, headers=Headers(headers))
        values = canonical_headers(request.headers)
        names = tuple(sorted(name for name in values if name == "host" or name.startswith("x-amz-")))
        canonical_form = s3_canonical_paths(path)[0] if service == "s3" else canonical_path(path)
        canonical = canonical_request(request, canonical_form, values, names, digest)
        scope = f"{moment[:8]}/{region}/{service}/aws4_request"
        text = string_to_sign(moment, scope, canonical)
        signature = sign(signing_key(key.secret, moment[:8], region, service), text)
        authorization = (
            f"AWS4-HMAC-SHA256 Credential={key.id}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"
        )
        return LocalRequest(
            method=self.method,
            target=self.target,
            headers=[*headers, ("authorization", authorization)],
            body=self.body,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalAnswer:
    """An answer; header names are lower case."""

    status: int
    headers: Fields
    body: bytes

    def header(self, name: str) -> str:
        """The first value of the header ``name``, or the empty string."""
        return next((value for key, value in self.headers if key == name), "")

    @property
    def request_id(self) -> str:
        """The request ID, in whichever header the protocol tells it."""
        return self.header("x-amz-request-id") or self.header("x-amzn-requestid")


class LocalEndpoint:
    """The running application.  ``key`` is the root user's."""

    def __init__(self, runtime: Runtime, loop: asyncio.AbstractEventLoop) -> None:
        self.runtime = runtime
        self.loop = loop
        self.app = Application(runtime.door, max_header_bytes=runtime.settings.max_header_bytes)
        words = configparser.ConfigParser()
        words.read(runtime.settings.data_dir / "credentials")
        root = words["default"]
        self.key = Key(id=root["aws_access_key_id"], secret=root["aws_secret_access_key"])

    @property
    def journal(self) -> Journal:
        """The journal that its records are in."""
        return self.runtime.journal

    def send(self, request: LocalRequest, *, tls: Tls | None = None) -> LocalAnswer:
        """The answer to ``request``; ``tls`` are its connection's parameters."""
        exchange = _LocalExchange(request, tls)
        asyncio.run_coroutine_threadsafe(self.app(exchange), self.loop).result(60)
        return LocalAnswer(
            status=exchange.status,
            headers=[(name.lower(), value) for name, value in exchange.headers],
            body=b"".join(exchange.parts),
        )

    def entries(self, after: int = 0) -> list[StoredEntry]:
        """What the journal holds behind position ``after``."""
        entries: list[StoredEntry] = []
        position = max(after, self.journal.start - 1)
        while position < self.journal.end:
            entries += self.journal.read(position)
            position = entries[-1].position
        return entries

    def records(self, after: int = 0) -> list[dict[str, Any]]:
        """The records of the events behind position ``after``, in order."""
        events = [entry for entry in self.entries(after) if entry.kind is not EntryKind.INTENT]
        return [json.loads(bytes(entry.payload)) for entry in events]


class _LocalExchange:
    """``app.Exchange`` without a connection: its client has sent everything, and reads everything."""

    is_last = False

    def __init__(self, request: LocalRequest, tls: Tls | None) -> None:
        path, _, query = request.target.partition("?")
        headers = [
            pair
            for pair in request.headers
            if pair[0] not in {"content-length", "transfer-encoding"}  # an HTTP parser lets none through that is wrong
        ]
        if request.body:
            headers.append(("content-length", str(len(request.body))))
        self.request = HttpRequest(
            method=request.method, path=path or "/", query=query, headers=Headers(headers), tls=tls
        )
        self._incoming = _parts(request.body)
        self.status = 0
        self.headers: Fields = ()
        self.parts: list[bytes] = []

    async def receive(self) -> tuple[bytes, bool] | None:
        received = next(self._incoming, None)
        if received is None:
            await asyncio.Event().wait()  # a client that waits for its answer
        return received

    async def answer(self, status: int, headers: Fields, body: bytes) -> None:
        await self.start(status, headers)
        await self.write(body)

    async def start(self, status: int, headers: Fields) -> None:
        self.status, self.headers = status, headers

    async def write(self, part: bytes) -> None:
        if self.request.method != "HEAD":
            self.parts.append(part)

    async def end(self) -> None:
        pass


def _parts(body: bytes) -> Iterator[tuple[bytes, bool]]:
    parts = [body[at : at + (64 << 10)] for at in range(0, len(body), 64 << 10)] or [b""]
    for number, part in enumerate(parts, 1):
        yield part, number < len(parts)


@contextmanager
def run_local_endpoint(settings: Settings, clock: Callable[[], datetime] = utc_now) -> Iterator[LocalEndpoint]:
    """The endpoint of ``settings`` until the block is left; ``clock`` is the time that it goes by."""
    with ExitStack() as stack:
        loop = asyncio.new_event_loop()
        stack.callback(loop.close)
        thread = threading.Thread(target=loop.run_forever, name="local-endpoint", daemon=True)
        thread.start()
        stack.callback(thread.join)
        stack.callback(loop.call_soon_threadsafe, loop.stop)
        runtime = stack.enter_context(open_runtime(settings, clock))
        runtime.wakeup.notify = loop.call_soon_threadsafe
        stack.callback(setattr, runtime.wakeup, "notify", None)
        stack.callback(lambda: asyncio.run_coroutine_threadsafe(_let_go(runtime), loop).result(60))
        yield LocalEndpoint(runtime, loop)


async def _let_go(runtime: Runtime) -> None:
    """Close the connections to upstreams; the loop needs a turn to see them closed."""
    if runtime.door.forwarder is not None:
        runtime.door.forwarder.close()
        await asyncio.sleep(0.01)
