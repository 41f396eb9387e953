"""Keys below a folder in byte order, one folder in memory at a time.

A folder's entries sort by the first bytes of the keys that they hold: a file by its component, a folder by its
component with "/", a continuation by its piece.  Those ranges do not overlap (``local_names`` cuts components so), so a
walk in that order yields keys in order, and a whole folder is passed over when its range lies outside the asked one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from opentrail.stores.local_names import FILE, EntryKind, format_path, parse_name

_Entry = tuple[bytes, EntryKind, str]  # the keys' first bytes, kind, path


def list_files(root: str, prefix: bytes, start_after: bytes) -> Iterator[tuple[str, str, os.stat_result]]:
    """Key, path (its first name, relative to ``root``) and status of every data file that ``prefix`` and
    ``start_after`` let through; what disappears on the way is left out.
    """  # noqa: D205  one sentence, too long for a line
    above = prefix[: prefix.rfind(b"/") + 1]
    folder = format_path(above[:-1].decode("utf-8", "replace")) if above else ""
    stack = [iter(_entries(root, folder, above, prefix, start_after))]
    previous = b""
    while stack:
        entry = next(stack[-1], None)
        if entry is None:
            stack.pop()
            continue
        first, kind, path = entry
        if kind is not EntryKind.FILE:
            stack.append(iter(_entries(root, path, first, prefix, start_after)))
        elif first != previous:
            try:
                found = first.decode(), path.removesuffix(FILE), os.stat(root + path)
            except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
                continue
            previous = first
            yield found


def _entries(root: str, folder: str, above: bytes, prefix: bytes, start_after: bytes) -> list[_Entry]:
    """The entries of ``folder``, whose keys start with ``above``, that may hold what is asked."""
    found: list[_Entry] = []
    below = folder + "/" if folder else ""
    try:
        with os.scandir(root + folder) as entries:
            for entry in entries:
                parsed = parse_name(entry.name, is_folder=(is_folder := entry.is_dir()))
                if parsed is None:
                    continue
                component, kind = parsed
                first = above + component + (b"/" if kind is EntryKind.FOLDER else b"")
                if is_folder:
                    wanted = (first.startswith(prefix) or prefix.startswith(first)) and (
                        first > start_after or start_after.startswith(first)
                    )
                else:
                    wanted = first.startswith(prefix) and first > start_after
                if wanted:
                    found.append((first, kind, below + entry.name))
    except (FileNotFoundError, NotADirectoryError):
        return []
    found.sort(key=lambda entry: (entry[0], entry[2]))
    return found
