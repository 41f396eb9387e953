"""IAM's state: who signs, what they are granted, and the transactions in which all of it changes.

The front door's questions (``find_key``, ``grants``, ``policy_text``) are answered from memory in
well under a microsecond; what they answer is read from the database once, and forgotten with every change in its
account, also with one whose outcome is unknown.  Everything else happens in a transaction: ``reading`` and ``changing``
open one and hand out its ``Iam``, the tables as they are within it.  Changes of one account take turns, so whoever
checks a limit in ``changing`` writes before anyone else counts.

Secrets are encrypted at rest (``secret_cipher.SecretCipher``).  When a key or a role was last used is noted in memory
and written in batches (``save_uses``), never by the call that uses it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from sqlalchemy import Connection, Engine, RowMapping, select
from sqlalchemy.exc import IntegrityError

from opentrail.core.identity import Identity, IdentityType, root_identity
from opentrail.state.access_keys import AccessKey, AccessKeys, access_keys
from opentrail.state.account_cache import AccountCache
from opentrail.state.accounts import accounts, is_closed
from opentrail.state.aws_managed_policies import AwsManagedPolicy
from opentrail.state.database import transaction
from opentrail.state.entities import Entities, Entity, EntityKind, Role, entities
from opentrail.state.entity_policies import EntityPolicies
from opentrail.state.grants import Grants
from opentrail.state.instance_profiles import InstanceProfiles
from opentrail.state.last_uses import LastUses, write_uses
from opentrail.state.managed_policies import ManagedPolicies
from opentrail.state.memberships import Memberships
from opentrail.state.secret_cipher import SecretCipher

KEYS_PER_USER = 2  # AWS's quota, of the root user too

_NO_POLICIES: Mapping[str, AwsManagedPolicy] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """What the front door needs to know of a key: its secret, and whose it is."""

    access_key_id: str
    secret: str = field(repr=False)
    is_active: bool
    identity: Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Iam:
    """IAM's tables within one transaction.  ``connection`` is for further tables of the same transaction."""

    connection: Connection
    entities: Entities
    policies: EntityPolicies
    managed: ManagedPolicies
    memberships: Memberships
    instance_profiles: InstanceProfiles
    access_keys: AccessKeys


