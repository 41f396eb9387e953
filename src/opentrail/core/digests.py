"""Digest files: what was delivered, hour by hour, each naming the one before it.

Rules (``log-files-and-digests.md``, "Digest file"):

* What is signed is the content as written: hashes are over the uncompressed bytes of the object, never over a digest
  that was read and written again.  Fields that this version does not know survive in ``extra``.
* The chain needs nothing but the link to the previous digest (place, hash, signature): no private key of the past.
* A chain starts with no previous digest, after StartLogging or when validation is turned on, and each further digest
  starts when its predecessor ended, whether or not log files were delivered.
* ``decode_digest`` raises ``FormatError`` or nothing else; ``decode_digest(encode_digest(x)) == x``.
* Anybody can write a digest.  What it takes in memory is bounded by the number of its values and the length of its
  texts, both far beyond what is delivered; who checks it keeps nothing of what this version does not know.

CloudTrail user guide, "CloudTrail digest file structure" and "Custom implementations of log file integrity validation".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from opentrail.core import values
from opentrail.core.errors import FormatError
from opentrail.core.events import encode_json, format_time
from opentrail.core.gzip_member import encode_member
from opentrail.core.layout import DigestKey, format_digest_key
from opentrail.core.logfiles import parse_json

SIGNATURE_ALGORITHM: Final = "SHA256withRSA"
HASH_ALGORITHM: Final = "SHA-256"
MAX_DIGEST_BYTES: Final = 16 * 1024 * 1024  # uncompressed: some 47,000 log files in one digest
_MOST_VALUES: Final = 400_000  # these have 330,000; of the smallest ones 16 MB hold five million, in 500 MB of memory

# Names of user metadata, without S3's x-amz-meta-.
SIGNATURE: Final = "signature"
SIGNATURE_ALGORITHM_NAME: Final = "signature-algorithm"
BACKFILL_GENERATION_TIMESTAMP: Final = "backfill-generation-timestamp"

_PREVIOUS: Final = (
    "previousDigestS3Bucket",
    "previousDigestS3Object",
    "previousDigestHashValue",
    "previousDigestHashAlgorithm",
    "previousDigestSignature",
)
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_STRING_OR_MARK: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|([,\[{])', re.DOTALL)
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_LONGEST: Final = 255  # characters of a text, but for these
_LONGEST_OF: Final[Mapping[str, int]] = {
    **dict.fromkeys(("digestS3Object", "previousDigestS3Object", "s3Object"), 1024),  # a key, in every store
    "previousDigestSignature": 4096,  # RSA of 16,384 bits, in hex
}


@values.dataclass(frozen=True, slots=True, kw_only=True)
class DigestedLogFile:
    """A log file as a digest names it.  ``hash_value`` is the SHA-256 (hex) of its uncompressed content."""

    bucket: str
    key: str
    hash_value: str
    newest_event_time: datetime | None
    oldest_event_time: datetime | None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousDigest:
    """The link to the digest before: where it lies, the SHA-256 (hex) of its content, its signature (hex)."""

    bucket: str
    key: str
    hash_value: str
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """The content of a digest file.  Times are aware, UTC, in whole seconds.

    The event times are None where there are no log files; ``previous`` is None where a chain starts.
    """

    account_id: str
    start_time: datetime
    end_time: datetime
    bucket: str
    key: str
    public_key_fingerprint: str
    signature_algorithm: str = SIGNATURE_ALGORITHM
    newest_event_time: datetime | None
    oldest_event_time: datetime | None
    previous: PreviousDigest | None
    log_files: tuple[DigestedLogFile, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedDigest:
    """A digest with its ``content`` (uncompressed JSON, the bytes that were signed) and ``signature`` (hex)."""

    digest: Digest
    content: bytes
    signature: str

    def link(self) -> PreviousDigest:
        """What the next digest says of this one."""
        digest = self.digest
        return PreviousDigest(
            bucket=digest.bucket, key=digest.key, hash_value=hash_of(self.content), signature=self.signature
        )

    def data(self) -> bytes:
        """The object's bytes: the content as one gzip member."""
        return encode_member([self.content])[0]

    def metadata(self, backfill_generation_time: datetime | None = None) -> dict[str, str]:
        """The object's user metadata; a backfill digest also says when it was made."""
        metadata = {SIGNATURE: self.signature, SIGNATURE_ALGORITHM_NAME: self.digest.signature_algorithm}
        if backfill_generation_time is not None:
            metadata[BACKFILL_GENERATION_TIMESTAMP] = format_time(backfill_generation_time)
        return metadata


