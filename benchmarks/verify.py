"""``opentrail verify`` against the newest ``aws cloudtrail validate-logs`` on the same generated trail.

    python benchmarks/verify.py [--days 30] [--accounts 2] [--runs 2] [--json]

The trail: 5-minute log files of 75 KB for several accounts, hourly digests; and one of 47 MB files.  In each run the
AWS CLI verifies one account from an S3 server, and ``opentrail verify`` the same account and time from the folder and
from the same server, in turns; ratios are the medians of the runs'.  The server answers from memory, with 10-15 us of
processor time a request, and checks no signature.  With 20 ms to the first byte the CLI verifies one day and its time
is scaled by the number of objects, because a month takes it four minutes.  CPU is user and system time of the process
and its children.  Each aim is printed as met or MISSED.  ``verify_memory.py`` measures a million log files.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median

from opentrail.core.events import format_time
from opentrail.core.public_keys import encode_public_keys
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.testing.aws_cli import require_aws
from opentrail.testing.live_server import free_port
from opentrail.testing.trail_generator import GeneratedTrail, LocalFolder, TrailPlan, account_numbers, generate_trail
from processes import PeakWatch, listening

LARGE_RECORDS = 32_000  # of a log file: 47 MB
LARGE_FILES = 13  # 613 MB, as much as a month of 5-minute files
FIRST_BYTE_MS = 20
MOST_MEGABYTES = 200
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a command took."""

    wall: float  # seconds
    cpu: float  # seconds, with its children's
    megabytes: float  # of memory: the peak of its largest process


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """How many times less than the AWS CLI; 0: not said."""

    wall: float = 0
    cpu: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Medians of paired runs; times are seconds."""

    name: str
    runs: int
    aws_wall: float
    aws_cpu: float
    wall: float
    cpu: float
    wall_ratio: float
    cpu_ratio: float
    rss_megabytes: float
    aim: Aim


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A trail in a folder and on a server; ``keys`` is its file of public keys."""

    folder: Path
    keys: Path
    trail: GeneratedTrail
    url: str

    def warm(self) -> None:
        """Let the page cache and the server's memory hold the trail: the first reader pays for neither."""
        for source in (str(self.folder), self.bucket):
            self.opentrail(source, self.trail.start, self.trail.end)

    def aws(self, account: str, start: datetime, end: datetime) -> Cost:
        plan = self.trail.plan
        arn = f"arn:aws:cloudtrail:{plan.home_region}:{account}:trail/{plan.trail_name}"
        words = ("--trail-arn", arn, "--s3-bucket", plan.bucket, *_times(start, end, "-time"))
        return run_command([str(require_aws("newest")), "cloudtrail", "validate-logs", *words], self.url)

    def opentrail(self, source: str, start: datetime, end: datetime, *words: str) -> Cost:
        command = str(Path(sys.executable).with_name("opentrail"))
        options = ("--public-keys", str(self.keys), *_times(start, end), *words)
        return run_command([command, "verify", source, *options], self.url)

    @property
    def bucket(self) -> str:
        return f"s3://{self.trail.plan.bucket}"

    def objects(self, start: datetime, end: datetime) -> int:
        """Digests and log files of one account that are verified between the two."""
        chain = self.trail.chains[0]
        digests = [key for key in chain.digests if format_time(start) <= _end_of(key) <= format_time(end)]
        return len(digests) + sum(len(chain.log_files[key]) for key in digests)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=30, help="of the trail (default 30)")
    parser.add_argument("--accounts", type=int, default=2, help="of the trail (default 2)")
    parser.add_argument("--runs", type=int, default=2, help="paired runs of the month, 20 s each (default 2)")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each comparison")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="opentrail-bench-") as text, ExitStack() as stack:
        for comparison in compare_all(Path(text), options, stack):
            print(json.dumps(asdict(comparison)) if options.json else as_text(comparison), flush=True)


