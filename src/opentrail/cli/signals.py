"""Ctrl-C and SIGTERM for commands that run long: a first signal ends them in order, a second one at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

INTERRUPTED: Final = 130  # the exit code of Ctrl-C, and of SIGTERM too: both can be gone on from
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM call ``stop`` (in this process, not in its forks); a second one ends it as always."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    owner = os.getpid()

    def handle(number: int, _frame: object) -> None:
        if os.getpid() != owner:
            return  # a worker process: whoever made it ends it
        signal.signal(number, before[signal.Signals(number)])
        stop()

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does: what was half written is removed."""
    owner = os.getpid()

    def interrupt(_number: int, _frame: object) -> None:
        if os.getpid() == owner:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
