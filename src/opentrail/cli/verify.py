"""``opentrail verify``: check a trail wherever it lies, without a server."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from opentrail.cli.verify_options import SOURCE_OPTIONS, VERIFY_OPTIONS, add_options, read_options
from opentrail.core.errors import ConfigError, FormatError, StoreError

if TYPE_CHECKING:  # `opentrail verify --help` must not wait for them
    from opentrail.core.findings import Finding
    from opentrail.core.layout import TrailFolder
    from opentrail.core.public_keys import PublicKey
    from opentrail.verification.checkpoint import Checkpoint
    from opentrail.verification.engine import Verification
    from opentrail.verification.opening import OpenedSource
    from opentrail.verification.request import VerifyRequest
    from opentrail.verification.result import VerifyResult

EXAMPLES = """\
examples:
  opentrail verify s3://my-trail-bucket --start 2026-05-01 --end 2026-05-31
  opentrail verify s3://my-trail-bucket --trail-arn arn:aws:cloudtrail:eu-west-1:111122223333:trail/main
  opentrail verify /mnt/copy --original-bucket my-trail-bucket --public-keys keys.json --report report.html
  opentrail verify opentrail-data/objects/my-trail-bucket --public-keys keys.json --expect-until now
  opentrail verify evidence.zip --json

