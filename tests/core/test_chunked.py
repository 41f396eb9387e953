"""aws-chunked payloads: AWS's published examples, botocore's encoder, an encoder of our own, damage of every kind."""

from __future__ import annotations

import hashlib
import hmac
import io
from base64 import b64encode
from collections.abc import Iterable
from typing import Any

import pytest
from botocore.httpchecksum import AwsChunkedWrapper, Sha256Checksum
from hypothesis import given, settings
from hypothesis import strategies as st

from opentrail.core.checksums import PayloadCheck
from opentrail.core.errors import ServiceFault
from opentrail.core.http import Headers, HttpRequest
from opentrail.core.sigv4 import (
    STREAMING_SIGNED,
    STREAMING_SIGNED_TRAILER,
    STREAMING_UNSIGNED_TRAILER,
    Family,
    parse_authorization,
    s3_payload_hash,
    verify_signature,
)
from opentrail.core.wire.chunked import ChunkedDecoder, ChunkSigner, chunked_decoder, is_chunked

# Amazon S3 API reference, "Signature Calculations ... (Chunked Upload)": 66,560 letters, chunks of 64 KB and 1 KB.
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SCOPE = "20130524/us-east-1/s3/aws4_request"
DATA = b"a" * 66_560
EXAMPLE_SEED = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
EXAMPLE_SIGNATURES = (
    "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
    "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
    "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
)
# The same with a trailer, "... Including Trailing Headers".
TRAILER_SEED = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
TRAILER_SIGNATURES = (
    "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
    "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
    "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
)


def _key() -> bytes:
    key = b"AWS4" + SECRET.encode()
    for part in SCOPE.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _signature(kind: str, *lines: str) -> str:
    text = "\n".join([f"AWS4-HMAC-SHA256-{kind}", "20130524T000000Z", SCOPE, *lines])
    return hmac.digest(_key(), text.encode(), "sha256").hex()


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def encode_signed(chunks: Iterable[bytes], seed: str, trailers: dict[str, str] | None = None) -> bytes:
    """A signed aws-chunked body, written from the two pages of the S3 API reference."""
    out = bytearray()
    previous = seed
    for chunk in (*chunks, b""):
        previous = _signature("PAYLOAD", previous, _hash(b""), _hash(chunk))
        out += b"%x;chunk-signature=%s\r\n" % (len(chunk), previous.encode())
        out += chunk + b"\r\n" if chunk else b""
    if trailers is not None:
        lines = "".join(f"{name}:{value}\n" for name, value in sorted(trailers.items()))
        out += b"".join(f"{name}:{value}\r\n".encode() for name, value in trailers.items())
        out += f"x-amz-trailer-signature:{_signature('TRAILER', previous, _hash(lines.encode()))}\r\n".encode()
    return bytes(out + b"\r\n")


def _decoder(seed: str, length: int, trailers: Iterable[str] | None = None) -> ChunkedDecoder:
    signer = ChunkSigner(key=_key(), timestamp="20130524T000000Z", scope=SCOPE, seed=seed)
    return ChunkedDecoder(
        decoded_length=length, signer=signer, trailer_names=trailers or (), has_trailer=trailers is not None
    )


def _decode(decoder: ChunkedDecoder, body: bytes, split: int | None = None) -> bytes:
    step = split or len(body) or 1
    out = b"".join([decoder.feed(body[at : at + step]) for at in range(0, len(body), step)])
    decoder.finish()
    return out


