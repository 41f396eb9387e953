"""What to do about each finding, for a reader who has to decide something now.

Rules: a sentence or two a code, and only what follows from the finding alone; ``docs/findings.md`` says more.  Every
error and every warning has one; a fact (``info``) has one where there is something to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from opentrail.core.findings import FindingCode

_RESTORE: Final = (
    "Restore it from a copy or an older version of the object, keep what lies there now, and ask who may write there."
)
_KEY_MISUSED: Final = (
    "Somebody used the signing key twice: treat it as stolen, and trust nothing that it signed from then on."
)

ADVICE: Final[Mapping[FindingCode, str]] = {
    FindingCode.DIGEST_MISSING: "Restore it from a copy or an older version; ask who deleted it.",
    FindingCode.DIGEST_UNREACHABLE: (
        "Give access to it (or repair the disk, or restore it from the archive), and verify again; ask who took the "
        "access away."
    ),
    FindingCode.DIGEST_MALFORMED: _RESTORE,
    FindingCode.DIGEST_TRAILING_DATA: "Restore it; look at what was appended.",
    FindingCode.DIGEST_TOO_LARGE: "Do not unpack it with other tools; restore it.",
    FindingCode.DIGEST_UNSIGNED: (
        "Restore the object with its metadata. Of a copy in which all have lost theirs, say --metadata-lost."
    ),
    FindingCode.DIGEST_SIGNATURE_INVALID: "Restore the object with its metadata, and compare the two.",
    FindingCode.DIGEST_SIGNATURE_LOST: (
        "Copy the objects with their metadata, or copy once more when the next digest is there, and verify again."
    ),
    FindingCode.DIGEST_SIGNATURE_DISPUTED: "Copy the objects with their metadata, and verify again.",
    FindingCode.DIGEST_LINK_UNFOUNDED: (
        "Copy the objects with their metadata, and verify again. If nobody can, trust neither it nor what it names."
    ),
    FindingCode.DIGEST_START_UNPROVEN: (
        "Copy the objects with their metadata, or copy once more when the next digest is there; verify the trail's "
        "home region, too."
    ),
    FindingCode.DIGEST_ALGORITHM: "Restore the object's metadata.",
    FindingCode.DIGEST_KEY_UNKNOWN: (
        "Get the public keys of this region for the whole time (`aws cloudtrail list-public-keys --region ... "
        "--start-time ...`, or `opentrail keys export`) and verify again. With these at hand it was signed by "
        "somebody else."
    ),
    FindingCode.DIGEST_KEY_NOT_VALID: "Ask why that key was used then; it may have been stolen.",
    FindingCode.DIGEST_MOVED: "Put it back where it says.",
    FindingCode.DIGEST_FOREIGN: (
        "Restore the digest that was here. If every digest is accused so, this is a copy (name the bucket and prefix "
        "that it was made of with --original-bucket), or SOURCE is one folder too high (buckets lie in it: name one)."
    ),
    FindingCode.DIGEST_TIMES_CONTRADICT: _KEY_MISUSED,
    FindingCode.DIGEST_REPLACED: _KEY_MISUSED,
    FindingCode.DIGEST_NOT_IN_CHAIN: _KEY_MISUSED,
    FindingCode.DIGEST_OUT_OF_ORDER: _KEY_MISUSED,
    FindingCode.CHAIN_ELSEWHERE: "Verify that bucket and prefix, too.",
    FindingCode.EDGE_UNEXAMINED: (
        "Verify a longer time: with a --start (or an --end) some days before (or behind) the digest that is named."
    ),
    FindingCode.CHAIN_CUT_OFF: "Look for who deleted the newest digests, or whether delivery stands still.",
    FindingCode.NO_DIGESTS: (
        "Look whether the prefix, the account and the region are right, and whether validation is on."
    ),
    FindingCode.FOLDER_UNREACHABLE: (
        "Give access to it, and verify again; where it is a symbolic link, verify what it leads to, in its place."
    ),
    FindingCode.OTHER_TRAIL: "Verify it as well.",
    FindingCode.LOG_FILE_MISSING: "Restore it from a copy or an older version; ask who deleted it.",
    FindingCode.LOG_FILE_MALFORMED: _RESTORE,
    FindingCode.LOG_FILE_TRAILING_DATA: "Restore it; look at what was appended.",
    FindingCode.LOG_FILE_TOO_LARGE: "Do not unpack it with other tools; restore it.",
    FindingCode.LOG_FILE_CHANGED: "Restore it from a copy or an older version, and compare the two.",
    FindingCode.LOG_FILE_MOVED: "Move it back.",
    FindingCode.LOG_FILE_UNREACHABLE: "Give access to that bucket, or to its copy, and verify again.",
    FindingCode.FOLDERS_NOT_SEARCHED: (
        "Name the folder of the trail as SOURCE (SOURCE/PREFIX/AWSLogs/): then no other is searched."
    ),
    FindingCode.HOME_REGION_ABSENT: (
        "Ask who deleted them. Of a copy that was made without them, say with --region which regions it has."
    ),
    FindingCode.TRAILS_TOO_MANY: "Verify the trail by its ARN alone (--trail-arn), and ask who put the others there.",
    FindingCode.LOG_FILE_NOT_NAMED: "Trust nothing in it before you know who put it there.",
    FindingCode.LOG_FILES_OF_OTHER_TRAIL: "Verify without --trail-arn to learn which of them nobody names.",
    FindingCode.LOG_FILE_WITHOUT_DIGESTS: "See logging-stopped or gap-unexplained for why there are none.",
    FindingCode.LOG_FILES_NOT_YET_NAMED: (
        "Verify again in an hour; or, where --end is in the past, with an --end that is two hours later."
    ),
    FindingCode.LOG_FILES_BEFORE_DIGESTS: "Trust nothing in them before you know who put them there.",
    FindingCode.LOG_FILE_NOT_JSON: "Ask whoever delivered it.",
    FindingCode.LOGGING_STOPPED: "Ask whoever is named. What happened in that time, this trail does not tell.",
    FindingCode.TRAIL_CHANGED: "See whether what you look for was still logged.",
    FindingCode.GAP_UNEXPLAINED: (
        "Find out what happened then: digests and the log files that told of it may have been deleted."
    ),
    FindingCode.GAP_UNEXAMINED: "Verify the trail's home region, too.",
    FindingCode.EVENT_DUPLICATED: "Count events by their eventID.",
    FindingCode.BUNDLE_CONTRADICTS_MANIFEST: "Get the bundle from its maker once more.",
    FindingCode.OBJECT_UNEXPECTED: "Look at what it is, and who put it there.",
}
