"""What IAM's operations share: their dependencies, whom they act on, and IAM's errors.

Source of codes and sentences: IAM API reference, and AWS's answers as its users quote them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from opentrail.core.errors import ServiceFault
from opentrail.core.identity import IdentityType
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import Permission
from opentrail.state.accounts import Accounts
from opentrail.state.identities import Identities
from opentrail.state.users import User


@dataclass(frozen=True, slots=True, kw_only=True)
class IamDeps:
    """What IAM needs.

    ``random_bytes(n)`` gives the bytes of new ids and secrets; ``check_policy(text)`` raises ``FormatError`` for a
    document that is no identity-based policy.
    """

    accounts: Accounts
    identities: Identities
    random_bytes: Callable[[int], bytes]
    check_policy: Callable[[str], None]


def no_such_user(name: str) -> ServiceFault:
    """The fault for a user that is not there."""
    return ServiceFault("NoSuchEntity", f"The user with name {name} cannot be found.", status=404)


def find_user(call: ApiCall, deps: IamDeps) -> User:
    """The user that the call names.

    Raises ``ServiceFault`` NoSuchEntity.
    """
    name = call.parameters["UserName"]
    user = deps.identities.users.find(call.account_id, name)
    if user is None:
        raise no_such_user(name)
    return user


def find_user_or_caller(call: ApiCall, deps: IamDeps) -> User | None:
    """The user that the call names, or else its caller; None for the account's root user.

    Raises ``ServiceFault`` NoSuchEntity, or ValidationError for a caller that is no user.
    """
    if call.parameters.get("UserName"):
        return find_user(call, deps)
    if call.identity.type is IdentityType.ROOT:
        return None
    user = deps.identities.users.find_id(call.identity.principal_id)
    if user is None:
        raise ServiceFault("ValidationError", "Must specify userName when calling with non-User credentials")
    return user


def user_permission(action: str) -> Callable[[ApiCall, IamDeps], tuple[Permission, ...]]:
    """The permission for ``iam:action`` on the user that the call names, or on its caller."""

    def permissions(call: ApiCall, deps: IamDeps) -> tuple[Permission, ...]:
        name = call.parameters.get("UserName")
        if not name:
            user = deps.identities.users.find_id(call.identity.principal_id)
            resource = user.arn if user else call.identity.arn
        else:
            user = deps.identities.users.find(call.account_id, name)
            resource = user.arn if user else f"arn:aws:iam::{call.account_id}:user/{name}"
        context = request_tag_context(call.parameters)
        if user is not None:
            for key, value in user.tags.items():
                context[f"aws:resourcetag/{key.lower()}"] = context[f"iam:resourcetag/{key.lower()}"] = [value]
        return (Permission(action=f"iam:{action}", resource=resource, context=context),)

    return permissions


def request_tag_context(parameters: Mapping[str, Any]) -> dict[str, list[str]]:
    """The condition keys of the tags that a call brings or takes away."""
    tags = parameters.get("Tags") or ()
    keys = [tag["Key"] for tag in tags] or list(parameters.get("TagKeys") or ())
    context = {f"aws:requesttag/{tag['Key'].lower()}": [tag["Value"]] for tag in tags}
    if keys:
        context["aws:tagkeys"] = keys
    return context
