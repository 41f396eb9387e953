"""Plain copies, whose signatures stand in the digests that follow: genuine ones, and ones with rewritten digests.

Each trail has two accounts and two regions, and is stopped and started as Hypothesis likes: a genuine copy is never
accused, and whoever rewrites two digests or more at the newest end of a chain is found, whatever they claim.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opentrail.core.digests import PreviousDigest, decode_digest, encode_digest
from opentrail.core.findings import Concern, Finding, FindingCode, Severity
from opentrail.core.layout import Folder, TrailFolder, digest_prefix, format_digest_key, parse_digest_key
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.stores.memory import MemoryStore
from opentrail.testing.sample_trail import sample_record, stop_record, store_bytes
from opentrail.testing.trail_writer import TrailWriter
from opentrail.verification.checkpoint import Checkpoint, decode_checkpoint, encode_checkpoint
from opentrail.verification.engine import Verification, VerificationStopped
from opentrail.verification.request import VerifyRequest
from opentrail.verification.result import VerifyResult
from opentrail.verification.store_source import StoreSource

BUCKET = "trail-bucket"
HOME, AWAY = "eu-west-1", "us-east-1"
ACCOUNTS = ("111122223333", "444455556666")
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
START = datetime(2024, 5, 6, 9, 17, 5, tzinfo=UTC)
NOW = START + timedelta(days=90)
BAD = {Concern.INTEGRITY, Concern.COMPLETENESS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Logging from a start to a stop: ``hours`` whole ones, then ``minutes``; for ``pause`` it was stopped before."""

    hours: int
    minutes: int
    pause: timedelta
    how: str = "StopLogging"  # it is stopped


@dataclass(slots=True)
class Copy:
    """A copy of a bucket's files, without their metadata."""

    store: MemoryStore
    keys: RsaKeyFiles
    digests: dict[TrailFolder, list[str]] = field(default_factory=dict)
    backfills: list[str] = field(default_factory=list)

    def trail(self, account: str = ACCOUNTS[0], region: str = HOME) -> TrailFolder:
        return TrailFolder(folder=Folder(account_id=account, region=region), trail_name="main", home_region=HOME)

    def verification(self, found: list[Finding], resumed: Checkpoint | None = None, **asked: Any) -> Verification:
        return Verification(
            StoreSource(lambda: self.store, name="copy", bucket=BUCKET, keeps_metadata=False),
            VerifyRequest(**asked),
            [key for region in (HOME, AWAY) for key in self.keys.list(region)],
            on_finding=lambda _, finding: found.append(finding),
            checked_at=NOW,
            clock=time.monotonic,
            resumed=resumed,
        )

    def verify(self, **asked: Any) -> tuple[VerifyResult, list[Finding]]:
        found: list[Finding] = []
        return self.verification(found, **asked).run(), found

    def put(self, key: str, content: bytes) -> None:
        self.store.put(key, gzip.compress(content), {})

    def content(self, key: str) -> bytes:
        return gzip.decompress(store_bytes(self.store, key))


def write(keys: RsaKeyFiles, sessions: Sequence[Session]) -> Copy:
    """A trail of two accounts and two regions."""
    copy = Copy(store=MemoryStore(), keys=keys)
    for account in ACCOUNTS:
        for region in (HOME, AWAY):
            trail = copy.trail(account, region)
            copy.digests[trail] = _write_chain(copy, trail, sessions)
    return copy


def _write_chain(copy: Copy, trail: TrailFolder, sessions: Sequence[Session]) -> list[str]:
    region, ids, digests = trail.folder.region, count(), []
    now = START + timedelta(seconds=7) * (region == AWAY)
    bare = _Bare(copy.store)
    writer = TrailWriter(
        bare,
        trail,
        bucket=BUCKET,
        signer=lambda end: copy.keys.signer(region, now=START, digest_end_time=end),
        start=now,
        seed=hash(region) & 0xFFFF,
    )
    for number, session in enumerate(sessions):
        if number:
            now += session.pause
            writer.start_chain(now)
        for _ in range(session.hours):
            writer.put_log_file(now + 20 * MINUTE, [sample_record(next(ids))])
            now += HOUR
            digests.append(writer.put_digest(now))
        if session.minutes or not session.hours or number < len(sessions) - 1:
            now += session.minutes * MINUTE + timedelta(seconds=20)
            if region == HOME and number < len(sessions) - 1:
                writer.put_log_file(now, [_stopped(trail, now - timedelta(seconds=12), session.how, number)])
            digests.append(writer.put_digest(now))
    return digests


