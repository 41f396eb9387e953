"""Objects that lie among the log files and are not named like one: who would read them, and what is innocent."""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from opentrail.core.errors import StoreError
from opentrail.core.findings import FindingCode
from opentrail.core.logfiles import encode_log_file
from opentrail.stores.base import StoredObject
from opentrail.stores.memory import MemoryStore
from opentrail.testing.sample_trail import BUCKET, FOLDER, Objects, SampleTrail, sample_record
from opentrail.testing.verified_bucket import VerifiedBucket, verify_bucket
from opentrail.verification import odd_objects

OWN = frozenset({FOLDER.account_id})
KIND = f"audit/AWSLogs/{FOLDER.account_id}/CloudTrail/"
REGION = f"{KIND}{FOLDER.region}/"
DAY = f"{REGION}2024/05/06/"
RECORDS = b'{"Records":[%s]}' % sample_record(666)
NOT_NAMED, UNEXPECTED = FindingCode.LOG_FILE_NOT_NAMED, FindingCode.OBJECT_UNEXPECTED


def _verify(trail: SampleTrail, planted: Objects, store: MemoryStore | None = None) -> VerifiedBucket:
    store = store or MemoryStore()
    for key, (data, metadata) in {**trail.objects, **planted}.items():
        store.put(key, data, metadata)
    return verify_bucket(store, trail.public_keys(), bucket=BUCKET, account_ids=OWN)


def _told(verified: VerifiedBucket) -> set[tuple[FindingCode, str]]:
    return {(each.code, each.key) for each in verified.findings if each.code in {NOT_NAMED, UNEXPECTED}}


@pytest.mark.parametrize("above", [DAY, f"{DAY}more/", KIND, REGION, f"{REGION}2024/"])
@pytest.mark.parametrize("name", ["evil", "evil.txt", "evil.log", "README.md", "2024", "a b", "x.json.gz.bak"])
def test_athena_reads_whatever_lies_in_the_folder(trail: SampleTrail, above: str, name: str) -> None:
    planted = f"{above}{name}"
    verified = _verify(trail, {planted: (RECORDS, {})})
    assert (_told(verified), verified.result.exit_code) == ({(NOT_NAMED, planted)}, 1)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("packed.bz2", bz2.compress(RECORDS)),
        ("packed.deflate", zlib.compress(RECORDS)),
        ("like-text.deflate", b"x^letters"),
        ("packed", encode_log_file([sample_record(666)]).data),
        ("wide.txt", RECORDS.decode().encode("utf-16")),
        ("long.txt", b" " * 70_000 + RECORDS),
        ("marked.txt", b"\xef\xbb\xbf" + RECORDS),
        ("x.json.gz/", RECORDS),
        ("2024/", encode_log_file([sample_record(666)]).data),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_however_it_is_packed(trail: SampleTrail, name: str, data: bytes) -> None:
    verified = _verify(trail, {f"{DAY}{name}": (data, {})})
    assert (_told(verified), verified.result.exit_code) == ({(NOT_NAMED, f"{DAY}{name}")}, 1)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("_SUCCESS", b""),
        (".DS_Store", b"\0\0\0\1Bud1{"),
        ("_temporary/part-0", RECORDS),
        (".Trash/evil", RECORDS),
        ("README.txt", "Nicht löschen: Beweise.\r\n\tDie Revision\n".encode()),
        ("more_$folder$", b""),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_what_people_and_programs_leave_behind_is_innocent(trail: SampleTrail, name: str, data: bytes) -> None:
    verified = _verify(trail, {f"{DAY}{name}": (data, {})})
    assert (_told(verified), verified.result.exit_code) == ({(UNEXPECTED, f"{DAY}{name}")}, 0)


def test_so_are_folders_that_a_console_made_and_what_lies_beside_them(trail: SampleTrail) -> None:
    folders = [DAY[: at + 1] for at, character in enumerate(DAY) if character == "/"]
    beside = (
        "README.txt",
        "audit/README.txt",
        "audit/athena-results/Unsaved/2024/05/06/0a1b.csv",
        "audit/AWSLogs/note",
    )
    planted: Objects = {key: (b"", {}) for key in (*folders, f"{DAY}empty/")}
    planted |= {key: (RECORDS, {}) for key in beside}
    verified = _verify(trail, {**planted, f"audit/AWSLogs/{FOLDER.account_id}/note": (RECORDS, {})})
    assert (_told(verified), verified.result.exit_code) == (set(), 0)


def test_hidden_files_that_end_like_log_files_are_read_by_zcat(trail: SampleTrail) -> None:
    planted = f"{DAY}_evil.json.gz"
    assert _told(_verify(trail, {planted: (b"", {})})) == {(NOT_NAMED, planted)}


class _Sealed(MemoryStore):
    """A store that gives nobody the objects that are called so."""

    def get(self, key: str, *, start: int = 0, end: int | None = None) -> StoredObject:
        if "sealed" in key:
            raise StoreError(f"{key}: InvalidObjectState", retryable=False)
        return super().get(key, start=start, end=end)


def test_what_cannot_be_looked_into_is_accused_by_its_name(trail: SampleTrail) -> None:
    planted = f"{DAY}sealed"
    verified = _verify(trail, {planted: (b"", {}), f"{DAY}_sealed": (b"", {})}, _Sealed())
    assert _told(verified) == {(NOT_NAMED, planted), (UNEXPECTED, f"{DAY}_sealed")}


def test_so_are_those_behind_many_others(trail: SampleTrail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(odd_objects, "_MOST_READ", 3)
    verified = _verify(trail, {f"{DAY}note-{number}": (b"", {}) for number in range(5)})
    codes = [code for code, _ in sorted(_told(verified), key=lambda each: each[1])]
    assert codes == [UNEXPECTED] * 3 + [NOT_NAMED] * 2
    verified = _verify(trail, {f"{DAY}{number}/": (b"", {}) for number in range(5)})
    assert not _told(verified), "markers"


def test_in_a_folder_too(trail: SampleTrail, lay: Callable[[Objects], Path], keys: Path) -> None:
    """As the same bucket of Opentrail's own store, by the command."""
    from opentrail.cli.main import main

    words = ["--public-keys", str(keys), "--account-id", FOLDER.account_id, "--quiet", "--jobs", "1"]
    folder = lay({**trail.objects, f"{DAY}_SUCCESS": (b"", {}), f"{DAY}note": (b"x", {})})
    assert main(["verify", str(folder), *words]) == 0
    (folder / DAY / "evil").write_bytes(RECORDS)
    assert main(["verify", str(folder), *words]) == 1
