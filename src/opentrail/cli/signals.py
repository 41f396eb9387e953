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
def held_back() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the end of the block, which is short, while there is no other thread."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
def interrupted_by_signals() -> Iterator[Callable[[], None]]:
    """Ctrl-C and SIGTERM end the block with ``KeyboardInterrupt``: what was half written is removed.

    What is yielded is to be called before anything is made final: Python drops what is raised in a destructor, and an
    interrupt that was lost so is raised then.
    """
    owner = os.getpid()
    is_interrupted = False

    def interrupt(_number: int, _frame: object) -> None:
        nonlocal is_interrupted
        if os.getpid() == owner:
            is_interrupted = True
            raise KeyboardInterrupt

    def check() -> None:
        if is_interrupted:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
