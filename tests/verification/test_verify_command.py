"""``opentrail verify`` as its users call it: exit codes, output, options, Ctrl-C, and S3 as a source."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from opentrail.cli.main import main
from opentrail.core.policy.log_bucket_policy import log_bucket_policy
from opentrail.core.public_keys import decode_public_keys, encode_public_keys
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.testing.aws_cli import judge_environment
from opentrail.testing.live_server import LiveServer
from opentrail.testing.sample_trail import BUCKET, TRAIL, TRAIL_ARN, Objects, SampleTrail
from opentrail.testing.static_bucket import bucket_of_folder, serving
from opentrail.testing.tamper_matrix import touch
from opentrail.testing.trail_generator import LocalFolder, TrailPlan, generate_trail

Lay = Callable[[Objects], Path]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path_factory.mktemp("live") / "data")
    live.start()
    yield live
    live.end()


def verify(*words: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None) -> Any:
    quiet = {name: value for name, value in os.environ.items() if not name.startswith(("OPENTRAIL_", "AWS_"))}
    return subprocess.run(
        [sys.executable, "-m", "opentrail.cli.main", "verify", *map(str, words)],
        env={**quiet, "AWS_EC2_METADATA_DISABLED": "true", **(env or {})},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_whole_trail_is_valid(trail: SampleTrail, lay: Lay, keys: Path) -> None:
    done = verify(lay(trail.objects), "--public-keys", keys, "--original-bucket", BUCKET)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("VALID: all that the digests name is here, as it was delivered\n")
    assert "111122223333" in done.stdout
    assert "444455556666" in done.stdout, "every chain that is found"


def test_a_damaged_log_file_is_named(trail: SampleTrail, lay: Lay, keys: Path) -> None:
    log = trail.files[trail.full_digest(3)][0]
    objects = {**trail.objects, log: (trail.objects[log][0][:-1] + b"\x7f", trail.objects[log][1])}
    done = verify(lay(objects), "--public-keys", keys)
    assert done.returncode == 1
    assert log in done.stdout
    assert done.stdout.splitlines()[-1].startswith("TAMPERED")


def test_a_missing_log_file_makes_it_incomplete(trail: SampleTrail, lay: Lay, keys: Path) -> None:
    objects = {key: found for key, found in trail.objects.items() if key != trail.files[trail.full_digest(3)][0]}
    done = verify(lay(objects), "--public-keys", keys, "--trail-arn", TRAIL_ARN)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("INCOMPLETE")
    assert "444455556666" not in done.stdout, "another account's trail"


def test_nothing_to_verify_is_not_valid(tmp_path: Path, keys: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = verify(tmp_path / "empty", "--public-keys", keys)
    assert done.returncode == 2
    assert "no chain of digests was found" in done.stdout


def test_json_is_a_line_for_each_finding_and_one_for_the_result(trail: SampleTrail, lay: Lay, keys: Path) -> None:
    log = trail.files[trail.full_digest(3)][0]
    objects = {**trail.objects, log: (b"", {})}
    done = verify(
        lay(objects), "--public-keys", keys, "--json", "--region", "eu-west-1", "--account-id", "111122223333"
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    *findings, result = lines
    assert result["type"] == "result"
    assert result["verdict"] == "tampered"
    assert result["exitCode"] == done.returncode == 1
    (chain,) = result["chains"]
    assert chain["trailName"] == TRAIL.trail_name
    assert chain["logFiles"]["invalid"] == 1
    (bad,) = (finding for finding in findings if finding["severity"] == "error")
    assert (bad["key"], bad["concern"], bad["chain"]["accountId"]) == (log, "integrity", "111122223333")
    assert sum(result["findings"].values()) == len(findings)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--start", "yesterday"), "--start: a time is expected"),
        (("--start", "2024-05-08", "--end", "2024-05-07"), "--start must not be after --end"),
        (("--trail-arn", "main"), "--trail-arn: a trail's ARN is expected"),
        (("--account-id", "12"), "--account-id: an account ID of 12 digits"),
        (("--jobs", "0"), "--jobs: a number of processes"),
        (("--public-keys", "/nowhere/keys.json"), "--public-keys /nowhere/keys.json: No such file"),
        (("--public-keys", "/"), "--public-keys /: Is a directory"),
        (("--start", "1999-01-01", "--end", "1999-12-31"), "not one public key is valid at any time from 1999-01-01"),
        (("--report", "/nowhere/report.html"), "--report /nowhere/report.html: there is no folder /nowhere"),
        (("--resume-file", "/nowhere/x"), "--resume-file /nowhere/x: there is no folder"),
        (("--resume", "--resume-file", "/nowhere/x"), "--resume: /nowhere/x: No such file"),
        (("--report", "report.pdf"), "report.pdf"),
        (("--jobs", "0"), "--jobs: a number of processes is expected, 1 to 9999, not '0'"),
        (("--jobs", "10000"), "1 to 9999"),
        (("--quiet", "-v"), "--quiet and --verbose exclude each other"),
    ],
)
def test_what_an_option_cannot_be_is_said(
    keys: Path, words: tuple[str, ...], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(keys.parent), "--public-keys", str(keys), *words]) == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n", "not a public-key file"),
        ("[]", "not a public-key file"),
        ('{"PublicKeyList": [{}]}', "lacks 'Value'"),
        ('{"PublicKeyList": []}', "there is not one public key in the file"),
    ],
)
def test_what_are_no_public_keys_is_said(
    tmp_path: Path, content: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "keys.json"
    path.write_text(content)
    assert main(["verify", str(tmp_path), "--public-keys", str(path)]) == 2
    said = capsys.readouterr()
    assert text in said.err
    assert said.out == "", "nothing is accused with no key"


@pytest.mark.parametrize("source", ["nowhere", "nowhere.zip", "keys.json"])
def test_what_is_no_source_is_named(keys: Path, source: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(keys.with_name(source))
    assert main(["verify", path, "--public-keys", str(keys)]) == 2
    assert f"opentrail verify: {path}: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            "arn:aws:cloudtrail:eu-west-1:111122223333:trail/main",
            "s3://BUCKET[/PREFIX], with --trail-arn for that trail",
        ),
        ("arn:aws:s3:::my-trail-bucket/audit", "a bucket is s3://my-trail-bucket/audit"),
        ("my-trail-bucket", "a bucket is s3://my-trail-bucket"),
        ("my.trail.bucket/audit/", "a bucket is s3://my.trail.bucket/audit/"),
    ],
)
def test_who_names_a_bucket_or_a_trail_in_another_way_is_told_how(
    source: str, text: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["verify", source]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"opentrail verify: {source}: there is no such file or folder")
    assert text in said


@pytest.mark.parametrize("source", ["evidence.zip", "./my-trail-bucket", "My Trail", "", "-"])
def test_what_can_be_no_bucket_is_not_called_one(
    source: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["verify", source]) == 2
    assert "s3://" not in capsys.readouterr().err


@pytest.mark.parametrize("words", [("verify", "x", "--report-fil", "y"), ("evidence", "x", "-o", "y", "--verbose")])
def test_an_option_that_is_none_is_answered_with_the_usage_of_the_command(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    said = capsys.readouterr().err
    assert said.startswith(f"usage: opentrail {words[0]} [-h]")
    assert "unrecognized arguments: --" in said


def test_what_is_checked_is_said_first_and_lines_are_short(trail: SampleTrail, lay: Lay, keys: Path) -> None:
    words = ("--public-keys", keys, "--start", "2024-05-06", "--end", "2024-05-08T08:30:00Z", "--region", "eu-west-1")
    done = verify(lay(trail.objects), *words)
    lines = done.stdout.splitlines()
    assert lines[1] == "digests  that end from 2024-05-06T00:00:00Z to 2024-05-08T08:30:00Z"
    assert lines[2] == "only     region eu-west-1"
    said = " ".join(done.stdout.split())
    assert f"2 public keys, from the file {keys}" in said
    assert "What to do: Ask whoever is named." in said
    assert [line for line in lines if len(line) > 80 and "/" not in line] == [], "but for keys and paths"
    assert "\x1b" not in done.stdout


def test_quiet_it_prints_the_verdict_alone(trail: SampleTrail, lay: Lay, keys: Path) -> None:
    done = verify(lay(trail.objects), "--public-keys", keys, "--quiet")
    assert done.stdout == "VALID: all that the digests name is here, as it was delivered\n"
    assert done.stderr == ""


def _in_a_terminal(*command: str, env: dict[str, str], interrupt_at: str = "") -> tuple[int, str]:
    """Run ``command`` in a terminal of 80 columns; Ctrl-C when ``interrupt_at`` is seen.  Exit code, and all of it."""
    child, terminal = pty.fork()
    if child == 0:
        os.execve(command[0], command, {"PATH": os.environ["PATH"], "COLUMNS": "80", "TERM": "xterm", **env})
    seen = ""
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # the end, on Linux
            break
        if not data:
            break
        seen += data.decode()
        if interrupt_at and re.search(interrupt_at, seen):
            os.write(terminal, b"\x03")
            interrupt_at = ""
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), seen


OPENTRAIL = str(Path(sys.executable).with_name("opentrail"))


def test_colours_are_for_terminals_that_want_them(trail: SampleTrail, lay: Lay, keys: Path) -> None:
    command = (OPENTRAIL, "verify", str(lay(trail.objects)), "--public-keys", str(keys), "--jobs", "1")
    assert "\x1b[32mVALID\x1b[0m: all" in _in_a_terminal(*command, env={})[1]
    assert "\x1b[32m" not in _in_a_terminal(*command, env={"NO_COLOR": "1"})[1]
    assert "\x1b[32m" not in _in_a_terminal(*command, env={"TERM": "dumb"})[1]


@pytest.fixture
def slow_bucket(tmp_path: Path) -> Iterator[tuple[dict[str, str], Path]]:
    """A bucket whose answers take a while: its environment, and the public keys."""
    generated = generate_trail(
        TrailPlan(hours=30, files_per_hour=4, records_per_file=2),
        LocalFolder(tmp_path / "slow"),
        RsaKeyFiles(tmp_path / "slow-keys"),
    )
    keys = tmp_path / "slow.json"
    keys.write_bytes(encode_public_keys(generated.all_public_keys()))
    with serving(
        bucket_of_folder(tmp_path / "slow", "trail-bucket", generated.all_public_keys()), delay_seconds=0.1
    ) as url:
        yield judge_environment("eu-west-1") | {"AWS_ENDPOINT_URL": url}, keys


def test_a_terminal_shows_how_far_it_is(slow_bucket: tuple[dict[str, str], Path]) -> None:
    env, keys = slow_bucket
    code, seen = _in_a_terminal(OPENTRAIL, "verify", "s3://trail-bucket", "--public-keys", str(keys), env=env)
    assert code == 0, seen
    assert "looking for digests" in seen
    assert re.search(r"\r\[#[# ]{23}\] +\d+%  \d+ log files  \d+/s  0 MB  0:0\d left", seen)
    assert seen.rindex("\x1b[K") < seen.index("VERDICT"), "it is gone when the result comes"


@pytest.mark.parametrize(("at", "is_left"), [("looking for digests", False), (r"[1-9]\d* log files", True)])
def test_ctrl_c_ends_it_in_every_phase(
    at: str, is_left: bool, slow_bucket: tuple[dict[str, str], Path], tmp_path: Path
) -> None:
    env, keys = slow_bucket
    resume = tmp_path / "resume"
    words = ("--public-keys", str(keys), "--resume-file", str(resume), "--jobs", "2")
    code, seen = _in_a_terminal(OPENTRAIL, "verify", "s3://trail-bucket", *words, env=env, interrupt_at=at)
    assert code == 130, seen
    assert "interrupted" in seen
    assert "Traceback" not in seen
    assert resume.exists() is is_left


def test_an_interrupted_run_of_json_says_so_in_its_last_line(slow_bucket: tuple[dict[str, str], Path]) -> None:
    env, keys = slow_bucket
    command = [OPENTRAIL, "verify", "s3://trail-bucket", "--public-keys", str(keys), "--json"]
    with subprocess.Popen(
        command, env={"PATH": os.environ["PATH"], **env}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as running:
        assert running.stdout is not None
        first = json.loads(running.stdout.readline())
        assert first["code"] == "chain-started", "findings come as they are found"
        running.terminate()
        *_, last = [json.loads(line) for line in running.stdout]
        assert last["type"] == "stopped"
        assert last["reason"] == "interrupted"
    assert running.returncode == 130


@pytest.mark.parametrize(("asked", "verdict", "code"), [((), "VALID", 0), (("--expect-until", "now"), "INCOMPLETE", 1)])
def test_a_report_that_cannot_be_written_costs_no_second_verification(
    trail: SampleTrail, lay: Lay, keys: Path, tmp_path: Path, *, asked: tuple[str, ...], verdict: str, code: int
) -> None:
    folder = lay(trail.objects)
    script = (
        "import sys; from opentrail.core.errors import StoreError; from opentrail.verification import report\n"
        "def fail(*given): raise StoreError('No space left on device', retryable=False)\n"
        "report.write_report = fail\n"
        "from opentrail.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    words = ["verify", str(folder), "--public-keys", str(keys), "--report", "report.html", *asked]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert f"\n{verdict}: " in done.stdout
    assert "--resume goes on" in done.stderr
    again = verify(*words[1:], "--resume", cwd=tmp_path)
    assert again.returncode == code, again.stderr
    assert (tmp_path / "report.html").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "opentrail-verify.resume").exists()


def test_a_full_disk_behind_standard_output_is_told(trail: SampleTrail, lay: Lay, keys: Path) -> None:
    command = [OPENTRAIL, "verify", str(lay(trail.objects)), "--public-keys", str(keys)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (2, "opentrail verify: [Errno 28] No space left on device\n")


def test_the_json_is_as_it_is_documented(trail: SampleTrail, lay: Lay, keys: Path) -> None:
    objects = touch(trail, "log_deleted", "digest_flipped", "log_planted", seed=2).objects
    *findings, result = [
        json.loads(line) for line in verify(lay(objects), "--public-keys", keys, "--json").stdout.splitlines()
    ]
    page = (Path(__file__).parents[2] / "docs" / "verify.md").read_text()
    said = set(re.findall(r"`([a-zA-Z]+)`", page[page.index("## JSON") :]))
    for finding in findings:
        assert set(finding) == {"type", "chain", "code", "severity", "concern", "key", "message", "details"}
        assert all(isinstance(text, str) for text in finding["details"].values())
    assert set(result) - {"type"} <= said
    assert {name for chain in result["chains"] for name in chain} <= said
    assert {name for chain in result["chains"] for name in chain["digests"]} <= said
    assert set(result["filters"]) <= said
    assert (result["filters"]["regions"], result["keyFingerprints"]) == (
        [],
        [key.fingerprint for key in trail.public_keys()],
    )


def test_a_folder_needs_public_keys(trail: SampleTrail, lay: Lay) -> None:
    done = verify(lay(trail.objects))
    assert done.returncode == 2
    assert "opentrail keys export" in done.stderr


def test_options_come_from_variables_and_a_file(trail: SampleTrail, lay: Lay, keys: Path, tmp_path: Path) -> None:
    config = tmp_path / "opentrail.toml"
    config.write_text(f'port = 1\n[verify]\npublic-keys = "{keys}"\naccount-id = ["444455556666"]\njson = true\n')
    folder = lay(trail.objects)
    done = verify(folder, "--config", config)
    assert [chain["accountId"] for chain in json.loads(done.stdout.splitlines()[-1])["chains"]] == ["444455556666"]
    done = verify(folder, "--config", config, env={"OPENTRAIL_VERIFY_ACCOUNT_ID": "111122223333, 444455556666"})
    assert len(json.loads(done.stdout.splitlines()[-1])["chains"]) == 2, "a variable beats the file"
    config.write_text('[verify]\npublic-key = "x"\n')
    done = verify(folder, "--config", config)
    assert (done.returncode, "no option 'public-key'" in done.stderr) == (2, True)


def test_a_span_of_time_is_verified_alone(trail: SampleTrail, lay: Lay, keys: Path) -> None:
    damaged = dict(trail.objects)
    damaged[trail.digests[2]] = (b"", damaged[trail.digests[2]][1])
    folder = lay(damaged)
    assert verify(folder, "--public-keys", keys).returncode == 1
    assert verify(folder, "--public-keys", keys, "--start", "2024-05-07").returncode == 0
    done = verify(folder, "--public-keys", keys, "--start", "2024-05-07", "--expect-until", "2024-06-01")
    assert (done.returncode, "chain-cut-off" in done.stdout) == (1, True)


def test_ctrl_c_leaves_a_resume_file_and_resume_ends_the_same(
    trail: SampleTrail, lay: Lay, keys: Path, tmp_path: Path
) -> None:
    objects = touch(trail, "log_deleted", seed=4).objects
    folder = lay(objects)
    words = [str(folder), "--public-keys", str(keys), "--json", "--verbose", "--jobs", "1", "--original-bucket", BUCKET]
    whole = verify(*words, cwd=tmp_path)
    slow = "import sys, time; from opentrail.verification import log_file_checks as c; check = c._check\n"
    slow += "def late(*given):\n    time.sleep(0.03); return check(*given)\n"
    slow += "c._check = late; from opentrail.cli.main import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", slow, "verify", *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    time.sleep(0.8)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert b"--resume goes on" in stderr
    assert (tmp_path / "opentrail-verify.resume").stat().st_mode & 0o777 == 0o600
    again = verify(*words, "--resume", cwd=tmp_path)
    assert again.returncode == whole.returncode
    lines = _without_times(again.stdout)
    per_object = {"object", "checked-before"}
    assert [line for line in lines if line["type"] not in per_object] == [
        line for line in _without_times(whole.stdout) if line["type"] not in per_object
    ]
    told = Counter(line["kind"] for line in lines if line["type"] == "object")
    before = [line for line in lines if line["type"] == "checked-before"]
    assert before
    for kind, name in (("digest", "digests"), ("log-file", "logFiles")):
        total = sum(chain[name]["total"] for chain in lines[-1]["chains"])
        assert told[kind] + sum(line[name]["total"] for line in before) == total
    assert not (tmp_path / "opentrail-verify.resume").exists()


def _without_times(output: str) -> list[Any]:
    lines = [json.loads(line) for line in output.splitlines()]
    for name in ("checkedAt", "seconds"):
        del lines[-1][name]
    return lines


def test_help_comes_at_once() -> None:
    script = (
        "import sys\nfrom opentrail.cli.main import main\n"
        "try: main(['verify', '--help'])\nexcept SystemExit: pass\n"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in"
        " ('cryptography', 'botocore', 'orjson', 'isal', 'obstore', 'asyncio')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "--original-bucket BUCKET[/PREFIX]" in done.stdout


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_bucket_of_s3_is_a_source(trail: SampleTrail, keys: Path, server: LiveServer, jobs: str) -> None:
    bucket = f"{BUCKET}-{jobs}"
    s3 = server.client("s3", "us-east-1")
    s3.create_bucket(Bucket=bucket)
    log = trail.files[trail.full_digest(3)][0]
    for key, (data, metadata) in trail.objects.items():
        user = {name.removeprefix("x-amz-meta-"): text for name, text in metadata.items() if name.startswith("x-")}
        s3.put_object(Bucket=bucket, Key=key, Body=data[:-1] if key == log else data, Metadata=user)
    env = {name.upper(): value for name, value in server.root_key().items()}
    words = (f"s3://{bucket}/audit", "--original-bucket", f"{BUCKET}/audit", "--endpoint-url", server.url)
    done = verify(*words, "--public-keys", keys, "--jobs", jobs, "--json", env=env)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1, done.stderr
    assert [line["key"] for line in lines if line.get("severity") == "error"] == [log]
    assert [chain["digests"]["valid"] for chain in lines[-1]["chains"]][1] == 1


def test_keys_of_an_endpoint_are_asked_for_once_and_can_be_exported(server: LiveServer, tmp_path: Path) -> None:
    bucket = "delivered"
    s3, trails = server.client("s3", "us-east-1"), server.client("cloudtrail")
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(log_bucket_policy(bucket, account_ids=["*"])))
    trails.create_trail(Name="main", S3BucketName=bucket, EnableLogFileValidation=True)
    trails.start_logging(Name="main")
    s3.list_buckets()
    assert server.run("flush", "--digest").returncode == 0
    env = {name.upper(): value for name, value in server.root_key().items()} | {"XDG_CACHE_HOME": str(tmp_path)}
    done = verify(f"s3://{bucket}", "--endpoint-url", server.url, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    (cached,) = (tmp_path / "opentrail" / "public-keys").iterdir()
    exported = tmp_path / "keys.json"
    assert server.run("keys", "export", "-o", str(exported)).returncode == 0
    assert set(decode_public_keys(cached.read_bytes())) <= set(decode_public_keys(exported.read_bytes()))
    folder = server.data / "objects" / bucket
    assert verify(folder, "--public-keys", exported).returncode == 0
    refused = verify("s3://not-there", "--endpoint-url", server.url, "--public-keys", exported, env=env)
    assert (refused.returncode, "NoSuchBucket" in refused.stderr) == (2, True)


def test_an_endpoint_that_nobody_answers_at_is_tried_again_and_then_named(
    keys: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("opentrail.verification.aws_client._FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    words = ("--endpoint-url", "http://127.0.0.1:1", "--public-keys", str(keys), "--jobs", "1")
    assert main(["verify", "s3://bucket", *words]) == 2
    assert "127.0.0.1:1" in capsys.readouterr().err


@pytest.mark.parametrize("times", [("--end", "9999-12-31"), ("--start", "0001-01-01"), ("--start", "1969-12-31")])
def test_a_time_that_no_trail_has_is_refused(trail: SampleTrail, lay: Lay, keys: Path, times: tuple[str, str]) -> None:
    done = verify(lay(trail.objects), "--public-keys", keys, *times)
    assert (done.returncode, "a time from 1970 to" in done.stderr) == (2, True), done.stderr


def test_what_the_verdict_does_not_speak_of_stands_beside_it(trail: SampleTrail, lay: Lay, keys: Path) -> None:
    folder = lay(trail.objects)
    words = (folder, "--public-keys", keys, "--account-id", "111122223333")
    *lines, verdict = verify(*words).stdout.splitlines()
    said = " ".join(" ".join(lines).split())
    assert "not recorded: 1 span of 2.9 hours" in said
    assert "not asked: whether digests after 2024-05-08T08:28:05Z were removed" in said
    assert "not asked: what else lies there; only account-id 111122223333 was looked at" in said
    assert verdict.startswith("VALID")
    assert "were removed" not in verify(*words, "--expect-until", "2024-05-08T08:00:00").stdout
    late = verify(*words, "--end", "2024-05-09")
    assert (late.returncode, "gap-unexplained" in late.stdout) == (1, True), "it was asked for and is not there"


def test_an_account_or_region_that_was_asked_for_by_name_must_be_there(
    trail: SampleTrail, lay: Lay, keys: Path
) -> None:
    done = verify(lay(trail.objects), "--public-keys", keys, "--region", "eu-west-1", "--region", "us-east-2", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    first = next(line for line in lines if line["severity"] != "info")
    assert (first["code"], first["key"]) == ("no-digests", "us-east-2")


def test_public_keys_that_are_listed_twice_are_one_and_two_of_one_name_are_refused(
    trail: SampleTrail, lay: Lay, tmp_path: Path
) -> None:
    folder, path = lay(trail.objects), tmp_path / "keys.json"
    first, second = trail.public_keys()
    early = replace(second, validity_end=second.validity_start)
    path.write_bytes(encode_public_keys([first, second, early]))
    assert verify(folder, "--public-keys", path).returncode == 0
    path.write_bytes(encode_public_keys([first, second, replace(first, fingerprint=second.fingerprint)]))
    done = verify(folder, "--public-keys", path)
    assert (done.returncode, f"fingerprint {second.fingerprint}" in done.stderr) == (2, True)


def test_names_that_command_a_terminal_are_spelled_out(trail: SampleTrail, lay: Lay, keys: Path) -> None:
    objects = {f"\x1b]0;owned\x07/{key}": found for key, found in trail.objects.items()}
    done = verify(lay(objects), "--public-keys", keys)
    assert done.returncode == 1
    assert all(character.isprintable() or character == "\n" for character in done.stdout + done.stderr)


@pytest.mark.parametrize(("hours_ago", "code"), [(3, 0), (6, 1)])
def test_by_now_the_digest_of_the_last_hour_may_still_be_on_its_way(tmp_path: Path, hours_ago: int, code: int) -> None:
    plan = TrailPlan(start=datetime.now(UTC).replace(microsecond=0) - timedelta(hours=hours_ago), hours=2)
    made = generate_trail(replace(plan, files_per_hour=1), LocalFolder(tmp_path / "t"), RsaKeyFiles(tmp_path / "k"))
    assert made.end < datetime.now(UTC)
    (tmp_path / "keys.json").write_bytes(encode_public_keys(made.all_public_keys()))
    words = ["--public-keys", str(tmp_path / "keys.json"), "--expect-until", "now", "--quiet"]
    assert main(["verify", str(tmp_path / "t"), *words]) == code


def test_where_there_is_no_key_yet_none_is_exported(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "data")
    server.start()
    try:
        done = server.run("keys", "export", "-o", str(tmp_path / "keys.json"))
    finally:
        server.end()
    assert done.returncode == 2
    assert "there is no public key yet" in done.stderr
    assert not (tmp_path / "keys.json").exists()
