r"""The HTML report: one page that needs nothing else, for a reader who decides by it.

Rules: no script, no network, nothing loaded (its own Content-Security-Policy says so); every text that is not ours is
escaped, and what cannot be seen in it (a line end, a mark that turns the direction of writing) is written as \uXXXX.
It says what was asked, what was found, what to do, and what it does not speak of; its size is bounded, and what was
left out is counted.  It prints (``report_style``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from html import escape
from typing import Final
from unicodedata import category

from opentrail.core.events import format_time
from opentrail.core.findings import RULES, Concern, FindingCode, Severity, counted
from opentrail.core.layout import TrailFolder
from opentrail.core.public_keys import PublicKey
from opentrail.verification.advice import ADVICE
from opentrail.verification.explanations import EXPLANATIONS
from opentrail.verification.finding_log import FindingLog
from opentrail.verification.report_style import STYLE
from opentrail.verification.result import (
    ChainSummary,
    ObjectCounts,
    SignedDigests,
    Verdict,
    VerifyResult,
    signed_by_all,
)
from opentrail.verification.subject import ReportContext, Subject, hint, unspoken
from opentrail.verification.timeline import Mark, Unit, rows_of, unit_for

_MOST_CELLS: Final = 30_000  # of all timelines
_MOST_TIMELINES: Final = 100
_MOST_CHAINS: Final = 2_000
_MOST_KEYS: Final = 100
_MOST_TEXT: Final = 2_000  # characters of one text that is not ours
_INVISIBLE: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # letters, to Unicode, that show nothing
_MARKS: Final = frozenset({"Mn", "Me"})  # Unicode's marks that stand upon what is before them, or around it

_LETTERS: Final = {
    Mark.OUTSIDE: ("o", "·", "not looked at"),
    Mark.PROVEN: ("p", "✓", "proven as delivered"),
    Mark.STOPPED: ("s", "S", "no digests were made: logging or validation was off"),
    Mark.UNPROVEN: ("u", "U", "unproven: no digest can be trusted, or something could not be read"),
    Mark.UNVOUCHED: ("a", "A", "something was added that no digest names"),
    Mark.MISSING: ("m", "M", "something is missing"),
    Mark.DAMAGED: ("d", "D", "something was changed"),
}
_UNITS: Final = {Unit.HOUR: "hour", Unit.DAY: "day", Unit.MONTH: "month"}
_VERDICTS: Final = {
    Verdict.VALID: "Everything that was checked is as it was delivered, and nothing is missing.",
    Verdict.TAMPERED: "Something is not as it was delivered.",
    Verdict.INCOMPLETE: "What is there is as it was delivered, but something is missing or vouched for by nobody.",
    Verdict.NOT_CHECKED: "Not everything could be checked, so nothing is said of the whole.",
}
_ASPECTS: Final = (
    (Concern.INTEGRITY, "Integrity", "No object was changed, moved, exchanged or forged.", "changed or forged"),
    (Concern.COMPLETENESS, "Completeness", "No object is missing, and none was added.", "missing or added"),
    (Concern.COVERAGE, "Coverage", "Everything that was asked for could be read.", "that could not be read"),
)


def html_report(result: VerifyResult, log: FindingLog, context: ReportContext) -> Iterator[bytes]:
    """The page, in pieces; its size is bounded, whatever was found."""
    for part in _page(result, log, context):
        yield part.encode()


def _page(result: VerifyResult, log: FindingLog, context: ReportContext) -> Iterator[str]:
    title = f"Verification of {result.source}"
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield f"<title>{_text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
    yield f'<p class="small">Report on the log files of a trail</p>\n<h1>{_text(title)}</h1>\n'
    yield f'<p class="small">Made by Opentrail {_text(context.version)} on {_when(result.checked_at)}, '
    yield f"in {result.seconds:.1f} seconds. All times are UTC.</p>\n"
    yield from _verdict(result, context.subject)
    yield from _unspoken(result, context)
    yield from _subject(result, context)
    yield from _chains(result)
    yield from _timelines(result, log)
    yield from _findings(log)
    yield from _keys(result, context)
    yield _MEANING
    yield from _again(context)
    yield "</body>\n</html>\n"


def _verdict(result: VerifyResult, subject: Subject) -> Iterator[str]:
    verdict = result.verdict
    sentence = _VERDICTS[verdict]
    if verdict is Verdict.VALID:
        sentence = sentence.removesuffix(".") + subject.condition + "."
    yield f'<div class="verdict {verdict.value}"><strong>{verdict.value.replace("-", " ")}</strong><br>'
    yield f'{_text(sentence)}</div>\n<table class="rows">\n'
    for concern, name, good, bad in _ASPECTS:
        count = sum(n for code, n in result.findings.items() if RULES[code].concern is concern)
        said = good if not count else f"{counted(count, 'finding')} of what is {bad}."
        if verdict is Verdict.NOT_CHECKED and not result.chains:
            said = "Nothing was checked."
        yield f"<tr><th>{name}</th><td>{said}</td></tr>\n"
    yield "</table>\n"


def _unspoken(result: VerifyResult, context: ReportContext) -> Iterator[str]:
    yield "<h3>What the verdict does not speak of</h3>\n<ul>\n"
    for text in (*unspoken(context.subject, result), *filter(None, (hint(result),))):
        yield f"<li>{_text(text)}</li>\n"
    yield "<li>what no verification of this kind can find: see &quot;What this proves&quot;</li>\n</ul>\n"


def _subject(result: VerifyResult, context: ReportContext) -> Iterator[str]:
    spans = [chain.covered for chain in result.chains if chain.covered]
    proven = f"{_when(min(s.start for s in spans))} to {_when(max(s.end for s in spans))}" if spans else "nothing"
    start = _when(result.start) if result.start else "the first one"
    rows = [
        ("Source", f'<span class="key">{_text(result.source)}</span>'),
        *((("The bundle", _text(context.subject.packed)),) if context.subject.packed else ()),
        ("Asked for", f"digests that end from {start} to {_when(result.end) if result.end else 'the last one'}"),
        *(("Only", _text(f"{name} {value}")) for name, value in context.subject.request.filters()),
        ("Proven, all in all", proven),
        ("Chains of digests", f"{len(result.chains):,}"),
        ("Digests", _counts(chain.digests for chain in result.chains)),
        ("Log files", _counts(chain.log_files for chain in result.chains)),
        ("Log files read", f"{sum(chain.log_bytes for chain in result.chains):,} bytes, compressed"),
        ("Public keys", f"{len(context.subject.public_keys):,}, from {_text(context.subject.keys_origin)}"),
    ]
    rows += [
        ("SHA-256 of a file read", f'<span class="key">{sha256}<br>{_text(name)}</span>')
        for name, sha256 in context.inputs
    ]
    yield '<h2>What was checked</h2>\n<table class="rows">\n'
    yield from (f"<tr><th>{name}</th><td>{value}</td></tr>\n" for name, value in rows)
    yield "</table>\n"
    if context.notes:
        yield "<ul>\n"
        yield from (f"<li>{_text(note)}</li>\n" for note in context.notes)
        yield "</ul>\n"


def _counts(all_counts: Iterable[ObjectCounts]) -> str:
    counts = list(all_counts)
    names = ("total", "valid", "invalid", "missing", "unchecked")
    sums = {name: sum(getattr(each, name) for each in counts) for name in names}
    bad = "".join(f", {sums[name]:,} {name}" for name in names[2:] if sums[name])
    return f"{sums['valid']:,} of {sums['total']:,} valid{bad}"


def _short(counts: ObjectCounts) -> str:
    bad = [f"{getattr(counts, name):,} {name}" for name in ("invalid", "missing", "unchecked") if getattr(counts, name)]
    return f"{counts.valid:,} of {counts.total:,}" + "".join(f'<br><span class="small">{text}</span>' for text in bad)


def _chains(result: VerifyResult) -> Iterator[str]:
    yield "<h2>Chains</h2>\n<p>A chain is the digests of one trail for one account and region, each of which names the "
    yield "log files of its hour and the digest before it.</p>\n"
    if not result.chains:
        yield "<p>None was found.</p>\n"
        return
    shown = _worst_first(result.chains, _MOST_CHAINS)
    yield '<div class="wide"><table>\n<thead><tr><th>Verdict</th><th>Account</th><th>Region</th><th>Trail</th>'
    yield "<th>Valid digests</th><th>Valid log files</th><th>Proven from, to</th></tr></thead>\n"
    yield from (_chain_row(chain) for chain in shown)
    yield "</table></div>\n"
    yield from _more(len(result.chains) - len(shown), "chain")
    yield '<p class="small">Delivered to '
    yield ", ".join(
        f'<span class="key">{_text(name)}</span>' for name in sorted({c.bucket for c in shown})[:_MOST_KEYS]
    )
    yield ".</p>\n"


def _worst_first(chains: Sequence[ChainSummary], most: int) -> list[ChainSummary]:
    """All, in order; if there are too many, ``most`` of them, and none that is valid before one that is not."""
    if len(chains) <= most:
        return list(chains)
    return sorted(chains, key=lambda chain: chain.verdict is Verdict.VALID)[:most]


def _more(count: int, noun: str) -> Iterator[str]:
    if count > 0:
        yield f'<p class="small">{counted(count, f"more {noun}")} in the JSON report.</p>\n'


def _chain_row(chain: ChainSummary) -> str:
    trail, verdict = chain.trail, chain.verdict.value
    folder = trail.folder
    where = [f"below {folder.prefix}/"] if folder.prefix else []
    where += [f"of the organization {folder.organization_id}"] if folder.organization_id else []
    where += [f"home region {trail.home_region}"] if trail.home_region != folder.region else []
    small = f'<br><span class="small">{_text(", ".join(where))}</span>' if where else ""
    covered = f"{_when(chain.covered.start)}<br>{_when(chain.covered.end)}" if chain.covered else "nothing"
    return (
        f'<tr><td class="b {verdict}">{verdict.replace("-", " ")}</td><td class="b">{_text(folder.account_id)}</td>'
        f'<td class="b">{_text(folder.region)}</td><td>{_text(trail.trail_name)}{small}</td>'
        f"<td>{_short(chain.digests)}</td><td>{_short(chain.log_files)}</td>"
        f'<td class="b">{covered}</td></tr>\n'
    )


def _timelines(result: VerifyResult, log: FindingLog) -> Iterator[str]:
    shown = _worst_first(result.chains, _MOST_TIMELINES)
    if not shown:
        return
    unit = unit_for(tuple(shown), _MOST_CELLS)
    yield f"<h2>What is known of each {_UNITS[unit]}</h2>\n"
    yield '<table class="legend">\n'
    for kind, letter, meaning in _LETTERS.values():
        yield f'<tr><td class="{kind}">{letter}</td><td>{meaning}</td></tr>\n'
    yield "</table>\n"
    for chain in shown:
        yield f'<div class="chain"><h3>{_trail(chain.trail)}</h3>\n'
        yield from _timeline(chain, log, unit)
        yield "</div>\n"
    yield from _more(len(result.chains) - len(shown), "chain")


def _timeline(chain: ChainSummary, log: FindingLog, unit: Unit) -> Iterator[str]:
    rows = list(rows_of(chain, log.marks.get(chain.trail, {}), unit))
    if not rows:
        return
    first = 0 if unit is Unit.HOUR else 1
    yield '<div class="wide"><table class="time">\n<tr><th></th>'
    yield "".join(f'<th class="c">{first + number}</th>' for number in range(len(rows[0].cells))) + "</tr>\n"
    for row in rows:
        yield f"<tr><th>{row.title}</th>"
        for mark in row.cells:
            kind, letter, _ = _LETTERS[mark] if mark is not None else ("", "", "")
            yield f'<td class="{kind}">{letter}</td>' if kind else "<td></td>"
        yield "</tr>\n"
    yield "</table></div>\n"


def _findings(log: FindingLog) -> Iterator[str]:
    yield "<h2>Findings</h2>\n"
    if not log.counts:
        yield "<p>None.</p>\n"
        return
    yield "<p>An error accuses the object that it names; a warning asks to look at it; an info states a fact.</p>\n"
    order = list(Severity)
    for code in sorted(log.counts, key=lambda code: (order.index(RULES[code].severity), code)):
        severity, count = RULES[code].severity.value, log.counts[code]
        yield f'<h3><span class="{severity}">{severity}</span> {code.value} ({count:,})</h3>\n'
        yield f"<p>{_text(EXPLANATIONS[code])}"
        yield f" <strong>What to do:</strong> {_text(ADVICE[code])}" if code in ADVICE else ""
        yield "</p>\n"
        yield from _finding_table(code, log)
        yield from _more(count - len(log.shown[code]), "finding")


def _finding_table(code: FindingCode, log: FindingLog) -> Iterator[str]:
    yield '<table class="found">\n<thead><tr><th>Object</th><th>What was found</th></tr></thead>\n'
    for shown in log.shown[code]:
        finding = shown.finding
        details = "".join(
            f'<br><span class="small">{_text(name)}: <span class="key">{_text(value)}</span></span>'
            for name, value in finding.details.items()
        )
        yield f'<tr><td class="key">{_text(finding.key)}</td><td>{_text(finding.message)}{details}</td></tr>\n'
    yield "</table>\n"


def _keys(result: VerifyResult, context: ReportContext) -> Iterator[str]:
    signed = signed_by_all(result)
    keys = sorted(context.subject.public_keys, key=lambda key: key.fingerprint not in signed)
    yield f"<h2>Public keys</h2>\n<p>The public keys come from {_text(context.subject.keys_origin)}. "
    yield "Whoever doubts this report compares the fingerprints with those that the recording side publishes "
    yield "(<code>aws cloudtrail list-public-keys</code>, <code>opentrail keys export</code>).</p>\n"
    yield "<table>\n<thead><tr><th>Fingerprint</th><th>Valid from, until</th><th>Signed, of the valid digests</th></tr>"
    yield "</thead>\n"
    yield from (_key(key, signed.get(key.fingerprint)) for key in keys[:_MOST_KEYS])
    yield "</table>\n"
    yield from _more(len(keys) - _MOST_KEYS, "key")


def _key(key: PublicKey, signed: SignedDigests | None) -> str:
    what = f"{signed.digests:,}, of<br>{_when(signed.span.start)} to<br>{_when(signed.span.end)}" if signed else "none"
    valid = f"{_when(key.validity_start)}<br>{_when(key.validity_end)}"
    return f'<tr><td class="key">{_text(key.fingerprint)}</td><td>{valid}</td><td>{what}</td></tr>\n'


_MEANING: Final = """
<h2>What this proves</h2>
<p>A log file that is valid has, byte for byte, the content that was delivered: its SHA-256 stands in a digest that is
signed (RSA with SHA-256) with the key of the recording side. A digest also holds the hash and the signature of the one
before it, so a digest that was removed or exchanged shows in its successor.</p>
<p>What no verification of this kind can find:</p>
<ul>
<li>that a record does not tell the truth: it is only proven to be the one that was delivered;</li>
<li>that the newest digests are gone, unless it was said until when there must be digests;</li>
<li>that the oldest digests are gone up to where a chain starts, or a whole chain between a stop and a start;</li>
<li>that all of an account or a region is gone that was not asked for by name;</li>
<li>what was changed, in all digests from some hour on, by somebody who has the private key: an older copy tells.</li>
</ul>
"""


def _again(context: ReportContext) -> Iterator[str]:
    yield "<h2>How to check again</h2>\n<p>With Opentrail, from the same source, or from the evidence bundle on a "
    yield "machine without a network:</p>\n<pre>"
    yield "\n".join(_text(command) for command in context.commands)
    yield "</pre>\n<p>The formats are those of AWS CloudTrail; where the files lie in S3, "
    yield "<code>aws cloudtrail validate-logs</code> reads them too.</p>\n"


def _trail(trail: TrailFolder) -> str:
    folder = trail.folder
    organization = f" of the organization {folder.organization_id}" if folder.organization_id else ""
    place = f"{folder.account_id}{organization}, {folder.region}, trail {trail.trail_name}"
    return _text(place + (f", below {folder.prefix}/" if folder.prefix else ""))


def _when(moment: datetime) -> str:
    return format_time(moment)


def _text(text: str) -> str:
    """``text`` for the page: nothing in it is markup, and nothing in it is invisible or stands upon other text."""
    cut = text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}... ({len(text):,} characters)"
    return escape("".join(c if _is_plain(c) else _spelled(c) for c in cut))


def _is_plain(character: str) -> bool:
    if character.isascii():
        return character.isprintable()
    return character.isprintable() and category(character) not in _MARKS and character not in _INVISIBLE


def _spelled(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
