"""A clock that stands still until a test moves it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Final

_START: Final = datetime(2025, 1, 1, tzinfo=UTC)


class FakeClock:
    """Wall time and monotonic time, moved by hand; may be used from several threads.

    The methods stand where the real functions do: ``now`` for a ``Callable[[], datetime]``, ``monotonic`` for
    ``time.monotonic``, ``sleep`` for ``time.sleep``.
    """

    def __init__(self, start: datetime = _START) -> None:
        assert start.tzinfo is not None, "times are aware"
        self._now = start.astimezone(UTC)
        self._monotonic = 0.0
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """The wall time, aware, UTC."""
        with self._lock:
            return self._now

    def monotonic(self) -> float:
        """Seconds since the clock was made; never steps back."""
        with self._lock:
            return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` (>= 0) pass on both."""
        assert seconds >= 0, "time passes forwards; see step"
        with self._lock:
            self._now += timedelta(seconds=seconds)
            self._monotonic += seconds

    def sleep(self, seconds: float) -> None:
        """Return at once, ``seconds`` later."""
        self.advance(seconds)

    def step(self, seconds: float) -> None:
        """Set the wall clock by ``seconds``, back where negative, as an operator or NTP does."""
        with self._lock:
            self._now += timedelta(seconds=seconds)
