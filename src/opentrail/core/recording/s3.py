"""How calls of Amazon S3 and S3 Control are recorded: as they were sent, not as their model names them.

``requestParameters`` holds the bucket, the key, the Host header, every query parameter by its raw name (a sub-resource
is ``""``) and the ``x-amz-`` headers that shape the call; an XML body stands under its root's name, a bucket's policy
as the object that it is.  What authenticates a request (signature, credential, token, one-time code) and what encrypts
an object (customer keys) is never recorded; which headers and bodies are not is a table (``record_rules/s3.json``).
Calls on directory buckets (``name--zone--x-s3``) are those of another source, ``s3express.amazonaws.com``.
Source: CloudTrail records of S3 as real trails hold them; S3 user guide, "Amazon S3 CloudTrail events", "CloudTrail log
file examples for directory buckets".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from opentrail.core.errors import FormatError
from opentrail.core.recording import sent_xml
from opentrail.core.recording.elements import ElementWriter
from opentrail.core.recording.redaction import collect_texts
from opentrail.core.recording.rules import OMITTED, OperationFacts
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
_ENCRYPTION = "x-amz-server-side-encryption"
_CUSTOMER_ALGORITHM = f"{_ENCRYPTION}-customer-algorithm"
#: How an object was encrypted, as ``SSEApplied`` calls it.
_APPLIED = {"AES256": "SSE_S3", "aws:kms": "SSE_KMS", "aws:kms:dsse": "DSSE_KMS"}
_DIRECTORY_SUFFIX = "--x-s3"
_DIRECTORY_SOURCE = "s3express.amazonaws.com"
_DIRECTORY_OPERATIONS = frozenset({"CreateSession", "ListDirectoryBuckets"})
_ACCESS_POINT = re.compile(r"(?P<name>[a-z0-9-]+)-(?P<account>[0-9]{12})\.s3-accesspoint[.-]")
_ACCESS_POINT_ARN = re.compile(r"arn:aws[a-z-]*:s3:[a-z0-9-]*:(?P<account>[0-9]{12}):accesspoint/(?P<name>[a-z0-9-]+)")
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
    secret = tables.get("secretHeaders", ())
    shown: dict[str, str] = {}
    for name, value in call.request.headers:
        if not name.startswith("x-amz-"):
            continue
        if name in secret or _CUSTOMER_KEY in name:
            collect_texts(value, hidden)
        elif name not in left_out and not _is_begun(name, left_out):
            shown[name] = value
    return shown


def _is_begun(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of ``patterns`` is the beginning of ``name`` and a ``*``."""
    return any(name.startswith(each[:-1]) for each in patterns if each.endswith("*"))


def s3_response_elements(
    call: ApiCall, outcome: Outcome, facts: OperationFacts, hidden: list[str]
) -> dict[str, Any] | None:
    """``responseElements``: the ``x-amz-`` headers of an object write's answer; bucket operations have none.

    Of a read that is recorded with its answer (a session's credentials) the members, but no secret.
    """
    operation = call.operation
    if facts.read_only and operation.output is not None:
        writer = ElementWriter(replacement=OMITTED, hidden=hidden)
        inside = {name: member for name, member in operation.output.members.items() if not member.location}
        return writer.write_members(inside, outcome.result or {})
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


def s3_event_source(call: ApiCall, facts: OperationFacts) -> str:
    """``eventSource``: of calls on directory buckets another one."""
    if call.operation.service.name == "s3" and (
        call.operation.name in _DIRECTORY_OPERATIONS or bucket_and_key(call)[0].endswith(_DIRECTORY_SUFFIX)
    ):
        return _DIRECTORY_SOURCE
    return facts.event_source


def s3_additional(call: ApiCall, elements: Mapping[str, Any] | None) -> dict[str, str]:
    """What ``additionalEventData`` tells of an object that was written, and of a directory bucket's zone.

    ``SSEApplied`` begins ``Default_`` where the bucket's default decided (S3 user guide, "Default encryption FAQ").
    """
    told: dict[str, str] = {}
    answered: Mapping[str, Any] = elements or {}
    algorithm = answered.get(_ENCRYPTION)
    if _CUSTOMER_ALGORITHM in answered:
        told["SSEApplied"] = "SSE_C"
    elif algorithm in _APPLIED:
        default = "" if _ENCRYPTION in call.request.headers else "Default_"
        told["SSEApplied"] = default + _APPLIED[algorithm]
    bucket, _ = bucket_and_key(call)
    if bucket.endswith(_DIRECTORY_SUFFIX):
        told["availabilityZone"] = bucket.removesuffix(_DIRECTORY_SUFFIX).rpartition("--")[2]
    return told


def s3_resources(call: ApiCall, facts: OperationFacts, owner: str) -> list[dict[str, str]]:
    """``resources``: the object, its bucket with its owner, a copy's source.

    A data event that names no object is about all that are in the bucket: their ARNs' beginning is told.
    """
    bucket, key = bucket_and_key(call)
    access_point = _ACCESS_POINT.match(call.request.host) or _ACCESS_POINT_ARN.fullmatch(bucket)
    if access_point is not None:  # which bucket is behind it, the call does not tell
        account, name = access_point["account"], access_point["name"]
        arn = f"arn:aws:s3:{call.region}:{account}:accesspoint/{name}"
        return [{"accountId": account, "type": "AWS::S3::AccessPoint", "ARN": arn}]
    if not bucket:
        return []
    if bucket.endswith(_DIRECTORY_SUFFIX):
        kind = "S3Express"
        arn = f"arn:aws:s3express:{call.region}:{owner or call.account_id}:bucket/{bucket}"
        resource = {"accountId": owner, "type": "AWS::S3Express::DirectoryBucket", "ARN": arn}
    else:
        kind, arn = "S3", f"arn:aws:s3:::{bucket}"
        resource = {"accountId": owner, "type": "AWS::S3::Bucket", "ARN": arn}
    if not owner:
        del resource["accountId"]
    if not key and not facts.is_data:
        return [resource]
    if not key or kind == "S3Express":
        return [{"type": f"AWS::{kind}::Object", "ARNPrefix": f"{arn}/"}, resource]
    return [{"type": "AWS::S3::Object", "ARN": f"{arn}/{key}"}, resource, *_copied(call)]


def _copied(call: ApiCall) -> list[dict[str, str]]:
    """The object that a copy is made of; none where it is named through an access point."""
    source = call.request.headers.get(_COPY_SOURCE)
    if not source:
        return []
    path = unquote(source.partition("?")[0], errors="replace")
    bucket, _, key = path.removeprefix("/").partition("/")
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
