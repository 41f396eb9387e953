"""The table of ``make fidelity``, and the differences that remain, each with its reason."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opentrail.testing.fidelity.cases import Case, Record
from opentrail.testing.fidelity.compare import INFORMATIVE, JUDGED, Column, Difference, compared_columns, differences
from opentrail.testing.fidelity.reasons import UNSENDABLE, reason_of

_INDEX = re.compile(r"\[[0-9]+\]")
_TOTAL = "all"


@dataclass(slots=True, kw_only=True)
class Tally:
    """Cases of one service, and of each column how many are compared and how many of those are exact."""

    cases: int = 0
    compared: dict[Column, int] = field(default_factory=lambda: dict.fromkeys(Column, 0))
    exact: dict[Column, int] = field(default_factory=lambda: dict.fromkeys(Column, 0))

    def add(self, real: Record, wrong: Iterable[Column]) -> None:
        """Count a case whose columns ``wrong`` differ."""
        self.cases += 1
        for column in compared_columns(real):
            self.compared[column] += 1
            self.exact[column] += column not in wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Remaining:
    """A difference that remains: where, how, in how many cases, and why; ``reason`` is empty where nobody knows."""

    service: str
    event: str
    difference: Difference
    cases: int
    reason: str


class Report:
    """What came of all cases."""

    def __init__(self) -> None:
        self.tallies: dict[str, Tally] = {_TOTAL: Tally()}
        self._remaining: dict[tuple[str, str, Difference], int] = {}

    def add(self, case: Case, ours: Record | None, trouble: str = "") -> None:
        """Count one case; ``ours`` is ``None`` where no client can send its call, or where ``trouble`` came of it."""
        real = case.record
        service = real["eventSource"].partition(".")[0]
        found = _of_unsendable(real, trouble or UNSENDABLE) if ours is None else differences(real, ours)
        wrong = {each.column for each in found}
        for name in (_TOTAL, service):
            self.tallies.setdefault(name, Tally()).add(real, wrong)
        for each in dict.fromkeys(_general(difference) for difference in found):
            key = (service, real["eventName"], each)
            self._remaining[key] = self._remaining.get(key, 0) + 1

    def remaining(self, columns: Collection[Column] = JUDGED) -> list[Remaining]:
        """The differences in ``columns``, by service and event."""
        return [
            Remaining(
                service=service, event=event, difference=each, cases=cases, reason=reason_of(service, event, each)
            )
            for (service, event, each), cases in sorted(self._remaining.items(), key=lambda item: item[0][:2])
            if each.column in columns
        ]

    def share(self, column: Column) -> float:
        """The share of all cases that are exact in ``column``."""
        total = self.tallies[_TOTAL]
        return total.exact[column] / total.compared[column] if total.compared[column] else 1.0

    def rows(self) -> list[list[str]]:
        """The table: service, cases, then exact of compared in each column; all services last."""
        names = sorted(self.tallies, key=lambda name: (name == _TOTAL, -self.tallies[name].cases, name))
        return [
            [name, str(tally.cases), *(f"{tally.exact[each]}/{tally.compared[each]}" for each in Column)]
            for name, tally in ((name, self.tallies[name]) for name in names)
        ]

    def as_json(self) -> dict[str, Any]:
        """The same for a program."""
        return {
            "services": {
                name: {
                    "cases": tally.cases,
                    **{each.value: {"exact": tally.exact[each], "compared": tally.compared[each]} for each in Column},
                }
                for name, tally in self.tallies.items()
            },
            "shares": {each.value: round(self.share(each), 4) for each in Column},
            "differences": [
                {
                    "service": each.service,
                    "event": each.event,
                    "path": each.difference.path,
                    "how": each.difference.how,
                    "cases": each.cases,
                    "reason": each.reason,
                }
                for each in self.remaining(tuple(Column))
            ],
        }


HEADINGS = ("service", "cases", *(column.value for column in Column))


def _general(difference: Difference) -> Difference:
    """The same difference at any index of a list."""
    return Difference(column=difference.column, path=_INDEX.sub("[]", difference.path), how=difference.how)


def _of_unsendable(real: Record, how: str) -> list[Difference]:
    return [Difference(column=each, path=each.value, how=how) for each in compared_columns(real)]


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """The rows under their headings, in columns."""
    lines = [list(HEADINGS), *(list(row) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(HEADINGS))]
    return "\n".join("  ".join(_aligned(line, widths)).rstrip() for line in lines)


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    name, *numbers = line
    return [name.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=True))]


def format_page(report: Report, sources: Mapping[str, int]) -> str:
    """``docs/fidelity.md``: the table and the list of what remains."""
    lines = [_INTRODUCTION, "", f"| {' | '.join(HEADINGS)} |", f"|{'---|' * len(HEADINGS)}"]
    lines += [f"| {' | '.join(row)} |" for row in report.rows()]
    shares = ", ".join(f"{each.value} {report.share(each):.1%}" for each in Column)
    files = ", ".join(f"`{name}` ({count})" for name, count in sources.items())
    lines += ["", f"Exact: {shares}.  Records read: {files}.", "", "## What remains", ""]
    lines += ["| event | where | cases | why |", "|---|---|---|---|"]
    for each in report.remaining():
        where = f"`{each.difference.path}` {each.difference.how}"
        lines.append(f"| {each.service} {each.event} | {where} | {each.cases} | {each.reason or '?'} |")
    noticed = report.remaining(INFORMATIVE)
    lines += ["", "## For information", "", _INFORMATION if noticed else "`resources` and `additionalEventData`: none."]
    lines += ["", "| event | where | cases |", "|---|---|---|"] if noticed else []
    for each in noticed:
        lines.append(f"| {each.service} {each.event} | `{each.difference.path}` {each.difference.how} | {each.cases} |")
    return "\n".join(lines) + "\n"


_INFORMATION = """\
Differences in `resources` and `additionalEventData`.  Often the service alone knows what they tell: which key a
ciphertext was made with, how long a transfer took, which account a bucket is in."""

_INTRODUCTION = """\
# How faithful are the records?

