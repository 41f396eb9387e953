"""Writes a trail of any length for several accounts and regions, with records of real sizes: for benchmarks and tests.

    python -m opentrail.testing.trail_generator FOLDER --days 30 --accounts 3

Rules: what it writes is untouched, in the formats of ``core``, delivered hour by hour by one ``TrailWriter`` a chain.
The same plan with the same keys makes the same bytes.  A month of one account (8,640 log files of 75 KB) takes some
eight seconds.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

from opentrail.core.events import format_time
from opentrail.core.layout import Folder, TrailFolder
from opentrail.core.public_keys import PublicKey, encode_public_keys
from opentrail.keys.base import Signer
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.stores.local_names import format_path, sidecar_path
from opentrail.stores.local_sidecars import encode_sidecar, mark_of, new_entry
from opentrail.testing.generated_records import RecordMaker
from opentrail.testing.trail_writer import Target, TrailWriter

START: Final = datetime(2024, 5, 6, tzinfo=UTC)
_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailPlan:
    """What to write: for each account and region a chain of ``hours`` digests.

    An hour brings ``files_per_hour`` log files of ``records_per_file`` records (53 of them are 75 KB, 33,000 are
    47 MB), or none, with the probability ``empty_share``.  The key of each region is rotated after every
    ``rotate_hours``; 0: never.
    """

    bucket: str = "trail-bucket"
    prefix: str = ""
    organization_id: str = ""
    trail_name: str = "main"
    home_region: str = "eu-west-1"
    accounts: Sequence[str] = ("111122223333",)
    regions: Sequence[str] = ("eu-west-1",)
    start: datetime = START
    hours: int = 24
    files_per_hour: int = 12
    records_per_file: int = 53
    empty_share: float = 0.0
    rotate_hours: int = 0
    seed: int = 0

    def trails(self) -> Iterator[TrailFolder]:
        """The chains, in the byte order of their folders."""
        folder = partial(Folder, prefix=self.prefix, organization_id=self.organization_id)
        for account_id in sorted(self.accounts):
            for region in sorted(self.regions):
                yield TrailFolder(
                    folder=folder(account_id=account_id, region=region),
                    trail_name=self.trail_name,
                    home_region=self.home_region,
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedChain:
    """What was written of one chain: keys in order."""

    trail: TrailFolder
    digests: tuple[str, ...]
    log_files: Mapping[str, tuple[str, ...]]  # by the digest that names them
    start: datetime
    end: datetime  # of the newest digest


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedTrail:
    """What was written."""

    plan: TrailPlan
    chains: tuple[GeneratedChain, ...]
    public_keys: Mapping[str, tuple[PublicKey, ...]]  # by region

    @property
    def start(self) -> datetime:
        """When the first digest begins."""
        return min(chain.start for chain in self.chains)

    @property
    def end(self) -> datetime:
        """When the last digest ends."""
        return max(chain.end for chain in self.chains)

    def all_public_keys(self) -> tuple[PublicKey, ...]:
        """Those of every region."""
        return tuple(key for keys in self.public_keys.values() for key in keys)


def generate_trail(plan: TrailPlan, target: Target, keys: RsaKeyFiles) -> GeneratedTrail:
    """Write the trail into ``target`` (the bucket), signed with ``keys``."""
    writers = [_ChainWriter(plan, trail, number, target, keys) for number, trail in enumerate(plan.trails())]
    for hour in range(plan.hours):  # all chains together: a rotation is the same moment for each
        if plan.rotate_hours and hour and hour % plan.rotate_hours == 0:
            for region in plan.regions:
                keys.rotate(region, now=plan.start + hour * _HOUR)
        for writer in writers:
            writer.write_hour()
    return GeneratedTrail(
        plan=plan,
        chains=tuple(writer.chain() for writer in writers),
        public_keys={region: keys.list(region) for region in plan.regions},
    )


class _ChainWriter:
    """One chain on its way through the hours; it ends its hours some minutes and seconds after the full one."""

    def __init__(self, plan: TrailPlan, trail: TrailFolder, number: int, target: Target, keys: RsaKeyFiles) -> None:
        self._plan = plan
        self._trail = trail
        self._random = Random(f"{plan.seed} {number}")  # noqa: S311  nothing here is secret
        self._records = RecordMaker(trail.folder.account_id, trail.folder.region, self._random)
        self._start = self._now = plan.start + timedelta(seconds=self._random.randrange(3600))
        self._keys = keys
        self._writer = TrailWriter(
            target, trail, bucket=plan.bucket, signer=self._signer, start=self._start, seed=self._random.getrandbits(64)
        )
        self._log_files: dict[str, tuple[str, ...]] = {}

    def write_hour(self) -> None:
        """The log files of an hour and their digest."""
        plan, files = self._plan, []
        count = 0 if self._random.random() < plan.empty_share else plan.files_per_hour
        for at in range(count):
            oldest, newest = (self._now + _HOUR * (at + part) / count for part in (0.0, 0.9))
            newest = newest.replace(microsecond=0)
            oldest = oldest.replace(microsecond=0)
            records = self._records.make(plan.records_per_file, oldest, newest)
            files.append(self._writer.put_log_file(newest, records, oldest=oldest).key)
        self._now += _HOUR
        self._log_files[self._writer.put_digest(self._now)] = tuple(files)

    def chain(self) -> GeneratedChain:
        """What was written."""
        return GeneratedChain(
            trail=self._trail,
            digests=tuple(self._log_files),
            log_files=self._log_files,
            start=self._start,
            end=self._now,
        )

    def _signer(self, end_time: datetime) -> Signer:
        return self._keys.signer(self._trail.folder.region, now=end_time, digest_end_time=end_time)


class PlainFolder:
    """A ``Target`` as a copy of a bucket lies on a disk: files named like the keys, their metadata lost."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, data: bytes, metadata: Mapping[str, str]) -> None:  # noqa: ARG002  they are what is lost
        """Write the file."""
        _write(self._root / key, data)


