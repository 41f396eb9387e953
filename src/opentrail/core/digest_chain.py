"""The links between digests: whether each names the one before it, and what the links prove.

Rules:

* A trusted digest (signed, in its place) speaks for the content of its predecessor: hash and signature are in its body.
* A digest that is not trusted is accused for that alone.  When a trusted successor names the very content that lies
  there (only the object's metadata were changed, say), what it says of log files is proven all the same.
* A link accuses a predecessor that is not there, that was replaced, or that the chain passes by.  Never the digest
  that holds the link.
* A digest that cannot be read is there: its successor's link accuses nobody, and proves nothing of it.  What lies in a
  folder that cannot be listed may be there: so it is with a link that leads into one.
* A link leads back in time.  One that does not is a loop, and accuses the digest that holds it.
* Where the time in view ends before the chain, the next trusted digest is the witness of what should lie before it.
* Memory does not grow with the trail: one trusted digest and at most ``_MOST_DOUBTFUL`` others are kept, with what they
  say of at most ``_MOST_DOUBTFUL_FILES`` log files.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from opentrail.core.copied_signatures import decide
from opentrail.core.digests import Digest, PreviousDigest
from opentrail.core.errors import FormatError
from opentrail.core.events import format_time
from opentrail.core.findings import Finding, FindingCode, counted, found
from opentrail.core.layout import DigestKey, TrailFolder, parse_digest_key
from opentrail.core.log_folder import Hole
from opentrail.core.object_checks import DigestReading
from opentrail.core.unread_folders import UnreadFolders

_HOUR: Final = timedelta(hours=1)
_MOST_DOUBTFUL: Final = 48  # damaged digests in a row whose content a later one can still prove
_MOST_DOUBTFUL_FILES: Final = 20_000  # that these name: anybody can write a large digest
_MOST_DAMAGED_BACKFILLS: Final = 10_000

# A digest copied to the name of a newer one does not stand for it.
_OUT_OF_PLACE: Final = frozenset({FindingCode.DIGEST_MOVED, FindingCode.DIGEST_FOREIGN})


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenDigest:
    """A digest whose content is as it was signed."""

    key: str
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainScope:
    """Which digests are in view: those of ``trail`` in ``bucket`` that end at ``start`` (None: any time) or later.

    Those in the folders ``unread`` are not seen.
    """

    trail: TrailFolder
    bucket: str
    start: datetime | None = None
    unread: UnreadFolders = field(default_factory=UnreadFolders)

    def holds(self, link: PreviousDigest) -> bool:
        """Whether the digest that ``link`` names lies in this folder, not in a bucket or under a prefix used before."""
        key = _parse(link.key)
        return key is not None and link.bucket == self.bucket and key.trail == self.trail

    def leads_back(self, link: PreviousDigest, digest: Digest) -> bool:
        """Whether what ``link`` names in this folder ended before ``digest``, which holds the link."""
        key = _parse(link.key)
        return key is None or not self.holds(link) or key.end_time < digest.end_time

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
        self.is_witnessed = False  # a digest behind the view has told what should lie before it
        self.starts_later = False  # than the time in view, says that digest
        self.began_at: datetime | None = None  # when a chain starts before which there is nothing in view
        self.chains = 1  # one, and another after each stop

    def receive(self, reading: DigestReading) -> Iterator[Finding | Hole | ProvenDigest]:
        """What the next digest shows, of itself and of those before it; proven digests come in order."""
        if not _is_out_of_place(reading):
            self.newest = reading
        if reading.digest is None or not reading.is_trusted:
            self._doubt(reading)
            return
        yield from self._check_key(reading.digest)
        yield from self._check_links(reading.digest)
        yield ProvenDigest(key=reading.text, digest=reading.digest)
        self._last = reading
        self._doubtful.clear()

    def receive_witness(
        self, reading: DigestReading, behind: Collection[str]
    ) -> Iterator[Finding | Hole | ProvenDigest]:
        """A trusted digest behind the view: its link says whether all are there that it follows.

        It is not in view itself.  When it follows one of those ``behind`` the view, which lie there, it says nothing.
        """
        assert reading.digest is not None
        link = reading.digest.previous
        if link is not None and link.key in behind:
            return
        self.is_witnessed = True
        self.starts_later = link is None and self._last is None and not self._doubtful
        yield from self._check_links(reading.digest)
        self._doubtful.clear()

    def finish(self) -> Iterator[Hole]:
        """The end of the listing: nobody speaks for damaged or unread digests at the end of the chain."""
        last_end, unread = self.proven_end, self._scope.unread.until
        ends = [each.key.end_time for each in list(self._doubtful)[-1:]]
        ends += [unread] if unread is not None else []
        if last_end is not None and ends and max(ends) > last_end:
            yield Hole(start=last_end, end=max(ends), is_damage=True)

    def _doubt(self, reading: DigestReading) -> None:
        files = sum(len(each.digest.log_files) for each in (*self._doubtful, reading) if each.digest is not None)
        if files > _MOST_DOUBTFUL_FILES:
            reading = replace(reading, digest=None)  # then nobody can prove what it says
        self._doubtful.append(reading)

    def _check_key(self, digest: Digest) -> Iterator[Finding]:
        last = self._last.digest.public_key_fingerprint if self._last and self._last.digest else None
        fingerprint = digest.public_key_fingerprint
        if last is not None and fingerprint != last:
            message = f"from here on the key {fingerprint} signs, and no longer {last}"
            yield found(FindingCode.KEY_ROTATED, digest.key, message, fingerprint=fingerprint, previous=last)

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
                    is_broken = True  # it is damaged, and has been accused; or nobody could read it
        first = proven[-1].digest if proven else digest
        if not is_broken and link is None:
            yield from self._start_chain(proven[-1].key if proven else digest.key, first)
        elif not is_broken and link is not None:
            finding = self._follow(link, first)
            is_broken = self._scope.unread.hold(link.key)
            if finding is not None:
                yield finding
                is_broken = finding.code in {FindingCode.DIGEST_MISSING, FindingCode.DIGEST_OUT_OF_ORDER}
        last_end = self.proven_end
        if is_broken and last_end is not None:
            yield Hole(start=last_end, end=first.start_time, is_damage=True)
        yield from reversed(proven)

    def _start_chain(self, key: str, first: Digest) -> Iterator[Finding | Hole]:
        last_end = self.proven_end
        self.chains += last_end is not None
        start = format_time(first.start_time)
        if last_end is None:
            self.began_at = first.start_time
        if last_end is None or first.start_time <= last_end:  # it went on at once: there is no gap
            yield found(FindingCode.CHAIN_STARTED, key, f"a chain of digests starts at {start}", start=start)
            return
        damaged = [each for each in self._doubtful if each.text < key]  # and not proven by this chain's links
        for each in damaged[-1:]:
            yield Hole(start=last_end, end=min(each.key.end_time, first.start_time), is_damage=True)
        unread = self._scope.unread.until
        if unread is not None and unread > last_end:
            yield Hole(start=last_end, end=min(unread, first.start_time), is_damage=True)
        ends = (each.key.end_time for each in damaged if not _is_out_of_place(each))
        ended = min(max([last_end, *ends, *([unread] if unread else [])]), first.start_time)
        if unread is None or unread < first.start_time:
            yield Hole(start=ended, end=first.start_time, is_damage=False, since=self.proven_start)
        end = format_time(last_end)
        message = (
            f"a chain of digests starts at {start}; the one before it ended at {end}: nothing is proven in between"
        )
        yield found(FindingCode.CHAIN_STARTED, key, message, start=start, previous_end=end)

    def _follow(self, link: PreviousDigest, successor: Digest) -> Finding | None:
        """Find what ``link`` names among the trusted digests; ``successor`` is the proven digest that holds it."""
        if self._last is not None and self._last.text == link.key:
            return _compare(self._last, link, successor.key)
        if not self._scope.leads_back(link, successor):
            message = f"follows {link.key}, which is not before it: the chain is a loop"
            return found(FindingCode.DIGEST_OUT_OF_ORDER, successor.key, message, previous=link.key)
        if not self._scope.holds(link):
            place = f"s3://{link.bucket}/{link.key}"
            return found(FindingCode.CHAIN_ELSEWHERE, successor.key, f"the chain comes from {place}", previous=place)
        if self._scope.is_too_old(link) or self._is_forgotten(link):
            return None
        if self._last is not None and link.key < self._last.text:
            message = f"the chain passes it by: {successor.key} names {link.key} before itself"
            return found(FindingCode.DIGEST_NOT_IN_CHAIN, self._last.text, message, named_by=successor.key)
        return None if self._scope.unread.hold(link.key) else self._gone(link, successor)

    def _is_forgotten(self, link: PreviousDigest) -> bool:
        """Whether ``link`` leads to damaged digests that were forgotten; each has been accused."""
        return len(self._doubtful) == _MOST_DOUBTFUL and link.key < self._doubtful[0].text

    def _gone(self, link: PreviousDigest, successor: Digest) -> Finding:
        """The digest that ``link`` names is missing; whether others are gone with it shows in the time between."""
        last_end, key = self.proven_end, _parse(link.key)
        if last_end is None or key is None or self._doubtful or self._scope.unread:
            return _missing(link, successor)
        # A digest starts when its predecessor ended.  One hour is the longest that one covers, by the format.
        digests = max(1, round((successor.start_time - last_end) / _HOUR))
        return _missing(link, successor, since=last_end, digests=digests)

    @property
    def known_end(self) -> datetime | None:
        """When the newest digest so far ends that nothing accuses, or one behind it that cannot be read; None: none."""
        unread = self._scope.unread.until
        ends = [self.proven_end] if self.proven_end is not None else []
        ends += [each.key.end_time for each in self._doubtful if is_signature_lost(each)]
        if not ends:
            return None
        ends += [each.key.end_time for each in self._doubtful if is_unread(each)]
        return max([*ends, *([unread] if unread is not None else [])])

    @property
    def proven_start(self) -> datetime | None:
        """When the newest trusted digest so far starts."""
        return self._last.digest.start_time if self._last and self._last.digest else None

    @property
    def proven_end(self) -> datetime | None:
        """When the newest trusted digest so far ends."""
        return self._last.digest.end_time if self._last and self._last.digest else None


class BackfillChain:
    """The chain of the backfill digests.  They are few and follow the order of their making, not that of their keys.

    So all links are kept until the end, and of damaged ones the names.
    """

    def __init__(self, scope: ChainScope) -> None:
        self._scope = scope
        self._readings: dict[str, DigestReading] = {}  # the trusted ones, and those whose signature is to be found
        self._damaged: set[str] = set()

    def receive(self, reading: DigestReading) -> Iterator[Finding | ProvenDigest]:
        """Keep the digest's link; what it says of log files holds when it is trusted."""
        digest = reading.digest
        if digest is not None and reading.public_key is not None:
            self._readings[reading.text] = reading
        elif digest is not None and reading.is_trusted:
            yield from _prove_backfill(reading.text, digest)
            self._readings[reading.text] = replace(reading, digest=replace(digest, log_files=()))
        elif len(self._damaged) < _MOST_DAMAGED_BACKFILLS:
            self._damaged.add(reading.text)

    def finish(self, chains: int) -> Iterator[Finding | ProvenDigest]:
        """Find the signatures that the copy lost, and check every link.

        There are ``chains`` of the ordinary digests: whatever ends one of those may end one of these.
        """
        yield from self._find_signatures(chains)
        yield from self._find_forks()
        for reading in self._readings.values():
            assert reading.digest is not None
            link = reading.digest.previous
            if link is None or not self._scope.holds(link) or self._scope.is_too_old(link):
                continue
            previous = self._readings.get(link.key)
            if previous is not None:
                finding = _compare(previous, link, reading.text)
                if finding is not None:
                    yield finding
            elif self._is_gone(link) and len(self._damaged) < _MOST_DAMAGED_BACKFILLS:
                yield _missing(link, reading.digest)

    def _is_gone(self, link: PreviousDigest) -> bool:
        """Whether what ``link`` names lies nowhere."""
        is_there = link.key in self._readings or link.key in self._damaged
        return not (is_there or self._scope.unread.hold(link.key))

    def _find_forks(self) -> Iterator[Finding]:
        """Of several that follow the same one, those that no other follows; all, where that tells them not apart."""
        followers: dict[str, list[str]] = {}
        for text, reading in self._readings.items():
            if reading.digest is not None and reading.digest.previous is not None:
                followers.setdefault(reading.digest.previous.key, []).append(text)
        for previous, texts in followers.items():
            if len(texts) > 1:
                for text in [text for text in texts if text not in followers] or texts:
                    message = f"another backfill digest follows {previous}, too"
                    yield found(FindingCode.DIGEST_NOT_IN_CHAIN, text, message, previous=previous)

    def _find_signatures(self, chains: int) -> Iterator[Finding | ProvenDigest]:
        links = [each.digest.previous for each in self._readings.values() if each.digest and each.digest.previous]
        signatures = {link.key: link.signature for link in links}
        lost: list[DigestReading] = []
        for text, reading in list(self._readings.items()):
            if reading.digest is None or reading.public_key is None:
                continue
            checked = decide(reading, signatures.get(text))
            if checked.is_trusted:
                yield from checked.findings
                yield from _prove_backfill(text, reading.digest)
                self._readings[text] = replace(checked, digest=replace(reading.digest, log_files=()))
                continue
            del self._readings[text]
            self._damaged.add(text)
            if text in signatures:
                yield from checked.findings
            else:
                lost.append(checked)
        yield from self._judge_lost(lost, chains)

    def _judge_lost(self, lost: Sequence[DigestReading], chains: int) -> Iterator[Finding]:
        """Those that no other follows: one in each chain, and that one follows another which no other follows."""
        digests = [each.digest for each in (*self._readings.values(), *lost)]
        followers = Counter(digest.previous.key for digest in digests if digest and digest.previous)
        for reading in lost:
            assert reading.digest is not None
            link = reading.digest.previous
            is_first = link is None or not self._scope.holds(link)
            if (is_first and len(lost) > chains) or (link is not None and followers[link.key] > 1):
                message = "no other backfill digest follows it, and others end a chain, too: one of them was changed"
                yield found(FindingCode.DIGEST_SIGNATURE_DISPUTED, reading.text, message)
            else:
                yield from reading.findings
            if link is None or not self._scope.holds(link) or self._scope.is_too_old(link):
                continue
            if self._is_gone(link):
                yield _missing(link, reading.digest)


