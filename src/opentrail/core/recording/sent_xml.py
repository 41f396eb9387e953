"""XML as records tell it: the JSON that ``org.json`` makes of a document.  S3's bodies, and EC2's newer documents.

Rules (read off real records, and the documentation of ``org.json.XML``):

* An element is its text, or an object of its attributes and elements; several of one name are a list, one is not.
* Names stay as written, prefixes too; ``xmlns`` is an attribute like any other.
* Text beside attributes or elements stands under ``content``; an empty element is ``""``.
* A scalar that reads ``true``, ``false``, ``null`` or as a number that Java would write the same has that type.

No document type is read, no entity beyond XML's own five, at most ``MAX_DEPTH`` levels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from opentrail.core.errors import FormatError

MAX_DEPTH = 100

_WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None}
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")
_DECIMAL = re.compile(r"-?[0-9]{1,8}\.[0-9]{1,17}")
_LONGS = range(-(1 << 63), 1 << 63)
#: Between these Java writes a double without an exponent.
_PLAIN_LEAST, _PLAIN_BELOW = 1e-3, 1e7


def typed(text: str) -> Any:
    """A scalar with its JSON type: ``true``, ``7``, ``0.5``, else the text itself (``007`` is text)."""
    lowered = text.lower()
    if lowered in _WORDS:
        return _WORDS[lowered]
    if _WHOLE.fullmatch(text):
        number = int(text)
        return number if number in _LONGS else text
    if _DECIMAL.fullmatch(text):
        decimal = float(text)
        plain = _PLAIN_LEAST <= abs(decimal) < _PLAIN_BELOW or decimal == 0.0
        if plain and repr(decimal) == text:
            return decimal
    return text


def add(members: dict[str, Any], name: str, value: Any) -> None:
    """Put ``value`` under ``name``; what is there already becomes a list with it."""
    if name not in members:
        members[name] = value
    elif isinstance(members[name], list):
        members[name].append(value)
    else:
        members[name] = [members[name], value]


@dataclass(slots=True)
class _Open:
    """An element whose end is yet to come."""

    name: str
    members: dict[str, Any]
    text: list[str] = field(default_factory=list)

    def value(self) -> Any:
        text = "".join(self.text).strip()
        if not self.members:
            return typed(text)
        if text:
            add(self.members, "content", typed(text))
        return self.members


def decode(body: bytes) -> tuple[str, Any]:
    """The name of the root element of ``body``, and its value.

    Raises ``FormatError``.
    """
    if b"<!DOCTYPE" in body or b"\0" in body:
        raise FormatError("the body declares a document type, or is not UTF-8")
    document = _Open("", {})
    path = [document]

    def start(name: str, attributes: dict[str, str]) -> None:
        if len(path) > MAX_DEPTH:
            raise FormatError("the body is nested too deep")
        path.append(_Open(name, {key: typed(value) for key, value in attributes.items()}))

    def end(_name: str) -> None:
        element = path.pop()
        add(path[-1].members, element.name, element.value())

    def text(data: str) -> None:
        path[-1].text.append(data)

    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError) as error:
        raise FormatError("the body is not well-formed XML") from error
    ((name, value),) = document.members.items()
    return name, value
