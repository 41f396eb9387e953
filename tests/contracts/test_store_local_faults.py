"""What the local store survives: kills at every system call, lost power, full and failing disks, other hands, races."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opentrail.core.errors import NoSuchObject, StoreError
from opentrail.stores import local_listing, local_log
from opentrail.stores.base import ObjectStore, stored_now
from opentrail.stores.local import LocalStore
from opentrail.stores.local_objects import ObjectFiles
from opentrail.stores.local_sidecars import new_entry

#: Every call by which the store changes something.
CHANGES = ("open", "write", "fsync", "fdatasync", "rename", "mkdir", "rmdir", "unlink", "ftruncate")
LARGE = 100_000  # not through the log

Content = dict[str, tuple[bytes, dict[str, str]]]


def content_of(store: ObjectStore) -> Content:
    """Every object, whole."""
    found: Content = {}
    for info in store.list(""):
        got = store.get(info.key)
        found[info.key] = b"".join(got.chunks), dict(got.info.metadata)
    return found


def put(store: ObjectStore, key: str, text: str, size: int = 10) -> None:
    store.put(key, text.encode() * size, {"x-amz-meta-text": text})


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> Iterator[None]:
    """Let ``os.name`` fail with ``number`` while the block runs."""

    def fail(*_args: Any, **_kwargs: Any) -> Any:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, name, fail)
        yield


class TestLayout:
    def test_a_person_sees_the_bucket(self, tmp_path: Path) -> None:
        store = LocalStore(tmp_path)
        store.put("bucket/AWSLogs/1/k.json.gz", b"data", {"x-amz-meta-signature": "ab"})
        store.put("bucket/AWSLogs", b"beside", {})
        store.close()
        assert (tmp_path / "bucket/AWSLogs/1/k.json.gz").read_bytes() == b"data"
        assert (tmp_path / "bucket/AWSLogs%file").read_bytes() == b"beside"
        sidecar = json.loads((tmp_path / "bucket/AWSLogs/1/.k.json.gz%meta").read_text())
        assert sidecar["entries"][0]["metadata"] == {"x-amz-meta-signature": "ab"}
        assert not list((tmp_path / "%work").iterdir())

    def test_reading_changes_nothing(self, tmp_path: Path) -> None:
        store = LocalStore(tmp_path)
        put(store, "b/k", "text")
        store.close()
        before = sorted(tmp_path.rglob("*"))
        reader = LocalStore(tmp_path, read_only=True)
        assert content_of(reader) == {"b/k": (b"text" * 10, {"x-amz-meta-text": "text"})}
        with pytest.raises(StoreError):
            put(reader, "b/k", "other")
        reader.close()
        assert sorted(tmp_path.rglob("*")) == before

    def test_another_process_may_read_meanwhile(self, tmp_path: Path) -> None:
        store, reader = LocalStore(tmp_path), LocalStore(tmp_path, read_only=True)
        put(store, "b/k", "text")
        put(store, "b/large", "text", LARGE)
        list(store.list(""))
        assert content_of(reader) == content_of(store)
        store.close()


class TestOtherHands:
    def test_a_changed_file_loses_what_vouched_for_it(self, tmp_path: Path) -> None:
        """A forger keeps neither etag nor checksum; the digest's signature stays, for the validator to judge."""
        store = LocalStore(tmp_path)
        metadata = {"x-amz-meta-signature": "ab", "x-amz-checksum-crc32": "AAAAAA==", "content-type": "text/x"}
        before = store.put("b/k", b"data", metadata)
        store.close()
        (tmp_path / "b/k").write_bytes(b"DATA")
        os.utime(tmp_path / "b/k", ns=(1, 1))
        got = LocalStore(tmp_path, read_only=True).get("b/k")
        assert b"".join(got.chunks) == b"DATA"
        assert got.info.etag != before.etag
        assert got.info.etag.endswith("-1")
        assert got.info.metadata == {"x-amz-meta-signature": "ab", "content-type": "text/x"}

    def test_a_copied_folder_is_the_same(self, tmp_path: Path) -> None:
        store = LocalStore(tmp_path / "one")
        for key in ("b/k", "b/k/l", "b/é", "b/%"):
            put(store, key, key)
        expected = {info.key: info for info in map(store.head, [each.key for each in store.list("")])}
        store.close()
        shutil.copytree(tmp_path / "one", tmp_path / "two")  # times are kept, inodes are not
        copy = LocalStore(tmp_path / "two", read_only=True)
        assert {key: copy.head(key) for key in expected} == expected

    def test_a_file_put_in_by_hand_is_an_object(self, tmp_path: Path) -> None:
        (tmp_path / "b").mkdir()
        (tmp_path / "b/by-hand.txt").write_bytes(b"data")
        (tmp_path / "b/50%off").write_bytes(b"no key is written so")
        os.utime(tmp_path / "b/by-hand.txt", ns=(1, 1))
        store = LocalStore(tmp_path)
        assert content_of(store) == {"b/by-hand.txt": (b"data", {})}
        store.delete("b/by-hand.txt")
        assert content_of(store) == {}
        store.close()

    def test_a_name_that_spells_another_key_stands_for_none(self, tmp_path: Path) -> None:
        """What cannot be read under a key is not listed as it either, and shadows nobody's object."""
        folder = tmp_path / "b"
        for name in ("%41", "x%2Fy", "new\nline", "x" * 230, "%41%file", "é" * 120, "%"):
            folder.mkdir(exist_ok=True)
            (folder / name).write_bytes(b"by other hands")
        for name in ("%43", "ab%more", "ab%more%more", "%%more"):
            (folder / name).mkdir()
            (folder / name / "k").write_bytes(b"by other hands")
        store = LocalStore(tmp_path)
        assert content_of(store) == {"b/": (b"by other hands", {})}
        for key in ("b/A", "b/x/y", "b/new\nline", "b/" + "x" * 230, "b/C/k", "b/abk", "b/k"):
            put(store, key, "own")
        own = (b"own" * 10, {"x-amz-meta-text": "own"})
        keys = [info.key for info in store.list("b/", start_after="b/")]
        assert keys == sorted(keys)
        assert all(value == own for key, value in content_of(store).items() if key != "b/")
        assert len(keys) == 7
        store.close()

    @pytest.mark.parametrize("logged", [True, False], ids=["logged", "direct"])
    def test_a_stray_folder_with_a_name_of_ours_stops_nobody(self, tmp_path: Path, logged: bool) -> None:
        """One stray folder must not hold up the writer of all objects; what lies in it stays."""
        for name in ("k%file", ".k%meta", ".other%meta", "other%file", "l%file"):
            (tmp_path / "b" / name).mkdir(parents=True)
            (tmp_path / "b" / name / "stray").write_bytes(b"kept")
        (tmp_path / "b/other").write_bytes(b"by hand")
        store = LocalStore(tmp_path, logged=logged)
        assert store.head("b/other").size == 7
        put(store, "b/k", "first")
        put(store, "b/k/below", "second")
        put(store, "b/l/below", "third")
        put(store, "b/l", "fourth")
        store.replace_metadata("b/other", {"x-amz-meta-text": "other"})
        store.delete("b/other")
        assert [info.key for info in store.list("b/")] == ["b/k", "b/k/below", "b/l", "b/l/below"]
        assert content_of(store)["b/l"] == (b"fourth" * 10, {"x-amz-meta-text": "fourth"})
        store.close()
        assert len([path for path in tmp_path.rglob("stray") if path.read_bytes() == b"kept"]) == 5

    def test_pipes_and_links_in_a_circle_hold_nobody(self, tmp_path: Path) -> None:
        (tmp_path / "b/inner").mkdir(parents=True)
        os.mkfifo(tmp_path / "b/pipe")
        os.mkfifo(tmp_path / "b/.k%meta")
        (tmp_path / "b/k").write_bytes(b"data")
        (tmp_path / "b/inner/up").symlink_to(tmp_path / "b")
        (tmp_path / "b/inner/self").symlink_to(".")
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere/k").write_bytes(b"data")
        (tmp_path / "b/linked").symlink_to(tmp_path / "elsewhere")
        store = LocalStore(tmp_path)
        assert [info.key for info in store.list("b/")] == ["b/k", "b/linked/k"]
        assert b"".join(store.get("b/k").chunks) == b"data"
        with pytest.raises(NoSuchObject):
            store.get("b/pipe")
        store.close()


