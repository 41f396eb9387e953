"""AddTags, RemoveTags and ListTags, of trails and channels.  They take ARNs, and work in the resource's region only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from opentrail.core.channels import Channel, channel_arn, resolve_channel
from opentrail.core.errors import ServiceFault
from opentrail.core.trails import Trail, check_tags, parse_trail_arn
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry, Permission
from opentrail.services.cloudtrail.channels import find_channel
from opentrail.services.cloudtrail.deps import CloudTrailDeps
from opentrail.services.cloudtrail.lookup import is_seen
from opentrail.services.cloudtrail.organization_trails import check_administers
from opentrail.state.channels import Snapshot as Channels
from opentrail.state.trails import Snapshot

RESOURCES_PER_CALL = 20


def add_tags(call: ApiCall, deps: CloudTrailDeps) -> Mapping[str, Any]:
    """AddTags: a tag without a value has an empty one."""
    tags = [(tag["Key"], tag.get("Value") or "") for tag in call.parameters["TagsList"]]
    _change_tags(call, deps, lambda existing: check_tags(tags, existing))
    return {}


def remove_tags(call: ApiCall, deps: CloudTrailDeps) -> Mapping[str, Any]:
    """RemoveTags, by key; keys that are not there are passed over."""
    removed = {tag["Key"] for tag in call.parameters["TagsList"]}
    _change_tags(call, deps, lambda existing: {key: value for key, value in existing.items() if key not in removed})
    return {}


def list_tags(call: ApiCall, deps: CloudTrailDeps) -> Mapping[str, Any]:
    """ListTags, in the order of the ARNs asked for."""
    arns = call.parameters["ResourceIdList"]
    if call.parameters.get("NextToken"):
        raise ServiceFault("InvalidTokenException", "NextToken is reserved for future use.")
    listed = [(arn, _tags(call, deps, arn)) for arn in arns]
    return {
        "ResourceTagList": [
            {"ResourceId": arn, "TagsList": [_describe(*tag) for tag in sorted(tags.items())]} for arn, tags in listed
        ]
    }


def _change_tags(call: ApiCall, deps: CloudTrailDeps, edit: Callable[[Mapping[str, str]], Mapping[str, str]]) -> None:
    arn = call.parameters["ResourceId"]
    if _is_channel(arn):
        _change_channel_tags(call, deps, edit)
        return

    def change(trails: Snapshot) -> Trail:
        trail = _find(call, deps, trails, arn)
        return replace(trail, tags=edit(trail.tags))

    check_administers(call, deps, _find(call, deps, deps.trails.current, arn))
    deps.trails.change(arn, call.now, change)


def _change_channel_tags(
    call: ApiCall, deps: CloudTrailDeps, edit: Callable[[Mapping[str, str]], Mapping[str, str]]
) -> None:
    arn = find_channel(call, deps.channels.find, call.parameters["ResourceId"]).arn

    def change(channels: Channels) -> Channel:
        channel = find_channel(call, channels.get, arn)
        return replace(channel, tags=edit(channel.tags))

    deps.channels.change(arn, change)


def _tags(call: ApiCall, deps: CloudTrailDeps, arn: str) -> Mapping[str, str]:
    if _is_channel(arn):
        return find_channel(call, deps.channels.find, arn).tags
    return _find(call, deps, deps.trails.current, arn).tags


def _is_channel(arn: str) -> bool:
    return ":channel/" in arn


def _find(call: ApiCall, deps: CloudTrailDeps, trails: Snapshot, arn: str) -> Trail:
    """The trail with this ARN, the caller's or its organization's.

    Raises ``ServiceFault`` CloudTrailARNInvalidException or ResourceNotFoundException.
    """
    region, account_id, _name = parse_trail_arn(arn)
    revision = trails.get(arn)
    if account_id != call.account_id and (revision is None or not is_seen(call, deps, revision.trail)):
        raise ServiceFault("CloudTrailARNInvalidException", f"{arn} does not belong to account {call.account_id}.")
    if region != call.region:
        raise ServiceFault(
            "CloudTrailARNInvalidException",
            f"Region in ARN is wrong, you can only access resources in region {call.region}.",
        )
    if revision is None:
        raise ServiceFault("ResourceNotFoundException", f"Unknown trail: {arn} for the user: {call.account_id}")
    return revision.trail


def _describe(key: str, value: str) -> dict[str, str]:
    return {"Key": key, **({"Value": value} if value else {})}


def _resource_permissions(action: str) -> Callable[[ApiCall, CloudTrailDeps], tuple[Permission, ...]]:
    def permissions(call: ApiCall, _deps: CloudTrailDeps) -> tuple[Permission, ...]:
        tags = call.parameters["TagsList"]
        context = {f"aws:requesttag/{tag['Key'].lower()}": [tag["Value"]] for tag in tags if tag.get("Value")}
        context["aws:tagkeys"] = [tag["Key"] for tag in tags]
        resource = _authorised_arn(call, call.parameters["ResourceId"])
        return (Permission(action=f"cloudtrail:{action}", resource=resource, context=context),)

    return permissions


def _list_permissions(call: ApiCall, _deps: CloudTrailDeps) -> tuple[Permission, ...]:
    """``cloudtrail:ListTags`` on each resource; who names none must still be allowed the action."""
    arns = call.parameters["ResourceIdList"] or ("*",)
    if len(arns) > RESOURCES_PER_CALL:  # each costs a decision
        raise ServiceFault(
            "ValidationException",
            f"ResourceIdList can have up to {RESOURCES_PER_CALL} ARNs; it has {len(arns)}.",
        )
    return tuple(Permission(action="cloudtrail:ListTags", resource=_authorised_arn(call, arn)) for arn in arns)


def _authorised_arn(call: ApiCall, arn: str) -> str:
    """The ARN that policies know a resource by: a channel's can be written with another partition."""
    if not _is_channel(arn):
        return arn
    channel = resolve_channel(arn, call.region, call.account_id)
    return channel_arn(channel.region, channel.account_id, channel.id)


TAG_OPERATIONS: Mapping[str, OperationEntry[CloudTrailDeps]] = {
    "AddTags": OperationEntry(handler=add_tags, permissions=_resource_permissions("AddTags"), writes=True),
    "RemoveTags": OperationEntry(handler=remove_tags, permissions=_resource_permissions("RemoveTags"), writes=True),
    "ListTags": OperationEntry(handler=list_tags, permissions=_list_permissions, writes=False, blocking=False),
}
