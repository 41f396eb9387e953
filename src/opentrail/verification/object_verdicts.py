"""The verdict on each digest and each log file: counted, and told to whoever asked (``--verbose``).

Rules: each object is told once, as soon as nothing can change its verdict, and what is told adds up to the counts of
``ObjectCounts``, verdict by verdict.  A digest is decided by the proven one that follows it; a backfill digest when its
chain is read; one that nothing proves when all chains are.  So no more is kept than the counts need.  What an
interrupted run checked is told in numbers by the one that goes on, which does not look at it again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from enum import StrEnum
from typing import Final, Protocol

from opentrail.core.findings import RULES, Concern, Finding, FindingCode, Severity
from opentrail.core.layout import TrailFolder
from opentrail.core.validation import DigestProven
from opentrail.verification.checkpoint import FinishedChain, PartialChain
from opentrail.verification.result import ObjectCounts, SignedDigests, Span


class ObjectKind(StrEnum):
    """What a trail consists of."""

    DIGEST = "digest"
    LOG_FILE = "log-file"


class ObjectVerdict(StrEnum):
    """What can be said of one object; the names are those of ``ObjectCounts``."""

    VALID = "valid"
    INVALID = "invalid"
    MISSING = "missing"
    UNCHECKED = "unchecked"


class ObjectListener(Protocol):
    """Who asked for the verdicts.  Calls come one at a time."""

    def add_object(self, trail: TrailFolder, kind: ObjectKind, key: str, verdict: ObjectVerdict) -> None:
        """The next object of the chain of ``trail``."""
        ...

    def add_checked_before(self, trail: TrailFolder, digests: ObjectCounts, log_files: ObjectCounts) -> None:
        """These of the chain were checked by the run that was interrupted, and are not told."""
        ...


def verdict_of_log_file(finding: Finding | None) -> ObjectVerdict:
    """What the finding (None: there is none) says of the log file that was checked."""
    if finding is None:
        return ObjectVerdict.VALID
    if finding.concern is Concern.COVERAGE:
        return ObjectVerdict.UNCHECKED
    if finding.code is FindingCode.LOG_FILE_MISSING:
        return ObjectVerdict.MISSING
    return ObjectVerdict.INVALID if finding.severity is Severity.ERROR else ObjectVerdict.VALID


def verdict_on_digest(code: FindingCode) -> ObjectVerdict | None:
    """What a finding of ``code`` says of the digest that it names; None: nothing."""
    return _ON_DIGESTS.get(code)


_ON_DIGESTS: Final = {
    **{
        code: ObjectVerdict.INVALID
        for code, rule in RULES.items()
        if code.startswith("digest-") and rule.severity is Severity.ERROR
    },
    FindingCode.DIGEST_MISSING: ObjectVerdict.MISSING,
    FindingCode.DIGEST_UNREACHABLE: ObjectVerdict.UNCHECKED,
    FindingCode.DIGEST_SIGNATURE_LOST: ObjectVerdict.UNCHECKED,
    FindingCode.DIGEST_SIGNATURE_DISPUTED: ObjectVerdict.UNCHECKED,
}


class ObjectVerdicts:
    """Tells ``listener`` (None: nobody) of the objects of all chains of a run, holding ``lock``."""

    def __init__(self, listener: ObjectListener | None, lock: threading.Lock) -> None:
        self._listener = listener
        self._lock: AbstractContextManager[object] = lock if listener is not None else nullcontext()
        self._unproven: dict[TrailFolder, set[str]] = {}  # of chains that were read

    @property
    def is_asked(self) -> bool:
        """Whether anybody listens."""
        return self._listener is not None

    def tell(self, trail: TrailFolder, kind: ObjectKind, key: str, verdict: ObjectVerdict) -> None:
        """The verdict on an object of ``trail``."""
        if self._listener is not None:
            with self._lock:
                self._listener.add_object(trail, kind, key, verdict)

    def end_chain(self, trail: TrailFolder, unproven: Iterable[str]) -> None:
        """The chain is read; of its digests those at ``unproven`` are proven by nothing in it."""
        if self._listener is not None:
            self._unproven[trail] = set(unproven)

    def take_partial(self, chain: PartialChain) -> None:
        """Log files that were checked before the interruption are not checked again."""
        bad = [verdict_of_log_file(result.finding) for result in chain.results]
        self._tell_before(chain.trail, ObjectCounts(), counted_verdicts(chain.log_files, bad))

    def take_finished(self, chain: FinishedChain) -> None:
        """The chain was read before the interruption; what it left open is told when all chains are read."""
        by_verdict: dict[ObjectVerdict | None, set[str]] = {}
        for finding in chain.findings:
            by_verdict.setdefault(verdict_on_digest(finding.code), set()).add(finding.key)
        unproven = by_verdict.get(ObjectVerdict.UNCHECKED, set()) - by_verdict.get(ObjectVerdict.INVALID, set())
        summary = chain.summary
        digests = replace(summary.digests, total=summary.digests.total - summary.digests.unchecked, unchecked=0)
        self._tell_before(summary.trail, digests, summary.log_files)
        self.end_chain(summary.trail, unproven)

    def add_late(self, trail: TrailFolder, finding: Finding) -> None:
        """All chains are read, and this shows in the one of ``trail``."""
        verdict = verdict_on_digest(finding.code)
        if verdict is not None:
            self._unproven.get(trail, set()).discard(finding.key)
            self.tell(trail, ObjectKind.DIGEST, finding.key, verdict)

    def finish(self) -> None:
        """All is found: nobody proves the digests that are left."""
        for trail, keys in self._unproven.items():
            for key in sorted(keys):
                self.tell(trail, ObjectKind.DIGEST, key, ObjectVerdict.UNCHECKED)

    def _tell_before(self, trail: TrailFolder, digests: ObjectCounts, log_files: ObjectCounts) -> None:
        if self._listener is not None:
            with self._lock:
                self._listener.add_checked_before(trail, digests, log_files)


def counted_verdicts(total: int, verdicts: Iterable[ObjectVerdict]) -> ObjectCounts:
    """The counts of ``total`` objects: those of which there are ``verdicts``, and others, which are valid."""
    of = dict.fromkeys(ObjectVerdict, 0)
    for verdict in verdicts:
        of[verdict] += 1
    invalid, missing, unchecked = (of[each] for each in list(ObjectVerdict)[1:])
    valid = total - invalid - missing - unchecked
    return ObjectCounts(total=total, valid=valid, invalid=invalid, missing=missing, unchecked=unchecked)


class DigestVerdicts:
    """The digests of one chain.  Findings and what is proven come in the order of the walk."""

    def __init__(self, tell: Callable[[str, ObjectVerdict], None]) -> None:
        self._tell = tell
        self._found: dict[ObjectVerdict, set[str]] = {verdict: set() for verdict in ObjectVerdict}
        self._unread = 0
        self._held: list[DigestProven] = []  # the newest proven one, which its successor may accuse
        self._backfills: list[DigestProven] = []
        self._signed: dict[str, SignedDigests] = {}

    @property
    def unproven(self) -> set[str]:
        """The keys of those that nothing proves, and nothing accuses."""
        return self._found[ObjectVerdict.UNCHECKED] - self._found[ObjectVerdict.INVALID]

    @property
    def signed_by(self) -> tuple[SignedDigests, ...]:
        """Which keys signed those that are valid, and told."""
        return tuple(self._signed[fingerprint] for fingerprint in sorted(self._signed))

    def counts(self, read: int) -> ObjectCounts:
        """The counts, when ``read`` digests were read, and others are missing or could not be."""
        invalid, missing = len(self._found[ObjectVerdict.INVALID]), len(self._found[ObjectVerdict.MISSING])
        unchecked = len(self.unproven)
        return ObjectCounts(
            total=read + missing + self._unread,
            valid=read + self._unread - invalid - unchecked,
            invalid=invalid,
            missing=missing,
            unchecked=unchecked,
        )

    def add_finding(self, finding: Finding) -> None:
        """Something was found."""
        verdict = verdict_on_digest(finding.code)
        if verdict is not None and finding.key not in self._found[verdict]:
            self._found[verdict].add(finding.key)
            self._unread += finding.code is FindingCode.DIGEST_UNREACHABLE
            if verdict is not ObjectVerdict.UNCHECKED:  # it may be accused yet
                self._tell(finding.key, verdict)

    def add_proven(self, proven: DigestProven) -> None:
        """A digest is proven, and with it the one before it decided."""
        if proven.is_backfill:
            self._backfills.append(proven)
            return
        self._decide(self._held)
        self._held = [proven]

    def end(self) -> None:
        """The chain is read."""
        self._decide(self._held)
        self._decide(self._backfills)

    def _decide(self, held: list[DigestProven]) -> None:
        for proven in held:
            if not any(proven.key in keys for keys in self._found.values()):
                span = Span(start=proven.start, end=proven.end)
                signed = SignedDigests(fingerprint=proven.fingerprint, digests=1, span=span)
                before = self._signed.get(proven.fingerprint)
                self._signed[proven.fingerprint] = before.joined(signed) if before else signed
                self._tell(proven.key, ObjectVerdict.VALID)
        held.clear()
