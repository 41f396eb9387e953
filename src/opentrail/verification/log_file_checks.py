"""Checking log files: here, in threads, or in processes; batch by batch, results as they come.

Three ways with one meaning (``Checks``): ``InlineChecks`` where reading costs a processor's time alone,
``ThreadChecks`` where a source answers after a while, ``ProcessChecks`` (``worker_processes``), whose workers use one
of the two.  Rules: so many batches are under way and no more, so that memory is bounded; large log files stream
through, and of those whose content is held whole a process has one at a time; a log file that the source refuses is a
finding; a source that fails and might do better later fails the batch, and at once all that come behind it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple, Protocol

from opentrail.core.digests import DigestedLogFile
from opentrail.core.errors import NoSuchObject, StoreError
from opentrail.core.findings import Finding, FindingCode, found
from opentrail.core.gzip_member import AT_ONCE_BYTES
from opentrail.core.object_checks import LogFileReading, read_changes, read_log_file
from opentrail.core.trail_changes import TrailChange
from opentrail.verification.aws_faults import AwsFault
from opentrail.verification.read_ahead import ReadingThreads
from opentrail.verification.refusals import is_of_one_object
from opentrail.verification.source import TrailSource

BATCH_FILES: Final = 32
_BATCH_BYTES: Final = 1024 * 1024  # as they lie there: some ten milliseconds' work
_LONGEST_KEY: Final = 2048  # characters: no store has longer ones, whatever a digest says


class LogFileTask(NamedTuple):
    """A log file to check.  ``bucket`` is "" for the source's own."""

    bucket: str
    key: str
    hash_value: str
    with_changes: bool = False  # look for calls that changed a trail
    with_events: bool = False  # read its events


class LogFileResult(NamedTuple):
    """What there is to say of a log file: the ``number``th of its batch."""

    number: int
    finding: Finding | None = None
    changes: tuple[TrailChange, ...] = ()
    event_ids: bytes = b""


class BatchResult(NamedTuple):
    """What became of a batch: bytes read (as they lie there), and what there is to say of some of its log files."""

    bytes_read: int
    results: tuple[LogFileResult, ...]


_Checked = tuple[int, LogFileReading]  # bytes as they lie there


