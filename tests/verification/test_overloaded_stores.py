"""A store that says SlowDown: obeyed while it may pass, and soon told when it does not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from opentrail.cli.main import main
from opentrail.core.errors import StoreError
from opentrail.core.public_keys import encode_public_keys
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.stores.memory import MemoryStore
from opentrail.testing.sample_trail import BUCKET, REGION, START, TRAIL, Objects, sample_record, store_bytes
from opentrail.testing.static_bucket import StaticBucket, serving
from opentrail.testing.trail_writer import TrailWriter
from opentrail.verification.log_file_checks import LogFileTask, Sources, check_task
from opentrail.verification.source import SourceObject, user_metadata
from opentrail.verification.store_source import StoreSource

HOUR = timedelta(hours=1)
HOURS = 12
FILES = 40  # an hour
READERS = 8  # threads of a process
ATTEMPTS = 5


class OverloadedBucket(StaticBucket):
    """Says SlowDown to each request for a log file that ``is_too_much``; ``refused`` are the targets."""

    def __init__(self, objects: Objects, is_too_much: Callable[[bytes], bool]) -> None:
        def read(key: str) -> SourceObject:
            data, metadata = objects[key]
            return SourceObject(data=data, metadata=user_metadata(metadata))

        super().__init__(BUCKET, sorted(objects), read, ())
        self.is_too_much = is_too_much
        self.refused: list[bytes] = []

    def answer(self, method: bytes, target: bytes, body: bytes) -> bytes:
        """The whole HTTP answer."""
        if b"/CloudTrail/" in target and b"list-type" not in target and self.is_too_much(target):
            self.refused.append(target)
            return b"HTTP/1.1 503 Slow Down\r\nContent-Length: 36\r\n\r\n<Error><Code>SlowDown</Code></Error>"
        return super().answer(method, target, body)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> RsaKeyFiles:
    return RsaKeyFiles(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def objects(keys: RsaKeyFiles) -> Objects:
    store = MemoryStore()
    writer = TrailWriter(
        store,
        TRAIL,
        bucket=BUCKET,
        signer=lambda end: keys.signer(REGION, now=START, digest_end_time=end),
        start=START,
    )
    for hour in range(HOURS):
        for number in range(FILES):
            writer.put_log_file(START + hour * HOUR + timedelta(minutes=number), [sample_record(number)])
        writer.put_digest(START + (hour + 1) * HOUR)
    return {info.key: (store_bytes(store, info.key), dict(store.head(info.key).metadata)) for info in store.list("")}


@pytest.fixture
def verify(tmp_path: Path, keys: RsaKeyFiles, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    (tmp_path / "keys.json").write_bytes(encode_public_keys(keys.list(REGION)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr("opentrail.verification.aws_client._FIRST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr("opentrail.verification.s3_source.S3Source.reads_at_once", READERS)

    def run(url: str, *words: str) -> int:
        return main(["verify", f"s3://{BUCKET}", "--endpoint-url", url, "--public-keys", "keys.json", *words])

    return run


@pytest.mark.parametrize(("jobs", "answered"), [(1, 0), (1, 300), (2, 300)])
def test_a_store_that_refuses_for_good_is_not_asked_for_each_log_file(
    verify: Callable[..., int], objects: Objects, jobs: int, answered: int, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = count()
    bucket = OverloadedBucket(objects, lambda _target: next(taken) >= answered)
    with serving(bucket) as url:
        assert verify(url, "--jobs", str(jobs)) == 2
        said = capsys.readouterr().err
        assert "SlowDown" in said
        assert len(bucket.refused) < jobs * 3 * READERS * ATTEMPTS, "what was under way, and nothing that came behind"
        if answered:
            assert "--resume" in said
            bucket.is_too_much = lambda _target: False
            assert verify(url, "--jobs", str(jobs), "--resume") == 0


def test_one_that_is_overloaded_for_a_moment_is_asked_again(verify: Callable[..., int], objects: Objects) -> None:
    """Each object is refused when it is asked for the first time."""
    asked: set[bytes] = set()

    def is_new(target: bytes) -> bool:
        is_known = target in asked
        asked.add(target)
        return not is_known

    bucket = OverloadedBucket(objects, is_new)
    with serving(bucket) as url:
        assert verify(url, "--jobs", "1") == 0
    assert len(bucket.refused) > HOURS * FILES / 4


def test_a_source_that_has_failed_is_asked_for_nothing_more() -> None:
    """One of any kind: what one log file's check learns, all know that share the source."""
    asked = count()

    def open_store() -> MemoryStore:
        raise StoreError(f"nobody is there ({next(asked)})", retryable=True)

    sources = Sources(StoreSource(open_store, name="gs://bucket", bucket=BUCKET))
    task = LogFileTask("", "AWSLogs/111122223333/CloudTrail/x.json.gz", "0" * 64)
    with pytest.raises(StoreError, match="nobody is there"):
        check_task(sources, task)
    before = next(asked)
    with pytest.raises(StoreError, match="nobody is there"):
        check_task(sources, task)
    assert next(asked) == before + 1
