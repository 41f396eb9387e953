"""A journal that cannot be written: calls are refused or passed, what has happened is owed and written once, later.

The journal's own faults are tested beside it (tests/faults); here it fails, and the endpoint must not.
"""

from __future__ import annotations

import json
import resource
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from botocore.exceptions import ClientError

from opentrail.core.errors import JournalError
from opentrail.journal.base import Entry, EntryKind, StoredEntry
from opentrail.server.recorder import MAX_OWED_BYTES, recover


class FaultyJournal:
    """A journal whose appends can be made to fail."""

    def __init__(self, journal: Any) -> None:
        self._journal = journal
        self.fails: Callable[[Sequence[Entry]], JournalError | None] = lambda _entries: None

    def append(self, entries: Sequence[Entry]) -> int:
        error = self.fails(entries)
        if error is not None:
            raise error
        position: int = self._journal.append(entries)
        return position

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


def full(_entries: Sequence[Entry]) -> JournalError:
    return JournalError("no space left on device", retryable=True)


def broken(_entries: Sequence[Entry]) -> JournalError:
    return JournalError("an fsync failed", retryable=False)


def events_fail(entries: Sequence[Entry]) -> JournalError | None:
    """Intents get through, events do not."""
    return full(entries) if any(entry.kind is EntryKind.EVENT for entry in entries) else None


@pytest.fixture
def with_journal(local_with: Callable[..., Any]) -> Callable[..., tuple[Any, FaultyJournal]]:
    def start(**settings: Any) -> tuple[Any, FaultyJournal]:
        local = local_with(**settings)
        commit = local.runtime.door.recorder._commit
        commit._journal = journal = FaultyJournal(commit._journal)
        return local, journal

    return start


@pytest.fixture
def trouble(with_journal: Any) -> Iterator[tuple[Any, FaultyJournal]]:
    local, journal = with_journal()
    yield local, journal
    journal.fails = lambda _entries: None


def refused(call: Callable[..., Any], **parameters: Any) -> None:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    assert caught.value.response["Error"]["Code"] in {"ServiceUnavailable", "503"}
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503


def health(local: Any) -> tuple[int, str]:
    status, _, body = local.send("GET", "/healthz", [(b"host", b"x")])
    return status, body.decode().strip()


def names(records: list[dict[str, Any]]) -> list[str]:
    return [record["eventName"] for record in records]


def test_a_full_disk_refuses_calls_until_there_is_room(trouble: tuple[Any, FaultyJournal]) -> None:
    local, journal = trouble
    iam, sts = local.client("iam"), local.client("sts")
    journal.fails = full
    refused(sts.get_caller_identity)
    refused(iam.create_user, UserName="alice")
    journal.fails = lambda _entries: None
    assert iam.list_users()["Users"] == [], "what could not be recorded was not carried out"
    iam.create_user(UserName="alice")
    assert names(local.records()) == ["ListUsers", "CreateUser"]
    assert local.runtime.door.recorder.owed() == 0
    assert health(local) == (200, "ok")


def test_what_has_happened_is_owed_and_written_once(trouble: tuple[Any, FaultyJournal]) -> None:
    local, journal = trouble
    recorder = local.runtime.door.recorder
    iam = local.client("iam")
    journal.fails = events_fail
    refused(iam.create_user, UserName="alice")  # it took effect, but its record is not durable: so no good answer
    refused(iam.create_user, UserName="bob")
    refused(local.client("sts").get_caller_identity)  # has not changed anything: nothing is owed
    assert recorder.owed() == 2
    assert health(local) == (503, "journal: 2 events wait to be written")
    assert recorder.oldest_open_intent() == 1
    recorder.pay()
    assert recorder.owed() == 2, "still full"
    journal.fails = lambda _entries: None
    recorder.pay()
    recorder.pay()
    assert (recorder.owed(), recorder.oldest_open_intent(), health(local)) == (0, None, (200, "ok"))
    events = [json.loads(bytes(entry.payload)) for entry in local.entries() if entry.kind is EntryKind.EVENT]
    assert [record["requestParameters"]["userName"] for record in events] == ["alice", "bob"]
    assert [record.get("errorCode") for record in events] == [None, None]
    assert recover(journal) == 0, "no intent is left open"


