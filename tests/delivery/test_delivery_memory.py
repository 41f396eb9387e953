"""Delivery of a burst needs the memory of two batches, however long the burst was."""

from __future__ import annotations

import tracemalloc
import uuid
from pathlib import Path

from opentrail.core.trails import Trail
from opentrail.journal.base import Entry, EntryKind
from opentrail.testing.follower_room import open_follower_room

ACCOUNT = "123456789012"
TRAIL = Trail(account_id=ACCOUNT, home_region="eu-central-1", name="main", bucket="logs", is_logging=True)
BURST_BYTES = 40 << 20
MOST_BYTES = 36 << 20  # two batches of 8 MB with what Python needs for their entries, and the files made of them


def test_a_burst_is_delivered_in_the_memory_of_two_batches(tmp_path: Path) -> None:
    with open_follower_room(tmp_path, TRAIL) as room:
        room.record(ACCOUNT)
        (first,) = room.journal.read(room.journal.start - 1)
        payload = b'{"eventID":"' + b"x" * 1200 + b'"}'
        count = BURST_BYTES // len(payload)
        for start in range(0, count, 5000):
            room.journal.append(
                [
                    Entry(EntryKind.EVENT, first.route, first.event_time_ms, uuid.uuid4().bytes, payload)
                    for _ in range(start, min(count, start + 5000))
                ]
            )
        tracemalloc.start()
        try:
            room.take()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert room.follower.position() == room.journal.end
        assert peak < MOST_BYTES, f"{peak / 1e6:.0f} MB"
        assert 3 <= room.ledger.waiting() <= 20, "files that are neither huge nor many"
