"""Where the statements of a policy stand in its text, as the policy simulator counts lines and columns.

Rules: both count from 1; a statement ends right behind its brace; it starts right behind what stands before it: the
bracket of the list, the statement before it, or, without a list, its own opening brace.  AWS's answers show it so:
their parser tells where it is after each token.

Source: IAM API reference, ``Position``; the AWS CLI's examples of ``simulate-custom-policy``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from opentrail.core.errors import FormatError

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A place in a text, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """From where to where a statement goes."""

    start: Position
    end: Position


@lru_cache(maxsize=64)  # a simulation asks for the same policies again and again
def statement_spans(text: str) -> tuple[Span, ...]:
    """The spans of a policy's statements, in their order.  Raises ``FormatError`` for a text that is no policy."""
    try:
        offsets = list(_statements(text))
    except (ValueError, IndexError, RecursionError):
        raise FormatError("the text is not a policy document") from None
    return tuple(Span(start=_position(text, start), end=_position(text, end)) for start, end in offsets)


def _statements(text: str) -> Iterator[tuple[int, int]]:
    """Offsets in ``text``: where each statement starts and ends."""
    value = next((offset for key, offset in _members(text) if key == "Statement"), None)
    if value is None:
        raise ValueError(text)
    if text[value] != "[":
        yield value + 1, _DECODER.raw_decode(text, value)[1]
        return
    before = value + 1
    offset = _skip_space(text, before)
    while text[offset] != "]":
        end = _DECODER.raw_decode(text, offset)[1]
        yield before, end
        before = end
        offset = _skip_separator(text, end)


def _members(text: str) -> Iterator[tuple[str, int]]:
    """The keys of the JSON object ``text``, each with the offset of its value."""
    offset = _skip_space(text, 0)
    if text[offset] != "{":
        raise ValueError(text)
    offset = _skip_space(text, offset + 1)
    while text[offset] != "}":
        key, offset = _DECODER.raw_decode(text, offset)
        offset = _skip_space(text, offset)
        if not isinstance(key, str) or text[offset] != ":":
            raise ValueError(text)
        value = _skip_space(text, offset + 1)
        yield key, value
        offset = _skip_separator(text, _DECODER.raw_decode(text, value)[1])


def _skip_separator(text: str, offset: int) -> int:
    """The offset of the next item, or of the bracket that ends them."""
    offset = _skip_space(text, offset)
    return _skip_space(text, offset + 1) if text[offset] == "," else offset


def _skip_space(text: str, offset: int) -> int:
    match = _SPACE.match(text, offset)
    return match.end() if match else offset


def _position(text: str, offset: int) -> Position:
    line_start = text.rfind("\n", 0, offset) + 1
    return Position(line=text.count("\n", 0, offset) + 1, column=offset - line_start + 1)
