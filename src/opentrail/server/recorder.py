"""The recorder: the one place where events enter the journal.

Rules:

* ``record`` returns when the event is durable.  Until then its call is not answered.
* A call that changes something leaves an intent first; the event that follows carries the same id.
* A call that several accounts receive is one entry (``core.recording.sharing``), so all have its record or none.  An
  entry says in which organizations they were when the call began to be carried out, and when it was recorded.
* When an event cannot be made durable, the call is refused (``refuse``) or answered and counted (``pass``).  What has
  already happened, or was answered all the same, is owed: its event is kept in memory and tried again (``pay``).  If
  the process dies before that, its intent becomes an event at the next start (``recover``).
* What a call in flight still needs is kept for it: the trails of the generation in which it began, and its intent in
  the journal (``oldest_generation``, ``oldest_open_intent``).
* Events that a call brings with it (PutAuditEvents) are durable before the call itself is (``record_all_now``).
* Nothing here blocks the event loop: ``intend`` and ``record`` await; the ``..._now`` forms and ``pay`` are for
  threads.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from typing import NamedTuple

from opentrail.core.errors import JournalError, ServiceFault
from opentrail.core.events import EntryRoute, Event, Receiver, format_route, parse_event, parse_route, parse_time
from opentrail.core.recording import encode_record, without_outcome
from opentrail.journal.base import Entry, EntryKind, Journal, StoredEntry, entry_size
from opentrail.journal.group_commit import GroupCommit

log = logging.getLogger("opentrail.recorder")

MAX_OWED_BYTES = 64 << 20
TROUBLE_ROUNDS = 10  # rounds of delivery, a second each, for which a failure counts after the last call that met it


class _OpenIntent(NamedTuple):
    """An intent whose event is not durable yet."""

    position: int  # 0: it is on its way
    organizations: Mapping[str, str]  # that each account which receives the event was in; "": none


class Recorder:
    """Makes events durable, from the event loop (``record``, ``intend``) and from threads (the ``..._now`` forms).

    ``generation`` tells the trails' generation now; it never goes back.  ``organization_of`` tells, from memory, the
    organization that an account is in now, or ``""``.
    """

    def __init__(
        self,
        commit: GroupCommit,
        *,
        refuse: bool,
        generation: Callable[[], int],
        organization_of: Callable[[str], str] = lambda _account_id: "",
    ) -> None:
        self._commit = commit
        self._refuse = refuse
        self._generation = generation
        self._organization_of = organization_of
        self._lock = threading.Lock()
        self._paying = threading.Lock()  # one thread pays at a time, so that what is owed keeps its order
        self._in_flight: dict[int, int] = {}  # generation -> calls that began in it and may still name it
        self._open_intents: dict[bytes, _OpenIntent] = {}  # by event id
        self._owed: deque[tuple[Entry, int]] = deque()  # with the generation in which the call began
        self._owed_bytes = 0
        self._failing = False  # until a call is recorded again
        self._trouble = ""
        self._quiet_rounds = 0
        self.unrecorded = 0  # calls answered without a durable record (``pass`` only)

    def begin(self) -> int:
        """A call begins: the trails' generation now, to be given to ``record`` and then to ``end``."""
        with self._lock:
            generation = self._generation()
            self._in_flight[generation] = self._in_flight.get(generation, 0) + 1
        return generation

    def end(self, before: int) -> None:
        """The call that began in generation ``before`` is over."""
        with self._lock:
            left = self._in_flight[before] - 1
            if left:
                self._in_flight[before] = left
            else:
                del self._in_flight[before]

    def oldest_generation(self) -> int:
        """The oldest generation that an event which is not in the journal yet may name."""
        with self._lock:
            return min(self._in_flight, default=self._generation())

    def oldest_open_intent(self) -> int | None:
        """The position of the oldest intent whose event is not durable yet: the journal must keep it."""
        with self._lock:
            return min((each.position for each in self._open_intents.values()), default=None)

    async def intend(self, event: Event, before: int) -> None:
        """Make the intent of a call durable before it is carried out.  Raises ``ServiceFault`` when that is refused."""
        entry = self._open(event, before)
        try:
            position = await self._submit(entry)
        except JournalError as error:
            self._drop_intent(entry)
            self._refuse_or_pass(error)
        else:
            self._place(entry, position)

    async def record(self, event: Event, before: int, *, happened: bool) -> None:
        """Make the event of a call durable.  ``happened``: the call changed something that cannot be taken back.

        Raises ``ServiceFault`` when the journal cannot be written and calls are refused then.
        """
        entry = self._entry(EntryKind.EVENT, event, before)
        try:
            await self._submit(entry)
        except JournalError as error:
            self._miss(entry, before, happened=happened, error=error)
        else:
            self._close(entry)

    def intend_now(self, event: Event, before: int, *, own: bool) -> None:
        """``intend``, from a thread; ``own`` as in ``record_now``, should the intent be all that is left."""
        entry = self._open(event, before, own=own)
        try:
            position = self._commit.submit_and_wait(entry)
        except JournalError as error:
            self._drop_intent(entry)
            self._refuse_or_pass(error)
        else:
            self._place(entry, position)

    def record_now(self, event: Event, before: int, *, happened: bool, own: bool) -> None:
        """``record``, from a thread; ``own``: a call of Opentrail's own (ADR 0005)."""
        entry = self._entry(EntryKind.EVENT, event, before, own=own)
        try:
            self._commit.submit_and_wait(entry)
        except JournalError as error:
            self._miss(entry, before, happened=happened, error=error)
        else:
            self._close(entry)

    def record_all_now(self, events: Sequence[Event]) -> frozenset[int]:
        """Make events durable that a call brought with it, from a thread; the places of those that could not be.

        What is missed is not owed: the caller is told, and may bring it again.
        """
        before = self.begin()
        missed: dict[int, JournalError] = {}
        waiting = threading.Semaphore(0)

        def done(place: int, _position: int | None, error: JournalError | None) -> None:
            if error is not None:
                missed[place] = error
            waiting.release()

        for place, event in enumerate(events):
            entry = self._entry(EntryKind.EVENT, event, before)
            try:
                self._commit.submit(entry, partial(done, place))
            except JournalError as error:
                done(place, None, error)
        for _ in events:
            waiting.acquire()
        self.end(before)
        if missed:
            with suppress(ServiceFault):  # the caller says which they are
                self._refuse_or_pass(next(iter(missed.values())))
        elif events:
            self._note_success()
        return frozenset(missed)

    def pay(self) -> None:
        """Write the owed events, oldest first, as far as the journal takes them; costs nothing where none is owed."""
        self._quiet_rounds += 1
        with self._paying:
            while self._owed:
                entry, before = self._owed[0]
                try:
                    self._commit.submit_and_wait(entry)
                except JournalError:
                    return
                self._close(entry)
                with self._lock:
                    self._owed.popleft()
                    self._owed_bytes -= entry_size(entry)
                self.end(before)

    def owed(self) -> int:
        """How many events wait for a journal that can be written."""
        return len(self._owed)

    def trouble(self) -> str:
        """Why calls could not be recorded lately, or "".

        Only a call can find out that the journal takes entries again.  Where none comes, perhaps since a load balancer
        believed us, this ends by itself, so that one will.
        """
        return self._trouble if self._quiet_rounds <= TROUBLE_ROUNDS else ""

    async def _submit(self, entry: Entry) -> int:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def done(position: int | None, error: JournalError | None) -> None:
            if future.done():  # cancelled
                return
            if error is not None:
                future.set_exception(error)
            elif position is not None:
                future.set_result(position)

        self._commit.submit(entry, done)
        return await future

    def _entry(self, kind: EntryKind, event: Event, before: int, *, own: bool = False) -> Entry:
        record = event.record
        event_id = bytes.fromhex(record["eventID"].replace("-", ""))
        account_id = record["recipientAccountId"]
        intent = self._open_intents.get(event_id)
        organizations = intent.organizations if intent is not None else {}
        shared_with: tuple[Receiver, ...] = ()
        if event.shared_with:
            shared_with = tuple(Receiver(each, self._organizations(each, organizations)) for each in event.shared_with)
        route = EntryRoute(
            before,
            self._generation(),
            account_id,
            record["awsRegion"],
            record["eventCategory"],
            record["readOnly"],
            record["eventSource"],
            record["eventType"],
            own,
            self._organizations(account_id, organizations),
            shared_with,
        )
        return Entry(
            kind,
            _format_route(route),
            _milliseconds(record["eventTime"]),
            event_id,
            encode_record(event),
        )

    def _organizations(self, account_id: str, before: Mapping[str, str]) -> tuple[str, ...]:
        """The organizations that an account is in, and was in ``before`` its call was carried out."""
        now = self._organization_of(account_id)
        earlier = before.get(account_id, now)
        if earlier == now:
            return (now,) if now else ()
        return tuple(each for each in (earlier, now) if each)

    def _open(self, event: Event, before: int, *, own: bool = False) -> Entry:
        """An intent that the journal must keep from now on, wherever it comes to lie."""
        entry = self._entry(EntryKind.INTENT, event, before, own=own)
        accounts = (event.account_id, *event.shared_with)
        intent = _OpenIntent(0, {each: self._organization_of(each) for each in accounts})
        with self._lock:
            self._open_intents[entry.event_id] = intent
        return entry

    def _place(self, intent: Entry, position: int) -> None:
        with self._lock:
            self._open_intents[intent.event_id] = self._open_intents[intent.event_id]._replace(position=position)
        self._note_success()

    def _close(self, entry: Entry) -> None:
        """The event is durable; its intent, if it had one, is needed no more."""
        self._drop_intent(entry)
        self._note_success()

    def _drop_intent(self, entry: Entry) -> None:
        if self._open_intents:
            with self._lock:
                self._open_intents.pop(entry.event_id, None)

    def _miss(self, entry: Entry, before: int, *, happened: bool, error: JournalError) -> None:
        """An event was not made durable: owe it if its call has happened or is answered, then refuse or pass."""
        if happened or not self._refuse:
            with self._lock:
                size = entry_size(entry)
                if self._owed_bytes + size <= MAX_OWED_BYTES:  # beyond, what has happened still has its intent
                    self._owed.append((entry, before))
                    self._owed_bytes += size
                    self._in_flight[before] += 1  # until it is paid
        if not self._refuse:
            self.unrecorded += 1
        self._refuse_or_pass(error)

    def _note_success(self) -> None:
        if self._failing:
            self._failing, self._trouble = False, ""
            log.warning("the journal can be written again")

    def _refuse_or_pass(self, error: JournalError) -> None:
        self._trouble, self._quiet_rounds = str(error), 0
        if not self._failing:  # once for all calls that meet the same trouble
            self._failing = True
            what = "refused" if self._refuse else "answered without a durable record"
            log.error("calls are %s: %s", what, error)
        if self._refuse:
            text = "The call could not be recorded and was refused. Please try again."
            raise ServiceFault("ServiceUnavailable", text, status=503) from error


