"""Request bodies that a client has gzipped on its own account (Smithy, ``requestCompression``).

Rules: one gzip member, at most ``MAX_BYTES`` out of it, ``ServiceFault`` and nothing else for anything wrong.
The signature covers the bytes as sent, so this comes after authentication, and before parsing.  RFC 1952.
"""

from __future__ import annotations

import zlib

from opentrail.core.errors import ServiceFault
from opentrail.core.http import Headers, HttpRequest

MAX_BYTES = 16 * 1024 * 1024


def is_gzipped(headers: Headers) -> bool:
    """Whether the last content coding of the request is gzip."""
    return headers.get("content-encoding").rpartition(",")[2].strip().lower() == "gzip"


def inflate_body(request: HttpRequest, body: bytes) -> bytes:
    """``body`` without the gzip coding that the request declares last, if it does.

    Raises ``ServiceFault`` for a body that is no gzip, or more than ``MAX_BYTES`` without it.
    """
    return inflate(body) if body and is_gzipped(request.headers) else body


def inflate(body: bytes) -> bytes:
    """The one gzip member that ``body`` is, decompressed.

    Raises ``ServiceFault`` for a body that is no gzip, or more than ``MAX_BYTES`` without it.
    """
    decompressor = zlib.decompressobj(wbits=31)
    try:
        inflated = decompressor.decompress(body, MAX_BYTES)
    except zlib.error as error:
        raise ServiceFault("SerializationException", "The body is not in the content encoding it declares.") from error
    if decompressor.unconsumed_tail:
        raise ServiceFault("RequestEntityTooLarge", "The body is too large once it is decompressed.", status=413)
    if not decompressor.eof:
        raise ServiceFault("SerializationException", "The body ends within its content encoding.")
    return inflated


def without_gzip(headers: Headers) -> Headers:
    """The headers as they were before the client gzipped the body."""
    pairs = []
    for name, value in headers.pairs:
        if name == "content-encoding":
            rest = value.rpartition(",")[0].strip()
            if rest:
                pairs.append((name, rest))
        else:
            pairs.append((name, value))
    return Headers(pairs)
