"""What every object store must do, as tests: subclass ``StoreContract`` and give a ``store`` fixture.

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self) -> Iterator[ObjectStore]: ...

``metadata_limit_bytes`` is what the medium takes at least (S3 itself: 2 KB of user metadata); ``awkward_keys`` and
``listing_keys`` are what it can hold of them; ``byte_order`` False lets it list in an order of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from queue import SimpleQueue
from typing import ClassVar

import pytest

from opentrail.core.errors import NoSuchObject, StoreError
from opentrail.stores.base import METADATA_LIMIT_BYTES, ObjectInfo, ObjectStore

#: Keys that a careless mapping to files or URLs confuses.
AWKWARD_KEYS = (
    "a",
    "a.txt",
    "a/b",
    "a//b",
    "a/",
    "a/b/c.json.gz",
    "a%2Fb",
    "a%",
    "a%meta",
    ".a%meta",
    "a%file",
    "a%more/b",
    ".hidden",
    ".",
    "..",
    "../a",
    "a/../b",
    "/a",
    "//",
    "white space +&?#:=;@,$'\"<>|*\\^`{}[]~!()",
    "new\nline\ttab\x00nul\x7f",
    "é/ü/日本語/😀",
    "e\u0301",
    "long/" + "x" * 700 + "/" + "é" * 150,
    "long/" + "x" * 700,
    "long/" + "x" * 701,
    "long/" + "x" * 199 + "/y",
    "long/" + "x" * 200 + "/y",
    "long/" + "x" * 200 + "!",
)

LISTING_KEYS = ("a", "a!", "a-b/c", "a.txt", "a/b", "a/b/c", "a/b/d", "a/b0", "a0", "b/", "b/c", "é/x", "z")


def read_all(store: ObjectStore, key: str, *, start: int = 0, end: int | None = None) -> bytes:
    """The bytes of ``key`` in the range."""
    return b"".join(store.get(key, start=start, end=end).chunks)


def keys_of(store: ObjectStore, prefix: str = "", *, start_after: str = "") -> list[str]:
    """The keys that ``list`` yields."""
    return [info.key for info in store.list(prefix, start_after=start_after)]


class StoreContract:
    """The tests; a subclass's ``store`` fixture is an empty store."""

    metadata_limit_bytes: ClassVar[int] = 24_000
    awkward_keys: ClassVar[tuple[str, ...]] = AWKWARD_KEYS
    listing_keys: ClassVar[tuple[str, ...]] = LISTING_KEYS
    byte_order: ClassVar[bool] = True

    def test_what_was_put_is_read_whole(self, store: ObjectStore) -> None:
        """Data, size, metadata and time come back, from put, head and get."""
        metadata = {
            "content-type": "application/json",
            "content-encoding": "gzip",
            "x-amz-meta-signature": "ab" * 128,
            "x-amz-meta-signature-algorithm": "SHA256withRSA",
            "x-amz-tagging": "k=v",
        }
        before = datetime.now(UTC)
        put = store.put("b/k", b"data", metadata)
        got = store.get("b/k")
        head = store.head("b/k")
        assert b"".join(got.chunks) == b"data"
        for info in (put, got.info, head):
            assert (info.key, info.size, dict(info.metadata)) == ("b/k", 4, metadata)
            assert info.etag == head.etag
            assert abs(info.last_modified - before) < timedelta(minutes=5)
            assert info.last_modified.tzinfo is not None

    def test_a_missing_key(self, store: ObjectStore) -> None:
        """Reading says NoSuchObject; deleting says nothing."""
        store.put("a/b", b"", {})
        for key in ("a", "a/b/c", "b", "a/bb"):
            with pytest.raises(NoSuchObject):
                store.head(key)
            with pytest.raises(NoSuchObject):
                store.get(key)
            with pytest.raises(NoSuchObject):
                store.replace_metadata(key, {})
            store.delete(key)
        assert keys_of(store) == ["a/b"]

    def test_put_replaces_data_and_metadata(self, store: ObjectStore) -> None:
        """Nothing of the old object is left."""
        first = store.put("k", b"first, and longer", {"x-amz-meta-a": "1"})
        second = store.put("k", b"second", {"x-amz-meta-b": "2"})
        assert read_all(store, "k") == b"second"
        assert dict(store.head("k").metadata) == {"x-amz-meta-b": "2"}
        assert first.etag != second.etag

    def test_metadata_alone_can_be_replaced(self, store: ObjectStore) -> None:
        """The data stay, the metadata are the new ones alone."""
        store.put("k", b"data", {"x-amz-meta-a": "1", "content-type": "text/plain"})
        store.replace_metadata("k", {"x-amz-meta-b": "2"})
        assert read_all(store, "k") == b"data"
        assert dict(store.head("k").metadata) == {"x-amz-meta-b": "2"}

    def test_metadata_of_any_text(self, store: ObjectStore) -> None:
        """Values keep their characters, their white space and their case."""
        metadata = {
            "x-amz-meta-é": "ü 日本 😀",
            "x-amz-meta-space": "  two  ",
            "x-amz-meta-empty": "",
            "x-amz-meta-opentrail": "{}",
            "x-amz-meta-under_score": "a",
            "other": "line\nbreak",
        }
        store.put("k", b"", metadata)
        assert dict(store.head("k").metadata) == metadata

    def test_much_metadata(self, store: ObjectStore) -> None:
        """As much as the medium takes is kept; more than the limit is refused."""
        metadata = {"x-amz-meta-large": "v" * (self.metadata_limit_bytes - 20)}
        store.put("k", b"", metadata)
        assert dict(store.head("k").metadata) == metadata
        with pytest.raises(StoreError):
            store.put("k", b"", {"x-amz-meta-large": "v" * METADATA_LIMIT_BYTES})
        assert dict(store.head("k").metadata) == metadata

    @pytest.mark.parametrize(
        ("start", "end"), [(0, None), (0, 0), (1, 3), (4, None), (9, 10), (3, 100), (10, None), (10, 12)]
    )
    def test_ranges(self, store: ObjectStore, start: int, end: int | None) -> None:
        """A range is what Python's slice is."""
        store.put("k", b"0123456789", {})
        assert read_all(store, "k", start=start, end=end) == b"0123456789"[start:end]

    def test_streams(self, store: ObjectStore) -> None:
        """Data given in pieces are one object; a range of it may cross them."""
        pieces = [bytes([number]) * 700_000 for number in range(20)]
        whole = b"".join(pieces)
        assert store.put("k", iter(pieces), {"x-amz-meta-a": "b"}).size == len(whole)
        assert read_all(store, "k") == whole
        assert read_all(store, "k", start=650_000, end=1_500_000) == whole[650_000:1_500_000]
        assert dict(store.head("k").metadata) == {"x-amz-meta-a": "b"}
        assert store.put("none", iter(()), {}).size == 0
        assert read_all(store, "none") == b""

    def test_what_the_data_raise_leaves_nothing(self, store: ObjectStore) -> None:
        """The error passes through unchanged and the old object stays."""

        class Interrupted(Exception):  # noqa: N818  a test's own
            pass

        def data(size: int) -> Iterator[bytes]:
            yield b"x" * size
            raise Interrupted

        store.put("old", b"old", {"x-amz-meta-a": "b"})
        for size in (1, 7_000_000):
            for key in ("old", "new/one"):
                with pytest.raises(Interrupted):
                    store.put(key, data(size), {})
        assert keys_of(store) == ["old"]
        assert read_all(store, "old") == b"old"
        assert dict(store.head("old").metadata) == {"x-amz-meta-a": "b"}

    def test_a_reader_keeps_what_it_opened(self, store: ObjectStore) -> None:
        """An object that is replaced while it is read is read as it was, or the read fails; it is never mixed."""
        old = b"o" * 3_000_000
        store.put("k", old, {})
        opened = store.get("k")
        first = next(opened.chunks)
        store.put("k", b"n" * 3_000_000, {})
        try:
            rest = b"".join(opened.chunks)
        except StoreError:
            return
        assert first + rest == old

    def test_keys_of_any_text_are_different(self, store: ObjectStore) -> None:
        """Every awkward key holds its own data, is listed as itself and can be deleted alone."""
        for number, key in enumerate(self.awkward_keys):
            store.put(key, str(number).encode(), {"x-amz-meta-number": str(number)})
        for number, key in enumerate(self.awkward_keys):
            assert read_all(store, key) == str(number).encode(), key
            assert dict(store.head(key).metadata) == {"x-amz-meta-number": str(number)}, key
        in_order = sorted(self.awkward_keys, key=str.encode)
        assert self._ordered(keys_of(store)) == in_order
        for key in self.awkward_keys[::2]:
            store.delete(key)
        left = [key for key in in_order if key in self.awkward_keys[1::2]]
        assert self._ordered(keys_of(store)) == left
        for key in left:
            assert read_all(store, key)
            store.delete(key)
        assert keys_of(store) == []

    @pytest.mark.parametrize("key", ["", "x" * 2049, "\ud800"])
    def test_impossible_keys_are_refused(self, store: ObjectStore, key: str) -> None:
        """What no store can hold is a StoreError that no retry helps."""
        told: list[object] = []
        for call in (
            lambda: store.put(key, b"", {}),
            lambda: store.put_soon(key, b"", {}, lambda info, error: told.append((info, error))),
            lambda: store.head(key),
            lambda: store.delete(key),
        ):
            with pytest.raises(StoreError) as caught:
                call()
            assert not caught.value.retryable
            assert not isinstance(caught.value, NoSuchObject)
        assert not told

    def test_listing_by_prefix_and_position(self, store: ObjectStore) -> None:
        """Every prefix and every position give the same as a filter over all keys."""
        keys = list(self.listing_keys)
        for key in keys:
            store.put(key, key.encode(), {"x-amz-meta-a": "b"})
        infos = sorted(store.list(""), key=lambda info: info.key.encode() if not self.byte_order else b"")
        assert [info.key for info in infos] == sorted(keys, key=str.encode)
        assert [(info.size, info.metadata, info.etag) for info in infos] == [
            (len(info.key.encode()), {}, store.head(info.key).etag) for info in infos
        ]
        for prefix in ("", "a", "a/", "a/b", "a/b/", "b", "b/", "é", "x", "a/b/c/d"):
            for position in ("", *keys, "a/", "a/b/", "a/a", "zz", "c") if self.byte_order else ("",):
                expected = [
                    key
                    for key in sorted(keys, key=str.encode)
                    if key.startswith(prefix) and key.encode() > position.encode()
                ]
                found = keys_of(store, prefix, start_after=position)
                assert self._ordered(found) == expected, (prefix, position)

    def test_listing_many(self, store: ObjectStore) -> None:
        """More keys than one page of any medium."""
        keys = [f"p/{number // 100:02d}/{number:05d}" for number in range(1200)]
        for key in reversed(keys):
            store.put(key, b"", {})
        assert keys_of(store, "p/") == keys
        assert keys_of(store, "p/", start_after=keys[1100]) == keys[1101:]

    def test_concurrent_puts_of_one_key(self, store: ObjectStore) -> None:
        """A reader sees data with its own metadata, whoever writes."""
        errors: list[BaseException] = []

        def write(name: str) -> None:
            try:
                for number in range(20):
                    text = f"{name}{number}"
                    store.put("k/one", text.encode() * 50, {"x-amz-meta-text": text})
            except BaseException as error:  # noqa: BLE001  reported below
                errors.append(error)

        store.put("k/one", b"start" * 50, {"x-amz-meta-text": "start"})
        threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            got = store.get("k/one")
            assert b"".join(got.chunks) == got.info.metadata["x-amz-meta-text"].encode() * 50
        for thread in threads:
            thread.join()
        assert not errors
        assert keys_of(store) == ["k/one"]

    def test_put_soon_tells_each_once(self, store: ObjectStore) -> None:
        """Whoever is told finds the object; of one key, the last one told is the one that stays."""
        told: SimpleQueue[tuple[int, ObjectInfo | None, StoreError | None]] = SimpleQueue()
        seen: dict[str, bytes] = {}

        def hear(number: int, info: ObjectInfo | None, error: StoreError | None) -> None:
            told.put((number, info, error))

        bodies = {number: f"body {number}".encode() * (1 + number % 3 * 9000) for number in range(60)}
        for number, body in bodies.items():
            store.put_soon(f"k/{number % 7}", body, {"x-amz-meta-number": str(number)}, partial(hear, number))
        for _ in bodies:
            number, info, error = told.get(timeout=60)
            assert error is None
            assert info is not None
            assert (info.key, info.size) == (f"k/{number % 7}", len(bodies[number]))
            seen[info.key] = bodies[number]
        assert told.empty()
        assert {key: read_all(store, key) for key in keys_of(store, "k/")} == seen

    def _ordered(self, keys: list[str]) -> list[str]:
        return keys if self.byte_order else sorted(keys, key=str.encode)
