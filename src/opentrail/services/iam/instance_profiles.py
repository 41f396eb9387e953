"""Instance profiles: a name under which a role is handed to a machine; each holds one role at most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from opentrail.core.errors import ServiceFault
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry, Permission
from opentrail.services.iam.caller import IamDeps
from opentrail.services.iam.faults import (
    already_exists,
    must_first,
    no_such_entity,
    quota_exceeded,
)
from opentrail.services.iam.kinds import ROLE
from opentrail.services.iam.paging import max_items, page_members, paginate, parse_marker
from opentrail.services.iam.permissions import (
    Permissions,
    on_entity,
    on_list,
    on_new,
    request_tags,
    resource_tags,
)
from opentrail.services.iam.roles import as_role, describe_role
from opentrail.services.iam.tags import merge_tags, tag_members, tag_operations
from opentrail.state.identities import Iam
from opentrail.state.instance_profiles import InstanceProfile

PROFILES_PER_ACCOUNT = 1000
ID_PREFIX = "AIPA"
_SEGMENT, _NAME, _NOUN = "instance-profile", "InstanceProfileName", "InstanceProfile"


def create_instance_profile(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """CreateInstanceProfile."""
    profile = InstanceProfile(
        profile_id=deps.new_id(ID_PREFIX),
        account_id=call.account_id,
        name=call.parameters[_NAME],
        path=call.parameters.get("Path") or "/",
        tags=merge_tags({}, call.parameters.get("Tags")),
        created=call.now.replace(microsecond=0),
    )
    with deps.identities.changing(call.account_id) as iam:
        if iam.instance_profiles.find(call.account_id, profile.name):
            raise already_exists(f"Instance Profile {profile.name} already exists.")
        if iam.instance_profiles.count(call.account_id) >= PROFILES_PER_ACCOUNT:
            raise quota_exceeded("InstanceProfilesPerAccount", PROFILES_PER_ACCOUNT)
        iam.instance_profiles.add(profile)
        return {_NOUN: {**describe_profile(profile, iam), **_describe_tags(profile)}}


def get_instance_profile(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """GetInstanceProfile."""
    with deps.identities.reading() as iam:
        profile = _require(call, iam)
        return {_NOUN: {**describe_profile(profile, iam), "Tags": tag_members(profile.tags)}}


def list_instance_profiles(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """ListInstanceProfiles, by name."""
    limit, after = max_items(call.parameters), parse_marker(call.parameters)
    prefix = call.parameters.get("PathPrefix") or "/"
    with deps.identities.reading() as iam:
        found = iam.instance_profiles.list(call.account_id, path_prefix=prefix, after=after, limit=limit + 1)
        page, members = page_members(found, limit, lambda profile: profile.name)
        return {"InstanceProfiles": [describe_profile(profile, iam) for profile in page], **members}


def list_instance_profiles_for_role(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """ListInstanceProfilesForRole, by name."""
    with deps.identities.reading() as iam:
        profiles = iam.instance_profiles.of_role(ROLE.require(call, iam).entity_id)
        page, members = paginate(profiles, call.parameters, lambda profile: profile.name)
        return {"InstanceProfiles": [describe_profile(profile, iam) for profile in page], **members}


def delete_instance_profile(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """DeleteInstanceProfile, once it holds no role."""
    with deps.identities.changing(call.account_id) as iam:
        profile = _require(call, iam)
        if profile.role_id is not None:
            raise must_first("remove roles from instance profile")
        iam.instance_profiles.remove(profile.profile_id)
    return {}


def add_role_to_instance_profile(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """AddRoleToInstanceProfile."""
    with deps.identities.changing(call.account_id) as iam:
        profile, role = _require(call, iam), ROLE.require(call, iam)
        if profile.role_id is not None:
            raise quota_exceeded("InstanceSessionsPerInstanceProfile", 1)
        iam.instance_profiles.update(replace(profile, role_id=role.entity_id))
    return {}


def remove_role_from_instance_profile(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """RemoveRoleFromInstanceProfile."""
    with deps.identities.changing(call.account_id) as iam:
        profile, role = _require(call, iam), ROLE.require(call, iam)
        if profile.role_id != role.entity_id:
            raise no_such_entity(f"Role {role.name} in Instance Profile {profile.name} cannot be found.")
        iam.instance_profiles.update(replace(profile, role_id=None))
    return {}


def describe_profile(profile: InstanceProfile, iam: Iam) -> dict[str, Any]:
    """An instance profile as lists show it."""
    role = iam.entities.find_id(profile.role_id) if profile.role_id else None
    return {
        "Path": profile.path,
        _NAME: profile.name,
        "InstanceProfileId": profile.profile_id,
        "Arn": profile.arn,
        "CreateDate": profile.created,
        "Roles": [describe_role(as_role(role), iam)] if role else [],
    }


def _describe_tags(profile: InstanceProfile) -> dict[str, Any]:
    return {"Tags": tag_members(profile.tags)} if profile.tags else {}


def _require(call: ApiCall, iam: Iam) -> InstanceProfile:
    name = call.parameters[_NAME]
    profile = iam.instance_profiles.find(call.account_id, name)
    if profile is None:
        raise _no_such(name)
    return profile


def _no_such(name: str) -> ServiceFault:
    return no_such_entity(f"Instance Profile {name} cannot be found.")


def _write_tags(call: ApiCall, iam: Iam, tags: Mapping[str, str]) -> None:
    iam.instance_profiles.update(replace(_require(call, iam), tags=tags))


def _on_profile(action: str) -> Permissions:
    def permissions(call: ApiCall, deps: IamDeps) -> tuple[Permission, ...]:
        name = call.parameters[_NAME]
        with deps.identities.reading() as iam:
            profile = iam.instance_profiles.find(call.account_id, name)
        resource = profile.arn if profile else f"arn:aws:iam::{call.account_id}:{_SEGMENT}/{name}"
        context = request_tags(call.parameters) | resource_tags(profile.tags if profile else {})
        return (Permission(action=f"iam:{action}", resource=resource, context=context),)

    return permissions


def _on_profile_and_role(action: str) -> Permissions:
    """Who hands a role to machines must be allowed to pass it to them."""
    on_profile = _on_profile(action)
    on_role = on_entity(ROLE, "PassRole", lambda _call, _role: {"iam:passedtoservice": ["ec2.amazonaws.com"]})

    def permissions(call: ApiCall, deps: IamDeps) -> tuple[Permission, ...]:
        return (*on_profile(call, deps), *on_role(call, deps))

    return permissions


INSTANCE_PROFILE_OPERATIONS: Mapping[str, OperationEntry[IamDeps]] = {
    "CreateInstanceProfile": OperationEntry(
        handler=create_instance_profile, permissions=on_new(_SEGMENT, _NAME, _NOUN), writes=True
    ),
    "GetInstanceProfile": OperationEntry(
        handler=get_instance_profile, permissions=_on_profile("GetInstanceProfile"), writes=False
    ),
    "ListInstanceProfiles": OperationEntry(
        handler=list_instance_profiles, permissions=on_list(_SEGMENT, "ListInstanceProfiles"), writes=False
    ),
    "ListInstanceProfilesForRole": OperationEntry(
        handler=list_instance_profiles_for_role,
        permissions=on_entity(ROLE, "ListInstanceProfilesForRole"),
        writes=False,
    ),
    "DeleteInstanceProfile": OperationEntry(
        handler=delete_instance_profile, permissions=_on_profile("DeleteInstanceProfile"), writes=True
    ),
    "AddRoleToInstanceProfile": OperationEntry(
        handler=add_role_to_instance_profile,
        permissions=_on_profile_and_role("AddRoleToInstanceProfile"),
        writes=True,
    ),
    "RemoveRoleFromInstanceProfile": OperationEntry(
        handler=remove_role_from_instance_profile,
        permissions=_on_profile("RemoveRoleFromInstanceProfile"),
        writes=True,
    ),
    **tag_operations(_NOUN, lambda call, iam: _require(call, iam).tags, _write_tags, _on_profile),
}
