"""Decoding of ``aws-chunked`` payloads, sans I/O: bytes of any split in, payload bytes out.

    chunk   = hex-size [";chunk-signature=" signature] CRLF data CRLF
    payload = *chunk last-chunk          last-chunk is a chunk of size 0; before trailers its final CRLF is absent
    trailer = *(name ":" value CRLF) [ "x-amz-trailer-signature:" signature CRLF ] CRLF

Rules: memory is constant (headers and trailers have limits, data passes through); decoded data may come out before
its chunk's signature was checked, so it is good only once ``finish`` returned; each signature covers the one before it,
from the request's own (the seed) to the trailer's; fed one byte at a time, the result is the same as fed at once.
Anything wrong is a ``ServiceFault`` with S3's code; after one, the decoder is of no further use.

Sources: Amazon S3 API reference, "Signature Calculations for the Authorization Header: Transferring Payload in Multiple
Chunks (Chunked Upload)" and "... Including Trailing Headers".
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from opentrail.core.errors import ServiceFault
from opentrail.core.http import HttpRequest
from opentrail.core.sigv4 import (
    EMPTY_SHA256,
    STREAMING_SIGNED,
    STREAMING_SIGNED_TRAILER,
    Authorization,
    sign,
    signing_key,
)

MAX_CHUNK_HEADER_BYTES = 256
MAX_TRAILER_BYTES = 16 * 1024
MIN_CHUNK_BYTES = 8 * 1024  # of every chunk but the last two: the last data and the empty one

_CHUNK_HEADER = re.compile(rb"([0-9a-fA-F]{1,16})(?:;chunk-signature=([0-9a-f]{64}))?")
_TRAILER_SIGNATURE = "x-amz-trailer-signature"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkSigner:
    """What chunk signatures are made of: the signing key, the request's time and scope, and its signature, the seed."""

    key: bytes
    timestamp: str
    scope: str
    seed: str

    def chunk_signature(self, previous: str, digest: str) -> str:
        """The signature of a chunk whose data has the SHA-256 ``digest`` (hexadecimal)."""
        head = f"AWS4-HMAC-SHA256-PAYLOAD\n{self.timestamp}\n{self.scope}"
        return sign(self.key, f"{head}\n{previous}\n{EMPTY_SHA256}\n{digest}")

    def trailer_signature(self, previous: str, digest: str) -> str:
        """The signature of trailers whose canonical form (``name:value`` LF each) has the SHA-256 ``digest``."""
        return sign(self.key, f"AWS4-HMAC-SHA256-TRAILER\n{self.timestamp}\n{self.scope}\n{previous}\n{digest}")


def is_chunked(payload_hash: str) -> bool:
    """Whether a payload with this x-amz-content-sha256 is framed in chunks."""
    return payload_hash.startswith("STREAMING-")


def chunked_decoder(
    request: HttpRequest, payload_hash: str, authorization: Authorization | None, secret: str
) -> ChunkedDecoder:
    """The decoder for ``request``'s payload, whose head is verified; ``is_chunked(payload_hash)`` holds.

    ``secret`` is the key's, unused for unsigned chunks.  Raises ``ServiceFault`` MissingContentLength,
    InvalidArgument or InvalidRequest where the head does not say what a chunked payload needs.
    """
    length = request.headers.get("x-amz-decoded-content-length")
    if not length:
        raise ServiceFault("MissingContentLength", "You must provide the Content-Length HTTP header.", status=411)
    if not re.fullmatch(r"[0-9]{1,19}", length):
        fields = {"ArgumentName": "x-amz-decoded-content-length", "ArgumentValue": length}
        raise ServiceFault("InvalidArgument", "x-amz-decoded-content-length must be a number.", fields=fields)
    signer = None
    if payload_hash in (STREAMING_SIGNED, STREAMING_SIGNED_TRAILER):
        if authorization is None:
            raise ServiceFault("InvalidRequest", "Chunk signatures need a signed request.")
        key = signing_key(secret, authorization.date, authorization.region, authorization.service)
        signer = ChunkSigner(
            key=key, timestamp=authorization.timestamp, scope=authorization.scope, seed=authorization.signature
        )
    names = [name.strip().lower() for name in ",".join(request.headers.get_all("x-amz-trailer")).split(",")]
    return ChunkedDecoder(
        decoded_length=int(length),
        signer=signer,
        trailer_names=[name for name in names if name],
        has_trailer=payload_hash != STREAMING_SIGNED,
    )


class _State(Enum):
    HEADER = auto()  # a chunk's size line
    DATA = auto()
    DATA_END = auto()  # the CRLF after a chunk's data
    TRAILER = auto()
    DONE = auto()


