"""Who stopped logging, by the records of the trail itself."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import accumulate, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentrail.core.digests import DigestedLogFile, hash_of
from opentrail.core.findings import Finding, FindingCode
from opentrail.core.layout import Folder, LogKey, TrailFolder, digest_prefix, format_log_key
from opentrail.core.log_folder import Hole
from opentrail.core.logfiles import encode_log_file
from opentrail.core.logging_changes import LoggingHistory
from opentrail.core.object_checks import read_changes, read_log_file
from opentrail.core.trail_changes import ChangeReader, ChangeSearch, find_changes
from opentrail.keys.base import Signer
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.stores.memory import MemoryStore
from opentrail.testing.sample_trail import (
    BUCKET,
    FOLDER,
    REGION,
    START,
    STOPPER,
    TRAIL,
    TRAIL_ARN,
    sample_record,
    stop_record,
)
from opentrail.testing.trail_writer import TrailWriter
from opentrail.verification.one_chain import validate_chain

HOUR = timedelta(hours=1)
LOG = format_log_key(LogKey(folder=FOLDER, delivered_at=START, unique="L" * 16))
GAP = Hole(start=START, end=START + 3 * HOUR, is_damage=False)


def _content(*records: bytes) -> bytes:
    return b'{"Records":[' + b",".join([sample_record(1), *records, sample_record(2)]) + b"]}"


def _told(
    records: Sequence[bytes], trail: TrailFolder = TRAIL, *, read: bool = True, gap: bool = True, log: str = LOG
) -> list[Finding]:
    history = LoggingHistory()
    if read:
        history.add_read(replace(trail.folder, region=trail.home_region))
    findings: list[Finding] = []
    for change in find_changes(log, _content(*records)):
        findings += history.add_change(change)
    if gap:
        history.add_gap(trail, GAP)
    return [*findings, *(finding for _, finding in history.finish())]


def _codes(findings: list[Finding]) -> list[FindingCode]:
    return [each.code for each in findings]


@pytest.mark.parametrize("name", [TRAIL_ARN, TRAIL.trail_name])
def test_the_gap_names_who_stopped_logging(name: str) -> None:
    (told,) = _told([stop_record(START, requestParameters={"name": name})])
    assert (told.code, told.key) == (FindingCode.LOGGING_STOPPED, digest_prefix(FOLDER))
    assert told.details["user"] == STOPPER
    assert told.details["event_name"] == "StopLogging"
    assert told.details["log_file"] == LOG
    assert datetime.fromisoformat(told.details["end"]) - datetime.fromisoformat(told.details["start"]) == 3 * HOUR
    assert STOPPER in told.message


def test_a_trail_of_another_region_is_explained_by_the_records_of_its_home() -> None:
    elsewhere = replace(TRAIL, folder=replace(FOLDER, region="us-east-1"))
    assert _codes(_told([stop_record(START)], elsewhere)) == [FindingCode.LOGGING_STOPPED]
    assert _codes(_told([], elsewhere)) == [FindingCode.GAP_UNEXPLAINED]
    assert _codes(_told([], elsewhere, read=False)) == [FindingCode.GAP_UNEXAMINED]


def test_a_member_account_is_explained_by_the_records_of_the_organization() -> None:
    folder = replace(FOLDER, organization_id="o-abcdefghij", account_id="444455556666")
    member = replace(TRAIL, folder=folder)
    management = format_log_key(
        LogKey(folder=replace(folder, account_id=FOLDER.account_id), delivered_at=START, unique="L" * 16)
    )
    assert _codes(_told([stop_record(START)], member, log=management)) == [FindingCode.LOGGING_STOPPED]


@pytest.mark.parametrize(
    ("changes", "at"),
    [
        ({"errorCode": "AccessDenied"}, START),  # nobody was stopped
        ({"requestParameters": {"name": "another"}}, START),
        ({"requestParameters": {"name": TRAIL_ARN.replace(FOLDER.account_id, "9" * 12)}}, START),
        ({"requestParameters": {"name": TRAIL_ARN.replace(REGION, "us-east-1")}}, START),
        ({"eventName": "UpdateTrail", "requestParameters": {"name": TRAIL_ARN, "snsTopicName": "t"}}, START),
        ({"eventSource": "s3.amazonaws.com"}, START),
        ({"eventName": ["StopLogging"]}, START),
        ({}, START + 4 * HOUR),
        ({"eventTime": "some day"}, START),
        ({"eventTime": "0001-01-01T00:00:00+23:00"}, START),
        ({"requestParameters": None}, START),
        ({"userIdentity": "me"}, START),
    ],
)
def test_another_call_explains_nothing(changes: dict[str, Any], at: datetime) -> None:
    assert FindingCode.GAP_UNEXPLAINED in _codes(_told([stop_record(at, **changes)]))


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        (START - 3 * HOUR, FindingCode.GAP_UNEXPLAINED),  # a digest is no longer than that, and so began after it
        (START - HOUR / 2, FindingCode.LOGGING_STOPPED),
        (None, FindingCode.LOGGING_STOPPED),
    ],
)
def test_a_call_after_which_logging_was_started_again_explains_no_end_long_after(
    since: datetime | None, expected: FindingCode
) -> None:
    """While nobody has started it, a chain may go on: it does where the server was down."""
    stop = stop_record(START - 4 * HOUR, eventID="stop")
    start = stop_record(since or START + HOUR, eventName="StartLogging", eventID="start")
    assert expected in _codes(_told([stop, start]))


@pytest.mark.parametrize(
    "elsewhere",
    [
        replace(FOLDER, account_id="444455556666"),  # whose owner has a trail of that name, too, and stops it
        replace(FOLDER, region="us-east-1"),
        replace(FOLDER, organization_id="o-abcdefghij"),
    ],
)
@pytest.mark.parametrize("name", [TRAIL_ARN, TRAIL.trail_name])
def test_who_stops_a_trail_of_the_same_name_elsewhere_explains_nothing(elsewhere: Folder, name: str) -> None:
    log = format_log_key(LogKey(folder=elsewhere, delivered_at=START, unique="L" * 16))
    told = _told([stop_record(START, requestParameters={"name": name})], log=log)
    assert FindingCode.GAP_UNEXPLAINED in _codes(told)


def test_a_gap_is_told_once_though_its_chain_was_read_twice() -> None:
    history = LoggingHistory()
    history.add_read(FOLDER)
    for _ in range(2):
        history.add_gap(TRAIL, GAP)
    assert [trail for trail, _ in history.finish()] == [TRAIL]


def test_validation_turned_off_and_a_deleted_trail_end_a_chain_too() -> None:
    off = {"eventName": "UpdateTrail", "requestParameters": {"name": TRAIL_ARN, "enableLogFileValidation": False}}
    assert _codes(_told([stop_record(START, **off)])) == [FindingCode.LOGGING_STOPPED]
    assert _codes(_told([stop_record(START, eventName="DeleteTrail")])) == [FindingCode.LOGGING_STOPPED]


def test_what_stopped_logging_for_good_is_told_though_no_chain_began_since() -> None:
    (told,) = _told([stop_record(START)], gap=False)
    assert (told.code, told.key) == (FindingCode.LOGGING_STOPPED, LOG)


def test_other_changes_are_told_once() -> None:
    narrowed = {"eventName": "PutEventSelectors", "requestParameters": {"trailName": TRAIL_ARN}}
    record = stop_record(START, **narrowed)
    (told,) = _told([record, record], gap=False)
    assert (told.code, told.details["event_name"]) == (FindingCode.TRAIL_CHANGED, "PutEventSelectors")


def test_forged_records_explain_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A log file that was put there, and one that was changed, are no witnesses."""
    keys = RsaKeyFiles(tmp_path_factory.mktemp("keys"))

    def signer(end_time: datetime) -> Signer:
        return keys.signer(REGION, now=START, digest_end_time=end_time)

    store = MemoryStore()
    writer = TrailWriter(store, TRAIL, bucket=BUCKET, signer=signer, start=START)
    changed = writer.put_log_file(START + HOUR / 2, [sample_record(1)])
    writer.put_digest(START + HOUR)
    writer.put_log_file(START + HOUR / 2, [stop_record(START + HOUR)], name=False)
    store.put(changed.key, encode_log_file([stop_record(START + HOUR)]).data, {})
    writer.start_chain(START + 3 * HOUR)
    writer.put_digest(START + 4 * HOUR)
    findings = list(validate_chain(store, TRAIL, bucket=BUCKET, public_keys=keys.list(REGION)))
    codes = _codes(findings)
    assert FindingCode.LOG_FILE_CHANGED in codes
    assert FindingCode.GAP_UNEXPLAINED in codes
    assert FindingCode.LOGGING_STOPPED not in codes


