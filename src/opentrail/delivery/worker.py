"""The delivery worker: a thread that delivers on time, and at once when asked.

Log files go out every delivery interval; digests when their window ends; what failed when its back-off ends.  Intervals
are measured on the monotonic clock, so a clock that is set back delays nothing but digest windows.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from opentrail.core.errors import OpentrailError
from opentrail.delivery.courier import Courier
from opentrail.delivery.follower import LogFileFollower

log = logging.getLogger("opentrail.delivery")

_STEP_SECONDS = 1.0  # how often windows, back-offs and the journal's size are looked at
EARLY_BYTES = 32 << 20  # journal bytes that make a delivery early


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushResult:
    """What a flush did.  ``waiting`` objects could not be put into their buckets; ``error`` says why nothing was."""

    delivered: int
    waiting: int
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """What the worker needs: the two halves of delivery, what comes before them, and what after."""

    follower: LogFileFollower
    courier: Courier
    pay: Callable[[], None]  # events that the journal refused are tried again
    barrier: Callable[[], None]  # everything answered so far is in the journal when it returns
    oldest_generation: Callable[[], int]  # the oldest trails' generation that an event yet to come may name
    tidy: Callable[[int], None]  # forget what no follower needs, but trails of this generation and later
    waiting: Callable[[], int]  # staged objects that are not delivered
    journal_bytes: Callable[[], int]  # appended since the start
    clock: Callable[[], datetime]
    monotonic: Callable[[], float]


class DeliveryWorker:
    """Runs rounds on its own thread from ``start`` to ``stop``.  ``failure`` is the last round's error, or empty."""

    def __init__(self, rounds: Rounds, *, delivery_interval_seconds: int) -> None:
        self._rounds = rounds
        self._interval = delivery_interval_seconds
        self._lock = threading.Lock()  # held for a round: the follower and the courier are for one thread at a time
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)
        self._due = rounds.monotonic() + delivery_interval_seconds
        self._bytes_taken = 0
        self._oldest_generation = 0  # that an event which is not taken may name
        self.failure = ""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the present round, with a last one, so that what was answered is delivered where it can be.

        Buckets that have just failed are not asked again: what waits for them is kept for the next start.
        """
        self._stopping = True
        self._rounds.courier.hurry()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self.flush(digest=False)

    def flush(self, *, digest: bool) -> FlushResult:
        """Deliver everything now (``digest``: with a digest for each chain), as far as the buckets take it."""
        with self._lock:
            try:
                delivered = self._round(everything=True, digest=digest)
                self.failure = ""
                return FlushResult(delivered=delivered, waiting=self._rounds.waiting())
            except OpentrailError as error:
                self.failure = str(error)
                log.error("delivery failed: %s", error)  # noqa: TRY400  the message says it all
                return FlushResult(delivered=0, waiting=0, error=str(error))

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(_STEP_SECONDS)
            if self._stopping:
                return
            with self._lock:
                try:
                    self._round(everything=False, digest=False)
                    self.failure = ""
                except OpentrailError as error:
                    self.failure = str(error)
                    log.error("delivery failed, trying again: %s", error)  # noqa: TRY400  the message says it all
                except Exception as error:  # the thread's boundary: delivery must go on, and health must tell
                    self.failure = f"{type(error).__name__}: {error}"
                    log.exception("a mistake of the delivery's own")

    def _round(self, *, everything: bool, digest: bool) -> int:
        rounds = self._rounds
        rounds.pay()
        if everything:
            rounds.barrier()
        now = rounds.clock()
        oldest = rounds.oldest_generation()  # before the journal's end is read: what comes later names none older
        # Digests first: their windows end before what is taken now, whose files bear the present minute.
        rounds.follower.close_windows(now, oldest_generation=oldest)
        appended = rounds.journal_bytes()
        if everything or rounds.monotonic() >= self._due or appended - self._bytes_taken > EARLY_BYTES:
            rounds.follower.take(now)
            self._due = rounds.monotonic() + self._interval  # only now: a failure is tried again in the next round
            self._bytes_taken = appended
            self._oldest_generation = oldest
            rounds.follower.close_windows(now, oldest_generation=oldest, all_windows=digest)
        delivered = rounds.courier.run(now_all=everything and not self._stopping)
        rounds.tidy(self._oldest_generation)
        return delivered
