"""A crash between an own delivery and its record: the mark of an own call survives it, so that nothing feeds itself."""

from __future__ import annotations

from pathlib import Path

from opentrail.core.events import Event, parse_route
from opentrail.journal.base import EntryKind
from opentrail.journal.group_commit import GroupCommit
from opentrail.journal.local import open_local_journal
from opentrail.server.recorder import Recorder, recover

RECORD = {
    "eventVersion": "1.11",
    "eventTime": "2026-01-01T00:00:00Z",
    "eventSource": "s3.amazonaws.com",
    "eventName": "PutObject",
    "awsRegion": "eu-central-1",
    "requestParameters": {"bucketName": "trail-logs", "key": "k"},
    "responseElements": None,
    "eventID": "8f4c1f6e-5f0c-4a4b-9d0c-0d8f3b1f2a3b",
    "readOnly": False,
    "eventType": "AwsApiCall",
    "managementEvent": False,
    "recipientAccountId": "111122223333",
    "eventCategory": "Data",
}


def test_the_intent_of_an_own_call_is_marked(tmp_path: Path) -> None:
    journal = open_local_journal(tmp_path / "journal")
    commit = GroupCommit(journal)
    recorder = Recorder(commit, refuse=True, generation=lambda: 1)
    recorder.intend_now(Event(record=RECORD), recorder.begin(), own=True)
    commit.close()
    journal.close()  # the process dies: no event follows
    journal = open_local_journal(tmp_path / "journal")
    assert recover(journal) == 1
    entries = journal.read(0)
    assert [entry.kind for entry in entries] == [EntryKind.INTENT, EntryKind.RECOVERED]
    assert [parse_route(entry.route).own for entry in entries] == [True, True]
    journal.close()
