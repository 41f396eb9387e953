"""Where the judges are: the AWS CLI that is installed, and an older one where the environment names it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_CLIENT: Final = """\
#!{python} -IS
import json, os, socket, sys

with socket.socket(socket.AF_UNIX) as connection:
    connection.connect({address!r})
    socket.send_fds(connection, [b"."], [0, 1, 2])
    connection.sendall(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]).encode())
    connection.shutdown(socket.SHUT_WR)
    status = connection.recv(1)
sys.exit(status[0] if status else 255)
"""


def require_aws(version: str) -> Path:
    """The ``aws`` executable: ``newest``, or ``old`` as ``OPENTRAIL_AWSCLI_OLD`` names it; skips without."""
    if version == "old":
        path = os.environ.get("OPENTRAIL_AWSCLI_OLD")
        reason = "OPENTRAIL_AWSCLI_OLD names no aws executable"
    else:
        beside = Path(sys.executable).with_name("aws")
        path = str(beside) if beside.exists() else shutil.which("aws")
        reason = "the AWS CLI is not installed"
    if not path or not Path(path).exists():
        import pytest  # noqa: PLC0415  the benchmarks have none

        pytest.skip(reason)
    return Path(path)


@contextmanager
def warm_aws(version: str) -> Iterator[Path]:
    """An executable that is the AWS CLI of ``require_aws`` without the time that it takes to start.

    Each command is a fork of one process that has imported the AWS CLI, and done nothing else.
    """
    forking = Path(__file__).with_name("forking_aws.py")
    python = require_aws(version).with_name("python")
    with tempfile.TemporaryDirectory(prefix="aws-") as folder:
        address, executable = Path(folder, "socket"), Path(folder, "aws")
        executable.write_text(_CLIENT.format(python=sys.executable, address=str(address)))
        executable.chmod(0o700)
        with subprocess.Popen(  # noqa: S603  our own script
            [python, forking, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == b"\n", "the AWS CLI cannot be imported"
            yield executable
            process.stdin.close()


def judge_environment(region: str) -> dict[str, str]:
    """An environment in which the AWS CLI knows nothing of whoever runs it: a made-up key, ``region``, one attempt."""
    return {
        "PATH": os.environ["PATH"],
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "AWS_DEFAULT_REGION": region,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }
