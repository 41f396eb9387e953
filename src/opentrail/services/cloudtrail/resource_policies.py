"""PutResourcePolicy, GetResourcePolicy and DeleteResourcePolicy: who else may put events into a channel.

Users and roles that a policy names must exist, and are kept by their unique ids (``core.policy.pinning``): whoever is
deleted and created again is not trusted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from opentrail.core.channels import Channel
from opentrail.core.errors import FormatError, ServiceFault
from opentrail.core.policy import parse_channel_policy, pin_principals, unpin_principals
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry, Permission
from opentrail.services.cloudtrail.deps import CloudTrailDeps
from opentrail.state.channels import Snapshot

_RESOURCE_ARN = re.compile(r"arn:aws[a-z-]*:cloudtrail:([a-z0-9-]+):([0-9]{12}):([a-z]+)/([a-zA-Z0-9._\-]+)")


def put_resource_policy(call: ApiCall, deps: CloudTrailDeps) -> Mapping[str, Any]:
    """PutResourcePolicy: the document replaces the one that the channel has."""
    text = call.parameters["ResourcePolicy"]
    channel = _find(call, deps.channels.find)
    parse_channel_policy(text, channel.arn)
    try:
        pinned = pin_principals(text, deps.unique_id_of)
    except FormatError as error:
        raise ServiceFault("ResourcePolicyNotValidException", str(error)) from None
    _change(call, deps, pinned)
    return {"ResourceArn": channel.arn, "ResourcePolicy": text}


def get_resource_policy(call: ApiCall, deps: CloudTrailDeps) -> Mapping[str, Any]:
    """GetResourcePolicy: the document as it was put, with the users and roles as they are called today."""
    channel = _with_policy(_find(call, deps.channels.find))
    return {"ResourceArn": channel.arn, "ResourcePolicy": unpin_principals(channel.policy, deps.arn_of)}


def delete_resource_policy(call: ApiCall, deps: CloudTrailDeps) -> Mapping[str, Any]:
    """DeleteResourcePolicy."""
    _with_policy(_find(call, deps.channels.find))
    _change(call, deps, "")
    return {}


def _change(call: ApiCall, deps: CloudTrailDeps, policy: str) -> None:
    def edit(channels: Snapshot) -> Channel:
        return replace(_find(call, channels.get), policy=policy)

    deps.channels.change(call.parameters["ResourceArn"], edit)


def _find(call: ApiCall, find: Callable[[str], Channel | None]) -> Channel:
    """The channel of the caller's account whose policy is meant.

    Raises ``ServiceFault``: ResourceARNNotValidException, ResourceTypeNotSupportedException for an event data store or
    dashboard, of which there are none, or ResourceNotFoundException.
    """
    arn = call.parameters["ResourceArn"]
    match = _RESOURCE_ARN.fullmatch(arn)
    if match is None:
        raise ServiceFault("ResourceARNNotValidException", f"{arn} is not the ARN of a channel.")
    region, account_id, kind, _id = match.groups()
    if kind != "channel":
        raise ServiceFault("ResourceTypeNotSupportedException", f"A resource policy of a {kind} is not supported.")
    channel = find(arn)
    if (region, account_id) != (call.region, call.account_id) or channel is None:
        raise ServiceFault("ResourceNotFoundException", f"There is no channel {arn} in {call.region}.")
    return channel


def _with_policy(channel: Channel) -> Channel:
    if not channel.policy:
        raise ServiceFault("ResourcePolicyNotFoundException", f"The channel {channel.arn} has no resource policy.")
    return channel


def _entry(
    action: str, handler: Callable[[ApiCall, CloudTrailDeps], Mapping[str, Any]], *, writes: bool
) -> OperationEntry[CloudTrailDeps]:
    def permissions(call: ApiCall, _deps: CloudTrailDeps) -> tuple[Permission, ...]:
        return (Permission(action=f"cloudtrail:{action}", resource=call.parameters["ResourceArn"]),)

    return OperationEntry(handler=handler, permissions=permissions, writes=writes, blocking=writes)


RESOURCE_POLICY_OPERATIONS: Mapping[str, OperationEntry[CloudTrailDeps]] = {
    "PutResourcePolicy": _entry("PutResourcePolicy", put_resource_policy, writes=True),
    "GetResourcePolicy": _entry("GetResourcePolicy", get_resource_policy, writes=False),
    "DeleteResourcePolicy": _entry("DeleteResourcePolicy", delete_resource_policy, writes=True),
}
