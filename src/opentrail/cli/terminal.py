"""What may be shown on a terminal, and how: text of foreign hands holds no commands for it, and lines are short.

Rules: colours are for terminals alone, and not where ``NO_COLOR`` (no-color.org) or a dumb terminal says no.  A key is
never broken or cut, so that it can be copied; sentences are broken at 80 columns, in a pipe as well.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping
from typing import Final, TextIO

WIDTH: Final = 80
_COLOURS: Final[Mapping[str, str]] = {"red": "31", "green": "32", "yellow": "33", "bold": "1"}


def printable(text: str, *, keep: str = "") -> str:
    """``text`` with all that a terminal does not show as a character (but for ``keep``) spelled out, as Python does."""
    return "".join(
        character if character.isprintable() or character in keep else ascii(character)[1:-1] for character in text
    )


def wrapped(text: str, *, first: str = "", indent: str = "") -> str:
    """``text``, printable, in lines of at most ``WIDTH`` columns: one after ``first``, the others after ``indent``."""
    return textwrap.fill(
        printable(text),
        WIDTH,
        initial_indent=first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def is_coloured(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether colours may be written to ``stream``."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"


def painted(text: str, colour: str, *, is_shown: bool) -> str:
    """``text`` in a colour ("red", "green", "yellow", "bold"), or as it is."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if is_shown else text
