"""What differs between a real record and ours, in the four columns that the report has.

Equal are values that AWS hid, whatever it wrote in their place, and dates, with Java's comma behind the year or without
and to the second; what is not compared cannot be on the wire: ids, addresses, the caller.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from opentrail.testing.fidelity.cases import Record

_ABSENT = object()
_JAVA_DATE = re.compile(r"([A-Z][a-z]{2} [0-9]{1,2}, [0-9]{4}),? ([0-9]{1,2}:[0-9]{2}:[0-9]{2} [AP]M)")
_SENT_DATE = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})\.[0-9]+Z")
PLACEHOLDERS = frozenset(
    {
        "***",
        "****",
        "***OMITTED***",
        "<sensitiveDataRemoved>",
        "HIDDEN_DUE_TO_SECURITY_REASONS",
        "REDACTED",
        "Value hidden due to security reasons.",
    }
)


class Column(StrEnum):
    """What is compared."""

    REQUEST = "requestParameters"
    RESPONSE = "responseElements"
    ERROR = "error"
    READ_ONLY = "readOnly"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One place where the two records differ: ``path`` in ``column``, and how."""

    column: Column
    path: str
    how: str  # "absent", "unexpected", "differs"


def compared_columns(real: Record) -> list[Column]:
    """The columns that a real record has anything to say in."""
    columns = [Column.REQUEST, Column.RESPONSE]
    if real.get("errorCode"):
        columns.append(Column.ERROR)
    if isinstance(real.get("readOnly"), bool):
        columns.append(Column.READ_ONLY)
    return columns


def differences(real: Record, ours: Record) -> list[Difference]:
    """Where ``ours`` is not as ``real``, in every column that counts for it."""
    found = []
    for column in compared_columns(real):
        names = ("errorCode", "errorMessage") if column is Column.ERROR else (column.value,)
        for name in names:
            pairs = _walk(real.get(name), ours.get(name), name)
            found += [Difference(column=column, path=path, how=how) for path, how in pairs]
    return found


def _walk(real: Any, ours: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(real, Mapping) and isinstance(ours, Mapping):
        for name in dict.fromkeys([*real, *ours]):
            yield from _walk(real.get(name, _ABSENT), ours.get(name, _ABSENT), f"{path}.{name}")
    elif isinstance(real, list) and isinstance(ours, list) and len(real) == len(ours):
        for index, (each, other) in enumerate(zip(real, ours, strict=True)):
            yield from _walk(each, other, f"{path}[{index}]")
    elif real is _ABSENT:
        yield path, "unexpected"
    elif ours is _ABSENT:
        yield path, "absent"
    elif _plain(real) != _plain(ours) or type(_plain(real)) is not type(_plain(ours)):
        yield path, "differs"


def _plain(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value in PLACEHOLDERS:
        return "(hidden)"
    return _SENT_DATE.sub(r"\1Z", _JAVA_DATE.sub(r"\1, \2", value))
