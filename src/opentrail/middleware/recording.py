"""From a finished call to a safe event, for every kind of middleware; and the bodies that are kept on the way.

``record`` is for threads, ``record_on_loop`` for the event loop: it holds no thread while the disk works, and one
wake-up of the loop serves all events of a write.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress

from opentrail.core.errors import StorageError
from opentrail.middleware.api import Api
from opentrail.middleware.audit_log import AuditLog
from opentrail.middleware.exchange import Exchange

log = logging.getLogger("opentrail.middleware")

UNAVAILABLE = b'{"message": "The call could not be recorded and was refused. Please try again."}'
UNAVAILABLE_HEADERS = (("Content-Type", "application/json"), ("Content-Length", str(len(UNAVAILABLE))))


def record(audit_log: AuditLog, api: Api, exchange: Exchange, uid: str) -> bool:
    """Make the event of ``exchange`` safe, where it is to be recorded; False where the call must be refused for it."""
    event_data = api.describe(exchange, audit_log.account_id, uid)
    if event_data is None:
        return True
    try:
        audit_log.write(event_data)
    except StorageError as error:
        return _may_pass(audit_log, error)
    return True


async def record_on_loop(audit_log: AuditLog, api: Api, exchange: Exchange, uid: str) -> bool:
    """As ``record``, on the event loop.  The event is made safe also if this is cancelled."""
    event_data = api.describe(exchange, audit_log.account_id, uid)
    if event_data is None:
        return True
    settled: asyncio.Future[StorageError | None] = asyncio.get_running_loop().create_future()
    try:
        audit_log.submit(event_data, _wake_loops, settled)
    except StorageError as error:
        return _may_pass(audit_log, error)
    failure = await settled
    return failure is None or _may_pass(audit_log, failure)


def _may_pass(audit_log: AuditLog, error: StorageError) -> bool:
    log.error("a call could not be recorded: %s", error)
    if not audit_log.refuses:
        audit_log.count_unrecorded()
    return not audit_log.refuses


def _wake_loops(settled: Sequence[asyncio.Future[StorageError | None]], failure: StorageError | None) -> None:
    """Tell each future, on its own loop, what became of its event."""
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[StorageError | None]]] = {}
    for each in settled:
        by_loop.setdefault(each.get_loop(), []).append(each)
    for loop, futures in by_loop.items():
        with suppress(RuntimeError):  # it was closed: nobody waits any more
            loop.call_soon_threadsafe(_wake, futures, failure)


def _wake(futures: Sequence[asyncio.Future[StorageError | None]], failure: StorageError | None) -> None:
    for each in futures:
        if not each.done():
            each.set_result(failure)


class Capture:
    """The bytes of a body as they pass, as long as they are no more than ``limit``."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._whole = False

    def add(self, part: bytes, *, last: bool) -> None:
        """A part of the body passed; ``last``: nothing follows."""
        self._size += len(part)
        if self._size <= self._limit:
            self._parts.append(part)
        else:
            self._parts = []
        self._whole = self._whole or last

    @property
    def is_on(self) -> bool:
        """Whether anything is kept."""
        return self._limit > 0

    @property
    def size(self) -> int:
        """How many bytes have passed."""
        return self._size

    @property
    def is_over(self) -> bool:
        """Whether more passed than is kept."""
        return self._size > self._limit

    @property
    def whole(self) -> bytes | None:
        """The body, where all of it was seen and kept."""
        return b"".join(self._parts) if self._whole and self._limit and not self.is_over else None


def is_short_json(headers: Mapping[str, str], limit: int, *, needs_length: bool) -> bool:
    """Whether a body with these headers (lower case) is JSON, and not known to be longer than ``limit`` bytes."""
    media_type = headers.get("content-type", "")
    if media_type != "application/json":
        media_type = media_type.partition(";")[0].strip().lower()
        if media_type != "application/json" and not media_type.endswith("+json"):
            return False
    length = headers.get("content-length", "")
    return len(length) < 16 and int(length) <= limit if length.isdecimal() else not needs_length
