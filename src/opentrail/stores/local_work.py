"""The work folder of one process: its temporary files and its write log, below ``%work`` in the store's root.

The folder is locked (``flock``) for as long as the process lives, so that another process knows whose leftovers it
finds: those of a locked folder are in use, those of an unlocked one are a dead process's.  It lies inside the root
because a rename does not cross file systems.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from itertools import count

from opentrail.stores.local_files import sync_folder
from opentrail.stores.local_names import WORK_FOLDER


class WorkFolder:
    """A locked folder of this process's own; ``temporary_path`` names a new file in it."""

    def __init__(self, root: str) -> None:
        self._number = count()
        while True:
            self.path = os.path.join(root, WORK_FOLDER, secrets.token_hex(8))
            os.makedirs(self.path)
            self._lock = os.open(self.path, os.O_RDONLY)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            if os.fstat(self._lock).st_nlink:  # a sweep may have taken it between the two calls
                return
            os.close(self._lock)

    def temporary_path(self) -> str:
        """A path that no other call gets."""
        return f"{self.path}/{next(self._number)}"

    def close(self, *, keep: bool = False) -> None:
        """Unlock the folder; remove it first with what is in it, unless the next process is to find it."""
        if not keep:
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def remove_folder(path: str) -> None:
    """Remove a dead process's folder, durably.  Raises ``OSError``."""
    shutil.rmtree(path)
    sync_folder(os.path.dirname(path))


def dead_folders(root: str) -> Iterator[str]:
    """The work folders that dead processes left, each locked while the caller has it."""
    parent = os.path.join(root, WORK_FOLDER)
    try:
        names = sorted(os.listdir(parent))
    except FileNotFoundError:
        return
    for name in names:
        path = os.path.join(parent, name)
        try:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield path
        except BlockingIOError:
            continue
        finally:
            os.close(lock)
