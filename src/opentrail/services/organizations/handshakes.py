"""Invitations: how an account that exists joins an organization.

The management account invites, and may cancel; the invited account accepts or declines.  An invitation stays open for
15 days and is told of for 30 more, once it has ended.  Nobody else learns that it exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from opentrail.core.organizations import ID_BYTES, Invitation, Member, Organization, format_id
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry, Permission
from opentrail.services.organizations.caller import (
    OrganizationsDeps,
    Permissions,
    change_managed,
    check_text,
    managed_organization,
    needs,
    parse_tags,
    readable_organization,
    resource_arn,
)
from opentrail.services.organizations.describe import describe_handshake
from opentrail.services.organizations.faults import constraint, fault, handshake_constraint, invalid_input
from opentrail.services.organizations.members import is_full
from opentrail.services.organizations.paging import paginate
from opentrail.state.accounts import Account

OPEN_DAYS = 15


def invite_account(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """InviteAccountToOrganization, by account ID or by e-mail address."""
    known = managed_organization(call, deps)
    target, now = call.parameters["Target"], call.now.replace(microsecond=0)
    invitation = Invitation(
        handshake_id=format_id("h-", 32, deps.random_bytes(ID_BYTES), known.invitations),
        account_id=_find_invited(target, deps).account_id,
        target_type=target["Type"],
        target=target["Id"],
        notes=check_text("Notes", call.parameters.get("Notes") or ""),
        tags=parse_tags(call.parameters.get("Tags")),
        state="OPEN",
        requested=now,
        expires=now + timedelta(days=OPEN_DAYS),
    )

    def add(organization: Organization) -> Organization:
        if deps.organizations.of_account(invitation.account_id) is not None:
            raise handshake_constraint("ALREADY_IN_AN_ORGANIZATION")
        for each in organization.invitations.values():
            if each.account_id == invitation.account_id and each.state_at(call.now) == "OPEN":
                raise fault("DuplicateHandshake")
        if is_full(organization, call.now):
            raise constraint("ACCOUNT_NUMBER_LIMIT_EXCEEDED")
        kept = organization.remembered(call.now)
        return replace(kept, invitations={**kept.invitations, invitation.handshake_id: invitation})

    return _describe(call, deps, change_managed(call, deps, add), invitation.handshake_id)


def accept_handshake(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """AcceptHandshake, by the invited account: it joins under the root."""

    def accept(organization: Organization, invitation: Invitation) -> Organization:
        if deps.organizations.of_account(call.account_id) is not None:
            raise handshake_constraint("ALREADY_IN_AN_ORGANIZATION")
        member = Member(
            account_id=call.account_id,
            parent_id=organization.root.unit_id,
            joined_method="INVITED",
            joined=call.now.replace(microsecond=0),
            tags=invitation.tags,
        )
        return replace(organization, members={**organization.members, call.account_id: member})

    return _settle(call, deps, "ACCEPTED", of_inviter=False, effect=accept)


def decline_handshake(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """DeclineHandshake, by the invited account."""
    return _settle(call, deps, "DECLINED", of_inviter=False)


def cancel_handshake(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """CancelHandshake, by the account that invited."""
    return _settle(call, deps, "CANCELED", of_inviter=True)


def describe(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """DescribeHandshake, by either side."""
    organization = _find_inviting(call, deps)
    return _describe(call, deps, organization, call.parameters["HandshakeId"])


def list_for_account(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """ListHandshakesForAccount: the invitations of the caller's account to any organization."""
    found = [
        (organization, invitation)
        for organization in deps.organizations.all()
        for invitation in organization.remembered(call.now).invitations.values()
        if invitation.account_id == call.account_id
    ]
    return _list(call, deps, found)


