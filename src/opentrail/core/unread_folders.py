"""Folders of a trail that could not be listed: nobody knows what lies in them, so nobody is accused for it.

Rules: what a link names in such a folder is neither there nor missing, and a chain may go on in it unseen.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_DATE: Final = re.compile(r"/([0-9]{4})/(?:([0-9]{2})/(?:([0-9]{2})/)?)?\Z", re.ASCII)
_DECEMBER: Final = 12


class UnreadFolders:
    """Gathers them.  A folder is a prefix that ends in "/"."""

    def __init__(self) -> None:
        self._folders: set[str] = set()
        self.until: datetime | None = None  # all that lies in any of them was delivered before

    def __bool__(self) -> bool:
        return bool(self._folders)

    def add(self, folder: str) -> None:
        """``folder`` could not be listed."""
        self._folders.add(folder)
        end = _end_of(folder)
        self.until = end if self.until is None else max(self.until, end)

    def hold(self, key: str) -> bool:
        """Whether ``key``, of an object or a folder, lies in one of them, or is one."""
        at = key.find("/")
        while at >= 0:
            if key[: at + 1] in self._folders:
                return True
            at = key.find("/", at + 1)
        return False

    def lie_below(self, folder: str) -> bool:
        """Whether one of them lies in ``folder``, or above it, or is it."""
        return self.hold(folder) or any(each.startswith(folder) for each in self._folders)


def _end_of(folder: str) -> datetime:
    """The end of the year, month or day that ``folder`` is named after; of another one, the end of time."""
    match = _DATE.search(folder)
    try:
        year, month, day = (int(text) if text else None for text in match.groups()) if match else (None, None, None)
        if year is None:
            return datetime.max.replace(tzinfo=UTC)
        if month is None:
            return datetime(year + 1, 1, 1, tzinfo=UTC)
        if day is None:
            return datetime(year + month // _DECEMBER, month % _DECEMBER + 1, 1, tzinfo=UTC)
        return datetime(year, month, day, tzinfo=UTC) + timedelta(days=1)
    except (ValueError, OverflowError):  # no date at all: 2026/13/
        return datetime.max.replace(tzinfo=UTC)
