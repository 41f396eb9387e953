"""The condition operators of policies, one table, and the evaluation of one condition.

Rules: an operator is a row of ``OPERATORS``; ``Not...`` operators are their positive twin negated, and hold when the
key is missing; ``...IfExists`` holds when the key is missing; ``ForAllValues:`` holds for no values, ``ForAnyValue:``
does not, whatever follows it; a key with several values needs one of the two; a value that cannot be read (a number,
date, address that is none) matches nothing.

Source: IAM user guide, "IAM JSON policy elements: Condition operators", "Set operators for multivalued context keys".
"""

from __future__ import annotations

import binascii
import ipaddress
import re
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from operator import eq, ge, gt, le, lt
from typing import Any

from opentrail.core.arn import Matcher
from opentrail.core.errors import FormatError
from opentrail.core.policy.arn_patterns import compile_arns
from opentrail.core.policy.templates import (
    Context,
    Pattern,
    Template,
    VariableText,
    any_of,
    compile_alternatives,
    fill,
    parse_template,
    pattern_text,
    remember,
)

Compile = Callable[[Sequence[Pattern]], Matcher]

_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_YEAR_AND_MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")

_FOR_ALL = "ForAllValues:"
_FOR_ANY = "ForAnyValue:"
_IF_EXISTS = "IfExists"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """How one operator compares: ``compile`` turns the tokens of policy values into a test of a request's value."""

    compile: Compile
    negated: bool = False
    wildcards: bool = False
    variables: bool = False  # whether policy variables may stand in its values


def _equals(patterns: Sequence[Pattern]) -> Matcher:
    return frozenset(pattern_text(pattern) for pattern in patterns).__contains__


def _equals_ignore_case(patterns: Sequence[Pattern]) -> Matcher:
    expected = frozenset(pattern_text(pattern).casefold() for pattern in patterns)
    return lambda value: value.casefold() in expected


def _compared(parse: Callable[[str], Any | None], compare: Callable[[Any, Any], bool]) -> Compile:
    def compiled(patterns: Sequence[Pattern]) -> Matcher:
        parsed = [parse(pattern_text(pattern)) for pattern in patterns]
        wanted = [expected for expected in parsed if expected is not None]

        def test(value: str) -> bool:
            given = parse(value)
            return given is not None and any(compare(given, expected) for expected in wanted)

        return test

    return compiled


@lru_cache(maxsize=1024)
def _number(text: str) -> Decimal | None:
    return Decimal(text) if _NUMBER.fullmatch(text) else None


