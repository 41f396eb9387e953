"""Reports of a verification: ``.json`` for programs, ``.html`` for a court or an auditor (``report_html``).

Rules: every finding is in the JSON report, in the order in which it was found; of the HTML report's own it says how
many more there are.  ``docs/evidence.md``, "Reports", describes the JSON.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from opentrail.core.errors import ConfigError
from opentrail.core.events import format_time
from opentrail.core.public_keys import PublicKey
from opentrail.verification.finding_log import FindingLog
from opentrail.verification.output_file import replaced
from opentrail.verification.report_html import html_report
from opentrail.verification.result import SignedDigests, VerifyResult, signed_by_all, signed_document
from opentrail.verification.subject import ReportContext, answer_document

FORMAT: Final = "opentrail-verification-report"
VERSION: Final = 1


def write_report(path: Path, result: VerifyResult, log: FindingLog, context: ReportContext) -> None:
    """Write the report that ``path`` asks for by its ending.  Raises ``ConfigError``, ``StoreError``."""
    make = report_maker(path)
    with replaced(path) as file:
        for part in make(result, log, context):
            file.write(part)


def report_maker(path: Path) -> Callable[[VerifyResult, FindingLog, ReportContext], Iterator[bytes]]:
    """What makes the report for ``path``.  Raises ``ConfigError`` for another ending than .html and .json."""
    if path.suffix == ".json":
        return json_report
    if path.suffix in {".html", ".htm"}:
        return html_report
    raise ConfigError(f"--report {path}: the name must end in .html or .json")


def json_report(result: VerifyResult, log: FindingLog, context: ReportContext) -> Iterator[bytes]:
    """The report for programs, in pieces."""
    subject, signed = context.subject, signed_by_all(result)
    head: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "madeBy": f"opentrail {context.version}",
        "result": answer_document(subject, result),
        "publicKeys": [_key_document(key, signed.get(key.fingerprint)) for key in subject.public_keys],
        "inputs": [{"name": name, "sha256": sha256} for name, sha256 in context.inputs],
        "commands": list(context.commands),
        "notes": list(context.notes),
    }
    yield json.dumps(head, indent=2).encode().removesuffix(b"\n}") + b',\n  "findings": ['
    separator = b"\n    "
    for line in log.lines():
        yield separator + line.rstrip(b"\n")
        separator = b",\n    "
    yield b"\n  ]\n}\n"


def _key_document(key: PublicKey, signed: SignedDigests | None) -> dict[str, Any]:
    return {
        "fingerprint": key.fingerprint,
        "validityStart": format_time(key.validity_start),
        "validityEnd": format_time(key.validity_end),
        "value": base64.b64encode(key.value).decode(),
        "signed": signed_document(signed) if signed else None,
    }
