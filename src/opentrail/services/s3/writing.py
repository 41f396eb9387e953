"""The last step of every change of an object: under the key's lock, with the bucket still there and the conditions met.

The data may come slowly, so the lock is taken when they have all come: after the last byte is read and verified, and
before the store makes the object visible.  Nobody else can come in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opentrail.core.checksums import Algorithm
from opentrail.core.errors import ServiceFault, StoreError
from opentrail.core.http import ByteStream
from opentrail.services.s3.checksums import add_checksum, checksum_of_bytes, chunks_of, read_all, summed
from opentrail.services.s3.conditions import check_write, is_conditional
from opentrail.services.s3.deps import S3Deps, find_object
from opentrail.services.s3.faults import invalid_argument, no_such_bucket
from opentrail.stores.base import ObjectInfo, OnStored, UnusableKey

SMALL_BYTES = 1 << 20  # what is so small is read whole, so that its checksum is known before it is stored


def store_payload(
    deps: S3Deps,
    payload: ByteStream | None,
    key: str,
    metadata: dict[str, str],
    *,
    algorithm: Algorithm,
    checksum: str,
    target: Mapping[str, Any],
) -> ObjectInfo:
    """Store a request's payload under the store's ``key``, with its checksum (computed where it is empty).

    ``target`` is as for ``store_object``.
    """
    data = payload_data(payload, metadata, algorithm=algorithm, checksum=checksum)
    return store_object(deps, key, data, metadata, target=target)


def payload_data(
    payload: ByteStream | None, metadata: dict[str, str], *, algorithm: Algorithm, checksum: str
) -> bytes | Iterator[bytes]:
    """A request's payload, whole where it is small; its checksum is in ``metadata`` when the last of it was read."""
    length = 0 if payload is None else payload.length
    if length is not None and length <= SMALL_BYTES:
        data = read_all(payload)
        add_checksum(metadata, algorithm, checksum or checksum_of_bytes(algorithm, data))
        return data
    stream = chunks_of(payload)
    if checksum:
        add_checksum(metadata, algorithm, checksum)
        return stream
    return summed(stream, algorithm, metadata)


def store_object(
    deps: S3Deps, key: str, data: bytes | Iterator[bytes], metadata: Mapping[str, str], *, target: Mapping[str, Any]
) -> ObjectInfo:
    """Store ``data`` under the store's ``key``.

    ``target`` holds the call's ``Bucket``, ``Key`` and perhaps ``IfMatch`` or ``IfNoneMatch``.
    Raises ``ServiceFault``, and what ``data`` raises.
    """
    lock = deps.locks.of(key)
    try:
        if isinstance(data, bytes):
            with lock:
                _check_target(deps, key, target)
                return deps.store.put(key, data, metadata)
        gate = _Gate(deps, key, data, target)
        try:
            return deps.store.put(key, gate, metadata)
        finally:
            gate.leave()
    except UnusableKey as error:
        raise _unusable(error, target) from None


def store_soon(
    deps: S3Deps,
    key: str,
    data: bytes,
    metadata: Mapping[str, str],
    *,
    target: Mapping[str, Any],
    done: OnStored,
) -> None:
    """``store_object`` of bytes without waiting for the disk; the key's lock is held until ``done`` has heard.

    Raises ``ServiceFault`` for what is found out at once.
    """
    lock = deps.locks.of(key)

    def finish(info: ObjectInfo | None, error: StoreError | None) -> None:
        lock.release()
        done(info, error)

    lock.acquire()
    try:
        _check_target(deps, key, target)
        deps.store.put_soon(key, data, metadata, finish)
    except UnusableKey as error:
        lock.release()
        raise _unusable(error, target) from None
    except BaseException:
        lock.release()
        raise


class _Gate:
    """Data whose end is reached only under the key's lock and with the target as it must be."""

    def __init__(self, deps: S3Deps, key: str, data: Iterator[bytes], target: Mapping[str, Any]) -> None:
        self._deps, self._key, self._data, self._target = deps, key, data, target
        self._lock = deps.locks.of(key)
        self._entered = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._entered:
            raise StopIteration
        chunk = next(self._data, None)
        if chunk is None:
            self._lock.acquire()
            self._entered = True
            _check_target(self._deps, self._key, self._target)
            raise StopIteration
        return chunk

    def leave(self) -> None:
        """Let go of the lock, if it was taken."""
        if self._entered:
            self._lock.release()


def check_open(deps: S3Deps, bucket: str) -> None:
    """Raise ``ServiceFault`` where nothing may be written to the bucket any more."""
    if deps.buckets.find(bucket) is None:
        raise no_such_bucket(bucket)
    if deps.buckets.is_closing(bucket):
        message = (
            "A conflicting conditional operation is currently in progress against this resource. Please try again."
        )
        raise ServiceFault("OperationAborted", message, status=409)


def _unusable(error: UnusableKey, target: Mapping[str, Any]) -> ServiceFault:
    return invalid_argument(f"The store of this endpoint cannot hold the key: {error}", "Key", target["Key"])


def _check_target(deps: S3Deps, key: str, target: Mapping[str, Any]) -> None:
    check_open(deps, target["Bucket"])
    if is_conditional(target):
        check_write(target, find_object(deps, key), target["Key"])
