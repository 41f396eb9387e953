"""What is recorded of an API: ``Api`` holds the rules, ``describe`` applies them to one call.

Rules:

* Nothing of a request or an answer is recorded but what stands in an allow-list; an exception is recorded by its type.
* A mistake in a function that the application gives costs that field, never the event and never the call: the event
  says which function failed, and how.
* An event stays within the limits of the event data schema; what does not fit is left out, and the event says so.

Source: CloudTrail user guide, "CloudTrail Lake integrations event schema".
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from typing import Any, NoReturn
from urllib.parse import parse_qs

from opentrail.core.events import encode_json, format_time
from opentrail.middleware.client_address import Network, client_address, parse_networks
from opentrail.middleware.exchange import Exchange, UserIdentity
from opentrail.middleware.fields import PLACES, Field, Lists, find, listed, parse_fields, pick

log = logging.getLogger("opentrail.middleware")

_UNKNOWN = UserIdentity(type="Unknown", principal_id="unknown")
UNKNOWN_OPERATION = "UnknownOperation"  # no route: nothing of the application was called
_MAX_OBJECT_BYTES = 100_000
_SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+=-]{0,255}")
_VERSION = "1.0"  # of the form of ``eventData``


def route_name(exchange: Exchange) -> str:
    """The event name that a route gives: ``create_order`` is CreateOrder, ``orders.list`` is List."""
    return _camel_case(exchange.route.name) if exchange.route is not None else UNKNOWN_OPERATION


@lru_cache(1024)  # more than most applications have routes
def _camel_case(name: str) -> str:
    words = re.split(r"[^0-9A-Za-z]+", name.rpartition(".")[2])
    return "".join(word[:1].upper() + word[1:] for word in words) or UNKNOWN_OPERATION


def nobody(_exchange: Exchange) -> UserIdentity:
    """The identity of whoever is not known."""
    return _UNKNOWN


def every_call(_exchange: Exchange) -> bool:
    """Record every call."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """The rules of one API.

    ``event_source`` names it (``orders.example.com``).  ``parameters`` and ``responses`` are allow-lists by event name,
    ``"*"`` for all (``fields``).  ``error_code`` and ``error_message`` are paths in the JSON of an answer that is an
    error.  ``trusted_proxies`` are the networks whose ``X-Forwarded-For`` is believed; ``request_id_header`` is a
    header, set by one of them, whose value becomes the event's ``UID``.  ``records`` says whether a call is recorded.
    Raises ``ValueError`` for rules that cannot be meant.
    """

    event_source: str
    identity: Callable[[Exchange], UserIdentity] = nobody
    event_name: Callable[[Exchange], str] = route_name
    parameters: Lists = field(default_factory=dict)
    responses: Lists = field(default_factory=dict)
    error_code: str = ""
    error_message: str = ""
    trusted_proxies: Collection[str] = ()
    request_id_header: str = ""
    records: Callable[[Exchange], bool] = every_call
    max_body_bytes: int = 64 << 10  # of a body of which fields are recorded
    _parameters: Mapping[str, tuple[Field, ...]] = field(init=False, repr=False)
    _responses: Mapping[str, tuple[Field, ...]] = field(init=False, repr=False)
    _trusted: tuple[Network, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if _SOURCE.fullmatch(self.event_source) is None or self.event_source.endswith("amazonaws.com"):
            raise ValueError(f"event_source {self.event_source!r} is not a name of an API of your own")
        object.__setattr__(self, "_parameters", parse_fields(self.parameters, PLACES))
        object.__setattr__(self, "_responses", parse_fields(self.responses))
        object.__setattr__(self, "_trusted", parse_networks(self.trusted_proxies))

    @property
    def reads_request_body(self) -> bool:
        """Whether any field of a request's body may be recorded."""
        return any(each.place == "body" for fields in self._parameters.values() for each in fields)

    @property
    def reads_response_body(self) -> bool:
        """Whether any field of an answer's body may be recorded."""
        return bool(self._responses or self.error_code or self.error_message)

    def describe(self, exchange: Exchange, account_id: str, uid: str) -> dict[str, Any] | None:
        """The ``eventData`` of a call, for the channel of ``account_id``; None where it is not recorded.

        ``uid`` identifies the call, unless a trusted header does.
        """
        mistakes: dict[str, str] = {}
        if not _ask(self.records, exchange, True, mistakes):
            return None
        name = _ask(self.event_name, exchange, None, mistakes, _describe_name)
        identity = _ask(self.identity, exchange, None, mistakes, _describe_identity)
        request_id = exchange.headers.get(self.request_id_header.lower(), "")[:1024] if self.request_id_header else ""
        address = client_address(exchange.peer, exchange.headers.get("x-forwarded-for", ""), self._trusted)
        answer = _json(exchange.response_body) if exchange.response_body else None
        failed = exchange.failed
        optional = {
            "userAgent": exchange.headers.get("user-agent", "")[:1024],
            "requestParameters": _pick_parameters(listed(self._parameters, name), exchange),
            "responseElements": pick(listed(self._responses, name), {"": answer}) if answer and not failed else {},
            "errorCode": self._error_code(exchange, answer) if failed else "",
            "errorMessage": find(answer, self.error_message)[:256] if failed and self.error_message else "",
            "sourceIPAddress": address,
        }
        additional: dict[str, Any] = {"readOnly": exchange.is_read_only, "httpMethod": exchange.method[:32]}
        if exchange.status is not None:
            additional["httpStatusCode"] = exchange.status
        data: dict[str, Any] = {
            "version": _VERSION,
            "userIdentity": identity,
            "eventSource": self.event_source,
            "eventName": name,
            "eventTime": format_time(exchange.time),
            "UID": request_id or uid,
            **{field_name: value for field_name, value in optional.items() if value},
            "recipientAccountId": account_id,
        }
        return _fit(data, additional | mistakes)

    def _error_code(self, exchange: Exchange, answer: Any) -> str:
        if exchange.exception is not None:
            return type(exchange.exception).__name__[:256]
        code = find(answer, self.error_code)[:256] if self.error_code else ""
        return code or _status_name(exchange.status or 500)


