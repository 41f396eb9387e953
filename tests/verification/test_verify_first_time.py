"""``opentrail verify`` in hands that are new to it: closed streams, wrong sources and times, interrupts at once."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from opentrail.cli import verify
from opentrail.cli.main import main
from opentrail.cli.signals import held_back
from opentrail.testing.sample_trail import Objects, SampleTrail

OPENTRAIL = str(Path(sys.executable).with_name("opentrail"))

Lay = Callable[[Objects], Path]


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_change_no_verdict(closed: str, trail: SampleTrail, lay: Lay, keys: Path) -> None:
    report = keys.with_name("report.html")
    words = [str(lay(trail.objects)), "--public-keys", str(keys), "--jobs", "1", "--report", str(report)]
    command = ["/bin/sh", "-c", f'"$@" {closed}', "sh", OPENTRAIL, "verify", *words]
    ran = subprocess.run(command, capture_output=True, check=False)
    assert ran.returncode == 0, "1 would accuse the trail"
    assert report.read_bytes().endswith(b"</html>\n"), "and nothing was printed into it"


def test_a_mistake_of_ours_accuses_nobody(
    trail: SampleTrail, lay: Lay, keys: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verify, "read_options", lambda *_: {})
    assert main(["verify", str(lay(trail.objects)), "--public-keys", str(keys)]) == 2
    assert "KeyError" in capsys.readouterr().err


def test_what_is_neither_folder_nor_file_is_called_so(
    tmp_path: Path, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe.zip")
    assert main(["verify", str(tmp_path / "pipe.zip"), "--public-keys", str(keys)]) == 2
    assert "pipe.zip: neither a folder nor a file" in capsys.readouterr().err


def test_a_file_that_is_no_bundle_is_told_what_to_be(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(keys), "--public-keys", str(keys)]) == 2
    assert "a file must be an evidence bundle, a trail is a folder" in capsys.readouterr().err


def test_a_start_to_come_is_refused(
    trail: SampleTrail, lay: Lay, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(lay(trail.objects)), "--public-keys", str(keys), "--start", "2130-01-01"]) == 2
    assert "--start 2130-01-01T00:00:00Z: that time has not come yet" in capsys.readouterr().err


def test_a_resume_file_of_other_options_is_named(
    trail: SampleTrail, lay: Lay, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["verify", str(lay(trail.objects)), "--public-keys", str(keys), "--jobs", "1"]
    words += ["--resume-file", str(tmp_path / "kept.resume")]
    assert main([*words, "--report", str(tmp_path / ("x" * 245 + ".html"))]) == 2, "too long a name: work is kept"
    assert main([*words, "--region", "eu-west-1", "--resume"]) == 2
    assert f"--resume: {tmp_path / 'kept.resume'}: " in capsys.readouterr().err


def test_interrupts_wait_for_what_must_not_be_interrupted() -> None:
    done: list[str] = []

    def work() -> None:
        with held_back():
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)  # whoever runs the tests may have other threads
            done.append("all")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_an_interrupt_before_the_public_keys_came_is_told(trail: SampleTrail, lay: Lay, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        command = [OPENTRAIL, "verify", str(lay(trail.objects)), "--public-keys", endpoint, "--json"]
        credentials = {
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "x",
            "XDG_CACHE_HOME": str(tmp_path),
        }
        process = subprocess.Popen(
            command,
            env={**os.environ, **credentials},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        silent.settimeout(20)
        connection, _ = silent.accept()
        with connection:
            process.send_signal(signal.SIGINT)
            printed, told = process.communicate(timeout=20)
    assert process.returncode == 130
    assert json.loads(printed) == {"type": "stopped", "reason": "interrupted", "resumeFile": None}
    assert "interrupted, before anything was looked at" in told
    assert "Traceback" not in told
