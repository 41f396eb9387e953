"""What differs between a real record and ours, in the columns that the report has.

Equal are values that AWS hid, whatever it wrote in their place, and dates, with Java's comma behind the year or without
and to the second; what is not compared cannot be on the wire: ids, addresses, the caller.

``resources`` and ``additionalEventData`` are for information: what they tell is often known to the service alone.  Of
resources the types and the ARNs are compared, in any order and whatever account and region they name; of additional
data the names, and those texts that no call makes up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
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
        "**********",
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
    RESOURCES = "resources"
    ADDITIONAL = "additionalEventData"


JUDGED = (Column.REQUEST, Column.RESPONSE, Column.ERROR, Column.READ_ONLY)
INFORMATIVE = tuple(column for column in Column if column not in JUDGED)

#: Of ``additionalEventData``: what a rebuilt call does not have (no TLS, no host of AWS's), and whose values differ.
_NOT_SENT = frozenset({"CipherSuite", "cipherSuite", "x-amz-id-2", "xAmzId2"})
_MADE_UP = frozenset({"bytesTransferredIn", "bytesTransferredOut", "grantId", "keyMaterialId", "SID"})


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
    return columns + [column for column in INFORMATIVE if real.get(column.value)]


def differences(real: Record, ours: Record) -> list[Difference]:
    """Where ``ours`` is not as ``real``, in every column that counts for it."""
    found = []
    for column in compared_columns(real):
        names = ("errorCode", "errorMessage") if column is Column.ERROR else (column.value,)
        prepare = _PREPARED.get(column, lambda value: value)
        for name in names:
            pairs = _walk(prepare(real.get(name)), prepare(ours.get(name)), name)
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


def _resources(told: Any) -> dict[str, dict[str, str]]:
    """Each resource by its ARN, without the account and the region that only this record has."""
    found = {}
    for each in filter(lambda item: isinstance(item, dict), told if isinstance(told, list) else ()):
        name = next((key for key in each if key.lower() in ("arn", "arnprefix")), "")
        parts = str(each.get(name, "")).split(":", 5)
        parts[3:5] = ["" for _ in parts[3:5]]
        kind = {"type": each["type"]} if each.get("type") else {}
        found[":".join(parts)] = kind | {"named": name.lower()}
    return found


def _additional(told: Any) -> dict[str, Any]:
    if not isinstance(told, Mapping):
        return {}
    return {name: "(any)" if name in _MADE_UP else value for name, value in told.items() if name not in _NOT_SENT}


_PREPARED: Mapping[Column, Callable[[Any], Any]] = {Column.RESOURCES: _resources, Column.ADDITIONAL: _additional}


def _plain(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value in PLACEHOLDERS:
        return "(hidden)"
    return _SENT_DATE.sub(r"\1Z", _JAVA_DATE.sub(r"\1, \2", value))