`make fidelity` makes this page.  Real CloudTrail records are turned back into HTTP requests, these go through a running
Opentrail to an upstream that answers as AWS did, and the record that Opentrail keeps is compared with the real one.  A
case is a distinct shape: event, error, names and types of all members.  A cell says how many cases are exact of those
that have anything to compare.  Ids, addresses, the caller and values that AWS hid are not compared, nor the fraction of
a second; everything else is, member by member.

What the numbers do not say: botocore's serializers write the requests, but those of EC2, S3 and operations that no
model has are written off the record by the inverse of the same tables that make it, and the answers are written by
Opentrail's own formatter (EC2's and S3's by the inverse too).  And the rules were made with these records at hand:
others will show more differences.

How others come out was tried once with records that the rules had not seen: 215 shapes out of AWS's guides to services,
other projects' detection tests and blogs, of 2014 to 2026.  Before anything was mended, 78 % were exact in
requestParameters, 87 % in responseElements, 94 % in the error and 96 % in readOnly.  Of what differed, a third came of
rules, which were mended, or of services of which nothing was known; the rest were forms that AWS writes no more, and
records that the tests' authors had changed.

Other records are compared by `python -m opentrail.testing.fidelity FILE...`.  Where they will differ, as far as records
out of AWS's guides and public test data show it:

- what only the service knows: which attributes of a DynamoDB item are its key, what a SAML assertion or a session says,
  members of the service's own model that it keeps from its answers (`documentId` of a document of SSM);
- operations of AWS's own console, which no model has: nothing but their name is recorded;
- what no caller can be believed about: `vpcEndpointId` (any client may write an endpoint's name as its host), and what
  Python's TLS does not tell (`keyExchange`);
- older forms: AWS adds members in the course of time (`defaults` of the rules); the newest known form is written;
- `resources` and `additionalEventData` are compared for information: of resources types and ARNs, of additional data
  names, and values where the call has them; `tlsDetails` and the identity are made, but not compared: no record tells
  how the call was signed, and a rebuilt one has no TLS."""
