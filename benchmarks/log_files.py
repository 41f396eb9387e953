"""Records a second from the journal's bytes to a log file, against what the standard library would do.

    python benchmarks/log_files.py [--runs N]

The peer: ``json.dumps`` of the parsed records, SHA-256, ``gzip`` level 6, in one process on the same records.  Aims:
ten times its records a second, files at most 20 % larger.  Records are real ones where ``../shared/data`` lies beside
the repository, and otherwise made up, of the same mean size.  Prints medians; compare ratios, not seconds.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from statistics import median
from typing import TypeVar

from opentrail.core.logfiles import encode_log_file

T = TypeVar("T")

REAL = Path(__file__).resolve().parents[1] / "../shared/data/records/invictus.ndjson.gz"
FILES = (("five minutes", 54), ("a busy minute", 600), ("large", 30_000))


def main() -> None:
    """Measure each size of file and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7, help="timed runs of each, of which the median counts")
    runs = parser.parse_args().runs
    pool = _real_records() if REAL.exists() else _made_up_records()
    mean = sum(map(len, pool)) / len(pool)
    print(f"{'real' if REAL.exists() else 'made-up'} records of {mean:.0f} bytes, medians of {runs} runs")
    print(f"{'file':>14} {'records':>8} {'peer us/rec':>12} {'ours us/rec':>12} {'speed':>7} {'size':>6}")
    for name, count in FILES:
        files = _cut(pool, count)
        parsed = [[json.loads(record) for record in file] for file in files]
        peer_times: list[float] = []
        times: list[float] = []
        for _ in range(runs):  # in turns, so that both meet the same weather
            peer_seconds, peer_sizes = _time(_peer, parsed)
            seconds, sizes = _time(_ours, files)
            peer_times.append(peer_seconds)
            times.append(seconds)
        total = sum(map(len, files))
        peer, ours = median(peer_times), median(times)
        ratios = f"{peer / ours:6.1f}x {sum(sizes) / sum(peer_sizes):6.3f}"
        print(f"{name:>14} {count:8} {peer / total * 1e6:12.2f} {ours / total * 1e6:12.2f} {ratios}")


def _cut(pool: list[bytes], count: int) -> list[list[bytes]]:
    """Files of ``count`` records: all that the pool makes, or one for which it is repeated."""
    if count > len(pool):
        return [(pool * (count // len(pool) + 1))[:count]]
    return [pool[start : start + count] for start in range(0, len(pool) - count + 1, count)]


def _time(build: Callable[[list[T]], int], files: list[list[T]]) -> tuple[float, list[int]]:
    """Seconds for all files, and the bytes of each."""
    start = time.perf_counter()
    sizes = [build(file) for file in files]
    return time.perf_counter() - start, sizes


def _peer(records: list[dict[str, object]]) -> int:
    content = json.dumps({"Records": records}).encode()
    hashlib.sha256(content).hexdigest()
    return len(gzip.compress(content, 6))


def _ours(records: list[bytes]) -> int:
    return len(encode_log_file(records).data)


def _real_records() -> list[bytes]:
    return gzip.decompress(REAL.read_bytes()).splitlines()


def _made_up_records() -> list[bytes]:
    random = Random(1)
    return [json.dumps(_made_up_record(random), separators=(",", ":")).encode() for _ in range(3000)]


def _made_up_record(random: Random) -> dict[str, object]:
    user, host = f"user-{random.randrange(40)}", random.randrange(200)
    name = random.choice(("DescribeInstances", "GetObject", "AssumeRole", "ListBuckets", "PutObject"))
    return {
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "IAMUser",
            "principalId": f"AIDA{random.getrandbits(64):016X}",
            "arn": f"arn:aws:iam::111122223333:user/{user}",
            "accountId": "111122223333",
            "accessKeyId": f"AKIA{random.getrandbits(64):016X}",
            "userName": user,
        },
        "eventTime": f"2024-05-06T09:{random.randrange(60):02}:{random.randrange(60):02}Z",
        "eventSource": "ec2.amazonaws.com",
        "eventName": name,
        "awsRegion": "eu-west-1",
        "sourceIPAddress": f"203.0.113.{host}",
        "userAgent": "aws-cli/2.15.30 md/awscrt#0.19.19 ua/2.0 os/linux#6.1 md/arch#x86_64 lang/python#3.11.8",
        "requestParameters": {f"parameter{n}": f"{random.getrandbits(96):024x}" for n in range(10)},
        "responseElements": None,
        "requestID": f"{random.getrandbits(128):032x}",
        "eventID": f"{random.getrandbits(128):032x}",
        "readOnly": True,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": "111122223333",
        "eventCategory": "Management",
        "tlsDetails": {"tlsVersion": "TLSv1.3", "cipherSuite": "TLS_AES_128_GCM_SHA256"},
    }


if __name__ == "__main__":
    main()
