"""CreateChannel, GetChannel, UpdateChannel, DeleteChannel and ListChannels.

Rules (CloudTrail API reference): a channel lives in one region and is named by its ARN, or there by its ID; a name is
unique within an account's region; the source never changes.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid5

from opentrail.core.channels import (
    CHANNELS_PER_REGION,
    Channel,
    channel_arn,
    check_channel_name,
    check_source,
    parse_destinations,
    resolve_channel,
)
from opentrail.core.errors import ServiceFault
from opentrail.core.trails import check_tags
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry, Permission
from opentrail.services.cloudtrail.deps import CloudTrailDeps
from opentrail.services.cloudtrail.lookup import any_resource_permission
from opentrail.state.channels import Snapshot

PAGE = 1000


def create_channel(call: ApiCall, deps: CloudTrailDeps) -> Mapping[str, Any]:
    """CreateChannel."""
    parameters = call.parameters
    check_channel_name(parameters["Name"])
    check_source(parameters["Source"])
    tags = [(tag["Key"], tag.get("Value") or "") for tag in parameters.get("Tags") or ()]
    channel = Channel(
        account_id=call.account_id,
        region=call.region,
        id=str(uuid5(UUID(call.event_id), "channel")),
        name=parameters["Name"],
        source=parameters["Source"],
        destinations=parse_destinations(parameters["Destinations"]),
        tags=check_tags(tags, {}),
        created=call.now,
    )

    def create(channels: Snapshot) -> Channel:
        _check_free(channel, channels)
        if len(_neighbours(channel, channels)) >= CHANNELS_PER_REGION:
            text = f"You cannot create more than {CHANNELS_PER_REGION} channels in a region."
            raise ServiceFault("ChannelMaxLimitExceededException", text)
        return channel

    deps.channels.change(channel.arn, create)
    answer = _describe(channel)
    if channel.tags:
        answer["Tags"] = [{"Key": key, **({"Value": value} if value else {})} for key, value in channel.tags.items()]
    return answer


def get_channel(call: ApiCall, deps: CloudTrailDeps) -> Mapping[str, Any]:
    """GetChannel, with what came of the last calls of PutAuditEvents."""
    channel = find_channel(call, deps.channels.find, call.parameters["Channel"])
    status = deps.accepted.ingestion(channel.arn)
    answer = _describe(channel)
    if status is not None:
        shown = {
            "LatestIngestionSuccessTime": status.success_time,
            "LatestIngestionSuccessEventID": status.success_event_id,
            "LatestIngestionErrorCode": status.error_code,
            "LatestIngestionAttemptTime": status.attempt_time,
            "LatestIngestionAttemptEventID": status.attempt_event_id,
        }
        answer["IngestionStatus"] = {name: value for name, value in shown.items() if value is not None}
    return answer


def update_channel(call: ApiCall, deps: CloudTrailDeps) -> Mapping[str, Any]:
    """UpdateChannel: what is not given stays."""
    parameters = call.parameters
    changes: dict[str, Any] = {}
    if parameters.get("Name") is not None:
        check_channel_name(parameters["Name"])
        changes["name"] = parameters["Name"]
    if parameters.get("Destinations") is not None:
        changes["destinations"] = parse_destinations(parameters["Destinations"])
    arn = find_channel(call, deps.channels.find, parameters["Channel"]).arn

    def edit(channels: Snapshot) -> Channel:
        changed = replace(find_channel(call, channels.get, arn), **changes)
        _check_free(changed, channels)
        return changed

    changed = deps.channels.change(arn, edit)
    assert changed is not None, "an update leaves a channel"
    return _describe(changed)


def delete_channel(call: ApiCall, deps: CloudTrailDeps) -> Mapping[str, Any]:
    """DeleteChannel, with its resource policy and tags."""
    arn = find_channel(call, deps.channels.find, call.parameters["Channel"]).arn

    def edit(channels: Snapshot) -> None:
        find_channel(call, channels.get, arn)

    deps.channels.change(arn, edit)
    return {}


def list_channels(call: ApiCall, deps: CloudTrailDeps) -> Mapping[str, Any]:
    """ListChannels: those of the account in the call's region, by ARN."""
    size = call.parameters.get("MaxResults", PAGE)
    if not 1 <= size <= PAGE:
        raise ServiceFault("InvalidParameterException", f"MaxResults must be from 1 to {PAGE}.")
    after = _parse_token(call.parameters.get("NextToken") or "")
    found = [each for each in deps.channels.of_account(call.account_id, call.region) if each.arn > after]
    answer: dict[str, Any] = {"Channels": [{"ChannelArn": each.arn, "Name": each.name} for each in found[:size]]}
    if len(found) > size:
        answer["NextToken"] = base64.urlsafe_b64encode(found[size - 1].arn.encode()).decode()
    return answer


