"""The endpoint as its users meet it: a process with a socket (``serve``), or the application in the test (``local``).

Both start on an empty data folder.  What a call left in the journal is read with the journal's own reader.
"""

from __future__ import annotations

import configparser
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from botocore.credentials import Credentials

from opentrail.cli.main import main as run_command
from opentrail.core.http import Tls
from opentrail.journal.base import EntryKind, Journal, StoredEntry
from opentrail.journal.local import open_local_journal
from opentrail.server.config import Settings
from opentrail.testing.local_endpoint import LocalEndpoint, LocalRequest, run_local_endpoint

BIN = Path(sys.executable).parent
HOST = "127.0.0.1:4577"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An access key, of a session where it has a token."""

    id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)

    def sign(
        self,
        method: str,
        url: str,
        *,
        service: str,
        region: str = "us-east-1",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> AWSPreparedRequest:
        """A signed request, ready to be sent."""
        request = AWSRequest(method, url, headers=dict(headers or {}), data=body)
        signer = S3SigV4Auth if service == "s3" else SigV4Auth
        signer(Credentials(self.id, self.secret, self.token or None), service, region).add_auth(request)
        return request.prepare()


def read_key(data_dir: Path) -> Key:
    """The root user's key as the first start wrote it."""
    parser = configparser.ConfigParser()
    parser.read(data_dir / "credentials")
    words = parser["default"]
    return Key(id=words["aws_access_key_id"], secret=words["aws_secret_access_key"])


def read_entries(journal: Journal) -> list[StoredEntry]:
    """All entries that are durable."""
    entries: list[StoredEntry] = []
    position = journal.start - 1
    while position < journal.end:
        entries += journal.read(position)
        position = entries[-1].position
    return entries


def records_of(entries: list[StoredEntry]) -> list[dict[str, Any]]:
    """The records of events (not of intents), in order; no event ID comes twice."""
    records = [json.loads(bytes(entry.payload)) for entry in entries if entry.kind is not EntryKind.INTENT]
    ids = [record["eventID"] for record in records]
    assert len(set(ids)) == len(ids), "an event was recorded twice"
    return records


def connect(service: str, url: str, key: Key, region: str = "us-east-1", **config: Any) -> Any:
    """A boto3 client that does not try again."""
    make: Callable[..., Any] = boto3.client  # its overloads want the service's name as a literal
    return make(
        service,
        region_name=region,
        endpoint_url=url,
        aws_access_key_id=key.id,
        aws_secret_access_key=key.secret,
        aws_session_token=key.token or None,
        verify=config.pop("verify", None),
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, read_timeout=30, **config),
    )


@dataclass(slots=True, kw_only=True)
class Serving:
    """A running ``opentrail serve``."""

    process: subprocess.Popen[bytes]
    data_dir: Path
    log_path: Path
    url: str
    clients: list[Any] = field(default_factory=list)

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    @property
    def key(self) -> Key:
        return read_key(self.data_dir)

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def client(self, service: str, key: Key | None = None, region: str = "us-east-1", **config: Any) -> Any:
        """A boto3 client."""
        self.clients.append(connect(service, self.url, key or self.key, region, **config))
        return self.clients[-1]

    def sign(self, method: str, path: str, **options: Any) -> AWSPreparedRequest:
        """A request signed by root."""
        return self.key.sign(method, self.url + path, **options)

    def connect(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def exchange(self, data: bytes) -> list[tuple[int, dict[str, str], bytes]]:
        """Send ``data`` and read answers until the server closes; a request must ask for that."""
        with self.connect() as connection:
            connection.sendall(data)
            return read_responses(connection)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it and wait; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)

    def entries(self) -> list[StoredEntry]:
        """What the journal holds; the server must have ended."""
        assert self.process.poll() is not None
        journal = open_local_journal(self.data_dir / "journal")
        try:
            return read_entries(journal)
        finally:
            journal.close()

    def records(self) -> list[dict[str, Any]]:
        """The records that the journal holds."""
        return records_of(self.entries())


