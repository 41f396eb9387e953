"""Inline policies of users.  A document is kept as it was written and answered percent-encoded, as AWS does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from opentrail.core.errors import FormatError, ServiceFault
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry
from opentrail.services.iam.caller import IamDeps, find_user, no_such_user, user_permission
from opentrail.services.iam.paging import paginate

INLINE_POLICY_CHARACTERS = 2048  # of all inline policies of a user together, white space not counted


def put_user_policy(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """PutUserPolicy."""
    user = find_user(call, deps)
    name, document = call.parameters["PolicyName"], call.parameters["PolicyDocument"]
    try:
        deps.check_policy(document)
    except FormatError as error:
        raise ServiceFault("MalformedPolicyDocument", str(error)) from None
    if sum(_size(text) for text in {**user.policies, name: document}.values()) > INLINE_POLICY_CHARACTERS:
        raise ServiceFault(
            "LimitExceeded",
            f"Maximum policy size of {INLINE_POLICY_CHARACTERS} bytes exceeded for user {user.name}",
            status=409,
        )
    if not deps.identities.users.put_policy(user.user_id, name, document):
        raise no_such_user(user.name)
    return {}


def get_user_policy(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """GetUserPolicy."""
    user = find_user(call, deps)
    name = call.parameters["PolicyName"]
    document = user.policies.get(name)
    if document is None:
        raise _no_such_policy(name)
    return {"UserName": user.name, "PolicyName": name, "PolicyDocument": quote(document, safe="")}


def list_user_policies(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """ListUserPolicies, by name."""
    names = sorted(find_user(call, deps).policies)
    page, members = paginate(names, call.parameters, str)
    return {"PolicyNames": list(page), **members}


def delete_user_policy(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """DeleteUserPolicy."""
    user = find_user(call, deps)
    name = call.parameters["PolicyName"]
    if not deps.identities.users.delete_policy(user.user_id, name):
        raise _no_such_policy(name)
    return {}


def _size(document: str) -> int:
    return sum(not character.isspace() for character in document)


def _no_such_policy(name: str) -> ServiceFault:
    return ServiceFault("NoSuchEntity", f"The user policy with name {name} cannot be found.", status=404)


POLICY_OPERATIONS: Mapping[str, OperationEntry[IamDeps]] = {
    "PutUserPolicy": OperationEntry(handler=put_user_policy, permissions=user_permission("PutUserPolicy"), writes=True),
    "GetUserPolicy": OperationEntry(
        handler=get_user_policy, permissions=user_permission("GetUserPolicy"), writes=False
    ),
    "ListUserPolicies": OperationEntry(
        handler=list_user_policies, permissions=user_permission("ListUserPolicies"), writes=False
    ),
    "DeleteUserPolicy": OperationEntry(
        handler=delete_user_policy, permissions=user_permission("DeleteUserPolicy"), writes=True
    ),
}
