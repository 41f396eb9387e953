"""Many writers, one write: events that come while the disk works are the next write, and share its wait.

Rules:

* A thread that appends while nobody writes does so itself, at once: a lone caller pays for no other thread.  What came
  meanwhile, and what no thread waits for, is written by the writer, a thread that is started when it is first needed.
* Every event is settled exactly once, after its write, with None or the ``StorageError`` that became of it.
* A signal's exception (the exit of a worker whose time is over) stops its own call, and nobody else's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from opentrail.core.errors import StorageError

Settle = Callable[[Sequence[Any], StorageError | None], object]  # (waiters, what became of their events)


class _Waiting(NamedTuple):
    """An event that is to be written, and who is told."""

    event: bytes
    settle: Settle
    waiter: Any


class GroupWrite:
    """Calls ``write(events)`` for one thread at a time.  What that raises must be ``StorageError``."""

    def __init__(self, write: Callable[[Sequence[bytes]], None]) -> None:
        self._write = write
        self._lock = threading.Lock()  # held for moments: never while the disk works
        self._at_rest = threading.Condition(self._lock)  # nobody writes
        self._waiting: list[_Waiting] = []
        self._busy = False  # somebody writes: an appending thread, or the writer
        self._closed = False
        self._writer: threading.Thread | None = None
        self._turn = threading.Semaphore(0)  # the writer's

    def append(self, event: bytes) -> None:
        """Write ``event`` and return when it is safe.  Raises ``StorageError``: it was not taken."""
        waiter = _Waiter()
        writes = False
        try:
            writes = self._enqueue(_Waiting(event, _wake, waiter))
            if writes:
                self._write_waiting()
        finally:
            if writes:
                self._pass_on()
        waiter.wait()

    def submit(self, event: bytes, settle: Settle, waiter: object) -> None:
        """Have ``event`` written; ``settle`` is then told of ``waiter``, among others.

        ``settle`` is called on another thread, once for all that it is told of at a time, and must not raise.  Raises
        ``StorageError`` once this is closed; ``settle`` then hears nothing of it.
        """
        if self._enqueue(_Waiting(event, settle, waiter)):
            self._wake_writer()

    def close(self) -> None:
        """Refuse what comes, and wait until what came is settled."""
        with self._lock:
            self._closed = True
            self._at_rest.wait_for(lambda: not self._busy)
        if self._writer is not None:
            self._turn.release()
            self._writer.join()

    def _enqueue(self, waiting: _Waiting) -> bool:
        """Let an event wait to be written; whether the caller has to see to that."""
        with self._lock:
            if self._closed:
                raise StorageError("the spool is closed", retryable=True)
            self._waiting.append(waiting)
            writes, self._busy = not self._busy, True
        return writes

    def _wake_writer(self) -> None:
        if self._writer is None:
            self._writer = threading.Thread(target=self._run_writer, name="opentrail-spool", daemon=True)
            self._writer.start()
        self._turn.release()

    def _run_writer(self) -> None:
        while True:
            self._turn.acquire()
            if not self._busy:  # closed
                return
            while self._write_waiting():
                pass

    def _pass_on(self) -> None:
        """An appending thread has written its own event; what came meanwhile is the writer's."""
        with self._lock:
            if not self._waiting:
                self._rest()
                return
        self._wake_writer()

    def _rest(self) -> None:
        self._busy = False
        self._at_rest.notify_all()

    def _write_waiting(self) -> bool:
        """Write what waits, and tell; False, and nobody is busy any more, where nothing waits."""
        with self._lock:
            batch, self._waiting = self._waiting, []
            if not batch:
                self._rest()
                return False
        error: StorageError | None = StorageError("the write was interrupted", retryable=True)
        try:
            self._write([each.event for each in batch])
            error = None
        except StorageError as failure:
            error = failure
        finally:
            _settle(batch, error)
        return True


class _Waiter:
    """Wakes one blocked thread."""

    __slots__ = ("_done", "_error")

    def __init__(self) -> None:
        self._done = threading.Lock()
        self._done.acquire()
        self._error: StorageError | None = None

    def wake(self, error: StorageError | None) -> None:
        self._error = error
        self._done.release()

    def wait(self) -> None:
        self._done.acquire()
        if self._error is not None:  # a fresh one: each thread adds its traceback
            raise StorageError(str(self._error), retryable=self._error.retryable)


def _wake(waiters: Sequence[_Waiter], error: StorageError | None) -> None:
    for each in waiters:
        each.wake(error)


def _settle(batch: Sequence[_Waiting], error: StorageError | None) -> None:
    """Tell all of a write; whoever waits in the same way, with one call."""
    waiters: dict[Settle, list[Any]] = {}
    for each in batch:
        waiters.setdefault(each.settle, []).append(each.waiter)
    for settle, those in waiters.items():
        settle(those, error)
