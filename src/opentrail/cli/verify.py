"""``opentrail verify``: check a trail wherever it lies, without a server."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from opentrail.cli.progress import search_line, status_line, verify_line
from opentrail.cli.signals import INTERRUPTED, stopped_by_signals, terminated_like_interrupted
from opentrail.cli.terminal import printable, wrapped
from opentrail.cli.verify_options import SOURCE_OPTIONS, VERIFY_OPTIONS, add_options, read_options
from opentrail.core.errors import ConfigError, FormatError, StoreError

if TYPE_CHECKING:  # `opentrail verify --help` must not wait for them
    from opentrail.cli.verify_output import Output
    from opentrail.core.findings import Finding
    from opentrail.core.layout import TrailFolder
    from opentrail.core.public_keys import PublicKey
    from opentrail.verification.checkpoint import Checkpoint
    from opentrail.verification.engine import Verification
    from opentrail.verification.opening import OpenedSource
    from opentrail.verification.request import VerifyRequest
    from opentrail.verification.result import VerifyResult
    from opentrail.verification.subject import Subject
    from opentrail.verification.watched_source import WatchedSource

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
_LATE_KEYS: Final = timedelta(days=1)  # a digest is signed after the time that it tells of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("source", metavar="SOURCE", help="where the trail lies")
    add_options(parser, (*SOURCE_OPTIONS, *VERIFY_OPTIONS))


def run(arguments: argparse.Namespace) -> int:
    """Verify."""
    options = read_options(arguments, (*SOURCE_OPTIONS, *VERIFY_OPTIONS))
    _check_outputs(options)
    opened = open_named_source(arguments.source, options)
    try:
        request = request_of(options, opened)
        is_shown = is_bar_shown(options)
        with status_line(lambda seconds: f"looking for public keys, {seconds:.0f} s", is_shown=is_shown):
            keys, origin = find_public_keys(options, opened, request)
        if opened.public_keys and keys is opened.public_keys and not options["quiet"]:
            _tell_own_keys(keys)
        return _verify(opened, options, request, keys, origin)
    finally:
        opened.source.close()


def _check_outputs(options: dict[str, Any]) -> None:
    """What is to be written at the end must be possible now.  Raises ``ConfigError``."""
    from opentrail.verification.output_file import check_place  # noqa: PLC0415  not for --help

    if options["report"]:
        from opentrail.verification.report import report_maker  # noqa: PLC0415  the same

        report_maker(options["report"])
        check_place(options["report"], "--report")
    if options["resume_file"] and not options["resume"]:
        check_place(options["resume_file"], "--resume-file")


def is_bar_shown(options: dict[str, Any]) -> bool:
    """Whether to show on stderr how far the command is."""
    is_quiet = options.get("quiet") or options.get("json")
    return bool(options["progress"] or (sys.stderr.isatty() and not is_quiet))


def open_named_source(text: str, options: dict[str, Any]) -> OpenedSource:
    """Open SOURCE.  Raises ``ConfigError``."""
    from opentrail.verification.opening import SourceOptions, open_source  # noqa: PLC0415  not for --help

    if "://" not in text and not os.path.lexists(text):
        raise ConfigError(f"{text}: there is no such file or folder")
    try:
        return open_source(
            text,
            SourceOptions(
                endpoint_url=options["endpoint_url"] or "",
                profile=options["profile"] or "",
                is_signed=not options["no_sign_request"],
                original=options["original_bucket"] or "",
            ),
        )
    except FormatError as error:
        raise ConfigError(f"{text}: {error}") from None


def request_of(options: dict[str, Any], opened: OpenedSource) -> VerifyRequest:
    """What is asked."""
    from opentrail.verification.evidence import packed_at  # noqa: PLC0415  the same
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
        asked_at=(not options["end"] and packed_at(opened.source)) or datetime.now(UTC),
        with_events=bool(options.get("events")),
        jobs=options.get("jobs") or _cores(),
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def find_public_keys(
    options: dict[str, Any], opened: OpenedSource, request: VerifyRequest
) -> tuple[Sequence[PublicKey], str]:
    """The keys to verify with, and where they come from (it ends a sentence).  Raises ``ConfigError``."""
    from opentrail.verification.public_keys_file import FIRST_KEYS  # noqa: PLC0415  not for --help

    keys, origin = _named_public_keys(options, opened, request)
    if not keys or keys is opened.public_keys:
        return keys, origin
    start, end = request.start or FIRST_KEYS, request.end or request.asked_at or datetime.now(UTC)
    if not any(key.is_valid_in(start, end + _LATE_KEYS) for key in keys):
        raise ConfigError(
            f"of {origin}: not one public key is valid at any time from {start:%Y-%m-%dT%H:%M:%SZ} to "
            f"{end:%Y-%m-%dT%H:%M:%SZ}; get those of that time (`aws cloudtrail list-public-keys --start-time ...`)"
        )
    return keys, origin


def _named_public_keys(
    options: dict[str, Any], opened: OpenedSource, request: VerifyRequest
) -> tuple[Sequence[PublicKey], str]:
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
        try:
            keys = read_public_keys(Path(given))
        except ConfigError as error:
            writers = "`opentrail keys export` and `aws cloudtrail list-public-keys` write such files"
            raise ConfigError(f"{error}; {writers}") from None
        if not keys:
            raise ConfigError(f"--public-keys {given}: there is not one public key in the file")
        return keys, f"the file {given}"
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
    named = endpoint or os.environ.get("AWS_ENDPOINT_URL_CLOUDTRAIL") or os.environ.get("AWS_ENDPOINT_URL") or "AWS"
    if question.regions and not keys:
        regions = ", ".join(question.regions)
        raise ConfigError(f"{named} has not one public key for {regions} in that time: name others by --public-keys")
    return keys, f"ListPublicKeys of {named}"


def _tell_own_keys(keys: Sequence[PublicKey]) -> None:
    """Keys that come with the evidence are no evidence."""
    text = (
        "opentrail verify: the public keys are the bundle's own, and prove only what whoever packed it says: get them "
        "from the recording side (--public-keys), or compare their fingerprints"
    )
    print(wrapped(text, indent="  "), file=sys.stderr)
    for key in keys:
        print(f"  {printable(key.fingerprint)}", file=sys.stderr)


def _verify(
    opened: OpenedSource, options: dict[str, Any], request: VerifyRequest, keys: Sequence[PublicKey], origin: str
) -> int:
    from opentrail.cli.verify_output import HumanOutput, JsonOutput  # noqa: PLC0415  not for --help
    from opentrail.verification.engine import Verification  # noqa: PLC0415
    from opentrail.verification.evidence import missing_from  # noqa: PLC0415
    from opentrail.verification.subject import Subject  # noqa: PLC0415
    from opentrail.verification.watched_source import WatchedSource  # noqa: PLC0415

    subject = Subject(source=opened.source.name, request=request, public_keys=keys, keys_origin=origin)
    reporter = _Reporter(options["report"], opened, options) if options["report"] else None
    output: Output = JsonOutput(subject) if options["json"] else HumanOutput(subject, is_quiet=options["quiet"])
    source = WatchedSource(opened.source)

    def on_finding(trail: TrailFolder | None, finding: Finding) -> None:
        output.add(trail, finding)
        if reporter is not None:
            reporter.add(trail, finding)

    verification = Verification(
        source,
        request,
        keys,
        on_finding=on_finding,
        checked_at=datetime.now(UTC),
        clock=time.monotonic,
        resumed=_read_checkpoint(_resume_file(options)) if options["resume"] else None,
        beside=chain(opened.findings, missing_from(opened.source)),
    )

    output.begin()
    result = _run(verification, source, output, options)
    if result is None:
        return INTERRUPTED
    output.finish(result)
    if reporter is not None:
        try:
            with terminated_like_interrupted():
                reporter.write(result, subject)
        except (StoreError, KeyboardInterrupt):
            _leave_checkpoint(verification, options, "verified, but the report was not written")
            raise
    if options["resume"]:
        _resume_file(options).unlink(missing_ok=True)
    return result.exit_code


def _run(
    verification: Verification, source: WatchedSource, output: Output, options: dict[str, Any]
) -> VerifyResult | None:
    """Run it and show how far it is; None when it was interrupted.  Raises ``StoreError``."""
    from opentrail.verification.engine import VerificationStopped  # noqa: PLC0415  not for --help

    def stop() -> None:
        source.stop()
        verification.stop()
        if not source.has_read:  # there is nothing yet that has to be ended in order
            raise VerificationStopped("the verification was stopped")

    def line(seconds: float) -> str:
        progress = verification.progress()
        return verify_line(progress, seconds) if progress.chains else search_line(source.listed, seconds)

    try:
        with stopped_by_signals(stop), status_line(line, is_shown=is_bar_shown(options)):
            return verification.run()
    except VerificationStopped:
        output.stop("interrupted", _leave_checkpoint(verification, options, "interrupted"))
        return None
    except StoreError:
        output.stop("failed", _leave_checkpoint(verification, options, "not at its end"))
        raise


class _Reporter:
    """Gathers what a report needs, and writes it."""

    def __init__(self, path: Path, opened: OpenedSource, options: dict[str, Any]) -> None:
        from opentrail.verification.finding_log import FindingLog  # noqa: PLC0415  only for a report

        self._path = path
        self._command = _command(opened, options)
        self._files = [Path(text) for text in (opened.source.name, options["public_keys"] or "") if text]
        self._log = FindingLog()

    def add(self, trail: TrailFolder | None, finding: Finding) -> None:
        """The next finding.  Raises ``StoreError`` when there is no room for it."""
        try:
            self._log.add(trail, finding)
        except OSError as error:
            raise StoreError(f"--report: no room for findings: {error.strerror}", retryable=False) from error

    def write(self, result: VerifyResult, subject: Subject) -> None:
        """Write the report.  Raises ``StoreError``."""
        from importlib.metadata import version  # noqa: PLC0415  only for a report

        from opentrail.verification.output_file import sha256_of  # noqa: PLC0415
        from opentrail.verification.report import write_report  # noqa: PLC0415
        from opentrail.verification.subject import ReportContext  # noqa: PLC0415

        context = ReportContext(
            version=version("opentrail"),
            subject=subject,
            commands=(self._command,),
            inputs=[(str(path), sha256_of(path)) for path in self._files if path.is_file()],
        )
        write_report(self._path, result, self._log, context)
        self._log.close()


def _resume_file(options: dict[str, Any]) -> Path:
    return options["resume_file"] or Path(RESUME_FILE)


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


def _leave_checkpoint(verification: Verification, options: dict[str, Any], how: str) -> str:
    """Write the resume file, if there is anything to go on from; its name, or ""."""
    from opentrail.verification.checkpoint import encode_checkpoint  # noqa: PLC0415  only here
    from opentrail.verification.output_file import replaced  # noqa: PLC0415

    path, checkpoint = _resume_file(options), verification.checkpoint()
    if not checkpoint.finished and not checkpoint.partial:
        print(f"opentrail verify: {how}, before there was anything to go on from", file=sys.stderr)
        return ""
    try:
        with replaced(path) as file:
            file.write(encode_checkpoint(checkpoint))
    except StoreError as error:  # what ended it is to be told, not this
        print(f"opentrail verify: {how}; it cannot go on later: {error}", file=sys.stderr)
        return ""
    print(f"opentrail verify: {how}; the same command with --resume goes on ({path})", file=sys.stderr)
    return str(path)


def _command(opened: OpenedSource, options: dict[str, Any]) -> str:
    """How to check again."""
    words = ["opentrail", "verify", opened.source.name]
    for name in ("public_keys", "original_bucket", "endpoint_url", "profile"):
        if options[name]:
            words += [f"--{name.replace('_', '-')}", options[name]]
    for name in ("start", "end", "expect_until"):
        if options[name]:
            words += [f"--{name.replace('_', '-')}", f"{options[name]:%Y-%m-%dT%H:%M:%SZ}"]
    for name, value in request_of(options, opened).filters():
        words += [f"--{name}", value]
    words += [f"--{name.replace('_', '-')}" for name in ("no_sign_request", "events") if options[name]]
    return shlex.join(words)
