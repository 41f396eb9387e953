"""Errors as each protocol writes them: bodies, headers and statuses that AWS's clients read.

Rules:

* query, ec2 and rest-xml carry the wire code (``NoSuchEntity``); json, rest-json and CBOR carry the exception shape's
  name, and the wire code in ``x-amzn-query-error`` where the service once spoke query.
* The status is the fault's; where that is the default 400, the model's own, if it has one.
* Members of a modelled exception come from ``ServiceFault.fields``; fields of no modelled member leave only in S3's
  errors, whose details the model does not list.
* An answer to HEAD, and one with status 304, has no body (RFC 9110).

Smithy, "AWS protocols" (operation error serialization); Amazon S3 API reference, "Error responses".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from opentrail.core.errors import ServiceFault
from opentrail.core.http import HttpResponse
from opentrail.core.wire import binding, codec_cbor, codec_json, codec_xml, s3
from opentrail.core.wire.model import Shape
from opentrail.core.wire.protocols import XML_DECLARATION, encode_text
from opentrail.core.wire.routing import Route

Fields = tuple[tuple[str, str], ...]

_DATED_PREFIX = re.compile(r"(\w+)_([0-9]{8})")
_UNREADABLE = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # XML 1.0, section 2.2
_DEFAULT_STATUS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    """A fault with what the model says about it."""

    fault: ServiceFault
    shape: Shape | None
    code: str  # on the wire of query and XML
    name: str  # of the exception shape
    status: int
    sender: bool  # the caller's fault
    request_id: str
    resource: str

    @property
    def members(self) -> dict[str, Any]:
        """The modelled members that the fault fills, the message's excepted."""
        if self.shape is None:
            return {}
        known = self.shape.members
        return {name: value for name, value in self.fault.fields.items() if name in known and name != self.message_name}

    @property
    def message_name(self) -> str:
        """What the message is called in a document."""
        names = self.shape.members if self.shape else ()
        return next((name for name in names if name.lower() == "message"), "message")


def format_fault(
    route: Route | None, fault: ServiceFault, request_id: str, resource: str = "", *, method: str = ""
) -> HttpResponse:
    """The answer that tells ``fault`` to the client of ``route``.

    ``resource`` is S3's: the path of the bucket or object.  Without a route the error is written as rest-json, whose
    code stands in a header; ``method`` then says whether the request was a HEAD.
    """
    service = route.service if route else None
    shape = service.error(fault.code) if service else None
    trait = shape.error if shape else None
    status = fault.status
    if status == _DEFAULT_STATUS and trait is not None and trait.status is not None:
        status = trait.status
    told = _Fault(
        fault=fault,
        shape=shape,
        code=trait.code if trait else fault.code,
        name=shape.name if shape else fault.code,
        status=status,
        sender=trait.sender_fault if trait and status < 500 else status < 500,
        request_id=request_id,
        resource=resource,
    )
    is_s3 = service is not None and service.name == "s3"
    write = _format_s3 if is_s3 else _FORMATS[route.protocol] if route else _format_rest_json
    headers, body = write(route, told)
    if status == 304 or (route.method if route else method) == "HEAD":
        body = b""
    return HttpResponse(status=status, headers=(*headers, *_safe(fault.headers)), body=body)


def _safe(headers: Fields) -> Fields:
    return tuple((name, binding.safe_header(value)) for name, value in headers)


def _text(name: str, value: object) -> str:
    """An element of an error, readable whatever it quotes: what XML cannot hold is replaced."""
    text = _UNREADABLE.sub("\ufffd", str(value))
    return f"<{name}>{codec_xml.escape(text)}</{name}>"


def _xml_details(told: _Fault) -> str:
    """Code, message and modelled members, as the children of an ``Error`` element."""
    details = codec_xml.members(told.shape, told.members) if told.shape else ""
    return f"{_text('Code', told.code)}{_text('Message', told.fault.message)}{details}"


def _format_query(route: Route | None, told: _Fault) -> tuple[Fields, bytes]:
    assert route is not None, "without a route there is no protocol"
    uri = route.service.xml_namespace
    namespace = f' xmlns="{codec_xml.escape(uri)}"' if uri else ""
    kind = "Sender" if told.sender else "Receiver"
    text = (
        f"<ErrorResponse{namespace}><Error><Type>{kind}</Type>{_xml_details(told)}</Error>"
        f"<RequestId>{told.request_id}</RequestId></ErrorResponse>\n"
    )
    return (("x-amzn-requestid", told.request_id), ("content-type", "text/xml")), encode_text(text)


