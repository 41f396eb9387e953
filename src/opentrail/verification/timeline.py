"""What was proven when: a chain's time cut into hours (or days, or months), each with the worst that is known of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Final

from opentrail.core.errors import FormatError
from opentrail.core.findings import Concern, Finding, Severity
from opentrail.core.layout import parse_digest_key, parse_log_key
from opentrail.verification.result import ChainSummary, Span

_HOUR: Final = timedelta(hours=1)
_SECOND: Final = timedelta(seconds=1)
_NEAR: Final = timedelta(days=31)


class Mark(IntEnum):
    """What is known of a span of time; the greatest is the worst."""

    OUTSIDE = 0  # of what was looked at
    PROVEN = 1
    STOPPED = 2  # no digests were made
    UNPROVEN = 3  # no digest can be trusted
    UNVOUCHED = 4  # something lies there that no digest names
    MISSING = 5
    DAMAGED = 6


class Unit(IntEnum):
    """What a cell stands for."""

    HOUR = 0
    DAY = 1
    MONTH = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of cells: a day's hours, a month's days, a year's months.  Cells that do not exist are None."""

    title: str
    cells: tuple[Mark | None, ...]


def mark_of(finding: Finding) -> tuple[datetime, Mark] | None:
    """The hour that ``finding`` marks, and how; None where it marks none."""
    mark = _MARKS.get((finding.concern, finding.severity))
    moment = _moment_of(finding.key)
    if mark is None or moment is None:
        return None
    return moment.replace(minute=0, second=0), mark


def unit_for(chains: tuple[ChainSummary, ...], most_cells: int) -> Unit:
    """The finest unit with which all timelines together have at most ``most_cells``."""
    seconds = sum((chain.covered.end - chain.covered.start).total_seconds() for chain in chains if chain.covered)
    for unit, size in ((Unit.HOUR, 3600), (Unit.DAY, 86400)):
        if seconds / size <= most_cells:
            return unit
    return Unit.MONTH


def rows_of(chain: ChainSummary, marks: Mapping[datetime, Mark], unit: Unit) -> Iterator[Row]:
    """The rows of a chain's timeline; ``marks`` are by hour."""
    span = _whole(chain, marks)
    if span is None:
        return
    hours = _hours(chain, marks, span)
    cells: dict[tuple[str, int], Mark] = {}
    for hour, mark in hours:
        key = _row(hour, unit), _column(hour, unit)
        cells[key] = max(mark, cells.get(key, Mark.OUTSIDE))
    first, count = (0, 24) if unit is Unit.HOUR else (1, 31 if unit is Unit.DAY else 12)
    for title in sorted({row for row, _ in cells}):
        yield Row(title=title, cells=tuple(cells.get((title, column)) for column in range(first, first + count)))


def _whole(chain: ChainSummary, marks: Mapping[datetime, Mark]) -> Span | None:
    """All that was looked at, in whole hours.

    What signed digests cover, and what is marked close to it: a name alone may tell of any year.
    """
    proven = [span for span in (chain.covered, *chain.unproven, *chain.stopped) if span is not None]
    end = max((span.end for span in proven), default=max(marks, default=None))
    if end is None:
        return None
    start = min((span.start for span in proven), default=end)
    near = [hour for hour in marks if start - _NEAR <= hour <= end + _NEAR]
    return Span(start=_hour(min(start, *near, start)), end=_hour(max(end - _SECOND, *near, start)))


def _hours(chain: ChainSummary, marks: Mapping[datetime, Mark], span: Span) -> Iterator[tuple[datetime, Mark]]:
    spans = [(Mark.PROVEN, chain.covered)] if chain.covered else []
    spans += [(Mark.STOPPED, stopped) for stopped in chain.stopped]
    spans += [(Mark.UNPROVEN, unproven) for unproven in chain.unproven]
    marked = {hour: mark for hour, mark in marks.items() if span.start <= hour <= span.end}
    for mark, part in spans:
        hour = _hour(part.start)
        while hour < part.end:
            marked[hour] = max(mark, marked.get(hour, Mark.OUTSIDE))
            hour += _HOUR
    hour = span.start
    while hour <= span.end:
        yield hour, marked.get(hour, Mark.OUTSIDE)
        hour += _HOUR


_MARKS: Final[Mapping[tuple[Concern, Severity], Mark]] = {
    (Concern.INTEGRITY, Severity.ERROR): Mark.DAMAGED,
    (Concern.INTEGRITY, Severity.WARNING): Mark.DAMAGED,
    (Concern.COMPLETENESS, Severity.ERROR): Mark.MISSING,
    (Concern.COMPLETENESS, Severity.WARNING): Mark.UNVOUCHED,
    (Concern.COVERAGE, Severity.WARNING): Mark.UNPROVEN,
}


def _moment_of(key: str) -> datetime | None:
    try:
        return parse_log_key(key).delivered_at
    except FormatError:
        pass
    try:
        return parse_digest_key(key).end_time - _SECOND
    except FormatError:
        return None


def _hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _row(hour: datetime, unit: Unit) -> str:
    return (
        f"{hour.year:04}"
        if unit is Unit.MONTH
        else f"{hour.year:04}-{hour.month:02}" + (f"-{hour.day:02}" if unit is Unit.HOUR else "")
    )


def _column(hour: datetime, unit: Unit) -> int:
    return (hour.hour, hour.day, hour.month)[unit]
