"""Channels: through what events from outside AWS come in, how a channel is named, and what it refuses.

The functions here know one channel at a time.  Errors are ``ServiceFault`` with the codes of the CloudTrail API
reference, always status 400.  A channel here has one kind of destination: the trails of its account (ADR 14).

Source: CloudTrail API reference, CreateChannel, UpdateChannel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from opentrail.core.errors import ServiceFault

CUSTOM_SOURCE = "Custom"
TRAILS = "cloudtrail.amazonaws.com"  # the Location that means the trails of the channel's account
CHANNELS_PER_REGION = 25

_NAME = re.compile(r"[a-zA-Z0-9._\-]{3,128}")
_LOCATION = re.compile(r"[a-zA-Z0-9._/\-:*]{3,1024}")
_ID = re.compile(r"[a-zA-Z0-9._\-]{1,128}")
_ARN = re.compile(r"arn:aws[a-z-]*:cloudtrail:([a-z0-9-]+):([0-9]{12}):channel/([a-zA-Z0-9._\-]{1,128})")
_EVENT_DATA_STORE = re.compile(r"arn:aws[a-z-]*:cloudtrail:[a-z0-9-]+:[0-9]{12}:eventdatastore/[a-zA-Z0-9._\-]+")


class Destination(NamedTuple):
    """Where a channel's events go."""

    type: str
    location: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One channel.  ``policy`` is its resource policy as it was put, ``""`` where it has none."""

    account_id: str
    region: str
    id: str  # a UUID
    name: str
    source: str
    destinations: tuple[Destination, ...]
    policy: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    created: datetime

    @property
    def arn(self) -> str:
        """``arn:aws:cloudtrail:us-east-1:123456789012:channel/01234567-89ab-...``."""
        return channel_arn(self.region, self.account_id, self.id)


class ChannelArn(NamedTuple):
    """The parts of a channel's ARN."""

    region: str
    account_id: str
    id: str


def channel_arn(region: str, account_id: str, channel_id: str) -> str:
    """The ARN of a channel."""
    return f"arn:aws:cloudtrail:{region}:{account_id}:channel/{channel_id}"


def parse_channel_arn(text: str, code: str = "ChannelARNInvalidException") -> ChannelArn:
    """The parts of a channel's ARN.  Raises ``ServiceFault`` with ``code``."""
    match = _ARN.fullmatch(text)
    if match is None:
        example = channel_arn("us-east-2", "123456789012", "01234567890")
        raise ServiceFault(code, f"{text} is not a channel ARN. Its format is {example}.")
    return ChannelArn(*match.groups())


def resolve_channel(text: str, region: str, account_id: str, code: str = "ChannelARNInvalidException") -> ChannelArn:
    """The channel that an ARN, or the ID of a channel of this account in this region, means.

    Raises ``ServiceFault`` with ``code``.
    """
    if not text.startswith("arn:") and _ID.fullmatch(text):
        return ChannelArn(region, account_id, text)
    return parse_channel_arn(text, code)


def check_channel_name(name: str) -> None:
    """Refuse a name that no channel can have.  Raises ``ServiceFault`` InvalidParameterException."""
    if _NAME.fullmatch(name) is None:
        text = "Name must have 3 to 128 letters, numbers, periods (.), underscores (_) and hyphens (-)."
        raise ServiceFault("InvalidParameterException", text)


def check_source(source: str) -> None:
    """Refuse any source but ``Custom``: there are no partners here.  Raises ``ServiceFault`` InvalidSourceException."""
    if source != CUSTOM_SOURCE:
        text = f"Source {source!r} is not known. Use {CUSTOM_SOURCE} for events of an application of your own."
        raise ServiceFault("InvalidSourceException", text)


def parse_destinations(destinations: Sequence[Mapping[str, Any]]) -> tuple[Destination, ...]:
    """A channel's destinations.

    Raises ``ServiceFault``: EventDataStoreNotFoundException for an event data store, of which this endpoint has none,
    EventDataStoreARNInvalidException, InvalidParameterException.
    """
    if not 1 <= len(destinations) <= 200:
        raise ServiceFault("InvalidParameterException", "Destinations must name 1 to 200 destinations.")
    return tuple(dict.fromkeys(_parse_destination(each) for each in destinations))


def _parse_destination(destination: Mapping[str, Any]) -> Destination:
    kind, location = destination["Type"], destination["Location"]
    if kind == "EVENT_DATA_STORE":
        if _EVENT_DATA_STORE.fullmatch(location):
            raise ServiceFault(
                "EventDataStoreNotFoundException",
                f"There is no event data store {location}. Events can go to the account's trails:"
                f" Type AWS_SERVICE, Location {TRAILS}.",
            )
        raise ServiceFault("EventDataStoreARNInvalidException", f"{location} is not the ARN of an event data store.")
    if kind != "AWS_SERVICE":
        raise ServiceFault("InvalidParameterException", "A destination's Type is EVENT_DATA_STORE or AWS_SERVICE.")
    if _LOCATION.fullmatch(location) is None or location != TRAILS:
        raise ServiceFault("InvalidParameterException", f"The Location of a destination AWS_SERVICE is {TRAILS}.")
    return Destination(kind, location)
