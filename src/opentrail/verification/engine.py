"""The fast driver of ``core.validation``: lists and reads ahead, checks log files on all cores, streams its findings.

Rules:

* One pass.  This process lists, reads digests, checks signatures and links; log files go in batches to ``Checks``.
* Memory does not grow with the trail: walks are lazy, batches under way are bounded, findings leave at once.
* A verification that was interrupted (Ctrl-C, a store that fails) can be asked for its ``checkpoint``.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import chain
from typing import Final

from opentrail.core.digests import DigestedLogFile
from opentrail.core.errors import OpentrailError, StoreError
from opentrail.core.findings import Finding, FindingCode, found
from opentrail.core.layout import LogKind, TrailFolder, digest_prefix, log_prefix
from opentrail.core.logging_changes import LoggingHistory
from opentrail.core.object_checks import DigestReading, LogFileReading, hash_log_file
from opentrail.core.public_keys import PublicKey
from opentrail.core.shared_folders import SharedFolders, fingerprint_of_key
from opentrail.core.trail_changes import TrailChange
from opentrail.core.unproven_links import UnprovenStarts
from opentrail.core.validation import FetchLogFile
from opentrail.verification.before_view import RecordsBefore
from opentrail.verification.chain_links import ChainLinks
from opentrail.verification.chain_threads import run_all
from opentrail.verification.chain_walk import find_bucket, walk_chain
from opentrail.verification.checkpoint import Checkpoint, FinishedChain, PartialChain, run_of
from opentrail.verification.day_folders import find_beside_days, list_readable_days
from opentrail.verification.digest_reader import DigestReader
from opentrail.verification.discovery import Discovery, FoundChain, find_chains, narrow
from opentrail.verification.log_file_checks import Checks, LogFileTask, Sources, check_task, files_in_batch
from opentrail.verification.object_verdicts import ObjectListener, ObjectVerdicts
from opentrail.verification.public_keys_file import keys_by_fingerprint
from opentrail.verification.read_ahead import NoReadAhead, ReadAhead, ThreadReadAhead
from opentrail.verification.refusals import is_of_one_object
from opentrail.verification.request import VerifyRequest
from opentrail.verification.result import ChainSummary, VerifyResult
from opentrail.verification.source import TrailSource
from opentrail.verification.tally import ChainTally, ChangedMeanwhile, OnFinding
from opentrail.verification.worker_processes import GrowingChecks, ProcessChecks, can_fork, open_checks

_READERS: Final = 32  # threads, at most, that list and read digests ahead, where a source answers after a while
_CHAINS_AT_ONCE: Final = 8  # there, too


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a verification has come."""

    chains: int
    chains_done: int
    digests: int
    digests_done: int
    log_files: int
    log_bytes: int


class VerificationStopped(OpentrailError):  # noqa: N818  it did what it was told
    """The verification was stopped before its end."""