def compare_all(folder: Path, options: argparse.Namespace, stack: ExitStack) -> Iterator[Comparison]:
    def tell(text: str) -> None:
        if not options.json:
            print(text, flush=True)

    load = os.getloadavg()[0]
    tell(f"load average before: {load:.2f}{'  (not quiet: ratios may suffer)' if load > 0.5 else ''}")
    accounts = account_numbers(options.accounts)
    plan = TrailPlan(accounts=accounts, hours=24 * options.days)
    month = stack.enter_context(make_bench(folder / "month", plan))
    tell(f"{options.days} days of {len(accounts)} accounts: {month.objects(month.trail.start, month.trail.end):,} each")
    yield from compare_month(month, options.runs)
    with slow_server(month) as slow:
        yield compare_slow(slow, options.runs)
    plan = TrailPlan(hours=LARGE_FILES, files_per_hour=1, records_per_file=LARGE_RECORDS)
    large = stack.enter_context(make_bench(folder / "large", plan))
    yield from compare_large(large, options.runs)


def compare_month(bench: Bench, runs: int) -> Iterator[Comparison]:
    """One account from the folder and from the server; in the end all accounts in one run."""
    costs: dict[str, list[Cost]] = {"aws": [], "folder": [], "http": [], "all": []}
    span = bench.trail.start, bench.trail.end
    bench.warm()
    for number in range(runs):
        account = bench.trail.plan.accounts[number % len(bench.trail.plan.accounts)]
        costs["aws"].append(bench.aws(account, *span))
        costs["folder"].append(bench.opentrail(str(bench.folder), *span, "--account-id", account))
        costs["http"].append(bench.opentrail(bench.bucket, *span, "--account-id", account))
        costs["all"].append(bench.opentrail(str(bench.folder), *span))
    yield compare("one account, from a folder", costs["aws"], costs["folder"], Aim(wall=25, cpu=13))
    yield compare("one account, over HTTP", costs["aws"], costs["http"], Aim(wall=8))
    count = len(bench.trail.plan.accounts)
    every = [Cost(wall=each.wall * count, cpu=each.cpu * count, megabytes=each.megabytes) for each in costs["aws"]]
    yield compare(f"all {count} accounts, from a folder (CLI: {count} times one)", every, costs["all"], Aim())


def compare_slow(bench: Bench, runs: int) -> Comparison:
    """The CLI verifies a day, we the whole time."""
    start = bench.trail.start
    day, whole = (start, start + DAY), (start, bench.trail.end)
    account = bench.trail.plan.accounts[0]
    bench.opentrail(bench.bucket, *whole, "--account-id", account)
    scale = bench.objects(*whole) / bench.objects(*day)
    aws, ours = [], []
    for _ in range(max(1, runs - 1)):
        cost = bench.aws(account, *day)
        aws.append(Cost(wall=cost.wall * scale, cpu=cost.cpu * scale, megabytes=cost.megabytes))
        ours.append(bench.opentrail(bench.bucket, *whole, "--account-id", account))
    return compare(f"{FIRST_BYTE_MS} ms to the first byte (CLI: one day, x{scale:.0f})", aws, ours, Aim(wall=80))


def compare_large(bench: Bench, runs: int) -> Iterator[Comparison]:
    costs: dict[str, list[Cost]] = {"aws": [], "folder": [], "http": []}
    span = bench.trail.start, bench.trail.end
    bench.warm()
    for _ in range(runs + 1):
        costs["aws"].append(bench.aws(bench.trail.plan.accounts[0], *span))
        costs["folder"].append(bench.opentrail(str(bench.folder), *span))
        costs["http"].append(bench.opentrail(bench.bucket, *span))
    yield compare("files of 47 MB, from a folder", costs["aws"], costs["folder"], Aim(wall=4))
    yield compare("files of 47 MB, over HTTP", costs["aws"], costs["http"], Aim(wall=4))


