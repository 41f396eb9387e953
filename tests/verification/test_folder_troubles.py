"""A folder on a medium that fails: what cannot be read is named, and is neither missing nor changed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from opentrail.cli.main import main
from opentrail.core.errors import NoSuchObject, StoreError
from opentrail.core.public_keys import encode_public_keys
from opentrail.stores.base import StoredObject
from opentrail.stores.memory import MemoryStore
from opentrail.testing.sample_trail import BUCKET, FOLDER, Objects, SampleTrail
from opentrail.verification.engine import Verification
from opentrail.verification.folder_source import FolderSource
from opentrail.verification.request import VerifyRequest
from opentrail.verification.store_source import StoreSource

Lay = Callable[[Objects], Path]
Fails = Callable[[str], bool]
Outcome = tuple[int, list[dict[str, Any]], str]  # the exit code, the lines of JSON, and what was said beside them
Verified = Callable[[], Outcome]


@pytest.fixture(autouse=True)
def _resume_files_lie_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def keys(trail: SampleTrail, tmp_path: Path) -> str:
    path = tmp_path / "keys.json"
    path.write_bytes(encode_public_keys(trail.public_keys()))
    return str(path)


def failing_open(monkeypatch: pytest.MonkeyPatch, fails: Fails, number: int) -> list[str]:
    """Have ``os.open`` fail with ``number`` for the paths that ``fails`` knows; those that did."""
    real, failed = os.open, []

    def fail(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if isinstance(path, str) and fails(path):
            failed.append(path)
            raise OSError(number, os.strerror(number), path)
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", fail)
    return failed


def failing_read(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    """Have ``os.read`` fail for the file ``name``."""
    real_open, real_read = os.open, os.read
    marked: set[int] = set()

    def note(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        descriptor = real_open(path, flags, mode, dir_fd=dir_fd)
        (marked.add if path == name else marked.discard)(descriptor)
        return descriptor

    def fail(descriptor: int, size: int) -> bytes:
        if descriptor in marked:
            raise OSError(number, os.strerror(number))
        return real_read(descriptor, size)

    monkeypatch.setattr(os, "open", note)
    monkeypatch.setattr(os, "read", fail)


def verify(folder: Path, keys: str, capsys: pytest.CaptureFixture[str], *words: str) -> Outcome:
    given = ("--public-keys", keys, "--json", "--jobs", "1", "--account-id", FOLDER.account_id)
    code = main(["verify", str(folder), *given, *words])
    said = capsys.readouterr()
    return code, [json.loads(line) for line in said.out.splitlines()], said.err


@pytest.fixture
def verified(trail: SampleTrail, lay: Lay, keys: str, capsys: pytest.CaptureFixture[str]) -> Verified:
    """Verifies the whole trail in a bucket of the local store."""
    folder = lay(trail.objects)
    return lambda: verify(folder, keys, capsys)


def unreachable(lines: list[dict[str, Any]]) -> list[str]:
    return [line["key"] for line in lines if line.get("code") == "log-file-unreachable"]


@pytest.mark.parametrize("trouble", [*product(("open", "read"), (errno.EIO, errno.EACCES, errno.ESTALE, errno.EMFILE))])
def test_a_log_file_that_cannot_be_read_is_named_and_the_others_are_checked(
    verified: Verified, trail: SampleTrail, monkeypatch: pytest.MonkeyPatch, trouble: tuple[str, int]
) -> None:
    how, number = trouble
    log = trail.files[trail.full_digest(3)][0]
    name = log.rpartition("/")[2]
    if how == "open":
        failing_open(monkeypatch, lambda path: path == name, number)
    else:
        failing_read(monkeypatch, name, number)
    code, lines, _ = verified()
    assert (code, unreachable(lines)) == (2, [log])
    (finding,) = (line for line in lines if line.get("key") == log)
    assert os.strerror(number) in finding["message"]
    (chain,) = lines[-1]["chains"]
    assert chain["logFiles"]["unchecked"] == 1
    assert chain["logFiles"]["valid"] == chain["logFiles"]["total"] - 1


@pytest.mark.parametrize("trouble", [*product(("digest", "sidecar", "folder"), (errno.EIO, errno.EACCES))])
def test_a_digest_that_cannot_be_read_is_named_and_not_accused(
    verified: Verified, trail: SampleTrail, monkeypatch: pytest.MonkeyPatch, trouble: tuple[str, int]
) -> None:
    """Its metadata lie in a file of their own: without them it would be a digest without a signature."""
    what, number = trouble
    digest = trail.full_digest(3)
    folder, _, name = digest.rpartition("/")
    day = folder.rpartition("/")[2]
    fails: dict[str, Fails] = {
        "digest": lambda path: path == name,
        "sidecar": lambda path: name in path and path != name,
        "folder": lambda path: path == day,
    }
    failed = failing_open(monkeypatch, fails[what], number)
    code, lines, said = verified()
    assert failed
    assert code == 2
    assert (name if what != "folder" else day) in said + json.dumps(lines)
    assert os.strerror(number) in said + json.dumps(lines)
    assert not [line for line in lines if line.get("severity") == "error"]


@pytest.mark.parametrize("is_remote", [False, True])
def test_the_other_chains_are_verified_all_the_same(trail: SampleTrail, is_remote: bool) -> None:
    """The trail's first account has a digest that nobody may read, the second one a digest that is broken."""
    unread, broken = trail.full_digest(0), trail.foreign
    objects = {**trail.objects, broken: (b"x", trail.objects[broken][1])}

    class Forbidden(MemoryStore):
        def get(self, key: str, *, start: int = 0, end: int | None = None) -> StoredObject:
            if key == unread:
                raise StoreError(f"{key!r}: forbidden", retryable=False)
            return super().get(key, start=start, end=end)

    store = Forbidden()
    for key, (data, metadata) in objects.items():
        store.put(key, data, metadata)
    accused: list[str] = []
    verification = Verification(
        StoreSource(lambda: store, name="memory", bucket=BUCKET, reads_at_once=4 if is_remote else 1),
        VerifyRequest(asked_at=trail.end, jobs=1),
        trail.public_keys(),
        on_finding=lambda _trail, finding: accused.append(finding.key),
        checked_at=trail.end,
        clock=lambda: 0.0,
    )
    assert verification.run().exit_code == 1
    assert {unread, broken} <= set(accused)
    assert len(verification.checkpoint().finished) == 2


