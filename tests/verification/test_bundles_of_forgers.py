"""Bundles that somebody made of an honest one: what a person may read in them is checked, or it is said not to be."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from opentrail.cli.main import main
from opentrail.core.errors import StoreError
from opentrail.core.layout import DigestKey, digest_prefix, format_digest_key, log_prefix
from opentrail.core.public_keys import encode_public_keys
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.testing.trail_generator import GeneratedChain, GeneratedTrail, LocalFolder, TrailPlan, generate_trail
from opentrail.verification.bundle import (
    GONE,
    HARMLESS,
    MANIFEST,
    MAX_LEFT_OUT_BYTES,
    OBJECTS,
    PUBLIC_KEYS,
    encode_entry,
    encode_left_out,
    encode_line,
    metadata_name,
    place_of,
)
from opentrail.verification.folder_source import FolderSource
from opentrail.verification.packing import Packing, PackingState, pack
from opentrail.verification.request import VerifyRequest
from opentrail.verification.source import OnKey, SourceObject, TrailSource, ignore_key
from opentrail.verification.stored_zip import StoredZipWriter
from opentrail.verification.wrapped_source import WrappedSource

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


def _told(findings: list[Header]) -> set[tuple[str, str]]:
    """Codes and keys, of those that are no mere facts."""
    return {(each["code"], each["key"]) for each in findings if each["type"] == "finding" and each["concern"] != "note"}


class Copied(NamedTuple):
    """A copy of the trail's bucket, the public keys, and where its bundle is to lie."""

    bucket: Path
    keys: Path
    case: Path
    chain: GeneratedChain

    def pack(self) -> int:
        return _pack(self.bucket, self.keys, self.case)

    def plant(self, key: str) -> None:
        path = self.bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"as it is" if key.endswith("README.txt") else b"{}")

    def hide(self, folder: str) -> None:
        """Put a link in the place of ``folder``: it cannot be listed."""
        elsewhere = self.case.parent / "elsewhere"
        shutil.move(self.bucket / folder, elsewhere)
        (self.bucket / folder).symlink_to(elsewhere)


@pytest.fixture
def copied(trail: GeneratedTrail, room: Path, tmp_path: Path) -> Copied:
    shutil.copytree(room / "bucket", tmp_path / "bucket")
    return Copied(tmp_path / "bucket", room / "keys.json", tmp_path / "case.zip", trail.chains[0])


def test_what_lies_in_the_folders_of_days_and_is_not_taken_in_is_told(
    copied: Copied, verify: Verify, capsys: pytest.CaptureFixture[str]
) -> None:
    chain = copied.chain
    day = chain.log_files[chain.digests[4]][0].rpartition("/")[0]
    digests = chain.digests[4].rpartition("/")[0]
    planted = {f"{day}/_more", f"{day.rpartition('/')[0]}/more.json.gz", f"{digests}/more.json.gz"}
    for key in planted:
        copied.plant(key)
    code, _, findings = verify(str(copied.bucket), *SPAN, "--public-keys", str(copied.keys))
    assert copied.pack() == code == 1
    assert "and 2 more objects" in " ".join(capsys.readouterr().out.split())
    with zipfile.ZipFile(copied.case) as archive:
        lines = [json.loads(line) for line in archive.read(MANIFEST).splitlines()]
        assert {line["leftOut"] for line in lines if "leftOut" in line} == planted
        assert planted & {name.removeprefix(OBJECTS) for name in archive.namelist()} == set()
    code, result, of_bundle = verify(str(copied.case))
    assert code == 1
    assert _told(of_bundle) == _told(findings), "the bundle is accused of what its source is accused of"
    (said,) = [each for each in result["reservations"] if each.startswith("not in the bundle, or not whole")]
    assert any(key in said for key in planted)
    assert "and 2 more objects" in said


_STRAYS = {
    "an object beside the accounts": ("AWSLogs/more.json.gz",),
    "an object that is read by nobody": ("AWSLogs/_SUCCESS",),
    "a folder with a log file in it": ("AWSLogs/more/deep/more.json.gz", "AWSLogs/more/a.txt"),
    "a folder with something in it": ("AWSLogs/{account}/CloudTrail/NOWHERE/_notes",),
    "a folder with much in it": tuple(f"AWSLogs/{{account}}/CloudTrail/NOWHERE/_{number}" for number in range(1001)),
    "a text in a day": ("AWSLogs/{account}/CloudTrail/{region}/2024/05/06/README.txt",),
    "records in a day": ("AWSLogs/{account}/CloudTrail/{region}/2024/05/06/evil",),
    "a text above the days": ("AWSLogs/{account}/CloudTrail/{region}/README.txt",),
    "records above the days": ("AWSLogs/{account}/CloudTrail/{region}/evil.txt",),
    "something among the digests": ("AWSLogs/{account}/CloudTrail-Digest/{region}/2024/05/06/evil.json.gz",),
    "a day that is none": ("AWSLogs/{account}/CloudTrail/{region}/2024/13/more.json.gz",),
    "more than are told one by one": tuple(f"AWSLogs/{number}.json.gz" for number in range(1002)),
}


@pytest.mark.parametrize("name", _STRAYS)
def test_a_bundle_is_no_better_than_its_source_for_what_is_not_taken_in(
    name: str, copied: Copied, verify: Verify
) -> None:
    folder = copied.chain.trail.folder
    for key in _STRAYS[name]:
        copied.plant(key.format(account=folder.account_id, region=folder.region))
    expected, _, findings = verify(str(copied.bucket), *SPAN, "--public-keys", str(copied.keys))
    code = copied.pack()
    again, result, of_bundle = verify(str(copied.case))
    assert code == again
    assert bool(code) == bool(expected)
    is_told = any(each["severity"] != "info" for each in findings)
    assert any("not in the bundle" in said for said in result["reservations"]) == is_told
    if code == 1:
        assert _told(of_bundle) == _told(findings)


def test_what_cannot_be_listed_is_not_in_the_bundle_and_the_rest_is(
    copied: Copied, verify: Verify, capsys: pytest.CaptureFixture[str]
) -> None:
    account = copied.chain.trail.folder.account_id
    (copied.bucket / "AWSLogs" / ("9" * 12)).symlink_to(copied.bucket / "AWSLogs" / account)
    assert copied.pack() == 2
    assert "what it holds is not checked" in capsys.readouterr().out
    code, result, findings = verify(str(copied.case))
    assert (code, result["verdict"]) == (2, "not-checked")
    assert _told(findings) == {("folder-unreachable", f"AWSLogs/{'9' * 12}/")}
    assert "whoever packed the bundle" in findings[0]["message"]
    (chain,) = result["chains"]
    assert (chain["verdict"], chain["logFiles"]["valid"]) == ("valid", chain["logFiles"]["total"])
    assert any("cannot be listed" in said for said in result["reservations"])


@pytest.mark.parametrize("of", ["digests", "logs"])
@pytest.mark.parametrize("day", ["2024/05/06", "2024/05/07", "2024/05/08"])
def test_a_day_that_cannot_be_listed_is_left_out_of_the_bundle_alone(
    day: str, of: str, tmp_path: Path, verify: Verify
) -> None:
    plan = TrailPlan(hours=72, files_per_hour=1, records_per_file=1)
    trail = generate_trail(plan, LocalFolder(tmp_path / "bucket"), RsaKeyFiles(tmp_path / "keys"))
    (tmp_path / "keys.json").write_bytes(encode_public_keys(trail.all_public_keys()))
    copied = Copied(tmp_path / "bucket", tmp_path / "keys.json", tmp_path / "case.zip", trail.chains[0])
    prefix = (digest_prefix if of == "digests" else log_prefix)(copied.chain.trail.folder)
    copied.hide(f"{prefix}{day}")
    words = ["--start", "2024-05-06T05:00:00Z", "--end", "2024-05-08T12:00:00Z", "--public-keys", str(copied.keys)]
    expected, _, at_source = verify(str(copied.bucket), *words)
    code = main(["evidence", str(copied.bucket), *words, "--jobs", "1", "-o", str(copied.case)])
    again, _, findings = verify(str(copied.case))
    assert code == again == expected == 2, (at_source, findings)
    assert ("folder-unreachable", f"{prefix}{day}/") in _told(findings) & _told(at_source)
    assert {code for code, _ in _told(findings)} == {code for code, _ in _told(at_source)}
    assert not [each for each in findings if each["severity"] == "error"], "nobody is accused for it"


