"""Parameters against the constraints of the model: required, length, range, pattern, enum; nested, all at once.

The wording is that of AWS's services: ``1 validation error detected: Value 'x' at 'userName' failed to satisfy
constraint: Member must have length less than or equal to 64``.  Rules:

* A path starts every name in lower case and counts list items from one: ``tags.1.member.key``.
* The value of a sensitive member is never part of a message, nor is one that holds structures.
* A pattern must match the whole text; one that is written for another engine than Python's is left out, as is any
  text over ``MAX_PATTERN_TEXT`` characters, so that no pattern can be made to take long.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opentrail.core.wire.model import Operation, Shape

MAX_PATTERN_TEXT = 4096

Fails = Callable[[Any], bool]

_SIZED = frozenset({"string", "character", "blob", "list", "map"})
_NUMBERS = frozenset({"integer", "long", "float", "double"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One constraint that one value fails."""

    path: str  # "tags.1.member.key"
    constraint: str  # "Member must not be null"
    value: str | None  # as a message shows it; None where it is hidden
    is_null: bool = False

    def __str__(self) -> str:
        shown = "Value null" if self.is_null else "Value" if self.value is None else f"Value '{self.value}'"
        return f"{shown} at '{self.path}' failed to satisfy constraint: {self.constraint}"


def validate(operation: Operation, parameters: Mapping[str, Any], *, enums: bool = True) -> list[Violation]:
    """What ``parameters`` violate of ``operation``'s input shape; an empty list if nothing.

    ``enums`` says whether a value outside an enumeration is one (not every service refuses such a value).
    """
    shape = operation.input
    if shape is None:
        return []
    streaming = {operation.streaming_input, operation.event_stream_input}  # not among the parameters
    found = [_missing(name, "") for name in shape.required if parameters.get(name) is None and name not in streaming]
    _check_members(shape, parameters, "", found, enums=enums)
    return found


def format_violations(violations: Sequence[Violation]) -> str:
    """AWS's message for ``violations``."""
    count = len(violations)
    noun = "error" if count == 1 else "errors"
    return f"{count} validation {noun} detected: {'; '.join(map(str, violations))}"


def _join(path: str, name: str) -> str:
    name = name[:1].lower() + name[1:]
    return f"{path}.{name}" if path else name


def _missing(name: str, path: str) -> Violation:
    return Violation(path=_join(path, name), constraint="Member must not be null", value=None, is_null=True)


def _check_members(shape: Shape, value: Mapping[str, Any], path: str, found: list[Violation], *, enums: bool) -> None:
    members = shape.members
    for name, item in value.items():
        member = members.get(name)
        if member is not None and item is not None:
            _check(member, item, _join(path, name), found, enums=enums)


def _check(shape: Shape, value: Any, path: str, found: list[Violation], *, enums: bool) -> None:
    for fails, constraint, is_enum in _constraints(shape):
        if (enums or not is_enum) and fails(value):
            found.append(Violation(path=path, constraint=constraint, value=_shown(shape, value)))
    if shape.document:
        return
    if shape.type == "structure":
        found.extend(_missing(name, path) for name in shape.required if value.get(name) is None)
        _check_members(shape, value, path, found, enums=enums)
    elif shape.type == "list":
        for number, item in enumerate(value, 1):
            if item is not None:
                _check(shape.member, item, f"{path}.{number}.member", found, enums=enums)
    elif shape.type == "map":
        for key, item in value.items():
            _check(shape.key, key, f"{path}.key", found, enums=enums)
            if item is not None:
                _check(shape.value, item, f"{path}.value", found, enums=enums)


def _shown(shape: Shape, value: Any) -> str | None:
    """A value as a message shows it: a scalar, or a list of scalars."""
    if shape.sensitive or isinstance(value, bytes | dict):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        items = [_shown(shape.member, item) for item in value]
        return None if None in items else f"[{', '.join(map(str, items))}]"
    return str(value)


def _constraints(shape: Shape) -> tuple[tuple[Fails, str, bool], ...]:
    """What to check of a value: whether it fails, what to say then, whether it is an enumeration; compiled once."""
    compiled: tuple[tuple[Fails, str, bool], ...] | None = shape.compiled.get("constraints")
    if compiled is None:
        compiled = shape.compiled["constraints"] = tuple(_compile(shape))
    return compiled


def _compile(shape: Shape) -> list[tuple[Fails, str, bool]]:
    compiled: list[tuple[Fails, str, bool]] = []
    if shape.type in _SIZED or shape.type in _NUMBERS:
        measure: Callable[[Any], Any] = len if shape.type in _SIZED else float
        what = "length" if shape.type in _SIZED else "value"
        low, high = shape.min, shape.max
        if high is not None:
            text = f"Member must have {what} less than or equal to {_number(high)}"
            compiled.append((lambda value: measure(value) > high, text, False))
        if low is not None:
            text = f"Member must have {what} greater than or equal to {_number(low)}"
            compiled.append((lambda value: measure(value) < low, text, False))
    if shape.pattern:
        compiled += _compile_pattern(shape.pattern)
    if shape.enum:
        allowed = frozenset(shape.enum)
        text = f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"
        compiled.append((lambda value: value not in allowed, text, True))
    return compiled


def _number(bound: float) -> str:
    return str(int(bound)) if float(bound).is_integer() else str(bound)


def _compile_pattern(pattern: str) -> list[tuple[Fails, str, bool]]:
    try:
        compiled = re.compile(pattern, re.ASCII)  # as in Java, whose engine the patterns are for: \w is [A-Za-z0-9_]
    except re.error:
        return []  # written for Java's engine: \p{...}
    text = f"Member must satisfy regular expression pattern: {pattern}"

    def fails(value: Any) -> bool:
        return isinstance(value, str) and len(value) <= MAX_PATTERN_TEXT and compiled.fullmatch(value) is None

    return [(fails, text, False)]
