"""What ``opentrail verify`` prints: what it is about to check, and the result, for people or for programs.

Rules: people first read what is checked (source, time, filters, keys); findings are grouped by code when all is done,
each with what it means and what to do, so that the verdict is the last line; verdicts on single objects come before, as
they are reached, where they were asked for.  For programs findings come as they are found, a line of JSON each, and
the result is the last line; every line leaves at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, Final, Protocol

from opentrail.cli.terminal import is_coloured, painted, printable, wrapped
from opentrail.core.events import format_time
from opentrail.core.findings import RULES, Finding, FindingCode, Severity, counted
from opentrail.core.layout import TrailFolder
from opentrail.verification.advice import ADVICE
from opentrail.verification.explanations import EXPLANATIONS
from opentrail.verification.object_verdicts import ObjectKind, ObjectVerdict
from opentrail.verification.result import (
    ChainSummary,
    ObjectCounts,
    Verdict,
    VerifyResult,
    counts_document,
    told_document,
    trail_document,
)
from opentrail.verification.subject import Subject, answer_document, hint, unspoken

_MOST_SHOWN: Final = {Severity.ERROR: 20, Severity.WARNING: 20, Severity.INFO: 3}  # of a code; others are counted
_MOST_CHAINS: Final = 100
_ORDER: Final = (Severity.ERROR, Severity.WARNING, Severity.INFO)
_SENTENCES: Final = {
    Verdict.VALID: "all that the digests name is here, as it was delivered",
    Verdict.TAMPERED: "something here is not what was delivered",
    Verdict.INCOMPLETE: "something is missing, or is vouched for by nobody",
    Verdict.NOT_CHECKED: "something could not be looked at, or nothing of a chain could be proven",
}
_COLOURS: Final = {
    Verdict.VALID: "green",
    Verdict.TAMPERED: "red",
    Verdict.INCOMPLETE: "yellow",
    Verdict.NOT_CHECKED: "yellow",
}
_OBJECT_COLOURS: Final = {
    ObjectVerdict.VALID: "green",
    ObjectVerdict.INVALID: "red",
    ObjectVerdict.MISSING: "red",
    ObjectVerdict.UNCHECKED: "yellow",
}
_SEVERITY_COLOURS: Final = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "bold"}
_HINT: Final = (
    "AWSLogs/ must lie in it, or below; --trail-arn, --account-id, --region, --start and --end leave others out"
)


class Output(Protocol):
    """Where findings and the result go."""

    def begin(self) -> None:
        """Before the work begins."""
        ...

    def add(self, trail: TrailFolder | None, finding: Finding) -> None:
        """The next finding."""
        ...

    def add_object(self, trail: TrailFolder, kind: ObjectKind, key: str, verdict: ObjectVerdict) -> None:
        """The next verdict on a digest or log file of ``trail``, where they were asked for."""
        ...

    def add_checked_before(self, trail: TrailFolder, digests: ObjectCounts, log_files: ObjectCounts) -> None:
        """These, of ``trail``, were checked by the run that was interrupted: no verdicts come on them."""
        ...

    def stop(self, how: str, resume_file: str) -> None:
        """The work ended before its end; ``resume_file`` "" if there is nothing to go on from."""
        ...

    def finish(self, result: VerifyResult) -> None:
        """The result."""
        ...


class HumanOutput:
    """Gathers findings, the first of each code, and prints them with the result; ``is_quiet``: the verdict alone."""

    def __init__(self, subject: Subject, *, is_quiet: bool = False) -> None:
        self._subject = subject
        self._is_quiet = is_quiet
        self._is_coloured = is_coloured(sys.stdout)
        self._shown: dict[FindingCode, list[Finding]] = {}

    def begin(self) -> None:
        """Say what is to be checked."""
        if not self._is_quiet:
            for name, text in self._subject.lines():
                print(wrapped(text, first=f"{name:9}", indent=" " * 9))
            print(flush=True)

    def add(self, _trail: TrailFolder | None, finding: Finding) -> None:
        """The next finding."""
        shown = self._shown.setdefault(finding.code, [])
        if len(shown) < _MOST_SHOWN[finding.severity]:
            shown.append(finding)

    def add_object(self, _trail: TrailFolder, kind: ObjectKind, key: str, verdict: ObjectVerdict) -> None:
        """Print it at once; what was found is printed with the result."""
        colour = _OBJECT_COLOURS[verdict]
        name = painted(f"{verdict.value:9}", colour, is_shown=self._is_coloured)
        print(f"{name} {kind.value:8} {printable(key)}", flush=True)

    def add_checked_before(self, trail: TrailFolder, digests: ObjectCounts, log_files: ObjectCounts) -> None:
        """Say that there will be no lines on them."""
        folder = trail.folder
        text = (
            f"{counted(digests.total, 'digest')} and {counted(log_files.total, 'log file')} of {folder.account_id}, "
            f"{folder.region}, {trail.trail_name} were checked before the interruption"
        )
        print(wrapped(text, first=f"{'before':9} ", indent=" " * 10), flush=True)

    def stop(self, how: str, resume_file: str) -> None:
        """Nothing is printed but what went to stderr."""

    def finish(self, result: VerifyResult) -> None:
        """Print it all."""
        if not self._is_quiet:
            self._print_chains(result.chains)
            for severity in _ORDER:
                for code in sorted(code for code in self._shown if RULES[code].severity is severity):
                    self._print_code(code, result.findings[code])
            self._print_rest(result)
        is_empty = not result.chains and not result.findings
        sentence = "there is nothing to verify" if is_empty else _SENTENCES[result.verdict]
        if result.verdict is Verdict.VALID:
            sentence += self._subject.condition
        name = result.verdict.value.replace("-", " ").upper()
        print(f"{painted(name, _COLOURS[result.verdict], is_shown=self._is_coloured)}: {sentence}")

    def _print_chains(self, chains: Sequence[ChainSummary]) -> None:
        if not chains:
            return
        print(f"{'VERDICT':11} {'ACCOUNT':12} {'REGION':16} {'VALID DIGESTS':>18} {'VALID LOG FILES':>18}")
        shown = list(chains)
        if len(shown) > _MOST_CHAINS:
            shown = sorted(chains, key=lambda chain: chain.verdict is Verdict.VALID)[:_MOST_CHAINS]
        for chain in shown:
            self._print_chain(chain)
        if len(chains) > len(shown):
            print(f"... and {len(chains) - len(shown):,} more chains (--json prints all)")

    def _print_chain(self, chain: ChainSummary) -> None:
        folder = chain.trail.folder
        where = "/".join(part for part in (folder.prefix, folder.organization_id) if part)
        span = f"{format_time(chain.covered.start)} to {format_time(chain.covered.end)}" if chain.covered else "nothing"
        verdict = painted(f"{chain.verdict.value:11}", _COLOURS[chain.verdict], is_shown=self._is_coloured)
        counts = f"{_counts(chain.digests):>18} {_counts(chain.log_files):>18}"
        print(f"{verdict} {folder.account_id} {folder.region:16} {counts}")
        place = f"{chain.trail.trail_name}{f' in {where}' if where else ''}: {span}"
        print(wrapped(place, first=" " * 12, indent=" " * 14))

    def _print_code(self, code: FindingCode, count: int) -> None:
        severity = RULES[code].severity
        name = painted(severity.value, _SEVERITY_COLOURS[severity], is_shown=self._is_coloured)
        print(f"\n{name} {code.value}: {count:,}")
        print(wrapped(EXPLANATIONS[code], first="  ", indent="  "))
        if code in ADVICE:
            print(wrapped(ADVICE[code], first="  What to do: ", indent="  "))
        shown = self._shown[code]
        for finding in shown:
            print(f"  {printable(finding.key)}\n{wrapped(finding.message, first='    ', indent='    ')}")
        if count > len(shown):
            print(f"  ... and {count - len(shown):,} more (--json prints all)")

    def _print_rest(self, result: VerifyResult) -> None:
        if not result.chains:
            print(wrapped(f"no chain of digests was found in {result.source}: {_HINT}", indent="  "))
        lines = [*unspoken(self._subject, result), *filter(None, (hint(result),))]
        if lines or result.chains or result.findings:
            print()
        for line in lines:
            print(wrapped(line, indent="  "))


class JsonOutput:
    """Prints a line of JSON for each finding and one for the result."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    def begin(self) -> None:
        """The result says what was checked."""

    def add(self, trail: TrailFolder | None, finding: Finding) -> None:
        """Print the next finding."""
        _print_line({"type": "finding", **told_document(trail, finding)})

    def add_object(self, trail: TrailFolder, kind: ObjectKind, key: str, verdict: ObjectVerdict) -> None:
        """Print the verdict on it."""
        of = trail_document(trail)
        _print_line({"type": "object", "chain": of, "kind": kind.value, "key": key, "verdict": verdict.value})

    def add_checked_before(self, trail: TrailFolder, digests: ObjectCounts, log_files: ObjectCounts) -> None:
        """Print how many there were, by verdict."""
        counts = {"digests": counts_document(digests), "logFiles": counts_document(log_files)}
        _print_line({"type": "checked-before", "chain": trail_document(trail), **counts})

    def stop(self, how: str, resume_file: str) -> None:
        """Print that there will be no result."""
        print_stopped(how, resume_file)

    def finish(self, result: VerifyResult) -> None:
        """Print the result."""
        _print_line({"type": "result", **answer_document(self._subject, result)})


def print_stopped(how: str, resume_file: str) -> None:
    """Print the last line of a run without a result; ``resume_file`` "" if there is nothing to go on from."""
    _print_line({"type": "stopped", "reason": how, "resumeFile": resume_file or None})


def _counts(counts: ObjectCounts) -> str:
    return f"{counts.valid:,} of {counts.total:,}"


def _print_line(document: dict[str, Any]) -> None:
    print(json.dumps(document), flush=True)