def files_in_batch(files: int, total: int) -> int:
    """How many log files to check in one batch, when the ``files`` that were checked have ``total`` bytes."""
    return max(1, min(BATCH_FILES, _BATCH_BYTES * files // max(1, total))) if files else 1


OnChecked = Callable[[BatchResult | StoreError], None]  # called once for a batch, from any thread; must not raise


class Checks(Protocol):
    """Where log files are checked."""

    def submit(self, tasks: tuple[LogFileTask, ...], done: OnChecked) -> None:
        """Check a batch; waits while too many are under way.  Raises ``StoreError`` when nothing can be checked."""
        ...

    def finish(self) -> None:
        """Wait for all batches.  Raises ``StoreError`` when nothing can be checked."""
        ...

    def close(self) -> None:
        """Let go of what is under way."""
        ...


class InlineChecks:
    """One after the other, at once."""

    def __init__(self, source: TrailSource) -> None:
        self._sources = Sources(source)

    def submit(self, tasks: tuple[LogFileTask, ...], done: OnChecked) -> None:
        """Check, and tell."""
        try:
            results = [check_task(self._sources, task) for task in tasks]
        except StoreError as error:
            done(error)
        else:
            done(_batch_result(results))

    def finish(self) -> None:
        """All is done."""

    def close(self) -> None:
        """There is nothing under way."""


class ThreadChecks:
    """Up to ``threads`` log files at once.  What fails in a thread (telling a result, say) is raised to who waits."""

    def __init__(self, source: TrailSource, threads: int) -> None:
        self._sources = Sources(source)
        self._state = threading.Condition()
        self._under_way = 0  # log files of batches that are not at their end
        self._most = 2 * threads
        self._failure: BaseException | None = None
        self._threads = ReadingThreads(threads)

    def submit(self, tasks: tuple[LogFileTask, ...], done: OnChecked) -> None:
        """Give a batch to the threads."""
        with self._state:
            self._wait(lambda: self._under_way < self._most)
            self._under_way += len(tasks)
        batch = _ThreadBatch(tasks, done)
        for number in range(len(tasks)):
            self._threads.put(partial(self._check, batch, number))

    def finish(self) -> None:
        """Wait for the threads."""
        with self._state:
            self._wait(lambda: not self._under_way)

    def close(self) -> None:
        """Let the threads go when they have done what was asked for."""
        self._threads.close()

    def _wait(self, is_ready: Callable[[], bool]) -> None:
        self._state.wait_for(lambda: self._failure is not None or is_ready())
        if self._failure is not None:
            raise self._failure

    def _check(self, batch: _ThreadBatch, number: int) -> None:
        try:
            is_last = batch.put(number, self._result(batch.tasks[number]))
        except BaseException as error:  # noqa: BLE001  the thread's boundary: it is raised where it is waited for
            with self._state:
                self._failure = error
                self._state.notify_all()
            return
        if is_last:
            with self._state:
                self._under_way -= len(batch.tasks)
                self._state.notify_all()

    def _result(self, task: LogFileTask) -> _Checked | StoreError:
        try:
            return check_task(self._sources, task)
        except StoreError as error:
            return error


class _ThreadBatch:
    """A batch whose files are checked by several threads."""

    def __init__(self, tasks: tuple[LogFileTask, ...], done: OnChecked) -> None:
        self.tasks = tasks
        self._done = done
        self._results: list[_Checked] = [(0, LogFileReading())] * len(tasks)
        self._error: StoreError | None = None
        self._left = len(tasks)
        self._lock = threading.Lock()

    def put(self, number: int, result: _Checked | StoreError) -> bool:
        """Keep a result; whether it was the last, and has been told."""
        with self._lock:
            if isinstance(result, StoreError):
                self._error = result
            else:
                self._results[number] = result
            self._left -= 1
            if self._left:
                return False
        self._done(self._error or _batch_result(self._results))
        return True


class Sources:
    """A source and its siblings, each opened once."""

    def __init__(self, source: TrailSource) -> None:
        self.whole = threading.Lock()  # of the one whose content is held whole
        self.failure: StoreError | None = None  # of a source as a whole: nothing more is tried
        self._lock = threading.Lock()
        self._by_bucket: dict[str, TrailSource | None] = {"": source}

    def find(self, bucket: str) -> TrailSource | None:
        """Where the objects of ``bucket`` are read; None where it is not at hand."""
        found = self._by_bucket.get(bucket)
        if found is not None or bucket in self._by_bucket:
            return found
        with self._lock:
            own = self._by_bucket[""]
            assert own is not None, "it was given"
            return self._by_bucket.setdefault(bucket, own.sibling(bucket))


def check_task(sources: Sources, task: LogFileTask) -> _Checked:
    """Check one log file: the bytes that were read, and what they are.

    Raises ``StoreError`` when the source failed, and may do better later.
    """
    if sources.failure is not None:
        raise sources.failure
    try:
        try:
            return _check(sources, task)
        except StoreError as error:
            if not error.retryable or isinstance(error, AwsFault):
                raise
            return _check(sources, task)  # what broke within a body; all else the source itself has tried again
    except StoreError as error:
        source = sources.find(task.bucket)
        if source is None or not is_of_one_object(error, source, task.key):
            sources.failure = error
            raise
        return _unreachable(task, f"cannot be read: {error}")


def _check(sources: Sources, task: LogFileTask) -> _Checked:
    source = sources.find(task.bucket)
    if source is None:
        return _unreachable(task, f"lies in the bucket {task.bucket}, which is not at hand")
    file = DigestedLogFile(
        bucket=task.bucket, key=task.key, hash_value=task.hash_value, newest_event_time=None, oldest_event_time=None
    )
    intake = _Intake(sources.whole, is_kept=task.with_events)
    try:
        chunks = intake.count(source.read_chunks(task.key)) if len(task.key) <= _LONGEST_KEY else None
        reading = read_log_file(file, chunks, with_changes=task.with_changes, with_events=task.with_events)
        if reading.has_more_changes:
            again = read_changes(file, source.read_chunks(task.key))
            reading = replace(again, event_ids=reading.event_ids)
    except NoSuchObject:
        reading = read_log_file(file, None)
    finally:
        intake.close()
    return intake.bytes, reading


def _batch_result(checked: Iterable[_Checked]) -> BatchResult:
    total = 0
    results = []
    for number, (size, reading) in enumerate(checked):
        total += size
        if reading.finding is not None or reading.changes or reading.event_ids:
            results.append(LogFileResult(number, reading.finding, reading.changes, reading.event_ids))
    return BatchResult(total, tuple(results))


class _Intake:
    """Counts a log file's bytes on their way, and makes those wait for each other whose content will be held whole.

    Those are the small ones, which are inflated at once (and may be bombs), and all that ``is_kept``.
    """

    def __init__(self, turn: threading.Lock, *, is_kept: bool) -> None:
        self.bytes = 0
        self._turn = turn
        self._is_kept = is_kept
        self._has_turn = False

    def count(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The same chunks."""
        for chunk in chunks:
            self.bytes += len(chunk)
            if self._is_kept and self.bytes > AT_ONCE_BYTES:
                self._take_turn()
            yield chunk
        if self.bytes <= AT_ONCE_BYTES:
            self._take_turn()

    def close(self) -> None:
        """The file is done with."""
        if self._has_turn:
            self._turn.release()

    def _take_turn(self) -> None:
        if not self._has_turn:
            self._turn.acquire()
            self._has_turn = True


def _unreachable(task: LogFileTask, message: str) -> _Checked:
    finding = found(FindingCode.LOG_FILE_UNREACHABLE, task.key, message, bucket=task.bucket)
    return 0, LogFileReading(finding=finding)
