"""The decoder of a request's payload: chunk framing off, every declared checksum checked."""

from __future__ import annotations

from opentrail.core.checksums import PayloadCheck
from opentrail.core.http import Headers, HttpRequest
from opentrail.core.sigv4 import UNSIGNED_PAYLOAD, Authorization, s3_payload_hash
from opentrail.core.wire.chunked import ChunkedDecoder, chunked_decoder, is_chunked

MAX_LENGTH_DIGITS = 18  # an exabyte: longer numbers are no lengths


class Decoder:
    """Payload bytes in, checked payload bytes out (``bodies.PayloadDecoder``)."""

    def __init__(self, check: PayloadCheck, chunks: ChunkedDecoder | None, length: int | None) -> None:
        self._check = check
        self._chunks = chunks
        self.length = length

    @property
    def trailers(self) -> dict[str, str]:
        """The trailers that a chunked payload came with; complete once ``finish`` returned."""
        return self._chunks.trailers if self._chunks else {}

    def feed(self, data: bytes) -> bytes:
        """The payload bytes within ``data``.  Raises ``ServiceFault``."""
        payload = self._chunks.feed(data) if self._chunks else data
        self._check.update(payload)
        return payload

    def finish(self) -> bytes:
        """Check what can only be checked at the end.  Raises ``ServiceFault``."""
        if self._chunks:
            self._chunks.finish()
            self._check.finish(self._chunks.trailers)
        else:
            self._check.finish()
        return b""


def payload_decoder(
    request: HttpRequest, authorization: Authorization | None, secret: str, *, covers_body: bool
) -> Decoder:
    """The decoder for the payload of an S3 request.

    ``covers_body``: its ``x-amz-checksum-`` headers speak of this body (those of CompleteMultipartUpload speak of the
    object).  Raises ``ServiceFault`` for a head that declares nonsense.
    """
    payload_hash = s3_payload_hash(authorization) if authorization else request.headers.get("x-amz-content-sha256")
    payload_hash = payload_hash or UNSIGNED_PAYLOAD
    chunks = chunked_decoder(request, payload_hash, authorization, secret) if is_chunked(payload_hash) else None
    declared = request.headers.get("x-amz-decoded-content-length" if chunks else "content-length")
    length = int(declared) if declared.isascii() and declared.isdigit() and len(declared) <= MAX_LENGTH_DIGITS else None
    trailers = request.headers.get("x-amz-trailer").split(",") if chunks else ()
    names = {name.strip().lower() for name in trailers} - {""}
    headers = request.headers
    if not covers_body:
        headers = Headers(pair for pair in headers if not pair[0].startswith("x-amz-checksum-"))
    check = PayloadCheck(headers, payload_hash=payload_hash, trailer_names=names)
    return Decoder(check, chunks, length)
