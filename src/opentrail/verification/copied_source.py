"""A copy of a bucket, or of a part of it, under the names that its files were delivered under."""

from __future__ import annotations

from collections.abc import Iterator

from opentrail.core.errors import NoSuchObject
from opentrail.verification.source import OnKey, SourceObject, TrailSource, ignore_key
from opentrail.verification.wrapped_source import WrappedSource


class CopiedSource(WrappedSource):
    """``source``, where what lies below ``prefix`` is a copy of what lay below ``original_prefix`` of ``bucket``.

    Both prefixes are "" or end in "/".
    """

    def __init__(self, source: TrailSource, *, prefix: str, bucket: str, original_prefix: str) -> None:
        super().__init__(source)
        self._bucket = bucket
        self._prefix = prefix
        self._original = original_prefix

    @property
    def bucket(self) -> str:
        """The original's."""
        return self._bucket

    def list_keys(self, prefix: str, *, start_after: str = "") -> Iterator[str]:
        """The copy's keys by their original names, which are in the same order."""
        below = self._common(prefix)
        if below is None:
            return
        after = self._prefix + start_after.removeprefix(self._original) if start_after > self._original else ""
        if start_after and not start_after.startswith(self._original) and start_after > self._original:
            return  # every key of the copy comes before it
        for key in self._source.list_keys(self._prefix + below, start_after=after):
            yield self._delivered(key)

    def list_folders(self, prefix: str, *, beside: OnKey = ignore_key) -> list[str]:
        """The copy's folders by their original names; above them, the way there."""
        if self._original.startswith(prefix) and len(prefix) < len(self._original):
            name = self._original.removeprefix(prefix).partition("/")[0]
            return [f"{prefix}{name}/"]
        below = self._common(prefix)
        if below is None:
            return []
        folders = self._source.list_folders(self._prefix + below, beside=lambda key: beside(self._delivered(key)))
        return [self._delivered(folder) for folder in folders]

    def read(self, key: str, *, limit: int) -> SourceObject:
        """The copy's object."""
        return self._source.read(self._copied(key), limit=limit)

    def read_chunks(self, key: str) -> Iterator[bytes]:
        """The copy's object."""
        return self._source.read_chunks(self._copied(key))

    def sibling(self, bucket: str) -> TrailSource | None:
        """A copy has none: the buckets of that name may be anybody's."""

    def _common(self, prefix: str) -> str | None:
        """What of ``prefix`` lies below the original's; None when nothing of the copy has it."""
        if prefix.startswith(self._original):
            return prefix.removeprefix(self._original)
        return "" if self._original.startswith(prefix) else None

    def _delivered(self, copied: str) -> str:
        return self._original + copied.removeprefix(self._prefix)

    def _copied(self, key: str) -> str:
        if not key.startswith(self._original):
            raise NoSuchObject(key)
        return self._prefix + key.removeprefix(self._original)
