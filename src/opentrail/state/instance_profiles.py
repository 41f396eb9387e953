"""Instance profiles: a name under which a role is handed to a machine.  Within a transaction, as ``entities``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    ForeignKey,
    RowMapping,
    String,
    Table,
    UniqueConstraint,
    delete,
    func,
    insert,
    select,
    update,
)

from opentrail.state.columns import Instant, JsonObject
from opentrail.state.database import metadata

instance_profiles = Table(
    "instance_profiles",
    metadata,
    Column("profile_id", String, primary_key=True),
    Column("account_id", ForeignKey("accounts.account_id"), nullable=False),
    Column("name", String, nullable=False),
    Column("folded_name", String, nullable=False),
    Column("path", String, nullable=False),
    Column("tags", JsonObject, nullable=False),
    Column("role_id", ForeignKey("entities.entity_id"), index=True),
    Column("created", Instant, nullable=False),
    UniqueConstraint("account_id", "folded_name"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceProfile:
    """An instance profile; it holds one role at most."""

    profile_id: str  # AIPA...
    account_id: str
    name: str
    path: str = "/"
    tags: Mapping[str, str] = field(default_factory=dict)
    role_id: str | None = None
    created: datetime

    @property
    def arn(self) -> str:
        """``arn:aws:iam::123456789012:instance-profile/path/name``."""
        return f"arn:aws:iam::{self.account_id}:instance-profile{self.path}{self.name}"


class InstanceProfiles:
    """The instance profiles of all accounts, within a transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, profile: InstanceProfile) -> None:
        """Add an instance profile, whose name is free."""
        values = {
            "profile_id": profile.profile_id,
            "account_id": profile.account_id,
            "name": profile.name,
            "folded_name": profile.name.lower(),
            "path": profile.path,
            "created": profile.created,
        }
        self._connection.execute(insert(instance_profiles).values({**values, **_settings(profile)}))

    def find(self, account_id: str, name: str) -> InstanceProfile | None:
        """The instance profile of this name."""
        same = (instance_profiles.c.account_id == account_id) & (instance_profiles.c.folded_name == name.lower())
        found = self._select(same)
        return found[0] if found else None

    def list(
        self, account_id: str, *, path_prefix: str = "/", after: str = "", limit: int | None = None
    ) -> Sequence[InstanceProfile]:
        """Up to ``limit`` instance profiles whose path begins so and whose name sorts behind ``after``, by name."""
        wanted = (
            (instance_profiles.c.account_id == account_id)
            & (instance_profiles.c.folded_name > after.lower())
            & (func.substr(instance_profiles.c.path, 1, len(path_prefix)) == path_prefix)
        )
        return self._select(wanted, limit)

    def of_role(self, role_id: str) -> Sequence[InstanceProfile]:
        """The instance profiles that hold a role, by name."""
        return self._select(instance_profiles.c.role_id == role_id)

    def count(self, account_id: str) -> int:
        """How many an account has."""
        query = select(func.count()).select_from(instance_profiles).where(instance_profiles.c.account_id == account_id)
        return self._connection.execute(query).scalar_one()

    def update(self, profile: InstanceProfile) -> None:
        """Write an instance profile's tags and role over what was there."""
        same = instance_profiles.c.profile_id == profile.profile_id
        self._connection.execute(update(instance_profiles).where(same).values(_settings(profile)))

    def remove(self, profile_id: str) -> None:
        """Remove an instance profile."""
        self._connection.execute(delete(instance_profiles).where(instance_profiles.c.profile_id == profile_id))

    def _select(self, condition: ColumnElement[bool], limit: int | None = None) -> Sequence[InstanceProfile]:
        query = select(instance_profiles).where(condition).order_by(instance_profiles.c.folded_name).limit(limit)
        return [_profile(row) for row in self._connection.execute(query).mappings()]


def _profile(row: RowMapping) -> InstanceProfile:
    return InstanceProfile(
        profile_id=row["profile_id"],
        account_id=row["account_id"],
        name=row["name"],
        path=row["path"],
        tags=row["tags"],
        role_id=row["role_id"],
        created=row["created"],
    )


def _settings(profile: InstanceProfile) -> dict[str, object]:
    return {"tags": profile.tags, "role_id": profile.role_id}
