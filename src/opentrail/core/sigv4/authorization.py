"""Reading who claims to have signed a request: the Authorization header, or a presigned URL's query parameters.

Rules: nothing here is proven, ``verify.verify_signature`` proves it; a request that carries no trace of a signature is
unsigned (None); any trace that cannot be read is a ``ServiceFault``, so that a broken signature never passes for an
anonymous call.  Names of query parameters are recognised in any case, and each may appear once.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import NamedTuple, NoReturn
from urllib.parse import unquote_plus

from opentrail.core.http import HttpRequest
from opentrail.core.sigv4 import faults
from opentrail.core.sigv4.faults import ALGORITHM, Family
from opentrail.core.values import dataclass

MAX_EXPIRES_SECONDS = 604_800

_TIMESTAMP = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_SCHEME = re.compile(r"[A-Za-z0-9-]{1,40}")
_QUERY_TRACE = re.compile(r"(?:^|&)(?:x-amz-(?:algorithm|credential|signature)|awsaccesskeyid)=", re.IGNORECASE)
_SCOPE = re.compile(
    r"Credential=[^&,\s]{1,256}?(?:/|%2F)[0-9]{8}(?:/|%2F)([^/%&,\s]{1,64})(?:/|%2F)([^/%&,\s]{1,64})", re.IGNORECASE
)
_QUERY_PARTS = (
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-signature",
    "x-amz-date",
    "x-amz-signedheaders",
    "x-amz-expires",
)
_QUERY_EXTRA = ("x-amz-security-token", "x-amz-content-sha256")
_HEADER_PARTS = ("Credential", "Signature", "SignedHeaders")


class CredentialScope(NamedTuple):
    """What a request claims to be signed for."""

    region: str
    service: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """A claim: ``access_key_id`` signed these headers of the request at ``time`` for this region and service."""

    access_key_id: str
    date: str  # YYYYMMDD of the credential scope
    region: str
    service: str
    signed_headers: tuple[str, ...]  # lower case, as listed
    signature: str
    timestamp: str  # YYYYMMDDTHHMMSSZ
    time: datetime  # the same, aware, UTC
    session_token: str = ""
    payload_hash: str = ""  # x-amz-content-sha256 as sent
    presigned: bool = False
    expires: int = 0  # seconds; presigned only

    @property
    def scope(self) -> str:
        """The credential scope without the key: ``20150830/us-east-1/iam/aws4_request``."""
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


def peek_scope(request: HttpRequest) -> CredentialScope | None:
    """The region and service that the request claims, unchecked: for routing, before the protocol is known."""
    match = _SCOPE.search(request.headers.get("authorization") or request.query)
    return CredentialScope(match[1], match[2]) if match else None


def parse_authorization(request: HttpRequest, family: Family) -> Authorization | None:
    """The request's claim, or None where it is unsigned.

    Raises ``ServiceFault`` in ``family``'s words for a claim that cannot be read, for two claims at once, and for
    mechanisms other than ``AWS4-HMAC-SHA256``.
    """
    header = request.headers.get("authorization")
    in_query = bool(request.query) and _QUERY_TRACE.search(request.query) is not None
    if "authorization" in request.headers:
        if in_query or len(request.headers.get_all("authorization")) > 1:
            raise faults.two_mechanisms(family)
        return _parse_header(request, header, family)
    return _parse_query(request, family) if in_query else None


def _parse_header(request: HttpRequest, header: str, family: Family) -> Authorization:
    algorithm, _, rest = header.partition(" ")
    if algorithm != ALGORITHM:
        # A header without a scheme may be a bare secret: it is not repeated.
        raise faults.unsupported_mechanism(family, algorithm if rest and _SCHEME.fullmatch(algorithm) else "")
    parts: dict[str, str] = {}
    for piece in rest.split(","):
        name, _, value = piece.strip().partition("=")
        if name in parts:
            parts[name] = ""  # a part given twice is as good as none
        else:
            parts[name] = value
    credential, signature, signed_headers = parts.get("Credential"), parts.get("Signature"), parts.get("SignedHeaders")
    if not credential or not signature or not signed_headers:
        _refuse_header(header, parts, family)
    timestamp, time = _request_time(request, family)
    headers = request.headers
    access_key_id, date, region, service = _credential(credential, timestamp, family, presigned=False)
    return Authorization(
        access_key_id=access_key_id,
        date=date,
        region=region,
        service=service,
        signed_headers=tuple(signed_headers.lower().split(";")),
        signature=signature,
        timestamp=timestamp,
        time=time,
        session_token=headers.get("x-amz-security-token"),
        payload_hash=headers.get("x-amz-content-sha256"),
    )


def _refuse_header(header: str, parts: dict[str, str], family: Family) -> NoReturn:
    s3_text = "the authorization header requires three components: Credential, SignedHeaders, and Signature."
    missing = [f"Authorization header requires '{name}' parameter." for name in _HEADER_PARTS if not parts.get(name)]
    digest = b64encode(hashlib.sha256(header.encode()).digest()).decode()
    text = f"{' '.join(missing)} (Hashed with SHA-256 and encoded with Base64) Authorization={digest}"
    raise faults.malformed(family, s3_text, text, presigned=False)


def _credential(credential: str, timestamp: str, family: Family, *, presigned: bool) -> tuple[str, str, str, str]:
    parts = credential.rsplit("/", 4)  # an access key ID may contain slashes, a scope may not
    if len(parts) != 5 or not all(parts):
        raise faults.bad_credential(family, presigned=presigned)
    access_key_id, date, region, service, terminator = parts
    if terminator != "aws4_request":
        raise faults.bad_terminator(family, terminator, presigned=presigned)
    if date != timestamp[:8]:
        raise faults.scope_date_mismatch(family, date, timestamp, presigned=presigned)
    return access_key_id, date, region, service


def _request_time(request: HttpRequest, family: Family) -> tuple[str, datetime]:
    """X-Amz-Date, or else the Date header in ISO 8601 basic or RFC 9110 form, as timestamp and time."""
    text = request.headers.get("x-amz-date")
    time = _parse_timestamp(text)
    if time is not None:
        return text, time
    if not text:
        text = request.headers.get("date")
        time = _parse_timestamp(text) or _parse_http_date(text)
    if time is None:
        raise faults.bad_date(family, text, presigned=False)
    return f"{time:%Y%m%dT%H%M%SZ}", time


@lru_cache(maxsize=256)  # the calls of one second share it
def _parse_timestamp(text: str) -> datetime | None:
    if not _TIMESTAMP.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _parse_http_date(text: str) -> datetime | None:
    try:
        time = parsedate_to_datetime(text)
        # four-digit years: strftime writes no others, and no clock is near them
        return time.astimezone(UTC) if time.tzinfo and 1900 < time.year < 9999 else None
    except (ValueError, TypeError, IndexError, OverflowError):  # what the standard library raises on odd dates
        return None


def _parse_query(request: HttpRequest, family: Family) -> Authorization:
    found = _query_parameters(request.query, family)
    algorithm = found.get("x-amz-algorithm")
    if algorithm is None and "x-amz-signature" not in found and "x-amz-credential" not in found:
        raise faults.unsupported_mechanism(family, "AWS")  # Signature Version 2: S3's is in core.sigv2
    missing = [name for name in _QUERY_PARTS if not found.get(name)]
    if missing and (family is Family.S3 or missing != ["x-amz-expires"]):  # only S3 insists on X-Amz-Expires
        s3_text = (
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, "
            "X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
        )
        text = " ".join(f"AWS query-string parameters must include '{name}'." for name in missing)
        raise faults.malformed(family, s3_text, text, presigned=True)
    if algorithm != ALGORITHM:
        raise faults.unsupported_mechanism(family, algorithm if algorithm and _SCHEME.fullmatch(algorithm) else "")
    timestamp = found["x-amz-date"]
    time = _parse_timestamp(timestamp)
    if time is None:
        raise faults.bad_date(family, timestamp, presigned=True)
    access_key_id, date, region, service = _credential(found["x-amz-credential"], timestamp, family, presigned=True)
    return Authorization(
        access_key_id=access_key_id,
        date=date,
        region=region,
        service=service,
        signed_headers=tuple(found["x-amz-signedheaders"].lower().split(";")),
        signature=found["x-amz-signature"],
        timestamp=timestamp,
        time=time,
        session_token=found.get("x-amz-security-token", ""),
        payload_hash=request.headers.get("x-amz-content-sha256") or found.get("x-amz-content-sha256", ""),
        presigned=True,
        expires=_expires(found.get("x-amz-expires", "900"), family),
    )


def _query_parameters(query: str, family: Family) -> dict[str, str]:
    """The authentication parameters of ``query``, names in lower case, values decoded."""
    found: dict[str, str] = {}
    for piece in query.split("&"):
        name, _, value = piece.partition("=")
        key = name.lower()
        if key in _QUERY_PARTS or key in _QUERY_EXTRA:
            if key in found:
                text = f"The query parameter {name} must be given once"
                raise faults.malformed(family, text, text, presigned=True)
            found[key] = unquote_plus(value)
    return found


def _expires(text: str, family: Family) -> int:
    reason = ""
    if not re.fullmatch(r"-?[0-9]{1,12}", text):
        reason = "X-Amz-Expires should be a number"
    elif text.startswith("-"):
        reason = "X-Amz-Expires must be non-negative"
    elif int(text) > MAX_EXPIRES_SECONDS:
        reason = (
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than "
            "604800 seconds"
        )
    if reason:
        raise faults.malformed(family, reason, reason, presigned=True)
    return int(text)
