"""Validation beyond the tamper matrix: what it tells that is no accusation, ranges, shared folders, flips, memory."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opentrail.core.digests import decode_digest
from opentrail.core.findings import Finding, FindingCode, Severity
from opentrail.core.gzip_member import decode_member
from opentrail.core.layout import LogKind, digest_prefix, parse_digest_key
from opentrail.core.object_checks import read_digest
from opentrail.core.validation import ChainValidator, FetchDigest, Step
from opentrail.keys.base import Signer
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.stores.memory import MemoryStore
from opentrail.testing.sample_trail import (
    BUCKET,
    FOLDER,
    REGION,
    START,
    TRAIL,
    Objects,
    SampleTrail,
    build_sample_trail,
    sample_record,
    store_bytes,
    store_of,
)
from opentrail.testing.tamper_matrix import touch
from opentrail.testing.trail_writer import TrailWriter
from opentrail.verification.one_chain import validate_chain
from opentrail.verification.source import user_metadata

HOUR = timedelta(hours=1)
Said = set[tuple[FindingCode, str]]


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> SampleTrail:
    return build_sample_trail(RsaKeyFiles(tmp_path_factory.mktemp("keys")))


@pytest.fixture(scope="module")
def small_trail(trail: SampleTrail) -> SampleTrail:
    """The first six hours."""
    digests = trail.digests[:6]
    files = {key: trail.files[key] for key in digests}
    kept = {*digests, *(log for logs in files.values() for log in logs)}
    return replace(
        trail, digests=digests, files=files, objects={key: trail.objects[key] for key in trail.objects if key in kept}
    )


def _validate(trail: SampleTrail, objects: Objects, **bounds: Any) -> list[Finding]:
    store = store_of(objects)
    return list(validate_chain(store, TRAIL, bucket=BUCKET, public_keys=trail.public_keys(), **bounds))


# What every run over the sample trail tells, whatever was done to it.
ALWAYS = {
    FindingCode.CHAIN_STARTED,
    FindingCode.LOGGING_STOPPED,
    FindingCode.KEY_ROTATED,
    FindingCode.DIGESTS_EMPTY,
    FindingCode.BACKFILL_DIGEST,
}


def _of(findings: list[Finding], severity: Severity) -> Said:
    """What was found, but for the stop that the sample trail has."""
    picked = {(finding.code, finding.key) for finding in findings if finding.severity is severity}
    return picked - {(FindingCode.LOGGING_STOPPED, digest_prefix(FOLDER))}


def _writer(store: MemoryStore, sample: SampleTrail, **changes: Any) -> TrailWriter:
    def signer(end_time: datetime) -> Signer:
        return sample.keys.signer(REGION, now=sample.end, digest_end_time=end_time)

    return TrailWriter(
        store, **{"trail": TRAIL, "bucket": BUCKET, "signer": signer, "start": START, "seed": 99, **changes}
    )


def test_stops_and_starts_are_told(trail: SampleTrail) -> None:
    findings = _validate(trail, trail.objects)
    again = trail.digests[trail.restart]
    started = {finding.key for finding in findings if finding.code is FindingCode.CHAIN_STARTED}
    assert started == {trail.digests[0], again}
    assert {finding.code for finding in findings} == ALWAYS
    (told,) = [finding for finding in findings if finding.key == again]
    ended, restarted = (datetime.fromisoformat(told.details[name]) for name in ("previous_end", "start"))
    assert restarted - ended == timedelta(hours=2, minutes=51)


def test_missing_digests_leave_a_span_that_is_told_with_its_log_files(trail: SampleTrail) -> None:
    touched = touch(trail, "two_digests_deleted_in_a_row")
    findings = _validate(trail, touched.objects)
    ((_, newer),) = touched.errors
    at = trail.digests.index(newer)
    (span,) = [finding for finding in findings if finding.code is FindingCode.SPAN_UNPROVEN]
    assert datetime.fromisoformat(span.details["start"]) == parse_digest_key(trail.digests[at - 2]).end_time
    assert datetime.fromisoformat(span.details["end"]) == parse_digest_key(newer).end_time
    (missing,) = [finding for finding in findings if finding.code is FindingCode.DIGEST_MISSING]
    assert missing.details["digests"] == "2"
    assert "some 2 digests in a row are gone" in missing.message
    unproven = {finding.key for finding in findings if finding.code is FindingCode.LOG_FILE_UNPROVEN}
    assert unproven == {log for digest in trail.digests[at - 1 : at + 1] for log in trail.files[digest]}


def test_a_damaged_newest_digest_leaves_a_span(trail: SampleTrail) -> None:
    findings = _validate(trail, touch(trail, "newest_digest_edited").objects)
    (span,) = [finding for finding in findings if finding.code is FindingCode.SPAN_UNPROVEN]
    assert datetime.fromisoformat(span.details["end"]) == trail.end


def test_a_digest_whose_metadata_alone_were_changed_leaves_no_span(trail: SampleTrail) -> None:
    findings = _validate(trail, touch(trail, "signature_changed").objects)
    assert {finding.code for finding in findings} == ALWAYS | {FindingCode.DIGEST_SIGNATURE_INVALID}


def test_a_moved_log_file_is_told_with_the_name_that_it_had(trail: SampleTrail) -> None:
    touched = touch(trail, "log_moved", "log_planted", seed=3)
    findings = _validate(trail, touched.objects)
    ((_, original),) = touched.errors
    (moved,) = [finding for finding in findings if finding.code is FindingCode.LOG_FILE_MOVED]
    assert moved.details["original"] == original
    assert touched.objects[moved.key] == trail.objects[original]


def test_log_files_behind_the_newest_digest_are_told_and_not_accused(trail: SampleTrail) -> None:
    objects = {key: value for key, value in trail.objects.items() if key not in trail.digests[-9:]}
    findings = _validate(trail, objects)
    assert _of(findings, Severity.ERROR) == set()
    behind = [log for digest in trail.digests[-9:] for log in trail.files[digest]]
    (told,) = [finding for finding in findings if finding.code is FindingCode.LOG_FILES_NOT_YET_NAMED]
    assert (told.details["count"], told.details["first"]) == (str(len(behind)), min(behind))


def test_log_files_of_a_time_without_validation_are_no_warning(trail: SampleTrail) -> None:
    off = parse_digest_key(trail.digests[trail.restart - 1]).end_time + HOUR
    store = store_of(trail.objects)
    file = _writer(store, trail).put_log_file(off, [sample_record(1)])
    findings = list(validate_chain(store, TRAIL, bucket=BUCKET, public_keys=trail.public_keys()))
    assert _of(findings, Severity.WARNING) == set()
    assert (FindingCode.LOG_FILE_WITHOUT_DIGESTS, file.key) in _of(findings, Severity.INFO)


@pytest.mark.parametrize("kind", LogKind)
def test_a_log_file_of_any_kind_that_no_digest_names_is_a_warning(trail: SampleTrail, kind: LogKind) -> None:
    store = store_of(trail.objects)
    file = _writer(store, trail).put_log_file(START + 7 * HOUR, [sample_record(1)], kind=kind)
    findings = list(validate_chain(store, TRAIL, bucket=BUCKET, public_keys=trail.public_keys()))
    assert _of(findings, Severity.WARNING) == {(FindingCode.LOG_FILE_NOT_NAMED, file.key)}


def test_a_log_file_that_waited_for_its_bucket_is_named_late(trail: SampleTrail) -> None:
    store = MemoryStore()
    writer = _writer(store, trail)
    file = writer.put_log_file(START, [sample_record(1)], name=False)
    for day in range(1, 30):
        if day == 29:
            writer._delivered = [file]
        writer.put_digest(START + timedelta(days=day))
    findings = list(validate_chain(store, TRAIL, bucket=BUCKET, public_keys=trail.public_keys()))
    assert {finding.code for finding in findings} == {FindingCode.CHAIN_STARTED, FindingCode.DIGESTS_EMPTY}


def test_a_range_is_validated_alone(trail: SampleTrail) -> None:
    objects = dict(trail.objects)
    for digest in {*trail.digests} - {*trail.digests[31:35]}:
        objects[digest] = (b"", {})
    start, end = (parse_digest_key(trail.digests[n]).end_time for n in (31, 34))
    del objects[trail.digests[30]]
    log = next(log for digest in trail.digests[32:35] for log in trail.files[digest])
    objects[log] = (b"", {})
    findings = _validate(trail, objects, start=start, end=end)
    assert _of(findings, Severity.ERROR) == {(FindingCode.LOG_FILE_MALFORMED, log)}
    assert _of(findings, Severity.WARNING) == set()


def test_the_newest_end_is_held_to_what_is_expected(trail: SampleTrail) -> None:
    cut_off = (FindingCode.CHAIN_CUT_OFF, digest_prefix(FOLDER))
    assert _of(_validate(trail, trail.objects, expected_until=trail.end), Severity.ERROR) == set()
    late = trail.end + timedelta(seconds=1)
    assert _of(_validate(trail, trail.objects, expected_until=late), Severity.ERROR) == {cut_off}
    assert _of(_validate(trail, {}, expected_until=late), Severity.ERROR) == {cut_off}
    assert _of(_validate(trail, {}), Severity.WARNING) == {(FindingCode.NO_DIGESTS, digest_prefix(FOLDER))}


def test_a_key_that_was_not_valid_then_is_a_warning(trail: SampleTrail) -> None:
    first, second = trail.public_keys()
    late = replace(first, validity_start=START + 2 * HOUR)
    findings = list(validate_chain(trail.store(), TRAIL, bucket=BUCKET, public_keys=(late, second)))
    assert _of(findings, Severity.WARNING) == {(FindingCode.DIGEST_KEY_NOT_VALID, trail.digests[0])}
    assert _of(findings, Severity.ERROR) == set()


def test_without_any_key_every_digest_is_accused_and_nothing_else(trail: SampleTrail) -> None:
    findings = list(validate_chain(trail.store(), TRAIL, bucket=BUCKET, public_keys=()))
    assert _of(findings, Severity.ERROR) == {
        (FindingCode.DIGEST_KEY_UNKNOWN, key) for key in (*trail.digests, *trail.backfills)
    }
    assert _of(findings, Severity.WARNING) == set()


def test_a_bucket_of_another_name_is_not_the_one_that_was_signed_for(trail: SampleTrail) -> None:
    found = validate_chain(trail.store(), TRAIL, bucket="other", public_keys=trail.public_keys())
    assert {finding.code for finding in found if finding.severity is Severity.ERROR} == {FindingCode.DIGEST_FOREIGN}


def test_another_trail_in_the_same_folder_is_left_alone(trail: SampleTrail) -> None:
    store = store_of(trail.objects)
    second = _writer(store, trail, trail=replace(TRAIL, trail_name="main_trail_2"))
    file = second.put_log_file(START + timedelta(minutes=5), [sample_record(5)])
    second.put_digest(START + HOUR)
    findings = list(validate_chain(store, TRAIL, bucket=BUCKET, public_keys=trail.public_keys()))
    assert _of(findings, Severity.ERROR) == _of(findings, Severity.WARNING) == set()
    assert (FindingCode.LOG_FILES_OF_OTHER_TRAIL, file.key) in _of(findings, Severity.INFO)


def test_a_bucket_before_this_one_is_told(trail: SampleTrail) -> None:
    old, new = MemoryStore(), MemoryStore()
    writer = _writer(old, trail, bucket="old")
    log = writer.put_log_file(START, [sample_record(1)], name=False)
    writer.put_digest(START + HOUR)
    writer._store, writer.bucket, writer._delivered = new, BUCKET, [log]  # UpdateTrail
    digest = writer.put_digest(START + 2 * HOUR)

    def found(buckets: Mapping[str, MemoryStore]) -> Said:
        keys = trail.public_keys()
        findings = validate_chain(new, TRAIL, bucket=BUCKET, public_keys=keys, other_buckets=buckets)
        return {(finding.code, finding.key) for finding in findings}

    elsewhere = (FindingCode.CHAIN_ELSEWHERE, digest)
    assert found({"old": old}) == {elsewhere}
    assert found({}) == {elsewhere, (FindingCode.LOG_FILE_UNREACHABLE, log.key)}
    old.delete(log.key)
    assert found({"old": old}) == {elsewhere, (FindingCode.LOG_FILE_MISSING, log.key)}


def test_a_digest_that_the_chain_passes_by_is_accused(trail: SampleTrail) -> None:
    """Only the holder of the key can make one: a fork, where the successor names an older digest."""
    store = MemoryStore()
    writer = _writer(store, trail)
    writer.put_digest(START + HOUR)
    link = writer._link
    passed_by = writer.put_digest(START + 2 * HOUR)
    writer._link = link
    writer.put_digest(START + 3 * HOUR)
    findings = list(validate_chain(store, TRAIL, bucket=BUCKET, public_keys=trail.public_keys()))
    assert _of(findings, Severity.ERROR) == {(FindingCode.DIGEST_NOT_IN_CHAIN, passed_by)}


def test_an_object_that_goes_between_listing_and_reading_is_missing(trail: SampleTrail) -> None:
    reading = read_digest(trail.digests[3], None, {}, bucket=BUCKET, public_keys={})
    assert [(finding.code, finding.key) for finding in reading.findings] == [
        (FindingCode.DIGEST_MISSING, trail.digests[3])
    ]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_of_any_object_is_found(small_trail: SampleTrail, data: st.DataObject) -> None:
    """Or it is in bytes that say nothing: then the content is as it was, for every reader."""
    key = data.draw(st.sampled_from(sorted(small_trail.objects)))
    raw, metadata = small_trail.objects[key]
    flipped = bytearray(raw)
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    flipped[bit // 8] ^= 1 << bit % 8
    findings = _validate(small_trail, {**small_trail.objects, key: (bytes(flipped), metadata)})
    accused = {finding.key for finding in findings if finding.severity is Severity.ERROR}
    if accused != {key}:
        assert accused == set()
        assert zlib.decompress(bytes(flipped), 31) == decode_member(raw, max_size=1 << 20)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_any_changed_character_of_a_signature_is_found(small_trail: SampleTrail, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(small_trail.digests))
    raw, metadata = small_trail.objects[key]
    signature = metadata["x-amz-meta-signature"]
    at = data.draw(st.integers(0, len(signature) - 1))
    printable = st.characters(min_codepoint=33, max_codepoint=126)
    other = data.draw(printable.filter(lambda character: character.lower() != signature[at]))  # hex has no case
    changed = {**metadata, "x-amz-meta-signature": signature[:at] + other + signature[at + 1 :]}
    findings = _validate(small_trail, {**small_trail.objects, key: (raw, changed)})
    assert {finding.key for finding in findings if finding.severity is Severity.ERROR} == {key}


def test_whatever_is_deleted_or_emptied_all_that_is_accused_is_damaged(trail: SampleTrail) -> None:
    keys = sorted(key for key in trail.objects if key != trail.foreign)
    named = {
        digest: {log.key for log in decode_digest(decode_member(trail.objects[digest][0], max_size=1 << 20)).log_files}
        for digest in (*trail.digests, *trail.backfills)
    }

    @settings(max_examples=60, deadline=None)
    @given(gone=st.sets(st.sampled_from(keys)), emptied=st.sets(st.sampled_from(keys)))
    def check(gone: set[str], emptied: set[str]) -> None:
        objects = {
            key: (b"", metadata) if key in emptied else (data, metadata) for key, (data, metadata) in all_objects
        }
        findings = _validate(trail, {key: value for key, value in objects.items() if key not in gone})
        accused = {finding.key for finding in findings if finding.severity is Severity.ERROR}
        assert accused <= gone | emptied
        assert (emptied - gone) & named.keys() <= accused
        for digest in named.keys() - gone - emptied:
            assert named[digest] & (gone | emptied) <= accused

    all_objects = trail.objects.items()
    check()


def test_the_order_in_which_log_keys_come_changes_nothing(trail: SampleTrail) -> None:
    touched = touch(trail, "log_planted")
    outcomes = []
    for logs_first in (True, False):
        validator = ChainValidator(TRAIL, bucket=BUCKET)
        keys = {key.fingerprint: key for key in trail.public_keys()}
        logs = [key for key in sorted(touched.objects) if "/CloudTrail/" in key]
        found: list[Step] = []
        for key in logs if logs_first else ():
            found += validator.add_log_key(key)
        for text in sorted(key for key in touched.objects if key.startswith(digest_prefix(FOLDER))):
            for step in validator.receive_key(text):
                assert isinstance(step, FetchDigest)
                data, metadata = touched.objects[step.key]
                reading = read_digest(step.key, data, user_metadata(metadata), bucket=BUCKET, public_keys=keys)
                found += validator.receive_digest(reading)
        for key in () if logs_first else logs:
            found += validator.add_log_key(key)
        found += validator.finish()
        outcomes.append({(finding.code, finding.key) for finding in found if isinstance(finding, Finding)})
    assert outcomes[0] == outcomes[1]
    assert {said for said in touched.warnings if said[0] is FindingCode.LOG_FILE_NOT_NAMED} <= outcomes[0]


def test_memory_does_not_grow_with_the_trail(trail: SampleTrail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opentrail.core.moved_files._MOST", 20)  # names of log files in no digest that are kept

    def peak(days: int) -> int:
        store = MemoryStore()
        writer = _writer(store, trail)
        for day in range(days):
            moment = START + timedelta(days=day)
            writer.put_log_file(moment, [sample_record(day)])
            writer.put_log_file(moment, [sample_record(day)], name=False)
            writer.put_digest(moment + timedelta(hours=12))
        tracemalloc.start()
        found = 0
        for finding in validate_chain(store, TRAIL, bucket=BUCKET, public_keys=trail.public_keys()):
            found += finding.severity is Severity.WARNING
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert found == days
        return most

    peak(5)
    assert peak(800) - peak(100) < 700 * 64, "isal keeps 48 bytes of each member; nothing else may"


def test_store_bytes_are_what_was_written(trail: SampleTrail) -> None:
    key = trail.digests[0]
    assert store_bytes(trail.store(), key) == trail.objects[key][0]
