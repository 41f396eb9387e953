"""A call that two accounts receive, and a crash at any moment: both have its record or none, under one sharedEventID.

First every changing system call of the journal, going wrong in every way, under a recorder and its recovery; then
``kill -9`` of a server under cross-account load.
"""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from opentrail.core.errors import JournalError, ServiceFault
from opentrail.core.events import Event
from opentrail.core.policy.log_bucket_policy import log_bucket_policy
from opentrail.core.recording import shared_copy
from opentrail.core.recording.sharing import shared_event_id
from opentrail.core.trails import Trail
from opentrail.delivery.log_files import Selection, plan
from opentrail.journal.group_commit import GroupCommit
from opentrail.journal.local import LocalJournal, open_local_journal
from opentrail.server.recorder import Recorder, recover
from opentrail.state.database import open_database
from opentrail.state.trails import Trails
from opentrail.testing.clock import FakeClock
from opentrail.testing.company import Tenant, fetch_records, first_account, make_account
from opentrail.testing.journal_contract import read_all
from opentrail.testing.live_server import LiveServer
from opentrail.testing.simulated_files import Fault, KilledError, SimulatedFiles

CALLER, OWNER = "111111111111", "222222222222"
FOLDER, HOME = Path("/journal"), "eu-central-1"


@pytest.fixture(scope="module")
def trails(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trails]:
    """Both accounts have a trail that logs."""
    engine = open_database(f"sqlite:///{tmp_path_factory.mktemp('state') / 'state.db'}")
    known = Trails(engine)
    for account in (CALLER, OWNER):
        trail = Trail(account_id=account, home_region=HOME, name="main", bucket="logs", is_logging=True)
        known.change(trail.arn, FakeClock().now(), lambda _trails, trail=trail: trail)  # type: ignore[misc]
    yield known
    engine.dispose()


def make_event(number: int) -> Event:
    event_id = f"00000000-0000-4000-8000-{number:012}"
    record = {
        "userIdentity": {"type": "IAMUser", "principalId": "AIDAEXAMPLE", "accountId": CALLER},
        "eventTime": "2026-01-01T00:00:00Z",
        "eventSource": "s3.amazonaws.com",
        "eventName": "PutBucketPolicy",
        "awsRegion": HOME,
        "requestParameters": {"bucketName": "b"},
        "responseElements": None,
        "eventID": event_id,
        "readOnly": False,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": CALLER,
        "sharedEventID": shared_event_id(event_id),
        "eventCategory": "Management",
    }
    return Event(record=record, shared_with=(OWNER,))


class Life:
    """One process after the other records cross-account calls into the same journal."""

    def __init__(self, trails: Trails) -> None:
        self.files = SimulatedFiles()
        self.trails = trails
        self.answered: list[Event] = []
        self.numbers = itertools.count(1)

    def open(self) -> LocalJournal:
        journal = open_local_journal(FOLDER, segment_bytes=2500, files=self.files, new_id=random.Random(7).randbytes)
        recover(journal)
        return journal

    def run(self) -> None:
        """A process: six calls, each with its intent; it may die anywhere."""
        try:
            journal = self.open()
        except (KilledError, JournalError):
            return
        commit = GroupCommit(journal)
        recorder = Recorder(commit, refuse=True, generation=lambda: self.trails.generation)
        for _ in range(6):
            before = recorder.begin()
            event = make_event(next(self.numbers))
            try:
                recorder.intend_now(event, before, own=False)
                recorder.record_now(event, before, happened=True, own=False)
                self.answered.append(event)
            except ServiceFault:
                pass
            recorder.end(before)
        recorder.pay()
        commit.close()

    def check(self) -> None:
        """The last process, without faults: what both accounts' trails get."""
        journal = self.open()
        selection = Selection(self.trails.at)
        groups = plan(read_all(journal), selection, after=0, generation=0).groups
        found = {
            account: [
                json.loads(bytes(data)) for each in groups if each.key.account_id == account for data in each.records
            ]
            for account in (CALLER, OWNER)
        }
        mine = {each["sharedEventID"]: each for each in found[CALLER]}
        theirs = {each["sharedEventID"]: each for each in found[OWNER]}
        assert len(mine) == len(found[CALLER]), "nothing twice"
        assert len(theirs) == len(found[OWNER])
        assert mine.keys() == theirs.keys(), "both or none"
        for shared_id, record in mine.items():
            assert theirs[shared_id] == shared_copy(record, OWNER)
            assert theirs[shared_id]["eventID"] != record["eventID"]
        for event in self.answered:
            assert mine[event.record["sharedEventID"]] == event.record
        journal.close()


