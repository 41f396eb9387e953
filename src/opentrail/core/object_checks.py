"""Checks of one object: a digest against its signature, a log file against the digest that names it.

Rules: pure functions of one object each, no chain: a pool may run them in any order.  ``read_digest`` trusts nothing
before the signature has been checked; of several faults it reports the first that makes the others moot.  Whatever the
bytes, the outcome is a finding; memory is bounded by ``MAX_DIGEST_BYTES`` and the size of one log file.

A log file's JSON is not parsed unless its events are asked for: the hash says that every byte is as CloudTrail wrote
it, which no parser can better, and parsing would cost more than inflating and hashing together.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

from opentrail.core import values
from opentrail.core.digest_keys import check_key, check_validity
from opentrail.core.digests import (
    MAX_DIGEST_BYTES,
    SIGNATURE,
    SIGNATURE_ALGORITHM,
    SIGNATURE_ALGORITHM_NAME,
    Digest,
    DigestedLogFile,
    decode_digest,
    hash_of,
    string_to_sign,
)
from opentrail.core.errors import FormatError
from opentrail.core.event_ids import find_event_ids
from opentrail.core.events import format_time
from opentrail.core.findings import Finding, FindingCode, Severity, found
from opentrail.core.gzip_member import (
    AT_ONCE_BYTES,
    MemberReader,
    TooLargeError,
    TrailingDataError,
    decode_at_once,
    decode_member,
)
from opentrail.core.layout import DigestKey, parse_digest_key
from opentrail.core.public_keys import PublicKey, verify_signature
from opentrail.core.trail_changes import ChangeReader, ChangeSearch, TrailChange, find_changes

MAX_CHECKED_BYTES: Final = 256 * 1024 * 1024  # five times the largest log file: a bomb is not inflated to its end
MAX_SEARCHED_BYTES: Final = 64 * 1024 * 1024  # no larger log file is kept whole for its events to be read
_LONGEST_SIGNATURE: Final = 4096  # hex digits: RSA of 16,384 bits
_MOST_UNTRUSTED_FILES: Final = 5000  # that an accused digest may name, and a later one still prove: many are read ahead


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestReading:
    """A digest object as it was found: ``digest`` is None when it could not be read, and ``hash_value`` is then empty.

    It is also None when the digest is accused, and so large that it is not kept for a later one to prove.

    ``signature`` is the metadata's, in hex.  Unless ``is_trusted``, the digest's content may be anybody's.  With
    ``public_key`` its signature is still to be found, in the digest that follows it: the copy has no metadata.
    """

    key: DigestKey
    text: str  # the object's key
    digest: Digest | None = None
    hash_value: str = ""
    signature: str = ""
    public_key: PublicKey | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def is_trusted(self) -> bool:
        """Whether the digest is one that a known key signed for this place."""
        return self.public_key is None and not any(each.severity is Severity.ERROR for each in self.findings)


@values.dataclass(frozen=True, slots=True, kw_only=True)
class LogFileReading:
    """A log file as it was found.

    ``hash_value`` is that of the uncompressed content, "" when it could not be read; ``size`` counts its bytes, as far
    as they were read.  ``changes`` and ``event_ids`` are empty unless the content is as delivered and was searched.
    With ``has_more_changes`` it was too large to be kept, and may hold changes: ``read_changes`` finds them.
    """

    finding: Finding | None = None
    hash_value: str = ""
    size: int = 0
    changes: tuple[TrailChange, ...] = ()
    event_ids: bytes = b""  # eight bytes an event, as ``core.event_ids`` makes them
    has_more_changes: bool = False


def read_digest(
    text: str,
    data: bytes | None,
    metadata: Mapping[str, str],
    *,
    bucket: str,
    public_keys: Mapping[str, PublicKey],
    metadata_kept: bool = True,
) -> DigestReading:
    """Read and check the digest object at the key ``text`` of ``bucket``: all that can be said of it alone.

    ``data`` is None when the object was listed and is gone.  ``public_keys`` are by fingerprint.  ``metadata_kept`` is
    False for a copy that has the metadata of no object.  Raises ``FormatError`` when ``text`` is not a digest's key.
    """
    key = parse_digest_key(text)
    if data is None:
        missing = found(FindingCode.DIGEST_MISSING, text, "was listed, but is not there")
        return DigestReading(key=key, text=text, findings=(missing,))
    try:
        content = decode_member(data, max_size=MAX_DIGEST_BYTES)
        digest = decode_digest(content, with_extra=False)
    except FormatError as fault:
        code = _FAULTS.get(type(fault), FindingCode.DIGEST_MALFORMED)
        return DigestReading(key=key, text=text, findings=(found(code, text, str(fault)),))
    is_unsigned = not metadata_kept and SIGNATURE not in metadata and SIGNATURE_ALGORITHM_NAME not in metadata
    public_key = public_keys.get(digest.public_key_fingerprint)
    hash_value = hash_of(content)
    finding = (
        _check_place(key, text, digest, bucket)
        or (None if is_unsigned else _check_metadata(text, metadata))
        or _check_algorithm(text, digest.signature_algorithm)
        or _check_times(key, text, digest)
        or check_key(text, digest, public_key)
    )
    reading = DigestReading(
        key=key, text=text, digest=digest, hash_value=hash_value, findings=(finding,) if finding else ()
    )
    if finding is not None or public_key is None:
        return _bounded(replace(reading, signature="" if is_unsigned else _signature_of(metadata)))
    if is_unsigned:
        return replace(reading, public_key=public_key)
    return _bounded(check_signature(reading, metadata[SIGNATURE], public_key))


def _bounded(reading: DigestReading) -> DigestReading:
    """``reading``, which takes little memory unless it is to be trusted."""
    is_large = reading.digest is not None and len(reading.digest.log_files) > _MOST_UNTRUSTED_FILES
    return replace(reading, digest=None) if is_large and not reading.is_trusted else reading


def too_large_digest(text: str, limit: int) -> DigestReading:
    """The reading of a digest object that has more than ``limit`` bytes and was not read."""
    message = f"has more than {limit} bytes: not read"
    return DigestReading(
        key=parse_digest_key(text), text=text, findings=(found(FindingCode.DIGEST_TOO_LARGE, text, message),)
    )


def check_signature(reading: DigestReading, signature: str, public_key: PublicKey) -> DigestReading:
    """``reading`` (with its digest, in its place) held against ``signature`` (hex) by ``public_key``."""
    assert reading.digest is not None
    digest, text = reading.digest, reading.text
    checked = replace(reading, signature=signature.lower()[:_LONGEST_SIGNATURE], public_key=None)
    try:
        raw = binascii.unhexlify(signature if len(signature) <= _LONGEST_SIGNATURE else "not hex")
    except ValueError:
        finding = found(FindingCode.DIGEST_SIGNATURE_INVALID, text, "its signature is not in hex")
        return replace(checked, findings=(finding,))
    if not verify_signature(public_key.value, string_to_sign(digest, reading.hash_value), raw):
        message = "its signature does not fit its content"
        finding = found(FindingCode.DIGEST_SIGNATURE_INVALID, text, message, fingerprint=public_key.fingerprint)
        return replace(checked, findings=(finding,))
    untimely = check_validity(text, digest, public_key, is_backfill=reading.key.backfill)
    return checked if untimely is None else replace(checked, findings=(untimely,))


def read_log_file(
    expected: DigestedLogFile,
    chunks: Iterable[bytes] | None,
    *,
    max_size: int = MAX_CHECKED_BYTES,
    with_changes: bool = False,
    with_events: bool = False,
) -> LogFileReading:
    """Compare a log file (its bytes as they lie there; None: it is not there) with what a trusted digest says of it.

    Without a finding the uncompressed content is what was delivered.  ``with_changes`` it is looked through for calls
    that changed a trail, ``with_events`` its events are read: that alone takes memory in proportion to a large file.
    """
    if chunks is None:
        message = "is named by a digest, but is not there"
        missing = found(FindingCode.LOG_FILE_MISSING, expected.key, message, expected_hash=expected.hash_value)
        return LogFileReading(finding=missing)
    remaining = iter(chunks)
    data, is_whole = _take_small(remaining)
    content = decode_at_once(data, max_size=max_size) if is_whole else None
    if content is None:
        remaining = chain((data,), remaining)
        return _read_pieces(expected, remaining, max_size, with_changes=with_changes, with_events=with_events)
    hash_value = hash_of(content)
    if hash_value != expected.hash_value:
        return LogFileReading(finding=_changed(expected, hash_value), hash_value=hash_value, size=len(content))
    changes = find_changes(expected.key, content) if with_changes else ()
    reading = LogFileReading(hash_value=hash_value, size=len(content), changes=changes)
    return _add_events(reading, expected.key, content) if with_events else reading


def read_changes(
    expected: DigestedLogFile, chunks: Iterable[bytes], *, max_size: int = MAX_CHECKED_BYTES
) -> LogFileReading:
    """Read a log file again, after ``read_log_file`` said that there are changes in it: its content is proven anew."""
    reader = ChangeReader(expected.key)
    reading = _hash_pieces(expected, chunks, max_size, [reader.feed])
    return reading if reading.finding is not None else replace(reading, changes=tuple(reader.changes))


def check_log_file(expected: DigestedLogFile, chunks: Iterable[bytes] | None) -> Finding | None:
    """What ``read_log_file`` finds; None means that the uncompressed content is what was delivered."""
    return read_log_file(expected, chunks).finding


def hash_log_file(chunks: Iterable[bytes], *, max_size: int = MAX_CHECKED_BYTES) -> str:
    """The hash of a log file's uncompressed content, whoever names it; "" when it is not one gzip member."""
    content = _HashedContent(max_size)
    try:
        content.read(chunks)
    except FormatError:
        return ""
    return content.hash_value()


