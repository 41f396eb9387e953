"""An object store that fails where a test wants it to.

    store = FaultyStore(MemoryStore(), {3: Fault.FAIL_AFTER, 5: Fault.KILL_BEFORE})

The plan names writes (put, replace_metadata, delete) by number, from 1.  Reads never fail.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum

from opentrail.core.errors import StoreError
from opentrail.stores.base import ObjectInfo, ObjectStore, OnStored, StoredObject


class Fault(Enum):
    """What goes wrong with one write."""

    FAIL_BEFORE = "the write is refused, nothing happened"
    FAIL_AFTER = "the write happened, its answer is lost"
    FAIL_FINALLY = "as FAIL_BEFORE, and no retry can help"
    PAUSE = "the write waits until the test calls resume"
    KILL_BEFORE = "the process dies before the write"
    KILL_AFTER = "the process dies after the write"


class FaultyStore:
    """``inner`` with the faults of ``plan``; ``writes`` counts, ``paused`` is set while a write waits."""

    def __init__(self, inner: ObjectStore, plan: Mapping[int, Fault]) -> None:
        self._inner = inner
        self._plan = plan
        self._lock = threading.Lock()
        self._resume = threading.Event()
        self.paused = threading.Event()
        self.writes = 0

    def put(self, key: str, data: bytes | Iterable[bytes], metadata: Mapping[str, str]) -> ObjectInfo:
        """Store ``data``, or fail."""
        fault = self._before()
        info = self._inner.put(key, data, metadata)
        self._after(fault)
        return info

    def put_soon(self, key: str, data: bytes, metadata: Mapping[str, str], done: OnStored) -> None:
        """``put`` and tell."""
        done(self.put(key, data, metadata), None)

    def get(self, key: str, *, start: int = 0, end: int | None = None) -> StoredObject:
        """Open ``key``."""
        return self._inner.get(key, start=start, end=end)

    def head(self, key: str) -> ObjectInfo:
        """The object's info."""
        return self._inner.head(key)

    def replace_metadata(self, key: str, metadata: Mapping[str, str]) -> ObjectInfo:
        """Give ``key`` other metadata, or fail."""
        fault = self._before()
        info = self._inner.replace_metadata(key, metadata)
        self._after(fault)
        return info

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Every object below ``prefix``."""
        return self._inner.list(prefix, start_after=start_after)

    def delete(self, key: str) -> None:
        """Remove ``key``, or fail."""
        fault = self._before()
        self._inner.delete(key)
        self._after(fault)

    def close(self) -> None:
        """Close the store inside."""
        self._inner.close()

    def resume(self) -> None:
        """Let every write go on that waits, and those to come."""
        self._resume.set()

    def _before(self) -> Fault | None:
        with self._lock:
            self.writes += 1
            fault = self._plan.get(self.writes)
        if fault in (Fault.FAIL_BEFORE, Fault.FAIL_FINALLY):
            raise StoreError(f"planned: {fault.value}", retryable=fault is Fault.FAIL_BEFORE)
        if fault is Fault.PAUSE:
            self.paused.set()
            self._resume.wait()
        if fault is Fault.KILL_BEFORE:
            _die()
        return fault

    def _after(self, fault: Fault | None) -> None:
        if fault is Fault.KILL_AFTER:
            _die()
        if fault is Fault.FAIL_AFTER:
            raise StoreError(f"planned: {fault.value}", retryable=True)


def _die() -> None:
    """As ``kill -9``: nothing is flushed, nobody is told."""
    os.kill(os.getpid(), signal.SIGKILL)
