"""Credential reports: the last one of each account, as it was generated.

Which accounts' reports are being generated is known in memory alone: a process that dies over one leaves nothing behind
that would look like it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, Engine, ForeignKey, Table, Text, select

from opentrail.state.columns import Instant
from opentrail.state.database import metadata, transaction, write_row

credential_reports = Table(
    "credential_reports",
    metadata,
    Column("account_id", ForeignKey("accounts.account_id"), primary_key=True),
    Column("generated", Instant, nullable=False),
    Column("content", Text, nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialReport:
    """A report: CSV text, and when it was generated."""

    generated: datetime
    content: str


class CredentialReports:
    """The credential reports of all accounts.  ``find`` and ``put`` may raise ``StorageError``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._in_progress: set[str] = set()

    def find(self, account_id: str) -> CredentialReport | None:
        """An account's last report."""
        query = select(credential_reports).where(credential_reports.c.account_id == account_id)
        with transaction(self._engine) as connection:
            row = connection.execute(query).first()
        return CredentialReport(generated=row.generated, content=row.content) if row else None

    def put(self, account_id: str, report: CredentialReport) -> None:
        """Keep a report in place of the account's last one."""
        values = {"generated": report.generated, "content": report.content}
        with transaction(self._engine) as connection:
            write_row(connection, credential_reports, {"account_id": account_id}, values)

    def is_in_progress(self, account_id: str) -> bool:
        """Whether a report is being generated."""
        return account_id in self._in_progress

    @contextmanager
    def generating(self, account_id: str) -> Iterator[bool]:
        """While a report is generated; False where somebody else is at it."""
        with self._lock:
            free = account_id not in self._in_progress
            self._in_progress.add(account_id)
        try:
            yield free
        finally:
            if free:
                self._in_progress.discard(account_id)
