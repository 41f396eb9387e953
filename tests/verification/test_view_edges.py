"""Where the time that was asked for starts and ends: what was removed there, or put there, and who is innocent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opentrail.core.errors import StoreError
from opentrail.core.events import format_time
from opentrail.core.findings import Finding, FindingCode
from opentrail.core.layout import (
    DigestKey,
    Folder,
    LogKey,
    TrailFolder,
    digest_prefix,
    format_digest_key,
    format_log_key,
    parse_digest_key,
)
from opentrail.core.logfiles import encode_log_file
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.stores.memory import MemoryStore
from opentrail.testing.sample_trail import sample_record, stop_record, store_bytes
from opentrail.testing.trail_writer import TrailWriter
from opentrail.verification.checkpoint import decode_checkpoint, encode_checkpoint
from opentrail.verification.engine import Verification
from opentrail.verification.request import VerifyRequest
from opentrail.verification.result import VerifyResult, reservations
from opentrail.verification.store_source import StoreSource

BUCKET = "trail-bucket"
HOME, AWAY = "eu-west-1", "us-east-1"
ACCOUNT = "111122223333"
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
START = datetime(2024, 5, 6, 0, 17, 5, tzinfo=UTC)
LATER = START + timedelta(days=90)
NEXT_DAY = datetime(2024, 5, 7, tzinfo=UTC)

Hours = list[tuple[str, str]]  # of each hour the digest and the log file that it names


class Site:
    """A bucket in which trails lie."""

    def __init__(self, keys: RsaKeyFiles) -> None:
        self.keys = keys
        self.store = MemoryStore()

    def writer(self, region: str = HOME, *, name: str = "main", start: datetime = START, seed: int = 0) -> TrailWriter:
        return TrailWriter(
            self.store,
            TrailFolder(folder=Folder(account_id=ACCOUNT, region=region), trail_name=name, home_region=HOME),
            bucket=BUCKET,
            signer=lambda end: self.keys.signer(region, now=START, digest_end_time=end),
            start=start,
            seed=seed,
        )

    def remove(self, hours: Hours) -> None:
        """The digests, and what they name: so that only others can tell."""
        for digest, log in hours:
            self.store.delete(digest)
            self.store.delete(log)

    def plant(self, at: datetime, region: str = AWAY) -> str:
        """Put a log file there that nobody delivered; its key."""
        folder = Folder(account_id=ACCOUNT, region=region)
        key = format_log_key(LogKey(folder=folder, delivered_at=at, unique="P" * 16))
        self.store.put(key, encode_log_file([sample_record(666)]).data, {})
        return key

    def verification(self, found: list[Finding], *, kept: bool = True, **asked: Any) -> Verification:
        resumed = asked.pop("resumed", None)
        store = self.store if kept else self._copied()
        return Verification(
            asked.pop("source", None) or StoreSource(lambda: store, name="s", bucket=BUCKET, keeps_metadata=kept),
            VerifyRequest(**({"asked_at": LATER} | asked)),
            [key for region in (HOME, AWAY) for key in self.keys.list(region)],
            on_finding=lambda _, finding: found.append(finding),
            checked_at=LATER,
            clock=time.monotonic,
            resumed=resumed,
        )

    def _copied(self) -> MemoryStore:
        """A copy of it, as ``aws s3 sync`` makes one: without metadata."""
        copy = MemoryStore()
        for info in self.store.list(""):
            copy.put(info.key, store_bytes(self.store, info.key), {})
        return copy

    def verify(self, **asked: Any) -> tuple[VerifyResult, list[Finding]]:
        found: list[Finding] = []
        return self.verification(found, **asked).run(), found


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> RsaKeyFiles:
    files = RsaKeyFiles(tmp_path_factory.mktemp("keys"))
    for region in (HOME, AWAY):
        files.signer(region, now=START, digest_end_time=START)
    return files


@pytest.fixture
def site(keys: RsaKeyFiles) -> Site:
    return Site(keys)


def hours(writer: TrailWriter, first: datetime, count: int) -> Hours:
    """So many of a trail."""
    written = []
    for start in (first + number * HOUR for number in range(count)):
        log = writer.put_log_file(start + HOUR / 2, [sample_record(int(start.timestamp()))]).key
        written.append((writer.put_digest(start + HOUR), log))
    return written


def record(at: datetime, **changes: Any) -> bytes:
    arn = f"arn:aws:cloudtrail:{HOME}:{ACCOUNT}:trail/{changes.pop('trail', 'main')}"
    return stop_record(at, **({"requestParameters": {"name": arn}, "eventID": f"id-{at}"} | changes))


def stopped(site: Site, *, pause: timedelta = 5 * MINUTE, is_recorded: bool = True) -> dict[str, tuple[Hours, Hours]]:
    """Thirty hours in two regions, a stop after twenty minutes more, a pause, and thirty hours again."""
    written = {}
    for region in (HOME, AWAY):
        writer = site.writer(region)
        before, stop = hours(writer, START, 30), START + 30 * HOUR + 20 * MINUTE
        if region == HOME and is_recorded:
            writer.put_log_file(stop - MINUTE, [record(stop - 2 * MINUTE)])
        before.append((writer.put_digest(stop), ""))
        writer.start_chain(stop + pause)
        written[region] = before, hours(writer, stop + pause, 30)
    return written


def codes(found: list[Finding]) -> set[FindingCode]:
    return {each.code for each in found}


def accused(found: list[Finding]) -> set[FindingCode]:
    return {each.code for each in found if each.concern.value in {"integrity", "completeness"}}


# --- the start of the view ---------------------------------------------------


@pytest.mark.parametrize("kept", [True, False], ids=["bucket", "plain copy"])
@pytest.mark.parametrize("regions", [(AWAY,), (HOME, AWAY)], ids=["one region", "all"])
@pytest.mark.parametrize("end", [60, 29], ids=["up to a restart in view", "up to one behind it"])
def test_what_is_gone_from_the_start_up_to_a_restart_is_missed(
    site: Site, regions: tuple[str, ...], end: int, *, kept: bool
) -> None:
    written = stopped(site)
    for region in regions:
        before = written[region][0]
        site.remove([*before[5:-1]])
        site.store.delete(before[-1][0])
    result, found = site.verify(start=START + 7 * HOUR, end=START + end * HOUR, kept=kept)
    assert result.exit_code == 1
    gaps = [each for each in found if each.code is FindingCode.GAP_UNEXPLAINED]
    assert len(gaps) == len(regions)
    restart = START + 30 * HOUR + 25 * MINUTE
    for gap in gaps:
        assert gap.details == {"start": format_time(START + 5 * HOUR), "end": format_time(restart)}, "it is printed"


@pytest.mark.parametrize("after", [1, 10, 60 * 24 * 40], ids=["at once", "in the pause", "long after"])
@pytest.mark.parametrize("kept", [True, False], ids=["bucket", "plain copy"])
def test_a_stop_before_the_start_explains_a_restart_in_view(site: Site, after: int, *, kept: bool) -> None:
    stopped(site, pause=timedelta(days=41))
    start = START + 30 * HOUR + 20 * MINUTE + after * MINUTE
    result, found = site.verify(
        start=start, end=start + timedelta(days=60), asked_at=START + timedelta(days=41, hours=61), kept=kept
    )
    assert (accused(found), result.exit_code) == (set(), 0)
    if kept:
        assert [each.code for each in found].count(FindingCode.LOGGING_STOPPED) == 2, "once for each region"


def test_without_a_record_nothing_explains_it(site: Site) -> None:
    stopped(site, pause=timedelta(days=41), is_recorded=False)
    result, found = site.verify(start=START + timedelta(days=40), end=START + timedelta(days=43))
    assert (accused(found), result.exit_code) == ({FindingCode.GAP_UNEXPLAINED}, 1)


def test_the_record_may_stand_in_a_home_region_that_went_on(site: Site) -> None:
    """The trail was of one region for ten days; the chain of the home region has no end, and was not asked about."""
    home, away = site.writer(), site.writer(AWAY)
    moment = START + 10 * HOUR
    hours(home, START, 10)
    parameters = {"name": "main", "isMultiRegionTrail": False}
    home.put_log_file(moment + MINUTE, [record(moment, eventName="UpdateTrail", requestParameters=parameters)])
    hours(home, moment, 300)
    hours(away, START, 10)
    away.put_digest(moment + 2 * MINUTE)
    away.start_chain(moment + 240 * HOUR)
    hours(away, moment + 240 * HOUR, 10)
    result, found = site.verify(start=moment + 200 * HOUR, end=moment + 250 * HOUR)
    assert (accused(found), result.exit_code) == (set(), 0), found
    assert FindingCode.LOGGING_STOPPED in codes(found)


@pytest.mark.parametrize("days", [0, 60], ids=["an empty folder", "one that another trail has long had"])
def test_a_trail_that_begins_in_view_has_lost_nothing(site: Site, days: int) -> None:
    other = site.writer(name="another", start=START - timedelta(days=days))
    for day in range(days):
        other.put_digest(START - timedelta(days=days - day - 1))
    hours(site.writer(), START, 10)
    result, found = site.verify(start=START - HOUR, end=START + 10 * HOUR, trail_name="main")
    assert (accused(found), result.exit_code) == (set(), 0)
    assert not codes(found) & {FindingCode.EDGE_UNEXAMINED, FindingCode.GAP_UNEXAMINED}


def test_what_a_lifecycle_rule_expired_is_not_missed(site: Site) -> None:
    written = stopped(site)
    for before, _ in written.values():
        site.remove(before[:-1])
        site.store.delete(before[-1][0])
    result, found = site.verify(start=START + HOUR, end=START + 60 * HOUR)
    assert (accused(found), result.exit_code) == (set(), 0)


def test_a_chain_that_goes_on_across_the_start_asks_for_nothing_before(site: Site) -> None:
    written = hours(site.writer(), START, 48)
    for digest, _ in written[:20]:
        site.store.put(digest, b"junk", {})
    result, found = site.verify(start=START + 21 * HOUR, end=START + 48 * HOUR)
    assert (accused(found), result.exit_code) == (set(), 0)


def test_a_witness_that_is_damaged_is_told(site: Site) -> None:
    written = stopped(site)
    witness = written[AWAY][0][-1][0]
    site.store.put(witness, b"junk", {})
    result, found = site.verify(start=START + 30 * HOUR + 21 * MINUTE, end=START + 60 * HOUR)
    told = [each for each in found if each.code is FindingCode.EDGE_UNEXAMINED]
    assert [(each.key, each.details["edge"]) for each in told] == [(witness, "start")]
    assert (accused(found), result.exit_code) == (set(), 2)


@pytest.mark.parametrize("is_there", [True, False], ids=["damaged", "removed"])
@pytest.mark.parametrize("is_bundle", [True, False], ids=["bundle", "bucket"])
def test_a_record_before_the_start_that_cannot_be_read_is_told(site: Site, *, is_there: bool, is_bundle: bool) -> None:
    """A bundle holds no log files of the time before; of a bucket it is told that nobody can say why."""
    stopped(site)
    log = next(info.key for info in site.store.list("AWSLogs/") if "20240507T0636Z" in info.key)
    if is_there:
        site.store.put(log, b"junk", {})
    else:
        site.store.delete(log)
    start = START + 30 * HOUR + 21 * MINUTE
    result, found = site.verify(start=start, end=START + 60 * HOUR, is_excerpt=is_bundle)
    assert accused(found) == set()
    assert {each.key for each in found if each.code is FindingCode.EDGE_UNEXAMINED} == (set() if is_bundle else {log})
    assert FindingCode.GAP_UNEXAMINED in codes(found)
    assert result.exit_code == (0 if is_bundle else 2)


class Refusing(StoreSource):
    """It does not list the digests of one day."""

    def list_keys(self, prefix: str, *, start_after: str = "") -> Iterator[str]:
        if "CloudTrail-Digest" in prefix and "2024/05/06/" in prefix:
            raise StoreError(f"{prefix}: no", retryable=False)
        return super().list_keys(prefix, start_after=start_after)


@pytest.mark.parametrize("is_new", [True, False], ids=["it may have begun there", "it was stopped later"])
def test_a_day_before_the_start_that_is_refused_is_told(site: Site, *, is_new: bool) -> None:
    if is_new:
        hours(site.writer(), START + 30 * HOUR + 25 * MINUTE, 10)
    else:
        stopped(site)
    source = Refusing(lambda: site.store, name="s", bucket=BUCKET)
    asked = {"start": START + 30 * HOUR + 21 * MINUTE, "end": START + 40 * HOUR}
    result, found = site.verify(source=source, **asked)
    told = [each.key for each in found if each.code is FindingCode.EDGE_UNEXAMINED]
    day = f"{digest_prefix(Folder(account_id=ACCOUNT, region=HOME))}2024/05/06/"
    assert (accused(found), told, result.exit_code) == (set(), [day] * is_new, 2 * is_new)


def test_an_interrupted_run_goes_on_with_what_lies_before_the_start(site: Site) -> None:
    written = stopped(site)
    asked: dict[str, Any] = {"start": START + 30 * HOUR + 21 * MINUTE, "end": START + 60 * HOUR}
    for is_damaged in (False, True):
        if is_damaged:
            site.remove(written[AWAY][0][20:-1])
            site.store.delete(written[AWAY][0][-1][0])
        first: list[Finding] = []
        whole = site.verification(first, **asked)
        result = whole.run()
        again: list[Finding] = []
        resumed = decode_checkpoint(encode_checkpoint(whole.checkpoint()))
        second = site.verification(again, resumed=resumed, **asked).run()
        assert (result.exit_code, result.findings) == (second.exit_code, second.findings)
        assert result.exit_code == is_damaged


@pytest.mark.parametrize("is_recorded", [True, False], ids=["recorded", "not recorded"])
@pytest.mark.parametrize("end", [20 * HOUR, None], ids=["to an end", "up to now"])
def test_a_trail_deleted_the_day_before(site: Site, end: timedelta | None, *, is_recorded: bool) -> None:
    old, deleted = site.writer(name="olde"), START + 5 * HOUR + 5 * MINUTE
    hours(old, START, 5)
    if is_recorded:
        old.put_log_file(deleted, [record(deleted - MINUTE, eventName="DeleteTrail", trail="olde")])
    old.put_digest(deleted + MINUTE)
    hours(site.writer(seed=9), START, 48)
    result, found = site.verify(start=NEXT_DAY, end=end and NEXT_DAY + end, asked_at=START + 49 * HOUR)
    assert (accused(found), result.exit_code) == ((set(), 0) if is_recorded else ({FindingCode.GAP_UNEXPLAINED}, 1))


def test_a_digest_before_the_start_tells_which_bucket_it_was_made_for(site: Site) -> None:
    """Of a folder nobody knows it, and in view lies no digest."""
    writer = site.writer()
    hours(writer, START, 5)
    stop = START + 5 * HOUR + 20 * MINUTE
    writer.put_log_file(stop - MINUTE, [record(stop - 2 * MINUTE)])
    writer.put_digest(stop)
    folder = StoreSource(lambda: site.store, name="folder", bucket="", keeps_metadata=True)
    _, found = site.verify(source=folder, start=stop + 20 * HOUR, end=stop + 22 * HOUR)
    assert FindingCode.EDGE_UNEXAMINED not in codes(found)
    assert FindingCode.LOGGING_STOPPED in codes(found)


def test_before_a_trail_began_its_edge_holds_no_doubt(site: Site) -> None:
    """Of a folder nobody knows the bucket, and the first digest is behind the view."""
    hours(site.writer(), START, 5)
    folder = StoreSource(lambda: site.store, name="folder", bucket="", keeps_metadata=True)
    _, found = site.verify(source=folder, start=START - 20 * HOUR, end=START - 10 * HOUR)
    assert FindingCode.EDGE_UNEXAMINED not in codes(found)


def test_a_bundle_that_lacks_the_home_region_accuses_nobody_and_is_not_valid(site: Site) -> None:
    """It may have been packed for another trail; the bucket itself would be accused."""
    stopped(site)
    for info in list(site.store.list("")):
        if f"/{HOME}/" in info.key:
            site.store.delete(info.key)
    result, found = site.verify(is_excerpt=True)
    assert (accused(found), result.exit_code) == (set(), 2)
    result, found = site.verify()
    assert (accused(found), result.exit_code) == ({FindingCode.GAP_UNEXPLAINED}, 1)


@pytest.mark.parametrize("kept", [True, False], ids=["bucket", "plain copy"])
@pytest.mark.parametrize("start", [None, START + 6 * HOUR], ids=["all", "from the second chain on"])
def test_a_last_digest_may_reach_into_the_next_chain(site: Site, start: datetime | None, *, kept: bool) -> None:
    """Stopped and started again within minutes: what was recorded before is delivered after."""
    writer = site.writer()
    hours(writer, START, 5)
    stop = START + 5 * HOUR + 20 * MINUTE
    writer.put_log_file(stop + 7 * MINUTE, [record(stop)])
    writer.put_digest(stop + 8 * MINUTE)
    writer.start_chain(stop + 5 * MINUTE)
    hours(writer, stop + 5 * MINUTE, 6)
    result, found = site.verify(start=start, end=stop + 5 * MINUTE + 6 * HOUR, kept=kept)
    assert (accused(found), result.exit_code) == (set(), 0)


# --- the end of the view -----------------------------------------------------

VIEW: dict[str, Any] = {"start": START, "end": START + 20 * HOUR + 20 * MINUTE}


def two_regions(site: Site, count: int = 30) -> dict[str, Hours]:
    return {region: hours(site.writer(region), START, count) for region in (HOME, AWAY)}


def fakes(site: Site, trail: TrailFolder, count: int) -> None:
    """Empty objects, named like digests, between the end of the view and the witness."""
    for second in range(count):
        end = VIEW["end"] + 9 * MINUTE + timedelta(seconds=second)
        site.store.put(format_digest_key(DigestKey(trail=trail, end_time=end)), b"x", {})


@pytest.mark.parametrize(
    ("count", "code", "exit_code"),
    [(0, FindingCode.DIGEST_MISSING, 1), (30, FindingCode.DIGEST_MISSING, 1), (120, FindingCode.EDGE_UNEXAMINED, 2)],
)
def test_fakes_before_the_witness_hide_nothing(site: Site, count: int, code: FindingCode, exit_code: int) -> None:
    written = two_regions(site)
    site.remove(written[AWAY][19:20])
    fakes(site, parse_digest_key(written[AWAY][0][0]).trail, count)
    result, found = site.verify(**VIEW)
    assert code in codes(found)
    assert result.exit_code == exit_code


def test_a_damaged_witness_that_may_hide_something_is_told(site: Site) -> None:
    written = two_regions(site)
    site.store.put(written[AWAY][20][0], b"junk", {})
    assert site.verify(**VIEW)[0].exit_code == 0, "the last digest in view ends where it began: none fits between"
    site.remove(written[AWAY][19:20])
    result, found = site.verify(**VIEW)
    told = [(each.key, each.details["edge"]) for each in found if each.code is FindingCode.EDGE_UNEXAMINED]
    assert (told, result.exit_code) == ([(written[AWAY][20][0], "end")], 2)


@pytest.mark.parametrize("kept", [True, False], ids=["bucket, it is damaged", "plain copy, it is unproven"])
def test_the_last_digest_of_a_chain_just_behind_the_view_is_not_passed_over(site: Site, *, kept: bool) -> None:
    """The next one starts a chain: it says nothing of the digests in view."""
    written = stopped(site)
    last = written[AWAY][0][-1][0]
    if kept:
        site.store.put(last, b"junk", {})
    result, found = site.verify(start=START, end=START + 30 * HOUR, kept=kept)
    assert (accused(found), result.exit_code) == (set(), 0)


def test_the_witness_names_the_log_files_of_the_last_minutes(site: Site) -> None:
    two_regions(site)
    result, found = site.verify(**VIEW)
    assert result.exit_code == 0
    behind = [each for each in found if each.code is FindingCode.LOG_FILES_NOT_YET_NAMED]
    assert [each.details["count"] for each in behind] == ["3", "3"], "of the evening; those of the witness are named"
    assert all("than the time that was asked for" in each.message for each in behind)
    planted = site.plant(START + 20 * HOUR + 10 * MINUTE)
    result, found = site.verify(**VIEW)
    assert {each.key for each in found if each.code is FindingCode.LOG_FILE_NOT_NAMED} == {planted}
    assert result.exit_code == 1


@pytest.mark.parametrize("is_damaged", [False, True], ids=["genuine", "damaged"])
def test_what_a_late_digest_behind_the_view_names_is_innocent(site: Site, *, is_damaged: bool) -> None:
    writer = site.writer()
    hours(writer, START, 30)
    late = writer.put_log_file(START + 20 * HOUR + 10 * MINUTE, [sample_record(1)], name=False)
    backfill = writer.put_backfill_digest(START + 20 * HOUR, START + 21 * HOUR, [late])
    if is_damaged:
        site.store.put(backfill, b"junk", {})
    result, found = site.verify(**VIEW)
    assert (accused(found), result.exit_code) == (set(), 0)


def test_a_log_file_of_the_day_before_stands_in_a_digest_in_view(site: Site) -> None:
    two_regions(site, 48)
    asked = {"start": NEXT_DAY, "end": NEXT_DAY + 10 * HOUR}
    site.plant(NEXT_DAY - 50 * MINUTE)  # in an hour that the view does not touch
    assert site.verify(**asked)[0].exit_code == 0
    planted = site.plant(NEXT_DAY - 3 * MINUTE)
    result, found = site.verify(**asked)
    assert {each.key for each in found if each.code is FindingCode.LOG_FILE_NOT_NAMED} == {planted}
    assert result.exit_code == 1


def test_log_files_older_than_the_first_digest_are_counted(site: Site) -> None:
    two_regions(site)
    planted = [site.plant(START - number * HOUR) for number in (5, 4)]
    result, found = site.verify()
    told = [each for each in found if each.code is FindingCode.LOG_FILES_BEFORE_DIGESTS]
    assert [dict(each.details) for each in told] == [{"count": "2", "first": planted[0], "last": planted[1]}]
    assert result.exit_code == 0, "validation may have been turned on later"
    assert any("older than the first digest" in each for each in reservations(result))
    result, found = site.verify(start=START + 5 * HOUR)
    assert FindingCode.LOG_FILES_BEFORE_DIGESTS not in codes(found), "the digests before the view may name them"


def test_a_log_file_of_a_time_to_come_is_planted(site: Site) -> None:
    hours(site.writer(), START, 10)
    planted = site.plant(LATER + timedelta(days=4000), HOME)
    result, found = site.verify()
    assert {each.key for each in found if each.code is FindingCode.LOG_FILE_NOT_NAMED} == {planted}
    assert result.exit_code == 1


@pytest.mark.parametrize(
    ("behind", "is_recorded", "exit_code"),
    [(2 * HOUR, False, 0), (20 * HOUR, False, 0), (120 * HOUR, False, 1), (120 * HOUR, True, 0)],
    ids=["in the next digest", "the copy took long", "months ago", "validation was turned off"],
)
def test_log_files_behind_the_newest_digest(
    site: Site, behind: timedelta, *, is_recorded: bool, exit_code: int
) -> None:
    writer, off = site.writer(), START + 10 * HOUR
    hours(writer, START, 10)
    if is_recorded:
        parameters = {"name": "main", "enableLogFileValidation": False}
        writer.put_log_file(off + MINUTE, [record(off, eventName="UpdateTrail", requestParameters=parameters)])
        writer.put_digest(off + 2 * MINUTE)
    site.plant(off + behind, HOME)
    result, found = site.verify()
    assert result.exit_code == exit_code, found
    assert accused(found) == ({FindingCode.GAP_UNEXPLAINED} if exit_code else set())


def test_what_lies_behind_the_view_in_a_shared_folder_is_not_nobody_s(site: Site) -> None:
    """The witness of one trail covers what the other one's next digest but one names."""
    later = START + 15 * MINUTE
    hours(site.writer(), START, 12)
    hours(site.writer(name="other", start=later, seed=1), later, 12)
    result, found = site.verify(end=START + 5 * HOUR)
    assert (accused(found), result.exit_code) == (set(), 0)


