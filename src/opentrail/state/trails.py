"""Trails and their history, by generation.

Every change of any trail (create, update, delete, start, stop, selectors) takes the next number of one counter, the
*generation*, and leaves a revision of that trail.  Delivery selects each journal entry with the trails of the
generation in force when its call was made (docs/adr/0003-trail-generations.md), however late it does so.

Rules:

* A generation is published in memory only after its transaction is durable, and its trails before its number: who
  reads ``generation`` may ask ``at`` for it.
* Reads never touch the database.  Writers take turns, within a process by a lock and between processes by advancing
  the counter only from the value they have seen.
* ``session`` is the generation at which logging last started; ``chain`` the one at which the present digest chain
  (or stretch without digests) began: logging started, validation was switched, or the trail became one of an
  organization or of its account alone (its files have another folder then), whichever came last.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    String,
    Table,
    Text,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from opentrail.core.errors import StorageError
from opentrail.core.selection import CompiledSelector, compile_selector
from opentrail.core.trails import Trail, format_trail, parse_trail
from opentrail.state.columns import Instant
from opentrail.state.database import metadata, transaction

_counter = Table(
    "trail_generation",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Column("forgotten", BigInteger, nullable=False),  # generations below this one cannot be asked for
)
_revisions = Table(
    "trail_revisions",
    metadata,
    Column("generation", BigInteger, primary_key=True, autoincrement=False),
    Column("arn", String, nullable=False, index=True),
    Column("trail", Text),  # JSON; NULL: deleted
    Column("created_generation", BigInteger, nullable=False),
    Column("session", BigInteger),
    Column("chain", BigInteger),
    Column("created", Instant, nullable=False),
    Column("started", Instant),
    Column("stopped", Instant),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailRevision:
    """A trail as it was from ``generation`` on, until its next revision."""

    trail: Trail
    generation: int
    created_generation: int  # tells a trail from an earlier one of the same name
    session: int | None  # the generation at which logging last started; None while stopped
    chain: int | None  # the generation at which the present digest chain began; None while stopped
    created: datetime
    started: datetime | None  # logging last started
    stopped: datetime | None  # logging last stopped
    selector: CompiledSelector = field(compare=False, repr=False)  # of ``trail``


Snapshot = Mapping[str, TrailRevision]  # by ARN


class _Change(NamedTuple):
    """One entry of the history.  ``revision`` None: the trail was deleted."""

    generation: int
    arn: str
    revision: TrailRevision | None


_SNAPSHOTS_KEPT = 256


class Trails:
    """All trails of all accounts, now and at every generation that is not forgotten.

    ``generation`` is the present one; reading it costs nothing.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._history: tuple[_Change, ...] = ()
        self._snapshots: dict[int, Snapshot] = {}
        self._forgotten = 0
        self.generation = 0
        _create_counter(engine)
        self._load()

    @property
    def current(self) -> Snapshot:
        """The trails of now."""
        return self.at(self.generation)

    def find(self, arn: str) -> TrailRevision | None:
        """The present revision of a trail."""
        return self.current.get(arn)

    def of_account(self, account_id: str) -> list[TrailRevision]:
        """The present revisions of an account's trails, by ARN."""
        found = [each for each in self.current.values() if each.trail.account_id == account_id]
        return sorted(found, key=lambda each: each.trail.arn)

    def seen_by(self, account_id: str, organization_id: str) -> list[TrailRevision]:
        """The trails that an account sees, by ARN: its own, and those of its organization (``""``: it is in none)."""
        found = [
            each
            for each in self.current.values()
            if each.trail.account_id == account_id
            or (organization_id and each.trail.organization_id == organization_id)
        ]
        return sorted(found, key=lambda each: each.trail.arn)

    def release(self, may_record: Callable[[str, str], bool], now: datetime) -> None:
        """Make a plain trail of each organization trail whose account may no longer record its organization.

        ``may_record(account_id, organization_id)`` says whether it may (Organizations user guide, "AWS CloudTrail and
        AWS Organizations": without trusted access no organization trail stays one).  Raises ``StorageError``.
        """
        for arn, revision in self.current.items():
            trail = revision.trail
            if trail.organization_id and not may_record(trail.account_id, trail.organization_id):
                self.change(arn, now, partial(_release, arn))

    def at(self, generation: int) -> Snapshot:
        """The trails as they were at ``generation``, which must be neither in the future nor forgotten."""
        snapshot = self._snapshots.get(generation)
        if snapshot is None:
            assert self._forgotten <= generation <= self.generation, f"generation {generation} is not known"
            snapshot = _snapshot_at(self._history, generation)
            self._remember(generation, snapshot)
        return snapshot

    def change(self, arn: str, now: datetime, edit: Callable[[Snapshot], Trail | None]) -> TrailRevision | None:
        """Give the trail ``arn`` the value that ``edit`` returns (None: delete it); the new, or same, revision.

        ``edit`` sees all trails as they are when its answer takes effect, so it can check quotas and duplicates; what
        it raises leaves everything as it was.  An answer equal to what is makes no generation.

        Raises ``StorageError`` where the change is not known to be durable; it may be.
        """
        with self._lock:
            while True:
                before = self.current
                trail = edit(before)
                assert trail is None or trail.arn == arn, "a trail keeps its name and home"
                previous = before.get(arn)
                if trail == (previous.trail if previous else None):
                    return previous
                generation = self.generation + 1
                revision = _revise(previous, trail, generation, now) if trail else None
                try:
                    if self._commit(generation, now, _Change(generation, arn, revision)):
                        return revision
                except StorageError:
                    with suppress(StorageError):
                        self._load()  # the commit may have happened all the same
                    raise
                self._load()  # another process was first: decide anew

    def advance(self, now: datetime) -> int:
        """Make a generation in which no trail has changed: it tells what began before it from what began later.

        Raises ``StorageError``.
        """
        with self._lock:
            while not self._commit(self.generation + 1, now):
                self._load()  # another process was first
            return self.generation

    def refresh(self) -> None:
        """See what other processes have changed."""
        with self._lock:
            self._load()

    def forget_before(self, generation: int) -> None:
        """Drop the history that no generation from ``generation`` on needs.

        Raises ``StorageError``.
        """
        with self._lock:
            if not self._forgotten < generation <= self.generation:
                return
            kept = _prune(self._history, generation)
            dropped = {each.generation for each in self._history} - {each.generation for each in kept}
            with transaction(self._engine) as connection:
                connection.execute(update(_counter).values(forgotten=generation))
                if dropped:
                    connection.execute(delete(_revisions).where(_revisions.c.generation.in_(dropped)))
            self._history, self._forgotten = kept, generation
            self._snapshots = {}

    def _commit(self, generation: int, now: datetime, *changes: _Change) -> bool:
        with transaction(self._engine) as connection:
            advanced = connection.execute(
                update(_counter).where(_counter.c.generation == self.generation).values(generation=generation)
            )
            if advanced.rowcount != 1:
                return False
            for change in changes:
                connection.execute(insert(_revisions).values(_row(change, now)))
        self._publish((*self._history, *changes), generation)
        return True

    def _load(self) -> None:
        with transaction(self._engine) as connection:
            generation, forgotten = connection.execute(select(_counter.c.generation, _counter.c.forgotten)).one()
            if generation == self.generation and generation:
                return
            history = tuple(_read_changes(connection))
        self._forgotten = forgotten
        self._publish(history, generation)

    def _publish(self, history: tuple[_Change, ...], generation: int) -> None:
        self._history = history
        self._remember(generation, _snapshot_at(history, generation))
        self.generation = generation  # last: from here on callers may ask for it

    def _remember(self, generation: int, snapshot: Snapshot) -> None:
        if len(self._snapshots) >= _SNAPSHOTS_KEPT:
            self._snapshots = {}  # a new one: others may be reading; what they miss is built again from the history
        self._snapshots[generation] = snapshot


