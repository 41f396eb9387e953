"""The documentation says what is true: its generated pages are up to date, its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from opentrail.cli.reference import PAGES

REPOSITORY = Path(__file__).resolve().parents[2]
MARKDOWN = [
    path
    for path in REPOSITORY.rglob("*.md")
    if not any(part.startswith(".") for part in path.relative_to(REPOSITORY).parts)
]


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")  # argparse folds its help to the terminal


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_generated_page_is_up_to_date(name: str) -> None:
    assert (REPOSITORY / "docs" / name).read_text("utf-8") == PAGES[name](), "run `make docs`"


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_within_the_repository_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", path.read_text("utf-8")):
        assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_every_dependency_has_its_reason() -> None:
    listed = (REPOSITORY / "docs" / "dependencies.md").read_text("utf-8")
    project = (REPOSITORY / "pyproject.toml").read_text("utf-8")
    dependencies = re.search(r"^dependencies = \[(.*?)^\]", project, re.DOTALL | re.MULTILINE)
    assert dependencies
    names = set(re.findall(r'"([a-z0-9-]+)', dependencies[1]))
    assert {name for name in names if f"`{name}`" not in listed} == set()


def test_no_constraint_says_where_it_was_downloaded() -> None:
    lines = (REPOSITORY / "constraints.txt").read_text().split()
    assert lines
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+_-]+", line)] == []


def test_every_decision_is_numbered_once() -> None:
    names = [path.name for path in (REPOSITORY / "docs" / "adr").glob("*.md")]
    numbers = sorted(name.split("-")[0] for name in names)
    assert len(numbers) == len(set(numbers)), names
