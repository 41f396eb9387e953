"""What was proven when: a chain's time cut into hours (or days, or months), each with the worst that is known of it.

Rules: a digest that nothing proves, or the name of an object, may tell of any year.  So what is shown is what proven
digests cover, ``_LONGEST_YEARS`` of it, and what is marked close to that; and no step is smaller than a cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from enum import IntEnum
from typing import Final

from opentrail.core.errors import FormatError
from opentrail.core.findings import Concern, Finding, Severity
from opentrail.core.layout import parse_digest_key, parse_log_key
from opentrail.verification.result import ChainSummary, Span

_SECOND: Final = timedelta(seconds=1)
_NEAR: Final = timedelta(days=31)
_LONGEST_YEARS: Final = 100


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
    spans = [span for span in map(_covered, chains) if span is not None]
    seconds = sum((span.end - span.start).total_seconds() for span in spans)
    for unit, size in ((Unit.HOUR, 3600), (Unit.DAY, 86400)):
        if seconds / size <= most_cells:
            return unit
    return Unit.MONTH


def rows_of(chain: ChainSummary, marks: Mapping[datetime, Mark], unit: Unit) -> Iterator[Row]:
    """The rows of a chain's timeline; ``marks`` are by hour."""
    whole = _whole(chain, marks)
    if whole is None:
        return
    cells = dict.fromkeys(_cells(whole, whole, unit), Mark.OUTSIDE)
    for mark, span in _spans(chain, marks):
        for cell in _cells(span, whole, unit):
            cells[cell] = max(mark, cells[cell])
    rows: dict[int, dict[int, Mark]] = {}
    for cell, mark in cells.items():
        row, column = _place(cell, unit)
        rows.setdefault(row, {})[column] = mark
    for row, columns in rows.items():
        yield Row(title=_title(row, unit), cells=tuple(columns.get(column) for column in range(_COLUMNS[unit])))


def _covered(chain: ChainSummary) -> Span | None:
    """What its proven digests cover, as far back as is shown."""
    span = chain.covered
    if span is None or span.end.year - span.start.year <= _LONGEST_YEARS:
        return span
    return replace(span, start=datetime(span.end.year - _LONGEST_YEARS, 1, 1, tzinfo=UTC))


def _whole(chain: ChainSummary, marks: Mapping[datetime, Mark]) -> Span | None:
    """All that is shown: what proven digests cover (else the newest mark), and what is marked close to it."""
    covered, newest = _covered(chain), max(marks, default=None)
    if covered is None:
        if newest is None:
            return None
        covered = Span(start=newest, end=newest + _SECOND)
    near = Span(start=_moved(covered.start, -_NEAR), end=_moved(covered.end, _NEAR))
    known = [span for _, span in _spans(chain, marks) if span.start <= near.end and near.start <= span.end]
    start = min((span.start for span in known), default=covered.start)
    end = max((span.end for span in known), default=covered.end)
    return Span(start=max(start, near.start), end=min(end, near.end))


def _spans(chain: ChainSummary, marks: Mapping[datetime, Mark]) -> Iterator[tuple[Mark, Span]]:
    """All that is known, and of which time."""
    yield from ((Mark.PROVEN, covered) for covered in (_covered(chain),) if covered is not None)
    yield from ((Mark.STOPPED, span) for span in chain.stopped)
    yield from ((Mark.UNPROVEN, span) for span in chain.unproven)
    yield from ((mark, Span(start=hour, end=hour + _SECOND)) for hour, mark in marks.items())


def _moved(moment: datetime, by: timedelta) -> datetime:
    """``moment + by``, or where the calendar ends before that, ``moment``."""
    try:
        return moment + by
    except OverflowError:
        return moment


def _cells(span: Span, whole: Span, unit: Unit) -> range:
    """The numbers of the cells that ``span`` touches, within ``whole``."""
    start, end = max(span.start, whole.start), min(span.end, whole.end)
    return range(_cell(start, unit), _cell(end - _SECOND, unit) + 1) if start < end else range(0)


def _cell(moment: datetime, unit: Unit) -> int:
    """The number of the cell that ``moment`` is in; that of the next cell is one more."""
    if unit is Unit.MONTH:
        return moment.year * 12 + moment.month - 1
    return moment.toordinal() * (24 if unit is Unit.HOUR else 1) + (moment.hour if unit is Unit.HOUR else 0)


def _place(cell: int, unit: Unit) -> tuple[int, int]:
    """The number of the row that a cell is in, and its column."""
    if unit is Unit.DAY:
        day = date.fromordinal(cell)
        return day.year * 12 + day.month - 1, day.day - 1
    return divmod(cell, _COLUMNS[unit])


def _title(row: int, unit: Unit) -> str:
    if unit is Unit.HOUR:
        return date.fromordinal(row).isoformat()
    return f"{row // 12:04}-{row % 12 + 1:02}" if unit is Unit.DAY else f"{row:04}"


_COLUMNS: Final = {Unit.HOUR: 24, Unit.DAY: 31, Unit.MONTH: 12}
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
