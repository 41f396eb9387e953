"""The tamper matrix on a trail that a server delivered: through the endpoint, judged by it and by ``validate-logs``.

``test_tamper_matrix.py`` does the same to a trail that a test wrote.  Here the server wrote it, hour by hour, with
empty hours, a stop and a start, a rotation of the key and a restart; the forger uses S3; both judges read what S3
answers.  The names of the sample trail are used, so that the matrix fits.  A server writes no backfill digests: those
cases are not here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from opentrail.core.digests import decode_digest
from opentrail.core.findings import Concern, Finding, FindingCode, Severity
from opentrail.core.gzip_member import decode_member
from opentrail.core.layout import Folder, TrailFolder, digest_prefix, log_prefix, parse_digest_key
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.stores.memory import MemoryStore
from opentrail.testing.clock import FakeClock
from opentrail.testing.clock_server import ClockServer, signing_by
from opentrail.testing.delivered_trail import log_bucket_policy
from opentrail.testing.sample_trail import (
    BUCKET,
    FOLDER,
    REGION,
    TRAIL,
    TRAIL_ARN,
    Objects,
    SampleTrail,
    store_bytes,
    store_of,
)
from opentrail.testing.tamper_matrix import MATRIX, touch
from opentrail.testing.tampering import Touched
from opentrail.testing.trail_writer import TrailWriter
from opentrail.testing.verified_bucket import verify_bucket

HOURS = 30
STOPPED, ROTATED = 14, 20  # in which hour
BACKFILLS = {"backfilled_log_flipped", "backfill_digest_edited", "backfill_digest_deleted"}
CASES = [name for name in MATRIX if name not in BACKFILLS]
SAMPLE = CASES if os.environ.get("OPENTRAIL_LONG") else CASES[::3]  # the rest is make test-long's


@pytest.fixture(scope="module")
def clock() -> Iterator[FakeClock]:
    """A clock that will have come to the present when all hours are written."""
    made = FakeClock(datetime.now(UTC).replace(microsecond=0) - timedelta(hours=HOURS + 2, minutes=11))
    with signing_by(made):
        yield made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, clock: FakeClock) -> Iterator[ClockServer]:
    data = tmp_path_factory.mktemp("delivered") / "data"
    made = ClockServer(data, clock, account_id=FOLDER.account_id)
    made.start()
    try:
        yield made
    finally:
        made.end()


@pytest.fixture(scope="module")
def trail(server: ClockServer, clock: FakeClock) -> SampleTrail:
    """A trail of thirty hours."""
    s3, cloudtrail = server.client("s3", REGION), server.client("cloudtrail", REGION)
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    policy = log_bucket_policy(FOLDER.account_id, BUCKET).replace("/AWSLogs/", f"/{FOLDER.prefix}/AWSLogs/")
    s3.put_bucket_policy(Bucket=BUCKET, Policy=policy)
    name = TRAIL.trail_name
    made = cloudtrail.create_trail(
        Name=name, S3BucketName=BUCKET, S3KeyPrefix=FOLDER.prefix, EnableLogFileValidation=True
    )
    assert made["TrailARN"] == TRAIL_ARN
    cloudtrail.start_logging(Name=name)
    random = Random(5)
    for hour in range(HOURS):
        if hour == STOPPED:
            cloudtrail.stop_logging(Name=name)
            server.flush()
            clock.advance(2 * 3600 + 11 * 60)
            cloudtrail.start_logging(Name=name)
        if hour == ROTATED:
            assert server.run("keys", "rotate", "--region", REGION).returncode == 0
            server.end()
            server.start()
        left = 3600.0
        for minutes in random.choice([(), (5,), (10, 50), (5, 15, 30)]):
            for _ in range(4):
                server.client("sts", REGION).get_caller_identity()
            clock.advance(minutes * 60 / 2)
            left -= minutes * 60 / 2
            server.flush()
        clock.advance(left)
        server.flush()
    return read_trail(server, clock)


def read_trail(server: ClockServer, clock: FakeClock) -> SampleTrail:
    """What was delivered, with what the matrix needs besides."""
    objects = fetch(server)
    digests = sorted((key for key in objects if "/CloudTrail-Digest/" in key), key=lambda key: key.rsplit("_", 1)[1])
    keys = RsaKeyFiles(server.data / "keys")
    elsewhere = RsaKeyFiles(server.data.parent / "other-keys")
    links = {key: decode_digest(decode_member(objects[key][0], max_size=1 << 20)) for key in digests}
    starts = [index for index, key in enumerate(digests) if links[key].previous is None]
    assert starts[0] == 0
    (restart,) = starts[1:]
    store = MemoryStore()
    folder = Folder(prefix=FOLDER.prefix, account_id="444455556666", region=REGION)
    other = TrailFolder(folder=folder, trail_name=TRAIL.trail_name, home_region=REGION)
    writer = TrailWriter(
        store, other, bucket=BUCKET, signer=lambda end: keys.signer(REGION, now=end), start=clock.now()
    )
    foreign = writer.put_digest(clock.now())
    objects[foreign] = (store_bytes(store, foreign), dict(store.head(foreign).metadata))
    return SampleTrail(
        objects=objects,
        keys=keys,
        signer=keys.signer(REGION, now=clock.now()),
        stranger=elsewhere.signer("us-east-1", now=clock.now()),
        digests=tuple(digests),
        restart=restart,
        backfills=(),
        files={key: tuple(file.key for file in links[key].log_files) for key in digests},
        stop=_stop_of(objects, [file.key for file in links[digests[restart - 1]].log_files]),
        foreign=foreign,
        end=parse_digest_key(digests[-1]).end_time,
    )


def _stop_of(objects: Objects, logs: list[str]) -> str:
    """The log file, of ``logs``, that says who stopped logging."""
    (stop,) = [key for key in logs if b'"StopLogging"' in decode_member(objects[key][0], max_size=1 << 20)]
    return stop


def fetch(server: ClockServer) -> Objects:
    """The trail's bucket, as S3 answers it."""
    s3 = server.client("s3", REGION)
    objects: Objects = {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for item in page.get("Contents", []):
            found = s3.get_object(Bucket=BUCKET, Key=item["Key"])
            metadata = {f"x-amz-meta-{name}": value for name, value in found["Metadata"].items()}
            objects[item["Key"]] = (found["Body"].read(), metadata)
    return objects


def write(server: ClockServer, now: Objects, wanted: Objects) -> None:
    """Make the bucket hold ``wanted``; ``now`` is what it holds."""
    s3 = server.client("s3", REGION)
    for key in now.keys() - wanted.keys():
        s3.delete_object(Bucket=BUCKET, Key=key)
    for key, (data, metadata) in wanted.items():
        if now.get(key) != (data, metadata):
            user = {name.removeprefix("x-amz-meta-"): text for name, text in metadata.items() if name.startswith("x-")}
            s3.put_object(Bucket=BUCKET, Key=key, Body=data, Metadata=user)


@contextmanager
def tampered(server: ClockServer, trail: SampleTrail, name: str) -> Iterator[Touched]:
    """The bucket after the tampering ``name``, until the block ends."""
    touched = touch(trail, name)
    write(server, trail.objects, touched.objects)
    try:
        yield touched
    finally:
        write(server, touched.objects, trail.objects)


def of(findings: list[Finding], severity: Severity) -> set[tuple[FindingCode, str]]:
    return {(finding.code, finding.key) for finding in findings if finding.severity is severity}


def verify(objects: Objects, trail: SampleTrail) -> list[Finding]:
    mine = frozenset({FOLDER.account_id})
    keys = trail.public_keys()
    verified = verify_bucket(
        store_of(objects), keys, bucket=BUCKET, account_ids=mine, expected_until=trail.end, asked_at=trail.end
    )
    concerns = {each.concern for each in verified.findings}
    assert verified.result.exit_code == (not concerns <= {Concern.NOTE})
    return verified.findings


class Judge:
    """``aws cloudtrail validate-logs`` of one version, asked again and again in one process."""

    def __init__(self, aws: Path, server: ClockServer, trail: SampleTrail) -> None:
        start = parse_digest_key(trail.digests[0]).end_time - timedelta(hours=2)
        times = [f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in (start, trail.end + timedelta(hours=1))]
        self._arguments = ["--trail-arn", TRAIL_ARN, "--start-time", times[0], "--end-time", times[1], "--verbose"]
        self._endpoint = server.url
        environment = {
            "PATH": os.environ["PATH"],
            **{name.upper(): value for name, value in server.root_key().items()},
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",
        }
        self._process = subprocess.Popen(
            [aws.with_name("python"), Path(__file__).with_name("judge.py"), "--lines"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def ask(self) -> tuple[int, str, set[str]]:
        """Its exit status, what it says, and the keys that it accuses."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"endpoint": self._endpoint, "arguments": self._arguments}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        text = answer["stdout"] + answer["stderr"]
        return answer["status"], text, set(re.findall(rf"file\ts3://{BUCKET}/(\S+)\tINVALID", answer["stderr"]))

    def close(self) -> None:
        self._process.communicate()


def test_the_trail_has_what_a_forger_could_touch(trail: SampleTrail) -> None:
    assert len(trail.digests) >= HOURS
    assert any(not files for files in trail.files.values()), "an empty hour"
    assert sum(len(files) for files in trail.files.values()) >= 20
    assert len({key for key in trail.objects if key.startswith(log_prefix(FOLDER))}) >= 20
    assert len(trail.public_keys()) == 2, "the key was rotated"
    signers = {
        decode_digest(decode_member(trail.objects[key][0], max_size=1 << 20)).public_key_fingerprint
        for key in trail.digests
    }
    assert signers == {key.fingerprint for key in trail.public_keys()}, "and both have signed"
    assert all(key.startswith(digest_prefix(FOLDER)) for key in trail.digests)


def test_the_judges_agree_on_every_forgery(server: ClockServer, trail: SampleTrail, aws: Path) -> None:
    """One test for the whole matrix: the judge is started once."""
    old = str(aws) == os.environ.get("OPENTRAIL_AWSCLI_OLD")
    judge = Judge(aws, server, trail)
    ours: dict[str, Any] = {}
    theirs: dict[str, Any] = {}
    try:
        for name in SAMPLE:
            with tampered(server, trail, name) as touched:
                findings = verify(fetch(server), trail)
                status, text, accused = judge.ask()
            if (of(findings, Severity.ERROR), of(findings, Severity.WARNING)) != (touched.errors, touched.warnings):
                ours[name] = findings, touched.errors, touched.warnings
            missed = touched.judge_misses | (touched.judge_misses_old if old else set())
            expected = {key for _, key in touched.errors} - missed
            if accused != expected or status != bool(expected):
                theirs[name] = text
            if name == "untouched":
                logs = sum(len(files) for files in trail.files.values())
                assert f"{len(trail.digests)}/{len(trail.digests)} digest files valid" in text, text
                assert f"{logs}/{logs} log files valid" in text, text
                assert "No log files were delivered by CloudTrail between" in text, "the stop"
    finally:
        judge.close()
    assert ours == {}
    assert theirs == {}
