"""Delivery under a hostile world: buckets that fail, a ledger that fails, kills at every step, clocks that jump.

A seeded simulation runs the real follower, ledger (SQLite), journal (files) and courier against a bucket in memory.  At
its end the world calms down, everything is delivered, and then: every event lies in exactly the log files of the trails
that should have it, once; every digest chain is whole; nothing else is in the bucket.
"""

from __future__ import annotations

import gzip
import json
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from opentrail.core.errors import StorageError, StoreError
from opentrail.core.events import EntryRoute, Receiver, format_route, format_time
from opentrail.core.findings import FindingCode, Severity
from opentrail.core.layout import Folder, TrailFolder, log_prefix, parse_log_key
from opentrail.core.recording import shared_copy
from opentrail.core.selection import selects
from opentrail.core.trails import Trail
from opentrail.delivery.courier import Courier, Delivery
from opentrail.delivery.follower import LogFileFollower
from opentrail.delivery.ledger import Ledger, StagedObject, Transaction
from opentrail.journal.base import Entry, EntryKind
from opentrail.journal.local import open_local_journal
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.state.database import open_database
from opentrail.state.trails import Trails
from opentrail.stores.memory import MemoryStore
from opentrail.testing.clock import FakeClock
from opentrail.verification.one_chain import validate_chain

ACCOUNT = "123456789012"  # the organization's management account
MEMBERS = ("222222222222", "333333333333")
ORGANIZATION = "o-a1b2c3d4e5"
HOME = "eu-central-1"
REGIONS = (HOME, "us-east-1")
BUCKET = "logs"
DIGEST_SECONDS = 600


class Killed(BaseException):
    """The process dies here."""


