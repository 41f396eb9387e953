"""Public keys of digest signatures: what ``ListPublicKeys`` answers, and checking a signature with them.

Rules: a key's value is the DER of its PKCS#1 RSAPublicKey (RFC 8017, A.1.1); signatures are RSASSA-PKCS1-v1_5 with
SHA-256 (RFC 8017, 8.2), RSA of 2,048 bits or more (``log-files-and-digests.md``, "Digest file").  A public-key file is
the JSON that ``aws cloudtrail list-public-keys`` prints, so an auditor can take it from there.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from opentrail.core.errors import FormatError

MIN_KEY_BITS: Final = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """A public key.  ``value`` is its PKCS#1 DER; it is valid from ``validity_start`` to ``validity_end`` (aware, UTC).

    ``fingerprint`` is what digests call the key: ``fingerprint_of(value)``, or AWS's (``is_fingerprint_of``).
    """

    value: bytes
    fingerprint: str
    validity_start: datetime
    validity_end: datetime

    def is_valid_in(self, start: datetime, end: datetime) -> bool:
        """Whether the key is valid at any moment from ``start`` to ``end``, both included."""
        return self.validity_start <= end and start <= self.validity_end


def fingerprint_of(value: bytes) -> str:
    """32 hex digits: the first 128 bits of SHA-256 over the PKCS#1 DER ``value``."""
    return hashlib.sha256(value).hexdigest()[:32]


def is_fingerprint_of(fingerprint: str, value: bytes) -> bool:
    """Whether ``fingerprint`` was made of the PKCS#1 DER ``value``: by us, or by AWS, whose are its MD5.

    AWS does not say so; the keys in its own documentation are so named (user guide, "Custom implementations of log
    file integrity validation"; AWS CLI, examples of list-public-keys).  Nobody finds a second key for a given MD5.
    """
    return fingerprint in {fingerprint_of(value), hashlib.md5(value, usedforsecurity=False).hexdigest()}


def verify_signature(value: bytes, signed: bytes, signature: bytes) -> bool:
    """Whether ``signature`` over ``signed`` is by the key whose PKCS#1 DER is ``value``.

    Raises ``FormatError`` when ``value`` is no key.
    """
    try:
        _load(value).verify(signature, signed, PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def encode_public_keys(keys: Iterable[PublicKey]) -> bytes:
    """A public-key file: ``{"PublicKeyList": [...]}`` in the order given, as ``decode_public_keys`` reads it."""
    listed = [
        {
            "Value": base64.b64encode(key.value).decode(),
            "ValidityStartTime": key.validity_start.isoformat(),
            "ValidityEndTime": key.validity_end.isoformat(),
            "Fingerprint": key.fingerprint,
        }
        for key in keys
    ]
    return json.dumps({"PublicKeyList": listed}, indent=4).encode() + b"\n"


def decode_public_keys(data: bytes) -> tuple[PublicKey, ...]:
    """Read a public-key file; times may be ISO 8601 or seconds since 1970, as either AWS CLI prints them.

    Raises ``FormatError``, also for a key that is no RSA key of 2,048 bits or more.
    """
    try:
        document = json.loads(data.decode())
        return tuple(_public_key(entry) for entry in document["PublicKeyList"])
    except KeyError as error:
        raise FormatError(f"the public-key file lacks {error}") from None
    except (ValueError, TypeError, OverflowError, OSError, RecursionError) as error:
        raise FormatError(f"not a public-key file: {error}") from None


def _public_key(entry: dict[str, Any]) -> PublicKey:
    value = base64.b64decode(entry["Value"], validate=True)
    _load(value)
    if not isinstance(entry["Fingerprint"], str):
        raise FormatError("not a public-key file: a Fingerprint is text")
    return PublicKey(
        value=value,
        fingerprint=entry["Fingerprint"],
        validity_start=_time(entry["ValidityStartTime"]),
        validity_end=_time(entry["ValidityEndTime"]),
    )


def _time(value: Any) -> datetime:
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    moment = datetime.fromisoformat(value)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


@lru_cache(maxsize=64)  # loading costs ten times what verifying does
def _load(value: bytes) -> RSAPublicKey:
    try:
        key = load_der_public_key(value)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise FormatError(f"not a PKCS#1 public key: {error}") from None
    if not isinstance(key, RSAPublicKey) or key.key_size < MIN_KEY_BITS:
        raise FormatError(f"not an RSA public key of {MIN_KEY_BITS} bits or more")
    return key
