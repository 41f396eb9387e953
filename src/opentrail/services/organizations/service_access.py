"""Services that may act in the organization ("trusted access"), and the members that administer them.

A service is known by its principal, ``cloudtrail.amazonaws.com``; one that no such name could belong to is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from opentrail.core.organizations import Delegation, Organization, ServiceAccess, without
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry
from opentrail.services.organizations.caller import (
    OrganizationsDeps,
    change_managed,
    find_member,
    needs,
    readable_organization,
)
from opentrail.services.organizations.describe import describe_account
from opentrail.services.organizations.faults import constraint, fault, invalid_input
from opentrail.services.organizations.paging import paginate

_PRINCIPAL = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*\.amazonaws\.com")


def enable_service_access(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """EnableAWSServiceAccess; of a service that has it already, nothing changes."""
    principal = _principal(call)

    def enable(organization: Organization) -> Organization:
        if organization.feature_set != "ALL":
            raise constraint("ORGANIZATION_NOT_IN_ALL_FEATURES_MODE")
        if principal in organization.services:
            return organization
        access = ServiceAccess(service_principal=principal, enabled=call.now.replace(microsecond=0))
        return replace(organization, services={**organization.services, principal: access})

    change_managed(call, deps, enable)
    return {}


def disable_service_access(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """DisableAWSServiceAccess, once no member administers the service."""
    principal = _principal(call)

    def disable(organization: Organization) -> Organization:
        if any(each.service_principal == principal for each in organization.delegations.values()):
            raise constraint("DELEGATED_ADMINISTRATOR_EXISTS_FOR_THIS_SERVICE")
        return replace(organization, services=without(organization.services, principal))

    change_managed(call, deps, disable)
    return {}


def list_service_access(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """ListAWSServiceAccessForOrganization, by principal."""
    organization = readable_organization(call, deps)
    page, members = paginate(organization.services.values(), call.parameters, lambda each: each.service_principal)
    listed = [{"ServicePrincipal": each.service_principal, "DateEnabled": each.enabled} for each in page]
    return {"EnabledServicePrincipals": listed, **members}


def register_administrator(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """RegisterDelegatedAdministrator, of a service that has access."""
    principal, account_id = _principal(call), call.parameters["AccountId"]

    def register(organization: Organization) -> Organization:
        if account_id == organization.management_account_id:
            raise constraint("CANNOT_REGISTER_MASTER_AS_DELEGATED_ADMINISTRATOR")
        if find_member(deps, organization, account_id).status != "ACTIVE":
            raise constraint("CANNOT_REGISTER_SUSPENDED_ACCOUNT_AS_DELEGATED_ADMINISTRATOR")
        if principal not in organization.services:
            raise constraint("SERVICE_ACCESS_NOT_ENABLED")
        if (account_id, principal) in organization.delegations:
            raise fault("AccountAlreadyRegistered")
        enabled = call.now.replace(microsecond=0)
        delegation = Delegation(account_id=account_id, service_principal=principal, enabled=enabled)
        return replace(organization, delegations={**organization.delegations, (account_id, principal): delegation})

    change_managed(call, deps, register)
    return {}


def deregister_administrator(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """DeregisterDelegatedAdministrator."""
    key = call.parameters["AccountId"], _principal(call)

    def deregister(organization: Organization) -> Organization:
        find_member(deps, organization, key[0])
        if key not in organization.delegations:
            raise fault("AccountNotRegistered")
        return replace(organization, delegations=without(organization.delegations, key))

    change_managed(call, deps, deregister)
    return {}


def list_administrators(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """ListDelegatedAdministrators, of one service or of any: each account once, with the time of its first."""
    organization = readable_organization(call, deps)
    principal = _principal(call) if call.parameters.get("ServicePrincipal") else None
    first: dict[str, Delegation] = {}
    for each in sorted(organization.delegations.values(), key=lambda each: each.enabled):
        if principal in {None, each.service_principal}:
            first.setdefault(each.account_id, each)
    page, members = paginate(first.values(), call.parameters, lambda each: each.account_id)
    listed = []
    for each in page:
        account = describe_account(organization, find_member(deps, organization, each.account_id))
        account.pop("Paths")
        listed.append({**account, "DelegationEnabledDate": each.enabled})
    return {"DelegatedAdministrators": listed, **members}


def list_delegated_services(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """ListDelegatedServicesForAccount, by principal."""
    organization = readable_organization(call, deps)
    account_id = find_member(deps, organization, call.parameters["AccountId"]).account_id
    found = organization.delegated_services(account_id)
    if not found:
        raise fault("AccountNotRegistered")
    page, members = paginate(found, call.parameters, lambda each: each.service_principal)
    listed = [{"ServicePrincipal": each.service_principal, "DelegationEnabledDate": each.enabled} for each in page]
    return {"DelegatedServices": listed, **members}


def _principal(call: ApiCall) -> str:
    principal: str = call.parameters["ServicePrincipal"]
    if not _PRINCIPAL.fullmatch(principal):
        raise invalid_input("UNRECOGNIZED_SERVICE_PRINCIPAL")
    return principal


SERVICE_OPERATIONS: Mapping[str, OperationEntry[OrganizationsDeps]] = {
    "EnableAWSServiceAccess": OperationEntry(
        handler=enable_service_access, permissions=needs("EnableAWSServiceAccess"), writes=True
    ),
    "DisableAWSServiceAccess": OperationEntry(
        handler=disable_service_access, permissions=needs("DisableAWSServiceAccess"), writes=True
    ),
    "ListAWSServiceAccessForOrganization": OperationEntry(
        handler=list_service_access, permissions=needs("ListAWSServiceAccessForOrganization"), writes=False
    ),
    "RegisterDelegatedAdministrator": OperationEntry(
        handler=register_administrator, permissions=needs("RegisterDelegatedAdministrator", "AccountId"), writes=True
    ),
    "DeregisterDelegatedAdministrator": OperationEntry(
        handler=deregister_administrator,
        permissions=needs("DeregisterDelegatedAdministrator", "AccountId"),
        writes=True,
    ),
    "ListDelegatedAdministrators": OperationEntry(
        handler=list_administrators, permissions=needs("ListDelegatedAdministrators"), writes=False
    ),
    "ListDelegatedServicesForAccount": OperationEntry(
        handler=list_delegated_services, permissions=needs("ListDelegatedServicesForAccount", "AccountId"), writes=False
    ),
}
