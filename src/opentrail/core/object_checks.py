"""Checks of one object: a digest against its signature, a log file against the digest that names it.

Rules: pure functions of one object each, no chain: a pool may run them in any order.  ``read_digest`` trusts nothing
before the signature has been checked; of several faults it reports the first that makes the others moot.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

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
from opentrail.core.events import format_time
from opentrail.core.findings import Finding, FindingCode, Severity, error, warning
from opentrail.core.gzip_member import MemberReader, TrailingDataError, decode_member
from opentrail.core.layout import DigestKey, parse_digest_key
from opentrail.core.public_keys import PublicKey, verify_signature

MAX_CHECKED_BYTES: Final = 256 * 1024 * 1024  # five times the largest log file: a bomb is not inflated to its end


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestReading:
    """A digest object as it was found: ``digest`` is None when it could not be read, and ``hash_value`` is then empty.

    ``signature`` is the metadata's, in hex.  Unless ``is_trusted``, the digest's content may be anybody's.
    """

    key: DigestKey
    text: str  # the object's key
    digest: Digest | None = None
    hash_value: str = ""
    signature: str = ""
    findings: tuple[Finding, ...] = ()

    @property
    def is_trusted(self) -> bool:
        """Whether the digest is one that a known key signed for this place."""
        return not any(finding.severity is Severity.ERROR for finding in self.findings)


def read_digest(
    text: str, data: bytes | None, metadata: Mapping[str, str], *, bucket: str, public_keys: Mapping[str, PublicKey]
) -> DigestReading:
    """Read and check the digest object at the key ``text`` of ``bucket``: all that can be said of it alone.

    ``data`` is None when the object was listed and is gone.  ``public_keys`` are by fingerprint.  Raises
    ``FormatError`` when ``text`` is not a digest's key.
    """
    key = parse_digest_key(text)
    if data is None:
        missing = error(FindingCode.DIGEST_MISSING, text, "was listed, but is not there")
        return DigestReading(key=key, text=text, findings=(missing,))
    try:
        content = decode_member(data, max_size=MAX_DIGEST_BYTES)
        digest = decode_digest(content)
    except FormatError as fault:
        malformed = error(FindingCode.DIGEST_MALFORMED, text, str(fault))
        return DigestReading(key=key, text=text, findings=(malformed,))
    finding = (
        _check_place(key, text, digest, bucket)
        or _check_algorithm(text, digest, metadata)
        or _check_signature(text, digest, content, metadata, public_keys)
    )
    return DigestReading(
        key=key,
        text=text,
        digest=digest,
        hash_value=hash_of(content),
        signature=metadata.get(SIGNATURE, "").lower(),
        findings=(finding,) if finding else (),
    )


def check_log_file(expected: DigestedLogFile, chunks: Iterable[bytes] | None) -> Finding | None:
    """Compare a log file (its bytes as they lie there; None: it is not there) with what a trusted digest says of it.

    None means that the uncompressed content is what was delivered.  Constant memory.
    """
    if chunks is None:
        return error(FindingCode.LOG_FILE_MISSING, expected.key, "is named by a digest, but is not there")
    sha256 = hashlib.sha256()
    reader = MemberReader(max_size=MAX_CHECKED_BYTES)
    try:
        for chunk in chunks:
            for piece in reader.feed(chunk):
                sha256.update(piece)
        reader.finish()
    except TrailingDataError as fault:
        return error(FindingCode.LOG_FILE_TRAILING_DATA, expected.key, str(fault))
    except FormatError as fault:
        return error(FindingCode.LOG_FILE_MALFORMED, expected.key, str(fault))
    if sha256.hexdigest() == expected.hash_value:
        return None
    return error(
        FindingCode.LOG_FILE_CHANGED,
        expected.key,
        "its content is not what was delivered",
        expected_hash=expected.hash_value,
        found_hash=sha256.hexdigest(),
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
        return error(FindingCode.DIGEST_MOVED, text, f"has been moved from {original}", original=original)
    return error(FindingCode.DIGEST_FOREIGN, text, f"was made for {original}", original=original)


def _check_algorithm(text: str, digest: Digest, metadata: Mapping[str, str]) -> Finding | None:
    if SIGNATURE not in metadata or SIGNATURE_ALGORITHM_NAME not in metadata:
        return error(FindingCode.DIGEST_UNSIGNED, text, "its metadata lack the signature or its algorithm")
    for algorithm in (digest.signature_algorithm, metadata[SIGNATURE_ALGORITHM_NAME]):
        if algorithm != SIGNATURE_ALGORITHM:
            message = f"its signature algorithm is said to be {algorithm!r}, not {SIGNATURE_ALGORITHM}"
            return error(FindingCode.DIGEST_ALGORITHM, text, message, algorithm=algorithm)
    return None


def _check_signature(
    text: str, digest: Digest, content: bytes, metadata: Mapping[str, str], public_keys: Mapping[str, PublicKey]
) -> Finding | None:
    fingerprint = digest.public_key_fingerprint
    public_key = public_keys.get(fingerprint)
    if public_key is None:
        message = f"no public key is known with the fingerprint {fingerprint}"
        return error(FindingCode.DIGEST_KEY_UNKNOWN, text, message, fingerprint=fingerprint)
    try:
        signature = binascii.unhexlify(metadata[SIGNATURE])
    except ValueError:
        return error(FindingCode.DIGEST_SIGNATURE_INVALID, text, "its signature is not in hex")
    if not verify_signature(public_key.value, string_to_sign(digest, content), signature):
        message = "its signature does not fit its content"
        return error(FindingCode.DIGEST_SIGNATURE_INVALID, text, message, fingerprint=fingerprint)
    if not public_key.is_valid_in(digest.end_time, digest.end_time):
        message = f"was signed by a key that was not valid at {format_time(digest.end_time)}"
        return warning(FindingCode.DIGEST_KEY_NOT_VALID, text, message, fingerprint=fingerprint)
    return None
