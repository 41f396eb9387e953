"""What recording and delivery ask of organizations: who belongs to which, now."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from opentrail.services.cloudtrail.organization_trails import SERVICE_PRINCIPAL
from opentrail.state.organizations import Organizations


@dataclass(frozen=True, slots=True)
class Memberships:
    """Reads ``organizations``, from memory."""

    organizations: Organizations

    def organization_of(self, account_id: str) -> str:
        """The organization that the account is in, or ``""``."""
        membership = self.organizations.membership(account_id)
        return membership.organization_id if membership is not None else ""

    def members(self, organization_id: str) -> Collection[str]:
        """The accounts of an organization, its management account among them; none where it is gone."""
        organization = self.organizations.find(organization_id)
        return organization.members.keys() if organization is not None else ()

    def may_record(self, account_id: str, organization_id: str) -> bool:
        """Whether trails of the account may record the organization: it manages it, and CloudTrail is trusted there."""
        organization = self.organizations.find(organization_id)
        if organization is None or organization.management_account_id != account_id:
            return False
        return SERVICE_PRINCIPAL in organization.services
