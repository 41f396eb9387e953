"""The spool: what was appended comes out, whatever happens to the process, the disk and the file."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opentrail.core.errors import StorageError
from opentrail.middleware.spool import Spool


def drain(spool: Spool, *, advance: bool = True, max_events: int = 100, max_bytes: int = 1 << 20) -> list[bytes]:
    """Everything that waits."""
    found: list[bytes] = []
    while batch := spool.read(max_events, max_bytes):
        if not batch.events:
            if not spool.filled.is_set():
                return found
            continue
        assert len(batch.events) <= max_events
        assert sum(map(len, batch.events)) <= max_bytes or len(batch.events) == 1
        found += batch.events
        if not advance:
            return found
        spool.advance(batch)
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rounds=st.lists(
        st.tuples(st.lists(st.binary(min_size=1, max_size=300), max_size=12), st.booleans(), st.booleans()), max_size=6
    ),
    segment_bytes=st.sampled_from([1, 100, 1000]),
    number=st.uuids(),
)
def test_events_come_out_once_and_in_order(
    tmp_path: Path, rounds: list[tuple[list[bytes], bool, bool]], segment_bytes: int, number: object
) -> None:
    folder = tmp_path / str(number)
    spool = Spool(folder, durable=False, segment_bytes=segment_bytes)
    waiting: list[bytes] = []
    for events, delivers, reopens in rounds:
        for event in events:
            spool.append(event)
        waiting += events
        if delivers:
            assert drain(spool, max_events=3, max_bytes=500) == waiting
            waiting = []
            assert spool.waiting_bytes == 0
        if reopens:
            spool.close()
            spool = Spool(folder, durable=False, segment_bytes=segment_bytes)
        assert spool.waiting_bytes == sum(len(each) + 8 for each in waiting)
    assert drain(spool) == waiting
    assert len(list(folder.glob("*.spool"))) <= 1, "what is delivered is deleted"
    spool.close()


def test_a_crash_may_cut_the_last_event_anywhere(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    for event in (b"one", b"two", b"three"):
        spool.append(event)
    spool.close()
    (segment,) = (tmp_path / "s").glob("*.spool")
    data = segment.read_bytes()
    for length in range(len(data) + 1):
        segment.write_bytes(data[:length])
        opened = Spool(tmp_path / "s")
        opened.append(b"after")
        whole = [b"one", b"two", b"three"][: sum(length >= end for end in (11, 22, 35))]
        assert drain(opened, advance=False) == [*whole, b"after"]
        opened.close()


def test_a_torn_cursor_only_reads_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    spool.append(b"one")
    spool.append(b"two")
    spool.advance(spool.read(1, 100))
    spool.close()
    for cursor in (b"", b"0000", b"rubbish rubbish", b"9 9 9", b"0 0"):
        (tmp_path / "s" / "cursor").write_bytes(cursor)
        opened = Spool(tmp_path / "s")
        assert drain(opened, advance=False) == [b"one", b"two"]
        opened.close()


def test_damage_in_an_old_segment_costs_that_segment_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = Spool(tmp_path / "s", segment_bytes=1)  # one event a segment
    for event in (b"one", b"two", b"three"):
        spool.append(event)
    spool.close()
    second = sorted((tmp_path / "s").glob("*.spool"))[1]
    second.write_bytes(second.read_bytes()[:-1] + b"?")
    opened = Spool(tmp_path / "s", segment_bytes=1)
    assert drain(opened) == [b"one", b"three"]
    assert "is damaged" in caplog.text
    opened.close()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    with pytest.raises(StorageError, match="another process"):
        Spool(tmp_path / "s")
    spool.close()
    Spool(tmp_path / "s").close()


def test_a_full_spool_refuses_until_something_is_delivered(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", max_bytes=100)
    for _ in range(3):  # 28 bytes each
        spool.append(b"x" * 20)
    with pytest.raises(StorageError, match="is full"):
        spool.append(b"x" * 20)
    with pytest.raises(StorageError, match="is full"):
        spool.check()
    assert len(drain(spool)) == 3
    spool.check()
    spool.append(b"y")
    spool.close()


def test_a_full_disk_keeps_nothing_of_the_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "s")
    spool.append(b"one")
    write = os.pwrite

    def half(descriptor: int, data: bytes, offset: int) -> int:
        return write(descriptor, data[:5], offset)

    monkeypatch.setattr(os, "pwrite", half)
    with pytest.raises(StorageError):
        spool.append(b"two")
    monkeypatch.undo()
    spool.append(b"three")
    assert drain(spool) == [b"one", b"three"]
    spool.close()


def test_after_a_failed_fsync_nothing_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "s")

    def fails(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fails)
    with pytest.raises(StorageError, match="Input/output"):
        spool.append(b"one")
    monkeypatch.undo()
    for attempt in (spool.check, lambda: spool.append(b"two")):
        with pytest.raises(StorageError, match="Input/output"):
            attempt()
    spool.close()


def test_threads_share_the_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "s")
    syncs: list[int] = []
    sync = os.fdatasync

    def slow(descriptor: int) -> None:
        syncs.append(1)
        threading.Event().wait(0.02)
        sync(descriptor)

    monkeypatch.setattr(os, "fdatasync", slow)

    def work(name: int) -> None:
        for number in range(5):
            spool.append(b"%d-%d" % (name, number))

    threads: list[Any] = [threading.Thread(target=work, args=(name,)) for name in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(syncs) < 45, "ten threads and fifty events"
    found = drain(spool)
    assert len(set(found)) == len(found) == 50
    for name in range(10):
        assert [each for each in found if each.startswith(b"%d-" % name)] == [b"%d-%d" % (name, n) for n in range(5)]
    spool.close()


def test_nothing_is_lost_between_a_writer_and_a_reader(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", durable=False, segment_bytes=2000)
    count = 20_000

    def write() -> None:
        for number in range(count):
            spool.append(b"%d" % number)

    writer = threading.Thread(target=write)
    writer.start()
    found: list[bytes] = []
    while writer.is_alive() or spool.filled.is_set():
        found += drain(spool, max_events=7)
    writer.join()
    assert found == [b"%d" % number for number in range(count)]
    assert spool.waiting_bytes == 0
    spool.close()


def test_damage_costs_the_damaged_event_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    events = [b'{"number": %d}' % number for number in range(9)]
    spool = Spool(tmp_path / "s")
    for event in events:
        spool.append(event)
    spool.close()
    (segment,) = (tmp_path / "s").glob("*.spool")
    whole = segment.read_bytes()
    size = len(whole) // len(events)
    for place in range(0, len(whole) - size, 4):  # the last event's end may be one that a crash has cut off
        segment.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        opened = Spool(tmp_path / "s", durable=False)
        assert drain(opened, advance=False) == [each for each in events if each != events[place // size]]
        opened.close()
    assert "is damaged from byte 0 to 21" in caplog.text


@pytest.mark.parametrize("place", [19, 30, 40, 45])
def test_a_damaged_cursor_reads_again(tmp_path: Path, place: int) -> None:
    spool = Spool(tmp_path / "s")
    for event in (b"one", b"two", b"three"):
        spool.append(event)
    spool.advance(spool.read(1, 100))
    spool.close()
    cursor = tmp_path / "s" / "cursor"
    text = bytearray(cursor.read_bytes())
    text[place] = ord("7") if text[place] != ord("7") else ord("3")
    cursor.write_bytes(text)
    opened = Spool(tmp_path / "s")
    assert drain(opened) == [b"one", b"two", b"three"]
    opened.close()


def test_room_that_a_killed_process_left_is_no_damage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = Spool(tmp_path / "s", segment_bytes=1)
    spool.append(b"one")
    spool.append(b"two")
    spool.leave()  # as if killed
    first, last = sorted((tmp_path / "s").glob("*.spool"))
    assert last.stat().st_size > 100_000
    first.write_bytes(first.read_bytes() + bytes(5000))  # killed before the room was cut off
    opened = Spool(tmp_path / "s", segment_bytes=1)
    assert last.stat().st_size == 11
    assert drain(opened) == [b"one", b"two"]
    assert caplog.text == ""
    opened.close()


def test_events_of_an_event_loop_share_a_write_and_are_told_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path / "s")
    started, goes_on = threading.Event(), threading.Event()
    syncs: list[int] = []

    def slow(_descriptor: int) -> None:
        syncs.append(1)
        started.set()
        assert goes_on.wait(10)

    monkeypatch.setattr(os, "fdatasync", slow)
    told: list[tuple[list[Any], StorageError | None]] = []
    done = threading.Event()

    def settle(waiters: Any, error: StorageError | None) -> None:
        told.append((list(waiters), error))
        if sum(len(each) for each, _ in told) == 10:
            done.set()

    spool.submit(b"0", settle, 0)
    assert started.wait(10)
    for number in range(1, 10):
        spool.submit(b"%d" % number, settle, number)
    assert told == []
    assert spool.read(100, 100).events == (), "not before it is safe"
    goes_on.set()
    assert done.wait(10)
    assert told == [([0], None), (list(range(1, 10)), None)]
    assert len(syncs) == 2
    spool.close()
    with pytest.raises(StorageError, match="closed"):
        spool.submit(b"x", settle, 10)
    with pytest.raises(StorageError, match="closed"):
        spool.append(b"x")


def test_a_lone_thread_needs_no_other(tmp_path: Path) -> None:
    """A server may run an application without threads of its own (uWSGI does)."""
    before = threading.active_count()
    spool = Spool(tmp_path / "s")
    for number in range(5):
        spool.append(b"%d" % number)
    assert threading.active_count() == before
    spool.close()


def test_an_interrupted_write_stops_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "s")

    def interrupted(*_arguments: Any) -> int:
        raise SystemExit("the worker's time is over")

    monkeypatch.setattr(os, "pwrite", interrupted)
    with pytest.raises(SystemExit):
        spool.append(b"one")
    monkeypatch.undo()
    spool.append(b"two")
    assert drain(spool) == [b"two"]
    assert spool.waiting_bytes == 0
    spool.close()
