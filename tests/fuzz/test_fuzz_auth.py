"""Fuzz of everything that reads what a stranger sent before or while it is authenticated.

Each target states its promise: it raises ``ServiceFault`` (or ``FormatError``) or nothing, whatever comes.
"""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from opentrail.core.arn import compile_wildcard, parse_arn
from opentrail.core.checksums import BY_HEADER, PayloadCheck
from opentrail.core.errors import FormatError, ServiceFault
from opentrail.core.http import Headers, HttpRequest
from opentrail.core.identity import ANONYMOUS, root_identity
from opentrail.core.policy import (
    AuthorizationRequest,
    Policy,
    PolicySet,
    PolicyType,
    evaluate,
    is_public,
    parse_policy,
)
from opentrail.core.policy.conditions import OPERATORS
from opentrail.core.sigv4 import Family, parse_authorization, peek_scope, s3_payload_hash, verify_signature
from opentrail.core.wire.chunked import ChunkedDecoder, ChunkSigner

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
_LATIN = st.text(st.characters(max_codepoint=255), max_size=30)


def _mix(*pieces: str) -> st.SearchStrategy[str]:
    """Text that is made of plausible pieces, with anything between them."""
    return st.lists(st.sampled_from(pieces) | _LATIN, max_size=12).map("".join)


_AUTHORIZATION = _mix(
    "AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256", "Credential=", "AKID/20260301/us-east-1/s3/aws4_request", "/", ", ", ",",
    "SignedHeaders=", "host;x-amz-date", "host;x-amz-content-sha256;x-amz-date", "Signature=", "0" * 64, "=",
    "AWS a:b", "Bearer x",
)  # fmt: skip
_CREDENTIAL = "X-Amz-Credential=AKID%2F20260301%2Fus-east-1%2Fs3%2Faws4_request"
_QUERY = _mix(
    "&", "=", "%", "%2F", "+", "X-Amz-Algorithm=AWS4-HMAC-SHA256", f"&{_CREDENTIAL}", "&X-Amz-Date=20260301T120000Z",
    "&X-Amz-Expires=60", "&X-Amz-Expires=-1", "&X-Amz-SignedHeaders=host", "&X-Amz-Signature=" + "0" * 64,
    "&X-Amz-Security-Token=t", "&AWSAccessKeyId=A", "\u1234",
)  # fmt: skip
_DATE = (
    st.sampled_from(["20260301T120000Z", "99991231T235959Z", "00010101T000000Z", "Sun, 01 Mar 2026 12:00:00 GMT"])
    | _LATIN
)
_GOOD = "AWS4-HMAC-SHA256 Credential=AKID/20260301/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature="
_HEADERS = st.lists(
    st.tuples(st.just("authorization"), _AUTHORIZATION | _LATIN.map(_GOOD.__add__))
    | st.tuples(st.sampled_from(["x-amz-date", "date"]), _DATE)
    | st.tuples(
        st.sampled_from(["host", "x-amz-content-sha256", "x-amz-security-token", "x-amz-meta-a", "range"]),
        st.sampled_from(["UNSIGNED-PAYLOAD", "0" * 64]) | _LATIN,
    ),
    max_size=7,
)


def _spliced(good: str) -> st.SearchStrategy[str]:
    """``good`` with some characters cut out and others put in."""
    cut = st.tuples(st.integers(0, len(good)), st.integers(0, 5), st.text("/;,=& %\x00a0Z", max_size=3))
    return cut.map(lambda c: good[: c[0]] + c[2] + good[c[0] + c[1] :]) | st.just(good)


