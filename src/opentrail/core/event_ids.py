"""The same event in two log files: fingerprints of ``eventID``, and a window of constant size that remembers them.

Rules: a log file's events become eight bytes each (BLAKE2b of the ID), which a worker can hand on cheaply.  The window
holds the last ``SLOTS`` or so: each fingerprint has one place, and a newer one takes it.  So a repetition within the
next few hundred thousand events is seen for certain when nothing took its place, a later one by chance; nothing is
ever reported that is not one (but for one pair in 2**64).  CloudTrail may deliver an event twice: a warning, no more.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator
from typing import Final

import orjson

from opentrail.core.errors import FormatError
from opentrail.core.findings import Finding, FindingCode, found
from opentrail.core.logfiles import parse_json

SLOTS: Final = 1 << 20  # 12 MB; a busy region's hour has some 100,000 events
_WIDTH: Final = 8
_MOST_FILES: Final = 4096  # whose names are remembered


def find_event_ids(content: bytes) -> bytes:
    """The fingerprints of the events in a log file's uncompressed ``content``, in order, ``_WIDTH`` bytes each.

    Raises ``FormatError`` when it is not JSON, an object whose ``Records`` is a list of objects.
    """
    document = _parse(content)
    records = document.get("Records") if isinstance(document, dict) else None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise FormatError("it is not an object whose Records is a list of objects")
    ids = (record.get("eventID") for record in records)
    return b"".join(
        hashlib.blake2b(text.encode(errors="replace"), digest_size=_WIDTH).digest()
        for text in ids
        if isinstance(text, str)
    )


class RecentEvents:
    """The events of the log files seen last, in constant memory."""

    def __init__(self) -> None:
        self._prints = array("Q", bytes(_WIDTH * SLOTS))
        self._files = array("L", bytes(array("L").itemsize * SLOTS))  # the number of the file that each was in
        self._names: dict[int, str] = {}  # of the files seen last
        self._count = 0

    def add(self, log_key: str, event_ids: bytes) -> Iterator[Finding]:
        """The events of the log file at ``log_key``: one finding for all that were seen before."""
        self._count += 1
        self._names[self._count] = log_key
        self._names.pop(self._count - _MOST_FILES, None)
        repeated, first = 0, 0
        for fingerprint in array("Q", event_ids):
            at = fingerprint % SLOTS
            if self._prints[at] == fingerprint and self._files[at]:
                repeated, first = repeated + 1, first or self._files[at]
            self._prints[at], self._files[at] = fingerprint, self._count
        if repeated:
            other = self._names.get(first, "an earlier log file")
            message = f"{repeated} of its events stand in {other} too"
            yield found(FindingCode.EVENT_DUPLICATED, log_key, message, count=str(repeated), other=other)


def _fingerprint(event_id: str) -> bytes:
    return hashlib.blake2b(event_id.encode(errors="replace"), digest_size=_WIDTH).digest()


def _parse(content: bytes) -> object:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        value: object = parse_json(content)  # lone surrogates and integers over 64 bits are JSON, too
        return value
