"""IAM users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry
from opentrail.services.iam.boundaries import check_boundary
from opentrail.services.iam.caller import IamDeps, user_or_caller
from opentrail.services.iam.entities import (
    POLICY_LEFTOVERS,
    Leftovers,
    add_entity,
    create_permissions,
    describe_entity,
    describe_settings,
    entity_tag_operations,
    lifecycle_operations,
    rename_operation,
    shared_settings,
)
from opentrail.services.iam.kinds import USER
from opentrail.services.iam.permissions import on_user_or_caller
from opentrail.state.entities import Entity, EntityKind
from opentrail.state.login_profiles import LoginProfiles

USER_LEFTOVERS: Leftovers = (
    ("delete login profile", lambda user, iam: LoginProfiles(iam.connection).find(user.entity_id)),
    ("delete access keys", lambda user, iam: iam.access_keys.of_owner(user.account_id, user.entity_id)),
    *POLICY_LEFTOVERS,
    ("remove users from group", lambda user, iam: iam.memberships.groups_of(user.entity_id)),
)


def create_user(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """CreateUser."""
    user = Entity(kind=EntityKind.USER, **shared_settings(USER, call, deps))
    with deps.identities.changing(call.account_id) as iam:
        check_boundary(user.boundary, call, iam)
        add_entity(USER, user, iam)
    return {"User": {**describe_user(user), **describe_settings(user)}}


def get_user(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """GetUser; without a name, the caller, who may be root."""
    with deps.identities.reading() as iam:
        user = user_or_caller(call, iam)
    if user is not None:
        return {"User": {**describe_user(user), **describe_settings(user)}}
    account = deps.accounts.find(call.account_id)
    assert account is not None, "a caller's account exists"
    return {"User": {"UserId": call.account_id, "Arn": call.identity.arn, "CreateDate": account.created}}


def describe_user(user: Entity) -> dict[str, Any]:
    """A user as lists show it."""
    return describe_entity(USER, user)


USER_OPERATIONS: Mapping[str, OperationEntry[IamDeps]] = {
    "CreateUser": OperationEntry(handler=create_user, permissions=create_permissions(USER), writes=True),
    "GetUser": OperationEntry(handler=get_user, permissions=on_user_or_caller("GetUser"), writes=False),
    **lifecycle_operations(USER, lambda user, _iam: describe_user(user), USER_LEFTOVERS),
    **rename_operation(USER),
    **entity_tag_operations(USER),
}
