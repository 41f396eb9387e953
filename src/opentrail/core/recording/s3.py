"""How calls of Amazon S3 and S3 Control are recorded: as they were sent, not as their model names them.

``requestParameters`` holds the bucket, the key, the Host header, every query parameter by its raw name (a sub-resource
is ``""``) and the ``x-amz-`` headers that shape the call; an XML body stands under its root's name, a bucket's policy
as the object that it is.  What authenticates a request (signature, credential, token, one-time code) and what encrypts
an object (customer keys) is never recorded; which headers and bodies are not is a table (``record_rules/s3.json``).
Source: CloudTrail records of S3 as real trails hold them; S3 user guide, "Amazon S3 CloudTrail events".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from opentrail.core.errors import FormatError
from opentrail.core.recording import sent_xml
from opentrail.core.recording.redaction import collect_texts
from opentrail.core.recording.rules import OperationFacts
from opentrail.core.wire import codec_json
from opentrail.core.wire.calls import ApiCall, Outcome
from opentrail.core.wire.model import Operation
from opentrail.core.wire.s3 import bucket_of_host
from opentrail.core.wire.scalars import text_formatter

_SECRET_QUERY = frozenset(
    {"x-amz-signature", "x-amz-credential", "x-amz-security-token", "x-amz-s3session-token", "signature"}
    | {"awsaccesskeyid"}
)
_CHECKSUM = "x-amz-checksum-"
_CUSTOMER_KEY = "server-side-encryption-customer-key"
_COPY_SOURCE = "x-amz-copy-source"
_OWN_NAMES = ("bucketName", "Host", "key")
_POLICY_OPERATION = "PutBucketPolicy"
_MAX_BODY_BYTES = 256 * 1024  # a larger body cannot stand in a record


def s3_request_parameters(call: ApiCall, facts: OperationFacts, hidden: list[str]) -> dict[str, Any]:
    """``requestParameters`` of an S3 call; the texts of what is hidden are added to ``hidden``."""
    request, tables = call.request, facts.tables
    query = parse_qsl(request.query, keep_blank_values=True, errors="replace") if request.query else ()
    named: dict[str, Any] = {}
    for name, value in query:
        if name.lower() in _SECRET_QUERY:
            collect_texts(value, hidden)
        else:
            named.setdefault(name, value)
    named |= _shown_headers(call, tables, hidden)
    if 0 < len(call.raw_body) <= _MAX_BODY_BYTES and _shows_body(call.operation, tables):
        named.update(_body_parameters(call))
    # Last, so that no parameter or element of the caller's can stand in their place.
    bucket, key = bucket_and_key(call)
    for name, value in zip(_OWN_NAMES, (bucket, request.host, key), strict=True):
        named.pop(name, None)
        if value:
            named[name] = value
    return named


def _shows_body(operation: Operation, tables: Mapping[str, Any]) -> bool:
    """Whether an operation's document is recorded; of one that the model does not have nobody knows what it holds."""
    return operation.name in operation.service.operations and operation.name not in tables.get("bodiesNotShown", ())


def _shown_headers(call: ApiCall, tables: Mapping[str, Any], hidden: list[str]) -> dict[str, str]:
    left_out = tables.get("headersNotShown", ())
    prefixes = tuple(name[:-1] for name in left_out if name.endswith("*"))
    secret = tables.get("secretHeaders", ())
    shown: dict[str, str] = {}
    for name, value in call.request.headers:
        if not name.startswith("x-amz-"):
            continue
        if name in secret or _CUSTOMER_KEY in name:
            collect_texts(value, hidden)
        elif name not in left_out and not name.startswith(prefixes):
            shown[name] = value
    return shown


def s3_response_elements(
    call: ApiCall, outcome: Outcome, _facts: OperationFacts, _hidden: list[str]
) -> dict[str, str] | None:
    """``responseElements``: the ``x-amz-`` headers of an object write's answer; bucket operations have none."""
    operation = call.operation
    told: dict[str, str] | None = operation.compiled.get("recorded-headers")
    if told is None:
        told = operation.compiled["recorded-headers"] = _recorded_headers(operation)
    if outcome.answer is not None:
        headers = outcome.answer.headers
        return {name: headers.get(name) for name in told.values() if name in headers}
    members = operation.output.members if operation.output is not None else {}
    return {
        told[name]: text_formatter(members[name], "rfc822")(value)
        for name, value in (outcome.result or {}).items()
        if name in told and value is not None
    }


def _recorded_headers(operation: Operation) -> dict[str, str]:
    """The output members that a record tells, with their header names."""
    told: dict[str, str] = {}
    if operation.output is None or "Key" not in (operation.input.members if operation.input else {}):
        return told
    for name, member in operation.output.members.items():
        header = (member.location_name or "").lower()
        if member.location != "header" or not header.startswith("x-amz-"):
            continue
        if not header.startswith(_CHECKSUM) and _CUSTOMER_KEY not in header:
            told[name] = header
    return told


def s3_resources(call: ApiCall, owner: str) -> list[dict[str, str]]:
    """``resources``: the object, where the call names one, its bucket with its owner, a copy's source."""
    bucket, key = bucket_and_key(call)
    if not bucket:
        return []
    arn = f"arn:aws:s3:::{bucket}"
    bucket_resource = {"accountId": owner, "type": "AWS::S3::Bucket", "ARN": arn}
    if not owner:
        del bucket_resource["accountId"]
    if not key:
        return [bucket_resource]
    return [{"type": "AWS::S3::Object", "ARN": f"{arn}/{key}"}, bucket_resource, *_copied(call)]


def _copied(call: ApiCall) -> list[dict[str, str]]:
    """The object that a copy is made of; none where it is named through an access point."""
    source = call.request.headers.get(_COPY_SOURCE).partition("?")[0]
    bucket, _, key = unquote(source, errors="replace").removeprefix("/").partition("/")
    if not key or ":" in bucket:
        return []
    return [{"type": "AWS::S3::Object", "ARN": f"arn:aws:s3:::{bucket}/{key}"}]


def bucket_and_key(call: ApiCall) -> tuple[str, str]:
    """The bucket and the key that a call names, out of its parameters or, where those did not parse, its host and path.

    S3 Control names its things otherwise, in its query and its documents.
    """
    if call.operation.service.name != "s3":
        return "", ""
    parameters = call.parameters
    if "Bucket" in parameters:
        return str(parameters["Bucket"]), str(parameters.get("Key", ""))
    path = unquote(call.request.path.removeprefix("/"), errors="replace")
    bucket = bucket_of_host(call.request.host)
    if bucket:
        return bucket, path
    bucket, _, key = path.partition("/")
    return bucket, key


def _body_parameters(call: ApiCall) -> dict[str, Any]:
    try:
        if call.operation.name == _POLICY_OPERATION and call.operation.service.name == "s3":
            return {"bucketPolicy": codec_json.decode(call.raw_body)}
        name, value = sent_xml.decode(call.raw_body)
    except FormatError:
        return {}
    return {name: value}
