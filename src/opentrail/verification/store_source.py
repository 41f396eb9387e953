"""A trail in an ``ObjectStore``: Google Cloud Storage and Azure through ``stores.remote``, memory in tests.

Rules: a listing that leaves its order is refused, as everywhere.  An object that may not be read, or is archived, is a
failure for good and says what is needed; all else that the store refuses may be better later.  Azure's names of
metadata have no hyphen (``has_hyphens``): what copies a trail there leaves ``signature-algorithm`` out, or (AzCopy)
renames it.  The only algorithm there is takes its place: the digest itself names it, too, and is signed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol, runtime_checkable

from opentrail.core.digests import SIGNATURE, SIGNATURE_ALGORITHM, SIGNATURE_ALGORITHM_NAME
from opentrail.core.errors import NoSuchObject, StoreError
from opentrail.stores.base import ObjectStore, StoredObject, UnusableKey
from opentrail.verification.source import (
    ObjectTooLarge,
    OnKey,
    SourceObject,
    UnreliableListing,
    ignore_key,
    user_metadata,
)

_FORBIDDEN: Final = "PermissionDeniedError"  # obstore's, by its name: whoever has another store need not import it
_ARCHIVED: Final = "BlobArchived"  # Azure's code; Google has no archive that must be waited for

_RENAMED: Final = "rename_signature_algorithm"  # AzCopy's --s2s-handle-invalid-metadata=RenameIfInvalid


@runtime_checkable
class ListsFolders(Protocol):
    """A store that lists folders itself."""

    def list_folders(self, prefix: str, beside: Callable[[str], None]) -> Sequence[str]:
        """The prefixes one level below ``prefix``; ``beside`` is told of the keys there."""
        ...


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
        has_hyphens: bool = True,
        has_threads: bool = False,
    ) -> None:
        self.name = name
        self.bucket = bucket
        self.reads_at_once = reads_at_once
        self.keeps_metadata = keeps_metadata
        self._has_hyphens = has_hyphens
        self._has_threads = has_threads
        self._open_store = open_store
        self._opened: ObjectStore | None = None

    @property
    def survives_fork(self) -> bool:
        """Not once obstore may have threads in this process: a fork, which has none, would wait for them for ever."""
        return not (self._has_threads and "obstore" in sys.modules)

    def list_keys(self, prefix: str, *, start_after: str = "") -> Iterator[str]:
        """The store's own listing."""
        last = start_after.encode("utf-8", "surrogateescape")
        for info in self._store().list(prefix, start_after=start_after):
            encoded = info.key.encode("utf-8", "surrogateescape")
            if encoded <= last:
                why = f"{info.key!r} is out of order, or there twice"
                raise UnreliableListing(f"{self.name}: the server's listing cannot be relied on: {why}")
            last = encoded
            yield info.key

    def list_folders(self, prefix: str, *, beside: OnKey = ignore_key) -> list[str]:
        """Where the store lists keys alone: from each folder on, the next key that lies behind it."""
        store = self._store()
        if isinstance(store, ListsFolders):
            return sorted(store.list_folders(prefix, beside), key=str.encode)
        found: list[str] = []
        after = ""
        while (key := self._next(prefix, after)) is not None:
            name, slash, _ = key.removeprefix(prefix).partition("/")
            if slash:
                found.append(f"{prefix}{name}/")
                after = f"{prefix}{name}/\U0010ffff"
            else:
                beside(key)
                after = key
        return found

    def read(self, key: str, *, limit: int) -> SourceObject:
        """The object and its metadata."""
        found = self._open(key)
        if found.info.size > limit:
            raise ObjectTooLarge(key, limit)
        data = b"".join(found.chunks)
        metadata = _user_metadata(found.info.metadata)
        if not self._has_hyphens and SIGNATURE in metadata:
            metadata = {SIGNATURE_ALGORITHM_NAME: metadata.get(_RENAMED, SIGNATURE_ALGORITHM), **metadata}
        return SourceObject(data=data, metadata=metadata)

    def read_chunks(self, key: str) -> Iterator[bytes]:
        """The object's data."""
        return self._open(key).chunks

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

    def _open(self, key: str) -> StoredObject:
        try:
            return self._store().get(key)
        except UnusableKey:
            raise NoSuchObject(key) from None
        except StoreError as error:
            if type(error.__cause__).__name__ == _FORBIDDEN:
                raise StoreError(f"{error}; the permission to read it is needed", retryable=False) from error
            if _ARCHIVED in str(error):
                raise StoreError(f"{error}; it is archived: rehydrate it", retryable=False) from error
            raise

    def _next(self, prefix: str, after: str) -> str | None:
        return next(self.list_keys(prefix, start_after=after), None)


def _user_metadata(metadata: Mapping[str, str]) -> Mapping[str, str]:
    """By their bare names; below the S3 service, where delivery puts its files in a simulation, they have no others."""
    return metadata if SIGNATURE in metadata else user_metadata(metadata)
