"""Group commit over the embedded journal on a simulated disk, whose sync a test can hold back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from opentrail.core.errors import JournalError
from opentrail.journal.base import Entry
from opentrail.journal.group_commit import GroupCommit
from opentrail.journal.local import LocalJournal, open_local_journal
from opentrail.testing.journal_contract import as_entry, assert_holds, make_entry, read_all
from opentrail.testing.simulated_files import Fault, KilledError, SimulatedFiles


class _Disk:
    """A journal on a disk whose syncs wait while it is held."""

    def __init__(self) -> None:
        self.files = SimulatedFiles()
        self.journal: LocalJournal = open_local_journal(Path("/journal"), files=self.files)
        self.answer: Fault | None = None  # to a sync
        self.is_full = False
        self.syncing = threading.Event()
        self._released = threading.Event()
        self._released.set()
        self.files.fault = self._fault

    def _fault(self, _number: int, name: str) -> Fault | None:
        if name == "write" and self.is_full:
            return Fault.FAILS
        if name != "sync":
            return None
        self.syncing.set()
        self._released.wait()
        return self.answer

    def hold(self) -> None:
        self.syncing.clear()
        self._released.clear()

    def release(self) -> None:
        self._released.set()


class _Answers:
    """Collects what callbacks are told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int | None, JournalError | None]] = []

    def submit(self, group: GroupCommit, number: int, *, payload: bytes | None = None) -> None:
        group.submit(
            make_entry(number, payload=payload),
            lambda position, error: self.told.append((number, position, error)),
        )


def _resolve(future: asyncio.Future[int | None], position: int | None, _error: JournalError | None) -> None:
    future.set_result(position)


@pytest.fixture
def disk() -> Iterator[_Disk]:
    disk = _Disk()
    yield disk
    disk.release()


def test_what_waits_while_the_disk_works_shares_the_next_write(disk: _Disk) -> None:
    """Callbacks come in order, one wake-up a batch."""
    wakeups: list[int] = []
    answers = _Answers()

    def notify(call: object) -> None:
        assert callable(call)
        before = len(answers.told)
        call()
        wakeups.append(len(answers.told) - before)

    group = GroupCommit(disk.journal, notify=notify)
    disk.hold()
    answers.submit(group, 0)
    assert disk.syncing.wait(10)
    for number in range(1, 100):
        answers.submit(group, number)
    assert answers.told == []
    assert disk.journal.end == 0
    disk.release()
    group.close()
    assert answers.told == [(number, number + 1, None) for number in range(100)]
    assert wakeups == [1, 99]
    assert_holds(disk.journal, [make_entry(number) for number in range(100)])
    counters = group.counters
    assert (counters.batches, counters.entries, counters.failures, counters.waiting) == (2, 100, 0, 0)
    assert counters.append_seconds > 0


def test_threads_get_their_own_positions(disk: _Disk) -> None:
    group = GroupCommit(disk.journal)
    positions: dict[int, int] = {}

    def work(worker: int) -> None:
        for number in range(worker * 100, worker * 100 + 50):
            positions[number] = group.submit_and_wait(make_entry(number))
            assert disk.journal.end >= positions[number], "durable before it is answered"

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    group.close()
    found = {entry.position: as_entry(entry) for entry in read_all(disk.journal)}
    assert found == {position: make_entry(number) for number, position in positions.items()}
    assert len(found) == 400


def test_a_waiting_thread_does_not_depend_on_the_event_loop(disk: _Disk) -> None:
    async def serve() -> int:
        loop = asyncio.get_running_loop()
        group = GroupCommit(disk.journal, notify=loop.call_soon_threadsafe)
        position = group.submit_and_wait(make_entry(1))  # blocks this loop's own thread, and returns
        futures = []
        for number in range(2, 50):
            future: asyncio.Future[int | None] = loop.create_future()
            group.submit(make_entry(number), partial(_resolve, future))
            futures.append(future)
        assert await asyncio.gather(*futures) == list(range(2, 50))
        await loop.run_in_executor(None, group.close)
        return position

    assert asyncio.run(serve()) == 1


def test_a_full_disk_fails_the_batch_and_no_other(disk: _Disk) -> None:
    answers = _Answers()
    group = GroupCommit(disk.journal)
    group.submit_and_wait(make_entry(1))
    disk.is_full = True
    for number in (2, 3):
        answers.submit(group, number)
    group.barrier()
    assert [(number, position) for number, position, _ in answers.told] == [(2, None), (3, None)]
    assert all(error is not None and error.retryable for _, _, error in answers.told)
    with pytest.raises(JournalError, match="No space left") as caught:
        group.submit_and_wait(make_entry(4))
    assert caught.value.retryable
    assert group.failure is None
    disk.is_full = False
    assert group.submit_and_wait(make_entry(5)) == 2
    group.close()
    assert group.counters.failures == 3
    assert_holds(disk.journal, [make_entry(1), make_entry(5)])


def test_after_a_failed_sync_nothing_is_accepted(disk: _Disk) -> None:
    """Neither what was in the batch, nor what waited behind it, nor what comes later."""
    answers = _Answers()
    group = GroupCommit(disk.journal)
    disk.hold()
    answers.submit(group, 1)
    assert disk.syncing.wait(10)
    answers.submit(group, 2)
    disk.answer = Fault.FAILS
    disk.release()
    group.barrier()
    disk.answer = None
    assert [(number, position) for number, position, _ in answers.told] == [(1, None), (2, None)]
    assert all(error is not None and not error.retryable for _, _, error in answers.told)
    assert group.failure is not None
    for _ in range(2):
        with pytest.raises(JournalError, match="cannot sync") as caught:
            answers.submit(group, 3)
        assert not caught.value.retryable
    assert group.counters.refusals == 2
    group.close()
    assert len(answers.told) == 2