class Verification:
    """One run over ``source``.  ``clock`` gives monotonic seconds, ``checked_at`` is the moment for the record.

    ``beside`` are findings about the source itself; they are told before those of its chains.  ``objects`` hears the
    verdict on each object.
    """

    def __init__(
        self,
        source: TrailSource,
        request: VerifyRequest,
        public_keys: Iterable[PublicKey],
        *,
        on_finding: OnFinding,
        checked_at: datetime,
        clock: Callable[[], float],
        resumed: Checkpoint | None = None,
        beside: Iterable[Finding] = (),
        objects: ObjectListener | None = None,
    ) -> None:
        self._beside = beside
        self._source = source
        self._request = request
        self._public_keys = keys_by_fingerprint(public_keys)
        self._run = run_of(source, request, self._public_keys.values())
        if resumed is not None and resumed.run != self._run:
            raise OpentrailError("the checkpoint is of another verification: of another source, time, filter or keys")
        self._resumed = resumed or Checkpoint(run=self._run)
        self._user_on_finding = on_finding
        self._checked_at = checked_at
        self._clock = clock
        self._started = clock()
        self._is_stopping = False
        self._lock = threading.Lock()
        self._objects = ObjectVerdicts(objects, self._lock)
        self._codes: Counter[FindingCode] = Counter()
        self._history = LoggingHistory(trail_account=request.trail_account, wants=self._is_looked_for)
        self._shared = SharedFolders()
        self._starts = UnprovenStarts()
        self._links = ChainLinks()
        self._reader = DigestReader(source, self._public_keys)
        self._discovery = Discovery()
        self._tallies: dict[TrailFolder, ChainTally] = {}
        self._finished: dict[TrailFolder, FinishedChain] = dict(self._resumed.finished)
        self._summaries: dict[TrailFolder, ChainSummary] = {}

    def run(self) -> VerifyResult:
        """Verify.  Raises ``StoreError`` when the source fails for good, ``VerificationStopped`` after ``stop``."""
        is_slow = self._source.reads_at_once > 1  # to answer: threads are of use
        checks = self._open_checks()
        ahead: ReadAhead = ThreadReadAhead(_READERS) if is_slow else NoReadAhead()
        try:
            tell = partial(self._on_finding, None)
            self._discovery = find_chains(self._source, self._request, tell)
            strays = find_beside_days(self._source, self._discovery.folders, self._request, ahead)
            for finding in chain(self._beside, self._discovery.findings(self._request), strays):
                tell(finding)
            work = partial(self._verify_chain, checks=checks, ahead=ahead)
            threads = _CHAINS_AT_ONCE if is_slow else 1
            run_all(work, self._discovery.chains, threads=threads, check=self._raise_if_stopping)
            before = RecordsBefore(
                self._source,
                self._request,
                self._reader,
                self._read_records,
                history=self._history,
                starts=self._starts,
            )
            before.look({trail: summary.bucket for trail, summary in self._summaries.items()})
            doubts = self._starts.judge(self._history, self._read_changes)
            gone = self._links.missing(self._source, self._summaries, self._request)
            for trail, finding in (*self._find_unvouched(), *gone, *doubts, *self._history.finish()):
                self._add_to_summary(trail, finding)
                if trail in self._summaries:
                    is_empty = not self._summaries[trail].digests.total
                    for doubt in before.doubt(trail, finding, is_empty=is_empty):
                        self._add_to_summary(trail, doubt)
            self._objects.finish()
        finally:
            checks.close()
            ahead.close()
            self._reader.close()
        return VerifyResult(
            source=self._source.name,
            start=self._request.start,
            end=self._request.end,
            checked_at=self._checked_at,
            chains=tuple(self._summaries[chain.trail] for chain in self._discovery.chains),
            findings=dict(self._codes),
            seconds=self._seconds(),
        )

    def stop(self) -> None:
        """Let ``run`` end soon, with ``VerificationStopped``; from a signal handler or any thread."""
        self._is_stopping = True

    def checkpoint(self) -> Checkpoint:
        """How far it has come, when ``run`` has ended."""
        with self._lock:
            finished, tallies = dict(self._finished), dict(self._tallies)
        chains = dict(self._resumed.partial)
        chains |= {trail: partial for trail, tally in tallies.items() if (partial := tally.partial()) is not None}
        return Checkpoint(
            run=self._run,
            seconds=self._seconds(),
            finished=finished,
            partial={trail: chain for trail, chain in chains.items() if trail not in finished},
        )

    def progress(self) -> Progress:
        """How far it has come, now."""
        with self._lock:
            tallies = list(self._tallies.values())
            chains = self._discovery.chains
            done = len(self._summaries)
        return Progress(
            chains=len(chains),
            chains_done=done,
            digests=sum(chain.digests for chain in chains),
            digests_done=sum(tally.digests_done for tally in tallies),
            log_files=sum(tally.log_files for tally in tallies),
            log_bytes=sum(tally.log_bytes for tally in tallies),
        )

    def _open_checks(self) -> Checks:
        source, jobs = self._source, self._request.jobs
        if jobs == 1 or not can_fork() or not source.survives_fork:
            return open_checks(source, threads=max(jobs, source.reads_at_once))
        if source.reads_at_once > 1:
            return ProcessChecks(source, jobs)  # now, before there are threads
        return GrowingChecks(source, jobs)

    def _verify_chain(self, chain: FoundChain, checks: Checks, ahead: ReadAhead) -> None:
        """Verify one chain, or take it from the checkpoint."""
        trail = chain.trail
        finished = self._resumed.finished.get(trail)
        if finished is not None and FindingCode.OTHER_TRAIL not in finished.summary.findings:  # all must tell, there
            self._take_finished(finished)
            return
        bucket = self._request.original_bucket or self._source.bucket
        bucket = bucket or find_bucket(self._source, trail, self._request, self._public_keys)
        tally = self._new_tally(trail, bucket, self._resumed.partial.get(trail))
        try:
            self._walk(tally, bucket, checks, ahead)
        except ChangedMeanwhile:
            tally = self._new_tally(trail, bucket, None)
            self._walk(tally, bucket, checks, ahead)
        self._end_chain(tally.summary(), tally.finished())

    def _is_looked_for(self, trail: TrailFolder) -> bool:
        """Whether the chain of ``trail`` would be verified, if it was there; a bundle may be without it."""
        asked = narrow(self._request)
        return not asked.is_excerpt and asked.expects(trail) and digest_prefix(trail.folder).startswith(asked.prefix)

    def _find_unvouched(self) -> Iterator[tuple[TrailFolder, Finding]]:
        """Log files that no trail names of all that deliver into a folder: their names are looked up once more."""
        for trail, fingerprints in self._shared.unvouched():
            message = "lies in the folder, but no digest of any trail that delivers there names it"
            for kind in LogKind:
                prefix = log_prefix(trail.folder, kind)
                for key in list_readable_days(self._source, prefix, self._request.start, self._request.end):
                    if isinstance(key, str) and fingerprint_of_key(key) in fingerprints:
                        yield trail, found(FindingCode.LOG_FILE_NOT_NAMED, key, message)

    def _add_to_summary(self, trail: TrailFolder | None, finding: Finding) -> None:
        """What shows when all chains are finished counts for the one that it concerns."""
        self._on_finding(trail, finding)
        summary = self._summaries.get(trail) if trail is not None else None
        if summary is not None:
            self._summaries[summary.trail] = summary.with_finding(finding)
            self._objects.add_late(summary.trail, finding)

    def _read_changes(self, file: DigestedLogFile) -> tuple[TrailChange, ...]:
        """What the log file says of changes to trails, if it is what a digest, which nothing proves, says of it."""
        return self._read_records(file).changes

    def _read_records(self, file: DigestedLogFile) -> LogFileReading:
        self._raise_if_stopping()
        task = LogFileTask("", file.key, file.hash_value, with_changes=True)
        return check_task(Sources(self._source), task)[1]

    def _take_finished(self, chain: FinishedChain) -> None:
        """What the chain's walk would have told."""
        trail = chain.summary.trail
        self._objects.take_finished(chain)
        for finding in chain.findings:
            self._on_finding(trail, finding)
        with self._lock:
            if trail.folder.region == trail.home_region:
                self._history.add_read(trail.folder)
            for gap, is_proven in chain.gaps:
                self._history.add_gap(trail, gap, is_proven=is_proven)
            if chain.summary.covered is not None:
                self._history.add_digest(trail, chain.summary.covered.end, chain.summary.bucket)
            for start in chain.starts:
                self._starts.add_start(trail, start)
            for claim in chain.claims:
                self._starts.add_claim(trail, claim)
            for change in chain.changes:
                list(self._history.add_change(change, trail))  # what it finds has been told
        self._end_chain(chain.summary, chain)

    def _new_tally(self, trail: TrailFolder, bucket: str, resumed: PartialChain | None) -> ChainTally:
        tally = ChainTally(
            trail,
            bucket=bucket,
            on_finding=self._on_finding,
            on_change=partial(self._add_change, trail),
            objects=self._objects,
            with_events=self._request.with_events,
            resumed=resumed,
        )
        with self._lock:
            self._tallies[trail] = tally
        return tally

    def _walk(self, tally: ChainTally, bucket: str, checks: Checks, ahead: ReadAhead) -> None:
        tasks: list[LogFileTask] = []
        with_events, most = self._request.with_events, 1
        submit = partial(self._submit, tally, checks)
        walk = walk_chain(
            self._source,
            tally.trail,
            self._request,
            self._reader,
            bucket=bucket,
            history=self._history,
            ahead=ahead,
            shared=self._shared,
            starts=self._starts,
        )
        for item in walk:
            if isinstance(item, FetchLogFile):
                file = item.file
                other = "" if file.bucket == bucket else file.bucket
                task = LogFileTask(other, file.key, file.hash_value, item.with_changes, with_events)
                if not tally.skip(task):
                    tasks.append(task)
                    if len(tasks) >= most:
                        submit(tasks)
                        most = files_in_batch(tally.log_files, tally.log_bytes)
            elif isinstance(item, DigestReading):
                tally.add_reading(item)
                self._check_stop(tally)
            else:
                if isinstance(item, Finding) or self._objects.is_asked:
                    submit(tasks)  # what is told stays behind the log files that the walk named before it
                tally.add(item)
        submit(tasks)
        tally.end_skipping()
        checks.finish()
        self._check_stop(tally)
        candidates = tally.moved.candidates()
        for key, hash_value in zip(candidates, ahead.map(self._hash, candidates), strict=True):
            for finding in tally.moved.compare(key, hash_value):
                tally.add(finding)
        tally.end()

    def _hash(self, key: str) -> str:
        try:
            return hash_log_file(self._source.read_chunks(key))
        except StoreError as error:  # it is gone, or refused: nobody can say what it holds
            if is_of_one_object(error, self._source, key):
                return ""
            raise

    def _submit(self, tally: ChainTally, checks: Checks, tasks: list[LogFileTask]) -> None:
        if tasks:
            batch = tuple(tasks)
            tasks.clear()
            checks.submit(batch, tally.add_batch(batch))
            self._check_stop(tally)

    def _check_stop(self, tally: ChainTally) -> None:
        if tally.error is not None:
            raise tally.error
        self._raise_if_stopping()

    def _raise_if_stopping(self) -> None:
        if self._is_stopping:
            raise VerificationStopped("the verification was stopped")

    def _end_chain(self, summary: ChainSummary, finished: FinishedChain | None) -> None:
        with self._lock:
            self._summaries[summary.trail] = summary
            if finished is not None:
                gaps = self._history.gaps_of(summary.trail)
                starts, claims = self._starts.starts_of(summary.trail), self._starts.claims_of(summary.trail)
                self._finished[summary.trail] = replace(finished, gaps=gaps, starts=starts, claims=claims)

    def _on_finding(self, trail: TrailFolder | None, finding: Finding) -> None:
        with self._lock:
            self._codes[finding.code] += 1
            self._history.add_finding(trail, finding)
            if trail is not None:
                self._starts.add_finding(trail, finding)
                self._links.add(trail, finding)
            self._user_on_finding(trail, finding)

    def _add_change(self, trail: TrailFolder, change: TrailChange) -> list[Finding]:
        with self._lock:
            return list(self._history.add_change(change, trail))

    def _seconds(self) -> float:
        return self._resumed.seconds + self._clock() - self._started
