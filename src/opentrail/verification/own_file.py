"""Files that are believed because this user alone can have written them: cached public keys, a resume file.

Rules: it is a regular file of this user (no link to one, no pipe) that nobody else may write.  Whether the folder is
this user's alone, too, is for the caller: where others may write there, they can put another of this user's own files
in its place, and no more.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


def read_own(path: Path, *, most: int, with_folder: bool) -> bytes:
    """The first ``most`` bytes of the file at ``path``, which is this user's own, ``with_folder`` its folder too.

    Raises ``OSError`` for any other.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise PermissionError(errno.EACCES, "it is a symbolic link") from None
        raise
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise PermissionError(errno.EACCES, "it is not a regular file")
        for each in (status, path.parent.stat()) if with_folder else (status,):
            if each.st_uid != os.geteuid():
                raise PermissionError(errno.EACCES, "it belongs to another user")
            if each.st_mode & _WRITABLE_BY_OTHERS:
                raise PermissionError(errno.EACCES, "others may write it")
        return file.read(most)
