"""The tables of the ledger.  Times are whole seconds since 1970 unless a name says otherwise."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()
_Id = BigInteger().with_variant(Integer, "sqlite")

cursors = Table(
    "cursors",
    metadata,
    Column("follower", String, primary_key=True),
    Column("journal_id", LargeBinary, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("high_water", BigInteger, nullable=False),
)
chains = Table(
    "chains",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("trail_arn", String, nullable=False),
    Column("chain", BigInteger, nullable=False),
    Column("account_id", String, nullable=False),
    Column("region", String, nullable=False),
    Column("validated", Boolean, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("bucket", String, nullable=False),  # where its next digest goes
    Column("prefix", String, nullable=False),
    Column("organization_id", String, nullable=False),  # "": not an organization trail's
    Column("ended", Boolean, nullable=False, default=False),
    Column("digest_end", BigInteger),
    Column("last_end", BigInteger),  # of all its digests, also those before it ended and began anew
    Column("head", Text),  # the link to the last digest, as JSON: what the next one must say of it
    UniqueConstraint("trail_arn", "account_id", "region", "chain"),
)
staged = Table(
    "staged",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("chain_id", _Id, ForeignKey("chains.id"), nullable=False, index=True),
    Column("kind", String, nullable=False),
    Column("bucket", String, nullable=False),
    Column("object_key", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
unnamed_files = Table(
    "unnamed_files",  # staged log files that no digest names yet
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("chain_id", _Id, ForeignKey("chains.id"), nullable=False, index=True),
    Column("bucket", String, nullable=False),
    Column("object_key", Text, nullable=False),
    Column("sha256", String, nullable=False),
    Column("oldest", BigInteger, nullable=False),
    Column("newest", BigInteger, nullable=False),
)
deferred = Table(
    "deferred",  # records of Opentrail's own deliveries, which ride in the next file (ADR 0005)
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("chain_id", _Id, ForeignKey("chains.id"), nullable=False, index=True),
    Column("event_time_ms", BigInteger, nullable=False),
    Column("record", LargeBinary, nullable=False),
)
