"""Calls a second and CPU a call: Opentrail, authenticated, authorised, recorded, against moto_server with none of it.

    python benchmarks/calls.py [--seconds 5] [--clients 64] [--rounds 3]

Both servers answer the same bytes from the same client, in turn, in one run: sts:GetCallerIdentity, and s3:PutObject
of 1 KB.  The client sends requests that were signed once (a signature holds for 15 minutes) and keeps its connections;
moto_server closes each, so there it connects anew.  CPU is the server process's user and system time.  Each figure is
the median of the rounds.
"""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import boto3
import uvloop
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from opentrail.testing.live_server import free_port
from processes import cpu_seconds, listening, load_parser, opentrail

BIN = Path(sys.executable).parent
BUCKET = "benchmark-bucket"
NEW_OBJECTS = 200  # a connection and round


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server under test."""

    name: str
    port: int
    pid: int
    credentials: Credentials

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One kind of call: calls a second, CPU microseconds a call, latencies in milliseconds."""

    rate: float
    cpu: float
    p50: float
    p99: float


def main() -> None:
    options = load_parser(__doc__, seconds=5, rounds_of="server").parse_args()
    with opentrail() as live, moto() as peer:
        ours = Server(
            name="opentrail", port=live.port, pid=live.pid, credentials=Credentials(*live.root_key().values())
        )
        for server in (ours, peer):
            open_client: Any = boto3.client  # its types are made for literals
            s3 = open_client(
                "s3",
                endpoint_url=server.url,
                region_name="us-east-1",
                aws_access_key_id=server.credentials.access_key,
                aws_secret_access_key=server.credentials.secret_key,
            )
            s3.create_bucket(Bucket=BUCKET)
        print(f"{options.clients} connections, median of {options.rounds} rounds of {options.seconds:g} s each")
        print(f"{'':24}{'calls/s':>10}{'CPU us/call':>13}{'p50 ms':>9}{'p99 ms':>9}")
        for name, make in (("sts:GetCallerIdentity", identity_requests), ("s3:PutObject 1 KB", put_requests)):
            rounds: dict[str, list[Figures]] = {ours.name: [], peer.name: []}
            for _ in range(options.rounds):
                for server in (ours, peer):
                    requests = [make(server) for _ in range(options.clients)]
                    rounds[server.name].append(run_round(server, requests, options.seconds))
            middle = {who: median(values) for who, values in rounds.items()}
            print(name)
            for who, figures in middle.items():
                print(f"  {who:22}{figures.rate:10,.0f}{figures.cpu:13,.0f}{figures.p50:9.1f}{figures.p99:9.1f}")
            ratio = middle[peer.name].cpu / middle[ours.name].cpu
            print(f"  ratio: {ratio:.1f}x moto_server's calls per CPU second (aim: 20x; p99 under 25 ms)")


def median(rounds: list[Figures]) -> Figures:
    values = {name: statistics.median(getattr(each, name) for each in rounds) for name in ("rate", "cpu", "p50", "p99")}
    return Figures(**values)


@contextmanager
def moto() -> Iterator[Server]:
    port = free_port()
    with listening(BIN / "moto_server", "-H", "127.0.0.1", "-p", str(port), port=port) as pid:
        yield Server(name="moto_server", port=port, pid=pid, credentials=Credentials("testing", "testing"))


def identity_requests(server: Server) -> list[bytes]:
    """One request, which is sent over and over."""
    body = b"Action=GetCallerIdentity&Version=2011-06-15"
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8", "User-Agent": "benchmark"}
    request = AWSRequest("POST", f"{server.url}/", headers=headers, data=body)
    SigV4Auth(server.credentials, "sts", "us-east-1").add_auth(request)
    return [wire(request, body)]


def put_requests(server: Server) -> list[bytes]:
    """Requests for as many new objects; a client that has sent them all begins again."""
    body, batch = os.urandom(1024), uuid.uuid4()
    requests = []
    for number in range(NEW_OBJECTS):
        url = f"{server.url}/{BUCKET}/{batch}/object-{number}"
        request = AWSRequest("PUT", url, headers={"User-Agent": "benchmark"}, data=body)
        S3SigV4Auth(server.credentials, "s3", "us-east-1").add_auth(request)
        requests.append(wire(request, body))
    return requests


def wire(request: AWSRequest, body: bytes) -> bytes:
    prepared = request.prepare()
    path = "/" + prepared.url.split("/", 3)[3]
    headers = {"Host": prepared.url.split("/")[2], **dict(prepared.headers.items()), "Content-Length": str(len(body))}
    lines = [f"{request.method} {path} HTTP/1.1"]
    for name, value in headers.items():
        lines.append(f"{name}: {value.decode() if isinstance(value, bytes) else value}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Connection(asyncio.Protocol):
    """Sends the next request as soon as one is answered, for as long as the server keeps the connection."""

    def __init__(self, requests: Iterator[bytes], latencies: list[float], deadline: float, started: float) -> None:
        self._requests = requests
        self._latencies = latencies
        self._deadline = deadline
        self._received = b""
        self._sent_at = started
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._transport.write(next(self._requests))  # type: ignore[attr-defined]  # a TCP transport writes

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        if length is not None and len(body) < int(length[1]):
            return
        assert head.startswith(b"HTTP/1.1 200"), self._received[:400]
        now = time.perf_counter()
        self._latencies.append(now - self._sent_at)
        self._received = b""
        if now >= self._deadline or b"connection: close" in head.lower():
            self._transport.close()
        else:
            self._sent_at = now
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)


def run_round(server: Server, requests: list[list[bytes]], seconds: float) -> Figures:
    latencies: list[float] = []

    async def keep_calling(requests: Iterator[bytes], deadline: float) -> None:
        loop = asyncio.get_running_loop()
        while (started := time.perf_counter()) < deadline:
            _, connection = await loop.create_connection(
                lambda: Connection(requests, latencies, deadline, started),
                "127.0.0.1",
                server.port,
            )
            await connection.done

    async def drive() -> None:
        deadline = time.perf_counter() + seconds
        await asyncio.gather(*(keep_calling(cycle(each), deadline) for each in requests))

    before, start = cpu_seconds(server.pid), time.perf_counter()
    uvloop.run(drive())
    wall, used = time.perf_counter() - start, cpu_seconds(server.pid) - before
    latencies.sort()
    count = len(latencies)
    return Figures(
        rate=count / wall,
        cpu=used / count * 1e6,
        p50=latencies[count // 2] * 1e3,
        p99=latencies[int(count * 0.99)] * 1e3,
    )


if __name__ == "__main__":
    main()