def _release(arn: str, trails: Snapshot) -> Trail | None:
    revision = trails.get(arn)
    return replace(revision.trail, organization_id="") if revision else None


def _revise(previous: TrailRevision | None, trail: Trail, generation: int, now: datetime) -> TrailRevision:
    was_logging = previous is not None and previous.trail.is_logging
    switched = previous is None or (
        previous.trail.log_file_validation_enabled != trail.log_file_validation_enabled
        or previous.trail.organization_id != trail.organization_id
    )
    session = generation if not was_logging else previous.session if previous else None
    chain = generation if not was_logging or switched else previous.chain if previous else None
    return TrailRevision(
        trail=trail,
        generation=generation,
        created_generation=previous.created_generation if previous else generation,
        session=session if trail.is_logging else None,
        chain=chain if trail.is_logging else None,
        created=previous.created if previous else now,
        started=now if trail.is_logging and not was_logging else previous.started if previous else None,
        stopped=now if was_logging and not trail.is_logging else previous.stopped if previous else None,
        selector=compile_selector(trail),
    )


def _snapshot_at(history: Iterable[_Change], generation: int) -> Snapshot:
    latest: dict[str, TrailRevision | None] = {}
    for change in history:
        if change.generation > generation:
            break
        latest[change.arn] = change.revision
    return MappingProxyType({arn: revision for arn, revision in latest.items() if revision is not None})


def _prune(history: tuple[_Change, ...], generation: int) -> tuple[_Change, ...]:
    """The changes after ``generation``, and before them each trail's last one, unless it is a deletion."""
    latest = {change.arn: change for change in history if change.generation <= generation}
    return tuple(
        change
        for change in history
        if change.generation > generation or (change.revision is not None and latest[change.arn] is change)
    )


def _create_counter(engine: Engine) -> None:
    try:
        with transaction(engine) as connection:
            if connection.execute(select(_counter.c.id)).first() is None:
                connection.execute(insert(_counter).values(id=1, generation=0, forgotten=0))
    except IntegrityError:  # another process made the row at the same moment
        return


def _row(change: _Change, now: datetime) -> dict[str, object]:
    revision = change.revision
    if revision is None:
        return {"generation": change.generation, "arn": change.arn, "created_generation": 0, "created": now}
    return {
        "generation": change.generation,
        "arn": change.arn,
        "trail": format_trail(revision.trail),
        "created_generation": revision.created_generation,
        "session": revision.session,
        "chain": revision.chain,
        "created": revision.created,
        "started": revision.started,
        "stopped": revision.stopped,
    }


def _read_changes(connection: Connection) -> Iterable[_Change]:
    for row in connection.execute(select(_revisions).order_by(_revisions.c.generation)):
        if row.trail is None:
            yield _Change(row.generation, row.arn, None)
            continue
        trail = parse_trail(row.trail)
        revision = TrailRevision(
            trail=trail,
            generation=row.generation,
            created_generation=row.created_generation,
            session=row.session,
            chain=row.chain,
            created=row.created,
            started=row.started,
            stopped=row.stopped,
            selector=compile_selector(trail),
        )
        yield _Change(row.generation, row.arn, revision)
