"""What IAM's operations need: ``iam:Operation`` on the ARN of what they act on, and IAM's condition keys.

The functions here make the ``permissions`` of an ``OperationEntry``.  An action on something that is not there is asked
for all the same, on the ARN that it would have at the root path, so that only who may act on it learns that.

Source: Service authorization reference, "Actions, resources, and condition keys for AWS Identity and Access
Management".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import Permission
from opentrail.services.iam.caller import IamDeps
from opentrail.services.iam.kinds import USER, Kind
from opentrail.services.iam.policy_arns import find_attachable, policy_account
from opentrail.state.entities import Entity
from opentrail.state.managed_policies import AWS_ACCOUNT

Context = dict[str, list[str]]
ContextOf = Callable[[ApiCall, Entity | None], Context]
Permissions = Callable[[ApiCall, IamDeps], tuple[Permission, ...]]


def on_entity(kind: Kind, action: str, *contexts: ContextOf) -> Permissions:
    """``iam:action`` on the entity that the call names; ``contexts`` add condition keys."""

    def permissions(call: ApiCall, deps: IamDeps) -> tuple[Permission, ...]:
        with deps.identities.reading() as iam:
            entity = kind.find(call, iam)
        name = call.parameters[kind.name_member]
        resource = entity.arn if entity else _arn(call, kind.kind, "/", name)
        context = request_tags(call.parameters) | resource_tags(entity.tags if entity else {})
        for extra in contexts:
            context |= extra(call, entity)
        return (Permission(action=f"iam:{action}", resource=resource, context=context),)

    return permissions


def on_user_or_caller(action: str) -> Permissions:
    """``iam:action`` on the user that the call names, or on its caller."""
    on_user = on_entity(USER, action)

    def permissions(call: ApiCall, deps: IamDeps) -> tuple[Permission, ...]:
        if call.parameters.get(USER.name_member):
            return on_user(call, deps)
        with deps.identities.reading() as iam:
            user = iam.entities.find_id(call.identity.principal_id)
        resource = user.arn if user else call.identity.arn
        context = resource_tags(user.tags if user else {})
        return (Permission(action=f"iam:{action}", resource=resource, context=context),)

    return permissions


def on_new(segment: str, name_member: str, noun: str) -> Permissions:
    """``iam:Create<noun>`` on what the call makes, and ``iam:Tag<noun>`` where it makes it with tags."""

    def permissions(call: ApiCall, _deps: IamDeps) -> tuple[Permission, ...]:
        resource = _arn(call, segment, call.parameters.get("Path") or "/", call.parameters[name_member])
        context = request_tags(call.parameters) | requested_boundary(call, None)
        create = Permission(action=f"iam:Create{noun}", resource=resource, context=context)
        if not call.parameters.get("Tags"):
            return (create,)
        return (create, Permission(action=f"iam:Tag{noun}", resource=resource, context=context))

    return permissions


def on_list(segment: str, action: str) -> Permissions:
    """``iam:action`` on all under the path that the call asks for."""

    def permissions(call: ApiCall, _deps: IamDeps) -> tuple[Permission, ...]:
        prefix = call.parameters.get("PathPrefix") or "/"
        return (Permission(action=f"iam:{action}", resource=_arn(call, segment, prefix)),)

    return permissions


def on_policy(action: str) -> Permissions:
    """``iam:action`` on the managed policy that the call names; on another account's, nobody has it."""

    def permissions(call: ApiCall, deps: IamDeps) -> tuple[Permission, ...]:
        arn = call.parameters["PolicyArn"]
        owner = policy_account(arn)
        with deps.identities.reading() as iam:
            policy = find_attachable(arn, call.account_id, iam)
        context = request_tags(call.parameters) | resource_tags(policy.tags if policy else {})
        account = "" if owner == AWS_ACCOUNT else owner
        return (Permission(action=f"iam:{action}", resource=arn, resource_account=account, context=context),)

    return permissions


def on_all_policies(action: str) -> Permissions:
    """``iam:action``, which no statement can allow for some policies only."""

    def permissions(call: ApiCall, _deps: IamDeps) -> tuple[Permission, ...]:
        prefix = call.parameters.get("PathPrefix") or "/"
        return (Permission(action=f"iam:{action}", resource=f"policy path {prefix}"),)

    return permissions


def policy_arn(call: ApiCall, _entity: Entity | None) -> Context:
    """``iam:PolicyARN``: the policy that is attached or detached."""
    return {"iam:policyarn": [call.parameters["PolicyArn"]]}


def requested_boundary(call: ApiCall, _entity: Entity | None) -> Context:
    """``iam:PermissionsBoundary``: the boundary that the call sets."""
    boundary = call.parameters.get("PermissionsBoundary")
    return {"iam:permissionsboundary": [boundary]} if boundary else {}


def present_boundary(_call: ApiCall, entity: Entity | None) -> Context:
    """``iam:PermissionsBoundary``: the boundary that the entity has."""
    return {"iam:permissionsboundary": [entity.boundary]} if entity and entity.boundary else {}


def request_tags(parameters: Mapping[str, Any]) -> Context:
    """The condition keys of the tags that a call brings or takes away."""
    tags = parameters.get("Tags") or ()
    keys = [tag["Key"] for tag in tags] or list(parameters.get("TagKeys") or ())
    context = {f"aws:requesttag/{tag['Key'].lower()}": [tag["Value"]] for tag in tags}
    if keys:
        context["aws:tagkeys"] = keys
    return context


def resource_tags(tags: Mapping[str, str]) -> Context:
    """The condition keys of the tags that a resource has."""
    return {f"{prefix}:resourcetag/{key.lower()}": [value] for key, value in tags.items() for prefix in ("aws", "iam")}


def _arn(call: ApiCall, segment: str, path: str, name: str = "") -> str:
    return f"arn:aws:iam::{call.account_id}:{segment}{path}{name}"
