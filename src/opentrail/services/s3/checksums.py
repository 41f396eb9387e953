"""The checksum of an object: the one that its request declares, or one that is computed while it is stored.

The payload is checked against what its head declares before it gets here (``ByteStream``).  S3 keeps a checksum of
every object: of the algorithm that the client names, else CRC-64/NVME (user guide, "Checking object integrity in
Amazon S3").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opentrail.core.checksums import ALGORITHMS, BY_HEADER, FULL_OBJECT, Algorithm, encode_checksum
from opentrail.core.http import ByteStream, Headers
from opentrail.services.s3.faults import invalid_request
from opentrail.services.s3.object_metadata import CHECKSUM_TYPE

DEFAULT = ALGORITHMS["CRC64NVME"]
CHUNK_BYTES = 1 << 20


def declared_checksum(parameters: Mapping[str, Any], headers: Headers) -> tuple[Algorithm | None, str]:
    """The algorithm that an upload names, and the value where its head has it (not in a trailer)."""
    for name in parameters:
        if name.startswith("Checksum") and name[8:] in ALGORITHMS:
            return ALGORITHMS[name[8:]], parameters[name]
    trailer = headers.get("x-amz-trailer")
    for name in trailer.lower().split(",") if trailer else ():
        if name.strip() in BY_HEADER:
            return BY_HEADER[name.strip()], ""
    return None, ""


def algorithm_named(name: str) -> Algorithm:
    """The algorithm ``name``.  Raises ``ServiceFault`` InvalidRequest."""
    algorithm = ALGORITHMS.get(name.upper())
    if algorithm is None:
        raise invalid_request("Checksum algorithm provided is unsupported. Please try again with a valid type.")
    return algorithm


def checksum_of_bytes(algorithm: Algorithm, data: bytes) -> str:
    """The checksum of ``data``, in base64."""
    hasher = algorithm.new()
    hasher.update(data)
    return encode_checksum(hasher.digest())


def summed(data: Iterator[bytes], algorithm: Algorithm, metadata: dict[str, str]) -> Iterator[bytes]:
    """Yield ``data``; at their end their checksum is in ``metadata`` (which local stores read only then)."""
    hasher = algorithm.new()
    for chunk in data:
        hasher.update(chunk)
        yield chunk
    add_checksum(metadata, algorithm, encode_checksum(hasher.digest()))


def add_checksum(metadata: dict[str, str], algorithm: Algorithm, value: str, checksum_type: str = FULL_OBJECT) -> None:
    """Put a checksum into an object's metadata."""
    metadata[algorithm.header] = value
    metadata[CHECKSUM_TYPE] = checksum_type


def chunks_of(payload: ByteStream | None) -> Iterator[bytes]:
    """The payload, piece by piece; what ``read`` raises comes through."""
    while payload is not None and (chunk := payload.read(CHUNK_BYTES)):
        yield chunk


def read_all(payload: ByteStream | None) -> bytes:
    """The payload whole, read to its verified end."""
    if payload is None:
        return b""
    data = payload.read()
    while more := payload.read():
        data += more
    return data
