"""Proving a signature: time, what had to be signed, and the HMAC itself.

Rules: the host and every ``x-amz-*`` header must be signed, or whoever stands between could add one; a signed header
that is not there fails; signatures are compared in constant time; a failure is a ``ServiceFault`` in the words of the
service's family.
"""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import sha256

from opentrail.core.http import HttpRequest
from opentrail.core.sigv4 import faults
from opentrail.core.sigv4.authorization import Authorization
from opentrail.core.sigv4.canonical import (
    canonical_headers,
    canonical_path,
    canonical_request,
    octets,
    s3_canonical_paths,
    string_to_sign,
)
from opentrail.core.sigv4.faults import Family

CLOCK_SKEW = timedelta(minutes=15)


@lru_cache(maxsize=4096)
def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The key of one day (YYYYMMDD), region and service.  Source: IAM user guide, "Calculate the signature"."""
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def sign(key: bytes, text: str) -> str:
    """The signature of ``text`` (a string to sign) in lower-case hexadecimal: HMAC-SHA256, RFC 2104.

    ``hmac.digest`` gives the interpreter's lock away for these two microseconds, and under load waits twenty for it.
    """
    inner, outer = _pads(key)
    return sha256(outer + sha256(inner + octets(text)).digest()).hexdigest()


@lru_cache(maxsize=4096)
def _pads(key: bytes) -> tuple[bytes, bytes]:
    """The key with RFC 2104's inner and outer pad, for SHA-256's blocks of 64 bytes."""
    block = (key if len(key) <= 64 else sha256(key).digest()).ljust(64, b"\0")
    return bytes(byte ^ 0x36 for byte in block), bytes(byte ^ 0x5C for byte in block)


def verify_signature(
    request: HttpRequest,
    authorization: Authorization,
    secret: str,
    now: datetime,
    *,
    payload_hash: str,
    family: Family,
    clock_skew: timedelta = CLOCK_SKEW,
) -> None:
    """Return when ``secret`` signed ``request`` as ``authorization`` says; ``now`` is aware.

    ``payload_hash`` is the canonical request's last line: ``s3_payload_hash`` for S3, the SHA-256 of the body in
    hexadecimal for the others.  Raises ``ServiceFault`` for everything else.
    """
    _check_time(authorization, now, family, clock_skew)
    values = canonical_headers(request.headers)
    signed = authorization.signed_headers
    _check_signed_headers(values, signed, family)
    key = signing_key(secret, authorization.date, authorization.region, authorization.service)
    paths = s3_canonical_paths(request.path) if family is Family.S3 else (canonical_path(request.path),)
    given = octets(authorization.signature)
    absent = [name for name in signed if name not in values]
    if absent:  # not signed as empty, but removed on the way: this can only fail
        values.update(dict.fromkeys(absent, ""))
    tried: list[tuple[str, str]] = []
    for path in paths:
        canonical = canonical_request(request, path, values, signed, payload_hash)
        text = string_to_sign(authorization.timestamp, authorization.scope, canonical)
        if hmac.compare_digest(sign(key, text).encode(), given) and not absent:
            return
        tried.append((text, canonical))
    raise faults.mismatch(family, authorization.access_key_id, authorization.signature, *tried[0])


def _check_time(authorization: Authorization, now: datetime, family: Family, skew: timedelta) -> None:
    time = authorization.time
    if not authorization.presigned:
        if abs(now - time) > skew:
            raise faults.clock_skewed(family, time, now, skew)
        return
    if time > now + skew:
        raise faults.presigned_early(family, time, now, skew)
    end = time + timedelta(seconds=authorization.expires)
    if now > end:
        raise faults.presigned_expired(family, authorization.expires, end, now)


def _check_signed_headers(values: dict[str, str], signed: tuple[str, ...], family: Family) -> None:
    unsigned = [name for name in values if name.startswith("x-amz-") and name not in signed]
    if family is not Family.S3 and "x-amz-security-token" in unsigned:
        # Some services' clients add the token after signing; it is proven by belonging to the access key.
        unsigned.remove("x-amz-security-token")
    if "host" not in signed:
        unsigned.insert(0, "host")
    if unsigned:
        raise faults.unsigned_headers(family, unsigned)
