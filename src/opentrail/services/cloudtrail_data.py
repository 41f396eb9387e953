"""CloudTrail Data: PutAuditEvents, by which applications outside AWS put their events into a channel.

Rules (CloudTrail Data API reference, PutAuditEvents):

* What is wrong with the call as a whole is its error; what is wrong with one event is that event's entry in ``failed``,
  and the others come in.
* When the call is answered, every event in ``successful`` is durable, and is one event however often it was sent.
* The channel's owner may put events into it by its own policies, others by the channel's resource policy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opentrail.core.audit_events import audit_event_id, build_audit_event, check_audit_events
from opentrail.core.channels import Channel, channel_arn, resolve_channel
from opentrail.core.errors import ServiceFault
from opentrail.core.events import Event
from opentrail.core.policy import PolicyType
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry, Permission
from opentrail.state.channels import AcceptedEvents, Channels, Ingestion

ACTION = "cloudtrail-data:PutAuditEvents"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudTrailDataDeps:
    """What CloudTrail Data needs.

    ``record_events(events)`` makes events durable and returns the positions (from 0) of those that it could not.
    """

    channels: Channels
    accepted: AcceptedEvents
    record_events: Callable[[Sequence[Event]], frozenset[int]]


def put_audit_events(call: ApiCall, deps: CloudTrailDataDeps) -> Mapping[str, Any]:
    """PutAuditEvents."""
    audit_events = call.parameters["auditEvents"]
    check_audit_events(audit_events)
    channel = _find(call, deps)
    events: dict[str, Event] = {}  # by the sender's id
    faults: dict[str, ServiceFault] = {}
    for each in audit_events:
        try:
            events[each["id"]] = build_audit_event(each, channel, call.now)
        except ServiceFault as fault:
            faults[each["id"]] = fault
    keys = {identifier: _key(event) for identifier, event in events.items()}
    with deps.accepted.claim(keys.values()):
        faults |= _record(events, keys, deps)
        taken = [key for identifier, key in keys.items() if identifier not in faults]
        deps.accepted.add(taken, channel.arn, _status(call, channel, faults), call.now)
    return {
        "successful": [
            {"id": identifier, "eventID": event.event_id}
            for identifier, event in events.items()
            if identifier not in faults
        ],
        "failed": [_failed(each["id"], faults[each["id"]]) for each in audit_events if each["id"] in faults],
    }


def _record(
    events: Mapping[str, Event], keys: Mapping[str, bytes], deps: CloudTrailDataDeps
) -> dict[str, ServiceFault]:
    """Make those of ``events`` durable that are not; what went wrong, by the sender's id.  Raises ``StorageError``."""
    known = deps.accepted.known(list(keys.values()))
    fresh = {identifier: event for identifier, event in events.items() if keys[identifier] not in known}
    missed = deps.record_events(list(fresh.values())) if fresh else frozenset()
    text = "The event could not be recorded. Please try again."
    return {
        identifier: ServiceFault("InternalFailure", text) for number, identifier in enumerate(fresh) if number in missed
    }


def _status(call: ApiCall, channel: Channel, faults: Mapping[str, ServiceFault]) -> Ingestion:
    """What GetChannel will tell of this call."""
    identifiers = [each["id"] for each in call.parameters["auditEvents"]]
    taken = [each for each in identifiers if each not in faults]
    return Ingestion(
        attempt_time=call.now,
        attempt_event_id=audit_event_id(channel, identifiers[-1]),
        success_time=call.now if taken else None,
        success_event_id=audit_event_id(channel, taken[-1]) if taken else None,
        error_code=next((fault.code for fault in faults.values()), None),
    )


def _key(event: Event) -> bytes:
    return bytes.fromhex(event.event_id.replace("-", ""))


def _failed(identifier: str, fault: ServiceFault) -> dict[str, str]:
    return {"id": identifier, "errorCode": fault.code, "errorMessage": fault.message[:1024]}


def _find(call: ApiCall, deps: CloudTrailDataDeps) -> Channel:
    """The channel that the call means.  Raises ``ServiceFault`` InvalidChannelARN or ChannelNotFound."""
    channel = deps.channels.find(_arn(call))
    if channel is None or channel.region != call.region:
        text = f"There is no channel {call.parameters['channelArn']} in {call.region}."
        raise ServiceFault("ChannelNotFound", text)
    return channel


def _arn(call: ApiCall) -> str:
    """The ARN of the channel that the call names.  Raises ``ServiceFault`` InvalidChannelARN."""
    return channel_arn(
        *resolve_channel(call.parameters["channelArn"], call.region, call.account_id, "InvalidChannelARN")
    )


def _permissions(call: ApiCall, deps: CloudTrailDataDeps) -> tuple[Permission, ...]:
    arn = _arn(call)
    channel = deps.channels.find(arn)
    if channel is None:  # who may not put events into it does not hear that it is not there
        return (Permission(action=ACTION, resource=arn),)
    if channel.account_id != call.account_id and not channel.policy:
        text = "The channel belongs to another account, and has no resource policy that lets yours put events into it."
        raise ServiceFault("ChannelInsufficientPermission", text)
    external_id = call.parameters.get("externalId")
    return (
        Permission(
            action=ACTION,
            resource=channel.arn,
            resource_account=channel.account_id,
            resource_policy=channel.policy or None,
            resource_policy_type=PolicyType.CHANNEL,
            context={"cloudtrail:externalid": [external_id]} if external_id else {},
        ),
    )


CLOUDTRAIL_DATA_OPERATIONS: Mapping[str, OperationEntry[CloudTrailDataDeps]] = {
    "PutAuditEvents": OperationEntry(handler=put_audit_events, permissions=_permissions, writes=True),
}
