"""Reading ahead: what comes next is on its way while what came is looked at.

Two ways with one meaning: ``NoReadAhead`` for sources where a read costs a processor's time alone, and
``ThreadReadAhead`` for those that answer after a while.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from itertools import islice
from queue import SimpleQueue
from typing import Any, Final, Protocol, TypeVar

_PAGE: Final = 1000  # items of an iterator taken at once: a page of S3's listing

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


class ThreadReadAhead:
    """``threads`` threads that end with the process: one that waits for a network must not hold it up."""

    def __init__(self, threads: int) -> None:
        self._window = 2 * threads
        self._tasks: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def map(self, function: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
        """As many items ahead as there are threads, twice."""
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
        """Let the threads go when they have done what they are at."""
        for _ in self._threads:
            self._tasks.put(None)

    def _submit(self, task: Callable[[], B]) -> Future[B]:
        future: Future[B] = Future()
        self._tasks.put((task, future))
        return future

    def _work(self) -> None:
        while (found := self._tasks.get()) is not None:
            task, future = found
            try:
                future.set_result(task())
            except BaseException as error:  # noqa: BLE001  the thread's boundary: whoever waits for the result gets it
                future.set_exception(error)
