"""Reading ahead: what comes next is on its way while what came is looked at.

Two ways with one meaning: ``NoReadAhead`` for sources where a read costs a processor's time alone, and
``ThreadReadAhead`` for those that answer after a while.  How many threads that takes, ``ReadingThreads`` find out.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from itertools import islice
from queue import SimpleQueue
from typing import Final, Protocol, TypeVar

_PAGE: Final = 1000  # items of an iterator taken at once: a page of S3's listing
_FEW: Final = 8  # threads: as many as keep a processor busy where the server is on the same machine
_READS_MEASURED: Final = 4  # a thread's: of so many one hardly waits for the other threads
_TICK: Final = 1e-6  # seconds: some systems' clocks say that nothing took any

A = TypeVar("A")
B = TypeVar("B")


class ReadAhead(Protocol):
    """How far ahead is read."""

    def map(self, function: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
        """``function`` of each item, in the order of the items.  What it raises comes in its place."""
        ...

    def iterate(self, items: Iterator[A]) -> Iterator[A]:
        """The same items; the next ones are asked for while these are used."""
        ...

    def close(self) -> None:
        """Read no further ahead."""
        ...


class NoReadAhead:
    """One after the other."""

    def map(self, function: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
        """Nothing ahead."""
        return map(function, items)

    def iterate(self, items: Iterator[A]) -> Iterator[A]:
        """Nothing ahead."""
        return items

    def close(self) -> None:
        """Nothing is under way."""


class ReadingThreads:
    """At most ``most`` threads that end with the process: one that waits for a network must not hold it up.

    They begin as few, for threads that take turns at a processor cost time.  Where even the shortest of many reads
    waited so long that so few cannot fill its time, there are as many more as can.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._count = 0
        self._start(min(_FEW, most))

    def put(self, task: Callable[[], None]) -> None:
        """Have one of the threads do ``task``, a read; it must not raise."""
        self._tasks.put(task)

    def close(self) -> None:
        """Let the threads go when they have done what was put before."""
        self._tasks.put(None)

    def _start(self, threads: int) -> None:
        self._count += threads
        self._reads, self._shortest, self._busy = 0, math.inf, 0.0  # what was measured with so many threads
        for _ in range(threads):
            threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            began, was_busy = time.perf_counter(), time.thread_time()
            task()
            if self._count < self._most:
                self._measure(time.perf_counter() - began, time.thread_time() - was_busy)
        self._tasks.put(None)  # for the next one

    def _measure(self, seconds: float, busy: float) -> None:
        """Think about the number of threads after each has read a few times."""
        with self._lock:
            self._reads += 1
            self._shortest = min(self._shortest, seconds)
            self._busy += busy
            if self._reads >= _READS_MEASURED * self._count:
                wanted = self._shortest * self._reads / max(self._busy, _TICK)
                self._start(max(0, min(self._most, int(wanted)) - self._count))


class ThreadReadAhead:
    """Up to ``threads`` reads at once."""

    def __init__(self, threads: int) -> None:
        self._window = 2 * threads
        self._threads = ReadingThreads(threads)

    def map(self, function: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
        """As many items ahead as there may be threads, twice."""
        waiting: deque[Future[B]] = deque()
        for item in items:
            waiting.append(self._submit(lambda item=item: function(item)))  # type: ignore[misc]  # mypy: lambda's default
            if len(waiting) >= self._window:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def iterate(self, items: Iterator[A]) -> Iterator[A]:
        """One page ahead."""

        def take() -> list[A]:
            return list(islice(items, _PAGE))

        page = self._submit(take)
        while found := page.result():
            page = self._submit(take)
            yield from found

    def close(self) -> None:
        """Let the threads go when they have done what was asked for."""
        self._threads.close()

    def _submit(self, task: Callable[[], B]) -> Future[B]:
        future: Future[B] = Future()
        self._threads.put(partial(_settle, future, task))
        return future


def _settle(future: Future[B], task: Callable[[], B]) -> None:
    try:
        future.set_result(task())
    except BaseException as error:  # noqa: BLE001  the thread's boundary: whoever waits for the result gets it
        future.set_exception(error)
