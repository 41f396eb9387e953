"""What Organizations answers: its values in the members of the API's data types."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from opentrail.core.organizations import (
    FULL_ACCESS_ID,
    SERVICE_CONTROL_POLICY,
    AccountRequest,
    Invitation,
    Member,
    Organization,
    Unit,
)
from opentrail.state.accounts import Account

_STATES = {"ACTIVE": "ACTIVE", "SUSPENDED": "CLOSED"}  # Account.Status, which AWS retires, to Account.State


def describe_organization(organization: Organization, management: Account) -> dict[str, Any]:
    """``Organization``.  ``AvailablePolicyTypes`` says what the feature set offers, not what is enabled."""
    has_policies = organization.feature_set == "ALL"
    return {
        "Id": organization.organization_id,
        "Arn": organization.arn,
        "FeatureSet": organization.feature_set,
        "MasterAccountArn": organization.arn_of("account", management.account_id),
        "MasterAccountId": management.account_id,
        "MasterAccountEmail": management.email,
        "AvailablePolicyTypes": [{"Type": SERVICE_CONTROL_POLICY, "Status": "ENABLED"}] if has_policies else [],
    }


def describe_root(organization: Organization) -> dict[str, Any]:
    """``Root``."""
    root = organization.root
    return {
        "Id": root.unit_id,
        "Arn": organization.arn_of("root", root.unit_id),
        "Name": root.name,
        "PolicyTypes": [{"Type": each, "Status": "ENABLED"} for each in organization.policy_types],
    }


def describe_unit(organization: Organization, unit: Unit) -> dict[str, Any]:
    """``OrganizationalUnit``."""
    return {
        "Id": unit.unit_id,
        "Arn": organization.arn_of("ou", unit.unit_id),
        "Name": unit.name,
        "Path": organization.unit_path(unit.unit_id),
    }


def describe_account(organization: Organization, account: Account) -> dict[str, Any]:
    """``Account``, of a member."""
    member = organization.members[account.account_id]
    return {
        "Id": account.account_id,
        "Arn": organization.arn_of("account", account.account_id),
        "Email": account.email,
        "Name": account.name,
        "Status": account.status,
        "State": _STATES[account.status],
        "Paths": [f"{organization.unit_path(member.parent_id)}{account.account_id}/"],
        "JoinedMethod": member.joined_method,
        "JoinedTimestamp": member.joined,
    }


def describe_request(request: AccountRequest) -> dict[str, Any]:
    """``CreateAccountStatus``."""
    described: dict[str, Any] = {
        "Id": request.request_id,
        "AccountName": request.name,
        "State": request.state,
        "RequestedTimestamp": request.requested,
    }
    if request.completed:
        described["CompletedTimestamp"] = request.completed
    if request.state == "SUCCEEDED":
        described["AccountId"] = request.account_id
    if request.failure:
        described["FailureReason"] = request.failure
    return described


def describe_policy(organization: Organization, policy_id: str) -> dict[str, Any]:
    """``PolicySummary``."""
    if policy_id == FULL_ACCESS_ID:
        name, description = "FullAWSAccess", "Allows access to every operation"
    else:
        policy = organization.policies[policy_id]
        name, description = policy.name, policy.description
    return {
        "Id": policy_id,
        "Arn": organization.policy_arn(policy_id),
        "Name": name,
        "Description": description,
        "Type": SERVICE_CONTROL_POLICY,
        "AwsManaged": policy_id == FULL_ACCESS_ID,
    }


def describe_target(organization: Organization, place: Unit | Member, names: Mapping[str, str]) -> dict[str, Any]:
    """``PolicyTargetSummary``; ``names`` are those of accounts, by id."""
    if isinstance(place, Member):
        target_id, kind, name = place.account_id, "account", names[place.account_id]
        target_type = "ACCOUNT"
    else:
        target_id, kind, name = place.unit_id, "ou" if place.parent_id else "root", place.name
        target_type = "ORGANIZATIONAL_UNIT" if place.parent_id else "ROOT"
    return {
        "TargetId": target_id,
        "Arn": organization.arn_of(kind, target_id),
        "Name": name,
        "Type": target_type,
    }


def describe_handshake(
    organization: Organization, invitation: Invitation, management: Account, now: datetime
) -> dict[str, Any]:
    """``Handshake``."""
    organization_id = organization.organization_id
    invited = {"Type": invitation.target_type, "Value": invitation.target}
    inviting = {
        "Type": "ORGANIZATION",
        "Value": organization_id,
        "Resources": [
            {"Type": "MASTER_EMAIL", "Value": management.email},
            {"Type": "MASTER_NAME", "Value": management.name},
            {"Type": "ORGANIZATION_FEATURE_SET", "Value": organization.feature_set},
        ],
    }
    notes = [{"Type": "NOTES", "Value": invitation.notes}] if invitation.notes else []
    return {
        "Id": invitation.handshake_id,
        "Arn": organization.arn_of("handshake", f"invite/{invitation.handshake_id}"),
        "Parties": [
            {"Id": organization_id, "Type": "ORGANIZATION"},
            {"Id": invitation.target, "Type": invitation.target_type},
        ],
        "State": invitation.state_at(now),
        "RequestedTimestamp": invitation.requested,
        "ExpirationTimestamp": invitation.expires,
        "Action": "INVITE",
        "Resources": [inviting, invited, *notes],
    }