class TestListing:
    """Pages of a large folder, whose names are read once for as long as they stay the same."""

    COUNT = 1500

    @pytest.fixture(autouse=True)
    def clock_step(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(local_listing, "_CLOCK_STEP_NS", 200_000_000)

    def fill(self, root: Path) -> None:
        (root / "b/f").mkdir(parents=True)
        for number in range(self.COUNT):
            (root / f"b/f/{number:05}").touch()

    def age(self, root: Path) -> None:
        """Let the folder have been as it is for a while, as far as its own times can tell."""
        while (root / "b/f").stat().st_ctime_ns > time.time_ns() - 250_000_000:
            time.sleep(0.05)

    def test_a_page_does_not_read_the_whole_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fill(tmp_path)
        store = LocalStore(tmp_path)
        self.age(tmp_path)
        read: list[str] = []
        scandir = os.scandir

        def counted(path: str) -> Any:
            read.append(path)
            return scandir(path)

        monkeypatch.setattr(os, "scandir", counted)
        after, keys = "", []
        while page := list(islice(store.list("b/f/", start_after=after), 100)):
            keys += [info.key for info in page]
            after = keys[-1]
        assert keys == [f"b/f/{number:05}" for number in range(self.COUNT)]
        assert len(read) == 1
        store.close()

    def test_every_change_is_seen(self, tmp_path: Path) -> None:
        """By this store, by other hands, of a name alone, and right after the folder was read."""
        self.fill(tmp_path)
        store = LocalStore(tmp_path)
        self.age(tmp_path)
        folder = tmp_path / "b/f"
        expected = {f"b/f/{number:05}" for number in range(self.COUNT)}
        assert {info.key for info in store.list("b/f/")} == expected
        for number in range(20):
            put(store, f"b/f/own-{number}", "text")
            expected.add(f"b/f/own-{number}")
            assert {info.key for info in store.list("b/f/")} == expected
            (folder / f"hand-{number}").touch()
            expected.add(f"b/f/hand-{number}")
            assert {info.key for info in store.list("b/f/")} == expected
            (folder / f"hand-{number}").rename(folder / f"moved-{number}")
            expected ^= {f"b/f/hand-{number}", f"b/f/moved-{number}"}
            store.delete(f"b/f/{number:05}")
            expected.discard(f"b/f/{number:05}")
            assert {info.key for info in store.list("b/f/")} == expected
        self.age(tmp_path)
        list(store.list("b/f/"))
        (folder / "last").touch()
        os.utime(folder, ns=(1, 1))  # a time that is set back hides nothing
        assert "b/f/last" in {info.key for info in store.list("b/f/")}
        store.close()

    def test_what_is_kept_is_bounded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(local_listing, "LARGE_FOLDER_ENTRIES", 1)
        monkeypatch.setattr(local_listing, "KEPT_ENTRIES", 25)
        monkeypatch.setattr(local_listing, "_CLOCK_STEP_NS", -(10**12))
        for folder in range(10):
            (tmp_path / f"b/{folder}").mkdir(parents=True)
            for number in range(10):
                (tmp_path / f"b/{folder}/{number}").touch()
        listing = local_listing.KeyListing(f"{tmp_path}/")
        assert len(list(listing.walk(b"", b""))) == 100
        assert sum(len(kept.entries) for kept in listing._kept.values()) <= 25
        assert len(list(listing.walk(b"", b""))) == 100

    @given(
        keys=st.sets(st.text("ab/!é%.", min_size=1, max_size=6), max_size=12),
        prefix=st.text("ab/!", max_size=3),
        after=st.text("ab/!é", max_size=5),
    )
    @settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_a_listing_is_a_filter_of_all_keys(self, keys: set[str], prefix: str, after: str) -> None:
        with TemporaryDirectory() as root:
            store = LocalStore(root, logged=False)
            for key in keys:
                store.put(key, b"", {})
            expected = sorted(
                (key for key in keys if key.startswith(prefix) and key.encode() > after.encode()), key=str.encode
            )
            assert [info.key for info in store.list(prefix, start_after=after)] == expected
            store.close()


def replace_small(store: ObjectStore) -> None:
    put(store, "b/k", "new")


def replace_large(store: ObjectStore) -> None:
    put(store, "b/k", "new", LARGE)


def make_folders(store: ObjectStore) -> None:
    put(store, "b/x/y/z", "new")


def make_folders_large(store: ObjectStore) -> None:
    put(store, "b/x/y/z", "new", LARGE)


def move_aside(store: ObjectStore) -> None:
    put(store, "b/k/below", "new")


def change_metadata(store: ObjectStore) -> None:
    store.replace_metadata("b/k", {"x-amz-meta-text": "other"})


def remove(store: ObjectStore) -> None:
    store.delete("b/k")


def remove_last(store: ObjectStore) -> None:
    store.delete("c/only/one")


def small_then_large(store: ObjectStore) -> None:
    put(store, "b/k", "new")
    put(store, "b/k", "newest", LARGE)


CHANGERS: tuple[Callable[[ObjectStore], None], ...] = (
    replace_small,
    replace_large,
    make_folders,
    make_folders_large,
    move_aside,
    change_metadata,
    remove,
    remove_last,
    small_then_large,
)


def prepare(root: Path, *, logged: bool) -> None:
    store = LocalStore(root, logged=logged)
    put(store, "b/k", "old")
    put(store, "b/other", "other")
    put(store, "c/only/one", "one")
    store.close()


def run_until_killed(root: Path, change: Callable[[ObjectStore], None], number: int, *, logged: bool) -> bool:
    """Do ``change`` in a child that dies at its ``number``-th changing call; whether ``change`` had returned."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        counter = iter(range(number))
        lock = threading.Lock()
        write = os.write

        def dying(original: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                with lock:
                    if next(counter, None) is None:
                        os._exit(9)
                return original(*args, **kwargs)

            return call

        try:
            for name in CHANGES:
                setattr(os, name, dying(getattr(os, name)))
            store = LocalStore(root, logged=logged)
            change(store)
            write(write_end, b"done")
            store.close()
        finally:
            os._exit(0)
    os.close(write_end)
    _, status = os.waitpid(child, 0)
    done = os.read(read_end, 4) == b"done"
    os.close(read_end)
    assert os.waitstatus_to_exitcode(status) in (0, 9)
    if os.waitstatus_to_exitcode(status) == 0:
        assert done
        raise StopIteration
    return done


@pytest.mark.parametrize("logged", [True, False], ids=["logged", "direct"])
@pytest.mark.parametrize("change", CHANGERS)
def test_killed_at_every_call(tmp_path: Path, change: Callable[[ObjectStore], None], *, logged: bool) -> None:
    """Whatever the call at which the process dies: the old state or the new one, the new one if it was answered."""
    states: list[Content] = []
    root = tmp_path / "states"
    prepare(root, logged=logged)
    store = LocalStore(root, logged=logged)
    states.append(content_of(store))
    change(store)
    states.append(content_of(store))
    store.close()
    if change is small_then_large:
        states.insert(1, {**states[0], "b/k": (b"new" * 10, {"x-amz-meta-text": "new"})})
    for number in range(1, 200):
        root = tmp_path / str(number)
        prepare(root, logged=logged)
        try:
            done = run_until_killed(root, change, number, logged=logged)
        except StopIteration:
            return
        store = LocalStore(root, logged=logged)
        found = content_of(store)
        assert found in states, number
        assert not done or found == states[-1], number
        put(store, "b/k", "afterwards")  # and it goes on
        assert content_of(store)["b/k"] == (b"afterwards" * 10, {"x-amz-meta-text": "afterwards"})
        store.close()
        assert not list((root / "%work").iterdir())
    pytest.fail("the child never came to its end")


def test_power_is_lost_before_the_files_are_flushed(tmp_path: Path) -> None:
    """Only what the log holds survives: files are torn, names are missing, what was removed is back."""
    root, after = tmp_path / "root", tmp_path / "after"
    store = LocalStore(root)
    for number in range(50):
        put(store, f"b/{number % 7}/{number}", f"text {number}")
    put(store, "b/0/7", "large", LARGE)  # past the log, after a small one
    put(store, "b/1", "a file beside the folder")
    store.delete("b/2/9")
    store.replace_metadata("b/3/10", {"x-amz-meta-text": "changed"})
    expected = content_of(store)
    flushed = {"b/0/7", "b/3/10"}
    shutil.copytree(root, after)
    store.close()
    for number, path in enumerate(sorted(after.rglob("*"))):
        key = str(path.relative_to(after)).replace("/.", "/").removesuffix("%meta")
        if path.is_file() and "%work" not in path.parts and key not in flushed:
            if number % 3:
                path.write_bytes(b"\0" * (number % 5 * 20))
            else:
                path.unlink()
    (after / "b/2").mkdir(parents=True, exist_ok=True)
    (after / "b/2/9").write_bytes(b"back again")
    recovered = LocalStore(after)
    assert content_of(recovered) == expected
    recovered.close()


def test_a_torn_end_of_the_log_is_no_record(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "root")
    put(store, "b/one", "one")
    put(store, "b/two", "two")
    list(store.list(""))
    shutil.copytree(tmp_path / "root", tmp_path / "torn")
    store.close()
    shutil.rmtree(tmp_path / "torn/b")
    (log,) = (tmp_path / "torn/%work").rglob("*.log")
    whole = log.read_bytes()
    for cut in (1, 20, len(whole) // 2 - 1):
        log.write_bytes(whole[:-cut])
        shutil.copytree(tmp_path / "torn", tmp_path / f"cut-{cut}")
        recovered = LocalStore(tmp_path / f"cut-{cut}")
        assert list(content_of(recovered)) == ["b/one"]
        recovered.close()


def test_whoever_is_told_and_fails_does_not_stop_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = local_log.WriteLog(str(tmp_path))
    told = threading.Event()

    def careless(_segment: object, _error: StoreError | None) -> None:
        raise RuntimeError("nobody foresaw this")

    log.submit(local_log.LogRecord(operation=local_log.DELETE, key="a"), careless)
    log.submit(local_log.LogRecord(operation=local_log.DELETE, key="b"), lambda _segment, _error: told.set())
    assert told.wait(10)
    assert "nobody foresaw this" in caplog.text
    log.stop()
    log.close()
    assert [record.key for record in local_log.read_last_records(str(tmp_path))] == ["a", "b"]


def test_log_segments_are_retired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log does not grow for ever, and what left it is in files."""
    monkeypatch.setattr(local_log, "SEGMENT_BYTES", 5_000)
    store = LocalStore(tmp_path)
    for number in range(200):
        put(store, f"b/{number % 20}", f"text {number}", 20)
    list(store.list(""))
    logs = list((tmp_path / "%work").rglob("*.log"))
    assert sum(log.stat().st_size for log in logs) < 20_000
    assert len(content_of(store)) == 20
    store.close()


class TestDisk:
    @pytest.fixture(params=[True, False], ids=["logged", "direct"])
    def store(self, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[LocalStore]:
        opened = LocalStore(tmp_path, logged=request.param)
        put(opened, "b/k", "old")
        list(opened.list(""))
        yield opened
        opened.close()

    @pytest.mark.parametrize("size", [10, LARGE])
    def test_a_full_disk_can_be_mended(
        self, store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
    ) -> None:
        with failing(monkeypatch, "write", errno.ENOSPC), pytest.raises(StoreError) as caught:
            put(store, "b/k", "new", size)
        assert caught.value.retryable
        assert content_of(store) == {"b/k": (b"old" * 10, {"x-amz-meta-text": "old"})}
        left = [path for path in (tmp_path / "%work").rglob("*") if path.is_file() and path.suffix != ".log"]
        assert not left
        put(store, "b/k", "new", size)
        assert content_of(store) == {"b/k": (b"new" * size, {"x-amz-meta-text": "new"})}

    @pytest.mark.parametrize("size", [10, LARGE])
    def test_a_failed_flush_is_final(self, store: LocalStore, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
        with (
            failing(monkeypatch, "fsync", errno.EIO),
            failing(monkeypatch, "fdatasync", errno.EIO),
            pytest.raises(StoreError) as caught,
        ):
            put(store, "b/k", "new", size)
        assert not caught.value.retryable

    def test_files_that_cannot_be_written_yet(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is in the log is answered from memory, and from the log by the next process."""
        store = LocalStore(tmp_path)
        put(store, "b/k", "old")
        list(store.list(""))
        with failing(monkeypatch, "mkdir", errno.ENOSPC):
            put(store, "new/k", "new")
            assert b"".join(store.get("new/k").chunks) == b"new" * 10
            store.delete("b/k")
            with pytest.raises(NoSuchObject):
                store.head("b/k")
            store.close()
        again = LocalStore(tmp_path)
        assert content_of(again) == {"new/k": (b"new" * 10, {"x-amz-meta-text": "new"})}
        again.close()

    def test_a_full_disk_when_the_log_should_go_on_in_another_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The file that is there serves on; the next one is made when there is room."""
        monkeypatch.setattr(local_log, "SEGMENT_BYTES", 1_000)
        store = LocalStore(tmp_path)
        put(store, "b/first", "x")
        opened = os.open

        def fail(path: Any, flags: int, *rest: Any, **others: Any) -> int:
            if flags & os.O_CREAT and str(path).endswith(".log"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return opened(path, flags, *rest, **others)

        with monkeypatch.context() as patch:
            patch.setattr(os, "open", fail)
            for number in range(20):
                put(store, f"b/{number}", "full", 100)
                list(store.list(""))
        for number in range(20):
            put(store, f"b/{number}", "new", 100)
            list(store.list(""))
        assert sum(log.stat().st_size for log in (tmp_path / "%work").rglob("*.log")) < 5_000
        assert len(content_of(store)) == 21
        store.close()
        assert not list((tmp_path / "%work").iterdir())

    def test_memory_stays_small(self, tmp_path: Path) -> None:
        """A large object is never held: 300 MB pass through 60 MB of a fresh process."""
        script = """
            import resource, sys
            from opentrail.stores.local import LocalStore
            store = LocalStore(sys.argv[1])
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            store.put("b/large", (b"x" * 1_000_000 for _ in range(300)), {})
            assert sum(map(len, store.get("b/large").chunks)) == 300_000_000
            store.close()
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            assert grown < 60_000, grown
        """
        command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "root")]
        subprocess.run(command, check=True, timeout=120)


@pytest.mark.parametrize("logged", [True, False], ids=["logged", "direct"])
def test_files_and_folders_of_one_name_race(tmp_path: Path, *, logged: bool) -> None:
    """``a``, ``a/b`` and ``a/b/c`` come and go at once; in the end each is what its last writer left."""
    store = LocalStore(tmp_path, logged=logged)
    keys = ["r/a", "r/a/b", "r/a/b/c", "r/a/b/d"]
    errors: list[BaseException] = []

    def work(key: str, seed: int) -> None:
        try:
            for number in range(60):
                text = f"{key} {number}"
                put(store, key, text, 10 if (number + seed) % 3 else LARGE)
                got = store.get(key)
                assert got.info.metadata["x-amz-meta-text"] == text
                assert next(iter(got.chunks)).startswith(text.encode())
                if (number + seed) % 2:
                    store.delete(key)
                    with pytest.raises(NoSuchObject):
                        store.head(key)
            put(store, key, "last")
        except BaseException as error:  # noqa: BLE001  reported below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(key, seed)) for seed, key in enumerate(keys)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert content_of(store) == {key: (b"last" * 10, {"x-amz-meta-text": "last"}) for key in keys}
    store.close()


def test_a_folder_never_moves_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``a`` is in the way of ``a/b``, goes, and another put makes the folder ``a``: between any two system calls."""
    store = LocalStore(tmp_path, logged=False)
    put(store, "r/a", "file")
    put(store, "r/z", "keeps the folder")
    make, move = os.mkdir, os.rename

    def make_late(path: str, mode: int = 0o777) -> None:
        try:
            make(path, mode)
        except FileExistsError:
            store.delete("r/a")
            raise

    def move_late(source: str, target: str) -> None:
        if target.endswith("a%file") and not Path(source).exists():
            make(source)
            put(store, "r/a/c", "another's")
        move(source, target)

    monkeypatch.setattr(os, "mkdir", make_late)
    monkeypatch.setattr(os, "rename", move_late)
    put(store, "r/a/b", "folder")
    monkeypatch.undo()
    put(store, "r/a", "again")
    assert {"r/a", "r/a/b"} <= content_of(store).keys()
    assert not (tmp_path / "r" / "a%file").is_dir()
    store.close()


@pytest.mark.parametrize("foreign", [False, True])
def test_who_reads_while_an_object_is_replaced_finds_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, foreign: bool
) -> None:
    """A put finds out that its object is there already: whoever reads at any of its steps is told so too."""
    files = ObjectFiles(str(tmp_path))
    if foreign:
        (tmp_path / "a").write_bytes(b"old")
    else:
        place(files, tmp_path, b"old")
    real, readers, seen = os.open, list[threading.Thread](), list[object]()

    def read() -> None:
        try:
            seen.append(b"".join(files.open("a", "a", 0, None)[1]))
            seen.append(files.find("a", "a").metadata)
            seen.append([key for key, _ in files.list("", "")])
        except NoSuchObject as error:
            seen.append(error)

    def open_late(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_EXCL:
            readers.append(threading.Thread(target=read))
            readers[-1].start()
            readers[-1].join(timeout=0.2)  # it may wait for the put, and must not miss the object then
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", open_late)
    place(files, tmp_path, b"new")
    for reader in readers:
        reader.join()
    assert readers
    assert len(seen) == 3 * len(readers)
    assert all(item in (b"old", b"new", {}, ["a"]) for item in seen)


def place(files: ObjectFiles, root: Path, data: bytes) -> None:
    """Write a small object as the store does that has logged it."""
    entry = new_entry((0, 0, 0), hashlib.md5(data, usedforsecurity=False).hexdigest(), {})
    files.place("a", data, entry, str(root / "%new"), flush=False)


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads take turns as often as they can: what a race can do, it does soon."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("eager_threads")
def test_a_reader_sees_a_new_object_whole_or_not_at_all(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    data, metadata = b"z" * 60_000, {"x-amz-meta-a": "b"}
    seen: list[object] = []
    newest = "b/0"
    writing = True

    def read(*, whole: bool) -> None:
        while writing:
            try:
                info = store.get(newest).info if whole else store.head(newest)
                if whole and b"".join(store.get(newest).chunks) != data:
                    seen.append("other data")
                if (info.size, info.metadata) != (len(data), metadata):
                    seen.append(info)
            except NoSuchObject:
                continue
            except BaseException as error:  # noqa: BLE001  reported below
                seen.append(error)

    readers = [threading.Thread(target=read, kwargs={"whole": whole}) for whole in (True, True, False)]
    for reader in readers:
        reader.start()
    for number in range(1500):
        newest = f"b/{number}"
        store.put(newest, data, metadata)
    writing = False
    for reader in readers:
        reader.join()
    store.close()
    assert not seen


@pytest.mark.usefixtures("eager_threads")
@pytest.mark.parametrize("seed", range(3))
def test_changes_of_every_kind_at_once_come_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Each thread reads what it wrote last; so does whoever opens the store after a crash, or after its end."""
    monkeypatch.setattr(local_log, "SEGMENT_BYTES", 3_000)  # another file of the log every few changes
    store = LocalStore(tmp_path / "root")
    expected: Content = {}
    wrong: list[object] = []

    def work(thread: int) -> None:
        choose = random.Random(f"{seed} {thread}")
        keys = [f"b/{thread}", *(f"b/{thread}/{number}" for number in range(3))]
        mine: Content = {}
        try:
            for number in range(60):
                key, kind = choose.choice(keys), choose.random()
                data, metadata = f"{thread}.{number}.".encode(), {"x-amz-meta-number": str(number)}
                if kind < 0.5:
                    mine[key] = (data * choose.randrange(40), metadata)
                    stored_now(store, key, *mine[key])
                elif kind < 0.7:
                    mine[key] = (data * 30_000, metadata)
                    store.put(key, iter([mine[key][0]]), metadata)
                elif kind < 0.85:
                    mine.pop(key, None)
                    store.delete(key)
                elif key in mine:
                    mine[key] = (mine[key][0], metadata)
                    store.replace_metadata(key, metadata)
                if key in mine:
                    got = store.get(key)
                    assert (b"".join(got.chunks), got.info.metadata) == mine[key]
                else:
                    with pytest.raises(NoSuchObject):
                        store.head(key)
        except BaseException as error:  # noqa: BLE001  reported below
            wrong.append(error)
        expected.update(mine)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert content_of(store) == expected
    shutil.copytree(tmp_path / "root", tmp_path / "crashed")  # with a log that speaks of what was changed since
    store.close()
    for name in ("crashed", "root"):
        again = LocalStore(tmp_path / name)
        assert content_of(again) == expected
        again.close()


characters = st.sampled_from(
    ["a", "b", "/", ".", "%", "é", "\x01", "0", "😀", "~", "x" * 100, "é" * 60, "%meta", "%more"]
)
some_keys = st.lists(st.lists(characters, min_size=1, max_size=8).map("".join), max_size=20, unique=True)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(some_keys, st.lists(characters, max_size=4).map("".join), st.lists(characters, max_size=4).map("".join))
def test_any_keys_lie_apart_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, keys: list[str], prefix: str, start_after: str
) -> None:
    store = LocalStore(tmp_path_factory.mktemp("root"))
    for key in keys:
        store.put(key, key.encode(), {})
    for key in keys:
        assert b"".join(store.get(key).chunks) == key.encode()
    found = [info.key for info in store.list(prefix, start_after=start_after)]
    in_order = sorted(keys, key=str.encode)
    assert found == [key for key in in_order if key.startswith(prefix) and key.encode() > start_after.encode()]
    for key in keys:
        store.delete(key)
    assert list(store.list("")) == []
    store.close()