class Identities:
    """Users, groups, roles, their policies and access keys, of all accounts.

    ``aws_managed`` are AWS's own managed policies, by ARN.  Every method but ``known_key``, ``note_use`` and
    ``note_role_use`` may raise ``StorageError``; those that answer from memory only where it does not have the answer.
    """

    def __init__(
        self, engine: Engine, cipher: SecretCipher, aws_managed: Mapping[str, AwsManagedPolicy] = _NO_POLICIES
    ) -> None:
        self._engine = engine
        self._cipher = cipher
        self._aws_managed = aws_managed
        self._turn = threading.Lock()  # of those who change something
        self._keys: AccountCache[KeyRecord] = AccountCache()
        self._grants: AccountCache[Grants] = AccountCache()
        self._texts: AccountCache[str] = AccountCache()
        self._key_uses = LastUses()
        self._role_uses = LastUses()
        self._watchers: list[Callable[[str], None]] = []

    def watch(self, forget: Callable[[str], None]) -> None:
        """Let ``forget`` hear the id of every account whose IAM changes: it remembers what hangs on it."""
        self._watchers.append(forget)

    @contextmanager
    def reading(self) -> Iterator[Iam]:
        """A transaction that changes nothing."""
        with transaction(self._engine) as connection:
            yield self._iam(connection)

    @contextmanager
    def changing(self, account_id: str) -> Iterator[Iam]:
        """A transaction that changes an account's IAM, alone with it; undone when the block raises.

        What memory holds of the account is forgotten also when it fails: it may have been kept.
        """
        try:
            with self._turn, transaction(self._engine) as connection:
                same = accounts.c.account_id == account_id  # the lock is PostgreSQL's; SQLite has one process
                connection.execute(select(accounts.c.account_id).where(same).with_for_update(key_share=True))
                yield self._iam(connection)
        finally:
            self.forget(account_id)

    def forget(self, account_id: str) -> None:
        """Remember nothing of an account: something that bears on it changed."""
        for cache in (self._keys, self._grants, self._texts):
            cache.forget(account_id)
        for forget in self._watchers:
            forget(account_id)

    def known_key(self, access_key_id: str) -> KeyRecord | None:
        """The key if it is in memory; None says nothing."""
        return self._keys.get(access_key_id)

    def find_key(self, access_key_id: str) -> KeyRecord | None:
        """The key and its identity; None where there is no such key.

        Raises ``StorageError``, or ``ConfigError`` where the master key is not the one of the database.
        """
        return self._keys.get(access_key_id) or self._load_key(access_key_id)

    def grants(self, principal_id: str) -> Grants:
        """Everything that IAM grants to the user or role with this unique id; nothing where there is none."""
        return self._grants.get(principal_id) or self._load_grants(principal_id)

    def known_grants(self, principal_id: str) -> Grants | None:
        """The grants if they are in memory; None says nothing."""
        return self._grants.get(principal_id)

    def find_role(self, account_id: str, name: str) -> Role | None:
        """The role of this name that sessions may be of: none where the account is closed."""
        with self.reading() as iam:
            if is_closed(iam.connection, account_id):
                return None
            role = iam.entities.find(account_id, EntityKind.ROLE, name)
        return role if isinstance(role, Role) else None

    def policy_text(self, arn: str) -> str | None:
        """The document of a managed policy's default version; None where there is no such policy."""
        return self._texts.get(arn) or self._load_text(arn)

    def create_key(self, key: AccessKey, secret: str) -> bool:
        """Add a key; False where its owner has ``KEYS_PER_USER`` already, or is gone, or the id is taken."""
        try:
            with self.changing(key.account_id) as iam:
                if len(iam.access_keys.of_owner(key.account_id, key.user_id)) >= KEYS_PER_USER:
                    return False
                iam.access_keys.add(key, self._cipher.encrypt(key.access_key_id, secret))
        except IntegrityError:
            return False
        return True

    def keys_of(self, account_id: str, user_id: str | None) -> list[AccessKey]:
        """The keys of a user (None: of the account's root user), oldest first."""
        with self.reading() as iam:
            return list(iam.access_keys.of_owner(account_id, user_id))

    def note_use(self, access_key_id: str, service: str, region: str, now: datetime) -> None:
        """Remember a use of a key; costs no write."""
        self._key_uses.note(access_key_id, now, service, region)

    def note_role_use(self, role_id: str, service: str, region: str, now: datetime) -> None:
        """Remember a use of a role's session; costs no write."""
        self._role_uses.note(role_id, now, service, region)

    def save_uses(self) -> None:
        """Write the uses noted since the last time; to be called now and then, and at the end."""
        keys, roles = self._key_uses.pending(), self._role_uses.pending()
        if not keys and not roles:
            return
        with transaction(self._engine) as connection:
            write_uses(connection, access_keys.c.access_key_id, keys)
            write_uses(connection, entities.c.entity_id, roles)
        self._key_uses.settle(keys)
        self._role_uses.settle(roles)

    def _load_key(self, access_key_id: str) -> KeyRecord | None:
        version = self._keys.version
        with self.reading() as iam:
            row = iam.access_keys.row(access_key_id)
            if row is None or is_closed(iam.connection, row["account_id"]):
                return None
            user = iam.entities.find_id(row["user_id"]) if row["user_id"] else None
        record = KeyRecord(
            access_key_id=access_key_id,
            secret=self._cipher.decrypt(access_key_id, row["secret"]),
            is_active=row["status"] == "Active",
            identity=_key_identity(row, user),
        )
        self._keys.keep(access_key_id, row["account_id"], record, version)
        return record

    def _load_grants(self, principal_id: str) -> Grants:
        version = self._grants.version
        with self.reading() as iam:
            account_id, grants = iam.policies.grants(principal_id, iam.managed)
        if account_id:
            self._grants.keep(principal_id, account_id, grants, version)
        return grants

    def _load_text(self, arn: str) -> str | None:
        version = self._texts.version
        with self.reading() as iam:
            policy = iam.managed.find(arn)
            text = iam.managed.texts([arn]).get(arn)
        if policy is not None and text is not None:
            self._texts.keep(arn, policy.account_id, text, version)
        return text

    def _iam(self, connection: Connection) -> Iam:
        return Iam(
            connection=connection,
            entities=Entities(connection, self._role_uses),
            policies=EntityPolicies(connection),
            managed=ManagedPolicies(connection, self._aws_managed),
            memberships=Memberships(connection),
            instance_profiles=InstanceProfiles(connection),
            access_keys=AccessKeys(connection, self._key_uses),
        )


def _key_identity(row: RowMapping, user: Entity | None) -> Identity:
    if row["user_id"] is None:
        return root_identity(row["account_id"], row["access_key_id"])
    assert user is not None, "the tables keep a key's user"
    return Identity(
        type=IdentityType.IAM_USER,
        principal_id=user.entity_id,
        arn=user.arn,
        account_id=user.account_id,
        access_key_id=row["access_key_id"],
        user_name=user.name,
        tags=user.tags,
    )
