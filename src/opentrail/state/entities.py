"""Users, groups and roles: what IAM calls entities, in one table.

What they share (unique id, account, name, path, tags, permissions boundary) is one row; what only roles have stands
beside it.  Names are unique for each account and kind without regard to case.  Everything here works within a
transaction that ``state.identities`` opens: who changes something has its account to itself, so a check and the write
that depends on it are one step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    ForeignKey,
    Integer,
    RowMapping,
    String,
    Table,
    Text,
    UniqueConstraint,
    delete,
    func,
    insert,
    select,
    update,
)

from opentrail.state.columns import Instant, JsonObject
from opentrail.state.database import metadata
from opentrail.state.last_uses import LastUse, LastUses, saved_use

entities = Table(
    "entities",
    metadata,
    Column("entity_id", String, primary_key=True),
    Column("account_id", ForeignKey("accounts.account_id"), nullable=False),
    Column("kind", String, nullable=False),
    Column("name", String, nullable=False),
    Column("folded_name", String, nullable=False),
    Column("path", String, nullable=False),
    Column("tags", JsonObject, nullable=False),
    Column("boundary", String, index=True),  # a managed policy's ARN
    Column("created", Instant, nullable=False),
    Column("description", Text),  # from here on: roles only
    Column("trust_policy", Text),
    Column("max_session_seconds", Integer),
    Column("last_used", Instant),
    Column("last_used_service", String),
    Column("last_used_region", String),
    UniqueConstraint("account_id", "kind", "folded_name"),
)


class EntityKind(StrEnum):
    """What an entity is, in the word of its ARN."""

    USER = "user"
    GROUP = "group"
    ROLE = "role"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """A user, a group, or (as a ``Role``) a role.  ``boundary`` is a managed policy's ARN; groups have none."""

    kind: EntityKind
    entity_id: str  # AIDA..., AGPA..., AROA...
    account_id: str
    name: str
    path: str = "/"
    tags: Mapping[str, str] = field(default_factory=dict)
    boundary: str | None = None
    created: datetime

    @property
    def arn(self) -> str:
        """``arn:aws:iam::123456789012:user/path/name``."""
        return f"arn:aws:iam::{self.account_id}:{self.kind}{self.path}{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Role(Entity):
    """A role.  ``trust_policy``: who may assume it; its principals stand there by their unique ids."""

    kind: EntityKind = EntityKind.ROLE
    trust_policy: str
    description: str = ""
    max_session_seconds: int = 3600
    last_use: LastUse | None = None


class Entities:
    """The entities of all accounts, within a transaction."""

    def __init__(self, connection: Connection, role_uses: LastUses) -> None:
        self._connection = connection
        self._role_uses = role_uses

    def add(self, entity: Entity) -> None:
        """Add an entity, whose name is free."""
        fixed = {
            "entity_id": entity.entity_id,
            "account_id": entity.account_id,
            "kind": str(entity.kind),
            "created": entity.created,
        }
        self._connection.execute(insert(entities).values({**fixed, **_settings(entity)}))

    def find(self, account_id: str, kind: EntityKind, name: str) -> Entity | None:
        """The entity of this name."""
        return self._first(_of_kind(account_id, kind) & (entities.c.folded_name == name.lower()))

    def find_id(self, entity_id: str) -> Entity | None:
        """The entity with this unique id."""
        return self._first(entities.c.entity_id == entity_id)

    def list(
        self, account_id: str, kind: EntityKind, *, path_prefix: str = "/", after: str = "", limit: int | None = None
    ) -> Sequence[Entity]:
        """Up to ``limit`` entities whose path begins so and whose name sorts behind ``after``, by name."""
        query = (
            select(entities)
            .where(_of_kind(account_id, kind), entities.c.folded_name > after.lower())
            .where(func.substr(entities.c.path, 1, len(path_prefix)) == path_prefix)
            .order_by(entities.c.folded_name)
            .limit(limit)
        )
        return [self._entity(row) for row in self._connection.execute(query).mappings()]

    def count(self, account_id: str, kind: EntityKind) -> int:
        """How many an account has."""
        query = select(func.count()).select_from(entities).where(_of_kind(account_id, kind))
        return self._connection.execute(query).scalar_one()

    def bounded_by(self, account_id: str, policy_arn: str) -> Sequence[Entity]:
        """The users and roles whose permissions boundary is this policy, by name."""
        same = (entities.c.account_id == account_id) & (entities.c.boundary == policy_arn)
        query = select(entities).where(same).order_by(entities.c.folded_name)
        return [self._entity(row) for row in self._connection.execute(query).mappings()]

    def count_bounded(self, account_id: str) -> Mapping[str, int]:
        """How often each policy is a permissions boundary in an account, by ARN."""
        query = (
            select(entities.c.boundary, func.count())
            .where(entities.c.account_id == account_id, entities.c.boundary.is_not(None))
            .group_by(entities.c.boundary)
        )
        return dict(self._connection.execute(query).all())

    def update(self, entity: Entity) -> None:
        """Write everything of an entity but its id, account, kind and time, over what was there."""
        same = entities.c.entity_id == entity.entity_id
        self._connection.execute(update(entities).where(same).values(_settings(entity)))

    def remove(self, entity_id: str) -> None:
        """Remove an entity on which nothing hangs."""
        self._connection.execute(delete(entities).where(entities.c.entity_id == entity_id))

    def _first(self, condition: ColumnElement[bool]) -> Entity | None:
        row = self._connection.execute(select(entities).where(condition)).mappings().first()
        return self._entity(row) if row else None

    def _entity(self, row: RowMapping) -> Entity:
        entity = entity_of(row)
        use = self._role_uses.noted(entity.entity_id)
        return replace(entity, last_use=use) if use and isinstance(entity, Role) else entity


def entity_of(row: RowMapping) -> Entity:
    """The entity in a row of the table; a role's last use as it is written."""
    shared: dict[str, Any] = {name: row[name] for name in ("entity_id", "account_id", "name", "path", "created")}
    shared |= {"tags": row["tags"], "boundary": row["boundary"]}
    kind = EntityKind(row["kind"])
    if kind is not EntityKind.ROLE:
        return Entity(kind=kind, **shared)
    return Role(
        **shared,
        description=row["description"],
        trust_policy=row["trust_policy"],
        max_session_seconds=row["max_session_seconds"],
        last_use=saved_use(row),
    )


def _of_kind(account_id: str, kind: EntityKind) -> ColumnElement[bool]:
    return (entities.c.account_id == account_id) & (entities.c.kind == str(kind))


def _settings(entity: Entity) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "name": entity.name,
        "folded_name": entity.name.lower(),
        "path": entity.path,
        "tags": entity.tags,
        "boundary": entity.boundary,
    }
    if isinstance(entity, Role):
        settings |= {
            "description": entity.description,
            "trust_policy": entity.trust_policy,
            "max_session_seconds": entity.max_session_seconds,
        }
    return settings
