"""The AWS protocols, from the server's side: requests to parameters, results to responses.

A protocol is a binding (where things are in an HTTP message) with a codec (what they look like), put together in one
table, ``PROTOCOLS``.  Rules:

* Parameters carry botocore's member names; blobs are ``bytes``, timestamps aware ``datetime``, and a streaming or
  event-stream member is left out: it is the call's payload.
* ``parse_request`` raises ``ServiceFault`` with the protocol's own code for a malformed request, and nothing else.
* A result is ours: a member that the output shape does not have is an assertion.

Smithy, "AWS protocols"; Amazon S3 API reference, "Common errors".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from opentrail.core.errors import FormatError, ServiceFault
from opentrail.core.http import Body, HttpRequest, HttpResponse
from opentrail.core.wire import binding, codec_cbor, codec_json, codec_query, codec_xml, s3
from opentrail.core.wire.inflate import inflate_body, without_gzip
from opentrail.core.wire.model import Operation, Shape
from opentrail.core.wire.routing import Route

XML_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'

Fields = list[tuple[str, str]]
Parse = Callable[[Route, Operation, HttpRequest, bytes], dict[str, Any]]
Format = Callable[[Route, Operation, Mapping[str, Any], str], HttpResponse]
Refuse = Callable[[Route, FormatError], ServiceFault]


@dataclass(frozen=True, slots=True, kw_only=True)
class WireProtocol:
    """One protocol: how it reads a request, writes a result, and refuses what it cannot read."""

    parse: Parse
    format: Format
    refuse: Refuse


def parse_request(route: Route, request: HttpRequest, body: bytes) -> dict[str, Any]:
    """The parameters of the request that ``route`` was found for; ``body`` is empty for a streaming payload.

    Raises ``ServiceFault``: the route's own where it has no operation, else the protocol's for malformed input.
    """
    operation = route.operation
    if operation is None:
        raise route.fault or ServiceFault("UnknownOperationException")
    protocol = PROTOCOLS[route.protocol]
    if operation.request_compression and body:
        body = inflate_body(request, body)
        request = replace(request, headers=without_gzip(request.headers))
    try:
        return protocol.parse(route, operation, request, body)
    except FormatError as error:
        raise protocol.refuse(route, error) from error


def format_response(route: Route, result: Mapping[str, Any], request_id: str) -> HttpResponse:
    """The answer to a call that ``route`` was found for; a streaming member of ``result`` becomes the body as it is."""
    operation = route.operation
    assert operation is not None, "only an operation has a result"
    return PROTOCOLS[route.protocol].format(route, operation, result, request_id)


def _parse_form(route: Route, operation: Operation, request: HttpRequest, body: bytes) -> dict[str, Any]:
    shape = operation.input
    if shape is None:
        return {}
    try:
        form = body.decode()
    except UnicodeDecodeError as error:
        raise FormatError("the body is not UTF-8") from error
    if route.query:
        form = f"{form}&{route.query}" if form and request.method == "POST" else route.query
    return codec_query.parse(shape, form, route.protocol)


def _document_parser(codec: ModuleType) -> Parse:
    """A whole input as one document of ``codec``: the RPC protocols."""

    def parse(_route: Route, operation: Operation, _request: HttpRequest, body: bytes) -> dict[str, Any]:
        if operation.input is None or not body:
            return {}
        parameters: dict[str, Any] = codec.parse(operation.input, body)
        return parameters

    return parse


def _rest_parser(codec: ModuleType, refuse_member: Refuse) -> Parse:
    """An input spread over path, query, headers and a body in ``codec``; ``refuse_member`` is for all but the body."""

    def parse(route: Route, operation: Operation, request: HttpRequest, body: bytes) -> dict[str, Any]:
        shape = operation.input
        if shape is None:
            return {}
        try:
            parameters = binding.read_members(operation, route.labels, route.query, request.headers)
        except FormatError as error:
            raise refuse_member(route, error) from error
        bound = binding.input_binding(operation)
        if not body or not bound.body:
            return parameters
        if not bound.payload:
            inside: dict[str, Any] = codec.parse(shape, body)
            return parameters | {name: value for name, value in inside.items() if name in bound.body}
        member = shape.members[bound.payload]
        if not member.streaming and not member.event_stream:
            parameters[bound.payload] = _read_payload(codec, member, body)
        return parameters

    return parse


def _read_payload(codec: ModuleType, member: Shape, body: bytes) -> Any:
    if member.type == "blob":
        return body
    if member.type != "string":
        return codec.parse(member, body)
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise FormatError("the body is not UTF-8") from error


def _format_query(route: Route, operation: Operation, result: Mapping[str, Any], request_id: str) -> HttpResponse:
    output, name = operation.output, operation.name
    inner = ""
    if output is not None:
        wrapper = output.result_wrapper or f"{name}Result"
        inner = f"<{wrapper}>{codec_xml.members(output, result)}</{wrapper}>"
    namespace = _xmlns(route.service.xml_namespace)
    text = (
        f"<{name}Response{namespace}>{inner}<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
        f"</{name}Response>\n"
    )
    return _response(operation.http_status, [("content-type", "text/xml")], text, request_id)


def _format_ec2(route: Route, operation: Operation, result: Mapping[str, Any], request_id: str) -> HttpResponse:
    inner = codec_xml.members(operation.output, result) if operation.output else ""
    name, namespace = operation.name, _xmlns(route.service.xml_namespace)
    text = f"{XML_DECLARATION}<{name}Response{namespace}><requestId>{request_id}</requestId>{inner}</{name}Response>"
    return _response(operation.http_status, [("content-type", "text/xml;charset=UTF-8")], text, request_id)


def _xmlns(uri: str) -> str:
    return f' xmlns="{codec_xml.escape(uri)}"' if uri else ""


def _response(status: int, headers: Fields, body: str | Body, request_id: str) -> HttpResponse:
    fields = (("x-amzn-requestid", request_id), *headers)
    return HttpResponse(status=status, headers=fields, body=encode_text(body) if isinstance(body, str) else body)


def encode_text(text: str) -> bytes:
    """``text`` in UTF-8; a lone surrogate, which no parser here lets in, would leave as a question mark."""
    return text.encode("utf-8", "replace")


def _format_json(route: Route, operation: Operation, result: Mapping[str, Any], request_id: str) -> HttpResponse:
    body = codec_json.format(operation.output, result) if operation.output else b""
    content_type = f"application/x-amz-json-{route.service.json_version}"
    return _response(operation.http_status, [("content-type", content_type)], body, request_id)


def _format_cbor(_route: Route, operation: Operation, result: Mapping[str, Any], request_id: str) -> HttpResponse:
    headers = [("smithy-protocol", "rpc-v2-cbor")]
    if operation.output is None:
        return _response(operation.http_status, headers, b"", request_id)
    body = codec_cbor.format(operation.output, result)
    return _response(operation.http_status, [*headers, ("content-type", "application/cbor")], body, request_id)


def _format_rest_json(_route: Route, operation: Operation, result: Mapping[str, Any], request_id: str) -> HttpResponse:
    output = operation.output
    if output is None:
        return _response(operation.http_status, [], b"", request_id)
    headers, body = binding.write_headers(output, result), _raw_payload(output, result)
    if body is None:
        bound = binding.output_binding(output)
        body = _json_body(output, bound, result)
        if body:
            headers.append(("content-type", "application/json"))
    return _response(_status(operation, output, result), headers, body, request_id)


def _json_body(output: Shape, bound: binding.OutputBinding, result: Mapping[str, Any]) -> bytes:
    if bound.payload:
        value = result.get(bound.payload)
        return b"" if value is None else codec_json.format(output.members[bound.payload], value)
    if not bound.body:
        return b""
    inside = {name: value for name, value in result.items() if not _is_outside(bound, name)}
    return codec_json.format(output, inside)


def _is_outside(bound: binding.OutputBinding, name: str) -> bool:
    return name in bound.headers or name in bound.prefixes or name == bound.status


def _raw_payload(output: Shape, result: Mapping[str, Any]) -> Body | None:
    """The payload that is the body byte for byte (a blob, text, a stream); ``None`` where the body is a document."""
    if not output.payload or output.members[output.payload].type not in ("blob", "string"):
        return None
    value = result.get(output.payload)
    if value is None:
        return b""
    body: Body = encode_text(value) if isinstance(value, str) else value
    return body


def _status(operation: Operation, output: Shape, result: Mapping[str, Any]) -> int:
    name = binding.output_binding(output).status
    status = result.get(name) if name else None
    return operation.http_status if status is None else int(status)


def _format_rest_xml(route: Route, operation: Operation, result: Mapping[str, Any], request_id: str) -> HttpResponse:
    output, is_s3 = operation.output, route.service.name == "s3"
    headers: Fields = []
    body: Body = b""
    status = operation.http_status
    if output is not None:
        headers = binding.write_headers(output, result)
        raw = _raw_payload(output, result)
        body = _xml_body(operation, output, result) if raw is None else raw
        if raw is None and body:
            headers.append(("content-type", "application/xml" if is_s3 else "text/xml"))
        status = _status(operation, output, result)
        if is_s3 and result.get("ContentRange"):
            status = 206  # RFC 9110, 15.3.7: what a Content-Range says; the model has no member for it
    if not is_s3:
        return _response(status, headers, body, request_id)
    fields = (("x-amz-id-2", s3.host_id(request_id)), ("x-amz-request-id", request_id), *headers)
    return HttpResponse(status=status, headers=fields, body=body)


def _xml_body(operation: Operation, output: Shape, result: Mapping[str, Any]) -> bytes:
    bound = binding.output_binding(output)
    service = operation.service
    namespace = s3.XMLNS if service.name == "s3" else service.xml_namespace or _input_namespace(operation)
    if service.name == "s3" and operation.name == "GetBucketLocation":
        region = codec_xml.escape(result.get("LocationConstraint") or "")
        text = f'<LocationConstraint xmlns="{namespace}">{region}</LocationConstraint>'
        return encode_text(XML_DECLARATION + text)
    name = s3.ROOT_ELEMENTS.get(operation.name, "") if service.name == "s3" else ""
    if bound.payload:
        value = result.get(bound.payload)
        if value is None:
            return b""
        member = output.members[bound.payload]
        element = name or member.location_name or member.root_name or bound.payload
        text = codec_xml.format(member, value, element, namespace)
    elif bound.body:
        text = codec_xml.format(output, result, name or output.root_name or output.name, namespace)
    else:
        return b""
    return encode_text(XML_DECLARATION + text)


def _input_namespace(operation: Operation) -> str:
    """The namespace that the service's inputs declare: its answers share it."""
    service = operation.service
    known: str | None = service.compiled.get("input-namespace")
    if known is None:
        shapes = (shape for each in service.operations.values() if (shape := each.input) is not None)
        known = next((shape.xml_namespace.uri for shape in shapes if shape.xml_namespace is not None), "")
        service.compiled["input-namespace"] = known
    return known


