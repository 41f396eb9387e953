"""All policies that speak for a user, a group or a role, each under the name that the policy simulator gives it.

Rules: a managed policy goes by its name, an inline one by ``user_Alice_policy``; a user's groups speak for it as well.

Source: IAM API reference, ``SimulatePrincipalPolicy``; AWS's answers as its users quote them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from opentrail.core.arn import parse_arn
from opentrail.core.errors import FormatError, ServiceFault
from opentrail.core.wire.calls import ApiCall
from opentrail.services.iam.faults import invalid_input
from opentrail.services.iam.kinds import KINDS, USER, Kind
from opentrail.state.entities import Entity
from opentrail.state.entity_policies import UNKNOWN_POLICY
from opentrail.state.identities import Iam

AWS_POLICY_PREFIX = "arn:aws:iam::aws:"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipalPolicy:
    """A policy's text and where it comes from: ``arn`` is a managed policy's, "" of one that stands inline."""

    name: str
    text: str
    entity: Entity  # which holds it, or which it is attached to
    arn: str = ""

    @property
    def source_id(self) -> str:
        """The simulator's ``SourcePolicyId``."""
        return self.name if self.arn else f"{self.entity.kind}_{self.entity.name}_{self.name}"


def find_principal(call: ApiCall, iam: Iam, arn: str) -> Entity:
    """The user, group or role of this ARN.  Raises ``ServiceFault`` InvalidInput or NoSuchEntity."""
    kind, name = parse_principal_arn(arn)
    entity = iam.entities.find(call.account_id, kind.kind, name)
    if entity is None or entity.arn.lower() != arn.lower():
        raise kind.no_such(name)
    return entity


def look_up_principal(call: ApiCall, iam: Iam, arn: str) -> Entity | None:
    """The user, group or role of this ARN, if there is one."""
    try:
        return find_principal(call, iam, arn)
    except ServiceFault:
        return None


def parse_principal_arn(text: str) -> tuple[Kind, str]:
    """The kind of an entity and its name, as its ARN has them.  Raises ``ServiceFault`` InvalidInput."""
    try:
        arn = parse_arn(text)
    except FormatError:
        raise _no_entity(text) from None
    name = arn.resource_id.rpartition("/")[2]
    kind = next((each for each in KINDS if each.kind == arn.resource_type), None)
    if arn.service != "iam" or kind is None or not name:
        raise _no_entity(text)
    return kind, name


def principal_policies(iam: Iam, entity: Entity) -> Iterator[PrincipalPolicy]:
    """The policies of an entity, and of the groups that a user is in."""
    groups = iam.memberships.groups_of(entity.entity_id) if entity.kind == USER.kind else ()
    for each in (entity, *groups):
        for name, text in iam.policies.inline(each.entity_id).items():
            yield PrincipalPolicy(name=name, text=text, entity=each)
        attached = iam.policies.attached(each.entity_id)
        texts = iam.managed.texts(attached)
        for arn in attached:
            text = texts.get(arn, UNKNOWN_POLICY)
            yield PrincipalPolicy(name=arn.rpartition("/")[2], text=text, entity=each, arn=arn)


def boundary_policy(iam: Iam, entity: Entity) -> PrincipalPolicy | None:
    """The permissions boundary of an entity."""
    arn = entity.boundary
    if arn is None:
        return None
    text = iam.managed.texts([arn]).get(arn, UNKNOWN_POLICY)
    return PrincipalPolicy(name=arn.rpartition("/")[2], text=text, entity=entity, arn=arn)


def _no_entity(arn: str) -> ServiceFault:
    return invalid_input(f"Invalid Entity Arn: {arn} does not clearly define entity type and name.")
