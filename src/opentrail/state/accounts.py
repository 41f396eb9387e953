"""Accounts: whose users, keys, buckets and trails there are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, Engine, RowMapping, String, Table, insert, select
from sqlalchemy.exc import IntegrityError

from opentrail.core.errors import ConfigError
from opentrail.state.columns import Instant
from opentrail.state.database import metadata, transaction

accounts = Table(
    "accounts",
    metadata,
    Column("account_id", String(12), primary_key=True),
    Column("name", String, nullable=False),
    Column("email", String, nullable=False),
    Column("status", String, nullable=False),
    Column("created", Instant, nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account; ``status`` is Organizations' word: ACTIVE or SUSPENDED."""

    account_id: str  # 12 digits
    name: str
    email: str = ""
    status: str = "ACTIVE"
    created: datetime


class Accounts:
    """The accounts of this installation."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, account: Account) -> bool:
        """Add an account; False where its id is taken.

        Raises ``ConfigError`` for an id that is not 12 digits, and ``StorageError``.
        """
        if re.fullmatch(r"\d{12}", account.account_id, re.ASCII) is None:
            raise ConfigError(f"an account ID is 12 digits; {account.account_id!r} is not")
        values = {
            "account_id": account.account_id,
            "name": account.name,
            "email": account.email,
            "status": account.status,
            "created": account.created,
        }
        try:
            with transaction(self._engine) as connection:
                connection.execute(insert(accounts).values(values))
        except IntegrityError:
            return False
        return True

    def find(self, account_id: str) -> Account | None:
        """The account with this id.  Raises ``StorageError``."""
        with transaction(self._engine) as connection:
            row = connection.execute(select(accounts).where(accounts.c.account_id == account_id)).mappings().first()
        return _account(row) if row else None

    def all(self) -> list[Account]:
        """Every account, by id.  Raises ``StorageError``."""
        with transaction(self._engine) as connection:
            rows = connection.execute(select(accounts).order_by(accounts.c.account_id)).mappings().all()
        return [_account(row) for row in rows]


def _account(row: RowMapping) -> Account:
    return Account(**row)
