"""Which call explains which gap between digests: none that cannot have caused it, and each one that has."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opentrail.core.digests import decode_digest, encode_digest, next_digest
from opentrail.core.findings import Concern, FindingCode
from opentrail.core.layout import DigestKey, Folder, TrailFolder, format_digest_key, parse_digest_key
from opentrail.keys.base import Signer
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.stores.memory import MemoryStore
from opentrail.testing.sample_trail import sample_record, stop_record
from opentrail.testing.trail_writer import TrailWriter
from opentrail.testing.verified_bucket import VerifiedBucket, verify_bucket

BUCKET = "trail-bucket"
HOME, AWAY = "eu-west-1", "us-east-1"
ACCOUNT, MEMBER = "111122223333", "444455556666"
ORGANIZATION = "o-abcdefghij"
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
START = datetime(2024, 5, 6, 0, 17, 5, tzinfo=UTC)
STOP = START + 30 * HOUR + 18 * MINUTE
LATER = START + timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """What one digest covers."""

    digest: str
    log_file: str


class Bucket:
    """Writes chains of a trail hour by hour."""

    def __init__(self, keys: RsaKeyFiles) -> None:
        self.store = MemoryStore()
        self._keys = keys
        self._calls = 0

    def chain(
        self,
        region: str = HOME,
        *,
        account: str = ACCOUNT,
        organization: str = "",
        prefix: str = "",
        at: datetime = START,
    ) -> TrailWriter:
        """A chain of the trail ``main`` of ``HOME`` that starts at ``at``."""
        folder = Folder(prefix=prefix, organization_id=organization, account_id=account, region=region)
        trail = TrailFolder(folder=folder, trail_name="main", home_region=HOME)
        return TrailWriter(self.store, trail, bucket=BUCKET, signer=self._signer(region), start=at)

    def write(self, chain: TrailWriter, start: datetime, hours: int, *, empty: bool = False) -> list[Hour]:
        """Digests of ``hours`` hours from ``start`` on, each with a log file unless they are ``empty``."""
        written = []
        for number in range(hours):
            now = start + number * HOUR
            record = sample_record(int(now.timestamp()))
            file = "" if empty else chain.put_log_file(now + HOUR / 2, [record]).key
            written.append(Hour(digest=chain.put_digest(now + HOUR), log_file=file))
        return written

    def call(self, chain: TrailWriter, at: datetime, event_name: str = "StopLogging", **parameters: Any) -> str:
        """Deliver the record of a call that changed the trail; the log file's key."""
        self._calls += 1
        arn = f"arn:aws:cloudtrail:{HOME}:{chain.trail.folder.account_id}:trail/main"
        told = {
            "eventName": event_name,
            "requestParameters": {"name": arn, **parameters},
            "eventID": f"call-{self._calls}",
        }
        return chain.put_log_file(at, [stop_record(at, **told)]).key

    def remove(self, hours: Iterable[Hour]) -> None:
        """Delete the digests with their log files."""
        for hour in hours:
            self.store.delete(hour.digest)
            if hour.log_file:
                self.store.delete(hour.log_file)

    def verify(self, hours: int = 61, **asked: Any) -> VerifiedBucket:
        """Verify ``hours`` hours, long after them."""
        keys = {key.fingerprint: key for region in (HOME, AWAY) for key in self._keys.list(region)}
        asked = {"start": START, "end": START + hours * HOUR, "asked_at": LATER, **asked}
        return verify_bucket(self.store, keys.values(), bucket=BUCKET, **asked)

    def verify_copy(self, hours: int = 61, **asked: Any) -> VerifiedBucket:
        """Verify a plain copy, which has lost the metadata of each object."""
        for info in list(self.store.list("")):
            self.store.put(info.key, b"".join(self.store.get(info.key).chunks), {})
        return self.verify(hours, keeps_metadata=False, **asked)

    def _signer(self, region: str) -> Callable[[datetime], Signer]:
        return lambda end: self._keys.signer(region, now=START, digest_end_time=end)