@pytest.mark.parametrize(("entries", "size"), [(3, 1 << 20), (100, 3 * 1100)], ids=["entries", "bytes"])
def test_a_disk_that_is_behind_is_not_hidden_in_a_growing_queue(disk: _Disk, entries: int, size: int) -> None:
    answers = _Answers()
    group = GroupCommit(disk.journal, max_waiting_entries=entries, max_waiting_bytes=size)
    disk.hold()
    answers.submit(group, 0, payload=b"p" * 1000)
    assert disk.syncing.wait(10)
    for number in (1, 2, 3):
        answers.submit(group, number, payload=b"p" * 1000)
    with pytest.raises(JournalError, match="3 entries wait") as caught:
        answers.submit(group, 4, payload=b"p" * 1000)
    assert caught.value.retryable
    assert (group.counters.waiting, group.counters.refusals) == (3, 1)
    disk.release()
    group.barrier()
    answers.submit(group, 5, payload=b"p" * 1000)
    group.close()
    assert [(number, position) for number, position, _ in answers.told] == [(0, 1), (1, 2), (2, 3), (3, 4), (5, 5)]


def test_large_entries_go_in_several_batches(disk: _Disk) -> None:
    group = GroupCommit(disk.journal)
    answers = _Answers()
    disk.hold()
    answers.submit(group, 0)
    assert disk.syncing.wait(10)
    entries: list[Entry] = [make_entry(number, payload=bytes([number]) * (1 << 20)) for number in range(1, 21)]
    for number, entry in enumerate(entries, 1):
        answers.submit(group, number, payload=entry.payload)
    disk.release()
    group.close()
    assert [position for _, position, _ in answers.told] == list(range(1, 22))
    assert group.counters.batches == 1 + 3
    assert_holds(disk.journal, [make_entry(0), *entries])


def test_a_barrier_waits_for_what_came_before_it_alone(disk: _Disk) -> None:
    group = GroupCommit(disk.journal)
    group.barrier()
    answers = _Answers()
    disk.hold()
    answers.submit(group, 1)
    assert disk.syncing.wait(10)
    answers.submit(group, 2)
    passed = threading.Event()

    def wait() -> None:
        group.barrier()
        passed.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not passed.wait(0.05)
    disk.release()
    thread.join()
    assert [number for number, _, _ in answers.told] == [1, 2]
    group.close()


def test_an_impossible_entry_disturbs_nobody(disk: _Disk) -> None:
    group = GroupCommit(disk.journal)
    with pytest.raises(ValueError, match="event_id"):
        group.submit_and_wait(make_entry(1)._replace(event_id=b""))
    assert group.submit_and_wait(make_entry(2)) == 1
    group.close()


def test_close_finishes_what_waits_and_refuses_the_rest(disk: _Disk) -> None:
    group = GroupCommit(disk.journal)
    answers = _Answers()
    disk.hold()
    for number in range(10):
        answers.submit(group, number)
    closer = threading.Thread(target=group.close)
    closer.start()
    assert disk.syncing.wait(10)
    disk.release()
    closer.join()
    group.close()
    assert [position for _, position, _ in answers.told] == list(range(1, 11))
    with pytest.raises(JournalError, match="closed"):
        group.submit_and_wait(make_entry(1))
    disk.journal.close()


def test_a_writer_that_dies_leaves_nobody_waiting(disk: _Disk) -> None:
    """An error of ours in the writer thread is everyone's answer."""
    group = GroupCommit(disk.journal)

    def die(_number: int, _name: str) -> Fault | None:
        raise KilledError

    disk.files.fault = die
    with pytest.raises(JournalError, match=r"writer stopped.*KilledError") as caught:
        group.submit_and_wait(make_entry(1))
    assert not caught.value.retryable
    assert group.failure is not None
    with pytest.raises(JournalError, match="writer stopped"):
        group.submit_and_wait(make_entry(2))
    group.barrier()
    group.close()


@pytest.mark.parametrize("is_full", [False, True], ids=["durable", "failed"])
def test_a_callback_that_raises_harms_nobody_else(
    disk: _Disk, caplog: pytest.LogCaptureFixture, *, is_full: bool
) -> None:
    """Neither the callbacks behind it in its batch nor the writer, and it is heard of."""
    answers = _Answers()
    group = GroupCommit(disk.journal)
    disk.hold()
    answers.submit(group, 1)
    assert disk.syncing.wait(10)

    def careless(_position: int | None, _error: JournalError | None) -> None:
        raise RuntimeError("nobody foresaw this")

    group.submit(make_entry(2), careless)
    answers.submit(group, 3)
    disk.is_full = is_full
    disk.release()
    group.barrier()
    disk.is_full = False
    assert [(number, position) for number, position, _ in answers.told] == [(1, 1), (3, None if is_full else 3)]
    assert "nobody foresaw this" in caplog.text
    assert group.submit_and_wait(make_entry(4)) == (2 if is_full else 4)
    group.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_notify_that_raises_is_our_mistake_and_stops_the_writer(disk: _Disk) -> None:
    """An event loop that was closed too early: the entry is durable, nothing more is accepted, nobody hangs."""

    def notify(_call: object) -> None:
        raise RuntimeError("the loop is closed")

    group = GroupCommit(disk.journal, notify=notify)
    group.submit(make_entry(1), lambda _position, _error: None)
    group.barrier()
    with pytest.raises(JournalError, match="writer stopped"):
        group.submit_and_wait(make_entry(2))
    group.close()
    assert_holds(disk.journal, [make_entry(1)])
