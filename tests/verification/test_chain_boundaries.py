"""Where one chain ends and another goes on: a trail that moved to another prefix, ranges that cut hours, stops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opentrail.core.findings import Concern, FindingCode
from opentrail.core.layout import parse_digest_key
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.stores.memory import MemoryStore
from opentrail.testing.sample_trail import BUCKET, FOLDER, REGION, START, TRAIL, SampleTrail, sample_record, store_of
from opentrail.testing.trail_writer import TrailWriter
from opentrail.testing.verified_bucket import VerifiedBucket, verify_bucket
from opentrail.verification.checkpoint import Checkpoint, FinishedChain, decode_checkpoint, encode_checkpoint
from opentrail.verification.result import reservations, result_document

HOUR = timedelta(hours=1)
BEFORE = replace(TRAIL, folder=replace(FOLDER, prefix="before"))


class MovedTrail:
    """Four hours below one prefix, four below another: ``UpdateTrail`` ends no chain."""

    def __init__(self, keys: RsaKeyFiles) -> None:
        self.keys = keys
        self.store = MemoryStore()
        writer = TrailWriter(
            self.store,
            BEFORE,
            bucket=BUCKET,
            signer=lambda end: keys.signer(REGION, now=START, digest_end_time=end),
            start=START,
        )
        self.digests: list[str] = []
        for hour in range(8):
            writer.trail = BEFORE if hour < 4 else TRAIL
            writer.put_log_file(START + (hour + 0.5) * HOUR, [sample_record(hour)])
            self.digests.append(writer.put_digest(START + (hour + 1) * HOUR))

    def verify(self, **asked: Any) -> VerifiedBucket:
        return verify_bucket(self.store, self.keys.list(REGION), bucket=BUCKET, **asked)

    def remove(self, digests: Sequence[str]) -> None:
        """The digests, and the log files of their hours."""
        for key in digests:
            self.store.delete(key)
            moment = parse_digest_key(key).end_time - HOUR / 2
            for info in list(self.store.list("")):
                if f"_{moment:%Y%m%dT%H%M}Z_" in info.key:
                    self.store.delete(info.key)


@pytest.fixture
def moved(tmp_path_factory: pytest.TempPathFactory) -> MovedTrail:
    return MovedTrail(RsaKeyFiles(tmp_path_factory.mktemp("keys")))


def test_a_trail_that_moved_is_whole(moved: MovedTrail) -> None:
    verified = moved.verify()
    assert (verified.result.exit_code, verified.objections()) == (0, [])
    elsewhere = [each.key for each in verified.findings if each.code is FindingCode.CHAIN_ELSEWHERE]
    assert elsewhere == [moved.digests[4]]


@pytest.mark.parametrize("count", [1, 3])
def test_the_newest_digests_below_the_old_prefix_are_missed(moved: MovedTrail, count: int) -> None:
    moved.remove(moved.digests[4 - count : 4])
    verified = moved.verify()
    assert [(each.code, each.key) for each in verified.objections()] == [(FindingCode.DIGEST_MISSING, moved.digests[3])]
    assert verified.result.exit_code == 1
    old = next(chain for chain in verified.result.chains if chain.trail == BEFORE)
    assert (old.digests.missing, old.digests.total, old.verdict.value) == (1, 5 - count, "incomplete")


def test_an_old_prefix_that_was_removed_as_a_whole_is_missed(moved: MovedTrail) -> None:
    """Its chain is not there to be found; the one that goes on names it."""
    moved.remove(moved.digests[:4])
    verified = moved.verify()
    assert [(each.code, each.key) for each in verified.objections()] == [(FindingCode.DIGEST_MISSING, moved.digests[3])]
    (chain,) = verified.result.chains
    assert (chain.trail, chain.digests.missing, chain.verdict.value) == (TRAIL, 1, "incomplete")
    assert verified.result.exit_code == 1
    excerpt = moved.verify(is_excerpt=True).result
    assert (excerpt.exit_code, len(list(reservations(excerpt)))) == (0, 1), "nobody says that a bundle holds it"


def test_what_was_not_asked_for_is_not_missed(moved: MovedTrail) -> None:
    moved.remove(moved.digests[1:4])
    assert moved.verify(prefix="audit/").result.exit_code == 0
    assert FindingCode.DIGEST_MISSING not in moved.verify(start=START + 4.5 * HOUR).result.findings
    moved.remove(moved.digests[:1])
    assert moved.verify(prefix="audit/").result.exit_code == 0
    assert FindingCode.DIGEST_MISSING not in moved.verify(start=START + 4.5 * HOUR).result.findings


def test_where_a_chain_comes_from_is_told_unless_it_was_verified_or_is_not_of_the_time(moved: MovedTrail) -> None:
    assert list(reservations(moved.verify().result)) == []
    (told,) = reservations(moved.verify(prefix="audit/").result)
    assert told == (
        "not verified: digests of 1 chain, up to 2024-05-06T13:17:05Z, which were delivered to "
        "s3://trail-bucket/before: verify that, too"
    )
    ended = parse_digest_key(moved.digests[3]).end_time
    assert len(list(reservations(moved.verify(prefix="audit/", start=ended).result))) == 1
    assert list(reservations(moved.verify(prefix="audit/", start=ended + timedelta(seconds=1)).result)) == []


def test_a_bucket_that_was_changed_in_mid_trail_leaves_half_of_it_unverified(moved: MovedTrail) -> None:
    """In several regions at once; it is told once, up to the latest, and by a run that was interrupted, too."""
    store = MemoryStore()
    away = replace(TRAIL, folder=replace(FOLDER, region="us-east-1"))
    for trail, hours in ((TRAIL, 3), (away, 2)):
        region = trail.folder.region
        writer = TrailWriter(
            MemoryStore(),
            trail,
            bucket="old-bucket",
            signer=lambda end, region=region: moved.keys.signer(region, now=START, digest_end_time=end),  # type: ignore[misc]  # mypy: lambda's default
            start=START,
        )
        for hour in range(6):
            if hour == hours:
                writer._store, writer.bucket = store, BUCKET
            writer.put_digest(START + (hour + 1) * HOUR)
    keys = [*moved.keys.list(REGION), *moved.keys.list("us-east-1")]
    result = verify_bucket(store, keys, bucket=BUCKET).result
    place = "which were delivered to s3://old-bucket/audit: verify that, too"
    assert result.exit_code == 0
    assert list(reservations(result)) == [f"not verified: digests of 2 chains, up to 2024-05-06T12:17:05Z, {place}"]
    elsewhere = {chain["region"]: chain["elsewhere"] for chain in result_document(result)["chains"]}
    assert [each["until"] for each in elsewhere[REGION]] == ["2024-05-06T12:17:05Z"]
    assert [each["until"] for each in elsewhere["us-east-1"]] == ["2024-05-06T11:17:05Z"]
    finished = {chain.trail: FinishedChain(summary=chain, findings=(), changes=()) for chain in result.chains}
    checkpoint = Checkpoint(run="run", finished=finished)
    assert decode_checkpoint(encode_checkpoint(checkpoint)) == checkpoint


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.integers(-300, 2900), last=st.integers(-300, 2900), is_exact=st.booleans())
def test_no_range_accuses_an_untouched_trail(trail: SampleTrail, first: int, last: int, is_exact: bool) -> None:
    """In the middle of an hour, or to the second at which a digest ends."""
    start, end = START + timedelta(minutes=first, seconds=first % 60), START + timedelta(minutes=last)
    if is_exact:
        start = parse_digest_key(trail.digests[first % len(trail.digests)]).end_time
        end = parse_digest_key(trail.digests[last % len(trail.digests)]).end_time
    mine = frozenset({FOLDER.account_id})
    verified = verify_bucket(
        store_of(trail.objects),
        trail.public_keys(),
        bucket=BUCKET,
        account_ids=mine,
        start=start,
        end=end,
        asked_at=trail.end,
    )
    bad = [each for each in verified.findings if each.concern is not Concern.NOTE]
    stop = parse_digest_key(trail.digests[trail.restart - 1]).end_time
    if not any(start <= parse_digest_key(key).end_time <= end for key in trail.digests):
        return  # nothing is in view, and nothing proven
    is_stop_cut = stop - HOUR < start  # then the record that explains the gap is not in view
    assert [each for each in bad if not (is_stop_cut and each.code is FindingCode.GAP_UNEXPLAINED)] == []
