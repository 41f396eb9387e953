"""Answers of someone else's endpoint, read as a client reads them: ``parse_response``.

The other side of ``protocols`` and ``faults``: status, headers and body of an upstream's answer become a result or a
fault.  Rules:

* It raises nothing.  Who answers is not us: what cannot be read is left out, down to a result without members or a
  fault that is named after its status; the answer itself stays beside them.
* 301 and above is a fault; so is S3's ``Error`` document under status 200.
* A fault's code is the one on the wire, without name space (``ns#Code``) and address (``Code:http://...``): of a
  service that once spoke query the one in ``x-amzn-query-error``, where its model knows it.  Members of a modelled
  exception are its ``fields``.
* A streaming payload and an event stream are no part of a result.

Smithy, "AWS protocols" (response and operation error deserialization); Amazon S3 API reference, "Error responses".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from xml.etree.ElementTree import Element

from opentrail.core.errors import FormatError, ServiceFault
from opentrail.core.http import Headers
from opentrail.core.wire import binding, codec_cbor, codec_json, codec_xml, trees
from opentrail.core.wire.calls import Outcome, WireAnswer
from opentrail.core.wire.inflate import inflate
from opentrail.core.wire.model import Operation, Shape
from opentrail.core.wire.routing import Route

ReadDocument = Callable[[Shape, bytes], Any]
ReadResult = Callable[[Operation, Shape, bytes], Mapping[str, Any]]
ReadError = Callable[[Route, Headers, bytes], tuple[str, str, Mapping[str, Any]]]

_FIRST_FAULT_STATUS = 301
_REQUEST_ID_HEADERS = ("x-amzn-requestid", "x-amz-request-id", "x-amzn-request-id")
_REQUEST_ID = re.compile(rb"<[Rr]equestI[dD]>([^<]{1,256})</")

#: What S3 would have said in the body that an answer to HEAD does not have.
_HEAD_CODES = {304: "NotModified", 400: "BadRequest", 403: "AccessDenied", 405: "MethodNotAllowed"}
_HEAD_CODES |= {412: "PreconditionFailed"}


def parse_response(route: Route, status: int, headers: Headers, body: bytes) -> Outcome:
    """What an upstream answered to the call that ``route`` was found for; ``body`` is empty for a streaming payload."""
    answer = WireAnswer(status=status, headers=headers, body=body)
    document = _inflated(headers, body)
    if status >= _FIRST_FAULT_STATUS or _is_s3_error(route, document):
        return Outcome(fault=_fault(route, status, headers, document), answer=answer)
    operation = route.operation
    output = operation.output if operation is not None else None
    if operation is None or output is None:
        return Outcome(result={}, answer=answer)
    try:
        result = dict(_RESULTS[route.protocol](operation, output, document)) if document else {}
    except FormatError:
        result = {}
    if route.protocol in _REST:
        result |= binding.read_outside(output, status, headers)
    return Outcome(result=result, answer=answer)


def answered_request_id(answer: WireAnswer) -> str:
    """The request's id as the upstream told it, in a header or in an XML body; empty where it told none."""
    for name in _REQUEST_ID_HEADERS:
        if name in answer.headers:
            return answer.headers.get(name)
    found = _REQUEST_ID.search(answer.body)
    return found.group(1).decode(errors="replace").strip() if found else ""


def _inflated(headers: Headers, body: bytes) -> bytes:
    """The body without the coding that it left the upstream in; nothing of a body that is not in it."""
    if not body or headers.get("content-encoding").strip().lower() != "gzip" or body[:2] != b"\x1f\x8b":
        return body
    try:
        return inflate(body)
    except ServiceFault:
        return b""


def _is_s3_error(route: Route, body: bytes) -> bool:
    """Whether S3 found out that it failed when it had said 200 already (CopyObject, CompleteMultipartUpload)."""
    if route.service.name != "s3" or b"<Error>" not in body[:1024]:
        return False
    try:
        return codec_xml.local_name(codec_xml.decode(body).tag) == "Error"
    except FormatError:
        return False


# ----------------------------------------------------------------------------- results


def _read_json(shape: Shape, body: bytes) -> Any:
    return trees.reader(shape, codec_json.LENIENT_LEAVES)(codec_json.decode(body))


def _read_cbor(shape: Shape, body: bytes) -> Any:
    return trees.reader(shape, codec_cbor.LENIENT_LEAVES)(codec_cbor.decode(body))


def _read_xml(shape: Shape, body: bytes) -> Any:
    return codec_xml.reader(shape, lenient=True)(codec_xml.decode(body))


def _result_of_query(_operation: Operation, output: Shape, body: bytes) -> Mapping[str, Any]:
    root = codec_xml.decode(body)
    wrapper = output.result_wrapper
    inner = next((child for child in root if codec_xml.local_name(child.tag) == wrapper), root)
    result: Mapping[str, Any] = codec_xml.reader(output, lenient=True)(inner)
    return result


