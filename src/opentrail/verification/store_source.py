"""A trail in an ``ObjectStore``: Google Cloud Storage and Azure through ``stores.remote``, memory in tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from opentrail.core.digests import SIGNATURE
from opentrail.core.errors import NoSuchObject
from opentrail.stores.base import ObjectStore, UnusableKey
from opentrail.verification.source import ObjectTooLarge, SourceObject, user_metadata


class StoreSource:
    """What ``open_store`` opens; again in each worker process, before its first use."""

    def __init__(
        self,
        open_store: Callable[[], ObjectStore],
        *,
        name: str,
        bucket: str,
        reads_at_once: int = 1,
        keeps_metadata: bool = True,
    ) -> None:
        self.name = name
        self.bucket = bucket
        self.reads_at_once = reads_at_once
        self.keeps_metadata = keeps_metadata
        self._open_store = open_store
        self._opened: ObjectStore | None = None

    def list_keys(self, prefix: str, *, start_after: str = "") -> Iterator[str]:
        """The store's own listing."""
        for info in self._store().list(prefix, start_after=start_after):
            yield info.key

    def list_folders(self, prefix: str) -> list[str]:
        """The stores' seam lists keys alone: from each folder on, the next key that lies behind it."""
        found: list[str] = []
        after = ""
        while (key := self._next(prefix, after)) is not None:
            name, slash, _ = key.removeprefix(prefix).partition("/")
            if slash:
                found.append(f"{prefix}{name}/")
                after = f"{prefix}{name}/\U0010ffff"
            else:
                after = key
        return found

    def read(self, key: str, *, limit: int) -> SourceObject:
        """The object and its metadata."""
        try:
            found = self._store().get(key)
        except UnusableKey:
            raise NoSuchObject(key) from None
        data = b""
        for chunk in found.chunks:
            data = data + chunk if data else chunk
            if len(data) > limit:
                raise ObjectTooLarge(key, limit)
        return SourceObject(data=data, metadata=_user_metadata(found.info.metadata))

    def read_chunks(self, key: str) -> Iterator[bytes]:
        """The object's data."""
        try:
            return self._store().get(key).chunks
        except UnusableKey:
            raise NoSuchObject(key) from None

    def sibling(self, bucket: str) -> None:
        """Only this one was named."""

    def reopen(self) -> None:
        """Open the store anew."""
        self._opened = None

    def close(self) -> None:
        """Close the store."""
        if self._opened is not None:
            self._opened.close()

    def _store(self) -> ObjectStore:
        if self._opened is None:
            self._opened = self._open_store()
        return self._opened

    def _next(self, prefix: str, after: str) -> str | None:
        return next(self.list_keys(prefix, start_after=after), None)


def _user_metadata(metadata: Mapping[str, str]) -> Mapping[str, str]:
    """By their bare names; below the S3 service, where delivery puts its files in a simulation, they have no others."""
    return metadata if SIGNATURE in metadata else user_metadata(metadata)
