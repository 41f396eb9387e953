"""``docs/findings.md`` and the rules of findings say the same."""

from __future__ import annotations

import re
from pathlib import Path

from opentrail.core.findings import RULES, FindingCode

PAGE = Path(__file__).parents[2] / "docs" / "findings.md"
ROW = re.compile(r"^\| `(?P<code>[a-z-]+)` \| (?P<severity>\w+) \| (?P<concern>\w+) \| (?P<rest>.+) \|$", re.MULTILINE)


def test_every_code_has_a_rule_and_a_row_that_agree() -> None:
    said = {row["code"]: (row["severity"], row["concern"]) for row in ROW.finditer(PAGE.read_text())}
    assert said == {code.value: (rule.severity.value, rule.concern.value) for code, rule in RULES.items()}
    assert {*RULES} == {*FindingCode}


def test_every_row_says_what_it_means_and_all_columns() -> None:
    for row in ROW.finditer(PAGE.read_text()):
        columns = [column.strip() for column in row["rest"].split(" | ")]
        assert len(columns) == 3, row["code"]
        assert columns[0].endswith((".", ":")), row["code"]
