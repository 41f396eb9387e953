"""The canonical form of a request: the bytes that a signature covers.

Rules: S3 signs a path as it stands, encoded once; every other service removes ``.``, ``..`` and empty segments from the
path and encodes it a second time.  A query is decoded, encoded again with upper-case hexadecimal and sorted by name,
then value; ``X-Amz-Signature`` is left out.  Header values are trimmed, runs of white space become one space, repeated
headers are joined with commas in the order of arrival.  Text is Latin-1: one character for each byte on the wire.

Source: IAM user guide, "Create a signed AWS API request", step 1.
"""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote, unquote_to_bytes

from opentrail.core.http import Headers, HttpRequest

_PLAIN_PATH = re.compile(r"/[A-Za-z0-9_.~/-]*")
_PLAIN = re.compile(r"[A-Za-z0-9_.~-]*")
_SPACES = re.compile(r"[ \t]+")
_UNRESERVED = "-_.~"


def octets(text: str) -> bytes:
    """The bytes that ``text`` was on the wire (Latin-1), or its UTF-8 where a caller made it of wider characters."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def canonical_path(path: str) -> str:
    """The path as all services but S3 sign it: normalised, then encoded once more."""
    if path == "/" or not path:
        return "/"
    if "/." not in path and "//" not in path and _PLAIN_PATH.fullmatch(path):
        return path
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment and segment != ".":
            segments.append(segment)
    trailing = "/" if path.endswith("/") and segments else ""
    return quote(octets("/" + "/".join(segments) + trailing), safe="/" + _UNRESERVED)


def s3_canonical_paths(path: str) -> tuple[str, ...]:
    """The forms in which clients sign a path to S3: re-encoded as S3 documents it, and as sent where that differs.

    Both name the same object: either form decodes to the same key.
    """
    if _PLAIN_PATH.fullmatch(path):
        return (path,)
    encoded = quote(unquote_to_bytes(octets(path)), safe="/" + _UNRESERVED)
    return (encoded,) if encoded == path else (encoded, path)


def canonical_query(query: str) -> str:
    """``query`` decoded, encoded and sorted, without the signature itself."""
    if not query:
        return ""
    pairs: list[tuple[str, str]] = []
    for piece in query.split("&"):
        name, _, value = piece.partition("=")
        if piece and name.lower() != "x-amz-signature":
            pairs.append((_encode(name), _encode(value)))
    pairs.sort()
    return "&".join([f"{name}={value}" for name, value in pairs])


def _encode(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    return quote(unquote_to_bytes(octets(text.replace("+", " "))), safe=_UNRESERVED)


def canonical_headers(headers: Headers) -> dict[str, str]:
    """Every header's canonical value by lower-case name."""
    values: dict[str, str] = {}
    for name, raw in headers.pairs:
        value = _SPACES.sub(" ", raw).strip() if "  " in raw or "\t" in raw else raw.strip()
        values[name] = f"{values[name]},{value}" if name in values else value
    return values


def canonical_request(
    request: HttpRequest, path: str, values: dict[str, str], signed_headers: tuple[str, ...], payload_hash: str
) -> str:
    """The canonical request, with ``path`` and header ``values`` in canonical form.

    Raises ``KeyError`` for a signed header that the request does not have.
    """
    lines = "".join([f"{name}:{values[name]}\n" for name in signed_headers])
    query = canonical_query(request.query)
    return f"{request.method}\n{path}\n{query}\n{lines}\n{';'.join(signed_headers)}\n{payload_hash}"


def string_to_sign(timestamp: str, scope: str, canonical: str) -> str:
    """What is signed: algorithm, time (YYYYMMDDTHHMMSSZ), credential scope and the canonical request's SHA-256."""
    return f"AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{hashlib.sha256(octets(canonical)).hexdigest()}"
