"""Signatures: who signed a request, and whether it holds.  Version 4; ``sigv2`` for S3's older presigned URLs.

Source: the AWS IAM user guide, "AWS Signature Version 4 for API requests", and the Amazon S3 API reference,
"Authenticating Requests (AWS Signature Version 4)".
"""

from opentrail.core.sigv4.authorization import (
    Authorization,
    CredentialScope,
    parse_authorization,
    peek_scope,
)
from opentrail.core.sigv4.canonical import canonical_query, canonical_request, string_to_sign
from opentrail.core.sigv4.faults import (
    Family,
    expired_token,
    family_of,
    invalid_token,
    missing_token,
    unknown_key,
    wrong_region,
)
from opentrail.core.sigv4.payload import (
    EMPTY_SHA256,
    STREAMING_SIGNED,
    STREAMING_SIGNED_TRAILER,
    STREAMING_UNSIGNED_TRAILER,
    UNSIGNED_PAYLOAD,
    s3_payload_hash,
)
from opentrail.core.sigv4.verify import CLOCK_SKEW, sign, signing_key, verify_signature

__all__ = [
    "CLOCK_SKEW",
    "EMPTY_SHA256",
    "STREAMING_SIGNED",
    "STREAMING_SIGNED_TRAILER",
    "STREAMING_UNSIGNED_TRAILER",
    "UNSIGNED_PAYLOAD",
    "Authorization",
    "CredentialScope",
    "Family",
    "canonical_query",
    "canonical_request",
    "expired_token",
    "family_of",
    "invalid_token",
    "missing_token",
    "parse_authorization",
    "peek_scope",
    "s3_payload_hash",
    "sign",
    "signing_key",
    "string_to_sign",
    "unknown_key",
    "verify_signature",
    "wrong_region",
]
