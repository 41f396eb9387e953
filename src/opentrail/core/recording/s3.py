"""How S3 calls are recorded: as they were sent, not as their model names them.

``requestParameters`` holds the bucket, the key, the Host header, every query parameter by its raw name and the
``x-amz-`` headers that shape the call; an XML body stands under its root's name.  What authenticates a request
(signature, credential, token) and what encrypts an object (customer keys) is never recorded.
Source: CloudTrail records of S3 as real trails hold them; S3 user guide, "Amazon S3 CloudTrail events".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote
from xml.etree.ElementTree import Element

from opentrail.core.errors import FormatError
from opentrail.core.wire import codec_json, codec_xml
from opentrail.core.wire.calls import ApiCall
from opentrail.core.wire.model import Operation

_SECRET_QUERY = frozenset(
    {"x-amz-signature", "x-amz-credential", "x-amz-security-token", "signature", "awsaccesskeyid"}
)
_LEFT_OUT_HEADERS = frozenset(
    {
        "x-amz-content-sha256",
        "x-amz-date",
        "x-amz-decoded-content-length",
        "x-amz-security-token",
        "x-amz-te",
        "x-amz-trailer",
        "x-amz-user-agent",
    }
)
_CHECKSUM = "x-amz-checksum-"
_LEFT_OUT_PREFIXES = ("x-amz-meta-", "x-amz-sdk-", _CHECKSUM)
_CUSTOMER_KEY = "server-side-encryption-customer-key"
_OWN_NAMES = ("bucketName", "Host", "key")
_MAX_BODY_BYTES = 256 * 1024  # a larger body cannot stand in a record


def s3_request_parameters(call: ApiCall, hidden: list[str]) -> dict[str, Any]:
    """``requestParameters`` of an S3 call."""
    request = call.request
    query = parse_qsl(request.query, keep_blank_values=True, errors="replace") if request.query else ()
    named: dict[str, Any] = {name: value for name, value in query if name.lower() not in _SECRET_QUERY}
    for name, value in request.headers:
        if not name.startswith("x-amz-") or name in _LEFT_OUT_HEADERS or name.startswith(_LEFT_OUT_PREFIXES):
            continue
        if _CUSTOMER_KEY in name:
            hidden.append(value)
            continue
        named[name] = value
    if call.raw_body and len(call.raw_body) <= _MAX_BODY_BYTES:
        named.update(_body_parameters(call.operation, call.raw_body))
    # Last, so that no parameter or element of the caller's can stand in their place.
    bucket, key = bucket_and_key(call)
    for name, value in zip(_OWN_NAMES, (bucket, request.host, key), strict=True):
        named.pop(name, None)
        if value:
            named[name] = value
    return named


def s3_response_elements(operation: Operation, result: Mapping[str, Any]) -> dict[str, Any]:
    """``responseElements``: the ``x-amz-`` headers of an object write's answer; bucket operations have none."""
    told: dict[str, str] | None = operation.compiled.get("recorded-headers")
    if told is None:
        told = operation.compiled["recorded-headers"] = _recorded_headers(operation)
    return {told[name]: value for name, value in result.items() if name in told and value is not None}


def _recorded_headers(operation: Operation) -> dict[str, str]:
    """The output members that a record tells, with their header names."""
    told: dict[str, str] = {}
    if operation.output is None or "Key" not in (operation.input.members if operation.input else {}):
        return told
    for name, member in operation.output.members.items():
        header = (member.location_name or "").lower()
        if member.location == "header" and header.startswith("x-amz-") and not header.startswith(_CHECKSUM):
            told[name] = header
    return told


def s3_resources(call: ApiCall, owner: str) -> list[dict[str, str]]:
    """``resources``: the object, where the call names one, and its bucket with the account that owns it."""
    bucket, key = bucket_and_key(call)
    if not bucket:
        return []
    arn = f"arn:aws:s3:::{bucket}"
    bucket_resource = {"accountId": owner, "type": "AWS::S3::Bucket", "ARN": arn}
    if not owner:
        del bucket_resource["accountId"]
    if not key:
        return [bucket_resource]
    return [{"type": "AWS::S3::Object", "ARN": f"{arn}/{key}"}, bucket_resource]


def bucket_and_key(call: ApiCall) -> tuple[str, str]:
    """The bucket and the key that a call names, out of its parameters or, where those did not parse, its path."""
    parameters = call.parameters
    if "Bucket" in parameters:
        return str(parameters["Bucket"]), str(parameters.get("Key", ""))
    bucket, _, key = call.request.path.lstrip("/").partition("/")
    return unquote(bucket, errors="replace"), unquote(key, errors="replace")


def _body_parameters(operation: Operation, body: bytes) -> dict[str, Any]:
    if operation.name == "PutBucketPolicy":
        try:
            return {"bucketPolicy": codec_json.decode(body)}
        except FormatError:
            return {}
    try:
        root = codec_xml.decode(body)
    except FormatError:
        return {}
    value = _element_value(root)
    namespace, brace, _ = root.tag.removeprefix("{").partition("}")
    if brace and isinstance(value, dict):
        value = {"xmlns": namespace, **value}
    return {codec_xml.local_name(root.tag): value}


def _element_value(element: Element) -> Any:
    if not len(element):
        return _typed(element.text or "")
    members: dict[str, Any] = {}
    for child in element:
        name, value = codec_xml.local_name(child.tag), _element_value(child)
        if name not in members:
            members[name] = value
        elif isinstance(members[name], list):
            members[name].append(value)
        else:
            members[name] = [members[name], value]
    return members


def _typed(text: str) -> Any:
    """A scalar with its JSON type, as records show it: ``true``, ``7``, else text."""
    if text in {"true", "false"}:
        return text == "true"
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) < 16 and (digits == "0" or not digits.startswith("0")):
        return int(text)
    return text
