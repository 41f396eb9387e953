"""Who calls in a policy simulation: the identity that the engine decides on, and the condition keys that come with it.

Rules: a role calls in a session, of which only the role is known; a group, or nobody, has no condition keys and is
named by no resource's policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from opentrail.core.arn import assumed_role_arn, parse_arn
from opentrail.core.identity import Identity, IdentityType, Session, SessionIssuer
from opentrail.core.wire.calls import ApiCall
from opentrail.services.iam.principal_policies import find_principal, parse_principal_arn
from opentrail.state.entities import Entity, EntityKind
from opentrail.state.identities import Iam

_SESSION = "simulation"
_UNKNOWN_OF_SESSIONS = ("aws:userid", "aws:tokenissuetime", "aws:multifactorauthpresent")


def named_caller(call: ApiCall, iam: Iam) -> Identity | None:
    """Who ``CallerArn`` says is to call; None where it is not given.

    It is an entity of this account, or one of another that is known by its ARN alone.  Raises ``ServiceFault``
    InvalidInput or NoSuchEntity.
    """
    text = call.parameters.get("CallerArn")
    if text is None:
        return None
    kind, name = parse_principal_arn(text)
    account_id = parse_arn(text).account
    if account_id == call.account_id:
        return identity_of(find_principal(call, iam, text), call.now)
    if kind.kind is EntityKind.USER:
        return Identity(type=IdentityType.IAM_USER, arn=text, account_id=account_id, user_name=name)
    if kind.kind is EntityKind.GROUP:
        return Identity(type=IdentityType.UNKNOWN, account_id=account_id)
    issuer = SessionIssuer(type="Role", principal_id="", arn=text, account_id=account_id, user_name=name)
    session = Session(issuer=issuer, creation_date=call.now)
    return Identity(type=IdentityType.ASSUMED_ROLE, arn=text, account_id=account_id, session=session)


def identity_of(entity: Entity, now: datetime) -> Identity:
    """Who calls as a user, or in a session of a role; a group is nobody in particular."""
    if entity.kind is EntityKind.USER:
        return Identity(
            type=IdentityType.IAM_USER,
            principal_id=entity.entity_id,
            arn=entity.arn,
            account_id=entity.account_id,
            user_name=entity.name,
            tags=entity.tags,
        )
    if entity.kind is EntityKind.GROUP:
        return Identity(type=IdentityType.UNKNOWN, account_id=entity.account_id)
    issuer = SessionIssuer(
        type="Role",
        principal_id=entity.entity_id,
        arn=entity.arn,
        account_id=entity.account_id,
        user_name=entity.name,
    )
    return Identity(
        type=IdentityType.ASSUMED_ROLE,
        principal_id=f"{entity.entity_id}:{_SESSION}",
        arn=str(assumed_role_arn(entity.account_id, entity.name, _SESSION)),
        account_id=entity.account_id,
        session=Session(issuer=issuer, creation_date=now),
        tags=entity.tags,
    )


def known_context(identity: Identity, context: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Of the keys that describe a caller, ``context``, those that a simulation can know."""
    if identity.type is IdentityType.UNKNOWN:
        return {}
    unknown = _UNKNOWN_OF_SESSIONS if identity.session or not identity.principal_id else ()
    return {key: values for key, values in context.items() if key not in unknown}
