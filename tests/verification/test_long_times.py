"""Digests that tell of thousands of years: anybody can write one, and nobody must wait for it."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from opentrail.cli.main import main
from opentrail.core.digests import decode_digest, encode_digest, sign_digest
from opentrail.core.findings import FindingCode
from opentrail.core.layout import format_digest_key, parse_digest_key
from opentrail.testing.sample_trail import BUCKET, FOLDER, START, TRAIL, Objects, SampleTrail, store_of
from opentrail.testing.trail_generator import PlainFolder
from opentrail.testing.verified_bucket import VerifiedBucket, verify_bucket
from opentrail.verification.result import ChainSummary, ObjectCounts, Span
from opentrail.verification.timeline import Mark, Unit, rows_of, unit_for

FAR: Final = datetime(9998, 12, 31, 23, tzinfo=UTC)
EARLY: Final = datetime(1, 1, 1, tzinfo=UTC)
MINE: Final = frozenset({FOLDER.account_id})


def _unsigned(objects: Objects) -> Objects:
    """As a plain copy has them: without metadata."""
    return {key: (data, {}) for key, (data, _) in objects.items()}


def _claiming(trail: SampleTrail, start: datetime, end: datetime) -> tuple[str, bytes]:
    """The newest digest of a plain copy, which nothing proves, made to tell of ``start`` to ``end``."""
    digest = decode_digest(gzip.decompress(trail.objects[trail.digests[-1]][0]))
    key = format_digest_key(replace(parse_digest_key(trail.digests[-1]), end_time=end))
    return key, gzip.compress(encode_digest(replace(digest, key=key, start_time=start, end_time=end)))


def _forged_copy(trail: SampleTrail, start: datetime, end: datetime) -> Objects:
    objects = _unsigned(trail.objects)
    del objects[trail.digests[-1]]
    key, data = _claiming(trail, start, end)
    return {**objects, key: (data, {})}


def _verify(trail: SampleTrail, objects: Objects, *, keeps_metadata: bool) -> VerifiedBucket:
    keys = trail.public_keys()
    return verify_bucket(store_of(objects), keys, bucket=BUCKET, keeps_metadata=keeps_metadata, account_ids=MINE)


@pytest.mark.parametrize(("start", "end"), [(None, FAR), (EARLY, None)], ids=["to 9998", "from the year 1"])
def test_a_digest_that_nothing_proves_covers_nothing(
    trail: SampleTrail, start: datetime | None, end: datetime | None
) -> None:
    newest = parse_digest_key(trail.digests[-1]).end_time
    before = parse_digest_key(trail.digests[-2]).end_time
    objects = _forged_copy(trail, start or before, end or newest)
    (chain,) = _verify(trail, objects, keeps_metadata=False).result.chains
    assert chain.covered == Span(start=START, end=before)


@pytest.mark.parametrize("suffix", ["html", "json"])
def test_a_copy_with_such_a_digest_gets_its_report(trail: SampleTrail, keys: Path, tmp_path: Path, suffix: str) -> None:
    copy = PlainFolder(tmp_path / "copy")
    for key, (data, metadata) in _forged_copy(trail, parse_digest_key(trail.digests[-2]).end_time, FAR).items():
        copy.put(key, data, metadata)
    report = tmp_path / f"report.{suffix}"
    main(["verify", str(tmp_path / "copy"), "--public-keys", str(keys), "--report", str(report)])
    assert report.stat().st_size < 500_000


def test_a_name_alone_makes_the_report_no_longer(
    trail: SampleTrail, keys: Path, lay: Callable[[Objects], Path], tmp_path: Path
) -> None:
    named = format_digest_key(replace(parse_digest_key(trail.digests[-1]), end_time=FAR))
    report = tmp_path / "report.html"
    words = ["--public-keys", str(keys), "--report", str(report)]
    assert main(["verify", str(lay({**trail.objects, named: (b"", {})})), *words]) == 1
    assert report.stat().st_size < 500_000


def test_a_key_proves_no_time_in_which_it_was_not_valid(trail: SampleTrail) -> None:
    last = trail.digests[-1]
    digest = decode_digest(gzip.decompress(trail.objects[last][0]))
    key = format_digest_key(replace(parse_digest_key(last), end_time=FAR))
    signed = sign_digest(replace(digest, key=key, end_time=FAR), trail.signer.sign)
    objects = {name: value for name, value in trail.objects.items() if name != last}
    objects[key] = signed.data(), {f"x-amz-meta-{name}": text for name, text in signed.metadata().items()}
    verified = _verify(trail, objects, keeps_metadata=True)
    assert [each.key for each in verified.findings if each.code is FindingCode.DIGEST_KEY_NOT_VALID] == [key]
    (chain,) = verified.result.chains
    assert chain.covered == Span(start=START, end=parse_digest_key(trail.digests[-2]).end_time)


def _chain(covered: Span | None, *unproven: Span) -> ChainSummary:
    none = ObjectCounts()
    return ChainSummary(
        trail=TRAIL, bucket=BUCKET, digests=none, log_files=none, log_bytes=0, covered=covered, unproven=unproven
    )


@pytest.mark.parametrize("unit", list(Unit))
@pytest.mark.parametrize(
    "known",
    [
        _chain(Span(start=EARLY, end=START)),
        _chain(Span(start=START, end=START + timedelta(hours=2)), Span(start=START, end=FAR)),
        _chain(Span(start=START, end=START + timedelta(hours=2)), Span(start=START, end=EARLY)),
        _chain(Span(start=FAR, end=datetime.max.replace(tzinfo=UTC))),
        _chain(Span(start=EARLY, end=EARLY)),
    ],
    ids=["from the year 1", "unproven to 9998", "ends before it starts", "end of the calendar", "its first moment"],
)
def test_a_timeline_has_an_end(known: ChainSummary, unit: Unit) -> None:
    finest = unit_for((known,), 30_000)
    if unit < finest:
        return  # nobody asks for it
    rows = list(rows_of(known, {}, unit))
    assert sum(len(row.cells) for row in rows) <= 40_000


def test_what_is_unproven_behind_the_last_proven_hour_is_shown_for_a_month() -> None:
    known = _chain(Span(start=START, end=START + timedelta(hours=2)), Span(start=START, end=FAR))
    rows = list(rows_of(known, {}, Unit.DAY))
    assert [row.title for row in rows] == ["2024-05", "2024-06"]
    assert [row.cells.count(Mark.UNPROVEN) for row in rows] == [26, 6]
