"""What is known of a chain while it is verified: counts, and its findings in their order.

Rules: findings leave in the order of the walk, however late the checks of log files end: what stands behind a batch
that is under way waits for it.  What has left is what a checkpoint holds.  Calls may come from several threads.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter, deque
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final

from opentrail.core.errors import FormatError, StoreError
from opentrail.core.event_ids import RecentEvents
from opentrail.core.findings import Finding, FindingCode
from opentrail.core.layout import TrailFolder, parse_digest_key
from opentrail.core.moved_files import MovedFiles
from opentrail.core.object_checks import DigestReading
from opentrail.core.trail_changes import TrailChange
from opentrail.core.validation import DigestProven
from opentrail.verification.checkpoint import FinishedChain, PartialChain
from opentrail.verification.log_file_checks import BatchResult, LogFileResult, LogFileTask
from opentrail.verification.object_verdicts import (
    DigestVerdicts,
    ObjectKind,
    ObjectVerdict,
    ObjectVerdicts,
    counted_verdicts,
    verdict_of_log_file,
)
from opentrail.verification.result import ChainSummary, EarlierDigests, Span

MOST_KEPT: Final = 20_000  # findings of a chain, for a checkpoint; a chain with more is begun anew

_NOT_READ: Final = frozenset({FindingCode.DIGEST_MISSING, FindingCode.DIGEST_UNREACHABLE})

OnFinding = Callable[[TrailFolder | None, Finding], None]  # None: it is of no chain


class ChangedMeanwhile(Exception):  # noqa: N818  not a failure: the chain is begun anew
    """The digests do not say what they said when the checkpoint was made."""


class _Batch:
    """Log files whose checks are under way, or done."""

    def __init__(self, tasks: tuple[LogFileTask, ...]) -> None:
        self.tasks = tasks
        self.result: BatchResult | None = None


class ChainTally:
    """The tally of ``trail``.  With ``resumed``, the log files that it names are told from there."""

    def __init__(
        self,
        trail: TrailFolder,
        *,
        bucket: str,
        on_finding: OnFinding,
        on_change: Callable[[TrailChange], list[Finding]],
        objects: ObjectVerdicts,
        with_events: bool = False,
        resumed: PartialChain | None = None,
    ) -> None:
        self.trail = trail
        self.moved = MovedFiles()
        self.error: StoreError | None = None
        self.digests_done = 0  # also those that were gone
        self.log_bytes = resumed.log_bytes if resumed else 0
        self._bucket = bucket
        self._on_finding = on_finding
        self._on_change = on_change
        self._events = RecentEvents() if with_events else None
        self._lock = threading.Lock()
        self._resumed = resumed
        self._skipped = {result.number: result for result in resumed.results} if resumed else {}
        self._waiting: deque[Finding | DigestProven | LogFileResult | _Batch] = deque()
        self._fingerprint = hashlib.sha256()
        self._log_files = 0  # whose findings have left
        self._left: list[Finding] = []  # what a checkpoint needs: every finding, and what log files were ...
        self._results: list[LogFileResult] = []  # ... with the number of the file in the chain
        self._is_kept = True
        self._codes: Counter[FindingCode] = Counter()
        self._objects = objects
        self._digests = DigestVerdicts(partial(objects.tell, trail, ObjectKind.DIGEST))
        self._digests_not_read = 0  # were listed, and are gone or refused
        self._files: Counter[ObjectVerdict] = Counter()  # those that are not valid
        self._start: datetime | None = None
        self._end: datetime | None = None
        self._untimely = ""  # the newest digest whose key was not valid at its time; that is found before it is proven
        self._unproven: list[Span] = []
        self._stopped: list[Span] = []
        self._elsewhere: list[EarlierDigests] = []

    @property
    def log_files(self) -> int:
        """How many log files are done with."""
        return self._log_files

    def add_reading(self, reading: DigestReading) -> None:
        """A digest was read."""
        self.digests_done += 1
        self._digests_not_read += any(finding.code in _NOT_READ for finding in reading.findings)

    def add(self, item: Finding | DigestProven) -> None:
        """The walk found something."""
        with self._lock:
            self._waiting.append(item)
            self._flush()

    def skip(self, task: LogFileTask) -> bool:
        """Whether the log file was checked before the checkpoint.

        Raises ``ChangedMeanwhile`` when the digests say otherwise now.
        """
        resumed = self._resumed
        if resumed is None:
            return False
        with self._lock:
            number = self._log_files
            self._count_file(task)
            result = self._skipped.get(number)
            if result is not None:
                self._waiting.append(result)
            if self._log_files == resumed.log_files:
                if self._fingerprint.hexdigest() != resumed.fingerprint:
                    raise ChangedMeanwhile
                self._end_resumed(resumed)
        return True

    def end_skipping(self) -> None:
        """The walk is at its end.  Raises ``ChangedMeanwhile`` when it named fewer log files than before."""
        resumed = self._resumed
        if resumed is None:
            return
        if resumed.log_files:
            raise ChangedMeanwhile
        with self._lock:
            self._end_resumed(resumed)

    def end(self) -> None:
        """The chain is read, and every batch is done."""
        with self._lock:
            self._digests.end()
            self._objects.end_chain(self.trail, self._digests.unproven)

    def add_batch(self, tasks: tuple[LogFileTask, ...]) -> Callable[[BatchResult | StoreError], None]:
        """Log files are being checked; what is returned takes the result."""
        batch = _Batch(tasks)
        with self._lock:
            self._waiting.append(batch)

        def done(result: BatchResult | StoreError) -> None:
            with self._lock:
                if isinstance(result, StoreError):
                    self.error = self.error or result
                    return
                batch.result = result
                self._flush()

        return done

    def partial(self) -> PartialChain | None:
        """What a checkpoint needs to go on from here; None when there is nothing to go on from."""
        with self._lock:
            if self._resumed is not None:
                return self._resumed
            if not self._log_files or not self._is_kept or self._events is not None:
                return None
            return PartialChain(
                trail=self.trail,
                log_files=self._log_files,
                fingerprint=self._fingerprint.hexdigest(),
                log_bytes=self.log_bytes,
                results=tuple(self._results),
            )

    def finished(self) -> FinishedChain | None:
        """What a checkpoint holds of the chain when it is done; None when that is too much."""
        if not self._is_kept:
            return None
        changes = tuple(change for result in self._results for change in result.changes)
        return FinishedChain(summary=self.summary(), findings=tuple(self._left), changes=changes)

    def summary(self) -> ChainSummary:
        """The chain's part of the result."""
        assert not self._waiting, "every batch is done"
        return ChainSummary(
            trail=self.trail,
            bucket=self._bucket,
            digests=self._digests.counts(self.digests_done - self._digests_not_read),
            log_files=counted_verdicts(self._log_files, self._files.elements()),
            log_bytes=self.log_bytes,
            covered=Span(start=self._start, end=self._end) if self._start and self._end else None,
            unproven=tuple(self._unproven),
            stopped=tuple(span for span in self._stopped if span not in self._unproven),
            elsewhere=tuple(self._elsewhere),
            signed_by=self._digests.signed_by,
            findings=dict(self._codes),
        )

    def _end_resumed(self, resumed: PartialChain) -> None:
        """What was checked before the checkpoint is what it was."""
        self._resumed = None
        self._objects.take_partial(resumed)
        self._flush()

    def _flush(self) -> None:
        """Let go what waits for no batch."""
        while self._waiting and self._resumed is None:
            item = self._waiting[0]
            if isinstance(item, Finding):
                self._tell(item)
            elif isinstance(item, DigestProven):
                self._digests.add_proven(item)
                self._cover(item)
            elif isinstance(item, LogFileResult):
                self._tell_result(item, "")
            elif item.result is None:
                return
            else:
                self._flush_batch(item.tasks, item.result)
            self._waiting.popleft()

    def _cover(self, proven: DigestProven) -> None:
        """What no proven digest says is covered by none, and no key proves a time in which it was not valid."""
        if not proven.is_backfill and proven.key != self._untimely:
            self._start = proven.start if self._start is None else min(self._start, proven.start)
            self._end = proven.end if self._end is None else max(self._end, proven.end)

    def _flush_batch(self, tasks: tuple[LogFileTask, ...], result: BatchResult) -> None:
        first = self._log_files
        for task in tasks:
            self._count_file(task)
        self.log_bytes += result.bytes_read
        if self._objects.is_asked:
            verdicts = {each.number: verdict_of_log_file(each.finding) for each in result.results}
            for number, task in enumerate(tasks):
                verdict = verdicts.get(number, ObjectVerdict.VALID)
                self._objects.tell(self.trail, ObjectKind.LOG_FILE, task.key, verdict)
        for each in result.results:
            self._tell_result(each._replace(number=first + each.number), tasks[each.number].key)

    def _count_file(self, task: LogFileTask) -> None:
        self._log_files += 1
        self._fingerprint.update(f"{task.bucket}\n{task.key}\n{task.hash_value}\n".encode("utf-8", "surrogateescape"))

    def _tell_result(self, result: LogFileResult, key: str) -> None:
        """Tell what there is to say of a log file; ``result.number`` is its number in the chain."""
        finding = result.finding
        if self._is_kept:
            self._results.append(result._replace(event_ids=b""))
        if finding is not None:
            verdict = verdict_of_log_file(finding)
            if verdict is not ObjectVerdict.VALID:
                self._files[verdict] += 1
            self._tell(finding)
        for change in result.changes:
            for further in self._on_change(change):
                self._tell(further)
        if self._events is not None:
            for further in self._events.add(key, result.event_ids):
                self._tell(further)

    def _tell(self, finding: Finding) -> None:
        code, details = finding.code, finding.details
        self._codes[code] += 1
        self.moved.add(finding)
        self._digests.add_finding(finding)
        if code is FindingCode.DIGEST_KEY_NOT_VALID:
            self._untimely = finding.key
        if code is FindingCode.SPAN_UNPROVEN:
            self._unproven.append(_span(details["start"], details["end"]))
        elif code is FindingCode.CHAIN_ELSEWHERE:
            self._elsewhere.append(_earlier(finding))
        elif code is FindingCode.CHAIN_STARTED and "previous_end" in details:
            self._stopped.append(_span(details["previous_end"], details["start"]))
        self._on_finding(self.trail, finding)
        if self._is_kept:
            self._left.append(finding)
            if len(self._left) + len(self._results) > MOST_KEPT:
                self._is_kept = False
                self._left.clear()
                self._results.clear()


def _earlier(finding: Finding) -> EarlierDigests:
    """The digests that came before the one that ``finding`` (``CHAIN_ELSEWHERE``) names."""
    newest = finding.details["previous"]
    try:
        until = parse_digest_key(newest.removeprefix("s3://").partition("/")[2]).end_time
    except FormatError:  # it bears no name that tells a time
        until = parse_digest_key(finding.key).end_time
    return EarlierDigests(until=until, newest=newest)


def _span(start: str, end: str) -> Span:
    return Span(start=datetime.fromisoformat(start), end=datetime.fromisoformat(end))
