"""Objects in this process's memory: for tests, and as the plainest reading of ``ObjectStore``."""

from __future__ import annotations

import hashlib
import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from opentrail.core.errors import NoSuchObject
from opentrail.stores.base import ObjectInfo, OnStored, StoredObject, check_key, check_metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    info: ObjectInfo
    data: bytes


class MemoryStore:
    """An ``ObjectStore`` of dictionaries; ``clock`` gives the modification times."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._held: dict[bytes, _Held] = {}
        self._sorted: list[bytes] = []
        self._lock = threading.Lock()

    def put(self, key: str, data: bytes | Iterable[bytes], metadata: Mapping[str, str]) -> ObjectInfo:
        """Store ``data`` under ``key``."""
        raw = check_key(key)
        whole = bytes(data) if isinstance(data, (bytes, bytearray, memoryview)) else b"".join(data)
        kept = dict(metadata)
        check_metadata(kept)
        etag = kept.get("etag") or hashlib.md5(whole, usedforsecurity=False).hexdigest()
        info = ObjectInfo(key=key, size=len(whole), etag=etag, last_modified=self._clock(), metadata=kept)
        with self._lock:
            if raw not in self._held:
                insort(self._sorted, raw)
            self._held[raw] = _Held(info=info, data=whole)
        return info

    def put_soon(self, key: str, data: bytes, metadata: Mapping[str, str], done: OnStored) -> None:
        """Store ``data``, waiting for it all the same, and tell."""
        done(self.put(key, data, metadata), None)

    def get(self, key: str, *, start: int = 0, end: int | None = None) -> StoredObject:
        """Open bytes ``start`` to ``end`` of ``key``."""
        held = self._find(key)
        part = held.data[start:end]
        return StoredObject(info=held.info, chunks=iter((part,) if part else ()))

    def head(self, key: str) -> ObjectInfo:
        """The object's info."""
        return self._find(key).info

    def replace_metadata(self, key: str, metadata: Mapping[str, str]) -> ObjectInfo:
        """Give ``key`` other metadata."""
        kept = dict(metadata)
        check_metadata(kept)
        with self._lock:
            held = self._find(key)
            info = replace(held.info, metadata=kept, etag=kept.get("etag") or held.info.etag)
            self._held[key.encode()] = _Held(info=info, data=held.data)
        return info

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Every object below ``prefix`` after ``start_after``, in byte order."""
        raw_prefix, position = prefix.encode(), start_after.encode()
        inclusive = raw_prefix > position
        while True:
            with self._lock:
                at = bisect_left(self._sorted, raw_prefix) if inclusive else bisect_right(self._sorted, position)
                if at == len(self._sorted) or not self._sorted[at].startswith(raw_prefix):
                    return
                position, inclusive = self._sorted[at], False
                info = self._held[position].info
            yield replace(info, metadata={})

    def delete(self, key: str) -> None:
        """Remove ``key``."""
        raw = check_key(key)
        with self._lock:
            if self._held.pop(raw, None) is not None:
                del self._sorted[bisect_left(self._sorted, raw)]

    def close(self) -> None:
        """Nothing is held beyond this object."""

    def _find(self, key: str) -> _Held:
        held = self._held.get(check_key(key))
        if held is None:
            raise NoSuchObject(key)
        return held
