"""Checksums: published check values, combination over parts, and the payload check in S3's words."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from base64 import b64encode
from typing import Any

import pytest
from botocore import httpchecksum
from hypothesis import given
from hypothesis import strategies as st

from opentrail.core.checksums import (
    ALGORITHMS,
    BY_HEADER,
    COMPOSITE,
    FULL_OBJECT,
    PayloadCheck,
    composite_checksum,
    decode_checksum,
    encode_checksum,
    full_object_checksum,
    require_type,
)
from opentrail.core.errors import ServiceFault
from opentrail.core.http import Headers

_BOTOCORE: Any = httpchecksum

# "123456789": the check values of the CRC catalogue (CRC-32/ISO-HDLC, CRC-32/ISCSI, CRC-64/NVME)
CHECK_VALUES = {"CRC32": "cbf43926", "CRC32C": "e3069283", "CRC64NVME": "ae8b14860a799888"}


@pytest.mark.parametrize(("name", "value"), CHECK_VALUES.items())
def test_crcs_have_the_published_check_values(name: str, value: str) -> None:
    hasher = ALGORITHMS[name].new()
    hasher.update(b"123456789")
    assert hasher.digest().hex() == value


@given(st.sampled_from(sorted(ALGORITHMS.keys() - {"MD5"})), st.lists(st.binary(max_size=50), max_size=5))
def test_every_algorithm_agrees_with_botocore_in_any_split(name: str, pieces: list[bytes]) -> None:
    algorithm = ALGORITHMS[name]
    hasher = algorithm.new()
    for piece in pieces:
        hasher.update(piece)
    theirs = _BOTOCORE._CHECKSUM_CLS[name.lower()]()
    theirs.update(b"".join(pieces))
    assert encode_checksum(hasher.digest()) == theirs.b64digest()
    assert hasher.digest() == hasher.digest()
    assert len(hasher.digest()) == algorithm.size


def test_headers_and_members_are_those_of_s3() -> None:
    assert ALGORITHMS["CRC64NVME"].header == "x-amz-checksum-crc64nvme"
    assert BY_HEADER["x-amz-checksum-sha256"].member == "ChecksumSHA256"


@given(st.sampled_from(["CRC32", "CRC32C", "CRC64NVME"]), st.lists(st.binary(max_size=50), min_size=1, max_size=5))
def test_full_object_checksums_are_those_of_the_joined_parts(name: str, pieces: list[bytes]) -> None:
    algorithm = ALGORITHMS[name]
    parts = []
    whole = algorithm.new()
    for piece in pieces:
        hasher = algorithm.new()
        hasher.update(piece)
        whole.update(piece)
        parts.append((hasher.digest(), len(piece)))
    assert full_object_checksum(algorithm, parts) == encode_checksum(whole.digest())


def test_composite_checksums_cover_the_parts_digests() -> None:
    digests = [hashlib.sha256(part).digest() for part in (b"one", b"two")]
    expected = b64encode(hashlib.sha256(b"".join(digests)).digest()).decode()
    assert composite_checksum(ALGORITHMS["SHA256"], digests) == f"{expected}-2"


@pytest.mark.parametrize(
    ("name", "checksum_type", "possible"),
    [
        ("CRC32", COMPOSITE, True),
        ("CRC32", FULL_OBJECT, True),
        ("CRC64NVME", FULL_OBJECT, True),
        ("CRC64NVME", COMPOSITE, False),
        ("SHA256", COMPOSITE, True),
        ("SHA256", FULL_OBJECT, False),
        ("SHA256", "PARTIAL", False),
    ],
)
def test_which_types_an_algorithm_may_have(name: str, checksum_type: str, possible: bool) -> None:
    if possible:
        require_type(ALGORITHMS[name], checksum_type)
        return
    with pytest.raises(ServiceFault) as caught:
        require_type(ALGORITHMS[name], checksum_type)
    assert caught.value.message == (
        f"The {checksum_type} checksum type cannot be used with the {name.lower()} checksum algorithm."
    )


@given(st.text(max_size=30))
def test_odd_base64_is_none(text: str) -> None:
    digest = decode_checksum(text, 4)
    assert digest is None or (len(digest) == 4 and encode_checksum(digest) == text)


def _headers(**values: str) -> Headers:
    return Headers((name.replace("_", "-"), value) for name, value in values.items())


def _fault(headers: Headers, body: bytes = b"data", **arguments: Any) -> ServiceFault:
    trailers = arguments.pop("trailers", None)

    def run() -> None:
        check = PayloadCheck(headers, **arguments)
        check.update(body)
        check.finish(trailers)

    with pytest.raises(ServiceFault) as caught:
        run()
    return caught.value


def _checksum(name: str, body: bytes) -> str:
    hasher = ALGORITHMS[name].new()
    hasher.update(body)
    return encode_checksum(hasher.digest())


@given(st.sampled_from(sorted(ALGORITHMS)), st.lists(st.binary(max_size=20), max_size=4), st.booleans())
def test_a_true_payload_passes_in_any_split(name: str, pieces: list[bytes], in_trailer: bool) -> None:
    body = b"".join(pieces)
    header = ALGORITHMS[name].header
    declared = {header: _checksum(name, body)}
    headers = Headers(
        [
            ("content-md5", _checksum("MD5", body)),
            ("x-amz-sdk-checksum-algorithm", name),
            *([] if in_trailer else declared.items()),
        ]
    )
    trailer_names = [header] if in_trailer else []
    payload_hash = hashlib.sha256(body).hexdigest()
    check = PayloadCheck(headers, payload_hash=payload_hash, trailer_names=trailer_names, also=["CRC32"])
    for piece in pieces:
        check.update(piece)
    check.finish(declared if in_trailer else None)
    assert check.algorithm is ALGORITHMS[name]
    assert check.digest("CRC32") == decode_checksum(_checksum("CRC32", body), 4)


def test_a_payload_with_another_md5_is_a_bad_digest() -> None:
    fault = _fault(_headers(content_md5=_checksum("MD5", b"other")))
    assert (fault.code, fault.status) == ("BadDigest", 400)
    assert fault.fields == {"ExpectedDigest": _checksum("MD5", b"other"), "CalculatedDigest": _checksum("MD5", b"data")}


@pytest.mark.parametrize("value", ["", "abc", "AAAA", "not base64!", "é"])
def test_an_md5_that_is_none_is_an_invalid_digest(value: str) -> None:
    assert _fault(_headers(content_md5=value)).code == "InvalidDigest"


def test_a_payload_with_another_sha256_is_named() -> None:
    fault = _fault(_headers(), payload_hash="0" * 64)
    assert fault.code == "XAmzContentSHA256Mismatch"
    assert fault.fields["S3ComputedContentSHA256"] == hashlib.sha256(b"data").hexdigest()


@pytest.mark.parametrize("literal", ["UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", ""])
def test_a_literal_payload_hash_says_nothing_of_the_payload(literal: str) -> None:
    PayloadCheck(_headers(), payload_hash=literal).finish()


def test_a_payload_with_another_checksum_is_a_bad_digest() -> None:
    fault = _fault(_headers(x_amz_checksum_crc32c=_checksum("CRC32C", b"other")))
    assert fault.code == "BadDigest"
    assert fault.message == "The CRC32C you specified did not match the calculated checksum."
    name = "x-amz-checksum-sha1"
    fault = _fault(_headers(), trailer_names=[name], trailers={name: _checksum("SHA1", b"other")})
    assert fault.code == "BadDigest"


@pytest.mark.parametrize(
    ("headers", "trailer_names", "message"),
    [
        ({"x_amz_checksum_crc32": "AAAA"}, [], "Value for x-amz-checksum-crc32 header is invalid."),
        (
            {"x_amz_checksum_crc32": "AAAAAA==", "x_amz_checksum_sha1": "x"},
            [],
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        ),
        ({}, ["x-amz-meta-a"], "The value specified in the x-amz-trailer header is not supported"),
        ({}, ["x-amz-checksum-crc32"], "Value for x-amz-checksum-crc32 header is invalid."),
        (
            {"x_amz_sdk_checksum_algorithm": "SHA1", "x_amz_checksum_crc32": "AAAAAA=="},
            [],
            "Value for x-amz-sdk-checksum-algorithm header is invalid.",
        ),
        (
            {"x_amz_sdk_checksum_algorithm": "SHA1"},
            [],
            (
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer "
                "headers were found."
            ),
        ),
    ],
)
def test_declarations_that_make_no_sense(headers: dict[str, str], trailer_names: list[str], message: str) -> None:
    fault = _fault(_headers(**headers), trailer_names=trailer_names)
    assert (fault.code, fault.message) == ("InvalidRequest", message)


def test_awscrt_is_imported_only_when_needed() -> None:
    program = (
        "import sys; from opentrail.core import checksums; hasher = checksums.ALGORITHMS['CRC32'].new();"
        "hasher.update(b'a'); sys.exit('awscrt' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
