"""Keys below a folder in byte order, one folder in memory at a time.

A folder's entries sort by the first bytes of the keys that they hold: a file by its component, a folder by its
component with "/", a continuation by its piece.  Those ranges do not overlap (``local_names`` cuts components so), so a
walk in that order yields keys in order, and a whole folder is passed over when its range lies outside the asked one.

* A page begins in the middle of a folder without a look at what comes before: the sorted entries of large folders are
  kept, ``KEPT_ENTRIES`` in all, for as long as the folder's own times say that no name came or went.  Times that young
  that the next change might not move them vouch for nothing.
* A link to a folder above itself is passed over: the walk ends.
"""

from __future__ import annotations

import os
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from opentrail.stores.local_names import FILE, EntryKind, format_path, parse_name

KEPT_ENTRIES = 250_000  # of all kept folders together: some 50 MB
LARGE_FOLDER_ENTRIES = 1000  # smaller ones are read anew in a few milliseconds
_CLOCK_STEP_NS = 2_000_000_000  # no file system's times are coarser


class _Entry(NamedTuple):
    """A folder's entry: the bytes of its keys behind the folder's own, its name, its kind."""

    first: bytes
    name: str
    kind: EntryKind


class _Kept(NamedTuple):
    state: tuple[int, int, int, int]
    entries: Sequence[_Entry]


class KeyListing:
    """The keys of the data files below ``root``, which ends with "/"."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._kept: dict[str, _Kept] = {}  # by folder, the one last used at the end
        self._lock = threading.Lock()

    def walk(self, prefix: bytes, start_after: bytes) -> Iterator[tuple[str, str, os.stat_result]]:
        """Key, path (its first name, relative to the root) and status of every data file that ``prefix`` and
        ``start_after`` let through; what disappears on the way is left out.
        """  # noqa: D205  one sentence, too long for a line
        above = prefix[: prefix.rfind(b"/") + 1]
        folder = format_path(above[:-1].decode("utf-8", "replace")) if above else ""
        stack = [self._wanted(folder, above, prefix, start_after)]
        previous = b""
        while stack:
            entry = next(stack[-1], None)
            if entry is None:
                stack.pop()
                continue
            first, path, kind = entry
            if kind is not EntryKind.FILE:
                stack.append(self._wanted(path, first, prefix, start_after))
            elif first != previous:
                try:
                    found = first.decode(), path.removesuffix(FILE), os.stat(self._root + path)
                except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
                    continue
                previous = first
                yield found

    def _wanted(self, folder: str, above: bytes, prefix: bytes, start_after: bytes) -> Iterator[_Entry]:
        """The entries of ``folder``, whose keys start with ``above``, that may hold what is asked: whole, not behind
        the folder.
        """  # noqa: D205  one sentence, too long for a line
        entries = self._entries(folder)
        below = folder + "/" if folder else ""
        start = max(_start(entries, above, prefix), _start(entries, above, start_after))
        for index in range(start, len(entries)):
            entry = entries[index]
            first = above + entry.first
            is_file = entry.kind is EntryKind.FILE
            if not first.startswith(prefix) and (is_file or not prefix.startswith(first)):
                if first > prefix:
                    return
                continue
            if first > start_after or (not is_file and start_after.startswith(first)):
                yield _Entry(first, below + entry.name, entry.kind)

    def _entries(self, folder: str) -> Sequence[_Entry]:
        """All entries of ``folder``, sorted; none where there is no such folder."""
        now = time.time_ns()
        try:
            status = os.stat(self._root + folder)
            state = status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns
            with self._lock:
                kept = self._kept.pop(folder, None)
                if kept is not None and kept.state == state:
                    self._kept[folder] = kept
                    return kept.entries
            entries = self._read(folder)
        except (FileNotFoundError, NotADirectoryError):
            return ()
        if len(entries) >= LARGE_FOLDER_ENTRIES and max(status.st_mtime_ns, status.st_ctime_ns) < now - _CLOCK_STEP_NS:
            self._keep(folder, _Kept(state, entries))
        return entries

    def _read(self, folder: str) -> list[_Entry]:
        found: list[_Entry] = []
        with os.scandir(self._root + folder) as entries:
            for entry in entries:
                is_folder = entry.is_dir()
                parsed = parse_name(entry.name, is_folder=is_folder)
                if parsed is None or (is_folder and entry.is_symlink() and self._leads_up(folder, entry.path)):
                    continue
                component, kind = parsed
                first = component + b"/" if kind is EntryKind.FOLDER else component
                found.append(_Entry(first, entry.name, kind))
        found.sort(key=lambda entry: entry[:2])
        return found

    def _keep(self, folder: str, kept: _Kept) -> None:
        with self._lock:
            self._kept[folder] = kept
            total = sum(len(each.entries) for each in self._kept.values())
            while total > KEPT_ENTRIES:
                total -= len(self._kept.pop(next(iter(self._kept))).entries)

    def _leads_up(self, folder: str, link: str) -> bool:
        """Whether ``link``, in ``folder``, is a way to this folder or to one above it."""
        target = os.stat(link)
        while not os.path.samestat(target, os.stat(self._root + folder)):
            if not folder:
                return False
            folder = folder.rpartition("/")[0]
        return True


def _start(entries: Sequence[_Entry], above: bytes, position: bytes) -> int:
    """The index of the first entry that may hold keys from ``position`` on."""
    if not position.startswith(above):
        return len(entries) if position > above else 0
    rest = position[len(above) :]
    index = bisect_left(entries, rest, key=lambda entry: entry.first)
    if index and entries[index - 1].kind is not EntryKind.FILE and rest.startswith(entries[index - 1].first):
        return index - 1
    return index
