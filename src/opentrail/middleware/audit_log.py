"""The audit log of an application: events are written to a spool and delivered in the background.

Rules:

* ``write`` returns when the event is safe in this process's spool, whether or not Opentrail answers.
* Each process has a spool of its own, the first of ``folder/worker-0``, ``worker-1``, ... that no other has.  What dead
  processes have left in theirs is delivered by whoever finds it.
* Delivery tries again for ever, with growing pauses.  Only an event that Opentrail will never take, by its own word, is
  set aside (``rejected`` in the spool's folder) so that the others go on.
* After a fork the child opens a spool of its own at its first event; threads and locks of the parent are not touched.
"""

from __future__ import annotations

import json
import logging
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

from opentrail.core.audit_events import MAX_CALL_BYTES
from opentrail.core.channels import parse_channel_arn
from opentrail.core.errors import ServiceFault, StorageError
from opentrail.core.events import encode_json
from opentrail.middleware.group_write import Settle
from opentrail.middleware.identifiers import unique_id
from opentrail.middleware.put_audit_events import (
    MAX_BYTES,
    MAX_EVENTS,
    AuditEvent,
    Credentials,
    PutAuditEvents,
    decode_event,
    encode_event,
    environment_credentials,
    split_calls,
)
from opentrail.middleware.spool import Batch, Spool

log = logging.getLogger("opentrail.middleware")

OnFailure = Literal["refuse", "pass"]

_MAX_WORKERS = 1024
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 30.0
_GATHER_SECONDS = 0.1  # in which events gather to be delivered together
_LOOK_AROUND_SECONDS = 30.0  # between two looks for what dead processes have left
_MAX_REJECTED_BYTES = 16 << 20
_NEVER_TAKEN = frozenset(
    {"FieldTooLong", "FieldNotFound", "InvalidChecksum", "InvalidData", "InvalidRecipient", "InvalidEventSource"}
)


