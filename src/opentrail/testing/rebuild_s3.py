"""Records of Amazon S3 and S3 Control back to the calls they tell of: the inverse of ``core/recording/s3.py``.

A name that begins ``x-amz-`` in small letters was a header, a structure was a document, any other name was the query's.
What a record does not tell (a body's bytes, labels of S3 Control's paths) is made up, the shortest that will do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode
from xml.sax.saxutils import escape

from opentrail.core.http import Headers
from opentrail.core.recording.rules import RecordRules
from opentrail.core.wire.calls import WireAnswer
from opentrail.core.wire.model import Operation, ServiceModel
from opentrail.testing.rebuilt_call import RebuiltCall, element, error_status, scalar_text

_OWN_NAMES = frozenset({"bucketName", "key", "Host", "bucketPolicy"})
_LABEL = re.compile(r"\{(\w+)\+?\}")
_CONTROL = "s3-control"


def is_s3_control(record: Mapping[str, Any]) -> bool:
    """Whether a record of ``s3.amazonaws.com`` is one of S3 Control's: its parameters name that host."""
    return _CONTROL in str((record.get("requestParameters") or {}).get("Host", ""))


def rebuild_s3(record: Mapping[str, Any], service: ServiceModel, rules: RecordRules) -> RebuiltCall | None:
    """The call of ``record``; ``service`` is S3's or S3 Control's model.

    ``None`` where the model has no such operation: AWS's consoles make calls that no client can.
    """
    parameters = record.get("requestParameters") or {}
    operation = _operation(record, service, rules, parameters)
    if operation is None:
        return None
    host = str(parameters.get("Host", ""))
    template = operation.request_uri.partition("?")[0]
    query = _fixed_query(operation)
    headers = [("host", host)] if host else []
    if service.name != "s3":
        headers.append(("x-amz-account-id", host.partition(".")[0]))
    documents = []
    for name, value in parameters.items():
        if name in _OWN_NAMES:
            continue
        if isinstance(value, Mapping | list):
            documents.append(element(name, value))
        elif name.startswith("x-amz-"):
            headers.append((name, scalar_text(value)))
        elif _is_document(operation, name):
            documents.append(element(name, value))
        else:
            query[name] = scalar_text(value)
    body = "".join(documents)
    if "bucketPolicy" in parameters:
        body = json.dumps(parameters["bucketPolicy"])
    return RebuiltCall(
        operation=operation.name,
        method=operation.http_method,
        path=_path(template, parameters, host),
        query=urlencode(query, quote_via=quote),
        headers=tuple(headers),
        body=body.encode(),
        answer=_answer(record, operation),
    )


def _operation(
    record: Mapping[str, Any], service: ServiceModel, rules: RecordRules, parameters: Mapping[str, Any]
) -> Operation | None:
    """The operation that the event's name stands for; of several the one whose query the parameters have."""
    found = [
        operation
        for name, operation in service.operations.items()
        if rules.facts(service, name).event_name == record["eventName"] and not operation.deprecated
    ]
    return max(found, key=lambda operation: _fitting(operation, parameters), default=None)


def _fixed_query(operation: Operation) -> dict[str, str]:
    """What an operation's query always holds."""
    query = operation.request_uri.partition("?")[2]
    return {part.partition("=")[0]: part.partition("=")[2] for part in query.split("&") if part}


def _fitting(operation: Operation, parameters: Mapping[str, Any]) -> int:
    """How well the parameters go with what the operation's query always holds."""
    fixed = _fixed_query(operation)
    return len(fixed) if fixed.keys() <= parameters.keys() else -1


def _is_document(operation: Operation, name: str) -> bool:
    """Whether a scalar parameter is the whole of an empty document rather than the query's."""
    shape = operation.input
    payload = shape.members.get(shape.payload) if shape is not None and shape.payload else None
    return payload is not None and payload.wire_name(shape.payload if shape else "") == name


def _path(template: str, parameters: Mapping[str, Any], host: str) -> str:
    """The path: the bucket is in it unless the host names it."""
    bucket, key = str(parameters.get("bucketName", "")), str(parameters.get("key", ""))
    if bucket and host.startswith(f"{bucket}."):
        template = template.removeprefix("/{Bucket}") or "/"
    labels = {"Bucket": bucket, "Key": key} if bucket else {}
    return _LABEL.sub(lambda match: quote(labels.get(match[1], "x"), safe="/-_.~"), template)


def _answer(record: Mapping[str, Any], operation: Operation) -> WireAnswer:
    code = record.get("errorCode", "")
    if code:
        inner = f"<Code>{escape(code)}</Code><Message>{escape(record.get('errorMessage', ''))}</Message>"
        headers = Headers((("content-type", "application/xml"),))
        return WireAnswer(status=error_status(code), headers=headers, body=f"<Error>{inner}</Error>".encode())
    told = record.get("responseElements") or {}
    headers = Headers((name.lower(), scalar_text(value)) for name, value in told.items())
    return WireAnswer(status=operation.http_status, headers=headers)
