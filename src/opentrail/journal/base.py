"""The journal's seam: an ordered, durable list of entries that followers read on from their own position.

Rules of every journal (``testing.journal_contract`` holds them to it):

* Positions are 1, 2, 3 ... without a gap; a position that was once visible never means another entry, across restarts
  and trims.
* When ``append`` returns, every entry of the batch is durable: it survives ``kill -9`` and the loss of power.
* ``append`` that raises ``JournalError(retryable=True)`` kept nothing of the batch and may be tried again (a full
  disk).  After ``retryable=False`` the state on disk is unknown (an fsync failed): every later ``append`` raises, and
  only opening the journal anew finds out which entries of the failed batch are there.
* ``read`` shows durable entries alone, byte for byte as appended, or raises: damage is reported, never skipped.
* One process writes.  ``append``, ``read`` and ``trim`` may be called from several threads at once.

Design: architecture.md ("One recorded call", "The hole between 7 and 9").
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple, Protocol

from opentrail.core.errors import JournalError

MAX_PAYLOAD_BYTES: Final = 1 << 20  # CloudTrail's own limit for an event is 256 KB; this is the journal's fence
MAX_ROUTE_BYTES: Final = 511
MAX_BATCH_BYTES: Final = 64 << 20  # the sum of entry_size over one append
EVENT_ID_BYTES: Final = 16
ENTRY_OVERHEAD_BYTES: Final = 32
_TIME_LIMIT_MS: Final = 1 << 63


class EntryKind(IntEnum):
    """What an entry says; the number is what stands on disk."""

    EVENT = 1  # the record of a call
    INTENT = 2  # a call that changes something is about to be carried out
    RECOVERED = 3  # after a crash: the record made for an intent that no event followed


# NamedTuples, not the house's frozen dataclasses: a follower takes millions of these, and making one costs
# 0.1 us against 0.7 us.


class Entry(NamedTuple):
    """What is appended.  An INTENT and the EVENT that closes it carry the same ``event_id``."""

    kind: EntryKind
    route: bytes  # opaque to the journal, for cheap grouping; at most MAX_ROUTE_BYTES
    event_time_ms: int  # milliseconds since 1970, UTC; signed 64 bit
    event_id: bytes  # 16 bytes: the record's eventID
    payload: bytes  # the record as JSON; at most MAX_PAYLOAD_BYTES


class StoredEntry(NamedTuple):
    """What is read: an entry with its position.

    ``payload`` may be a view into the bytes of a whole read (``b"".join``, ``orjson.loads``, hashes and compressors
    take it as it is); ``bytes(entry.payload)`` cuts one loose that is to be kept for long.
    """

    position: int
    kind: EntryKind
    route: bytes
    event_time_ms: int
    event_id: bytes
    payload: bytes | memoryview


class Journal(Protocol):
    """An ordered, durable list of entries."""

    @property
    def id(self) -> bytes:
        """16 random bytes, made with the journal: a cursor from another journal is told by them."""
        ...

    @property
    def start(self) -> int:
        """The position of the first entry that is still there (``end + 1`` where there is none)."""
        ...

    @property
    def end(self) -> int:
        """The position of the last durable entry, 0 before the first."""
        ...

    @property
    def failure(self) -> JournalError | None:
        """The error after which nothing can be appended any more, or None."""
        ...

    def append(self, entries: Sequence[Entry]) -> int:
        """Make ``entries`` (at least one) durable and return the first one's position; the others follow it densely.

        Raises ``JournalError`` (see the module's rules), ``ValueError`` where an entry or the batch breaks a limit.
        """
        ...

    def read(self, after: int, *, max_entries: int = 10_000, max_bytes: int = 1 << 20) -> list[StoredEntry]:
        """The durable entries from position ``after + 1`` on, in order; empty where ``after == end``.

        At most ``max_entries``; nothing further is read once their bytes reach ``max_bytes``, which the entries of one
        append may exceed, so at least one entry comes.  Raises ``JournalError``: ``retryable=False`` where entries are
        damaged, were trimmed (``after + 1 < start``) or never existed (``after > end``).
        """
        ...

    def trim(self, before: int) -> None:
        """Allow the journal to forget entries at positions below ``before``; it keeps what is cheaper to keep.

        Raises ``JournalError``.
        """
        ...

    def close(self) -> None:
        """Release what the journal holds; a second call does nothing."""
        ...


def entry_size(entry: Entry) -> int:
    """The bytes that ``entry`` counts for, in limits and queues."""
    return len(entry.payload) + len(entry.route) + ENTRY_OVERHEAD_BYTES


def check_entry(entry: Entry) -> int:
    """Hold ``entry`` to the limits and return its ``entry_size``; raises ``ValueError``: its maker's mistake."""
    _, route, event_time_ms, event_id, payload = entry
    if (
        len(payload) <= MAX_PAYLOAD_BYTES
        and len(route) <= MAX_ROUTE_BYTES
        and len(event_id) == EVENT_ID_BYTES
        and -_TIME_LIMIT_MS <= event_time_ms < _TIME_LIMIT_MS
    ):
        return len(payload) + len(route) + ENTRY_OVERHEAD_BYTES
    raise ValueError(
        f"an entry with a payload of {len(payload)} bytes (limit {MAX_PAYLOAD_BYTES}), a route of {len(route)} "
        f"(limit {MAX_ROUTE_BYTES}), an event_id of {len(event_id)} ({EVENT_ID_BYTES}), event_time_ms {event_time_ms} "
        "(64 bits)"
    )
