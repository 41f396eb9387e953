"""The memory that ``opentrail verify`` takes for a trail of a million log files, which a source makes up.

    python benchmarks/verify_memory.py [--log-files 1000000]

The digests are real and signed; the log files are listed under a million names, and all have the same small content.
Peak resident memory is that of the largest process.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from opentrail.core.public_keys import decode_public_keys, encode_public_keys
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.testing.trail_generator import LocalFolder, TrailPlan
from opentrail.testing.trail_writer import TrailWriter
from opentrail.verification.engine import Verification
from opentrail.verification.folder_source import FolderSource
from opentrail.verification.request import VerifyRequest
from opentrail.verification.source import SourceObject
from processes import PeakWatch

MOST_MEGABYTES = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log-files", type=int, default=1_000_000, help="how many (default 1,000,000)")
    parser.add_argument("--role", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        verify_alike(options.role)
        return
    with tempfile.TemporaryDirectory(prefix="opentrail-bench-") as text:
        measure_million(Path(text), options.log_files)


def measure_million(folder: Path, count: int) -> None:
    began = time.perf_counter()
    write_alike(folder, count)
    print(f"{count:,} log files in a listing, made in {time.perf_counter() - began:.0f} s", flush=True)
    began = time.perf_counter()
    child = os.posix_spawn(sys.executable, [sys.executable, __file__, "--role", str(folder)], os.environ)
    watch = PeakWatch(child)
    _, status = os.waitpid(child, 0)
    seconds = time.perf_counter() - began
    watch.end()
    if status:
        raise SystemExit("the trail is not valid")
    judged = "met" if watch.megabytes < MOST_MEGABYTES else "MISSED"
    print(f"verified in {seconds:.1f} s ({count / seconds:,.0f} log files/s)")
    print(f"peak resident memory {watch.megabytes:.0f} MB   < {MOST_MEGABYTES}: {judged}")


class AlikeTarget:
    """Keeps digests in a folder; of the log files, which are all alike, the names."""

    def __init__(self, folder: Path) -> None:
        self._digests = LocalFolder(folder / "bucket")
        self._folder = folder
        self._names = (folder / "names").open("w")
        self._day = ""

    def put(self, key: str, data: bytes, metadata: Mapping[str, str]) -> None:
        if "CloudTrail-Digest" in key:
            self._digests.put(key, data, metadata)
            return
        self._names.write(key + "\n")
        day = key.rpartition("/")[0]
        if day != self._day:
            self._day = day
            (self._folder / "bucket" / day).mkdir(parents=True)
            (self._folder / "alike").write_bytes(data)

    def close(self) -> None:
        self._names.close()


class AlikeSource(FolderSource):
    """The digests of a folder, and log files that are listed, and all alike."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder / "bucket"))
        self._names = folder / "names"
        self._alike = (folder / "alike").read_bytes()

    def list_keys(self, prefix: str, *, start_after: str = "") -> Iterator[str]:
        if "/CloudTrail/" not in prefix:
            yield from super().list_keys(prefix, start_after=start_after)
            return
        with self._names.open() as file:
            for line in file:
                if line.startswith(prefix) and line[:-1] > start_after:
                    yield line[:-1]

    def read(self, key: str, *, limit: int) -> SourceObject:
        return SourceObject(data=self._alike) if "/CloudTrail/" in key else super().read(key, limit=limit)

    def read_chunks(self, key: str) -> Iterator[bytes]:
        return iter((self._alike,)) if "/CloudTrail/" in key else super().read_chunks(key)


def write_alike(folder: Path, count: int) -> None:
    """A trail of ``count`` log files, twelve an hour."""
    keys, target = RsaKeyFiles(folder / "keys"), AlikeTarget(folder)
    plan = TrailPlan(hours=count // 12)
    signer = keys.signer("eu-west-1", now=plan.start)
    writer = TrailWriter(target, next(plan.trails()), bucket=plan.bucket, signer=lambda _end: signer, start=plan.start)
    record = [json.dumps({"eventVersion": "1.11", "eventName": "GetCallerIdentity"}).encode()]
    now = plan.start
    for _ in range(plan.hours):
        for _ in range(12):
            now += timedelta(minutes=5)
            writer.put_log_file(now, record)
        writer.put_digest(now)
    target.close()
    keys.signer("eu-west-1", now=plan.start, digest_end_time=now)  # its validity reaches as far as the digests
    (folder / "public-keys.json").write_bytes(encode_public_keys(keys.list("eu-west-1")))


def verify_alike(folder: Path) -> None:
    """Verify it; the exit code says whether it is valid."""
    run = Verification(
        AlikeSource(folder),
        VerifyRequest(jobs=os.cpu_count() or 1),
        decode_public_keys((folder / "public-keys.json").read_bytes()),
        on_finding=lambda _trail, finding: print(finding) if finding.severity == "error" else None,
        checked_at=datetime.now(UTC),
        clock=time.monotonic,
    )
    result = run.run()
    raise SystemExit(result.exit_code)


if __name__ == "__main__":
    main()
