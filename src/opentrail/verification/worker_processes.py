"""Worker processes that check log files.

Rules: a worker is a fork of this process, made in milliseconds before it has threads; it gets batches and sends
results through one socket pair, as ``marshal`` writes them with their length in front, and ends when the pair is
closed.  So few batches are with a worker that neither side ever waits for the other to read.  Ctrl-C is this process's
business alone.
"""

from __future__ import annotations

import gc
import marshal
import os
import selectors
import signal
import socket
import struct
import sys
import threading
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from opentrail.core.errors import StoreError
from opentrail.core.findings import Finding, FindingCode
from opentrail.verification.checkpoint import decode_change, encode_change
from opentrail.verification.log_file_checks import (
    BatchResult,
    Checks,
    InlineChecks,
    LogFileResult,
    LogFileTask,
    OnChecked,
    ThreadChecks,
)
from opentrail.verification.source import TrailSource

_LENGTH: Final = struct.Struct("<I")
_SMALL: Final = 256  # log files: as many are checked in the time that worker processes take to start
_SMALL_BYTES: Final = 2 * 1024 * 1024  # there, too
_FEWEST_BATCHES: Final = 4  # with a worker: one is at work, the others wait


def can_fork() -> bool:
    """Whether this system makes processes so."""
    return hasattr(os, "fork") and sys.platform != "win32"


def open_checks(source: TrailSource, threads: int) -> Checks:
    """The checks of one process."""
    return InlineChecks(source) if threads == 1 else ThreadChecks(source, threads)


class GrowingChecks:
    """Inline while the trail is small; processes when it turns out not to be."""

    def __init__(self, source: TrailSource, jobs: int) -> None:
        self._source = source
        self._jobs = jobs
        self._files = 0
        self._bytes = 0
        self._checks: Checks = InlineChecks(source)
        self._is_small = True

    def submit(self, tasks: tuple[LogFileTask, ...], done: OnChecked) -> None:
        """Check a batch."""
        if self._is_small and (self._files + len(tasks) > _SMALL or self._bytes > _SMALL_BYTES):
            self._checks = ProcessChecks(self._source, self._jobs)
            self._is_small = False
        self._files += len(tasks)
        self._checks.submit(tasks, partial(self._count, done) if self._is_small else done)

    def _count(self, done: OnChecked, result: BatchResult | StoreError) -> None:
        if isinstance(result, BatchResult):
            self._bytes += result.bytes_read
        done(result)

    def finish(self) -> None:
        """Wait for all batches."""
        self._checks.finish()

    def close(self) -> None:
        """Let go."""
        self._checks.close()


class ProcessChecks:
    """``jobs`` processes."""

    def __init__(self, source: TrailSource, jobs: int) -> None:
        self._lock = threading.RLock()
        self._selector = selectors.DefaultSelector()
        self._workers: list[_Worker] = []
        self._fewest_files = 2 * source.reads_at_once  # with a worker
        sys.stdout.flush()
        sys.stderr.flush()
        for _ in range(jobs):
            worker = self._fork(source)
            self._workers.append(worker)
            self._selector.register(worker.socket, selectors.EVENT_READ, worker)

    def submit(self, tasks: tuple[LogFileTask, ...], done: OnChecked) -> None:
        """Give a batch to the worker that has least to do."""
        message = marshal.dumps([tuple(task) for task in tasks])
        with self._lock:
            self._receive(wait=False)
            worker = self._least_busy()
            while len(worker.waiting) >= _FEWEST_BATCHES and worker.files >= self._fewest_files:
                self._receive(wait=True)
                worker = self._least_busy()
            worker.waiting[worker.sent] = done, len(tasks)
            worker.sent += 1
            worker.files += len(tasks)
            try:
                worker.socket.sendall(_LENGTH.pack(len(message)) + message)
            except OSError:
                raise _died() from None

    def finish(self) -> None:
        """Wait for the workers."""
        with self._lock:
            while any(worker.waiting for worker in self._workers):
                self._receive(wait=True)

    def close(self) -> None:
        """End the workers, whatever they are at."""
        for worker in self._workers:  # first: whoever waits for them holds the lock
            os.kill(worker.pid, signal.SIGKILL)
        with self._lock:
            for worker in self._workers:
                worker.socket.close()
                os.waitpid(worker.pid, 0)
            self._workers.clear()
            self._selector.close()

    def _least_busy(self) -> _Worker:
        return min(self._workers, key=lambda worker: (len(worker.waiting), worker.files))

    def _fork(self, source: TrailSource) -> _Worker:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            for worker in self._workers:
                worker.socket.close()
            _run_worker(source, theirs)
        theirs.close()
        return _Worker(pid=pid, socket=ours)

    def _receive(self, *, wait: bool) -> None:
        for key, _ in self._selector.select(None if wait else 0):
            worker: _Worker = key.data
            data = worker.socket.recv(256 * 1024)
            if not data:
                raise _died()
            worker.buffer += data
            for number, result in worker.take_results():
                done, files = worker.waiting.pop(number)
                worker.files -= files
                done(result)


