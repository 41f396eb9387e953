"""Writes to a segment that end durable or undone, and the names and creation of segment files.

Rules:

* A failed write is undone (cut off, and the cut synced) and may be tried again; when undoing fails, the state on disk
  is unknown.
* A failed sync is never retried: the kernel may have dropped the pages and would answer the next one with success
  ("fsyncgate", PostgreSQL's wiki, "Fsync Errors").  What is on disk is then unknown until the journal is opened anew.

Both come as ``JournalError``, whose ``retryable`` tells them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from opentrail.core.errors import JournalError
from opentrail.journal.files import Files
from opentrail.journal.segments import HEADER_BYTES, SegmentHeader, encode_header

_SUFFIX: Final = ".segment"
_NEW: Final = "new-segment.tmp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A segment file; ``size`` is what of it is durable and belongs to the journal, in bytes."""

    path: Path
    first_position: int
    size: int


def segment_path(folder: Path, first_position: int) -> Path:
    """Where the segment that begins at ``first_position`` lies; names sort as positions do."""
    return folder / f"{first_position:020d}{_SUFFIX}"


def find_segments(files: Files, folder: Path) -> list[Path]:
    """The paths of the segments in ``folder``, in order."""
    return [folder / name for name in sorted(files.names(folder)) if name.endswith(_SUFFIX)]


def write_room(files: Files, descriptor: int, offset: int, size: int) -> bool:
    """Fill the file with zeros from ``offset``, its end, to ``size``; whether all of it was done.

    Room for the writes to come: a sync that finds the file's size and blocks as they were has no metadata to write,
    which makes small appends half again as fast (docs/adr/0004).  Where the disk is full, the write itself finds out.
    """
    try:
        write_all(files, descriptor, bytes(size - offset), offset)
    except OSError:
        return False
    return True


def write_durably(
    files: Files, descriptor: int, path: Path, data: bytes, offset: int, *, is_last: bool = False
) -> None:
    """Write ``data`` at ``offset``, behind which there is nothing or spare room, and sync it; raises ``JournalError``.

    ``is_last`` gives the spare room back.
    """
    try:
        write_all(files, descriptor, data, offset)
        if is_last:
            files.truncate(descriptor, offset + len(data))
    except OSError as error:
        _undo(files, descriptor, path, offset, error)
        raise JournalError(f"{path}: cannot write: {error.strerror or error}", retryable=True) from error
    sync(files, descriptor, path)


def write_all(files: Files, descriptor: int, data: bytes, offset: int) -> None:
    """Write all of ``data``; raises ``OSError`` (some of it may be written)."""
    written = files.write(descriptor, data, offset)
    while written < len(data):
        more = files.write(descriptor, memoryview(data)[written:], offset + written)
        if more == 0:
            raise OSError("the file takes no more bytes")
        written += more


def sync(files: Files, descriptor: int, path: Path) -> None:
    """Make the file durable; raises ``JournalError(retryable=False)``."""
    try:
        files.sync(descriptor)
    except OSError as error:
        raise _unknown(path, "sync", error) from error


def sync_folder(files: Files, folder: Path) -> None:
    """Make the names in ``folder`` durable; raises ``JournalError(retryable=False)``."""
    try:
        files.sync_folder(folder)
    except OSError as error:
        raise _unknown(folder, "sync the folder", error) from error


def create_segment(files: Files, folder: Path, header: SegmentHeader) -> tuple[int, Segment]:
    """Create a segment without blocks, durable under its name; returns its descriptor too.

    It is written under another name first, so a segment's header is whole wherever its name is seen.  Doing it again
    after a failure, whatever of it persisted, replaces the same empty segment.  Raises ``JournalError``.
    """
    path, new = segment_path(folder, header.first_position), folder / _NEW
    try:
        descriptor = files.create(new)
        try:
            write_all(files, descriptor, encode_header(header), 0)
            sync(files, descriptor, new)
            files.rename(new, path)
            sync_folder(files, folder)
        except BaseException:
            files.close(descriptor)
            raise
    except OSError as error:
        raise JournalError(f"{path}: cannot create: {error.strerror or error}", retryable=True) from error
    return descriptor, Segment(path=path, first_position=header.first_position, size=HEADER_BYTES)


def _undo(files: Files, descriptor: int, path: Path, size: int, cause: OSError) -> None:
    try:
        files.truncate(descriptor, size)
    except OSError as error:
        raise _unknown(path, f"undo a failed write ({cause.strerror or cause})", error) from error
    # Without this sync, bytes of the failed batch could come back behind a later, shorter one after a loss of power.
    sync(files, descriptor, path)


def _unknown(path: Path, what: str, error: OSError) -> JournalError:
    message = f"{path}: cannot {what}: {error.strerror or error}; what is on disk is unknown until the next start"
    return JournalError(message, retryable=False)
