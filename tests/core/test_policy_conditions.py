"""Condition operators: the documentation's rules, one by one, and the laws between them."""

from __future__ import annotations

import tracemalloc
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentrail.core.errors import FormatError
from opentrail.core.policy.conditions import OPERATORS, compile_condition
from opentrail.core.policy.templates import Context

KEY = "aws:Key"


def holds(operator: str, values: str | list[str], given_values: list[str] | None, **more: str) -> bool:
    wanted = (values,) if isinstance(values, str) else tuple(values)
    context: dict[str, list[str]] = {key.replace("_", ":"): [value] for key, value in more.items()}
    if given_values is not None:
        context["aws:key"] = given_values
    return compile_condition(operator, KEY, wanted, variables=True).holds(context)


@pytest.mark.parametrize(
    ("operator", "value", "given_value", "expected"),
    [
        ("StringEquals", "a", "a", True),
        ("StringEquals", "a", "A", False),
        ("StringEquals", "a*", "ab", False),
        ("StringEquals", "a*", "a*", True),
        ("StringNotEquals", "a", "b", True),
        ("StringEqualsIgnoreCase", "a", "A", True),
        ("StringNotEqualsIgnoreCase", "a", "A", False),
        ("StringLike", "a*c?", "abbcd", True),
        ("StringLike", "a*", "A", False),
        ("StringNotLike", "a*", "abc", False),
        ("NumericEquals", "10", "10.0", True),
        ("NumericNotEquals", "10", "11", True),
        ("NumericLessThan", "10", "9", True),
        ("NumericLessThan", "10", "10", False),
        ("NumericLessThanEquals", "10", "10", True),
        ("NumericGreaterThan", "10", "9", False),
        ("NumericGreaterThanEquals", "10", "10", True),
        ("NumericEquals", "ten", "ten", False),
        ("NumericLessThan", "NaN", "1", False),
        ("DateLessThan", "2026-03-01T00:00:00Z", "2026-02-28T23:59:59Z", True),
        ("DateGreaterThan", "2026-03-01T00:00:00Z", "2026-03-01T01:00:00+02:00", False),
        ("DateEquals", "1772323200", "2026-03-01T00:00:00Z", True),
        ("DateNotEquals", "2026-03-01", "2026-03-02T00:00:00Z", True),
        ("DateGreaterThanEquals", "2026-03-01", "2026-03-01T00:00:00Z", True),
        ("DateLessThanEquals", "never", "2026-03-01T00:00:00Z", False),
        ("DateGreaterThan", "2026-03", "2026-03-01T00:00:01Z", True),
        ("DateEquals", "2026-03-01T02:00:00.5+02:00", "2026-03-01T00:00:00.500Z", True),
        ("DateLessThan", "99999999999999999999", "2026-03-01T00:00:00Z", False),
        ("NumericEquals", "1e1", "10", False),
        ("NumericEquals", "1_0", "10", False),
        ("NumericEquals", "-0.5", "-0.50", True),
        ("NumericGreaterThan", "9", "9" * 400, True),
        ("Bool", "true", "TRUE", True),
        ("Bool", "false", "true", False),
        ("BinaryEquals", b64encode(b"x").decode(), "eA==", True),
        ("BinaryEquals", "!", "!", False),
        ("IpAddress", "203.0.113.0/24", "203.0.113.7", True),
        ("IpAddress", "203.0.113.0/24", "203.0.114.7", False),
        ("IpAddress", "203.0.113.7", "203.0.113.7", True),
        ("IpAddress", "2001:db8::/32", "2001:db8::1", True),
        ("IpAddress", "0.0.0.0/0", "2001:db8::1", False),
        ("NotIpAddress", "203.0.113.0/24", "198.51.100.1", True),
        ("ArnEquals", "arn:aws:s3:::b*", "arn:aws:s3:::bucket", True),
        ("ArnLike", "arn:aws:sns:*:123456789012:t*", "arn:aws:sns:eu-west-1:123456789012:topic", True),
        ("ArnLike", "arn:aws:*:123456789012:x", "arn:aws:iam::123456789012:x", False),
        ("ArnLike", "arn:*:trail/t", "arn:aws:cloudtrail:eu-west-1:123456789012:trail/t", False),
        ("ArnLike", "*", "arn:aws:s3:::bucket", False),  # six segments, each by itself
        ("ArnLike", "arn:aws:s3*", "arn:aws:s3:::bucket", False),
        ("ArnLike", "arn:aws:s3:::*", "arn:aws:s3:::b:c", True),
        ("ArnLike", "arn:aws:s3:::b", "b", False),
        ("ArnNotLike", "*", "arn:aws:s3:::bucket", True),
        ("ArnNotLike", "arn:aws:s3:::b*", "arn:aws:s3:::other", True),
        ("IpAddress", "203.0.113.7", "203.0.113.0/24", False),
        ("IpAddress", "::/0", "203.0.113.7", False),
        ("NotIpAddress", "::/0", "203.0.113.7", True),
        ("IpAddress", "203.0.113.0/33", "203.0.113.0", False),
        ("StringEqualsIgnoreCase", "STRASSE", "straße", True),
        ("ArnNotEquals", "arn:aws:s3:::b", "arn:aws:s3:::b", False),
    ],
)  # fmt: skip
def test_single_values(operator: str, value: str, given_value: str, expected: bool) -> None:
    assert holds(operator, value, [given_value]) is expected