def test_a_broken_journal_refuses_every_call(trouble: tuple[Any, FaultyJournal]) -> None:
    local, journal = trouble
    journal.fails = broken
    sts, s3 = local.client("sts"), local.client("s3")
    refused(sts.get_caller_identity)
    journal.fails = lambda _entries: None
    for _ in range(3):
        refused(sts.get_caller_identity)
        refused(s3.create_bucket, Bucket="bucket")
    assert health(local) == (503, "journal: an fsync failed")
    assert local.entries() == []


def test_in_pass_calls_are_answered_counted_and_written_when_they_can_be(with_journal: Any) -> None:
    local, journal = with_journal(on_journal_failure="pass")
    recorder = local.runtime.door.recorder
    journal.fails = full
    local.client("sts").get_caller_identity()
    local.client("iam").create_user(UserName="alice")
    assert recorder.unrecorded == 2
    _, _, text = local.send("GET", "/metrics", [(b"host", b"x")])
    assert b"opentrail_unrecorded_calls_total 2.0" in text
    assert b"opentrail_owed_events 2.0" in text
    journal.fails = lambda _entries: None
    recorder.pay()
    assert names(local.records()) == ["GetCallerIdentity", "CreateUser"]
    assert recorder.owed() == 0


def test_in_pass_memory_is_bounded(with_journal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_OWED_BYTES < 100 << 20
    monkeypatch.setattr("opentrail.server.recorder.MAX_OWED_BYTES", 10_000)
    local, journal = with_journal(on_journal_failure="pass")
    recorder = local.runtime.door.recorder
    journal.fails = full
    for _ in range(30):
        local.client("sts").get_caller_identity()
    assert recorder.unrecorded == 30
    assert 5 < recorder.owed() < 20
    journal.fails = lambda _entries: None
    recorder.pay()
    assert recorder.owed() == 0
    assert recorder.oldest_generation() == recorder._generation(), "nothing is held for calls that are over"


def test_trouble_is_told_once_and_its_end_too(
    trouble: tuple[Any, FaultyJournal], caplog: pytest.LogCaptureFixture
) -> None:
    local, journal = trouble
    journal.fails = full
    for _ in range(10):
        refused(local.client("sts").get_caller_identity)
    journal.fails = lambda _entries: None
    for _ in range(3):
        local.client("sts").get_caller_identity()
    said = [record.getMessage() for record in caplog.records if record.name == "opentrail.recorder"]
    assert said == ["calls are refused: no space left on device", "the journal can be written again"]


def test_an_intent_whose_place_is_not_known_yet_keeps_the_journal(trouble: tuple[Any, FaultyJournal]) -> None:
    """Between the disk and the event loop lies time in which delivery might trim what recovery would need."""
    local, journal = trouble
    recorder = local.runtime.door.recorder
    seen: list[int | None] = []

    def look(entries: Sequence[Entry]) -> None:
        if entries[0].kind is EntryKind.INTENT:
            seen.append(recorder.oldest_open_intent())

    journal.fails = look
    local.client("iam").create_user(UserName="alice")
    assert seen == [0]
    assert recorder.oldest_open_intent() is None


def test_trails_are_kept_for_calls_that_still_name_them(local: Any) -> None:
    """A long upload began under old trails; those must not be forgotten before its record is selected by them."""
    recorder, trails = local.runtime.door.recorder, local.runtime.door.services["cloudtrail"].deps.trails
    before = recorder.begin()
    s3, cloudtrail = local.client("s3"), local.client("cloudtrail")
    s3.create_bucket(Bucket="logs-bucket")
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "cloudtrail.amazonaws.com"},
                "Action": ["s3:GetBucketAcl", "s3:PutObject"],
                "Resource": ["arn:aws:s3:::logs-bucket", "arn:aws:s3:::logs-bucket/*"],
            }
        ],
    }
    s3.put_bucket_policy(Bucket="logs-bucket", Policy=json.dumps(policy))
    cloudtrail.create_trail(Name="trail", S3BucketName="logs-bucket")
    cloudtrail.start_logging(Name="trail")
    cloudtrail.stop_logging(Name="trail")
    assert trails.generation > before
    assert recorder.oldest_generation() == before
    local.runtime.flush(digest=False)
    trails.at(before)
    local.runtime.flush(digest=False)
    trails.at(before)
    recorder.end(before)
    local.runtime.flush(digest=False)
    local.runtime.flush(digest=False)
    with pytest.raises(AssertionError):
        trails.at(before)


