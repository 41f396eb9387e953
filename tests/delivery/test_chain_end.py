"""When a chain of digests ends: after the last record that belongs to it, also that of a call still in flight."""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from opentrail.core.events import EntryRoute, format_route, format_time
from opentrail.core.trails import Trail
from opentrail.delivery.follower import LogFileFollower
from opentrail.delivery.ledger import Ledger
from opentrail.journal.base import Entry, EntryKind
from opentrail.journal.local import LocalJournal, open_local_journal
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.state.database import open_database
from opentrail.state.trails import Trails

ACCOUNT, HOME = "123456789012", "eu-central-1"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TRAIL = Trail(
    account_id=ACCOUNT, home_region=HOME, name="main", bucket="logs", is_logging=True, log_file_validation_enabled=True
)


class Room:
    """A follower with what it reads and writes."""

    def __init__(self, folder: Path, trails: Trails, journal: LocalJournal, ledger: Ledger) -> None:
        self.trails, self.journal, self.ledger = trails, journal, ledger
        keys = RsaKeyFiles(folder / "keys")
        self.follower = LogFileFollower(
            journal=journal,
            ledger=ledger,
            trails=trails,
            signer=lambda region, end: keys.signer(region, now=NOW, digest_end_time=end),
            random_bytes=bytes,
            digest_interval_seconds=3600,
        )

    def set_logging(self, *, is_logging: bool) -> None:
        wanted = replace(TRAIL, is_logging=is_logging)
        self.trails.change(TRAIL.arn, NOW, lambda _: wanted)

    def record(self, name: str, before: int) -> None:
        """The event of a call that began in generation ``before``."""
        event_id = uuid.uuid4()
        record = {
            "eventTime": format_time(NOW),
            "eventName": name,
            "eventSource": "cloudtrail.amazonaws.com",
            "eventID": str(event_id),
            "awsRegion": HOME,
            "eventCategory": "Management",
            "readOnly": False,
            "managementEvent": True,
        }
        source = "cloudtrail.amazonaws.com"
        route = EntryRoute(
            before, self.trails.generation, ACCOUNT, HOME, "Management", False, source, "AwsApiCall", False
        )
        when = int(NOW.timestamp() * 1000)
        payload = json.dumps(record).encode()
        self.journal.append([Entry(EntryKind.EVENT, format_route(route), when, event_id.bytes, payload)])

    def digests(self) -> list[dict[str, Any]]:
        """What the staged digests say."""
        with self.ledger.transaction() as transaction:
            rows = transaction.connection.exec_driver_sql("select body from staged where kind = 'digest' order by id")
            return [json.loads(gzip.decompress(row.body)) for row in rows]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    engine = open_database(f"sqlite:///{tmp_path / 'state.db'}")
    with (
        closing(open_local_journal(tmp_path / "journal")) as journal,
        closing(Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")) as ledger,
    ):
        yield Room(tmp_path, Trails(engine), journal, ledger)
    engine.dispose()


def test_a_call_in_flight_keeps_its_chain_open(room: Room) -> None:
    room.set_logging(is_logging=True)
    began = room.trails.generation
    room.record("CreateUser", began)
    room.set_logging(is_logging=False)  # StopLogging has taken effect, and its record is on its way
    room.follower.take(NOW)
    room.follower.close_windows(NOW, oldest_generation=began)
    assert len(room.ledger.chains()) == 1
    room.record("StopLogging", began)
    room.follower.take(NOW)
    room.follower.close_windows(NOW, oldest_generation=room.trails.generation)
    assert room.ledger.chains() == []
    (digest,) = room.digests()
    assert len(digest["logFiles"]) == 2, "one digest, which names the file of the last record as well"


def test_a_chain_ends_when_nothing_is_in_flight(room: Room) -> None:
    room.set_logging(is_logging=True)
    began = room.trails.generation
    room.follower.close_windows(NOW, oldest_generation=began)
    room.set_logging(is_logging=False)
    room.record("StopLogging", began)
    room.follower.close_windows(NOW, oldest_generation=room.trails.generation)
    assert len(room.ledger.chains()) == 1, "its last record is not taken"
    room.follower.take(NOW)
    room.follower.close_windows(NOW, oldest_generation=room.trails.generation)
    assert room.ledger.chains() == []
