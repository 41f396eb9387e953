"""What an attacker may put into a bucket: each is a finding, in bounded memory, and nothing else happens."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opentrail.core.copied_signatures import CopiedSignatures
from opentrail.core.digests import (
    MAX_DIGEST_BYTES,
    DigestedLogFile,
    PreviousDigest,
    decode_digest,
    hash_of,
    next_digest,
    sign_digest,
)
from opentrail.core.errors import FormatError
from opentrail.core.event_ids import RecentEvents, find_event_ids
from opentrail.core.findings import Finding, FindingCode, Severity
from opentrail.core.layout import digest_prefix, format_digest_key, log_prefix, parse_digest_key, parse_log_key
from opentrail.core.log_folder import MOST_WAITING, LogFolder
from opentrail.core.object_checks import DigestReading, check_log_file, read_digest, read_log_file
from opentrail.core.validation import ChainValidator, FetchDigest
from opentrail.keys.base import Signer
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.stores.memory import MemoryStore
from opentrail.testing.sample_trail import (
    BUCKET,
    FOLDER,
    REGION,
    START,
    TRAIL,
    SampleTrail,
    build_sample_trail,
    sample_record,
    store_of,
)
from opentrail.testing.trail_writer import TrailWriter
from opentrail.verification.one_chain import validate_chain
from opentrail.verification.source import user_metadata

MEGABYTE = 1 << 20
HOUR = timedelta(hours=1)
LOG = DigestedLogFile(
    bucket=BUCKET,
    key=f"{log_prefix(FOLDER)}2024/05/06/{FOLDER.account_id}_CloudTrail_{REGION}_20240506T0922Z_0123456789ABCDEF.json.gz",
    hash_value="0" * 64,
    newest_event_time=None,
    oldest_event_time=None,
)


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> SampleTrail:
    return build_sample_trail(RsaKeyFiles(tmp_path_factory.mktemp("keys")))


def _read(trail: SampleTrail, data: bytes, **metadata: str) -> DigestReading:
    key = trail.digests[3]
    kept = {**user_metadata(trail.objects[key][1]), **metadata}
    keys = {public.fingerprint: public for public in trail.public_keys()}
    return read_digest(key, data, kept, bucket=BUCKET, public_keys=keys)


def _codes(reading: DigestReading) -> list[FindingCode]:
    return [each.code for each in reading.findings]


def _bomb(size: int) -> bytes:
    """A gzip member of ``size`` zeros, which it takes a thousandth of."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([*(packer.compress(bytes(MEGABYTE)) for _ in range(size // MEGABYTE)), packer.flush()])


