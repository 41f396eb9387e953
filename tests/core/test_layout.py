"""Keys of log and digest files: AWS's own names, both directions, and the order that readers depend on."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentrail.core.errors import FormatError
from opentrail.core.layout import (
    DigestKey,
    Folder,
    LogKey,
    LogKind,
    TrailFolder,
    digest_day_prefix,
    digest_prefix,
    format_digest_key,
    format_log_key,
    log_day_prefix,
    log_prefix,
    parse_digest_key,
    parse_log_key,
    unique_part,
)

DATA = Path(__file__).resolve().parents[2] / "../shared/data"
LOG = (
    "AWSLogs/111122223333/CloudTrail/us-east-2/2015/08/17/"
    "111122223333_CloudTrail_us-east-2_20150817T1445Z_9nYN7gp2eWAJHIfT.json.gz"
)
DIGEST = (
    "AWSLogs/111122223333/CloudTrail-Digest/us-east-2/2015/08/17/"
    "111122223333_CloudTrail-Digest_us-east-2_your-trail-name_us-east-2_20150817T150131Z.json.gz"
)

folders = st.builds(
    Folder,
    prefix=st.one_of(st.just(""), st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)),
    organization_id=st.sampled_from(["", "o-exampleorgid", "o-a1b2c3d4e5"]),
    account_id=st.from_regex(r"[0-9]{12}", fullmatch=True),
    region=st.sampled_from(["us-east-1", "ap-southeast-2", "us-gov-west-1", "eu-central-1"]),
)
moments = st.datetimes(datetime(1970, 1, 1), datetime(9998, 12, 31, 23, 59, 59), timezones=st.just(UTC))  # noqa: DTZ001
uniques = st.from_regex(r"[A-Za-z0-9]{16}", fullmatch=True)
trail_names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{2,30}", fullmatch=True)
log_keys = st.builds(
    LogKey,
    folder=folders,
    kind=st.sampled_from(LogKind),
    delivered_at=moments.map(lambda moment: moment.replace(second=0, microsecond=0)),
    unique=uniques,
)
digest_keys = st.builds(
    DigestKey,
    trail=st.builds(
        TrailFolder, folder=folders, trail_name=trail_names, home_region=st.sampled_from(["us-east-1", "eu-west-3"])
    ),
    end_time=moments.map(lambda moment: moment.replace(microsecond=0)),
    backfill=st.booleans(),
)


@given(log_keys)
def test_a_log_key_reads_back(key: LogKey) -> None:
    text = format_log_key(key)
    assert parse_log_key(text) == key
    assert text.startswith(log_day_prefix(key.folder, key.kind, key.delivered_at))


@given(digest_keys)
def test_a_digest_key_reads_back(key: DigestKey) -> None:
    text = format_digest_key(key)
    assert parse_digest_key(text) == key
    assert text.startswith(digest_day_prefix(key.trail.folder, key.end_time))


def test_the_user_guides_keys() -> None:
    folder = Folder(account_id="111122223333", region="us-east-2")
    log = LogKey(folder=folder, delivered_at=datetime(2015, 8, 17, 14, 45, tzinfo=UTC), unique="9nYN7gp2eWAJHIfT")
    assert format_log_key(log) == LOG
    trail = TrailFolder(folder=folder, trail_name="your-trail-name", home_region="us-east-2")
    digest = DigestKey(trail=trail, end_time=datetime(2015, 8, 17, 15, 1, 31, tzinfo=UTC))
    assert format_digest_key(digest) == DIGEST
    assert format_digest_key(DigestKey(trail=trail, end_time=digest.end_time, backfill=True)) == DIGEST.replace(
        ".json.gz", "_backfill.json.gz"
    )


def test_keys_of_an_organization_and_of_insights() -> None:
    folder = Folder(prefix="audit/all", organization_id="o-exampleorgid", account_id="111122223333", region="eu-west-1")
    moment = datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)
    key = LogKey(folder=folder, kind=LogKind.INSIGHT, delivered_at=moment, unique="a" * 16)
    assert format_log_key(key) == (
        "audit/all/AWSLogs/o-exampleorgid/111122223333/CloudTrail-Insight/eu-west-1/2024/02/29/"
        "111122223333_CloudTrail-Insight_eu-west-1_20240229T2359Z_aaaaaaaaaaaaaaaa.json.gz"
    )
    assert log_prefix(folder) == "audit/all/AWSLogs/o-exampleorgid/111122223333/CloudTrail/eu-west-1/"
    assert digest_prefix(folder) == "audit/all/AWSLogs/o-exampleorgid/111122223333/CloudTrail-Digest/eu-west-1/"
    assert digest_day_prefix(folder, date(2024, 2, 29)) == digest_prefix(folder) + "2024/02/29/"


def test_a_time_of_another_zone_is_written_in_utc() -> None:
    folder = Folder(account_id="111122223333", region="us-east-2")
    moment = datetime.fromisoformat("2015-08-18T01:45:00+11:00")
    assert format_log_key(LogKey(folder=folder, delivered_at=moment, unique="9nYN7gp2eWAJHIfT")) == LOG


def test_a_trail_name_may_look_like_anything_that_follows_it() -> None:
    folder = Folder(account_id="111122223333", region="us-east-2")
    trail = TrailFolder(folder=folder, trail_name="a_us-east-1_20150817T150131Z", home_region="eu-west-1")
    key = DigestKey(trail=trail, end_time=datetime(2020, 1, 1, tzinfo=UTC))
    assert parse_digest_key(format_digest_key(key)) == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/" + LOG,
        LOG + "\n",
        LOG + ".bak",
        LOG.replace("us-east-2/", "us-east-1/"),
        LOG.replace("111122223333/", "111122223334/"),
        LOG.replace("2015/08/17", "2015/08/18"),
        LOG.replace("2015/08/17", "2015/13/17").replace("20150817", "20151317"),
        LOG.replace("2015", "1969"),
        LOG.replace("2015", "9999"),
        LOG.replace("T1445Z", "T2460Z"),
        LOG.replace("T1445Z", "T144500Z"),
        LOG.replace("9nYN7gp2eWAJHIfT", "9nYN7gp2eWAJHIf"),
        LOG.replace("111122223333", "１１１１２２２２３３３３"),  # noqa: RUF001  digits, but not ASCII's
        LOG.replace("CloudTrail", "CloudTrail-Digest"),
        LOG.replace("CloudTrail", "CloudTrail-Other"),
        LOG.replace("CloudTrail/", "CloudTrail-Insight/"),
        DIGEST,
    ],
)
def test_what_is_no_log_key_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        parse_log_key(text)


@pytest.mark.parametrize(
    "text",
    [
        LOG,
        DIGEST.replace("_your-trail-name", ""),
        DIGEST.replace("150131Z", "1501Z"),
        DIGEST.replace("150131Z", "150161Z"),
        DIGEST.replace(".json.gz", "_backfill_backfill.json.gz"),
        DIGEST.replace("/17/", "/16/"),
        DIGEST.replace("us-east-2/2015", "us-east-1/2015"),
        DIGEST.replace("2015", "1969"),
        DIGEST.replace("2015", "9999"),
    ],
)
def test_what_is_no_digest_key_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        parse_digest_key(text)


@given(st.lists(st.tuples(st.integers(0, 62**8 - 1), st.binary(min_size=8, max_size=8)), min_size=2))
def test_unique_parts_sort_by_sequence_alone(parts: list[tuple[int, bytes]]) -> None:
    texts = [unique_part(sequence, randomness) for sequence, randomness in parts]
    assert all(re.fullmatch("[A-Za-z0-9]{16}", text) for text in texts)
    for (sequence, _), text in zip(parts, texts, strict=True):
        for (other, _), other_text in zip(parts, texts, strict=True):
            if sequence < other:
                assert text.encode() < other_text.encode()


def test_a_reader_that_lists_with_start_after_sees_later_files() -> None:
    folder = Folder(account_id="111122223333", region="us-east-2")
    start = datetime(2024, 12, 31, 23, 58, tzinfo=UTC)
    keys = [
        format_log_key(
            LogKey(folder=folder, delivered_at=start + timedelta(seconds=n), unique=unique_part(n, bytes(8)))
        )
        for n in range(300)
    ]
    assert keys == sorted(keys, key=str.encode)


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is absent")
def test_the_names_of_real_files() -> None:
    names = sorted(path.name for path in (DATA / "invictus_files").iterdir())
    assert names
    for name in names:
        account, kind, region, time, _ = name.split("_")
        day = f"{time[:4]}/{time[4:6]}/{time[6:8]}"
        text = f"AWSLogs/{account}/{kind}/{region}/{day}/{name}"
        assert format_log_key(parse_log_key(text)) == text
    for digest in json.loads((DATA / "digests/aws_guide_examples.json").read_bytes()):
        for text in (digest["digestS3Object"], digest["previousDigestS3Object"]):
            assert format_digest_key(parse_digest_key(text)) == text
