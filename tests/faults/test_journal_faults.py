"""Every call of the journal that changes the disk, going wrong in every way; then kill -9 for real.

The oracle is ``JournalWitness``; the disk is ``SimulatedFiles``: when it loses power, any part of what was not synced
may be gone.
"""

from __future__ import annotations

import errno
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from opentrail.core.errors import JournalError
from opentrail.journal.base import Entry
from opentrail.journal.local import LocalJournal, open_local_journal
from opentrail.testing.journal_contract import JournalWitness, assert_holds, make_entry, read_all
from opentrail.testing.simulated_files import Fault, KilledError, SimulatedFiles

_FOLDER = Path("/journal")
_SEGMENT_BYTES = 900


def _open(files: SimulatedFiles) -> LocalJournal:
    return open_local_journal(_FOLDER, segment_bytes=_SEGMENT_BYTES, files=files, new_id=random.Random(7).randbytes)


class _Life:
    """One process after the other uses a journal; ``number`` makes every entry another."""

    def __init__(self) -> None:
        self.files = SimulatedFiles()
        self.witness = JournalWitness()
        self.number = 1000

    def run(self) -> None:
        """A process: appends over several segments, trims, closes in order; it may die anywhere."""
        try:
            journal = _open(self.files)
        except (KilledError, JournalError):
            return
        try:
            self.witness.check(journal)
            for size in (1, 3, 2, 1, 4, 1, 1, 2):
                self.witness.append(journal, self.batch(size))
            self.witness.check(journal)
            self.trim(journal, journal.end - 4)
            self.witness.check(journal)
            journal.close()
            assert self.files.open_descriptors == 0
        except KilledError:
            return

    def batch(self, size: int) -> list[Entry]:
        self.number += size
        return [make_entry(self.number - i, payload=b"p" * 130) for i in range(size)]

    def run_shortly(self) -> None:
        """A process that recovers, shows what it found, appends once and is killed."""
        journal = _open(self.files)
        self.witness.check(journal)
        assert self.witness.append(journal, self.batch(1))
        self.files.kill()

    def trim(self, journal: LocalJournal, before: int) -> None:
        try:
            self.witness.trim(journal, before)
        except JournalError as error:
            if error.retryable:
                self.witness.trim(journal, before)

    def verify(self) -> None:
        """A last process, without faults, finds all that was promised."""
        journal = _open(self.files)
        self.witness.check(journal)
        journal.close()


def _restart_by_kill(life: _Life, _seed: int) -> None:
    life.files.kill()


def _restart_by_power_loss(life: _Life, seed: int) -> None:
    life.files.lose_power(random.Random(seed))


def _restart_twice(life: _Life, seed: int) -> None:
    """Power is lost under the process that recovered, and showed what the one before left in the kernel's cache."""
    life.files.kill()
    life.run_shortly()
    life.files.lose_power(random.Random(seed))


def _calls_of_a_run() -> list[str]:
    life = _Life()
    life.run()
    life.run()
    return life.files.calls


def test_the_scenario_makes_every_call_that_can_fail() -> None:
    calls = {"create", "write", "truncate", "sync", "rename", "sync_folder", "unlink"}
    assert set(_calls_of_a_run()) == calls


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name)
@pytest.mark.parametrize(
    ("restart", "seeds"),
    [(_restart_by_kill, 1), (_restart_by_power_loss, 4), (_restart_twice, 4)],
    ids=["killed", "power lost", "killed and power lost"],
)
def test_every_call_fails_once(fault: Fault, restart: Callable[[_Life, int], None], seeds: int) -> None:
    """Two processes live with the fault at the n-th call (the second recovers), then others tell the truth."""
    calls = _calls_of_a_run()
    for at, name in enumerate(calls):
        for seed in range(seeds):
            life = _Life()
            plan = _fault_at(at, fault)
            try:
                life.files.fault = plan
                life.run()
                restart(life, seed)
                life.files.fault = plan
                life.run()
                restart(life, seed + 100)
                life.run()
                life.verify()
            except Exception as error:
                raise AssertionError(f"call {at} ({name}) {fault.value}; seed {seed}") from error
            assert life.witness.acknowledged >= 15


def _fault_at(at: int, fault: Fault) -> Callable[[int, str], Fault | None]:
    return lambda number, _name: fault if number == at else None


@pytest.mark.parametrize("fault", [Fault.FAILS, Fault.FAILS_BUT_PERSISTED], ids=lambda fault: fault.name)
def test_a_failed_write_whose_undoing_fails_too(fault: Fault) -> None:
    """Truncate or its sync fails: nothing is accepted until the journal is opened anew, nothing promised is lost."""
    for name in ("truncate", "sync"):
        for seed in range(30):
            life = _Life()
            journal = _open(life.files)
            life.witness.append(journal, [make_entry(1), make_entry(2)])
            life.files.fault = _fail_write_and(name, fault)
            assert not life.witness.append(journal, [make_entry(3)] + [make_entry(i) for i in range(10, 20)])
            assert journal.failure is not None
            for _ in range(2):
                with pytest.raises(JournalError, match="unknown until the next start") as caught:
                    journal.append([make_entry(99)])
                assert not caught.value.retryable
            assert len(read_all(journal)) == 2, "what is durable can still be read"
            life.files.lose_power(random.Random(seed))
            life.run()
            life.files.lose_power(random.Random(seed))
            life.verify()


