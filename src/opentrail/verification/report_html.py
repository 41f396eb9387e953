r"""The HTML report: one page that needs nothing else, for a reader who decides by it.

Rules: no script, no network, nothing loaded (its own Content-Security-Policy says so); every text that is not ours is
escaped, and what cannot be seen in it (a line end, a mark that turns the direction of writing) is written as \uXXXX.
What a colour says is said by a letter too.  It prints.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from html import escape
from typing import Final

from opentrail.core.events import format_time
from opentrail.core.findings import RULES, Concern, FindingCode, Severity, counted
from opentrail.core.layout import TrailFolder
from opentrail.core.public_keys import PublicKey
from opentrail.verification.explanations import EXPLANATIONS
from opentrail.verification.finding_log import FindingLog, ReportContext
from opentrail.verification.result import ChainSummary, ObjectCounts, Verdict, VerifyResult, reservations
from opentrail.verification.timeline import Mark, Unit, rows_of, unit_for

_MOST_CELLS: Final = 30_000
_MOST_KEYS: Final = 100

_STYLE: Final = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 62rem; margin: 2rem auto;
  padding: 0 1.5rem; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem;
  border-bottom: 1px solid #bbb; padding-bottom: .2rem; } h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; } th, td { text-align: left; vertical-align: top;
  padding: .25rem .6rem .25rem 0; border-bottom: 1px solid #ddd; font-variant-numeric: tabular-nums; }
th { font-weight: 600; } td.n, th.n { text-align: right; } .key, code, pre { font: 12.5px/1.45 ui-monospace, monospace;
  overflow-wrap: anywhere; } pre { background: #f4f4f4; padding: .6rem .8rem; white-space: pre-wrap; }
.verdict { border: 2px solid; border-radius: 4px; padding: .7rem 1rem; margin: 1rem 0; }
.verdict strong { font-size: 1.25rem; text-transform: uppercase; letter-spacing: .03em; }
.valid { color: #14532d; border-color: #16803c; background: #f0faf3; }
.tampered { color: #7f1010; border-color: #b91c1c; background: #fdf2f2; }
.incomplete { color: #7a3d00; border-color: #c2660a; background: #fff7ec; }
.not-checked { color: #333; border-color: #666; background: #f5f5f5; }
.small { color: #555; font-size: .87rem; }
.time { width: auto; border-collapse: separate; border-spacing: 1px; } .time th, .time td { border: 0; padding: 0;
  font-size: 11px; line-height: 1.15rem; } .time th { padding-right: .5rem; font-weight: 400; color: #555; }
.time td { width: 1.15rem; text-align: center; font-weight: 700; }
.time th.c { padding: 0; text-align: center; }
.p { background: #bfe6ca; color: #3c7a50; } .s { background: #d8d8d8; color: #444; }
.u { background: #f6e3a1; color: #5f4700; } .a { background: #f7cf9b; color: #6b3500; }
.m { background: #f0a35e; color: #4a1f00; } .d { background: #d9534f; color: #fff; } .o { color: #bbb; }
.error { color: #a01313; } .warning { color: #8a4b00; } .info { color: #444; }
@media print { body { margin: 0; max-width: none; font-size: 11px; } h2 { break-after: avoid; }
  tr { break-inside: avoid; }
  .time td, .verdict { print-color-adjust: exact; -webkit-print-color-adjust: exact; } a { color: inherit; } }
"""

_LETTERS: Final = {
    Mark.OUTSIDE: ("o", "·", "not looked at"),
    Mark.PROVEN: ("p", "✓", "proven as delivered"),
    Mark.STOPPED: ("s", "S", "no digests were made: logging or validation was off"),
    Mark.UNPROVEN: ("u", "U", "unproven: no digest can be trusted, or something could not be read"),
    Mark.UNVOUCHED: ("a", "A", "something was added that no digest names"),
    Mark.MISSING: ("m", "M", "something is missing"),
    Mark.DAMAGED: ("d", "D", "something was changed"),
}
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
    """The page, in pieces."""
    for part in _page(result, log, context):
        yield part.encode()


