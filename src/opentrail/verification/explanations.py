"""What each finding means, in words for a reader who has never seen a digest.

Rules: one or two sentences a code; they say what was found, not who did it.  Every code has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from opentrail.core.findings import FindingCode

EXPLANATIONS: Final[Mapping[FindingCode, str]] = {
    FindingCode.DIGEST_MISSING: (
        "A later digest, or the listing of the folder, names this digest, and it is not there: it has been removed."
    ),
    FindingCode.DIGEST_UNREACHABLE: (
        "The digest is there and could not be read, so nothing of it was checked, nor any log file that it alone names."
    ),
    FindingCode.DIGEST_MALFORMED: "The digest cannot be read: its bytes are not those that were delivered.",
    FindingCode.DIGEST_TRAILING_DATA: "Bytes have been appended to the digest.",
    FindingCode.DIGEST_TOO_LARGE: "The digest unpacks to more than any digest can hold; it was not read to its end.",
    FindingCode.DIGEST_UNSIGNED: "The object's metadata, which hold the digest's signature, have been removed.",
    FindingCode.DIGEST_SIGNATURE_INVALID: (
        "The signature does not fit the digest: its content, its place or its signature has been changed."
    ),
    FindingCode.DIGEST_SIGNATURE_LOST: (
        "The copy was made without metadata, and no later digest repeats this one's signature, so it cannot be proven."
    ),
    FindingCode.DIGEST_SIGNATURE_DISPUTED: (
        "The copy was made without metadata, and the digest that follows, which cannot be proven either, repeats "
        "another signature than this one's: one of the two was changed."
    ),
    FindingCode.DIGEST_LINK_UNFOUNDED: (
        "The copy was made without metadata, and what this digest says of the one before it cannot be so: "
        "it was changed."
    ),
    FindingCode.DIGEST_START_UNPROVEN: (
        "The copy was made without metadata, and the digest says that a chain starts with it; why, cannot be proven."
    ),
    FindingCode.DIGEST_ALGORITHM: "The digest names another signature algorithm than the one that is used for digests.",
    FindingCode.DIGEST_KEY_UNKNOWN: "The digest names a signing key that is not among the public keys given.",
    FindingCode.DIGEST_KEY_NOT_VALID: "The digest is signed with a key that was not in use at the time it speaks of.",
    FindingCode.DIGEST_MOVED: "A digest of this trail lies under another name than the one it was signed for.",
    FindingCode.DIGEST_FOREIGN: "The digest was signed for another trail, account, region or bucket.",
    FindingCode.DIGEST_TIMES_CONTRADICT: (
        "The digest's name tells another time than its content, or its time ends before it begins."
    ),
    FindingCode.DIGEST_REPLACED: (
        "The digest is signed, but its successor has seen another one in its place: it was exchanged afterwards."
    ),
    FindingCode.DIGEST_NOT_IN_CHAIN: "The digest is signed, but the chain of digests passes it by.",
    FindingCode.DIGEST_OUT_OF_ORDER: "The digest says that it follows a later one, which no delivery does.",
    FindingCode.CHAIN_STARTED: "A chain of digests begins here: validation or logging was turned on.",
    FindingCode.CHAIN_ELSEWHERE: "The chain comes from another bucket or prefix, where the trail delivered before.",
    FindingCode.CHAIN_CUT_OFF: "The newest digests, which must have been delivered by then, are not there.",
    FindingCode.EDGE_UNEXAMINED: (
        "Nothing beyond this edge of the time that was asked for can be trusted, so nobody can tell whether digests "
        "are missing there."
    ),
    FindingCode.SPAN_UNPROVEN: "For this span no digest can be trusted, so nothing is proven of it.",
    FindingCode.NO_DIGESTS: "There is no digest to prove anything with.",
    FindingCode.FOLDER_UNREACHABLE: (
        "The folder is there and could not be looked into: a trail, or a part of one, that lies there was not verified."
    ),
    FindingCode.FOLDERS_NOT_SEARCHED: "Trails may lie in folders that were not looked into: they were not verified.",
    FindingCode.HOME_REGION_ABSENT: (
        "The names of the digests tell the trail's home region, and none of its digests lies in that region's folder."
    ),
    FindingCode.TRAILS_TOO_MANY: "Digests of more trails than can deliver there lie in one folder; not all were read.",
    FindingCode.KEY_ROTATED: "From this digest on another key signs, as happens from time to time.",
    FindingCode.BACKFILL_DIGEST: "This digest names log files that came too late for the digest of their hour.",
    FindingCode.DIGESTS_EMPTY: "These digests name no log file: they prove that none was delivered in their hours.",
    FindingCode.METADATA_LOST: "The copy has no metadata; signatures were taken from the digests that follow each one.",
    FindingCode.OTHER_TRAIL: "Digests of another trail lie in the same folder; they are a chain of their own.",
    FindingCode.LOG_FILE_MISSING: "A signed digest names this log file, and it is not there: it has been removed.",
    FindingCode.LOG_FILE_MALFORMED: "The log file cannot be unpacked: its bytes are not those that were delivered.",
    FindingCode.LOG_FILE_TRAILING_DATA: (
        "Bytes have been appended to the log file; some readers would take them for records."
    ),
    FindingCode.LOG_FILE_TOO_LARGE: (
        "The log file unpacks to more than any log file can hold; it was not read to its end."
    ),
    FindingCode.LOG_FILE_CHANGED: "The content of the log file is not the one that was delivered.",
    FindingCode.LOG_FILE_MOVED: "The content of a log file that is missing lies here, under another name.",
    FindingCode.LOG_FILE_UNREACHABLE: "The log file could not be read here, or lies in a bucket that could not.",
    FindingCode.LOG_FILE_NOT_NAMED: (
        "The file lies among the log files, and no digest names it: nothing proves that it was delivered."
    ),
    FindingCode.LOG_FILES_OF_OTHER_TRAIL: "No digest of this trail names these files; another trail delivers here too.",
    FindingCode.LOG_FILE_WITHOUT_DIGESTS: "The file was delivered while no digests were made: nothing proves it.",
    FindingCode.LOG_FILE_UNPROVEN: "The digest that should name the file is damaged or missing.",
    FindingCode.LOG_FILES_NOT_YET_NAMED: (
        "These files are newer than the newest digest that was read; the one that follows it should name them."
    ),
    FindingCode.LOG_FILES_BEFORE_DIGESTS: (
        "These files are older than the first digest: validation was turned on later, and nothing proves them."
    ),
    FindingCode.LOG_FILE_NOT_JSON: "The file is as it was delivered, and yet not what a log file is.",
    FindingCode.LOGGING_STOPPED: "A record says that somebody stopped logging, or the making of digests.",
    FindingCode.TRAIL_CHANGED: "A record says that somebody changed what the trail logs.",
    FindingCode.GAP_UNEXPLAINED: "No digests were made for a time, and no record says that logging was stopped.",
    FindingCode.GAP_UNEXAMINED: "No digests were made for a time; the records that could say why were not read.",
    FindingCode.EVENT_DUPLICATED: "The same event stands in two log files, which delivery may do.",
    FindingCode.BUNDLE_CONTRADICTS_MANIFEST: "This part of the evidence bundle is not as the bundle's manifest says.",
    FindingCode.OBJECT_UNEXPECTED: "The object lies among the trail's files and is not named like one of them.",
}
