"""Allow-lists: which fields of a call are recorded.  What is not listed never is.

A field is a path of names: ``order.id``; ``items[].sku`` takes it of every element of a list.  A path leads to a value
or a list of values; an object is recorded by its listed members alone.  In the lists of parameters a path begins with
where it is found: ``path.order_id``, ``query.page``, ``body.items[].sku``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

EVERY = "*"  # the event name that stands for all
PLACES = ("path", "query", "body")

_VALUES = (str, int, float)
_PATH = re.compile(r"[^.\[\]]+(\[\])?(\.[^.\[\]]+(\[\])?)*")

Lists = Mapping[str, Collection[str]]  # by event name


class Field(NamedTuple):
    """One listed field: where it is found, and the names that lead to it (``items[]`` for a list)."""

    place: str
    names: tuple[str, ...]


def parse_fields(lists: Lists, places: Collection[str] = ()) -> Mapping[str, tuple[Field, ...]]:
    """The fields of an allow-list, by event name.

    Raises ``ValueError`` for a path that is none, and for one name that two places give.
    """
    return {name: _parse(name, paths, places) for name, paths in lists.items()}


def _parse(event_name: str, paths: Collection[str], places: Collection[str]) -> tuple[Field, ...]:
    if isinstance(paths, str):
        raise ValueError(f"{event_name}: a list of fields is expected, not {paths!r}")  # noqa: TRY004  a setting's value
    fields: list[Field] = []
    found: dict[str, str] = {}
    for path in paths:
        place, dot, rest = path.partition(".") if places else ("", ".", path)
        if (places and place not in places) or not dot or _PATH.fullmatch(rest) is None:
            begin = f" that begins with one of {', '.join(f'{each}.' for each in places)}" if places else ""
            raise ValueError(f"{event_name}: {path!r} is not the path of a field{begin}")
        names = tuple(rest.split("."))
        if found.setdefault(names[0].removesuffix("[]"), place) != place:
            raise ValueError(f"{event_name}: {names[0]!r} is listed in two places, and a record has room for one")
        fields.append(Field(place, names))
    return tuple(fields)


def listed(lists: Mapping[str, tuple[Field, ...]], event_name: str) -> tuple[Field, ...]:
    """The fields of one event name: those of all, then its own."""
    every = lists.get(EVERY, ())
    return every if event_name == EVERY else every + lists.get(event_name, ())


def pick(fields: Iterable[Field], documents: Mapping[str, Any]) -> dict[str, Any]:
    """The listed fields out of ``documents``, which are by place; what is not there is left out."""
    picked: dict[str, Any] = {}
    for each in fields:
        _copy(documents.get(each.place), each.names, picked)
    return picked


def find(document: Any, path: str) -> str:
    """The text or number at ``path``, as text; "" where there is none."""
    for name in path.split("."):
        document = document.get(name) if isinstance(document, Mapping) else None
    return str(document) if isinstance(document, str | int | float) else ""


def _copy(source: Any, names: tuple[str, ...], target: dict[str, Any]) -> None:
    if not _has_members(source):
        return
    name = names[0].removesuffix("[]")
    if name not in source:
        return
    value, rest = source[name], names[1:]
    if not rest:
        kept = _plain(value)
        if kept is not None or value is None:
            target[name] = kept
    elif names[0].endswith("[]"):
        if isinstance(value, list):
            held = target.setdefault(name, [{} for _ in value])
            for item, into in zip(value, held, strict=False):
                _copy(item, rest, into)
    elif _has_members(value):
        inner = target.setdefault(name, {})
        if isinstance(inner, dict):
            _copy(value, rest, inner)


def _plain(value: Any) -> Any:
    """A value, or a list of values; None for anything that has members."""
    if value is None or isinstance(value, _VALUES):
        return value
    if isinstance(value, list | tuple):
        return [each for each in value if isinstance(each, _VALUES) or each is None]
    return None if _has_members(value) else str(value)  # a UUID or a date, as a framework converts it


def _has_members(value: Any) -> bool:
    return isinstance(value, dict) or isinstance(value, Mapping)  # noqa: SIM101  the first is told much sooner
