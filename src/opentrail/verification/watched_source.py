"""A source of which somebody wants to know how far it was listed, and that can be told to stop.

Rules: it is the source that it wraps in everything else.  What is listed first, before anything is read, is the search
for chains: it may list a million names, and has no other sign of life.
"""

from __future__ import annotations

from collections.abc import Iterator

from opentrail.verification.engine import VerificationStopped
from opentrail.verification.source import OnKey, SourceObject, TrailSource, ignore_key
from opentrail.verification.wrapped_source import WrappedSource


class WatchedSource(WrappedSource):
    """A ``TrailSource`` that counts: ``listed`` names so far, and whether anything was read of an object."""

    def __init__(self, source: TrailSource) -> None:
        super().__init__(source)
        self._is_stopping = False
        self.listed = 0
        self.has_read = False

    def stop(self) -> None:
        """Let every listing end with ``VerificationStopped``; from a signal handler or any thread."""
        self._is_stopping = True

    def list_keys(self, prefix: str, *, start_after: str = "") -> Iterator[str]:
        """Every key, counted.  Raises ``VerificationStopped`` after ``stop``."""
        for key in self._source.list_keys(prefix, start_after=start_after):
            if self._is_stopping:
                raise VerificationStopped("the listing was stopped")
            self.listed += 1
            yield key

    def list_folders(self, prefix: str, *, beside: OnKey = ignore_key) -> list[str]:
        """The prefixes one level below.  Raises ``VerificationStopped`` after ``stop``."""
        if self._is_stopping:
            raise VerificationStopped("the listing was stopped")
        return self._source.list_folders(prefix, beside=beside)

    def read(self, key: str, *, limit: int) -> SourceObject:
        """The object at ``key``."""
        self.has_read = True
        return self._source.read(key, limit=limit)

    def read_chunks(self, key: str) -> Iterator[bytes]:
        """The object's data in pieces."""
        self.has_read = True
        return self._source.read_chunks(key)

    def sibling(self, bucket: str) -> TrailSource | None:
        """Another bucket, read in the same way."""
        return self._source.sibling(bucket)