def read_responses(connection: socket.socket) -> list[tuple[int, dict[str, str], bytes]]:
    """The answers on ``connection`` until it is closed: status, headers in lower case, body."""
    data = b""
    try:
        while part := connection.recv(1 << 16):
            data += part
    except ConnectionResetError:
        pass
    return parse_responses(data)


def parse_responses(data: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """The HTTP answers in ``data``, one after the other."""
    answers = []
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        status = int(lines[0].split()[1])
        headers = {
            name.strip().lower().decode(): value.strip().decode()
            for name, _, value in (line.partition(b":") for line in lines[1:])
        }
        if status == 100:
            answers.append((status, headers, b""))
            data = rest
            continue
        assert "transfer-encoding" not in headers, "every answer says its length"
        length = int(headers.get("content-length", "0"))
        answers.append((status, headers, rest[:length]))
        data = rest[length:]
    return answers


def wire(request: AWSPreparedRequest, *, close: bool = True, body: bool = True) -> bytes:
    """A signed request as the bytes that a plain client would send."""
    parts = urlsplit(request.url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"Host": parts.netloc}
    headers |= {name: value.decode() if isinstance(value, bytes) else value for name, value in request.headers.items()}
    content: Any = request.body or b""
    data: bytes = content.encode() if isinstance(content, str) else bytes(content)
    if not any(name.lower() in {"content-length", "transfer-encoding"} for name in headers):
        headers["Content-Length"] = str(len(data))
    if close:
        headers["Connection"] = "close"
    lines = [f"{request.method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (data if body else b"")


Serve = Callable[..., Serving]


@contextmanager
def serving(folder: Path) -> Iterator[Serve]:
    """A factory of servers under ``folder``, all of them gone at the end."""
    running: list[subprocess.Popen[bytes]] = []
    clients: list[Any] = []

    def start(
        *options: str, data_dir: Path | None = None, env: Mapping[str, str] | None = None, wait: bool = True
    ) -> Serving:
        data = data_dir or folder / f"data-{len(running)}"
        log_path = folder / f"log-{len(running)}"
        command = [str(BIN / "opentrail"), "serve", "--port", "0", "--data-dir", str(data), *options]
        with log_path.open("wb") as log:
            process = subprocess.Popen(command, stderr=log, env={**_environment(), **(env or {})}, cwd=folder)
        running.append(process)
        found = None
        deadline = time.monotonic() + 30
        while wait and found is None:
            found = re.search(r"(https?://[^ \"]+:\d+)[ \"]", log_path.read_text())
            assert process.poll() is None, log_path.read_text()
            assert time.monotonic() < deadline, log_path.read_text()
            time.sleep(0.01)
        url = found[1] if found else ""
        return Serving(process=process, data_dir=data, log_path=log_path, url=url, clients=clients)

    try:
        yield start
    finally:
        for client in clients:
            client.close()
        for process in running:
            if process.poll() is None:
                process.kill()
            process.wait(30)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("OPENTRAIL_", "AWS_"))}


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start servers: ``serve("--option", "value", data_dir=..., env=...)``."""
    with serving(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """One server for the tests of a module."""
    with serving(tmp_path_factory.mktemp("server")) as start:
        yield start()


class Local:
    """The endpoint within the test, as boto3 and signed requests reach it."""

    def __init__(self, endpoint: LocalEndpoint) -> None:
        self.runtime = endpoint.runtime
        self.loop = endpoint.loop
        self.journal = endpoint.journal
        self.key = read_key(endpoint.runtime.settings.data_dir)
        self.entries = endpoint.entries
        self._endpoint = endpoint

    def send(
        self,
        method: str,
        target: str,
        headers: list[tuple[bytes, bytes]],
        body: bytes = b"",
        tls: Tls | None = None,
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """The answer to one request: status, headers, body."""
        fields = [(name.lower().decode("latin-1"), value.decode("latin-1")) for name, value in headers]
        request = LocalRequest(method=method, target=target, headers=fields, body=body)
        answer = self._endpoint.send(request, tls=tls)
        return answer.status, list(answer.headers), answer.body

    def request(self, prepared: AWSPreparedRequest) -> tuple[int, list[tuple[str, str]], bytes]:
        """The answer to a request that botocore made."""
        parts = urlsplit(prepared.url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        content: Any = prepared.body or b""
        data: bytes = (
            content.encode()
            if isinstance(content, str)
            else content.read()
            if hasattr(content, "read")
            else bytes(content)
        )
        headers = [
            (name.encode(), value if isinstance(value, bytes) else value.encode("latin-1"))
            for name, value in prepared.headers.items()
        ]
        if not any(name.lower() == b"host" for name, _ in headers):
            headers.insert(0, (b"host", parts.netloc.encode()))
        if data and not any(name.lower() in {b"content-length", b"transfer-encoding"} for name, _ in headers):
            headers.append((b"content-length", str(len(data)).encode()))
        return self.send(prepared.method, target, headers, data)

    def sign(self, method: str, target: str, *, key: Key | None = None, **options: Any) -> AWSPreparedRequest:
        """A request signed by root, or with ``key``."""
        return (key or self.key).sign(method, f"http://{HOST}{target}", **options)

    def client(self, service: str, key: Key | None = None, region: str = "us-east-1") -> Any:
        """A boto3 client whose requests come here without a socket."""
        client = connect(service, f"http://{HOST}", key or self.key, region)

        def answer(request: AWSPreparedRequest, **_event: object) -> AWSResponse:
            status, headers, body = self.request(request)
            return AWSResponse(request.url, status, HTTPHeaders.from_pairs(headers), _Raw(body))

        client.meta.events.register("before-send", answer)
        return client

    def records(self) -> list[dict[str, Any]]:
        """The records that the journal holds."""
        return records_of(self.entries())

    def new_user(self, name: str, *statements: Mapping[str, Any]) -> Key:
        """A user that may do what ``statements`` say."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        if statements:
            document = {"Version": "2012-10-17", "Statement": list(statements)}
            iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(document))
        made = iam.create_access_key(UserName=name)["AccessKey"]
        return Key(id=made["AccessKeyId"], secret=made["SecretAccessKey"])