def test_a_handle_that_got_stale_is_opened_once_more(
    verified: Verified, trail: SampleTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {key.rpartition("/")[2] for key in trail.objects}
    seen: set[str] = set()

    def is_stale(path: str) -> bool:
        first = path in names and path not in seen
        seen.add(path)
        return first

    failed = failing_open(monkeypatch, is_stale, errno.ESTALE)
    assert verified()[0] == 0
    assert len(failed) > 50


def test_a_medium_that_gives_less_than_it_has_is_read_to_its_end(
    verified: Verified, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.read
    monkeypatch.setattr(os, "read", lambda descriptor, size: real(descriptor, min(size, 100)))
    assert verified()[0] == 0


def test_a_folder_that_is_gone_meanwhile_is_no_trail_with_missing_files(trail: SampleTrail, plain: Path) -> None:
    source = FolderSource(str(plain))
    first, *others = (key for key in trail.objects if key.endswith(".json.gz"))
    assert source.read(first, limit=1 << 20).data
    with pytest.raises(NoSuchObject):
        source.read(first + ".not-there", limit=1)
    shutil.rmtree(plain)
    for key in others[:3]:
        with pytest.raises(StoreError, match="not there any more") as raised:
            source.read(key, limit=1 << 20)
        assert not isinstance(raised.value, NoSuchObject)
    with pytest.raises(StoreError, match="not there any more"):
        list(source.list_keys(""))
    source.close()


def test_pipes_sockets_and_links_are_not_read_and_hold_nobody(
    trail: SampleTrail, plain: Path, keys: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = [name for number in (1, 2, 3, 4) for name in trail.files[trail.full_digest(number)][:1]]
    for log in logs:
        (plain / log).rename(plain / "elsewhere") if log == logs[2] else (plain / log).unlink()
    os.mkfifo(plain / logs[0])
    monkeypatch.chdir((plain / logs[1]).parent)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        Path("s").rename(plain / logs[1])
        (plain / logs[2]).symlink_to(plain / "elsewhere")
        (plain / logs[3]).mkdir()
        code, lines, _ = verify(plain, keys, capsys, "--original-bucket", BUCKET)
    assert code == 1
    missing = [line["key"] for line in lines if line.get("code") == "log-file-missing"]
    assert sorted(missing) == sorted(logs)
