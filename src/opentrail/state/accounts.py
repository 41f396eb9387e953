"""Accounts: whose users, keys, buckets and trails there are.

An account is never removed, since what it did stays on record: a closed one is SUSPENDED, and nobody signs in it any
more.  An e-mail address belongs to one account at most, without regard to case.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Integer,
    RowMapping,
    String,
    Table,
    func,
    insert,
    select,
    true,
    update,
)
from sqlalchemy.exc import IntegrityError

from opentrail.core.errors import ConfigError
from opentrail.state.columns import Instant
from opentrail.state.database import metadata, transaction

accounts = Table(
    "accounts",
    metadata,
    Column("account_id", String(12), primary_key=True),
    Column("number", Integer, nullable=False, unique=True),  # in the order in which they were made, whatever the clock
    Column("name", String, nullable=False),
    Column("email", String, nullable=False),
    Column("folded_email", String, unique=True),  # NULL: it has none
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
    """The accounts of this installation.

    ``changed`` hears the id of an account whose standing changed, so that whoever remembers what hangs on it forgets.
    """

    def __init__(self, engine: Engine, changed: Callable[[str], None] = lambda _account_id: None) -> None:
        self._engine = engine
        self._changed = changed

    def create(self, account: Account) -> bool:
        """Add an account; False where its id or its e-mail address is taken.

        Raises ``ConfigError`` for an id that is not 12 digits, and ``StorageError``.
        """
        if re.fullmatch(r"\d{12}", account.account_id, re.ASCII) is None:
            raise ConfigError(f"an account ID is 12 digits; {account.account_id!r} is not")
        values = {
            "account_id": account.account_id,
            "number": select(func.coalesce(func.max(accounts.c.number), 0) + 1).scalar_subquery(),
            "name": account.name,
            "email": account.email,
            "folded_email": account.email.lower() or None,
            "status": account.status,
            "created": account.created,
        }
        while True:
            try:
                with transaction(self._engine) as connection:
                    connection.execute(insert(accounts).values(values))
            except IntegrityError:
                if self.find(account.account_id) or (account.email and self.find_by_email(account.email)):
                    return False  # else another process took the number
            else:
                return True

    def find(self, account_id: str) -> Account | None:
        """The account with this id.  Raises ``StorageError``."""
        return next(iter(self._select(accounts.c.account_id == account_id)), None)

    def find_by_email(self, email: str) -> Account | None:
        """The account with this e-mail address.  Raises ``StorageError``."""
        return next(iter(self._select(accounts.c.folded_email == email.lower())), None)

    def named(self, name: str) -> list[Account]:
        """The accounts of this name without regard to case: Organizations allows several.  Raises ``StorageError``."""
        return self._select(func.lower(accounts.c.name) == name.lower())

    def all(self) -> list[Account]:
        """Every account, the first one made first.  Raises ``StorageError``."""
        return self._select(true())

    def close(self, account_id: str) -> None:
        """Suspend an account: from now on nobody enters it.  Raises ``StorageError``."""
        try:
            with transaction(self._engine) as connection:
                same = accounts.c.account_id == account_id
                connection.execute(update(accounts).where(same).values(status="SUSPENDED"))
        finally:  # also where that failed: it may have been kept
            self._changed(account_id)

    def _select(self, condition: ColumnElement[bool]) -> list[Account]:
        query = select(accounts).where(condition).order_by(accounts.c.number)
        with transaction(self._engine) as connection:
            return [_account(row) for row in connection.execute(query).mappings()]


def is_closed(connection: Connection, account_id: str) -> bool:
    """Whether an account is suspended, within a transaction."""
    query = select(accounts.c.status).where(accounts.c.account_id == account_id)
    return connection.execute(query).scalar() == "SUSPENDED"


def _account(row: RowMapping) -> Account:
    return Account(
        account_id=row["account_id"],
        name=row["name"],
        email=row["email"],
        status=row["status"],
        created=row["created"],
    )