class Stopped(Bucket):
    """A trail of two regions: 30 hours, a StopLogging at ``STOP``, a StartLogging 5 minutes later, 30 hours more."""

    def __init__(self, keys: RsaKeyFiles) -> None:
        super().__init__(keys)
        self.before: dict[str, list[Hour]] = {}
        self.after: dict[str, list[Hour]] = {}
        for region in (HOME, AWAY):
            chain = self.chain(region)
            self.before[region] = self.write(chain, START, 30)
            file = self.call(chain, STOP) if region == HOME else ""
            self.before[region].append(Hour(digest=chain.put_digest(STOP + 2 * MINUTE), log_file=file))
            chain.start_chain(STOP + 5 * MINUTE)
            if region == HOME:
                self.call(chain, STOP + 5 * MINUTE, "StartLogging")
            self.after[region] = self.write(chain, STOP + 5 * MINUTE, 30)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> RsaKeyFiles:
    return RsaKeyFiles(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def stopped(keys: RsaKeyFiles) -> Stopped:
    return Stopped(keys)


@pytest.fixture
def bucket(keys: RsaKeyFiles) -> Bucket:
    return Bucket(keys)


def codes(verified: VerifiedBucket) -> list[FindingCode]:
    return [each.code for each in verified.findings]


def accused(verified: VerifiedBucket) -> list[FindingCode]:
    return [each.code for each in verified.findings if each.concern is not Concern.NOTE]


# --- what no stop explains


def test_a_stop_explains_its_own_gap_in_each_region(stopped: Stopped) -> None:
    verified = stopped.verify()
    assert (verified.result.exit_code, accused(verified)) == (0, [])
    stops = [each for each in verified.findings if each.code is FindingCode.LOGGING_STOPPED]
    assert len(stops) == 2


def test_a_stop_explains_no_hours_that_are_gone_before_it(stopped: Stopped) -> None:
    stopped.remove(stopped.before[AWAY][10:])
    assert accused(stopped.verify()) == [FindingCode.GAP_UNEXPLAINED]


def test_a_stop_explains_no_end_that_was_cut_off_before_it(stopped: Stopped) -> None:
    stopped.remove(stopped.before[AWAY][5:] + stopped.after[AWAY])
    assert accused(stopped.verify()) == [FindingCode.GAP_UNEXPLAINED]


@pytest.mark.parametrize("regions", [(AWAY,), (HOME, AWAY)])
@pytest.mark.parametrize("left", [1, 4])
def test_a_stop_explains_nothing_that_is_gone_after_logging_was_started_again(
    stopped: Stopped, regions: tuple[str, ...], left: int
) -> None:
    for region in regions:
        stopped.remove(stopped.after[region][left:])
    assert accused(stopped.verify()) == [FindingCode.GAP_UNEXPLAINED] * len(regions)


def test_a_stop_that_a_chain_has_outlived_explains_nothing(bucket: Bucket) -> None:
    """Logging may be stopped and started so soon that the chain goes on: then nothing has ended it."""
    home, away = bucket.chain(), bucket.chain(AWAY)
    bucket.write(home, START, 10)
    bucket.call(home, START + 10 * HOUR + MINUTE)
    bucket.call(home, START + 10 * HOUR + 2 * MINUTE, "StartLogging")
    bucket.write(home, START + 10 * HOUR, 20)
    bucket.remove(bucket.write(away, START, 30)[12:])
    assert accused(bucket.verify(30)) == [FindingCode.GAP_UNEXPLAINED]


@pytest.mark.parametrize(
    "changed",
    [
        {"isMultiRegionTrail": True},
        {"isMultiRegionTrail": False},
        {"s3BucketName": BUCKET},
        {"s3KeyPrefix": ""},
        {"isOrganizationTrail": False},
        {"snsTopicName": "topic", "enableLogFileValidation": True},
    ],
)
def test_an_update_that_leaves_the_chain_where_it_is_explains_nothing(bucket: Bucket, changed: dict[str, Any]) -> None:
    chain = bucket.chain()
    bucket.write(chain, START, 10)
    bucket.call(chain, START + 10 * HOUR + 5 * MINUTE, "UpdateTrail", **changed)
    bucket.remove(bucket.write(chain, START + 10 * HOUR, 20)[1:])
    assert accused(bucket.verify(30)) == [FindingCode.GAP_UNEXPLAINED]


@pytest.mark.parametrize("name", [f"arn:aws:cloudtrail:{HOME}:{MEMBER}:trail/main", "main"])
@pytest.mark.parametrize("trail_account", [ACCOUNT, ""])
def test_a_member_s_own_trail_of_the_same_name_explains_nothing_of_the_organization_s(
    bucket: Bucket, name: str, trail_account: str
) -> None:
    gone: list[Hour] = []
    for account in (ACCOUNT, MEMBER):
        chain = bucket.chain(account=account, organization=ORGANIZATION)
        bucket.write(chain, START, 10)
        if account == MEMBER:
            bucket.call(chain, START + 10 * HOUR + 5 * MINUTE, name=name)
        hours = bucket.write(chain, START + 10 * HOUR, 20)
        gone += hours[1:] if account == ACCOUNT else []
    bucket.remove(gone)
    asked = {"trail_name": "main", "home_region": HOME, "trail_account": trail_account}
    assert accused(bucket.verify(30, **asked)) == [FindingCode.GAP_UNEXPLAINED]


def test_a_flood_of_a_member_s_stops_hides_no_other_s(bucket: Bucket) -> None:
    management = bucket.chain(organization=ORGANIZATION)
    bucket.write(management, START, 3)
    bucket.call(management, START + 3 * HOUR + MINUTE)
    management.put_digest(START + 3 * HOUR + 2 * MINUTE)
    member = bucket.chain(account=MEMBER, organization=ORGANIZATION)
    arn = f"arn:aws:cloudtrail:{HOME}:{MEMBER}:trail/own"
    flood = (stop_record(START, requestParameters={"name": arn}, eventID=f"flood-{number}") for number in range(20_100))
    member.put_log_file(START + MINUTE, list(flood))
    bucket.write(member, START, 3)
    member.put_digest(START + 3 * HOUR + 2 * MINUTE)
    assert accused(bucket.verify(12)) == []


# --- what stops explain, and what nobody is accused for


def test_a_chain_may_go_on_for_hours_after_the_stop_where_the_server_was_down(bucket: Bucket) -> None:
    """Opentrail makes the digests of the hours in which it was down when it runs again, and then the last one."""
    for region in (HOME, AWAY):
        chain = bucket.chain(region)
        bucket.write(chain, START, 5)
        if region == HOME:
            bucket.call(chain, START + 5 * HOUR + MINUTE)
        bucket.write(chain, START + 5 * HOUR, 9, empty=True)
        chain.put_digest(START + 14 * HOUR + 3 * MINUTE)
        chain.start_chain(START + 15 * HOUR)
        if region == HOME:
            bucket.call(chain, START + 15 * HOUR, "StartLogging")
        bucket.write(chain, START + 15 * HOUR, 5)
    verified = bucket.verify(20)
    assert accused(verified) == []
    assert codes(verified).count(FindingCode.LOGGING_STOPPED) == 2


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sessions=st.lists(
        st.tuples(
            st.integers(0, 4),  # whole hours of logging
            st.integers(1, 3500),  # seconds more, until it is stopped
            st.sampled_from([0, 1, 40, 300, 9000]),  # seconds until the last digest is made
            st.sampled_from([1, 30, 600, 4000]),  # seconds until logging is started again
        ),
        min_size=1,
        max_size=6,
    ),
    is_copy=st.booleans(),
)
def test_no_stops_and_starts_accuse_a_trail_that_nobody_touched(
    keys: RsaKeyFiles, sessions: list[tuple[int, int, int, int]], is_copy: bool
) -> None:
    bucket, end = Bucket(keys), START
    for region in (HOME, AWAY):
        chain, now, last = bucket.chain(region), START, START
        for hours, seconds, delay, pause in sessions:
            chain.start_chain(now)
            if region == HOME and now > START:
                bucket.call(chain, now, "StartLogging")
            last = max(last, now)  # a chain that is held open meanwhile has its digests first
            for _ in range(hours):
                now += HOUR
                last = max(now, last + SECOND)
                chain.put_digest(last)
            now += seconds * SECOND
            if region == HOME:
                bucket.call(chain, now)
            while last + HOUR < now + delay * SECOND:  # those of the hours in which the server was down
                last += HOUR
                chain.put_digest(last)
            last = max(now + delay * SECOND, last + SECOND)
            chain.put_digest(last)
            now += max(pause, delay if delay > 1000 else 0) * SECOND  # while it is down, nobody starts anything
        end = max(end, last)
    verified = (bucket.verify_copy if is_copy else bucket.verify)(start=START, end=end + 3 * HOUR)
    assert [code for code in accused(verified) if not is_copy or code is not FindingCode.DIGEST_START_UNPROVEN] == []