def _peak(work: Callable[[], object]) -> int:
    """The most bytes that ``work`` held at once, beside what was there."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_bomb_for_a_digest_is_not_inflated_to_its_end(trail: SampleTrail) -> None:
    bomb = _bomb(4 * MAX_DIGEST_BYTES)
    assert _codes(_read(trail, bomb)) == [FindingCode.DIGEST_TOO_LARGE]
    assert _peak(lambda: _read(trail, bomb)) < 3 * MAX_DIGEST_BYTES


def test_a_bomb_for_a_log_file_is_not_inflated_to_its_end() -> None:
    bomb = _bomb(64 * MEGABYTE)
    reading = read_log_file(LOG, [bomb], max_size=16 * MEGABYTE)
    assert reading.finding is not None
    assert reading.finding.code is FindingCode.LOG_FILE_TOO_LARGE
    assert reading.size <= 17 * MEGABYTE
    assert _peak(lambda: read_log_file(LOG, [bomb], max_size=16 * MEGABYTE)) < 4 * MEGABYTE


def test_one_endless_line_is_searched_in_bounded_memory() -> None:
    """A gigabyte is no more than this, ten times over: the pieces are forgotten as they come."""
    line = _bomb(100 * MEGABYTE)
    digest = replace(LOG, hash_value=hash_of(bytes(100 * MEGABYTE)))
    assert read_log_file(digest, [line], with_changes=True, with_events=True).finding is None
    assert _peak(lambda: read_log_file(digest, [line], with_changes=True)) < 80 * MEGABYTE


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 500_000,
        b'{"a":' * 200_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"logFiles":[' + b"[" * 5000 + b"]" * 5000 + b"]}",
        b'{"logFiles":NaN}',
        b'{"logFiles":[],"digestEndTime":Infinity}',
        b'{"logFiles":[],"awsAccountId":' + b"9" * 100_000 + b"}",
        b'{"logFiles":[],"awsAccountId":1e999999}',
        b'{"logFiles":[],"logFiles":{}}',
        b'{"logFiles":[],"awsAccountId":"\\ud800"}',
        b'{"logFiles":[],"awsAccountId":"\xff"}',
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b"null",
        b'"text"',
        b"",
        b"\0" * 100,
    ],
)
def test_json_that_is_none_is_a_malformed_digest(trail: SampleTrail, content: bytes) -> None:
    assert _codes(_read(trail, gzip.compress(content))) == [FindingCode.DIGEST_MALFORMED]


@pytest.mark.parametrize(
    "time", ["0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "2024-02-30T00:00:00Z", "now", "", 5]
)
def test_a_time_that_is_none_is_a_malformed_digest(trail: SampleTrail, time: Any) -> None:
    members = json.loads(gzip.decompress(trail.objects[trail.digests[3]][0]))
    content = json.dumps({**members, "digestStartTime": time}).encode()
    assert _codes(_read(trail, gzip.compress(content))) == [FindingCode.DIGEST_MALFORMED]


@pytest.mark.parametrize(
    ("signature", "algorithm", "code"),
    [
        ("00" * (MEGABYTE // 2), "SHA256withRSA", FindingCode.DIGEST_SIGNATURE_INVALID),
        ("", "SHA256withRSA", FindingCode.DIGEST_SIGNATURE_INVALID),
        ("\ud800", "SHA256withRSA", FindingCode.DIGEST_SIGNATURE_INVALID),
        ("0" * 513, "SHA256withRSA", FindingCode.DIGEST_SIGNATURE_INVALID),
        ("00", "x" * MEGABYTE, FindingCode.DIGEST_ALGORITHM),
    ],
)
def test_metadata_of_any_size_are_a_short_finding(
    trail: SampleTrail, signature: str, algorithm: str, code: FindingCode
) -> None:
    data = trail.objects[trail.digests[3]][0]
    reading = _read(trail, data, **{"signature": signature, "signature-algorithm": algorithm})
    assert _codes(reading) == [code]
    assert len(reading.signature) <= 4096
    (finding,) = reading.findings
    assert sum(map(len, (finding.message, *finding.details.values()))) < 8000


def test_a_digest_that_spells_a_megabyte_is_quoted_in_short(trail: SampleTrail) -> None:
    members = json.loads(gzip.decompress(trail.objects[trail.digests[3]][0]))
    for name in ("digestS3Object", "digestS3Bucket", "digestPublicKeyFingerprint", "digestSignatureAlgorithm"):
        reading = _read(trail, gzip.compress(json.dumps({**members, name: "x" * MEGABYTE}).encode()))
        (finding,) = reading.findings
        assert finding.severity is Severity.ERROR
        assert sum(map(len, (finding.message, *finding.details.values()))) < 8000


def test_a_crowd_of_log_files_in_a_digest_that_nobody_signed_are_not_kept(trail: SampleTrail) -> None:
    """A million would be the same.  Of several such digests in a row, what they say is forgotten but for some."""
    members = json.loads(gzip.decompress(trail.objects[trail.full_digest(1)][0]))
    crowd = json.dumps({**members, "logFiles": members["logFiles"][:1] * 60_000}).encode()
    assert _codes(_read(trail, gzip.compress(crowd, 1))) == [FindingCode.DIGEST_TOO_LARGE]
    store = MemoryStore()
    data = gzip.compress(json.dumps({**members, "logFiles": members["logFiles"][:1] * 4000}).encode(), 1)
    for minute in range(6):
        key = replace(parse_digest_key(trail.digests[3]), end_time=START + timedelta(minutes=minute))
        store.put(format_digest_key(key), data, {})

    def validate() -> None:
        found = validate_chain(store, TRAIL, bucket=BUCKET, public_keys=trail.public_keys())
        assert {each.code for each in found if each.severity is Severity.ERROR} <= {
            FindingCode.DIGEST_MOVED,
            FindingCode.DIGEST_UNSIGNED,
        }

    assert _peak(validate) < 32 * MEGABYTE


def test_large_digests_that_a_copy_cannot_prove_are_not_held_together(trail: SampleTrail) -> None:
    """Each contradicts the one before it, so that none is decided; a digest names 47,000 log files at most."""
    (public_key, *_) = trail.public_keys()
    members = _read(trail, trail.objects[trail.full_digest(1)][0]).digest
    assert members is not None
    link = PreviousDigest(bucket=BUCKET, key="", hash_value="0" * 64, signature="00" * 256)
    signatures = CopiedSignatures()
    held = 0
    for before, text in pairwise(trail.digests[:12]):
        digest = replace(members, key=text, previous=replace(link, key=before), log_files=(LOG,) * 41_000)
        reading = DigestReading(key=parse_digest_key(text), text=text, digest=digest, public_key=public_key)
        settled = list(signatures.receive(reading))
        assert {each.code for one in settled for each in one.findings} <= {FindingCode.DIGEST_SIGNATURE_DISPUTED}
        held += 1 - len(settled)
        assert held == 1


@pytest.mark.parametrize(
    "key",
    [
        "../../../etc/passwd",
        "/etc/passwd",
        f"{digest_prefix(FOLDER)}../../x",
        f"{digest_prefix(FOLDER)}2024/05/06/\0",
        f"{digest_prefix(FOLDER)}2024/05/06/\ud800",
        f"{digest_prefix(FOLDER)}" + "x" * 100_000,
        "",
    ],
)
def test_a_key_of_any_form_is_looked_at_and_left(key: str) -> None:
    validator = ChainValidator(TRAIL, bucket=BUCKET)
    steps = [*validator.receive_key(key), *validator.add_log_key(key)]
    assert {step.code for step in steps if isinstance(step, Finding)} == {FindingCode.OBJECT_UNEXPECTED}
    assert not [step for step in steps if isinstance(step, FetchDigest)]


@pytest.mark.parametrize("year", ["0000", "0001", "1969", "9999"])
def test_names_of_the_first_and_the_last_year_are_not_reckoned_with(trail: SampleTrail, year: str) -> None:
    def aged(key: str) -> str:
        return key.replace("2024/05/06", f"{year}/12/31").replace("20240506T", f"{year}1231T")

    digest, log = aged(trail.digests[0]), aged(LOG.key)
    for parse, key in ((parse_digest_key, digest), (parse_log_key, log)):
        with pytest.raises(FormatError):
            parse(key)
    store = store_of({**trail.objects, digest: trail.objects[trail.digests[0]], log: (b"", {})})
    findings = list(validate_chain(store, TRAIL, bucket=BUCKET, public_keys=trail.public_keys()))
    told = {(each.code, each.key) for each in findings if each.severity is Severity.WARNING}
    assert {(FindingCode.OBJECT_UNEXPECTED, digest), (FindingCode.LOG_FILE_NOT_NAMED, log)} <= told
    assert not [each for each in findings if each.severity is Severity.ERROR]


@pytest.mark.parametrize("minutes", [0, 90], ids=["itself", "a later one"])
def test_a_digest_that_follows_itself_or_a_later_one_is_a_loop(trail: SampleTrail, minutes: int) -> None:
    """Only the holder of the key can make one."""
    signer = trail.keys.signer(REGION, now=trail.end)
    key = replace(parse_digest_key(trail.digests[0]), end_time=trail.end + HOUR)
    later = format_digest_key(replace(key, end_time=key.end_time + timedelta(minutes=minutes)))
    link = PreviousDigest(bucket=BUCKET, key=later, hash_value="0" * 64, signature="00")
    digest = next_digest(
        link,
        bucket=BUCKET,
        key=key,
        start_time=trail.end,
        public_key_fingerprint=signer.fingerprint,
        log_files=(),
    )
    signed = sign_digest(digest, signer.sign)
    stored = {f"x-amz-meta-{name}": value for name, value in signed.metadata().items()}
    store = store_of({**trail.objects, digest.key: (signed.data(), stored)})
    findings = list(validate_chain(store, TRAIL, bucket=BUCKET, public_keys=trail.public_keys()))
    errors = [(each.code, each.key) for each in findings if each.severity is Severity.ERROR]
    assert errors == [(FindingCode.DIGEST_OUT_OF_ORDER, digest.key)]


def test_log_files_in_buckets_that_are_not_at_hand_are_told(trail: SampleTrail) -> None:
    def signer(end_time: datetime) -> Signer:
        return trail.keys.signer(REGION, now=trail.end, digest_end_time=end_time)

    store = MemoryStore()
    writer = TrailWriter(store, TRAIL, bucket=BUCKET, signer=signer, start=START)
    file = writer.put_log_file(START, [sample_record(1)])
    named = [replace(file, bucket="../../secret"), replace(file, key="../../etc/passwd"), replace(file, key="/etc/x\0")]
    writer._delivered = named
    writer.put_digest(START + HOUR)
    findings = list(validate_chain(store, TRAIL, bucket=BUCKET, public_keys=trail.public_keys()))
    told = {(each.code, each.key) for each in findings if each.severity is not Severity.INFO}
    assert told >= {
        (FindingCode.LOG_FILE_UNREACHABLE, file.key),
        (FindingCode.LOG_FILE_MISSING, "../../etc/passwd"),
        (FindingCode.LOG_FILE_MISSING, "/etc/x\0"),
    }


def test_a_folder_full_of_planted_log_files_is_told_in_bounded_memory() -> None:
    folder = LogFolder(FOLDER)
    folder.add_digest(START - HOUR, START + HOUR)
    told = 0
    for number in range(MOST_WAITING + 50):
        told += len(list(folder.add_listed(LOG.key.replace("0123456789ABCDEF", f"{number:016}"))))
    assert told == 50
    assert len(list(folder.finish())) == MOST_WAITING


def test_names_of_log_files_that_are_gone_are_not_kept() -> None:
    """Each digest names a thousand log files of its hour, and the listing, which has none of them, goes on."""
    folder = LogFolder(FOLDER)

    def name_them() -> None:
        for hour in range(20):
            for number in range(1000):
                folder.add_named(LOG.key.replace("T0922Z_0123456789ABCDEF", f"T{hour:02}00Z_{number:016}"))
            folder.add_named(LOG.key.replace("T0922Z", f"T{hour:02}01Z"))
            assert list(folder.add_listed(LOG.key.replace("T0922Z", f"T{hour:02}01Z"))) == []

    assert _peak(name_them) < 2 * MEGABYTE


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_bytes_are_read_into_findings(trail: SampleTrail, data: st.DataObject) -> None:
    content = gzip.decompress(trail.objects[trail.digests[3]][0])
    at = data.draw(st.integers(0, len(content)))
    cut = data.draw(st.integers(0, 60))
    changed = content[:at] + data.draw(st.binary(max_size=60)) + content[at + cut :]
    raw = data.draw(st.sampled_from([gzip.compress(changed), changed, gzip.compress(changed)[:-at]]))
    reading = _read(trail, raw)
    assert reading.is_trusted <= (changed == content)
    finding = check_log_file(LOG, [raw[:at], raw[at:]])
    assert finding is not None
    read_log_file(replace(LOG, hash_value=hash_of(changed)), [raw], with_changes=True, with_events=True)


@pytest.mark.parametrize(
    "content", [b"[]", b"{}", b'{"Records":{}}', b'{"Records":[1]}', b'{"Records":[' * 5000, b"\xff", b"NaN", b""]
)
def test_events_of_what_is_no_log_file_are_a_finding(content: bytes) -> None:
    proven = replace(LOG, hash_value=hash_of(content))
    assert read_log_file(proven, [gzip.compress(content)]).finding is None, "it is as it was delivered"
    finding = read_log_file(proven, [gzip.compress(content)], with_events=True).finding
    assert finding is not None
    assert finding.code is FindingCode.LOG_FILE_NOT_JSON


def _events(*ids: object) -> bytes:
    return find_event_ids(json.dumps({"Records": [{"eventID": one} for one in ids]}).encode())


def test_an_event_in_two_log_files_is_told_with_both() -> None:
    recent = RecentEvents()
    assert list(recent.add("one", _events("a", "b", "c"))) == []
    assert list(recent.add("two", _events("d", 5, None, "\ud800", 2**70))) == []
    (told,) = recent.add("three", _events("x", "b", "c"))
    assert (told.code, told.key) == (FindingCode.EVENT_DUPLICATED, "three")
    assert told.details == {"count": "2", "other": "one"}


@settings(max_examples=20, deadline=None)
@given(files=st.lists(st.lists(st.integers(0, 60), max_size=20), max_size=8))
def test_repetitions_are_those_of_a_set(files: list[list[int]]) -> None:
    recent, seen = RecentEvents(), set[int]()
    for number, ids in enumerate(files):
        told = sum(int(each.details["count"]) for each in recent.add(f"{number}", _events(*map(str, ids))))
        expected = 0
        for one in ids:
            expected += one in seen
            seen.add(one)
        assert told == expected


def test_a_window_of_events_is_of_constant_size() -> None:
    recent = RecentEvents()

    def fill() -> None:
        for number in range(300):
            assert list(recent.add(f"{number}", _events(*(f"{number}-{at}" for at in range(100))))) == []

    assert _peak(fill) < MEGABYTE


def test_a_digest_is_still_what_it_was(trail: SampleTrail) -> None:
    """The sample that all of this was made of is valid."""
    reading = _read(trail, trail.objects[trail.digests[3]][0])
    assert reading.is_trusted
    assert reading.digest == decode_digest(gzip.decompress(trail.objects[trail.digests[3]][0]))
