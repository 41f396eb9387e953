"""The ledger: what delivery has taken from the journal, what it has promised, and what it has kept.

Rules, which together make delivery exactly-once in the bucket:

* A plan is *staged* in one transaction: its objects with their keys and bytes, the log files that the next digest must
  name, the new head of each digest chain, and the cursor behind the last entry it covers.  Before that transaction
  nothing was promised and the same entries are read again; after it they never are.
* A staged object is put and then *committed*, which removes it.  A crash between the two puts the same bytes under the
  same key once more: nothing arrives twice, nothing differs.
* Objects of a chain are put in the order of their staging, so no digest is in the bucket before what it names.

Times are whole seconds since 1970 unless a name says otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from opentrail.delivery.ledger_tables import chains, cursors, deferred, metadata, staged, unnamed_files
from opentrail.state.database import open_database, transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """How far a follower has come.

    ``position`` is the last entry taken of the journal ``journal_id``; ``generation`` the newest trails' generation
    seen in an entry; ``sequence`` counts the log files ever named; ``high_water`` is the newest time ever given to an
    object, so that names and digest windows go forward even when the clock goes back.
    """

    journal_id: bytes = b""
    position: int = 0
    generation: int = 0
    sequence: int = 0
    high_water: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainKey:
    """One line of delivery: a trail's digest chain (or stretch without digests), for one account and region.

    ``chain`` is the trails' generation at which it began (``TrailRevision.chain``).
    """

    trail_arn: str
    chain: int
    account_id: str
    region: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A chain as the ledger holds it.  ``head`` is the link to its last digest as JSON, or empty at the start."""

    id: int
    key: ChainKey
    validated: bool
    started_at: int
    bucket: str
    prefix: str
    organization_id: str = ""
    ended: bool
    digest_end: int | None
    head: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileToName:
    """A log file that the chain's next digest names.  Times are of the events in it, in seconds."""

    bucket: str
    key: str
    sha256: str
    oldest: int
    newest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectToPut:
    """An object of a plan: its key, its bytes, and, for a log file, what a digest will say of it."""

    kind: str  # "log" or "digest"
    bucket: str
    key: str
    body: bytes
    metadata: Mapping[str, str] = field(default_factory=dict)
    file: FileToName | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedObject:
    """A staged object, read back."""

    id: int
    chain: Chain
    kind: str
    bucket: str
    key: str
    metadata: Mapping[str, str]
    body: bytes


class Ledger:
    """The ledger's database (SQLite beside the journal, or PostgreSQL).  One delivery worker writes it.

    Every method raises ``StorageError`` when the database cannot be read or written; it then holds what it held.
    """

    def __init__(self, url: str) -> None:
        self._engine = open_database(url, metadata)

    def close(self) -> None:
        """Give back the connections."""
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """All that is done within is durable afterwards, or none of it."""
        with transaction(self._engine) as connection:
            yield Transaction(connection)

    def cursor(self, follower: str) -> Cursor:
        """Where ``follower`` stands; the beginning for one that never ran."""
        with self.transaction() as t:
            return t.cursor(follower)

    def chains(self, *, ended: bool = False) -> list[Chain]:
        """The chains that go on, or those that have ended."""
        with self.transaction() as t:
            return t.chains(ended=ended)

    def staged_heads(self) -> list[int]:
        """The ids of the chains that have something staged, the longest waiting first."""
        with self.transaction() as t:
            rows = t.connection.execute(
                select(staged.c.chain_id).group_by(staged.c.chain_id).order_by(func.min(staged.c.id))
            )
            return [row.chain_id for row in rows]

    def next_staged(self, chain_id: int) -> StagedObject | None:
        """The object of a chain that must be put next."""
        query = (
            select(staged, chains)
            .join(chains, staged.c.chain_id == chains.c.id)
            .where(staged.c.chain_id == chain_id)
            .order_by(staged.c.id)
            .limit(1)
        )
        with self.transaction() as t:
            row = t.connection.execute(query).mappings().first()
        if row is None:
            return None
        return StagedObject(
            id=row[staged.c.id],
            chain=_chain(row),
            kind=row["kind"],
            bucket=row["bucket"],
            key=row["object_key"],
            metadata=json.loads(row["metadata"]),
            body=row["body"],
        )

    def waiting_kinds(self, chain_id: int) -> list[str]:
        """The kinds of objects that a chain has staged."""
        with self.transaction() as t:
            rows = t.connection.execute(select(staged.c.kind).where(staged.c.chain_id == chain_id).distinct())
            return [row.kind for row in rows]

    def commit(self, staged_id: int) -> None:
        """A staged object is in its bucket: nothing more is owed."""
        with self.transaction() as t:
            t.connection.execute(delete(staged).where(staged.c.id == staged_id))

    def waiting(self) -> int:
        """How many staged objects are not in their bucket yet."""
        with self.transaction() as t:
            return t.connection.execute(select(func.count()).select_from(staged)).scalar_one()


