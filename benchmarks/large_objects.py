"""A large object through the endpoint: the server's memory, and its rate against a server that checks nothing.

    python benchmarks/large_objects.py [--gigabytes 2] [--rounds 3]

PUT and GET of one object, streamed from and to nothing by the client.  Ours authenticates, authorises, hashes (MD5
for the ETag), stores durably and records; the peer is a bare uvicorn application that writes the body to a file and
reads it back, without a flush.  Memory is the process's peak (VmHWM).  Each rate is the median of the rounds.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import uvicorn
from botocore.config import Config

from opentrail.testing.live_server import free_port
from processes import listening, opentrail, peak_megabytes

CHUNK = bytes(1 << 20)
BUCKET, KEY = "benchmark-bucket", "large"
LIMIT_MB = 150
V4 = Config(signature_version="s3v4", s3={"addressing_style": "path"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2, help="size of the object (default 2)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default 3)")
    parser.add_argument("--peer", nargs=2, metavar=("PORT", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        run_peer(int(options.peer[0]), Path(options.peer[1]))
        return
    size = int(options.gigabytes * (1 << 30)) // len(CHUNK) * len(CHUNK)
    rates: dict[tuple[str, str], list[float]] = {}
    with endpoint() as (pid, put_url, get_url), peer() as (peer_pid, peer_url):
        for _ in range(options.rounds):
            for who, put, get in (("opentrail", put_url, get_url), ("bare uvicorn", peer_url, peer_url)):
                rates.setdefault((who, "PUT"), []).append(upload(put, size))
                rates.setdefault((who, "GET"), []).append(download(get, size))
        memory = {"opentrail": peak_megabytes(pid), "bare uvicorn": peak_megabytes(peer_pid)}
    middle = {key: statistics.median(values) for key, values in rates.items()}
    print(f"an object of {size / (1 << 30):g} GB, median of {options.rounds} rounds")
    print(f"{'':16}{'PUT MB/s':>10}{'GET MB/s':>10}{'peak MB':>10}")
    for who in ("opentrail", "bare uvicorn"):
        print(f"{who:16}{middle[who, 'PUT']:10.0f}{middle[who, 'GET']:10.0f}{memory[who]:10.0f}")
    put_ratio = middle["opentrail", "PUT"] / middle["bare uvicorn", "PUT"]
    get_ratio = middle["opentrail", "GET"] / middle["bare uvicorn", "GET"]
    print(f"ratio: {put_ratio:.2f} of the peer's PUT rate, {get_ratio:.2f} of its GET rate")
    print(f"memory: {memory['opentrail']:.0f} MB (aim: under {LIMIT_MB} MB)")


@contextmanager
def endpoint() -> Iterator[tuple[int, str, str]]:
    with opentrail() as server:
        open_client: Any = boto3.client  # its types are made for literals
        s3 = open_client("s3", endpoint_url=server.url, region_name="us-east-1", config=V4, **server.root_key())
        s3.create_bucket(Bucket=BUCKET)
        where = {"Bucket": BUCKET, "Key": KEY}
        urls = [s3.generate_presigned_url(name, Params=where, ExpiresIn=3600) for name in ("put_object", "get_object")]
        yield server.pid, urls[0], urls[1]


@contextmanager
def peer() -> Iterator[tuple[int, str]]:
    port = free_port()
    with (
        tempfile.TemporaryDirectory(prefix="opentrail-bench-") as folder,
        listening(sys.executable, __file__, "--peer", str(port), folder, port=port) as pid,
    ):
        yield pid, f"http://127.0.0.1:{port}/{KEY}"


def run_peer(port: int, folder: Path) -> None:
    path = folder / KEY

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] == "PUT":
            with path.open("wb") as file:
                more = True
                while more:
                    message = await receive()
                    file.write(message.get("body", b""))
                    more = message.get("more_body", False)
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        length = str(path.stat().st_size).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        with path.open("rb") as file:
            while part := file.read(len(CHUNK)):
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    uvicorn.run(application, port=port, log_level="error", access_log=False)


def upload(url: str, size: int) -> float:
    """MB a second."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=600)
    start = time.perf_counter()
    connection.putrequest("PUT", f"{parts.path}?{parts.query}")
    connection.putheader("Content-Length", str(size))
    connection.endheaders()
    for _ in range(size // len(CHUNK)):
        connection.send(CHUNK)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    answer.read()
    connection.close()
    return size / (1 << 20) / (time.perf_counter() - start)


def download(url: str, size: int) -> float:
    """MB a second."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=600)
    start = time.perf_counter()
    connection.request("GET", f"{parts.path}?{parts.query}")
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    buffer = bytearray(len(CHUNK))
    received = 0
    while count := answer.readinto(buffer):
        received += count
    assert received == size
    connection.close()
    return size / (1 << 20) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
