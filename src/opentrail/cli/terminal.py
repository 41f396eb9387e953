"""What may be shown on a terminal: text of foreign hands holds no commands for it."""

from __future__ import annotations


def printable(text: str, *, keep: str = "") -> str:
    """``text`` with all that a terminal does not show as a character (but for ``keep``) spelled out, as Python does."""
    return "".join(
        character if character.isprintable() or character in keep else ascii(character)[1:-1] for character in text
    )
