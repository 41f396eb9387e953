"""``opentrail serve`` as a process of its own, to be stopped, killed and started again on the same data and port.

Rules: clients are boto3's and try nothing twice, so what they saw is what happened; the log of all starts is one file;
nothing outlives ``end``.
"""

from __future__ import annotations

import configparser
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config

from opentrail.server.control import call_server

HOME: Final = "eu-central-1"
_START_SECONDS: Final = 60
_LISTENS: Final = " listens on "


class LiveServer:
    """A server on the data folder ``data``, started with ``options``.  ``url`` stays the same through all starts."""

    def __init__(self, data: Path, *options: str) -> None:
        self.data = data
        self.options = options
        self.log_path = data.with_name(f"{data.name}.log")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: dict[tuple[str, str, str], Any] = {}

    @property
    def pid(self) -> int:
        """The running process's id."""
        assert self._process is not None
        return self._process.pid

    def start(self, *, wait: bool = True) -> None:
        """Start it; ``wait`` until it listens."""
        assert self._process is None, "it runs already"
        seen = self.log_path.stat().st_size if self.log_path.exists() else 0
        command = _command("serve", "--port", str(self.port), "--data-dir", str(self.data), *self.options)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  our own command
                command, stdout=log, stderr=log, env=_environment(), start_new_session=True
            )
        if not wait:
            return
        deadline = time.monotonic() + _START_SECONDS
        while _LISTENS not in self.log(seen):
            ended = self._process.poll()
            assert ended is None, f"the server ended with {ended}:\n{self.log(seen)}"
            assert time.monotonic() < deadline, f"the server did not start:\n{self.log(seen)}"
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL, to the whole process group."""
        assert self._process is not None
        with suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def stop(self, number: signal.Signals = signal.SIGTERM, *, seconds: float = 60) -> int:
        """End it with a signal, and wait; the exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        code = self._process.wait(seconds)
        self._process = None
        return code

    def end(self) -> None:
        """Let nothing run any more."""
        if self._process is not None:
            self.kill()

    def log(self, start: int = 0) -> str:
        """What the server wrote to its log since byte ``start``."""
        return self.log_path.read_bytes()[start:].decode()

    def run(self, *words: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """``opentrail WORDS`` for the data folder."""
        command = _command(*words, "--data-dir", str(self.data))
        return subprocess.run(  # noqa: S603  our own command
            command, env=_environment(), capture_output=True, text=True, timeout=seconds, check=False
        )

    def flush(self, *, digest: bool = False) -> None:
        """Let the running server deliver everything now, as ``opentrail flush`` does."""
        answer = call_server(self.data, {"command": "flush", "digest": digest})
        assert answer is not None, "the server listens on its control socket"
        assert answer["waiting"] == 0

    def root_key(self) -> dict[str, str]:
        """The root user's access key, as boto3's arguments and the AWS CLI's variables name its parts."""
        parser = configparser.ConfigParser()
        parser.read(self.data / "credentials")
        return {name: parser["default"][name] for name in ("aws_access_key_id", "aws_secret_access_key")}

    def client(self, service: str, region: str = HOME, key: Mapping[str, str] | None = None) -> Any:
        """A boto3 client (of root, or of the user with the access key ``key``)."""
        credentials = dict(key or self.root_key())
        wanted = service, region, credentials["aws_access_key_id"]
        if wanted not in self._clients:
            config = Config(
                retries={"total_max_attempts": 1},
                s3={"addressing_style": "path"},
                connect_timeout=10,
                read_timeout=60,
                max_pool_connections=32,
            )
            open_session: Callable[..., Any] = boto3.Session  # its types are made for literals
            session = open_session(region_name=region, **credentials)
            self._clients[wanted] = session.client(service, endpoint_url=self.url, config=config)
        return self._clients[wanted]

    def aws(self, aws: Path, *words: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """The AWS CLI ``aws`` as root, with this server as its endpoint."""
        environment = {
            **_environment(),
            **{name.upper(): value for name, value in self.root_key().items()},
            "AWS_ENDPOINT_URL": self.url,
            "AWS_DEFAULT_REGION": HOME,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_PAGER": "",
        }
        return subprocess.run(  # noqa: S603  the command that the caller names
            [aws, *words], env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "opentrail.cli.main", *words]


def _environment() -> dict[str, str]:
    """Nothing that would configure Opentrail or an AWS client behind a test's back."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("OPENTRAIL_", "AWS_"))}