@pytest.mark.parametrize("can_read", [True, False])
def test_log_files_of_a_day_that_cannot_be_listed_are_packed_by_their_names(
    can_read: bool, trail: GeneratedTrail, room: Path, tmp_path: Path, verify: Verify
) -> None:
    chain = trail.chains[0]
    day = chain.log_files[chain.digests[4]][0].rpartition("/")[0] + "/"
    source = _ListsNot(FolderSource(str(room / "bucket")), day, can_read=can_read)
    packing = Packing(
        source=source,
        request=VerifyRequest(start=trail.start, end=trail.start + timedelta(hours=6), original_bucket=PLAN.bucket),
        public_keys=trail.all_public_keys(),
        keys_origin="a test",
        name="case.zip",
        version="1.2.3",
        made_at=datetime.now(UTC),
        clock=time.monotonic,
    )
    with (tmp_path / "case.zip").open("w+b") as file:
        result = pack(packing, file, file.name, PackingState())
    code, told, findings = verify(str(tmp_path / "case.zip"))
    assert code == result.exit_code == 2, findings
    counts = told["chains"][0]["logFiles"]
    assert counts["valid" if can_read else "unchecked"] == counts["total"] > 10
    assert (
        {"folder-unreachable"}
        <= {code for code, _ in _told(findings)}
        <= {
            "folder-unreachable",
            "log-file-unreachable",
        }
    )


class _ListsNot(WrappedSource):
    """Lists all but ``folder``; what lies there can be read, or not."""

    def __init__(self, source: TrailSource, folder: str, *, can_read: bool) -> None:
        super().__init__(source)
        self._folder = folder
        self._can_read = can_read

    def list_keys(self, prefix: str, *, start_after: str = "") -> Iterator[str]:
        for key in self._source.list_keys(prefix, start_after=start_after):
            if key.startswith(self._folder):
                raise StoreError("AccessDenied", retryable=False)
            yield key

    def list_folders(self, prefix: str, *, beside: OnKey = ignore_key) -> list[str]:
        if prefix.startswith(self._folder):
            raise StoreError("AccessDenied", retryable=False)
        return self._source.list_folders(prefix, beside=beside)

    def read_chunks(self, key: str) -> Iterator[bytes]:
        return self._source.read_chunks(key)

    def sibling(self, bucket: str) -> TrailSource | None:
        return self._source.sibling(bucket)

    def read(self, key: str, *, limit: int) -> SourceObject:
        if key.startswith(self._folder) and not self._can_read:
            raise StoreError("AccessDenied", retryable=False)
        return self._source.read(key, limit=limit)


def _left_out(*keys: str, why: str = "it cannot be read: AccessDenied") -> bytes:
    return b"".join(encode_left_out(key, why) for key in keys)