def test_several_policy_values_are_alternatives() -> None:
    assert holds("StringEquals", ["a", "b"], ["b"])
    assert not holds("StringNotEquals", ["a", "b"], ["b"])
    assert holds("StringNotEquals", ["a", "b"], ["c"])


@pytest.mark.parametrize("operator", sorted(OPERATORS.keys() - {"Null"}))
def test_a_missing_key(operator: str) -> None:
    negated = "Not" in operator
    absent: list[list[str] | None] = [None, []]
    for missing in absent:
        assert holds(operator, "a", missing) is negated
        assert holds(f"{operator}IfExists", "a", missing)
        assert holds(f"ForAllValues:{operator}", "a", missing)
        assert not holds(f"ForAnyValue:{operator}", "a", missing)
        assert not holds(f"ForAnyValue:{operator}IfExists", "a", missing)


@given(
    st.sampled_from(sorted(OPERATORS.keys() - {"Null"})), st.lists(st.text(max_size=4), min_size=1), st.text(max_size=4)
)
def test_if_exists_means_nothing_when_the_key_exists(operator: str, values: list[str], given_value: str) -> None:
    assert holds(operator, values, [given_value]) is holds(f"{operator}IfExists", values, [given_value])


_TWINS = [(name, name.replace("Not", "")) for name in OPERATORS if "Not" in name]


@given(
    st.sampled_from(_TWINS),
    st.lists(st.text("ab1", max_size=2), max_size=3),
    st.none() | st.lists(st.text("ab1", max_size=2), max_size=1),
)
def test_a_negated_operator_is_its_twins_opposite(
    twin: tuple[str, str], values: list[str], given_values: list[str] | None
) -> None:
    assert holds(twin[0], values, given_values) is not holds(twin[1], values, given_values)


@pytest.mark.parametrize(
    ("operator", "given_values", "expected"),
    [
        ("ForAllValues:StringEquals", ["a", "b"], True),
        ("ForAllValues:StringEquals", ["a", "c"], False),
        ("ForAnyValue:StringEquals", ["a", "c"], True),
        ("ForAnyValue:StringEquals", ["c", "d"], False),
        ("ForAllValues:StringNotEquals", ["c", "d"], True),
        ("ForAllValues:StringNotEquals", ["a", "d"], False),
        ("ForAnyValue:StringNotEquals", ["a", "d"], True),
        ("ForAnyValue:StringNotEquals", ["a", "b"], False),
    ],
)
def test_set_operators(operator: str, given_values: list[str], expected: bool) -> None:
    assert holds(operator, ["a", "b"], given_values) is expected