def next_digest(
    previous: PreviousDigest | None,
    *,
    bucket: str,
    key: DigestKey,
    start_time: datetime,
    public_key_fingerprint: str,
    log_files: Sequence[DigestedLogFile],
) -> Digest:
    """The digest that follows ``previous`` (None: that starts a chain) and covers ``start_time`` to ``key.end_time``.

    ``start_time`` is the predecessor's end, or the moment that logging or validation began.  ``log_files`` are those
    delivered in between, in order of delivery; none is an ordinary hour.
    """
    assert start_time <= key.end_time
    newest = [file.newest_event_time for file in log_files if file.newest_event_time is not None]
    oldest = [file.oldest_event_time for file in log_files if file.oldest_event_time is not None]
    return Digest(
        account_id=key.trail.folder.account_id,
        start_time=start_time,
        end_time=key.end_time,
        bucket=bucket,
        key=format_digest_key(key),
        public_key_fingerprint=public_key_fingerprint,
        newest_event_time=max(newest, default=None),
        oldest_event_time=min(oldest, default=None),
        previous=previous,
        log_files=tuple(log_files),
    )


def sign_digest(digest: Digest, sign: Callable[[bytes], bytes]) -> SignedDigest:
    """Write ``digest`` down and sign it with ``sign`` (a ``Signer``'s method, of the key that the digest names)."""
    content = encode_digest(digest)
    return SignedDigest(digest=digest, content=content, signature=sign(string_to_sign(digest, hash_of(content))).hex())


def string_to_sign(digest: Digest, hash_value: str) -> bytes:
    """The bytes that a digest's signature covers; ``hash_value`` is that of the digest file as it lies there."""
    signature = digest.previous.signature if digest.previous else "null"
    lines = (format_time(digest.end_time), f"{digest.bucket}/{digest.key}", hash_value, signature)
    return "\n".join(lines).encode()