_NEARLY_SIGNED = st.fixed_dictionaries(
    {
        "host": st.just("h"),
        "x-amz-date": _spliced("20260301T120000Z"),
        "authorization": _spliced(_GOOD + "0" * 64),
    },
    optional={"x-amz-content-sha256": _spliced("UNSIGNED-PAYLOAD"), "x-amz-meta-a": _LATIN},
).map(lambda headers: list(headers.items()))
_NEARLY_PRESIGNED = _spliced(
    f"X-Amz-Algorithm=AWS4-HMAC-SHA256&{_CREDENTIAL}&X-Amz-Date=20260301T120000Z&X-Amz-Expires=60"
    f"&X-Amz-SignedHeaders=host&X-Amz-Signature={'0' * 64}"
)
_CLAIM = st.one_of(
    st.tuples(_QUERY, _HEADERS),
    st.tuples(st.just("a=1&b"), _NEARLY_SIGNED),
    st.tuples(_NEARLY_PRESIGNED, st.just([("host", "h")])),
)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(Family), _mix("/", "..", ".", "//", "%2F", "%", "\u1234").map("/".__add__), _CLAIM)
def test_authentication_of_anything(family: Family, path: str, claim: tuple[str, list[tuple[str, str]]]) -> None:
    query, headers = claim
    request = HttpRequest(method="GET", path=path, query=query, headers=Headers(headers))
    peek_scope(request)
    with contextlib.suppress(ServiceFault):
        authorization = parse_authorization(request, family)
        if authorization is not None:
            for now in (NOW, authorization.time, authorization.time + timedelta(seconds=1)):
                payload_hash = s3_payload_hash(authorization) if family is Family.S3 else "0" * 64
                with contextlib.suppress(ServiceFault):
                    verify_signature(request, authorization, "secret", now, payload_hash=payload_hash, family=family)
                    raise AssertionError("a made-up signature was accepted")


_CHUNKED = st.lists(
    st.sampled_from([
        b"\r\n", b"0\r\n", b"1\r\n", b"a\r\n", b"2000\r\n", b"0;chunk-signature=" + b"0" * 64 + b"\r\n", b"x" * 8_192,
        b"x-amz-checksum-crc32:", b"AAAAAA==", b"x-amz-trailer-signature:", b"ffffffffffffffff\r\n",
    ])
    | st.binary(max_size=20)
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(_CHUNKED, st.integers(0, 10_000), st.booleans(), st.booleans(), st.integers(1, 64))
def test_decoding_of_anything(pieces: list[bytes], length: int, signed: bool, trailing: bool, split: int) -> None:
    body = b"".join(pieces)
    signer = ChunkSigner(key=b"k" * 32, timestamp="t", scope="s", seed="0" * 64) if signed else None

    def run(step: int) -> tuple[bytes, dict[str, str], str]:
        decoder = ChunkedDecoder(
            decoded_length=length,
            signer=signer,
            trailer_names=["x-amz-checksum-crc32"] if trailing else [],
            has_trailer=trailing,
        )
        out = b""
        try:
            for at in range(0, len(body), step):
                out += decoder.feed(body[at : at + step])
            decoder.finish()
        except ServiceFault as fault:
            return b"", {}, fault.code
        return out, decoder.trailers, ""

    assert run(len(body) or 1) == run(split) == run(1)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([*BY_HEADER, "content-md5", "x-amz-sdk-checksum-algorithm"]), _LATIN), max_size=3
    ),
    st.lists(st.sampled_from([*BY_HEADER, "x-amz-meta-a"]), max_size=2),
    st.dictionaries(st.sampled_from([*BY_HEADER]), _LATIN, max_size=2),
    _LATIN,
    st.binary(max_size=50),
)
def test_payload_checks_of_anything(
    headers: list[tuple[str, str]], names: list[str], trailers: dict[str, str], payload_hash: str, body: bytes
) -> None:
    with contextlib.suppress(ServiceFault):
        check = PayloadCheck(Headers(headers), payload_hash=payload_hash, trailer_names=names)
        check.update(body)
        check.finish(trailers)


