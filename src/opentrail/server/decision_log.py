"""The decision log: why calls were allowed or denied, kept beside the journal for ``opentrail explain``.

Rules:

* A call pays for one append to a queue in memory; a thread makes the lines and writes them (``WRITE_SECONDS`` later).
* It is a convenience, never evidence: a crash loses the decisions of the last moments, a full queue or a disk that does
  not take them loses more, and ``lost`` counts those.  Records are the journal's, and lose nothing.
* Segments are files ``decisions/<number>.jsonl`` (``decisions`` says what is in them), mode 0600, only ever appended
  to; a start begins a new one.  The oldest go when all together are larger than ``max_bytes``, or older than
  ``max_age_seconds``.
* A reader needs no lock: what follows the last line feed of a segment was cut by a crash, or is being written.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

from opentrail.server.decisions import JudgedCall, SegmentEncoder

log = logging.getLogger("opentrail.decision_log")

DECISIONS = "decisions"  # the folder, under the data folder
WRITE_SECONDS = 0.5
MAX_WAITING = 20_000  # decisions in memory
CHUNK = 100  # decisions that are encoded without letting another thread run
TRIM_ROUNDS = 120  # of writing
MIN_SEGMENTS = 8  # that the kept bytes are spread over, so that trimming takes a small part of them
MAX_SEGMENT_BYTES = 8 << 20


class DecisionLog:
    """Keeps decisions in ``folder``; ``max_bytes`` 0 keeps none.  ``start`` begins to write, ``close`` ends it."""

    def __init__(self, folder: Path, *, max_bytes: int, max_age_seconds: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_age_seconds = max_age_seconds
        self._segment_bytes = min(MAX_SEGMENT_BYTES, max(1, max_bytes // MIN_SEGMENTS))
        self._waiting: deque[JudgedCall] = deque()
        self._writing = threading.Lock()
        self._encoder = SegmentEncoder()
        self._path = folder  # of the segment that is being written
        self._descriptor = -1
        self._size = 0
        self._begun = 0.0
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._failing = False
        self.lost = 0  # decisions that were not kept

    def start(self) -> None:
        """Write from now on, on a thread."""
        if self._max_bytes:
            self._thread = threading.Thread(target=self._run, name="decisions", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Write what waits, and end."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        self.flush()
        with self._writing:
            self._end_segment()

    def note(self, judged: JudgedCall) -> None:
        """Keep a decision; returns at once."""
        if len(self._waiting) < MAX_WAITING and self._max_bytes:
            self._waiting.append(judged)
        else:
            self.lost += 1

    def flush(self) -> None:
        """Write what waits now.  Raises nothing: what the disk does not take is lost, counted and logged."""
        with self._writing:
            while chunk := self._take():
                try:
                    self._write(chunk)
                except Exception as error:  # noqa: BLE001  the thread's boundary: no decision may end the log
                    self._give_up(len(chunk), error)
                    return

    def _run(self) -> None:
        rounds = 0
        while not self._stopped.wait(WRITE_SECONDS):
            self.flush()
            rounds += 1
            if rounds % TRIM_ROUNDS == 0:
                with self._writing:
                    self._trim(self._max_bytes)

    def _take(self) -> list[JudgedCall]:
        """Some of what waits.  Between two chunks calls may go first: they hold the interpreter no longer than one."""
        waiting = self._waiting
        chunk = [waiting.popleft() for _ in range(min(CHUNK, len(waiting)))]
        if chunk:
            time.sleep(0)
        return chunk

    def _write(self, chunk: list[JudgedCall]) -> None:
        if self._descriptor < 0:
            self._begin_segment()
        data = memoryview(b"".join([self._encoder.encode(each) for each in chunk]))
        while data:
            written = os.write(self._descriptor, data)
            self._size += written
            data = data[written:]
        self._failing = False
        if self._size >= self._segment_bytes or time.monotonic() - self._begun >= self._max_age_seconds / MIN_SEGMENTS:
            self._end_segment()

    def _begin_segment(self) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._trim(self._max_bytes - self._segment_bytes)
        last = max((number for number, _ in segments_of(self._folder)), default=0)
        self._path = self._folder / f"{last + 1:08}.jsonl"
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._encoder = SegmentEncoder()
        self._size = 0
        self._begun = time.monotonic()

    def _end_segment(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _give_up(self, count: int, error: Exception) -> None:
        """Some decisions are lost, with all that waits behind them; what was half written ends its segment."""
        self.lost += count + len(self._waiting)
        self._waiting.clear()
        if not self._failing:
            trace = None if isinstance(error, OSError) else error  # the disk's trouble, or a mistake of our own
            log.error("decisions cannot be kept, so `opentrail explain` will not know them: %s", error, exc_info=trace)
        self._failing = True
        if self._descriptor >= 0 and not self._size:
            with suppress(OSError):  # nothing came of it: a full disk must not fill a folder with empty files
                self._path.unlink()
        self._end_segment()

    def _trim(self, max_bytes: int) -> None:
        """Delete the oldest ended segments beyond ``max_bytes`` or the retention."""
        try:
            kept = [(path, path.stat()) for _, path in segments_of(self._folder)]
            total = sum(status.st_size for _, status in kept)
            oldest = time.time() - self._max_age_seconds
            if self._descriptor >= 0:
                kept.pop()  # it is being written
            for path, status in kept:
                if total > max_bytes or status.st_mtime < oldest:
                    path.unlink()
                    total -= status.st_size
        except OSError as error:
            log.warning("old decisions cannot be deleted: %s", error)


def segments_of(folder: Path) -> list[tuple[int, Path]]:
    """The segments in ``folder`` with their numbers, oldest first; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted((int(path.stem), path) for path in folder.glob("*.jsonl") if path.stem.isdecimal())
