"""Identifiers that no other call of any process has: made without asking the system for each."""

from __future__ import annotations

import os
from itertools import count

_RANDOM_BYTES = 16


class _Identifiers:
    """A random name of this process, and a number."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self._process = os.urandom(_RANDOM_BYTES).hex()
        self._numbers = count(1)

    def make(self) -> str:
        return f"{self._process}-{next(self._numbers):x}"


_identifiers = _Identifiers()
os.register_at_fork(after_in_child=_identifiers.begin)


def unique_id() -> str:
    """An identifier of up to 49 letters, digits and hyphens, of which another is never the same."""
    return _identifiers.make()
