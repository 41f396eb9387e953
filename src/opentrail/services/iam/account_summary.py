"""``GetAccountSummary``: how much an account has in IAM, and AWS's default quotas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry
from opentrail.services.iam.account_state import account_permission
from opentrail.services.iam.attachments import POLICIES_PER_ENTITY
from opentrail.services.iam.caller import IamDeps
from opentrail.services.iam.documents import MANAGED_POLICY_CHARACTERS
from opentrail.services.iam.groups import GROUPS_PER_USER
from opentrail.services.iam.instance_profiles import PROFILES_PER_ACCOUNT
from opentrail.services.iam.kinds import GROUP, KINDS, ROLE, USER
from opentrail.services.iam.managed_policies import POLICIES_PER_ACCOUNT
from opentrail.services.iam.policy_versions import VERSIONS_PER_POLICY
from opentrail.services.iam.trust import TRUST_POLICY_CHARACTERS
from opentrail.state.account_counts import count_account
from opentrail.state.identities import KEYS_PER_USER

QUOTAS: Mapping[str, int] = {
    "UsersQuota": USER.per_account,
    "GroupsQuota": GROUP.per_account,
    "RolesQuota": ROLE.per_account,
    "PoliciesQuota": POLICIES_PER_ACCOUNT,
    "InstanceProfilesQuota": PROFILES_PER_ACCOUNT,
    "ServerCertificatesQuota": 20,
    "UserPolicySizeQuota": USER.policy_characters,
    "GroupPolicySizeQuota": GROUP.policy_characters,
    "RolePolicySizeQuota": ROLE.policy_characters,
    "AssumeRolePolicySizeQuota": TRUST_POLICY_CHARACTERS,
    "PolicySizeQuota": MANAGED_POLICY_CHARACTERS,
    "PolicyVersionsInUseQuota": 10_000,
    "VersionsPerPolicyQuota": VERSIONS_PER_POLICY,
    "GroupsPerUserQuota": GROUPS_PER_USER,
    "AccessKeysPerUserQuota": KEYS_PER_USER,
    "SigningCertificatesPerUserQuota": 2,
    **{f"AttachedPoliciesPer{kind.noun}Quota": POLICIES_PER_ENTITY for kind in KINDS},
}

#: What no account here can have: certificates, MFA devices, a password of the root user.
ABSENT: Mapping[str, int] = dict.fromkeys(
    (
        "ServerCertificates",
        "MFADevices",
        "MFADevicesInUse",
        "AccountMFAEnabled",
        "AccountPasswordPresent",
        "AccountSigningCertificatesPresent",
    ),
    0,
)
TOKEN_VERSION = 1  # of the global STS endpoint's tokens: AWS's default


def get_account_summary(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """GetAccountSummary."""
    with deps.identities.reading() as iam:
        counts = count_account(iam.connection, call.account_id)
    summary = {f"{kind.noun}s": counts.entities[kind.kind] for kind in KINDS} | {
        "Policies": counts.policies,
        "PolicyVersionsInUse": counts.policy_versions,
        "InstanceProfiles": counts.instance_profiles,
        "Providers": counts.providers,
        "AccountAccessKeysPresent": 1 if counts.root_keys else 0,
        "GlobalEndpointTokenVersion": TOKEN_VERSION,
    }
    return {"SummaryMap": {**summary, **QUOTAS, **ABSENT}}


ACCOUNT_SUMMARY_OPERATIONS: Mapping[str, OperationEntry[IamDeps]] = {
    "GetAccountSummary": OperationEntry(
        handler=get_account_summary, permissions=account_permission("GetAccountSummary"), writes=False
    ),
}