class LocalFolder:
    """A ``Target`` that leaves what ``LocalStore`` leaves of a bucket, without its care for crashes."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, data: bytes, metadata: Mapping[str, str]) -> None:
        """Write the data file and its sidecar."""
        path = format_path(key)
        status = _write(self._root / path, data)
        entry = new_entry(mark_of(status), hashlib.md5(data, usedforsecurity=False).hexdigest(), metadata)
        _write(self._root / sidecar_path(path), encode_sidecar(entry))


def _write(path: Path, data: bytes) -> os.stat_result:
    try:
        file = path.open("wb")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("wb")
    with file:
        file.write(data)
        file.flush()
        return os.fstat(file.fileno())


def account_numbers(count: int) -> tuple[str, ...]:
    """The IDs of ``count`` made-up accounts."""
    return tuple(f"{111122223333 + number:012}" for number in range(count))


def main() -> None:
    """Write a trail into ``FOLDER/BUCKET``, its signing keys into ``FOLDER/keys``, what verifies it beside them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--days", type=float, default=1)
    parser.add_argument("--accounts", type=int, default=1)
    parser.add_argument("--regions", type=lambda text: tuple(text.split(",")), default=("eu-west-1",))
    parser.add_argument("--records", type=int, default=53, help="of a log file (33000: 47 MB)")
    parser.add_argument("--files", type=int, default=12, help="of an hour")
    parser.add_argument("--plain", action="store_true", help="files alone, without Opentrail's metadata beside them")
    options = parser.parse_args()
    plan = TrailPlan(
        accounts=account_numbers(options.accounts),
        regions=options.regions,
        home_region=options.regions[0],
        hours=max(1, round(options.days * 24)),
        files_per_hour=options.files,
        records_per_file=options.records,
    )
    target = (PlainFolder if options.plain else LocalFolder)(options.folder / plan.bucket)
    trail = generate_trail(plan, target, RsaKeyFiles(options.folder / "keys"))
    (options.folder / "public-keys.json").write_bytes(encode_public_keys(trail.all_public_keys()))
    files = sum(len(named) for chain in trail.chains for named in chain.log_files.values())
    span = f"{format_time(trail.start)} to {format_time(trail.end)}"
    sys.stdout.write(f"{len(trail.chains)} chains, {files} log files, {span}\n")


if __name__ == "__main__":
    main()