@lru_cache(maxsize=1024)
def _date(text: str) -> datetime | None:
    """An ISO 8601 date or date and time (UTC where it names no offset) or seconds since 1970."""
    try:
        if _NUMBER.fullmatch(text):
            return datetime.fromtimestamp(float(text), UTC)
        if _YEAR_AND_MONTH.match(text) is None:
            return None
        moment = datetime.fromisoformat(f"{text}-01" if _YEAR_AND_MONTH.fullmatch(text) else text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _bool(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text.lower())


def _binary(text: str) -> bytes | None:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@lru_cache(maxsize=1024)
def parse_network(text: str) -> Network | None:
    """An address or CIDR block, or None."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


@lru_cache(maxsize=1024)
def _address_range(text: str) -> tuple[int, int, int] | None:
    """The version of an address or block, its first and its last address as numbers."""
    network = parse_network(text)
    if network is None:
        return None
    return network.version, int(network.network_address), int(network.broadcast_address)


def _within(given: tuple[int, int, int], expected: tuple[int, int, int]) -> bool:
    return given[0] == expected[0] and expected[1] <= given[1] and given[2] <= expected[2]


def _rows() -> dict[str, Operator]:
    rows = {
        "StringEquals": Operator(compile=_equals, variables=True),
        "StringEqualsIgnoreCase": Operator(compile=_equals_ignore_case, variables=True),
        "StringLike": Operator(compile=compile_alternatives, wildcards=True, variables=True),
        "ArnEquals": Operator(compile=compile_arns, wildcards=True, variables=True),
        "ArnLike": Operator(compile=compile_arns, wildcards=True, variables=True),
        "Bool": Operator(compile=_compared(_bool, eq)),
        "BinaryEquals": Operator(compile=_compared(_binary, eq)),
        "IpAddress": Operator(compile=_compared(_address_range, _within)),
        "Null": Operator(compile=_compared(_bool, eq)),
    }
    for kind, parse in (("Numeric", _number), ("Date", _date)):
        for name, compare in (
            ("Equals", eq),
            ("LessThan", lt),
            ("LessThanEquals", le),
            ("GreaterThan", gt),
            ("GreaterThanEquals", ge),
        ):
            rows[kind + name] = Operator(compile=_compared(parse, compare))
    for name, twin in (
        ("StringNotEquals", "StringEquals"),
        ("StringNotEqualsIgnoreCase", "StringEqualsIgnoreCase"),
        ("StringNotLike", "StringLike"),
        ("ArnNotEquals", "ArnEquals"),
        ("ArnNotLike", "ArnLike"),
        ("NumericNotEquals", "NumericEquals"),
        ("DateNotEquals", "DateEquals"),
        ("NotIpAddress", "IpAddress"),
    ):
        row = rows[twin]
        rows[name] = Operator(compile=row.compile, negated=True, wildcards=row.wildcards, variables=row.variables)
    return rows


OPERATORS: Mapping[str, Operator] = _rows()


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One operator on one key: ``"StringEquals": {"aws:SourceAccount": ["1", "2"]}``."""

    operator: str  # as written, with its prefix and suffix
    key: str  # as written
    values: tuple[str, ...]
    base: str  # the row of OPERATORS
    quantifier: str  # "", "ForAllValues:", "ForAnyValue:"
    if_exists: bool
    negated: bool
    lookup: str  # the key in lower case
    holds_when_missing: bool  # also what Null says of a missing key
    static: Matcher  # the test of the values without variables
    dynamic: tuple[VariableText, ...]  # the values with variables

    def holds(self, context: Context, *, unresolved: bool = False) -> bool:
        """Whether the condition is true of ``context``.

        ``unresolved`` is the answer where that cannot be told: a negated operator's variable has no value and the
        other values do not decide, or the key has several values and no set operator says what to make of them.  A
        Deny statement says True, an Allow statement False, so that neither grants what nobody meant.
        """
        given = context.get(self.lookup)
        if not given:
            return self.holds_when_missing
        test = self.static
        doubtful = False
        if self.dynamic:
            tests = [each.matcher(context) for each in self.dynamic]
            doubtful = self.negated and None in tests
            test = any_of([test, *[each for each in tests if each]])
        if len(given) == 1:
            holds = test(given[0]) is not self.negated
        elif self.quantifier == _FOR_ALL:
            holds = all(test(value) is not self.negated for value in given)
        elif self.quantifier == _FOR_ANY or self.base == "Null":
            holds = any(test(value) is not self.negated for value in given)
        else:
            return unresolved
        return unresolved if holds and doubtful else holds


def compile_condition(operator: str, key: str, values: tuple[str, ...], *, variables: bool) -> Condition:
    """Compile one condition; ``variables`` says whether the policy's version knows them.  Raises ``FormatError``."""
    base = operator
    quantifier = next((prefix for prefix in (_FOR_ALL, _FOR_ANY) if operator.startswith(prefix)), "")
    base = base[len(quantifier) :]
    if_exists = base.endswith(_IF_EXISTS)
    base = base.removesuffix(_IF_EXISTS)
    row = OPERATORS.get(base)
    if row is None or (base == "Null" and (if_exists or quantifier)):
        raise FormatError(f"Invalid Condition type : {operator}")
    templates = [
        parse_template(value, variables=variables and row.variables, wildcards=row.wildcards) for value in values
    ]
    fixed = [fill(template.parts) for template in templates if not template.variables]
    static = row.compile(fixed)
    if base == "Null":
        when_missing = static("true")
        static = _constant(static("false"))
    elif quantifier:
        when_missing = quantifier == _FOR_ALL
    else:
        when_missing = if_exists or row.negated
    return Condition(
        operator=operator,
        key=key,
        values=values,
        base=base,
        quantifier=quantifier,
        if_exists=if_exists,
        negated=row.negated,
        lookup=key.lower(),
        holds_when_missing=when_missing,
        static=static,
        dynamic=tuple(_remember_value(template, row) for template in templates if template.variables),
    )


def _remember_value(template: Template, row: Operator) -> VariableText:
    return remember(template, lambda values: row.compile((fill(template.parts, values),)))


def _constant(answer: bool) -> Matcher:  # noqa: FBT001  the constant itself
    return lambda _: answer