def _refuse_form(route: Route, error: FormatError) -> ServiceFault:
    if route.protocol == "ec2":
        return ServiceFault("InvalidParameterValue", f"Invalid value: {error}")
    return ServiceFault("MalformedInput", f"Malformed input: {error}")


def _refuse_document(_route: Route, error: FormatError) -> ServiceFault:
    return ServiceFault("SerializationException", f"Malformed input: {error}")


def _refuse_xml(route: Route, error: FormatError) -> ServiceFault:
    if route.service.name != "s3":
        return ServiceFault("MalformedInput", f"Malformed input: {error}")
    message = "The XML you provided was not well-formed or did not validate against our published schema"
    return ServiceFault("MalformedXML", message)


def _refuse_xml_member(route: Route, error: FormatError) -> ServiceFault:
    if route.service.name != "s3":
        return ServiceFault("InvalidInput", f"Malformed input: {error}")
    if "percent-encoded" in str(error):
        return ServiceFault("InvalidURI", "Couldn't parse the specified URI.")
    return ServiceFault("InvalidArgument", f"Invalid argument: {error}")


_parse_rest_json = _rest_parser(codec_json, _refuse_document)
_parse_rest_xml = _rest_parser(codec_xml, _refuse_xml_member)

PROTOCOLS: Mapping[str, WireProtocol] = {
    "query": WireProtocol(parse=_parse_form, format=_format_query, refuse=_refuse_form),
    "ec2": WireProtocol(parse=_parse_form, format=_format_ec2, refuse=_refuse_form),
    "json": WireProtocol(parse=_document_parser(codec_json), format=_format_json, refuse=_refuse_document),
    "rest-json": WireProtocol(parse=_parse_rest_json, format=_format_rest_json, refuse=_refuse_document),
    "rest-xml": WireProtocol(parse=_parse_rest_xml, format=_format_rest_xml, refuse=_refuse_xml),
    "smithy-rpc-v2-cbor": WireProtocol(
        parse=_document_parser(codec_cbor), format=_format_cbor, refuse=_refuse_document
    ),
}
