"""Listings through boto3: every page of every version is what a naive listing of all keys says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from opentrail.stores.memory import MemoryStore

Fault = Callable[..., Mapping[str, Any]]

KEYS = ["a", "a!", "a.txt", "a/", "a/b", "a/b/c", "a/b/d e", "b+c/1", "b+c/2", "é/ü", "z&<>", "z\x0cf"]


@pytest.fixture
def keys(s3: Any, bucket: str) -> list[str]:
    for key in KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    return sorted(KEYS, key=str.encode)


def naive(keys: list[str], prefix: str, delimiter: str, after: str = "") -> list[tuple[str, bool]]:
    """Names in order, and whether each is a common prefix."""
    names: list[tuple[str, bool]] = []
    for key in sorted(keys, key=str.encode):
        if key.startswith(prefix) and key.encode() > after.encode():
            at = key.find(delimiter, len(prefix)) if delimiter else -1
            name = (key, False) if at < 0 else (key[: at + len(delimiter)], True)
            if name not in names:
                names.append(name)
    return names


def names_of(page: Mapping[str, Any]) -> list[tuple[str, bool]]:
    names = [(each["Key"], False) for each in page.get("Contents") or page.get("Versions") or ()]
    names += [(each["Prefix"], True) for each in page.get("CommonPrefixes") or ()]
    return sorted(names, key=lambda name: name[0].encode())


@pytest.mark.parametrize("operation", ["list_objects", "list_objects_v2", "list_object_versions"])
@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_pages_are_the_whole(s3: Any, bucket: str, keys: list[str], operation: str, size: int) -> None:
    for prefix in ("", "a", "a/", "a/b/", "none"):
        for delimiter in ("", "/", "b"):
            found: list[tuple[str, bool]] = []
            pages = s3.get_paginator(operation).paginate(
                Bucket=bucket, Prefix=prefix, Delimiter=delimiter, PaginationConfig={"PageSize": size}
            )
            for page in pages:
                names = names_of(page)
                assert len(names) <= size
                found += names
            assert found == naive(keys, prefix, delimiter), (prefix, delimiter)


@pytest.mark.usefixtures("keys")
def test_an_entry_says_what_the_object_is(s3: Any, bucket: str) -> None:
    for each in s3.list_objects_v2(Bucket=bucket, FetchOwner=True)["Contents"]:
        head = s3.head_object(Bucket=bucket, Key=each["Key"])
        assert (each["ETag"], each["Size"]) == (head["ETag"], head["ContentLength"])
        assert each["LastModified"].replace(microsecond=0) == head["LastModified"]
        assert (each["StorageClass"], each["Owner"]["ID"]) == ("STANDARD", s3.list_buckets()["Owner"]["ID"])
    page = s3.list_objects_v2(Bucket=bucket, MaxKeys=3)
    assert "Owner" not in page["Contents"][0]
    assert (page["KeyCount"], page["MaxKeys"], page["IsTruncated"], page["Name"]) == (3, 3, True, bucket)
    version = s3.list_object_versions(Bucket=bucket)["Versions"][0]
    assert (version["VersionId"], version["IsLatest"]) == ("null", True)


def test_start_after(s3: Any, bucket: str, keys: list[str]) -> None:
    for key in (*keys, "a/a", "c"):
        page = s3.list_objects_v2(Bucket=bucket, StartAfter=key)
        assert names_of(page) == naive(keys, "", "", key)
        assert page["StartAfter"] == key
        assert names_of(s3.list_objects(Bucket=bucket, Marker=key)) == naive(keys, "", "", key)


def test_arguments_that_make_no_sense(s3: Any, bucket: str, fault_of: Fault) -> None:
    assert s3.list_objects_v2(Bucket=bucket, MaxKeys=0)["KeyCount"] == 0
    assert fault_of(s3.list_objects_v2, Bucket=bucket, MaxKeys=-1)["Code"] == "InvalidArgument"
    fault = fault_of(s3.list_objects_v2, Bucket=bucket, ContinuationToken="???")
    assert (fault["Code"], fault["ArgumentName"]) == ("InvalidArgument", "continuation-token")
    assert fault_of(s3.list_objects_v2, Bucket="no-such-bucket")["Code"] == "NoSuchBucket"
    assert fault_of(s3.list_objects, Bucket=bucket, EncodingType="base64")["Code"] == "InvalidArgument"


def test_a_prefix_with_many_keys_is_left_by_a_jump(s3: Any, endpoint: Any, bucket: str) -> None:
    """What is rolled up is not read to its end: the store yields a few hundred keys, not thousands."""
    store = endpoint.deps.store
    for prefix in ("2023/", "2024/"):
        for number in range(600):
            store.put(f"{bucket}/{prefix}{number:04}", b"", {})
    yielded = 0
    original = store.list

    def counted(prefix: str, *, start_after: str = "") -> Any:
        nonlocal yielded
        for info in original(prefix, start_after=start_after):
            yielded += 1
            yield info

    store.list = counted
    page = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert names_of(page) == [("2023/", True), ("2024/", True)]
    assert yielded < 300


names = st.lists(st.text(alphabet="ab/!0é", min_size=1, max_size=6), max_size=30, unique=True)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(names, st.sampled_from(["", "a", "a/", "b"]), st.sampled_from(["", "/", "b", "a/"]), st.integers(1, 4))
@example(["a/", "a/0"], "a", "a/", 1)  # a key that ends with the delimiter, which begins within the prefix
def test_any_keys(keys: list[str], prefix: str, delimiter: str, size: int) -> None:
    """The same as a property of ``read_page``, with jumps after two keys."""
    from opentrail.services.s3 import listing
    from opentrail.state.buckets import Bucket

    store = MemoryStore()
    for key in keys:
        store.put(f"b/{key}", b"", {})
    asked = listing.Listing(
        bucket=Bucket(name="b", owner="1", region="us-east-1", created=store._clock()),
        prefix=prefix,
        delimiter=delimiter,
        max_keys=size,
        url=False,
    )
    patience, listing._PATIENCE = listing._PATIENCE, 1
    try:
        found: list[tuple[str, bool]] = []
        after = ""
        while True:
            page = listing.read_page(store, asked, after)
            entries = [(key, False) for key, _ in page.objects] + [(name, True) for name in page.prefixes]
            found += sorted(entries, key=lambda name: name[0].encode())
            if not page.truncated:
                break
            after = page.last
        assert found == naive(keys, prefix, delimiter)
    finally:
        listing._PATIENCE = patience
