"""Digests: AWS's examples, round trips, the bytes that are signed, and the rules of the chain."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentrail.core.digests import (
    Digest,
    DigestedLogFile,
    PreviousDigest,
    decode_digest,
    encode_digest,
    hash_of,
    next_digest,
    sign_digest,
    string_to_sign,
)
from opentrail.core.errors import FormatError
from opentrail.core.layout import DigestKey, Folder, TrailFolder, format_digest_key

DATA = Path(__file__).resolve().parents[2] / "../shared/data"
TRAIL = TrailFolder(
    folder=Folder(account_id="111122223333", region="us-east-2"), trail_name="trail", home_region="us-east-1"
)
NOON = datetime(2024, 3, 1, 12, 0, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)

moments = st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda moment: moment.replace(microsecond=0)
)
texts = st.text(st.characters(codec="utf-8"))
hashes = st.binary(min_size=32, max_size=32).map(bytes.hex)
extras = st.dictionaries(st.text(min_size=1).map(lambda name: f"x{name}"), st.none() | st.integers() | st.text())
digests = st.builds(
    Digest,
    account_id=texts,
    start_time=moments,
    end_time=moments,
    bucket=texts,
    key=texts,
    public_key_fingerprint=texts,
    signature_algorithm=texts,
    newest_event_time=st.none() | moments,
    oldest_event_time=st.none() | moments,
    previous=st.none() | st.builds(PreviousDigest, bucket=texts, key=texts, hash_value=hashes, signature=texts),
    log_files=st.lists(
        st.builds(
            DigestedLogFile,
            bucket=texts,
            key=texts,
            hash_value=hashes,
            newest_event_time=st.none() | moments,
            oldest_event_time=st.none() | moments,
            extra=extras,
        ),
        max_size=3,
    ).map(tuple),
    extra=extras,
)


def _file(minute: int) -> DigestedLogFile:
    moment = NOON + timedelta(minutes=minute)
    return DigestedLogFile(
        bucket="b",
        key=f"k{minute}",
        hash_value="0" * 64,
        newest_event_time=moment + timedelta(minutes=4),
        oldest_event_time=moment,
    )


def _next(previous: PreviousDigest | None, end: datetime, *files: DigestedLogFile) -> Digest:
    return next_digest(
        previous,
        bucket="b",
        key=DigestKey(trail=TRAIL, end_time=end),
        start_time=end - HOUR,
        public_key_fingerprint="f" * 32,
        log_files=files,
    )


@given(digests)
def test_what_is_written_reads_back(digest: Digest) -> None:
    assert decode_digest(encode_digest(digest)) == digest


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is absent")
def test_the_user_guides_digests_read_and_write_back() -> None:
    examples = json.loads((DATA / "digests/aws_guide_examples.json").read_bytes())
    assert len(examples) == 2
    for example in examples:
        written = encode_digest(decode_digest(json.dumps(example).encode()))
        assert json.loads(written) == example
        assert list(json.loads(written)) == list(example), "in AWS's order of fields"
        assert written == json.dumps(example, separators=(",", ":")).encode()


def test_the_string_to_sign_is_four_lines() -> None:
    first = _next(None, NOON)
    content = encode_digest(first)
    assert string_to_sign(first, hash_of(content)).decode().split("\n") == [
        "2024-03-01T12:00:05Z",
        "b/" + format_digest_key(DigestKey(trail=TRAIL, end_time=NOON)),
        hashlib.sha256(content).hexdigest(),
        "null",
    ]
    signed = sign_digest(first, lambda data: hashlib.sha256(data).digest())
    second = _next(signed.link(), NOON + HOUR)
    assert string_to_sign(second, hash_of(b"")).decode().split("\n")[3] == signed.signature


def test_a_digest_links_to_the_one_before() -> None:
    signed = sign_digest(_next(None, NOON), lambda _: b"\xab\xcd")
    assert signed.digest.previous is None
    second = _next(signed.link(), NOON + HOUR)
    members = json.loads(encode_digest(second))
    assert members["previousDigestS3Bucket"] == "b"
    assert members["previousDigestS3Object"] == signed.digest.key
    assert members["previousDigestHashValue"] == hashlib.sha256(gzip.decompress(signed.data())).hexdigest()
    assert members["previousDigestHashAlgorithm"] == "SHA-256"
    assert members["previousDigestSignature"] == "abcd"


def test_event_times_span_the_log_files() -> None:
    digest = _next(None, NOON + HOUR, _file(20), _file(5), _file(40))
    assert digest.oldest_event_time == NOON + timedelta(minutes=5)
    assert digest.newest_event_time == NOON + timedelta(minutes=44)
    assert [file.key for file in digest.log_files] == ["k20", "k5", "k40"], "in the order given"


def test_an_empty_hour_has_null_times_and_no_files() -> None:
    members = json.loads(encode_digest(_next(None, NOON)))
    assert members["newestEventTime"] is None
    assert members["oldestEventTime"] is None
    assert members["logFiles"] == []
    assert [name for name in members if name.startswith("previous") and members[name] is not None] == []


def test_the_objects_metadata() -> None:
    signed = sign_digest(_next(None, NOON), lambda _: b"\x01")
    assert signed.metadata() == {"signature": "01", "signature-algorithm": "SHA256withRSA"}
    assert signed.metadata(NOON)["backfill-generation-timestamp"] == "2024-03-01T12:00:05Z"


def _without(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda members: members.pop(name)


def _with(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda members: members.update({name: value})


@pytest.mark.parametrize(
    "change",
    [
        _without("awsAccountId"),
        _without("digestEndTime"),
        _without("digestPublicKeyFingerprint"),
        _without("logFiles"),
        _without("previousDigestHashValue"),
        _with("previousDigestSignature", None),
        _with("previousDigestHashAlgorithm", "MD5"),
        _with("previousDigestHashValue", "0" * 63),
        _with("digestEndTime", "2024-03-01T12:00:05"),
        _with("digestEndTime", "2024-03-01T12:00:05+00:00"),
        _with("digestEndTime", "2024-3-1T12:00:05Z"),
        _with("digestEndTime", "2024-02-30T12:00:05Z"),
        _with("digestEndTime", 1709294405),
        _with("newestEventTime", ""),
        _with("digestS3Object", None),
        _with("digestS3Object", "\ud800"),
        _with("logFiles", {}),
        _with("logFiles", [[]]),
        _with("logFiles", [{"s3Bucket": "b", "s3Object": "k", "hashValue": "A" * 64, "hashAlgorithm": "SHA-256"}]),
        _with("logFiles", [{"s3Bucket": "b", "s3Object": "k", "hashValue": "a" * 64}]),
    ],
)
def test_what_is_no_digest_is_refused(change: Callable[[dict[str, Any]], object]) -> None:
    signed = sign_digest(_next(None, NOON), lambda _: b"\x01")
    members = json.loads(encode_digest(_next(signed.link(), NOON + HOUR, _file(1))))
    decode_digest(json.dumps(members).encode())
    change(members)
    with pytest.raises(FormatError):
        decode_digest(json.dumps(members).encode())