def _request(payload_hash: str, seed: str, signed: str, *extra: tuple[str, str]) -> HttpRequest:
    value = f"AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/{SCOPE},SignedHeaders={signed},Signature={seed}"
    pairs = [
        ("host", "s3.amazonaws.com"),
        ("x-amz-date", "20130524T000000Z"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("authorization", value),
        ("x-amz-content-sha256", payload_hash),
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
        *extra,
    ]
    return HttpRequest(method="PUT", path="/examplebucket/chunkObject.txt", headers=Headers(pairs))


def _open(request: HttpRequest) -> ChunkedDecoder:
    """Authenticate the head and build its decoder, as the server does."""
    authorization = parse_authorization(request, Family.S3)
    assert authorization is not None
    payload_hash = s3_payload_hash(authorization)
    verify_signature(request, authorization, SECRET, authorization.time, payload_hash=payload_hash, family=Family.S3)
    assert is_chunked(payload_hash)
    return chunked_decoder(request, payload_hash, authorization, SECRET)


def _example_body(signatures: tuple[str, ...]) -> bytes:
    sizes = (65_536, 1_024, 0)
    parts = []
    for size, signature in zip(sizes, signatures, strict=True):
        parts.append(b"%x;chunk-signature=%s\r\n" % (size, signature.encode()))
        parts.append(b"a" * size + b"\r\n" if size else b"")
    return b"".join(parts)


def test_aws_example_of_a_chunked_upload() -> None:
    signed = "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length"
    extra = ("content-length", "66824")
    request = _request(STREAMING_SIGNED, EXAMPLE_SEED, signed + ";x-amz-storage-class", extra)
    body = _example_body(EXAMPLE_SIGNATURES) + b"\r\n"
    assert len(body) == 66_824
    assert body == encode_signed([DATA[:65_536], DATA[65_536:]], EXAMPLE_SEED)
    assert _decode(_open(request), body) == DATA


def test_aws_example_of_a_trailing_header() -> None:
    signed = "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length"
    extra = ("x-amz-trailer", "x-amz-checksum-crc32c")
    request = _request(STREAMING_SIGNED_TRAILER, TRAILER_SEED, signed + ";x-amz-storage-class;x-amz-trailer", extra)
    trailer = b"x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:"
    trailer += b"d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
    body = _example_body(TRAILER_SIGNATURES) + trailer
    decoder = _open(request)
    check = PayloadCheck(request.headers, trailer_names=["x-amz-checksum-crc32c"])
    check.update(_decode(decoder, body))
    assert decoder.trailers == {"x-amz-checksum-crc32c": "sOO8/Q=="}
    check.finish(decoder.trailers)


_CHUNKS: st.SearchStrategy[list[int]] = st.lists(st.integers(8_192, 9_000), max_size=3).flatmap(
    lambda sizes: st.integers(0, 9_000).map(lambda last: [*sizes, last] if last else sizes)
)


@settings(max_examples=40, deadline=None)
@given(_CHUNKS, st.booleans(), st.integers(1, 5_000))
def test_any_split_of_a_signed_body_decodes_alike(sizes: list[int], trailing: bool, split: int) -> None:
    chunks = [bytes([65 + n % 26]) * size for n, size in enumerate(sizes)]
    data = b"".join(chunks)
    trailers = {"x-amz-checksum-sha256": b64encode(hashlib.sha256(data).digest()).decode()} if trailing else None
    body = encode_signed(chunks, EXAMPLE_SEED, trailers)
    for step in (None, split):
        decoder = _decoder(EXAMPLE_SEED, len(data), trailers)
        assert _decode(decoder, body, step) == data
        assert decoder.trailers == (trailers or {})


def test_one_byte_at_a_time_is_the_same_as_at_once() -> None:
    body = encode_signed([b"x" * 8_192, b"tail"], EXAMPLE_SEED, {"x-amz-checksum-crc32": "AAAAAA=="})
    decoder = _decoder(EXAMPLE_SEED, 8_196, ["x-amz-checksum-crc32"])
    assert _decode(decoder, body, 1) == b"x" * 8_192 + b"tail"


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=70_000), st.integers(8_192, 40_000), st.integers(1, 9_999))
def test_what_botocore_encodes_decodes(data: bytes, chunk_size: int, split: int) -> None:
    wrapper: Any = AwsChunkedWrapper(io.BytesIO(data), Sha256Checksum, "x-amz-checksum-sha256", chunk_size)
    body = wrapper.read()
    headers = Headers(
        [
            ("x-amz-decoded-content-length", str(len(data))),
            ("x-amz-trailer", "x-amz-checksum-sha256"),
        ]
    )
    request = HttpRequest(method="PUT", path="/b/k", headers=headers)
    decoder = chunked_decoder(request, STREAMING_UNSIGNED_TRAILER, None, "")
    check = PayloadCheck(headers, trailer_names=["x-amz-checksum-sha256"])
    decoded = _decode(decoder, body, split)
    assert decoded == data
    check.update(decoded)
    check.finish(decoder.trailers)


_DAMAGE_CODES = {
    "none",
    "SignatureDoesNotMatch",
    "IncompleteBody",
    "InvalidRequest",
    "MalformedTrailerError",
    "InvalidChunkSizeError",
}


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 20_000), st.integers(1, 255), st.sampled_from(["flip", "cut", "insert", "delete"]))
def test_no_damage_goes_unnoticed(at: int, bits: int, kind: str) -> None:
    chunks = [b"x" * 8_192, b"y" * 100]
    trailers = {"x-amz-checksum-crc32": "AAAAAA=="}
    body = encode_signed(chunks, EXAMPLE_SEED, trailers)
    at %= len(body)
    damaged = {
        "flip": body[:at] + bytes([body[at] ^ bits]) + body[at + 1 :],
        "cut": body[:at],
        "insert": body[:at] + bytes([bits]) + body[at:],
        "delete": body[:at] + body[at + 1 :],
    }[kind]
    decoder = _decoder(EXAMPLE_SEED, 8_292, trailers)
    try:
        decoded = _decode(decoder, damaged, 777)
    except ServiceFault as fault:
        code = fault.code
    else:
        # framing that means the same (the case of a header's name, white space around its value) is no damage
        code = "none" if (decoded, decoder.trailers) == (b"".join(chunks), trailers) else "unnoticed"
    assert code in _DAMAGE_CODES


