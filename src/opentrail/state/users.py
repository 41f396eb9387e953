"""IAM users with their tags and inline policies.

Names are unique in an account without regard to case, as IAM has them.  What changes a user calls ``changed`` with the
user's id, so that whoever caches what hangs on it can forget it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    ForeignKey,
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
from sqlalchemy.exc import IntegrityError

from opentrail.state.columns import Instant
from opentrail.state.database import metadata, transaction

users = Table(
    "users",
    metadata,
    Column("user_id", String, primary_key=True),
    Column("account_id", ForeignKey("accounts.account_id"), nullable=False),
    Column("name", String, nullable=False),
    Column("folded_name", String, nullable=False),
    Column("path", String, nullable=False),
    Column("tags", Text, nullable=False),  # JSON object
    Column("created", Instant, nullable=False),
    UniqueConstraint("account_id", "folded_name"),
)
user_policies = Table(
    "user_policies",
    metadata,
    Column("user_id", ForeignKey("users.user_id"), primary_key=True),
    Column("name", String, primary_key=True),
    Column("document", Text, nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """An IAM user.  ``policies`` are the inline ones: name to JSON text, as given."""

    user_id: str  # AIDA...
    account_id: str
    name: str
    path: str = "/"
    tags: Mapping[str, str] = field(default_factory=dict)
    policies: Mapping[str, str] = field(default_factory=dict)
    created: datetime

    @property
    def arn(self) -> str:
        """``arn:aws:iam::123456789012:user/path/name``."""
        return f"arn:aws:iam::{self.account_id}:user{self.path}{self.name}"


class Users:
    """The IAM users of all accounts.  Every method may raise ``StorageError``."""

    def __init__(self, engine: Engine, changed: Callable[[str], None]) -> None:
        self._engine = engine
        self._changed = changed

    def create(self, user: User) -> bool:
        """Add a user without policies; False where the name is taken."""
        values = {
            "user_id": user.user_id,
            "account_id": user.account_id,
            "name": user.name,
            "folded_name": user.name.lower(),
            "path": user.path,
            "tags": json.dumps(dict(user.tags)),
            "created": user.created,
        }
        return self._try(user.user_id, lambda connection: connection.execute(insert(users).values(values)))

    def find(self, account_id: str, name: str) -> User | None:
        """The user of this name."""
        with transaction(self._engine) as connection:
            return _find(connection, (users.c.account_id == account_id) & (users.c.folded_name == name.lower()))

    def find_id(self, user_id: str) -> User | None:
        """The user with this id."""
        with transaction(self._engine) as connection:
            return find_user(connection, user_id)

    def list(self, account_id: str, *, path_prefix: str, after: str, limit: int) -> list[User]:
        """Up to ``limit`` users (without their policies) whose path begins so and whose name sorts behind ``after``."""
        query = (
            select(users)
            .where(users.c.account_id == account_id, users.c.folded_name > after.lower())
            .where(func.substr(users.c.path, 1, len(path_prefix)) == path_prefix)
            .order_by(users.c.folded_name)
            .limit(limit)
        )
        with transaction(self._engine) as connection:
            return [_user(row, {}) for row in connection.execute(query).mappings()]

    def count(self, account_id: str) -> int:
        """How many users an account has."""
        with transaction(self._engine) as connection:
            query = select(func.count()).select_from(users).where(users.c.account_id == account_id)
            return connection.execute(query).scalar_one()

    def rename(self, user_id: str, *, name: str, path: str) -> bool:
        """Give a user another name and path; False where the name is taken."""
        values = {"name": name, "folded_name": name.lower(), "path": path}
        query = update(users).where(users.c.user_id == user_id).values(values)
        return self._try(user_id, lambda connection: connection.execute(query))

    def delete(self, user_id: str) -> bool:
        """Remove a user; False while it has policies or access keys."""
        query = delete(users).where(users.c.user_id == user_id)
        return self._try(user_id, lambda connection: connection.execute(query))

    def change_tags(self, user_id: str, edit: Callable[[Mapping[str, str]], Mapping[str, str]]) -> None:
        """Replace a user's tags by what ``edit`` makes of them; what it raises leaves them as they were."""
        with self._changing(user_id) as connection:
            query = select(users.c.tags).where(users.c.user_id == user_id).with_for_update()
            text = connection.execute(query).scalar()
            if text is not None:
                tags = json.dumps(dict(edit(json.loads(text))))
                connection.execute(update(users).where(users.c.user_id == user_id).values(tags=tags))

    def put_policy(self, user_id: str, name: str, document: str) -> bool:
        """Write an inline policy over one of the same name; False where the user is gone."""

        def write(connection: Connection) -> None:
            same = (user_policies.c.user_id == user_id) & (user_policies.c.name == name)
            connection.execute(delete(user_policies).where(same))
            connection.execute(insert(user_policies).values(user_id=user_id, name=name, document=document))

        return self._try(user_id, write)

    def delete_policy(self, user_id: str, name: str) -> bool:
        """Remove an inline policy; False where there is none."""
        same = (user_policies.c.user_id == user_id) & (user_policies.c.name == name)
        with self._changing(user_id) as connection:
            return connection.execute(delete(user_policies).where(same)).rowcount == 1

    @contextmanager
    def _changing(self, user_id: str) -> Iterator[Connection]:
        """A transaction that changes a user.  What is cached is forgotten also when it fails: it may have been kept."""
        try:
            with transaction(self._engine) as connection:
                yield connection
        finally:
            self._changed(user_id)

    def _try(self, user_id: str, write: Callable[[Connection], object]) -> bool:
        """Whether ``write`` met no constraint of the tables."""
        try:
            with self._changing(user_id) as connection:
                write(connection)
        except IntegrityError:
            return False
        return True


def find_user(connection: Connection, user_id: str) -> User | None:
    """The user with this id, within a transaction."""
    return _find(connection, users.c.user_id == user_id)


def _find(connection: Connection, condition: ColumnElement[bool]) -> User | None:
    row = connection.execute(select(users).where(condition)).mappings().first()
    if row is None:
        return None
    query = select(user_policies).where(user_policies.c.user_id == row["user_id"]).order_by(user_policies.c.name)
    return _user(row, {each.name: each.document for each in connection.execute(query)})


def _user(row: RowMapping, policies: Mapping[str, str]) -> User:
    return User(
        user_id=row["user_id"],
        account_id=row["account_id"],
        name=row["name"],
        path=row["path"],
        tags=json.loads(row["tags"]),
        policies=policies,
        created=row["created"],
    )
