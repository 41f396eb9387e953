"""Managed policies: made, found, listed, attached to whom, and deleted.  Their versions: ``policy_versions``.

Source: IAM API reference; user guide, "Managed policies and inline policies".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry
from opentrail.services.iam.caller import IamDeps
from opentrail.services.iam.documents import check_managed_policy
from opentrail.services.iam.faults import already_exists, delete_conflict, quota_exceeded, validation_error
from opentrail.services.iam.kinds import KINDS
from opentrail.services.iam.paging import paginate
from opentrail.services.iam.permissions import on_all_policies, on_new, on_policy
from opentrail.services.iam.policy_arns import require_own, require_policy
from opentrail.services.iam.tags import merge_tags, tag_members, tag_operations
from opentrail.state.entities import Entity
from opentrail.state.identities import Iam
from opentrail.state.managed_policies import ManagedPolicy, PolicyVersion

POLICIES_PER_ACCOUNT = 1500
ID_PREFIX = "ANPA"

_UNWRITABLE = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """How often each managed policy is used in an account, by ARN: attached, and as a permissions boundary."""

    attached: Mapping[str, int]
    boundaries: Mapping[str, int]


def create_policy(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """CreatePolicy, with its first version."""
    name, document = call.parameters["PolicyName"], call.parameters["PolicyDocument"]
    description = call.parameters.get("Description") or ""
    check_managed_policy(document)
    _check_description(description)
    created = call.now.replace(microsecond=0)
    policy = ManagedPolicy(
        policy_id=deps.new_id(ID_PREFIX),
        account_id=call.account_id,
        name=name,
        path=call.parameters.get("Path") or "/",
        description=description,
        tags=merge_tags({}, call.parameters.get("Tags")),
        created=created,
        updated=created,
    )
    with deps.identities.changing(call.account_id) as iam:
        if iam.managed.is_name_taken(call.account_id, name):
            raise already_exists(f"A policy called {name} already exists. Duplicate names are not allowed.")
        if iam.managed.count(call.account_id) >= POLICIES_PER_ACCOUNT:
            raise quota_exceeded("PoliciesPerAccount", POLICIES_PER_ACCOUNT)
        iam.managed.add(policy, PolicyVersion(number=1, document=document, created=created))
    described = describe_policy(policy, Usage(attached={}, boundaries={}))
    return {"Policy": {**described, **({"Tags": tag_members(policy.tags)} if policy.tags else {})}}


def get_policy(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """GetPolicy."""
    with deps.identities.reading() as iam:
        policy = require_policy(call, iam)
        described = describe_policy(policy, usage_in(call.account_id, iam))
    description = {"Description": policy.description} if policy.description else {}
    return {"Policy": {**described, **description, "Tags": tag_members(policy.tags)}}


def list_policies(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """ListPolicies, by name: of the account, of AWS, or both; all, or those in use."""
    scope = call.parameters.get("Scope") or "All"
    prefix = call.parameters.get("PathPrefix") or "/"
    with deps.identities.reading() as iam:
        own = iam.managed.list(call.account_id) if scope != "AWS" else ()
        policies = [*own, *(iam.managed.list_aws() if scope != "Local" else ())]
        usage = usage_in(call.account_id, iam)
    wanted = [
        policy for policy in policies if policy.path.startswith(prefix) and _is_wanted(policy, usage, call.parameters)
    ]
    page, members = paginate(wanted, call.parameters, lambda policy: f"{policy.name}:{policy.account_id}")
    return {"Policies": [describe_policy(policy, usage) for policy in page], **members}


def delete_policy(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """DeletePolicy, once nothing uses it and only its default version is left."""
    with deps.identities.changing(call.account_id) as iam:
        policy = require_own(call, iam)
        usage = usage_in(call.account_id, iam)
        if policy.arn in usage.attached or policy.arn in usage.boundaries:
            raise delete_conflict("Cannot delete a policy attached to entities.")
        if len(iam.managed.versions(policy)) > 1:
            raise delete_conflict(
                "This policy has more than one version. Before you delete a policy, you must delete the policy's "
                "versions. The default version is deleted with the policy."
            )
        iam.managed.remove(policy.policy_id)
    return {}


def list_entities_for_policy(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """ListEntitiesForPolicy: whom a policy is attached to, and whose boundary it is; each group by name."""
    with deps.identities.reading() as iam:
        found = _users_of_policy(require_policy(call, iam), call, iam)
    only, prefix = call.parameters.get("EntityFilter"), call.parameters.get("PathPrefix") or "/"
    wanted = [
        (kind, entity)
        for kind in KINDS
        for entity in found
        if entity.kind is kind.kind and only in {None, kind.noun} and entity.path.startswith(prefix)
    ]
    page, members = paginate(wanted, call.parameters, lambda each: f"{each[0].noun}:{each[1].name}")
    answer: dict[str, Any] = {f"Policy{kind.noun}s": [] for kind in KINDS}
    for kind, entity in page:
        named = {f"{kind.noun}Name": entity.name, f"{kind.noun}Id": entity.entity_id}
        answer[f"Policy{kind.noun}s"].append(named)
    return {**answer, **members}


def usage_in(account_id: str, iam: Iam) -> Usage:
    """How an account uses managed policies."""
    return Usage(attached=iam.policies.count_attached(account_id), boundaries=iam.entities.count_bounded(account_id))


def describe_policy(policy: ManagedPolicy, usage: Usage) -> dict[str, Any]:
    """A policy as lists show it."""
    return {
        "PolicyName": policy.name,
        "PolicyId": policy.policy_id,
        "Arn": policy.arn,
        "Path": policy.path,
        "DefaultVersionId": f"v{policy.default_version}",
        "AttachmentCount": usage.attached.get(policy.arn, 0),
        "PermissionsBoundaryUsageCount": usage.boundaries.get(policy.arn, 0),
        "IsAttachable": True,
        "CreateDate": policy.created,
        "UpdateDate": policy.updated,
    }


def _check_description(description: str) -> None:
    """Refuse characters that the XML of an answer cannot hold (the model of a role's description does)."""
    if _UNWRITABLE.search(description):
        raise validation_error(
            "The specified value for description is invalid. It must contain only printable characters."
        )


def _is_wanted(policy: ManagedPolicy, usage: Usage, parameters: Mapping[str, Any]) -> bool:
    counts = {"PermissionsPolicy": usage.attached, "PermissionsBoundary": usage.boundaries}
    filtered = parameters.get("PolicyUsageFilter")
    if filtered:
        return policy.arn in counts[filtered]
    return not parameters.get("OnlyAttached") or policy.arn in usage.attached


def _users_of_policy(policy: ManagedPolicy, call: ApiCall, iam: Iam) -> Sequence[Entity]:
    """The entities that use a policy as the call's PolicyUsageFilter says, each once."""
    usage = call.parameters.get("PolicyUsageFilter")
    found: dict[str, Entity] = {}
    if usage != "PermissionsBoundary":
        for entity in iam.policies.attached_to(call.account_id, policy.arn):
            found[entity.entity_id] = entity
    if usage != "PermissionsPolicy":
        for entity in iam.entities.bounded_by(call.account_id, policy.arn):
            found[entity.entity_id] = entity
    return list(found.values())


def _write_tags(call: ApiCall, iam: Iam, tags: Mapping[str, str]) -> None:
    iam.managed.update(replace(require_own(call, iam), tags=tags))


POLICY_OPERATIONS: Mapping[str, OperationEntry[IamDeps]] = {
    "CreatePolicy": OperationEntry(
        handler=create_policy, permissions=on_new("policy", "PolicyName", "Policy"), writes=True
    ),
    "GetPolicy": OperationEntry(handler=get_policy, permissions=on_policy("GetPolicy"), writes=False),
    "ListPolicies": OperationEntry(handler=list_policies, permissions=on_all_policies("ListPolicies"), writes=False),
    "DeletePolicy": OperationEntry(handler=delete_policy, permissions=on_policy("DeletePolicy"), writes=True),
    "ListEntitiesForPolicy": OperationEntry(
        handler=list_entities_for_policy, permissions=on_policy("ListEntitiesForPolicy"), writes=False
    ),
    **tag_operations("Policy", lambda call, iam: require_policy(call, iam).tags, _write_tags, on_policy),
}