def _code(decoder: ChunkedDecoder, body: bytes) -> str:
    with pytest.raises(ServiceFault) as caught:
        _decode(decoder, body)
    return caught.value.code


def _unsigned(length: int, *names: str) -> ChunkedDecoder:
    return ChunkedDecoder(decoded_length=length, trailer_names=names, has_trailer=True)


def test_each_chunk_must_carry_the_signature_of_its_place() -> None:
    body = encode_signed([b"a" * 8_192, b"b" * 8_192], EXAMPLE_SEED)
    first, second = body[:8_284], body[8_284 : 2 * 8_284]
    assert _code(_decoder(EXAMPLE_SEED, 16_384), second + first + body[2 * 8_284 :]) == "SignatureDoesNotMatch"
    assert _code(_decoder(TRAILER_SEED, 16_384), body) == "SignatureDoesNotMatch"
    assert _code(_decoder(EXAMPLE_SEED, 16_384), body.replace(b"b" * 8_192, b"c" * 8_192)) == "SignatureDoesNotMatch"


def test_signatures_cannot_be_left_out_or_smuggled_in() -> None:
    assert _code(_decoder(EXAMPLE_SEED, 1), b"1\r\na\r\n0\r\n\r\n") == "InvalidRequest"
    signed = b"1;chunk-signature=" + b"0" * 64 + b"\r\na\r\n"
    assert _code(_unsigned(1), signed) == "InvalidRequest"
    body = encode_signed([], EXAMPLE_SEED, {"x-amz-checksum-crc32": "AAAAAA=="})
    bare = body[: body.index(b"x-amz-trailer-signature")] + b"\r\n"
    assert _code(_decoder(EXAMPLE_SEED, 0, ["x-amz-checksum-crc32"]), bare) == "SignatureDoesNotMatch"


def test_the_decoded_length_must_be_the_declared_one() -> None:
    body = b"3\r\nabc\r\n0\r\n\r\n"
    assert _decode(_unsigned(3), body) == b"abc"
    for declared in (2, 4):
        assert _code(_unsigned(declared), body) == "IncompleteBody"
    assert _code(_unsigned(3), body[:-1]) == "IncompleteBody"
    assert _code(_unsigned(3), body + b"x") == "IncompleteBody"
    assert _code(_unsigned(0), b"") == "IncompleteBody"


def test_only_the_last_chunk_may_be_short() -> None:
    body = b"2000\r\n" + b"x" * 8_192 + b"\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n"
    with pytest.raises(ServiceFault) as caught:
        _decode(_unsigned(8_194), body)
    assert (caught.value.code, caught.value.status) == ("InvalidChunkSizeError", 403)
    assert caught.value.fields == {"Chunk": "2", "BadChunkSize": "1"}


@pytest.mark.parametrize(
    "trailer",
    [
        b"\r\n",
        b"x-amz-checksum-sha1:a\r\n\r\n",
        b"x-amz-checksum-crc32:a\r\nx-amz-checksum-crc32:a\r\n\r\n",
        b"x-amz-checksum-crc32\r\n\r\n",
        b"x-amz-checksum-crc32:a\r\nx-amz-trailer-signature:a\r\n\r\n",
        b"x-amz-checksum-crc32:" + b"a" * 20_000 + b"\r\n\r\n",
    ],
    ids=["none", "other", "twice", "no colon", "signature", "too long"],
)
def test_trailers_must_be_the_announced_ones(trailer: bytes) -> None:
    assert _code(_unsigned(0, "x-amz-checksum-crc32"), b"0\r\n" + trailer) == "MalformedTrailerError"


@pytest.mark.parametrize(
    "header",
    [b"g\r\n", b"\r\n", b"-1\r\n", b"0x1\r\n", b"1 \r\n", b"1\n", b"1;a=b\r\n", b"1" * 300, b"f" * 17 + b"\r\n"],
)
def test_odd_chunk_headers_are_refused_at_once(header: bytes) -> None:
    with pytest.raises(ServiceFault, match=r"InvalidRequest|IncompleteBody"):
        _unsigned(5).feed(header)


def test_the_head_must_announce_the_decoded_length() -> None:
    for headers, code in (([], "MissingContentLength"), ([("x-amz-decoded-content-length", "1k")], "InvalidArgument")):
        request = HttpRequest(method="PUT", path="/b/k", headers=Headers(headers))
        with pytest.raises(ServiceFault) as caught:
            chunked_decoder(request, STREAMING_UNSIGNED_TRAILER, None, "")
        assert caught.value.code == code


def test_memory_stays_constant() -> None:
    decoder = _unsigned(1 << 40)
    decoder.feed(b"10000000000\r\n")
    for _ in range(64):
        assert len(decoder.feed(b"x" * 65_536)) == 65_536
    assert len(decoder._pending) == 0