def calls_of_a_run(trails: Trails) -> int:
    life = Life(trails)
    life.run()
    life.files.kill()
    life.run()
    return len(life.files.calls)


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name)
@pytest.mark.parametrize("power_is_lost", [False, True])
def test_whatever_fails_both_have_the_record_or_none(trails: Trails, fault: Fault, *, power_is_lost: bool) -> None:
    recovered = 0
    for place in range(calls_of_a_run(trails)):
        life = Life(trails)
        life.files.fault = lambda number, _name, place=place: fault if number == place else None  # type: ignore[misc]
        for _ in range(2):
            life.run()
            if power_is_lost:
                life.files.lose_power(random.Random(place))
            else:
                life.files.kill()
        life.files.fault = lambda _number, _name: None
        life.check()
        recovered += len(life.answered) < 12
    assert recovered > 0, "some calls died between their intent and their event"


def test_a_recovered_call_stands_in_both_trails_with_an_unknown_outcome(trails: Trails) -> None:
    life = Life(trails)
    journal = life.open()
    commit = GroupCommit(journal)
    recorder = Recorder(commit, refuse=True, generation=lambda: trails.generation)
    recorder.intend_now(make_event(1), recorder.begin(), own=False)
    commit.close()
    life.files.kill()
    journal = life.open()
    groups = plan(read_all(journal), Selection(trails.at), after=0, generation=0).groups
    records = {each.key.account_id: json.loads(bytes(each.records[0])) for each in groups}
    assert {account: record["errorCode"] for account, record in records.items()} == {
        CALLER: "OutcomeUnknown",
        OWNER: "OutcomeUnknown",
    }
    assert records[CALLER]["sharedEventID"] == records[OWNER]["sharedEventID"]
    assert [records[account]["recipientAccountId"] for account in (CALLER, OWNER)] == [CALLER, OWNER]
    journal.close()


class CrossAccountLoad:
    """Clients of one account that write into another's bucket, until the server is gone; what they saw answered."""

    def __init__(self, caller: Tenant) -> None:
        self.caller = caller
        self.answered: Counter[str] = Counter()  # by request ID
        self._numbers = itertools.count()

    def begin(self) -> None:
        self._threads = [threading.Thread(target=self._run) for _ in range(4)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Wait for the clients, who stop at the first call that is not answered."""
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        s3 = self.caller.client("s3")
        while True:
            number = next(self._numbers)
            calls: list[Callable[[], Any]] = [
                lambda number=number: s3.put_object(Bucket="shared", Key=f"k{number}", Body=b"x"),  # type: ignore[misc]
                lambda: s3.get_bucket_location(Bucket="shared"),
                lambda: s3.delete_object(Bucket="closed", Key="k"),  # refused
            ]
            try:
                answer = calls[number % len(calls)]()
            except ClientError as error:
                answer = error.response
            except (BotoCoreError, OSError):
                return
            if answer["ResponseMetadata"]["HTTPStatusCode"] < 500:
                self.answered[answer["ResponseMetadata"]["RequestId"]] += 1


def test_kills_under_cross_account_load(make_server: Callable[..., LiveServer]) -> None:
    server = make_server("--delivery-interval", "1s", "--journal-segment-bytes", "64KB")
    server.start()
    owner, caller = first_account(server), make_account(server, "caller")
    tenants = {"owner-logs": owner, "caller-logs": caller}
    for bucket, tenant in tenants.items():
        tenant.make_bucket(bucket, log_bucket_policy(bucket, account_ids=[tenant.account_id]))
        cloudtrail = tenant.client("cloudtrail")
        cloudtrail.create_trail(Name="main", S3BucketName=bucket)
        data = [{"Type": "AWS::S3::Object", "Values": ["arn:aws:s3:::shared/", "arn:aws:s3:::closed/"]}]
        selector = {"ReadWriteType": "All", "IncludeManagementEvents": True, "DataResources": data}
        cloudtrail.put_event_selectors(TrailName="main", EventSelectors=[selector])
        cloudtrail.start_logging(Name="main")
    may = {"Effect": "Allow", "Principal": {"AWS": caller.account_id}, "Action": "s3:*"}
    resources = ["arn:aws:s3:::shared", "arn:aws:s3:::shared/*"]
    owner.make_bucket("shared", {"Version": "2012-10-17", "Statement": [{**may, "Resource": resources}]})
    owner.make_bucket("closed")
    load, draw = CrossAccountLoad(caller), random.Random(11)
    for _ in range(6):
        load.begin()
        time.sleep(draw.uniform(0.2, 0.8))
        server.kill()
        load.end()
        server.start()
    assert server.run("flush").returncode == 0
    mine, theirs = (
        {
            record["sharedEventID"]: record
            for _, record in fetch_records(tenant, bucket)
            if "sharedEventID" in record and record["userIdentity"]["type"] != "AWSService"
        }
        for bucket, tenant in (("caller-logs", caller), ("owner-logs", owner))
    )
    assert mine.keys() == theirs.keys()
    for shared_id, record in mine.items():
        assert theirs[shared_id] == shared_copy(record, owner.account_id)
    recorded = Counter(record["requestID"] for record in mine.values())
    assert load.answered - recorded == Counter(), "every answered call stands with both"
    assert sum(load.answered.values()) > 100
    assert max(recorded.values()) == 1
