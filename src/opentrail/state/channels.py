"""Channels, and which events have come in through them.

Every PutAuditEvents asks for its channel, so all channels are held in memory: read once, then written to the database
first and to memory after it.  One process owns the database.

``AcceptedEvents`` remembers the ``eventID`` of every event that the journal took, so that a retry is answered and not
recorded again.  Rules:

* An ID is added after its event is durable in the journal.  What a crash leaves between the two is added at the start
  from the journal itself (``AcceptedEvents.add_found``).
* It is bounded: ``KEPT_DAYS`` and ``KEPT_IDS``, whichever is less; the oldest go first.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    LargeBinary,
    RowMapping,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)

from opentrail.core.channels import Channel, Destination
from opentrail.state.columns import Instant, JsonObject
from opentrail.state.database import metadata, transaction

KEPT_DAYS = 7
KEPT_IDS = 1_000_000
_PRUNE_EVERY = 10_000  # IDs added between two looks at what can go
_IDS_A_QUERY = 500

channels = Table(
    "channels",
    metadata,
    Column("arn", String, primary_key=True),
    Column("account_id", String, nullable=False),
    Column("region", String, nullable=False),
    Column("id", String, nullable=False),
    Column("name", String, nullable=False),
    Column("source", String, nullable=False),
    Column("destinations", Text, nullable=False),  # JSON array of [type, location]
    Column("policy", Text, nullable=False),
    Column("tags", JsonObject, nullable=False),
    Column("created", Instant, nullable=False),
)
ingestion = Table(
    "channel_ingestion",
    metadata,
    Column("arn", String, primary_key=True),
    Column("attempt_time", Instant, nullable=False),
    Column("attempt_event_id", String, nullable=False),
    Column("success_time", Instant),
    Column("success_event_id", String),
    Column("error_code", String),
)
accepted = Table(
    "accepted_audit_events",
    metadata,
    # A number by age; SQLite numbers rows by themselves only in a column of its own type INTEGER.
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("event_id", LargeBinary(16), nullable=False, unique=True),
    Column("accepted", Instant, nullable=False, index=True),
)

Snapshot = dict[str, Channel]  # by ARN
Edit = Callable[[Snapshot], Channel | None]


class Channels:
    """The channels of all accounts.  Reading costs nothing; ``change`` may raise ``StorageError``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()  # held by whoever writes
        with transaction(engine) as connection:
            rows = connection.execute(select(channels)).mappings().all()
        self._held: Snapshot = {row["arn"]: _channel(row) for row in rows}

    def find(self, arn: str) -> Channel | None:
        """The channel with this ARN."""
        return self._held.get(arn)

    def of_account(self, account_id: str, region: str) -> list[Channel]:
        """An account's channels in a region, by ARN."""
        found = [each for each in self._held.values() if (each.account_id, each.region) == (account_id, region)]
        return sorted(found, key=lambda each: each.arn)

    def change(self, arn: str, edit: Edit) -> Channel | None:
        """Give the channel ``arn`` the value that ``edit`` returns (None: delete it), and return that.

        ``edit`` sees all channels as they are when its answer takes effect; what it raises leaves everything as it was.
        """
        with self._lock:
            channel = edit(self._held)
            known = arn in self._held
            same = channels.c.arn == arn
            with transaction(self._engine) as connection:
                if channel is None:
                    connection.execute(delete(channels).where(same))
                    connection.execute(delete(ingestion).where(ingestion.c.arn == arn))
                elif known:
                    connection.execute(update(channels).where(same).values(_row(channel)))
                else:
                    connection.execute(insert(channels).values(_row(channel)))
            held = {each: value for each, value in self._held.items() if each != arn}
            self._held = held if channel is None else {**held, arn: channel}  # a new one: others may be reading
        return channel


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingestion:
    """The last call that put events into a channel, and the last that succeeded; IDs are those of an event in it."""

    attempt_time: datetime
    attempt_event_id: str
    success_time: datetime | None = None
    success_event_id: str | None = None
    error_code: str | None = None  # of the last attempt that failed


