"""Object keys as file names: how a key of any text lies in folders, and back.

A key's components (between its "/") are folder and file names, so that a person sees a bucket as folders.  Rules:

* "%", control characters and a leading "." are written as ``%XX``; an empty component is ``%``.  Names with another
  "%" are ours and no key's: ``.NAME%meta`` beside ``NAME`` holds metadata, ``NAME%file`` is the object ``NAME`` that
  lies beside the folder ``NAME``, ``PIECE%more`` is a folder that continues a component longer than a file name can be.
* A component has one name.  A file of other hands whose name spells one differently ("%41", 230 bytes in one piece) is
  no object, so it can neither stand for another key's object nor be listed and not found.
* A component is cut as soon as its escaped form reaches ``PIECE_BYTES``, counted byte by byte, so that the cut of a
  component depends on its first bytes alone: all keys below ``PIECE%more`` are neighbours in byte order.
* Parsing gives the bytes of a component, for a cut may fall into a character.
"""

from __future__ import annotations

import re
from enum import Enum

PIECE_BYTES = 200  # of the 255 that file systems give a name: room for a cut character's escapes and for a suffix
META, FILE, MORE = "%meta", "%file", "%more"
WORK_FOLDER = "%work"  # temporary files and logs of the processes that write

_PLAIN = re.compile(r"(?!\.)[ -$&-.0-~]{1,199}(?:/(?!\.)[ -$&-.0-~]{1,199})*")
_UNSAFE = re.compile(r"[\x00-\x1f%\x7f]|\A\.|[\udc80-\udcff]")
_ESCAPED = re.compile(rb"%([0-9A-F]{2})")


class EntryKind(Enum):
    """What a name in a folder stands for."""

    FILE = "file"
    FOLDER = "folder"
    MORE = "more"


def format_path(key: str) -> str:
    """The relative path of ``key``'s data file.  Raises ``ValueError`` for text that UTF-8 cannot hold."""
    if _PLAIN.fullmatch(key):
        return key
    key.encode()  # a lone surrogate ends here
    return "/".join(map(_format_component, key.split("/")))


def sidecar_path(path: str) -> str:
    """The path of the metadata that belongs to the data file's ``path``."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}.{name}{META}"


def parse_name(name: str, *, is_folder: bool) -> tuple[bytes, EntryKind] | None:
    """The component's bytes and the kind of the entry ``name``; None for what is no part of a key."""
    kind = EntryKind.FOLDER if is_folder else EntryKind.FILE
    if _PLAIN.fullmatch(name):
        return name.encode(), kind
    if is_folder and name.endswith(MORE):
        kind, name = EntryKind.MORE, name[: -len(MORE)]
    elif not is_folder and name.endswith(FILE):
        name = name[: -len(FILE)]
    raw = b"" if name == "%" else _unescape(name)
    if _escape(raw) != name or _cut(raw) != (len(raw) if kind is EntryKind.MORE else None):
        return None
    return raw, kind


def _format_component(component: str) -> str:
    raw = component.encode()
    pieces = []
    while (end := _cut(raw)) is not None:
        pieces.append(_escape(raw[:end]) + MORE)
        raw = raw[end:]
    return "/".join((*pieces, _escape(raw)))


def _cut(raw: bytes) -> int | None:
    """The number of bytes after which ``raw`` must go on in another folder, or None."""
    if len(raw) * 3 < PIECE_BYTES:
        return None
    length = 0
    for index, byte in enumerate(raw):
        length += 3 if byte < 0x20 or byte in b"%\x7f" or (index == 0 and byte == 0x2E) else 1
        if length >= PIECE_BYTES:
            return index + 1
    return None


def _escape(raw: bytes) -> str:
    if not raw:
        return "%"
    return _UNSAFE.sub(_escape_character, raw.decode("utf-8", "surrogateescape"))


def _unescape(name: str) -> bytes:
    return _ESCAPED.sub(lambda found: bytes((int(found[1], 16),)), name.encode("utf-8", "surrogateescape"))


def _escape_character(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogateescape"))