# --- innocence ---------------------------------------------------------------


@dataclass(frozen=True)
class Session:
    """A chain of so many hours and some minutes, how it ended, and what passed until the next one."""

    hours: int
    minutes: int
    pause: timedelta
    is_logging: bool  # in the pause: validation alone was turned off


SESSIONS = st.lists(
    st.builds(
        Session,
        hours=st.integers(0, 4),
        minutes=st.integers(3, 59),
        pause=st.sampled_from(
            [timedelta(0), timedelta(seconds=20), 90 * MINUTE, timedelta(days=1), timedelta(days=40)]
        ),
        is_logging=st.booleans(),
    ),
    min_size=1,
    max_size=3,
)


def written_in(site: Site, sessions: list[Session]) -> datetime:
    """A trail in two regions, which was stopped after each session but the last; when it ended."""
    writers, now = [site.writer(HOME), site.writer(AWAY)], START
    for number, session in enumerate(sessions, 1):
        stop, is_last = now + session.hours * HOUR + session.minutes * MINUTE, number == len(sessions)
        off = {"name": "main", "enableLogFileValidation": False}
        changes = {"eventName": "UpdateTrail", "requestParameters": off} if session.is_logging else {}
        for writer in writers:
            writer.start_chain(now)
            hours(writer, now, session.hours)
            if writer is writers[0] and not is_last:
                writer.put_log_file(stop, [record(stop, **changes)])
            writer.put_digest(stop)
            if session.is_logging and session.pause > HOUR and not is_last:
                writer.put_log_file(stop + session.pause / 2, [sample_record(1)], name=False)
        now = stop + session.pause
    return stop


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sessions=SESSIONS, data=st.data())
def test_whoever_deleted_nothing_is_accused_of_nothing(keys: RsaKeyFiles, sessions: list[Session], data: Any) -> None:
    site = Site(keys)
    ended = written_in(site, sessions)
    minutes = st.integers(0, int((ended - START) / MINUTE) + 1)
    asked: dict[str, Any] = {"asked_at": ended + HOUR, "kept": data.draw(st.booleans(), "with metadata")}
    for name in ("start", "end"):
        if data.draw(st.booleans(), name):
            asked[name] = START + data.draw(minutes) * MINUTE
    result, found = site.verify(**asked)
    assert accused(found) <= {FindingCode.NO_DIGESTS}, "a view may be shorter than an hour, or end before it starts"
    if asked["kept"] and result.chains:
        assert FindingCode.EDGE_UNEXAMINED not in codes(found)
        assert result.exit_code == (FindingCode.NO_DIGESTS in codes(found))
