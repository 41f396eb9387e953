"""Metadata beside the data: what a sidecar file ``.NAME%meta`` says of the data file ``NAME``.

A sidecar is JSON, the newest entry first::

    {"entries": [{"file": [inode, mtime_ns, size], "etag": ..., "modified_ns": ..., "metadata": {...}}, ...]}

An entry belongs to the one data file whose mark it carries.  A put renames the sidecar with entries [new, old] into
place before the data, so whichever data file a reader has open, and at whatever point a crash fell, the entry that
matches is the truth: data and metadata change in one step, the renaming of the data.

A data file that matches no entry came or changed by other hands (an editor, a forger).  Its metadata are the newest
entry's, without what vouched for the old bytes (``etag``, checksums); a copy that kept time and size is
taken for the original.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from opentrail.core.errors import StoreError
from opentrail.stores.base import check_metadata
from opentrail.stores.local_files import READ

Mark = tuple[int, int, int]  # inode, mtime in nanoseconds, size in bytes

_BLOCK_BYTES = 65536
_CHECKSUM = "x-amz-checksum-"


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarEntry:
    """What is known of the data file with ``mark``."""

    mark: Mark
    etag: str
    modified_ns: int  # when the object was put
    metadata: Mapping[str, str] = field(default_factory=dict)


def new_entry(mark: Mark, md5: str, metadata: Mapping[str, str]) -> SidecarEntry:
    """The entry of a data file that was just written.  Raises ``StoreError`` for metadata that cannot be kept."""
    kept = dict(metadata)
    check_metadata(kept)
    try:
        orjson.dumps(kept)
    except TypeError:
        raise StoreError("metadata must be text that UTF-8 can hold", retryable=False) from None
    return SidecarEntry(mark=mark, etag=kept.get("etag") or md5, modified_ns=mark[1], metadata=kept)


def mark_of(status: os.stat_result) -> Mark:
    """The identity of a data file at one moment of its life."""
    return status.st_ino, status.st_mtime_ns, status.st_size


def encode_sidecar(*entries: SidecarEntry) -> bytes:
    """The sidecar's bytes, newest entry first."""
    return orjson.dumps(
        {
            "entries": [
                {"file": entry.mark, "etag": entry.etag, "modified_ns": entry.modified_ns, "metadata": entry.metadata}
                for entry in entries
            ]
        }
    )


def decode_sidecar(data: bytes) -> tuple[SidecarEntry, ...]:
    """The entries; none for bytes that are no sidecar (a torn or a foreign file)."""
    try:
        return tuple(_decode_entry(entry) for entry in orjson.loads(data)["entries"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return ()


def read_sidecar(path: str) -> tuple[SidecarEntry, ...]:
    """The entries of the sidecar at ``path``; none where there is no such file."""
    try:
        descriptor = os.open(path, READ)
    except (FileNotFoundError, NotADirectoryError):
        return ()
    try:
        data = block = os.read(descriptor, _BLOCK_BYTES)
        while len(block) == _BLOCK_BYTES:
            block = os.read(descriptor, _BLOCK_BYTES)
            data += block
    except IsADirectoryError:  # other hands' folder
        return ()
    finally:
        os.close(descriptor)
    return decode_sidecar(data)


def match_entry(entries: tuple[SidecarEntry, ...], mark: Mark) -> SidecarEntry | None:
    """The entry of the data file with ``mark``; a copy with the same time and size counts."""
    for entry in entries:
        if entry.mark == mark:
            return entry
    return next((entry for entry in entries if entry.mark[1:] == mark[1:]), None)


def foreign_entry(entries: tuple[SidecarEntry, ...], mark: Mark) -> SidecarEntry:
    """What can be said of a data file that no entry describes.

    Its etag changes with the file and has the form of a multipart upload's ("-1"), which no client takes for an MD5.
    """
    known = entries[0].metadata if entries else {}
    etag = hashlib.md5(repr(mark).encode(), usedforsecurity=False).hexdigest() + "-1"
    kept = {name: value for name, value in known.items() if name != "etag" and not name.startswith(_CHECKSUM)}
    return SidecarEntry(mark=mark, etag=etag, modified_ns=mark[1], metadata=kept)


def _decode_entry(entry: Mapping[str, Any]) -> SidecarEntry:
    inode, mtime_ns, size = entry["file"]
    metadata = entry["metadata"]
    if not isinstance(metadata, dict):
        raise TypeError("metadata is no object")
    mark = (inode, mtime_ns, size)
    return SidecarEntry(mark=mark, etag=entry["etag"], modified_ns=entry["modified_ns"], metadata=metadata)