def compare(name: str, aws: Sequence[Cost], ours: Sequence[Cost], aim: Aim) -> Comparison:
    pairs = list(zip(aws, ours, strict=True))
    return Comparison(
        name=name,
        runs=len(pairs),
        aws_wall=median(each.wall for each in aws),
        aws_cpu=median(each.cpu for each in aws),
        wall=median(each.wall for each in ours),
        cpu=median(each.cpu for each in ours),
        wall_ratio=median(theirs.wall / mine.wall for theirs, mine in pairs),
        cpu_ratio=median(theirs.cpu / mine.cpu for theirs, mine in pairs),
        rss_megabytes=max(each.megabytes for each in ours),
        aim=aim,
    )


def as_text(it: Comparison) -> str:
    wall, cpu = judge(it.wall_ratio, it.aim.wall), judge(it.cpu_ratio, it.aim.cpu)
    memory = "met" if it.rss_megabytes < MOST_MEGABYTES else "MISSED"
    return (
        f"{it.name}: median of {it.runs}\n"
        f"  wall {it.wall_ratio:6.1f}x   aws {it.aws_wall:7.2f} s   opentrail {it.wall:6.2f} s{wall}\n"
        f"  CPU  {it.cpu_ratio:6.1f}x   aws {it.aws_cpu:7.2f} s   opentrail {it.cpu:6.2f} s{cpu}\n"
        f"  peak resident memory of its largest process {it.rss_megabytes:.0f} MB   < {MOST_MEGABYTES}: {memory}"
    )


def judge(ratio: float, aim: float) -> str:
    if not aim:
        return ""
    return f"   {aim:.0f}x: {'met' if ratio >= aim else 'MISSED'}"


@contextmanager
def make_bench(folder: Path, plan: TrailPlan) -> Iterator[Bench]:
    """Write the trail and serve it."""
    bucket, keys = folder / plan.bucket, folder / "public-keys.json"
    trail = generate_trail(plan, LocalFolder(bucket), RsaKeyFiles(folder / "keys"))
    keys.write_bytes(encode_public_keys(trail.all_public_keys()))
    with serve(bucket, keys) as url:
        yield Bench(folder=bucket, keys=keys, trail=trail, url=url)


@contextmanager
def slow_server(bench: Bench) -> Iterator[Bench]:
    """The same trail on a server that lets one wait."""
    with serve(bench.folder, bench.keys, "--delay-ms", str(FIRST_BYTE_MS)) as url:
        yield Bench(folder=bench.folder, keys=bench.keys, trail=bench.trail, url=url)


@contextmanager
def serve(folder: Path, keys: Path, *words: str) -> Iterator[str]:
    port = free_port()
    module = "opentrail.testing.static_bucket"
    command = [sys.executable, "-m", module, str(folder), "--public-keys", str(keys), "--port", str(port), *words]
    with listening(*command, port=port):
        yield f"http://127.0.0.1:{port}"


def run_command(command: Sequence[str], url: str) -> Cost:
    """Run a command to its end; it must find the trail valid."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    began = time.perf_counter()
    running = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert running.stdout is not None
    watch = PeakWatch(running.pid)
    output = running.stdout.read()
    _, status, usage = os.wait4(running.pid, 0)
    wall = time.perf_counter() - began
    watch.end()
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {running.returncode}\n{output.decode()}")
    return Cost(wall=wall, cpu=usage.ru_utime + usage.ru_stime, megabytes=watch.megabytes)


def _times(start: datetime, end: datetime, ending: str = "") -> tuple[str, ...]:
    return (f"--start{ending}", format_time(start), f"--end{ending}", format_time(end))


def _end_of(key: str) -> str:
    text = key.rpartition("_")[2]
    return f"{text[:4]}-{text[4:6]}-{text[6:11]}:{text[11:13]}:{text[13:15]}Z"


if __name__ == "__main__":
    main()
