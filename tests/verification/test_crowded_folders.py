"""Digests of more trails than an account can have, planted in the folder of a trail."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

from opentrail.core.findings import Finding, FindingCode, Severity
from opentrail.core.layout import DigestKey, format_digest_key
from opentrail.testing.sample_trail import BUCKET, FOLDER, START, TRAIL, Objects, SampleTrail, store_of
from opentrail.verification.discovery import MOST_TRAILS, find_chains
from opentrail.verification.engine import Verification
from opentrail.verification.request import VerifyRequest
from opentrail.verification.store_source import StoreSource

OWN: dict[str, Any] = {"account_ids": frozenset({FOLDER.account_id})}
BY_ARN: dict[str, Any] = {"trail_name": TRAIL.trail_name, "home_region": TRAIL.home_region}


def _forged(number: int) -> str:
    trail = replace(TRAIL, trail_name=f"forged-{number:06}")
    return format_digest_key(DigestKey(trail=trail, end_time=START))


def _source(objects: Objects) -> StoreSource:
    store = store_of(objects)
    return StoreSource(lambda: store, name="memory", bucket=BUCKET)


class _Crowd(StoreSource):
    """Lists as many forged names as one likes before the others, and holds none of them."""

    crowd = 0

    def list_keys(self, prefix: str, *, start_after: str = "") -> Iterator[str]:
        if "CloudTrail-Digest/eu-west-1/" in prefix and FOLDER.account_id in prefix:
            yield from (key for number in range(self.crowd) if (key := _forged(number)) > start_after)
        yield from super().list_keys(prefix, start_after=start_after)


def _discover(source: _Crowd, crowd: int) -> int:
    source.crowd = crowd
    tracemalloc.start()
    try:
        found = find_chains(source, VerifyRequest(**OWN))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert TRAIL in {chain.trail for chain in found.chains}, "it is not crowded out"
    assert len(found.chains) <= MOST_TRAILS
    assert found.crowded == (FOLDER,)
    return peak


def test_the_names_of_trails_are_not_all_kept(trail: SampleTrail) -> None:
    store = store_of(trail.objects)
    source = _Crowd(lambda: store, name="memory", bucket=BUCKET)
    assert _discover(source, 17_000) < 1.1 * _discover(source, 11_000)


def test_a_crowd_is_told_and_the_trail_is_verified(trail: SampleTrail) -> None:
    planted: Objects = {_forged(number): (b"", {}) for number in range(MOST_TRAILS + 20)}
    found: list[tuple[str, Finding]] = []
    verification = Verification(
        _source({**trail.objects, **planted}),
        VerifyRequest(**OWN, start=START, end=START + timedelta(hours=12)),
        trail.public_keys(),
        on_finding=lambda of, finding: found.append((of.trail_name if of else "", finding)),
        checked_at=trail.end,
        clock=time.monotonic,
    )
    result = verification.run()
    assert result.exit_code == 1
    assert [each.key for _, each in found if each.code is FindingCode.TRAILS_TOO_MANY]
    assert len(result.chains) == MOST_TRAILS
    assert [each for of, each in found if of == TRAIL.trail_name and each.severity is Severity.ERROR] == []


def test_the_trail_that_was_asked_for_is_in_no_crowd(trail: SampleTrail) -> None:
    planted: Objects = {_forged(number): (b"", {}) for number in range(MOST_TRAILS + 20)}
    found = find_chains(_source({**trail.objects, **planted}), VerifyRequest(**OWN, **BY_ARN))
    assert [chain.trail for chain in found.chains] == [TRAIL]
    assert found.crowded == ()
