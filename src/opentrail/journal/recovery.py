"""Opening a journal: which segments belong to it, where it ends, and what a crash left undone.

The order of a rotation (``LocalJournal._rotate``) decides what a crash can leave behind:

1. the next segment is created, durable, without blocks;
2. the segment before it is sealed, durable;
3. only then blocks go into the next one.

So every segment but the last is sealed and has a successor, but for one case: killed between 1 and 2, the last segment
is without blocks and the one before it not sealed, which opening mends.  Anything else (a segment or a tail is
missing, a bad block with good ones behind it) no crash leaves: ``JournalError`` names file and offset, and nothing is
changed.

What is only cut off is the last, torn block: an append that never returned.  Whatever is then the last block is written
once more, at its size, and synced before anyone sees it: the process before may have died of a failed fsync, after
which the kernel's pages are clean but not on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from opentrail.core.errors import FormatError, JournalError
from opentrail.journal.durable import (
    Segment,
    create_segment,
    find_segments,
    segment_path,
    sync,
    sync_folder,
    write_all,
    write_durably,
)
from opentrail.journal.files import Files
from opentrail.journal.segments import (
    BLOCK_BYTES,
    CLOSED,
    HEADER_BYTES,
    JOURNAL_ID_BYTES,
    SEALED,
    Framing,
    Scan,
    SegmentHeader,
    decode_header,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The torn block that opening cut off: an append that was never acknowledged."""

    path: Path
    offset: int
    size: int  # bytes cut off
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """A journal ready for use; ``descriptor`` is the active segment's."""

    framing: Framing
    sealed: tuple[Segment, ...]
    active: Segment
    descriptor: int
    end: int
    closed: bool  # the last block says CLOSED
    cut: Cut | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tail:
    """A segment that may end in a torn block: open, repaired and durable."""

    descriptor: int
    segment: Segment
    scan: Scan
    cut: Cut | None


def recover(files: Files, folder: Path, new_id: Callable[[int], bytes]) -> Recovered:
    """Open the journal in ``folder``, or make one there with the id ``new_id(16)``.

    Raises ``JournalError``, and ``OSError`` where a file cannot be opened or read.
    """
    paths = find_segments(files, folder)
    if not paths:
        return _begin(files, folder, new_id(JOURNAL_ID_BYTES))
    sync_folder(files, folder)  # a rename or removal of the process before may not be durable yet
    framing, segments = _read_headers(files, paths)
    rotated = len(segments) > 1 and segments[-1].size == HEADER_BYTES
    _check_seals(files, framing, segments[:-1] if rotated else segments)
    cut = None
    if rotated:
        segments[-2], cut = _finish_rotation(files, framing, segments[-2], segments[-1].first_position)
    tail = _repair(files, framing, segments[-1], None)
    return Recovered(
        framing=framing,
        sealed=tuple(segments[:-1]),
        active=tail.segment,
        descriptor=tail.descriptor,
        end=tail.scan.next_position - 1,
        closed=tail.scan.last_kind == CLOSED,
        cut=tail.cut or cut,
    )


def _begin(files: Files, folder: Path, journal_id: bytes) -> Recovered:
    descriptor, active = create_segment(files, folder, SegmentHeader(journal_id=journal_id, first_position=1))
    framing = Framing(journal_id)
    return Recovered(framing=framing, sealed=(), active=active, descriptor=descriptor, end=0, closed=False, cut=None)


def _read_headers(files: Files, paths: list[Path]) -> tuple[Framing, list[Segment]]:
    """The segments at ``paths``, in order; their sizes are the files'."""
    segments: list[Segment] = []
    journal_id = b""
    for path in paths:
        descriptor = files.open(path)
        try:
            header = decode_header(files.read(descriptor, HEADER_BYTES, 0))
            size = files.size(descriptor)
        except FormatError as error:
            raise _damaged(path, f"offset 0: {error}") from error
        finally:
            files.close(descriptor)
        if path != segment_path(path.parent, header.first_position):
            raise _damaged(path, f"the file's name is not that of its first position, {header.first_position}")
        journal_id = journal_id or header.journal_id
        if header.journal_id != journal_id:
            raise _damaged(path, "the segment belongs to another journal than those before it")
        segments.append(Segment(path=path, first_position=header.first_position, size=size))
    return Framing(journal_id), segments


def _check_seals(files: Files, framing: Framing, segments: list[Segment]) -> None:
    """Every segment but the last ends in a seal that names where the next one begins."""
    for segment, following in pairwise(segments):
        descriptor = files.open(segment.path)
        try:
            seal = framing.check(files.read(descriptor, BLOCK_BYTES, segment.size - BLOCK_BYTES), 0)
        except FormatError as error:
            raise _damaged(
                segment.path, f"offset {segment.size - BLOCK_BYTES}: the end of the sealed segment is missing ({error})"
            ) from error
        finally:
            files.close(descriptor)
        if seal.kind != SEALED or seal.next_position != following.first_position:
            raise _damaged(
                segment.path,
                f"what follows position {seal.next_position - 1} is missing: the next segment begins at "
                f"{following.first_position}",
            )


def _finish_rotation(
    files: Files, framing: Framing, segment: Segment, next_position: int
) -> tuple[Segment, Cut | None]:
    """Seal the segment before an empty one where a crash came in between; returns it as it then is."""
    tail = _repair(files, framing, segment, next_position)
    try:
        if tail.scan.last_kind == SEALED:
            return tail.segment, tail.cut
        seal = framing.encode_mark(SEALED, next_position)
        write_durably(files, tail.descriptor, segment.path, seal, tail.segment.size)
        return replace(tail.segment, size=tail.segment.size + len(seal)), tail.cut
    finally:
        files.close(tail.descriptor)


def _repair(files: Files, framing: Framing, segment: Segment, next_position: int | None) -> _Tail:
    """Open ``segment``, cut off a torn block or spare room, write the last good block once more, and sync.

    ``next_position`` is where the segment behind it begins, None where there is none.
    """
    path = segment.path
    descriptor = files.open(path)
    try:
        data = files.read(descriptor, segment.size, 0)
        scan = _scan(framing, segment, data, next_position)
        cut = None
        if scan.torn is not None:
            cut = Cut(path=path, offset=scan.size, size=len(data) - scan.size, reason=scan.torn)
        files.truncate(descriptor, scan.size)
        if scan.last_offset is not None:
            write_all(files, descriptor, data[scan.last_offset : scan.size], scan.last_offset)
        sync(files, descriptor, path)
    except BaseException:
        files.close(descriptor)
        raise
    return _Tail(descriptor=descriptor, segment=replace(segment, size=scan.size), scan=scan, cut=cut)


def _scan(framing: Framing, segment: Segment, data: bytes, next_position: int | None) -> Scan:
    try:
        scan = framing.scan(data, segment.first_position)
    except FormatError as error:
        raise _damaged(segment.path, str(error)) from error
    if next_position is None and scan.last_kind == SEALED:
        raise _damaged(segment.path, f"the segment that begins at position {scan.next_position} is missing")
    if next_position is not None and scan.next_position != next_position:
        missing = f"positions {scan.next_position} to {next_position - 1} are missing"
        raise _damaged(segment.path, f"offset {scan.size}: {missing}")
    return scan


def _damaged(path: Path, what: str) -> JournalError:
    return JournalError(f"{path}: the journal is damaged: {what}; nothing was changed", retryable=False)
