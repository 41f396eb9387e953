"""Group commit: many callers share one ``append``, and with it one wait for the disk.

Rules:

* A single writer thread takes whatever waits, appends it once and tells everyone; it never waits for more to come, so
  a lone caller pays one disk wait and no delay, and under load the batches grow by themselves while the disk works.
* Callbacks come in the order of ``submit``; every accepted entry gets exactly one call, with a position or an error.
* What waits is bounded, in entries and bytes: beyond that ``submit`` refuses at once (``retryable=True``).
* What a callback raises is logged: it harms neither the callbacks after it nor the writer.
* After an error that leaves the disk's state unknown nothing is accepted any more (``failure``).

Measured: docs/adr/0004-journal-engine.md.  Design: architecture.md, step 9 of a recorded call.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from opentrail.core.errors import JournalError
from opentrail.journal.base import Entry, Journal, check_entry, entry_size

log = logging.getLogger("opentrail.journal")

OnDone = Callable[[int | None, JournalError | None], None]  # (position, None) or (None, error); should not raise
Notify = Callable[[Callable[[], None]], object]

_RAISED: Final = "a callback of the journal raised, which it should not"
_BATCH_BYTES: Final = 8 << 20  # a longer batch only delays its first caller; the disk's part is long amortised


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCommitCounters:
    """What happened since the start."""

    batches: int  # appends that succeeded
    entries: int  # entries made durable
    entry_bytes: int  # their entry_size
    append_seconds: float  # wall time in Journal.append, nearly all of it the disk's
    failures: int  # entries that were accepted and answered with an error
    refusals: int  # entries that submit did not accept
    waiting: int  # entries that wait now


class _Waiter:
    """A callback that wakes one blocked thread."""

    __slots__ = ("_done", "error", "position")

    def __init__(self) -> None:
        self._done = threading.Lock()
        self._done.acquire()
        self.position: int | None = None
        self.error: JournalError | None = None

    def __call__(self, position: int | None, error: JournalError | None) -> None:
        self.position, self.error = position, error
        self._done.release()

    def wait(self) -> int:
        self._done.acquire()
        if self.position is None:
            raise _fresh(self.error)
        return self.position


class GroupCommit:
    """The one writer of ``journal``.

    ``notify`` is called on the writer thread once a batch, with a function that calls the batch's callbacks: the
    server gives ``loop.call_soon_threadsafe``, so that one wake-up of the event loop serves them all; by default they
    are called right there.  It must not raise: close this before the loop.  ``close`` drains; it does not close the
    journal.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        notify: Notify = lambda call: call(),
        max_waiting_entries: int = 65_536,
        max_waiting_bytes: int = 128 << 20,
        monotonic: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._journal = journal
        self._notify = notify
        self._max_waiting_entries = max_waiting_entries
        self._max_waiting_bytes = max_waiting_bytes
        self._monotonic = monotonic

        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)  # the writer waits here for entries
        self._progress = threading.Condition(self._lock)  # barriers wait here for batches
        self._waiting: list[tuple[Entry, OnDone]] = []
        self._waiting_bytes = 0
        self._idle = False  # the writer sleeps in _work
        self._closed = False
        self._refusal: JournalError | None = None  # why nothing is accepted
        self._failure: JournalError | None = None

        self._accepted = self._answered = 0
        self._batches = self._entries = self._entry_bytes = self._failures = self._refusals = 0
        self._append_seconds = 0.0
        self._thread = threading.Thread(target=self._run, name="journal-writer", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> JournalError | None:
        """The error after which nothing is accepted any more, or None."""
        return self._failure or self._journal.failure

    @property
    def counters(self) -> GroupCommitCounters:
        """A snapshot for metrics."""
        with self._lock:
            return GroupCommitCounters(
                batches=self._batches,
                entries=self._entries,
                entry_bytes=self._entry_bytes,
                append_seconds=self._append_seconds,
                failures=self._failures,
                refusals=self._refusals,
                waiting=len(self._waiting),
            )

    def submit(self, entry: Entry, on_done: OnDone) -> None:
        """Queue ``entry`` (from any thread, without blocking) and call ``on_done`` once it is durable or failed.

        Raises ``JournalError`` where it is not accepted (the queue is full: retryable; the journal failed or this is
        closed: not), ``ValueError`` for an entry beyond the limits.  ``on_done`` is then never called.
        """
        size = check_entry(entry)
        with self._lock:
            if self._refusal is not None:
                self._refusals += 1
                raise _fresh(self._refusal)
            waiting = self._waiting
            waiting_bytes = self._waiting_bytes + size
            if len(waiting) >= self._max_waiting_entries or (waiting and waiting_bytes > self._max_waiting_bytes):
                self._refusals += 1
                raise JournalError(f"the journal is behind: {len(waiting)} entries wait for the disk", retryable=True)
            waiting.append((entry, on_done))
            self._waiting_bytes = waiting_bytes
            self._accepted += 1
            if self._idle:
                self._idle = False
                self._work.notify()

    def submit_and_wait(self, entry: Entry) -> int:
        """Make ``entry`` durable and return its position; blocks, so never call it on the event loop's thread.

        Raises ``JournalError`` and ``ValueError`` as ``submit``.
        """
        waiter = _Waiter()
        self.submit(entry, waiter)
        return waiter.wait()

    def barrier(self) -> None:
        """Block until everything submitted before is durable or failed, and was handed to ``notify``."""
        with self._lock:
            accepted = self._accepted
            self._progress.wait_for(lambda: self._answered >= accepted)

    def close(self) -> None:
        """Refuse new entries, finish what waits, end the thread; a second call does nothing."""
        with self._lock:
            self._closed = True
            self._refusal = self._refusal or JournalError("the journal is closed", retryable=False)
            self._work.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            while True:
                batch, size = self._take()
                if not batch:
                    break
                self._commit(batch, size)
                with self._lock:
                    self._answered += len(batch)
                    self._progress.notify_all()
        finally:
            self._release_everyone()

    def _take(self) -> tuple[list[tuple[Entry, OnDone]], int]:
        """What waits, up to _BATCH_BYTES, and its size; blocks until there is something; empty once closed."""
        with self._lock:
            while not self._waiting and not self._closed:
                self._idle = True
                self._work.wait()
            self._idle = False
            batch, self._waiting = self._waiting, []
            size, self._waiting_bytes = self._waiting_bytes, 0
            if size > _BATCH_BYTES:
                batch, self._waiting = _split(batch)
                self._waiting_bytes = sum(entry_size(entry) for entry, _ in self._waiting)
            return batch, size - self._waiting_bytes

    def _commit(self, batch: list[tuple[Entry, OnDone]], size: int) -> None:
        entries = [entry for entry, _ in batch]
        started = self._monotonic()
        try:
            first = self._journal.append(entries)
        except JournalError as error:
            if not error.retryable:
                self._give_up(error)
            self._answer_failed(batch, error)
            return
        except BaseException as error:  # noqa: BLE001  thread boundary: nobody may wait for a thread that died
            stopped = JournalError(f"the journal's writer stopped: {error!r}", retryable=False)
            self._give_up(stopped)
            self._answer_failed(batch, stopped)
            return
        self._append_seconds += self._monotonic() - started
        self._batches += 1
        self._entries += len(batch)
        self._entry_bytes += size
        self._answer_durable(batch, first)

    def _give_up(self, error: JournalError) -> None:
        with self._lock:
            self._refusal = self._failure = error

    def _answer_durable(self, batch: list[tuple[Entry, OnDone]], first: int) -> None:
        callbacks: list[tuple[OnDone, int]] = []
        for position, (_, on_done) in enumerate(batch, first):
            # A blocked thread is woken here and now: the way through the event loop could be long, or be that thread.
            if type(on_done) is _Waiter:
                on_done(position, None)
            else:
                callbacks.append((on_done, position))
        if callbacks:
            self._notify(partial(_call_durable, callbacks))

    def _answer_failed(self, batch: list[tuple[Entry, OnDone]], error: JournalError) -> None:
        self._failures += len(batch)
        callbacks: list[OnDone] = []
        for _, on_done in batch:
            if type(on_done) is _Waiter:
                on_done(None, error)
            else:
                callbacks.append(on_done)
        if callbacks:
            self._notify(partial(_call_failed, callbacks, error))

    def _release_everyone(self) -> None:
        """The thread's last act; finds work only where ``notify`` raised, against its contract."""
        with self._lock:
            self._closed = True
            self._refusal = self._refusal or JournalError("the journal's writer stopped", retryable=False)
            waiting, self._waiting = self._waiting, []
            self._answered = self._accepted
            self._progress.notify_all()
            error = self._refusal
        _call_failed([on_done for _, on_done in waiting], error)


def _split(batch: list[tuple[Entry, OnDone]]) -> tuple[list[tuple[Entry, OnDone]], list[tuple[Entry, OnDone]]]:
    """``batch`` cut where its first _BATCH_BYTES end; the first part is never empty."""
    total = 0
    for index, (entry, _) in enumerate(batch):
        total += entry_size(entry)
        if total > _BATCH_BYTES and index:
            return batch[:index], batch[index:]
    return batch, []


def _call_durable(callbacks: list[tuple[OnDone, int]]) -> None:
    for on_done, position in callbacks:
        try:
            on_done(position, None)
        except Exception:  # a boundary: it is one caller's mistake, and others wait behind it
            log.exception(_RAISED)


def _call_failed(callbacks: list[OnDone], error: JournalError) -> None:
    for on_done in callbacks:
        try:
            on_done(None, error)
        except Exception:  # the same
            log.exception(_RAISED)


def _fresh(error: JournalError | None) -> JournalError:
    """A copy to raise: one exception object raised on many threads would grow one shared traceback."""
    assert error is not None
    return JournalError(str(error), retryable=error.retryable)
