"""``opentrail evidence`` and ``opentrail verify`` of what it makes, as a user runs them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from datetime import datetime
from pathlib import Path

import pytest

from opentrail.cli.main import build_parser, main
from opentrail.cli.verify import open_named_source, request_of
from opentrail.cli.verify_options import SOURCE_OPTIONS, VERIFY_OPTIONS, read_options
from opentrail.core.public_keys import encode_public_keys
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.testing.aws_cli import judge_environment
from opentrail.testing.static_bucket import bucket_of_folder, serving
from opentrail.testing.trail_generator import GeneratedTrail, LocalFolder, TrailPlan, generate_trail

PLAN = TrailPlan(hours=30, files_per_hour=2, records_per_file=2, regions=("eu-west-1", "us-east-1"))
OPENTRAIL = str(Path(sys.executable).with_name("opentrail"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trail")


@pytest.fixture(scope="module")
def trail(folder: Path) -> GeneratedTrail:
    trail = generate_trail(PLAN, LocalFolder(folder / "bucket"), RsaKeyFiles(folder / "keys"))
    (folder / "keys.json").write_bytes(encode_public_keys(trail.all_public_keys()))
    return trail


@pytest.fixture
def words(trail: GeneratedTrail, folder: Path, tmp_path: Path) -> list[str]:
    span = ["--start", f"{trail.start:%Y-%m-%dT%H:%M:%SZ}", "--end", "2024-05-06T20:00:00Z"]
    keys = ["--public-keys", str(folder / "keys.json"), "--jobs", "1"]
    return ["evidence", str(folder / "bucket"), *span, *keys, "-o", str(tmp_path / "case.zip")]


def test_a_bundle_verifies_alone(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "2 chains, 41 digests and 82 log files as delivered" in " ".join(said.split())
    assert hashlib.sha256((tmp_path / "case.zip").read_bytes()).hexdigest() in said, "for the chain of custody"
    assert "what it holds is valid" in said
    assert main(["verify", str(tmp_path / "case.zip"), "--jobs", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [chain["logFiles"]["valid"] for chain in result["chains"]] == [40, 42]
    assert [path.name for path in tmp_path.iterdir()] == ["case.zip"]
    with zipfile.ZipFile(tmp_path / "case.zip") as archive:
        assert json.loads(archive.read("report.json"))["result"]["verdict"] == "valid"
        assert b"Everything that was checked is as it was delivered" in archive.read("report.html")
        assert b"opentrail verify case.zip" in archive.read("README.txt")


def test_what_lies_beside_the_trail_is_told_and_not_taken_in(words: list[str], tmp_path: Path) -> None:
    shutil.copytree(words[1], tmp_path / "bucket")
    planted = "AWSLogs/CloudTrail.json.gz"
    (tmp_path / "bucket" / planted).write_bytes(b"")
    assert main([words[0], str(tmp_path / "bucket"), *words[2:]]) == 1, "as at the source"
    with zipfile.ZipFile(tmp_path / "case.zip") as archive:
        assert f"objects/{planted}" not in archive.namelist()
        assert any(json.loads(line).get("leftOut") == planted for line in archive.read("manifest.jsonl").splitlines())
        assert planted in archive.read("report.html").decode()
        assert any(planted in note for note in json.loads(archive.read("report.json"))["notes"])


def test_its_own_keys_are_named_and_others_are_taken_instead(
    words: list[str], trail: GeneratedTrail, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    assert main(["verify", str(tmp_path / "case.zip"), "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert all(key.fingerprint in said for key in trail.all_public_keys()), "keys of the bundle prove little"
    assert "if the bundle's own public keys are those of the recording side" in said.splitlines()[-1]
    others = RsaKeyFiles(tmp_path / "others")
    others.signer("eu-west-1", now=trail.start)
    (tmp_path / "others.json").write_bytes(encode_public_keys(others.list("eu-west-1")))
    assert (
        main(["verify", str(tmp_path / "case.zip"), "--jobs", "1", "--public-keys", str(tmp_path / "others.json")]) == 1
    )
    assert "digest-key-unknown" in capsys.readouterr().out


def test_damage_is_packed_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = TrailPlan(hours=6, files_per_hour=2, records_per_file=2)
    trail = generate_trail(plan, LocalFolder(tmp_path / "bucket"), RsaKeyFiles(tmp_path / "keys"))
    (tmp_path / "keys.json").write_bytes(encode_public_keys(trail.all_public_keys()))
    chain = trail.chains[0]
    gone = chain.log_files[chain.digests[2]][1]
    (tmp_path / "bucket" / gone).unlink()
    words = ["--start", "2024-05-06", "--end", "2024-05-07", "--public-keys", str(tmp_path / "keys.json")]
    words += ["--jobs", "1", "-o", str(tmp_path / "case.zip")]
    assert main(["evidence", str(tmp_path / "bucket"), *words]) == 1
    assert "log-file-missing: 1" in capsys.readouterr().out
    assert main(["verify", str(tmp_path / "case.zip"), "--jobs", "1"]) == 1
    assert gone in capsys.readouterr().out
    with zipfile.ZipFile(tmp_path / "case.zip") as archive:
        assert gone.encode() in archive.read("report.html")


def test_a_changed_bundle_is_found(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    path = tmp_path / "case.zip"
    data = bytearray(path.read_bytes())
    data[data.index(b"To check it")] ^= 1
    path.write_bytes(data)
    capsys.readouterr()
    assert main(["verify", str(path), "--jobs", "1"]) == 1
    assert "bundle-contradicts-manifest" in capsys.readouterr().out


def test_a_file_that_is_there_is_not_replaced_unasked(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "case.zip").write_bytes(b"precious")
    assert main(words) == 2
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "case.zip").read_bytes() == b"precious"
    assert main([*words, "--force"]) == 0
    assert zipfile.is_zipfile(tmp_path / "case.zip")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"--end": None}, "--start and --end"),
        ({"--start": "2024-06-01", "--end": "2024-06-02"}, "nothing of a trail lies there"),
        ({"--start": "2130-01-01", "--end": "2130-01-02"}, "that time has not come yet"),
        ({"--public-keys": "nowhere.json"}, "nowhere.json"),
        ({"-o": "nowhere/case.zip"}, "-o nowhere/case.zip: there is no folder nowhere"),
    ],
)
def test_what_cannot_be_made_is_refused_and_leaves_nothing(
    words: list[str], changes: dict[str, str | None], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in changes.items():
        at = words.index(name)
        words[at : at + 2] = [] if value is None else [name, value]
    assert main(words) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_bucket_makes_the_bundle_that_its_folder_makes(
    words: list[str], trail: GeneratedTrail, folder: Path, tmp_path: Path
) -> None:
    assert main(words) == 0
    bucket = bucket_of_folder(folder / "bucket", PLAN.bucket, trail.all_public_keys())
    with serving(bucket) as url:
        command = [OPENTRAIL, "evidence", f"s3://{PLAN.bucket}", *words[2:-1], str(tmp_path / "s3.zip")]
        done = subprocess.run(
            command,
            env=judge_environment("eu-west-1") | {"AWS_ENDPOINT_URL": url},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / "case.zip") as one, zipfile.ZipFile(tmp_path / "s3.zip") as other:
        assert one.namelist() == other.namelist()
        for name in one.namelist():
            if name.startswith(("objects/", "metadata/", "public-keys")):
                assert one.read(name) == other.read(name), name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing(
    number: signal.Signals, words: list[str], trail: GeneratedTrail, folder: Path, tmp_path: Path
) -> None:
    bucket = bucket_of_folder(folder / "bucket", PLAN.bucket, trail.all_public_keys())
    with serving(bucket, delay_seconds=0.3) as url:
        command = [OPENTRAIL, "evidence", f"s3://{PLAN.bucket}", *words[2:]]
        running = subprocess.Popen(
            command, env=judge_environment("eu-west-1") | {"AWS_ENDPOINT_URL": url}, stderr=subprocess.DEVNULL
        )
        for _ in range(1000):
            if list(tmp_path.iterdir()):
                break
            time.sleep(0.01)
        running.send_signal(number)
        assert running.wait(30) == 130
    assert list(tmp_path.iterdir()) == []


def test_what_was_asked_for_and_is_not_there_is_found_in_the_bundle_too(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--region", "eu-west-1", "--account-id", "111122223333", "--account-id", "999999999999"]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "only account-id 111122223333, account-id 999999999999, region eu-west-1" in said
    assert main(["verify", str(tmp_path / "case.zip"), "--jobs", "1", "--json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["key"] for line in lines if line.get("code") == "no-digests"] == ["999999999999"]
    assert [chain["region"] for chain in lines[-1]["chains"]] == ["eu-west-1"]
    with zipfile.ZipFile(tmp_path / "case.zip") as archive:
        requested = json.loads(archive.read("manifest.jsonl").splitlines()[0])["requested"]
        assert requested["accountIds"] == ["111122223333", "999999999999"]
        assert requested["regions"] == ["eu-west-1"]
        assert b"account-id 999999999999, region eu-west-1" in archive.read("README.txt")
        report = archive.read("report.html").decode()
    assert "999999999999" in report
    assert "Asked for: account-id 111122223333" in report


@pytest.mark.parametrize("region", PLAN.regions)
def test_a_bundle_of_one_region_does_not_miss_the_others(
    region: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--region", region]) == 0
    assert main(["verify", str(tmp_path / "case.zip"), "--jobs", "1"]) == 0
    assert "home-region-absent" not in capsys.readouterr().out


def _verdict_elsewhere(path: Path, home: Path) -> tuple[list[dict[str, object]], dict[str, object]]:
    """Findings and result of ``path`` on a machine without a network, a home or settings (as far as a test can)."""
    alone = ["unshare", "--net", "--map-root-user"]
    can = shutil.which("unshare") and subprocess.run([*alone, "true"], capture_output=True, check=False).returncode == 0
    command = [*(alone if can else []), OPENTRAIL, "verify", path.name, "--json"]
    env = {"PATH": os.environ["PATH"], "HOME": str(home)}
    done = subprocess.run(command, cwd=path.parent, env=env, capture_output=True, text=True, timeout=60, check=False)
    *findings, result = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == result["exitCode"], done.stderr
    assert not list(home.iterdir()), "nothing is written"
    return findings, result


def test_what_is_too_large_is_found_wrong_in_the_bundle_as_it_is_at_the_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = TrailPlan(hours=6, files_per_hour=2, records_per_file=2)
    bucket = LocalFolder(tmp_path / "bucket")
    trail = generate_trail(plan, bucket, RsaKeyFiles(tmp_path / "keys"))
    (tmp_path / "keys.json").write_bytes(encode_public_keys(trail.all_public_keys()))
    chain = trail.chains[0]
    log = chain.log_files[chain.digests[4]][0]
    bucket.put(log, (tmp_path / "bucket" / log).read_bytes() + bytes(65 << 20), {})  # more than is read ahead
    bucket.put(chain.digests[1], bytes(18 << 20), {})  # more than is read
    span = ["--start", "2024-05-06", "--end", "2024-05-07", "--public-keys", str(tmp_path / "keys.json"), "--jobs", "1"]
    main(["verify", str(tmp_path / "bucket"), *span, "--json"])
    expected = [json.loads(line) for line in capsys.readouterr().out.splitlines()][:-1]
    bad = {(finding["code"], finding["key"]) for finding in expected if finding["severity"] == "error"}
    assert bad >= {("digest-too-large", chain.digests[1]), ("log-file-trailing-data", log)}
    assert main(["evidence", str(tmp_path / "bucket"), *span, "-o", str(tmp_path / "case.zip")]) == 1
    (tmp_path / "home").mkdir()
    findings, result = _verdict_elsewhere(tmp_path / "case.zip", tmp_path / "home")
    assert {(finding["code"], finding["key"]) for finding in findings if finding["severity"] == "error"} == bad
    with zipfile.ZipFile(tmp_path / "case.zip") as archive:
        assert archive.getinfo(f"objects/{chain.digests[1]}").file_size == (16 << 20) + (1 << 20)
        lines = [json.loads(line) for line in archive.read("manifest.jsonl").splitlines()]
        assert [line["leftOut"] for line in lines if "leftOut" in line] == [chain.digests[1]]
        report = json.loads(archive.read("report.json"))
    assert any(chain.digests[1] in note and "first 17825792 bytes" in note for note in report["notes"])
    assert report["findings"] == [{name: finding[name] for name in finding if name != "type"} for finding in findings]
    assert report["result"]["chains"] == result["chains"]
    assert report["result"]["verdict"] == result["verdict"] == "tampered"


def test_a_bundle_is_judged_as_of_the_time_when_it_was_packed(words: list[str], tmp_path: Path) -> None:
    """What it was asked to tell of may reach beyond that time; that this came and went is no gap in it."""
    assert main(words) == 0
    path = str(tmp_path / "case.zip")

    def asked_at(*more: str) -> object:
        options = read_options(
            build_parser("verify").parse_args(["verify", path, *more]), (*SOURCE_OPTIONS, *VERIFY_OPTIONS)
        )
        opened = open_named_source(path, options)
        opened.source.close()
        return request_of(options, opened).asked_at

    with zipfile.ZipFile(path) as archive:
        made_at = json.loads(archive.read("manifest.jsonl").splitlines()[0])["madeAt"]
    assert asked_at() == datetime.fromisoformat(made_at)
    assert asked_at("--end", "2024-05-06T20:00:00Z") != datetime.fromisoformat(made_at), "the end was asked for by name"


def test_the_same_trail_makes_the_same_members(words: list[str], tmp_path: Path) -> None:
    assert main(words) == 0
    (tmp_path / "case.zip").rename(tmp_path / "first.zip")
    assert main(words) == 0
    told = {"README.txt", "report.html", "report.json", "manifest.jsonl"}
    with zipfile.ZipFile(tmp_path / "first.zip") as first, zipfile.ZipFile(tmp_path / "case.zip") as second:
        assert first.namelist() == second.namelist()
        assert {name for name in first.namelist() if first.read(name) != second.read(name)} <= told
        manifests = [archive.read("manifest.jsonl").splitlines()[1:] for archive in (first, second)]
    differing = {json.loads(line)["name"] for line, other in zip(*manifests, strict=True) if line != other}
    assert differing <= told