def list_for_organization(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """ListHandshakesForOrganization: the invitations that it sent."""
    organization = readable_organization(call, deps).remembered(call.now)
    return _list(call, deps, ((organization, each) for each in organization.invitations.values()))


def _settle(
    call: ApiCall,
    deps: OrganizationsDeps,
    state: str,
    *,
    of_inviter: bool,
    effect: Callable[[Organization, Invitation], Organization] = lambda organization, _invitation: organization,
) -> Mapping[str, Any]:
    """Give an open invitation its last state, with what that brings about."""
    handshake_id = call.parameters["HandshakeId"]

    def settle(organization: Organization) -> Organization:
        invitation = organization.invitations[handshake_id]
        present = invitation.state_at(call.now)
        if present == state:
            raise fault("HandshakeAlreadyInState")
        if present != "OPEN":
            raise fault("InvalidHandshakeTransition")
        settled = replace(invitation, state=state, settled=call.now.replace(microsecond=0))
        changed = effect(organization, invitation).remembered(call.now)
        return replace(changed, invitations={**changed.invitations, handshake_id: settled})

    organization = _find_inviting(call, deps)
    is_inviter = organization.management_account_id == call.account_id
    if is_inviter is not of_inviter:
        raise fault("AccessDenied")
    changed = deps.organizations.change(organization.organization_id, settle)
    if changed is None:
        raise fault("HandshakeNotFound")  # the organization was deleted meanwhile
    return _describe(call, deps, changed, handshake_id)


def _find_inviting(call: ApiCall, deps: OrganizationsDeps) -> Organization:
    """The organization whose invitation is named, if the caller's account is one of its parties."""
    organization = _inviting(call, deps)
    if organization is None:
        raise fault("HandshakeNotFound")
    return organization


def _inviting(call: ApiCall, deps: OrganizationsDeps) -> Organization | None:
    for organization in deps.organizations.all():
        invitation = organization.invitations.get(call.parameters["HandshakeId"])
        parties = {invitation.account_id, organization.management_account_id} if invitation else ()
        if invitation and invitation.is_kept(call.now) and call.account_id in parties:
            return organization
    return None


def _find_invited(target: Mapping[str, str], deps: OrganizationsDeps) -> Account:
    if target["Type"] == "ACCOUNT":
        account = deps.accounts.find(check_text("Target", target["Id"]))
    elif target["Type"] == "EMAIL":
        account = deps.accounts.find_by_email(check_text("Target", target["Id"]))
    else:
        raise invalid_input("INVALID_PARTY_TYPE_TARGET")
    if account is None or account.status != "ACTIVE":
        raise invalid_input("TARGET_NOT_SUPPORTED")
    return account


def _describe(
    call: ApiCall, deps: OrganizationsDeps, organization: Organization, handshake_id: str
) -> Mapping[str, Any]:
    described = _describe_one(call, deps, organization, organization.invitations[handshake_id])
    return {"Handshake": described}


def _describe_one(
    call: ApiCall, deps: OrganizationsDeps, organization: Organization, invitation: Invitation
) -> dict[str, Any]:
    management = deps.accounts.find(organization.management_account_id)
    assert management is not None, "the management account exists"
    return describe_handshake(organization, invitation, management, call.now)


def _list(
    call: ApiCall, deps: OrganizationsDeps, found: Iterable[tuple[Organization, Invitation]]
) -> Mapping[str, Any]:
    wanted = call.parameters.get("Filter") or {}
    kept = found if wanted.get("ActionType") in {None, "INVITE"} and not wanted.get("ParentHandshakeId") else ()
    page, members = paginate(kept, call.parameters, lambda pair: pair[1].handshake_id)
    return {"Handshakes": [_describe_one(call, deps, *pair) for pair in page], **members}


def _needs_handshake(action: str) -> Permissions:
    """The permission for ``organizations:action`` on the invitation, which may be another organization's."""

    def permissions(call: ApiCall, deps: OrganizationsDeps) -> tuple[Permission, ...]:
        organization = _inviting(call, deps)
        resource = resource_arn(organization, call.parameters["HandshakeId"]) if organization else "*"
        return (Permission(action=f"organizations:{action}", resource=resource),)

    return permissions


HANDSHAKE_OPERATIONS: Mapping[str, OperationEntry[OrganizationsDeps]] = {
    "InviteAccountToOrganization": OperationEntry(
        handler=invite_account, permissions=needs("InviteAccountToOrganization"), writes=True
    ),
    "AcceptHandshake": OperationEntry(
        handler=accept_handshake, permissions=_needs_handshake("AcceptHandshake"), writes=True
    ),
    "DeclineHandshake": OperationEntry(
        handler=decline_handshake, permissions=_needs_handshake("DeclineHandshake"), writes=True
    ),
    "CancelHandshake": OperationEntry(
        handler=cancel_handshake, permissions=_needs_handshake("CancelHandshake"), writes=True
    ),
    "DescribeHandshake": OperationEntry(
        handler=describe, permissions=_needs_handshake("DescribeHandshake"), writes=False
    ),
    "ListHandshakesForAccount": OperationEntry(
        handler=list_for_account, permissions=needs("ListHandshakesForAccount"), writes=False
    ),
    "ListHandshakesForOrganization": OperationEntry(
        handler=list_for_organization, permissions=needs("ListHandshakesForOrganization"), writes=False
    ),
}
