"""What was removed at the edges of the time that is asked for, or in the whole of it."""

from __future__ import annotations

import time
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from opentrail.core.findings import Finding, FindingCode
from opentrail.core.layout import Folder, TrailFolder, digest_prefix, parse_digest_key
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.stores.memory import MemoryStore
from opentrail.testing.sample_trail import stop_record
from opentrail.testing.trail_writer import TrailWriter
from opentrail.verification.engine import Verification
from opentrail.verification.request import VerifyRequest
from opentrail.verification.result import VerifyResult
from opentrail.verification.store_source import StoreSource

BUCKET = "trail-bucket"
HOME = "eu-west-1"
ACCOUNT = "111122223333"
HOUR = timedelta(hours=1)
START = datetime(2024, 5, 6, tzinfo=UTC)
ASKED = (START + timedelta(days=1), START + timedelta(days=2, seconds=-1))  # the second of three days
LATER = START + timedelta(days=30)


class Company:
    """Two regions of a trail, three days of it."""

    def __init__(self, keys: RsaKeyFiles) -> None:
        self.keys = keys
        self.store = MemoryStore()
        self.digests = {region: self._write(region) for region in (HOME, "us-east-1")}

    def _write(self, region: str) -> list[str]:
        trail = TrailFolder(folder=Folder(account_id=ACCOUNT, region=region), trail_name="main", home_region=HOME)
        writer = TrailWriter(
            self.store,
            trail,
            bucket=BUCKET,
            signer=lambda end: self.keys.signer(region, now=START, digest_end_time=end),
            start=START,
        )
        return [self._hour(writer, START + number * HOUR) for number in range(72)]

    def _hour(self, writer: TrailWriter, start: datetime) -> str:
        writer.put_log_file(start + HOUR / 2, [b'{"eventID":"%d"}' % start.timestamp()])
        return writer.put_digest(start + HOUR)

    def remove(self, keys: Collection[str]) -> None:
        """The digests, and the log files of their time."""
        for key in keys:
            self.store.delete(key)
            hour = parse_digest_key(key).end_time - HOUR / 2
            prefix = f"{key.partition('CloudTrail-Digest')[0]}CloudTrail/{key.split('/')[3]}/"
            for info in list(self.store.list(f"{prefix}{hour:%Y/%m/%d}/")):
                if f"{hour:%Y%m%dT%H%M}" in info.key:
                    self.store.delete(info.key)

    def verify(self, *, kept: bool = True, **asked: Any) -> tuple[VerifyResult, list[Finding]]:
        found: list[Finding] = []
        source = StoreSource(lambda: self.store, name="memory", bucket=BUCKET, keeps_metadata=kept)
        verification = Verification(
            source,
            VerifyRequest(**({"start": ASKED[0], "end": ASKED[1], "asked_at": LATER} | asked)),
            [key for region in self.digests for key in self.keys.list(region)],
            on_finding=lambda _, finding: found.append(finding),
            checked_at=LATER,
            clock=time.monotonic,
        )
        return verification.run(), found


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> RsaKeyFiles:
    return RsaKeyFiles(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def company(keys: RsaKeyFiles) -> Company:
    return Company(keys)


def _accused(findings: list[Finding]) -> set[tuple[FindingCode, str]]:
    return {(each.code, each.key) for each in findings if each.concern.value in {"integrity", "completeness"}}


def test_a_day_that_nobody_touched_is_valid(company: Company) -> None:
    result, found = company.verify()
    assert (result.exit_code, _accused(found)) == (0, set())
    assert [chain.digests.total for chain in result.chains] == [24, 24], "those behind it are witnesses, not counted"


@pytest.mark.parametrize(
    ("first", "last"),
    [(24, 48), (24, 30), (40, 47), (47, 48), (30, 40), (20, 60)],
    ids=["all", "start", "end", "newest", "middle", "more than the day"],
)
def test_what_was_removed_of_the_day_is_missing(company: Company, first: int, last: int) -> None:
    """With its log files, so that only the digests outside can tell."""
    gone = company.digests["us-east-1"][first:last]
    company.remove(gone)
    result, found = company.verify()
    assert result.exit_code == 1, found
    codes = {code for code, _ in _accused(found)}
    assert codes & {FindingCode.DIGEST_MISSING, FindingCode.NO_DIGESTS, FindingCode.GAP_UNEXPLAINED}, found
    assert all("us-east-1" in key for _, key in _accused(found))
    if last <= 48:
        assert (FindingCode.DIGEST_MISSING, gone[-1]) in _accused(found)


def test_all_that_follows_was_removed(company: Company) -> None:
    company.remove(company.digests["us-east-1"][36:])
    result, found = company.verify()
    assert _accused(found) == {(FindingCode.GAP_UNEXPLAINED, digest_prefix(result.chains[1].trail.folder))}
    assert result.chains[1].verdict.value == "incomplete", "it counts for the chain that it concerns"
    assert result.chains[0].verdict.value == "valid"
    assert company.verify(asked_at=START + 37 * HOUR)[0].exit_code == 0, "then none was due yet"


def test_a_trail_that_was_stopped_is_explained(keys: RsaKeyFiles) -> None:
    company = Company(keys)
    for region in company.digests:
        company.remove(company.digests[region][35:])
        trail = parse_digest_key(company.digests[region][0]).trail
        writer = TrailWriter(
            company.store,
            trail,
            bucket=BUCKET,
            signer=lambda end, region=region: keys.signer(region, now=START, digest_end_time=end),  # type: ignore[misc]  # mypy: lambda's default
            start=START + 35 * HOUR,  # it starts a chain within the day
            seed=1,
        )
        stop = START + 36 * HOUR
        if region == HOME:
            arn = f"arn:aws:cloudtrail:{HOME}:{ACCOUNT}:trail/main"
            writer.put_log_file(stop, [stop_record(stop, requestParameters={"name": arn})])
        writer.put_digest(stop + timedelta(minutes=1))
    result, found = company.verify(start=START + 35 * HOUR + timedelta(minutes=30))
    assert _accused(found) == set(), found
    stops = [each for each in found if each.code is FindingCode.LOGGING_STOPPED]
    assert len(stops) == 2, "the chain of each region ended by it"
    assert result.exit_code == 0


def test_a_trail_that_began_later_has_lost_nothing(keys: RsaKeyFiles) -> None:
    company = Company(keys)
    result, found = company.verify(start=START - 5 * HOUR, end=START - HOUR)
    assert _accused(found) == set()
    assert FindingCode.CHAIN_STARTED in {each.code for each in found}
    assert [chain.digests.total for chain in result.chains] == [0, 0]


def test_the_digest_behind_the_day_proves_the_last_one_of_a_plain_copy(company: Company) -> None:
    result, found = company.verify(kept=False)
    codes = [each.code for each in found]
    assert FindingCode.METADATA_LOST in codes
    assert result.exit_code == 0
    for key in list(company.digests["us-east-1"]):
        info = company.store.head(key)
        company.store.put(key, b"".join(company.store.get(key).chunks), {"content-type": info.metadata["content-type"]})
    result, found = company.verify(kept=False)
    assert FindingCode.DIGEST_SIGNATURE_LOST not in {each.code for each in found}
    assert result.exit_code == 0


def test_a_witness_that_cannot_be_trusted_accuses_nobody(company: Company) -> None:
    witness = company.digests["us-east-1"][48]
    company.store.put(witness, b"junk", {})
    result, found = company.verify()
    assert (result.exit_code, _accused(found)) == (0, set())
