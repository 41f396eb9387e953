"""The command line: help, versions, exit codes, and how soon it answers."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from opentrail.cli.main import COMMANDS, build_parser, main

HEAVY = (
    "botocore",
    "sqlalchemy",
    "uvicorn",
    "uvloop",
    "asyncio",
    "cryptography",
    "obstore",
    "opentrail.server.runtime",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(command: str, run_opentrail: Any) -> None:
    done = run_opentrail(command, "--help")
    assert done.returncode == 0
    assert f"usage: opentrail {command}" in done.stdout
    assert f"examples:\n  opentrail {command}" in done.stdout
    assert "%(" not in done.stdout


def test_help_lists_every_command(run_opentrail: Any) -> None:
    done = run_opentrail("--help")
    assert done.returncode == 0
    for name, text in COMMANDS.items():
        assert name in done.stdout
        assert text.split(":")[0] in " ".join(done.stdout.split())


def test_without_a_command_there_is_help_and_an_error(run_opentrail: Any) -> None:
    done = run_opentrail()
    assert (done.returncode, "usage: opentrail" in done.stdout) == (2, True)


def test_version(run_opentrail: Any) -> None:
    from importlib.metadata import version

    done = run_opentrail("--version")
    assert (done.returncode, done.stdout) == (0, version("opentrail") + "\n")


@pytest.mark.parametrize("arguments", [("--help",), ("serve", "--help"), ("--version",)])
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    script = (
        "import sys\nfrom opentrail.cli.main import main\n"
        f"try: main({list(arguments)!r})\nexcept SystemExit: pass\n"
        f"found = [name for name in {HEAVY!r} if name in sys.modules]\nassert not found, found"
    )
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL, timeout=30)


def test_help_comes_at_once() -> None:
    """Python itself takes its time where the machine is busy: what counts is what we add."""

    def best(*command: str) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=30)
            times.append(time.perf_counter() - start)
        return min(times)

    ours = best(str(Path(sys.executable).parent / "opentrail"), "--help")
    assert ours - best(sys.executable, "-c", "import argparse") < 0.2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("serve", "--port", "x"), "opentrail serve: --port: a port from 0 to 65535 is expected"),
        (("serve", "--tls-cert", "cert.pem"), "opentrail serve: --tls-cert and --tls-key belong together"),
        (("serve", "--host", "256.1.1.1", "--port", "0"), "opentrail serve: cannot listen on 256.1.1.1:0"),
        (("serve", "--config", "none.toml"), "opentrail serve: --config none.toml: No such file"),
        (
            ("serve", "--port", "0", "--data-dir", "/dev/null/x"),
            "opentrail serve: --data-dir /dev/null/x: Not a directory",
        ),
        (
            ("serve", "--port", "0", "--key-passphrase-file", "none"),
            "opentrail serve: --key-passphrase-file: the key file none cannot be read: No such file",
        ),
        (
            ("serve", "--port", "0", "--object-store", "ftp://x"),
            "opentrail serve: --object-store: object store ftp://x",
        ),
        (
            ("serve", "--port", "0", "--state-url", "nonsense"),
            "opentrail serve: --state-url: not the URL of a database",
        ),
        (
            ("serve", "--port", "0", "--state-url", "sqlite:////dev/null/x"),
            "opentrail serve: the control plane's database cannot be used: unable",
        ),
        (("flush", "--data-dir", "none"), "opentrail flush: --data-dir none: there is no such folder"),
        (("keys", "list", "--data-dir", "none"), "opentrail keys: --data-dir none: there is no such folder"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(arguments: tuple[str, ...], said: str, run_opentrail: Any) -> None:
    done = run_opentrail(*arguments)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert said in last, done.stderr
    assert "Traceback" not in done.stderr


def test_unknown_options_are_errors(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--prot", "80"])
    assert caught.value.code == 2
    assert "--prot" in capsys.readouterr().err


def test_options_may_not_be_shortened() -> None:
    """`--po` means `--port` today and something else tomorrow."""
    with pytest.raises(SystemExit):
        build_parser("serve").parse_args(["serve", "--po", "80"])


def test_a_closed_pipe_is_no_mistake(serve: Any) -> None:
    server = serve()
    server.stop()
    command = Path(sys.executable).parent / "opentrail"
    script = f"{command} keys rotate --region us-east-1 --data-dir {server.data_dir} | true"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_named(serve: Any, run_opentrail: Any) -> None:
    server = serve()
    done = run_opentrail("serve", "--port", str(server.port), "--data-dir", "another")
    said = (
        f"opentrail serve: cannot listen on 127.0.0.1:{server.port}: Address already in use; choose another with --host"
    )
    assert (done.returncode, done.stderr) == (2, f"{said} or --port\n")
