"""Where a parameter of EC2's query API stands in a record: the notation of ``record_rules/ec2.json``.

EC2 records its older operations by its WSDL's names, which are not those of the query API.  A rule tells how one
becomes the other:

========================  ===========================================================================
``zone``                  the value stands under ``zone``
``instancesSet.0.x``      ... under ``x`` of the first item of ``instancesSet``
``vpcSet[vpcId]``         a list of scalars: ``{"items": [{"vpcId": ...}]}``; two rules may fill one set
``vpcSet[vpcId]@item``    ... its items under the key ``item`` rather than ``items``
``filterSet[]``           a list of structures: ``{"items": [{...}]}``
``tags[*]``               a list of structures that stays a plain list
``filterSet[]!``          ... and ``{}`` where nothing was sent (``portRange!`` for a structure)
``noDevice{}``            sent at all, it is ``{}``
``size:text``             a number that is recorded as text
``value?``                left out where it is empty
``force=false``           this value where nothing was sent
(nothing)                 never recorded
========================  ===========================================================================

A rule of an operation goes by the whole name on the wire without its indices (``Placement.Tenancy``), and its target
begins at the top; a rule for all operations goes by the last two names or the last, and its target is beside its like.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from opentrail.core.errors import FormatError
from opentrail.core.wire import codec_json

FIRST = "0"  # the step of a path that stands for a set's first item
PLAIN = "*"  # the item's name of a list that stays plain

_TARGET = re.compile(
    r"(?P<path>[\w.-]+)(?:\[(?P<item>[\w*]*)\](?:@(?P<key>\w+))?)?(?P<mark>!|\{\}|:text|\?|)(?:=(?P<default>.+))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A target, taken apart."""

    path: tuple[str, ...]
    item: str | None = None  # a set: the name of the scalar in each item, "" for structures, PLAIN for a plain list
    key: str = "items"  # what a set calls its items
    always: bool = False  # {} where nothing was sent
    emptied: bool = False  # {} whatever was sent
    as_text: bool = False
    unless_empty: bool = False
    default: Any = None  # what stands where nothing was sent


@lru_cache(maxsize=1024)  # as many as there are rules: they are the program's, and the user's own
def parse_target(text: str) -> Target:
    """The target that ``text`` writes.

    Raises ``FormatError``.
    """
    match = _TARGET.fullmatch(text)
    if match is None:
        raise FormatError(f"not a target of a record rule: {text!r}")
    mark, default = match["mark"], match["default"]
    return Target(
        path=tuple(match["path"].split(".")),
        item=match["item"],
        key=match["key"] or "items",
        always=mark == "!",
        emptied=mark == "{}",
        as_text=mark == ":text",
        unless_empty=mark == "?",
        default=None if default is None else codec_json.decode(default.encode()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """The rules for the request of one operation."""

    own: Mapping[str, str]  # by whole names on the wire
    everywhere: Mapping[str, str]  # by the last two names, or the last

    def find(self, path: tuple[str, ...], name: str) -> tuple[str | None, bool]:
        """The rule for ``name`` within the names ``path``, and whether it is the operation's own."""
        own = self.own.get(".".join((*path, name)))
        if own is not None:
            return own, True
        if path:
            nested = self.everywhere.get(f"{path[-1]}.{name}")
            if nested is not None:
                return nested, False
        return self.everywhere.get(name), False

    def within(self, path: tuple[str, ...]) -> Iterator[Target]:
        """The targets that rules name for what is directly within ``path``: its empty sets and its defaults."""
        if not path:
            yield from (parse_target(text) for text in self.own.values() if text)
            return
        prefix = f"{path[-1]}."
        for name, text in self.everywhere.items():
            if text and name.startswith(prefix):
                yield parse_target(text)


def put(members: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Place ``value`` at ``path`` within ``members``, whatever is in its way; two sets become one, so do structures."""
    for step, following in pairwise(path):
        if step != FIRST:
            members = _first_item(members, step) if following == FIRST else _below(members, step)
    known = members.get(path[-1])
    if isinstance(known, dict) and isinstance(value, dict):
        items = [item for each in (known, value) if isinstance(each.get("items"), list) for item in each["items"]]
        value = {**known, **value} | ({"items": items} if items else {})
    members[path[-1]] = value


def _below(members: dict[str, Any], name: str) -> dict[str, Any]:
    below = members.get(name)
    if not isinstance(below, dict):
        below = members[name] = {}
    return below


def _first_item(members: dict[str, Any], name: str) -> dict[str, Any]:
    below = _below(members, name)
    items = below.get("items")
    if not isinstance(items, list) or not items or not isinstance(items[0], dict):
        items = below["items"] = [{}]
    first: dict[str, Any] = items[0]
    return first


def put_missing(members: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Place ``value`` at ``path`` unless something stands there or in its way."""
    for step in path[:-1]:
        members = members.setdefault(step, {})
        if not isinstance(members, dict):
            return
    members.setdefault(path[-1], value)
