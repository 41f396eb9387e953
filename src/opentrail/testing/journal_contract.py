"""What every ``Journal`` must do, as a pytest class.

A journal's own test subclasses ``JournalContract`` and gives the fixture ``open_journal``: a function that opens the
same journal each time it is called (the one before is closed by then).  Rules under test: ``journal.base``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from opentrail.core.errors import JournalError
from opentrail.journal.base import MAX_PAYLOAD_BYTES, MAX_ROUTE_BYTES, Entry, EntryKind, Journal, StoredEntry

OpenJournal = Callable[[], Journal]


def make_entry(number: int, *, payload: bytes | None = None) -> Entry:
    """An entry that is told from every other by ``number``."""
    return Entry(
        kind=EntryKind.INTENT if number % 3 == 0 else EntryKind.EVENT,
        route=b"123456789012/eu-central-1/%d" % (number % 5),
        event_time_ms=1_700_000_000_000 + number,
        event_id=number.to_bytes(16, "big"),
        payload=b'{"n":%d}' % number if payload is None else payload,
    )


def read_all(journal: Journal, after: int = 0, **limits: int) -> list[StoredEntry]:
    """Everything behind ``after``, read as a follower reads."""
    found: list[StoredEntry] = []
    while more := journal.read(found[-1].position if found else after, **limits):
        found += more
    return found


def assert_holds(journal: Journal, entries: Sequence[Entry], *, first: int = 1) -> None:
    """``journal`` holds exactly ``entries`` from position ``first`` on, in order, byte for byte."""
    found = read_all(journal, first - 1)
    assert [entry.position for entry in found] == list(range(first, first + len(entries)))
    assert [as_entry(entry) for entry in found] == list(entries)
    assert journal.end == first + len(entries) - 1


def as_entry(stored: StoredEntry) -> Entry:
    """What was appended."""
    _, kind, route, event_time_ms, event_id, payload = stored
    return Entry(kind, route, event_time_ms, event_id, bytes(payload))


class JournalWitness:
    """Remembers what was asked of a journal and what it answered, across crashes, and finds the journal's lies.

    An appended batch ends in one of three ways: acknowledged (there for ever, at its positions), refused (nothing of it
    is ever there), or unknown (the process was killed, or the journal failed for good: all of it or nothing).
    """

    def __init__(self) -> None:
        self._acknowledged: dict[int, Entry] = {}
        self._refused: set[bytes] = set()
        self._unknown: list[list[Entry]] = []
        self._seen: dict[int, Entry] = {}
        self._may_start_at = 1

    @property
    def acknowledged(self) -> int:
        """How many entries were acknowledged."""
        return len(self._acknowledged)

    def append(self, journal: Journal, entries: list[Entry]) -> bool:
        """Append ``entries``, none of which was appended before; whether they were acknowledged."""
        self._unknown.append(entries)
        try:
            first = journal.append(entries)
        except JournalError as error:
            if error.retryable:
                self._refused.update(entry.event_id for entry in self._unknown.pop())
            else:
                assert journal.failure is not None
            return False
        self._unknown.pop()
        for position, entry in enumerate(entries, first):
            assert position not in self._seen, f"position {position} was given twice"
            self._acknowledged[position] = self._seen[position] = entry
        return True

    def trim(self, journal: Journal, before: int) -> None:
        """Trim; raises as the journal does."""
        self._may_start_at = max(self._may_start_at, before)
        journal.trim(before)

    def check(self, journal: Journal) -> None:
        """Read ``journal`` wholly and hold it to its word."""
        start = journal.start
        assert start <= self._may_start_at
        found = {entry.position: as_entry(entry) for entry in read_all(journal, start - 1)}
        assert list(found) == list(range(start, journal.end + 1))
        for position, entry in self._seen.items():
            assert position < start or found.get(position) == entry, f"position {position} was lost or changed"
        ids = [entry.event_id for entry in found.values()]
        assert len(set(ids)) == len(ids), "an entry is there twice"
        assert not self._refused.intersection(ids), "a refused entry is there"
        positions = {entry: position for position, entry in found.items()}
        accounted = {entry for position, entry in self._acknowledged.items() if position in found}
        for batch in self._unknown:
            there = [positions[entry] for entry in batch if entry in positions]
            if there and start <= there[0] - batch.index(found[there[0]]):
                assert there == list(range(there[0], there[0] + len(batch))), "a batch was torn apart"
            accounted.update(batch)
        assert accounted.issuperset(positions), "an entry is there that nobody appended"
        self._seen.update(found)


class JournalContract:
    """Any journal passes these."""

    @pytest.fixture
    def open_journal(self) -> Iterator[OpenJournal]:
        """A function that opens the one journal under test."""
        raise NotImplementedError("the subclass gives this fixture")

    def test_a_new_journal_is_empty(self, open_journal: OpenJournal) -> None:
        """Positions begin at 1, so 0 is the cursor of a follower that has seen nothing."""
        journal = open_journal()
        assert (journal.start, journal.end, journal.read(0)) == (1, 0, [])
        assert len(journal.id) == 16
        assert journal.failure is None
        journal.close()

    def test_positions_are_dense_and_entries_come_back_as_they_were(self, open_journal: OpenJournal) -> None:
        """Batches of any size, one sequence."""
        journal = open_journal()
        batches = [[make_entry(10 * size + i) for i in range(size)] for size in (1, 2, 1, 7, 100)]
        firsts = [journal.append(batch) for batch in batches]
        assert firsts == [1, 2, 4, 5, 12]
        assert_holds(journal, [entry for batch in batches for entry in batch])
        journal.close()

    def test_any_bytes_survive(self, open_journal: OpenJournal) -> None:
        """Empty and largest fields, times before 1970, bytes that are no text, and what looks like a journal."""
        journal = open_journal()
        entries = [
            Entry(EntryKind.EVENT, b"", 0, bytes(16), b""),
            Entry(EntryKind.INTENT, b"\xff" * MAX_ROUTE_BYTES, -(1 << 63), b"\xff" * 16, bytes(range(256))),
            Entry(EntryKind.RECOVERED, b"\n\0", (1 << 63) - 1, b"0" * 16, b"x" * MAX_PAYLOAD_BYTES),
            make_entry(1, payload=journal.id * 1000),
        ]
        journal.append(entries)
        assert_holds(journal, entries)
        journal.close()
        assert_holds(journal := open_journal(), entries)
        journal.close()

    def test_reading_begins_right_behind_any_cursor(self, open_journal: OpenJournal) -> None:
        """Also in the middle of a batch, and at the end."""
        journal = open_journal()
        entries = [make_entry(i) for i in range(60)]
        for at in range(0, 60, 6):
            journal.append(entries[at : at + 6])
        for after in range(61):
            assert [as_entry(entry) for entry in journal.read(after)] == entries[after:]
        journal.close()

    def test_limits_of_a_read(self, open_journal: OpenJournal) -> None:
        """``max_entries`` is exact; any limits make progress and skip nothing."""
        journal = open_journal()
        entries = [make_entry(i, payload=b"p" * 100 * (i % 7)) for i in range(200)]
        for at in range(0, 200, 8):
            journal.append(entries[at : at + 8])
        assert [len(journal.read(5, max_entries=n)) for n in (1, 2, 9, 50)] == [1, 2, 9, 50]
        assert 1 <= len(journal.read(5, max_bytes=1)) <= 8, "an append may exceed max_bytes, two may not"
        for limits in ({"max_entries": 1}, {"max_entries": 7}, {"max_bytes": 1}, {"max_bytes": 2000}):
            assert [as_entry(entry) for entry in read_all(journal, **limits)] == entries
        journal.close()

    def test_a_cursor_that_cannot_be_is_an_error(self, open_journal: OpenJournal) -> None:
        """A follower ahead of its journal has another journal's cursor, or entries were lost: never silence."""
        journal = open_journal()
        journal.append([make_entry(1)])
        for after in (2, 10_000, -1):
            with pytest.raises(JournalError) as caught:
                journal.read(after)
            assert not caught.value.retryable
        journal.close()

    def test_a_journal_opened_again_goes_on(self, open_journal: OpenJournal) -> None:
        """Its id, its entries, its positions."""
        entries = [make_entry(i) for i in range(30)]
        ids = set()
        for at in range(0, 30, 3):
            journal = open_journal()
            ids.add(journal.id)
            assert_holds(journal, entries[:at])
            assert journal.append(entries[at : at + 3]) == at + 1
            journal.close()
        assert_holds(journal := open_journal(), entries)
        assert len(ids) == 1
        journal.close()

    def test_trim_forgets_nothing_that_it_should_keep(self, open_journal: OpenJournal) -> None:
        """And never hands out a position again, even when all is trimmed."""
        journal = open_journal()
        entries = [make_entry(i, payload=b"p" * 300) for i in range(100)]
        for entry in entries:
            journal.append([entry])
        for before in (0, 1, 2, 40, 40, 3, 101):
            journal.trim(before)
            start = journal.start
            assert start <= max(before, 40 if before == 3 else 1)
            assert_holds(journal, entries[start - 1 :], first=start)
            if start > 1:
                with pytest.raises(JournalError, match="trimmed"):
                    journal.read(start - 2)
        journal.close()
        journal = open_journal()
        assert journal.append([make_entry(1000)]) == 101
        journal.close()

    @pytest.mark.parametrize(
        "bad",
        [
            make_entry(1)._replace(payload=b"x" * (MAX_PAYLOAD_BYTES + 1)),
            make_entry(1)._replace(route=b"r" * (MAX_ROUTE_BYTES + 1)),
            make_entry(1)._replace(event_id=b"short"),
            make_entry(1)._replace(event_time_ms=1 << 63),
        ],
        ids=["payload", "route", "event_id", "event_time_ms"],
    )
    def test_a_batch_with_an_impossible_entry_is_refused_whole(self, open_journal: OpenJournal, bad: Entry) -> None:
        """It is its maker's mistake; the journal goes on."""
        journal = open_journal()
        with pytest.raises(ValueError, match=r"limit|bytes|bits"):
            journal.append([make_entry(1), bad])
        with pytest.raises(ValueError, match="at least one"):
            journal.append([])
        assert journal.append([make_entry(2)]) == 1
        assert_holds(journal, [make_entry(2)])
        journal.close()

    def test_a_closed_journal_refuses(self, open_journal: OpenJournal) -> None:
        """Closing twice is once."""
        journal = open_journal()
        journal.close()
        journal.close()
        for use in (lambda: journal.append([make_entry(1)]), lambda: journal.read(0)):
            with pytest.raises(JournalError) as caught:
                use()
            assert not caught.value.retryable

    def test_writers_and_readers_at_once(self, open_journal: OpenJournal) -> None:
        """Every batch stays together; a reader sees a prefix that only grows, while a trim follows behind."""
        journal = open_journal()
        failures: list[BaseException] = []
        done = threading.Event()

        def write(writer: int) -> None:
            for batch in range(20):
                journal.append([make_entry(writer * 10_000 + batch * 100 + i) for i in range(5)])

        def follow() -> None:
            seen: list[StoredEntry] = []
            try:
                while not (done.is_set() and len(seen) == journal.end):
                    seen += journal.read(len(seen), max_entries=13)
                    time.sleep(0.0005)
                assert [entry.position for entry in seen] == list(range(1, len(seen) + 1))
                numbers = [int.from_bytes(entry.event_id, "big") for entry in seen]
                assert all(numbers[i : i + 5] == [*range(numbers[i], numbers[i] + 5)] for i in range(0, 300, 5))
                assert len(set(numbers)) == 300
            except BaseException as error:
                failures.append(error)
                raise

        writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
        followers = [threading.Thread(target=follow) for _ in range(2)]
        for thread in (*writers, *followers):
            thread.start()
        for thread in writers:
            thread.join()
        done.set()
        for thread in followers:
            thread.join()
        assert not failures
        journal.trim(200)
        assert_holds(journal, [as_entry(e) for e in journal.read(199)], first=200)
        journal.close()
