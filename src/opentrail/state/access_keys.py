"""Access keys.  Within a transaction, as ``entities``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    ForeignKey,
    LargeBinary,
    RowMapping,
    String,
    Table,
    and_,
    delete,
    insert,
    select,
    update,
)

from opentrail.state.columns import Instant
from opentrail.state.database import metadata
from opentrail.state.last_uses import LastUse, LastUses, saved_use

access_keys = Table(
    "access_keys",
    metadata,
    Column("access_key_id", String, primary_key=True),
    Column("account_id", ForeignKey("accounts.account_id"), nullable=False),
    Column("user_id", ForeignKey("entities.entity_id"), index=True),  # NULL: the account's root user
    Column("secret", LargeBinary, nullable=False),  # encrypted
    Column("status", String, nullable=False),
    Column("created", Instant, nullable=False),
    Column("last_used", Instant),
    Column("last_used_service", String),
    Column("last_used_region", String),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """An access key without its secret.  ``user_id`` None: the account's root user's."""

    access_key_id: str
    account_id: str
    user_id: str | None
    is_active: bool = True
    created: datetime
    last_use: LastUse | None = None

    @property
    def status(self) -> str:
        """IAM's word for it: Active or Inactive."""
        return "Active" if self.is_active else "Inactive"


class AccessKeys:
    """The access keys of all accounts, within a transaction."""

    def __init__(self, connection: Connection, key_uses: LastUses) -> None:
        self._connection = connection
        self._key_uses = key_uses

    def add(self, key: AccessKey, secret: bytes) -> None:
        """Add a key with its encrypted secret."""
        values = {
            "access_key_id": key.access_key_id,
            "account_id": key.account_id,
            "user_id": key.user_id,
            "secret": secret,
            "status": key.status,
            "created": key.created,
        }
        self._connection.execute(insert(access_keys).values(values))

    def find(self, access_key_id: str) -> AccessKey | None:
        """A key by its id."""
        row = self.row(access_key_id)
        return self._key(row) if row else None

    def row(self, access_key_id: str) -> RowMapping | None:
        """A key with its encrypted secret, for the one who proves signatures."""
        query = select(access_keys).where(access_keys.c.access_key_id == access_key_id)
        return self._connection.execute(query).mappings().first()

    def of_owner(self, account_id: str, user_id: str | None) -> Sequence[AccessKey]:
        """The keys of a user (None: of the account's root user), oldest first."""
        query = select(access_keys).where(_owned_by(account_id, user_id))
        rows = self._connection.execute(query.order_by(access_keys.c.created, access_keys.c.access_key_id)).mappings()
        return [self._key(row) for row in rows]

    def of_account(self, account_id: str) -> Sequence[AccessKey]:
        """All keys of an account's users and of its root user, oldest first."""
        query = select(access_keys).where(access_keys.c.account_id == account_id)
        rows = self._connection.execute(query.order_by(access_keys.c.created, access_keys.c.access_key_id)).mappings()
        return [self._key(row) for row in rows]

    def set_status(self, access_key_id: str, status: str) -> None:
        """Make a key Active or Inactive."""
        same = access_keys.c.access_key_id == access_key_id
        self._connection.execute(update(access_keys).where(same).values(status=status))

    def remove(self, access_key_id: str) -> None:
        """Remove a key."""
        self._connection.execute(delete(access_keys).where(access_keys.c.access_key_id == access_key_id))

    def _key(self, row: RowMapping) -> AccessKey:
        return AccessKey(
            access_key_id=row["access_key_id"],
            account_id=row["account_id"],
            user_id=row["user_id"],
            is_active=row["status"] == "Active",
            created=row["created"],
            last_use=self._key_uses.noted(row["access_key_id"]) or saved_use(row),
        )


def _owned_by(account_id: str, user_id: str | None) -> ColumnElement[bool]:
    return and_(access_keys.c.account_id == account_id, access_keys.c.user_id == user_id)
