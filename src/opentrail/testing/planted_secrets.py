"""Marked secrets in every sensitive member of an operation: what the property "no secret in any record" is tried with.

Rules: sensitive is what botocore's model says, read from botocore's own shapes and not from ours, and what a table of
further members names; blobs count as sensitive, since no record holds one.  Each secret is unique and tells, wherever
it turns up whole or cut, in plain or in base64, where it was planted.  What is not sensitive is plain and valid enough.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Shape = Any  # botocore.model's Shape, whose subclasses have the members of each type

MAX_DEPTH = 8
PLAIN_TIME = datetime(2024, 5, 1, 12, tzinfo=UTC)

_MARK = "Pl4nt"
_LEAST_DIGITS = 3  # of a mark that was cut in the middle
_FOUND = re.compile(rf"{_MARK}([0-9]{{{_LEAST_DIGITS},}})")
_NUMBER = 730_000_000  # planted numbers; no id or size that a test makes is near
_NUMBERS = frozenset({"integer", "long", "float", "double", "bigdecimal"})


@dataclass(slots=True)
class Planter:
    """Makes parameters and results full of secrets.  ``places`` says where each is; ``special`` is what each ends with.

    ``turn`` chooses which member a union has: the first, the second ... of those that hold a secret.
    """

    special: str = ""
    turn: int = 0
    places: list[str] = field(default_factory=list)

    def secret(self, place: str) -> str:
        """A new secret for ``place``."""
        self.places.append(place)
        return f"{_MARK}{len(self.places) - 1:07}x{self.special}"

    def fill(self, shape: Shape, place: str, also: Collection[str] = ()) -> Any:
        """A value of ``shape`` with a secret in every sensitive member; ``also`` are places of further ones.

        ``place`` is where the value stands: ``ssm.PutParameter.Value``; items of lists and maps stand where those do.
        """
        return {} if shape is None else self._value(shape, place, also, hidden=False, within=())

    def found_in(self, text: str) -> set[str]:
        """The places of the secrets that ``text`` shows, whole or cut, in plain, in base64 or as a number."""
        found = {int(match[1]) for match in _FOUND.finditer(text)}
        found |= {int(match[1]) - _NUMBER for match in re.finditer(r"(73[0-9]{7})", text)}
        for coded in re.findall(r"[A-Za-z0-9+/]{16,}", text):
            plain = base64.b64decode(coded[: len(coded) // 4 * 4], validate=False).decode("latin-1")
            found |= {int(match[1]) for match in _FOUND.finditer(plain)}
        return {self.places[number] for number in found if number < len(self.places)}

    def _value(self, shape: Shape, place: str, also: Collection[str], *, hidden: bool, within: tuple[str, ...]) -> Any:
        hidden = hidden or bool(shape.metadata.get("sensitive")) or place in also
        kind = shape.type_name
        within = (*within, shape.name)
        if kind == "structure":
            return {
                name: self._value(member, f"{place}.{name}", also, hidden=hidden, within=within)
                for name, member in self._members(shape, place, also, hidden=hidden)
                if _goes_on(member, within)
            }
        if kind == "list":
            item = self._value(shape.member, place, also, hidden=hidden, within=within)
            return [item] if _goes_on(shape.member, within) else []
        if kind == "map":
            if not _goes_on(shape.value, within):
                return {}
            key = self._value(shape.key, place, also, hidden=hidden, within=within)
            return {key: self._value(shape.value, place, also, hidden=hidden, within=within)}
        return self._scalar(shape, place, hidden=hidden)

    def _members(self, shape: Shape, place: str, also: Collection[str], *, hidden: bool) -> list[tuple[str, Shape]]:
        members = list(shape.members.items())
        if not shape.is_tagged_union:
            return members
        telling = [
            (name, member) for name, member in members if hidden or f"{place}.{name}" in also or holds_secret(member)
        ]
        choice = telling or members
        return [choice[self.turn % len(choice)]]

    def _scalar(self, shape: Shape, place: str, *, hidden: bool) -> Any:
        kind = shape.type_name
        if kind == "blob":
            return self.secret(place).encode()
        if kind == "string":
            if hidden:
                return self.secret(place)
            return shape.enum[0] if shape.enum else "plain"
        if kind in _NUMBERS:
            if not hidden:
                return 200 if shape.serialization.get("location") == "statusCode" else 1
            self.places.append(place)
            return _NUMBER + len(self.places) - 1
        return PLAIN_TIME if kind == "timestamp" else True


def holds_secret(shape: Shape, within: tuple[str, ...] = ()) -> bool:
    """Whether anything in ``shape`` is sensitive by botocore's model."""
    if shape.metadata.get("sensitive") or shape.type_name == "blob":
        return True
    if shape.name in within:
        return False
    return any(holds_secret(inner, (*within, shape.name)) for inner in _inner(shape))


def texts_in(value: Any) -> Iterator[str]:
    """Every text within parameters or a result, keys of maps too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from texts_in(name)
            yield from texts_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)


def is_planted(text: str) -> bool:
    """Whether ``text`` is a secret of a ``Planter``."""
    return _FOUND.match(text) is not None


def _inner(shape: Shape) -> list[Shape]:
    if shape.type_name == "structure":
        return list(shape.members.values())
    if shape.type_name == "list":
        return [shape.member]
    return [shape.key, shape.value] if shape.type_name == "map" else []


def _goes_on(shape: Shape, within: tuple[str, ...]) -> bool:
    """Whether a member of ``shape`` is filled: a type within itself ends, and so does what is nested too deep."""
    return shape.name not in within and len(within) < MAX_DEPTH
