"""The folders YYYY/MM/DD below a region: listing those of some time, and finding what lies beside them.

Rules: of a time with bounds the other days are not listed, so what lies beside the folders of years, months and days
would stay unseen; it is looked for level by level, a page for each.  What a listing of the asked days gives is left to
whoever lists them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from opentrail.core.errors import StoreError
from opentrail.core.findings import Finding
from opentrail.core.layout import Folder, LogKind, log_prefix
from opentrail.verification.read_ahead import ReadAhead
from opentrail.verification.refusals import is_of_one_folder, list_readable, unread_folder
from opentrail.verification.request import VerifyRequest
from opentrail.verification.source import TrailSource
from opentrail.verification.strays import Strays

_DATE: Final = re.compile(r"(?P<year>[0-9]{4})/(?:(?P<month>[0-9]{2})/(?:(?P<day>[0-9]{2})/)?)?", re.ASCII)
_FIRST_YEAR: Final = 1970


def list_days(source: TrailSource, prefix: str, start: datetime | None, end: datetime | None) -> Iterator[str]:
    """The keys under ``prefix``, which holds folders YYYY/MM/DD, of the days from ``start`` to ``end``."""
    days = _Days.of(prefix, start, end)
    for key in source.list_keys(prefix, start_after=days.after):
        if days.before is not None and key >= days.before:
            return
        yield key


def list_readable_days(
    source: TrailSource, prefix: str, start: datetime | None, end: datetime | None, *, after: str = ""
) -> Iterator[str | Finding]:
    """The same, but of the first day only what sorts ``after``; for each refused folder a finding in its place."""
    days = _Days.of(prefix, start, end)
    return list_readable(source, prefix, start_after=after or days.after, before=days.before)


def find_beside_days(
    source: TrailSource, folders: Iterable[Folder], request: VerifyRequest, ahead: ReadAhead
) -> Iterator[Finding]:
    """What lies in the log folders of ``folders``, in no day, and is not listed with the days that ``request`` wants.

    Raises ``StoreError``.
    """
    if request.start is None and request.end is None:
        return  # everything is listed

    def look(above: _Above) -> _Above:
        above.look(source)
        return above

    regions = (_Above.of(log_prefix(folder, kind), request) for folder in folders for kind in LogKind)
    for region in ahead.map(look, regions):
        yield from region.strays.findings(source)
        for year in ahead.map(look, region.below()):
            yield from year.strays.findings(source)
            for month in ahead.map(look, year.below()):
                yield from month.strays.findings(source)


@dataclass(frozen=True, slots=True)
class _Days:
    """A listing of days: its keys sort behind ``after`` and, unless that is None, ahead of ``before``."""

    after: str
    before: str | None

    @classmethod
    def of(cls, prefix: str, start: datetime | None, end: datetime | None) -> _Days:
        return cls(
            after=f"{prefix}{start.astimezone(UTC):%Y/%m/%d}" if start else "",
            before=f"{prefix}{end.astimezone(UTC) + timedelta(days=1):%Y/%m/%d}" if end else None,
        )

    def holds(self, name: str) -> bool:
        """Whether the key ``name``, or all that lies in a folder of that name which is no date, is listed."""
        return self.after < name and (self.before is None or name < self.before)


class _Above:
    """A folder above the days: of a region, a year or a month."""

    def __init__(self, prefix: str, region: str, days: _Days) -> None:
        self.strays = Strays()
        self._prefix = prefix
        self._region = region
        self._days = days
        self._dates: list[str] = []

    @classmethod
    def of(cls, region: str, request: VerifyRequest) -> _Above:
        return cls(region, region, _Days.of(region, request.start, request.end))

    def look(self, source: TrailSource) -> None:
        """List it."""
        try:
            folders = source.list_folders(self._prefix, beside=self._add_key)
        except StoreError as error:
            if not is_of_one_folder(error):
                raise
            if not self._is_listed():
                self.strays.add_unread(unread_folder(self._prefix, error))
            return
        for folder in folders:
            if is_date(folder.removeprefix(self._region)):
                self._dates.append(folder)
            elif not self._days.holds(folder):
                self.strays.add_folder(folder)

    def below(self) -> Iterator[_Above]:
        """The years or months in it."""
        for prefix in self._dates:
            yield _Above(prefix, self._region, self._days)

    def _is_listed(self) -> bool:
        """Whether whoever lists the days hears of it, too, that it cannot be listed."""
        prefix, days = self._prefix, self._days
        holds_bound = days.after.startswith(prefix) or (days.before or "").startswith(prefix)
        return prefix == self._region or holds_bound or days.holds(prefix)

    def _add_key(self, key: str) -> None:
        if not self._days.holds(key):
            self.strays.add_key(key)


def is_date(text: str) -> bool:
    """Whether ``text`` is YYYY/, YYYY/MM/ or YYYY/MM/DD/, of a year in which something can have been delivered."""
    match = _DATE.fullmatch(text)
    if match is None:
        return False
    try:
        moment = date(int(match["year"]), int(match["month"] or 1), int(match["day"] or 1))
    except ValueError:
        return False
    return moment.year >= _FIRST_YEAR