class AcceptedEvents:
    """The events that the journal took.  Every method but ``claim`` may raise ``StorageError``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._changed = threading.Condition()
        self._in_flight: set[bytes] = set()
        self._unsaved: set[bytes] = set()  # durable in the journal; the database did not take them yet
        self._added = 0
        self._saving = threading.Lock()  # one saves at a time: it takes along what others wait to save

    @contextmanager
    def claim(self, event_ids: Collection[bytes]) -> Iterator[None]:
        """Keep other calls with any of these events waiting until the block is left."""
        wanted = set(event_ids)
        with self._changed:
            self._changed.wait_for(lambda: self._in_flight.isdisjoint(wanted))
            self._in_flight |= wanted
        try:
            yield
        finally:
            with self._changed:
                self._in_flight -= wanted
                self._changed.notify_all()

    def known(self, event_ids: Sequence[bytes]) -> set[bytes]:
        """Those of ``event_ids`` that were taken before."""
        found = self._unsaved.intersection(event_ids)
        with transaction(self._engine) as connection:
            return found | _known(connection, event_ids)

    def add(self, event_ids: Iterable[bytes], arn: str, status: Ingestion, now: datetime) -> None:
        """Remember events that are durable now, and what the call that brought them came to."""
        with self._changed:
            self._unsaved.update(event_ids)
        with self._saving:
            with self._changed:
                unsaved = set(self._unsaved)
            with transaction(self._engine) as connection:
                self._insert(connection, unsaved, now)
                _note(connection, arn, status)
            with self._changed:
                self._unsaved -= unsaved

    def add_found(self, event_ids: Iterable[bytes], now: datetime) -> None:
        """Remember events that the journal holds, whether or not they are known."""
        found = list(event_ids)
        with self._saving, transaction(self._engine) as connection:
            for start in range(0, len(found), _IDS_A_QUERY):
                self._insert(connection, set(found[start : start + _IDS_A_QUERY]), now)

    def ingestion(self, arn: str) -> Ingestion | None:
        """What came of the last calls to a channel; None where there was none."""
        with transaction(self._engine) as connection:
            row = connection.execute(select(ingestion).where(ingestion.c.arn == arn)).mappings().first()
        return Ingestion(**{name: value for name, value in row.items() if name != "arn"}) if row else None

    def _insert(self, connection: Connection, event_ids: set[bytes], now: datetime) -> None:
        fresh = event_ids - _known(connection, list(event_ids))
        if fresh:
            connection.execute(insert(accepted), [{"event_id": each, "accepted": now} for each in fresh])
        self._added += len(fresh)
        if self._added >= _PRUNE_EVERY:
            self._added = 0
            newest = connection.execute(select(func.max(accepted.c.number))).scalar_one() or 0
            old = accepted.c.accepted < now - timedelta(days=KEPT_DAYS)
            connection.execute(delete(accepted).where(old | (accepted.c.number <= newest - KEPT_IDS)))


def _known(connection: Connection, event_ids: Sequence[bytes]) -> set[bytes]:
    found: set[bytes] = set()
    for start in range(0, len(event_ids), _IDS_A_QUERY):
        part = event_ids[start : start + _IDS_A_QUERY]
        query = select(accepted.c.event_id).where(accepted.c.event_id.in_(part))
        found.update(connection.execute(query).scalars())
    return found


def _note(connection: Connection, arn: str, status: Ingestion) -> None:
    same = ingestion.c.arn == arn
    row = connection.execute(select(ingestion).where(same)).mappings().first()
    if row is None:
        connection.execute(insert(ingestion).values(arn=arn, **_status(status)))
        return
    before = Ingestion(**{name: value for name, value in row.items() if name != "arn"})
    kept = replace(
        status,
        success_time=status.success_time or before.success_time,
        success_event_id=status.success_event_id or before.success_event_id,
        error_code=status.error_code or before.error_code,
    )
    connection.execute(update(ingestion).where(same).values(_status(kept)))


def _status(status: Ingestion) -> dict[str, Any]:
    return {name: getattr(status, name) for name in Ingestion.__slots__}


def _row(channel: Channel) -> dict[str, Any]:
    return {
        "arn": channel.arn,
        "account_id": channel.account_id,
        "region": channel.region,
        "id": channel.id,
        "name": channel.name,
        "source": channel.source,
        "destinations": json.dumps(channel.destinations),
        "policy": channel.policy,
        "tags": channel.tags,
        "created": channel.created,
    }


def _channel(row: RowMapping) -> Channel:
    values = {name: value for name, value in row.items() if name != "arn"}
    values["destinations"] = tuple(Destination(*each) for each in json.loads(row["destinations"]))
    return Channel(**values)
