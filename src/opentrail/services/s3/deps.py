"""What S3's handlers are given, and the locks that make check-and-write one step."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from opentrail.core.errors import NoSuchObject, ServiceFault
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import Permission
from opentrail.state.buckets import Buckets
from opentrail.stores.base import ObjectInfo, ObjectStore, UnusableKey

STRIPES = 1024

Authorise = Callable[[ApiCall, Permission], ServiceFault | None]
Resolve = Callable[[str], str | None]


class KeyLocks:
    """A lock for each key (some keys share one).  Whoever changes an object holds its lock for the last step.

    A lock may be released by another thread than took it: stores read data on threads of their own.
    """

    def __init__(self, stripes: int = STRIPES) -> None:
        self._locks = tuple(threading.Lock() for _ in range(stripes))

    def of(self, key: str) -> threading.Lock:
        """The lock of ``key``."""
        return self._locks[hash(key) % len(self._locks)]

    def wait_for_all(self) -> None:
        """Return when every holder of this moment has let go."""
        for lock in self._locks:
            with lock:
                pass


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Deps:
    """What S3 needs.

    ``authorise(call, permission)`` says what the caller would be refused with, or None: for the decisions that S3 makes
    while it works (each key of DeleteObjects; whether a missing key may be told from a forbidden one).
    ``unique_id_of(name)`` is the unique id of the user or role with this ARN or unique id, ``arn_of(unique_id)`` its
    ARN; both are None where there is none.
    """

    store: ObjectStore
    buckets: Buckets
    authorise: Authorise
    unique_id_of: Resolve
    arn_of: Resolve
    locks: KeyLocks = field(default_factory=KeyLocks)  # of objects, by their keys in the store
    upload_locks: KeyLocks = field(default_factory=KeyLocks)  # of multipart uploads, by id; taken before an object's


def find_object(deps: S3Deps, key: str) -> ObjectInfo | None:
    """The object under the store's ``key``, if there is one."""
    try:
        return deps.store.head(key)
    except (NoSuchObject, UnusableKey):
        return None
