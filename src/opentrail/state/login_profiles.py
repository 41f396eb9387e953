"""Login profiles: users' passwords, as slow hashes (``core.passwords``).  Within a transaction, as ``entities``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    ForeignKey,
    RowMapping,
    String,
    Table,
    delete,
    insert,
    select,
    update,
)

from opentrail.state.columns import Instant, JsonList
from opentrail.state.database import metadata
from opentrail.state.entities import entities

login_profiles = Table(
    "login_profiles",
    metadata,
    Column("user_id", ForeignKey("entities.entity_id"), primary_key=True),
    Column("password", String, nullable=False),
    Column("former_passwords", JsonList, nullable=False),
    Column("reset_required", Boolean, nullable=False),
    Column("created", Instant, nullable=False),
    Column("changed", Instant, nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginProfile:
    """A user's password: ``password`` and ``former_passwords`` (the newest first) are hashes in PHC form."""

    user_id: str
    password: str
    former_passwords: tuple[str, ...] = ()
    reset_required: bool = False
    created: datetime
    changed: datetime  # when the password was set last


class LoginProfiles:
    """The login profiles of all accounts, within a transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, user_id: str) -> LoginProfile | None:
        """A user's login profile."""
        query = select(login_profiles).where(login_profiles.c.user_id == user_id)
        row = self._connection.execute(query).mappings().first()
        return _profile(row) if row else None

    def of_account(self, account_id: str) -> Mapping[str, LoginProfile]:
        """The login profiles of an account's users, by their ids."""
        query = select(login_profiles).join(entities).where(entities.c.account_id == account_id)
        return {row["user_id"]: _profile(row) for row in self._connection.execute(query).mappings()}

    def add(self, profile: LoginProfile) -> None:
        """Add the login profile of a user who has none."""
        values = {"user_id": profile.user_id, "created": profile.created}
        self._connection.execute(insert(login_profiles).values(values | _settings(profile)))

    def update(self, profile: LoginProfile) -> None:
        """Write a login profile over what was there."""
        same = login_profiles.c.user_id == profile.user_id
        self._connection.execute(update(login_profiles).where(same).values(_settings(profile)))

    def remove(self, user_id: str) -> bool:
        """Remove a user's login profile; False where there is none."""
        same = login_profiles.c.user_id == user_id
        return self._connection.execute(delete(login_profiles).where(same)).rowcount == 1


def _settings(profile: LoginProfile) -> dict[str, object]:
    return {
        "password": profile.password,
        "former_passwords": profile.former_passwords,
        "reset_required": profile.reset_required,
        "changed": profile.changed,
    }


def _profile(row: RowMapping) -> LoginProfile:
    return LoginProfile(**row)
