"""How AWS words a failed authentication: one row of codes for each family of services.

S3 has its own codes and texts; the others share their texts and differ in codes and statuses.  Sources: the S3 API
reference, "Error responses"; the IAM user guide, "Troubleshoot Signature Version 4 signing"; "Common errors" of the
services' API references.

Rule: a message never repeats a secret.  S3's SignatureDoesNotMatch returns the canonical request in ``fields``, as AWS
does: it travels to its own sender alone and belongs in no log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from opentrail.core.errors import ServiceFault
from opentrail.core.sigv4.canonical import octets

ALGORITHM = "AWS4-HMAC-SHA256"
CREDENTIAL_FORM = '"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request"'


class Family(StrEnum):
    """The families of services that share authentication errors."""

    S3 = "s3"
    QUERY = "query"  # query and rest-xml, S3 aside
    EC2 = "ec2"
    JSON = "json"  # json and rpc-v2-cbor
    REST_JSON = "rest-json"


_FAMILY_BY_PROTOCOL: Mapping[str, Family] = {
    "query": Family.QUERY,
    "rest-xml": Family.QUERY,
    "ec2": Family.EC2,
    "json": Family.JSON,
    "smithy-rpc-v2-cbor": Family.JSON,
    "rest-json": Family.REST_JSON,
}


def family_of(service: str, protocol: str) -> Family:
    """The family of ``service`` (a signing name) that speaks ``protocol`` (botocore's name)."""
    if service == "s3":
        return Family.S3
    return _FAMILY_BY_PROTOCOL.get(protocol, Family.QUERY)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """The (code, HTTP status) of each failure in one family."""

    missing: tuple[str, int]
    unknown_key: tuple[str, int]
    incomplete: tuple[str, int]
    mismatch: tuple[str, int]
    expired_token: tuple[str, int]


_ROWS: Mapping[Family, _Row] = {
    Family.S3: _Row(
        missing=("AccessDenied", 403),
        unknown_key=("InvalidAccessKeyId", 403),
        incomplete=("AuthorizationHeaderMalformed", 400),
        mismatch=("SignatureDoesNotMatch", 403),
        expired_token=("ExpiredToken", 400),
    ),
    Family.QUERY: _Row(
        missing=("MissingAuthenticationToken", 403),
        unknown_key=("InvalidClientTokenId", 403),
        incomplete=("IncompleteSignature", 400),
        mismatch=("SignatureDoesNotMatch", 403),
        expired_token=("ExpiredToken", 403),
    ),
    Family.EC2: _Row(
        missing=("AuthFailure", 401),
        unknown_key=("AuthFailure", 401),
        incomplete=("IncompleteSignature", 400),
        mismatch=("AuthFailure", 401),
        expired_token=("RequestExpired", 400),
    ),
    Family.JSON: _Row(
        missing=("MissingAuthenticationTokenException", 400),
        unknown_key=("UnrecognizedClientException", 400),
        incomplete=("IncompleteSignatureException", 400),
        mismatch=("InvalidSignatureException", 400),
        expired_token=("ExpiredTokenException", 400),
    ),
    Family.REST_JSON: _Row(
        missing=("MissingAuthenticationTokenException", 403),
        unknown_key=("UnrecognizedClientException", 403),
        incomplete=("IncompleteSignatureException", 403),
        mismatch=("InvalidSignatureException", 403),
        expired_token=("ExpiredTokenException", 403),
    ),
}

_EC2_AUTH_FAILURE = "AWS was not able to validate the provided access credentials"
_S3_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your key and signing method."
)
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)


def _fault(code_and_status: tuple[str, int], message: str, fields: Mapping[str, str] | None = None) -> ServiceFault:
    code, status = code_and_status
    return ServiceFault(code, message, status=status, fields=fields)


def missing_token(family: Family) -> ServiceFault:
    """The request is unsigned and the operation is not for anybody."""
    text = {
        Family.S3: "Access Denied",
        Family.EC2: _EC2_AUTH_FAILURE,
        Family.QUERY: "Request is missing Authentication Token",
    }
    return _fault(_ROWS[family].missing, text.get(family, "Missing Authentication Token"))


