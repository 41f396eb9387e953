"""What users, groups and roles have in common: how they come to be, are listed, renamed and deleted.

Names are unique for each account and kind without regard to case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from opentrail.core.errors import ServiceFault
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry, Permission
from opentrail.services.iam.caller import IamDeps
from opentrail.services.iam.faults import already_exists, must_first, quota_exceeded
from opentrail.services.iam.kinds import Kind
from opentrail.services.iam.paging import max_items, page_members, parse_marker
from opentrail.services.iam.permissions import on_entity, on_list, on_new, present_boundary
from opentrail.services.iam.tags import merge_tags, tag_members, tag_operations
from opentrail.state.entities import Entity
from opentrail.state.identities import Iam

Describe = Callable[[Entity, Iam], Mapping[str, Any]]

#: What must be gone before an entity can go, and how to find it; in the order that IAM asks for.
Leftovers = Sequence[tuple[str, Callable[[Entity, Iam], object]]]
POLICY_LEFTOVERS: Leftovers = (
    ("delete policies", lambda entity, iam: iam.policies.inline(entity.entity_id)),
    ("detach all policies", lambda entity, iam: iam.policies.attached(entity.entity_id)),
)


def shared_settings(kind: Kind, call: ApiCall, deps: IamDeps) -> dict[str, Any]:
    """What a call that creates an entity says of any kind of them.  Raises ``ServiceFault``."""
    return {
        "entity_id": deps.new_id(kind.id_prefix),
        "account_id": call.account_id,
        "name": call.parameters[kind.name_member],
        "path": call.parameters.get("Path") or "/",
        "tags": merge_tags({}, call.parameters.get("Tags")),
        "boundary": call.parameters.get("PermissionsBoundary"),
        "created": call.now.replace(microsecond=0),
    }


def add_entity(kind: Kind, entity: Entity, iam: Iam) -> None:
    """Add ``entity``.  Raises ``ServiceFault`` EntityAlreadyExists or LimitExceeded."""
    if iam.entities.find(entity.account_id, kind.kind, entity.name):
        raise name_taken(kind, entity.name)
    if iam.entities.count(entity.account_id, kind.kind) >= kind.per_account:
        raise quota_exceeded(f"{kind.noun}sPerAccount", kind.per_account)
    iam.entities.add(entity)


def describe_entity(kind: Kind, entity: Entity) -> dict[str, Any]:
    """What every answer says of an entity."""
    return {
        "Path": entity.path,
        f"{kind.noun}Name": entity.name,
        f"{kind.noun}Id": entity.entity_id,
        "Arn": entity.arn,
        "CreateDate": entity.created,
    }


def describe_settings(entity: Entity) -> dict[str, Any]:
    """What answers about one entity alone say as well: its tags and permissions boundary."""
    described: dict[str, Any] = {}
    if entity.boundary:
        boundary = {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": entity.boundary}
        described["PermissionsBoundary"] = boundary
    if entity.tags:
        described["Tags"] = tag_members(entity.tags)
    return described


def name_taken(kind: Kind, name: str) -> ServiceFault:
    """The fault for a name that another has."""
    return already_exists(f"{kind.noun} with name {name} already exists.")


def lifecycle_operations(kind: Kind, describe: Describe, leftovers: Leftovers) -> Mapping[str, OperationEntry[IamDeps]]:
    """``List<noun>s`` and ``Delete<noun>``; ``leftovers`` is what must be gone first."""

    def list_entities(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
        limit, after = max_items(call.parameters), parse_marker(call.parameters)
        prefix = call.parameters.get("PathPrefix") or "/"
        with deps.identities.reading() as iam:
            found = iam.entities.list(call.account_id, kind.kind, path_prefix=prefix, after=after, limit=limit + 1)
            page, members = page_members(found, limit, lambda entity: entity.name)
            return {f"{kind.noun}s": [describe(entity, iam) for entity in page], **members}

    def delete_entity(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
        with deps.identities.changing(call.account_id) as iam:
            entity = kind.require(call, iam)
            for what, find in leftovers:
                if find(entity, iam):
                    raise must_first(what)
            iam.entities.remove(entity.entity_id)
        return {}

    return {
        f"List{kind.noun}s": OperationEntry(
            handler=list_entities, permissions=on_list(kind.kind, f"List{kind.noun}s"), writes=False
        ),
        f"Delete{kind.noun}": OperationEntry(
            handler=delete_entity, permissions=on_entity(kind, f"Delete{kind.noun}", present_boundary), writes=True
        ),
    }


def entity_tag_operations(kind: Kind) -> Mapping[str, OperationEntry[IamDeps]]:
    """The operations on the tags of entities of a kind."""

    def find(call: ApiCall, iam: Iam) -> Mapping[str, str]:
        return kind.require(call, iam).tags

    def write(call: ApiCall, iam: Iam, tags: Mapping[str, str]) -> None:
        iam.entities.update(replace(kind.require(call, iam), tags=tags))

    return tag_operations(kind.noun, find, write, lambda action: on_entity(kind, action))


def create_permissions(kind: Kind) -> Callable[[ApiCall, IamDeps], tuple[Permission, ...]]:
    """What ``Create<noun>`` needs."""
    return on_new(kind.kind, kind.name_member, kind.noun)


def rename_operation(kind: Kind) -> Mapping[str, OperationEntry[IamDeps]]:
    """``Update<noun>``: another name, another path.  The caller must be allowed to update the old and the new one."""
    on_old = on_entity(kind, f"Update{kind.noun}")

    def renamed(call: ApiCall, entity: Entity) -> Entity:
        name = call.parameters.get(f"New{kind.noun}Name") or entity.name
        return replace(entity, name=name, path=call.parameters.get("NewPath") or entity.path)

    def rename(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
        with deps.identities.changing(call.account_id) as iam:
            entity = kind.require(call, iam)
            new = renamed(call, entity)
            namesake = iam.entities.find(call.account_id, kind.kind, new.name)
            if namesake and namesake.entity_id != entity.entity_id:
                raise name_taken(kind, new.name)
            iam.entities.update(new)
        return {}

    def permissions(call: ApiCall, deps: IamDeps) -> tuple[Permission, ...]:
        old = on_old(call, deps)
        with deps.identities.reading() as iam:
            entity = kind.find(call, iam)
        if entity is None:
            return old
        return (*old, Permission(action=f"iam:Update{kind.noun}", resource=renamed(call, entity).arn))

    return {f"Update{kind.noun}": OperationEntry(handler=rename, permissions=permissions, writes=True)}