class _Raw(io.BytesIO):
    """What urllib3 would hand to botocore."""

    def stream(self, **_options: object) -> Iterator[bytes]:
        yield self.read()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    """The application within the test."""
    with run_local_endpoint(Settings(data_dir=tmp_path / "data")) as endpoint:
        yield Local(endpoint)


@pytest.fixture(scope="module")
def shared_local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """The application within the test, one for all tests of a module."""
    data = tmp_path_factory.mktemp("local") / "data"
    with run_local_endpoint(Settings(data_dir=data, account_id="123456789012")) as endpoint:
        yield Local(endpoint)


@pytest.fixture
def local_with(tmp_path: Path) -> Iterator[Callable[..., Local]]:
    """The application within the test, with settings of the test's own."""
    with ExitStack() as stack:

        def start(**settings: Any) -> Local:
            return Local(stack.enter_context(run_local_endpoint(Settings(data_dir=tmp_path / "data", **settings))))

        yield start


@pytest.fixture(scope="session")
def on_the_wire() -> Callable[..., bytes]:
    """A signed request as bytes."""
    return wire


@pytest.fixture
def run_opentrail_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run an ``opentrail`` command to its end in the test's own process, which costs no start."""
    for name in set(os.environ) - set(_environment()):
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        try:
            code: Any = run_command(arguments)
        except SystemExit as ending:  # argparse has printed what is wrong
            code = ending.code
        said = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, said.out, said.err)

    return run


@pytest.fixture
def run_opentrail(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the ``opentrail`` command to its end, in a process of its own."""

    def run(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN / "opentrail"), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
            env={**_environment(), **(env or {})},
        )

    return run


@pytest.fixture(scope="session")
def boto3_client() -> Callable[..., Any]:
    """Make boto3 clients: ``boto3_client(service, url, key)``."""
    return connect


@pytest.fixture(scope="session")
def make_key() -> Callable[[str, str], Key]:
    """An access key out of its ID and secret."""
    return lambda key_id, secret: Key(id=key_id, secret=secret)


@pytest.fixture(scope="session")
def sign_request() -> Callable[..., AWSPreparedRequest]:
    """A signed request: ``sign_request(key, method, url, service=...)``."""
    return Key.sign
