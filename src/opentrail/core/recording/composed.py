"""Members that a service composes of a parameter: a function's name taken apart, as Lambda's records tell it.

The rules' words: ``of`` is the parameter, ``match`` a pattern that it must match, ``value`` what is told, with the
pattern's named groups and ``{partition}``, ``{region}`` and ``{account}`` of the call where no group says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from opentrail.core.errors import FormatError
from opentrail.core.wire.calls import ApiCall

_GIVEN = ("partition", "region", "account")


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposedMember:
    """A member of ``requestParameters`` that no client sends."""

    name: str
    of: str  # the parameter, by the model's name
    match: re.Pattern[str]
    value: Any  # whose texts are templates

    def told(self, call: ApiCall) -> dict[str, Any]:
        """The member as it is recorded; nothing where the parameter is not as expected."""
        value = call.parameters.get(self.of)
        found = self.match.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            return {}
        given = {"partition": "aws", "region": call.region, "account": call.account_id}
        groups = {name: text for name, text in found.groupdict().items() if text is not None}
        return {self.name: _filled(self.value, given | groups)}


def parse_composed(place: str, said: Any) -> dict[str, tuple[ComposedMember, ...]]:
    """The composed members of each operation.

    Raises ``FormatError``, which names ``place``.
    """
    if not isinstance(said, Mapping):
        raise FormatError(f"{place}: an object is expected")
    return {operation: tuple(_parse(f"{place}: {operation}", members)) for operation, members in said.items()}


def _parse(place: str, members: Any) -> Iterable[ComposedMember]:
    if not isinstance(members, Mapping):
        raise FormatError(f"{place}: an object is expected")
    for name, said in members.items():
        try:
            member = ComposedMember(name=name, of=said["of"], match=re.compile(said["match"]), value=said["value"])
            _filled(member.value, dict.fromkeys((*_GIVEN, *member.match.groupindex), ""))
        except (re.error, KeyError, TypeError, ValueError, IndexError) as error:
            raise FormatError(f"{place}: {name}: {error}") from None
        yield member


def _filled(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return value.format(**names)
    if isinstance(value, Mapping):
        return {name: _filled(each, names) for name, each in value.items()}
    return value