@pytest.mark.parametrize("which", ["log file", "digest", "day", "everything"])
def test_what_a_forger_says_was_left_out_is_not_valid_and_nobody_is_accused_for_it(
    which: str, members: Members, tmp_path: Path, verify: Verify
) -> None:
    """Whoever removes an object from a bundle can write such a line: it says that nothing is known, and no more."""
    digests, logs = _objects(members, digests=True), _objects(members, digests=False)
    keys = {"log file": logs[3:4], "digest": digests[3:4], "day": logs, "everything": [*logs, *digests[1:]]}[which]
    said = [f"{keys[0].rpartition('/')[0]}/"] if which == "day" else keys
    gone = {*(OBJECTS + key for key in keys), *map(metadata_name, keys)}
    changed = {name: data for name, data in members.items() if name not in gone}
    assert verify(_forge(changed, tmp_path / "without.zip"))[0] != 0
    code, result, findings = verify(_forge(changed, tmp_path / "case.zip", more=_left_out(*said)))
    assert not [each for each in findings if each["severity"] == "error"], findings
    assert (code, result["verdict"]) == (2, "not-checked")
    assert any(min(said) in each for each in result["reservations"])


@pytest.mark.parametrize("which", [0, -1])
def test_neighbours_that_were_left_out_are_said_to_be(
    which: int, members: Members, tmp_path: Path, verify: Verify
) -> None:
    """They are outside of the time that the bundle tells of, but for what they say of it."""
    key = _objects(members, digests=True)[which]
    gone = {OBJECTS + key, metadata_name(key)}
    changed = {name: data for name, data in members.items() if name not in gone}
    _, result, findings = verify(_forge(changed, tmp_path / "case.zip", more=_left_out(key)))
    assert not [each for each in findings if each["severity"] == "error"], findings
    assert any(key in each for each in result["reservations"])


@pytest.mark.parametrize("key", ["", "/", "x", "../x", "x/", "AWSLogs/" + "x" * 3000, "\ud800", "\udcff/a"])
def test_whatever_is_said_to_be_left_out_hides_no_damage(
    key: str, members: Members, tmp_path: Path, verify: Verify
) -> None:
    name = _objects(members, digests=False)[2]
    path = _forge(members | {OBJECTS + name: b"forged"}, tmp_path / "case.zip", more=_left_out(key))
    code, _, findings = verify(path)
    assert code == 1
    assert {each["key"] for each in findings if each["severity"] == "error"} >= {name}


def test_more_than_anybody_would_look_at_is_not_left_out(members: Members, tmp_path: Path, verify: Verify) -> None:
    lines = _left_out("x" * 15_000) * (MAX_LEFT_OUT_BYTES // 15_000)
    assert verify(_forge(members, tmp_path / "case.zip", more=lines))[0] == 2


@pytest.mark.parametrize("why", [GONE, HARMLESS, "it cannot be read"])
@pytest.mark.parametrize("key", ["AWSLogs/{}/CloudTrail/eu-west-1/2001/01/01/x.json.gz", "AWSLogs/{}/", "x/"])
def test_an_account_that_was_asked_for_is_not_there_because_somebody_says_so(
    key: str, why: str, members: Members, tmp_path: Path, verify: Verify
) -> None:
    path = tmp_path / "case.zip"
    line = _left_out(key.format("9" * 12), why=why)
    code, _, _ = verify(_forge(members, path, lambda header: header["requested"].update(accountIds=["9" * 12]), line))
    assert code in {1, 2}


@pytest.mark.parametrize("hours", [-20, -5, 3, 30])
def test_no_line_makes_a_planted_log_file_anybodys(
    hours: int, trail: GeneratedTrail, members: Members, tmp_path: Path, verify: Verify
) -> None:
    """A digest of another trail, which is said to have been left out, would make it that trail's."""
    log = _objects(members, digests=False)[3]
    planted = f"{OBJECTS}{log.removesuffix('.json.gz')[:-3]}zzz.json.gz"
    end = trail.start + timedelta(hours=2 + hours)
    other = format_digest_key(DigestKey(trail=replace(trail.chains[0].trail, trail_name="other"), end_time=end))
    forged = members | {planted: members[OBJECTS + log]}
    assert verify(_forge(forged, tmp_path / "without.zip"))[0] == 1
    code, _, _ = verify(_forge(forged, tmp_path / "case.zip", more=_left_out(other)))
    assert code in {1, 2}
