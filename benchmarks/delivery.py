"""Records a second from the journal to delivered log files, against the standard library's json and gzip 6.

    python benchmarks/delivery.py [--records 100000] [--rounds 5]

Ours: the real follower reads the journal's segment files, asks a trail's selectors, groups, encodes, stages in the
ledger (SQLite, durable), and the courier puts the files into a local object store (durable).  The peer has the records
in memory as dictionaries already and does no more than ``json.dumps`` and ``gzip.compress(level 6)`` in files of the
same records, written without a flush.  Same records, in turn, in one run; each figure is the median of the rounds.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import statistics
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from opentrail.core.events import EntryRoute, format_route, format_time
from opentrail.core.trails import Trail
from opentrail.delivery.courier import Courier
from opentrail.delivery.follower import LogFileFollower
from opentrail.delivery.ledger import Ledger, StagedObject
from opentrail.journal.base import Entry, EntryKind
from opentrail.journal.local import open_local_journal
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.server.collector import set_pace
from opentrail.state.database import open_database
from opentrail.state.trails import Trails
from opentrail.stores.base import ObjectStore
from opentrail.stores.opening import open_store

ACCOUNT, REGION = "123456789012", "eu-central-1"
REAL = Path(__file__).resolve().parents[1] / "../shared/data/records/invictus.ndjson.gz"
FILE_RECORDS = 20_000  # about 28 MB, the size of a busy account's five minutes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000, help="records a round (default 100,000)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default 5)")
    options = parser.parse_args()
    records = make_records(options.records)
    encoded = [json.dumps(record, separators=(",", ":")).encode() for record in records]
    mean = sum(map(len, encoded)) / len(encoded)
    set_pace()  # as the server does
    ours: list[tuple[float, float, int]] = []
    peers: list[tuple[float, float, int]] = []
    for _ in range(options.rounds):
        ours.append(deliver(encoded))
        peers.append(compress(records))
    print(f"{options.records:,} records of {mean:,.0f} bytes, median of {options.rounds} rounds")
    print(f"{'':28}{'records/s':>12}{'CPU us each':>13}{'bytes each':>12}")
    middle = []
    for name, rounds in (("opentrail, journal to bucket", ours), ("json.dumps + gzip 6", peers)):
        wall, cpu, size = (statistics.median(each[index] for each in rounds) for index in range(3))
        middle.append((wall, cpu, size))
        count = options.records
        print(f"{name:28}{count / wall:12,.0f}{cpu / count * 1e6:13.1f}{size / count:12.1f}")
    (our_wall, our_cpu, our_size), (wall, cpu, size) = middle
    print(f"ratio: {wall / our_wall:.1f}x the records a second, {cpu / our_cpu:.1f}x by CPU (aim: 10x)")
    print(f"size: {our_size / size:.2f} of gzip 6 (aim: at most 1.20)")


def make_records(count: int) -> list[dict[str, Any]]:
    """Real records where ``../shared/data`` lies beside the repository, else made up; each with ids of its own."""
    if not REAL.exists():
        return [make_record(random.Random(number)) for number in range(count)]
    pool = [json.loads(line) for line in gzip.decompress(REAL.read_bytes()).splitlines()]
    draw = random.Random(0)
    ids = [str(uuid.UUID(int=draw.getrandbits(128))) for _ in range(2 * count)]
    return [
        {**pool[number % len(pool)], "requestID": ids[2 * number], "eventID": ids[2 * number + 1]}
        for number in range(count)
    ]


def make_record(draw: random.Random) -> dict[str, Any]:
    """A record as the endpoint writes it, with the variety of a real account."""
    user = f"user-{draw.randrange(40)}"
    now = datetime.fromtimestamp(1_750_000_000 + draw.randrange(300), UTC)
    name = draw.choice(
        ["DescribeInstances", "GetObject", "AssumeRole", "PutObject", "ListBuckets", "GetCallerIdentity"]
    )
    return {
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "AssumedRole",
            "principalId": f"AROAEXAMPLEID{draw.randrange(40):04}:{user}",
            "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/service-role/{user}",
            "accountId": ACCOUNT,
            "accessKeyId": f"ASIAEXAMPLEKEY{draw.randrange(200):04}",
            "sessionContext": {
                "sessionIssuer": {
                    "type": "Role",
                    "principalId": f"AROAEXAMPLEID{draw.randrange(40):04}",
                    "arn": f"arn:aws:iam::{ACCOUNT}:role/service-role",
                    "accountId": ACCOUNT,
                    "userName": "service-role",
                },
                "attributes": {"creationDate": format_time(now), "mfaAuthenticated": "false"},
            },
        },
        "eventTime": format_time(now),
        "eventSource": "ec2.amazonaws.com",
        "eventName": name,
        "awsRegion": REGION,
        "sourceIPAddress": f"192.0.2.{draw.randrange(256)}",
        "userAgent": "aws-sdk-go/1.44.157 (go1.19.3; linux; amd64) exec-env/AWS_Lambda_go1.x terraform/3.76.1",
        "requestParameters": {
            "instancesSet": {"items": [{"instanceId": f"i-{draw.getrandbits(68):017x}"}]},
            "filterSet": {"items": [{"name": "tag:env", "valueSet": {"items": [{"value": draw.choice("abcd") * 8}]}}]},
        },
        "responseElements": None,
        "requestID": str(uuid.UUID(int=draw.getrandbits(128))),
        "eventID": str(uuid.UUID(int=draw.getrandbits(128))),
        "readOnly": True,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": ACCOUNT,
        "eventCategory": "Management",
        "tlsDetails": {
            "tlsVersion": "TLSv1.3",
            "cipherSuite": "TLS_AES_128_GCM_SHA256",
            "clientProvidedHostHeader": f"ec2.{REGION}.amazonaws.com",
        },
    }


class StoreBucket:
    """The log bucket without a server before it."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self.size = 0

    def put(self, item: StagedObject) -> None:
        self.store.put(f"{item.bucket}/{item.key}", item.body, item.metadata)
        self.size += len(item.body)


