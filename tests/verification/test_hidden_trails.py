"""Trails that are easily overlooked: behind thousands of folders, deep down, in a folder that alone may be listed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from opentrail.core.errors import StoreError
from opentrail.core.findings import Finding, FindingCode
from opentrail.core.layout import Folder, TrailFolder
from opentrail.core.logfiles import encode_log_file
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.stores.memory import MemoryStore
from opentrail.testing.sample_trail import sample_record
from opentrail.testing.trail_writer import TrailWriter
from opentrail.testing.verified_bucket import VerifiedBucket, verify_bucket
from opentrail.verification.engine import Verification
from opentrail.verification.request import VerifyRequest
from opentrail.verification.result import VerifyResult
from opentrail.verification.source import OnKey, TrailSource, ignore_key
from opentrail.verification.store_source import StoreSource
from opentrail.verification.watched_source import WatchedSource

BUCKET = "trail-bucket"
ACCOUNT, MEMBER = "111122223333", "444455556666"
ORGANIZATION = "o-abcdefghij"
HOME, AWAY = "eu-west-1", "us-east-1"
HOUR = timedelta(hours=1)
START = datetime(2024, 5, 6, 0, 17, 5, tzinfo=UTC)


class Bucket:
    """What lies in it, and the keys that signed it."""

    def __init__(self, keys: RsaKeyFiles) -> None:
        self.keys = keys
        self.store = MemoryStore()

    def write(
        self, prefix: str = "", *, account: str = ACCOUNT, region: str = HOME, organization: str = "", hours: int = 5
    ) -> list[str]:
        """The keys of a trail's digests."""
        folder = Folder(prefix=prefix, organization_id=organization, account_id=account, region=region)
        writer = TrailWriter(
            self.store,
            TrailFolder(folder=folder, trail_name="main", home_region=HOME),
            bucket=BUCKET,
            signer=lambda end: self.keys.signer(region, now=START, digest_end_time=end),
            start=START,
        )
        digests = []
        for number in range(1, hours + 1):
            writer.put_log_file(START + number * HOUR - HOUR / 2, [sample_record(number)])
            digests.append(writer.put_digest(START + number * HOUR))
        return digests

    def verify(self, **asked: Any) -> VerifiedBucket:
        keys = (key for region in (HOME, AWAY) for key in self.keys.list(region))
        return verify_bucket(self.store, keys, bucket=BUCKET, **asked)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> RsaKeyFiles:
    keys = RsaKeyFiles(tmp_path_factory.mktemp("keys"))
    for region in (HOME, AWAY):
        keys.signer(region, now=START, digest_end_time=START)
    return keys


@pytest.fixture
def bucket(keys: RsaKeyFiles) -> Bucket:
    return Bucket(keys)


def _of(code: FindingCode, findings: Iterable[Finding]) -> list[str]:
    return [each.key for each in findings if each.code is code]


def test_two_thousand_folders_before_it_are_told(bucket: Bucket) -> None:
    bucket.write()
    bucket.store.delete(bucket.write("zz")[2])
    assert bucket.verify().result.exit_code == 1, "it is found"
    for number in range(2001):
        bucket.store.put(f"a{number:05}/x", b"", {})
    verified = bucket.verify()
    assert verified.result.exit_code == 2
    assert _of(FindingCode.FOLDERS_NOT_SEARCHED, verified.findings) == ["a01999/"]
    assert bucket.verify(prefix="zz/").result.exit_code == 1


@pytest.mark.parametrize("prefix", ["AWSLogs/", f"AWSLogs/{ACCOUNT}/", "zz/AWSLogs/"])
def test_who_names_the_folder_of_a_trail_is_not_told_of_others(bucket: Bucket, prefix: str) -> None:
    bucket.write()
    bucket.write("zz")
    for number in range(2001):
        bucket.store.put(f"a{number:05}/x", b"", {})
    verified = bucket.verify(prefix=prefix)
    assert (verified.result.exit_code, len(verified.result.chains)) == (0, 1)
    (chain,) = verified.result.chains
    assert prefix.startswith(chain.trail.folder.prefix)


def test_a_trail_lies_as_deep_as_it_likes(bucket: Bucket) -> None:
    bucket.write()
    bucket.store.delete(bucket.write("/".join("abcdefghijklmnopqrstuvwxyz"))[2])
    verified = bucket.verify()
    assert (verified.result.exit_code, len(verified.result.chains)) == (1, 2)


