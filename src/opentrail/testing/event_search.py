"""Finding records by what a test knows of them, and saying what came nearest when there is none.

Rules: what is not asked for does not matter; of nested values a part is enough (``contains``).  Nothing here does I/O.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from fnmatch import fnmatchcase
from typing import Any

Record = Mapping[str, Any]

_SHOWN_EVENTS = 5
_SHOWN_CHARACTERS = 300  # of a value


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """What a record must show.

    ``name`` and ``source`` may hold ``*`` and ``?``; ``source`` may leave out ``.amazonaws.com``.  ``error`` is an
    ``errorCode``, or whether there is one at all.  ``user`` is the user's or role's name, the ARN or the principal's id
    of who called, or ``root``.  ``parameters`` and ``response`` are parts of ``requestParameters`` and
    ``responseElements``.
    """

    name: str | None = None
    source: str | None = None
    error: str | bool | None = None
    user: str | None = None
    region: str | None = None
    read_only: bool | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    response: Mapping[str, Any] = field(default_factory=dict)

    def matches(self, record: Record) -> bool:
        """Whether ``record`` shows all of it."""
        return next(self.differences(record), None) is None

    def differences(self, record: Record) -> Iterator[str]:
        """What ``record`` shows otherwise, a sentence each."""
        if self.name is not None and not fnmatchcase(record["eventName"], self.name):
            yield f"eventName is {record['eventName']}, not {self.name}"
        if self.source is not None:
            service = record["eventSource"].removesuffix(".amazonaws.com")
            if not fnmatchcase(service, self.source.removesuffix(".amazonaws.com")):
                yield f"eventSource is {record['eventSource']}, not {self.source}"
        code = record.get("errorCode")
        if isinstance(self.error, bool):
            if self.error is not bool(code):
                yield f"errorCode is {code}, not any" if not code else f"errorCode is {code}, not absent"
        elif self.error is not None and self.error != code:
            yield f"errorCode is {code}, not {self.error}"
        if self.user is not None and self.user not in names_of(record):
            yield f"the caller is {' or '.join(names_of(record)) or 'nobody'}, not {self.user}"
        if self.region is not None and record["awsRegion"] != self.region:
            yield f"awsRegion is {record['awsRegion']}, not {self.region}"
        if self.read_only is not None and record.get("readOnly") is not self.read_only:
            yield f"readOnly is {record.get('readOnly')}, not {self.read_only}"
        if self.parameters:
            yield from missing("requestParameters", record.get("requestParameters"), self.parameters)
        if self.response:
            yield from missing("responseElements", record.get("responseElements"), self.response)

    def __str__(self) -> str:
        wanted = {
            "source": self.source,
            "error": self.error,
            "user": self.user,
            "region": self.region,
            "read_only": self.read_only,
            "parameters": dict(self.parameters) or None,
            "response": dict(self.response) or None,
        }
        words = [f"{name}={value!r}" for name, value in wanted.items() if value is not None]
        return " with ".join(filter(None, (self.name or "an event", ", ".join(words))))


def names_of(record: Record) -> tuple[str, ...]:
    """What the caller in ``record`` can be called by; the plainest first."""
    identity = record.get("userIdentity") or {}
    issuer = (identity.get("sessionContext") or {}).get("sessionIssuer") or {}
    names = ("root" if identity.get("type") == "Root" else None,)
    names += tuple(identity.get(member) for member in ("userName", "invokedBy", "arn", "principalId"))
    names += tuple(issuer.get(member) for member in ("userName", "arn"))
    return tuple(dict.fromkeys(name for name in names if name))


def missing(path: str, actual: Any, expected: Any) -> Iterator[str]:
    """What of ``expected`` is not in ``actual``, a sentence each that begins with where.

    Of an object its expected members must be there, of a list an item for each expected one; a function is asked;
    everything else must be equal.
    """
    if isinstance(expected, Mapping):
        if not isinstance(actual, Mapping):
            yield f"{path} is {_short(actual)}, not an object"
            return
        for name, value in expected.items():
            if name in actual:
                yield from missing(f"{path}.{name}", actual[name], value)
            else:
                yield f"{path}.{name} is not there (there are: {', '.join(map(str, actual)) or 'none'})"
    elif isinstance(expected, Sequence) and not isinstance(expected, str | bytes):
        items = actual if isinstance(actual, list) else []
        for value in expected:
            if all(next(missing(path, item, value), None) for item in items):
                yield f"{path} is {_short(actual)}, without {_short(value)}"
    elif isinstance(expected, Callable):  # type: ignore[arg-type]  # mypy takes the ABC for a special form here
        if not expected(actual):
            yield f"{path} is {_short(actual)}, which {getattr(expected, '__name__', 'the function')} does not take"
    elif actual != expected or isinstance(actual, bool) is not isinstance(expected, bool):
        yield f"{path} is {_short(actual)}, not {_short(expected)}"


def explain(wanted: EventFilter, records: Sequence[Record]) -> str:
    """For an assertion's message: the records nearest to ``wanted``, with what each shows otherwise."""
    if not records:
        return "  no event was recorded at all"
    ranked = sorted(records, key=lambda record: _distance(wanted, record))[:_SHOWN_EVENTS]
    count = len(records)
    lines = [f"  {count} event{'s were' if count > 1 else ' was'} recorded; nearest:"]
    for record in ranked:
        lines.append(f"  - {describe(record)}")
        lines += [f"      {text}" for text in wanted.differences(record)]
    return "\n".join(lines)


def describe(record: Record) -> str:
    """One line: when, what, by whom, and how it ended."""
    who = next(iter(names_of(record)), "nobody")
    ending = record.get("errorCode") or "ok"
    place = f"{record['eventSource']} {record['eventName']} in {record['awsRegion']}"
    return f"{record['eventTime']} {place} by {who}: {ending} {_short(record.get('requestParameters'))}"


def _distance(wanted: EventFilter, record: Record) -> tuple[int, float]:
    """How far ``record`` is from what is ``wanted``: by the differences, then by its name."""
    name = record["eventName"]
    alike = SequenceMatcher(None, wanted.name, name).ratio() if wanted.name else 1.0
    other_name = 0 if wanted.name is None or fnmatchcase(name, wanted.name) else 3  # weighs more than its details
    return sum(1 for _ in wanted.differences(record)) + other_name, -alike


def _short(value: Any) -> str:
    text = json.dumps(value, default=repr)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
