"""A trail of two days to verify and to tamper with: empty hours, a stop and a start, a key rotation, backfills.

Rules: it is small (a hundred objects), it is always the same but for its keys, and nothing in it is damaged.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

from opentrail.core.digests import decode_digest
from opentrail.core.events import format_time
from opentrail.core.gzip_member import decode_member
from opentrail.core.layout import Folder, TrailFolder
from opentrail.core.logfiles import MAX_LOG_FILE_BYTES
from opentrail.core.public_keys import PublicKey
from opentrail.keys.base import Signer
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.stores.memory import MemoryStore
from opentrail.testing.trail_writer import TrailWriter

BUCKET: Final = "trail-bucket"
REGION: Final = "eu-west-1"
FOLDER: Final = Folder(prefix="audit", account_id="111122223333", region=REGION)
TRAIL: Final = TrailFolder(folder=FOLDER, trail_name="main_trail", home_region=REGION)
TRAIL_ARN: Final = f"arn:aws:cloudtrail:{REGION}:{FOLDER.account_id}:trail/{TRAIL.trail_name}"
STOPPER: Final = f"arn:aws:iam::{FOLDER.account_id}:user/mallory"
START: Final = datetime(2024, 5, 6, 9, 17, 5, tzinfo=UTC)

Objects = dict[str, tuple[bytes, dict[str, str]]]  # key -> data, metadata

_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleTrail:
    """The objects of a bucket and what a test needs to know of them."""

    objects: Objects
    keys: RsaKeyFiles
    signer: Signer  # the newest key of REGION
    stranger: Signer  # a key of another region
    digests: tuple[str, ...]  # in order
    restart: int  # the index in digests of the one that starts the second chain
    backfills: tuple[str, ...]
    files: dict[str, tuple[str, ...]]  # digest -> the log files that it names
    stop: str  # the log file with the record of the StopLogging before the second chain
    foreign: str  # a digest of another account, in that account's folder
    end: datetime  # of the newest digest

    def __repr__(self) -> str:
        return f"SampleTrail({len(self.objects)} objects)"  # what they hold helps nobody in a report

    def full_digest(self, at: int) -> str:
        """The digest number ``at`` among those that name log files."""
        return [key for key in self.digests if self.files[key]][at]

    def public_keys(self) -> tuple[PublicKey, ...]:
        """Every public key that signed a digest."""
        return self.keys.list(REGION)

    def store(self) -> MemoryStore:
        """A store that holds the objects."""
        return store_of(self.objects)


def store_of(objects: Objects) -> MemoryStore:
    """A store that holds ``objects``."""
    store = MemoryStore()
    for key, (data, metadata) in objects.items():
        store.put(key, data, metadata)
    return store


def sample_record(number: int) -> bytes:
    """A short record, as JSON."""
    record = {"eventVersion": "1.11", "eventID": f"{number:032x}", "eventName": f"Call{number % 7}"}
    return json.dumps(record).encode()


def stop_record(at: datetime, **changes: object) -> bytes:
    """The record of a StopLogging of ``TRAIL`` at ``at``, as JSON."""
    record = {
        "eventVersion": "1.11",
        "userIdentity": {"type": "IAMUser", "arn": STOPPER, "userName": "mallory"},
        "eventTime": format_time(at),
        "eventSource": "cloudtrail.amazonaws.com",
        "eventName": "StopLogging",
        "awsRegion": REGION,
        "sourceIPAddress": "192.0.2.7",
        "requestParameters": {"name": TRAIL_ARN},
        "responseElements": None,
        "eventID": "5a1d0ba3-6f0e-4c5e-9d3c-0d1a6a2f7e11",
    }
    return json.dumps({**record, **changes}).encode()


def build_sample_trail(keys: RsaKeyFiles) -> SampleTrail:
    """Write the trail, signed with ``keys`` (whose folder must be empty)."""
    store, random, now = MemoryStore(), Random(7), START  # noqa: S311  nothing here is secret

    def signer(end_time: datetime) -> Signer:
        return keys.signer(REGION, now=now, digest_end_time=end_time)

    writer = TrailWriter(store, TRAIL, bucket=BUCKET, signer=signer, start=START)
    digests, restart, late, stop = [], 0, [], ""
    for hour in range(44):
        if hour == 20:  # StopLogging, and three hours later StartLogging
            stop = writer.put_log_file(now + timedelta(minutes=19), [stop_record(now + timedelta(minutes=18))]).key
            digests.append(writer.put_digest(now + timedelta(minutes=20)))
            now += 3 * _HOUR + timedelta(minutes=11)
            writer.start_chain(now)
            restart = len(digests)
        if hour == 30:
            keys.rotate(REGION, now=now, overlap=_HOUR)
        for minute in random.choice([(), (), (5,), (5, 5, 35), (10, 50)]):
            records = [sample_record(random.getrandbits(64)) for _ in range(9)]
            writer.put_log_file(now + timedelta(minutes=minute), records)
        now += _HOUR
        digests.append(writer.put_digest(now))
        if hour in {16, 36}:  # a log file that comes too late for this digest
            late.append((now, writer.put_log_file(now - timedelta(minutes=2), [sample_record(hour)], name=False)))
    backfills = [writer.put_backfill_digest(end - _HOUR, end, [file]) for end, file in late]
    other = replace(TRAIL, folder=replace(FOLDER, account_id="444455556666"))
    foreign = TrailWriter(store, other, bucket=BUCKET, signer=signer, start=START).put_digest(now)
    objects = {info.key: (store_bytes(store, info.key), dict(store.head(info.key).metadata)) for info in store.list("")}
    return SampleTrail(
        objects=objects,
        keys=keys,
        signer=signer(now),
        stranger=keys.signer("us-east-1", now=START),
        digests=tuple(digests),
        restart=restart,
        backfills=tuple(backfills),
        files={key: _named(objects[key][0]) for key in (*digests, *backfills)},
        stop=stop,
        foreign=foreign,
        end=now,
    )


def store_bytes(store: MemoryStore, key: str) -> bytes:
    """The data of one object."""
    return b"".join(store.get(key).chunks)


def _named(data: bytes) -> tuple[str, ...]:
    return tuple(file.key for file in decode_digest(decode_member(data, max_size=MAX_LOG_FILE_BYTES)).log_files)
