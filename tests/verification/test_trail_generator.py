"""The generated trail is one that nobody can find fault with: neither our rules nor unmodified ``validate-logs``."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from opentrail.core.findings import FindingCode
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.stores.local import LocalStore
from opentrail.stores.memory import MemoryStore
from opentrail.testing.aws_cli import require_aws
from opentrail.testing.static_bucket import bucket_of_folder, serving
from opentrail.testing.trail_generator import (
    GeneratedTrail,
    LocalFolder,
    PlainFolder,
    TrailPlan,
    account_numbers,
    generate_trail,
)
from opentrail.testing.trail_writer import Target
from opentrail.verification.folder_source import FolderSource
from opentrail.verification.one_chain import validate_chain

PLAN = TrailPlan(
    accounts=account_numbers(2),
    regions=("eu-west-1", "us-east-1"),
    hours=8,
    files_per_hour=2,
    records_per_file=4,
    empty_share=0.2,
    rotate_hours=3,
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> RsaKeyFiles:
    return RsaKeyFiles(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture(scope="module")
def trail(store: MemoryStore, keys: RsaKeyFiles) -> GeneratedTrail:
    return generate_trail(PLAN, store, keys)


def test_every_chain_validates(trail: GeneratedTrail, store: MemoryStore) -> None:
    assert len(trail.chains) == 4
    facts = {FindingCode.CHAIN_STARTED, FindingCode.KEY_ROTATED, FindingCode.DIGESTS_EMPTY}
    for chain in trail.chains:
        keys = trail.public_keys[chain.trail.folder.region]
        assert len(keys) == 3, "it was rotated twice"
        found = validate_chain(store, chain.trail, bucket=PLAN.bucket, public_keys=keys, expected_until=chain.end)
        assert {finding.code for finding in found} <= facts


def test_what_it_says_of_itself_is_what_lies_there(trail: GeneratedTrail, store: MemoryStore) -> None:
    named = {key for chain in trail.chains for files in chain.log_files.values() for key in files}
    digests = {key for chain in trail.chains for key in chain.digests}
    assert named | digests == {info.key for info in store.list("")}
    assert any(not files for chain in trail.chains for files in chain.log_files.values()), "an empty hour"


def test_the_same_plan_and_keys_make_the_same_bytes(tmp_path: Path) -> None:
    keys = RsaKeyFiles(tmp_path / "keys")
    stores = MemoryStore(), MemoryStore()
    plan = TrailPlan(hours=2, files_per_hour=1, records_per_file=3)
    for store in stores:
        generate_trail(plan, store, keys)
    first, second = ({info.key: b"".join(store.get(info.key).chunks) for info in store.list("")} for store in stores)
    assert first == second


def test_its_log_files_are_of_the_size_of_real_ones(tmp_path: Path) -> None:
    generate_trail(TrailPlan(hours=1), PlainFolder(tmp_path / "copy"), RsaKeyFiles(tmp_path / "keys"))
    contents = [gzip.decompress(path.read_bytes()) for path in tmp_path.glob("copy/**/CloudTrail/**/*.json.gz")]
    assert len(contents) == 12
    assert all(60_000 < len(content) < 95_000 for content in contents)
    records = [record for content in contents for record in json.loads(content)["Records"]]
    assert 1200 < sum(map(len, contents)) / len(records) < 1600
    assert len({record["eventID"] for record in records}) == len(records)
    assert len({record["eventName"] for record in records}) > 4


@pytest.mark.parametrize("folder", [LocalFolder, PlainFolder])
def test_a_folder_holds_it_with_or_without_metadata(tmp_path: Path, folder: type[LocalFolder | PlainFolder]) -> None:
    target: Target = folder(tmp_path / "bucket")
    trail = generate_trail(
        TrailPlan(hours=2, files_per_hour=1, records_per_file=2), target, RsaKeyFiles(tmp_path / "k")
    )
    source = FolderSource(str(tmp_path / "bucket"))
    for key in trail.chains[0].digests:
        assert ("signature" in source.read(key, limit=1 << 20).metadata) == (folder is LocalFolder)


def test_the_local_store_takes_its_folder_for_its_own(tmp_path: Path) -> None:
    keys = RsaKeyFiles(tmp_path / "keys")
    plan = TrailPlan(hours=2, files_per_hour=1, records_per_file=2)
    trail = generate_trail(plan, LocalFolder(tmp_path / "root" / plan.bucket), keys)
    with closing(LocalStore(tmp_path / "root")) as store:
        for key in trail.chains[0].digests:
            info = store.head(f"{plan.bucket}/{key}")
            assert info.etag == hashlib.md5(b"".join(store.get(info.key).chunks), usedforsecurity=False).hexdigest()


def test_the_judge_finds_every_file_valid(tmp_path: Path) -> None:
    plan = TrailPlan(hours=4, files_per_hour=2, records_per_file=3)
    trail = generate_trail(plan, LocalFolder(tmp_path / "bucket"), RsaKeyFiles(tmp_path / "keys"))
    bucket = bucket_of_folder(tmp_path / "bucket", plan.bucket, trail.all_public_keys())
    arn = f"arn:aws:cloudtrail:{plan.home_region}:{plan.accounts[0]}:trail/{plan.trail_name}"
    start, end = (f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in (trail.start, trail.end + timedelta(minutes=1)))
    words = ["--trail-arn", arn, "--start-time", start, "--end-time", end, "--s3-bucket", plan.bucket]
    with serving(bucket) as url:
        done = subprocess.run(
            [require_aws("newest"), "cloudtrail", "validate-logs", *words],
            capture_output=True,
            text=True,
            env={
                "PATH": os.environ["PATH"],
                "AWS_ENDPOINT_URL": url,
                "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
                "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                "AWS_DEFAULT_REGION": plan.home_region,
                "AWS_CONFIG_FILE": os.devnull,
                "AWS_EC2_METADATA_DISABLED": "true",
            },
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4/4 digest files valid" in done.stdout
    assert "8/8 log files valid" in done.stdout
