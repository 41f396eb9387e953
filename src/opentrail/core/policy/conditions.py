"""The condition operators of policies, one table, and the evaluation of one condition.

Rules: an operator is a row of ``OPERATORS``; ``Not...`` operators are their positive twin negated, and hold when the
key is missing; ``...IfExists`` holds when the key is missing; ``ForAllValues:`` holds for no values, ``ForAnyValue:``
does not; a value that cannot be read (a number, date, address that is none) matches nothing.

Source: IAM user guide, "IAM JSON policy elements: Condition operators", "Set operators for multivalued context keys".
"""

from __future__ import annotations

import binascii
import ipaddress
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from operator import eq, ge, gt, le, lt
from typing import Any

from opentrail.core.arn import ANY_RUN, Matcher, Token, compile_tokens
from opentrail.core.errors import FormatError
from opentrail.core.policy.templates import Context, Template, parse_template, split_arn

Compile = Callable[[list[Token]], Matcher]

_FOR_ALL = "ForAllValues:"
_FOR_ANY = "ForAnyValue:"
_IF_EXISTS = "IfExists"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """How one operator compares: ``compile`` turns a policy value's tokens into a test of a request's value."""

    compile: Compile
    negated: bool = False
    wildcards: bool = False
    variables: bool = False  # whether policy variables may stand in its values


def _text(tokens: list[Token]) -> str:
    return "".join(text for _, text in tokens)


def _equals(tokens: list[Token]) -> Matcher:
    expected = _text(tokens)
    return lambda value: value == expected


def _equals_ignore_case(tokens: list[Token]) -> Matcher:
    expected = _text(tokens).casefold()
    return lambda value: value.casefold() == expected


def _arn_like(tokens: list[Token]) -> Matcher:
    """Segment by segment: a star does not reach over a colon, but in the last segment."""
    if tokens == [(ANY_RUN, "")]:
        return lambda value: value.startswith("arn:")
    segments = [compile_tokens(segment) for segment in split_arn(tokens)]
    if len(segments) != 6:
        return lambda _: False

    def test(value: str) -> bool:
        parts = value.split(":", 5)
        return len(parts) == 6 and all(match(part) for match, part in zip(segments, parts, strict=True))

    return test


def _compared(parse: Callable[[str], Any | None], compare: Callable[[Any, Any], bool]) -> Compile:
    def compiled(tokens: list[Token]) -> Matcher:
        expected = parse(_text(tokens))

        def test(value: str) -> bool:
            given = parse(value)
            return expected is not None and given is not None and compare(given, expected)

        return test

    return compiled


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _date(text: str) -> datetime | None:
    """An ISO 8601 date and time (UTC where it names no offset) or seconds since 1970."""
    try:
        if text.replace(".", "", 1).isdecimal():
            return datetime.fromtimestamp(float(text), UTC)
        moment = datetime.fromisoformat(text)
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


def parse_network(text: str) -> Network | None:
    """An address or CIDR block, or None."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _within(given: Network, expected: Network) -> bool:
    if isinstance(given, ipaddress.IPv4Network):
        return isinstance(expected, ipaddress.IPv4Network) and given.subnet_of(expected)
    return isinstance(expected, ipaddress.IPv6Network) and given.subnet_of(expected)


def _rows() -> dict[str, Operator]:
    rows = {
        "StringEquals": Operator(compile=_equals, variables=True),
        "StringEqualsIgnoreCase": Operator(compile=_equals_ignore_case, variables=True),
        "StringLike": Operator(compile=compile_tokens, wildcards=True, variables=True),
        "ArnEquals": Operator(compile=_arn_like, wildcards=True, variables=True),
        "ArnLike": Operator(compile=_arn_like, wildcards=True, variables=True),
        "Bool": Operator(compile=_compared(_bool, eq)),
        "BinaryEquals": Operator(compile=_compared(_binary, eq)),
        "IpAddress": Operator(compile=_compared(parse_network, _within)),
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
    lookup: str  # the key in lower case
    static: tuple[Matcher, ...]  # tests of values without variables
    dynamic: tuple[Template, ...]  # values with variables

    def holds(self, context: Context, *, unresolved: bool = False) -> bool:
        """Whether the condition is true of ``context``.

        ``unresolved`` is the answer where a negated operator's variable has no value: a Deny statement says True, an
        Allow statement False, so that neither grants what nobody meant.
        """
        given = context.get(self.lookup)
        if self.base == "Null":
            return any(test("false" if given else "true") for test in self.static)
        if not given:
            return self._holds_without_values()
        row = OPERATORS[self.base]
        tests = self.static
        if self.dynamic:
            resolved = [template.resolve(context) for template in self.dynamic]
            if row.negated and None in resolved:
                return unresolved
            tests = (*tests, *[row.compile(tokens) for tokens in resolved if tokens is not None])
        matches = [any(test(value) for test in tests) for value in given]
        if self.quantifier == _FOR_ALL:
            return all(match is not row.negated for match in matches)
        if self.quantifier == _FOR_ANY:
            return any(match is not row.negated for match in matches)
        return any(matches) is not row.negated

    def _holds_without_values(self) -> bool:
        if self.if_exists or self.quantifier == _FOR_ALL:
            return True
        return OPERATORS[self.base].negated and not self.quantifier


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
    static = [template.resolve({}) for template in templates if template.is_static]
    return Condition(
        operator=operator,
        key=key,
        values=values,
        base=base,
        quantifier=quantifier,
        if_exists=if_exists,
        lookup=key.lower(),
        static=tuple(row.compile(tokens) for tokens in static if tokens is not None),
        dynamic=tuple(template for template in templates if not template.is_static),
    )
