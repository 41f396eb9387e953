"""Organization trails: who may make and change them, and who sees them.

Rules (CloudTrail user guide, "Creating a trail for an organization", "Organization delegated administrator"; API
reference, IsOrganizationTrail):

* The management account owns every organization trail, whoever made it.  It and the delegated administrators for
  CloudTrail change them; the other accounts of the organization see them, as shadows, and change nothing.
* Only the management account makes an organization trail of a plain one, or the other way round.
* The organization must have all features and trusted access for CloudTrail enabled.  Without trusted access, or without
  the organization, its trails become plain ones of the management account (``Trails.release``).
"""

from __future__ import annotations

from opentrail.core.errors import ServiceFault
from opentrail.core.layout import account_prefix
from opentrail.core.organizations import Organization
from opentrail.core.trails import Trail
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import Permission
from opentrail.services.cloudtrail.deps import CloudTrailDeps

SERVICE_PRINCIPAL = "cloudtrail.amazonaws.com"

_NEEDED_IN_ORGANIZATIONS = ("DescribeOrganization", "ListAWSServiceAccessForOrganization")


def organization_to_record(call: ApiCall, deps: CloudTrailDeps) -> Organization:
    """The organization for which the caller may make a trail.

    Raises ``ServiceFault``: why it may not, or why there is none that can be recorded.
    """
    organization = deps.organizations.of_account(call.account_id)
    if organization is None:
        text = f"Account {call.account_id} is not a member of an organization."
        raise ServiceFault("OrganizationsNotInUseException", text)
    if not _administers(call.account_id, organization):
        raise _not_management_account(call)
    if organization.feature_set != "ALL":
        text = f"Organization {organization.organization_id} does not have all features enabled."
        raise ServiceFault("OrganizationNotInAllFeaturesModeException", text)
    if SERVICE_PRINCIPAL not in organization.services:
        text = (
            f"Trusted access for {SERVICE_PRINCIPAL} is not enabled in organization {organization.organization_id}."
            " Enable it with organizations:EnableAWSServiceAccess."
        )
        raise ServiceFault("CloudTrailAccessNotEnabledException", text)
    for action in _NEEDED_IN_ORGANIZATIONS:
        permission = Permission(action=f"organizations:{action}", resource="*")
        if deps.authorise(call, permission) is not None:
            text = f"{call.operation.name} for an organization needs the permission organizations:{action}."
            raise ServiceFault("InsufficientDependencyServiceAccessPermissionException", text)
    return organization


def wanted_organization_id(call: ApiCall, deps: CloudTrailDeps, trail: Trail) -> str:
    """The organization that ``trail`` is to record after an UpdateTrail, or ``""``.

    Raises ``ServiceFault``, as ``organization_to_record``.
    """
    wanted = call.parameters.get("IsOrganizationTrail", trail.is_organization)
    if wanted == trail.is_organization:
        return trail.organization_id
    if not wanted:
        if trail.account_id != call.account_id:  # a delegated administrator
            raise _not_management_account(call)
        return ""
    organization = organization_to_record(call, deps)
    if organization.management_account_id != call.account_id:
        raise _not_management_account(call)
    return organization.organization_id


def organization_id_of(account_id: str, deps: CloudTrailDeps) -> str:
    """The organization that an account is in, or ``""``."""
    membership = deps.organizations.membership(account_id)
    return membership.organization_id if membership else ""


def check_administers(call: ApiCall, deps: CloudTrailDeps, trail: Trail) -> None:
    """Refuse to change a trail that the caller only sees.

    Raises ``ServiceFault`` NotOrganizationMasterAccountException.
    """
    if trail.account_id == call.account_id:
        return
    organization = deps.organizations.of_account(call.account_id)
    if organization is None or not _administers(call.account_id, organization):
        raise _not_management_account(call)


def folders_of(trail: Trail, deps: CloudTrailDeps) -> list[str]:
    """The beginnings of the keys under which the trail's files will lie, one for each account that it records."""
    accounts = {trail.account_id}
    organization = deps.organizations.find(trail.organization_id) if trail.organization_id else None
    if organization is not None:
        accounts |= organization.members.keys()
    return [
        account_prefix(prefix=trail.prefix, organization_id=trail.organization_id, account_id=each)
        for each in sorted(accounts)
    ]


def _administers(account_id: str, organization: Organization) -> bool:
    delegated = (account_id, SERVICE_PRINCIPAL) in organization.delegations
    return delegated or account_id == organization.management_account_id


def _not_management_account(call: ApiCall) -> ServiceFault:
    return ServiceFault(
        "NotOrganizationMasterAccountException",
        f"{call.operation.name} of an organization trail: account {call.account_id} is not the management account of"
        " the organization.",
    )