SOURCE is s3://, gs:// or az://BUCKET[/PREFIX], a folder, or an evidence bundle.
exit codes: 0 valid, 1 tampered or incomplete, 2 could not be checked, 130 interrupted (--resume goes on)
"""

RESUME_FILE: Final = "opentrail-verify.resume"
_MAX_RESUME_BYTES: Final = 256 * 1024 * 1024
_INTERRUPTED: Final = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("source", metavar="SOURCE", help="where the trail lies")
    add_options(parser, (*SOURCE_OPTIONS, *VERIFY_OPTIONS))


def run(arguments: argparse.Namespace) -> int:
    """Verify."""
    options = read_options(arguments, (*SOURCE_OPTIONS, *VERIFY_OPTIONS))
    opened = open_named_source(arguments.source, options)
    try:
        request = request_of(options, opened)
        keys, origin = find_public_keys(options, opened, request)
        if opened.public_keys and keys is opened.public_keys:
            _tell_own_keys(keys)
        return _verify(opened, options, request, keys, origin)
    finally:
        opened.source.close()


def open_named_source(text: str, options: dict[str, Any]) -> OpenedSource:
    """Open SOURCE.  Raises ``ConfigError``, ``FormatError``."""
    from opentrail.verification.opening import SourceOptions, open_source  # noqa: PLC0415  not for --help

    return open_source(
        text,
        SourceOptions(
            endpoint_url=options["endpoint_url"] or "",
            profile=options["profile"] or "",
            is_signed=not options["no_sign_request"],
            original=options["original_bucket"] or "",
        ),
    )


def request_of(options: dict[str, Any], opened: OpenedSource) -> VerifyRequest:
    """What is asked."""
    from opentrail.verification.request import VerifyRequest  # noqa: PLC0415  not for --help

    home_region, account_id, trail_name = options["trail_arn"] or ("", "", "")
    span = opened.span
    return VerifyRequest(
        start=options["start"] or (span.start if span else None),
        end=options["end"] or (span.end if span else None),
        prefix=opened.prefix,
        trail_name=trail_name,
        home_region=home_region,
        trail_account=account_id,
        account_ids=frozenset(options["account_id"]),
        regions=frozenset(options["region"]),
        original_bucket=opened.source.bucket,
        expected_until=options.get("expect_until"),
        asked_at=datetime.now(UTC),
        with_events=bool(options.get("events")),
        jobs=options.get("jobs") or _cores(),
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def find_public_keys(
    options: dict[str, Any], opened: OpenedSource, request: VerifyRequest
) -> tuple[Sequence[PublicKey], str]:
    """The keys to verify with, and where they come from (it ends a sentence).  Raises ``ConfigError``."""
    given = options["public_keys"] or ""
    if opened.public_keys and not given:
        return opened.public_keys, "the evidence bundle itself: hold their fingerprints against another source"
    from opentrail.verification.public_keys_file import (  # noqa: PLC0415  not for --help
        FIRST_KEYS,
        KeyQuestion,
        ask_public_keys,
        default_cache,
        read_public_keys,
    )

    if given and not given.startswith(("http://", "https://")):
        return read_public_keys(Path(given)), f"the file {given}"
    if not given and "://" not in opened.source.name:
        raise ConfigError(
            "--public-keys: name a file with the public keys, which `opentrail keys export` and "
            "`aws cloudtrail list-public-keys` write, or the URL of CloudTrail's endpoint"
        )
    from opentrail.core.validation import WITNESS_WITHIN  # noqa: PLC0415  the same
    from opentrail.verification.discovery import find_folders  # noqa: PLC0415

    now = datetime.now(UTC)
    endpoint = given or options["endpoint_url"] or ""
    question = KeyQuestion(
        endpoint_url=endpoint,
        profile=options["profile"] or "",
        regions=tuple(sorted({folder.region for folder in find_folders(opened.source, request)})),
        start=request.start or FIRST_KEYS,
        end=min(request.end + WITNESS_WITHIN, now) if request.end else now,
    )
    keys = ask_public_keys(question, now=now, cache=default_cache(os.environ))
    return keys, f"ListPublicKeys of {endpoint or 'AWS'}"


def _tell_own_keys(keys: Sequence[PublicKey]) -> None:
    """Keys that come with the evidence are no evidence."""
    print(
        "opentrail verify: the public keys are the bundle's own, and prove only what whoever packed it says: get them "
        "from the recording side (--public-keys), or compare their fingerprints",
        file=sys.stderr,
    )
    for key in keys:
        print(f"  {ascii(key.fingerprint)[1:-1]}", file=sys.stderr)


def _verify(
    opened: OpenedSource, options: dict[str, Any], request: VerifyRequest, keys: Sequence[PublicKey], origin: str
) -> int:
    from opentrail.cli.verify_output import HumanOutput, JsonOutput, progress_bar  # noqa: PLC0415  not for --help
    from opentrail.verification.engine import Verification, VerificationStopped  # noqa: PLC0415

    reporter = _Reporter(options["report"]) if options["report"] else None
    is_end_asked = bool(request.end or request.expected_until)
    output = JsonOutput() if options["json"] else HumanOutput(is_end_asked=is_end_asked)
    resume_file: Path = options["resume_file"] or Path(RESUME_FILE)

    def on_finding(trail: TrailFolder | None, finding: Finding) -> None:
        output.add(trail, finding)
        if reporter is not None:
            reporter.log.add(trail, finding)

    verification = Verification(
        opened.source,
        request,
        keys,
        on_finding=on_finding,
        checked_at=datetime.now(UTC),
        clock=time.monotonic,
        resumed=_read_checkpoint(resume_file) if options["resume"] else None,
        beside=opened.findings,
    )
    is_shown = options["progress"] or (sys.stderr.isatty() and not options["json"])
    try:
        with _stopped_by_signals(verification.stop), progress_bar(verification.progress, is_shown=is_shown):
            result = verification.run()
    except VerificationStopped:
        _leave_checkpoint(verification, resume_file, "interrupted")
        return _INTERRUPTED
    except StoreError:
        _leave_checkpoint(verification, resume_file, "not at its end")
        raise
    if options["resume"]:
        resume_file.unlink(missing_ok=True)
    output.finish(result)
    if reporter is not None:
        reporter.write(result, keys, origin, _command(opened, options))
    return result.exit_code


class _Reporter:
    """Gathers what a report needs, and writes it.  Raises ``ConfigError`` for a name that no report has."""

    def __init__(self, path: Path) -> None:
        from opentrail.verification.finding_log import FindingLog  # noqa: PLC0415  only for a report
        from opentrail.verification.report import report_maker  # noqa: PLC0415

        report_maker(path)
        self._path = path
        self.log = FindingLog()

    def write(self, result: VerifyResult, keys: Sequence[PublicKey], origin: str, command: str) -> None:
        """Write the report."""
        from importlib.metadata import version  # noqa: PLC0415  only for a report

        from opentrail.verification.finding_log import ReportContext  # noqa: PLC0415
        from opentrail.verification.report import write_report  # noqa: PLC0415

        context = ReportContext(version=version("opentrail"), public_keys=keys, keys_origin=origin, commands=(command,))
        write_report(self._path, result, self.log, context)
        self.log.close()


def _read_checkpoint(path: Path) -> Checkpoint:
    from opentrail.verification.checkpoint import decode_checkpoint  # noqa: PLC0415  only for --resume

    try:
        with path.open("rb") as file:
            data = file.read(_MAX_RESUME_BYTES)
    except OSError as error:
        raise ConfigError(f"--resume: {path}: {error.strerror}; nothing was interrupted here") from None
    try:
        return decode_checkpoint(data)
    except FormatError as error:
        raise ConfigError(f"--resume: {path}: {error}") from None


def _leave_checkpoint(verification: Verification, path: Path, how: str) -> None:
    from opentrail.verification.checkpoint import encode_checkpoint  # noqa: PLC0415  only here
    from opentrail.verification.output_file import replaced  # noqa: PLC0415

    checkpoint = verification.checkpoint()
    if not checkpoint.finished and not checkpoint.partial:
        return  # too little was done to go on from
    try:
        with replaced(path) as file:
            file.write(encode_checkpoint(checkpoint))
    except StoreError as error:  # what ended it is to be told, not this
        print(f"opentrail verify: {how}; it cannot go on later: {error}", file=sys.stderr)
        return
    print(f"opentrail verify: {how}; the same command with --resume goes on ({path})", file=sys.stderr)


@contextmanager
def _stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM call ``stop``; a second one ends the process as always."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, _frame: object) -> None:
        signal.signal(number, before[signal.Signals(number)])
        stop()

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _command(opened: OpenedSource, options: dict[str, Any]) -> str:
    """How to check again."""
    words = ["opentrail", "verify", opened.source.name]
    for name in ("public_keys", "original_bucket", "endpoint_url"):
        if options[name]:
            words += [f"--{name.replace('_', '-')}", options[name]]
    for name in ("start", "end"):
        if options[name]:
            words += [f"--{name}", f"{options[name]:%Y-%m-%dT%H:%M:%SZ}"]
    return shlex.join(words)
