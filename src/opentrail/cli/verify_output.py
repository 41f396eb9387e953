"""What ``opentrail verify`` prints: a progress bar while it runs, and the result for people or for programs.

Rules: findings for people are grouped by code when all is done, so that the verdict is the last line; for programs they
come as they are found, a line of JSON each, and the result is the last line.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from opentrail.cli.terminal import printable
from opentrail.core.events import format_time
from opentrail.core.findings import RULES, Finding, FindingCode, Severity
from opentrail.core.layout import TrailFolder
from opentrail.verification.engine import Progress
from opentrail.verification.result import (
    ChainSummary,
    ObjectCounts,
    Verdict,
    VerifyResult,
    finding_document,
    reservations,
    result_document,
    trail_document,
)

_MOST_SHOWN: Final = 20  # findings of a code; the others are counted
_EVERY_SECONDS: Final = 0.2
_BAR: Final = 24
_ORDER: Final = (Severity.ERROR, Severity.WARNING, Severity.INFO)
_SENTENCES: Final = {
    Verdict.VALID: "VALID: all that the digests name is here, as it was delivered",
    Verdict.TAMPERED: "TAMPERED: something here is not what was delivered",
    Verdict.INCOMPLETE: "INCOMPLETE: something is missing, or is vouched for by nobody",
    Verdict.NOT_CHECKED: "NOT CHECKED: something could not be looked at, or nothing of a chain could be proven",
}
_HINT: Final = (
    "AWSLogs/ must lie in it, or below; --trail-arn, --account-id, --region, --start and --end leave others out"
)


class HumanOutput:
    """Gathers findings, the first of each code, and prints them with the result."""

    def __init__(self, *, is_end_asked: bool) -> None:
        self._is_end_asked = is_end_asked  # up to when there should be digests
        self._shown: dict[FindingCode, list[Finding]] = {}

    def add(self, _trail: TrailFolder | None, finding: Finding) -> None:
        """The next finding."""
        shown = self._shown.setdefault(finding.code, [])
        if len(shown) < _MOST_SHOWN:
            shown.append(finding)

    def finish(self, result: VerifyResult) -> None:
        """Print it all."""
        for chain in result.chains:
            print(_chain_line(chain))
        for severity in _ORDER:
            for code in sorted(code for code in self._shown if RULES[code].severity is severity):
                self._print_code(code, result.findings[code])
        if not result.chains:
            print(f"no chain of digests was found in {printable(result.source)}: {_HINT}")
        lines = list(_reservations(result, is_end_asked=self._is_end_asked))
        print(*([""] if lines else []), *lines, sep="\n")
        is_empty = not result.chains and not result.findings
        print("NOT CHECKED: there is nothing to verify" if is_empty else _SENTENCES[result.verdict])

    def _print_code(self, code: FindingCode, count: int) -> None:
        print(f"\n{RULES[code].severity.value} {code.value}: {count}")
        shown = self._shown[code]
        for finding in shown:
            print(f"  {printable(finding.key)}\n    {printable(finding.message)}")
        if count > len(shown):
            print(f"  ... and {count - len(shown)} more (--json prints all)")


class JsonOutput:
    """Prints a line of JSON for each finding and one for the result."""

    def add(self, trail: TrailFolder | None, finding: Finding) -> None:
        """Print the next finding."""
        _print_line({"type": "finding", "chain": trail and trail_document(trail), **finding_document(finding)})

    def finish(self, result: VerifyResult) -> None:
        """Print the result."""
        _print_line({"type": "result", **result_document(result)})


@contextmanager
def progress_bar(read: Callable[[], Progress], *, is_shown: bool) -> Iterator[None]:
    """Show on stderr how far a verification is, while the block runs."""
    if not is_shown:
        yield
        return
    ended = threading.Event()
    started = time.monotonic()

    def show() -> None:
        while not ended.wait(_EVERY_SECONDS):
            sys.stderr.write("\r" + progress_line(read(), time.monotonic() - started) + "\x1b[K")
            sys.stderr.flush()

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def progress_line(progress: Progress, seconds: float) -> str:
    """``[####    ]  42%  3,631 log files  9,120/s  41 MB  0:01 left``."""
    share = min(1.0, progress.digests_done / progress.digests) if progress.digests else 0.0
    bar = ("#" * int(share * _BAR)).ljust(_BAR)
    rate = progress.log_files / seconds if seconds > 0 else 0.0
    left = seconds * (1 - share) / share if share else 0.0
    ending = f"  {int(left) // 60}:{int(left) % 60:02} left" if share else ""
    size = f"{progress.log_bytes / 1e6:,.0f} MB"
    return f"[{bar}] {share:4.0%}  {progress.log_files:,} log files  {rate:,.0f}/s  {size}{ending}"


def _reservations(result: VerifyResult, *, is_end_asked: bool) -> Iterator[str]:
    """What the verdict does not speak of."""
    yield from reservations(result)
    ends = [chain.covered.end for chain in result.chains if chain.covered]
    if ends and not is_end_asked:
        yield f"not asked: whether digests after {format_time(min(ends))} were removed (--end, --expect-until)"


def _chain_line(chain: ChainSummary) -> str:
    folder, trail = chain.trail.folder, chain.trail
    where = "/".join(part for part in (folder.prefix, folder.organization_id) if part)
    span = f"{format_time(chain.covered.start)} to {format_time(chain.covered.end)}" if chain.covered else "nothing"
    return (
        f"{chain.verdict.value:11} {folder.account_id} {folder.region:14} {trail.trail_name}"
        f"{f' in {printable(where)}' if where else ''}: "
        f"{_counts(chain.digests)} digests, {_counts(chain.log_files)} log files ({span})"
    )


def _counts(counts: ObjectCounts) -> str:
    return f"{counts.valid}/{counts.total}"


def _print_line(document: dict[str, Any]) -> None:
    print(json.dumps(document))
