"""Running the endpoint, as a process or on a thread of another: the socket, uvicorn, signals, and a clean end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import uvicorn

from opentrail.core.errors import ConfigError
from opentrail.server.app import Application
from opentrail.server.collector import set_pace
from opentrail.server.config import Settings
from opentrail.server.control import ControlServer
from opentrail.server.http_protocol import EndpointProtocol
from opentrail.server.logs import format_notice
from opentrail.server.runtime import Runtime, open_runtime

log = logging.getLogger("opentrail.serving")

GRACE_SECONDS = 30  # how long clients may take to finish their calls after a signal
_FAREWELL_SECONDS = 0.5
_START_STEP_SECONDS = 0.2
_PATIENCE_TICKS = 50  # connections are looked at every so many tenths of a second


def serve(settings: Settings, announce: Callable[[str], None]) -> int:
    """Serve until SIGINT or SIGTERM; ``announce`` hears where.  Returns the exit code.  Raises ``ConfigError``."""
    listener = _listen(settings)
    with listener, open_runtime(settings) as runtime:
        port = listener.getsockname()[1]
        url = f"{settings.scheme}://{_url_host(settings.host)}:{port}"
        server = EndpointServer(runtime, _config(settings, runtime), lambda: announce(_welcome(runtime, url)))
        set_pace()
        server.run(sockets=[listener])
        return 1 if runtime.door.health() else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadedEndpoint:
    """An endpoint that a thread of this process serves; ``loop`` is that thread's."""

    url: str
    runtime: Runtime
    loop: asyncio.AbstractEventLoop


@contextmanager
def serve_on_thread(settings: Settings) -> Iterator[ThreadedEndpoint]:
    """Serve on a thread until the block is left; signals stay with whoever has them.  Raises ``ConfigError``."""
    listener = _listen(settings)
    with listener, open_runtime(settings) as runtime:
        url = f"{settings.scheme}://{_url_host(settings.host)}:{listener.getsockname()[1]}"
        started = threading.Event()
        loops: list[asyncio.AbstractEventLoop] = []

        def tell() -> None:
            loops.append(asyncio.get_running_loop())
            started.set()

        server = EndpointServer(runtime, _config(settings, runtime), tell)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="endpoint", daemon=True)
        thread.start()
        while not started.wait(_START_STEP_SECONDS):
            if not thread.is_alive():
                raise ConfigError(f"the endpoint did not start on {url}")
        try:
            yield ThreadedEndpoint(url=url, runtime=runtime, loop=loops[0])
        finally:
            server.should_exit = True
            thread.join()


class EndpointServer(uvicorn.Server):
    """uvicorn with our life cycle around it: delivery and control start with it and end after its last call.

    Nothing cancels a call: one that has taken effect must be recorded.  What may be cut, by the end of the grace period
    or a second signal, is the connection to its client, which ends whatever waits for that client.
    """

    def __init__(self, runtime: Runtime, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._runtime = runtime
        self._started = started
        self._control = ControlServer(runtime.settings.data_dir, runtime.commands())

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then tell."""
        loop = asyncio.get_running_loop()
        self._runtime.wakeup.notify = loop.call_soon_threadsafe
        await self._control.start()
        self._runtime.worker.start()
        await super().startup(sockets)
        self._started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish the calls in flight, deliver what they left, and stop."""
        loop = asyncio.get_running_loop()
        grace = loop.call_later(GRACE_SECONDS, self._cut_connections)
        farewell = asyncio.ensure_future(self._end_farewells())
        await super().shutdown(sockets)
        grace.cancel()
        farewell.cancel()
        if self._runtime.door.forwarder is not None:
            self._runtime.door.forwarder.close()
        await loop.run_in_executor(None, self._runtime.worker.stop)
        await self._control.stop()
        self._runtime.wakeup.notify = None

    async def on_tick(self, counter: int) -> bool:
        """Every tenth of a second."""
        if counter % _PATIENCE_TICKS == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                connection.check_patience(now)  # type: ignore[union-attr]  # all are EndpointProtocols
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  uvicorn's signature
        """A signal: the first one lets clients finish, a second one does not."""
        if self.should_exit:
            self._cut_connections()
        self.should_exit = True

    def _cut_connections(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    async def _end_farewells(self) -> None:
        """Do not wait for clients to confirm the end of a TLS connection: most never do (RFC 8446, 6.1)."""
        while True:
            await asyncio.sleep(_FAREWELL_SECONDS)
            for connection in list(self.server_state.connections):
                transport = connection.transport
                if transport.is_closing() and not transport.get_write_buffer_size():
                    transport.abort()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM end the server cleanly, and with it the process, by its exit code."""
        if threading.current_thread() is not threading.main_thread():
            yield  # another thread's process: its signals are its own
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise ConfigError(f"cannot listen on {where}: {reason}; choose another with --host or --port") from None
    # Its connections inherit it.  uvloop sets it by itself; asyncio's own loop does not for a listener that it did not
    # make, and an answer of two writes would then wait 40 ms for the client's acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def check_certificate(settings: Settings) -> None:
    """Raise ``ConfigError`` where --tls-cert and --tls-key are no certificate with its key."""
    if settings.tls_cert is None or settings.tls_key is None:
        return
    for name, path in (("--tls-cert", settings.tls_cert), ("--tls-key", settings.tls_key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{name} {path}: {error.strerror}") from None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_cert, settings.tls_key, password="")
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        text = f"not a certificate with its unencrypted private key, both in PEM ({reason})"
        raise ConfigError(f"--tls-cert {settings.tls_cert}, --tls-key {settings.tls_key}: {text}") from None


def _config(settings: Settings, runtime: Runtime) -> uvicorn.Config:
    app: Any = Application(runtime.door, max_header_bytes=settings.max_header_bytes)
    check_certificate(settings)
    return uvicorn.Config(
        app,
        http=EndpointProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=None,  # EndpointServer knows a better end than to cancel
        ssl_certfile=str(settings.tls_cert) if settings.tls_cert else None,
        ssl_keyfile=str(settings.tls_key) if settings.tls_key else None,
        proxy_headers=False,
    )


def _url_host(host: str) -> str:
    if host in {"0.0.0.0", "::"}:  # noqa: S104  a listening address is read here, not bound
        return "127.0.0.1" if host == "0.0.0.0" else "[::1]"  # noqa: S104  the same
    return f"[{host}]" if ":" in host else host


def _welcome(runtime: Runtime, url: str) -> str:
    settings = runtime.settings
    text = (
        f"Opentrail listens on {url} (account {runtime.account_id}, data in {settings.data_dir})\n"
        f"  export AWS_SHARED_CREDENTIALS_FILE={settings.data_dir / 'credentials'} AWS_ENDPOINT_URL={url}\n"
        f"  aws sts get-caller-identity"
    )
    return format_notice(settings.log_format, text, url=url, account=runtime.account_id)
