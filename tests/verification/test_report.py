"""Reports: complete for programs, and for people safe, self-contained and right about every hour."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentrail.core.errors import ConfigError
from opentrail.core.findings import Finding, FindingCode, found
from opentrail.core.layout import DigestKey, LogKey, format_digest_key, format_log_key
from opentrail.core.public_keys import PublicKey
from opentrail.testing.sample_trail import FOLDER, TRAIL
from opentrail.verification.explanations import EXPLANATIONS
from opentrail.verification.finding_log import MOST_SHOWN, FindingLog, ReportContext
from opentrail.verification.report import write_report
from opentrail.verification.report_html import html_report
from opentrail.verification.result import ChainSummary, ObjectCounts, Span, VerifyResult
from opentrail.verification.timeline import Mark, Unit, rows_of, unit_for

NOW = datetime(2024, 5, 8, 12, tzinfo=UTC)
START = datetime(2024, 5, 6, 9, 17, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)


def _log_key(moment: datetime) -> str:
    return format_log_key(LogKey(folder=FOLDER, delivered_at=moment, unique="0" * 16))


def _chain(*findings: Finding, **changes: object) -> ChainSummary:
    codes = {finding.code: sum(each.code is finding.code for each in findings) for finding in findings}
    values = {"covered": Span(start=START, end=START + 40 * HOUR), **changes}
    return ChainSummary(
        trail=TRAIL,
        bucket="trail-bucket",
        digests=ObjectCounts(total=40, valid=40),
        log_files=ObjectCounts(total=80, valid=80),
        log_bytes=1000,
        findings=codes,
        **values,  # type: ignore[arg-type]  # as the test says
    )


def _result(*chains: ChainSummary, source: str = "s3://trail-bucket") -> VerifyResult:
    codes: dict[FindingCode, int] = {}
    for chain in chains:
        for code, count in chain.findings.items():
            codes[code] = codes.get(code, 0) + count
    return VerifyResult(source=source, start=None, end=None, checked_at=NOW, chains=chains, findings=codes, seconds=1.5)


@pytest.fixture
def log() -> Iterator[FindingLog]:
    log = FindingLog()
    yield log
    log.close()


KEY = PublicKey(value=b"key", fingerprint="0123456789abcdef" * 2, validity_start=START, validity_end=NOW)
CONTEXT = ReportContext(
    version="1.2.3",
    public_keys=[KEY],
    keys_origin="the file keys.json",
    commands=["opentrail verify 's3://trail-bucket' --public-keys keys.json"],
)


class _Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


TAGS = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "div", "strong", "br", "span"),
    *("table", "tr", "th", "td", "code", "pre"),
}
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class"}


def _html(result: VerifyResult, log: FindingLog) -> _Page:
    return _Page(b"".join(html_report(result, log, CONTEXT)).decode())


def test_a_valid_trail_reads_so(log: FindingLog) -> None:
    page = _html(_result(_chain()), log)
    assert "Everything that was checked is as it was delivered, and nothing is missing." in page.text
    assert "opentrail verify 's3://trail-bucket' --public-keys keys.json" in page.text
    assert KEY.fingerprint in page.text
    assert "120 of 120" not in page.text
    assert "80 of 80 valid" in page.text


def test_each_finding_is_explained_and_named(log: FindingLog) -> None:
    missing = found(FindingCode.LOG_FILE_MISSING, _log_key(START + HOUR), "is named, but is not there", named_by="X")
    log.add(TRAIL, missing)
    page = _html(_result(_chain(missing)), log)
    assert missing.key in page.text
    assert EXPLANATIONS[FindingCode.LOG_FILE_MISSING] in page.text
    assert "1 finding of what is missing or added." in page.text
    assert "No object was changed" in page.text


def test_every_code_has_its_explanation() -> None:
    assert set(EXPLANATIONS) == set(FindingCode)


@given(st.lists(st.text() | st.sampled_from(["<script>alert(1)</script>", '"><img src=x>', "&#60;", "\u202egnp"])))
def test_no_text_becomes_markup(texts: list[str]) -> None:
    log = FindingLog()
    for text in texts:
        log.add(None, found(FindingCode.OBJECT_UNEXPECTED, text, text, original=text))
    result = _result(_chain(), source="<b>".join(texts))
    page = _html(result, log)
    log.close()
    assert page.tags <= TAGS
    assert page.attributes <= ATTRIBUTES
    raw = b"".join(html_report(result, log, CONTEXT)).decode()
    assert "\u202e" not in raw, "what turns the direction of writing is spelled out"
    assert "http" not in raw.replace("http-equiv", ""), "nothing is loaded"


def test_the_json_report_holds_every_finding(tmp_path: Path, log: FindingLog) -> None:
    findings = [found(FindingCode.OBJECT_UNEXPECTED, f"AWSLogs/{n}", "x") for n in range(MOST_SHOWN + 5)]
    for finding in findings:
        log.add(TRAIL, finding)
    result = _result(_chain(*findings))
    write_report(tmp_path / "report.json", result, log, CONTEXT)
    report = json.loads((tmp_path / "report.json").read_bytes())
    assert [finding["key"] for finding in report["findings"]] == [finding.key for finding in findings]
    assert report["result"]["verdict"] == "valid"
    assert report["publicKeys"][0]["fingerprint"] == KEY.fingerprint
    assert "5 more are in the JSON report" in _html(result, log).text


def test_an_empty_log_makes_a_json_report_too(tmp_path: Path, log: FindingLog) -> None:
    write_report(tmp_path / "report.json", _result(), log, CONTEXT)
    report = json.loads((tmp_path / "report.json").read_bytes())
    assert (report["findings"], report["result"]["verdict"]) == ([], "not-checked")


def test_another_ending_is_refused_and_leaves_nothing(tmp_path: Path, log: FindingLog) -> None:
    with pytest.raises(ConfigError, match=r"must end in \.html or \.json"):
        write_report(tmp_path / "report.txt", _result(), log, CONTEXT)
    assert not list(tmp_path.glob("*report*"))


def test_the_timeline_tells_what_is_known_of_each_hour(log: FindingLog) -> None:
    digest = format_digest_key(DigestKey(trail=TRAIL, end_time=START + 5 * HOUR))
    log.add(TRAIL, found(FindingCode.DIGEST_SIGNATURE_INVALID, digest, "x"))
    log.add(TRAIL, found(FindingCode.LOG_FILE_MISSING, _log_key(START + 8 * HOUR), "x"))
    log.add(TRAIL, found(FindingCode.LOG_FILE_NOT_NAMED, _log_key(START + 10 * HOUR), "x"))
    unproven = Span(start=START + 12 * HOUR, end=START + 13 * HOUR)
    stopped = Span(start=START + 20 * HOUR, end=START + 21 * HOUR)
    rows = list(rows_of(_chain(unproven=(unproven,), stopped=(stopped,)), log.marks[TRAIL], Unit.HOUR))
    assert [row.title for row in rows] == ["2024-05-06", "2024-05-07", "2024-05-08"]
    first, second, third = (row.cells for row in rows)
    assert first[:9] == (None,) * 9, "nothing was looked at before the first digest"
    assert first[9] is Mark.PROVEN
    assert first[14] is Mark.DAMAGED
    assert first[17] is Mark.MISSING
    assert first[19] is Mark.UNVOUCHED
    assert first[21] is first[22] is Mark.UNPROVEN
    assert second[5] is second[6] is Mark.STOPPED
    assert third[:3] == (Mark.PROVEN, Mark.PROVEN, None)


def test_a_long_trail_gets_larger_cells_and_a_name_from_any_year_makes_none(log: FindingLog) -> None:
    years = _chain(covered=Span(start=START, end=START + timedelta(days=4000)))
    for year in (1970, 9998):
        log.add(TRAIL, found(FindingCode.LOG_FILE_NOT_NAMED, _log_key(datetime(year, 1, 1, tzinfo=UTC)), "x"))
    assert unit_for((years,), 30_000) is Unit.DAY
    assert unit_for((years,), 100) is Unit.MONTH
    rows = list(rows_of(years, log.marks[TRAIL], Unit.MONTH))
    assert [row.title for row in rows] == [f"{year}" for year in range(2024, 2036)]
    assert list(rows_of(_chain(covered=None), log.marks[TRAIL], Unit.HOUR))[-1].title == "9998-01-01"
