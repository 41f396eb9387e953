"""Which users belong to which groups.  Within a transaction, as ``entities``."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Column, Connection, ForeignKey, Table, delete, func, insert, select

from opentrail.state.database import metadata
from opentrail.state.entities import Entity, entities, entity_of

memberships = Table(
    "memberships",
    metadata,
    Column("group_id", ForeignKey("entities.entity_id"), primary_key=True),
    Column("user_id", ForeignKey("entities.entity_id"), primary_key=True, index=True),
)


class Memberships:
    """The memberships of all accounts, within a transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, group_id: str, user_id: str) -> None:
        """Put a user into a group that it is not in yet."""
        self._connection.execute(insert(memberships).values(group_id=group_id, user_id=user_id))

    def remove(self, group_id: str, user_id: str) -> bool:
        """Take a user out of a group; False where it was not in it."""
        same = (memberships.c.group_id == group_id) & (memberships.c.user_id == user_id)
        return self._connection.execute(delete(memberships).where(same)).rowcount == 1

    def groups_of(self, user_id: str) -> Sequence[Entity]:
        """A user's groups, by name."""
        query = (
            select(entities)
            .join(memberships, memberships.c.group_id == entities.c.entity_id)
            .where(memberships.c.user_id == user_id)
            .order_by(entities.c.folded_name)
        )
        return [entity_of(row) for row in self._connection.execute(query).mappings()]

    def users_of(self, group_id: str, *, after: str = "", limit: int | None = None) -> Sequence[Entity]:
        """Up to ``limit`` users of a group whose name sorts behind ``after``, by name."""
        query = (
            select(entities)
            .join(memberships, memberships.c.user_id == entities.c.entity_id)
            .where(memberships.c.group_id == group_id, entities.c.folded_name > after.lower())
            .order_by(entities.c.folded_name)
            .limit(limit)
        )
        return [entity_of(row) for row in self._connection.execute(query).mappings()]

    def count_users(self, group_id: str) -> int:
        """How many users a group has."""
        query = select(func.count()).select_from(memberships).where(memberships.c.group_id == group_id)
        return self._connection.execute(query).scalar_one()
