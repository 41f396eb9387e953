"""A server on a clock that a test moves: in this process, on a thread, with the sockets of any other.

Rules: the wall clock is the test's, and clients sign by it too (``signing_by``); delivery waits for ``flush``, whatever
the hour; what measures waiting (time-outs, back-offs) goes by the real clock.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from opentrail.server.config import Settings
from opentrail.server.runtime import open_runtime
from opentrail.server.serving import EndpointServer, _config, _listen
from opentrail.testing.clock import FakeClock
from opentrail.testing.live_server import LiveServer

_HOUR: Final = 3600
_START_SECONDS: Final = 60
_SIGNERS: Final = ("botocore.auth", "botocore.crt.auth")


class _ThreadServer(EndpointServer):
    """The endpoint on a thread that is not the main one: signals are none of its business."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class ClockServer(LiveServer):
    """A server on ``clock``.  Log files and digests are delivered by a ``flush``, digests for every hour that is over.

    ``settings`` are further settings.
    """

    def __init__(self, data: Path, clock: FakeClock, **settings: Any) -> None:
        super().__init__(data)
        self.clock = clock
        self._settings = Settings(
            data_dir=data, port=self.port, delivery_interval=_HOUR * 24, digest_interval=_HOUR, **settings
        )
        self._thread: threading.Thread | None = None
        self._server: _ThreadServer | None = None

    def start(self, *, wait: bool = True) -> None:
        """Start it and wait until it listens."""
        assert wait, "who calls must know that the clock is the server's, too"
        assert self._thread is None, "it runs already"
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready,), name="clock-server")
        self._thread.start()
        assert ready.wait(_START_SECONDS), "the server did not start"

    def end(self) -> None:
        """Stop it cleanly, with a last delivery."""
        if self._thread is None:
            return
        assert self._server is not None, "start waits for it"
        self._server.should_exit = True
        self._thread.join()
        self._thread = None
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def _serve(self, ready: threading.Event) -> None:
        with _listen(self._settings) as listener, open_runtime(self._settings, self.clock.now) as runtime:
            self._server = _ThreadServer(runtime, _config(self._settings, runtime), ready.set)
            self._server.run(sockets=[listener])


@contextmanager
def signing_by(clock: FakeClock) -> Iterator[None]:
    """Let botocore's clients in this process sign by ``clock``, as on a machine whose clock it is."""

    def now(remove_tzinfo: bool = True) -> datetime:  # noqa: FBT001, FBT002  botocore's signature
        return clock.now().replace(tzinfo=None) if remove_tzinfo else clock.now()

    with ExitStack() as stack:
        for name in _SIGNERS:
            module = import_module(name)
            stack.callback(setattr, module, "get_current_datetime", module.get_current_datetime)
            module.get_current_datetime = now  # type: ignore[attr-defined]  # a name that it imports for itself
        yield
