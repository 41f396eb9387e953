"""What an evidence bundle does not hold, in the words of whoever packed it: the lines ``leftOut`` of its manifest.

Rules: nothing proves such a line, so it may take from a verdict and never add to it.

* An object that was left out is listed where it lay: a verification says of its name what it says at the source.  It
  cannot be read: nobody knows whether it is what a digest says, so it is neither valid nor missing.
* A folder (it ends in "/") that was left out cannot be listed, beyond what the bundle holds of it.
* What was listed at the source, and was not there to be read, is missing here, too.
* What no program would take for a file of the trail (``README.txt``) is nothing to look at.

Memory is bounded: a bundle with more than ``MAX_LEFT_OUT_BYTES`` of such lines is neither written nor read.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Final, NoReturn

from opentrail.core.errors import FormatError, NoSuchObject, StoreError
from opentrail.core.findings import counted
from opentrail.verification.bundle import GONE, HARMLESS, MANIFEST, MAX_LEFT_OUT_BYTES, encode_left_out

_MOST_WORDS: Final = 500  # characters of a reason that are told


class LeftOut:
    """The objects and folders that were left out: pairs of a key and why.  Raises ``FormatError`` for too many."""

    def __init__(self, lines: Iterable[tuple[str, str]]) -> None:
        self._why: dict[bytes, str] = {}
        size = 0
        for key, why in lines:
            size += len(encode_left_out(key, why))
            if size > MAX_LEFT_OUT_BYTES:
                raise FormatError("the bundle's manifest names more objects that were left out than are looked at")
            self._why.setdefault(_as_bytes(key), why)
        self._keys = sorted(key for key, why in self._why.items() if why != HARMLESS)
        self._folders = sorted((_end_of(key), key) for key in self._keys if self.is_folder(key))

    def keys_from(self, start: bytes) -> Iterator[bytes]:
        """The keys, those of folders too, from ``start`` on, in byte order."""
        for at in range(bisect_left(self._keys, start), len(self._keys)):
            yield self._keys[at]

    def is_folder(self, name: bytes) -> bool:
        """Whether ``name`` is a folder that was left out."""
        return name.endswith(b"/") and self._why.get(name, HARMLESS) != HARMLESS

    def folder_above(self, name: bytes) -> bytes:
        """The folder that was left out and is ``name``, or holds it; b"" if there is none."""
        at = name.find(b"/")
        while at >= 0:
            if self.is_folder(name[: at + 1]):
                return name[: at + 1]
            at = name.find(b"/", at + 1)
        return b""

    def next_folder(self, prefix: bytes, start: bytes) -> tuple[bytes, bytes] | None:
        """The first folder below ``prefix`` that a listing from ``start`` on comes through, and where it ends."""
        at = bisect_right(self._folders, (start, b"\xff"))  # one that ends behind it; no key has the byte 255
        if at < len(self._folders) and self._folders[at][1].startswith(prefix):
            end, folder = self._folders[at]
            return folder, end
        return None

    def may_hold(self, name: str) -> bool:
        """Whether what was left out may be of the account or region ``name``: nobody knows what lies in a folder."""
        part = f"/{name}/".encode()
        return bool(self._folders) or any(part in key for key in self._keys)

    def refuse(self, key: str) -> NoReturn:
        """Raises ``StoreError`` for an object that was left out, ``NoSuchObject`` for any other."""
        raw = _as_bytes(key)
        why = self._why.get(raw)
        if why in {None, HARMLESS} and (folder := self.folder_above(raw)):
            raise self.refusal(folder)
        if why is not None and why not in {GONE, HARMLESS}:
            raise StoreError(f"whoever packed the bundle left it out: {why[:_MOST_WORDS]}", retryable=False)
        raise NoSuchObject(key)

    def refusal(self, folder: bytes) -> StoreError:
        """Why ``folder`` cannot be listed."""
        why = self._why[folder][:_MOST_WORDS]
        return StoreError(f"whoever packed the bundle left {_as_text(folder)} out: {why}", retryable=False)

    def words(self) -> str:
        """What there is to say of all of them, as a sentence; "" if nothing was left out."""
        if not self._why:
            return ""
        first, more = min(self._keys or self._why), len(self._why) - 1
        further = f", and {counted(more, 'more object')}" if more else ""
        return (
            f"not in the bundle, or not whole, though it lay at the source, as whoever packed it says: "
            f"{_as_text(first)}: {self._why[first][:_MOST_WORDS]}{further} (see {MANIFEST})"
        )


def _end_of(folder: bytes) -> bytes:
    """What sorts behind all that lies in ``folder``: "0" is what follows "/"."""
    return folder[:-1] + b"0"


def _as_bytes(key: str) -> bytes:
    try:
        return key.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # JSON can name what no store can hold
        return key.encode("utf-8", "surrogatepass")


def _as_text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
