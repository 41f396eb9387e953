"""The tree: organizational units, and where accounts are in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from opentrail.core.organizations import ID_BYTES, Member, Organization, Unit, format_id, without
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry
from opentrail.services.organizations.caller import (
    OrganizationsDeps,
    change_managed,
    check_text,
    find_member,
    managed_organization,
    needs,
    parse_tags,
    readable_organization,
)
from opentrail.services.organizations.describe import describe_account, describe_unit
from opentrail.services.organizations.faults import constraint, fault
from opentrail.services.organizations.paging import paginate

UNIT_LEVELS = 5  # below the root
UNITS_PER_ORGANIZATION = 2000


def create_unit(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """CreateOrganizationalUnit."""
    tags = parse_tags(call.parameters.get("Tags"))
    known = managed_organization(call, deps)
    prefix = f"ou-{known.root.unit_id.removeprefix('r-')}-"
    unit = Unit(
        unit_id=format_id(prefix, 8, deps.random_bytes(ID_BYTES), known.units),
        parent_id=call.parameters["ParentId"],
        name=check_text("Name", call.parameters["Name"]),
        tags=tags,
    )

    def add(organization: Organization) -> Organization:
        if unit.parent_id not in organization.units:
            raise fault("ParentNotFound")
        if len(organization.way_down(unit.parent_id)) > UNIT_LEVELS:
            raise constraint("OU_DEPTH_LIMIT_EXCEEDED")
        if len(organization.units) > UNITS_PER_ORGANIZATION:  # the root is among them
            raise constraint("OU_NUMBER_LIMIT_EXCEEDED")
        _check_name(organization, unit)
        return replace(organization, units={**organization.units, unit.unit_id: unit})

    return {"OrganizationalUnit": describe_unit(change_managed(call, deps, add), unit)}


def describe_organizational_unit(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """DescribeOrganizationalUnit."""
    organization = readable_organization(call, deps)
    return {"OrganizationalUnit": describe_unit(organization, _find_unit(organization, call))}


def update_unit(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """UpdateOrganizationalUnit: another name."""

    def rename(organization: Organization) -> Organization:
        unit = _find_unit(organization, call)
        renamed = replace(unit, name=check_text("Name", call.parameters.get("Name") or unit.name))
        _check_name(organization, renamed)
        return replace(organization, units={**organization.units, unit.unit_id: renamed})

    organization = change_managed(call, deps, rename)
    return {"OrganizationalUnit": describe_unit(organization, _find_unit(organization, call))}


def delete_unit(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """DeleteOrganizationalUnit, once nothing is in it."""

    def remove(organization: Organization) -> Organization:
        unit = _find_unit(organization, call)
        places: tuple[Unit | Member, ...] = (*organization.units.values(), *organization.members.values())
        if any(each.parent_id == unit.unit_id for each in places):
            raise fault("OrganizationalUnitNotEmpty")
        return replace(organization, units=without(organization.units, unit.unit_id))

    change_managed(call, deps, remove)
    return {}


def move_account(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """MoveAccount, which says from where as well."""
    account_id, source = call.parameters["AccountId"], call.parameters["SourceParentId"]
    destination = call.parameters["DestinationParentId"]

    def move(organization: Organization) -> Organization:
        member = organization.members.get(account_id)
        if member is None:
            raise fault("AccountNotFound")
        if source not in organization.units:
            raise fault("SourceParentNotFound")
        if destination not in organization.units:
            raise fault("DestinationParentNotFound")
        if member.parent_id == destination:
            raise fault("DuplicateAccount")
        if member.parent_id != source:
            raise fault("SourceParentNotFound")
        moved = replace(member, parent_id=destination)
        return replace(organization, members={**organization.members, account_id: moved})

    change_managed(call, deps, move)
    return {}


def list_parents(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """ListParents: a child has one."""
    organization = readable_organization(call, deps)
    child = organization.place(call.parameters["ChildId"])
    if child is None or not child.parent_id:
        raise fault("ChildNotFound")
    page, members = paginate([organization.units[child.parent_id]], call.parameters, lambda unit: unit.unit_id)
    kinds = {True: "ORGANIZATIONAL_UNIT", False: "ROOT"}
    return {"Parents": [{"Id": unit.unit_id, "Type": kinds[bool(unit.parent_id)]} for unit in page], **members}


def list_children(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """ListChildren, of one type."""
    organization = readable_organization(call, deps)
    kind = call.parameters["ChildType"]
    is_account = kind == "ACCOUNT"
    ids = (
        [each.account_id for each in _members_in(organization, call)]
        if is_account
        else [each.unit_id for each in _units_in(organization, call)]
    )
    page, members = paginate(ids, call.parameters, str)
    return {"Children": [{"Id": each, "Type": kind} for each in page], **members}


def list_accounts_for_parent(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """ListAccountsForParent, by id."""
    organization = readable_organization(call, deps)
    found = _members_in(organization, call)
    page, members = paginate(found, call.parameters, lambda member: member.account_id)
    accounts = [find_member(deps, organization, member.account_id) for member in page]
    return {"Accounts": [describe_account(organization, each) for each in accounts], **members}


def list_units_for_parent(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """ListOrganizationalUnitsForParent, by id."""
    organization = readable_organization(call, deps)
    page, members = paginate(_units_in(organization, call), call.parameters, lambda unit: unit.unit_id)
    return {"OrganizationalUnits": [describe_unit(organization, unit) for unit in page], **members}


def _find_unit(organization: Organization, call: ApiCall) -> Unit:
    unit = organization.units.get(call.parameters["OrganizationalUnitId"])
    if unit is None or not unit.parent_id:
        raise fault("OrganizationalUnitNotFound")
    return unit


def _check_name(organization: Organization, unit: Unit) -> None:
    """A name is used once among the children of a parent."""
    for each in organization.units.values():
        if (each.parent_id, each.name) == (unit.parent_id, unit.name) and each.unit_id != unit.unit_id:
            raise fault("DuplicateOrganizationalUnit")


def _parent_of(organization: Organization, call: ApiCall) -> str:
    parent_id: str = call.parameters["ParentId"]
    if parent_id not in organization.units:
        raise fault("ParentNotFound")
    return parent_id


def _members_in(organization: Organization, call: ApiCall) -> list[Member]:
    parent_id = _parent_of(organization, call)
    return [each for each in organization.members.values() if each.parent_id == parent_id]


def _units_in(organization: Organization, call: ApiCall) -> list[Unit]:
    parent_id = _parent_of(organization, call)
    return [each for each in organization.units.values() if each.parent_id == parent_id]


TREE_OPERATIONS: Mapping[str, OperationEntry[OrganizationsDeps]] = {
    "CreateOrganizationalUnit": OperationEntry(
        handler=create_unit, permissions=needs("CreateOrganizationalUnit", "ParentId"), writes=True
    ),
    "DescribeOrganizationalUnit": OperationEntry(
        handler=describe_organizational_unit,
        permissions=needs("DescribeOrganizationalUnit", "OrganizationalUnitId"),
        writes=False,
    ),
    "UpdateOrganizationalUnit": OperationEntry(
        handler=update_unit, permissions=needs("UpdateOrganizationalUnit", "OrganizationalUnitId"), writes=True
    ),
    "DeleteOrganizationalUnit": OperationEntry(
        handler=delete_unit, permissions=needs("DeleteOrganizationalUnit", "OrganizationalUnitId"), writes=True
    ),
    "MoveAccount": OperationEntry(
        handler=move_account,
        permissions=needs("MoveAccount", "AccountId", "SourceParentId", "DestinationParentId"),
        writes=True,
    ),
    "ListParents": OperationEntry(handler=list_parents, permissions=needs("ListParents", "ChildId"), writes=False),
    "ListChildren": OperationEntry(handler=list_children, permissions=needs("ListChildren", "ParentId"), writes=False),
    "ListAccountsForParent": OperationEntry(
        handler=list_accounts_for_parent, permissions=needs("ListAccountsForParent", "ParentId"), writes=False
    ),
    "ListOrganizationalUnitsForParent": OperationEntry(
        handler=list_units_for_parent,
        permissions=needs("ListOrganizationalUnitsForParent", "ParentId"),
        writes=False,
    ),
}