def test_validation_may_be_broken_an_hour_after_it_was_turned_off(bucket: Bucket) -> None:
    for region in (HOME, AWAY):
        chain = bucket.chain(region)
        bucket.write(chain, START, 5)
        if region == HOME:
            bucket.call(chain, START + 5 * HOUR + MINUTE, "UpdateTrail", enableLogFileValidation=False)
        bucket.write(chain, START + 5 * HOUR, 2)
    assert accused(bucket.verify(20)) == []


def test_a_trail_that_was_deleted_and_made_again_twice(bucket: Bucket) -> None:
    for region in (HOME, AWAY):
        chain = bucket.chain(region)
        for day in range(2):
            start = START + day * 8 * HOUR
            bucket.write(chain, start, 4)
            if region == HOME:
                bucket.call(chain, start + 4 * HOUR + 10 * MINUTE, "DeleteTrail")
            chain.put_digest(start + 4 * HOUR + 11 * MINUTE)
            chain.start_chain(start + 8 * HOUR)
            if region == HOME:
                bucket.call(chain, start + 8 * HOUR, "CreateTrail")
        bucket.write(chain, START + 16 * HOUR, 3)
    verified = bucket.verify(20)
    assert accused(verified) == []
    assert codes(verified).count(FindingCode.LOGGING_STOPPED) == 4


