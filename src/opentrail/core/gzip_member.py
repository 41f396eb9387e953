"""One gzip member, written deterministically and read strictly (RFC 1952).

Rules: a file of the trail is exactly one member.  Bytes behind it are tampering: readers differ in what they make of
them, and some would read forged records there (``log-files-and-digests.md``, "Where the judge is weak", 1).  A member
must be whole, its CRC-32 and length right, its reserved flags zero.  Reading raises ``FormatError`` or nothing else
and stops at ``max_size`` uncompressed bytes.

The hashes of digests cover the *uncompressed* bytes.  What the header says of time, name and system is under no hash,
nor is the way in which they were compressed: ISA-L lets a code for distances be incomplete, which zlib refuses (of all
single flipped bits that ISA-L lets pass one in fourteen is of that kind; none was seen that gives other bytes).
The encoder is Intel's ISA-L at level 2: on real records 8-14 times the speed of json + gzip 6 and 11-19 % larger.

What is small is inflated in one call, which takes six tenths of the time (no state, no growing buffer), but does not
say how much of the input it used.  The trailer does: the decoder has compared the eight bytes that follow the deflate
stream with the CRC-32 and size of the content.  Where those eight bytes are the file's last, and stand nowhere else in
it, they are the ones that it compared, and nothing follows.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from typing import Final

from isal import isal_zlib

from opentrail.core.errors import FormatError

LEVEL: Final = 2  # benchmarks/log_files.py: level 1 exceeds gzip 6 by 20 % on large files, level 3 costs twice the time
_IsalError: Final[type[Exception]] = isal_zlib.IsalError  # type: ignore[assignment]  # isal's stub says: an instance
_GZIP: Final = 31  # 15 bits of window, gzip framing (zlib's wbits)
_PIECE: Final = 256 * 1024
_FED: Final = 64 * 1024  # bytes given to the decoder at once: it copies what it leaves of them with each piece
AT_ONCE_BYTES: Final = 32 * 1024  # compressed: a bomb of that size holds 33 MB (deflate's most is 1,032 for one)
_AT_ONCE_SIZE: Final = 1024 * 1024  # uncompressed, as the trailer says
_TRAILER: Final = struct.Struct("<II")  # RFC 1952, 2.3.1: CRC-32 and size
_FLAGS_AT: Final = 3
_RESERVED_FLAGS: Final = 0xE0  # RFC 1952, 2.3.1.2: must be zero; ISA-L does not look


class TrailingDataError(FormatError):
    """Bytes follow the gzip member."""


class TooLargeError(FormatError):
    """The member holds more than it may: read no further, it may be a bomb."""


def encode_member(chunks: Iterable[bytes]) -> tuple[bytes, str, int]:
    """Compress ``chunks`` to one member; also the SHA-256 (hex) and the size in bytes of what was compressed.

    Chunks of some 100 KB are hashed and compressed while they are in the processor's cache.  The header carries no time
    and no name: equal input gives equal bytes, for one version of the encoder.
    """
    compressor = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, _GZIP)
    sha256 = hashlib.sha256()
    size = 0
    pieces = []
    for chunk in chunks:
        sha256.update(chunk)
        size += len(chunk)
        pieces.append(compressor.compress(chunk))
    pieces.append(compressor.flush())
    return b"".join(pieces), sha256.hexdigest(), size


class MemberReader:
    """Reads one member as its bytes arrive: ``feed`` to the end, then ``finish``, which says whether it was whole."""

    def __init__(self, *, max_size: int) -> None:
        self._decompressor = isal_zlib.decompressobj(_GZIP)
        self._max_size = max_size
        self._room = max_size
        self._seen = 0  # compressed bytes so far

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Uncompressed pieces of at most 256 KB.  Raises ``FormatError``; read it to its end."""
        self._check_flags(data)
        if len(data) <= _FED:
            yield from self._feed(data)
            return
        view = memoryview(data)
        for at in range(0, len(data), _FED):
            yield from self._feed(view[at : at + _FED])

    def _feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        while True:
            if self._decompressor.eof:
                if data:
                    raise TrailingDataError("bytes follow the end of the gzip member")
                return
            try:
                piece = self._decompressor.decompress(data, _PIECE)
            except _IsalError as error:
                raise FormatError(f"not a gzip member: {error}") from None
            self._room -= len(piece)
            if self._room < 0:
                raise TooLargeError(f"the gzip member holds more than {self._max_size} bytes: not read to its end")
            if piece:
                yield piece
            eof = self._decompressor.eof
            data = self._decompressor.unused_data if eof else self._decompressor.unconsumed_tail
            if not eof and not data and not piece:
                return  # all is read; more may come

    def finish(self) -> None:
        """The end of the file is here.  Raises ``FormatError`` when the member is not whole."""
        if not self._decompressor.eof:
            raise FormatError("the gzip member is cut off")

    def _check_flags(self, data: bytes) -> None:
        at = _FLAGS_AT - self._seen
        if 0 <= at < len(data) and data[at] & _RESERVED_FLAGS:
            raise FormatError("not a gzip member: reserved flags are set")
        self._seen += len(data)


def decode_member(data: bytes, *, max_size: int) -> bytes:
    """The content of ``data``, one member and nothing else, at most ``max_size`` bytes.  Raises ``FormatError``."""
    at_once = decode_at_once(data, max_size=max_size)
    if at_once is not None:
        return at_once
    reader = MemberReader(max_size=max_size)
    content = b"".join(reader.feed(data))
    reader.finish()
    return content


def decode_at_once(data: bytes, *, max_size: int) -> bytes | None:
    """The content of ``data`` where that is small and proven to be one whole member and nothing else.

    None says nothing about ``data``: a ``MemberReader`` does.
    """
    if not 18 <= len(data) <= AT_ONCE_BYTES or data[_FLAGS_AT] & _RESERVED_FLAGS:
        return None
    trailer = data[-_TRAILER.size :]
    crc32, size = _TRAILER.unpack(trailer)
    if size > min(max_size, _AT_ONCE_SIZE):
        return None
    try:
        content = isal_zlib.decompress(data, _GZIP, size + 1)  # one byte more, or the decoder makes room for more
    except _IsalError:
        return None
    is_proven = (
        len(content) == size
        and isal_zlib.crc32(content) == crc32
        and data.find(trailer) == len(data) - _TRAILER.size  # the first is the last
    )
    return content if is_proven else None
