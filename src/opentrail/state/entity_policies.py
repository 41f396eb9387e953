"""The policies of entities: inline ones, attached ones, and what a user or role is granted by all that bear on it.

Within a transaction, as ``entities``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Column, Connection, ForeignKey, String, Table, Text, delete, func, insert, select

from opentrail.state.database import metadata
from opentrail.state.entities import Entity, entities, entity_of
from opentrail.state.grants import NO_GRANTS, Grants, NamedPolicy
from opentrail.state.managed_policies import ManagedPolicies
from opentrail.state.memberships import memberships

inline_policies = Table(
    "inline_policies",
    metadata,
    Column("entity_id", ForeignKey("entities.entity_id"), primary_key=True),
    Column("name", String, primary_key=True),
    Column("document", Text, nullable=False),
)
attachments = Table(
    "attachments",
    metadata,
    Column("entity_id", ForeignKey("entities.entity_id"), primary_key=True),
    Column("policy_arn", String, primary_key=True, index=True),
)

#: Stands for an attached policy or a boundary whose text is not known (a release that knew more of AWS's policies wrote
#: it): what it would deny must stay denied.
UNKNOWN_POLICY: Final = '{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}'


class EntityPolicies:
    """The policies of all entities, within a transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def inline(self, entity_id: str) -> Mapping[str, str]:
        """An entity's inline policies: name to JSON text as given, by name."""
        query = select(inline_policies).where(inline_policies.c.entity_id == entity_id).order_by(inline_policies.c.name)
        return {row.name: row.document for row in self._connection.execute(query)}

    def put_inline(self, entity_id: str, name: str, document: str) -> None:
        """Write an inline policy over one of the same name."""
        self.remove_inline(entity_id, name)
        self._connection.execute(insert(inline_policies).values(entity_id=entity_id, name=name, document=document))

    def remove_inline(self, entity_id: str, name: str) -> bool:
        """Remove an inline policy; False where there is none."""
        same = (inline_policies.c.entity_id == entity_id) & (inline_policies.c.name == name)
        return self._connection.execute(delete(inline_policies).where(same)).rowcount == 1

    def attached(self, entity_id: str) -> Sequence[str]:
        """The ARNs of the managed policies attached to an entity, sorted."""
        query = select(attachments.c.policy_arn).where(attachments.c.entity_id == entity_id)
        return sorted(self._connection.execute(query).scalars())

    def attach(self, entity_id: str, policy_arn: str) -> None:
        """Attach a managed policy that is not attached yet."""
        self._connection.execute(insert(attachments).values(entity_id=entity_id, policy_arn=policy_arn))

    def detach(self, entity_id: str, policy_arn: str) -> bool:
        """Detach a managed policy; False where it is not attached."""
        same = (attachments.c.entity_id == entity_id) & (attachments.c.policy_arn == policy_arn)
        return self._connection.execute(delete(attachments).where(same)).rowcount == 1

    def attached_to(self, account_id: str, policy_arn: str) -> Sequence[Entity]:
        """An account's entities that a managed policy is attached to, by name."""
        query = (
            select(entities)
            .join(attachments)
            .where(entities.c.account_id == account_id, attachments.c.policy_arn == policy_arn)
            .order_by(entities.c.folded_name)
        )
        return [entity_of(row) for row in self._connection.execute(query).mappings()]

    def count_attached(self, account_id: str) -> Mapping[str, int]:
        """To how many of an account's entities each managed policy is attached, by ARN."""
        query = (
            select(attachments.c.policy_arn, func.count())
            .join(entities)
            .where(entities.c.account_id == account_id)
            .group_by(attachments.c.policy_arn)
        )
        return dict(self._connection.execute(query).all())

    def grants(self, entity_id: str, managed: ManagedPolicies) -> tuple[str, Grants]:
        """The account of a user or role and everything that IAM grants it; ``""`` and nothing for an unknown id."""
        same = entities.c.entity_id == entity_id
        found = self._connection.execute(select(entities.c.account_id, entities.c.boundary).where(same)).first()
        if found is None:
            return "", NO_GRANTS
        account_id, boundary = found
        groups = select(memberships.c.group_id).where(memberships.c.user_id == entity_id)
        holders = [entity_id, *self._connection.execute(groups).scalars()]
        inline = (
            select(inline_policies.c.name, inline_policies.c.document)
            .where(inline_policies.c.entity_id.in_(holders))
            .order_by(inline_policies.c.entity_id, inline_policies.c.name)
        )
        policies = [NamedPolicy(name=name, text=text) for name, text in self._connection.execute(inline)]
        attached = select(attachments.c.policy_arn).where(attachments.c.entity_id.in_(holders)).distinct()
        arns = sorted(self._connection.execute(attached).scalars())
        texts = managed.texts([*arns, boundary] if boundary else arns)
        policies += [NamedPolicy(name=arn, text=texts.get(arn, UNKNOWN_POLICY)) for arn in arns]
        limit = NamedPolicy(name=boundary, text=texts.get(boundary, UNKNOWN_POLICY)) if boundary else None
        return account_id, Grants(policies=tuple(policies), boundary=limit)
