"""Log files that somebody planted beside the folders of a trail, where no listing of its days comes by."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from opentrail.core.findings import Finding, FindingCode
from opentrail.testing.sample_trail import BUCKET, START, Objects, SampleTrail, store_of
from opentrail.testing.static_bucket import bucket_of_objects, serving
from opentrail.verification.copied_source import CopiedSource
from opentrail.verification.engine import Verification
from opentrail.verification.folder_source import FolderSource
from opentrail.verification.opening import SourceOptions, open_source
from opentrail.verification.request import VerifyRequest
from opentrail.verification.result import VerifyResult
from opentrail.verification.source import TrailSource
from opentrail.verification.store_source import StoreSource
from opentrail.verification.strays import MOST

ACCOUNT = "111122223333"
LOGS = "audit/AWSLogs/"
OWN = f"{LOGS}{ACCOUNT}/"
DAYS = f"{OWN}CloudTrail/eu-west-1/"
IN_TIME: Mapping[str, Any] = {"start": START + timedelta(hours=3), "end": START + timedelta(hours=9)}
NOT_NAMED, UNEXPECTED = FindingCode.LOG_FILE_NOT_NAMED, FindingCode.OBJECT_UNEXPECTED


def _verify(source: TrailSource, trail: SampleTrail, **asked: Any) -> tuple[VerifyResult, set[tuple[FindingCode, str]]]:
    found: list[Finding] = []
    asked = {"account_ids": frozenset({ACCOUNT}), **asked}
    verification = Verification(
        source,
        VerifyRequest(**asked),
        trail.public_keys(),
        on_finding=lambda _, finding: found.append(finding),
        checked_at=trail.end,
        clock=time.monotonic,
    )
    result = verification.run()
    source.close()
    told = [(each.code, each.key) for each in found if each.code in {NOT_NAMED, UNEXPECTED}]
    assert len(told) == len(set(told)), "each is told once"
    return result, set(told)


def _source(objects: Objects) -> StoreSource:
    store = store_of(objects)
    return StoreSource(lambda: store, name="memory", bucket=BUCKET)


def _with(trail: SampleTrail, *planted: str) -> Objects:
    return {**trail.objects, **{key: (b"" if key.endswith("/") else b"planted", {}) for key in planted}}


@pytest.mark.parametrize("asked", [{}, IN_TIME, {"start": IN_TIME["start"]}, {"end": IN_TIME["end"]}], ids=len)
@pytest.mark.parametrize(
    ("planted", "named"),
    [
        (f"{OWN}evil.json.gz", ""),
        (f"{OWN}CloudTrail/evil.GZ", ""),
        (f"{OWN}CloudTrail-Insight/evil.json", ""),
        (f"{DAYS}evil.json.gz", ""),
        (f"{DAYS}2024/evil.json.gz", ""),
        (f"{DAYS}2024/0evil.json", ""),
        (f"{DAYS}2024/05/evil.json.gz", ""),
        (f"{DAYS}2023/evil.json.gz", ""),
        (f"{OWN}CloudTrail/US-FAKE-1/2024/05/06/x.json.gz", f"{OWN}CloudTrail/US-FAKE-1/"),
        (f"{OWN}CloudTrail/eu_west/x.json.gz", f"{OWN}CloudTrail/eu_west/"),
        (f"{OWN}CloudTrail-Evil/x.json.gz", f"{OWN}CloudTrail-Evil/"),
        (f"{OWN}cloudtrail/eu-west-1/2024/05/06/x.json.gz", f"{OWN}cloudtrail/"),
    ],
)
def test_what_others_would_read_beside_the_folders_is_in_no_digest(
    trail: SampleTrail, planted: str, named: str, asked: dict[str, Any]
) -> None:
    result, told = _verify(_source(_with(trail, planted)), trail, **asked)
    assert told == {(NOT_NAMED, named or planted)}
    assert result.exit_code == 1


@pytest.mark.parametrize("folder", ["evil/", "2024x/", "0000/", "2024/13/", "2024/02/30/", "2024/05/evil/", "1969/"])
def test_folders_that_are_no_dates_are_named(trail: SampleTrail, folder: str) -> None:
    planted = f"{DAYS}{folder}x.json.gz"
    _, told = _verify(_source(_with(trail, planted)), trail, **IN_TIME)
    assert told == {(NOT_NAMED, f"{DAYS}{folder}")}
    _, told = _verify(_source(_with(trail, planted)), trail)
    assert told == {(NOT_NAMED, planted)}, "all is listed"


def test_above_the_accounts_too(trail: SampleTrail) -> None:
    planted = f"{LOGS}evil.json.gz", f"{LOGS}1111222233334/CloudTrail/x.json.gz", f"{LOGS}CloudTrail-Digest/x.json.gz"
    everything: dict[str, Any] = {"account_ids": frozenset()}
    _, told = _verify(_source(_with(trail, *planted)), trail, **everything)
    folders = {(NOT_NAMED, f"{LOGS}1111222233334/"), (NOT_NAMED, f"{LOGS}CloudTrail-Digest/")}
    assert told == {(NOT_NAMED, planted[0]), *folders}
    _, told = _verify(_source(_with(trail, *planted)), trail)
    assert told == set(), "--account-id leaves out what is no account's"


def test_what_others_do_not_read_is_unexpected(trail: SampleTrail) -> None:
    odd = f"{OWN}CloudTrail/readme", f"{DAYS}2024/05/.DS_Store", f"{OWN}CloudTrail-Digest/x.json.gz"
    result, told = _verify(_source(_with(trail, *odd, f"{OWN}CloudTrail/EU/readme")), trail, **IN_TIME)
    assert told == {(UNEXPECTED, key) for key in (*odd, f"{OWN}CloudTrail/EU/")}
    assert result.exit_code == 0


@pytest.mark.parametrize("asked", [{}, IN_TIME, {"account_ids": frozenset()}], ids=len)
def test_what_aws_and_others_put_beside_a_trail_is_innocent(trail: SampleTrail, asked: dict[str, Any]) -> None:
    beside = (
        "evil.json.gz",
        "audit/other.json.gz",
        "backups/2024.json.gz",
        LOGS,
        OWN,
        DAYS,
        f"{DAYS}2024/",
        f"{OWN}CloudTrail/",
        f"{OWN}ConfigWritabilityCheckFile",
        f"{OWN}Config/eu-west-1/2024/5/6/ConfigHistory/{ACCOUNT}_Config_eu-west-1_x.json.gz",
        f"{OWN}elasticloadbalancing/eu-west-1/2024/05/06/x.log.gz",
        f"{OWN}vpcflowlogs/eu-west-1/2024/05/06/x.log.gz",
        f"{OWN}CloudTrail-Lake/Query/2024/05/06/1/result_1.csv.gz",
        f"{OWN}CloudTrail-Lake/Query/2024/05/06/1/result_sign.json",
        f"{LOGS}aws-account-id={ACCOUNT}/aws-service=vpcflowlogs/x.log.gz",
        f"{OWN}CloudTrail-Insight/eu-west-1/",
        f"{OWN}CloudTrail-NetworkActivity/",
    )
    result, told = _verify(_source(_with(trail, *beside)), trail, **asked)
    assert (told, result.exit_code) == (set(), 0)


def test_what_a_filter_leaves_out_is_not_accused(trail: SampleTrail) -> None:
    objects = _with(
        trail,
        f"{LOGS}444455556666/CloudTrail/evil.json.gz",
        f"{LOGS}444455556666/CloudTrail/eu-west-1/evil.json.gz",
        "other/AWSLogs/111122223333/CloudTrail/evil.json.gz",
    )
    _, told = _verify(_source(objects), trail, prefix="audit/", **IN_TIME)
    assert told == set()
    by_arn: dict[str, Any] = {"trail_name": "main_trail", "home_region": "eu-west-1", "trail_account": ACCOUNT}
    _, told = _verify(_source(objects), trail, account_ids=frozenset(), **by_arn, **IN_TIME)
    assert told == set()
    planted = f"{OWN}CloudTrail/evil.json.gz"
    _, told = _verify(_source(_with(trail, planted)), trail, **by_arn)
    assert told == {(NOT_NAMED, planted)}
    _, told = _verify(_source(_with(trail, planted)), trail, regions=frozenset({"eu-west-1"}))
    assert told == set()


def test_so_many_are_told_as_one(trail: SampleTrail) -> None:
    planted = [f"{OWN}CloudTrail/{number:06}.json.gz" for number in range(MOST + 50)]
    _, told = _verify(_source(_with(trail, *planted)), trail)
    assert told == {(NOT_NAMED, key) for key in planted[: MOST + 1]}


def test_a_log_file_behind_many_others_is_not_overlooked(trail: SampleTrail) -> None:
    planted = [f"{OWN}CloudTrail/EU/{number:06}" for number in range(MOST)]
    _, told = _verify(_source(_with(trail, *planted, f"{OWN}CloudTrail/EU/x.gz")), trail)
    assert told == {(NOT_NAMED, f"{OWN}CloudTrail/EU/")}


PLANTED = f"{OWN}evil.json.gz", f"{OWN}CloudTrail/EU/x.gz", f"{DAYS}2024/evil.gz", f"{DAYS}2024/05/evil/x.gz"
TOLD = {(NOT_NAMED, key.removesuffix("x.gz")) for key in PLANTED}


def test_in_a_folder(trail: SampleTrail, lay: Callable[[Objects], Path], tmp_path: Path) -> None:
    _, told = _verify(FolderSource(str(lay(_with(trail, *PLANTED))), bucket=BUCKET), trail, **IN_TIME)
    assert told == TOLD
    for key, (data, _) in _with(trail, *PLANTED).items():
        path = tmp_path / "copy" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    copy = FolderSource(str(tmp_path / "copy"))
    _, told = _verify(copy, trail, **IN_TIME)
    assert told == TOLD
    below = FolderSource(str(tmp_path / "copy" / OWN))
    source = CopiedSource(below, prefix="", bucket=BUCKET, original_prefix=OWN)
    _, told = _verify(source, trail, **IN_TIME)
    assert told == TOLD


def test_in_a_bucket_no_listing_is_added_but_a_page_for_each_month(trail: SampleTrail) -> None:
    bucket = bucket_of_objects(_with(trail, *PLANTED), BUCKET, trail.public_keys())
    listings = 0
    answer = bucket.answer

    def counting(method: bytes, target: bytes, body: bytes) -> bytes:
        nonlocal listings
        listings += b"list-type" in target
        return answer(method, target, body)

    bucket.answer = counting  # type: ignore[method-assign]  # to count
    counts = []
    with serving(bucket) as url:
        for asked in ({}, IN_TIME):
            listings = 0
            _, told = _verify(
                open_source(f"s3://{BUCKET}", SourceOptions(endpoint_url=url, is_signed=False)).source, trail, **asked
            )
            assert {(code, key.removesuffix("x.gz")) for code, key in told} == TOLD
            counts.append(listings)
    kinds, year, month, odd_day = 4, 1, 1, 1
    assert counts[1] == counts[0] + kinds + year + month + odd_day
