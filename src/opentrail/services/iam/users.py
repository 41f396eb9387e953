"""IAM users and their tags.

A user's name is unique in its account without regard to case; so are the keys of its tags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opentrail.core.credentials import USER_ID_BYTES, format_user_id
from opentrail.core.errors import ServiceFault
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry, Permission
from opentrail.services.iam.caller import (
    IamDeps,
    find_user,
    find_user_or_caller,
    request_tag_context,
    user_permission,
)
from opentrail.services.iam.paging import max_items, page_members, paginate, parse_marker
from opentrail.state.users import User

USERS_PER_ACCOUNT = 5000
TAGS_PER_USER = 50


def create_user(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """CreateUser."""
    name = call.parameters["UserName"]
    boundary = call.parameters.get("PermissionsBoundary")
    if boundary:  # there are no managed policies, so none has this ARN
        raise ServiceFault("NoSuchEntity", f"Policy {boundary} does not exist or is not attachable.", status=404)
    user = User(
        user_id=format_user_id(deps.random_bytes(USER_ID_BYTES)),
        account_id=call.account_id,
        name=name,
        path=call.parameters.get("Path") or "/",
        tags=_merge_tags({}, call.parameters.get("Tags") or ()),
        created=call.now.replace(microsecond=0),
    )
    users = deps.identities.users
    if users.count(call.account_id) >= USERS_PER_ACCOUNT:
        raise ServiceFault("LimitExceeded", f"Cannot exceed quota for UsersPerAccount: {USERS_PER_ACCOUNT}", status=409)
    if not users.create(user):
        raise _name_taken(name)
    return {"User": _describe(user)}


def get_user(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """GetUser; without a name, the caller, who may be root."""
    user = find_user_or_caller(call, deps)
    if user is not None:
        return {"User": _describe(user)}
    account = deps.accounts.find(call.account_id)
    assert account is not None, "a caller's account exists"
    return {"User": {"UserId": call.account_id, "Arn": call.identity.arn, "CreateDate": account.created}}


def list_users(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """ListUsers, by name."""
    limit = max_items(call.parameters)
    found = deps.identities.users.list(
        call.account_id,
        path_prefix=call.parameters.get("PathPrefix") or "/",
        after=parse_marker(call.parameters),
        limit=limit + 1,
    )
    page, members = page_members(found, limit, lambda user: user.name)
    return {"Users": [_describe(user, tags=False) for user in page], **members}


def update_user(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """UpdateUser: another name, another path."""
    user = find_user(call, deps)
    name = call.parameters.get("NewUserName") or user.name
    if not deps.identities.users.rename(user.user_id, name=name, path=call.parameters.get("NewPath") or user.path):
        raise _name_taken(name)
    return {}


def delete_user(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """DeleteUser, once nothing hangs on it."""
    user = find_user(call, deps)
    if deps.identities.users.delete(user.user_id):
        return {}
    left = "access keys" if deps.identities.keys_of(call.account_id, user.user_id) else "policies"
    raise ServiceFault("DeleteConflict", f"Cannot delete entity, must delete {left} first.", status=409)


def tag_user(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """TagUser."""
    tags = call.parameters["Tags"]
    deps.identities.users.change_tags(find_user(call, deps).user_id, lambda existing: _merge_tags(existing, tags))
    return {}


def untag_user(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """UntagUser; keys that are not there are passed over."""
    removed = {key.lower() for key in call.parameters["TagKeys"]}
    deps.identities.users.change_tags(
        find_user(call, deps).user_id,
        lambda existing: {key: value for key, value in existing.items() if key.lower() not in removed},
    )
    return {}


def list_user_tags(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """ListUserTags, by key."""
    tags = sorted(find_user(call, deps).tags.items())
    page, members = paginate(tags, call.parameters, lambda tag: tag[0])
    return {"Tags": [{"Key": key, "Value": value} for key, value in page], **members}


def _describe(user: User, *, tags: bool = True) -> dict[str, Any]:
    described: dict[str, Any] = {
        "Path": user.path,
        "UserName": user.name,
        "UserId": user.user_id,
        "Arn": user.arn,
        "CreateDate": user.created,
    }
    if tags and user.tags:
        described["Tags"] = [{"Key": key, "Value": value} for key, value in sorted(user.tags.items())]
    return described


def _merge_tags(existing: Mapping[str, str], tags: Sequence[Mapping[str, str]]) -> dict[str, str]:
    added = {tag["Key"].lower(): tag for tag in tags}
    if len(added) != len(tags):
        raise ServiceFault("InvalidInput", "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
    if any(key.startswith("aws:") for key in added):
        raise ServiceFault("InvalidInput", "Tag keys cannot start with the reserved prefix aws:.")
    kept = {key: value for key, value in existing.items() if key.lower() not in added}
    merged = kept | {tag["Key"]: tag["Value"] for tag in added.values()}
    if len(merged) > TAGS_PER_USER:
        raise ServiceFault("LimitExceeded", "The number of tags has reached the maximum limit.", status=409)
    return merged


def _name_taken(name: str) -> ServiceFault:
    return ServiceFault("EntityAlreadyExists", f"User with name {name} already exists.", status=409)


def _create_permissions(call: ApiCall, _deps: IamDeps) -> tuple[Permission, ...]:
    path = call.parameters.get("Path") or "/"
    resource = f"arn:aws:iam::{call.account_id}:user{path}{call.parameters['UserName']}"
    context = request_tag_context(call.parameters)
    create = Permission(action="iam:CreateUser", resource=resource, context=context)
    if not call.parameters.get("Tags"):
        return (create,)
    return (create, Permission(action="iam:TagUser", resource=resource, context=context))


def _list_permissions(call: ApiCall, _deps: IamDeps) -> tuple[Permission, ...]:
    prefix = call.parameters.get("PathPrefix") or "/"
    return (Permission(action="iam:ListUsers", resource=f"arn:aws:iam::{call.account_id}:user{prefix}"),)


def _update_permissions(call: ApiCall, deps: IamDeps) -> tuple[Permission, ...]:
    user = deps.identities.users.find(call.account_id, call.parameters["UserName"])
    old = user_permission("UpdateUser")(call, deps)
    if user is None:
        return old
    path = call.parameters.get("NewPath") or user.path
    name = call.parameters.get("NewUserName") or user.name
    return (*old, Permission(action="iam:UpdateUser", resource=f"arn:aws:iam::{call.account_id}:user{path}{name}"))


USER_OPERATIONS: Mapping[str, OperationEntry[IamDeps]] = {
    "CreateUser": OperationEntry(handler=create_user, permissions=_create_permissions, writes=True),
    "GetUser": OperationEntry(handler=get_user, permissions=user_permission("GetUser"), writes=False),
    "ListUsers": OperationEntry(handler=list_users, permissions=_list_permissions, writes=False),
    "UpdateUser": OperationEntry(handler=update_user, permissions=_update_permissions, writes=True),
    "DeleteUser": OperationEntry(handler=delete_user, permissions=user_permission("DeleteUser"), writes=True),
    "TagUser": OperationEntry(handler=tag_user, permissions=user_permission("TagUser"), writes=True),
    "UntagUser": OperationEntry(handler=untag_user, permissions=user_permission("UntagUser"), writes=True),
    "ListUserTags": OperationEntry(handler=list_user_tags, permissions=user_permission("ListUserTags"), writes=False),
}
