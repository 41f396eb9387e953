"""Reading a bucket ahead: as much at once as the latency asks for, and an end when there is a reason to end."""

from __future__ import annotations

import json
import os
import signal
import socketserver
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opentrail.cli.main import main
from opentrail.core.errors import StoreError
from opentrail.core.public_keys import encode_public_keys
from opentrail.stores.local import LocalStore
from opentrail.testing.sample_trail import BUCKET, FOLDER, Objects, SampleTrail
from opentrail.testing.static_bucket import Gauge, StaticBucket, serving
from opentrail.verification.http_connection import PATIENCE
from opentrail.verification.opening import SourceOptions, open_source
from opentrail.verification.read_ahead import ThreadReadAhead
from opentrail.verification.s3_hosts import bucket_place
from opentrail.verification.s3_settings import read_aws_settings
from opentrail.verification.source import ObjectTooLarge, SourceObject, TrailSource, user_metadata

Refuse = Callable[[bytes], bytes | None]


class Refusing(StaticBucket):
    """Answers with what ``refuse`` makes of a request's target, where that is something."""

    def __init__(self, objects: Objects, refuse: Refuse = lambda _target: None) -> None:
        def read(key: str) -> SourceObject | None:
            if key not in objects:
                return None
            data, metadata = objects[key]
            return SourceObject(data=data, metadata=user_metadata(metadata))

        super().__init__(BUCKET, sorted(objects), read, ())
        self.refuse = refuse

    def answer(self, method: bytes, target: bytes, body: bytes) -> bytes:
        """The whole HTTP answer."""
        return self.refuse(target) or super().answer(method, target, body)


def fault(status: int, code: str) -> bytes:
    body = f"<Error><Code>{code}</Code><Message>said so</Message></Error>"
    return f"HTTP/1.1 {status} -\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