def too_large_log_file(expected: DigestedLogFile, limit: int) -> LogFileReading:
    """The reading of a log file that has more than ``limit`` bytes and was not read."""
    message = f"has more than {limit} bytes: not read"
    return LogFileReading(finding=found(FindingCode.LOG_FILE_TOO_LARGE, expected.key, message))


_FAULTS: Final[Mapping[type[FormatError], FindingCode]] = {
    TrailingDataError: FindingCode.DIGEST_TRAILING_DATA,
    TooLargeError: FindingCode.DIGEST_TOO_LARGE,
}
_LOG_FILE_FAULTS: Final[Mapping[type[FormatError], FindingCode]] = {
    TrailingDataError: FindingCode.LOG_FILE_TRAILING_DATA,
    TooLargeError: FindingCode.LOG_FILE_TOO_LARGE,
}


def _take_small(chunks: Iterator[bytes]) -> tuple[bytes, bool]:
    """The first chunks as one, and whether they are all: as many as may be inflated at once."""
    data = b""
    for chunk in chunks:
        data = data + chunk if data else chunk
        if len(data) > AT_ONCE_BYTES:
            return data, False
    return data, True


def _read_pieces(
    expected: DigestedLogFile, chunks: Iterable[bytes], max_size: int, *, with_changes: bool, with_events: bool
) -> LogFileReading:
    """``read_log_file`` of what may be large."""
    search, kept = ChangeSearch(), _Kept()
    feeds = [feed for feed, is_wanted in ((search.feed, with_changes), (kept.feed, with_events)) if is_wanted]
    reading = _hash_pieces(expected, chunks, max_size, feeds)
    if reading.finding is not None:
        return reading
    search.finish()
    if search.is_found:
        reading = replace(reading, has_more_changes=True)
    return reading if not with_events or kept.is_too_large else _add_events(reading, expected.key, kept.content())


