"""``--report`` of ``opentrail verify``: gathers what a report needs, and writes it at the end."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentrail.core.errors import StoreError

if TYPE_CHECKING:  # `opentrail verify --help` must not wait for them
    from opentrail.core.findings import Finding
    from opentrail.core.layout import TrailFolder
    from opentrail.verification.result import VerifyResult
    from opentrail.verification.subject import Subject


class Reporter:
    """Makes the report at ``path`` of the verification of ``subject`` with ``options``."""

    def __init__(self, path: Path, subject: Subject, options: dict[str, Any]) -> None:
        from opentrail.verification.finding_log import FindingLog  # noqa: PLC0415  only for a report

        self._path = path
        self._subject = subject
        self._command = _command(subject, options)
        self._files = [Path(text) for text in (subject.source, options["public_keys"] or "") if text]
        self._log = FindingLog()

    def add(self, trail: TrailFolder | None, finding: Finding) -> None:
        """The next finding.  Raises ``StoreError`` when there is no room for it."""
        try:
            self._log.add(trail, finding)
        except OSError as error:
            raise StoreError(f"--report: no room for findings: {error.strerror}", retryable=False) from error

    def write(self, result: VerifyResult) -> None:
        """Write the report.  Raises ``StoreError``."""
        from importlib.metadata import version  # noqa: PLC0415  only for a report

        from opentrail.verification.output_file import sha256_of  # noqa: PLC0415  the same
        from opentrail.verification.report import write_report  # noqa: PLC0415  the same
        from opentrail.verification.subject import ReportContext  # noqa: PLC0415  the same

        context = ReportContext(
            version=version("opentrail"),
            subject=self._subject,
            commands=(self._command,),
            inputs=[(str(path), sha256_of(path)) for path in self._files if path.is_file()],
        )
        write_report(self._path, result, self._log, context)

    def close(self) -> None:
        """Let the findings go."""
        self._log.close()


def _command(subject: Subject, options: dict[str, Any]) -> str:
    """How to check again."""
    words = ["opentrail", "verify", subject.source]
    for name in ("public_keys", "original_bucket", "endpoint_url", "profile", "request_payer"):
        if options[name]:
            words += [f"--{name.replace('_', '-')}", options[name]]
    moments = {"start": options["start"], "end": options["end"], "expect-until": subject.request.expected_until}
    for name, moment in moments.items():
        if moment:
            words += [f"--{name}", f"{moment:%Y-%m-%dT%H:%M:%SZ}"]
    for name, value in subject.request.filters():
        words += [f"--{name}", value]
    words += [f"--{name.replace('_', '-')}" for name in ("no_sign_request", "metadata_lost", "events") if options[name]]
    return shlex.join(words)
