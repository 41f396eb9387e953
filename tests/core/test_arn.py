"""ARNs there and back, and wildcards against a naive matcher."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentrail.core import arn
from opentrail.core.arn import (
    Arn,
    assumed_role_arn,
    bucket_arn,
    compile_wildcard,
    object_arn,
    parse_arn,
    partition_of,
    trail_arn,
)
from opentrail.core.errors import FormatError

EXAMPLES = [
    "arn:aws:s3:::bucket",
    "arn:aws:s3:::bucket/a:b/c*d",
    "arn:aws:iam::123456789012:user/path/to/alice",
    "arn:aws-cn:iam::123456789012:root",
    "arn:aws:iam::aws:policy/ReadOnlyAccess",
    "arn:aws-us-gov:cloudtrail:us-gov-west-1:123456789012:trail/my-trail",
    "arn:aws:logs:eu-west-1:123456789012:log-group:name:*",
]


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_arn_survives_the_round_trip(text: str) -> None:
    assert str(parse_arn(text)) == text


def test_the_parts_of_an_arn() -> None:
    arn = parse_arn("arn:aws:iam::123456789012:user/path/alice")
    assert (arn.partition, arn.service, arn.region, arn.account) == ("aws", "iam", "", "123456789012")
    assert (arn.resource_type, arn.resource_id) == ("user", "path/alice")
    assert parse_arn("arn:aws:logs:eu-west-1:123456789012:log-group:a:*").resource_type == "log-group"
    assert (bucket_arn("b").resource_type, bucket_arn("b").resource_id) == ("", "b")


@pytest.mark.parametrize(
    ("arn", "text"),
    [
        (bucket_arn("b"), "arn:aws:s3:::b"),
        (object_arn("b", "a//b"), "arn:aws:s3:::b/a//b"),
        (assumed_role_arn("123456789012", "r", "s"), "arn:aws:sts::123456789012:assumed-role/r/s"),
        (trail_arn("cn-north-1", "123456789012", "t"), "arn:aws-cn:cloudtrail:cn-north-1:123456789012:trail/t"),
    ],
)
def test_the_makers(arn: Arn, text: str) -> None:
    assert str(arn) == text
    assert parse_arn(text) == arn


@pytest.mark.parametrize(
    "text",
    [
        "",
        "arn",
        "arn:aws:s3:::",
        "arn:aws:s3::bucket",
        "urn:aws:s3:::bucket",
        "arn:other:s3:::bucket",
        "arn:aws:S3:::bucket",
        "arn:aws:iam::12345:root",
        "arn:aws:s3:EU west:123456789012:x",
        "arn:aws:s3:::" + "x" * 3000,
    ],
)
def test_what_is_no_arn_is_a_format_error(text: str) -> None:
    with pytest.raises(FormatError):
        parse_arn(text)


def test_regions_have_partitions() -> None:
    regions = ("eu-west-1", "cn-north-1", "us-gov-east-1", "us-iso-east-1", "us-isob-east-1", "eusc-de-east-1")
    assert [partition_of(region) for region in regions] == [
        "aws", "aws-cn", "aws-us-gov", "aws-iso", "aws-iso-b", "aws-eusc"
    ]  # fmt: skip


def _naive(pattern: str, text: str) -> bool:
    """Matching by definition, a row of a table a character."""
    row = [True] + [False] * len(text)
    for char in pattern:
        following = [char == "*" and row[0]]
        for at, other in enumerate(text):
            following.append((row[at + 1] or following[at]) if char == "*" else row[at] and char in {"?", other})
        row = following
    return row[-1]


_ALPHABET = "ab:/.\n(É"


@given(st.text("*?" + _ALPHABET, max_size=10), st.text(_ALPHABET + "*?", max_size=12))
def test_wildcards_match_as_a_naive_matcher_does(pattern: str, text: str) -> None:
    assert compile_wildcard(pattern)(text) is _naive(pattern, text)
    assert compile_wildcard(pattern, ignore_case=True)(text) is _naive(pattern.lower(), text.lower())


@given(st.text("*?" + _ALPHABET, max_size=10), st.text(_ALPHABET + "*?", max_size=12))
def test_long_patterns_match_as_a_naive_matcher_does(pattern: str, text: str) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(arn, "_LONG_CHARACTERS", 0)
        assert compile_wildcard(pattern)(text) is _naive(pattern, text)


@pytest.mark.parametrize(
    "pattern", ["*" + "a?" * 3000 + "b*", "*" + "?" * 6000 + "b*", "*" + "a" * 6000 + "b*", "*" + "a?" * 3000 + "b"]
)
def test_a_long_pattern_does_not_make_a_long_text_slow(pattern: str) -> None:
    tests = [compile_wildcard(pattern.replace("b", f"b{number}")) for number in range(20)]
    began = time.process_time()
    assert not any(test("a" * 32_000) for test in tests)
    assert time.process_time() - began < 1.5


@given(st.lists(st.text(_ALPHABET, max_size=3), min_size=1, max_size=5), st.lists(st.text(_ALPHABET, max_size=3)))
def test_a_text_made_from_a_pattern_matches_it(pieces: list[str], fills: list[str]) -> None:
    text = pieces[0]
    for at, piece in enumerate(pieces[1:]):
        text += (fills[at] if at < len(fills) else "") + piece
    assert compile_wildcard("*".join(pieces))(text)


def test_no_pattern_is_slow() -> None:
    match = compile_wildcard("a*" * 60 + "b")
    started = time.perf_counter()
    assert not match("a" * 2_000)
    assert time.perf_counter() - started < 1
