"""What a thief of a signing key can do, and what tells of it."""

from __future__ import annotations

import gzip
from dataclasses import replace
from datetime import timedelta

import pytest

from opentrail.core.digests import SignedDigest, decode_digest, sign_digest
from opentrail.core.findings import FindingCode, Severity
from opentrail.core.layout import format_digest_key, parse_digest_key
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.testing.sample_trail import BUCKET, TRAIL, Objects, SampleTrail, build_sample_trail, store_of
from opentrail.verification.one_chain import validate_chain


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> SampleTrail:
    return build_sample_trail(RsaKeyFiles(tmp_path_factory.mktemp("keys")))


def _accused(trail: SampleTrail, objects: Objects) -> set[tuple[FindingCode, str]]:
    findings = validate_chain(store_of(objects), TRAIL, bucket=BUCKET, public_keys=trail.public_keys())
    return {(each.code, each.key) for each in findings if each.severity is Severity.ERROR}


def _object(signed: SignedDigest) -> tuple[bytes, dict[str, str]]:
    return signed.data(), {f"x-amz-meta-{name}": text for name, text in signed.metadata().items()}


@pytest.mark.parametrize("hours", [-1, 30])
def test_a_digest_whose_name_and_content_tell_different_times_is_accused(trail: SampleTrail, hours: int) -> None:
    """A key that is valid no more cannot vouch for today by a digest that says it is of yesterday."""
    newest = trail.digests[-1]
    digest = decode_digest(gzip.decompress(trail.objects[newest][0]))
    moved = replace(digest, end_time=digest.end_time - timedelta(hours=hours))
    objects = {**trail.objects, newest: _object(sign_digest(moved, trail.signer.sign))}
    assert _accused(trail, objects) == {(FindingCode.DIGEST_TIMES_CONTRADICT, newest)}


def test_a_digest_that_ends_before_it_starts_is_accused(trail: SampleTrail) -> None:
    newest = trail.digests[-1]
    digest = decode_digest(gzip.decompress(trail.objects[newest][0]))
    turned = replace(digest, start_time=digest.end_time + timedelta(seconds=1))
    objects = {**trail.objects, newest: _object(sign_digest(turned, trail.signer.sign))}
    assert _accused(trail, objects) == {(FindingCode.DIGEST_TIMES_CONTRADICT, newest)}


def test_a_second_backfill_digest_for_a_planted_log_file_forks_the_chain(trail: SampleTrail) -> None:
    last = trail.backfills[-1]
    digest = decode_digest(gzip.decompress(trail.objects[last][0]))
    log = digest.log_files[0]
    planted = replace(log, key=log.key.replace(".json.gz", "")[:-16] + "P" * 16 + ".json.gz")
    name = parse_digest_key(last)
    later = name.end_time + timedelta(hours=1)
    text = format_digest_key(replace(name, end_time=later))
    forged = replace(digest, key=text, end_time=later, log_files=(planted,))
    objects = {
        **trail.objects,
        planted.key: trail.objects[log.key],
        text: _object(sign_digest(forged, trail.signer.sign)),
    }
    assert _accused(trail, objects) == {
        (FindingCode.DIGEST_NOT_IN_CHAIN, last),
        (FindingCode.DIGEST_NOT_IN_CHAIN, text),
    }


def test_a_copy_of_the_chain_from_some_time_on_is_known_by_the_last_digest_before_it(trail: SampleTrail) -> None:
    """Restored from a snapshot and continued with the stolen key: two digests follow the same one."""
    fork = trail.digests[-6]
    digest = decode_digest(gzip.decompress(trail.objects[fork][0]))
    other = replace(digest, log_files=())
    objects = {**trail.objects, fork: _object(sign_digest(other, trail.signer.sign))}
    assert _accused(trail, objects) == {(FindingCode.DIGEST_REPLACED, fork)}
