"""The seam behind which a trail lies: a folder, a bucket, an evidence bundle.

Rules of every source:

* A key is the object's key in the bucket *as it was delivered*: a copy under another prefix is mapped back.
* ``list_keys`` yields keys in the order of their UTF-8 bytes; ``list_folders`` is one level: it gives the folders, and
  tells ``beside`` of each key that lies there without one, in the same pass and without keeping it.
* Metadata are the user metadata with bare, lower-case names (``signature``), as ``core.digests`` knows them.  Where
  ``keeps_metadata`` is False (a plain copy of a bucket's files) they are lost, but for what a digest may still have.
* The world's failures are ``StoreError``, a missing key is ``NoSuchObject``, more bytes than asked are
  ``ObjectTooLarge``.  A key that the medium cannot hold is a missing one.
* Nothing is ever written.  Calls block; a source may be called from several threads at once.
* A source survives ``os.fork`` while ``survives_fork`` says so; a worker process calls ``reopen`` before its first
  read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from opentrail.core.errors import StoreError

_USER: Final = "x-amz-meta-"

OnKey = Callable[[str], None]


class ObjectTooLarge(StoreError):  # noqa: N818  as NoSuchObject: a fact about the object
    """The object has more bytes than the reader will take."""

    def __init__(self, key: str, limit: int) -> None:
        super().__init__(f"object {key!r} has more than {limit} bytes", retryable=False)
        self.key = key


class UnreliableListing(StoreError):  # noqa: N818  as NoSuchObject: a fact about the source
    """A listing is not what was asked for: nothing that the source lists can be relied on."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceObject:
    """An object, read whole."""

    data: bytes
    metadata: Mapping[str, str] = field(default_factory=dict)


def ignore_key(_key: str) -> None:
    """Nobody wants to know."""


class TrailSource(Protocol):
    """Where trails lie."""

    @property
    def name(self) -> str:
        """What a person called it: ``s3://bucket/prefix``, a path."""
        ...

    @property
    def bucket(self) -> str:
        """The bucket that it is, or is a copy of; "" where nobody said so."""
        ...

    @property
    def keeps_metadata(self) -> bool:
        """Whether the objects have the user metadata that they were delivered with."""
        ...

    @property
    def reads_at_once(self) -> int:
        """How many reads a process should keep under way: 1 where a read costs a processor's time alone."""
        ...

    @property
    def survives_fork(self) -> bool:
        """Whether a fork that is made now can read: not where a library has threads of its own by now."""
        ...

    def list_keys(self, prefix: str, *, start_after: str = "") -> Iterator[str]:
        """Every key that starts with ``prefix`` and comes after ``start_after``, in byte order, lazily."""
        ...

    def list_folders(self, prefix: str, *, beside: OnKey = ignore_key) -> list[str]:
        """The prefixes one level below ``prefix`` ("" or ending in "/"), each with its last slash, in byte order.

        ``beside`` is told of each key of that level.
        """
        ...

    def read(self, key: str, *, limit: int) -> SourceObject:
        """The object at ``key``, at most ``limit`` bytes.

        Raises ``NoSuchObject``, ``ObjectTooLarge``, ``StoreError``.
        """
        ...

    def read_chunks(self, key: str) -> Iterator[bytes]:
        """The data of the object at ``key``, of any size, in pieces of at most 1 MB.

        Raises ``NoSuchObject`` before it returns; ``StoreError`` also on the way.
        """
        ...

    def sibling(self, bucket: str) -> TrailSource | None:
        """Another bucket, read in the same way: where a trail delivered before; None where it is not at hand."""
        ...

    def reopen(self) -> None:
        """Take no descriptor, socket or thread over from the process that forked this one."""
        ...

    def close(self) -> None:
        """Release what the source holds."""
        ...


def user_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """A store's metadata as a source gives them: S3's ``x-amz-meta-NAME`` by their bare names, the others left out."""
    return {name.removeprefix(_USER): value for name, value in metadata.items() if name.startswith(_USER)}
