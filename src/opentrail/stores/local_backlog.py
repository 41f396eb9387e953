"""What is durable in the write log and not in its files yet: served from memory, written by one thread.

Rules:

* Changes of one key come in the order of the log (the caller holds the key's lock for ``add``); they are applied in
  that order, and one that another has overtaken is passed over.
* A change leaves memory only after it is in its files, so a reader who asks here first misses nothing.
* What cannot be written now (a full disk) is tried again every second and stays in memory; ``add`` refuses, retryable,
  when too much waits.  What is in the log survives either way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

from opentrail.core.errors import StoreError
from opentrail.stores.local_log import LogRecord, Segment, WriteLog

BACKLOG_BYTES = 64 * 1024 * 1024
PATIENCE_SECONDS = 5.0  # how long a change waits for room

_Waiting = tuple[LogRecord, Segment]


class Backlog:
    """The changes between ``log`` and files; ``apply`` writes one of them, on this object's thread."""

    def __init__(self, log: WriteLog, apply: Callable[[LogRecord], None], root: str) -> None:
        self._log = log
        self._apply = apply
        self._root = root
        self._changes: dict[str, LogRecord] = {}
        self._queue: SimpleQueue[_Waiting | threading.Event | None] = SimpleQueue()
        self._room = threading.Condition()
        self._bytes = 0
        self._retiring: Segment | None = None
        self._error: StoreError | None = None  # why the thread does not get on
        self._final: BaseException | None = None  # why it never will
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="store-backlog", daemon=True)
        self._thread.start()

    def find(self, key: str) -> LogRecord | None:
        """The change of ``key`` that is not in its files yet."""
        return self._changes.get(key)

    def make_room(self, size: int) -> None:
        """Wait until ``size`` more bytes may be added.  Raises ``StoreError``."""
        if self._final is not None:
            raise StoreError(f"the store's writer has stopped: {self._final}", retryable=False)
        if self._bytes + size <= BACKLOG_BYTES:
            return
        with self._room:
            if not self._room.wait_for(lambda: self._bytes + size <= BACKLOG_BYTES, PATIENCE_SECONDS):
                raise StoreError(f"too much waits to be written: {self._error or 'the disk is slow'}", retryable=True)

    def add(self, record: LogRecord, segment: Segment) -> None:
        """Take over a durable change; the lock of its key is held."""
        with self._room:
            self._bytes += len(record.data)
            self._changes[record.key] = record
        self._queue.put((record, segment))

    def drain(self) -> None:
        """Return when every change that was added before is in its files.  Raises ``StoreError``."""
        if not self._changes:
            return
        reached = threading.Event()
        self._queue.put(reached)
        while not reached.wait(PATIENCE_SECONDS):
            if self._final is None and not self._thread.is_alive():
                return  # closed meanwhile, with every change in its files
            if self._final is not None or self._error is not None:
                raise StoreError(f"cannot write: {self._final or self._error}", retryable=self._final is None)

    def close(self) -> bool:
        """Apply what waits and end the log; False where something had to stay in it for the next process."""
        self._queue.put(None)
        while self._thread.is_alive():
            self._thread.join(1)
            self._stopping = self._error is not None
        return self._final is None and self._retiring is None

    def _run(self) -> None:
        try:
            while (item := self._queue.get()) is not None:
                if isinstance(item, threading.Event):
                    item.set()
                    continue
                record, segment = item
                if self._changes.get(record.key) is record:
                    self._apply_patiently(record)
                self._take_off(record)
                self._log.applied(segment)
                self._turn_over()
            self._retire_if_applied()
            self._retiring = self._retiring or self._log.rotate()
            self._retire_if_applied()
        except BaseException as error:  # noqa: BLE001  the thread's boundary: whoever writes next hears of it
            self._final = error

    def _apply_patiently(self, record: LogRecord) -> None:
        while True:
            try:
                self._apply(record)
            except StoreError as error:
                if self._stopping or not error.retryable:
                    raise
                self._error = error
                time.sleep(1)
            else:
                self._error = None
                return

    def _take_off(self, record: LogRecord) -> None:
        with self._room:
            self._bytes -= len(record.data)
            if self._changes.get(record.key) is record:
                del self._changes[record.key]
            self._room.notify_all()

    def _turn_over(self) -> None:
        """Begin another segment of the log when it is time; what cannot be done now is tried after the next change."""
        try:
            if self._log.is_due:
                self._retiring = self._log.rotate()
            self._retire_if_applied()
        except StoreError as error:
            if not error.retryable:
                raise

    def _retire_if_applied(self) -> None:
        segment = self._retiring
        if segment is not None and not segment.unapplied:
            self._log.retire(segment, self._root)
            self._retiring = None