def test_several_values_need_a_set_operator() -> None:
    for operator in ("StringEquals", "StringNotEquals", "StringLikeIfExists"):
        condition = compile_condition(operator, KEY, ("a",), variables=True)
        for several in (["a", "b"], ["a", "a"], ["b", "c"]):
            assert not condition.holds({"aws:key": several}, unresolved=False)  # an Allow statement
            assert condition.holds({"aws:key": several}, unresolved=True)  # a Deny statement


def test_null_asks_whether_the_key_is_there() -> None:
    assert holds("Null", "true", None)
    assert holds("Null", "true", [])
    assert not holds("Null", "true", ["a"])
    assert holds("Null", "false", ["a"])
    assert not holds("Null", "false", None)
    assert not holds("Null", "perhaps", None)


@pytest.mark.parametrize(
    "operator", ["StringMatches", "", "stringequals", "ForSomeValues:StringEquals", "NullIfExists", "ForAllValues:Null"]
)
def test_unknown_operators_are_refused(operator: str) -> None:
    with pytest.raises(FormatError, match="Invalid Condition type"):
        compile_condition(operator, KEY, ("true",), variables=True)


def test_variables() -> None:
    assert holds("StringEquals", "${aws:username}", ["alice"], aws_username="alice")
    assert holds("StringEquals", "home/${AWS:UserName}/x", ["home/alice/x"], aws_username="alice")
    assert not holds("StringEquals", "${aws:username}", ["${aws:username}"])
    assert holds("StringEquals", "${aws:username, 'nobody'}", ["nobody"])
    assert holds("StringEquals", "${aws:username, 'nobody'}", ["alice"], aws_username="alice")
    assert holds("StringLike", "${*}${?}${$}*", ["*?$abc"])
    assert not holds("StringLike", "${*}", ["abc"])
    assert not holds("StringLike", "${aws:username}", ["bob"], aws_username="*")  # a value is never a wildcard
    assert holds("ArnLike", "arn:aws:s3:::${aws:username}/*", ["arn:aws:s3:::alice/k"], aws_username="alice")
    assert holds("StringEquals", "${ no variable", ["${ no variable"])


def test_a_variable_with_several_values_matches_nothing() -> None:
    context: Context = {"aws:key": ["a"], "aws:tagkeys": ["a", "b"]}
    condition = compile_condition("StringEquals", KEY, ("${aws:TagKeys}",), variables=True)
    assert not condition.holds(context)


def test_old_policies_know_no_variables() -> None:
    condition = compile_condition("StringEquals", KEY, ("${aws:username}",), variables=False)
    assert condition.holds({"aws:key": ["${aws:username}"], "aws:username": ["alice"]})


def test_an_unresolved_variable_never_helps_a_negated_condition_to_grant() -> None:
    known = compile_condition("StringNotEquals", KEY, ("${aws:username}", "a"), variables=True)
    assert not known.holds({"aws:key": ["a"]}, unresolved=True)  # another value decides
    condition = compile_condition("StringNotEquals", KEY, ("${aws:username}",), variables=True)
    assert not condition.holds({"aws:key": ["a"]}, unresolved=False)  # an Allow statement
    assert condition.holds({"aws:key": ["a"]}, unresolved=True)  # a Deny statement


def test_what_callers_make_of_variables_does_not_fill_memory() -> None:
    values = tuple(f"{number}${{aws:UserAgent}}" for number in range(100))
    condition = compile_condition("StringEquals", KEY, values, variables=True)
    tracemalloc.start()
    for number in range(20):
        assert not condition.holds({"aws:key": ["x"], "aws:useragent": [f"{number}" + "a" * 30_000]})
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1_000_000