_WORD = st.sampled_from([
    "*", "Allow", "Deny", "s3:GetObject", "s3:*", "arn:aws:s3:::b/*", "arn:aws:s3:::${aws:username}", "${", "${}",
    "${a, 'b'}",
    "2012-10-17", "true", "1", "2026-03-01T00:00:00Z", "203.0.113.0/24", "123456789012", "cloudtrail.amazonaws.com",
]) | st.text(max_size=8)  # fmt: skip
_KEY = st.sampled_from([
    "Version", "Id", "Statement", "Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource",
    "NotResource", "Condition", "AWS", "Service", "Federated", "CanonicalUser", "aws:username", "aws:SourceIp",
    *OPERATORS,
]) | st.text(max_size=6)  # fmt: skip
_LEAF = st.none() | st.booleans() | st.integers() | st.floats() | _WORD
_JSON = st.recursive(
    _LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEY, inner, max_size=4), max_leaves=12
)
_CONDITION = st.dictionaries(
    st.sampled_from(sorted(OPERATORS)), st.dictionaries(st.just("aws:SourceIp"), _WORD | st.lists(_WORD), min_size=1)
)
_RESOURCE = st.sampled_from(["*", "arn:aws:s3:::b/*", "arn:aws:s3:::${aws:sourceip}", "arn:aws:s3:::${a, 'b'}*${"])


def _document(policy_type: PolicyType) -> st.SearchStrategy[Any]:
    """Documents of which many are good, some nearly, some not at all."""
    required: dict[str, st.SearchStrategy[Any]] = {
        "Effect": st.sampled_from(["Allow", "Deny"]),
        "Action": st.sampled_from(["*", "s3:*", ["s3:Get?bject", "iam:*"]]),
    }
    if policy_type in {PolicyType.BUCKET, PolicyType.TRUST}:
        required["Principal"] = st.sampled_from(["*", {"AWS": "123456789012"}, {"Service": ["s3.amazonaws.com"]}])
    if policy_type is not PolicyType.TRUST:
        required["Resource"] = _RESOURCE | st.lists(_RESOURCE, min_size=1, max_size=3)
    good = st.fixed_dictionaries(required, optional={"Condition": _CONDITION})
    nearly = st.builds(lambda statement, key, value: {**statement, key: value}, good, _KEY, _JSON)
    statements = st.lists(good, max_size=3) | st.lists(good | nearly, max_size=3)
    return st.fixed_dictionaries({"Version": st.just("2012-10-17"), "Statement": statements}) | _JSON


_TYPED_DOCUMENT = st.sampled_from(PolicyType).flatmap(lambda kind: st.tuples(st.just(kind), _document(kind)))


@settings(max_examples=500, deadline=None)
@given(_TYPED_DOCUMENT, st.dictionaries(st.just("aws:sourceip"), st.lists(_WORD, max_size=2)))
def test_policies_of_anything(typed: tuple[PolicyType, Any], context: dict[str, list[str]]) -> None:
    policy_type, document = typed
    with contextlib.suppress(ServiceFault):
        policy = parse_policy(json.dumps(document), policy_type)
        is_public(policy)
        group = (Policy(name="p", document=policy),)
        for principal in (ANONYMOUS, root_identity("123456789012")):
            request = AuthorizationRequest(
                principal=principal, action="s3:GetObject", resource="arn:aws:s3:::b/k", context=context
            )
            decision = evaluate(request, PolicySet(identity=group, resource=group, boundary=group))
            decision.near()


@settings(max_examples=200, deadline=None)
@given(_mix("{", "}", "[", "]", '"Statement":', '"Effect":"Allow"', ",", "NaN", "1e999", "9" * 5_000, "\ud800"))
def test_policy_texts_of_anything(text: str) -> None:
    for policy_type in PolicyType:
        with contextlib.suppress(ServiceFault):
            parse_policy(text, policy_type)


@settings(max_examples=200, deadline=None)
@given(_mix("arn:", "aws", ":", "s3", "*", "123456789012", "\n"), st.text(max_size=30))
def test_arns_of_anything(text: str, other: str) -> None:
    compile_wildcard(text)(other)
    with contextlib.suppress(FormatError):
        assert str(parse_arn(text)) == text
