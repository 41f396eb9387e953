"""Which hours a signing key can speak for: those in which it was valid, also through a backfill digest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from opentrail.cli.main import main
from opentrail.core.digests import Digest, DigestedLogFile, next_digest, sign_digest
from opentrail.core.findings import FindingCode
from opentrail.core.layout import DigestKey, format_digest_key
from opentrail.keys.base import Signer
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.stores.memory import MemoryStore
from opentrail.testing.sample_trail import BUCKET, REGION, START, TRAIL, sample_record, store_bytes
from opentrail.testing.static_bucket import bucket_of_objects, serving
from opentrail.testing.trail_writer import TrailWriter
from opentrail.testing.verified_bucket import VerifiedBucket, verify_bucket

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
HOURS: Final = 10  # of the trail
ENDED: Final = START - 100 * DAY  # when the key of somebody who left was replaced


@dataclass(kw_only=True)
class Rotated:
    """A trail of ``HOURS``, all signed by a region's second key; the first one has expired, and was kept."""

    keys: RsaKeyFiles
    first: Signer
    store: MemoryStore = field(default_factory=MemoryStore)
    digests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.writer = TrailWriter(self.store, TRAIL, bucket=BUCKET, signer=self.signer, start=START)
        for hour in range(HOURS):
            self.writer.put_log_file(START + (hour + 0.5) * HOUR, [sample_record(hour)])
            self.digests.append(self.writer.put_digest(START + (hour + 1) * HOUR))

    def signer(self, end_time: datetime) -> Signer:
        return self.keys.signer(REGION, now=START, digest_end_time=end_time)

    def plant(self, at: datetime) -> DigestedLogFile:
        """A log file that no digest names."""
        return self.writer.put_log_file(at, [sample_record(666)], name=False)

    def put(self, key: DigestKey, signer: Signer, files: Sequence[DigestedLogFile], **changes: Any) -> str:
        """A digest that follows none, made ten hours after it ends, changed before it is signed; its key."""
        digest: Digest = next_digest(
            None,
            bucket=BUCKET,
            key=key,
            start_time=key.end_time - HOUR,
            public_key_fingerprint=signer.fingerprint,
            log_files=files,
        )
        signed = sign_digest(replace(digest, **changes), signer.sign)
        metadata = signed.metadata(key.end_time + 10 * HOUR if key.backfill else None)
        text = format_digest_key(key)
        self.store.put(text, signed.data(), {f"x-amz-meta-{name}": value for name, value in metadata.items()})
        return text

    def verify(self, **asked: Any) -> VerifiedBucket:
        return verify_bucket(self.store, self.keys.list(REGION), bucket=BUCKET, **asked)


@pytest.fixture
def rotated(tmp_path_factory: pytest.TempPathFactory) -> Rotated:
    keys = RsaKeyFiles(tmp_path_factory.mktemp("keys"))
    first = keys.signer(REGION, now=ENDED - 100 * DAY)
    keys.rotate(REGION, now=ENDED, overlap=HOUR)
    return Rotated(keys=keys, first=first)


def _backfill(end_time: datetime) -> DigestKey:
    return DigestKey(trail=TRAIL, end_time=end_time, backfill=True)


def _said(verified: VerifiedBucket) -> list[tuple[FindingCode, str]]:
    return [(each.code, each.key) for each in verified.objections()]


def test_a_backfill_digest_is_of_the_hour_that_it_is_named_after(rotated: Rotated) -> None:
    """An expired key must not vouch for today through a digest that says it is of yesterday."""
    planted = rotated.plant(START + 3.5 * HOUR)
    then = ENDED - 10 * DAY
    forged = rotated.put(_backfill(START + 4 * HOUR), rotated.first, [planted], start_time=then - HOUR, end_time=then)
    verified = rotated.verify()
    assert (FindingCode.DIGEST_TIMES_CONTRADICT, forged) in _said(verified)
    assert (FindingCode.LOG_FILE_NOT_NAMED, planted.key) in _said(verified)
    assert verified.result.exit_code == 1


