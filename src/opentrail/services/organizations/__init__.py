"""Organizations: accounts, the tree they are in, and the service control policies that bind them."""

from opentrail.services.organizations.caller import OrganizationsDeps
from opentrail.services.organizations.handshakes import HANDSHAKE_OPERATIONS
from opentrail.services.organizations.members import MEMBER_OPERATIONS
from opentrail.services.organizations.organization import ORGANIZATION_OPERATIONS
from opentrail.services.organizations.policies import POLICY_OPERATIONS
from opentrail.services.organizations.service_access import SERVICE_OPERATIONS
from opentrail.services.organizations.tags import TAG_OPERATIONS
from opentrail.services.organizations.tree import TREE_OPERATIONS

ORGANIZATIONS_OPERATIONS = {
    **ORGANIZATION_OPERATIONS,
    **MEMBER_OPERATIONS,
    **HANDSHAKE_OPERATIONS,
    **TREE_OPERATIONS,
    **POLICY_OPERATIONS,
    **SERVICE_OPERATIONS,
    **TAG_OPERATIONS,
}

__all__ = ["ORGANIZATIONS_OPERATIONS", "OrganizationsDeps"]
