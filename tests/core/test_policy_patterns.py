"""Resources and ARN conditions: segments, stars that reach over colons, variables, against a naive matcher."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from opentrail.core.arn import ANY_RUN, wildcard_tokens
from opentrail.core.policy import PolicyType, Statement, parse_policy
from opentrail.core.policy.arn_patterns import compile_arns, compile_resources
from opentrail.core.policy.templates import Context, compile_alternatives, parse_template

TOPIC = "arn:aws:sns:eu-west-1:123456789012:alarms"


def statement(resource: str | list[str], *, element: str = "Resource", effect: str = "Allow") -> Statement:
    body = {"Effect": effect, "Action": "*", element: resource}
    return parse_policy(json.dumps({"Version": "2012-10-17", "Statement": body}), PolicyType.IDENTITY).statements[0]


@pytest.mark.parametrize(
    ("pattern", "resource", "covered"),
    [
        ("*", "*", True),
        ("*", TOPIC, True),
        ("arn:aws:sns:*", "*", False),
        (TOPIC, TOPIC, True),
        (TOPIC, TOPIC.upper(), False),
        ("arn:aws:sns", TOPIC, True),  # what is left out stands for any
        ("arn:aws:sns:eu-west-1", TOPIC, True),
        ("arn:aws:sns:us-*", TOPIC, False),
        ("arn:aws:sns:*alarms", TOPIC, False),  # a region that ends so
        ("arn:aws:sns:*:*:al*", TOPIC, True),
        ("arn:aws:sns:eu-west-?:123456789012:alarms", TOPIC, True),
        ("arn:aws:sns:eu-*-1:*:alarms", TOPIC, True),
        ("arn:aws:sns:*-1:alarms:*", TOPIC, False),
        ("arn:*:sns:*:*:alarm?", TOPIC, True),
        ("arn:aws:lambda:*:*:main", "arn:aws:lambda:eu-west-1:123456789012:function:main", True),  # a star that ends it
        ("arn:aws:lambda:?u-*:*:main", "arn:aws:lambda:eu-west-1:123456789012:function:main", False),
        ("arn:aws:s3:::b/a*c", "arn:aws:s3:::b/a:b:c", True),
        ("arn:aws:s3:::b/?", "arn:aws:s3:::b/ab", False),
    ],
)
def test_which_resources_are_covered(pattern: str, resource: str, covered: bool) -> None:
    assert statement(pattern).covers_resource(resource, {}) is covered
    assert statement([pattern, "arn:aws:sqs:a:b:c"]).covers_resource(resource, {}) is covered
    assert statement(pattern, element="NotResource").covers_resource(resource, {}) is not covered


@pytest.mark.parametrize(
    ("pattern", "context", "covered"),
    [
        ("arn:aws:s3:::b/${aws:username}/*", {"aws:username": ["alice"]}, True),
        ("arn:aws:s3:::b/${aws:username}/*", {"aws:username": ["*"]}, False),  # a value is no wildcard
        ("arn:aws:s3:::b/${aws:username}/*", {}, False),
        ("arn:aws:s3:::b/${aws:username}/*", {"aws:username": ["alice", "bob"]}, False),
        ("arn:aws:s3:::b/${aws:missing, 'alice'}/*", {}, True),
        ("arn:aws:s3:::b/${aws:one}${aws:two}/*", {"aws:one": ["ali"], "aws:two": ["ce"]}, True),
        ("arn:aws:sqs:${aws:region}::b", {"aws:region": ["eu-west-1"]}, False),  # only behind the fifth colon
    ],
)
def test_variables_in_resources(pattern: str, context: Context, covered: bool) -> None:
    resource = "arn:aws:sqs:eu-west-1::b" if "sqs" in pattern else "arn:aws:s3:::b/alice/k"
    assert statement(pattern).covers_resource(resource, context) is covered


@pytest.mark.parametrize("element", ["Resource", "NotResource"])
def test_a_variable_without_a_value_grants_nothing(element: str) -> None:
    pattern = "arn:aws:s3:::b/${aws:username}/*"
    assert not statement(pattern, element=element).covers_resource("arn:aws:s3:::b/alice/k", {})
    denies = statement(pattern, element=element, effect="Deny").covers_resource("arn:aws:s3:::b/alice/k", {})
    assert denies is (element == "NotResource")


def naive(pattern: str, text: str) -> bool:
    """A glob, letter by letter."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return naive(pattern[1:], text) or (bool(text) and naive(pattern, text[1:]))
    return bool(text) and pattern[0] in {"?", text[0]} and naive(pattern[1:], text[1:])


def naive_arn(pattern: str, text: str) -> bool:
    segments, parts = pattern.split(":", 5), text.split(":", 5)
    return len(segments) == len(parts) == 6 and all(map(naive, segments, parts))


def naive_resource(pattern: str, text: str) -> bool:
    if pattern == "*":
        return True
    segments = pattern.split(":", 5)
    segments += ["*"] * (6 - len(segments))
    if all("?" not in segment and "*" not in segment[:-1] for segment in segments[:-1]):
        return naive(":".join(segments), text)
    return naive_arn(":".join(segments), text)


_PATTERN = st.text("a:*?", max_size=12)
_ARN = st.lists(st.text("a*?", max_size=3), min_size=6, max_size=7).map(":".join)
_TEXT = st.text("a:", max_size=10) | st.lists(st.text("a", max_size=2), min_size=6, max_size=7).map(":".join)


@given(st.lists(_PATTERN, max_size=3), _TEXT)
@example(["*a*a*a*b"], "aaaaaaaa")
def test_alternatives_match_as_a_naive_glob(patterns: list[str], text: str) -> None:
    compiled = compile_alternatives([tuple(wildcard_tokens(pattern)) for pattern in patterns])
    assert compiled(text) is any(naive(pattern, text) for pattern in patterns)


@given(st.lists(_PATTERN | _ARN, min_size=1, max_size=3), _TEXT)
def test_resources_match_as_a_naive_matcher(patterns: list[str], text: str) -> None:
    test, dynamic = compile_resources([parse_template(pattern, variables=True) for pattern in patterns])
    assert not dynamic
    assert test(text) is any(naive_resource(pattern, text) for pattern in patterns)


@given(st.lists(_PATTERN | _ARN, max_size=3), _TEXT)
def test_arn_conditions_match_as_a_naive_matcher(patterns: list[str], text: str) -> None:
    compiled = compile_arns([tuple(wildcard_tokens(pattern)) for pattern in patterns])
    assert compiled(text) is any(naive_arn(pattern, text) for pattern in patterns)


def test_a_hostile_pattern_costs_little() -> None:
    stars = "*a" * 1000
    text = "arn:aws:s3:::" + "a" * 900
    assert not statement(f"arn:aws:s3:::{stars}b").covers_resource(text, {})
    assert not statement(f"arn:aws:sqs:{stars}b:*:x").covers_resource("arn:aws:sqs:" + "a" * 900 + ":1:x", {})
    tokens: Any = tuple(wildcard_tokens(f"arn:aws:{stars}b:::"))
    assert (ANY_RUN, "") in tokens
    assert not compile_arns([tokens])("arn:aws:" + "a" * 900 + ":::")
