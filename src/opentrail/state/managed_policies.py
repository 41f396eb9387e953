"""Managed policies and their versions: an account's own in tables, AWS's from a mapping that the server is built with.

Within a transaction, as ``entities``.  A policy's ARN holds its path and name, neither of which ever changes; names are
unique in an account without regard to case.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import (
    Column,
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

from opentrail.state.aws_managed_policies import AwsManagedPolicy
from opentrail.state.columns import Instant, JsonObject
from opentrail.state.database import metadata

AWS_ACCOUNT = "aws"  # stands in the ARNs of AWS's own policies

managed_policies = Table(
    "managed_policies",
    metadata,
    Column("policy_id", String, primary_key=True),
    Column("account_id", ForeignKey("accounts.account_id"), nullable=False),
    Column("arn", String, nullable=False, unique=True),
    Column("name", String, nullable=False),
    Column("folded_name", String, nullable=False),
    Column("path", String, nullable=False),
    Column("description", Text, nullable=False),
    Column("tags", JsonObject, nullable=False),
    Column("created", Instant, nullable=False),
    Column("updated", Instant, nullable=False),
    Column("default_version", Integer, nullable=False),
    Column("last_version", Integer, nullable=False),  # numbers are never used again
    UniqueConstraint("account_id", "folded_name"),
)
policy_versions = Table(
    "policy_versions",
    metadata,
    Column("policy_id", ForeignKey("managed_policies.policy_id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("document", Text, nullable=False),
    Column("created", Instant, nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagedPolicy:
    """A managed policy without its documents.  ``account_id`` is ``aws`` for AWS's own."""

    policy_id: str  # ANPA...
    account_id: str
    name: str
    path: str = "/"
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    created: datetime
    updated: datetime
    default_version: int = 1
    last_version: int = 1  # the highest number that was ever given

    @property
    def arn(self) -> str:
        """``arn:aws:iam::123456789012:policy/path/name``."""
        return f"arn:aws:iam::{self.account_id}:policy{self.path}{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyVersion:
    """One version of a managed policy: its JSON text."""

    number: int
    document: str
    created: datetime

    @property
    def version_id(self) -> str:
        """IAM's name for it: ``v1``."""
        return f"v{self.number}"


class ManagedPolicies:
    """The managed policies that accounts can attach; ``aws_managed`` are AWS's own, by ARN."""

    def __init__(self, connection: Connection, aws_managed: Mapping[str, AwsManagedPolicy]) -> None:
        self._connection = connection
        self._aws_managed = aws_managed

    def add(self, policy: ManagedPolicy, version: PolicyVersion) -> None:
        """Add a policy, whose name is free, with its first version."""
        fixed = {
            "policy_id": policy.policy_id,
            "account_id": policy.account_id,
            "arn": policy.arn,
            "name": policy.name,
            "folded_name": policy.name.lower(),
            "path": policy.path,
            "description": policy.description,
            "created": policy.created,
        }
        self._connection.execute(insert(managed_policies).values({**fixed, **_settings(policy)}))
        self.add_version(policy.policy_id, version)

    def find(self, arn: str) -> ManagedPolicy | None:
        """The policy with this ARN, whosever it is."""
        published = self._aws_managed.get(arn)
        if published is not None:
            return _published(published)
        query = select(managed_policies).where(managed_policies.c.arn == arn)
        row = self._connection.execute(query).mappings().first()
        return _policy(row) if row else None

    def is_name_taken(self, account_id: str, name: str) -> bool:
        """Whether an account has a policy of this name, under any path."""
        same = (managed_policies.c.account_id == account_id) & (managed_policies.c.folded_name == name.lower())
        return self._connection.execute(select(managed_policies.c.policy_id).where(same)).first() is not None

    def count(self, account_id: str) -> int:
        """How many policies an account has made."""
        query = select(func.count()).select_from(managed_policies).where(managed_policies.c.account_id == account_id)
        return self._connection.execute(query).scalar_one()

    def list(self, account_id: str) -> Sequence[ManagedPolicy]:
        """An account's own policies, by name."""
        query = select(managed_policies).where(managed_policies.c.account_id == account_id)
        rows = self._connection.execute(query.order_by(managed_policies.c.folded_name)).mappings()
        return [_policy(row) for row in rows]

    def list_aws(self) -> Sequence[ManagedPolicy]:
        """AWS's own policies."""
        return [_published(published) for published in self._aws_managed.values()]

    def update(self, policy: ManagedPolicy) -> None:
        """Write a policy's tags, time of update and version numbers over what was there."""
        same = managed_policies.c.policy_id == policy.policy_id
        self._connection.execute(update(managed_policies).where(same).values(_settings(policy)))

    def remove(self, policy_id: str) -> None:
        """Remove a policy that nothing is attached to, with all of its versions."""
        self._connection.execute(delete(policy_versions).where(policy_versions.c.policy_id == policy_id))
        self._connection.execute(delete(managed_policies).where(managed_policies.c.policy_id == policy_id))

    def versions(self, policy: ManagedPolicy) -> Sequence[PolicyVersion]:
        """A policy's versions, the newest first."""
        published = self._aws_managed.get(policy.arn)
        if published is not None:
            number = _published(published).default_version
            return [PolicyVersion(number=number, document=published.document, created=published.updated)]
        query = select(policy_versions).where(policy_versions.c.policy_id == policy.policy_id)
        rows = self._connection.execute(query.order_by(policy_versions.c.number.desc()))
        return [PolicyVersion(number=row.number, document=row.document, created=row.created) for row in rows]

    def add_version(self, policy_id: str, version: PolicyVersion) -> None:
        """Add a version, whose number is new."""
        values = {"number": version.number, "document": version.document, "created": version.created}
        self._connection.execute(insert(policy_versions).values(policy_id=policy_id, **values))

    def remove_version(self, policy_id: str, number: int) -> None:
        """Remove a version that is not the default."""
        same = (policy_versions.c.policy_id == policy_id) & (policy_versions.c.number == number)
        self._connection.execute(delete(policy_versions).where(same))

    def texts(self, arns: Iterable[str]) -> Mapping[str, str]:
        """The documents of the policies' default versions, by ARN; a policy that does not exist is left out."""
        wanted = set(arns)
        found = {arn: self._aws_managed[arn].document for arn in wanted if arn in self._aws_managed}
        own = wanted - found.keys()
        if own:
            query = (
                select(managed_policies.c.arn, policy_versions.c.document)
                .join(policy_versions)
                .where(managed_policies.c.arn.in_(own))
                .where(policy_versions.c.number == managed_policies.c.default_version)
            )
            found |= dict(self._connection.execute(query).all())
        return found


def _published(published: AwsManagedPolicy) -> ManagedPolicy:
    number = int(published.version_id.removeprefix("v"))
    return ManagedPolicy(
        policy_id=published.policy_id,
        account_id=AWS_ACCOUNT,
        name=published.name,
        path=published.path,
        description=published.description,
        created=published.created,
        updated=published.updated,
        default_version=number,
        last_version=number,
    )


def _policy(row: RowMapping) -> ManagedPolicy:
    return ManagedPolicy(
        policy_id=row["policy_id"],
        account_id=row["account_id"],
        name=row["name"],
        path=row["path"],
        description=row["description"],
        tags=row["tags"],
        created=row["created"],
        updated=row["updated"],
        default_version=row["default_version"],
        last_version=row["last_version"],
    )


def _settings(policy: ManagedPolicy) -> dict[str, object]:
    return {
        "tags": policy.tags,
        "updated": policy.updated,
        "default_version": policy.default_version,
        "last_version": policy.last_version,
    }
