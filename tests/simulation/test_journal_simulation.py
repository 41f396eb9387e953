"""A journal's life in random steps: appends, trims, faults at any call, kills, losses of power, before a witness."""

from __future__ import annotations

import random
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from opentrail.core.errors import JournalError
from opentrail.journal.local import LocalJournal, open_local_journal
from opentrail.testing.journal_contract import JournalWitness, make_entry
from opentrail.testing.simulated_files import Fault, KilledError, SimulatedFiles

_FOLDER = Path("/journal")


class JournalLife(RuleBasedStateMachine):
    """``journal`` is None while no process runs."""

    def __init__(self) -> None:
        super().__init__()
        self.files = SimulatedFiles()
        self.witness = JournalWitness()
        self.journal: LocalJournal | None = None
        self.number = 0

    @initialize(segment_bytes=st.sampled_from([1, 300, 1000, 100_000]))
    def begin(self, segment_bytes: int) -> None:
        self.segment_bytes = segment_bytes

    @precondition(lambda self: self.journal is None)
    @rule()
    def start(self) -> None:
        try:
            journal = open_local_journal(
                _FOLDER, segment_bytes=self.segment_bytes, files=self.files, new_id=random.Random(3).randbytes
            )
            self.journal = journal
            self.witness.check(journal)
        except KilledError:
            self.kill()
        except JournalError as error:
            if "damaged" in str(error):
                raise  # what crashes leave is never taken for damage
            assert self.files.open_descriptors == 0

    @precondition(lambda self: self.journal is not None)
    @rule(sizes=st.lists(st.integers(0, 700), min_size=1, max_size=6))
    def append(self, sizes: list[int]) -> None:
        assert self.journal is not None
        batch = [make_entry(self.number + i, payload=b"p" * size) for i, size in enumerate(sizes)]
        self.number += len(batch)
        try:
            self.witness.append(self.journal, batch)
        except KilledError:
            self.kill()

    @precondition(lambda self: self.journal is not None)
    @rule(share=st.floats(0, 1.1))
    def trim(self, share: float) -> None:
        assert self.journal is not None
        try:
            self.witness.trim(self.journal, int(self.journal.end * share))
        except JournalError:
            pass
        except KilledError:
            self.kill()

    @precondition(lambda self: self.journal is not None)
    @rule()
    def close(self) -> None:
        assert self.journal is not None
        try:
            self.journal.close()
        except KilledError:
            self.kill()
        else:
            assert self.files.open_descriptors == 0
            self.journal = None

    @rule()
    def kill(self) -> None:
        self.files.kill()
        self.journal = None

    @rule(seed=st.integers(0, 1 << 32))
    def lose_power(self, seed: int) -> None:
        self.files.lose_power(random.Random(seed))
        self.journal = None

    @rule(calls=st.integers(0, 12), fault=st.sampled_from(Fault))
    def a_fault_is_near(self, calls: int, fault: Fault) -> None:
        at = len(self.files.calls) + calls
        self.files.fault = lambda number, _name: fault if number == at else None

    @rule(room=st.integers(0, 3000))
    def the_disk_fills(self, room: int) -> None:
        self.files.room = room

    @rule()
    def there_is_room_again(self) -> None:
        self.files.room = None

    @invariant()
    def every_promise_is_kept(self) -> None:
        if self.journal is not None:
            self.witness.check(self.journal)


TestJournalLife = JournalLife.TestCase
TestJournalLife.settings = settings(max_examples=250, stateful_step_count=40, deadline=None)