@pytest.fixture(autouse=True)
def _user(trail: SampleTrail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keys.json").write_bytes(encode_public_keys(trail.public_keys()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr("opentrail.verification.aws_client._FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr("opentrail.verification.aws_client._LONGEST_PAUSE_SECONDS", 0.002)


@pytest.fixture
def no_thread_stays() -> Iterator[None]:
    """Whatever was begun has ended soon after."""
    before = set(threading.enumerate())
    yield
    until = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < until:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before


def verify(url: str, *words: str) -> int:
    given = ("--endpoint-url", url, "--public-keys", "keys.json", "--account-id", FOLDER.account_id)
    return main(["verify", f"s3://{BUCKET}", *given, *words])


def source_at(url: str) -> TrailSource:
    return open_source(f"s3://{BUCKET}", SourceOptions(endpoint_url=url)).source


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """A server that sends ``answer`` to each connection, out of one and the same memory."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                while self.request.recv(65536):
                    self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads, server.block_on_close = True, False
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def read_all(url: str, keys: list[str], most: int = 72) -> None:
    source = source_at(url)
    ahead = ThreadReadAhead(most)
    try:
        for _ in ahead.map(lambda key: source.read(key, limit=1 << 20), keys):
            pass
    finally:
        ahead.close()
        source.close()


@pytest.mark.usefixtures("no_thread_stays")
@pytest.mark.parametrize(("delay", "least", "most"), [(0.05, 30, 72), (0.0, 1, 8)], ids=["far", "near"])
def test_reads_in_flight_follow_the_latency(delay: float, least: int, most: int) -> None:
    objects: Objects = {f"key-{number:04}": (b"x" * 2000, {}) for number in range(700)}
    gauge = Gauge()
    with serving(Refusing(objects), delay_seconds=delay, gauge=gauge) as url:
        read_all(url, sorted(objects))
    assert least <= gauge.most <= most
    assert gauge.now == 0


@pytest.mark.usefixtures("no_thread_stays")
def test_large_objects_are_in_memory_a_few_at_once() -> None:
    """Sixteen at once of 8 MB would be 128 MB; of each there may be 1 MB, of four all."""
    size = 8 * 1024 * 1024
    body = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + bytes(size)
    with answering(body) as url:
        source = source_at(url)
        gate = threading.Barrier(16)

        def read(key: str) -> int:
            gate.wait(10)
            return len(source.read(key, limit=size).data)

        ahead = ThreadReadAhead(16)
        ahead._threads._start(8)  # all sixteen, whatever was measured
        tracemalloc.start()
        try:
            assert list(ahead.map(read, map(str, range(16)))) == [size] * 16
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            ahead.close()
            source.close()
    assert peak < 10 * size, f"{peak / size:.1f} objects"


def test_more_than_the_limit_is_not_read() -> None:
    with serving(Refusing({"key": (bytes(4 * 1024 * 1024), {})})) as url:
        source = source_at(url)
        for limit in (1000, 2 * 1024 * 1024):
            with pytest.raises(ObjectTooLarge):
                source.read("key", limit=limit)
        source.close()


@pytest.mark.usefixtures("no_thread_stays")
def test_ctrl_c_leaves_no_thread_behind(trail: SampleTrail) -> None:
    asked = 0

    def refuse(_target: bytes) -> None:
        nonlocal asked
        asked += 1
        if asked == 40:
            os.kill(os.getpid(), signal.SIGINT)

    with serving(Refusing(trail.objects, refuse), delay_seconds=0.05) as url:
        assert verify(url, "--jobs", "1") == 130


@pytest.mark.usefixtures("no_thread_stays")
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_server_that_fails_in_the_middle_leaves_a_resume_file_and_no_thread(
    trail: SampleTrail, capsys: pytest.CaptureFixture[str], jobs: str
) -> None:
    """Once it is well again, the same command goes on to the end."""
    names = sorted(name for key in trail.digests for name in trail.files[key])
    bucket = Refusing(trail.objects)
    late = names[len(names) // 2].encode()
    with serving(bucket, delay_seconds=0.01) as url:
        bucket.refuse = lambda target: fault(503, "SlowDown") if target.endswith(late) else None
        assert verify(url, "--jobs", jobs) == 2
        said = capsys.readouterr().err
        assert "SlowDown" in said
        assert late.decode() in said
        bucket.refuse = lambda _target: None
        assert verify(url, "--jobs", jobs, "--resume") == 0


@pytest.mark.parametrize("how", ["500", "SlowDown", "reset", "no XML"])
def test_a_page_of_a_listing_that_fails_is_asked_for_again(how: str) -> None:
    objects: Objects = {f"key-{number:05}": (b"", {}) for number in range(3500)}
    bucket = Refusing(objects)
    failures = 3

    def refuse(target: bytes) -> bytes | None:
        nonlocal failures
        if b"continuation-token" not in target or not failures:
            return None
        failures -= 1
        if how == "no XML":
            return b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n<List"
        if how == "reset":
            whole = StaticBucket.answer(bucket, b"GET", target, b"")
            return whole.replace(b"\r\n\r\n", b"\r\nx-more: 1\r\n\r\n", 1).replace(
                b"Content-Length: ", b"Content-Length: 9", 1
            )
        return fault(500, "InternalError") if how == "500" else fault(503, "SlowDown")

    bucket.refuse = refuse
    with serving(bucket) as url:
        source = source_at(url)
        before = PATIENCE
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("opentrail.verification.aws_client.PATIENCE", replace(before, silence_seconds=0.2))
            assert list(source.list_keys("")) == sorted(objects)
        source.close()
    assert not failures


@pytest.mark.usefixtures("no_thread_stays")
def test_a_listing_that_fails_for_good_in_the_middle_ends_it_with_a_resume_file(
    trail: SampleTrail, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digests of the first hours have been judged by then: they are listed in pages of ten."""
    monkeypatch.setattr("opentrail.verification.read_ahead._PAGE", 10)
    bucket = Refusing(trail.objects)

    def small_pages(target: bytes) -> bytes | None:
        if b"list-type" not in target:
            time.sleep(0.002)
            return None
        if b"CloudTrail%2F" in target and b"continuation-token" in target and b"20240507T1" in target and is_ill:
            return fault(500, "InternalError")
        return StaticBucket.answer(bucket, b"GET", target.replace(b"max-keys=1000", b"max-keys=10"), b"")

    is_ill, bucket.refuse = True, small_pages
    with serving(bucket) as url:
        assert verify(url, "--jobs", "1") == 2
        said = capsys.readouterr().err
        assert f"listing s3://{BUCKET}/" in said
        assert "InternalError" in said
        is_ill = False
        assert verify(url, "--jobs", "1", "--resume") == 0


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("AccessDenied", "s3:GetObject (and kms:Decrypt"),
        ("InvalidObjectState", "restore it"),
        ("KMS.DisabledException", "KMS key"),
    ],
)
def test_an_object_that_may_not_be_read_is_a_finding_that_says_what_is_needed(
    trail: SampleTrail, capsys: pytest.CaptureFixture[str], code: str, text: str
) -> None:
    log = trail.files[trail.full_digest(3)][0]
    refuse: Refuse = lambda target: fault(403, code) if target.endswith(log.encode()) else None  # noqa: E731
    with serving(Refusing(trail.objects, refuse)) as url:
        assert verify(url, "--json") == 2
    findings = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (finding,) = (each for each in findings if each.get("code") == "log-file-unreachable")
    assert finding["key"] == log
    assert code in finding["message"]
    assert text in finding["message"]
    assert findings[-1]["verdict"] == "not-checked"


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<Contents><Key>a</Key></Contents>", "there twice"),
        ("<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>", "there twice"),
    ],
)
def test_a_listing_of_folders_that_repeats_itself_comes_to_an_end(page: str, text: str) -> None:
    """With another token each time."""
    number = 0

    def refuse(_target: bytes) -> bytes:
        nonlocal number
        number += 1
        token = f"<NextContinuationToken>{number}</NextContinuationToken>"
        body = f"<ListBucketResult><IsTruncated>true</IsTruncated>{token}{page}</ListBucketResult>"
        return f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()

    with serving(Refusing({}, refuse)) as url:
        source: Any = source_at(url)
        with pytest.raises(StoreError, match=text):
            source.list_folders("")
        source.close()
    assert number <= 3


