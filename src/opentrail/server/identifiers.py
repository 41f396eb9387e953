"""Identifiers: random, unique, and cheap.  The composition root owns the randomness; tests give their own."""

from __future__ import annotations

import os
from collections.abc import Callable

RandomBytes = Callable[[int], bytes]

_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}  # RFC 9562, 4.1: two bits are 1 and 0


class Identifiers:
    """Draws ids from ``random_bytes``, many at a time: one system call serves 128 of them."""

    def __init__(self, random_bytes: RandomBytes = os.urandom) -> None:
        self._random_bytes = random_bytes
        self._pool = b""
        self._at = 0

    def take(self, size: int) -> bytes:
        """``size`` random bytes (16 at most)."""
        at = self._at
        if at + size > len(self._pool):
            self._pool = self._random_bytes(2048)
            at = 0
        self._at = at + size
        return self._pool[at : at + size]

    def event_id(self) -> str:
        """A random UUID (version 4), as ``eventID`` is written."""
        text = self.take(16).hex()
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:]}"

    def request_id(self) -> str:
        """A random UUID for ``requestID``."""
        return self.event_id()
