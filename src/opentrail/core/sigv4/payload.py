"""The payload's place in a signature: the last line of the canonical request, S3's ``x-amz-content-sha256``.

Source: S3 API reference, "Authenticating Requests: Using the Authorization Header", overview of x-amz-content-sha256.
"""

from __future__ import annotations

import re

from opentrail.core.errors import ServiceFault
from opentrail.core.sigv4.authorization import Authorization

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
STREAMING_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
STREAMING_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
STREAMING_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

_LITERALS = (UNSIGNED_PAYLOAD, STREAMING_UNSIGNED_TRAILER, STREAMING_SIGNED, STREAMING_SIGNED_TRAILER)
_SHA256_HEX = re.compile(r"[0-9a-fA-F]{64}")


def s3_payload_hash(authorization: Authorization) -> str:
    """The payload line that a request to S3 was signed with: a literal, or the SHA-256 that the payload must have.

    Raises ``ServiceFault`` InvalidRequest where a header-signed request has no x-amz-content-sha256, InvalidArgument
    where the value is neither a literal that S3 knows nor a SHA-256 in hexadecimal.
    """
    value = authorization.payload_hash
    if not value:
        if authorization.presigned:
            return UNSIGNED_PAYLOAD
        raise ServiceFault("InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
    if value not in _LITERALS and not _SHA256_HEX.fullmatch(value):
        fields = {"ArgumentName": "x-amz-content-sha256", "ArgumentValue": value}
        known = ", ".join(_LITERALS)
        raise ServiceFault(
            "InvalidArgument", f"x-amz-content-sha256 must be {known}, or a valid sha256 value.", fields=fields
        )
    return value