def _hash_pieces(
    expected: DigestedLogFile, chunks: Iterable[bytes], max_size: int, feeds: Sequence[Callable[[bytes], None]]
) -> LogFileReading:
    """Hash the content piece by piece, and give each piece to ``feeds`` too."""
    content = _HashedContent(max_size)
    try:
        content.read(chunks, feeds)
    except FormatError as fault:
        code = _LOG_FILE_FAULTS.get(type(fault), FindingCode.LOG_FILE_MALFORMED)
        return LogFileReading(finding=found(code, expected.key, str(fault)), size=content.size)
    reading = LogFileReading(hash_value=content.hash_value(), size=content.size)
    if reading.hash_value != expected.hash_value:
        return replace(reading, finding=_changed(expected, reading.hash_value))
    return reading


class _HashedContent:
    """The uncompressed content of a log file, of which the hash and the size remain."""

    def __init__(self, max_size: int) -> None:
        self.size = 0
        self._max_size = max_size
        self._sha256 = hashlib.sha256()

    def read(self, chunks: Iterable[bytes], feeds: Sequence[Callable[[bytes], None]] = ()) -> None:
        """Read the member to its end.  Raises ``FormatError``."""
        reader = MemberReader(max_size=self._max_size)
        for chunk in chunks:
            for piece in reader.feed(chunk):
                self._sha256.update(piece)
                self.size += len(piece)
                for feed in feeds:
                    feed(piece)
        reader.finish()

    def hash_value(self) -> str:
        """SHA-256 in hex."""
        return self._sha256.hexdigest()


