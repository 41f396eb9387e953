"""A follower with what it reads and writes, and one trail: what delivery makes of entries, before any bucket.

The room stands in a folder; time stands still but for ``deliver``.  ``members`` are the accounts of ``ORGANIZATION``:
whoever is among them when an event is made has it in the entry's route, as the recorder does.
"""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from opentrail.core.events import EntryRoute, Receiver, format_route, format_time
from opentrail.core.layout import parse_log_key
from opentrail.core.trails import Trail
from opentrail.delivery.follower import LogFileFollower
from opentrail.delivery.ledger import Ledger
from opentrail.journal.base import Entry, EntryKind
from opentrail.journal.local import LocalJournal, open_local_journal
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.state.database import open_database
from opentrail.state.trails import Trails

ORGANIZATION = "o-a1b2c3d4e5"
_SOURCE = "s3.amazonaws.com"


class FollowerRoom:
    """A follower of ``trail``; built by ``open_follower_room``."""

    def __init__(self, folder: Path, trail: Trail, trails: Trails, journal: LocalJournal, ledger: Ledger) -> None:
        self.trail, self.trails, self.journal, self.ledger = trail, trails, journal, ledger
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.members: set[str] = set()
        keys = RsaKeyFiles(folder / "keys")
        self.follower = LogFileFollower(
            journal=journal,
            ledger=ledger,
            trails=trails,
            signer=lambda region, end: keys.signer(region, now=self.now, digest_end_time=end),
            random_bytes=bytes,
            digest_interval_seconds=3600,
            members=lambda organization_id: self.members if organization_id == ORGANIZATION else (),
        )
        self.change()

    def change(self, **changes: Any) -> None:
        """Let the trail be what it was at first, but for ``changes``."""
        wanted = replace(self.trail, **changes)
        self.trails.change(self.trail.arn, self.now, lambda _: wanted)

    def record(
        self, account: str, *others: str, before: int | None = None, left: bool = False, name: str = "AssumeRole"
    ) -> dict[str, Any]:
        """The event of a call by ``account`` that ``others`` receive as well, begun in generation ``before``.

        ``left``: all of them were in the organization when the call began, whether or not they are now.
        """
        event_id = uuid.uuid4()
        record: dict[str, Any] = {
            "userIdentity": {"type": "Root", "principalId": account, "accountId": account},
            "eventTime": format_time(self.now),
            "eventName": name,
            "eventSource": _SOURCE,
            "eventID": str(event_id),
            "awsRegion": self.trail.home_region,
            "eventCategory": "Management",
            "readOnly": False,
            "recipientAccountId": account,
            "sharedEventID": str(uuid.uuid4()),
        }
        first, *rest = (Receiver(each, (ORGANIZATION,) * (left or each in self.members)) for each in (account, *others))
        route = EntryRoute(
            before=self.trails.generation if before is None else before,
            generation=self.trails.generation,
            account_id=account,
            region=self.trail.home_region,
            category="Management",
            read_only=False,
            event_source=_SOURCE,
            event_type="AwsApiCall",
            organization_ids=first.organization_ids,
            shared_with=tuple(rest),
        )
        when, payload = int(self.now.timestamp() * 1000), json.dumps(record).encode()
        self.journal.append([Entry(EntryKind.EVENT, format_route(route), when, event_id.bytes, payload)])
        return record

    def take(self) -> None:
        """Stage the log files of what is in the journal."""
        self.follower.take(self.now)

    def close_windows(self, oldest_generation: int | None = None) -> None:
        """Stage the digests that are due; ``oldest_generation`` of a call in flight (None: there is none)."""
        oldest = self.trails.generation if oldest_generation is None else oldest_generation
        self.follower.close_windows(self.now, oldest_generation=oldest)

    def deliver(self, seconds: int = 60, *, oldest_generation: int | None = None) -> None:
        """A round of delivery, ``seconds`` later."""
        self.now += timedelta(seconds=seconds)
        self.close_windows(oldest_generation)
        self.take()
        self.close_windows(oldest_generation)

    def staged(self, kind: str) -> dict[str, dict[str, Any]]:
        """What is staged (``kind`` log or digest), by key."""
        with self.ledger.transaction() as transaction:
            query = f"select object_key, body from staged where kind = '{kind}' order by id"  # noqa: S608  no one's input
            rows = transaction.connection.exec_driver_sql(query)
            return {row.object_key: json.loads(gzip.decompress(row.body)) for row in rows}

    def digests(self, account: str) -> list[dict[str, Any]]:
        """The staged digests of an account, oldest first."""
        return [each for each in self.staged("digest").values() if each["awsAccountId"] == account]

    def delivered(self) -> list[tuple[str, str, str]]:
        """Organization and account of the folder, and the id, of each event in a staged log file."""
        return [
            (parse_log_key(key).folder.organization_id, parse_log_key(key).folder.account_id, record["eventID"])
            for key, content in self.staged("log").items()
            for record in content["Records"]
        ]

    def chains(self) -> set[str]:
        """The accounts whose chains go on."""
        return {chain.key.account_id for chain in self.ledger.chains()}


@contextmanager
def open_follower_room(folder: Path, trail: Trail) -> Iterator[FollowerRoom]:
    """A room in ``folder`` with ``trail``, for as long as the block runs."""
    engine = open_database(f"sqlite:///{folder / 'state.db'}")
    with (
        closing(open_local_journal(folder / "journal")) as journal,
        closing(Ledger(f"sqlite:///{folder / 'ledger.db'}")) as ledger,
    ):
        yield FollowerRoom(folder, trail, Trails(engine), journal, ledger)
    engine.dispose()