def test_many_threads_and_the_loop_at_once(local: Any) -> None:
    """Delivery's own calls come from threads, clients' from the event loop: each is recorded once."""
    caller = local.runtime.worker._rounds.courier._bucket.caller
    s3 = local.client("s3")
    s3.create_bucket(Bucket="bucket")
    policy = {"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::bucket/*"}
    s3.put_public_access_block(Bucket="bucket", PublicAccessBlockConfiguration={})
    s3.put_bucket_policy(Bucket="bucket", Policy=json.dumps({"Version": "2012-10-17", "Statement": [policy]}))
    before = len(local.records())

    def put(worker: int) -> None:
        for number in range(20):
            key = f"{worker}/{number}"
            caller.call(
                "PutObject", {"Bucket": "bucket", "Key": key}, region="us-east-1", source_arn="arn:x", payload=b"x"
            )

    threads = [threading.Thread(target=put, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    clients = [local.client("sts") for _ in range(1)]
    for _ in range(40):
        clients[0].get_caller_identity()
    for thread in threads:
        thread.join()
    made = local.records()[before:]
    assert sorted(names(made)) == ["GetCallerIdentity"] * 40 + ["PutObject"] * 80
    recorder = local.runtime.door.recorder
    assert (recorder.owed(), recorder.oldest_open_intent(), recorder._in_flight) == (0, None, {})


def test_recovery_is_done_once(local: Any) -> None:
    """A crash in recovery itself leaves the rest to the next start, and nothing is recovered twice."""
    iam = local.client("iam")
    for name in ("alice", "bob"):
        iam.create_user(UserName=name)
    intents = [entry for entry in local.entries() if entry.kind is EntryKind.INTENT]
    for number, intent in enumerate(intents):  # as if the process had died before these two had their events
        open_intent = Entry(
            EntryKind.INTENT,
            intent.route,
            intent.event_time_ms,
            bytes([number]) * 16,
            json.dumps(json.loads(bytes(intent.payload)) | {"eventID": bytes([number]).hex() * 16}).encode(),
        )
        local.journal.append([open_intent])
    journal = FaultyJournal(local.journal)
    appended: list[Entry] = []

    def die(entries: Sequence[Entry]) -> JournalError | None:
        if appended:
            return broken(entries)
        appended.extend(entries)
        return None

    journal.fails = die
    with pytest.raises(JournalError):
        recover(journal)
    assert recover(local.journal) == 1
    assert recover(local.journal) == 0
    recovered: list[StoredEntry] = [entry for entry in local.entries() if entry.kind is EntryKind.RECOVERED]
    assert [entry.event_id[0] for entry in recovered] == [0, 1]
    assert {json.loads(bytes(entry.payload))["errorCode"] for entry in recovered} == {"OutcomeUnknown"}


def test_a_real_disk_that_is_full_and_then_is_not(serve: Any) -> None:
    """The kernel refuses to write beyond 64 KB of any file, as a full disk would."""
    server = serve("--delivery-interval", "1s")
    sts, s3 = server.client("sts"), server.client("s3")
    s3.create_bucket(Bucket="bucket")
    limits = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (64 << 10, limits[1]))
    answered = []

    def call() -> None:
        answered.append(sts.get_caller_identity()["ResponseMetadata"]["RequestId"])

    def call_until_refused() -> None:
        for _ in range(1000):
            call()

    with pytest.raises(ClientError, match="ServiceUnavailable"):
        call_until_refused()
    for _ in range(3):
        refused(sts.get_caller_identity)
        refused(s3.put_object, Bucket="bucket", Key="k", Body=b"v")
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limits)
    for _ in range(3):
        call()
        s3.put_object(Bucket="bucket", Key="k", Body=b"v")
        time.sleep(0.01)
    assert server.stop() == 0
    records = server.records()
    assert set(answered) <= {record["requestID"] for record in records}
    assert names(records).count("PutObject") == 3
