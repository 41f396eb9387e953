"""The style sheet of the HTML report: a document on paper, whatever the reader's screen prefers.

Rules: nothing is loaded, no font, no picture.  What a colour says is said by a letter or a word too; it prints in black
and white.  Texts that are not ours are shown in the order of their characters, whatever direction these are written in.
"""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root { color-scheme: only light; font-size: 15px; }
* { box-sizing: border-box; }
body { font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; color: #1a1a1a;
  background: #fff; max-width: 62rem; margin: 2rem auto; padding: 0 1.5rem; }
h1, h2, h3, p, li, td, th { overflow-wrap: anywhere; }
h1, h3, li, td, .key, code, pre { direction: ltr; unicode-bidi: bidi-override; }
h1 { font-size: 1.55rem; line-height: 1.25; margin: 0 0 .4rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid #999; padding-bottom: .2rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p { margin: .5rem 0; } ul { margin: .4rem 0; padding-left: 1.3rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; }
th, td { text-align: left; vertical-align: top; padding: .25rem .7rem .25rem 0; border-bottom: 1px solid #ddd;
  font-variant-numeric: tabular-nums; }
th { font-weight: 600; } td.n, th.n { text-align: right; } th.n, td.b { white-space: nowrap; }
thead th { border-bottom: 1px solid #999; }
table.rows { table-layout: fixed; } table.rows th { width: 13rem; }
table.found { table-layout: fixed; } table.found th:first-child { width: 42%; }
.wide { overflow-x: auto; } .wide table { min-width: 46rem; } .wide thead th { white-space: nowrap; }
.key, code, pre { font: 12.5px/1.45 ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
pre { background: #f4f4f4; border: 1px solid #ddd; padding: .6rem .8rem; white-space: pre-wrap; }
.verdict { border: 2px solid; border-radius: 4px; padding: .7rem 1rem; margin: 1rem 0; break-inside: avoid; }
.verdict strong { font-size: 1.3rem; text-transform: uppercase; letter-spacing: .03em; }
.valid { color: #14532d; border-color: #16803c; background: #f0faf3; }
.tampered { color: #7f1010; border-color: #b91c1c; background: #fdf2f2; }
.incomplete { color: #7a3d00; border-color: #c2660a; background: #fff7ec; }
.not-checked { color: #333; border-color: #666; background: #f5f5f5; }
td.valid, td.tampered, td.incomplete, td.not-checked { background: none; border-color: #ddd; font-weight: 600; }
.small { color: #555; font-size: .87rem; }
table.time { width: auto; min-width: 0; border-collapse: separate; border-spacing: 1px; }
.time th, .time td { border: 0; padding: 0; font-size: 11px; line-height: 1.15rem; white-space: nowrap; }
.time th { padding-right: .5rem; font-weight: 400; color: #555; } .time th.c { padding: 0; text-align: center; }
.time td { width: 1.15rem; min-width: 1.15rem; text-align: center; font-weight: 700; }
.p { background: #bfe6ca; color: #2c6a40; } .s { background: #d8d8d8; color: #333; }
.u { background: #f6e3a1; color: #5f4700; } .a { background: #f7cf9b; color: #6b3500; }
.m { background: #f0a35e; color: #4a1f00; } .d { background: #c9302c; color: #fff; } .o { color: #777; }
.legend td { border: 0; padding: 0 0 .1rem .6rem; font-size: .87rem; color: #444; }
.legend td:first-child { width: 1.4rem; padding: 0; text-align: center; font-size: 11px; font-weight: 700; }
.legend .p { color: #2c6a40; } .legend .d { color: #fff; }
.error { color: #a01313; } .warning { color: #8a4b00; } .info { color: #444; }
@media (max-width: 40rem) { body { margin: 1rem auto; padding: 0 .9rem; } table.rows th { width: 8.5rem; } }
@page { margin: 16mm 14mm 18mm; @bottom-right { content: counter(page) " / " counter(pages); font: 9px sans-serif; } }
@media print {
  :root { font-size: 10.5px; } body { margin: 0; padding: 0; max-width: none; } .key, code, pre { font-size: 9px; }
  h2, h3, thead, h3 + p { break-after: avoid; } tr, li, pre, .chain, .legend { break-inside: avoid; }
  .wide { overflow: visible; } .wide table { min-width: 0; } table.rows th { width: 9rem; }
  .time th, .time td { font-size: 8px; line-height: .85rem; } .time td { width: .85rem; min-width: .85rem; }
  .time td, .legend td, .verdict, pre { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