def _result_of_document(read: ReadDocument) -> ReadResult:
    """A whole output as one document: ec2 and the RPC protocols."""

    def result(operation: Operation, output: Shape, body: bytes) -> Mapping[str, Any]:
        if operation.event_stream_output:
            return {}
        members: Mapping[str, Any] = read(output, body)
        return members

    return result


def _result_of_rest(read: ReadDocument) -> ReadResult:
    """The members of an output that are in its body: one that is all of it, or those that are bound to nothing else."""

    def result(operation: Operation, output: Shape, body: bytes) -> Mapping[str, Any]:
        bound = binding.output_binding(output)
        if operation.streaming_output or operation.event_stream_output or not bound.body:
            return {}
        if operation.name == "GetBucketLocation" and operation.service.name == "s3":
            return {"LocationConstraint": codec_xml.decode(body).text or ""}
        if not bound.payload:
            members: Mapping[str, Any] = read(output, body)
            outside = (*bound.headers, *bound.prefixes, bound.status)
            return {name: value for name, value in members.items() if name not in outside}
        member = output.members[bound.payload]
        if member.type == "blob":
            return {bound.payload: body}
        if member.type == "string":
            return {bound.payload: body.decode(errors="replace")}
        return {bound.payload: read(member, body)}

    return result


_RESULTS: Mapping[str, ReadResult] = {
    "query": _result_of_query,
    "ec2": _result_of_document(_read_xml),
    "json": _result_of_document(_read_json),
    "rest-json": _result_of_rest(_read_json),
    "rest-xml": _result_of_rest(_read_xml),
    "smithy-rpc-v2-cbor": _result_of_document(_read_cbor),
}
_REST = frozenset({"rest-json", "rest-xml"})


# ----------------------------------------------------------------------------- errors


def _fault(route: Route, status: int, headers: Headers, body: bytes) -> ServiceFault:
    """The fault that an answer tells; where it tells none, one that is named after its status."""
    code, message, fields = "", "", {}
    try:
        code, message, members = _ERRORS[route.protocol](route, headers, body)
        fields = dict(members)
    except FormatError:
        pass  # a proxy's page, half a document: the status says what is known
    shape = route.service.error(code) if code else None
    if shape is not None:
        fields |= binding.read_outside(shape, status, headers)
    return ServiceFault(code or _code_of_status(route, status), message, status=status, fields=fields)


def _code_of_status(route: Route, status: int) -> str:
    if route.service.name == "s3" and route.method == "HEAD":
        if status == 404:
            return "NoSuchKey" if route.operation_name == "HeadObject" else "NoSuchBucket"
        if status in _HEAD_CODES:
            return _HEAD_CODES[status]
    try:
        return "".join(word.capitalize() for word in re.findall("[A-Za-z]+", HTTPStatus(status).phrase))
    except ValueError:
        return str(status)


def _error_of_xml(route: Route, _headers: Headers, body: bytes) -> tuple[str, str, Mapping[str, Any]]:
    """Wherever AWS's XML errors stand: Error, ErrorResponse/Error, Response/Errors/Error, or the root itself."""
    root = codec_xml.decode(body)
    error = next((element for element in root.iter() if codec_xml.local_name(element.tag) == "Error"), root)
    code, message = _text_of(error, "code"), _text_of(error, "message")
    shape = route.service.error(code)
    members = codec_xml.reader(shape, lenient=True)(error) if shape is not None else {}
    return code, message, members


def _text_of(error: Element, name: str) -> str:
    return next(((child.text or "").strip() for child in error if codec_xml.local_name(child.tag).lower() == name), "")


def _error_of_tree(
    decode: Callable[[bytes], Any], leaves: trees.Leaves
) -> Callable[[Route, Headers, bytes], tuple[str, str, Mapping[str, Any]]]:
    """Errors of the JSON family and of CBOR: a document with the exception's name, its message and its members."""

    def error(route: Route, headers: Headers, body: bytes) -> tuple[str, str, Mapping[str, Any]]:
        try:
            document = decode(body) if body else {}
        except FormatError:
            document = {}
        if not isinstance(document, dict):
            document = {}
        name = headers.get("x-amzn-errortype") or str(document.get("__type") or document.get("code") or "")
        name = name.partition(":")[0].rpartition("#")[2].strip()
        told = headers.get("x-amzn-query-error").partition(";")[0].strip()
        if name and route.service.error(told) is None:
            told = name  # the model knows the exception by its name alone
        message = next((text for key in ("message", "Message", "errorMessage") if (text := document.get(key))), "")
        shape = route.service.error(name)
        members: Mapping[str, Any] = trees.reader(shape, leaves)(document) if shape is not None else {}
        return told, message if isinstance(message, str) else "", members

    return error


_error_of_json = _error_of_tree(codec_json.decode, codec_json.LENIENT_LEAVES)
_ERRORS: Mapping[str, ReadError] = {
    "query": _error_of_xml,
    "ec2": _error_of_xml,
    "json": _error_of_json,
    "rest-json": _error_of_json,
    "rest-xml": _error_of_xml,
    "smithy-rpc-v2-cbor": _error_of_tree(codec_cbor.decode, codec_cbor.LENIENT_LEAVES),
}
