"""IAM: users, groups and roles, their policies and keys.

One table of operations, put together from those of the modules; each module is one idea.
"""

from dataclasses import replace

from opentrail.services.iam.account_settings import ACCOUNT_SETTING_OPERATIONS
from opentrail.services.iam.account_summary import ACCOUNT_SUMMARY_OPERATIONS
from opentrail.services.iam.attachments import ATTACHMENT_OPERATIONS
from opentrail.services.iam.authorization_details import AUTHORIZATION_DETAILS_OPERATIONS
from opentrail.services.iam.boundaries import BOUNDARY_OPERATIONS
from opentrail.services.iam.caller import IamDeps
from opentrail.services.iam.context_keys import CONTEXT_KEY_OPERATIONS
from opentrail.services.iam.credential_reports import CREDENTIAL_REPORT_OPERATIONS
from opentrail.services.iam.groups import GROUP_OPERATIONS
from opentrail.services.iam.inline_policies import INLINE_POLICY_OPERATIONS
from opentrail.services.iam.instance_profiles import INSTANCE_PROFILE_OPERATIONS
from opentrail.services.iam.keys import KEY_OPERATIONS
from opentrail.services.iam.login_profiles import LOGIN_PROFILE_OPERATIONS
from opentrail.services.iam.managed_policies import POLICY_OPERATIONS
from opentrail.services.iam.oidc_providers import OIDC_PROVIDER_OPERATIONS
from opentrail.services.iam.policy_versions import POLICY_VERSION_OPERATIONS
from opentrail.services.iam.roles import ROLE_OPERATIONS
from opentrail.services.iam.simulation import SIMULATION_OPERATIONS
from opentrail.services.iam.users import USER_OPERATIONS

_TABLES = (
    USER_OPERATIONS,
    GROUP_OPERATIONS,
    ROLE_OPERATIONS,
    KEY_OPERATIONS,
    INLINE_POLICY_OPERATIONS,
    POLICY_OPERATIONS,
    POLICY_VERSION_OPERATIONS,
    ATTACHMENT_OPERATIONS,
    BOUNDARY_OPERATIONS,
    INSTANCE_PROFILE_OPERATIONS,
    LOGIN_PROFILE_OPERATIONS,
    OIDC_PROVIDER_OPERATIONS,
    ACCOUNT_SETTING_OPERATIONS,
    ACCOUNT_SUMMARY_OPERATIONS,
    AUTHORIZATION_DETAILS_OPERATIONS,
    CREDENTIAL_REPORT_OPERATIONS,
    CONTEXT_KEY_OPERATIONS,
    SIMULATION_OPERATIONS,
)

IAM_OPERATIONS = {
    name: replace(entry, permissions_block=True)  # who may do it depends on what it is done to
    for table in _TABLES
    for name, entry in table.items()
}

__all__ = ["IAM_OPERATIONS", "IamDeps"]
