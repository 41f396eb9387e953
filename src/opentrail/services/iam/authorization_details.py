"""``GetAccountAuthorizationDetails``: users, groups, roles and managed policies, with all that they grant.

Rules: the sections come one after the other, each by name; a page may begin in one and end in the next; of AWS's own
policies those are told that the account uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry
from opentrail.services.iam.account_state import account_permission
from opentrail.services.iam.caller import IamDeps
from opentrail.services.iam.documents import encode_document
from opentrail.services.iam.entities import describe_entity, describe_settings
from opentrail.services.iam.faults import validation_error
from opentrail.services.iam.instance_profiles import describe_profile
from opentrail.services.iam.kinds import GROUP, ROLE, USER, Kind
from opentrail.services.iam.managed_policies import Usage, describe_policy, usage_in
from opentrail.services.iam.paging import max_items, page_members, parse_marker
from opentrail.services.iam.policy_versions import describe_version
from opentrail.services.iam.roles import as_role, describe_role_fully
from opentrail.services.iam.users import describe_user
from opentrail.state.entities import Entity
from opentrail.state.identities import Iam
from opentrail.state.managed_policies import ManagedPolicy

_ROLE_MEMBERS_LEFT_OUT = ("MaxSessionDuration", "Description")  # RoleDetail does not have them


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One detail of the answer; ``place`` sorts it among all others and is where a page may end."""

    member: str  # the answer's list that it belongs to
    place: str
    describe: Callable[[], Mapping[str, Any]]


Section = Callable[[ApiCall, Iam, str, int], Iterator[Item]]


def get_account_authorization_details(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """GetAccountAuthorizationDetails."""
    wanted = set(call.parameters.get("Filter") or SECTIONS)
    limit = max_items(call.parameters)
    name, _, after = parse_marker(call.parameters).partition("/")
    if name and name not in SECTIONS:
        raise validation_error("Invalid Marker.")
    names = list(SECTIONS)
    found: list[Item] = []
    with deps.identities.reading() as iam:
        for section in names[names.index(name) if name else 0 :]:
            if section in wanted and len(found) <= limit:
                begin = after if section == name else ""
                found += SECTIONS[section](call, iam, begin, limit + 1 - len(found))
        page, members = page_members(found, limit, lambda item: item.place)
        answer: dict[str, Any] = {member: [] for member in _MEMBERS}
        for item in page:
            answer[item.member].append(item.describe())
    return {**answer, **members}


def _entity_section(kind: Kind, member: str, describe: Callable[[Entity, Iam], Mapping[str, Any]]) -> Section:
    """The entities of one kind."""

    def section(call: ApiCall, iam: Iam, after: str, limit: int) -> Iterator[Item]:
        for entity in iam.entities.list(call.account_id, kind.kind, after=after, limit=limit):
            place = f"{kind.noun}/{entity.name}"
            yield Item(member=member, place=place, describe=partial(describe, entity, iam))

    return section


def _policy_section(name: str, policies: Callable[[ApiCall, Iam, Usage], Sequence[ManagedPolicy]]) -> Section:
    """The managed policies of one owner."""

    def section(call: ApiCall, iam: Iam, after: str, limit: int) -> Iterator[Item]:
        usage = usage_in(call.account_id, iam)
        later = [each for each in policies(call, iam, usage) if each.name.lower() > after.lower()]
        for policy in sorted(later, key=lambda each: each.name.lower())[:limit]:
            yield Item(
                member="Policies",
                place=f"{name}/{policy.name}",
                describe=partial(_describe_policy, policy, usage, iam),
            )

    return section


def _describe_user(user: Entity, iam: Iam) -> Mapping[str, Any]:
    groups = [group.name for group in iam.memberships.groups_of(user.entity_id)]
    return {
        **describe_user(user),
        **describe_settings(user),
        **_inline(USER, user, iam),
        "GroupList": groups,
        "AttachedManagedPolicies": _attached(user, iam),
    }


def _describe_group(group: Entity, iam: Iam) -> Mapping[str, Any]:
    return {
        **describe_entity(GROUP, group),
        "GroupPolicyList": _inline_list(group, iam),
        "AttachedManagedPolicies": _attached(group, iam),
    }


def _describe_role(entity: Entity, iam: Iam) -> Mapping[str, Any]:
    role = as_role(entity)
    described = describe_role_fully(role, iam)
    profiles = iam.instance_profiles.of_role(role.entity_id)
    return {
        **{name: value for name, value in described.items() if name not in _ROLE_MEMBERS_LEFT_OUT},
        "InstanceProfileList": [describe_profile(profile, iam) for profile in profiles],
        "RolePolicyList": _inline_list(role, iam),
        "AttachedManagedPolicies": _attached(role, iam),
    }


def _describe_policy(policy: ManagedPolicy, usage: Usage, iam: Iam) -> Mapping[str, Any]:
    versions = [
        {"Document": encode_document(version.document), **describe_version(version, policy)}
        for version in iam.managed.versions(policy)
    ]
    return {**describe_policy(policy, usage), "PolicyVersionList": versions}


def _inline(kind: Kind, entity: Entity, iam: Iam) -> dict[str, Any]:
    """A user's inline policies; a user without any has no list."""
    policies = _inline_list(entity, iam)
    return {f"{kind.noun}PolicyList": policies} if policies else {}


def _inline_list(entity: Entity, iam: Iam) -> list[dict[str, str]]:
    return [
        {"PolicyName": name, "PolicyDocument": encode_document(text)}
        for name, text in iam.policies.inline(entity.entity_id).items()
    ]


def _attached(entity: Entity, iam: Iam) -> list[dict[str, str]]:
    arns = iam.policies.attached(entity.entity_id)
    return [{"PolicyName": arn.rpartition("/")[2], "PolicyArn": arn} for arn in arns]


def _own_policies(call: ApiCall, iam: Iam, _usage: Usage) -> Sequence[ManagedPolicy]:
    return iam.managed.list(call.account_id)


def _used_aws_policies(_call: ApiCall, iam: Iam, usage: Usage) -> Sequence[ManagedPolicy]:
    return [each for each in iam.managed.list_aws() if each.arn in usage.attached or each.arn in usage.boundaries]


#: The filter's values in the order of the answer.
SECTIONS: Mapping[str, Section] = {
    "User": _entity_section(USER, "UserDetailList", _describe_user),
    "Group": _entity_section(GROUP, "GroupDetailList", _describe_group),
    "Role": _entity_section(ROLE, "RoleDetailList", _describe_role),
    "LocalManagedPolicy": _policy_section("LocalManagedPolicy", _own_policies),
    "AWSManagedPolicy": _policy_section("AWSManagedPolicy", _used_aws_policies),
}
_MEMBERS = ("UserDetailList", "GroupDetailList", "RoleDetailList", "Policies")

AUTHORIZATION_DETAILS_OPERATIONS: Mapping[str, OperationEntry[IamDeps]] = {
    "GetAccountAuthorizationDetails": OperationEntry(
        handler=get_account_authorization_details,
        permissions=account_permission("GetAccountAuthorizationDetails"),
        writes=False,
    ),
}
