"""When access keys and roles were last used: noted in memory, written in batches, never by the call that uses them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Column, Connection, RowMapping, bindparam, update

_NONE, _SAME = timedelta(0), timedelta(seconds=1)  # IAM tells no fractions of it


@dataclass(frozen=True, slots=True, kw_only=True)
class LastUse:
    """A last use: ``service`` is the signing name (``s3``)."""

    time: datetime
    service: str
    region: str


class LastUses:
    """The uses of one kind of thing that are not written yet, by its id."""

    def __init__(self) -> None:
        self._uses: dict[str, LastUse] = {}

    def note(self, name: str, time: datetime, service: str, region: str) -> None:
        """Remember a use; costs no write, and next to nothing where the same was noted within this second."""
        last = self._uses.get(name)
        if last is not None and last.service == service and last.region == region and _NONE <= time - last.time < _SAME:
            return
        self._uses[name] = LastUse(time=time, service=service, region=region)

    def noted(self, name: str) -> LastUse | None:
        """A use that is not written yet."""
        return self._uses.get(name)

    def pending(self) -> Sequence[tuple[str, LastUse]]:
        """What is to be written."""
        return list(self._uses.items())

    def settle(self, written: Sequence[tuple[str, LastUse]]) -> None:
        """Forget what is written by now, unless there was another use since."""
        for name, use in written:
            if self._uses.get(name) is use:
                self._uses.pop(name, None)


def write_uses(connection: Connection, key: Column[str], uses: Sequence[tuple[str, LastUse]]) -> None:
    """Write uses into the rows of ``key``'s table that it names; a row that is gone is passed over."""
    if uses:
        statement = (
            update(key.table)
            .where(key == bindparam("key"))
            .values(
                last_used=bindparam("time"),
                last_used_service=bindparam("service"),
                last_used_region=bindparam("region"),
            )
        )
        rows = [{"key": name, "time": use.time, "service": use.service, "region": use.region} for name, use in uses]
        connection.execute(statement, rows)


def saved_use(row: RowMapping) -> LastUse | None:
    """The use that a row holds."""
    if row["last_used"] is None:
        return None
    return LastUse(time=row["last_used"], service=row["last_used_service"], region=row["last_used_region"])
