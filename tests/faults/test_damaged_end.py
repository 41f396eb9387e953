"""A journal whose end was lost to damage: what is recovered takes the lost positions, and is delivered all the same."""

from __future__ import annotations

import json
import sqlite3
import uuid
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from opentrail.journal.base import Entry, EntryKind
from opentrail.journal.local import open_local_journal
from opentrail.testing.clock import FakeClock
from opentrail.testing.clock_server import ClockServer, signing_by
from opentrail.testing.delivered_trail import fetch_trail, make_trail


def test_a_recovered_record_at_a_position_that_was_delivered_before(tmp_path: Path) -> None:
    clock = FakeClock(datetime.now(UTC))
    server = ClockServer(tmp_path / "data", clock)
    with signing_by(clock):
        server.start()
        make_trail(server)
        server.client("sts").get_caller_identity()
        server.end()
        event_id = str(uuid.uuid4())
        with closing(open_local_journal(server.data / "journal")) as journal:
            (call,) = [entry for entry in journal.read(0) if b'"GetCallerIdentity"' in bytes(entry.payload)][-1:]
            record = json.loads(bytes(call.payload)) | {"eventID": event_id, "requestID": str(uuid.uuid4())}
            payload = json.dumps(record).encode()
            intent = Entry(EntryKind.INTENT, call.route, call.event_time_ms, uuid.UUID(event_id).bytes, payload)
            journal.append([intent])
            delivered = journal.end + 2  # two entries more were taken, and are lost
        with closing(sqlite3.connect(server.data / "ledger.db")) as ledger, ledger:
            ledger.execute("update cursors set position = ?", (delivered,))
        server.start()
        try:
            server.client("sts").get_caller_identity()
            server.flush()
            found = [record for record in fetch_trail(server).records() if record["eventID"] == event_id]
        finally:
            server.end()
    assert [record["errorCode"] for record in found] == ["OutcomeUnknown"]
