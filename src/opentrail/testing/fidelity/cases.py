"""The distinct shapes among real records: each is one case, however often it occurs.

A file is NDJSON (one record a line), a log file (``Records``) or one record, gzipped or not; a record within an
EventBridge envelope is its ``detail``.  Only calls of an API count: sign-ins, services' own events and Insights have no
request that could be made again.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Record = Mapping[str, Any]

_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One shape: the first record that has it, and how many have."""

    record: Record
    count: int


def read_records(paths: Iterable[Path]) -> Iterator[Record]:
    """The records in all files, in order."""
    for path in paths:
        data = path.read_bytes()
        text = (gzip.decompress(data) if data.startswith(_GZIP) else data).decode()
        for document in _documents(text):
            for record in document.get("Records", [document]):
                yield record.get("detail", record)


def _documents(text: str) -> Iterator[dict[str, Any]]:
    try:
        yield json.loads(text)
    except json.JSONDecodeError:
        for line in text.splitlines():
            if line.strip():
                yield json.loads(line)


def distinct_cases(records: Iterable[Record]) -> list[Case]:
    """One case for each shape among the calls of ``records``, in the order of first occurrence."""
    first: dict[str, Record] = {}
    counts: dict[str, int] = {}
    for record in records:
        if is_api_call(record):
            key = _shape_key(record)
            first.setdefault(key, record)
            counts[key] = counts.get(key, 0) + 1
    return [Case(record=record, count=counts[key]) for key, record in first.items()]


def is_api_call(record: Record) -> bool:
    """Whether somebody's request made the record."""
    if record.get("eventType", "AwsApiCall") != "AwsApiCall" or "eventSource" not in record:
        return False
    return not record["eventSource"].startswith("signin.")


def _shape_key(record: Record) -> str:
    parts = [record.get(name) for name in ("eventSource", "eventName", "errorCode", "readOnly")]
    shapes = [_shape(record.get(name)) for name in ("requestParameters", "responseElements")]
    return json.dumps([*parts, *shapes], sort_keys=True)


def _shape(value: Any) -> Any:
    """Names and types of a value, a list's the set of those of its items."""
    if isinstance(value, Mapping):
        return {name: _shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return sorted({json.dumps(_shape(item), sort_keys=True) for item in value})
    return type(value).__name__
