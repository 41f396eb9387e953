"""Other spellings of what was delivered: of a signature's number, and of the gzip member around the same content.

Whoever owns the bucket can write both anew without a key.  One spelling of a signature is good, whatever its digits'
case; a member may have another header, and nothing may stand before or behind it.
"""

from __future__ import annotations

import gzip
import struct
import zlib

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key

from opentrail.core.digests import decode_digest
from opentrail.testing.sample_trail import BUCKET, Objects, SampleTrail, store_of
from opentrail.testing.verified_bucket import verify_bucket

SIGNATURE = "x-amz-meta-signature"
FHCRC, FEXTRA, FNAME, FCOMMENT = 2, 4, 8, 16  # RFC 1952, 2.3.1
HEADER = struct.Struct("<4BIBB")


def _accused(trail: SampleTrail, changed: Objects) -> set[tuple[str, str]]:
    verified = verify_bucket(store_of({**trail.objects, **changed}), trail.public_keys(), bucket=BUCKET)
    bad = {"integrity", "completeness"}
    return {(each.code.value, each.key) for each in verified.findings if each.concern.value in bad}


def _modulus(trail: SampleTrail, digest: str) -> int:
    fingerprint = decode_digest(gzip.decompress(trail.objects[digest][0])).public_key_fingerprint
    value = next(key.value for key in trail.public_keys() if key.fingerprint == fingerprint)
    return load_der_public_key(value).public_numbers().n  # type: ignore[union-attr]  # RSA: the file's only kind


@pytest.mark.parametrize(
    "spelling", ["zeros ahead", "plus modulus", "negated", "zero", "one", "space", "line end", "half a byte", "wide"]
)
def test_a_signature_has_one_spelling(trail: SampleTrail, spelling: str) -> None:
    digest = trail.digests[4]
    data, metadata = trail.objects[digest]
    signature, modulus = metadata[SIGNATURE], _modulus(trail, digest)
    number = int(signature, 16)
    spelled = {
        "zeros ahead": f"00{signature}",
        "plus modulus": f"{number + modulus:0514x}",
        "negated": f"{modulus - number:0512x}",
        "zero": "00" * 256,
        "one": f"{1:0512x}",
        "space": f" {signature}",
        "line end": f"{signature}\n",
        "half a byte": f"{signature}0",
        "wide": signature.translate({ord(digit): ord(digit) + 0xFEE0 for digit in "0123456789abcdef"}),
    }[spelling]
    accused = _accused(trail, {digest: (data, {**metadata, SIGNATURE: spelled})})
    assert accused == {("digest-signature-invalid", digest)}


def test_but_for_the_case_of_its_digits(trail: SampleTrail) -> None:
    digest = trail.digests[4]
    data, metadata = trail.objects[digest]
    assert not _accused(trail, {digest: (data, {**metadata, SIGNATURE: metadata[SIGNATURE].upper()})})


def _member(content: bytes, *, flags: int = 0, fields: bytes = b"", header_crc: int | None = None) -> bytes:
    """A gzip member of ``content`` with the optional ``fields``; ``header_crc`` instead of the right one."""
    header = HEADER.pack(0x1F, 0x8B, 8, flags, 0x6635F00D, 2, 3) + fields
    if flags & FHCRC:
        header += struct.pack("<H", zlib.crc32(header) & 0xFFFF if header_crc is None else header_crc)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = deflate.compress(content) + deflate.flush()
    return header + body + struct.pack("<II", zlib.crc32(content), len(content))


@pytest.mark.parametrize(
    ("flags", "fields"),
    [
        (FNAME, b"../../evil\x1b[2J.json\0"),
        (FCOMMENT, b"y" * 70_000 + b"\0"),
        (FEXTRA, struct.pack("<H", 0xFFFF) + b"x" * 0xFFFF),
        (FHCRC, b""),
        (FEXTRA | FNAME | FCOMMENT | FHCRC, struct.pack("<H", 1) + b"x" + b"n\0" + b"c\0"),
    ],
    ids=["name", "comment", "extra", "header crc", "all"],
)
def test_a_members_header_is_under_no_hash(trail: SampleTrail, flags: int, fields: bytes) -> None:
    digest = trail.full_digest(2)
    changed = {
        key: (_member(gzip.decompress(trail.objects[key][0]), flags=flags, fields=fields), trail.objects[key][1])
        for key in (digest, *trail.files[digest])
    }
    assert not _accused(trail, changed)


@pytest.mark.parametrize("how", ["wrong header crc", "extra cut", "empty member ahead", "empty member behind", "zeros"])
def test_but_it_must_be_one_and_alone(trail: SampleTrail, how: str) -> None:
    digest = trail.full_digest(2)
    log = trail.files[digest][0]
    data = trail.objects[log][0]
    content = gzip.decompress(data)
    code, damaged = {
        "wrong header crc": ("malformed", _member(content, flags=FHCRC, header_crc=zlib.crc32(content) & 0xFFFF)),
        "extra cut": ("malformed", _member(content, flags=FEXTRA, fields=struct.pack("<H", 0xFFFF))),
        "empty member ahead": ("trailing-data", gzip.compress(b"") + data),
        "empty member behind": ("trailing-data", data + gzip.compress(b"")),
        "zeros": ("trailing-data", data + bytes(512)),
    }[how]
    assert _accused(trail, {log: (damaged, trail.objects[log][1])}) == {(f"log-file-{code}", log)}
