"""Log files that are missing under their name and lie in the folder under another.

Rules: fed every finding of a run, it keeps the missing log files (their hashes) and those that no digest names; only
when there are some of both, these are to be read.  Memory: ``_MOST`` of each.  That a log file is missing where it
should be has been accused; where it lies is a fact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from opentrail.core.findings import Finding, FindingCode, found

_MOST: Final = 10_000


class MovedFiles:
    """The missing log files and the unnamed ones of a run."""

    def __init__(self) -> None:
        self._missing: dict[str, str] = {}  # hash -> key
        self._unnamed: list[str] = []

    def add(self, finding: Finding) -> None:
        """Something was found."""
        if finding.code is FindingCode.LOG_FILE_MISSING and len(self._missing) < _MOST:
            self._missing[finding.details.get("expected_hash", "")] = finding.key
        elif finding.code is FindingCode.LOG_FILE_NOT_NAMED and len(self._unnamed) < _MOST:
            self._unnamed.append(finding.key)

    def candidates(self) -> Sequence[str]:
        """The keys of the log files that may be missing ones: hash their content with ``hash_log_file``."""
        return self._unnamed if self._missing else ()

    def compare(self, key: str, hash_value: str) -> Iterator[Finding]:
        """The content of the candidate ``key`` has ``hash_value`` ("" when it cannot be read)."""
        original = self._missing.get(hash_value) if hash_value else None
        if original is not None:
            message = f"is the log file that is missing at {original}, under another name"
            yield found(FindingCode.LOG_FILE_MOVED, key, message, original=original)
