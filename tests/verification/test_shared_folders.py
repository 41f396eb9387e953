"""Two trails deliver into one folder: a log file that a forger puts there is neither's."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from opentrail.core.digests import DigestedLogFile
from opentrail.core.findings import Finding, FindingCode
from opentrail.core.layout import Folder, TrailFolder, format_digest_key, parse_digest_key
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.stores.memory import MemoryStore
from opentrail.testing.trail_writer import TrailWriter
from opentrail.verification.checkpoint import decode_checkpoint, encode_checkpoint
from opentrail.verification.engine import Verification
from opentrail.verification.request import VerifyRequest
from opentrail.verification.result import VerifyResult
from opentrail.verification.store_source import StoreSource

HOUR = timedelta(hours=1)
START = datetime(2024, 5, 6, tzinfo=UTC)
FOLDER = Folder(account_id="111122223333", region="eu-west-1")
NAMES = ("main", "main_eu-west-1", "mai")  # each begins as another does


class Bucket:
    """Three trails in one folder, a day of each."""

    def __init__(self, keys: RsaKeyFiles) -> None:
        self.store = MemoryStore()
        self.keys = keys
        for seed, name in enumerate(NAMES):
            trail = TrailFolder(folder=FOLDER, trail_name=name, home_region=FOLDER.region)
            writer = TrailWriter(
                self.store,
                trail,
                bucket="b",
                signer=lambda end: keys.signer(FOLDER.region, now=START, digest_end_time=end),
                start=START,
                seed=seed,
            )
            for hour in range(24):
                self.last: DigestedLogFile = writer.put_log_file(START + (hour + 0.5) * HOUR, [b'{"eventID":"1"}'])
                self.digest = writer.put_digest(START + (hour + 1) * HOUR)

    def plant(self) -> str:
        key = self.last.key.replace(".json.gz", "")[:-16] + "P" * 16 + ".json.gz"
        self.store.put(key, b"".join(self.store.get(self.last.key).chunks), {})
        return key

    def verification(self, found: list[Finding], **asked: Any) -> Verification:
        resumed = asked.pop("resumed", None)
        return Verification(
            StoreSource(lambda: self.store, name="memory", bucket="b"),
            VerifyRequest(**asked),
            self.keys.list(FOLDER.region),
            on_finding=lambda _, finding: found.append(finding),
            checked_at=START,
            clock=time.monotonic,
            resumed=resumed,
        )

    def verify(self, **asked: Any) -> tuple[VerifyResult, set[tuple[FindingCode, str]]]:
        found: list[Finding] = []
        result = self.verification(found, **asked).run()
        return result, {(each.code, each.key) for each in found if each.concern.value != "note"}


@pytest.fixture
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Bucket:
    return Bucket(RsaKeyFiles(tmp_path_factory.mktemp("keys")))


def test_trails_that_share_a_folder_leave_each_other_alone(bucket: Bucket) -> None:
    result, accused = bucket.verify()
    assert (result.exit_code, accused) == (0, set())
    assert sorted(chain.trail.trail_name for chain in result.chains) == sorted(NAMES)
    assert {chain.log_files.valid for chain in result.chains} == {24}


def test_a_planted_log_file_is_neithers(bucket: Bucket) -> None:
    planted = bucket.plant()
    result, accused = bucket.verify()
    assert accused == {(FindingCode.LOG_FILE_NOT_NAMED, planted)}
    assert result.exit_code == 1
    assert [chain.verdict.value for chain in result.chains].count("incomplete") == 1


def test_a_digest_put_there_for_a_trail_that_is_none_hides_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    bucket = Bucket(RsaKeyFiles(tmp_path_factory.mktemp("keys")))
    planted = bucket.plant()
    key = parse_digest_key(bucket.digest)
    decoy = format_digest_key(replace(key, trail=replace(key.trail, trail_name="decoy")))
    bucket.store.put(decoy, b"junk", {})
    result, accused = bucket.verify()
    assert accused == {(FindingCode.LOG_FILE_NOT_NAMED, planted), (FindingCode.DIGEST_MALFORMED, decoy)}
    assert result.verdict.value == "tampered"


def test_a_run_that_goes_on_finds_it_too(bucket: Bucket) -> None:
    planted = bucket.plant()
    found: list[Finding] = []
    first = bucket.verification(found)
    whole = first.run()
    checkpoint = decode_checkpoint(encode_checkpoint(first.checkpoint()))
    assert len(checkpoint.finished) == len(NAMES)
    again, accused = bucket.verify(resumed=checkpoint)
    assert accused == {(FindingCode.LOG_FILE_NOT_NAMED, planted)}
    assert again.chains == whole.chains