class AuditLog:
    """Where an application writes its events.  May be used from any thread.

    ``folder`` holds the spools; ``endpoint`` is Opentrail's URL; ``max_bytes`` bounds what waits in a process's spool.
    ``durable`` waits for the disk at each event; without it an event survives the process, not a loss of power.
    ``on_failure`` says what the middleware does when an event cannot be written: it refuses the call (503), or passes
    and counts it (``unrecorded``).
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        endpoint: str,
        channel_arn: str,
        credentials: Callable[[], Credentials] = environment_credentials,
        external_id: str = "",
        ca_file: str = "",
        durable: bool = True,
        max_bytes: int = 256 << 20,
        on_failure: OnFailure = "refuse",
    ) -> None:
        try:
            self.account_id = parse_channel_arn(channel_arn).account_id
        except ServiceFault as fault:
            raise ValueError(f"channel_arn: {fault.message}") from None
        self.refuses = on_failure == "refuse"
        self.unrecorded = 0
        self._folder = Path(folder)
        self._durable = durable
        self._max_bytes = max_bytes
        self._make_client = partial(
            PutAuditEvents,
            endpoint=endpoint,
            channel_arn=channel_arn,
            credentials=credentials,
            external_id=external_id,
            ca_file=ca_file,
        )
        self._make_client()  # a wrong endpoint is told now
        self._lock = threading.Lock()
        self._pid = 0
        self._worker: _Worker | None = None
        os.register_at_fork(after_in_child=partial(_leave_parents_spool, weakref.ref(self)))

    def write(self, event_data: Mapping[str, Any]) -> str:
        """Make an event safe and return its id.

        Raises ``StorageError``, also for an event that no call could ever take along: it would hold up all others.
        """
        identifier = unique_id()
        self._open().spool.append(encode_event(identifier, _encode(event_data)))
        return identifier

    def submit(self, event_data: Mapping[str, Any], settle: Settle, waiter: object) -> None:
        """Make an event safe without waiting: ``settle`` is told of ``waiter``, among others (``GroupWrite.submit``).

        Raises ``StorageError`` where the event is refused at once.
        """
        self._open().spool.submit(encode_event(unique_id(), _encode(event_data)), settle, waiter)

    def count_unrecorded(self) -> None:
        """Note that a call passed without its event."""
        with self._lock:
            self.unrecorded += 1

    @property
    def is_open(self) -> bool:
        """Whether this process has its spool, so that ``check`` answers at once."""
        return self._worker is not None and self._pid == os.getpid()

    def check(self) -> None:
        """Raise the ``StorageError`` that an event would meet: asked before a call is carried out."""
        self._open().spool.check()

    def flush(self, timeout_seconds: float = 30) -> bool:
        """Wait until all that was written in this process is delivered; False where that takes longer."""
        worker = self._open()
        deadline = time.monotonic() + timeout_seconds
        while worker.spool.waiting_bytes:
            if time.monotonic() > deadline:
                return False
            worker.hurry.set()
            time.sleep(0.01)
        return True

    def close(self, timeout_seconds: float = 5) -> None:
        """End delivery, after at most so long for what waits; the rest stays in the spool for the next process."""
        with self._lock:
            worker = self._worker if self._pid == os.getpid() else None
            self._worker = None
        if worker is not None:
            worker.stop(timeout_seconds)

    def _open(self) -> _Worker:
        worker = self._worker
        if worker is not None and self._pid == os.getpid():
            return worker
        with self._lock:
            if self._worker is None:
                self._worker = _Worker(self._take_spool(), self._make_client(), self._left_behind)
            self._pid = os.getpid()
            return self._worker

    def leave_parents_spool(self) -> None:
        """Begin anew in a process that was just forked off, while it still has one thread."""
        worker, self._worker = self._worker, None
        self._lock = threading.Lock()  # the parent may have held it when it forked
        if worker is not None:
            worker.spool.leave()  # this process's copies of the parent's descriptors, which hold its lock

    def _take_spool(self) -> Spool:
        for number in range(_MAX_WORKERS):
            spool = self._try_spool(self._folder / f"worker-{number}")
            if spool is not None:
                return spool
        raise StorageError(f"{self._folder}: every spool is taken", retryable=True)

    def _try_spool(self, folder: Path) -> Spool | None:
        """The spool in ``folder``, unless a process has it.  Raises ``StorageError`` for any other reason."""
        try:
            return Spool(folder, durable=self._durable, max_bytes=self._max_bytes)
        except StorageError as error:
            if isinstance(error.__cause__, BlockingIOError):
                return None
            raise

    def _left_behind(self) -> Iterator[Spool]:
        """The spools of processes that are no more."""
        for folder in sorted(self._folder.glob("worker-*")):
            spool = None
            with suppress(StorageError):
                spool = self._try_spool(folder)
            if spool is not None:
                try:
                    yield spool
                finally:
                    spool.close()


class _Worker:
    """One process's spool, and the thread that delivers from it."""

    def __init__(self, spool: Spool, client: PutAuditEvents, left_behind: Callable[[], Iterator[Spool]]) -> None:
        self.spool = spool
        self.hurry = threading.Event()  # ends a pause
        self._client = client
        self._left_behind = left_behind
        self._stopping = threading.Event()
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="opentrail-delivery", daemon=True)
        self._thread.start()

    def stop(self, timeout_seconds: float) -> None:
        """Deliver what waits, for at most so long, and release the spool."""
        deadline = time.monotonic() + timeout_seconds
        while self.spool.waiting_bytes and not self._failures and time.monotonic() < deadline:
            time.sleep(0.01)
        self._stopping.set()
        self.hurry.set()
        self.spool.filled.set()
        self._thread.join(max(1.0, deadline - time.monotonic()))
        if not self._thread.is_alive():  # else it is in the middle of a call: the process's end releases the spool
            self.spool.close()

    def _run(self) -> None:
        looked_around = 0.0
        while not self._stopping.is_set():
            if time.monotonic() - looked_around > _LOOK_AROUND_SECONDS and not self._failures:
                looked_around = time.monotonic()
                for spool in self._left_behind():
                    self._deliver_all(spool)
            if not self._deliver_all(self.spool):
                self._pause()
                continue
            self.spool.filled.wait(_LOOK_AROUND_SECONDS)
            self.hurry.wait(_GATHER_SECONDS)
            self.hurry.clear()
        self._client.close()

    def _deliver_all(self, spool: Spool) -> bool:
        """Deliver what is in ``spool``; False where it did not work this time."""
        while not self._stopping.is_set():
            try:
                batch = spool.read(MAX_EVENTS, MAX_BYTES)
                if not batch.events:
                    if not spool.filled.is_set():
                        return True
                    continue
                self._deliver(spool, batch)
            except (StorageError, ServiceFault) as error:
                self._note_failure(error)
                return False
            except Exception:  # the thread's boundary: delivery must go on, or nothing ever leaves the spool
                log.exception("delivery failed")
                self._failures += 1
                return False
        return True

    def _deliver(self, spool: Spool, batch: Batch) -> None:
        events = [decode_event(each) for each in batch.events]
        for part in split_calls(events):
            faults = self._client.put(part)
            rejected = [each for each in part if each.id in faults and faults[each.id].code in _NEVER_TAKEN]
            if len(rejected) < len(faults):
                raise next(fault for fault in faults.values() if fault.code not in _NEVER_TAKEN)
            for each in rejected:
                _set_aside(spool.folder / "rejected", each, faults[each.id])
        spool.advance(batch)
        if self._failures:
            log.warning("events are delivered again")
        self._failures = 0

    def _note_failure(self, error: StorageError | ServiceFault) -> None:
        if not self._failures:  # once for all tries that meet the same trouble
            log.error("events wait in %s: %s", self.spool.folder, error)
        self._failures += 1

    def _pause(self) -> None:
        longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(self._failures, 10))
        self.hurry.wait(random.uniform(longest / 2, longest))  # noqa: S311  spreads retries; no secret
        self.hurry.clear()


def _leave_parents_spool(log: weakref.ref[AuditLog]) -> None:
    found = log()
    if found is not None:
        found.leave_parents_spool()


def _set_aside(path: Path, event: AuditEvent, fault: ServiceFault) -> None:
    log.error("the event %s will never be taken, and lies in %s: %s", event.id, path, fault)
    line = {"id": event.id, "errorCode": fault.code, "errorMessage": fault.message, "eventData": event.event_data}
    with path.open("a", encoding="utf-8") as file:
        if file.tell() < _MAX_REJECTED_BYTES:
            file.write(json.dumps(line) + "\n")


def _encode(event_data: Mapping[str, Any]) -> bytes:
    """The JSON of an event.  Raises ``StorageError`` where no call could take it along."""
    text = encode_json(event_data)
    if len(text) > MAX_CALL_BYTES:
        raise StorageError(f"an event has {len(text)} bytes; a call takes {MAX_CALL_BYTES} at most", retryable=False)
    return text
