"""The head of a forwarded request: the client's own, or one that is signed anew.

Rules: what speaks of one connection alone stays on it (RFC 9110, section 7.6.1), everything else goes on, in its order;
what is signed anew carries nothing of the client's signature.  What Opentrail read, the upstream reads: a request's
Connection header hides nothing from it, and what says two things is not sent (``upstream_ambiguity``).

IAM user guide, "Create a signed AWS API request".
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from datetime import datetime

from opentrail.core.events import format_time
from opentrail.core.http import Headers, HttpRequest
from opentrail.core.sigv4 import canonical_request, sign, signing_key, string_to_sign
from opentrail.core.sigv4.canonical import canonical_headers, canonical_path, s3_canonical_paths
from opentrail.server.upstream_bodies import ForwardedBody
from opentrail.server.upstream_settings import UpstreamKey

#: Headers of one connection, in requests and in answers.
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer"}
    | {"transfer-encoding", "upgrade", "http2-settings"}
)
_FRAMING = HOP_BY_HOP | {"content-length", "expect"}
_SIGNATURE = frozenset({"authorization", "date", "host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"})
#: Query parameters of signatures, in lower case.
SIGNATURE_QUERY = frozenset(
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


def _sent_on(request: HttpRequest, without: Collection[str]) -> Pairs:
    """The headers of ``request`` without those named in ``without``, whatever its Connection header names.

    A field that Connection names would be for Opentrail alone; but what is recorded and authorised by it, and not done
    by it, would be a lie.  RFC 9110, section 7.6.1, forbids clients to name fields that are for all recipients.
    """
    return [pair for pair in request.headers.pairs if pair[0] not in without]


def pass_through_head(request: HttpRequest, length: int | None, *, expects: bool) -> bytes:
    """The head of ``request`` for a body of ``length`` bytes (None: in chunks), as its client signed it."""
    declared = "content-length" in request.headers
    return _head(request, _sent_on(request, _FRAMING), length, declared=declared, expects=expects)


def re_signed_head(
    request: HttpRequest,
    body: ForwardedBody,
    *,
    path: str,
    host: str,
    service: str,
    region: str,
    key: UpstreamKey,
    now: datetime,
    expects: bool,
) -> bytes:
    """The head of ``request`` for ``path``, signed by ``key`` for ``service`` in ``region``."""
    timestamp = format_time(now).replace("-", "").replace(":", "")
    pairs = [("host", host), *_sent_on(request, _FRAMING | _SIGNATURE | body.without), *body.headers]
    pairs += [("x-amz-date", timestamp), ("x-amz-content-sha256", body.payload_hash)]
    if key.session_token:
        pairs.append(("x-amz-security-token", key.session_token))
    query = "&".join(part for part in request.query.split("&") if not _is_signature(part)) if request.query else ""
    unsigned = HttpRequest(method=request.method, path=path, query=query, headers=Headers(pairs))
    values = canonical_headers(unsigned.headers)
    names = tuple(sorted(name for name in values if name.startswith("x-amz-") or name in _SIGNED))
    signed_path = s3_canonical_paths(path)[0] if service == "s3" else canonical_path(path)
    canonical = canonical_request(unsigned, signed_path, values, names, body.payload_hash)
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
    return part.partition("=")[0].lower() in SIGNATURE_QUERY


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
