"""Reports: complete for programs, and for people safe, self-contained and right about every hour."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentrail.core.errors import ConfigError
from opentrail.core.findings import RULES, Finding, FindingCode, Severity, found
from opentrail.core.layout import DigestKey, LogKey, format_digest_key, format_log_key
from opentrail.core.public_keys import PublicKey
from opentrail.testing.sample_trail import FOLDER, TRAIL
from opentrail.verification.advice import ADVICE
from opentrail.verification.explanations import EXPLANATIONS
from opentrail.verification.finding_log import MOST_SHOWN, FindingLog
from opentrail.verification.report import write_report
from opentrail.verification.report_html import html_report
from opentrail.verification.request import VerifyRequest
from opentrail.verification.result import ChainSummary, ObjectCounts, SignedDigests, Span, VerifyResult
from opentrail.verification.subject import ReportContext, Subject
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
SUBJECT = Subject(
    source="s3://trail-bucket", request=VerifyRequest(), public_keys=[KEY], keys_origin="the file keys.json"
)
CONTEXT = ReportContext(
    version="1.2.3",
    subject=SUBJECT,
    commands=["opentrail verify 's3://trail-bucket' --public-keys keys.json"],
)


def test_findings_say_their_chain_and_keys_what_they_signed(log: FindingLog, tmp_path: Path) -> None:
    log.add(TRAIL, found(FindingCode.LOG_FILE_CHANGED, "a", "was changed"))
    log.add(None, found(FindingCode.NO_DIGESTS, "b", "is not there"))
    signed = SignedDigests(fingerprint=KEY.fingerprint, digests=1234, span=Span(start=START, end=START + 40 * HOUR))
    chains = (_chain(signed_by=(signed,)), _chain(signed_by=(signed,)))
    idle = replace(KEY, fingerprint="f" * 32)
    context = replace(CONTEXT, subject=replace(SUBJECT, public_keys=[idle, KEY]))
    write_report(tmp_path / "report.json", _result(*chains), log, context)
    report = json.loads((tmp_path / "report.json").read_text())
    assert [each["chain"] and each["chain"]["trailName"] for each in report["findings"]] == [TRAIL.trail_name, None]
    times = {"start": "2024-05-06T09:17:05Z", "end": "2024-05-08T01:17:05Z"}
    assert report["result"]["chains"][0]["signedBy"] == [{"fingerprint": KEY.fingerprint, "digests": 1234, **times}]
    assert [key["signed"] for key in report["publicKeys"]] == [None, {"digests": 2468, **times}]
    page = _Page(b"".join(html_report(_result(*chains), log, context)).decode()).text
    assert f"2,468, of{times['start']} to{times['end']}" in page
    assert page.index(KEY.fingerprint) < page.index(idle.fingerprint), "those that signed first"


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
    *("table", "thead", "tr", "th", "td", "code", "pre", "ul", "li"),
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


def test_every_code_has_its_explanation_and_what_is_wrong_has_advice() -> None:
    assert set(EXPLANATIONS) == set(FindingCode)
    assert {code for code in FindingCode if RULES[code].severity is not Severity.INFO} <= set(ADVICE)


def test_a_reader_learns_what_was_asked_what_was_not_and_what_to_do(log: FindingLog) -> None:
    missing = found(FindingCode.LOG_FILE_MISSING, _log_key(START + HOUR), "is named, but is not there")
    log.add(TRAIL, missing)
    request = VerifyRequest(start=START, account_ids=frozenset({"111122223333"}))
    context = replace(
        CONTEXT,
        subject=replace(SUBJECT, request=request),
        inputs=[("keys.json", "ab" * 32)],
        notes=["Packed from s3://x."],
    )
    result = replace(_result(_chain(missing)), start=START)
    text = _Page(b"".join(html_report(result, log, context)).decode()).text
    assert "digests that end from 2024-05-06T09:17:05Z to the last one" in text
    assert "account-id 111122223333" in text
    assert "not asked: what else lies there; only account-id 111122223333 was looked at" in text
    assert "not asked: whether digests after 2024-05-08T01:17:05Z were removed" in text
    assert ADVICE[FindingCode.LOG_FILE_MISSING] in text
    assert "ab" * 32 in text
    assert "Packed from s3://x." in text
    assert "Made by Opentrail 1.2.3 on 2024-05-08T12:00:00Z" in text


def test_keys_of_another_trail_are_suspected_before_a_forger(log: FindingLog) -> None:
    unknown = found(FindingCode.DIGEST_KEY_UNKNOWN, "x", "no public key is known")
    none = replace(_chain(unknown, covered=None), digests=ObjectCounts(total=1, invalid=1), log_files=ObjectCounts())
    assert "Are they those of this trail's regions" in _html(_result(none), log).text
    assert "Are they those of this trail's regions" not in _html(_result(_chain(unknown)), log).text


def test_the_page_stays_small_whatever_was_found(log: FindingLog) -> None:
    long = "\u202e" * 5000
    for number in range(1000):
        log.add(TRAIL, found(FindingCode.LOG_FILE_NOT_NAMED, f"{number}{long if number < MOST_SHOWN else ''}", "x"))
    chains = []
    for number in range(2100):
        folder = replace(FOLDER, account_id=f"{number:012}")
        damage = {FindingCode.LOG_FILE_MISSING: 1} if number == 2099 else {}
        chains.append(replace(_chain(), trail=replace(TRAIL, folder=folder), findings=damage))
    page = b"".join(html_report(_result(*chains), log, CONTEXT))
    assert len(page) < 4_000_000
    assert page.index(b"000000002099") < page.index(b"000000000001"), "what is not valid is not left out"
    text = _Page(page.decode()).text
    assert "100 more chains in the JSON report" in text
    assert "800 more findings in the JSON report" in text


@pytest.mark.parametrize("hidden", ["\u202e", "\u3164", "\u200b", "a\u0301", "\n", "\u2066"])
def test_what_cannot_be_seen_is_spelled_out(hidden: str, log: FindingLog) -> None:
    log.add(None, found(FindingCode.OBJECT_UNEXPECTED, f"AWSLogs/{hidden}", "x"))
    assert f"AWSLogs/{hidden}" not in b"".join(html_report(_result(), log, CONTEXT)).decode()
    assert f"\\u{ord(hidden[-1]):04x}" in _html(_result(), log).text


def test_a_browser_shows_it_and_runs_nothing(tmp_path: Path, log: FindingLog) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here to look at the page with")
    evil = "</td><script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">"
    log.add(TRAIL, found(FindingCode.OBJECT_UNEXPECTED, evil, evil))
    write_report(tmp_path / "report.html", _result(_chain()), log, CONTEXT)
    words = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command = [chromium, *words, "--virtual-time-budget=500", "--dump-dom", (tmp_path / "report.html").as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "<title>Verification of s3://trail-bucket</title>" in shown
    assert "&lt;script&gt;" in shown
    assert "<script" not in shown


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
    assert "5 more findings in the JSON report" in _html(result, log).text


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
