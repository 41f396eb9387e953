"""The signatures of digests whose metadata a copy has lost: each stands in the digest that follows.

Rules (a plain copy of a bucket's files, as ``aws s3 sync`` leaves it, has the metadata of no object):

* A digest's signature is its successor's ``previousDigestSignature``.  When it verifies, the digest is proven, whoever
  says it: nobody without the key can make one that does.
* When it does not, the digest is accused if its successor is proven.  If the successor is accused itself, the digest
  is one without a signature.  If the successor is without one, nobody knows which of the two is damaged, but that one
  is: a warning says so, which speaks against the integrity of the chain.
* A digest that no other follows (the newest of a chain, or the one before a missing digest) has none.  That accuses
  nobody: a warning says so, and what it names stays unproven.
* Digests come in byte order of their keys and leave in it.  Memory: the ``_MOST_OPEN`` latest that are undecided, and
  of those the latest that name ``_MOST_OPEN_FILES`` log files; those before them stay in doubt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from opentrail.core.findings import FindingCode, found
from opentrail.core.object_checks import DigestReading, check_signature

_MOST_OPEN: Final = 48
_MOST_OPEN_FILES: Final = 50_000  # more than a digest can name: 30 MB


class CopiedSignatures:
    """Finds the signature of each digest in the one that follows it."""

    def __init__(self) -> None:
        self._open: deque[DigestReading] = deque()  # oldest first; all but the newest contradicted by the next one

    def receive(self, reading: DigestReading) -> Iterator[DigestReading]:
        """The next digest; the readings that are decided by it, in order.  One that has its signature comes through."""
        if not self._open:
            yield from self._keep(reading)
            return
        link = reading.digest.previous if reading.digest else None
        last = self._open[-1]
        if link is None or link.key != last.text:
            yield from self._settle(decide(last, None))
        else:
            checked = decide(last, link.signature)
            if checked.is_trusted:
                yield from self._settle(checked)
            elif not reading.is_trusted and reading.public_key is None:  # the successor is damaged itself
                yield from self._settle(decide(last, None))
            elif reading.is_trusted:
                yield from self._settle(checked)
        yield from self._keep(reading)

    def finish(self) -> Iterator[DigestReading]:
        """No other digest follows."""
        if self._open:
            yield from self._settle(decide(self._open[-1], None))

    def _keep(self, reading: DigestReading) -> Iterator[DigestReading]:
        if not self._open and reading.public_key is None:
            yield reading
            return
        self._open.append(reading)
        while len(self._open) > _MOST_OPEN or (len(self._open) > 1 and self._count_files() > _MOST_OPEN_FILES):
            yield _doubt(self._open.popleft())

    def _count_files(self) -> int:
        return sum(len(each.digest.log_files) for each in self._open if each.digest is not None)

    def _settle(self, newest: DigestReading) -> Iterator[DigestReading]:
        """``newest`` is decided, and with it those before it that it contradicts, each by its successor."""
        settled = [newest]
        self._open.pop()
        while self._open:
            successor, reading = settled[-1], self._open.pop()
            link = successor.digest.previous if successor.digest and successor.is_trusted else None
            is_in_doubt = successor.public_key is not None  # it is without a signature, and contradicts the digest
            settled.append(_doubt(reading) if is_in_doubt else decide(reading, link.signature if link else None))
        yield from reversed(settled)


def decide(reading: DigestReading, signature: str | None) -> DigestReading:
    """``reading``, whose signature is to be found, with ``signature`` (hex; None: nobody has it).

    One that waits for no signature is as it is.
    """
    if reading.public_key is None:
        return reading
    if signature is not None:
        return check_signature(reading, signature, reading.public_key)
    message = "no digest that follows it holds its signature, and the copy has lost the metadata where it stood"
    lost = found(FindingCode.DIGEST_SIGNATURE_LOST, reading.text, message)
    return replace(reading, findings=(lost,))


def _doubt(reading: DigestReading) -> DigestReading:
    """``reading``, which an unproven successor contradicts."""
    message = "the digest that follows it holds another signature, and has itself none that proves it"
    return replace(reading, findings=(found(FindingCode.DIGEST_SIGNATURE_DISPUTED, reading.text, message),))
