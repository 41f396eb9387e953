"""Log files that none of the trails vouches for that deliver into one folder.

Rules: a trail alone cannot say whose a log file is that none of its digests names: another's, or nobody's.  So each
chain tells what it found unnamed, and when all chains of a folder have told, what every one of them left over is
nobody's.  Nothing is said of a folder where a trail that has digests there was not verified.  Memory: eight bytes
(BLAKE2b of the key) for each log file that a trail does not name, and only where trails share a folder; of trails that
name none at all, as those whose digests somebody planted, this is kept once.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from opentrail.core.layout import Folder, TrailFolder


def fingerprint_of_key(key: str) -> int:
    """Eight bytes that stand for ``key``."""
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest())


@dataclass(frozen=True, slots=True)
class UnnamedLogs:
    """What the digests of one chain do not name, by fingerprint: all, and those of hours that they speak for."""

    all: array[int] = field(default_factory=lambda: array("Q"))
    covered: array[int] = field(default_factory=lambda: array("Q"))

    def add(self, key: str, *, is_covered: bool) -> None:
        """No digest names ``key``."""
        fingerprint = fingerprint_of_key(key)
        self.all.append(fingerprint)
        if is_covered:
            self.covered.append(fingerprint)


class SharedFolders:
    """Gathers the unnamed log files of all chains of a run."""

    def __init__(self) -> None:
        self._told: dict[TrailFolder, UnnamedLogs] = {}
        self._sharing: dict[Folder, set[TrailFolder]] = {}
        self._nothing_named: dict[Folder, UnnamedLogs] = {}

    def add(
        self, trail: TrailFolder, others: Collection[TrailFolder], unnamed: UnnamedLogs, *, names_any: bool = True
    ) -> None:
        """The chain of ``trail`` is at its end; ``others`` have digests in its folder.

        Whether its digests ``names_any`` log file; otherwise ``unnamed`` are all that lie there.
        """
        if others:
            self._told[trail] = unnamed if names_any else self._nothing_named.setdefault(trail.folder, unnamed)
            self._sharing.setdefault(trail.folder, set()).update(others, (trail,))

    def unvouched(self) -> Iterator[tuple[TrailFolder, frozenset[int]]]:
        """The fingerprints of log files that are nobody's, by folder, each with one of the trails that speak there."""
        for folder in sorted(self._sharing, key=repr):
            trails = self._sharing[folder]
            if trails <= self._told.keys():
                left = self._left_over([self._told[trail] for trail in trails])
                if left:
                    yield min(trails, key=repr), left

    @staticmethod
    def _left_over(told: list[UnnamedLogs]) -> frozenset[int]:
        smallest, *others = sorted((each.all for each in told), key=len)
        left = set(smallest)
        for each in others:
            left.intersection_update(each)
        return frozenset(left.intersection(fingerprint for each in told for fingerprint in each.covered))