def test_sessions_shorter_than_a_digest_have_each_its_stop(bucket: Bucket) -> None:
    chain = bucket.chain()
    bucket.write(chain, START, 2)
    now = START + 2 * HOUR
    for _ in range(4):
        bucket.call(chain, now + timedelta(seconds=20))
        chain.put_digest(now + timedelta(seconds=21))
        now += MINUTE
        chain.start_chain(now)
        bucket.call(chain, now, "StartLogging")
    bucket.write(chain, now, 2)
    assert accused(bucket.verify(6)) == []


@pytest.mark.parametrize("trail_account", [ACCOUNT, ""])
@pytest.mark.parametrize("caller", [ACCOUNT, MEMBER], ids=["management account", "delegated administrator"])
def test_an_organization_s_chains_end_by_one_call(bucket: Bucket, caller: str, trail_account: str) -> None:
    arn = f"arn:aws:cloudtrail:{HOME}:{ACCOUNT}:trail/main"
    for account in (ACCOUNT, MEMBER):
        for region in (HOME, AWAY):
            chain = bucket.chain(region, account=account, organization=ORGANIZATION)
            bucket.write(chain, START, 5)
            if (account, region) == (caller, HOME):
                bucket.call(chain, START + 5 * HOUR + MINUTE, name=arn)
            chain.put_digest(START + 5 * HOUR + 2 * MINUTE)
    asked = {"trail_name": "main", "home_region": HOME, "trail_account": trail_account} if trail_account else {}
    verified = bucket.verify(12, **asked)
    assert accused(verified) == []
    assert codes(verified).count(FindingCode.LOGGING_STOPPED) == 4


def test_a_trail_that_keeps_its_home_region_alone_ends_the_others(bucket: Bucket) -> None:
    home, away = bucket.chain(), bucket.chain(AWAY)
    bucket.write(home, START, 5)
    bucket.call(home, START + 5 * HOUR + MINUTE, "UpdateTrail", isMultiRegionTrail=False)
    bucket.write(home, START + 5 * HOUR, 7)
    bucket.write(away, START, 5)
    away.put_digest(START + 5 * HOUR + 2 * MINUTE)
    assert accused(bucket.verify(12)) == []


@pytest.mark.parametrize("moved", [{"s3BucketName": "another-bucket"}, {"s3KeyPrefix": "new"}])
def test_a_trail_that_moved_is_looked_for_no_longer(bucket: Bucket, moved: dict[str, str]) -> None:
    chain = bucket.chain()
    bucket.write(chain, START, 5)
    bucket.call(chain, START + 5 * HOUR + MINUTE, "UpdateTrail", **moved)
    chain.put_digest(START + 6 * HOUR)
    assert accused(bucket.verify(12)) == []


def test_a_trail_that_moved_may_have_its_last_digest_elsewhere(bucket: Bucket) -> None:
    """A digest is due once an hour: the one that covers the call lies under the new prefix.  A stop has one here."""
    bucket.write(bucket.chain(), START, 5)
    moved = bucket.chain(prefix="new", at=START + 5 * HOUR)
    bucket.call(moved, START + 5 * HOUR + 40 * MINUTE, "UpdateTrail", s3KeyPrefix="new")
    bucket.write(moved, START + 5 * HOUR, 7)
    assert accused(bucket.verify(12)) == []


def test_a_region_that_came_later_has_no_gap(bucket: Bucket) -> None:
    bucket.write(bucket.chain(), START, 12)
    bucket.write(bucket.chain(AWAY, at=START + 7 * HOUR), START + 7 * HOUR, 5)
    assert accused(bucket.verify(12)) == []