def _ask(
    function: Callable[[Exchange], Any],
    exchange: Exchange,
    otherwise: Any,
    mistakes: dict[str, str],
    read: Callable[[Any], Any] = bool,
) -> Any:
    """What ``read`` makes of what ``function`` says of the call; of ``otherwise`` where either fails."""
    try:
        return read(function(exchange))
    except Exception as error:  # the application's own function: its mistake must not cost the event
        name = getattr(function, "__name__", type(function).__name__)
        log.exception("%s failed", name)
        mistakes[f"{name[:64]}Failed"] = type(error).__name__
        return read(otherwise)


def _describe_name(name: object) -> str:
    return str(name or UNKNOWN_OPERATION)[:1024]


def _describe_identity(identity: UserIdentity | None) -> dict[str, Any]:
    identity = _UNKNOWN if identity is None else identity
    described: dict[str, Any] = {
        "type": str(identity.type or "Unknown")[:128],
        "principalId": str(identity.principal_id or "unknown")[:1024],
    }
    if identity.details:
        described["details"] = dict(identity.details)
    return described


def _pick_parameters(fields: Sequence[Field], exchange: Exchange) -> dict[str, Any]:
    """What is listed of a call's path, query and body; nothing is read where nothing is listed."""
    return pick(fields, {place: _PLACES[place](exchange) for place in {each.place for each in fields}})


def _path_parameters(exchange: Exchange) -> Mapping[str, Any]:
    return exchange.route.path_parameters if exchange.route is not None else {}


def _query_parameters(exchange: Exchange) -> dict[str, Any]:
    if not exchange.query:
        return {}
    return {name: values if len(values) > 1 else values[0] for name, values in _parse_query(exchange.query).items()}


def _body(exchange: Exchange) -> Any:
    return _json(exchange.request_body) if exchange.request_body else None


_PLACES: Mapping[str, Callable[[Exchange], Any]] = {
    "path": _path_parameters,
    "query": _query_parameters,
    "body": _body,
}


def _parse_query(query: str) -> dict[str, list[str]]:
    try:
        return parse_qs(query, keep_blank_values=True)
    except ValueError:  # too many fields
        return {}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)  # keeps long numbers as they are


def _json(body: bytes) -> Any:
    try:
        return _DECODER.decode(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None


def _status_name(status: int) -> str:
    try:
        words = re.findall(r"[A-Za-z]+", HTTPStatus(status).phrase)
    except ValueError:
        return f"HTTP{status}"
    return "".join(word[:1].upper() + word[1:] for word in words)


def _fit(data: dict[str, Any], additional: dict[str, Any]) -> dict[str, Any]:
    """``data`` within the schema's limits."""
    for name in ("requestParameters", "responseElements"):
        if name in data and _size(data[name]) > _MAX_OBJECT_BYTES:
            del data[name]
            additional[f"{name}Omitted"] = "too large"
    details = data["userIdentity"].get("details")
    if details is not None and _size(details) > 10_000:
        del data["userIdentity"]["details"]
        additional["userIdentityDetailsOmitted"] = "too large or not JSON"
    data["additionalEventData"] = additional
    return data


def _size(value: Any) -> int:
    """The bytes of ``value`` as JSON, more than any limit where it is none."""
    try:
        return len(encode_json(value))
    except (TypeError, ValueError, RecursionError):
        return 1 << 30
