"""Signature Version 2 in the query string, for S3 alone: what clients still make for us-east-1 unless they are told.

A URL carries ``AWSAccessKeyId``, ``Expires`` (seconds since the epoch) and ``Signature`` (Base64 of an HMAC-SHA1).
Rules:

* The three parameters are there once each, spelled so; beside any trace of another mechanism they are refused.
* Signed are the method, Content-MD5, Content-Type, ``Expires``, every ``x-amz-*`` header and the resource: the path as
  it was sent, under the bucket, with the parameters in ``SIGNED_PARAMETERS``.  Nothing else is: not the host, not the
  payload, not a listing's prefix.
* Clients move ``x-amz-*`` headers into the query of such a URL.  They are headers there too: ``with_query_headers``
  puts them back before anything else reads the request, so that what was signed is what is done.
* The Authorization header of Signature Version 2 is not supported (``core.sigv4`` refuses it).

The scheme itself joins decoded values with ``&`` and ``=``: a signed value that holds ``&versionId=1`` cannot be told
from two parameters.  No server can mend that; Signature Version 4 does.

Source: S3 API reference, "Signing and authenticating REST requests (AWS signature version 2)", in particular "Query
string request authentication alternative".
"""

from __future__ import annotations

import hmac
import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote_to_bytes

from opentrail.core.errors import ServiceFault
from opentrail.core.http import Headers, HttpRequest
from opentrail.core.sigv4 import Family
from opentrail.core.sigv4.canonical import octets
from opentrail.core.sigv4.faults import mismatch, two_mechanisms

#: The query parameters that belong to the resource: S3's list, as its own clients sign it ...
_LISTED = frozenset(
    """
    accelerate acl analytics cors defaultObjectAcl delete inventory lifecycle location logging metrics notification
    object-lock partNumber policy replication requestPayment restore select select-type storageClass tagging torrent
    uploadId uploads versionId versioning versions website
    response-cache-control response-content-disposition response-content-encoding response-content-language
    response-content-type response-expires
    """.split()  # noqa: SIM905  a list of three dozen words
)
#: ... and the sub-resources that S3 got since.  A sub-resource chooses the operation: were it not signed, whoever
#: holds a URL could turn "put this object" into "put this object's retention".
_ADDED = frozenset(
    """
    abac annotation attributes encryption intelligent-tiering legal-hold metadataAnnotationTable metadataConfiguration
    metadataInventoryTable metadataJournalTable metadataTable ownershipControls policyStatus publicAccessBlock
    renameObject retention session
    """.split()  # noqa: SIM905  as above
)
SIGNED_PARAMETERS = _LISTED | _ADDED

