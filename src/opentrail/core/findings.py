"""What verification finds: values, never exceptions.

Rules: an *error* accuses the object that it names, and only what is damaged, gone or not of the trail is accused; a
*warning* names what cannot be proven and should be looked at; *info* states a fact that a reader of the result needs.
How much a code weighs and what it speaks against is fixed, in ``RULES``: no two findings of a code differ in it.
``docs/findings.md`` explains every code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

_MOST_QUOTED: Final = 300  # characters of foreign text in a finding: a digest can spell a megabyte


class Severity(StrEnum):
    """How much a finding weighs."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Concern(StrEnum):
    """What a finding speaks against; the verdict follows from it."""

    INTEGRITY = "integrity"  # what lies there is not what was delivered
    COMPLETENESS = "completeness"  # something is gone, or lies there and nobody vouches for it
    COVERAGE = "coverage"  # something could not be looked at
    NOTE = "note"  # nothing: a fact


class FindingCode(StrEnum):
    """What was found; the text is for programs and never changes its meaning."""

    DIGEST_MISSING = "digest-missing"  # a later digest names it, and it is not there
    DIGEST_UNREACHABLE = "digest-unreachable"  # it is there, and cannot be read
    DIGEST_MALFORMED = "digest-malformed"  # gzip, JSON or a field of it
    DIGEST_TRAILING_DATA = "digest-trailing-data"  # bytes behind the gzip member
    DIGEST_TOO_LARGE = "digest-too-large"  # a bomb: not inflated to its end
    DIGEST_UNSIGNED = "digest-unsigned"  # its metadata hold no signature
    DIGEST_SIGNATURE_INVALID = "digest-signature-invalid"
    DIGEST_SIGNATURE_LOST = "digest-signature-lost"  # the copy has no metadata, and no later digest holds its signature
    DIGEST_SIGNATURE_DISPUTED = "digest-signature-disputed"  # the same, and the next one, unproven, contradicts it
    DIGEST_LINK_UNFOUNDED = "digest-link-unfounded"  # the same, and what it says of the one before it cannot be so
    DIGEST_START_UNPROVEN = "digest-start-unproven"  # the same, and starts a chain: nothing proves why
    DIGEST_ALGORITHM = "digest-algorithm"  # not SHA256withRSA
    DIGEST_KEY_UNKNOWN = "digest-key-unknown"  # no public key with the fingerprint that it names
    DIGEST_KEY_NOT_VALID = "digest-key-not-valid"  # signed by a key that was not valid at its end time
    DIGEST_MOVED = "digest-moved"  # signed for another place in this trail's folder
    DIGEST_FOREIGN = "digest-foreign"  # signed for another trail, account, region or bucket
    DIGEST_TIMES_CONTRADICT = "digest-times-contradict"  # its name and its content tell different times
    DIGEST_REPLACED = "digest-replaced"  # signed, but not what its successor saw
    DIGEST_NOT_IN_CHAIN = "digest-not-in-chain"  # signed, but its successor names an older one
    DIGEST_OUT_OF_ORDER = "digest-out-of-order"  # signed, but follows itself or a later one: a loop
    CHAIN_STARTED = "chain-started"
    CHAIN_ELSEWHERE = "chain-elsewhere"  # the chain comes from another bucket or prefix
    CHAIN_CUT_OFF = "chain-cut-off"  # the newest digests that should be there are not
    EDGE_UNEXAMINED = "edge-unexamined"  # whether digests are missing where the time asked for starts, or ends
    SPAN_UNPROVEN = "span-unproven"  # for some time no digest can be trusted
    NO_DIGESTS = "no-digests"
    FOLDER_UNREACHABLE = "folder-unreachable"  # it is there, and cannot be listed
    FOLDERS_NOT_SEARCHED = "folders-not-searched"  # for trails: there are too many, or none can lie there
    HOME_REGION_ABSENT = "home-region-absent"  # no digest of the trail lies in the region that its others name
    TRAILS_TOO_MANY = "trails-too-many"  # digests of more than can deliver there: not all were read
    KEY_ROTATED = "key-rotated"  # from this digest on, another key signs
    BACKFILL_DIGEST = "backfill-digest"  # names log files that came too late for their hour's digest
    DIGESTS_EMPTY = "digests-empty"  # so many name no log file
    METADATA_LOST = "metadata-lost"  # a plain copy: signatures were taken from the digests that follow
    OTHER_TRAIL = "other-trail"  # another trail's digests lie in the same folder
    LOG_FILE_MISSING = "log-file-missing"
    LOG_FILE_MALFORMED = "log-file-malformed"  # not one whole gzip member
    LOG_FILE_TRAILING_DATA = "log-file-trailing-data"  # bytes behind the gzip member
    LOG_FILE_TOO_LARGE = "log-file-too-large"  # a bomb: not inflated to its end
    LOG_FILE_CHANGED = "log-file-changed"  # its hash is not what the digest says
    LOG_FILE_MOVED = "log-file-moved"  # a log file that is missing elsewhere: the same content under another name
    LOG_FILE_UNREACHABLE = "log-file-unreachable"  # in a bucket that cannot be read here
    LOG_FILE_NOT_NAMED = "log-file-not-named"  # in the folder, in no digest
    LOG_FILES_OF_OTHER_TRAIL = "log-files-of-other-trail"  # in no digest of this trail, in a folder that trails share
    LOG_FILE_WITHOUT_DIGESTS = "log-file-without-digests"  # delivered while no digests were made
    LOG_FILE_UNPROVEN = "log-file-unproven"  # the digest that should name it is damaged or missing
    LOG_FILES_NOT_YET_NAMED = "log-files-not-yet-named"  # newer than the newest digest
    LOG_FILES_BEFORE_DIGESTS = "log-files-before-digests"  # older than the first digest that was ever made
    LOG_FILE_NOT_JSON = "log-file-not-json"  # as delivered, and no log file for all that
    LOGGING_STOPPED = "logging-stopped"  # a record says who stopped logging, or the making of digests
    TRAIL_CHANGED = "trail-changed"  # a record says who changed what the trail logs
    GAP_UNEXPLAINED = "gap-unexplained"  # no record says that anybody stopped logging
    GAP_UNEXAMINED = "gap-unexamined"  # the log files that would say so were not read
    EVENT_DUPLICATED = "event-duplicated"  # the same eventID in two log files
    BUNDLE_CONTRADICTS_MANIFEST = "bundle-contradicts-manifest"  # an evidence bundle's member is not as it was packed
    OBJECT_UNEXPECTED = "object-unexpected"  # in a folder of the trail, with a name that is not of its kind