def _page(result: VerifyResult, log: FindingLog, context: ReportContext) -> Iterator[str]:
    title = f"Verification of {result.source}"
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
    yield f"<h1>{_text(title)}</h1>\n"
    yield f'<p class="small">Made by Opentrail {_text(context.version)} on {_when(result.checked_at)}, '
    yield f"in {result.seconds:.1f} seconds.</p>\n"
    yield from _verdict(result)
    yield from _subject(result, context)
    yield from _chains(result, log)
    yield from _findings(log)
    yield from _keys(context)
    yield _MEANING
    yield from _again(context)
    yield "</body>\n</html>\n"


def _verdict(result: VerifyResult) -> Iterator[str]:
    verdict = result.verdict
    yield f'<div class="verdict {verdict.value}"><strong>{verdict.value.replace("-", " ")}</strong><br>'
    yield f"{_VERDICTS[verdict]}</div>\n<table>\n"
    for concern, name, good, bad in _ASPECTS:
        count = sum(n for code, n in result.findings.items() if RULES[code].concern is concern)
        said = good if not count else f"{counted(count, 'finding')} of what is {bad}."
        if verdict is Verdict.NOT_CHECKED and not result.chains:
            said = "Nothing was checked."
        yield f"<tr><th>{name}</th><td>{said}</td></tr>\n"
    yield "</table>\n"
    reserved = list(reservations(result))
    if reserved:
        yield "<p>The verdict does not speak of what is</p>\n<ul>\n"
        yield from (f"<li>{_text(text)}</li>\n" for text in reserved)
        yield "</ul>\n"


def _subject(result: VerifyResult, context: ReportContext) -> Iterator[str]:
    rows = [
        ("Source", f'<span class="key">{_text(result.source)}</span>'),
        ("Digests that end from", _when(result.start) if result.start else "the first one"),
        ("to", _when(result.end) if result.end else "the last one"),
        ("Chains of digests", f"{len(result.chains):,}"),
        ("Digests", _counts(chain.digests for chain in result.chains)),
        ("Log files", _counts(chain.log_files for chain in result.chains)),
        ("Log files, compressed", f"{sum(chain.log_bytes for chain in result.chains):,} bytes"),
    ]
    yield "<h2>What was checked</h2>\n<table>\n"
    yield from (f"<tr><th>{name}</th><td>{value}</td></tr>\n" for name, value in rows)
    yield "</table>\n"
    yield from (f"<p>{_text(note)}</p>\n" for note in context.notes)


def _counts(all_counts: Iterable[ObjectCounts]) -> str:
    counts = list(all_counts)
    names = ("total", "valid", "invalid", "missing", "unchecked")
    sums = {name: sum(getattr(each, name) for each in counts) for name in names}
    bad = "".join(f", {sums[name]:,} {name}" for name in names[2:] if sums[name])
    return f"{sums['valid']:,} of {sums['total']:,} valid{bad}"


def _chains(result: VerifyResult, log: FindingLog) -> Iterator[str]:
    yield "<h2>Chains</h2>\n<p>A chain is the digests of one trail for one account and region, each of which names the "
    yield "log files of its hour and the digest before it.</p>\n"
    unit = unit_for(result.chains, _MOST_CELLS)
    for chain in result.chains:
        yield f'<h3>{_trail(chain.trail)} <span class="{_class(chain.verdict)}">{chain.verdict.value}</span></h3>\n'
        yield from _chain(chain)
        yield from _timeline(chain, log, unit)
    if result.chains:
        yield f'<p class="small">A cell is {("an hour", "a day", "a month")[unit]} (UTC). '
        yield "; ".join(f"{letter} {meaning}" for _, letter, meaning in _LETTERS.values()) + ".</p>\n"


def _chain(chain: ChainSummary) -> Iterator[str]:
    covered = f"{_when(chain.covered.start)} to {_when(chain.covered.end)}" if chain.covered else "nothing"
    yield '<table>\n<tr><th></th><th class="n">total</th><th class="n">valid</th><th class="n">invalid</th>'
    yield '<th class="n">missing</th><th class="n">unchecked</th></tr>\n'
    for name, counts in (("Digests", chain.digests), ("Log files", chain.log_files)):
        numbers = (counts.total, counts.valid, counts.invalid, counts.missing, counts.unchecked)
        yield f"<tr><th>{name}</th>" + "".join(f'<td class="n">{number:,}</td>' for number in numbers) + "</tr>\n"
    yield f'</table>\n<p class="small">Delivered to the bucket <span class="key">{_text(chain.bucket)}</span>; '
    yield f"proven: {covered}.</p>\n"


