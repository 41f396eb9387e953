"""What is collected for a report while a verification runs.

Rules: every finding goes to a temporary file, so that memory does not grow with what is found; of each code the first
``MOST_SHOWN`` are kept, and how many there were.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from tempfile import TemporaryFile
from typing import IO, Final

from opentrail.core.findings import Finding, FindingCode
from opentrail.core.layout import TrailFolder
from opentrail.verification.result import told_document
from opentrail.verification.timeline import Mark, mark_of

MOST_SHOWN: Final = 200
_MOST_MARKED: Final = 200_000  # hours of all chains


@dataclass(frozen=True, slots=True)
class ShownFinding:
    """A finding and the chain that it belongs to, if any."""

    trail: TrailFolder | None
    finding: Finding


@dataclass(slots=True)
class FindingLog:
    """Takes the findings as they come, for the reports that follow.  Calls come one at a time."""

    shown: dict[FindingCode, list[ShownFinding]] = field(default_factory=dict)
    counts: Counter[FindingCode] = field(default_factory=Counter)
    marks: dict[TrailFolder, dict[datetime, Mark]] = field(default_factory=dict)  # by hour
    _lines: IO[bytes] = field(default_factory=TemporaryFile)
    _marked: int = 0

    def add(self, trail: TrailFolder | None, finding: Finding) -> None:
        """The next one."""
        self.counts[finding.code] += 1
        shown = self.shown.setdefault(finding.code, [])
        if len(shown) < MOST_SHOWN:
            shown.append(ShownFinding(trail, finding))
        self._lines.write(json.dumps(told_document(trail, finding)).encode() + b"\n")
        found = mark_of(finding)
        if trail is not None and found is not None:
            self._mark(trail, *found)

    def lines(self) -> Iterator[bytes]:
        """Every finding, with its chain, as a line of JSON."""
        self._lines.seek(0)
        yield from self._lines
        self._lines.seek(0, os.SEEK_END)

    def close(self) -> None:
        """Release the temporary file."""
        self._lines.close()

    def _mark(self, trail: TrailFolder, hour: datetime, mark: Mark) -> None:
        marks = self.marks.setdefault(trail, {})
        if hour not in marks:
            if self._marked == _MOST_MARKED:
                return
            self._marked += 1
        marks[hour] = max(mark, marks.get(hour, mark))
