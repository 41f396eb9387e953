"""Service control policies: their documents, and what they are attached to.

AWS's own ``p-FullAWSAccess`` can be attached and detached, but not changed; every root, unit and account keeps at
least one policy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from opentrail.core.organizations import (
    FULL_ACCESS_ID,
    ID_BYTES,
    SERVICE_CONTROL_POLICY,
    ControlPolicy,
    Member,
    Organization,
    format_id,
    without,
)
from opentrail.core.policy import PolicyType, parse_policy
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry
from opentrail.services.organizations.caller import (
    OrganizationsDeps,
    change_managed,
    check_text,
    find_member,
    managed_organization,
    needs,
    parse_tags,
    readable_organization,
)
from opentrail.services.organizations.describe import describe_policy, describe_target
from opentrail.services.organizations.faults import constraint, fault, invalid_input
from opentrail.services.organizations.paging import paginate

POLICY_CHARACTERS = 5120
POLICIES_PER_ORGANIZATION = 1000
POLICIES_PER_TARGET = 5


def create_policy(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """CreatePolicy."""
    known = managed_organization(call, deps)
    if call.parameters["Type"] != SERVICE_CONTROL_POLICY or known.feature_set != "ALL":
        raise fault("PolicyTypeNotAvailableForOrganization")
    policy = ControlPolicy(
        policy_id=format_id("p-", 8, deps.random_bytes(ID_BYTES), known.policies),
        name=check_text("Name", call.parameters["Name"]),
        description=check_text("Description", call.parameters["Description"]),
        content=_check_content(call.parameters["Content"]),
        tags=parse_tags(call.parameters.get("Tags")),
    )

    def add(organization: Organization) -> Organization:
        if len(organization.policies) >= POLICIES_PER_ORGANIZATION:
            raise constraint("POLICY_NUMBER_LIMIT_EXCEEDED")
        return _put(organization, policy)

    return _describe_whole(change_managed(call, deps, add), policy.policy_id)


def describe_whole_policy(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """DescribePolicy, with its document."""
    organization = readable_organization(call, deps)
    return _describe_whole(organization, _find(organization, call))


def update_policy(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """UpdatePolicy: what is named changes, the rest stays."""
    content = call.parameters.get("Content")
    if content is not None:
        _check_content(content)

    def edit(organization: Organization) -> Organization:
        policy = _find_own(organization, call)
        changed: dict[str, Any] = {
            field: check_text(name, call.parameters[name])
            for field, name in (("name", "Name"), ("description", "Description"), ("content", "Content"))
            if call.parameters.get(name) is not None
        }
        return _put(organization, replace(policy, **changed))

    return _describe_whole(change_managed(call, deps, edit), call.parameters["PolicyId"])


def delete_policy(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """DeletePolicy, once it is attached to nothing."""

    def remove(organization: Organization) -> Organization:
        policy = _find_own(organization, call)
        if organization.targets_of(policy.policy_id):
            raise fault("PolicyInUse")
        return replace(organization, policies=without(organization.policies, policy.policy_id))

    change_managed(call, deps, remove)
    return {}


def list_policies(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """ListPolicies of a type, by id."""
    organization = readable_organization(call, deps)
    return _list(call, organization, [FULL_ACCESS_ID, *organization.policies])


def list_policies_for_target(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """ListPoliciesForTarget: those attached to it, not those that it inherits."""
    organization = readable_organization(call, deps)
    target = organization.place(call.parameters["TargetId"])
    if target is None:
        raise fault("TargetNotFound")
    return _list(call, organization, list(target.policy_ids))


def list_targets_for_policy(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """ListTargetsForPolicy, by id."""
    organization = readable_organization(call, deps)
    targets = organization.targets_of(_find(organization, call))
    page, members = paginate(
        targets, call.parameters, lambda place: place.account_id if isinstance(place, Member) else place.unit_id
    )
    ids = [place.account_id for place in page if isinstance(place, Member)]
    names = {each: find_member(deps, organization, each).name for each in ids}
    return {"Targets": [describe_target(organization, place, names) for place in page], **members}


def attach_policy(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """AttachPolicy: it binds from the next call on."""

    def attach(policy_id: str, attached: tuple[str, ...]) -> tuple[str, ...]:
        if policy_id in attached:
            raise fault("DuplicatePolicyAttachment")
        if len(attached) >= POLICIES_PER_TARGET:
            raise constraint("MAX_POLICY_TYPE_ATTACHMENT_LIMIT_EXCEEDED")
        return (*attached, policy_id)

    return _change_attached(call, deps, attach)


def detach_policy(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """DetachPolicy; the last one stays."""

    def detach(policy_id: str, attached: tuple[str, ...]) -> tuple[str, ...]:
        if policy_id not in attached:
            raise fault("PolicyNotAttached")
        if len(attached) == 1:
            raise constraint("MIN_POLICY_TYPE_ATTACHMENT_LIMIT_EXCEEDED")
        return tuple(each for each in attached if each != policy_id)

    return _change_attached(call, deps, detach)


def _change_attached(
    call: ApiCall, deps: OrganizationsDeps, edit: Callable[[str, tuple[str, ...]], tuple[str, ...]]
) -> Mapping[str, Any]:
    target_id = call.parameters["TargetId"]

    def change(organization: Organization) -> Organization:
        policy_id = _find(organization, call)
        target = organization.place(target_id)
        if target is None:
            raise fault("TargetNotFound")
        if SERVICE_CONTROL_POLICY not in organization.policy_types:
            raise fault("PolicyTypeNotEnabled")
        policy_ids = edit(policy_id, target.policy_ids)
        if isinstance(target, Member):
            members = {**organization.members, target_id: replace(target, policy_ids=policy_ids)}
            return replace(organization, members=members)
        return replace(organization, units={**organization.units, target_id: replace(target, policy_ids=policy_ids)})

    change_managed(call, deps, change)
    return {}


def _check_content(content: str) -> str:
    """The document as given.

    Raises ``ServiceFault`` ConstraintViolationException or MalformedPolicyDocumentException.
    """
    if len(content) > POLICY_CHARACTERS:
        raise constraint("POLICY_CONTENT_LIMIT_EXCEEDED")
    parse_policy(content, PolicyType.CONTROL)
    return content


def _put(organization: Organization, policy: ControlPolicy) -> Organization:
    """The organization with ``policy``, whose name must be used once."""
    others = (each for each in organization.policies.values() if each.policy_id != policy.policy_id)
    if policy.name == "FullAWSAccess" or any(each.name == policy.name for each in others):
        raise fault("DuplicatePolicy")
    return replace(organization, policies={**organization.policies, policy.policy_id: policy})


def _find(organization: Organization, call: ApiCall) -> str:
    policy_id: str = call.parameters["PolicyId"]
    if policy_id != FULL_ACCESS_ID and policy_id not in organization.policies:
        raise fault("PolicyNotFound")
    return policy_id


def _find_own(organization: Organization, call: ApiCall) -> ControlPolicy:
    policy_id = _find(organization, call)
    if policy_id == FULL_ACCESS_ID:
        raise invalid_input("IMMUTABLE_POLICY")
    return organization.policies[policy_id]


def _list(call: ApiCall, organization: Organization, policy_ids: list[str]) -> Mapping[str, Any]:
    wanted = policy_ids if call.parameters["Filter"] == SERVICE_CONTROL_POLICY else []
    page, members = paginate(wanted, call.parameters, str)
    return {"Policies": [describe_policy(organization, each) for each in page], **members}


def _describe_whole(organization: Organization, policy_id: str) -> Mapping[str, Any]:
    summary, content = describe_policy(organization, policy_id), organization.policy_text(policy_id)
    return {"Policy": {"PolicySummary": summary, "Content": content}}


POLICY_OPERATIONS: Mapping[str, OperationEntry[OrganizationsDeps]] = {
    "CreatePolicy": OperationEntry(handler=create_policy, permissions=needs("CreatePolicy"), writes=True),
    "DescribePolicy": OperationEntry(
        handler=describe_whole_policy, permissions=needs("DescribePolicy", "PolicyId"), writes=False
    ),
    "UpdatePolicy": OperationEntry(handler=update_policy, permissions=needs("UpdatePolicy", "PolicyId"), writes=True),
    "DeletePolicy": OperationEntry(handler=delete_policy, permissions=needs("DeletePolicy", "PolicyId"), writes=True),
    "ListPolicies": OperationEntry(handler=list_policies, permissions=needs("ListPolicies"), writes=False),
    "ListPoliciesForTarget": OperationEntry(
        handler=list_policies_for_target, permissions=needs("ListPoliciesForTarget", "TargetId"), writes=False
    ),
    "ListTargetsForPolicy": OperationEntry(
        handler=list_targets_for_policy, permissions=needs("ListTargetsForPolicy", "PolicyId"), writes=False
    ),
    "AttachPolicy": OperationEntry(
        handler=attach_policy, permissions=needs("AttachPolicy", "PolicyId", "TargetId"), writes=True
    ),
    "DetachPolicy": OperationEntry(
        handler=detach_policy, permissions=needs("DetachPolicy", "PolicyId", "TargetId"), writes=True
    ),
}
