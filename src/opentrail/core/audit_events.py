"""Events from outside AWS: what PutAuditEvents takes, and the record that it becomes.

Rules:

* ``eventData`` is the text of one JSON object that follows the event data schema; anything else is refused with the
  error code of ``ResultErrorEntry``, and the message names the field.  Nothing is cut: an event comes in whole or not.
* The same ``id`` in the same channel always becomes the same ``eventID``, so a retry can be told from an event.
* No event can pass for one of AWS's: its source does not end in ``.amazonaws.com``, its category is its own.

Source: CloudTrail user guide, "CloudTrail Lake integrations event schema"; CloudTrail Data API reference,
``AuditEvent``, ``ResultErrorEntry``.  Form of the record: ADR 14.
"""

from __future__ import annotations

import base64
import hmac
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha1, sha256
from ipaddress import ip_address
from typing import Any, NoReturn
from uuid import NAMESPACE_URL, uuid5

import orjson

from opentrail.core.channels import Channel
from opentrail.core.errors import ServiceFault
from opentrail.core.events import ACTIVITY, EVENT_VERSION, Event, encode_json, format_time

MAX_EVENTS = 100  # a call
MAX_CALL_BYTES = 1 << 20  # of all eventData in a call
MAX_RECORD_BYTES = 256 * 1024
MAX_SOURCE_CHARACTERS = 256  # AWS: 1,024; a source is also part of the journal's short route
_MAX_DEPTH = 100
_MOST_GROWTH = 12  # bytes of JSON as it is recorded, for each character of its text: all may be escaped
_MOST_FRAME_BYTES = 40 * 1024  # of a record besides its eventData, whose own fields it repeats
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)

_UUID_MASK = 0xF000_C000_0000_0000_0000  # version and variant (RFC 9562, section 5.5)
_UUID_VERSION_5 = 0x5000_8000_0000_0000_0000