def unknown_key(family: Family, access_key_id: str) -> ServiceFault:
    """No such access key, or an inactive one: AWS does not say which."""
    row = _ROWS[family].unknown_key
    if family is Family.S3:
        text = "The AWS Access Key Id you provided does not exist in our records."
        return _fault(row, text, {"AWSAccessKeyId": access_key_id})
    return _fault(
        row, _EC2_AUTH_FAILURE if family is Family.EC2 else "The security token included in the request is invalid."
    )


def invalid_token(family: Family) -> ServiceFault:
    """The session token does not belong to the access key."""
    if family is Family.S3:
        return _fault(("InvalidToken", 400), "The provided token is malformed or otherwise invalid.")
    return unknown_key(family, "")


def expired_token(family: Family) -> ServiceFault:
    """The session token was good once."""
    text = {Family.S3: "The provided token has expired.", Family.EC2: "Request has expired."}
    return _fault(
        _ROWS[family].expired_token, text.get(family, "The security token included in the request is expired")
    )


def malformed(family: Family, s3_text: str, text: str, *, presigned: bool) -> ServiceFault:
    """The authorization cannot be read: ``s3_text`` in S3's words, ``text`` in the other services'."""
    if family is not Family.S3:
        return _fault(_ROWS[family].incomplete, text)
    if presigned:
        return _fault(("AuthorizationQueryParametersError", 400), s3_text[:1].upper() + s3_text[1:])
    return _fault(_ROWS[family].incomplete, f"The authorization header is malformed; {s3_text}")


def bad_credential(family: Family, *, presigned: bool) -> ServiceFault:
    """The Credential is not an access key ID with a credential scope."""
    s3_text = f"the Credential is mal-formed; expecting {CREDENTIAL_FORM}."
    if presigned:
        s3_text = f"Error parsing the X-Amz-Credential parameter; {s3_text}"
    text = "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term"
    return malformed(family, s3_text, text, presigned=presigned)


def bad_terminator(family: Family, terminator: str, *, presigned: bool) -> ServiceFault:
    """The credential scope does not end in ``aws4_request``."""
    s3_text = f'incorrect terminal "{terminator}". This endpoint uses "aws4_request".'
    if family is Family.S3:
        return malformed(family, s3_text, "", presigned=presigned)
    text = f"Credential should be scoped with a valid terminator: 'aws4_request', not '{terminator}'."
    return _fault(_ROWS[family].mismatch, text)


def scope_date_mismatch(family: Family, scope_date: str, timestamp: str, *, presigned: bool) -> ServiceFault:
    """The credential scope's day is not the request's day."""
    s3_text = f'Invalid credential date "{scope_date}". This date is not the same as X-Amz-Date: "{timestamp[:8]}".'
    if family is Family.S3:
        return malformed(family, s3_text, "", presigned=presigned)
    text = (
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
        f"'{scope_date}' != '{timestamp[:8]}', from '{timestamp}'."
    )
    return _fault(_ROWS[family].mismatch, text)


def bad_date(family: Family, text: str, *, presigned: bool) -> ServiceFault:
    """The request's date is missing (``text`` empty) or cannot be read."""
    if family is Family.S3 and not presigned:
        return _fault(("AccessDenied", 403), "AWS authentication requires a valid Date or x-amz-date header")
    s3_text = "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""
    if text:
        other = f"Date must be in ISO-8601 'basic format'. Got '{text}'. See http://en.wikipedia.org/wiki/ISO_8601"
    else:
        other = "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
    return malformed(family, s3_text, other, presigned=presigned)


def unsupported_mechanism(family: Family, mechanism: str) -> ServiceFault:
    """Signature Version 2 but for S3's URLs, Signature Version 4A, Bearer, Basic: nothing that is verified here."""
    if family is not Family.S3:
        return _fault(_ROWS[family].incomplete, f"Unsupported AWS 'algorithm': '{mechanism}'. Please use {ALGORITHM}.")
    if mechanism.startswith("AWS"):
        text = f"The authorization mechanism you have provided is not supported. Please use {ALGORITHM}."
        return _fault(("InvalidRequest", 400), text)
    fields = {"ArgumentName": "Authorization", "ArgumentValue": mechanism}  # the scheme alone: what follows is secret
    return _fault(("InvalidArgument", 400), "Unsupported Authorization Type", fields)


