"""Fuzz of the readers of files: each raises ``FormatError``, or, where it reports findings, nothing at all.

Inputs are anybody's bytes and, because those seldom get past the first check, valid files with a piece exchanged.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opentrail.core.digests import DigestedLogFile, decode_digest, encode_digest
from opentrail.core.errors import FormatError
from opentrail.core.findings import Finding, Severity
from opentrail.core.gzip_member import MemberReader, decode_member, encode_member
from opentrail.core.layout import format_digest_key, format_log_key, parse_digest_key, parse_log_key
from opentrail.core.logfiles import decode_log_file, encode_log_file
from opentrail.core.object_checks import check_log_file, read_digest
from opentrail.core.public_keys import decode_public_keys, encode_public_keys, verify_signature
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.testing.sample_trail import BUCKET, REGION, TRAIL, SampleTrail, build_sample_trail, store_of
from opentrail.verification.one_chain import validate_chain
from opentrail.verification.source import user_metadata

LIMIT = 1 << 20


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> SampleTrail:
    return build_sample_trail(RsaKeyFiles(tmp_path_factory.mktemp("keys")))


def _mutations(valid: bytes) -> st.SearchStrategy[bytes]:
    """``valid`` with one piece exchanged for any other."""
    cuts = st.tuples(st.integers(0, len(valid)), st.integers(0, 40), st.binary(max_size=40))
    return st.binary(max_size=200) | cuts.map(lambda cut: valid[: cut[0]] + cut[2] + valid[cut[0] + cut[1] :])


def _json_mutations(valid: bytes) -> st.SearchStrategy[bytes]:
    """A JSON object with members exchanged for any JSON value."""
    members = json.loads(valid)
    values: st.SearchStrategy[Any] = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["SHA-256", "0" * 64]),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(members)), inner, max_size=3)
        ),
        max_leaves=6,
    )
    changes = st.dictionaries(st.sampled_from(sorted(members)), values, min_size=1, max_size=3)
    return changes.map(lambda change: json.dumps({**members, **change}).encode())


def _survives(parse: Callable[[bytes], object], data: bytes) -> None:
    with suppress(FormatError):
        parse(data)


@given(st.data())
def test_keys(trail: SampleTrail, data: st.DataObject) -> None:
    valid = data.draw(st.sampled_from(sorted(trail.objects)))
    text = data.draw(st.text() | _mutations(valid.encode()).map(lambda raw: raw.decode(errors="surrogateescape")))
    with suppress(FormatError):
        assert format_log_key(parse_log_key(text)) == text
    with suppress(FormatError):
        assert format_digest_key(parse_digest_key(text)) == text


@settings(max_examples=300)
@given(_mutations(encode_log_file([b'{"a":"b"}'] * 9).data))
def test_log_files(data: bytes) -> None:
    _survives(lambda raw: decode_log_file(raw, max_size=LIMIT), data)
    _survives(lambda raw: decode_log_file(encode_member([raw])[0], max_size=LIMIT), data)


@settings(max_examples=300)
@given(_mutations(encode_member([b"content " * 99])[0]), st.integers(1, 64))
def test_a_member_in_pieces_is_a_member_at_once(data: bytes, step: int) -> None:
    def whole() -> bytes:
        return decode_member(data, max_size=LIMIT)

    def pieces() -> bytes:
        reader = MemberReader(max_size=LIMIT)
        out = [piece for at in range(0, len(data), step) for piece in reader.feed(data[at : at + step])]
        reader.finish()
        return b"".join(out)

    outcomes = []
    for read in (whole, pieces):
        try:
            outcomes.append(read())
        except FormatError:
            outcomes.append(b"refused")
    assert outcomes[0] == outcomes[1]


@settings(max_examples=300)
@given(st.data())
def test_digests(trail: SampleTrail, data: st.DataObject) -> None:
    valid = decode_member(trail.objects[trail.full_digest(1)][0], max_size=LIMIT)
    content = data.draw(_mutations(valid) | _json_mutations(valid))
    with suppress(FormatError):
        digest = decode_digest(content)
        assert decode_digest(encode_digest(digest)) == digest


@settings(max_examples=200)
@given(st.data())
def test_public_key_files(trail: SampleTrail, data: st.DataObject) -> None:
    valid = encode_public_keys(trail.public_keys())
    entry = json.dumps(json.loads(valid)["PublicKeyList"][0]).encode()
    entries = _json_mutations(entry).map(lambda raw: b'{"PublicKeyList":[' + raw + b"]}")
    _survives(decode_public_keys, data.draw(_mutations(valid) | entries))


@given(st.data())
def test_signatures(trail: SampleTrail, data: st.DataObject) -> None:
    value = data.draw(_mutations(trail.public_keys()[0].value))
    with suppress(FormatError):
        assert not verify_signature(value, b"data", data.draw(st.binary(max_size=300)))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_digest_object_is_read_into_findings(trail: SampleTrail, data: st.DataObject) -> None:
    key = trail.full_digest(1)
    raw, stored = trail.objects[key]
    metadata = user_metadata(stored)
    content = decode_member(raw, max_size=LIMIT)
    changed = data.draw(_mutations(raw) | _json_mutations(content).map(lambda text: encode_member([text])[0]))
    named = data.draw(st.dictionaries(st.sampled_from(sorted(metadata)), st.text(max_size=20), max_size=2))
    keys = {public.fingerprint: public for public in trail.public_keys()}
    reading = read_digest(key, changed, {**metadata, **named}, bucket=BUCKET, public_keys=keys)
    if reading.is_trusted:
        assert reading.digest is not None
        assert decode_member(changed, max_size=LIMIT) == content


@given(st.data())
def test_a_log_file_is_checked_into_a_finding(trail: SampleTrail, data: st.DataObject) -> None:
    log = trail.files[trail.full_digest(1)][0]
    raw = trail.objects[log][0]
    digest = decode_digest(decode_member(trail.objects[trail.full_digest(1)][0], max_size=LIMIT))
    expected: DigestedLogFile = digest.log_files[0]
    changed = data.draw(_mutations(raw))
    finding = check_log_file(expected, [changed])
    if finding is None:
        assert decode_member(changed, max_size=LIMIT) == decode_member(raw, max_size=LIMIT)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_folder_of_anything_is_validated_into_findings(trail: SampleTrail, data: st.DataObject) -> None:
    objects = dict(trail.objects)
    keys = sorted(objects)
    for _ in range(data.draw(st.integers(1, 6))):
        key = data.draw(st.sampled_from(keys))
        raw, metadata = objects[key]
        moved = data.draw(st.sampled_from(keys) | st.just(key) | st.text(min_size=1, max_size=9).map(key.__add__))
        if len(moved.encode(errors="replace")) <= 1024:
            with suppress(UnicodeEncodeError):
                moved.encode()
                objects[moved] = (data.draw(_mutations(raw) | st.just(raw)), metadata)
    store = store_of(objects)
    findings = list(validate_chain(store, TRAIL, bucket=BUCKET, public_keys=trail.keys.list(REGION)))
    assert all(isinstance(finding, Finding) for finding in findings)
    accused = {finding.key for finding in findings if finding.severity is Severity.ERROR}
    assert accused <= {key for key in objects if objects[key] != trail.objects.get(key)}
