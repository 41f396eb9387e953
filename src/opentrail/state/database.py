"""The control plane's database: one engine, one ``MetaData``, short transactions.

SQLite (embedded default: WAL, ``synchronous=FULL``, foreign keys on) or PostgreSQL, by URL.  Each aggregate's module
declares its tables on ``metadata`` and holds its queries; nothing else speaks SQL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from opentrail.core.errors import ConfigError, StorageError

metadata = MetaData()


def open_database(url: str, tables: MetaData = metadata) -> Engine:
    """Open ``url`` (``sqlite:////abs/state.db``, ``postgresql+psycopg://...``) and create the ``tables`` it lacks.

    Raises ``ConfigError`` for a URL that names no database that can be spoken to, ``StorageError`` where it does not
    answer.  Neither repeats the URL, which may hold a password.
    """
    try:
        engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
    except (ArgumentError, ImportError) as error:
        raise ConfigError(f"not the URL of a database: {error}") from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _configure_sqlite)
    try:
        tables.create_all(engine)
    except OperationalError as error:
        raise _failure(error) from error
    return engine


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """One transaction: durable when the block is left, undone when it raises.

    Raises ``StorageError`` where the database is locked, full or away.
    """
    try:
        with engine.begin() as connection:
            yield connection
    except OperationalError as error:
        raise _failure(error) from error


def write_row(connection: Connection, table: Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Write the row with this primary ``key``, over the one that may be there; two at once do not fail."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(table).values({**key, **values})
    connection.execute(statement.on_conflict_do_update(index_elements=list(key), set_=dict(values)))


def _failure(error: OperationalError) -> StorageError:
    return StorageError(f"the control plane's database cannot be used: {error.orig}", retryable=True)


def _configure_sqlite(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
