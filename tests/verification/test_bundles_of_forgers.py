"""Bundles that somebody made of an honest one: what a person may read in them is checked, or it is said not to be."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from opentrail.cli.main import main
from opentrail.core.public_keys import encode_public_keys
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.testing.trail_generator import GeneratedTrail, LocalFolder, TrailPlan, generate_trail
from opentrail.verification.bundle import (
    MANIFEST,
    OBJECTS,
    PUBLIC_KEYS,
    encode_entry,
    encode_line,
    metadata_name,
    place_of,
)
from opentrail.verification.stored_zip import StoredZipWriter

PLAN = TrailPlan(hours=12, files_per_hour=2, records_per_file=2)
SPAN = ("--start", "2024-05-06T02:00:00Z", "--end", "2024-05-06T08:00:00Z")
CONTRADICTS = "bundle-contradicts-manifest"

Members = dict[str, bytes]
Header = dict[str, Any]
Verify = Callable[..., tuple[int, dict[str, Any], list[Header]]]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("room")


@pytest.fixture(scope="module")
def trail(room: Path) -> GeneratedTrail:
    trail = generate_trail(PLAN, LocalFolder(room / "bucket"), RsaKeyFiles(room / "keys"))
    (room / "keys.json").write_bytes(encode_public_keys(trail.all_public_keys()))
    return trail


def _pack(source: Path, keys: Path, to: Path) -> int:
    return main(["evidence", str(source), *SPAN, "--public-keys", str(keys), "--jobs", "1", "-o", str(to)])


@pytest.fixture(scope="module")
def members(trail: GeneratedTrail, room: Path) -> Members:
    assert trail.chains
    assert _pack(room / "bucket", room / "keys.json", room / "case.zip") == 0
    with zipfile.ZipFile(room / "case.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _forge(members: Members, path: Path, edit: Callable[[Header], object] = lambda _: None, more: bytes = b"") -> str:
    """Write a bundle of ``members`` with a manifest that fits them, its first line edited, ``more`` at its end."""
    header = json.loads(members[MANIFEST].splitlines()[0])
    edit(header)
    lines = [encode_line(header)]
    with path.open("w+b") as file:
        writer = StoredZipWriter(file, place_of)
        for name in sorted(set(members) - {MANIFEST}, key=place_of):
            writer.add(name, io.BytesIO(members[name]))
            lines.append(encode_entry(name, len(members[name]), hashlib.sha256(members[name]).hexdigest()))
        writer.finish(MANIFEST, io.BytesIO(b"".join(lines) + more))
        writer.close()
    return str(path)


@pytest.fixture
def verify(capsys: pytest.CaptureFixture[str]) -> Verify:
    """Verifies: the exit code, the result, and the findings."""

    def run(path: str, *words: str) -> tuple[int, dict[str, Any], list[Header]]:
        capsys.readouterr()
        code = main(["verify", path, "--jobs", "1", "--json", *words])
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return code, lines[-1] if lines else {}, lines[:-1]

    return run


def test_what_is_packed_anew_without_a_lie_is_valid(members: Members, tmp_path: Path, verify: Verify) -> None:
    code, result, _ = verify(_forge(members, tmp_path / "case.zip"))
    assert (code, result["findings"]) == (0, {})


@pytest.mark.parametrize("asked", [{"start": "2024-01-01T00:00:00Z"}, {"end": "2024-05-06T20:00:00Z"}])
def test_a_time_that_was_asked_for_and_is_not_held_is_found(
    asked: dict[str, str], members: Members, tmp_path: Path, verify: Verify
) -> None:
    path = _forge(members, tmp_path / "case.zip", lambda header: header["requested"].update(asked))
    code, _, findings = verify(path)
    assert code == 1
    assert [(each["code"], each["key"]) for each in findings] == [(CONTRADICTS, MANIFEST)]


def _objects(members: Members, *, digests: bool) -> list[str]:
    names = [name.removeprefix(OBJECTS) for name in members if name.startswith(OBJECTS)]
    return [name for name in names if ("CloudTrail-Digest" in name) is digests]


def _tell_beside_a_log_file(members: Members) -> str:
    name = metadata_name(_objects(members, digests=False)[3])
    members[name] = encode_line({"note": "checked by the recording side"})
    return name


def _tell_beside_a_signature(members: Members) -> str:
    name = metadata_name(_objects(members, digests=True)[3])
    members[name] = members[name].replace(b"{", b'{"signature":"another, for whoever reads from the top",', 1)
    return name


def _tell_beside_the_keys(members: Members) -> str:
    keys = json.loads(members[PUBLIC_KEYS])
    members[PUBLIC_KEYS] = json.dumps({"Publisher": "the recording side", **keys}, indent=4).encode() + b"\n"
    return PUBLIC_KEYS


@pytest.mark.parametrize("tell", [_tell_beside_a_log_file, _tell_beside_a_signature, _tell_beside_the_keys])
def test_what_no_program_reads_is_found(
    tell: Callable[[Members], str], members: Members, tmp_path: Path, verify: Verify
) -> None:
    forged = dict(members)
    name = tell(forged)
    code, _, findings = verify(_forge(forged, tmp_path / "case.zip"))
    assert code == 1
    assert [(each["code"], each["details"]["member"]) for each in findings] == [(CONTRADICTS, name)]


@pytest.mark.parametrize(
    "line",
    [
        b'{"leftOut":"x","why":"y","note":"the court agreed"}\n',
        b'{"leftOut": "x", "why": "y"}\n',
        b'{"leftOut":"x"}\n',
        b"the court agreed\n",
        b"[" * 20_000 + b"\n",
        b'{"name":"z","size":0,"sha256":"","note":"the court agreed"}\n',
    ],
)
def test_a_line_of_the_manifest_has_one_spelling(line: bytes, members: Members, tmp_path: Path, verify: Verify) -> None:
    code, _, findings = verify(_forge(members, tmp_path / "case.zip", more=line))
    assert code == 1
    assert [(each["code"], each["key"]) for each in findings] == [(CONTRADICTS, MANIFEST)]


def test_a_first_line_with_more_than_programs_read_is_refused(
    members: Members, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _forge(members, tmp_path / "case.zip", lambda header: header.update(note="the court agreed"))
    assert main(["verify", path]) == 2
    assert "is not written as `opentrail evidence` writes it" in capsys.readouterr().err


def test_only_the_keys_that_signed_are_named_where_the_bundle_brings_them(
    members: Members, trail: GeneratedTrail, tmp_path: Path, verify: Verify, capsys: pytest.CaptureFixture[str]
) -> None:
    forged = dict(members)
    others = RsaKeyFiles(tmp_path / "others")
    others.signer("eu-west-1", now=trail.start)
    decoy = others.list("eu-west-1")
    forged[PUBLIC_KEYS] = encode_public_keys([*trail.all_public_keys(), *decoy])
    path = _forge(forged, tmp_path / "case.zip")
    code, result, _ = verify(path)
    said = " ".join(result["reservations"])
    assert code == 0
    assert "not proven: who signed" in said
    assert f"{trail.all_public_keys()[0].fingerprint} (7 digests)" in said
    assert decoy[0].fingerprint not in said, "whoever compares it finds it right, and it proves nothing"
    condition = "if the bundle's own public keys are those of the recording side"
    report = tmp_path / "report.html"
    assert main(["verify", path, "--jobs", "1", "--quiet", "--report", str(report)]) == 0
    assert condition in capsys.readouterr().out
    assert condition in unescape(report.read_text())
    (tmp_path / "keys.json").write_bytes(encode_public_keys(trail.all_public_keys()))
    _, result, _ = verify(path, "--public-keys", str(tmp_path / "keys.json"))
    assert "who signed" not in " ".join(result["reservations"])


def test_what_nobody_looks_at_is_said(members: Members, tmp_path: Path, verify: Verify) -> None:
    forged = {**members, "README.txt": b"Checked by the recording side.", "report.html": b"<h1>Valid"}
    _, result, _ = verify(_forge(forged, tmp_path / "case.zip"))
    assert any("README.txt, report.html, report.json" in sentence for sentence in result["reservations"])


def test_what_was_asked_for_is_missed_under_another_name_of_the_bucket_too(
    members: Members, tmp_path: Path, verify: Verify
) -> None:
    path = _forge(members, tmp_path / "case.zip", lambda header: header["requested"].update(accountIds=["9" * 12]))
    for words in ([], ["--original-bucket", PLAN.bucket]):
        code, _, findings = verify(path, *words)
        assert code == 1
        assert [(each["code"], each["key"]) for each in findings] == [("no-digests", "9" * 12)]


@pytest.mark.parametrize("option", ["--start", "--end"])
def test_a_time_that_the_bundle_does_not_hold_accuses_nobody(
    option: str, members: Members, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _forge(members, tmp_path / "case.zip")
    capsys.readouterr()
    assert main(["verify", path, option, "2024-05-06T00:00:00Z" if option == "--start" else "2024-05-07"]) == 2
    said = capsys.readouterr()
    assert "the bundle holds the digests that end from" in said.err
    assert not said.out


def test_what_lies_in_the_folders_of_days_and_is_not_taken_in_is_told(
    trail: GeneratedTrail, room: Path, tmp_path: Path, verify: Verify, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(room / "bucket", tmp_path / "bucket")
    chain = trail.chains[0]
    day = chain.log_files[chain.digests[4]][0].rpartition("/")[0]
    digests = chain.digests[4].rpartition("/")[0]
    planted = {f"{day}/more.json", f"{day.rpartition('/')[0]}/more.json.gz", f"{digests}/more.json.gz"}
    for key in planted:
        (tmp_path / "bucket" / key).write_bytes(b"{}")
    assert _pack(tmp_path / "bucket", room / "keys.json", tmp_path / "case.zip") == 0
    assert "and 2 more objects" in " ".join(capsys.readouterr().out.split())
    with zipfile.ZipFile(tmp_path / "case.zip") as archive:
        lines = [json.loads(line) for line in archive.read(MANIFEST).splitlines()]
        assert {line["leftOut"] for line in lines if "leftOut" in line} == planted
        assert planted & {name.removeprefix(OBJECTS) for name in archive.namelist()} == set()
    _, result, _ = verify(str(tmp_path / "case.zip"))
    (said,) = [each for each in result["reservations"] if each.startswith("not in the bundle, or not whole")]
    assert any(key in said for key in planted)
    assert "and 2 more objects" in said


def test_no_bundle_is_made_without_a_folder_that_cannot_be_listed(
    trail: GeneratedTrail, room: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(room / "bucket", tmp_path / "bucket")
    account = trail.chains[0].trail.folder.account_id
    (tmp_path / "bucket" / "AWSLogs" / ("9" * 12)).symlink_to(tmp_path / "bucket" / "AWSLogs" / account)
    assert _pack(tmp_path / "bucket", room / "keys.json", tmp_path / "case.zip") == 2
    assert f"AWSLogs/{'9' * 12}/: cannot be listed" in capsys.readouterr().err
    assert not (tmp_path / "case.zip").exists()
