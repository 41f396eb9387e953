"""Access keys, and who signs with them: the front door's question at every call.

``find_key`` answers from memory in well under a microsecond; what it answers is read from the database once and
forgotten at every change of the key or its user.  Secrets are encrypted at rest (``secret_cipher.SecretCipher``).
When a key was last used is noted in memory and written in batches (``save_uses``), never by the call that uses it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    ForeignKey,
    LargeBinary,
    RowMapping,
    String,
    Table,
    and_,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from opentrail.core.identity import Identity, IdentityType, root_identity
from opentrail.state.accounts import accounts
from opentrail.state.columns import Instant
from opentrail.state.database import metadata, transaction
from opentrail.state.secret_cipher import SecretCipher
from opentrail.state.users import Users, find_user, users

KEYS_PER_USER = 2  # AWS's quota, of the root user too

access_keys = Table(
    "access_keys",
    metadata,
    Column("access_key_id", String, primary_key=True),
    Column("account_id", ForeignKey("accounts.account_id"), nullable=False),
    Column("user_id", ForeignKey("users.user_id")),  # NULL: the account's root user
    Column("secret", LargeBinary, nullable=False),
    Column("status", String, nullable=False),
    Column("created", Instant, nullable=False),
    Column("last_used", Instant),
    Column("last_used_service", String),
    Column("last_used_region", String),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUse:
    """A key's last use: ``service`` is the signing name (``s3``)."""

    time: datetime
    service: str
    region: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """An access key without its secret.  ``user_id`` None: the account's root user's."""

    access_key_id: str
    account_id: str
    user_id: str | None
    is_active: bool = True
    created: datetime
    last_use: KeyUse | None = None

    @property
    def status(self) -> str:
        """IAM's word for it: Active or Inactive."""
        return "Active" if self.is_active else "Inactive"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """What the front door needs to know of a key: its secret, whose it is, and what that user's inline policies say."""

    access_key_id: str
    secret: str = field(repr=False)
    is_active: bool
    identity: Identity
    policies: Mapping[str, str]  # name to JSON text; empty for root


