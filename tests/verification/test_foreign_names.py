"""Names in a folder that nobody of the store's would have written: they are seen, and change nothing for the others."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from opentrail.cli.main import main
from opentrail.core.errors import NoSuchObject
from opentrail.core.layout import TrailFolder
from opentrail.core.logfiles import encode_log_file
from opentrail.core.public_keys import encode_public_keys
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.stores.local import LocalStore
from opentrail.stores.memory import MemoryStore
from opentrail.testing.sample_trail import FOLDER, Objects, SampleTrail, sample_record, store_bytes
from opentrail.testing.trail_writer import TrailWriter
from opentrail.verification.folder_source import FolderSource

Lay = Callable[[Objects], Path]
PLANTED = encode_log_file([sample_record(666)]).data
DAY = f"audit/AWSLogs/{FOLDER.account_id}/CloudTrail/{FOLDER.region}/2024/05/06/"
START = datetime(2024, 5, 6, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _resume_files_lie_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _verify(folder: Path, keys: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict[str, Any]]]:
    words = ("--public-keys", str(keys), "--account-id", FOLDER.account_id, "--json", "--jobs", "1")
    code = main(["verify", str(folder), *words])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def _of(code: str, lines: list[dict[str, Any]]) -> set[str]:
    return {line["key"] for line in lines if line.get("code") == code}


@pytest.mark.parametrize(
    "name",
    [
        "%zz.json.gz",
        "x%41.json.gz",
        "y" * 240 + ".json.gz",
        "%zz/x.json.gz",
        "a%more/x.json.gz",
        "b/%/c%25x/z.gz",
        "%.gz",
    ],
)
def test_in_a_store_what_it_would_not_have_written_is_read_by_others(
    trail: SampleTrail, lay: Lay, keys: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    folder = lay(trail.objects)
    planted = folder / DAY / name
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.write_bytes(PLANTED)
    code, lines = _verify(folder, keys, capsys)
    assert (code, len(_of("log-file-not-named", lines)), _of("digest-unsigned", lines)) == (1, 1, set())


@pytest.mark.parametrize(
    "place", [f"{DAY}../../", f"{DAY}../../../../"], ids=["beside the months", "beside the regions"]
)
def test_and_folders_beside_the_days(
    trail: SampleTrail, lay: Lay, keys: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    folder = lay(trail.objects)
    (folder / place / "%zz").mkdir()
    (folder / place / "%zz" / "x.json.gz").write_bytes(PLANTED)
    code, lines = _verify(folder, keys, capsys)
    assert (code, len(_of("log-file-not-named", lines))) == (1, 1)


def test_a_name_that_is_no_objects_stands_for_none(trail: SampleTrail, lay: Lay) -> None:
    """``x%41`` is where nothing of the store's lies: neither the object ``xA``, nor the one that is called ``x%41``."""
    folder = lay({"a/x%41": (b"genuine", {}), trail.digests[0]: trail.objects[trail.digests[0]]})
    (folder / "a" / "x%42").write_bytes(b"planted")
    source = FolderSource(str(folder))
    assert list(source.list_keys("a/")) == ["a/x%41", "a/x%42"]
    assert source.read("a/x%41", limit=100).data == b"genuine"
    for key in ("a/x%42", "a/xB", "a/xA"):
        with pytest.raises(NoSuchObject):
            source.read(key, limit=100)
    source.close()


def test_long_names_of_trails_are_in_several_folders_of_a_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its account, regions and time the name of a digest is longer than the store makes that of a file."""
    signing = RsaKeyFiles(tmp_path / "signing")
    store, memory = LocalStore(tmp_path / "objects"), MemoryStore()
    writer = TrailWriter(
        memory,
        TrailFolder(folder=FOLDER, trail_name="t" * 128, home_region=FOLDER.region),
        bucket="trail-bucket",
        signer=lambda end: signing.signer(FOLDER.region, now=START, digest_end_time=end),
        start=START,
    )
    digests = []
    for hour in range(1, 4):
        writer.put_log_file(START + timedelta(minutes=60 * hour - 9), [sample_record(hour)])
        digests.append(writer.put_digest(START + timedelta(hours=hour)))
    for info in memory.list(""):
        metadata = dict(memory.head(info.key).metadata)
        store.put(f"trail-bucket/{info.key}", store_bytes(memory, info.key), metadata)
    store.close()
    keys = tmp_path / "keys.json"
    keys.write_bytes(encode_public_keys(signing.list(FOLDER.region)))
    code, lines = _verify(tmp_path / "objects" / "trail-bucket", keys, capsys)
    assert (code, [chain["digests"]["valid"] for chain in lines[-1]["chains"]]) == (0, [3])
    source = FolderSource(str(tmp_path / "objects" / "trail-bucket"))
    assert list(source.list_keys(digests[1][:-30])) == digests
    assert next(source.list_keys("audit/", start_after=digests[1])) == digests[2]
    source.close()


@pytest.mark.parametrize("name", ["notes%meta", ".notes%meta", "digest%meta", ".gone%meta"])
def test_an_object_that_is_called_like_metadata_makes_no_copy_a_store(
    trail: SampleTrail, plain: Path, keys: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    digest = trail.digests[3]
    at, names = (
        plain / digest,
        {"digest%meta": f"{Path(digest).name}%meta", ".gone%meta": f".{Path(digest).name[:-9]}x%meta"},
    )
    (at.parent / names.get(name, name)).write_bytes(b"{}")
    (plain / "audit" / names.get(name, name)).write_bytes(b"{}")
    code, lines = _verify(plain, keys, capsys)
    assert (code, _of("digest-unsigned", lines)) == (0, set())


def test_whoever_says_that_the_metadata_are_lost_is_told_which_are_there(
    trail: SampleTrail, plain: Path, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sidecar = (plain / trail.digests[3]).with_name(f".{Path(trail.digests[3]).name}%meta")
    sidecar.write_bytes(b"{}")
    assert main(["verify", str(plain), "--public-keys", str(keys), "--metadata-lost"]) == 2
    assert sidecar.name in capsys.readouterr().err


@pytest.fixture
def deep(plain: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A day with a folder so deep that no path leads there, and with as many others as are not kept open."""
    day = plain / DAY
    monkeypatch.chdir(day)
    for _ in range(1500):
        os.mkdir("a")  # noqa: PTH102  pathlib would want the whole path
        os.chdir("a")
    Path("x.json.gz").write_bytes(PLANTED)
    os.chdir(day)
    for number in range(90):
        (day / f"b{number}").mkdir()
        (day / f"b{number}" / "x.json.gz").write_bytes(PLANTED)
    yield plain
    subprocess.run(["rm", "-rf", str(day)], check=True)  # Python's would come as deep as its stack


def test_a_folder_as_deep_as_nobody_makes_one_is_gone_over(
    trail: SampleTrail, deep: Path, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = trail.files[trail.full_digest(1)][0]
    (deep / missing).unlink()
    code, lines = _verify(deep, keys, capsys)
    assert (code, _of("log-file-missing", lines)) == (1, {missing})
    told = _of("log-file-not-named", lines)
    assert f"{DAY}{'a/' * 1500}x.json.gz" in {key for key in told if len(key) > 3000}
    assert len(told) == 91