class ChunkedDecoder:
    """An incremental decoder of one payload; ``trailers`` is complete once ``finish`` returned."""

    def __init__(
        self,
        *,
        decoded_length: int,
        signer: ChunkSigner | None = None,
        trailer_names: Iterable[str] = (),
        has_trailer: bool = False,
    ) -> None:
        self.trailers: dict[str, str] = {}
        self._declared = decoded_length
        self._signer = signer
        self._trailer_names = frozenset(trailer_names)
        self._has_trailer = has_trailer
        self._state = _State.HEADER
        self._pending = bytearray()  # an incomplete line
        self._left = 0  # bytes of the current chunk still to come
        self._decoded = 0
        self._chunk = 0  # its number, from 1
        self._short_chunk = 0  # the size of a chunk that only the last may have; 0: none yet
        self._hash = hashlib.sha256()
        self._signature = ""  # of the current chunk, as sent
        self._previous = signer.seed if signer else ""
        self._trailer_bytes = 0
        self._trailer_signature = ""

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes of the body and return the payload bytes in them.  Raises ``ServiceFault``."""
        out: list[bytes] = []
        view = memoryview(data)
        position = 0
        while position < len(view):
            if self._state is _State.DATA:
                piece = view[position : position + self._left]
                out.append(bytes(piece))
                self._take_data(piece)
                position += len(piece)
            elif self._state is _State.DONE:
                raise _incomplete("There is data after the end of the chunked payload.")
            else:
                position = self._take_line(data, position)
        return out[0] if len(out) == 1 else b"".join(out)

    def finish(self) -> None:
        """Say that the body has ended.  Raises ``ServiceFault`` where the payload has not."""
        if self._state is not _State.DONE:
            raise _incomplete("The request body terminated unexpectedly")
        if self._decoded != self._declared:
            raise _wrong_length()

    def _take_data(self, piece: memoryview) -> None:
        if self._signer:
            self._hash.update(piece)
        self._left -= len(piece)
        self._decoded += len(piece)
        if not self._left:
            self._state = _State.DATA_END

    def _take_line(self, data: bytes, position: int) -> int:
        """Take bytes up to the end of the current line; return the position after them."""
        end = data.find(b"\n", position)
        stop = len(data) if end < 0 else end + 1
        limit = self._line_limit()
        if len(self._pending) + stop - position > limit:
            raise _malformed_trailer() if self._state is _State.TRAILER else _bad_chunk_header()
        self._pending += data[position:stop]
        if end >= 0:
            line = bytes(self._pending)
            self._pending.clear()
            self._take_whole_line(line)
        return stop

    def _line_limit(self) -> int:
        if self._state is _State.TRAILER:
            return MAX_TRAILER_BYTES - self._trailer_bytes
        return 2 if self._state is _State.DATA_END else MAX_CHUNK_HEADER_BYTES

    def _take_whole_line(self, line: bytes) -> None:
        if self._state is _State.TRAILER:
            self._trailer_bytes += len(line)
            self._take_trailer(line)
        elif not line.endswith(b"\r\n"):
            raise _bad_chunk_header()
        elif self._state is _State.HEADER:
            self._start_chunk(line[:-2])
        elif line != b"\r\n":
            raise _bad_chunk_header()
        else:
            self._check_chunk()
            self._state = _State.HEADER

    def _start_chunk(self, line: bytes) -> None:
        match = _CHUNK_HEADER.fullmatch(line)
        if not match or (match[2] is None) is not (self._signer is None):
            raise _bad_chunk_header()
        size = int(match[1], 16)
        self._chunk += 1
        self._left = size
        self._signature = match[2].decode() if match[2] else ""
        if size and self._short_chunk:
            raise _short_chunk(self._chunk - 1, self._short_chunk)
        if self._decoded + size > self._declared:
            raise _wrong_length()
        if size < MIN_CHUNK_BYTES:
            self._short_chunk = size
        if size:
            self._state = _State.DATA
        else:
            self._check_chunk()
            self._state = _State.TRAILER  # without trailers only the empty line may follow

    def _check_chunk(self) -> None:
        if self._signer:
            expected = self._signer.chunk_signature(self._previous, self._hash.hexdigest())
            _compare(expected, self._signature)
            self._previous = expected
            self._hash = hashlib.sha256()

    def _take_trailer(self, line: bytes) -> None:
        text = line.rstrip(b"\r\n")
        if not text:
            self._end()
            return
        raw_name, colon, raw_value = text.partition(b":")
        name = raw_name.decode("latin-1").strip().lower()
        value = raw_value.decode("latin-1").strip()
        if not colon or not self._has_trailer or self._trailer_signature:
            raise _malformed_trailer()
        if name == _TRAILER_SIGNATURE and self._signer:
            self._trailer_signature = value
        elif name in self._trailer_names and name not in self.trailers:
            self.trailers[name] = value
        else:
            raise _malformed_trailer()

    def _end(self) -> None:
        if self._has_trailer and self.trailers.keys() != self._trailer_names:
            raise _malformed_trailer()
        if self._has_trailer and self._signer:
            canonical = "".join(f"{name}:{self.trailers[name]}\n" for name in sorted(self.trailers))
            digest = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
            _compare(self._signer.trailer_signature(self._previous, digest), self._trailer_signature)
        self._state = _State.DONE


def _compare(expected: str, given: str) -> None:
    if not hmac.compare_digest(expected.encode(), given.encode("latin-1")):
        text = (
            "The request signature we calculated does not match the signature you provided. Check your key and "
            "signing method."
        )
        raise ServiceFault("SignatureDoesNotMatch", text, status=403)


def _incomplete(text: str) -> ServiceFault:
    return ServiceFault("IncompleteBody", text)


def _wrong_length() -> ServiceFault:
    return _incomplete("You did not provide the number of bytes specified by the Content-Length HTTP header")


def _bad_chunk_header() -> ServiceFault:
    return ServiceFault("InvalidRequest", "The chunk framing of the aws-chunked body is not well-formed.")


def _short_chunk(number: int, size: int) -> ServiceFault:
    text = f"Only the last chunk is allowed to have a size less than {MIN_CHUNK_BYTES} bytes"
    return ServiceFault(
        "InvalidChunkSizeError", text, status=403, fields={"Chunk": str(number), "BadChunkSize": str(size)}
    )


def _malformed_trailer() -> ServiceFault:
    text = "The request contained trailing data that was not well-formed or did not conform to our published schema."
    return ServiceFault("MalformedTrailerError", text)
