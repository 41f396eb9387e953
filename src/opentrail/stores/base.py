"""The seam behind which objects lie: a flat map of keys to bytes with metadata.

Rules of every store (``testing.StoreContract`` holds them to it):

* A key is any text of 1 to 2,048 UTF-8 bytes; ``a``, ``a/b``, ``a//b``, ``a/`` and ``..`` are five different keys.
* ``put`` is atomic and durable when it returns: a reader sees the old object whole or the new one whole, data and
  metadata together, and a crash at any instruction leaves one of the two.
* ``list`` yields keys in the order of their UTF-8 bytes.
* Metadata is text to text, named as S3's headers in lower case: ``content-type``, ``content-encoding``,
  ``cache-control``, ``content-disposition``, ``content-language`` and ``x-amz-meta-NAME`` are what other readers of
  the same bucket see under these names; any other name is kept for us alone.  ``etag`` asks a store that makes its
  own marks (memory, local) for this one.  Entries added to the mapping while ``data`` is being read are kept by stores
  that write metadata after the data (memory, local), and only there.
* The world's failures are ``StoreError`` (``retryable`` says more), a missing key is ``NoSuchObject``, a key that the
  medium cannot hold is ``UnusableKey`` (a path too long for the file system; what obstore cannot write in a URL).  What
  the data's own iterator raises passes through ``put`` unchanged, and nothing is stored.
* Calls block; stores may be called from several threads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from queue import SimpleQueue
from typing import Protocol

from opentrail.core.errors import StoreError

KEY_LIMIT_BYTES = 2048
METADATA_LIMIT_BYTES = 24 * 1024


class UnusableKey(StoreError):  # noqa: N818  as NoSuchObject: a fact about the key
    """No object can have this key in this store, whatever is tried."""

    def __init__(self, why: str) -> None:
        super().__init__(why, retryable=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """An object without its data.  ``etag`` is the store's own version mark, without quotes."""

    key: str
    size: int  # bytes
    etag: str
    last_modified: datetime  # aware, UTC
    metadata: Mapping[str, str] = field(default_factory=dict)  # as given to put; {} in listings


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """An object opened for reading: ``chunks`` yields the asked range once."""

    info: ObjectInfo
    chunks: Iterator[bytes]


OnStored = Callable[[ObjectInfo | None, StoreError | None], None]  # (info, None) or (None, error); must not raise


class ObjectStore(Protocol):
    """A map of keys to objects."""

    def put(self, key: str, data: bytes | Iterable[bytes], metadata: Mapping[str, str]) -> ObjectInfo:
        """Store ``data`` with ``metadata`` (24 KB at most; some media take less) under ``key``, over what was there."""
        ...

    def put_soon(self, key: str, data: bytes, metadata: Mapping[str, str], done: OnStored) -> None:
        """``put`` that need not wait for the disk: ``done`` hears, once and from any thread, when it is durable or not.

        Raises as ``put`` for what it finds out at once; ``done`` is then never called.
        """
        ...

    def get(self, key: str, *, start: int = 0, end: int | None = None) -> StoredObject:
        """Open bytes ``start`` to ``end`` (exclusive; None: to the end) of ``key``."""
        ...

    def head(self, key: str) -> ObjectInfo:
        """The object's info with its metadata."""
        ...

    def replace_metadata(self, key: str, metadata: Mapping[str, str]) -> ObjectInfo:
        """Give ``key`` other metadata, as atomically as ``put``; its data stay."""
        ...

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Every object whose key starts with ``prefix`` and comes after ``start_after``, in byte order, lazily."""
        ...

    def delete(self, key: str) -> None:
        """Remove ``key``; nothing happens when it is not there."""
        ...

    def close(self) -> None:
        """Release what the store holds."""
        ...


def stored_now(store: ObjectStore, key: str, data: bytes, metadata: Mapping[str, str]) -> ObjectInfo:
    """``put_soon``, waited for.  Raises as ``put``."""
    results: SimpleQueue[tuple[ObjectInfo | None, StoreError | None]] = SimpleQueue()
    store.put_soon(key, data, metadata, lambda info, error: results.put((info, error)))
    info, error = results.get()
    if info is None:
        assert error is not None, "an object is stored or there is an error"
        raise error
    return info


def check_key(key: str) -> bytes:
    """The bytes of ``key``.  Raises ``UnusableKey`` when no store can hold it."""
    try:
        raw = key.encode()
    except UnicodeEncodeError:
        raise UnusableKey("a key must be text that UTF-8 can hold") from None
    if not 1 <= len(raw) <= KEY_LIMIT_BYTES:
        raise UnusableKey(f"a key of {len(raw)} bytes: it must have 1 to {KEY_LIMIT_BYTES}")
    return raw


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Raise ``StoreError`` when ``metadata`` is larger than every store must take."""
    size = sum(
        len(text) if text.isascii() else len(text.encode("utf-8", "replace")) for text in chain(*metadata.items())
    )
    if size > METADATA_LIMIT_BYTES:
        raise StoreError(f"{size} bytes of metadata, more than {METADATA_LIMIT_BYTES}", retryable=False)