def find_channel(call: ApiCall, find: Callable[[str], Channel | None], text: str) -> Channel:
    """The channel of the caller's account and region that an ARN or an ID means.

    Raises ``ServiceFault`` ChannelARNInvalidException or ChannelNotFoundException.
    """
    arn = resolve_channel(text, call.region, call.account_id)
    if arn.account_id != call.account_id or arn.region != call.region:
        raise ServiceFault(
            "ChannelARNInvalidException",
            f"{text} is not the ARN of a channel of account {call.account_id} in {call.region}.",
        )
    channel = find(channel_arn(*arn))
    if channel is None:
        raise ServiceFault("ChannelNotFoundException", f"There is no channel {text}.")
    return channel


def _parse_token(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise ServiceFault("InvalidNextTokenException", "NextToken is not one that ListChannels gave.") from None


def _neighbours(channel: Channel, channels: Snapshot) -> list[Channel]:
    place = (channel.account_id, channel.region)
    return [each for each in channels.values() if (each.account_id, each.region) == place and each.arn != channel.arn]


def _check_free(channel: Channel, channels: Snapshot) -> None:
    if any(each.name == channel.name for each in _neighbours(channel, channels)):
        raise ServiceFault("ChannelAlreadyExistsException", f"There is a channel {channel.name} already.")


def _describe(channel: Channel) -> dict[str, Any]:
    return {
        "ChannelArn": channel.arn,
        "Name": channel.name,
        "Source": channel.source,
        "Destinations": [{"Type": each.type, "Location": each.location} for each in channel.destinations],
    }


def _channel_permission(action: str) -> Callable[[ApiCall, CloudTrailDeps], tuple[Permission, ...]]:
    def permissions(call: ApiCall, _deps: CloudTrailDeps) -> tuple[Permission, ...]:
        arn = resolve_channel(call.parameters["Channel"], call.region, call.account_id)
        return (Permission(action=f"cloudtrail:{action}", resource=channel_arn(*arn)),)

    return permissions


def _create_permission(call: ApiCall, _deps: CloudTrailDeps) -> tuple[Permission, ...]:
    tags = call.parameters.get("Tags") or ()
    context = {f"aws:requesttag/{tag['Key'].lower()}": [tag.get("Value") or ""] for tag in tags}
    if tags:
        context["aws:tagkeys"] = [tag["Key"] for tag in tags]
    resource = channel_arn(call.region, call.account_id, "*")
    return (Permission(action="cloudtrail:CreateChannel", resource=resource, context=context),)


CHANNEL_OPERATIONS: Mapping[str, OperationEntry[CloudTrailDeps]] = {
    "CreateChannel": OperationEntry(handler=create_channel, permissions=_create_permission, writes=True),
    "GetChannel": OperationEntry(handler=get_channel, permissions=_channel_permission("GetChannel"), writes=False),
    "UpdateChannel": OperationEntry(
        handler=update_channel, permissions=_channel_permission("UpdateChannel"), writes=True
    ),
    "DeleteChannel": OperationEntry(
        handler=delete_channel, permissions=_channel_permission("DeleteChannel"), writes=True
    ),
    "ListChannels": OperationEntry(
        handler=list_channels, permissions=any_resource_permission("ListChannels"), writes=False, blocking=False
    ),
}
