"""The links between digests: whether each names the one before it, and what the links prove.

Rules:

* A trusted digest (signed, in its place) speaks for the content of its predecessor: hash and signature are in its body.
* A digest that is not trusted is accused for that alone.  When a trusted successor names the very content that lies
  there (only the object's metadata were changed, say), what it says of log files is proven all the same.
* A link accuses a predecessor that is not there, that was replaced, or that the chain passes by.  Never the digest
  that holds the link.
* Memory does not grow with the trail: one trusted digest and at most ``_MOST_DOUBTFUL`` others are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from opentrail.core.digests import Digest, PreviousDigest
from opentrail.core.errors import FormatError
from opentrail.core.events import format_time
from opentrail.core.findings import Finding, FindingCode, error, info
from opentrail.core.layout import DigestKey, TrailFolder, parse_digest_key
from opentrail.core.log_folder import Hole
from opentrail.core.object_checks import DigestReading

_MOST_DOUBTFUL: Final = 48  # damaged digests in a row whose content a later one can still prove

# A digest copied to the name of a newer one does not stand for it.
_OUT_OF_PLACE: Final = frozenset({FindingCode.DIGEST_MOVED, FindingCode.DIGEST_FOREIGN})


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenDigest:
    """A digest whose content is as it was signed."""

    key: str
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainScope:
    """Which digests are in view: those of ``trail`` in ``bucket`` that end at ``start`` (None: any time) or later."""

    trail: TrailFolder
    bucket: str
    start: datetime | None = None

    def holds(self, link: PreviousDigest) -> bool:
        """Whether the digest that ``link`` names lies in this folder, not in a bucket or under a prefix used before."""
        key = _parse(link.key)
        return key is not None and link.bucket == self.bucket and key.trail == self.trail

    def is_too_old(self, link: PreviousDigest) -> bool:
        """Whether the digest that ``link`` names ended before the time in view."""
        key = _parse(link.key)
        return self.start is not None and key is not None and key.end_time < self.start


class DigestChain:
    """The chain of the ordinary digests, received in byte order of their keys."""

    def __init__(self, scope: ChainScope) -> None:
        self._scope = scope
        self._last: DigestReading | None = None  # the newest trusted one
        self._doubtful: deque[DigestReading] = deque(maxlen=_MOST_DOUBTFUL)  # those behind it, oldest first
        self.newest: DigestReading | None = None

    def receive(self, reading: DigestReading) -> Iterator[Finding | Hole | ProvenDigest]:
        """What the next digest shows, of itself and of those before it; proven digests come in order."""
        if not any(finding.code in _OUT_OF_PLACE for finding in reading.findings):
            self.newest = reading
        if reading.digest is None or not reading.is_trusted:
            self._doubtful.append(reading)
            return
        yield from self._check_links(reading.digest)
        yield ProvenDigest(key=reading.text, digest=reading.digest)
        self._last = reading
        self._doubtful.clear()

    def finish(self) -> Iterator[Hole]:
        """The end of the listing: nobody speaks for damaged digests at the end of the chain."""
        last_end = self._last_end()
        if self._doubtful and last_end is not None:
            yield Hole(start=last_end, end=self._doubtful[-1].key.end_time, is_damage=True)

    def _check_links(self, digest: Digest) -> Iterator[Finding | Hole | ProvenDigest]:
        link = digest.previous
        proven: list[ProvenDigest] = []
        is_broken = False
        for doubtful in reversed(self._doubtful):
            if link is None or is_broken:
                break
            if doubtful.text == link.key:
                if doubtful.digest is not None and doubtful.hash_value == link.hash_value:
                    proven.append(ProvenDigest(key=doubtful.text, digest=doubtful.digest))
                    link = doubtful.digest.previous
                else:
                    is_broken = True  # it is damaged, and has been accused
        first = proven[-1].digest if proven else digest
        if not is_broken and link is None:
            yield from self._start_chain(proven[-1].key if proven else digest.key, first)
        elif not is_broken and link is not None:
            finding = self._follow(link, first)
            if finding is not None:
                yield finding
                is_broken = finding.code is FindingCode.DIGEST_MISSING
        last_end = self._last_end()
        if is_broken and last_end is not None:
            yield Hole(start=last_end, end=first.start_time, is_damage=True)
        yield from reversed(proven)

    def _start_chain(self, key: str, first: Digest) -> Iterator[Finding | Hole]:
        last_end = self._last_end()
        start = format_time(first.start_time)
        if last_end is None:
            yield info(FindingCode.CHAIN_STARTED, key, f"a chain of digests starts at {start}", start=start)
            return
        yield Hole(start=last_end, end=first.start_time, is_damage=bool(self._doubtful))
        end = format_time(last_end)
        message = (
            f"a chain of digests starts at {start}; the one before it ended at {end}: nothing is proven in between"
        )
        yield info(FindingCode.CHAIN_STARTED, key, message, start=start, previous_end=end)

    def _follow(self, link: PreviousDigest, successor: Digest) -> Finding | None:
        """Find what ``link`` names among the trusted digests; ``successor`` is the proven digest that holds it."""
        if self._last is not None and self._last.text == link.key:
            return _compare(self._last, link, successor.key)
        if not self._scope.holds(link):
            place = f"s3://{link.bucket}/{link.key}"
            return info(FindingCode.CHAIN_ELSEWHERE, successor.key, f"the chain comes from {place}", previous=place)
        if self._scope.is_too_old(link):
            return None
        if len(self._doubtful) == _MOST_DOUBTFUL and link.key < self._doubtful[0].text:
            return None  # among damaged ones that were forgotten; each has been accused
        if self._last is not None and link.key < self._last.text:
            message = f"the chain passes it by: {successor.key} names {link.key} before itself"
            return error(FindingCode.DIGEST_NOT_IN_CHAIN, self._last.text, message, named_by=successor.key)
        return _missing(link, successor)

    def _last_end(self) -> datetime | None:
        return self._last.digest.end_time if self._last and self._last.digest else None


class BackfillChain:
    """The chain of the backfill digests.  They are few and follow the order of their making, not that of their keys.

    So all links are kept until the end.
    """

    def __init__(self, scope: ChainScope) -> None:
        self._scope = scope
        self._readings: dict[str, DigestReading] = {}

    def receive(self, reading: DigestReading) -> Iterator[ProvenDigest]:
        """Keep the digest's link; what it says of log files holds when it is trusted."""
        self._readings[reading.text] = reading
        if reading.is_trusted and reading.digest is not None:
            yield ProvenDigest(key=reading.text, digest=reading.digest)

    def finish(self) -> Iterator[Finding]:
        """Check every link."""
        for reading in self._readings.values():
            link = reading.digest.previous if reading.is_trusted and reading.digest else None
            if link is None or reading.digest is None or not self._scope.holds(link) or self._scope.is_too_old(link):
                continue
            previous = self._readings.get(link.key)
            if previous is None:
                yield _missing(link, reading.digest)
            elif previous.is_trusted:
                finding = _compare(previous, link, reading.text)
                if finding is not None:
                    yield finding


def _parse(key: str) -> DigestKey | None:
    try:
        return parse_digest_key(key)
    except FormatError:
        return None


def _compare(previous: DigestReading, link: PreviousDigest, named_by: str) -> Finding | None:
    if previous.hash_value == link.hash_value and previous.signature == link.signature.lower():
        return None
    message = f"is signed, but is not the digest that {named_by} follows"
    return error(
        FindingCode.DIGEST_REPLACED,
        previous.text,
        message,
        named_by=named_by,
        expected_hash=link.hash_value,
        found_hash=previous.hash_value,
    )


def _missing(link: PreviousDigest, successor: Digest) -> Finding:
    message = f"is not there, though {successor.key} follows it"
    return error(FindingCode.DIGEST_MISSING, link.key, message, named_by=successor.key)
