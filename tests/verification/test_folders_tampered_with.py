"""Folders that somebody has been at: planted files, digests of a copy rewritten, objects that cannot be read."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opentrail.cli.main import main
from opentrail.testing.sample_trail import Objects, SampleTrail

Lay = Callable[[Objects], Path]
ACCOUNT = "111122223333"


def _verify(folder: Path, keys: Path, *further: str) -> tuple[int, list[dict[str, Any]], str]:
    words = ["verify", str(folder), "--public-keys", str(keys), "--json", "--account-id", ACCOUNT, *further]
    done = subprocess.run(
        [sys.executable, "-m", "opentrail.cli.main", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def _accused(lines: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(line["code"], line["key"]) for line in lines if line.get("severity") == "error"}


@pytest.mark.parametrize(
    "place", ["", "AAA/", "audit/AWSLogs/", f"audit/AWSLogs/{ACCOUNT}/CloudTrail-Digest/", "digests"]
)
def test_a_planted_file_turns_no_accusation_into_a_lost_signature(
    trail: SampleTrail, lay: Lay, keys: Path, place: str
) -> None:
    newest = trail.digests[-1]
    folder = lay({**trail.objects, newest: (trail.objects[newest][0], {})})
    planted = folder / (f"{newest.rpartition('/')[0]}/zzz" if place == "digests" else f"{place}planted")
    planted.parent.mkdir(exist_ok=True)
    planted.write_bytes(b"")
    status, lines, _ = _verify(folder, keys)
    assert (status, _accused(lines)) == (1, {("digest-unsigned", newest)})
    assert not {"metadata-lost", "digest-signature-lost"} & set(lines[-1]["findings"])


def test_a_store_with_the_metadata_of_a_single_digest_is_a_store(trail: SampleTrail, lay: Lay, keys: Path) -> None:
    folder = lay(trail.objects)
    kept = trail.digests[7]
    for path in folder.rglob(".*%meta"):
        if path.name != f".{kept.rpartition('/')[2]}%meta":
            path.unlink()
    status, lines, _ = _verify(folder, keys)
    assert status == 1
    assert _accused(lines) == {("digest-unsigned", key) for key in (*trail.digests, *trail.backfills) if key != kept}


def _copy(trail: SampleTrail, tmp_path: Path, changed: dict[str, bytes] | None = None) -> Path:
    """A plain copy, as ``aws s3 sync`` leaves it."""
    folder = tmp_path / "copy"
    for key, (data, _) in trail.objects.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((changed or {}).get(key, data))
    return folder


def _edited(trail: SampleTrail, key: str) -> bytes:
    return gzip.compress(gzip.decompress(trail.objects[key][0]) + b" ")


def test_what_a_copy_cannot_prove_stands_in_every_output(trail: SampleTrail, tmp_path: Path, keys: Path) -> None:
    """Nothing speaks against the copy, so it is valid; that its newest digests are unproven is said all the same."""
    said = [
        "not proven: 3 digests, of which the copy has lost the signature, and the log files they name",
        "not explained: 1 gap between digests, as the records that would say why were not read",
    ]
    folder, page, report = _copy(trail, tmp_path), tmp_path / "report.html", tmp_path / "report.json"
    status, lines, _ = _verify(folder, keys, "--report", str(page))
    assert (status, lines[-1]["verdict"]) == (0, "valid")
    assert [text for text in lines[-1]["reservations"] if not text.startswith(("not recorded", "not asked"))] == said
    verdict, _, below = page.read_text().partition("<h2>")
    assert [text in verdict for text in said] == [True, True]
    assert said[0] not in below
    words = ["verify", str(folder), "--public-keys", str(keys), "--account-id", ACCOUNT, "--report", str(report)]
    done = subprocess.run(
        [sys.executable, "-m", "opentrail.cli.main", *words], capture_output=True, text=True, timeout=60, check=False
    )
    *above, last = done.stdout.splitlines()
    assert last.startswith("VALID")
    assert [text in " ".join(" ".join(above[-9:]).split()) for text in said] == [True, True]
    assert json.loads(report.read_bytes())["result"]["reservations"] == lines[-1]["reservations"]


@pytest.mark.parametrize("count", [2, 12, 45])
def test_the_newest_digests_of_a_copy_cannot_be_rewritten(
    trail: SampleTrail, tmp_path: Path, keys: Path, count: int
) -> None:
    """None of them can be proven, and nobody knows which is genuine; but that they contradict each other is known."""
    edited = trail.digests[-count:]
    folder = _copy(trail, tmp_path, {key: _edited(trail, key) for key in edited})
    status, lines, _ = _verify(folder, keys)
    assert (status, lines[-1]["verdict"]) == (1, "tampered")
    disputed = {line["key"] for line in lines if line.get("code") == "digest-signature-disputed"}
    assert disputed <= {trail.digests[-count - 1], *edited} if count < len(trail.digests) else set(edited)
    assert len(disputed) >= count - 2
    assert lines[-1]["chains"][0]["digests"]["unchecked"] >= count


@pytest.mark.parametrize("is_plain", [False, True], ids=["store", "copy"])
def test_digests_of_another_bucket_before_the_good_ones_accuse_none_of_these(
    trail: SampleTrail, lay: Lay, tmp_path: Path, keys: Path, *, is_plain: bool
) -> None:
    """Nobody says what the bucket was called: a proven digest does, wherever it is."""
    members = {key: json.loads(gzip.decompress(trail.objects[key][0])) for key in trail.digests[:12]}
    forged = {
        key: gzip.compress(json.dumps({**each, "digestS3Bucket": "forged"}).encode()) for key, each in members.items()
    }
    if is_plain:
        folder = _copy(trail, tmp_path, forged)
    else:
        folder = lay({**trail.objects, **{key: (data, trail.objects[key][1]) for key, data in forged.items()}})
        folder = folder.rename(folder.with_name("a-name-of-its-own"))
    status, lines, _ = _verify(folder, keys)
    assert (status, _accused(lines)) == (1, {("digest-foreign", key) for key in forged})


def test_a_copy_of_which_no_digest_can_be_proven_is_not_checked(trail: SampleTrail, tmp_path: Path, keys: Path) -> None:
    folder = _copy(trail, tmp_path)
    for key in (*trail.digests[1:], *trail.backfills):
        (folder / key).unlink()
    (folder / trail.digests[0]).write_bytes(_edited(trail, trail.digests[0]))
    for path in (folder / "audit" / "AWSLogs" / ACCOUNT / "CloudTrail").rglob("*.gz"):
        path.unlink()
    status, lines, _ = _verify(folder, keys)
    assert (status, lines[-1]["verdict"], lines[-1]["chains"][0]["verdict"]) == (2, "not-checked", "not-checked")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
@pytest.mark.parametrize("what", ["log-file", "digest"])
def test_a_pipe_or_a_folder_in_the_place_of_an_object_is_no_object(
    trail: SampleTrail, lay: Lay, keys: Path, make: Callable[[Path], None], what: str
) -> None:
    digest = trail.full_digest(3)
    key = trail.files[digest][0] if what == "log-file" else digest
    folder = lay(trail.objects)
    (folder / key).unlink()
    make(folder / key)
    status, lines, _ = _verify(folder, keys)
    assert (status, _accused(lines)) == (1, {(f"{what}-missing", key)})


@pytest.mark.parametrize("what", ["log-file", "digest"])
def test_an_object_that_cannot_be_read_is_named(
    trail: SampleTrail, keys: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    """Whoever verifies may lack the right to read a file, and to write where they are: the former is what is told."""
    digest = trail.full_digest(3)
    key = trail.files[digest][0] if what == "log-file" else digest
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to other users
        root = Path(name)
        root.chmod(0o755)
        folder, given = _copy(trail, root), root / "keys.json"
        shutil.copy(keys, given)
        words = ["verify", str(folder), "--public-keys", str(given), "--account-id", ACCOUNT, "--jobs", "1"]
        assert main(words) == 0, "and all modules are loaded"
        capsys.readouterr()
        (folder / key).chmod(0)
        was = os.geteuid()
        if was == 0:
            os.seteuid(65534)  # root may read everything
        before = Path.cwd()
        os.chdir(root)
        try:
            status = main(words)
        finally:
            os.seteuid(was)
            os.chdir(before)
    captured = capsys.readouterr()
    said = captured.out + captured.err
    assert (status, key in said, "Permission denied" in said, "\nVALID" in said) == (2, True, True, False), said
