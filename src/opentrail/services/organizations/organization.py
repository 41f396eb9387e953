"""The organization itself: made, described, deleted; its root and the policy types that are enabled there.

A new organization has all features but no policy type enabled: EnablePolicyType comes first, as AWS's service answers
(its API reference says otherwise; Terraform's acceptance tests against AWS hold it to an empty list).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from opentrail.core.organizations import (
    FULL_ACCESS_ID,
    ID_BYTES,
    SERVICE_CONTROL_POLICY,
    Member,
    Organization,
    Unit,
    format_id,
)
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry
from opentrail.services.organizations.caller import (
    OrganizationsDeps,
    change_managed,
    managed_organization,
    needs,
    own_organization,
    readable_organization,
)
from opentrail.services.organizations.describe import describe_organization, describe_root
from opentrail.services.organizations.faults import constraint, fault
from opentrail.services.organizations.paging import paginate


def create_organization(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """CreateOrganization; the caller's account becomes the management account."""
    account = deps.accounts.find(call.account_id)
    assert account is not None, "a caller's account exists"
    taken = {unit_id for each in deps.organizations.all() for unit_id in each.units}
    root = Unit(unit_id=format_id("r-", 4, deps.random_bytes(ID_BYTES), taken), parent_id="", name="Root")
    member = Member(
        account_id=call.account_id,
        parent_id=root.unit_id,
        joined_method="INVITED",
        joined=call.now.replace(microsecond=0),
    )
    organization = Organization(
        organization_id=format_id("o-", 10, deps.random_bytes(ID_BYTES)),
        management_account_id=call.account_id,
        feature_set=call.parameters.get("FeatureSet") or "ALL",
        units={root.unit_id: root},
        members={call.account_id: member},
    )
    if not deps.organizations.create(organization):
        raise fault("AlreadyInOrganization")
    return {"Organization": describe_organization(organization, account)}


def describe(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """DescribeOrganization, for every account in it."""
    organization = own_organization(call, deps)
    management = deps.accounts.find(organization.management_account_id)
    assert management is not None, "the management account exists"
    return {"Organization": describe_organization(organization, management)}


def delete_organization(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """DeleteOrganization, once it has no accounts but the management account."""

    def delete(organization: Organization) -> None:
        if len(organization.members) > 1:
            raise fault("OrganizationNotEmpty")

    deps.organizations.change(managed_organization(call, deps).organization_id, delete)
    return {}


def list_roots(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """ListRoots: there is one."""
    organization = readable_organization(call, deps)
    page, members = paginate([organization.root], call.parameters, lambda root: root.unit_id)
    return {"Roots": [describe_root(organization) for _ in page], **members}


def enable_policy_type(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """EnablePolicyType: service control policies bind from now on; FullAWSAccess is attached everywhere."""

    def enable(organization: Organization) -> Organization:
        _check_root(organization, call)
        if organization.feature_set != "ALL":
            raise constraint("ORGANIZATION_NOT_IN_ALL_FEATURES_MODE")
        if call.parameters["PolicyType"] != SERVICE_CONTROL_POLICY:
            raise fault("PolicyTypeNotAvailableForOrganization")
        if organization.policy_types:
            raise fault("PolicyTypeAlreadyEnabled")
        return replace(organization, policy_types=(SERVICE_CONTROL_POLICY,))

    return {"Root": describe_root(change_managed(call, deps, enable))}


def disable_policy_type(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """DisablePolicyType: every policy is detached, so that enabling the type again begins with FullAWSAccess."""

    def disable(organization: Organization) -> Organization:
        _check_root(organization, call)
        if call.parameters["PolicyType"] not in organization.policy_types:
            raise fault("PolicyTypeNotEnabled")
        only = (FULL_ACCESS_ID,)
        return replace(
            organization,
            policy_types=(),
            units={key: replace(each, policy_ids=only) for key, each in organization.units.items()},
            members={key: replace(each, policy_ids=only) for key, each in organization.members.items()},
        )

    return {"Root": describe_root(change_managed(call, deps, disable))}


def _check_root(organization: Organization, call: ApiCall) -> None:
    if call.parameters["RootId"] != organization.root.unit_id:
        raise fault("RootNotFound")


ORGANIZATION_OPERATIONS: Mapping[str, OperationEntry[OrganizationsDeps]] = {
    "CreateOrganization": OperationEntry(
        handler=create_organization, permissions=needs("CreateOrganization"), writes=True
    ),
    "DescribeOrganization": OperationEntry(handler=describe, permissions=needs("DescribeOrganization"), writes=False),
    "DeleteOrganization": OperationEntry(
        handler=delete_organization, permissions=needs("DeleteOrganization"), writes=True
    ),
    "ListRoots": OperationEntry(handler=list_roots, permissions=needs("ListRoots"), writes=False),
    "EnablePolicyType": OperationEntry(
        handler=enable_policy_type, permissions=needs("EnablePolicyType", "RootId"), writes=True
    ),
    "DisablePolicyType": OperationEntry(
        handler=disable_policy_type, permissions=needs("DisablePolicyType", "RootId"), writes=True
    ),
}