class _Kept:
    """The content, unless it is too large to be kept."""

    def __init__(self) -> None:
        self.is_too_large = False
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> None:
        """Another piece."""
        self._size += len(piece)
        self.is_too_large = self._size > MAX_SEARCHED_BYTES
        if self.is_too_large:
            self._pieces.clear()
        else:
            self._pieces.append(piece)

    def content(self) -> bytes:
        """All pieces."""
        return b"".join(self._pieces)


def _add_events(reading: LogFileReading, key: str, content: bytes) -> LogFileReading:
    try:
        return replace(reading, event_ids=find_event_ids(content))
    except FormatError as fault:
        finding = found(FindingCode.LOG_FILE_NOT_JSON, key, f"is as it was delivered, but {fault}")
        return replace(reading, finding=finding)


def _changed(expected: DigestedLogFile, hash_value: str) -> Finding:
    message = "its content is not what was delivered"
    return found(
        FindingCode.LOG_FILE_CHANGED,
        expected.key,
        message,
        expected_hash=expected.hash_value,
        found_hash=hash_value,
    )


def _check_place(key: DigestKey, text: str, digest: Digest, bucket: str) -> Finding | None:
    """A digest says where it was put, and is good nowhere else."""
    if digest.key == text and digest.bucket == bucket and digest.account_id == key.trail.folder.account_id:
        return None
    try:
        same_trail = parse_digest_key(digest.key).trail == key.trail
    except FormatError:
        same_trail = False
    original = f"s3://{digest.bucket}/{digest.key}"
    if same_trail and digest.bucket == bucket and digest.key != text:
        return found(FindingCode.DIGEST_MOVED, text, f"has been moved from {original}", original=original)
    return found(FindingCode.DIGEST_FOREIGN, text, f"was made for {original}", original=original)


def _check_times(key: DigestKey, text: str, digest: Digest) -> Finding | None:
    """A name that tells another time than the content puts a digest where it does not belong."""
    start, end = format_time(digest.start_time), format_time(digest.end_time)
    if digest.end_time < digest.start_time:
        message = f"says that it starts at {start} and ends at {end}"
    elif digest.end_time != key.end_time:
        message = f"is named after {format_time(key.end_time)}, and says that it ends at {end}"
    else:
        return None
    return found(FindingCode.DIGEST_TIMES_CONTRADICT, text, message, start=start, end=end)


def _check_metadata(text: str, metadata: Mapping[str, str]) -> Finding | None:
    if SIGNATURE not in metadata or SIGNATURE_ALGORITHM_NAME not in metadata:
        return found(FindingCode.DIGEST_UNSIGNED, text, "its metadata lack the signature or its algorithm")
    return _check_algorithm(text, metadata[SIGNATURE_ALGORITHM_NAME])


def _check_algorithm(text: str, algorithm: str) -> Finding | None:
    if algorithm == SIGNATURE_ALGORITHM:
        return None
    message = f"its signature algorithm is said to be {algorithm!r}, not {SIGNATURE_ALGORITHM}"
    return found(FindingCode.DIGEST_ALGORITHM, text, message, algorithm=algorithm)


def _signature_of(metadata: Mapping[str, str]) -> str:
    return metadata.get(SIGNATURE, "").lower()[:_LONGEST_SIGNATURE]