@given(
    members=st.dictionaries(
        st.sampled_from(["eventName", "userIdentity", "eventTime", "requestParameters", "eventID", "errorCode"]),
        st.none() | st.booleans() | st.integers() | st.text() | st.dictionaries(st.just("name"), st.integers()),
    ),
    tail=st.binary(max_size=30),
)
def test_any_record_is_read_or_passed_over(members: dict[str, Any], tail: bytes) -> None:
    record = stop_record(START, **members)
    for content in (_content(record), _content(record) + tail, b'"StopLogging" cloudtrail.amazonaws.com' + tail):
        for change in find_changes("log", content):
            list(LoggingHistory().add_change(change))


def test_nested_and_bottomless_records_are_passed_over() -> None:
    deep = b'{"StopLogging":"cloudtrail.amazonaws.com","a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert find_changes("log", b'{"Records":[' + deep + b"]}") == ()
    assert (
        find_changes("log", json.dumps({"Records": [], "a": ["StopLogging cloudtrail.amazonaws.com"]}).encode()) == ()
    )


@pytest.mark.parametrize(
    "record",
    [
        b'{"n":' + b"9" * 5000 + b"}",
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' + b'{"b":' * 50_000 + b'"}]\\\\\\"{"' + b"}" * 50_000 + b"}",
        b'{"a":"' + b"{x" * 2_600_000 + b'"}',
        b'{"a":"' + b'\\"' * 2_600_000 + b'","b":{"StopLogging":"cloudtrail.amazonaws.com"}}',
    ],
    ids=["long number", "deep lists", "deep objects", "long text", "long text of escapes"],
)
@pytest.mark.parametrize("piece", [1009, 100_000, 10_000_000])
def test_a_record_that_cannot_be_read_hides_none_behind_it(record: bytes, piece: int) -> None:
    content = _content(record, stop_record(START))
    reader = ChangeReader(LOG)
    size = max(piece, len(content) // 100)
    for at in range(0, len(content), size):
        reader.feed(content[at : at + size])
    assert [change.event_name for change in reader.changes] == ["StopLogging"]


def _padded(*records: bytes, megabytes: int) -> bytes:
    """A log file too large to be kept, with ``records`` in its midst."""
    noise = [sample_record(number)[:-1] + b',"x":"%s"}' % os.urandom(2000).hex().encode() for number in range(256)]
    return b'{"Records":[' + b",".join([*noise * megabytes, *records, *noise]) + b"]}"


def test_a_large_log_file_is_read_again_for_the_changes_in_it() -> None:
    content = _padded(stop_record(START), megabytes=2)
    data = gzip.compress(content, 1)
    file = DigestedLogFile(
        bucket=BUCKET, key=LOG, hash_value=hash_of(content), newest_event_time=None, oldest_event_time=None
    )
    first = read_log_file(file, [data], with_changes=True)
    assert first.finding is None
    assert first.has_more_changes
    assert first.changes == ()
    assert not read_log_file(file, [data]).has_more_changes, "nobody asked"
    again = read_changes(file, [data])
    assert [change.event_name for change in again.changes] == ["StopLogging"]
    assert again.changes == find_changes(LOG, content)
    other = read_changes(file, [gzip.compress(content[:-1] + b" }", 1)])
    assert other.finding is not None, "what is read again is proven again"
    assert other.changes == ()


def test_a_large_log_file_without_changes_is_read_once() -> None:
    content = _padded(megabytes=1)
    file = DigestedLogFile(
        bucket=BUCKET, key=LOG, hash_value=hash_of(content), newest_event_time=None, oldest_event_time=None
    )
    assert not read_log_file(file, [gzip.compress(content, 1)], with_changes=True).has_more_changes


@given(st.lists(st.integers(1, 400), max_size=30), st.integers(0, 70_000))
def test_changes_are_found_wherever_the_pieces_end(sizes: list[int], before: int) -> None:
    content = b'{"x":"' + b"-" * before + b'","Records":[' + sample_record(1) + b"," + stop_record(START) + b"]}"
    search, reader = ChangeSearch(), ChangeReader(LOG)
    edges = [0, before, *accumulate(sizes, initial=before), len(content)]
    for start, end in pairwise(min(edge, len(content)) for edge in edges):
        search.feed(content[start:end])
        reader.feed(content[start:end])
    search.finish()
    assert search.is_found
    assert tuple(reader.changes) == find_changes(LOG, content)
    assert len(reader.changes) == 1
