"""Values remembered from the database, each belonging to an account and forgotten with it.

All of an account's IAM hangs together (a group's policy is its members'), so a change forgets everything of its
account.  ``get`` is one look into a dictionary and takes no lock.  What was read before a change is not kept after it:
a reader takes ``version`` before it reads, and ``keep`` refuses what a change has overtaken.
"""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

_Value = TypeVar("_Value")


class AccountCache(Generic[_Value]):
    """Values by name, in memory."""

    def __init__(self) -> None:
        self._values: dict[str, _Value] = {}
        self._names: dict[str, set[str]] = {}  # by account
        self._lock = threading.Lock()
        self._version = 0

    @property
    def version(self) -> int:
        """Goes up with every change."""
        return self._version

    def get(self, name: str) -> _Value | None:
        """The value if it is known; None says nothing."""
        return self._values.get(name)

    def keep(self, name: str, account_id: str, value: _Value, version: int) -> None:
        """Remember ``value``, which was read since ``version``."""
        with self._lock:
            if version == self._version:
                self._values[name] = value
                self._names.setdefault(account_id, set()).add(name)

    def forget(self, account_id: str) -> None:
        """Know nothing of an account any more."""
        with self._lock:
            self._version += 1
            for name in self._names.pop(account_id, ()):
                self._values.pop(name, None)
