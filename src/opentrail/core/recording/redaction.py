"""What is hidden in one place of a record appears in none: not in an error message, a header, a name.

Rules:

* Every text within a hidden value counts, as it is and as JSON and a URL write it.  One of under four letters is hidden
  where it is a whole value; out of longer texts it would blot the record.
* A key of a hidden map (``HiddenName``) may be somebody's data or a word of the API (``PASSWORD``): it is hidden where
  it stands alone, and stays within other words (``USER_PASSWORD_AUTH``).
* A value that the operation's model enumerates is nobody's secret.
* What the record says of itself (who called, when, which event) is not touched.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Collection, Iterable, Mapping
from json import dumps
from typing import Any
from urllib.parse import quote

from opentrail.core.wire.model import Operation, Shape

_LEAST_LETTERS = 4
_LEAST_LETTERS_IN_NAMES = 8  # the names of members are the model's: a short text is in them by chance
_IN_ITS_PLACE = "***"
_SCRUBBED_FIELDS = frozenset(
    {"userAgent", "errorMessage", "requestParameters", "responseElements", "additionalEventData", "resources"}
    | {"tlsDetails", "requestID"}
)
_ENUMERATED = "enumerated-values"  # in Operation.compiled
#: Where a name stands alone: beside no letter, digit or ``_``, but for those of an escape in a URL (``%3D``).
_BEFORE_NAME, _BEHIND_NAME = r"(?:(?<![A-Za-z0-9_])|(?<=%[0-9A-F]{2}))", r"(?![A-Za-z0-9_])"


class HiddenName(str):
    """A hidden text that is the key of a map."""

    __slots__ = ()


def collect_texts(value: Any, hidden: list[str]) -> None:
    """Add every text within a hidden ``value`` to ``hidden``; names in it are the model's."""
    if isinstance(value, str):
        if value:
            hidden.append(value)
    elif isinstance(value, bytes):
        if len(value) >= _LEAST_LETTERS:
            hidden.append(b64encode(value).decode("ascii"))
    elif isinstance(value, Mapping):
        for item in value.values():
            collect_texts(item, hidden)
    elif isinstance(value, list):
        for item in value:
            collect_texts(item, hidden)


def enumerated_values(operation: Operation) -> frozenset[str]:
    """The values that the model enumerates for members of the operation's input and output."""
    known: frozenset[str] | None = operation.compiled.get(_ENUMERATED)
    if known is None:
        found: set[str] = set()
        seen: set[str] = set()
        for shape in (operation.input, operation.output):
            if shape is not None:
                _collect_enumerated(shape, found, seen)
        known = operation.compiled[_ENUMERATED] = frozenset(found)
    return known


def _collect_enumerated(shape: Shape, found: set[str], seen: set[str]) -> None:
    if shape.name in seen:
        return
    seen.add(shape.name)
    found.update(shape.enum)
    inner: Collection[Shape] = ()
    if shape.type == "structure":
        inner = shape.members.values()
    elif shape.type == "list":
        inner = (shape.member,)
    elif shape.type == "map":
        inner = (shape.key, shape.value)
    for each in inner:
        _collect_enumerated(each, found, seen)


def scrub_text(text: str, hidden: Iterable[str]) -> str:
    """``text`` without any of the ``hidden`` ones."""
    return _cleaner(hidden)(text)


def scrub(record: Mapping[str, Any], hidden: Iterable[str], enumerated: Collection[str] = ()) -> dict[str, Any]:
    """``record`` without any of the ``hidden`` texts in the fields that echo what a caller sent.

    A value that is one of the ``enumerated`` stays.
    """
    hidden = list(hidden)
    clean_text = _cleaner(hidden)
    clean_name = _cleaner([text for text in hidden if len(text) >= _LEAST_LETTERS_IN_NAMES])

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            return value if value in enumerated else clean_text(value)
        if isinstance(value, Mapping):
            return {clean_name(name): clean(item) for name, item in value.items()}
        if isinstance(value, list):
            return [clean(item) for item in value]
        return value

    return {name: clean(value) if name in _SCRUBBED_FIELDS else value for name, value in record.items()}


def _cleaner(hidden: Iterable[str]) -> Callable[[str], str]:
    """What takes every form of every hidden text out of a text: the longest first, since one may hold another."""
    hidden = list(hidden)
    whole = frozenset(hidden)
    secrets = {text for text in hidden if not isinstance(text, HiddenName)}
    inside = [
        (form, None if text in secrets else _standing_alone(form))
        for text in whole
        if len(text) >= _LEAST_LETTERS
        for form in _forms(text)
    ]
    inside.sort(key=lambda each: len(each[0]), reverse=True)

    def clean(text: str) -> str:
        if text in whole:
            return _IN_ITS_PLACE
        for form, alone in inside:
            if form in text:
                text = text.replace(form, _IN_ITS_PLACE) if alone is None else alone.sub(_IN_ITS_PLACE, text)
        return text

    return clean


def _standing_alone(name: str) -> re.Pattern[str]:
    return re.compile(_BEFORE_NAME + re.escape(name) + _BEHIND_NAME)


def _forms(text: str) -> set[str]:
    """The text as it is, as JSON writes it (beyond ASCII or not), and as a URL does."""
    plain = str(text)
    return {plain, dumps(plain)[1:-1], dumps(plain, ensure_ascii=False)[1:-1], quote(plain, safe="", errors="replace")}