def _stopped(trail: TrailFolder, at: datetime, how: str, number: int) -> bytes:
    arn = f"arn:aws:cloudtrail:{HOME}:{trail.folder.account_id}:trail/main"
    changes: dict[str, object] = {
        "eventName": how,
        "requestParameters": {"name": arn},
        "eventID": f"{at} {number} {arn}",
    }
    if how == "UpdateTrail":
        changes["requestParameters"] = {"name": "main", "enableLogFileValidation": False}
    return stop_record(at, **changes)


class _Bare:
    """Where metadata get lost."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def put(self, key: str, data: bytes, _metadata: object) -> None:
        self._store.put(key, data, {})


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> RsaKeyFiles:
    return RsaKeyFiles(tmp_path_factory.mktemp("keys"))


SESSIONS = st.lists(
    st.builds(
        Session,
        hours=st.integers(0, 3),
        minutes=st.integers(0, 50),
        pause=st.sampled_from([timedelta(0), timedelta(seconds=1), 5 * MINUTE, 3 * HOUR]),
        how=st.sampled_from(["StopLogging", "DeleteTrail", "UpdateTrail"]),
    ),
    min_size=1,
    max_size=4,
)
TINY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _accused(found: Sequence[Finding]) -> list[Finding]:
    return [each for each in found if each.concern in BAD or each.severity is Severity.ERROR]


@TINY
@given(sessions=SESSIONS, data=st.data())
def test_a_genuine_copy_is_never_accused(keys: RsaKeyFiles, sessions: list[Session], data: st.DataObject) -> None:
    copy = write(keys, sessions)
    asked: dict[str, Any] = {}
    newest = parse_digest_key(copy.digests[copy.trail()][-1]).end_time
    span = int((newest - START) / MINUTE)
    if data.draw(st.booleans(), "cut at the start"):
        asked["start"] = START + data.draw(st.integers(0, span)) * MINUTE
    if data.draw(st.booleans(), "cut at the end"):
        asked["end"] = START + data.draw(st.integers(0, span)) * MINUTE
    if data.draw(st.booleans(), "one region"):
        asked["regions"] = frozenset({data.draw(st.sampled_from([HOME, AWAY]))})
    result, found = copy.verify(**asked)
    assert [each for each in _accused(found) if each.code is not FindingCode.NO_DIGESTS] == []
    if len(sessions) == 1 and not asked and sessions[0].hours > 1:
        assert result.exit_code == 0


def test_stops_and_starts_with_long_sessions_leave_one_digest_each_unproven(keys: RsaKeyFiles) -> None:
    session = Session(hours=2, minutes=10, pause=3 * HOUR)
    result, found = write(keys, [session] * 3).verify()
    assert (result.exit_code, _accused(found)) == (0, [])
    assert [chain.digests.unchecked for chain in result.chains] == [3] * 4


CLAIMS = ["null", "elsewhere", "itself", "an-older-one", "one-that-is-not-there"]


def rewrite(copy: Copy, key: str, claim: str, *, second_later: bool = False, named: bool = False) -> None:
    """Strike the log files of a digest, and let it name another one before it, or none."""
    digest = decode_digest(copy.content(key))
    link = digest.previous or PreviousDigest(bucket=BUCKET, key=key, hash_value="00" * 32, signature="00" * 256)
    name = parse_digest_key(key)
    older = key.replace(f"{name.end_time:%H%M%S}Z", f"{name.end_time - 25 * MINUTE:%H%M%S}Z")
    previous = {
        "null": None,
        "elsewhere": replace(link, bucket="another-bucket"),
        "itself": replace(link, key=key),
        "an-older-one": replace(link, key=copy.digests[name.trail][0]),
        "one-that-is-not-there": replace(link, key=older),
    }[claim]
    start = digest.start_time + timedelta(seconds=second_later)
    files = digest.log_files if named else ()
    copy.put(key, encode_digest(replace(digest, previous=previous, log_files=files, start_time=start)))


@TINY
@given(
    sessions=SESSIONS,
    claims=st.lists(st.sampled_from(CLAIMS), min_size=2, max_size=6),
    second_later=st.booleans(),
    region=st.sampled_from([HOME, AWAY]),
    one_region=st.booleans(),
    records=st.booleans(),
)
def test_the_newest_digests_of_a_chain_cannot_be_rewritten(
    keys: RsaKeyFiles,
    *,
    sessions: list[Session],
    claims: list[str],
    second_later: bool,
    region: str,
    one_region: bool,
    records: bool,
) -> None:
    copy = write(keys, [*sessions, Session(hours=3, minutes=0, pause=HOUR)])
    trail = copy.trail(region=region)
    victims = copy.digests[trail][-len(claims) :]
    for key, claim in zip(victims, claims, strict=False):
        rewrite(copy, key, claim, second_later=second_later)
        if records:
            _forge_stop(copy, key)
    result, found = copy.verify(regions=frozenset({region}) if one_region else frozenset())
    assert result.exit_code != 0, found
    chain = next(chain for chain in result.chains if chain.trail == trail)
    assert chain.verdict.value != "valid"
    assert all(other.verdict.value != "tampered" for other in result.chains if other is not chain)


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("later", [False, True])
def test_nor_can_the_last_ones_before_a_stop(keys: RsaKeyFiles, claim: str, count: int, later: bool) -> None:
    copy = write(keys, [Session(hours=5, minutes=20, pause=HOUR), Session(hours=3, minutes=0, pause=HOUR)])
    trail = copy.trail(region=AWAY)
    for key in copy.digests[trail][6 - count : 6]:
        rewrite(copy, key, claim, second_later=later)
    result, found = copy.verify()
    assert result.exit_code == 1, found
    assert [chain.trail for chain in result.chains if chain.verdict.value != "valid"] == [trail]


def _forge_stop(copy: Copy, key: str) -> None:
    """Let the digest name a log file with the record of a stop."""
    name = parse_digest_key(key)
    digest = decode_digest(copy.content(key))
    writer = TrailWriter(
        _Bare(copy.store),
        copy.trail(name.trail.folder.account_id),
        bucket=BUCKET,
        signer=lambda end: copy.keys.signer(HOME, now=START, digest_end_time=end),
        start=START,
        seed=99,
    )
    at = digest.end_time - timedelta(seconds=9)
    file = writer.put_log_file(at, [_stopped(writer.trail, at, "StopLogging", 77)])
    copy.put(key, encode_digest(replace(digest, log_files=(file,))))


def _three_days(keys: RsaKeyFiles) -> Copy:
    return write(keys, [Session(hours=9, minutes=0, pause=HOUR)])


@pytest.mark.parametrize("count", [1, 2, 8])
def test_a_chain_start_at_the_very_end_of_the_digest_before_is_accused(keys: RsaKeyFiles, count: int) -> None:
    """What docs/verify.md once had to call undetectable: each of the newest says that a chain starts with it."""
    copy = _three_days(keys)
    victims = copy.digests[copy.trail()][-count:]
    for key in victims:
        rewrite(copy, key, "null")
    result, found = copy.verify()
    assert (result.exit_code, result.verdict.value) == (1, "tampered")
    accused = {(each.code, each.key) for each in found if each.severity is Severity.ERROR}
    assert accused == {(FindingCode.DIGEST_LINK_UNFOUNDED, key) for key in victims}
    chain = result.chains[0]
    assert (chain.digests.invalid, chain.digests.unchecked, chain.digests.valid) == (count, 1, 8 - count)
    assert {chain.verdict.value for chain in result.chains[1:]} == {"valid"}


@pytest.mark.parametrize("is_long", [False, True])
def test_an_unproven_digest_vouches_for_no_log_file_of_a_proven_hour(keys: RsaKeyFiles, is_long: bool) -> None:
    copy = _three_days(keys)
    newest = copy.digests[copy.trail()][-1]
    digest = decode_digest(copy.content(newest))
    writer = TrailWriter(
        _Bare(copy.store),
        copy.trail(),
        bucket=BUCKET,
        signer=lambda end: keys.signer(HOME, now=START, digest_end_time=end),
        start=START,
        seed=3,
    )
    planted = writer.put_log_file(START + 2 * HOUR, [sample_record(7)])
    start = START if is_long else digest.start_time
    copy.put(newest, encode_digest(replace(digest, log_files=(*digest.log_files, planted), start_time=start)))
    result, found = copy.verify()
    expected = {(FindingCode.LOG_FILE_NOT_NAMED, planted.key)}
    expected |= {(FindingCode.DIGEST_LINK_UNFOUNDED, newest)} if is_long else set()
    assert {(each.code, each.key) for each in _accused(found)} == expected
    assert result.exit_code == 1


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_digest_put_between_two_is_accused(keys: RsaKeyFiles, is_cut: bool) -> None:
    """It follows the one before it, as the next one does."""
    copy = _three_days(keys)
    name = parse_digest_key(copy.digests[copy.trail()][5])
    planted = replace(name, end_time=name.end_time - 20 * MINUTE)
    digest = decode_digest(copy.content(copy.digests[copy.trail()][5]))
    text = format_digest_key(planted)
    copy.put(text, encode_digest(replace(digest, key=text, end_time=planted.end_time, log_files=())))
    result, found = copy.verify(end=planted.end_time if is_cut else None)
    assert {(each.code, each.key) for each in _accused(found)} == {(FindingCode.DIGEST_LINK_UNFOUNDED, text)}
    digests = result.chains[0].digests
    assert (digests.invalid, digests.unchecked) == (1, 0 if is_cut else 1)
    assert digests.total == digests.valid + digests.invalid + digests.unchecked


def test_a_digest_that_claims_a_loop_is_accused(keys: RsaKeyFiles) -> None:
    copy = _three_days(keys)
    newest = copy.digests[copy.trail()][-1]
    rewrite(copy, newest, "itself")
    result, found = copy.verify()
    assert {(each.code, each.key) for each in _accused(found)} == {(FindingCode.DIGEST_LINK_UNFOUNDED, newest)}
    assert result.chains[0].digests.invalid == 1


def test_a_digest_is_missing_that_only_an_unproven_one_names(keys: RsaKeyFiles) -> None:
    copy = _three_days(keys)
    gone = copy.digests[copy.trail()][-2]
    copy.store.delete(gone)
    result, found = copy.verify()
    assert {(each.code, each.key) for each in _accused(found)} == {(FindingCode.DIGEST_MISSING, gone)}
    assert result.chains[0].digests.missing == 1


def test_a_stop_that_only_unproven_log_files_tell_of_lets_nothing_be_proven(keys: RsaKeyFiles) -> None:
    """Right after a restart, and for a session of less than an hour: genuine, or forged with records and all."""
    long, short = Session(hours=3, minutes=20, pause=HOUR), Session(hours=0, minutes=20, pause=5 * MINUTE)
    for sessions in ([long, short], [long, short, long]):
        result, found = write(keys, sessions).verify()
        assert (result.exit_code, _accused(found)) == (2, [])
        doubts = [each for each in found if each.code is FindingCode.DIGEST_START_UNPROVEN]
        assert len(doubts) == 4, "one in each chain"


def test_one_stop_explains_one_start(keys: RsaKeyFiles) -> None:
    copy = write(keys, [Session(hours=3, minutes=20, pause=HOUR), Session(hours=4, minutes=0, pause=HOUR)])
    victims = copy.digests[copy.trail()][-4:]
    for key in victims:
        rewrite(copy, key, "null")
    result, found = copy.verify()
    accused = {(each.code, each.key) for each in found if each.severity is Severity.ERROR}
    assert accused == {(FindingCode.DIGEST_LINK_UNFOUNDED, key) for key in victims[1:]}
    assert [each.key for each in found if each.code is FindingCode.DIGEST_START_UNPROVEN] == [victims[0]]
    assert result.exit_code == 1


def test_a_stop_that_another_trail_proves_leaves_nothing_to_doubt(keys: RsaKeyFiles) -> None:
    long, short = Session(hours=3, minutes=20, pause=HOUR), Session(hours=0, minutes=20, pause=5 * MINUTE)
    copy = write(keys, [long, short])
    stopped = parse_digest_key(copy.digests[copy.trail()][3]).end_time
    for account in ACCOUNTS:
        shadow = replace(
            copy.trail(account), trail_name="shadow", folder=replace(copy.trail(account).folder, prefix="p")
        )
        writer = TrailWriter(
            _Bare(copy.store),
            shadow,
            bucket=BUCKET,
            signer=lambda end: keys.signer(HOME, now=START, digest_end_time=end),
            start=stopped - HOUR,
        )
        at = stopped - timedelta(seconds=12)
        writer.put_log_file(stopped, [_stopped(copy.trail(account), at, "StopLogging", 5)])
        for hour in range(3):
            writer.put_digest(stopped + hour * HOUR + MINUTE)
    result, found = copy.verify()
    assert (result.exit_code, _accused(found)) == (0, [])


@pytest.mark.parametrize("stop_after", [1, 6, 14])
def test_a_run_that_goes_on_finds_the_same(keys: RsaKeyFiles, stop_after: int) -> None:
    copy = write(keys, [Session(hours=3, minutes=20, pause=HOUR), Session(hours=4, minutes=0, pause=HOUR)])
    for region in (HOME, AWAY):
        for key in copy.digests[copy.trail(ACCOUNTS[0], region)][-3:]:
            rewrite(copy, key, "null")
    result, whole = copy.verify()
    found: list[Finding] = []
    stopped = copy.verification(found)
    add = found.append

    class Counting(list[Finding]):
        def append(self, finding: Finding) -> None:
            add(finding)
            if len(found) == stop_after:
                stopped.stop()

    counting = Counting()
    stopped = copy.verification(counting)
    with pytest.raises(VerificationStopped):
        stopped.run()
    checkpoint = decode_checkpoint(encode_checkpoint(stopped.checkpoint()))
    again, told = copy.verify(resumed=checkpoint)
    assert told == whole
    assert again.chains == result.chains


@pytest.mark.parametrize("jobs", [1, 2])
def test_whatever_the_number_of_processes(keys: RsaKeyFiles, jobs: int) -> None:
    copy = write(keys, [Session(hours=4, minutes=20, pause=HOUR)] * 2)
    for key in copy.digests[copy.trail(region=AWAY)][-3:]:
        rewrite(copy, key, "null")
    result, found = copy.verify(jobs=jobs)
    assert len([each for each in found if each.code is FindingCode.DIGEST_LINK_UNFOUNDED]) == 3
    assert result.exit_code == 1


def _with_backfills(keys: RsaKeyFiles, count: int) -> Copy:
    copy = _three_days(keys)
    trail = copy.trail()
    writer = TrailWriter(
        _Bare(copy.store),
        trail,
        bucket=BUCKET,
        signer=lambda end: keys.signer(HOME, now=START, digest_end_time=end),
        start=START,
        seed=5,
    )
    for hour in range(count):
        end = parse_digest_key(copy.digests[trail][hour]).end_time
        file = writer.put_log_file(end - MINUTE, [sample_record(900 + hour)], name=False)
        copy.backfills.append(writer.put_backfill_digest(end - HOUR, end, [file]))
    return copy


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_one_backfill_digest_stays_unproven_and_no_more(keys: RsaKeyFiles, count: int) -> None:
    copy = _with_backfills(keys, 4)
    for key in copy.backfills[4 - count :]:
        rewrite(copy, key, "null")
    result, found = copy.verify()
    disputed = {each.key for each in found if each.code is FindingCode.DIGEST_SIGNATURE_DISPUTED}
    assert disputed == set(copy.backfills[0 if count == 3 else 4 - count :]), "then nobody knows which was the first"
    assert result.exit_code == (1 if count else 0)


def test_a_backfill_digest_is_missing_that_only_an_unproven_one_names(keys: RsaKeyFiles) -> None:
    copy = _with_backfills(keys, 4)
    copy.store.delete(copy.backfills[2])
    result, found = copy.verify()
    missing = (FindingCode.DIGEST_MISSING, copy.backfills[2])
    assert missing in {(each.code, each.key) for each in found}
    assert result.exit_code == 1
    assert digest_prefix(copy.trail().folder) in copy.backfills[0]