class Identities:
    """Users and access keys of all accounts.

    Every method but ``note_use`` may raise ``StorageError``; ``find_key`` only where memory does not have the answer.
    """

    def __init__(self, engine: Engine, cipher: SecretCipher) -> None:
        self._engine = engine
        self._cipher = cipher
        self._lock = threading.Lock()  # of the cache
        self._key_writer = threading.Lock()  # counting an owner's keys and adding one is one step
        self._cache: dict[str, KeyRecord] = {}
        self._version = 0  # of the cache: what was read before a change is not remembered after it
        self._uses: dict[str, tuple[datetime, str, str]] = {}
        self.users = Users(engine, self._forget)

    def known_key(self, access_key_id: str) -> KeyRecord | None:
        """The key if it is in memory; None says nothing."""
        return self._cache.get(access_key_id)

    def find_key(self, access_key_id: str) -> KeyRecord | None:
        """The key and its identity; None where there is no such key.

        Raises ``StorageError``, or ``ConfigError`` where the master key is not the one of the database.
        """
        return self._cache.get(access_key_id) or self._load(access_key_id)

    def create_key(self, key: AccessKey, secret: str) -> bool:
        """Add a key; False where its owner has ``KEYS_PER_USER`` already, or is gone, or the id is taken."""
        try:
            with self._key_writer, transaction(self._engine) as connection:
                _lock_owner(connection, key)
                owned = select(func.count()).select_from(access_keys).where(_owned_by(key.account_id, key.user_id))
                if connection.execute(owned).scalar_one() >= KEYS_PER_USER:
                    return False
                connection.execute(
                    insert(access_keys).values(
                        access_key_id=key.access_key_id,
                        account_id=key.account_id,
                        user_id=key.user_id,
                        secret=self._cipher.encrypt(key.access_key_id, secret),
                        status=key.status,
                        created=key.created,
                    )
                )
        except IntegrityError:
            return False
        return True

    def keys_of(self, account_id: str, user_id: str | None) -> list[AccessKey]:
        """The keys of a user (None: of the account's root user), oldest first."""
        query = select(access_keys).where(_owned_by(account_id, user_id))
        with transaction(self._engine) as connection:
            rows = connection.execute(query.order_by(access_keys.c.created, access_keys.c.access_key_id)).mappings()
            return [self._key(row) for row in rows]

    def describe_key(self, access_key_id: str) -> AccessKey | None:
        """A key without its secret."""
        with transaction(self._engine) as connection:
            query = select(access_keys).where(access_keys.c.access_key_id == access_key_id)
            row = connection.execute(query).mappings().first()
        return self._key(row) if row else None

    def set_active(self, access_key_id: str, *, active: bool) -> None:
        """Make a key Active or Inactive."""
        same = access_keys.c.access_key_id == access_key_id
        with self._changing(access_key_id) as connection:
            connection.execute(update(access_keys).where(same).values(status="Active" if active else "Inactive"))

    def delete_key(self, access_key_id: str) -> None:
        """Remove a key; nothing happens where there is none."""
        with self._changing(access_key_id) as connection:
            connection.execute(delete(access_keys).where(access_keys.c.access_key_id == access_key_id))

    def note_use(self, access_key_id: str, service: str, region: str, now: datetime) -> None:
        """Remember a use of a key; costs no write."""
        self._uses[access_key_id] = (now, service, region)

    def save_uses(self) -> None:
        """Write the uses noted since the last time; to be called now and then, and at the end."""
        noted = list(self._uses.items())
        if not noted:
            return
        with transaction(self._engine) as connection:
            for access_key_id, (time, service, region) in noted:
                values = {"last_used": time, "last_used_service": service, "last_used_region": region}
                same = access_keys.c.access_key_id == access_key_id
                connection.execute(update(access_keys).where(same).values(values))
        for access_key_id, use in noted:
            if self._uses.get(access_key_id) is use:
                self._uses.pop(access_key_id, None)

    def _load(self, access_key_id: str) -> KeyRecord | None:
        version = self._version
        with transaction(self._engine) as connection:
            query = select(access_keys).where(access_keys.c.access_key_id == access_key_id)
            row = connection.execute(query).mappings().first()
            if row is None:
                return None
            record = self._record(connection, row)
        with self._lock:
            if version == self._version:
                self._cache[access_key_id] = record
        return record

    def _record(self, connection: Connection, row: RowMapping) -> KeyRecord:
        access_key_id = row["access_key_id"]
        policies: Mapping[str, str] = {}
        if row["user_id"] is None:
            identity = root_identity(row["account_id"], access_key_id)
        else:
            user = find_user(connection, row["user_id"])
            assert user is not None, "the tables keep a key's user"
            policies = user.policies
            identity = Identity(
                type=IdentityType.IAM_USER,
                principal_id=user.user_id,
                arn=user.arn,
                account_id=user.account_id,
                access_key_id=access_key_id,
                user_name=user.name,
                tags=user.tags,
            )
        return KeyRecord(
            access_key_id=access_key_id,
            secret=self._cipher.decrypt(access_key_id, row["secret"]),
            is_active=row["status"] == "Active",
            identity=identity,
            policies=policies,
        )

    @contextmanager
    def _changing(self, access_key_id: str) -> Iterator[Connection]:
        """A transaction that changes a key.  What is cached is forgotten also when it fails: it may have been kept."""
        try:
            with transaction(self._engine) as connection:
                yield connection
        finally:
            self._forget(access_key_id)

    def _forget(self, key_or_user_id: str) -> None:
        with self._lock:
            self._version += 1
            stale = [
                each.access_key_id
                for each in self._cache.values()
                if key_or_user_id in {each.access_key_id, each.identity.principal_id}
            ]
            for access_key_id in stale:
                del self._cache[access_key_id]

    def _key(self, row: RowMapping) -> AccessKey:
        saved = (row["last_used"], row["last_used_service"], row["last_used_region"])
        time, service, region = self._uses.get(row["access_key_id"], saved)
        return AccessKey(
            access_key_id=row["access_key_id"],
            account_id=row["account_id"],
            user_id=row["user_id"],
            is_active=row["status"] == "Active",
            created=row["created"],
            last_use=KeyUse(time=time, service=service, region=region) if time else None,
        )


def _owned_by(account_id: str, user_id: str | None) -> ColumnElement[bool]:
    return and_(access_keys.c.account_id == account_id, access_keys.c.user_id == user_id)


def _lock_owner(connection: Connection, key: AccessKey) -> None:
    """Let those who create keys for one owner take turns (PostgreSQL; SQLite has one writer at a time)."""
    if key.user_id is None:
        connection.execute(select(accounts).where(accounts.c.account_id == key.account_id).with_for_update())
    else:
        connection.execute(select(users).where(users.c.user_id == key.user_id).with_for_update())
