"""The chains of a verification, one after the other or several at once.

Rules: a chain of which an object cannot be read does not keep the others from being verified; a source that fails does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final

from opentrail.core.errors import StoreError
from opentrail.verification.discovery import FoundChain

_STOP_SECONDS: Final = 0.2  # how soon a wait hears of a stop


def run_all(
    work: Callable[[FoundChain], None], chains: Iterable[FoundChain], *, threads: int, check: Callable[[], None]
) -> None:
    """Do ``work`` for each chain, ``threads`` at once (1: in this one).

    ``check`` is called now and then while the threads are at work; what it raises ends the wait.  Raises the first
    failure, an object's last.
    """
    waiting: SimpleQueue[FoundChain] = SimpleQueue()
    ended: SimpleQueue[BaseException | None] = SimpleQueue()
    for chain in chains:
        waiting.put(chain)
    count = waiting.qsize()
    if threads == 1:
        _run_some(work, waiting, ended)
    else:
        for _ in range(min(threads, count)):
            threading.Thread(target=_run_some, args=(work, waiting, ended), daemon=True).start()
    failure: BaseException | None = None
    while count:
        try:
            ending = ended.get(timeout=_STOP_SECONDS)
        except Empty:
            check()
            continue
        if ending is not None and not _is_of_one_chain(ending):
            raise ending
        failure = failure or ending
        count -= 1
    if failure is not None:
        raise failure


def _is_of_one_chain(error: BaseException) -> bool:
    """Whether it is an object that cannot be read, rather than a source that fails."""
    return isinstance(error, StoreError) and not error.retryable


def _run_some(
    work: Callable[[FoundChain], None],
    waiting: SimpleQueue[FoundChain],
    ended: SimpleQueue[BaseException | None],
) -> None:
    """What one of the threads does."""
    with suppress(Empty):
        while True:
            chain = waiting.get_nowait()
            try:
                work(chain)
            except BaseException as error:  # noqa: BLE001  the thread's boundary: it is raised where it is waited for
                ended.put(error)
                if not _is_of_one_chain(error):
                    return
            else:
                ended.put(None)
