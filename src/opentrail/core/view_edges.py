"""The edges of the time in view: the digests just behind and just before it, and what they tell of those within.

Rules:

* The newest digests in view are named by the one behind them, which is read as a witness and is not in view itself.
  Where the first one behind cannot be trusted, others may be fakes that hide it: up to ``_MOST_WITNESSES`` are read
  until one can be trusted.  When none can, or the one that can follows one that cannot, nobody can tell whether digests
  are missing at the end, unless they would not fit between.
* A trusted witness names the log files of its time, which may begin within the view.  So do backfill digests of that
  time; where one of them cannot be trusted, nothing is said of what nobody names there.
* A chain that starts in view may follow another that ended before it.  The newest digest before the view says when that
  one ended: what lies between is a gap, as between two chains in view.  It is asked for then alone, for every other
  digest names the one before it.
* A copy without metadata has lost the signature of such a digest: it is believed as long as nothing accuses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from opentrail.core.copied_signatures import decide
from opentrail.core.digest_chain import is_signature_lost
from opentrail.core.digests import Digest
from opentrail.core.errors import FormatError
from opentrail.core.findings import Finding, FindingCode, found
from opentrail.core.layout import DigestKey, parse_digest_key
from opentrail.core.log_folder import NEXT_DIGEST, Hole, LogFolder
from opentrail.core.object_checks import DigestReading

_MOST_AT_ONCE: Final = 3  # witnesses that are read ahead
_MOST_WITNESSES: Final = 100  # two days have 48
_MOST_BACKFILLS: Final = 20  # of two hours
_HOUR: Final = timedelta(hours=1)  # the longest time that a digest covers, by the format


class DigestsBehind:
    """The digests of a chain that end behind the view, which ends at ``end``."""

    def __init__(self, end: datetime | None) -> None:
        self.keys: dict[str, None] = {}  # in order, without backfill digests
        self.witness: Digest | None = None  # the trusted one
        self.refusals: list[Finding] = []  # of what lies behind, and cannot be read
        self._end = end
        self._backfills = 0
        self._is_sure = True  # of what backfill digests name
        self._is_told = False  # what the first one says of those in view was looked at, though it is unproven
        self._untrusted = ""  # the first one of those

    def hold(self, key: DigestKey) -> bool:
        """Whether the digest ends behind the view."""
        return self._end is not None and key.end_time > self._end

    def is_asked(self, text: str, key: DigestKey) -> bool:
        """Whether the digest at ``text``, which lies behind, is to be read now."""
        if key.backfill:
            if self._end is None or key.end_time > self._end + NEXT_DIGEST:
                return False
            self._backfills += 1
            self._is_sure &= self._backfills <= _MOST_BACKFILLS
            return self._is_sure
        if len(self.keys) < _MOST_WITNESSES:
            self.keys[text] = None
        return len(self.keys) <= _MOST_AT_ONCE and text in self.keys

    def further(self) -> Iterator[str]:
        """The keys of those that are to be read, one after the other, when all that were asked for were received."""
        for text in list(self.keys)[_MOST_AT_ONCE:]:
            if self.witness is not None or self._is_told or self.refusals:
                return
            yield text

    def receive(self, reading: DigestReading) -> bool:
        """The next one, judged: whether it is the witness.

        One that starts a chain says nothing of the one before it while others lie between that cannot be trusted.
        """
        if self.witness is not None:
            return False
        if reading.is_trusted and reading.digest is not None:
            self.witness = reading.digest
            is_alone = not (self._untrusted or self.refusals)
            return not self._is_told and (is_alone or reading.digest.previous is not None)
        self._is_told |= is_signature_lost(reading) and not self._untrusted
        self._untrusted = self._untrusted or reading.text
        return False

    def receive_backfill(self, reading: DigestReading, folder: LogFolder) -> None:
        """A backfill digest just behind the view: it may name log files of the witness's time."""
        is_open = reading.digest is not None and reading.public_key is not None  # its signature is to be found
        self._is_sure &= reading.is_trusted or is_open
        if reading.digest is not None and is_open and not reading.is_trusted:
            folder.add_unproven(reading.digest.log_files)
        for file in reading.digest.log_files if reading.digest and reading.is_trusted else ():
            folder.add_named(file.key)

    def span(self) -> tuple[datetime, datetime] | None:
        """The time of which the witness, and what was read besides, name every log file; None: there is none."""
        return (self.witness.start_time, self.witness.end_time) if self.witness and self._is_sure else None

    def doubt(self, known_end: datetime | None) -> Iterator[Finding]:
        """None of them has told of the view, the newest digest of which ends at ``known_end``."""
        if not self.keys or self._is_told or self.refusals:
            return
        if self._end is not None and known_end is not None and known_end + _HOUR > self._end:
            return  # no other fits between
        unread = self._untrusted or next(iter(self.keys))
        if self.witness is not None and self.witness.previous is not None:
            unread = self.witness.previous.key  # a trusted digest names it, so its name is true
            ended = _end_of(unread)
            if ended is not None and known_end is not None and known_end >= ended - _HOUR:
                return
        message = "cannot be trusted, so nobody can tell whether digests are missing at the end of the time in view"
        yield found(FindingCode.EDGE_UNEXAMINED, unread, message, edge="end")


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestBefore:
    """The newest digest before the view."""

    digest: Digest
    is_proven: bool

    def tell_names(self, folder: LogFolder) -> None:
        """Tell ``folder`` what it names: a chain ends with a digest that may reach into the time of the next one."""
        if not self.is_proven:
            folder.add_unproven_digest(self.digest)
        for file in self.digest.log_files if self.is_proven else ():
            folder.add_named(file.key)

    def gap_until(self, begins_at: datetime, *, is_empty: bool) -> Hole | None:
        """The time up to where a chain ``begins_at``: that is the end of a view that ``is_empty``, if one was due."""
        due = self.digest.end_time + NEXT_DIGEST if is_empty else self.digest.end_time
        if due >= begins_at:
            return None
        return Hole(start=self.digest.end_time, end=begins_at, is_damage=False, since=self.digest.start_time)


def judge_before(reading: DigestReading) -> DigestBefore | Finding:
    """What ``reading``, of the newest digest before the view, is good for."""
    reading = decide(reading, None)  # a copy that lost its signature has no other that holds it
    is_lost = is_signature_lost(reading)
    if reading.digest is not None and (reading.is_trusted or is_lost):
        return DigestBefore(digest=reading.digest, is_proven=not is_lost)
    why = f": {reading.findings[0].message}" if reading.findings else ""
    message = f"cannot be trusted, so nobody can tell whether digests are missing at the start of the time in view{why}"
    return found(FindingCode.EDGE_UNEXAMINED, reading.text, message, edge="start")


def _end_of(text: str) -> datetime | None:
    try:
        return parse_digest_key(text).end_time
    except FormatError:
        return None