def two_mechanisms(family: Family) -> ServiceFault:
    """The request is signed in its header and in its query: nobody can say which one counts."""
    text = (
        "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter "
        "or the Authorization header should be specified"
    )
    if family is Family.S3:
        return _fault(("InvalidArgument", 400), text, {"ArgumentName": "Authorization"})
    return _fault(_ROWS[family].incomplete, text)


def unsigned_headers(family: Family, names: list[str]) -> ServiceFault:
    """``names`` (or the host) had to be signed and are not: anyone on the way could have written them."""
    if family is Family.S3:
        text = "There were headers present in the request which were not signed"
        return _fault(("AccessDenied", 403), text, {"HeadersNotSigned": ", ".join(names)})
    text = " ".join(f"'{name}' must be a 'SignedHeader' in the AWS Authorization." for name in names)
    return _fault(_ROWS[family].mismatch, text)


def wrong_region(family: Family, given: str, expected: str) -> ServiceFault:
    """The credential scope names another region than the one that is asked."""
    if family is Family.S3:
        text = f"The authorization header is malformed; the region '{given}' is wrong; expecting '{expected}'"
        return _fault(_ROWS[family].incomplete, text, {"Region": expected})
    return _fault(_ROWS[family].mismatch, f"Credential should be scoped to a valid region, not '{given}'. ")


def _basic(moment: datetime) -> str:
    return f"{moment:%Y%m%dT%H%M%SZ}"


def _extended(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def clock_skewed(family: Family, signed: datetime, now: datetime, skew: timedelta) -> ServiceFault:
    """The signature's time is more than ``skew`` away from ``now``."""
    if family is Family.S3:
        fields = {
            "RequestTime": _basic(signed),
            "ServerTime": _extended(now),
            "MaxAllowedSkewMilliseconds": str(int(skew.total_seconds() * 1000)),
        }
        text = "The difference between the request time and the current time is too large."
        return _fault(("RequestTimeTooSkewed", 403), text, fields)
    if family is Family.EC2:
        return _fault(("RequestExpired", 400), "Request has expired.")
    minutes = int(skew.total_seconds() // 60)
    if signed < now:
        edge = f"{_basic(now - skew)} ({_basic(now)} - {minutes} min.)"
        return _fault(_ROWS[family].mismatch, f"Signature expired: {_basic(signed)} is now earlier than {edge}")
    edge = f"{_basic(now + skew)} ({_basic(now)} + {minutes} min.)"
    return _fault(_ROWS[family].mismatch, f"Signature not yet current: {_basic(signed)} is still later than {edge}")


def presigned_expired(family: Family, expires: int, end: datetime, now: datetime) -> ServiceFault:
    """A presigned request comes after ``end``, ``expires`` seconds after it was signed."""
    if family is Family.S3:
        fields = {"X-Amz-Expires": str(expires), "Expires": _extended(end), "ServerTime": _extended(now)}
        return _fault(("AccessDenied", 403), "Request has expired", fields)
    if family is Family.EC2:
        return _fault(("RequestExpired", 400), "Request has expired.")
    return _fault(_ROWS[family].mismatch, f"Signature expired: {_basic(end)} is now earlier than {_basic(now)}")


def presigned_early(family: Family, signed: datetime, now: datetime, skew: timedelta) -> ServiceFault:
    """A presigned request comes before it was signed."""
    if family is Family.S3:
        return _fault(("AccessDenied", 403), "Request is not yet valid")
    return clock_skewed(family, signed, now, skew)


def mismatch(
    family: Family, access_key_id: str, signature: str, string_to_sign: str, canonical_request: str = ""
) -> ServiceFault:
    """The signature is another one than the secret key gives; Signature Version 2 has no canonical request."""
    row = _ROWS[family].mismatch
    if family is not Family.S3:
        return _fault(row, _EC2_AUTH_FAILURE if family is Family.EC2 else _MISMATCH)
    fields = {
        "AWSAccessKeyId": access_key_id,
        "StringToSign": string_to_sign,
        "SignatureProvided": signature,
        "StringToSignBytes": octets(string_to_sign).hex(" "),
    }
    if canonical_request:
        fields["CanonicalRequest"] = canonical_request
        fields["CanonicalRequestBytes"] = octets(canonical_request).hex(" ")
    return _fault(row, _S3_MISMATCH, fields)
