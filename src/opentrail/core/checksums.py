"""Checksums of payloads: S3's algorithms, their combination over parts, and the check of a payload against its head.

Rules: a checksum travels as base64 of its big-endian bytes; an algorithm is one row of ``ALGORITHMS``; ``PayloadCheck``
judges a header when it is built and the payload when it ends.  The CRCs beyond CRC32 and the xxHashes come from awscrt,
imported when first used (its import costs more than a command's start).

Sources: Amazon S3 user guide, "Checking object integrity in Amazon S3"; S3 API reference, "Error responses".
"""

from __future__ import annotations

import binascii
import hashlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from isal import isal_zlib

from opentrail.core.errors import ServiceFault
from opentrail.core.http import Headers

COMPOSITE = "COMPOSITE"
FULL_OBJECT = "FULL_OBJECT"

_HEADER_PREFIX = "x-amz-checksum-"


class Hasher(Protocol):
    """An incremental checksum, as hashlib's are."""

    def update(self, data: bytes, /) -> None:
        """Add ``data``."""
        ...

    def digest(self) -> bytes:
        """The checksum so far, big-endian."""
        ...


class _Crc:
    """A CRC as a ``Hasher``: ``function(data, previous)`` continues one of ``size`` bytes."""

    __slots__ = ("_function", "_size", "_value")

    def __init__(self, function: Callable[[bytes, int], int], size: int) -> None:
        self._function = function
        self._size = size
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = self._function(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


class _XxHash:
    """An xxHash as a ``Hasher``: awscrt finalizes once, so the digest is kept."""

    __slots__ = ("_digest", "_native")

    def __init__(self, native: Any) -> None:
        self._native = native
        self._digest: bytes | None = None

    def update(self, data: bytes, /) -> None:
        assert self._digest is None, "an xxHash cannot go on after its digest"
        self._native.update(data)

    def digest(self) -> bytes:
        if self._digest is None:
            self._digest = bytes(self._native.finalize())
        return self._digest


def _crt() -> Any:
    from awscrt import checksums  # noqa: PLC0415  costs 65 ms: only who needs it pays

    return checksums


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """One checksum algorithm.  ``combine(a, b, size_of_b)`` joins two CRCs; only with it is FULL_OBJECT possible."""

    name: str  # as in ChecksumAlgorithm
    size: int  # bytes of a digest
    new: Callable[[], Hasher]
    combine: Callable[[int, int, int], int] | None = None
    default_type: str = COMPOSITE  # of a multipart upload that names none

    @property
    def header(self) -> str:
        """``x-amz-checksum-crc32c``."""
        return _HEADER_PREFIX + self.name.lower()

    @property
    def member(self) -> str:
        """The name in S3's shapes: ``ChecksumCRC32C``."""
        return "Checksum" + self.name


def _md5() -> Hasher:
    return hashlib.md5(usedforsecurity=False)


def _sha1() -> Hasher:
    return hashlib.sha1(usedforsecurity=False)


ALGORITHMS: Mapping[str, Algorithm] = {
    row.name: row
    for row in (
        Algorithm(
            name="CRC32",
            size=4,
            new=lambda: _Crc(isal_zlib.crc32, 4),
            combine=isal_zlib.crc32_combine,
        ),
        Algorithm(
            name="CRC32C",
            size=4,
            new=lambda: _Crc(_crt().crc32c, 4),
            combine=lambda a, b, size: int(_crt().combine_crc32c(a, b, size)),
        ),
        Algorithm(
            name="CRC64NVME",
            size=8,
            new=lambda: _Crc(_crt().crc64nvme, 8),
            combine=lambda a, b, size: int(_crt().combine_crc64nvme(a, b, size)),
            default_type=FULL_OBJECT,
        ),
        Algorithm(name="SHA1", size=20, new=_sha1),
        Algorithm(name="SHA256", size=32, new=hashlib.sha256),
        Algorithm(name="SHA512", size=64, new=hashlib.sha512),
        Algorithm(name="MD5", size=16, new=_md5),
        Algorithm(name="XXHASH64", size=8, new=lambda: _XxHash(_crt().XXHash.new_xxhash64())),
        Algorithm(name="XXHASH3", size=8, new=lambda: _XxHash(_crt().XXHash.new_xxhash3_64())),
        Algorithm(name="XXHASH128", size=16, new=lambda: _XxHash(_crt().XXHash.new_xxhash3_128())),
    )
}

BY_HEADER: Mapping[str, Algorithm] = {row.header: row for row in ALGORITHMS.values()}


def encode_checksum(digest: bytes) -> str:
    """The checksum as headers and XML carry it."""
    return b64encode(digest).decode()


def decode_checksum(text: str, size: int) -> bytes | None:
    """The ``size`` bytes of a checksum in base64, or None where ``text`` is anything else."""
    try:
        digest = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return digest if len(digest) == size else None


def require_type(algorithm: Algorithm, checksum_type: str) -> None:
    """Return when a multipart upload may have checksums of this type (COMPOSITE or FULL_OBJECT).

    Raises ``ServiceFault`` InvalidRequest: FULL_OBJECT is for CRCs alone, CRC64NVME knows nothing else.
    """
    possible = {FULL_OBJECT: algorithm.combine is not None, COMPOSITE: algorithm.default_type == COMPOSITE}
    if not possible.get(checksum_type, False):
        name = algorithm.name.lower()
        raise ServiceFault(
            "InvalidRequest", f"The {checksum_type} checksum type cannot be used with the {name} checksum algorithm."
        )


def composite_checksum(algorithm: Algorithm, parts: Sequence[bytes]) -> str:
    """The checksum of the parts' digests, with their number: ``nTwVcg==-2``."""
    hasher = algorithm.new()
    for digest in parts:
        hasher.update(digest)
    return f"{encode_checksum(hasher.digest())}-{len(parts)}"


def full_object_checksum(algorithm: Algorithm, parts: Sequence[tuple[bytes, int]]) -> str:
    """The checksum of the whole object from its parts' (digest, length in bytes); ``algorithm`` is a CRC."""
    assert algorithm.combine is not None, algorithm.name
    value = 0
    for digest, length in parts:
        value = algorithm.combine(value, int.from_bytes(digest, "big"), length)
    return encode_checksum(value.to_bytes(algorithm.size, "big"))


class PayloadCheck:
    """Compares a payload with what its request's head (and trailers) say of it, as S3 does for uploads.

    Feed every payload byte to ``update``, then call ``finish``.  ``also`` names algorithms whose digests the caller
    wants besides (MD5 for an ETag).  Only for requests whose x-amz-checksum-* headers speak of the body itself: those
    of CompleteMultipartUpload speak of the object.
    """

    def __init__(
        self, headers: Headers, *, payload_hash: str = "", trailer_names: Iterable[str] = (), also: Iterable[str] = ()
    ) -> None:
        """Read the declarations; ``payload_hash`` is x-amz-content-sha256, its literals are passed over.

        Raises ``ServiceFault`` InvalidDigest or InvalidRequest where one of them is not well-formed.
        """
        self._payload_hash = payload_hash.lower() if len(payload_hash) == 64 else ""
        self._content_md5 = _content_md5(headers)
        self._algorithm, self._expected = _declared(headers, frozenset(trailer_names))
        wanted = set(also)
        if self._payload_hash:
            wanted.add("SHA256")
        if self._content_md5 is not None:
            wanted.add("MD5")
        if self._algorithm:
            wanted.add(self._algorithm.name)
        self._hashers = {name: ALGORITHMS[name].new() for name in wanted}
        self._updates = [hasher.update for hasher in self._hashers.values()]

    @property
    def algorithm(self) -> Algorithm | None:
        """The algorithm of the request's own checksum, where it has one."""
        return self._algorithm

    def update(self, data: bytes) -> None:
        """Take the payload's next bytes."""
        for update in self._updates:
            update(data)

    def digest(self, name: str) -> bytes:
        """The digest of what was fed, by an algorithm that the request or ``also`` named."""
        return self._hashers[name].digest()

    def finish(self, trailers: Mapping[str, str] | None = None) -> None:
        """Compare.  Raises ``ServiceFault`` XAmzContentSHA256Mismatch, BadDigest or InvalidRequest."""
        if self._payload_hash:
            computed = self.digest("SHA256").hex()
            if computed != self._payload_hash:
                raise ServiceFault(
                    "XAmzContentSHA256Mismatch",
                    "The provided 'x-amz-content-sha256' header does not match what was computed.",
                    fields={
                        "ClientComputedContentSHA256": self._payload_hash,
                        "S3ComputedContentSHA256": computed,
                    },
                )
        if self._content_md5 is not None and self._content_md5 != self.digest("MD5"):
            raise ServiceFault(
                "BadDigest",
                "The Content-MD5 you specified did not match what we received.",
                fields={
                    "ExpectedDigest": encode_checksum(self._content_md5),
                    "CalculatedDigest": encode_checksum(self.digest("MD5")),
                },
            )
        if self._algorithm:
            self._finish_checksum(self._algorithm, trailers or {})

    def _finish_checksum(self, algorithm: Algorithm, trailers: Mapping[str, str]) -> None:
        expected = self._expected
        if expected is None:
            expected = _read(algorithm, trailers.get(algorithm.header, ""))
        if expected != self.digest(algorithm.name):
            raise ServiceFault(
                "BadDigest", f"The {algorithm.name} you specified did not match the calculated checksum."
            )


def _content_md5(headers: Headers) -> bytes | None:
    if "content-md5" not in headers:
        return None
    text = headers.get("content-md5")
    digest = decode_checksum(text, 16)
    if digest is None:
        raise ServiceFault("InvalidDigest", "The Content-MD5 you specified was invalid.", fields={"Content-MD5": text})
    return digest


def _declared(headers: Headers, trailer_names: frozenset[str]) -> tuple[Algorithm | None, bytes | None]:
    """The request's checksum: its algorithm, and its value unless that comes in a trailer."""
    if trailer_names - BY_HEADER.keys():
        raise ServiceFault("InvalidRequest", "The value specified in the x-amz-trailer header is not supported")
    found = [(BY_HEADER[name], value) for name, value in headers if name in BY_HEADER]
    if len(found) + len(trailer_names) > 1:
        text = "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
        raise ServiceFault("InvalidRequest", text)
    algorithm = next(iter([row for row, _ in found] + [BY_HEADER[name] for name in trailer_names]), None)
    _check_sdk_algorithm(headers.get("x-amz-sdk-checksum-algorithm"), algorithm)
    if found:
        return found[0][0], _read(*found[0])
    return algorithm, None


def _check_sdk_algorithm(name: str, algorithm: Algorithm | None) -> None:
    if not name:
        return
    if algorithm is None:
        text = (
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers "
            "were found."
        )
        raise ServiceFault("InvalidRequest", text)
    if name.upper() != algorithm.name:
        raise ServiceFault("InvalidRequest", "Value for x-amz-sdk-checksum-algorithm header is invalid.")


def _read(algorithm: Algorithm, text: str) -> bytes:
    digest = decode_checksum(text, algorithm.size)
    if digest is None:
        raise ServiceFault("InvalidRequest", f"Value for {algorithm.header} header is invalid.")
    return digest
