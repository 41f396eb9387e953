"""The head of a forwarded request: the client's own, or one that is signed anew.

Rules: what speaks of one connection alone stays on it (RFC 9110, section 7.6.1), everything else goes on, in its order;
what is signed anew carries nothing of the client's signature.  IAM user guide, "Create a signed AWS API request".
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from opentrail.core.http import Headers, HttpRequest
from opentrail.core.sigv4 import canonical_request, sign, signing_key, string_to_sign
from opentrail.core.sigv4.canonical import canonical_headers, canonical_path, s3_canonical_paths
from opentrail.server.upstream_bodies import ForwardedBody
from opentrail.server.upstream_settings import UpstreamKey

#: Headers of one connection, in requests and in answers.
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer"}
    | {"transfer-encoding", "upgrade"}
)
_FRAMING = HOP_BY_HOP | {"content-length", "expect"}
_SIGNATURE = frozenset({"authorization", "date", "host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"})
_SIGNATURE_QUERY = frozenset(
    {"awsaccesskeyid", "signature", "expires", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-expires"}
    | {"x-amz-security-token", "x-amz-signature", "x-amz-signedheaders", "x-amz-content-sha256"}
)
_WITHOUT_BODY = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})

Pairs = list[tuple[str, str]]


def kept_headers(pairs: Collection[tuple[str, str]], without: Collection[str]) -> Pairs:
    """``pairs`` without those named in ``without``, and those that their Connection header names."""
    named = [value for name, value in pairs if name == "connection"]
    if not named:
        return [pair for pair in pairs if pair[0] not in without]
    options = {option.strip().lower() for option in ",".join(named).split(",")}
    return [pair for pair in pairs if pair[0] not in without and pair[0] not in options]


def pass_through_head(request: HttpRequest, length: int | None, *, expects: bool) -> bytes:
    """The head of ``request`` for a body of ``length`` bytes (None: in chunks), as its client signed it."""
    declared = "content-length" in request.headers
    return _head(request, kept_headers(request.headers.pairs, _FRAMING), length, declared=declared, expects=expects)


def re_signed_head(
    request: HttpRequest,
    body: ForwardedBody,
    *,
    host: str,
    service: str,
    region: str,
    key: UpstreamKey,
    now: datetime,
    expects: bool,
) -> bytes:
    """The head of ``request``, whose path is the one to be sent, signed by ``key`` for ``service`` in ``region``."""
    timestamp = f"{now:%Y%m%dT%H%M%SZ}"
    pairs = [("host", host), *kept_headers(request.headers.pairs, _FRAMING | _SIGNATURE | body.without), *body.headers]
    pairs += [("x-amz-date", timestamp), ("x-amz-content-sha256", body.payload_hash)]
    if key.session_token:
        pairs.append(("x-amz-security-token", key.session_token))
    query = "&".join(part for part in request.query.split("&") if not _is_signature(part)) if request.query else ""
    unsigned = replace(request, query=query, headers=Headers(pairs))
    values = canonical_headers(unsigned.headers)
    names = tuple(sorted(name for name in values if name.startswith("x-amz-") or name in _SIGNED))
    path = s3_canonical_paths(request.path)[0] if service == "s3" else canonical_path(request.path)
    canonical = canonical_request(unsigned, path, values, names, body.payload_hash)
    scope = f"{timestamp[:8]}/{region}/{service}/aws4_request"
    secret = signing_key(key.secret, timestamp[:8], region, service)
    signature = sign(secret, string_to_sign(timestamp, scope, canonical))
    credential = f"Credential={key.access_key_id}/{scope}"
    text = f"AWS4-HMAC-SHA256 {credential}, SignedHeaders={';'.join(names)}, Signature={signature}"
    return _head(unsigned, [*pairs, ("authorization", text)], body.length, declared=bool(body.length), expects=expects)


_SIGNED = frozenset({"host", "content-type", "content-md5"})


def sha256_hex(data: bytes) -> str:
    """What stands for ``data`` in a signature."""
    return hashlib.sha256(data).hexdigest()


def _is_signature(part: str) -> bool:
    return part.partition("=")[0].lower() in _SIGNATURE_QUERY


def _head(request: HttpRequest, pairs: Pairs, length: int | None, *, declared: bool, expects: bool) -> bytes:
    target = f"{request.path}?{request.query}" if request.query else request.path
    lines = [f"{request.method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in pairs]
    if length is None:
        lines.append("transfer-encoding: chunked")
    elif length or declared or request.method not in _WITHOUT_BODY:
        lines.append(f"content-length: {length}")
    if expects:
        lines.append("expect: 100-continue")
    return "\r\n".join([*lines, "\r\n"]).encode("latin-1")
