"""Events: one record of one call, as JSON, and the route by which followers find their way without parsing it.

A record is a JSON object in AWS's order of fields (CloudTrail user guide, "CloudTrail record contents").  It is kept
as a mapping, so fields that this version does not know survive a round trip.

A route is the short text that the journal keeps beside each record: what a trail's selectors ask first.  Its fields
are joined by ``|``, which none of them can hold (``format_route`` refuses it).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from opentrail.core.errors import FormatError
from opentrail.core.values import dataclass

EVENT_VERSION = "1.11"
MANAGEMENT = "Management"
DATA = "Data"
ACTIVITY = "ActivityAuditLog"  # of applications outside AWS, through PutAuditEvents


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One record.  ``record`` holds the JSON object; its keys are the fields of the CloudTrail user guide.

    ``shared_with`` are the other accounts that receive a copy of it (``core.recording.sharing``).
    """

    record: Mapping[str, Any]
    shared_with: tuple[str, ...] = ()

    @property
    def event_id(self) -> str:
        """``eventID``, a UUID."""
        return str(self.record["eventID"])

    @property
    def account_id(self) -> str:
        """``recipientAccountId``: the account whose trails receive the event."""
        return str(self.record["recipientAccountId"])

    @property
    def region(self) -> str:
        """``awsRegion``."""
        return str(self.record["awsRegion"])

    @property
    def category(self) -> str:
        """``eventCategory``: Management, Data, NetworkActivity, ActivityAuditLog or Insight."""
        return str(self.record["eventCategory"])

    @property
    def time(self) -> datetime:
        """``eventTime``, aware, UTC, in whole seconds."""
        return parse_time(str(self.record["eventTime"]))


def encode_json(value: object) -> bytes:
    """Compact UTF-8 JSON of ``value``; what orjson cannot write (lone surrogates, large integers) is escaped."""
    try:
        return orjson.dumps(value)
    except TypeError:
        text = json.dumps(value, separators=(",", ":"))
        if "NaN" in text or "Infinity" in text:  # which are no JSON: null, as orjson writes them
            text = json.dumps(json.loads(text, parse_constant=lambda _name: None), separators=(",", ":"))
        return text.encode()


def encode_event(event: Event) -> bytes:
    """The record's JSON, compact, UTF-8."""
    return encode_json(event.record)


def parse_event(data: bytes) -> Event:
    """Read one record.  Raises ``FormatError`` when ``data`` is not a JSON object."""
    try:
        record = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"not a record: {error}") from None
    if not isinstance(record, dict):
        raise FormatError("not a record: a JSON object is expected")
    return Event(record=record)


def format_time(moment: datetime) -> str:
    """``2015-08-17T15:01:31Z``: UTC, whole seconds, cut not rounded."""
    return moment.astimezone(UTC).isoformat()[:19] + "Z"


def parse_time(text: str) -> datetime:
    """The moment of ``2015-08-17T15:01:31Z``.  Raises ``FormatError`` for anything else."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None and format_time(moment) == text:  # no other spelling of the same moment
            return moment
    except ValueError:
        pass
    raise FormatError(f"not a time of the form 2015-08-17T15:01:31Z: {text!r}")


class Receiver(NamedTuple):
    """An account that receives an event, and the organizations that it was in while the call was made."""

    account_id: str
    organization_ids: tuple[str, ...] = ()


class EntryRoute(NamedTuple):
    """What followers may know of an entry before they read its record.

    ``generation`` is the trails' generation when the record was made; ``before`` the one when the call began, where
    the call itself changed a trail (else the same): the trails of both receive the event, so that a call which narrows
    or stops a trail still stands in it.  ``own`` marks the records of Opentrail's own deliveries.  ``organization_ids``
    are those of ``account_id``, the record's ``recipientAccountId``; ``shared_with`` receive copies of the record.
    """

    before: int
    generation: int
    account_id: str
    region: str
    category: str
    read_only: bool
    event_source: str
    event_type: str
    own: bool = False
    organization_ids: tuple[str, ...] = ()
    shared_with: tuple[Receiver, ...] = ()

    @property
    def receivers(self) -> tuple[Receiver, ...]:
        """Everybody who receives the event, the account of its record first."""
        return (Receiver(self.account_id, self.organization_ids), *self.shared_with)


def format_route(route: EntryRoute) -> bytes:
    """The route as the journal keeps it; its receivers as ``111122223333/o-a,444455556666``.

    Raises ``FormatError`` when a field holds ``|``, or an id a separator of receivers.
    """
    ids = [(each.account_id, *each.organization_ids) for each in route.receivers]
    receivers = ",".join("/".join(each) for each in ids)
    text = (
        f"{route.before}|{route.generation}|{receivers}|{route.region}|{route.category}|"
        f"{'r' if route.read_only else 'w'}|{route.event_source}|{route.event_type}|{'own' if route.own else ''}"
    )
    if text.count("|") != 8 or any("," in item or "/" in item for each in ids for item in each):
        raise FormatError(f"a route's field holds a separator: {text!r}")
    return text.encode()


def parse_route(data: bytes) -> EntryRoute:
    """Read a route.  Raises ``FormatError``."""
    try:
        before, generation, receivers, region, category, mode, source, event_type, own = data.decode().split("|")
        first, *others = (_parse_receiver(text) for text in receivers.split(","))
        return EntryRoute(
            before=int(before),
            generation=int(generation),
            account_id=first.account_id,
            region=region,
            category=category,
            read_only=mode == "r",
            event_source=source,
            event_type=event_type,
            own=bool(own),
            organization_ids=first.organization_ids,
            shared_with=tuple(others),
        )
    except ValueError:
        raise FormatError(f"not a route: {data!r}") from None


def _parse_receiver(text: str) -> Receiver:
    account_id, *organization_ids = text.split("/")
    return Receiver(account_id, tuple(organization_ids))