def recover(journal: Journal, seen: Callable[[StoredEntry], None] = lambda _entry: None) -> int:
    """Turn each intent that no event followed into an event that says so; returns how many.

    Runs before the first call is taken.  A crash in between leaves the rest to the next start.  ``seen`` is shown every
    entry that the journal held.
    """
    intents: dict[bytes, tuple[EntryRoute, int, bytes]] = {}
    position = journal.start - 1
    while position < journal.end:
        for entry in journal.read(position):
            position = entry.position
            seen(entry)
            if entry.kind is EntryKind.INTENT:
                intents[entry.event_id] = (parse_route(entry.route), entry.event_time_ms, bytes(entry.payload))
            else:
                intents.pop(entry.event_id, None)
    for event_id, (route, time_ms, payload) in intents.items():
        event = without_outcome(parse_event(payload))
        journal.append([Entry(EntryKind.RECOVERED, format_route(route), time_ms, event_id, encode_record(event))])
        text = "the server stopped while it carried out this call"
        log.warning("recovered the record of %s %s: %s", event.record["eventName"], event.event_id, text)
    return len(intents)


_format_route = lru_cache(maxsize=4096)(format_route)  # a running server sees few


@lru_cache(maxsize=64)
def _milliseconds(time: str) -> int:
    return int(parse_time(time).timestamp() * 1000)
