"""The threads that handlers run on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from opentrail.server.call_threads import CallThreads, waiting_for_client


@pytest.fixture
def threads() -> Iterator[CallThreads]:
    made = CallThreads(4)
    yield made
    made.close()


def test_results_and_errors_come_back_to_their_callers(threads: CallThreads) -> None:
    def work(number: int) -> int:
        if number % 3 == 0:
            raise KeyError(number)
        return number * 2

    async def main() -> list[int | BaseException]:
        return await asyncio.gather(*(threads.run(work, number) for number in range(500)), return_exceptions=True)

    results = asyncio.run(main())
    for number, result in enumerate(results):
        if number % 3 == 0:
            assert isinstance(result, KeyError)
            assert result.args == (number,)
        else:
            assert result == number * 2


def test_the_loop_goes_on_while_they_work(threads: CallThreads) -> None:
    async def main() -> float:
        longest, last = 0.0, time.perf_counter()
        waiting = [threads.run(time.sleep, 0.2) for _ in range(8)]
        while not all(future.done() for future in waiting):
            await asyncio.sleep(0.001)
            longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
        return longest

    assert asyncio.run(main()) < 0.15


def test_no_more_threads_than_asked_for_and_none_before(threads: CallThreads) -> None:
    seen: set[int] = set()

    def note() -> None:
        seen.add(threading.get_ident())
        time.sleep(0.005)

    async def main(count: int) -> None:
        await asyncio.gather(*(threads.run(note) for _ in range(count)))

    asyncio.run(main(1))
    assert len(seen) == len(threads._threads) == 1
    asyncio.run(main(50))
    assert len(seen) == len(threads._threads) == 4


def test_a_caller_that_is_cancelled_takes_nothing_away(threads: CallThreads) -> None:
    done = threading.Event()

    def work() -> None:
        time.sleep(0.05)
        done.set()

    async def main() -> None:
        cancelled = threads.run(work)
        cancelled.cancel()
        assert await threads.run(lambda: 7) == 7
        await threads.run(done.wait)
        assert await threads.run(lambda: 8) == 8

    asyncio.run(main())


def test_closing_finishes_what_was_given_out() -> None:
    threads = CallThreads(2)
    finished: list[int] = []

    async def main() -> None:
        futures = [threads.run(finished.append, number) for number in range(20)]
        threads.close()
        await asyncio.gather(*futures)

    asyncio.run(main())
    assert sorted(finished) == list(range(20))
    assert not [thread for thread in threads._threads if thread.is_alive()]


def test_those_who_wait_for_clients_are_in_nobodys_way(threads: CallThreads) -> None:
    """However many they are; and when they are back there are no more threads than before."""
    released = threading.Event()

    def wait() -> None:
        with waiting_for_client():
            released.wait(20)

    async def main() -> None:
        waiting = [threads.run(wait) for _ in range(50)]
        assert await asyncio.wait_for(threads.run(sum, (1, 2)), 10) == 3
        released.set()
        await asyncio.gather(*waiting)
        for _ in range(200):
            await threads.run(time.sleep, 0)

    before = threading.active_count()
    asyncio.run(main())
    assert threading.active_count() <= before + 4
