"""Which log files the digests of a span speak for: what an evidence bundle takes in, and what may lie in one.

Rules: nobody has checked who wrote these digests, so what one says is bounded: it speaks for two hours at most, and of
a folder ``_MOST_ELSEWHERE`` names are kept.  Nothing else grows with the trail.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from opentrail.core.digests import MAX_DIGEST_BYTES, Digest, decode_digest
from opentrail.core.errors import FormatError
from opentrail.core.gzip_member import decode_member
from opentrail.core.layout import DigestKey, Folder, LogKey, TrailFolder, parse_digest_key, parse_log_key
from opentrail.core.validation import LATEST_DIGEST
from opentrail.verification.result import Span

MINUTE: Final = timedelta(minutes=1)  # a log file's name holds the minute of delivery
_MOST_ELSEWHERE: Final = 100_000  # names of a folder: what has no end is forged, and found to be


@dataclass(slots=True)
class Named:
    """What the digests of one folder say: their time in the span, and which log files do not lie in it."""

    start: datetime | None = None
    end: datetime | None = None
    is_followed: bool = False  # by a digest behind the span, which names what was delivered after ``end``
    elsewhere: set[str] = field(default_factory=set)


class NamedLogs:
    """What the digests of ``span`` say, folder by folder."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._named: dict[Folder, Named] = {}

    def __contains__(self, folder: Folder) -> bool:
        return folder in self._named

    def of(self, folder: Folder) -> Named:
        """What is known of ``folder``."""
        return self._named.setdefault(folder, Named())

    def learn(self, key: str, data: bytes) -> None:
        """Look into a digest, which need not be a good one: which log files it names."""
        with suppress(FormatError):
            name = parse_digest_key(key)
            digest = decode_digest(decode_member(data, max_size=MAX_DIGEST_BYTES), with_extra=False)
            named = self.of(name.trail.folder)
            if self._span.start <= name.end_time <= self._span.end:
                start = max(digest.start_time, name.end_time - LATEST_DIGEST)
                named.start = min(named.start or start, start)
                named.end = max(named.end or name.end_time, name.end_time)
                if len(named.elsewhere) < _MOST_ELSEWHERE:
                    named.elsewhere.update(_named_elsewhere(digest, name.trail.folder))
            elif name.end_time > self._span.end:
                named.is_followed = True


class BundledObjects:
    """Whether an object may lie in a bundle of ``span``: whoever unpacks it takes all that is in it for proven.

    ``named`` has learnt of all its digests.  Keys are to be asked for in byte order, each once.
    """

    def __init__(self, span: Span, named: NamedLogs) -> None:
        self._span = span
        self._named = named
        self._before: set[TrailFolder] = set()
        self._behind: set[TrailFolder] = set()

    def holds(self, text: str) -> bool:
        """Whether ``text`` is of the span, or a digest's neighbour: so that a verification looks at it."""
        with suppress(FormatError):
            return self._holds_digest(parse_digest_key(text))
        with suppress(FormatError):
            return self._holds_log_file(text, parse_log_key(text))
        return False

    def _holds_digest(self, key: DigestKey) -> bool:
        span, trail = self._span, key.trail
        if key.end_time < span.start:  # links of the first one lead to it
            is_first = trail not in self._before
            self._before.add(trail)
            return is_first
        is_in = key.end_time <= span.end or (trail not in self._behind and key.end_time <= span.end + LATEST_DIGEST)
        if key.end_time > span.end and not key.backfill:
            self._behind.add(trail)
        return is_in

    def _holds_log_file(self, text: str, key: LogKey) -> bool:
        named = self._named.of(key.folder)
        start = named.start or self._span.start
        return start - MINUTE < key.delivered_at <= self._span.end or text in named.elsewhere


def _named_elsewhere(digest: Digest, folder: Folder) -> Iterator[str]:
    """The log files that ``digest`` names whose names tell of another time than its own."""
    for file in digest.log_files:
        with suppress(FormatError):
            key = parse_log_key(file.key)
            is_in_time = digest.start_time - MINUTE < key.delivered_at <= digest.end_time
            if file.bucket == digest.bucket and key.folder == folder and not is_in_time:
                yield file.key
