"""S3's condition keys that say how a request was signed and sent, whatever it asks for.

Source: Amazon S3 API reference, "Bucket policy examples using Signature Version 4 condition keys"; Service
authorization reference, "Actions, resources, and condition keys for Amazon S3".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from urllib.parse import parse_qsl

from opentrail.core.http import HttpRequest
from opentrail.core.sigv4.payload import UNSIGNED_PAYLOAD
from opentrail.core.sigv4.sigv2 import is_query_signed

_ALGORITHM = "AWS4-HMAC-SHA256"
_MILLISECOND = timedelta(milliseconds=1)


def request_keys(request: HttpRequest, now: datetime) -> Mapping[str, list[str]]:
    """Those that a request which came ``now`` has; ``s3:signatureAge`` is in milliseconds."""
    keys: dict[str, list[str]] = {}
    if request.tls is not None:
        keys["s3:tlsversion"] = [request.tls.version.removeprefix("TLSv")]
    query = {name.lower(): value for name, value in parse_qsl(request.query)} if request.query else {}
    content = request.headers.get("x-amz-content-sha256") or query.get("x-amz-content-sha256", "")
    if "authorization" in request.headers:
        keys["s3:authtype"] = ["REST-HEADER"]
        version, signed_at = _ALGORITHM, request.headers.get("x-amz-date")
    elif "x-amz-signature" in query:
        keys["s3:authtype"] = ["REST-QUERY-STRING"]
        version, signed_at = _ALGORITHM, query.get("x-amz-date", "")
        content = content or UNSIGNED_PAYLOAD
    elif is_query_signed(request):
        keys["s3:authtype"] = ["REST-QUERY-STRING"]
        version, signed_at = "AWS", ""
    else:
        return keys
    keys["s3:signatureversion"] = [version]
    if content:
        keys["s3:x-amz-content-sha256"] = [content]
    age = _milliseconds_since(signed_at, now)
    if age is not None:
        keys["s3:signatureage"] = [str(age)]
    return keys


def _milliseconds_since(text: str, now: datetime) -> int | None:
    """The age of a signature made at ``text`` (``20130524T000000Z``); None where it does not say."""
    try:
        signed_at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (now - signed_at) // _MILLISECOND if signed_at.tzinfo else None