_CURSOR_COLUMNS = ("journal_id", "position", "generation", "sequence", "high_water")


class Transaction:
    """What can be done to the ledger as one step."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def cursor(self, follower: str) -> Cursor:
        """Where ``follower`` stands."""
        row = self.connection.execute(select(cursors).where(cursors.c.follower == follower)).mappings().first()
        if row is None:
            return Cursor()
        return Cursor(**{name: row[name] for name in _CURSOR_COLUMNS})

    def move(self, follower: str, cursor: Cursor) -> None:
        """Set where ``follower`` stands."""
        values = {name: getattr(cursor, name) for name in _CURSOR_COLUMNS}
        changed = self.connection.execute(update(cursors).where(cursors.c.follower == follower).values(values))
        if changed.rowcount == 0:
            self.connection.execute(insert(cursors).values(follower=follower, **values))

    def chains(self, *, ended: bool = False) -> list[Chain]:
        """The chains that go on, or those that have ended, oldest first."""
        query = select(chains).where(chains.c.ended == ended).order_by(chains.c.id)
        return [_chain(row) for row in self.connection.execute(query).mappings()]

    def find_chain(self, key: ChainKey) -> Chain | None:
        """The chain of ``key``."""
        query = select(chains).where(
            chains.c.trail_arn == key.trail_arn,
            chains.c.chain == key.chain,
            chains.c.account_id == key.account_id,
            chains.c.region == key.region,
        )
        row = self.connection.execute(query).mappings().first()
        return _chain(row) if row is not None else None

    def open_chain(
        self, key: ChainKey, *, validated: bool, started_at: int, bucket: str, prefix: str, organization_id: str = ""
    ) -> Chain:
        """The chain of ``key``, which now delivers to ``bucket``; begun at ``started_at`` if it is new or had ended."""
        found = self.find_chain(key)
        if found is not None and not found.ended:
            if (found.bucket, found.prefix) == (bucket, prefix):
                return found
            self._set(found, bucket=bucket, prefix=prefix)
            return replace(found, bucket=bucket, prefix=prefix)
        if found is not None:
            # A record came after its chain's last digest: what follows is a chain of its own, with no previous digest.
            fresh = {"started_at": started_at, "bucket": bucket, "prefix": prefix, "ended": False, "digest_end": None}
            self._set(found, **fresh, head=None)
            return replace(
                found, started_at=started_at, bucket=bucket, prefix=prefix, ended=False, digest_end=None, head=""
            )
        values = {
            "trail_arn": key.trail_arn,
            "chain": key.chain,
            "account_id": key.account_id,
            "region": key.region,
            "validated": validated,
            "started_at": started_at,
            "bucket": bucket,
            "prefix": prefix,
            "organization_id": organization_id,
            "ended": False,
        }
        result = self.connection.execute(insert(chains).values(values))
        assert result.inserted_primary_key is not None, "the database numbers the chains"
        return Chain(
            id=result.inserted_primary_key[0],
            key=key,
            validated=validated,
            started_at=started_at,
            bucket=bucket,
            prefix=prefix,
            organization_id=organization_id,
            ended=False,
            digest_end=None,
            head="",
        )

    def stage(self, chain: Chain, item: ObjectToPut) -> None:
        """Promise an object to a chain's bucket; a log file of a validated chain waits to be named by a digest."""
        self.connection.execute(
            insert(staged).values(
                chain_id=chain.id,
                kind=item.kind,
                bucket=item.bucket,
                object_key=item.key,
                metadata=json.dumps(dict(item.metadata)),
                body=item.body,
            )
        )
        if item.file is not None and chain.validated:
            self.connection.execute(
                insert(unnamed_files).values(
                    chain_id=chain.id,
                    bucket=item.file.bucket,
                    object_key=item.file.key,
                    sha256=item.file.sha256,
                    oldest=item.file.oldest,
                    newest=item.file.newest,
                )
            )

    def unnamed(self, chain: Chain) -> list[FileToName]:
        """The log files that the chain's next digest must name, in the order of delivery."""
        query = select(unnamed_files).where(unnamed_files.c.chain_id == chain.id).order_by(unnamed_files.c.id)
        return [
            FileToName(bucket=row.bucket, key=row.object_key, sha256=row.sha256, oldest=row.oldest, newest=row.newest)
            for row in self.connection.execute(query)
        ]

    def newest_digest_end(self, key: ChainKey) -> int:
        """The end of the newest digest of the trail for this account and region, of any of its chains; 0 for none.

        A digest's end is its name: two chains of one trail must never use the same.
        """
        query = select(func.max(chains.c.last_end)).where(
            chains.c.trail_arn == key.trail_arn,
            chains.c.account_id == key.account_id,
            chains.c.region == key.region,
        )
        return self.connection.execute(query).scalar() or 0

    def advance_chain(self, chain: Chain, *, digest_end: int, head: str) -> None:
        """The chain has a new last digest, which names all that waited."""
        self._set(chain, digest_end=digest_end, last_end=digest_end, head=head)
        self.connection.execute(delete(unnamed_files).where(unnamed_files.c.chain_id == chain.id))

    def end_chain(self, chain: Chain) -> None:
        """Nothing more will be staged for the chain."""
        self._set(chain, ended=True)

    def _set(self, chain: Chain, **values: object) -> None:
        self.connection.execute(update(chains).where(chains.c.id == chain.id).values(values))

    def defer(self, chain: Chain, records: Iterable[tuple[int, bytes]]) -> None:
        """Keep records (event time in ms, JSON) for the chain's next log file."""
        rows = [{"chain_id": chain.id, "event_time_ms": when, "record": record} for when, record in records]
        if rows:
            self.connection.execute(insert(deferred), rows)

    def take_deferred(self, chain: Chain) -> list[tuple[int, bytes]]:
        """The kept records of a chain, oldest first; they are kept no longer."""
        query = select(deferred).where(deferred.c.chain_id == chain.id).order_by(deferred.c.id)
        found = [(row.event_time_ms, bytes(row.record)) for row in self.connection.execute(query)]
        if found:
            self.connection.execute(delete(deferred).where(deferred.c.chain_id == chain.id))
        return found


def _chain(row: RowMapping) -> Chain:
    get = row.__getitem__
    return Chain(
        id=get(chains.c.id),
        key=ChainKey(
            trail_arn=get(chains.c.trail_arn),
            chain=get(chains.c.chain),
            account_id=get(chains.c.account_id),
            region=get(chains.c.region),
        ),
        validated=get(chains.c.validated),
        started_at=get(chains.c.started_at),
        bucket=get(chains.c.bucket),
        prefix=get(chains.c.prefix),
        organization_id=get(chains.c.organization_id),
        ended=get(chains.c.ended),
        digest_end=get(chains.c.digest_end),
        head=get(chains.c.head) or "",
    )
