"""How much of everything an account has in IAM: one query each, for ``GetAccountSummary``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Select, func, select

from opentrail.state.access_keys import access_keys
from opentrail.state.entities import EntityKind, entities
from opentrail.state.instance_profiles import instance_profiles
from opentrail.state.managed_policies import managed_policies, policy_versions
from opentrail.state.oidc_providers import oidc_providers


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountCounts:
    """The numbers of an account; ``root_keys`` are the root user's active access keys."""

    entities: Mapping[EntityKind, int]
    policies: int
    policy_versions: int
    instance_profiles: int
    providers: int
    root_keys: int


def count_account(connection: Connection, account_id: str) -> AccountCounts:
    """Count what an account has."""
    kinds = select(entities.c.kind, func.count()).where(entities.c.account_id == account_id).group_by(entities.c.kind)
    found: dict[str, int] = dict(connection.execute(kinds).all())
    own_policies = managed_policies.c.account_id == account_id
    root_keys = (access_keys.c.account_id == account_id) & access_keys.c.user_id.is_(None)

    def count(query: Select[int]) -> int:
        return connection.execute(query).scalar_one()

    return AccountCounts(
        entities={kind: found.get(str(kind), 0) for kind in EntityKind},
        policies=count(select(func.count()).select_from(managed_policies).where(own_policies)),
        policy_versions=count(
            select(func.count()).select_from(policy_versions).join(managed_policies).where(own_policies)
        ),
        instance_profiles=count(
            select(func.count()).select_from(instance_profiles).where(instance_profiles.c.account_id == account_id)
        ),
        providers=count(
            select(func.count()).select_from(oidc_providers).where(oidc_providers.c.account_id == account_id)
        ),
        root_keys=count(
            select(func.count()).select_from(access_keys).where(root_keys, access_keys.c.status == "Active")
        ),
    )