@dataclass(frozen=True, slots=True)
class Rule:
    """What every finding of a code has in common."""

    severity: Severity
    concern: Concern


_FORGED: Final = Rule(Severity.ERROR, Concern.INTEGRITY)
_GONE: Final = Rule(Severity.ERROR, Concern.COMPLETENESS)
_UNVOUCHED: Final = Rule(Severity.WARNING, Concern.COMPLETENESS)
_UNSEEN: Final = Rule(Severity.WARNING, Concern.COVERAGE)
_LOOK: Final = Rule(Severity.WARNING, Concern.NOTE)
_FACT: Final = Rule(Severity.INFO, Concern.NOTE)

RULES: Final[Mapping[FindingCode, Rule]] = {
    FindingCode.DIGEST_MISSING: _GONE,
    FindingCode.DIGEST_UNREACHABLE: _UNSEEN,
    FindingCode.DIGEST_MALFORMED: _FORGED,
    FindingCode.DIGEST_TRAILING_DATA: _FORGED,
    FindingCode.DIGEST_TOO_LARGE: _FORGED,
    FindingCode.DIGEST_UNSIGNED: _FORGED,
    FindingCode.DIGEST_SIGNATURE_INVALID: _FORGED,
    FindingCode.DIGEST_SIGNATURE_LOST: _LOOK,
    FindingCode.DIGEST_SIGNATURE_DISPUTED: Rule(Severity.WARNING, Concern.INTEGRITY),  # this one, or the next
    FindingCode.DIGEST_LINK_UNFOUNDED: _FORGED,
    FindingCode.DIGEST_START_UNPROVEN: _UNSEEN,
    FindingCode.DIGEST_ALGORITHM: _FORGED,
    FindingCode.DIGEST_KEY_UNKNOWN: _FORGED,
    FindingCode.DIGEST_KEY_NOT_VALID: Rule(Severity.WARNING, Concern.INTEGRITY),
    FindingCode.DIGEST_MOVED: _FORGED,
    FindingCode.DIGEST_FOREIGN: _FORGED,
    FindingCode.DIGEST_TIMES_CONTRADICT: _FORGED,
    FindingCode.DIGEST_REPLACED: _FORGED,
    FindingCode.DIGEST_NOT_IN_CHAIN: _FORGED,
    FindingCode.DIGEST_OUT_OF_ORDER: _FORGED,
    FindingCode.CHAIN_STARTED: _FACT,
    FindingCode.CHAIN_ELSEWHERE: _FACT,
    FindingCode.CHAIN_CUT_OFF: _GONE,
    FindingCode.EDGE_UNEXAMINED: _UNSEEN,
    FindingCode.SPAN_UNPROVEN: _FACT,  # whatever left it has been accused
    FindingCode.NO_DIGESTS: _UNVOUCHED,
    FindingCode.FOLDER_UNREACHABLE: _UNSEEN,
    FindingCode.FOLDERS_NOT_SEARCHED: _UNSEEN,
    FindingCode.HOME_REGION_ABSENT: _UNSEEN,
    FindingCode.TRAILS_TOO_MANY: _UNVOUCHED,
    FindingCode.KEY_ROTATED: _FACT,
    FindingCode.BACKFILL_DIGEST: _FACT,
    FindingCode.DIGESTS_EMPTY: _FACT,
    FindingCode.METADATA_LOST: _FACT,
    FindingCode.OTHER_TRAIL: _FACT,
    FindingCode.LOG_FILE_MISSING: _GONE,
    FindingCode.LOG_FILE_MALFORMED: _FORGED,
    FindingCode.LOG_FILE_TRAILING_DATA: _FORGED,
    FindingCode.LOG_FILE_TOO_LARGE: _FORGED,
    FindingCode.LOG_FILE_CHANGED: _FORGED,
    FindingCode.LOG_FILE_MOVED: _FACT,  # that it is missing where it should be has been accused
    FindingCode.LOG_FILE_UNREACHABLE: _UNSEEN,
    FindingCode.LOG_FILE_NOT_NAMED: _UNVOUCHED,
    FindingCode.LOG_FILES_OF_OTHER_TRAIL: _FACT,
    FindingCode.LOG_FILE_WITHOUT_DIGESTS: _FACT,
    FindingCode.LOG_FILE_UNPROVEN: _FACT,
    FindingCode.LOG_FILES_NOT_YET_NAMED: _FACT,
    FindingCode.LOG_FILES_BEFORE_DIGESTS: _FACT,
    FindingCode.LOG_FILE_NOT_JSON: _LOOK,
    FindingCode.LOGGING_STOPPED: _LOOK,
    FindingCode.TRAIL_CHANGED: _FACT,
    FindingCode.GAP_UNEXPLAINED: _UNVOUCHED,
    FindingCode.GAP_UNEXAMINED: _FACT,
    FindingCode.EVENT_DUPLICATED: _LOOK,  # CloudTrail may deliver an event twice
    FindingCode.BUNDLE_CONTRADICTS_MANIFEST: _FORGED,
    FindingCode.OBJECT_UNEXPECTED: _LOOK,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding.  ``key`` is the object (or, for what is gone without a name, the folder) that it is about."""

    code: FindingCode
    key: str
    message: str
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def severity(self) -> Severity:
        """How much it weighs."""
        return RULES[self.code].severity

    @property
    def concern(self) -> Concern:
        """What it speaks against."""
        return RULES[self.code].concern


def found(code: FindingCode, key: str, message: str, **details: str) -> Finding:
    """A finding about ``key``; what is quoted of foreign text is cut to a length that a person can read."""
    return Finding(
        code=code, key=key, message=shorten(message), details={name: shorten(text) for name, text in details.items()}
    )


def counted(number: int, noun: str) -> str:
    """``number`` of what ``noun`` (singular) names, in words for people: "1 digest", "2,000 digests"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def shorten(text: str) -> str:
    """``text``, or its beginning and a sign that there was more."""
    most = 5 * _MOST_QUOTED
    return text if len(text) <= most else f"{text[:_MOST_QUOTED]}... ({len(text)} characters)"