def test_folders_where_keys_were_asked_for_are_refused() -> None:
    body = b"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken>"
    body += b"<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes></ListBucketResult>"
    page = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    with serving(Refusing({}, lambda _target: page)) as url:
        source = source_at(url)
        with pytest.raises(StoreError, match="was not asked for"):
            list(source.list_keys(""))
        source.close()


def test_folders_may_come_in_the_order_of_files() -> None:
    """SeaweedFS sorts a folder by its name without the slash, where S3 has ``CloudTrail-Digest/`` first."""
    names = ("CloudTrail/", "CloudTrail-Digest/", "CloudTrail-Insight/")
    folders = "".join(f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>" for name in names)
    body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{folders}</ListBucketResult>"
    page = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
    with serving(Refusing({}, lambda _target: page)) as url:
        source = source_at(url)
        assert source.list_folders("") == sorted(names)
        source.close()


def test_a_bucket_that_was_filled_from_files(trail: SampleTrail, capsys: pytest.CaptureFixture[str]) -> None:
    """It has lost the metadata of every object, which it says of itself nowhere."""
    plain: Objects = {key: (data, {}) for key, (data, _) in trail.objects.items()}
    with serving(Refusing(plain)) as url:
        assert verify(url) == 1
        assert "--metadata-lost" in capsys.readouterr().out
        assert verify(url, "--metadata-lost", "--report", "report.html") == 0
    assert "the copy has lost the signature" in " ".join(capsys.readouterr().out.split())
    assert "--metadata-lost" in Path("report.html").read_text(), "in how to check again"
    store = LocalStore("a-store")
    for key, (data, metadata) in trail.objects.items():
        store.put(key, data, metadata)
    store.close()
    assert main(["verify", "a-store", "--metadata-lost", "--public-keys", "keys.json"]) == 2
    assert "a-store has the metadata of its objects" in capsys.readouterr().err


@pytest.mark.parametrize("bucket", ["..", "a b", "ä" * 9, "a\r\nx: y", "evil.example/a"])
def test_what_is_no_bucket_s_name_is_asked_nowhere(bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A digest may name any bucket for its log files."""
    source = open_source(f"s3://{BUCKET}", SourceOptions(aws_region="eu-west-1")).source
    assert source.sibling(bucket) is None
    if "/" not in bucket:
        assert main(["verify", f"s3://{bucket}", "--public-keys", "keys.json"]) == 2
        assert "is no name of a bucket" in capsys.readouterr().err


@pytest.mark.parametrize("bucket", ["a" * 64, "..a", "A_b", "-a-"])
def test_a_name_that_is_no_host_s_stands_in_the_path(bucket: str) -> None:
    settings = read_aws_settings(service="s3", profile="", region="eu-west-1", endpoint_url="", is_signed=True)
    origin, path = bucket_place(settings, bucket, "eu-west-1")
    assert (origin.host, path) == ("s3.eu-west-1.amazonaws.com", f"/{bucket}")