def _died() -> StoreError:
    return StoreError("a worker process died; is there enough memory?", retryable=True)


@dataclass(slots=True, kw_only=True, eq=False)
class _Worker:
    """What this process knows of a worker."""

    pid: int
    socket: socket.socket
    sent: int = 0  # batches
    files: int = 0  # it has not told of
    waiting: dict[int, tuple[OnChecked, int]] = field(default_factory=dict)  # batches, with the number of their files
    buffer: bytearray = field(default_factory=bytearray)

    def take_results(self) -> list[tuple[int, BatchResult | StoreError]]:
        """The results that have come whole."""
        found = []
        at = 0
        while len(self.buffer) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self.buffer, at)
            if len(self.buffer) - at - _LENGTH.size < length:
                break
            at += _LENGTH.size
            found.append(_decode_result(marshal.loads(memoryview(self.buffer)[at : at + length])))  # noqa: S302  a child's
            at += length
        del self.buffer[:at]
        return found


def _run_worker(source: TrailSource, connection: socket.socket) -> None:
    """The worker's life; it never returns."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        gc.freeze()  # what was inherited stays in the pages that are shared
        source.reopen()
        _serve(open_checks(source, source.reads_at_once), connection)
        code = 0
    finally:
        os._exit(code)


def _serve(checks: Checks, connection: socket.socket) -> None:
    lock = threading.Lock()

    def send(number: int, result: BatchResult | StoreError) -> None:
        message = marshal.dumps((number, _encode_result(result)))
        with lock:
            connection.sendall(_LENGTH.pack(len(message)) + message)

    number = 0
    with connection.makefile("rb") as messages:
        while head := messages.read(_LENGTH.size):
            tasks = marshal.loads(messages.read(_LENGTH.unpack(head)[0]))  # noqa: S302  the parent's
            batch = tuple(LogFileTask(*task) for task in tasks)
            checks.submit(batch, partial(send, number))
            number += 1


def _encode_result(result: BatchResult | StoreError) -> Any:
    if isinstance(result, StoreError):
        return str(result)
    return result.bytes_read, [
        (number, finding and _encode_finding(finding), [encode_change(change) for change in changes], event_ids)
        for number, finding, changes, event_ids in result.results
    ]


def _decode_result(message: tuple[int, Any]) -> tuple[int, BatchResult | StoreError]:
    number, result = message
    if isinstance(result, str):
        return number, StoreError(result, retryable=True)
    bytes_read, results = result
    return number, BatchResult(
        bytes_read,
        tuple(
            LogFileResult(index, finding and _decode_finding(finding), tuple(map(decode_change, changes)), event_ids)
            for index, finding, changes, event_ids in results
        ),
    )


def _encode_finding(finding: Finding) -> tuple[Any, ...]:
    return finding.code.value, finding.key, finding.message, dict(finding.details)


def _decode_finding(parts: tuple[Any, ...]) -> Finding:
    code, key, message, details = parts
    return Finding(code=FindingCode(code), key=key, message=message, details=details)
