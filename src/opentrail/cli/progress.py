"""How far a long command is: one line on stderr, written over and over, and gone at the end.

Rules: shown where stderr is a terminal (or ``--progress`` asks for it), never beside ``--quiet``; a line is cut to the
terminal's width, for a line that wraps cannot be written over.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # `opentrail verify --help` must not wait for it
    from opentrail.verification.engine import Progress

_EVERY_SECONDS: Final = 0.2
_BAR: Final = 24


@contextmanager
def status_line(read: Callable[[float], str], *, is_shown: bool) -> Iterator[None]:
    """Show what ``read`` says (it is given the seconds since the block began) while the block runs."""
    if not is_shown:
        yield
        return
    ended = threading.Event()
    started = time.monotonic()

    def show() -> None:
        while not ended.wait(_EVERY_SECONDS):
            columns = shutil.get_terminal_size().columns
            sys.stderr.write("\r" + read(time.monotonic() - started)[: max(1, columns - 1)] + "\x1b[K")
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


def search_line(names: int, seconds: float) -> str:
    """``looking for digests: 12,000 names listed, 4,000/s, 3 s``."""
    return f"looking for digests: {names:,} names listed, {_rate(names, seconds):,.0f}/s, {seconds:.0f} s"


def verify_line(progress: Progress, seconds: float) -> str:
    """``[####    ]  42%  3,631 log files  9,120/s  41 MB  0:01 left``; by digests, of which the number is known."""
    share = min(1.0, progress.digests_done / progress.digests) if progress.digests else 0.0
    rate = _rate(progress.log_files, seconds)
    size = f"{progress.log_bytes / 1e6:,.0f} MB"
    return f"{_bar(share)}  {progress.log_files:,} log files  {rate:,.0f}/s  {size}{_left(share, seconds)}"


def packing_line(share: float, objects: int, size: int, seconds: float) -> str:
    """``[####    ]  42%  packed 1,200 objects  41 MB  12 MB/s  0:01 left``; ``share`` is a guess from their times."""
    rate = _rate(size, seconds) / 1e6
    return f"{_bar(share)}  packed {objects:,} objects  {size / 1e6:,.0f} MB  {rate:,.0f} MB/s{_left(share, seconds)}"


def _bar(share: float) -> str:
    return f"[{('#' * int(share * _BAR)).ljust(_BAR)}] {share:4.0%}"


def _rate(count: int, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0


def _left(share: float, seconds: float) -> str:
    if not share:
        return ""
    left = int(seconds * (1 - share) / share)
    minutes = f"{left // 3600}:{left // 60 % 60:02}" if left >= 3600 else f"{left // 60}"
    return f"  {minutes}:{left % 60:02} left"
