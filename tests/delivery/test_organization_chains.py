"""Chains of an organization trail: one for each account, as long as the account is in the organization."""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from opentrail.core.events import EntryRoute, Receiver, format_route, format_time
from opentrail.core.layout import parse_digest_key, parse_log_key
from opentrail.core.recording import shared_copy
from opentrail.core.trails import Trail
from opentrail.delivery.follower import LogFileFollower
from opentrail.delivery.ledger import Ledger
from opentrail.journal.base import Entry, EntryKind
from opentrail.journal.local import LocalJournal, open_local_journal
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.state.database import open_database
from opentrail.state.trails import Trails

MANAGEMENT, ALPHA, BETA, OUTSIDER = "111111111111", "222222222222", "333333333333", "444444444444"
HOME, ORGANIZATION = "eu-central-1", "o-a1b2c3d4e5"
TRAIL = Trail(
    account_id=MANAGEMENT,
    home_region=HOME,
    name="company",
    bucket="logs",
    organization_id=ORGANIZATION,
    is_logging=True,
    log_file_validation_enabled=True,
)


class Room:
    """A follower with what it reads and writes, and an organization."""

    def __init__(self, folder: Path, trails: Trails, journal: LocalJournal, ledger: Ledger) -> None:
        self.trails, self.journal, self.ledger = trails, journal, ledger
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.members = {MANAGEMENT, ALPHA, BETA}
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
        wanted = replace(TRAIL, **changes)
        self.trails.change(TRAIL.arn, self.now, lambda _: wanted)

    def record(self, account: str, *others: str) -> dict[str, Any]:
        """The event of a call by ``account`` that ``others`` receive as well."""
        event_id = uuid.uuid4()
        record: dict[str, Any] = {
            "userIdentity": {"type": "Root", "principalId": account, "accountId": account},
            "eventTime": format_time(self.now),
            "eventName": "AssumeRole",
            "eventSource": "s3.amazonaws.com",
            "eventID": str(event_id),
            "awsRegion": HOME,
            "eventCategory": "Management",
            "readOnly": False,
            "recipientAccountId": account,
            "sharedEventID": str(uuid.uuid4()),
        }
        first, *rest = (Receiver(each, (ORGANIZATION,) * (each in self.members)) for each in (account, *others))
        route = EntryRoute(
            before=self.trails.generation,
            generation=self.trails.generation,
            account_id=account,
            region=HOME,
            category="Management",
            read_only=False,
            event_source="s3.amazonaws.com",
            event_type="AwsApiCall",
            organization_ids=first.organization_ids,
            shared_with=tuple(rest),
        )
        when, payload = int(self.now.timestamp() * 1000), json.dumps(record).encode()
        self.journal.append([Entry(EntryKind.EVENT, format_route(route), when, event_id.bytes, payload)])
        return record

    def deliver(self, seconds: int = 60) -> None:
        self.now += timedelta(seconds=seconds)
        generation = self.trails.generation
        self.follower.close_windows(self.now, oldest_generation=generation)
        self.follower.take(self.now)
        self.follower.close_windows(self.now, oldest_generation=generation)

    def staged(self, kind: str) -> dict[str, dict[str, Any]]:
        """What is staged, by key."""
        with self.ledger.transaction() as transaction:
            query = f"select object_key, body from staged where kind = '{kind}' order by id"
            rows = transaction.connection.exec_driver_sql(query)
            return {row.object_key: json.loads(gzip.decompress(row.body)) for row in rows}

    def delivered(self) -> list[tuple[str, str, str]]:
        """Organization and account of the folder, and the id, of each delivered event."""
        return [
            (parse_log_key(key).folder.organization_id, parse_log_key(key).folder.account_id, record["eventID"])
            for key, content in self.staged("log").items()
            for record in content["Records"]
        ]

    def chains(self) -> set[str]:
        return {chain.key.account_id for chain in self.ledger.chains()}


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    engine = open_database(f"sqlite:///{tmp_path / 'state.db'}")
    with (
        closing(open_local_journal(tmp_path / "journal")) as journal,
        closing(Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")) as ledger,
    ):
        yield Room(tmp_path, Trails(engine), journal, ledger)
    engine.dispose()


def test_each_account_has_its_own_folder_and_chain(room: Room) -> None:
    events = [(account, room.record(account)["eventID"]) for account in (MANAGEMENT, ALPHA, BETA)]
    room.record(OUTSIDER)
    room.deliver()
    assert room.delivered() == [(ORGANIZATION, *event) for event in events]
    room.deliver(3600)
    folders = [parse_digest_key(key).trail.folder for key in room.staged("digest")]
    assert {(each.organization_id, each.account_id) for each in folders} == {
        (ORGANIZATION, each) for each in room.members
    }
    for key, digest in room.staged("digest").items():
        assert digest["awsAccountId"] == parse_digest_key(key).trail.folder.account_id
        assert len(digest["logFiles"]) == 1


def test_both_sides_of_a_call_stand_in_their_own_folders(room: Room) -> None:
    record = room.record(ALPHA, MANAGEMENT, OUTSIDER)
    room.deliver()
    copy = shared_copy(record, MANAGEMENT)
    assert sorted(room.delivered()) == [
        (ORGANIZATION, MANAGEMENT, copy["eventID"]),
        (ORGANIZATION, ALPHA, record["eventID"]),
    ]
    contents = [each for content in room.staged("log").values() for each in content["Records"]]
    assert copy in contents


def test_an_outsider_s_call_reaches_the_member_that_it_touches(room: Room) -> None:
    record = room.record(OUTSIDER, BETA)
    room.deliver()
    assert room.delivered() == [(ORGANIZATION, BETA, shared_copy(record, BETA)["eventID"])]


def test_who_leaves_gets_a_last_digest_and_who_comes_back_a_new_chain(room: Room) -> None:
    room.deliver()
    event = room.record(ALPHA)["eventID"]
    room.members.remove(ALPHA)
    room.record(ALPHA)  # no longer the organization's
    room.deliver()
    assert room.delivered() == [(ORGANIZATION, ALPHA, event)]
    assert room.chains() == {MANAGEMENT, BETA}
    (last,) = room.staged("digest").values()
    assert (last["awsAccountId"], len(last["logFiles"])) == (ALPHA, 1)
    for _ in range(3):
        room.deliver(3600)
    assert sum(each["awsAccountId"] == ALPHA for each in room.staged("digest").values()) == 1
    room.members.add(ALPHA)
    back = room.record(ALPHA)["eventID"]
    room.deliver(3600)
    digests = [each for each in room.staged("digest").values() if each["awsAccountId"] == ALPHA]
    assert (ORGANIZATION, ALPHA, back) in room.delivered()
    room.deliver(3600)
    digests = [each for each in room.staged("digest").values() if each["awsAccountId"] == ALPHA]
    assert [each["previousDigestS3Object"] is None for each in digests] == [True, True, *[False] * (len(digests) - 2)]
    assert digests[1]["digestStartTime"] > last["digestEndTime"], "nothing is vouched for while it was away"


def test_who_joins_late_has_no_digests_of_the_time_before(room: Room) -> None:
    room.deliver()
    for _ in range(5):
        room.deliver(3600)
    room.members.add(OUTSIDER)
    joined = format_time(room.now)
    room.deliver(3600)
    room.deliver(3600)
    digests = [each for each in room.staged("digest").values() if each["awsAccountId"] == OUTSIDER]
    assert [each["digestStartTime"] >= joined for each in digests] == [True]


def test_a_trail_that_turns_plain_begins_anew_in_its_own_folder(room: Room) -> None:
    inside = room.record(ALPHA)["eventID"], room.record(MANAGEMENT)["eventID"]
    room.change(organization_id="")
    room.record(ALPHA)
    alone = room.record(MANAGEMENT)["eventID"]
    room.deliver()
    assert sorted(room.delivered()) == sorted(
        [(ORGANIZATION, ALPHA, inside[0]), (ORGANIZATION, MANAGEMENT, inside[1]), ("", MANAGEMENT, alone)]
    )
    assert [(chain.key.account_id, chain.organization_id) for chain in room.ledger.chains()] == [(MANAGEMENT, "")]
    room.change()
    again = room.record(ALPHA)["eventID"]
    room.deliver()
    assert (ORGANIZATION, ALPHA, again) in room.delivered()
    assert room.chains() == room.members


def test_a_trail_whose_organization_is_gone_becomes_a_plain_one(room: Room) -> None:
    room.trails.release(lambda _account, _organization: True, room.now)
    assert room.trails.current[TRAIL.arn].trail.is_organization
    room.trails.release(lambda _account, _organization: False, room.now)
    assert not room.trails.current[TRAIL.arn].trail.is_organization
    generation = room.trails.generation
    room.trails.release(lambda _account, _organization: False, room.now)
    assert room.trails.generation == generation
