"""A copy without metadata, as ``aws s3 sync`` leaves it: each signature stands in the digest that follows."""

from __future__ import annotations

import gzip
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opentrail.core.digests import decode_digest
from opentrail.core.findings import Concern, Finding, FindingCode, Severity
from opentrail.core.layout import digest_prefix
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.testing.sample_trail import (
    BUCKET,
    FOLDER,
    TRAIL,
    Objects,
    SampleTrail,
    build_sample_trail,
    store_of,
)
from opentrail.testing.tamper_matrix import MATRIX, touch
from opentrail.verification.one_chain import validate_chain

Said = set[tuple[FindingCode, str]]


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> SampleTrail:
    return build_sample_trail(RsaKeyFiles(tmp_path_factory.mktemp("keys")))


def _bare(objects: Objects) -> Objects:
    return {key: (data, {}) for key, (data, _) in objects.items()}


def _validate(trail: SampleTrail, objects: Objects) -> list[Finding]:
    keys = trail.public_keys()
    return list(validate_chain(store_of(objects), TRAIL, bucket=BUCKET, public_keys=keys, metadata_kept=False))


def _of(findings: list[Finding], severity: Severity) -> Said:
    return {(each.code, each.key) for each in findings if each.severity is severity}


def _lost(trail: SampleTrail) -> set[str]:
    """The digests that no other follows."""
    return {trail.digests[-1], trail.digests[trail.restart - 1], trail.backfills[-1]}


def test_all_but_the_newest_of_each_chain_are_proven(trail: SampleTrail) -> None:
    findings = _validate(trail, _bare(trail.objects))
    assert _of(findings, Severity.ERROR) == set()
    assert _of(findings, Severity.WARNING) == {(FindingCode.DIGEST_SIGNATURE_LOST, key) for key in _lost(trail)}
    assert {each.concern for each in findings} == {Concern.NOTE}, "nothing speaks against the trail"
    unproven = {each.key for each in findings if each.code is FindingCode.LOG_FILE_UNPROVEN}
    assert unproven == {log for digest in _lost(trail) for log in trail.files[digest]}
    folder = digest_prefix(FOLDER)
    told = _of(findings, Severity.INFO)
    assert {(FindingCode.METADATA_LOST, folder), (FindingCode.GAP_UNEXAMINED, folder)} <= told


def test_a_digest_that_has_its_metadata_is_proven_by_them(trail: SampleTrail) -> None:
    newest = trail.digests[-1]
    findings = _validate(trail, {**_bare(trail.objects), newest: trail.objects[newest]})
    lost = {each.key for each in findings if each.code is FindingCode.DIGEST_SIGNATURE_LOST}
    assert lost == _lost(trail) - {newest}


def test_one_digest_without_metadata_among_others_that_have_them_is_accused(trail: SampleTrail) -> None:
    digest = trail.digests[5]
    objects = {**trail.objects, digest: (trail.objects[digest][0], {})}
    keys = trail.public_keys()
    findings = list(validate_chain(store_of(objects), TRAIL, bucket=BUCKET, public_keys=keys))
    assert _of(findings, Severity.ERROR) == {(FindingCode.DIGEST_UNSIGNED, digest)}


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 42), spaces=st.integers(1, 3))
def test_an_edited_digest_is_accused_and_none_beside_it(trail: SampleTrail, at: int, spaces: int) -> None:
    """Its successor is proven and has another signature for it; the digest before it is proven by what it says.

    But where the successor is one without a signature itself, nobody knows which of the two is damaged.
    """
    digest = trail.digests[at]
    content = gzip.decompress(trail.objects[digest][0]) + b" " * spaces
    findings = _validate(trail, {**_bare(trail.objects), digest: (gzip.compress(content), {})})
    is_told = not _lost(trail) & {*trail.digests[at : at + 2]}
    accused = {(FindingCode.DIGEST_SIGNATURE_INVALID, digest)} if is_told else set()
    found = _of(findings, Severity.ERROR)
    assert found == accused


def test_a_successor_that_lies_about_the_signature_is_accused_itself(trail: SampleTrail) -> None:
    liar, victim = trail.digests[8], trail.digests[7]
    content = gzip.decompress(trail.objects[liar][0])
    previous = decode_digest(content).previous
    assert previous is not None
    lie = content.replace(previous.signature.encode(), b"00" * 256)
    findings = _validate(trail, {**_bare(trail.objects), liar: (gzip.compress(lie), {})})
    assert _of(findings, Severity.ERROR) == {(FindingCode.DIGEST_SIGNATURE_INVALID, liar)}
    lost = {each.key for each in findings if each.code is FindingCode.DIGEST_SIGNATURE_LOST}
    assert lost == _lost(trail) | {victim}, "which of the two lies, nobody knows until a third speaks"


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(sorted(name for name in MATRIX if "metadata" not in name)), seed=st.integers(0, 1 << 32))
def test_whatever_was_done_only_what_was_touched_is_accused(trail: SampleTrail, name: str, seed: int) -> None:
    touched = touch(trail, name, seed=seed)
    accused = {key for _, key in _of(_validate(trail, _bare(touched.objects)), Severity.ERROR)}
    changed = {key for key, value in touched.objects.items() if trail.objects.get(key, (b"",))[0] != value[0]}
    gone = trail.objects.keys() - touched.objects.keys()
    assert accused <= changed | gone
    with_logs = {key for code, key in touched.errors if code.startswith("log-file") and key in changed | gone}
    lost = {log for digest in (*_lost(trail), *gone, *changed) for log in trail.files.get(digest, ())}
    unreached = {log for key in _before(trail, gone | changed) for log in trail.files[key]}
    assert with_logs - lost - unreached <= accused


def _before(trail: SampleTrail, keys: set[str]) -> list[str]:
    """The digests whose successor is among ``keys``: their signature is in doubt."""
    return [key for key, successor in zip(trail.digests, trail.digests[1:], strict=False) if successor in keys]


def test_keys_are_needed_all_the_same(trail: SampleTrail) -> None:
    bare = replace(trail, objects=_bare(trail.objects))
    found = validate_chain(bare.store(), TRAIL, bucket=BUCKET, public_keys=(), metadata_kept=False)
    assert {each.code for each in found if each.severity is Severity.ERROR} == {FindingCode.DIGEST_KEY_UNKNOWN}
