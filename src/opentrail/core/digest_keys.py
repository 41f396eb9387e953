"""Whether a signing key can have signed a digest: one that is known, in its time.

Rules: a key signs an ordinary digest when that ends.  A backfill digest is named after the hour whose late log files it
names, and is made when they are there: it may be signed by a key that came up to ``LATEST_BACKFILL`` after that hour
(AWS CLI's ``validate-logs`` asks for the keys of the time of its making, which stands in the object's metadata, where
nobody signs it).  And no key has seen a log file that was delivered after the key's end: whoever kept an expired key
could vouch for any later one in a digest that bears an earlier time.
"""

from __future__ import annotations

import re
from datetime import UTC, timedelta
from typing import Final

from opentrail.core.digests import Digest
from opentrail.core.events import format_time
from opentrail.core.findings import Finding, FindingCode, counted, found
from opentrail.core.public_keys import PublicKey

LATEST_BACKFILL: Final = timedelta(days=31)  # delivery is tried for 30 days (CloudTrail user guide), and clocks differ
_LATE: Final = timedelta(hours=1)  # names hold the minute of delivery, on another machine's clock

# Of a log file's key what tells of its delivery: the day of its folder, and the time in its name where it has one.
_DELIVERED: Final = re.compile(
    r"/([0-9]{4})/([0-9]{2})/([0-9]{2})/(?:[^/]*_[0-9]{8}(T[0-9]{4})Z_)?[^/]*\Z", re.ASCII | re.DOTALL
)


def check_key(text: str, digest: Digest, public_key: PublicKey | None) -> Finding | None:
    """What is wrong where ``digest``, at the key ``text``, names a signing key that is not known."""
    if public_key is not None:
        return None
    fingerprint = digest.public_key_fingerprint
    message = f"no public key is known with the fingerprint {fingerprint}"
    return found(FindingCode.DIGEST_KEY_UNKNOWN, text, message, fingerprint=fingerprint)


def check_validity(text: str, digest: Digest, public_key: PublicKey, *, is_backfill: bool) -> Finding | None:
    """What is wrong where ``public_key``, whose signature fits ``digest``, cannot have made it in its time."""
    later = _delivered_later(digest, public_key)
    delay = LATEST_BACKFILL if is_backfill else timedelta()
    if digest.end_time > public_key.validity_end or public_key.validity_start - digest.end_time > delay:
        message = f"was signed by a key that was not valid at {format_time(digest.end_time)}"
        message += f", nor in the {LATEST_BACKFILL.days} days after it" if is_backfill else ""
    elif later:
        over = format_time(public_key.validity_end)
        message = f"was signed by a key that ended at {over}, and names {counted(later, 'log file')} delivered later"
    else:
        return None
    return found(FindingCode.DIGEST_KEY_NOT_VALID, text, message, fingerprint=public_key.fingerprint)


def _delivered_later(digest: Digest, public_key: PublicKey) -> int:
    """How many of the log files that ``digest`` names were delivered after the end of ``public_key``, say their names.

    The times are compared as text, and first of all the days, for it is done for each log file of a trail.
    """
    try:
        last = (public_key.validity_end + _LATE).astimezone(UTC)
    except OverflowError:
        return 0  # it ends with the calendar
    day, minute = f"{last.year:04}/{last:%m/%d}", f"{last.year:04}{last:%m%dT%H%M}"
    return sum(
        file.key.rpartition("/")[0][-len(day) :] >= day and _delivered(file.key) > minute for file in digest.log_files
    )


def _delivered(key: str) -> str:
    """YYYYMMDDTHHmm, or YYYYMMDD, or "" where ``key`` tells nothing."""
    match = _DELIVERED.match(key, max(0, key.rfind("/") - len("/2015/08/17")))
    return "".join(match.groups("")) if match else ""