def hash_of(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def encode_digest(digest: Digest) -> bytes:
    """The uncompressed content of a digest file: JSON, UTF-8, in AWS's order of fields."""
    previous = digest.previous
    return encode_json(
        {
            "awsAccountId": digest.account_id,
            "digestStartTime": format_time(digest.start_time),
            "digestEndTime": format_time(digest.end_time),
            "digestS3Bucket": digest.bucket,
            "digestS3Object": digest.key,
            "digestPublicKeyFingerprint": digest.public_key_fingerprint,
            "digestSignatureAlgorithm": digest.signature_algorithm,
            "newestEventTime": _format_optional(digest.newest_event_time),
            "oldestEventTime": _format_optional(digest.oldest_event_time),
            "previousDigestS3Bucket": previous.bucket if previous else None,
            "previousDigestS3Object": previous.key if previous else None,
            "previousDigestHashValue": previous.hash_value if previous else None,
            "previousDigestHashAlgorithm": HASH_ALGORITHM if previous else None,
            "previousDigestSignature": previous.signature if previous else None,
            "logFiles": [_encode_log_file(file) for file in digest.log_files],
            **digest.extra,
        }
    )


def decode_digest(content: bytes, *, with_extra: bool = True) -> Digest:
    """Read the uncompressed content of a digest file; ``with_extra``, what this version does not know is kept.

    Raises ``FormatError``.
    """
    if _has_many_values(content):
        raise FormatError(f"the digest holds more than {_MOST_VALUES} values")
    members = parse_json(content)
    if not isinstance(members, dict):
        raise FormatError("the digest is not a JSON object")
    files = members.pop("logFiles", None)
    if not isinstance(files, list):
        raise FormatError("the digest's logFiles is not a list")
    return Digest(
        account_id=_text(members, "awsAccountId"),
        start_time=_time(members, "digestStartTime"),
        end_time=_time(members, "digestEndTime"),
        bucket=_text(members, "digestS3Bucket"),
        key=_text(members, "digestS3Object"),
        public_key_fingerprint=_text(members, "digestPublicKeyFingerprint"),
        signature_algorithm=_text(members, "digestSignatureAlgorithm"),
        newest_event_time=_optional_time(members, "newestEventTime"),
        oldest_event_time=_optional_time(members, "oldestEventTime"),
        previous=_decode_previous(members),
        log_files=tuple(_decode_log_file(file, with_extra=with_extra) for file in files),
        extra=members if with_extra else _NOTHING,
    )


def _has_many_values(content: bytes) -> bool:
    """Whether ``content`` holds more than ``_MOST_VALUES`` JSON values: all but one stand behind a comma or bracket."""
    if sum(map(content.count, (b",", b"[", b"{"))) < _MOST_VALUES:
        return False
    count = 1
    for match in _STRING_OR_MARK.finditer(content):  # a key may hold such characters
        count += match.lastindex is not None
        if count > _MOST_VALUES:
            return True
    return False


def _encode_log_file(file: DigestedLogFile) -> dict[str, Any]:
    return {
        "s3Bucket": file.bucket,
        "s3Object": file.key,
        "hashValue": file.hash_value,
        "hashAlgorithm": HASH_ALGORITHM,
        "newestEventTime": _format_optional(file.newest_event_time),
        "oldestEventTime": _format_optional(file.oldest_event_time),
        **file.extra,
    }


def _decode_log_file(members: Any, *, with_extra: bool) -> DigestedLogFile:
    if not isinstance(members, dict):
        raise FormatError("the digest's logFiles holds something that is no object")
    _require_sha256(members, "hashAlgorithm")
    return DigestedLogFile(
        bucket=_text(members, "s3Bucket"),
        key=_text(members, "s3Object"),
        hash_value=_hash(members, "hashValue"),
        newest_event_time=_optional_time(members, "newestEventTime"),
        oldest_event_time=_optional_time(members, "oldestEventTime"),
        extra=members if with_extra else _NOTHING,
    )


def _decode_previous(members: dict[str, Any]) -> PreviousDigest | None:
    if all(members.get(name) is None for name in _PREVIOUS):
        for name in _PREVIOUS:
            members.pop(name, None)
        return None
    _require_sha256(members, "previousDigestHashAlgorithm")
    return PreviousDigest(
        bucket=_text(members, "previousDigestS3Bucket"),
        key=_text(members, "previousDigestS3Object"),
        hash_value=_hash(members, "previousDigestHashValue"),
        signature=_text(members, "previousDigestSignature"),
    )


# The readers below take their member out: what is left in the end is what this version does not know.


def _text(members: dict[str, Any], name: str) -> str:
    value = members.pop(name, None)
    if not isinstance(value, str) or not (value.isascii() or _is_utf8(value)):
        raise FormatError(f"the digest's {name} is not text")
    if len(value) > _LONGEST and len(value) > _LONGEST_OF.get(name, _LONGEST):
        raise FormatError(f"the digest's {name} is too long")
    return value


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON can spell
        return False
    return True


def _hash(members: dict[str, Any], name: str) -> str:
    value = _text(members, name)
    if not _SHA256.fullmatch(value):
        raise FormatError(f"the digest's {name} is not a SHA-256 in hex")
    return value


def _require_sha256(members: dict[str, Any], name: str) -> None:
    if _text(members, name) != HASH_ALGORITHM:
        raise FormatError(f"the digest's {name} is not {HASH_ALGORITHM}")


def _time(members: dict[str, Any], name: str) -> datetime:
    text = _text(members, name)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    # Written back and compared, because the text itself is signed: no other spelling of the same moment will do.
    if moment is None or moment.tzinfo is not UTC or f"{moment.isoformat(timespec='seconds')[:-6]}Z" != text:
        raise FormatError(f"the digest's {name} is not a time of the form 2015-08-17T15:01:31Z")
    return moment


def _optional_time(members: dict[str, Any], name: str) -> datetime | None:
    if members.get(name) is None:
        members.pop(name, None)
        return None
    return _time(members, name)


def _format_optional(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)