# --- where the records are that would say why


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"regions": frozenset({AWAY})}, FindingCode.GAP_UNEXAMINED),
        ({"regions": frozenset({AWAY, HOME})}, FindingCode.GAP_UNEXPLAINED),
        ({"prefix": f"AWSLogs/{ACCOUNT}/"}, FindingCode.GAP_UNEXPLAINED),
        ({}, FindingCode.GAP_UNEXPLAINED),
    ],
    ids=["left out", "asked for", "below the source", "everything"],
)
def test_a_home_region_that_was_deleted_excuses_no_other(
    stopped: Stopped, asked: dict[str, Any], expected: FindingCode
) -> None:
    stopped.remove(stopped.before[HOME] + stopped.after[HOME])
    for info in list(stopped.store.list(f"AWSLogs/{ACCOUNT}/CloudTrail/{HOME}/")):
        stopped.store.delete(info.key)
    stopped.remove(stopped.before[AWAY][5:] + stopped.after[AWAY])
    verified = stopped.verify(**asked)
    gaps = {FindingCode.GAP_UNEXAMINED, FindingCode.GAP_UNEXPLAINED} & set(codes(verified))
    assert gaps == {expected}
    assert verified.result.exit_code == (0 if expected is FindingCode.GAP_UNEXAMINED else 1)


def test_the_management_account_left_out_accuses_no_member(bucket: Bucket) -> None:
    for account in (ACCOUNT, MEMBER):
        chain = bucket.chain(AWAY, account=account, organization=ORGANIZATION)
        bucket.write(chain, START, 5)
    for asked in ({"account_ids": frozenset({MEMBER})}, {"prefix": f"AWSLogs/{ORGANIZATION}/{MEMBER}/"}):
        told = codes(bucket.verify(12, **asked))
        assert FindingCode.GAP_UNEXAMINED in told
        assert FindingCode.GAP_UNEXPLAINED not in told


# --- plain copies, of which the newest digests are not proven


def test_the_newest_digests_of_a_plain_copy_are_missed(bucket: Bucket) -> None:
    hours = bucket.write(bucket.chain(), START, 30)
    assert bucket.verify_copy(30).result.exit_code == 0
    bucket.remove(hours[10:])
    verified = bucket.verify_copy(30)
    assert (verified.result.exit_code, accused(verified)) == (1, [FindingCode.GAP_UNEXPLAINED])


def test_a_plain_copy_that_ends_with_a_stop_is_accused_of_nothing(bucket: Bucket) -> None:
    for region in (HOME, AWAY):
        chain = bucket.chain(region)
        bucket.write(chain, START, 5)
        if region == HOME:
            bucket.call(chain, START + 5 * HOUR + 40 * MINUTE)
        chain.put_digest(START + 5 * HOUR + 41 * MINUTE)
    verified = bucket.verify_copy(30)
    assert (verified.result.exit_code, accused(verified)) == (0, [])
    assert codes(verified).count(FindingCode.GAP_UNEXAMINED) == 2


@pytest.mark.parametrize("start", [10, 29], ids=["one digest of 20 hours", "one that starts 19 hours later"])
def test_no_forged_digest_stands_for_many_in_a_plain_copy(bucket: Bucket, start: int) -> None:
    hours = bucket.write(bucket.chain(), START, 30)
    _forge_newest(bucket, hours, START + start * HOUR)
    verified = bucket.verify_copy(30, expected_until=START + 30 * HOUR)
    assert FindingCode.DIGEST_LINK_UNFOUNDED in codes(verified)
    assert verified.result.exit_code == 1


def test_a_trail_with_a_digest_a_day_is_accused_of_nothing_in_a_plain_copy(bucket: Bucket) -> None:
    chain = bucket.chain()
    for day in range(1, 4):
        chain.put_log_file(START + day * 24 * HOUR - HOUR, [sample_record(day)])
        chain.put_digest(START + day * 24 * HOUR)
    assert accused(bucket.verify_copy(73)) == []


def _forge_newest(bucket: Bucket, hours: list[Hour], start: datetime) -> None:
    """Leave ten of ``hours``, and a digest that follows the tenth, begins at ``start`` and ends with the last."""
    eleventh = decode_digest(gzip.decompress(b"".join(bucket.store.get(hours[10].digest).chunks)))
    bucket.remove(hours[10:])
    key = DigestKey(trail=parse_digest_key(hours[0].digest).trail, end_time=START + 30 * HOUR)
    forged = next_digest(
        eleventh.previous,
        bucket=BUCKET,
        key=key,
        start_time=start,
        public_key_fingerprint=eleventh.public_key_fingerprint,
        log_files=[],
    )
    bucket.store.put(format_digest_key(key), gzip.compress(encode_digest(forged)), {})
