"""What verification finds: values, never exceptions.

Rules: an *error* accuses the object that it names, and only what is damaged, gone or not of the trail is accused; a
*warning* names what cannot be proven and should be looked at; *info* states a fact that a reader of the result needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding weighs."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class FindingCode(StrEnum):
    """What was found; the text is for programs and never changes its meaning."""

    DIGEST_MISSING = "digest-missing"  # a later digest names it, and it is not there
    DIGEST_MALFORMED = "digest-malformed"  # gzip, JSON or a field of it; also bytes behind the gzip member
    DIGEST_UNSIGNED = "digest-unsigned"  # its metadata hold no signature
    DIGEST_SIGNATURE_INVALID = "digest-signature-invalid"
    DIGEST_ALGORITHM = "digest-algorithm"  # not SHA256withRSA
    DIGEST_KEY_UNKNOWN = "digest-key-unknown"  # no public key with the fingerprint that it names
    DIGEST_KEY_NOT_VALID = "digest-key-not-valid"  # signed by a key that was not valid at its end time
    DIGEST_MOVED = "digest-moved"  # signed for another place in this trail's folder
    DIGEST_FOREIGN = "digest-foreign"  # signed for another trail, account, region or bucket
    DIGEST_REPLACED = "digest-replaced"  # signed, but not what its successor saw
    DIGEST_NOT_IN_CHAIN = "digest-not-in-chain"  # signed, but its successor names an older one
    CHAIN_STARTED = "chain-started"
    CHAIN_ELSEWHERE = "chain-elsewhere"  # the chain comes from another bucket or prefix
    CHAIN_CUT_OFF = "chain-cut-off"  # the newest digests that should be there are not
    SPAN_UNPROVEN = "span-unproven"  # for some time no digest can be trusted
    NO_DIGESTS = "no-digests"
    LOG_FILE_MISSING = "log-file-missing"
    LOG_FILE_MALFORMED = "log-file-malformed"  # not one whole gzip member
    LOG_FILE_TRAILING_DATA = "log-file-trailing-data"  # bytes behind the gzip member
    LOG_FILE_CHANGED = "log-file-changed"  # its hash is not what the digest says
    LOG_FILE_UNREACHABLE = "log-file-unreachable"  # in a bucket that cannot be read here
    LOG_FILE_NOT_NAMED = "log-file-not-named"  # in the folder, in no digest
    LOG_FILE_UNPROVEN = "log-file-unproven"  # the digest that should name it is damaged or missing
    LOG_FILES_NOT_YET_NAMED = "log-files-not-yet-named"  # newer than the newest digest
    OBJECT_UNEXPECTED = "object-unexpected"  # in a folder of the trail, with a name that is not of its kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding.  ``key`` is the object (or, for what is gone without a name, the folder) that it is about."""

    code: FindingCode
    severity: Severity
    key: str
    message: str
    details: Mapping[str, str] = field(default_factory=dict)


def error(code: FindingCode, key: str, message: str, **details: str) -> Finding:
    """A finding that accuses ``key``."""
    return Finding(code=code, severity=Severity.ERROR, key=key, message=message, details=details)


def warning(code: FindingCode, key: str, message: str, **details: str) -> Finding:
    """A finding that asks to look at ``key``."""
    return Finding(code=code, severity=Severity.WARNING, key=key, message=message, details=details)


def info(code: FindingCode, key: str, message: str, **details: str) -> Finding:
    """A finding that states a fact about ``key``."""
    return Finding(code=code, severity=Severity.INFO, key=key, message=message, details=details)
