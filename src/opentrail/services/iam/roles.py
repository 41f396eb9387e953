"""Roles: what they are granted, and who may assume them, for how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry
from opentrail.services.iam.boundaries import check_boundary
from opentrail.services.iam.caller import IamDeps
from opentrail.services.iam.documents import encode_document
from opentrail.services.iam.entities import (
    POLICY_LEFTOVERS,
    Leftovers,
    add_entity,
    create_permissions,
    describe_entity,
    describe_settings,
    entity_tag_operations,
    lifecycle_operations,
    shared_settings,
)
from opentrail.services.iam.kinds import ROLE
from opentrail.services.iam.permissions import on_entity
from opentrail.services.iam.trust import format_trust_policy, parse_trust_policy
from opentrail.state.entities import Entity, Role
from opentrail.state.identities import Iam

DEFAULT_SESSION_SECONDS = 3600
ROLE_LEFTOVERS: Leftovers = (
    ("remove roles from instance profile", lambda role, iam: iam.instance_profiles.of_role(role.entity_id)),
    *POLICY_LEFTOVERS,
)


def create_role(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """CreateRole."""
    shared = shared_settings(ROLE, call, deps)
    trust = call.parameters["AssumeRolePolicyDocument"]
    with deps.identities.changing(call.account_id) as iam:
        role = Role(
            **shared,
            trust_policy=parse_trust_policy(trust, "assumeRolePolicyDocument", iam),
            description=call.parameters.get("Description") or "",
            max_session_seconds=call.parameters.get("MaxSessionDuration") or DEFAULT_SESSION_SECONDS,
        )
        check_boundary(role.boundary, call, iam)
        add_entity(ROLE, role, iam)
        return {"Role": {**describe_role(role, iam), **describe_settings(role)}}


def get_role(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """GetRole."""
    with deps.identities.reading() as iam:
        return {"Role": describe_role_fully(require_role(call, iam), iam)}


def update_role(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """UpdateRole: what is not given stays."""
    description, seconds = call.parameters.get("Description"), call.parameters.get("MaxSessionDuration")
    with deps.identities.changing(call.account_id) as iam:
        role = require_role(call, iam)
        iam.entities.update(
            replace(
                role,
                description=role.description if description is None else description,
                max_session_seconds=seconds or role.max_session_seconds,
            )
        )
    return {}


def update_role_description(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """UpdateRoleDescription."""
    with deps.identities.changing(call.account_id) as iam:
        role = replace(require_role(call, iam), description=call.parameters["Description"])
        iam.entities.update(role)
        return {"Role": describe_role(role, iam)}


def update_assume_role_policy(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """UpdateAssumeRolePolicy."""
    with deps.identities.changing(call.account_id) as iam:
        role = require_role(call, iam)
        trust = parse_trust_policy(call.parameters["PolicyDocument"], "policyDocument", iam)
        iam.entities.update(replace(role, trust_policy=trust))
    return {}


def require_role(call: ApiCall, iam: Iam) -> Role:
    """The role that the call names.  Raises ``ServiceFault`` NoSuchEntity."""
    return as_role(ROLE.require(call, iam))


def as_role(entity: Entity) -> Role:
    """An entity of which it is known that it is a role."""
    assert isinstance(entity, Role), "the table's kind says so"
    return entity


def describe_role(role: Role, iam: Iam) -> dict[str, Any]:
    """A role as lists show it."""
    described = {
        **describe_entity(ROLE, role),
        "AssumeRolePolicyDocument": encode_document(format_trust_policy(role.trust_policy, iam)),
        "MaxSessionDuration": role.max_session_seconds,
    }
    return {**described, "Description": role.description} if role.description else described


def describe_role_fully(role: Role, iam: Iam) -> dict[str, Any]:
    """A role as GetRole shows it; one that was never used has an empty RoleLastUsed."""
    use = role.last_use
    last_used = {"LastUsedDate": use.time.replace(microsecond=0), "Region": use.region} if use else {}
    return {**describe_role(role, iam), **describe_settings(role), "RoleLastUsed": last_used}


ROLE_OPERATIONS: Mapping[str, OperationEntry[IamDeps]] = {
    "CreateRole": OperationEntry(handler=create_role, permissions=create_permissions(ROLE), writes=True),
    "GetRole": OperationEntry(handler=get_role, permissions=on_entity(ROLE, "GetRole"), writes=False),
    "UpdateRole": OperationEntry(handler=update_role, permissions=on_entity(ROLE, "UpdateRole"), writes=True),
    "UpdateRoleDescription": OperationEntry(
        handler=update_role_description, permissions=on_entity(ROLE, "UpdateRoleDescription"), writes=True
    ),
    "UpdateAssumeRolePolicy": OperationEntry(
        handler=update_assume_role_policy, permissions=on_entity(ROLE, "UpdateAssumeRolePolicy"), writes=True
    ),
    **lifecycle_operations(ROLE, lambda role, iam: describe_role(as_role(role), iam), ROLE_LEFTOVERS),
    **entity_tag_operations(ROLE),
}