def test_a_folder_without_a_name_is_no_prefix(bucket: Bucket) -> None:
    """What lies in ``/AWSLogs/`` is not what lies in ``AWSLogs/``, and is not passed over, either."""
    bucket.write()
    planted = f"/AWSLogs/{ACCOUNT}/CloudTrail/{HOME}/2024/05/06/x.json.gz"
    bucket.store.put(planted, encode_log_file([sample_record(666)]).data, {})
    verified = bucket.verify()
    assert (verified.result.exit_code, len(verified.result.chains)) == (2, 1)
    assert _of(FindingCode.FOLDERS_NOT_SEARCHED, verified.findings) == ["/AWSLogs/"]
    assert bucket.verify(prefix="AWSLogs/").result.exit_code == 0
    alone = bucket.verify(prefix=f"/AWSLogs/{ACCOUNT}/")
    assert (alone.result.exit_code, alone.result.chains) == (2, ())


def _folder_of(digest: str) -> str:
    return "/".join(digest.split("/")[:-4]) + "/"


def test_a_home_region_that_nobody_finds_is_told(bucket: Bucket) -> None:
    home = bucket.write()
    bucket.write(region=AWAY)
    assert bucket.verify().result.exit_code == 0
    for info in list(bucket.store.list("")):
        if f"/{HOME}/" in info.key:
            bucket.store.delete(info.key)
    verified = bucket.verify()
    assert verified.result.exit_code == 2
    assert _of(FindingCode.HOME_REGION_ABSENT, verified.findings) == [_folder_of(home[0])]


@pytest.mark.parametrize(
    "asked",
    [
        {"regions": frozenset({AWAY})},
        {"prefix": f"AWSLogs/{ACCOUNT}/CloudTrail/{AWAY}/"},
        {"is_excerpt": True, "packed_regions": frozenset({AWAY})},
    ],
    ids=["by an option", "by SOURCE", "from a bundle"],
)
def test_nobody_misses_a_home_region_that_was_left_out(bucket: Bucket, asked: dict[str, Any]) -> None:
    bucket.write(region=AWAY)
    assert bucket.verify().result.exit_code == 2
    assert bucket.verify(**asked).result.exit_code == 0


class _OwnFolder(WatchedSource):
    """A bucket of which only what lies below ``own`` may be listed, as a policy's condition on ``s3:prefix`` says."""

    def __init__(self, source: TrailSource, own: str) -> None:
        super().__init__(source)
        self._own = own

    def list_folders(self, prefix: str, *, beside: OnKey = ignore_key) -> list[str]:
        if not prefix.startswith(self._own):
            raise StoreError(f"{prefix}: AccessDenied", retryable=False)
        return super().list_folders(prefix, beside=beside)


def _verify_own(bucket: Bucket, own: str, prefix: str) -> tuple[VerifyResult, list[Finding]]:
    found: list[Finding] = []
    source = StoreSource(lambda: bucket.store, name=BUCKET, bucket=BUCKET)
    verification = Verification(
        _OwnFolder(source, own),
        VerifyRequest(prefix=prefix),
        bucket.keys.list(HOME),
        on_finding=lambda _, finding: found.append(finding),
        checked_at=START,
        clock=time.monotonic,
    )
    return verification.run(), found


@pytest.mark.parametrize("below", ["", "CloudTrail/", f"CloudTrail-Digest/{HOME}/", f"CloudTrail/{HOME}/2024/"])
@pytest.mark.parametrize("organization", ["", ORGANIZATION])
def test_an_account_verifies_the_one_folder_that_it_may_list(bucket: Bucket, organization: str, below: str) -> None:
    for account in (ACCOUNT, MEMBER):
        digests = bucket.write("audit", account=account, organization=organization)
    own = digests[0].partition("CloudTrail-Digest/")[0]
    result, _ = _verify_own(bucket, own, f"{own}{below}")
    assert (result.exit_code, [chain.trail.folder.account_id for chain in result.chains]) == (0, [MEMBER])
    bucket.store.delete(digests[2])
    result, found = _verify_own(bucket, own, f"{own}{below}")
    assert (result.exit_code, _of(FindingCode.DIGEST_MISSING, found)) == (1, [digests[2]])


def test_an_organization_its_own(bucket: Bucket) -> None:
    bucket.write("audit")
    for account in (ACCOUNT, MEMBER):
        bucket.write("audit", account=account, organization=ORGANIZATION)
    own = f"audit/AWSLogs/{ORGANIZATION}/"
    result, _ = _verify_own(bucket, own, own)
    assert (result.exit_code, {chain.trail.folder.organization_id for chain in result.chains}) == (0, {ORGANIZATION})
    assert len(result.chains) == 2


@pytest.mark.parametrize("prefix", ["", "audit/", "audit/AWSLogs/", f"audit/AWSLogs/{ACCOUNT}/"])
def test_a_first_listing_that_is_refused_ends_the_run(bucket: Bucket, prefix: str) -> None:
    bucket.write("audit")
    with pytest.raises(StoreError, match="AccessDenied"):
        _verify_own(bucket, f"audit/AWSLogs/{MEMBER}/", prefix)