def deliver(encoded: list[bytes]) -> tuple[float, float, int]:
    """Fill a journal, then time its delivery; wall seconds, CPU seconds, bytes delivered."""
    with tempfile.TemporaryDirectory(prefix="opentrail-bench-") as name:
        folder = Path(name)
        journal = open_local_journal(folder / "journal")
        engine = open_database(f"sqlite:///{folder / 'state.db'}")
        trails = Trails(engine)
        trail = Trail(account_id=ACCOUNT, home_region=REGION, name="bench", bucket="logs", is_logging=True)
        trails.change(trail.arn, datetime.now(UTC), lambda _: trail)
        route = format_route(EntryRoute(1, 1, ACCOUNT, REGION, "Management", True, "ec2.amazonaws.com", "AwsApiCall"))
        entries = [Entry(EntryKind.EVENT, route, 1_750_000_000_000, os.urandom(16), data) for data in encoded]
        for start in range(0, len(entries), 1000):
            journal.append(entries[start : start + 1000])
        del entries
        ledger = Ledger(f"sqlite:///{folder / 'ledger.db'}")
        keys = RsaKeyFiles(folder / "keys")
        follower = LogFileFollower(
            journal=journal,
            ledger=ledger,
            trails=trails,
            signer=lambda region, end: keys.signer(region, now=end),
            random_bytes=os.urandom,
            digest_interval_seconds=3600,
        )
        bucket = StoreBucket(open_store(str(folder / "objects")))
        courier = Courier(
            ledger=ledger,
            bucket=bucket,
            report=lambda _: None,
            clock=lambda: datetime.now(UTC),
            monotonic=time.monotonic,
        )
        follower.find_place()
        wall, cpu = time.perf_counter(), time.process_time()
        follower.take(datetime.now(UTC))
        courier.run()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        assert ledger.waiting() == 0, "everything is delivered"
        bucket.store.close()
        ledger.close()
        engine.dispose()
        journal.close()
        return wall, cpu, bucket.size


def compress(records: list[dict[str, Any]]) -> tuple[float, float, int]:
    """The standard library's way with records that are in memory already."""
    with tempfile.TemporaryDirectory(prefix="opentrail-bench-") as folder:
        wall, cpu, size = time.perf_counter(), time.process_time(), 0
        for start in range(0, len(records), FILE_RECORDS):
            data = gzip.compress(json.dumps({"Records": records[start : start + FILE_RECORDS]}).encode(), 6)
            Path(folder, f"{start}.json.gz").write_bytes(data)
            size += len(data)
        return time.perf_counter() - wall, time.process_time() - cpu, size


if __name__ == "__main__":
    main()
