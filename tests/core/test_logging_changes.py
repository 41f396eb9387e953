"""Who stopped logging, by the records of the trail itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentrail.core.findings import Finding, FindingCode
from opentrail.core.layout import TrailFolder, digest_prefix
from opentrail.core.log_folder import Hole
from opentrail.core.logfiles import encode_log_file
from opentrail.core.logging_changes import LoggingHistory, find_changes
from opentrail.keys.base import Signer
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.stores.chain_reader import validate_chain
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

HOUR = timedelta(hours=1)
GAP = Hole(start=START, end=START + 3 * HOUR, is_damage=False)


def _content(*records: bytes) -> bytes:
    return b'{"Records":[' + b",".join([sample_record(1), *records, sample_record(2)]) + b"]}"


def _told(
    records: Sequence[bytes], trail: TrailFolder = TRAIL, *, read: bool = True, gap: bool = True
) -> list[Finding]:
    history = LoggingHistory()
    if read:
        history.add_read(replace(trail.folder, region=trail.home_region))
    findings: list[Finding] = []
    for change in find_changes("log", _content(*records)):
        findings += history.add_change(change)
    if gap:
        history.add_gap(trail, GAP)
    return [*findings, *history.finish()]


def _codes(findings: list[Finding]) -> list[FindingCode]:
    return [each.code for each in findings]


@pytest.mark.parametrize("name", [TRAIL_ARN, TRAIL.trail_name])
def test_the_gap_names_who_stopped_logging(name: str) -> None:
    (told,) = _told([stop_record(START, requestParameters={"name": name})])
    assert (told.code, told.key) == (FindingCode.LOGGING_STOPPED, digest_prefix(FOLDER))
    assert told.details["user"] == STOPPER
    assert told.details["event_name"] == "StopLogging"
    assert told.details["log_file"] == "log"
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
    assert _codes(_told([stop_record(START)], member)) == [FindingCode.LOGGING_STOPPED]


@pytest.mark.parametrize(
    ("changes", "at"),
    [
        ({"errorCode": "AccessDenied"}, START),  # nobody was stopped
        ({"requestParameters": {"name": "another"}}, START),
        ({"requestParameters": {"name": TRAIL_ARN.replace(FOLDER.account_id, "9" * 12)}}, START),
        ({"eventSource": "s3.amazonaws.com"}, START),
        ({}, START - 3 * HOUR),  # and logging was on again since
        ({}, START + 4 * HOUR),
        ({"eventTime": "some day"}, START),
        ({"eventTime": "0001-01-01T00:00:00+23:00"}, START),
        ({"requestParameters": None}, START),
        ({"userIdentity": "me"}, START),
    ],
)
def test_another_call_explains_nothing(changes: dict[str, Any], at: datetime) -> None:
    assert FindingCode.GAP_UNEXPLAINED in _codes(_told([stop_record(at, **changes)]))


def test_validation_turned_off_and_a_deleted_trail_end_a_chain_too() -> None:
    off = {"eventName": "UpdateTrail", "requestParameters": {"name": TRAIL_ARN, "enableLogFileValidation": False}}
    assert _codes(_told([stop_record(START, **off)])) == [FindingCode.LOGGING_STOPPED]
    assert _codes(_told([stop_record(START, eventName="DeleteTrail")])) == [FindingCode.LOGGING_STOPPED]


def test_what_stopped_logging_for_good_is_told_though_no_chain_began_since() -> None:
    (told,) = _told([stop_record(START)], gap=False)
    assert (told.code, told.key) == (FindingCode.LOGGING_STOPPED, "log")


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