class World:
    """What can go wrong, drawn from a seed: at most one thing at each write."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.calm = False
        self.bucket_away = False
        self.happened: Counter[str] = Counter()

    @contextmanager
    def peace(self) -> Iterator[None]:
        """Nothing goes wrong within."""
        calm, self.calm = self.calm, True
        yield
        self.calm = calm

    def fault(self, name: str, probability: float = 0.06) -> str:
        """What happens at this write: nothing, or one of four faults."""
        if self.calm or self.random.random() > probability:
            return ""
        kind = self.random.choice(("fails", "fails but persisted", "killed before", "killed after"))
        self.happened[f"{name} {kind}"] += 1
        return kind


class FaultyLedger(Ledger):
    """A ledger whose commits fail, or are the last thing that the process does."""

    def __init__(self, url: str, world: World) -> None:
        super().__init__(url)
        self._world = world

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        fault = self._world.fault("ledger", 0.03)
        with super().transaction() as transaction:
            yield transaction
            if fault == "fails":
                raise StorageError("the disk is full", retryable=True)
            if fault == "killed before":
                raise Killed
        if fault == "fails but persisted":
            raise StorageError("the answer was lost", retryable=True)
        if fault == "killed after":
            raise Killed


class FaultyBucket:
    """The log bucket."""

    def __init__(self, store: MemoryStore, world: World) -> None:
        self.store = store
        self.world = world
        self.contents: dict[str, bytes] = {}

    def put(self, item: StagedObject) -> None:
        fault = "fails" if self.world.bucket_away else self.world.fault("bucket")
        if fault == "killed before":
            raise Killed
        if fault != "fails":
            before = self.contents.setdefault(item.key, item.body)
            assert before == item.body, "a retry must write the same bytes"
            self.store.put(item.key, item.body, item.metadata)
        if fault.startswith("fails"):
            raise StoreError("the bucket does not answer", retryable=True)
        if fault == "killed after":
            raise Killed


class Site:
    """One installation: what survives a kill is on disk or in the bucket, the rest is opened anew."""

    def __init__(self, folder: Path, keys: RsaKeyFiles, seed: int) -> None:
        self.folder = folder
        self.keys = keys
        self.world = World(seed)
        self.clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
        self.store = MemoryStore(self.clock.now)
        self.bucket = FaultyBucket(self.store, self.world)
        self.expected: Counter[tuple[str, str]] = Counter()  # trail prefix, event id
        self.reports: list[Delivery] = []
        self.members = {ACCOUNT, *MEMBERS}  # of the organization, now
        self.kills = 0
        self.open()

    def open(self) -> None:
        self.journal = open_local_journal(self.folder / "journal", segment_bytes=1 << 16)
        self.engine = open_database(f"sqlite:///{self.folder / 'state.db'}")
        self.trails = Trails(self.engine)
        self.ledger = FaultyLedger(f"sqlite:///{self.folder / 'ledger.db'}", self.world)
        self.follower = LogFileFollower(
            journal=self.journal,
            ledger=self.ledger,
            trails=self.trails,
            signer=lambda region, end: self.keys.signer(region, now=self.clock.now(), digest_end_time=end),
            random_bytes=self.world.random.randbytes,
            digest_interval_seconds=DIGEST_SECONDS,
            members=lambda organization_id: self.members if organization_id == ORGANIZATION else (),
        )
        with self.world.peace():
            self.follower.find_place()
        self.courier = Courier(
            ledger=self.ledger,
            bucket=self.bucket,
            report=self.reports.append,
            clock=self.clock.now,
            monotonic=self.clock.monotonic,
        )

    def close(self) -> None:
        self.journal.close()
        self.ledger.close()
        self.engine.dispose()

    def organizations_of(self, account: str) -> tuple[str, ...]:
        return (ORGANIZATION,) if account in self.members else ()

    def call(
        self,
        region: str,
        *,
        before: int | None = None,
        own: bool = False,
        category: str = "Management",
        accounts: tuple[str, ...] = (ACCOUNT,),
    ) -> None:
        """Append the event of one call that the first of ``accounts`` makes, as the recorder does."""
        event_id = str(uuid.UUID(bytes=self.world.random.randbytes(16), version=4))
        now = self.clock.now()
        account, *others = accounts
        record: dict[str, Any] = {
            "userIdentity": {"type": "IAMUser", "principalId": "AIDAEXAMPLE", "accountId": account},
            "eventTime": format_time(now),
            "eventSource": "ec2.amazonaws.com",
            "eventName": "RunInstances",
            "awsRegion": region,
            "eventID": event_id,
            "readOnly": False,
            "eventType": "AwsApiCall",
            "managementEvent": category == "Management",
            "recipientAccountId": account,
            "sharedEventID": str(uuid.UUID(event_id)),
            "eventCategory": category,
            "padding": "x" * self.world.random.randrange(800),
        }
        generation = self.trails.generation
        start = generation if before is None else before
        route = EntryRoute(
            before=start,
            generation=generation,
            account_id=account,
            region=region,
            category=category,
            read_only=False,
            event_source="ec2.amazonaws.com",
            event_type="AwsApiCall",
            own=own,
            organization_ids=self.organizations_of(account),
            shared_with=tuple(Receiver(other, self.organizations_of(other)) for other in others),
        )
        takers: set[tuple[str, str]] = set()
        for copy in (record, *(shared_copy(record, other) for other in others)):
            organization_ids = self.organizations_of(copy["recipientAccountId"])
            for number in {start, generation}:
                for revision in self.trails.at(number).values():
                    if revision.trail.is_logging and selects(revision.trail, copy, organization_ids):
                        takers.add((revision.trail.prefix, copy["eventID"]))
        kind = EntryKind.EVENT
        entry = Entry(
            kind,
            format_route(route),
            int(now.timestamp() * 1000),
            uuid.UUID(event_id).bytes,
            json.dumps(record).encode(),
        )
        if self.world.random.random() < 0.3:
            self.journal.append([entry._replace(kind=EntryKind.INTENT)])
        self.journal.append([entry])
        self.expected.update(takers)

    def change(self, name: str, **changes: Any) -> None:
        """Change a trail by a recorded call."""
        before = self.trails.generation
        arn = f"arn:aws:cloudtrail:{HOME}:{ACCOUNT}:trail/{name}"
        existing = self.trails.find(arn)
        trail = existing.trail if existing else None
        if trail is None:
            trail = Trail(
                account_id=ACCOUNT, home_region=HOME, name=name, bucket=BUCKET, prefix=name, is_multi_region=True
            )
        deleted = changes.pop("deleted", False)
        wanted = None if deleted else replace(trail, **changes)
        self.trails.change(arn, self.clock.now(), lambda _: wanted)
        self.call(HOME, before=before)

    def round(self, *, takes: bool = True, everything: bool = False, digest: bool = False) -> None:
        """One round of delivery, which ``takes`` what is in the journal or comes too soon for that.

        A kill in it is a restart.
        """
        try:
            oldest = self.trails.generation
            self.follower.close_windows(self.clock.now(), oldest_generation=oldest)
            if takes:
                self.follower.take(self.clock.now())
                self.follower.close_windows(self.clock.now(), oldest_generation=oldest, all_windows=digest)
            self.courier.run(now_all=everything)
            self.journal.trim(self.follower.position() + 1)
            self.trails.forget_before(self.follower.oldest_generation())
        except StorageError:
            return
        except Killed:
            self.kills += 1
            self.close()
            self.open()

    def delivered(self) -> Counter[tuple[str, str]]:
        found: Counter[tuple[str, str]] = Counter()
        for info in self.store.list(""):
            prefix = info.key.split("/", 1)[0]
            if "/CloudTrail/" in info.key:
                data = gzip.decompress(b"".join(self.store.get(info.key).chunks))
                for record in json.loads(data)["Records"]:
                    assert record["recipientAccountId"] == parse_log_key(info.key).folder.account_id
                    found[prefix, record["eventID"]] += 1
        return found


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> RsaKeyFiles:
    return RsaKeyFiles(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def site(tmp_path: Path, keys: RsaKeyFiles, request: pytest.FixtureRequest) -> Iterator[Site]:
    made = Site(tmp_path, keys, getattr(request, "param", 0))
    yield made
    made.close()


def start(site: Site, name: str, *, validated: bool = True, organization_id: str = "") -> None:
    site.change(name, log_file_validation_enabled=validated, is_logging=True, organization_id=organization_id)


def check(site: Site, *, names: tuple[str, ...], everything_validated: bool) -> None:
    assert site.delivered() == site.expected
    worst = {Severity.ERROR} if not everything_validated else {Severity.ERROR, Severity.WARNING}
    places = product(names, (ACCOUNT, *MEMBERS), ("", ORGANIZATION), REGIONS)
    for name, account, organization, region in places:
        folder = Folder(prefix=name, organization_id=organization, account_id=account, region=region)
        trail = TrailFolder(folder=folder, trail_name=name, home_region=HOME)
        if not any(site.store.list(log_prefix(folder))):
            continue
        findings = list(validate_chain(site.store, trail, bucket=BUCKET, public_keys=site.keys.list(region)))
        unexplained = {FindingCode.GAP_UNEXPLAINED}  # logging is stopped by no call here, so no record says by whom
        assert [each for each in findings if each.severity in worst and each.code not in unexplained] == []
    keys_in_order = [info.key for info in site.store.list("")]
    assert len(keys_in_order) == len(set(keys_in_order))


@pytest.mark.parametrize("site", range(12), indirect=True)
def test_everything_arrives_once_whatever_happens(site: Site) -> None:
    world, clock = site.world, site.clock
    start(site, "first")
    start(site, "company", organization_id=ORGANIZATION)
    for _ in range(90):
        action = world.random.random()
        if action < 0.46:
            for _ in range(world.random.randrange(1, 8)):
                accounts = tuple(world.random.sample((ACCOUNT, *MEMBERS), world.random.choice((1, 1, 1, 2, 3))))
                site.call(world.random.choice(REGIONS), own=world.random.random() < 0.1, accounts=accounts)
        elif action < 0.50:
            site.members ^= {world.random.choice(MEMBERS)}
        elif action < 0.56:
            name = world.random.choice(("first", "company", "third"))
            organization = {"organization_id": world.random.choice(("", ORGANIZATION))} if name == "company" else {}
            is_logging = world.random.random() < 0.6
            site.change(name, is_logging=is_logging, log_file_validation_enabled=True, **organization)
            if not is_logging and world.random.random() < 0.5:
                site.change(name, is_logging=True)
        elif action < 0.58:
            site.change("third", deleted=True)
        elif action < 0.62:
            world.bucket_away = not world.bucket_away
        elif action < 0.64:
            clock.step(-3600)
        clock.advance(world.random.randrange(120 if world.random.random() < 0.95 else 3 * DIGEST_SECONDS))
        site.round(takes=world.random.random() < 0.7, digest=world.random.random() < 0.05)
    world.calm, world.bucket_away = True, False
    for name in ("first", "company", "third"):
        site.change(name, is_logging=False, log_file_validation_enabled=True)
    for _ in range(3):
        clock.advance(4000)
        site.round(everything=True)
    assert site.ledger.waiting() == 0
    assert site.ledger.chains() == [], "every chain has ended"
    check(site, names=("first", "company", "third"), everything_validated=True)
    assert site.kills > 0, "the simulation must kill"


def test_a_bucket_that_is_away_for_days_gets_everything_in_its_own_hour(site: Site) -> None:
    site.world.calm = True
    start(site, "first")
    site.world.bucket_away = True
    for _ in range(3 * 24):
        site.call(HOME)
        site.clock.advance(3600)
        site.round()
    assert site.delivered() == Counter()
    assert site.reports[-1].error == "InternalError"
    site.world.bucket_away = False
    site.clock.advance(301)
    site.round()
    assert site.reports[-1].error == ""
    assert site.ledger.waiting() == 0
    days = {info.key.split("_")[-2][:11] for info in site.store.list("") if "/CloudTrail/" in info.key}
    assert len(days) > 48, "files keep the hour in which they were made"
    check(site, names=("first",), everything_validated=True)


def test_stopping_delivers_what_came_before_and_ends_the_chain(site: Site) -> None:
    site.world.calm = True
    start(site, "first")
    for _ in range(5):
        site.call(HOME)
    site.change("first", is_logging=False)
    for _ in range(5):
        site.call(HOME)
    site.clock.advance(30)
    site.round()
    assert sum(site.delivered().values()) == 7  # start, five calls, stop
    digests = [info.key for info in site.store.list("") if "/CloudTrail-Digest/" in info.key]
    assert len(digests) == 1
    site.clock.advance(5000)
    site.round()
    assert [info.key for info in site.store.list("") if "/CloudTrail-Digest/" in info.key] == digests
    start(site, "first")
    site.clock.advance(DIGEST_SECONDS)
    site.round()
    check(site, names=("first",), everything_validated=True)
    folder = Folder(prefix="first", account_id=ACCOUNT, region=HOME)
    trail = TrailFolder(folder=folder, trail_name="first", home_region=HOME)
    findings = list(validate_chain(site.store, trail, bucket=BUCKET, public_keys=site.keys.list(HOME)))
    assert [each.code.value for each in findings].count("chain-started") == 2


def test_empty_hours_have_digests_and_no_log_files(site: Site) -> None:
    site.world.calm = True
    start(site, "first")
    site.round()
    for _ in range(4):
        site.clock.advance(DIGEST_SECONDS)
        site.round()
    names = [info.key for info in site.store.list("first/")]
    assert len([name for name in names if "/CloudTrail-Digest/" in name]) == 4
    assert len([name for name in names if "/CloudTrail/" in name]) == 1
    check(site, names=("first",), everything_validated=True)


def test_own_deliveries_open_no_file_and_are_not_lost(site: Site) -> None:
    site.world.calm = True
    start(site, "first")
    site.round()
    before = len(site.bucket.contents)
    site.call(HOME, own=True)
    site.clock.advance(60)
    site.round()
    assert len(site.bucket.contents) == before
    site.call(HOME)
    site.clock.advance(60)
    site.round()
    assert len(site.bucket.contents) == before + 1
    site.clock.advance(DIGEST_SECONDS)
    site.round()
    check(site, names=("first",), everything_validated=True)
    site.call(HOME, own=True)
    site.change("first", is_logging=False)
    site.clock.advance(60)
    site.round()
    check(site, names=("first",), everything_validated=True)


def test_file_names_grow_even_when_the_clock_goes_back(site: Site) -> None:
    site.world.calm = True
    start(site, "first")
    order: list[str] = []
    for step in (60, 60, -3600, 60, 60, 7200, 60):
        if step < 0:
            site.clock.step(step)
        else:
            site.clock.advance(step)
        site.call(HOME)
        known = set(site.bucket.contents)
        site.round()
        order += [key for key in site.bucket.contents if key not in known and "/CloudTrail/" in key]
    assert order == sorted(order)
    assert len(order) == 7
    check(site, names=("first",), everything_validated=True)


def test_trails_without_validation_have_no_digests(site: Site) -> None:
    site.world.calm = True
    start(site, "first", validated=False)
    site.call(HOME)
    site.clock.advance(5000)
    site.round(digest=True)
    assert all("/CloudTrail/" in key for key in site.bucket.contents)
    site.change("first", log_file_validation_enabled=True)
    site.call(HOME)
    site.clock.advance(5000)
    site.round()
    site.change("first", log_file_validation_enabled=False)
    site.call(HOME)
    site.clock.advance(5000)
    site.round()
    digests = sum("/CloudTrail-Digest/" in key for key in site.bucket.contents)
    site.clock.advance(5000)
    site.round()
    assert sum("/CloudTrail-Digest/" in key for key in site.bucket.contents) == digests > 0
    check(site, names=("first",), everything_validated=False)


def test_a_journal_that_was_replaced_is_followed_from_its_start(site: Site, tmp_path: Path) -> None:
    site.world.calm = True
    start(site, "first")
    for _ in range(5):
        site.call(HOME)
    site.round()
    site.close()
    (tmp_path / "journal").rename(tmp_path / "old")
    site.open()
    site.call(HOME)
    site.clock.advance(DIGEST_SECONDS)
    site.round()
    assert site.delivered() == site.expected
    check(site, names=("first",), everything_validated=True)


def test_a_journal_that_lost_its_end_is_followed_from_there(site: Site, tmp_path: Path) -> None:
    site.world.calm = True
    start(site, "first")
    site.call(HOME)
    site.round()
    (segment,) = (tmp_path / "journal").glob("*.segment")
    whole = segment.read_bytes()
    site.call(HOME)
    site.round()
    site.close()
    segment.write_bytes(whole)
    site.open()
    site.call(HOME)
    site.clock.advance(60)
    site.round()
    assert site.delivered() == site.expected