_ID = re.compile(r"[-_A-Za-z0-9]{1,128}")
_SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+=-]*")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?Z?")
_ACCOUNT = re.compile(r"[0-9]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """What the schema says of one field of ``eventData``; ``limit`` is in characters of a text, bytes of an object."""

    required: bool = False
    is_object: bool = False
    limit: int


_FIELDS: Mapping[str, _Field] = {
    "version": _Field(required=True, limit=256),
    "userIdentity": _Field(required=True, is_object=True, limit=100_000),
    "userAgent": _Field(limit=1024),
    "eventSource": _Field(required=True, limit=MAX_SOURCE_CHARACTERS),
    "eventName": _Field(required=True, limit=1024),
    "eventTime": _Field(required=True, limit=64),
    "UID": _Field(required=True, limit=1024),
    "requestParameters": _Field(is_object=True, limit=100_000),
    "responseElements": _Field(is_object=True, limit=100_000),
    "errorCode": _Field(limit=256),
    "errorMessage": _Field(limit=256),
    "sourceIPAddress": _Field(limit=256),
    "recipientAccountId": _Field(required=True, limit=12),
    "additionalEventData": _Field(is_object=True, limit=28_000),
}
_IDENTITY_FIELDS: Mapping[str, _Field] = {
    "type": _Field(required=True, limit=128),
    "principalId": _Field(required=True, limit=1024),
    "details": _Field(is_object=True, limit=100_000),
}


def audit_event_id(channel: Channel, identifier: str) -> str:
    """The ``eventID`` of the event that its sender calls ``identifier``: a UUID, always the same for the same two."""
    name = sha1(_namespace(channel.arn) + identifier.encode(), usedforsecurity=False).digest()
    number = int.from_bytes(name[:16]) & ~_UUID_MASK | _UUID_VERSION_5
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


@lru_cache(128)
def _namespace(channel_arn: str) -> bytes:
    return uuid5(NAMESPACE_URL, channel_arn).bytes


def check_audit_events(audit_events: list[Mapping[str, Any]]) -> None:
    """Refuse a call that breaks a limit of the whole: 1 to 100 events, 1 MB, ids of their form, none twice.

    Raises ``ServiceFault`` ValidationException or DuplicatedAuditEventId.
    """
    if not 1 <= len(audit_events) <= MAX_EVENTS:
        raise _invalid(f"auditEvents must have 1 to {MAX_EVENTS} events; it has {len(audit_events)}.")
    size = sum(len(_octets(each["eventData"])) for each in audit_events)
    if size > MAX_CALL_BYTES:
        raise _invalid(f"The eventData of a call can have up to {MAX_CALL_BYTES} bytes; it has {size}.")
    seen: set[str] = set()
    for each in audit_events:
        identifier = each["id"]
        if _ID.fullmatch(identifier) is None:
            raise _invalid("The id of an event has 1 to 128 letters, numbers, hyphens (-) and underscores (_).")
        if identifier in seen:
            raise ServiceFault("DuplicatedAuditEventId", f"The id {identifier} is in the request more than once.")
        seen.add(identifier)


def build_audit_event(audit_event: Mapping[str, Any], channel: Channel, now: datetime) -> Event:
    """The record of one event of a call to ``channel`` at ``now``.

    Raises ``ServiceFault`` with the codes of ``ResultErrorEntry``: InvalidChecksum, InvalidData, FieldNotFound,
    FieldTooLong, InvalidEventSource, InvalidRecipient.
    """
    text = audit_event["eventData"]
    _check_checksum(text, audit_event.get("eventDataChecksum"))
    data = _parse(text)
    most = _MOST_GROWTH * len(text)
    _check_fields(data, _FIELDS, "", most)
    _check_fields(data["userIdentity"], _IDENTITY_FIELDS, "userIdentity.", most)
    _check_source(data["eventSource"])
    time = _parse_time(data["eventTime"])
    _check_address(data.get("sourceIPAddress"))
    _check_recipient(data["recipientAccountId"], channel)
    event = Event(record=_record(audit_event["id"], data, time, channel, now))
    if most + _MOST_FRAME_BYTES > MAX_RECORD_BYTES and len(encode_json(event.record)) > MAX_RECORD_BYTES:
        raise ServiceFault("FieldTooLong", f"eventData makes a record of more than {MAX_RECORD_BYTES} bytes.")
    return event


def _record(
    identifier: str, data: Mapping[str, Any], time: datetime, channel: Channel, now: datetime
) -> dict[str, Any]:
    identity = data["userIdentity"]
    record: dict[str, Any] = {
        "eventVersion": EVENT_VERSION,
        "userIdentity": {"type": identity["type"], "principalId": identity["principalId"]},
        "eventTime": format_time(time),
        "eventSource": data["eventSource"],
        "eventName": data["eventName"],
        "awsRegion": channel.region,
    }
    if data.get("sourceIPAddress"):
        record["sourceIPAddress"] = data["sourceIPAddress"]
    record["eventID"] = audit_event_id(channel, identifier)
    record["readOnly"] = (data.get("additionalEventData") or {}).get("readOnly") is True
    record["eventType"] = "ActivityLog"
    record["recipientAccountId"] = channel.account_id
    record["eventCategory"] = ACTIVITY
    record["metadata"] = {"ingestionTime": format_time(now), "channelARN": channel.arn}
    record["eventData"] = data
    return record


def _check_checksum(text: str, checksum: str | None) -> None:
    if checksum is None:
        return
    expected = base64.b64encode(sha256(_octets(text)).digest())
    if not hmac.compare_digest(expected, _octets(checksum.strip())):
        raise ServiceFault("InvalidChecksum", "eventDataChecksum is not the base64 SHA-256 of eventData.")


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _parse(text: str) -> dict[str, Any]:
    try:
        data = _parse_compact(text)
        if data is None:
            data = json.loads(
                text, object_pairs_hook=_unique_names, parse_constant=_refuse_constant, parse_float=_finite_float
            )
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ServiceFault("InvalidData", f"eventData is not JSON: {reason}") from None
    if not isinstance(data, dict):
        raise ServiceFault("InvalidData", "eventData is not a JSON object.")
    _check_depth(data)
    return data


def _parse_compact(text: str) -> Any:
    """What compact JSON says; None for any other text, which has to be read with more care.

    Text that comes back to the byte has no name twice, no number that is none, and lost nothing on the way.
    """
    try:
        octets = text.encode()
        data = orjson.loads(octets)
        return data if orjson.dumps(data) == octets else None
    except ValueError:
        return None


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has a name twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _check_depth(data: dict[str, Any]) -> None:
    level: list[Any] = [data]
    for _ in range(_MAX_DEPTH):
        level = [
            item
            for each in level
            for item in (each.values() if isinstance(each, dict) else each)
            if isinstance(item, dict | list)
        ]
        if not level:
            return
    raise ServiceFault("InvalidData", f"eventData is nested more than {_MAX_DEPTH} levels deep.")


def _check_fields(data: Mapping[str, Any], fields: Mapping[str, _Field], path: str, most: int) -> None:
    """Hold an object to the schema; an optional field may also be null.  No part has more than ``most`` bytes."""
    for name, rule in fields.items():
        value = data.get(name)
        if value is None or (value == "" and not rule.is_object):
            if rule.required:
                raise ServiceFault("FieldNotFound", f"{path}{name} is required.")
            continue
        if rule.is_object:
            if not isinstance(value, dict):
                raise ServiceFault("InvalidData", f"{path}{name} must be a JSON object.")
            size, unit = len(encode_json(value)) if most > rule.limit else 0, "bytes"
        else:
            if not isinstance(value, str):
                raise ServiceFault("InvalidData", f"{path}{name} must be a string.")
            size, unit = len(value), "characters"
        if size > rule.limit:
            raise ServiceFault("FieldTooLong", f"{path}{name} can have up to {rule.limit} {unit}; it has {size}.")
    unknown = next((name for name in data if name not in fields), None)
    if unknown is not None:
        raise ServiceFault("InvalidData", f"{path}{ascii(unknown[:64])[1:-1]} is not a field of the event data schema.")


def _check_source(source: str) -> None:
    lowered = source.lower().rstrip(".")
    if _SOURCE.fullmatch(source) is None:
        text = "eventSource has letters, numbers and . _ : / @ + = - and begins with a letter or number."
        raise ServiceFault("InvalidEventSource", text)
    if lowered.endswith(("amazonaws.com", "amazonaws.com.cn")):
        raise ServiceFault("InvalidEventSource", "eventSource cannot be one of AWS's own.")


def _parse_time(text: str) -> datetime:
    try:
        if _TIME.fullmatch(text):
            moment = datetime.fromisoformat(text[:19]).replace(tzinfo=UTC)
            if moment >= _EARLIEST:
                return moment
    except ValueError:
        pass
    raise ServiceFault("InvalidData", "eventTime must be a time in UTC of the form 2015-08-17T15:01:31Z.")


def _check_address(address: str | None) -> None:
    if not address:
        return
    try:
        ip_address(address)
    except ValueError:
        raise ServiceFault("InvalidData", "sourceIPAddress must be an IPv4 or IPv6 address.") from None


def _check_recipient(account_id: str, channel: Channel) -> None:
    if _ACCOUNT.fullmatch(account_id) is None or account_id != channel.account_id:
        text = "recipientAccountId must be the account that owns the channel."
        raise ServiceFault("InvalidRecipient", text)


def _invalid(message: str) -> ServiceFault:
    return ServiceFault("ValidationException", message)