def _fail_write_and(name: str, fault: Fault) -> Callable[[int, str], Fault | None]:
    return lambda _number, called: fault if called in {"write", name} else None


def test_a_failed_sync_is_never_tried_again() -> None:
    """The kernel would say yes to the next one, and the pages were dropped."""
    life = _Life()
    journal = _open(life.files)
    life.witness.append(journal, [make_entry(1)])
    life.files.fault = lambda _number, name: Fault.FAILS if name == "sync" else None
    assert not life.witness.append(journal, [make_entry(2)])
    life.files.fault = lambda _number, _name: None
    calls = len(life.files.calls)
    assert not life.witness.append(journal, [make_entry(3)])
    assert len(life.files.calls) == calls, "the disk is not touched again"
    journal.close()
    # The next process sees the entry in the kernel's cache, where no sync would write it from: it must write it anew.
    journal = _open(life.files)
    assert_holds(journal, [make_entry(1), make_entry(2)])
    life.witness.check(journal)
    life.files.lose_power(random.Random(0))
    life.verify()


def test_a_disk_that_fills_at_any_byte() -> None:
    """The batch is refused whole, and the next is taken once there is room, without a restart."""
    for room in range(70, 4000, 41):
        life = _Life()
        life.files.room = room
        journal = _open(life.files)
        for i in range(15):
            refused = not life.witness.append(journal, [make_entry(10 * i + j, payload=b"p" * 90) for j in range(3)])
            if refused:
                life.witness.check(journal)
                life.files.room = None
                assert life.witness.append(journal, [make_entry(1000), make_entry(1001)])
        life.witness.check(journal)
        assert journal.failure is None
        life.files.lose_power(random.Random(room))
        life.verify()


def test_a_full_disk_at_the_first_start_says_so() -> None:
    files = SimulatedFiles()
    files.room = 10
    with pytest.raises(JournalError, match=os.strerror(errno.ENOSPC)):
        _open(files)
    assert files.open_descriptors == 0
    files.room = None
    _open(files).close()


_UNDER_LOAD = """
import os, struct, sys, threading
from pathlib import Path
from opentrail.journal.group_commit import GroupCommit
from opentrail.journal.base import Entry
from opentrail.journal.local import open_local_journal
from opentrail.testing.journal_contract import make_entry

journal = open_local_journal(Path(sys.argv[1]), segment_bytes=50_000)
group = GroupCommit(journal)

def work(worker):
    number = int(sys.argv[2]) * 1_000_000_000 + worker * 1_000_000
    while True:
        number += 1
        position = group.submit_and_wait(make_entry(number, payload=b"p" * (number % 3000)))
        os.write(1, struct.pack("<QQ", number, position))

for worker in range(6):
    threading.Thread(target=work, args=(worker,)).start()
"""


def _kill_under_load(folder: Path, rounds: int) -> None:
    rng = random.Random(rounds)
    acknowledged: dict[int, int] = {}
    for round_number in range(rounds):
        process = subprocess.Popen(
            [sys.executable, "-c", _UNDER_LOAD, str(folder), str(round_number)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        first = process.stdout.read(16)  # it works: from here on any moment is good
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        answers = first + process.stdout.read()
        process.stdout.close()
        assert process.wait() == -signal.SIGKILL
        for number, position in struct.iter_unpack("<QQ", answers[: len(answers) // 16 * 16]):
            assert position not in acknowledged, f"position {position} was given twice"
            acknowledged[position] = number
        journal = open_local_journal(folder)
        found = read_all(journal)
        journal.close()
        numbers = [int.from_bytes(entry.event_id, "big") for entry in found]
        assert [entry.position for entry in found] == list(range(1, len(found) + 1))
        assert len(set(numbers)) == len(numbers), "an entry is there twice"
        for position, number in acknowledged.items():
            assert numbers[position - 1] == number
            assert len(found[position - 1].payload) == number % 3000
    assert len(acknowledged) > 20 * rounds


def test_kill_9_under_load(tmp_path: Path) -> None:
    _kill_under_load(tmp_path / "journal", 5)


@pytest.mark.long
@pytest.mark.skipif(not os.environ.get("OPENTRAIL_LONG"), reason="make test-long runs it")
@pytest.mark.timeout(1800)
def test_kill_9_under_load_many_times(tmp_path: Path) -> None:
    _kill_under_load(tmp_path / "journal", 200)
