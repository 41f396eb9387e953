"""Bodies of forwarded requests: as they came, or checked and framed anew on their way.

Rules: constant memory; what Opentrail must check (a chunk signature, a checksum, the SHA-256 that was signed) is
checked before the last bytes leave, so that an upstream never has all of a body that is not what its head declared.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from opentrail.core.http import HttpRequest
from opentrail.core.sigv4 import (
    STREAMING_SIGNED_TRAILER,
    STREAMING_UNSIGNED_TRAILER,
    UNSIGNED_PAYLOAD,
    Authorization,
    s3_payload_hash,
)
from opentrail.core.values import dataclass
from opentrail.core.wire.chunked import is_chunked
from opentrail.server.bodies import RequestBody
from opentrail.server.payloads import Decoder

_LAST_CHUNK = b"0\r\n"
_CHUNKED_NAMES = frozenset({"x-amz-decoded-content-length", "x-amz-trailer"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardedBody:
    """A body as the upstream receives it, and what the request's head must say of it.

    ``length`` is None for one that is framed by chunked transfer coding (``content`` holds the frames).  ``without``
    are the client's headers that do not speak of it.
    """

    content: bytes | AsyncIterator[bytes]
    length: int | None
    payload_hash: str
    without: frozenset[str] = frozenset()
    headers: tuple[tuple[str, str], ...] = ()


async def as_sent(body: RequestBody) -> AsyncIterator[bytes]:
    """The parts of ``body``, as they come; in chunked transfer coding where the client declared no length.

    Raises ``ServiceFault`` where the client does not send it to its end.
    """
    while part := await body.read_some():
        yield part if body.declared is not None else _chunk(part)
    if body.declared is None:
        yield _LAST_CHUNK + b"\r\n"


def checked_stream(
    request: HttpRequest, body: RequestBody, decoder: Decoder, authorization: Authorization | None
) -> ForwardedBody:
    """The payload of an S3 request that is signed anew; its own checks are made on the way.

    Unsigned chunks stay as they are.  Signed ones lose their signatures, which only the client can make: what had no
    trailers becomes a plain body, what had them unsigned chunks with the same trailers.
    """
    sent_hash = s3_payload_hash(authorization) if authorization else request.headers.get("x-amz-content-sha256")
    sent_hash = sent_hash or UNSIGNED_PAYLOAD
    if not is_chunked(sent_hash):
        content = _hold_back(_plain(body, decoder))
        if decoder.length is None:
            content = _in_chunks(content)
        return ForwardedBody(content=content, length=decoder.length, payload_hash=sent_hash)
    if sent_hash == STREAMING_UNSIGNED_TRAILER:
        content = _hold_back(_watched(body, decoder))
        if body.declared is None:
            content = _in_chunks(content)
        return ForwardedBody(content=content, length=body.declared, payload_hash=sent_hash)
    if sent_hash == STREAMING_SIGNED_TRAILER:
        content = _in_chunks(_framed(_plain(body, decoder), decoder))
        return ForwardedBody(content=content, length=None, payload_hash=STREAMING_UNSIGNED_TRAILER)
    return ForwardedBody(
        content=_hold_back(_plain(body, decoder)),
        length=decoder.length,
        payload_hash=UNSIGNED_PAYLOAD,
        without=_CHUNKED_NAMES | {"content-encoding"},
        headers=content_encoding(request),
    )


def content_encoding(request: HttpRequest) -> tuple[tuple[str, str], ...]:
    """The object's own coding: ``Content-Encoding`` without ``aws-chunked``, which is the framing's."""
    codings = (each.strip() for each in ",".join(request.headers.get_all("content-encoding")).split(","))
    kept = ",".join(each for each in codings if each and each != "aws-chunked")
    return (("content-encoding", kept),) if kept else ()


def checked_whole(request: HttpRequest, data: bytes, trailers: dict[str, str], payload_hash: str) -> ForwardedBody:
    """A payload that is at hand and was checked; what its trailers said, its headers say."""
    without = _CHUNKED_NAMES | {"content-encoding"}
    headers = (*content_encoding(request), *trailers.items())
    return ForwardedBody(content=data, length=len(data), payload_hash=payload_hash, without=without, headers=headers)


async def _plain(body: RequestBody, decoder: Decoder) -> AsyncIterator[bytes]:
    """The payload; its end comes only when it is good.  Raises ``ServiceFault``."""
    while part := await body.read_some():
        payload = decoder.feed(part)
        if payload:
            yield payload
    rest = decoder.finish()
    if rest:
        yield rest


async def _watched(body: RequestBody, decoder: Decoder) -> AsyncIterator[bytes]:
    """The body as it came; its end comes only when the payload within is good.  Raises ``ServiceFault``."""
    while part := await body.read_some():
        decoder.feed(part)
        yield part
    decoder.finish()


async def _hold_back(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """``parts``, each when the next one, or the good end, is there."""
    held = b""
    async for part in parts:
        if held:
            yield held
        held = part
    if held:
        yield held


async def _framed(parts: AsyncIterator[bytes], decoder: Decoder) -> AsyncIterator[bytes]:
    """A payload as unsigned ``aws-chunked``, with the trailers that it came with."""
    async for part in parts:
        yield _chunk(part)
    fields = "".join(f"{name}:{value}\r\n" for name, value in decoder.trailers.items())
    yield _LAST_CHUNK + fields.encode("latin-1") + b"\r\n"


async def _in_chunks(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """``parts`` in chunked transfer coding (RFC 9112, section 7.1)."""
    async for part in parts:
        yield _chunk(part)
    yield _LAST_CHUNK + b"\r\n"


def _chunk(part: bytes) -> bytes:
    """A chunk, as transfer coding and unsigned ``aws-chunked`` both write it."""
    return b"%x\r\n%b\r\n" % (len(part), part)
