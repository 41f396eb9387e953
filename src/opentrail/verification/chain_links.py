"""Links from one chain to another of the same bucket: a trail that moved to another prefix goes on with its chain.

Rules: a chain knows nothing of others, so each says only that it comes from elsewhere (``chain-elsewhere``).  When all
are finished, the digest that it names must lie there, if it is of the time that was asked for, and the chain that it is
of was verified too: else somebody removed the newest digests below the old prefix.  So it must if that chain was not
found at all, though nothing leaves it out: else somebody removed the old prefix as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from opentrail.core.digests import MAX_DIGEST_BYTES
from opentrail.core.errors import FormatError, NoSuchObject, StoreError
from opentrail.core.findings import Finding, FindingCode, found
from opentrail.core.layout import TrailFolder, parse_digest_key
from opentrail.verification.refusals import is_of_one_object
from opentrail.verification.request import VerifyRequest
from opentrail.verification.result import ChainSummary
from opentrail.verification.source import TrailSource


class ChainLinks:
    """Gathers where chains say that they come from."""

    def __init__(self) -> None:
        self._links: dict[tuple[TrailFolder, str], str] = {}  # a chain that is begun anew tells it twice

    def add(self, trail: TrailFolder, finding: Finding) -> None:
        """Something was found in the chain of ``trail``."""
        if finding.code is FindingCode.CHAIN_ELSEWHERE:
            self._links[trail, finding.key] = finding.details["previous"]

    def missing(
        self, source: TrailSource, verified: Mapping[TrailFolder, ChainSummary], request: VerifyRequest
    ) -> Iterator[tuple[TrailFolder, Finding]]:
        """The digests that are named and gone, each with the chain that misses it.  Raises ``StoreError``."""
        for (trail, successor), place in sorted(self._links.items(), key=lambda entry: entry[0][1]):
            key = place.removeprefix(f"s3://{verified[trail].bucket}/")
            try:
                named = parse_digest_key(key)
            except FormatError:
                continue  # in another bucket, or nothing that a digest can be named
            is_expected = named.trail in verified or _is_asked_for(key, named.trail, request)
            is_in_view = request.start is None or named.end_time >= request.start
            if key != place and is_expected and is_in_view and not _is_there(source, key):
                message = f"is not there, though {successor} follows it"
                missed_in = named.trail if named.trail in verified else trail
                yield missed_in, found(FindingCode.DIGEST_MISSING, key, message, named_by=successor)


def _is_asked_for(key: str, trail: TrailFolder, request: VerifyRequest) -> bool:
    """Whether the chain of ``trail`` would have been verified, were there a digest of it like the one at ``key``."""
    return not request.is_excerpt and key.startswith(request.prefix) and request.wants(trail)


def _is_there(source: TrailSource, key: str) -> bool:
    try:
        source.read(key, limit=MAX_DIGEST_BYTES)
    except NoSuchObject:
        return False
    except StoreError as error:
        if not is_of_one_object(error, source, key):
            raise
    return True
