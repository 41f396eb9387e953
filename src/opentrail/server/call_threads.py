"""Threads for what blocks: a handler that touches a disk, the next part of a streamed answer.

Leaner than ``concurrent.futures``: a call's way to a thread and back is one queue, one future of the event loop, and
one wake-up of the loop for all results that are ready by then.  Results come back to the loop of ``run``.

A thread that waits for a client is not one of the ``count`` meanwhile (``waiting_for_client``): however many clients
send slowly, the calls of others have threads.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar, TypeVarTuple

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


MAX_THREADS = 1000  # with those that wait for clients

_here = threading.local()  # ``pool``: whose thread this is


@contextmanager
def waiting_for_client() -> Iterator[None]:
    """While the block runs, another thread may work in the place of this one."""
    pool: CallThreads | None = getattr(_here, "pool", None)
    if pool is None:
        yield
        return
    pool.lend()
    try:
        yield
    finally:
        pool.take_back()


class _Job(NamedTuple):
    future: asyncio.Future[Any]
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    begins: bool  # the function returns at once and tells its first argument later


class CallThreads:
    """At most ``count`` threads, started as they are needed.  ``run`` is for the event loop's thread alone."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = threading.Lock()  # of ``_count`` and ``_threads``
        self._threads: list[threading.Thread] = []
        self._running = 0  # jobs that were given out and are not delivered
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._finished: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._announced = False  # the loop will come and look at _finished

    def run(self, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> asyncio.Future[Result]:
        """What ``function(*arguments)``, called on a thread, returns or raises."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._give_out(_Job(future, function, arguments, begins=False))
        return future

    def begin(
        self, function: Callable[[Callable[[Result], None], *Arguments], None], *arguments: *Arguments
    ) -> asyncio.Future[Result]:
        """What ``function(done, *arguments)``, called on a thread, gives to ``done``, once and from any thread.

        The function returns before that, so that a thread serves many that wait; it must not raise.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._give_out(_Job(future, function, arguments, begins=True))
        return future

    def lend(self) -> None:
        """The thread that asks is not counted until ``take_back``."""
        with self._lock:
            self._count += 1
        if not self._jobs.empty():  # else ``_give_out`` comes after this, and knows
            self._start_thread()

    def take_back(self) -> None:
        """The thread that asks goes on working."""
        with self._lock:
            self._count -= 1

    def _give_out(self, job: _Job) -> None:
        self._running += 1
        self._jobs.put(job)
        if self._running > len(self._threads) < self._count:
            self._start_thread()

    def _start_thread(self) -> None:
        with self._lock:
            if len(self._threads) < min(self._count, MAX_THREADS):
                thread = threading.Thread(target=self._work, name=f"call-{len(self._threads) + 1}", daemon=True)
                self._threads.append(thread)
                thread.start()

    def _leave(self) -> bool:
        """Whether this thread is one too many, since those that waited for clients are back."""
        with self._lock:
            is_surplus = len(self._threads) > self._count
            if is_surplus:
                self._threads.remove(threading.current_thread())
        return is_surplus

    def close(self) -> None:
        """Finish what was given out and end the threads."""
        with self._lock:
            threads = tuple(self._threads)
        for _ in threads:
            self._jobs.put(None)
        for thread in threads:
            thread.join()

    def _work(self) -> None:
        _here.pool = self
        while (job := self._jobs.get()) is not None:
            self._do(job)
            if len(self._threads) > self._count and self._leave():
                return

    def _do(self, job: _Job) -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            if job.begins:
                job.function(partial(self._finish, job.future), *job.arguments)
                return
            result = job.function(*job.arguments)
        except BaseException as caught:  # noqa: BLE001  the thread's boundary: it belongs to whoever awaits
            error = caught
        self._finish(job.future, result, error)

    def _finish(self, future: asyncio.Future[Any], result: Any, error: BaseException | None = None) -> None:
        self._finished.append((future, result, error))
        if not self._announced:  # else whoever announced comes after this append, for it resets the mark first
            self._announced = True
            future.get_loop().call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._announced = False
        while self._finished:
            future, result, error = self._finished.popleft()
            self._running -= 1
            if future.done():  # cancelled
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