_PARTS = ("Signature", "Expires", "AWSAccessKeyId")
_TRACE = re.compile(r"(?:^|&)(?:(?i:AWSAccessKeyId)|Signature)(?:[=&]|$)")
_SIGV4_TRACE = re.compile(
    r"(?:^|&)x-amz-(?:algorithm|credential|signature|signedheaders|expires)(?:[=&]|$)", re.IGNORECASE
)
_HEADER_NAME = re.compile(r"x-amz-[a-z0-9-]{1,120}")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # what no header's value holds
_SECONDS = re.compile(r"[+-]?[0-9]{1,19}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = -62_135_596_800, 2**31 - 1  # the year 1; S3 takes no more than 31 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryAuthorization:
    """A claim: ``access_key_id`` signed this request, for use until ``end``."""

    access_key_id: str
    signature: str  # Base64
    expires: str  # as sent, which is what is signed
    end: datetime  # the same, aware, UTC
    session_token: str = ""


def is_query_signed(request: HttpRequest) -> bool:
    """Whether the query has a trace of this mechanism: what cannot be read then is refused, not taken for unsigned."""
    return bool(request.query) and _TRACE.search(request.query) is not None


def with_query_headers(request: HttpRequest) -> HttpRequest:
    """``request`` with the ``x-amz-*`` parameters of its query as headers, where this mechanism alone signs it.

    A header that was sent as well counts, and its parameter does not.  What cannot be a header stays where it is, where
    nothing reads it.
    """
    if not is_query_signed(request) or _has_other_mechanism(request):
        return request
    kept: list[str] = []
    moved: list[tuple[str, str]] = []
    for piece, name, value in _parameters(request.query):
        if not _HEADER_NAME.fullmatch(name) or _CONTROL.search(value):
            kept.append(piece)
        elif name not in request.headers:
            moved.append((name, value.strip(" \t")))
    return replace(request, query="&".join(kept), headers=Headers([*request.headers, *moved]))


def parse_query_authorization(request: HttpRequest) -> QueryAuthorization:
    """The claim of a request that ``is_query_signed``, and that ``with_query_headers`` has seen to.

    Raises ``ServiceFault`` InvalidArgument beside another mechanism, AccessDenied for a parameter that is missing or
    given twice and for a date that is none.
    """
    if _has_other_mechanism(request):
        raise two_mechanisms(Family.S3)
    found: dict[str, str] = {}
    for _, name, value in _parameters(request.query):
        if name in _PARTS:
            if name in found:
                raise _denied(f"The query parameter {name} must be given once")
            found[name] = value
    if not all(found.get(name) for name in _PARTS):
        raise _denied("Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters")
    expires = found["Expires"]
    seconds = int(expires) if _SECONDS.fullmatch(expires) else _LAST + 1
    if not _FIRST <= seconds <= _LAST:
        raise _denied(f"Invalid date (should be seconds since epoch): {expires}")
    return QueryAuthorization(
        access_key_id=found["AWSAccessKeyId"],
        signature=found["Signature"],
        expires=expires,
        end=_EPOCH + timedelta(seconds=seconds),
        session_token=request.headers.get("x-amz-security-token"),
    )


def verify_query_signature(
    request: HttpRequest, authorization: QueryAuthorization, secret: str, now: datetime, *, path: str
) -> None:
    """Return when ``secret`` signed ``request`` as ``authorization`` says and ``now`` (aware) is not too late.

    ``path`` is the request's in path style, percent-encoded as sent: ``/bucket/key``.  Raises ``ServiceFault``
    AccessDenied, SignatureDoesNotMatch.
    """
    if now > authorization.end:
        fields = {"Expires": _utc(authorization.end), "ServerTime": _utc(now)}
        raise _denied("Request has expired", fields)
    given = octets(authorization.signature)
    texts = [string_to_sign(request, authorization.expires, each) for each in _signed_paths(path)]
    if not any(hmac.compare_digest(sign(secret, text).encode(), given) for text in texts):
        raise mismatch(Family.S3, authorization.access_key_id, authorization.signature, texts[0])


def sign(secret: str, text: str) -> str:
    """The signature of ``text`` (a string to sign) in Base64."""
    return b64encode(hmac.digest(secret.encode(), octets(text), "sha1")).decode("ascii")


def string_to_sign(request: HttpRequest, expires: str, path: str) -> str:
    """What is signed, Latin-1 for the bytes; ``path`` in path style.

    Source: "Constructing the CanonicalizedResource element", "Constructing the CanonicalizedAmzHeaders element".
    """
    values: dict[str, str] = {}
    for name, raw in request.headers:
        value = raw.strip()
        values[name] = f"{values[name]},{value}" if name in values else value
    lines = [request.method, values.get("content-md5", ""), values.get("content-type", ""), expires]
    lines += [f"{name}:{values[name]}" for name in sorted(values) if name.startswith("x-amz-")]
    return "\n".join([*lines, path + _sub_resources(request.query)])


def _sub_resources(query: str) -> str:
    """The signed parameters by name, decoded, those of one name in the order of arrival; an empty value is none."""
    pairs = [(name, value) for _, name, value in _parameters(query) if name in SIGNED_PARAMETERS]
    pairs.sort(key=lambda pair: pair[0])
    text = "&".join([f"{name}={value}" if value else name for name, value in pairs])
    return f"?{text}" if text else ""


def _signed_paths(path: str) -> tuple[str, ...]:
    """The forms of ``path`` that clients sign: as sent; a bucket's also with the slash that botocore signs, not sends.

    S3 itself takes the first alone, and so refuses botocore's URLs for buckets in path style: there botocore addresses
    a bucket by host name, which an endpoint at an IP address cannot offer.  Both forms name the bucket.
    """
    return (path, path + "/") if path != "/" and "/" not in path[1:] else (path,)


def _parameters(query: str) -> Iterator[tuple[str, str, str]]:
    """Each parameter as sent, its name and its value, decoded to Latin-1."""
    for piece in query.split("&"):
        name, _, value = piece.partition("=")
        yield piece, _decode(name), _decode(value)


def _decode(text: str) -> str:
    text = text.replace("+", " ")
    return unquote_to_bytes(octets(text)).decode("latin-1") if "%" in text else text


def _has_other_mechanism(request: HttpRequest) -> bool:
    return "authorization" in request.headers or _SIGV4_TRACE.search(request.query) is not None


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _denied(message: str, fields: dict[str, str] | None = None) -> ServiceFault:
    return ServiceFault("AccessDenied", message, status=403, fields=fields)
