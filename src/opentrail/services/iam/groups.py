"""Groups of users.  What a group is granted, its members are; a group is no principal itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry
from opentrail.services.iam.caller import IamDeps
from opentrail.services.iam.entities import (
    POLICY_LEFTOVERS,
    Leftovers,
    add_entity,
    create_permissions,
    describe_entity,
    lifecycle_operations,
    rename_operation,
    shared_settings,
)
from opentrail.services.iam.faults import no_such_entity, quota_exceeded
from opentrail.services.iam.kinds import GROUP, USER
from opentrail.services.iam.paging import max_items, page_members, paginate, parse_marker
from opentrail.services.iam.permissions import on_entity
from opentrail.services.iam.users import describe_user
from opentrail.state.entities import Entity, EntityKind

GROUPS_PER_USER = 10
GROUP_LEFTOVERS: Leftovers = (
    ("remove users from group", lambda group, iam: iam.memberships.count_users(group.entity_id)),
    *POLICY_LEFTOVERS,
)


def create_group(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """CreateGroup."""
    group = Entity(kind=EntityKind.GROUP, **shared_settings(GROUP, call, deps))
    with deps.identities.changing(call.account_id) as iam:
        add_entity(GROUP, group, iam)
    return {"Group": describe_entity(GROUP, group)}


def get_group(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """GetGroup: the group, and a page of its users."""
    limit, after = max_items(call.parameters), parse_marker(call.parameters)
    with deps.identities.reading() as iam:
        group = GROUP.require(call, iam)
        users = iam.memberships.users_of(group.entity_id, after=after, limit=limit + 1)
    page, members = page_members(users, limit, lambda user: user.name)
    return {"Group": describe_entity(GROUP, group), "Users": [describe_user(user) for user in page], **members}


def add_user_to_group(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """AddUserToGroup; one that is in it already stays."""
    with deps.identities.changing(call.account_id) as iam:
        group, user = GROUP.require(call, iam), USER.require(call, iam)
        groups = {each.entity_id for each in iam.memberships.groups_of(user.entity_id)}
        if group.entity_id in groups:
            return {}
        if len(groups) >= GROUPS_PER_USER:
            raise quota_exceeded("GroupsPerUser", GROUPS_PER_USER)
        iam.memberships.add(group.entity_id, user.entity_id)
    return {}


def remove_user_from_group(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """RemoveUserFromGroup."""
    with deps.identities.changing(call.account_id) as iam:
        group, user = GROUP.require(call, iam), USER.require(call, iam)
        if not iam.memberships.remove(group.entity_id, user.entity_id):
            raise no_such_entity(f"The user with name {user.name} is not in the group with name {group.name}.")
    return {}


def list_groups_for_user(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """ListGroupsForUser, by name."""
    with deps.identities.reading() as iam:
        groups = iam.memberships.groups_of(USER.require(call, iam).entity_id)
    page, members = paginate(groups, call.parameters, lambda group: group.name)
    return {"Groups": [describe_entity(GROUP, group) for group in page], **members}


GROUP_OPERATIONS: Mapping[str, OperationEntry[IamDeps]] = {
    "CreateGroup": OperationEntry(handler=create_group, permissions=create_permissions(GROUP), writes=True),
    "GetGroup": OperationEntry(handler=get_group, permissions=on_entity(GROUP, "GetGroup"), writes=False),
    "AddUserToGroup": OperationEntry(
        handler=add_user_to_group, permissions=on_entity(GROUP, "AddUserToGroup"), writes=True
    ),
    "RemoveUserFromGroup": OperationEntry(
        handler=remove_user_from_group, permissions=on_entity(GROUP, "RemoveUserFromGroup"), writes=True
    ),
    "ListGroupsForUser": OperationEntry(
        handler=list_groups_for_user, permissions=on_entity(USER, "ListGroupsForUser"), writes=False
    ),
    **lifecycle_operations(GROUP, lambda group, _iam: describe_entity(GROUP, group), GROUP_LEFTOVERS),
    **rename_operation(GROUP),
}
