"""A database of its own for each test: SQLite in a file, as the embedded default has it.

``OPENTRAIL_TEST_STATE_URL=postgresql+psycopg://...`` runs the same tests on an empty PostgreSQL database instead.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import OperationalError

import opentrail.state.deliveries
import opentrail.state.identities
import opentrail.state.trails  # noqa: F401  the tables must be declared before the database is opened
from opentrail.state.database import metadata, open_database


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    url = os.environ.get("OPENTRAIL_TEST_STATE_URL")
    engine = open_database(url or f"sqlite:///{tmp_path / 'state.db'}")
    yield engine
    if url:
        metadata.drop_all(engine)
    engine.dispose()


class CommitFault:
    """Makes the next commit fail: ``kept`` says whether what it should have written stays all the same."""

    def __init__(self, engine: Engine) -> None:
        self.kept: bool | None = None  # None: commits succeed
        self.away = False  # from the failing commit on, the database does not answer
        event.listen(engine, "commit", self._on_commit)
        event.listen(engine, "begin", self._on_begin)

    def _on_begin(self, _connection: Connection) -> None:
        if self.away and self.kept is None:
            raise OperationalError("BEGIN", {}, Exception("disk I/O error"))

    def _on_commit(self, connection: Connection) -> None:
        kept, self.kept = self.kept, None
        if kept is None:
            return
        driver = connection.connection.dbapi_connection
        assert driver is not None
        if kept:
            driver.commit()
        else:
            driver.rollback()
        raise OperationalError("COMMIT", {}, Exception("disk I/O error"))


@pytest.fixture
def commit_fault(engine: Engine) -> CommitFault:
    return CommitFault(engine)
