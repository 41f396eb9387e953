"""Tags of the root, units, accounts and policies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from opentrail.core.organizations import Organization, Unit
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry
from opentrail.services.organizations.caller import (
    TAGS_PER_RESOURCE,
    OrganizationsDeps,
    change_managed,
    needs,
    parse_tags,
    readable_organization,
)
from opentrail.services.organizations.faults import constraint, fault
from opentrail.services.organizations.paging import paginate

Tags = Mapping[str, str]


def tag_resource(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """TagResource: a key that is there gets the new value."""
    added = parse_tags(call.parameters["Tags"])

    def merge(existing: Tags) -> Tags:
        merged = {**existing, **added}
        if len(merged) > TAGS_PER_RESOURCE:
            raise constraint("MAX_TAG_LIMIT_EXCEEDED")
        return merged

    return _change_tags(call, deps, merge)


def untag_resource(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """UntagResource; keys that are not there are passed over."""
    removed = set(call.parameters["TagKeys"])
    return _change_tags(
        call, deps, lambda existing: {key: value for key, value in existing.items() if key not in removed}
    )


def list_tags(call: ApiCall, deps: OrganizationsDeps) -> Mapping[str, Any]:
    """ListTagsForResource, by key."""
    organization, resource_id = readable_organization(call, deps), call.parameters["ResourceId"]
    resource = organization.place(resource_id) or organization.policies.get(resource_id)
    if resource is None:
        raise fault("TargetNotFound")
    page, members = paginate(resource.tags.items(), call.parameters, lambda tag: tag[0])
    return {"Tags": [{"Key": key, "Value": value} for key, value in page], **members}


def _change_tags(call: ApiCall, deps: OrganizationsDeps, edit: Callable[[Tags], Tags]) -> Mapping[str, Any]:
    resource_id = call.parameters["ResourceId"]

    def change(organization: Organization) -> Organization:
        place = organization.place(resource_id)
        if isinstance(place, Unit):
            tagged = replace(place, tags=edit(place.tags))
            return replace(organization, units={**organization.units, resource_id: tagged})
        if place is not None:
            member = replace(place, tags=edit(place.tags))
            return replace(organization, members={**organization.members, resource_id: member})
        policy = organization.policies.get(resource_id)
        if policy is None:
            raise fault("TargetNotFound")
        changed = replace(policy, tags=edit(policy.tags))
        return replace(organization, policies={**organization.policies, resource_id: changed})

    change_managed(call, deps, change)
    return {}


TAG_OPERATIONS: Mapping[str, OperationEntry[OrganizationsDeps]] = {
    "TagResource": OperationEntry(handler=tag_resource, permissions=needs("TagResource", "ResourceId"), writes=True),
    "UntagResource": OperationEntry(
        handler=untag_resource, permissions=needs("UntagResource", "ResourceId"), writes=True
    ),
    "ListTagsForResource": OperationEntry(
        handler=list_tags, permissions=needs("ListTagsForResource", "ResourceId"), writes=False
    ),
}
