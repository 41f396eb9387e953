"""The tamper matrix: every kind of tampering with a trail, at any place, and what verification must find.

Rules: a kind changes a copy of a trail at places that its ``Random`` chooses, and states what accuses whom
(``errors``), what else is worth a look (``warnings``), and what ``aws cloudtrail validate-logs`` does not see, with the
reason beside it: the weaknesses that ``log-files-and-digests.md`` numbers ("Where the judge is weak"), and some more
that the matrix brought to light.  Kinds may be applied one after the other: each takes objects that no other has taken.

The kinds stand in ``tampered_logs`` and ``tampered_digests``.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

from opentrail.core.digests import SignedDigest
from opentrail.core.findings import FindingCode
from opentrail.core.layout import digest_prefix
from opentrail.testing.sample_trail import FOLDER, Objects, SampleTrail

_GZIP_HEADER: Final = 10
FOLDER_OF_DIGESTS: Final = digest_prefix(FOLDER)


class NoPlaceError(Exception):
    """Every object that the kind could change has been taken by another."""


@dataclass(slots=True)
class Touched:
    """A copy of the trail to tamper with, and what is to be found."""

    trail: SampleTrail
    objects: Objects
    random: Random
    taken: set[str] = field(default_factory=set)  # keys that were changed, and those that must stay to tell of it
    errors: set[tuple[FindingCode, str]] = field(default_factory=set)
    warnings: set[tuple[FindingCode, str]] = field(default_factory=set)
    judge_misses: set[str] = field(default_factory=set)
    judge_misses_old: set[str] = field(default_factory=set)  # by the older AWS CLI alone
    is_stop_lost: bool = False  # the record of the stop
    is_gap_lost: bool = False  # the digest that starts the second chain

    def take(self, candidates: Iterable[str], *, with_also: Callable[[str], Iterable[str]] = lambda _: ()) -> str:
        """One of ``candidates``, free as yet; it and what goes ``with_also`` are taken.  Raises ``NoPlaceError``."""
        free = [key for key in candidates if not self.taken & {key, *with_also(key)}]
        if not free:
            raise NoPlaceError
        key = self.random.choice(free)
        self.taken |= {key, *with_also(key)}
        return key

    def take_all(self, digests: Sequence[str]) -> Sequence[str]:
        """``digests`` with the log files that they name.  Raises ``NoPlaceError`` unless all are free."""
        if not self.is_free(digests):
            raise NoPlaceError
        self.taken |= self._with_logs(digests)
        return digests

    def is_free(self, digests: Sequence[str]) -> bool:
        """Whether neither ``digests`` nor a log file that they name has been taken."""
        return not self.taken & self._with_logs(digests)

    def _with_logs(self, digests: Sequence[str]) -> set[str]:
        return {*digests, *(log for digest in digests for log in self.trail.files[digest])}

    def copy(self) -> Touched:
        """The same, to be changed without changing this."""
        return replace(
            self,
            objects=dict(self.objects),
            taken=set(self.taken),
            errors=set(self.errors),
            warnings=set(self.warnings),
            judge_misses=set(self.judge_misses),
            judge_misses_old=set(self.judge_misses_old),
        )

    def log(self) -> str:
        """A log file that a digest names, which is taken with it."""
        names = {log: digest for digest in self.trail.digests for log in self.trail.files[digest]}
        return self.take(sorted(names), with_also=lambda log: (names[log],))

    def digest(self, *, among: Iterable[str] | None = None) -> str:
        """A digest (of ``among``), with the log files that it names and the digest that names it."""
        return self.take(self.trail.digests if among is None else among, with_also=self.around)

    def around(self, digest: str) -> list[str]:
        """What speaks of ``digest`` or is spoken of by it: its neighbours and its log files."""
        at = self.trail.digests.index(digest)
        neighbours = self.trail.digests[max(0, at - 1) : at + 2]
        return [*neighbours, *self.trail.files[digest]]

    def followed(self) -> list[str]:
        """The digests that a later one names: neither the newest of all nor the last before the stop."""
        digests = self.trail.digests
        return [key for at, key in enumerate(digests[:-1]) if at != self.trail.restart - 1]

    def change(self, key: str, change: Callable[[bytes], bytes]) -> None:
        """Change the data of ``key``."""
        data, metadata = self.objects[key]
        self.objects[key] = (change(data), metadata)

    def change_metadata(self, key: str, **names: str | None) -> None:
        """Set user metadata of ``key``, with ``_`` for ``-`` in the names; None takes one away."""
        changed = {f"x-amz-meta-{name}".replace("_", "-"): value for name, value in names.items()}
        metadata = {**self.objects[key][1], **changed}
        kept = {name: value for name, value in metadata.items() if value is not None}
        self.objects[key] = (self.objects[key][0], kept)

    def swap(self, one: str, other: str) -> None:
        """Let two objects change places, metadata and all."""
        self.objects[one], self.objects[other] = self.objects[other], self.objects[one]

    def put_digest(self, key: str, signed: SignedDigest) -> None:
        """Put another digest, and its signature, at ``key``."""
        self.change(key, lambda _: signed.data())
        self.change_metadata(key, signature=signed.signature)

    def expect(self, code: FindingCode, *keys: str) -> None:
        """Each of ``keys`` is to be accused of ``code``."""
        self.errors |= {(code, key) for key in keys}

    def lose(self, digest: str) -> None:
        """What ``digest`` says can no longer be proven."""
        self.is_stop_lost |= self.trail.stop in self.trail.files[digest]
        self.is_gap_lost |= digest == self.trail.digests[self.trail.restart]

    def lose_place(self, digest: str) -> None:
        """What lies at ``digest`` was made for another place.  So, where it is the newest, that one is missing."""
        self.lose(digest)
        if digest == self.trail.digests[-1]:
            self.expect(FindingCode.CHAIN_CUT_OFF, FOLDER_OF_DIGESTS)
            self.judge_misses.add(FOLDER_OF_DIGESTS)  # the weakness 4

    def tell_of_the_stop(self) -> None:
        """Logging was stopped once, before anybody tampered: what can still be said of it."""
        match self.is_gap_lost, self.is_stop_lost:
            case False, False:
                self.warnings.add((FindingCode.LOGGING_STOPPED, FOLDER_OF_DIGESTS))
            case False, True:  # there is a gap, and no record that can be trusted says why
                self.warnings.add((FindingCode.GAP_UNEXPLAINED, FOLDER_OF_DIGESTS))
            case True, False:  # there is the record, and no two chains with a gap between them
                self.warnings.add((FindingCode.LOGGING_STOPPED, self.trail.stop))


Tampering = Callable[[Touched], None]


def matrix(*kinds: Tampering) -> Mapping[str, Tampering]:
    """``kinds`` by name."""
    return {kind.__name__.removeprefix("_"): kind for kind in kinds}


def flip(random: Random, data: bytes) -> bytes:
    """Flip a bit of the gzip member ``data``, anywhere but where it says nothing.

    That is in the header (system, time: no hash covers them) and in the few bits behind the last block.
    """
    while True:
        flipped = bytearray(data)
        flipped[random.randrange(_GZIP_HEADER, len(data))] ^= 1 << random.randrange(8)
        try:
            if gzip.decompress(flipped) != gzip.decompress(data):
                return bytes(flipped)
        except (OSError, EOFError, zlib.error):
            return bytes(flipped)
