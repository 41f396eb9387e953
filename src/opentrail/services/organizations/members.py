"""The accounts of an organization: made, listed, closed, removed.

CreateAccount answers IN_PROGRESS, as AWS does, and goes on at once.  Each step of making an account can be taken again
(its id is chosen first), so a request that a crash left IN_PROGRESS is finished by whoever asks for its status, which
is told for 90 days after the end.

A closed account is SUSPENDED: nobody enters it any more, and what it did stays where it was delivered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from opentrail.core.organizations import ID_BYTES, AccountRequest, Member, Organization, format_id, without
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry
from opentrail.services.organizations.access_role import DEFAULT_ROLE_NAME, make_access_role
from opentrail.services.organizations.caller import (
    OrganizationsDeps,
    change_managed,
    find_member,
    managed_organization,
    needs,
    own_organization,
    parse_tags,
    readable_organization,
)
from opentrail.services.organizations.describe import describe_account, describe_request
from opentrail.services.organizations.faults import constraint, fault, invalid_input
from opentrail.services.organizations.paging import paginate
from opentrail.state.accounts import Account

ACCOUNTS_PER_ORGANIZATION = 10_000  # AWS grants up to so many

_ROLE_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)


def create_account(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """CreateAccount."""
    role_name = call.parameters.get("RoleName") or DEFAULT_ROLE_NAME
    if not _ROLE_NAME.fullmatch(role_name):
        raise invalid_input("INVALID_ROLE_NAME")
    request = AccountRequest(
        request_id=format_id("car-", 32, deps.random_bytes(ID_BYTES)),
        account_id=draw_account_id(deps),
        name=call.parameters["AccountName"],
        email=call.parameters["Email"],
        role_name=role_name,
        tags=parse_tags(call.parameters.get("Tags")),
        state="IN_PROGRESS",
        requested=call.now.replace(microsecond=0),
    )

    def add(organization: Organization) -> Organization:
        if is_full(organization, call.now):
            raise constraint("ACCOUNT_NUMBER_LIMIT_EXCEEDED")
        kept = organization.remembered(call.now)
        return replace(kept, requests={**kept.requests, request.request_id: request})

    organization = change_managed(call, deps, add)
    _finish(deps, organization, request, call.now)
    return {"CreateAccountStatus": describe_request(request)}


def describe_creation(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """DescribeCreateAccountStatus."""
    organization = readable_organization(call, deps).remembered(call.now)
    request = organization.requests.get(call.parameters["CreateAccountRequestId"])
    if request is None:
        raise fault("CreateAccountStatusNotFound")
    return {"CreateAccountStatus": describe_request(_finish(deps, organization, request, call.now))}


def list_creations(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """ListCreateAccountStatus, of some states or of all, by id."""
    organization = readable_organization(call, deps).remembered(call.now)
    states = call.parameters.get("States") or ("IN_PROGRESS", "SUCCEEDED", "FAILED")
    requests = [_finish(deps, organization, each, call.now) for each in organization.requests.values()]
    found = [each for each in requests if each.state in states]
    page, members = paginate(found, call.parameters, lambda each: each.request_id)
    return {"CreateAccountStatuses": [describe_request(each) for each in page], **members}


def list_accounts(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """ListAccounts, by id."""
    organization = readable_organization(call, deps)
    page, members = paginate(organization.members, call.parameters, str)
    accounts = [find_member(deps, organization, account_id) for account_id in page]
    return {"Accounts": [describe_account(organization, each) for each in accounts], **members}


def describe(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """DescribeAccount."""
    organization = readable_organization(call, deps)
    account = find_member(deps, organization, call.parameters["AccountId"])
    return {"Account": describe_account(organization, account)}


def close_account(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """CloseAccount: its keys, sessions and users open nothing any more."""
    organization = managed_organization(call, deps)
    account = find_member(deps, organization, call.parameters["AccountId"])
    if account.account_id == organization.management_account_id:
        raise constraint("CANNOT_CLOSE_MANAGEMENT_ACCOUNT")
    if account.status != "ACTIVE":
        raise fault("AccountAlreadyClosed")
    deps.accounts.close(account.account_id)
    return {}


def remove_account(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """RemoveAccountFromOrganization: it stands alone from then on."""
    account_id = call.parameters["AccountId"]
    change_managed(call, deps, lambda organization: _without(organization, account_id))
    return {}


def leave_organization(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """LeaveOrganization, by the member itself."""
    organization_id = own_organization(call, deps).organization_id
    deps.organizations.change(organization_id, lambda organization: _without(organization, call.account_id))
    return {}


def is_full(organization: Organization, now: datetime) -> bool:
    """Whether there is no room for one account more; who is invited or being made has its place already."""
    invited = sum(each.state_at(now) == "OPEN" for each in organization.invitations.values())
    begun = sum(each.state == "IN_PROGRESS" for each in organization.requests.values())
    return len(organization.members) + invited + begun >= ACCOUNTS_PER_ORGANIZATION


def draw_account_id(deps: OrganizationsDeps) -> str:
    """An account ID that is not taken.  Raises ``StorageError``."""
    while True:
        account_id = f"{int.from_bytes(deps.random_bytes(8)) % 10**12:012}"
        if deps.accounts.find(account_id) is None:
            return account_id


def _finish(
    deps: OrganizationsDeps, organization: Organization, request: AccountRequest, now: datetime
) -> AccountRequest:
    """Make the account that was asked for, as far as that is not done; the request as it is then."""
    if request.state != "IN_PROGRESS":
        return request
    completed = now.replace(microsecond=0)
    failure = _make_account(deps, organization, request)
    state = "FAILED" if failure else "SUCCEEDED"
    finished = replace(request, state=state, failure=failure, completed=completed)

    def settle(present: Organization) -> Organization:
        if present.requests[request.request_id].state != "IN_PROGRESS":
            return present
        requests = {**present.requests, request.request_id: finished}
        if failure:
            return replace(present, requests=requests)
        member = Member(
            account_id=request.account_id,
            parent_id=present.root.unit_id,
            joined_method="CREATED",
            joined=completed,
            tags=request.tags,
        )
        return replace(present, requests=requests, members={**present.members, request.account_id: member})

    settled = deps.organizations.change(organization.organization_id, settle)
    return settled.requests[request.request_id] if settled else finished


def _make_account(deps: OrganizationsDeps, organization: Organization, request: AccountRequest) -> str:
    """Make the account and its role; why that failed, or ""."""
    account = Account(account_id=request.account_id, name=request.name, email=request.email, created=request.requested)
    if not deps.accounts.create(account):
        present = deps.accounts.find(request.account_id)
        if present is None:
            return "EMAIL_ALREADY_EXISTS"
        if present != account:
            return "INTERNAL_FAILURE"  # somebody else took the id since it was drawn
    make_access_role(
        deps,
        request.account_id,
        request.role_name,
        trusted=organization.management_account_id,
        now=request.requested,
    )
    return ""


def _without(organization: Organization, account_id: str) -> Organization:
    if account_id not in organization.members:
        raise fault("AccountNotFound")
    if account_id == organization.management_account_id:
        raise fault("MasterCannotLeaveOrganization")
    if organization.delegated_services(account_id):
        raise constraint("CANNOT_REMOVE_DELEGATED_ADMINISTRATOR_FROM_ORG")
    return replace(organization, members=without(organization.members, account_id))


MEMBER_OPERATIONS: Mapping[str, OperationEntry[OrganizationsDeps]] = {
    "CreateAccount": OperationEntry(handler=create_account, permissions=needs("CreateAccount"), writes=True),
    "DescribeCreateAccountStatus": OperationEntry(
        handler=describe_creation, permissions=needs("DescribeCreateAccountStatus"), writes=False
    ),
    "ListCreateAccountStatus": OperationEntry(
        handler=list_creations, permissions=needs("ListCreateAccountStatus"), writes=False
    ),
    "ListAccounts": OperationEntry(handler=list_accounts, permissions=needs("ListAccounts"), writes=False),
    "DescribeAccount": OperationEntry(
        handler=describe, permissions=needs("DescribeAccount", "AccountId"), writes=False
    ),
    "CloseAccount": OperationEntry(handler=close_account, permissions=needs("CloseAccount", "AccountId"), writes=True),
    "RemoveAccountFromOrganization": OperationEntry(
        handler=remove_account, permissions=needs("RemoveAccountFromOrganization", "AccountId"), writes=True
    ),
    "LeaveOrganization": OperationEntry(
        handler=leave_organization, permissions=needs("LeaveOrganization"), writes=True
    ),
}
