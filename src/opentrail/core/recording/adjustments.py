"""What some operations' records say otherwise than their models: names, members left out, and members with defaults.

AWS's own services see more of a call than the wire and the public models hold: a member with a default is written
though nobody sent it.  Which, is data (``rules``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

RESPONSE = "response"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """How one operation's parameters, or its response elements, differ; names are those of records."""

    only: frozenset[str] | None = None  # the members that are shown, where it is not all of them
    names: Mapping[str, str] = field(default_factory=dict)  # a member's name -> what it is called
    defaults: tuple[tuple[tuple[str, ...], Any], ...] = ()  # (path, value); what lies above a path's end must be there

    def apply(self, named: Mapping[str, Any]) -> dict[str, Any]:
        """``named`` as it is recorded."""
        adjusted = {
            self.names.get(name, name): value for name, value in named.items() if self.only is None or name in self.only
        }
        for path, value in self.defaults:
            branch: Any = adjusted
            for name in path[:-1]:
                branch = branch.get(name) if isinstance(branch, dict) else None
            if isinstance(branch, dict):
                branch.setdefault(path[-1], deepcopy(value))
        return adjusted


def adjustment(said: Iterable[tuple[str, Mapping[str, Any]]], *, of_response: bool) -> Adjustment | None:
    """What ``said`` (key, and value by path) comes to for one side of a call; ``None`` where that is nothing.

    A path that begins with ``response`` is the answer's.
    """
    only: set[str] | None = None
    names: dict[str, str] = {}
    defaults: dict[tuple[str, ...], Any] = {}
    for key, values in said:
        for text, value in values.items():
            path = tuple(text.split("."))
            if (path[0] == RESPONSE) != of_response:
                continue
            path = path[1:] if of_response else path
            if key == "onlyMembers":
                only = (only or set()) | {path[0]}
            elif key == "memberNames":
                names[path[0]] = value
            else:
                defaults[path] = value
    if only is None and not names and not defaults:
        return None
    return Adjustment(only=frozenset(only) if only is not None else None, names=names, defaults=tuple(defaults.items()))