@pytest.mark.parametrize("is_backfill", [True, False])
@pytest.mark.parametrize("name", ["", "payroll.json.gz"], ids=["named as they are", "named as nobody expects"])
def test_an_expired_key_speaks_for_no_log_file_that_was_delivered_later(
    rotated: Rotated, is_backfill: bool, name: str
) -> None:
    """Neither in a digest of its own time; one that ends as the trail's first begins leaves no gap."""
    planted = rotated.plant(START + 3.5 * HOUR)
    if name:
        renamed = planted.key.rpartition("/")[0] + "/" + name
        rotated.store.put(renamed, b"".join(rotated.store.get(planted.key).chunks), {})
        rotated.store.delete(planted.key)
        planted = replace(planted, key=renamed)
    forged = rotated.put(DigestKey(trail=TRAIL, end_time=ENDED, backfill=is_backfill), rotated.first, [planted])
    verified = rotated.verify(asked_at=START + DAY)
    assert (FindingCode.DIGEST_KEY_NOT_VALID, forged) in _said(verified)
    assert verified.result.exit_code == 1


def test_an_expired_key_still_speaks_for_its_own_time(rotated: Rotated) -> None:
    late = rotated.plant(ENDED - 2.5 * HOUR)
    rotated.put(_backfill(ENDED - 2 * HOUR), rotated.first, [late])
    assert _said(rotated.verify()) == []


@pytest.mark.parametrize(
    ("days", "is_good"), [(1, True), (30, True), (40, False)], ids=["a day", "as long as delivery tries", "longer"]
)
def test_a_backfill_digest_may_be_signed_by_a_key_that_came_later(rotated: Rotated, days: int, is_good: bool) -> None:
    """It is made when the late log files are there, up to 30 days after their hour."""
    late = rotated.plant(START + 2.5 * HOUR)
    moment = START + days * DAY
    rotated.keys.rotate(REGION, now=moment + DAY, overlap=HOUR)  # a key is valid from a day before
    newest = rotated.signer(moment + DAY)
    backfill = rotated.put(_backfill(START + 3 * HOUR), newest, [late])
    assert _said(rotated.verify()) == ([] if is_good else [(FindingCode.DIGEST_KEY_NOT_VALID, backfill)])


def test_an_ordinary_digest_may_not(rotated: Rotated) -> None:
    moment = START + HOURS * HOUR + 2 * DAY
    rotated.keys.rotate(REGION, now=moment, overlap=HOUR)
    newest = rotated.signer(moment)
    forged = rotated.put(DigestKey(trail=TRAIL, end_time=START), newest, [])
    assert _said(rotated.verify()) == [(FindingCode.DIGEST_KEY_NOT_VALID, forged)]


@pytest.mark.parametrize("is_backfill", [True, False])
def test_the_last_hour_of_the_calendar_is_one_too(rotated: Rotated, is_backfill: bool) -> None:
    """Keys that are valid for ever, and digests from the year 9999, which no name can have."""
    ever = [replace(key, validity_end=datetime.max.replace(tzinfo=UTC)) for key in rotated.keys.list(REGION)]
    key = DigestKey(trail=TRAIL, end_time=START, backfill=is_backfill)
    last = datetime(9999, 12, 31, 23, tzinfo=UTC)
    forged = rotated.put(key, rotated.first, [rotated.plant(START)], end_time=last)
    said = _said(verify_bucket(rotated.store, ever, bucket=""))
    assert (FindingCode.DIGEST_TIMES_CONTRADICT, forged) in said


def test_an_endpoint_is_asked_for_keys_that_came_later_too(
    rotated: Rotated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "x",
        "HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    late = rotated.plant(START + 2.5 * HOUR)
    rotated.keys.rotate(REGION, now=START + 20 * DAY, overlap=HOUR)
    rotated.put(_backfill(START + 3 * HOUR), rotated.signer(START + 20 * DAY), [late])
    store = rotated.store
    objects = {info.key: (store_bytes(store, info.key), store.head(info.key).metadata) for info in store.list("")}
    end = f"{START + HOURS * HOUR:%Y-%m-%dT%H:%M:%SZ}"
    with serving(bucket_of_objects(objects, BUCKET, rotated.keys.list(REGION))) as url:
        assert main(["verify", f"s3://{BUCKET}", "--endpoint-url", url, "--end", end]) == 0