def _format_ec2(_route: Route | None, told: _Fault) -> tuple[Fields, bytes]:
    text = (
        f"{XML_DECLARATION}<Response><Errors><Error>{_xml_details(told)}</Error></Errors>"
        f"<RequestID>{told.request_id}</RequestID></Response>"
    )
    return (("x-amzn-requestid", told.request_id), ("content-type", "text/xml;charset=UTF-8")), encode_text(text)


def _format_rest_xml(route: Route | None, told: _Fault) -> tuple[Fields, bytes]:
    headers, body = _format_query(route, told)
    modelled = binding.write_headers(told.shape, told.members) if told.shape else []
    return (*headers, *modelled), encode_text(XML_DECLARATION) + body


def _format_s3(_route: Route | None, told: _Fault) -> tuple[Fields, bytes]:
    host_id = s3.host_id(told.request_id)
    details = "".join(
        _text(name, value) for name, value in told.fault.fields.items() if isinstance(value, str | int | float)
    )
    resource = _text("Resource", told.resource) if told.resource else ""
    text = (
        f"{XML_DECLARATION}<Error>{_text('Code', told.code)}{_text('Message', told.fault.message)}{details}{resource}"
        f"<RequestId>{told.request_id}</RequestId><HostId>{host_id}</HostId></Error>"
    )
    headers = (
        ("x-amz-id-2", host_id),
        ("x-amz-request-id", told.request_id),
        ("content-type", "application/xml"),
    )
    return headers, encode_text(text)


def _document(told: _Fault, codec_tree: Callable[[Shape, Mapping[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """Message and modelled members as a plain tree."""
    shape = told.shape
    message_name = told.message_name
    if shape is not None and message_name in shape.members:
        message_name = shape.members[message_name].wire_name(message_name)
    document: dict[str, Any] = {message_name: told.fault.message}
    if shape is not None:
        inside = {
            name: value for name, value in told.members.items() if shape.members[name].location not in codec_xml.OUTSIDE
        }
        document |= codec_tree(shape, inside)
    return document


def _query_error(route: Route, told: _Fault) -> Fields:
    """The header that tells a client of the former query service the code it knows."""
    if not route.service.query_compatible:
        return ()
    kind = "Sender" if told.sender else "Receiver"
    return (("x-amzn-query-error", binding.safe_header(f"{told.code};{kind}")),)


def _absolute_name(route: Route, told: _Fault) -> str:
    """The shape's name with its name space, as JSON 1.0 and CBOR carry it."""
    service = route.service
    if told.shape is None:
        space = "com.amazon.coral.validate" if told.name == "ValidationException" else "com.amazon.coral.service"
        return f"{space}#{told.name}"
    dated = _DATED_PREFIX.fullmatch(service.target_prefix)
    space = f"{dated.group(1).lower()}.v{dated.group(2)}" if dated else service.signing_name
    return f"com.amazonaws.{space}#{told.name}"


def _format_json(route: Route | None, told: _Fault) -> tuple[Fields, bytes]:
    assert route is not None, "without a route there is no protocol"
    version = route.service.json_version
    name = _absolute_name(route, told) if version == "1.0" else told.name
    headers = (
        ("x-amzn-requestid", told.request_id),
        ("content-type", f"application/x-amz-json-{version}"),
        *_query_error(route, told),
    )
    return headers, codec_json.encode({"__type": name, **_document(told, codec_json.tree)})


def _format_rest_json(_route: Route | None, told: _Fault) -> tuple[Fields, bytes]:
    modelled = binding.write_headers(told.shape, told.members) if told.shape else []
    headers = (
        ("x-amzn-requestid", told.request_id),
        ("x-amzn-errortype", binding.safe_header(told.name)),
        ("content-type", "application/json"),
        *modelled,
    )
    return headers, codec_json.encode(_document(told, codec_json.tree))


def _format_cbor(route: Route | None, told: _Fault) -> tuple[Fields, bytes]:
    assert route is not None, "without a route there is no protocol"
    headers = (
        ("x-amzn-requestid", told.request_id),
        ("smithy-protocol", "rpc-v2-cbor"),
        ("content-type", "application/cbor"),
        *_query_error(route, told),
    )
    return headers, codec_cbor.encode({"__type": _absolute_name(route, told), **_document(told, codec_cbor.tree)})


_FORMATS: Mapping[str, Callable[[Route | None, _Fault], tuple[Fields, bytes]]] = {
    "query": _format_query,
    "ec2": _format_ec2,
    "rest-xml": _format_rest_xml,
    "json": _format_json,
    "rest-json": _format_rest_json,
    "smithy-rpc-v2-cbor": _format_cbor,
}
