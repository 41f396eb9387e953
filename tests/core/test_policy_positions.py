"""Where statements stand in a policy's text: AWS's own examples, and any JSON that means the same."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentrail.core.errors import FormatError
from opentrail.core.policy.positions import Position, statement_spans

TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8)
STATEMENTS = st.lists(st.dictionaries(TEXTS, TEXTS | st.lists(TEXTS, max_size=2), min_size=1, max_size=3), min_size=1)


def test_the_aws_cli_s_example_of_one_statement_without_a_list() -> None:
    text = (
        '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"dynamodb:*","Resource":"*",'
        '"Condition":{"DateGreaterThan":{"aws:CurrentTime":"2018-08-16T12:00:00Z"}}}}'
    )
    (span,) = statement_spans(text)
    assert (span.start, span.end) == (Position(line=1, column=38), Position(line=1, column=167))


def test_a_list_over_several_lines_as_aws_counts_administrator_access() -> None:
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    (span,) = statement_spans(json.dumps(document, indent=2))
    assert (span.start, span.end) == (Position(line=3, column=17), Position(line=8, column=6))


def test_a_later_statement_starts_where_the_one_before_it_ends() -> None:
    text = '{"Statement": [{"a": 1} ,\n {"b": 2}], "Version": "x"}'
    first, second = statement_spans(text)
    assert first.end == second.start == Position(line=1, column=24)
    assert second.end == Position(line=2, column=10)


@given(STATEMENTS, st.sampled_from([None, 1, 4]), st.booleans())
def test_each_span_holds_its_statement(statements: list[dict[str, Any]], indent: int | None, ascii_only: bool) -> None:
    document = {"Version": "2012-10-17", "Statement": statements, "Id": "x"}
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
    lines = text.split("\n")

    def offset(position: Position) -> int:
        return sum(len(line) + 1 for line in lines[: position.line - 1]) + position.column - 1

    for statement, span in zip(statements, statement_spans(text), strict=True):
        piece = text[offset(span.start) : offset(span.end)].lstrip(" \n,")
        assert json.loads(piece) == statement


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "{}", '{"Statement"', '{"Statement":', '{"Statement": [', '{"Statement": [{}', "{1: 2}", "x"],
)
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        statement_spans(text)


@given(st.text(alphabet='{}[]:," Statemn\n1', max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(FormatError):
        statement_spans(text)