def _timeline(chain: ChainSummary, log: FindingLog, unit: Unit) -> Iterator[str]:
    rows = list(rows_of(chain, log.marks.get(chain.trail, {}), unit))
    if not rows:
        return
    first = 0 if unit is Unit.HOUR else 1
    yield '<table class="time">\n<tr><th></th>'
    yield "".join(f'<th class="c">{first + number}</th>' for number in range(len(rows[0].cells))) + "</tr>\n"
    for row in rows:
        yield f"<tr><th>{row.title}</th>"
        for mark in row.cells:
            kind, letter, _ = _LETTERS[mark] if mark is not None else ("", "", "")
            yield f'<td class="{kind}">{letter}</td>' if kind else "<td></td>"
        yield "</tr>\n"
    yield "</table>\n"


def _findings(log: FindingLog) -> Iterator[str]:
    yield "<h2>Findings</h2>\n"
    if not log.counts:
        yield "<p>None.</p>\n"
    order = list(Severity)
    for code in sorted(log.counts, key=lambda code: (order.index(RULES[code].severity), code)):
        severity, count = RULES[code].severity.value, log.counts[code]
        yield f'<h3><span class="{severity}">{severity}</span> {code.value} ({count:,})</h3>\n'
        yield f"<p>{_text(EXPLANATIONS[code])}</p>\n"
        yield from _finding_table(code, log)
        if count > len(log.shown[code]):
            yield f'<p class="small">{count - len(log.shown[code]):,} more are in the JSON report.</p>\n'


def _finding_table(code: FindingCode, log: FindingLog) -> Iterator[str]:
    yield "<table>\n<tr><th>Object</th><th>What was found</th></tr>\n"
    for shown in log.shown[code]:
        finding = shown.finding
        details = "".join(
            f'<br><span class="small">{_text(name)}: <span class="key">{_text(value)}</span></span>'
            for name, value in finding.details.items()
        )
        yield f'<tr><td class="key">{_text(finding.key)}</td><td>{_text(finding.message)}{details}</td></tr>\n'
    yield "</table>\n"


def _keys(context: ReportContext) -> Iterator[str]:
    yield f"<h2>Public keys</h2>\n<p>The public keys come from {_text(context.keys_origin)}. Whoever doubts this "
    yield "report compares the fingerprints with those that the recording side publishes "
    yield "(<code>ListPublicKeys</code>).</p>\n"
    yield "<table>\n<tr><th>Fingerprint</th><th>Valid from</th><th>Valid until</th></tr>\n"
    yield from (_key(key) for key in context.public_keys[:_MOST_KEYS])
    yield "</table>\n"
    if len(context.public_keys) > _MOST_KEYS:
        yield f'<p class="small">{len(context.public_keys) - _MOST_KEYS:,} more.</p>\n'


def _key(key: PublicKey) -> str:
    start, end = _when(key.validity_start), _when(key.validity_end)
    return f'<tr><td class="key">{_text(key.fingerprint)}</td><td>{start}</td><td>{end}</td></tr>\n'


_MEANING: Final = """
<h2>What this proves</h2>
<p>A log file that is valid has, byte for byte, the content that was delivered: its SHA-256 stands in a digest that is
signed (RSA with SHA-256) with the key of the recording side. A digest also holds the hash and the signature of the one
before it, so a digest that was removed or exchanged shows in its successor. The newest digest has no successor: that
the newest end was cut off shows only where it is known until when digests must have been delivered. It is not proven
that a record tells the truth, only that it is the one that was delivered; and all rests on the private key having
stayed with its owner.</p>
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
    place = (
        f"trail {trail.trail_name} ({trail.home_region}), account {folder.account_id}{organization}, {folder.region}"
    )
    return _text(place + (f", below {folder.prefix}/" if folder.prefix else ""))


def _class(verdict: Verdict) -> str:
    return {Verdict.VALID: "info", Verdict.TAMPERED: "error"}.get(verdict, "warning")


def _when(moment: datetime) -> str:
    return format_time(moment)


def _text(text: str) -> str:
    """``text`` for the page: nothing in it is markup, and nothing in it is invisible."""
    return escape("".join(c if c.isprintable() else _spelled(c) for c in text))


def _spelled(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