def _prove_backfill(text: str, digest: Digest) -> Iterator[Finding | ProvenDigest]:
    count = len(digest.log_files)
    message = f"names {counted(count, 'log file')} that came too late for the digest of their hour"
    yield found(FindingCode.BACKFILL_DIGEST, text, message, count=str(count))
    yield ProvenDigest(key=text, digest=digest)


def _is_out_of_place(reading: DigestReading) -> bool:
    return any(each.code in _OUT_OF_PLACE for each in reading.findings)


def is_signature_lost(reading: DigestReading) -> bool:
    """Whether nothing speaks for ``reading``, and nothing against it."""
    return any(each.code is FindingCode.DIGEST_SIGNATURE_LOST for each in reading.findings)


def is_unread(reading: DigestReading) -> bool:
    """Whether ``reading`` is of a digest that lies there, and that the source refuses."""
    return any(each.code is FindingCode.DIGEST_UNREACHABLE for each in reading.findings)


def _parse(key: str) -> DigestKey | None:
    try:
        return parse_digest_key(key)
    except FormatError:
        return None


def _compare(previous: DigestReading, link: PreviousDigest, named_by: str) -> Finding | None:
    if previous.hash_value == link.hash_value and previous.signature == link.signature.lower():
        return None
    message = f"is signed, but is not the digest that {named_by} follows"
    return found(
        FindingCode.DIGEST_REPLACED,
        previous.text,
        message,
        named_by=named_by,
        expected_hash=link.hash_value,
        found_hash=previous.hash_value,
    )


def _missing(link: PreviousDigest, successor: Digest, *, since: datetime | None = None, digests: int = 1) -> Finding:
    message = f"is not there, though {successor.key} follows it"
    details = {"named_by": successor.key}
    if since is not None:
        details |= {"start": format_time(since), "end": format_time(successor.start_time), "digests": str(digests)}
    if digests > 1:
        message += f"; some {digests} digests in a row are gone, of {details['start']} to {details['end']}"
    return found(FindingCode.DIGEST_MISSING, link.key, message, **details)
