"""``opentrail verify``: check a trail wherever it lies, without a server."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from opentrail.cli.progress import search_line, status_line, verify_line
from opentrail.cli.resume_file import DEFAULT_NAME, leave_checkpoint, read_checkpoint
from opentrail.cli.signals import INTERRUPTED, held_back, interrupted_by_signals, stopped_by_signals
from opentrail.cli.verify_options import NOW, SOURCE_OPTIONS, VERIFY_OPTIONS, add_options, read_options
from opentrail.core.errors import ConfigError, FormatError, OpentrailError, StoreError

if TYPE_CHECKING:  # `opentrail verify --help` must not wait for them
    from opentrail.cli.verify_output import Output
    from opentrail.cli.verify_report import Reporter
    from opentrail.core.findings import Finding
    from opentrail.core.layout import TrailFolder
    from opentrail.core.public_keys import PublicKey
    from opentrail.verification.engine import Verification
    from opentrail.verification.opening import OpenedSource
    from opentrail.verification.request import VerifyRequest
    from opentrail.verification.result import Span, VerifyResult
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

_LATE_KEYS: Final = timedelta(days=1)  # a digest is signed after the time that it tells of
_KEYS_BEFORE: Final = timedelta(days=31)  # of the start of the time in view: the digest before it tells of its start


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
        try:
            subject = _find_subject(opened, options)
        except KeyboardInterrupt:
            return _interrupted_early(options)
        return _verify(opened, options, subject)
    finally:
        opened.source.close()


def _interrupted_early(options: dict[str, Any]) -> int:
    from opentrail.cli.verify_output import print_stopped  # noqa: PLC0415  not for --help

    print("opentrail verify: interrupted, before anything was looked at", file=sys.stderr)
    if options["json"]:
        print_stopped("interrupted", "")
    return INTERRUPTED


def _find_subject(opened: OpenedSource, options: dict[str, Any]) -> Subject:
    from opentrail.verification.subject import Subject  # noqa: PLC0415  not for --help

    request = request_of(options, opened)
    with status_line(lambda seconds: f"looking for public keys, {seconds:.0f} s", is_shown=is_bar_shown(options)):
        keys, origin = find_public_keys(options, opened, request)
    bundle = opened.bundle
    return Subject(
        source=opened.source.name,
        request=request,
        public_keys=keys,
        keys_origin=origin,
        keys_came_along=is_own(keys, opened),
        packed=bundle.header.words() if bundle else "",
        reservations=bundle.reservations() if bundle else (),
    )


def is_own(keys: Sequence[PublicKey], opened: OpenedSource) -> bool:
    """Whether ``keys`` are those that the source brought: keys that come with the evidence are no evidence."""
    return bool(keys) and keys is opened.public_keys


def _check_outputs(options: dict[str, Any]) -> None:
    """What is to be printed, and written at the end, must be possible.  Raises ``ConfigError``."""
    from opentrail.verification.output_file import check_place  # noqa: PLC0415  not for --help

    if options["quiet"] and options["verbose"]:
        raise ConfigError("--quiet and --verbose exclude each other")
    if options["report"]:
        from opentrail.verification.report import report_maker  # noqa: PLC0415  the same

        report_maker(options["report"])
        check_place(options["report"], "--report")
    if options["resume_file"] and not options["resume"]:
        check_place(options["resume_file"], "--resume-file")


def is_bar_shown(options: dict[str, Any]) -> bool:
    """Whether to show on stderr how far the command is."""
    is_quiet = options.get("quiet") or options.get("json") or options.get("verbose")  # the last ones print lines
    return bool(options["progress"] or (sys.stderr.isatty() and not is_quiet))


def open_named_source(text: str, options: dict[str, Any]) -> OpenedSource:
    """Open SOURCE.  Raises ``ConfigError``."""
    with held_back():  # an interrupt amid the import of some extension modules crashes the process
        from opentrail.verification.opening import SourceOptions, open_source  # noqa: PLC0415  not for --help

    try:
        return open_source(
            text,
            SourceOptions(
                endpoint_url=options["endpoint_url"] or "",
                profile=options["profile"] or "",
                is_signed=not options["no_sign_request"],
                request_payer=options["request_payer"] or "",
                original=options["original_bucket"] or "",
                metadata_lost=options["metadata_lost"],
            ),
        )
    except FormatError as error:
        hint = "" if text.endswith(".zip") else "; a file must be an evidence bundle, a trail is a folder"
        raise ConfigError(f"{text}: {error}{hint}") from None


def request_of(options: dict[str, Any], opened: OpenedSource) -> VerifyRequest:
    """What is asked."""
    from opentrail.core.validation import LATEST_DIGEST  # noqa: PLC0415  not for --help
    from opentrail.verification.request import VerifyRequest  # noqa: PLC0415  the same

    now, until = datetime.now(UTC), options.get("expect_until")
    home_region, account_id, trail_name = options["trail_arn"] or ("", "", "")
    span, bundle = opened.span, opened.bundle
    _check_time(options, now, span)
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
        expected_until=now - LATEST_DIGEST if until == NOW else until,
        is_until_now=until == NOW,
        asked_at=bundle.header.made_at if bundle and not options["end"] else now,
        with_events=bool(options.get("events")),
        is_excerpt=bundle is not None,
        packed_accounts=frozenset(bundle.header.account_ids) if bundle else frozenset(),
        packed_regions=frozenset(bundle.header.regions) if bundle else frozenset(),
        jobs=options.get("jobs") or _cores(),
    )


def _check_time(options: dict[str, Any], now: datetime, span: Span | None) -> None:
    """Raises ``ConfigError`` for a time of which the source cannot tell."""
    from opentrail.core.events import format_time  # noqa: PLC0415  not for --help

    start, end = options["start"], options["end"]
    if start and start > now:
        raise ConfigError(f"--start {format_time(start)}: that time has not come yet")
    for name, moment in (("start", start), ("end", end)):
        if span and moment and not span.start <= moment <= span.end:
            raise ConfigError(
                f"--{name} {format_time(moment)}: the bundle holds the digests that end from {format_time(span.start)} "
                f"to {format_time(span.end)}, and nothing can be said of others; without --{name} it is verified "
                f"{'from its start' if name == 'start' else 'to its end'}"
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
        return opened.public_keys, "the evidence bundle itself: nobody else vouches for them"
    if given and not given.startswith(("http://", "https://")):
        return _read_keys_file(given), f"the file {given}"
    if not given and "://" not in opened.source.name:
        raise ConfigError(
            "--public-keys: name a file with the public keys, which `opentrail keys export` and "
            "`aws cloudtrail list-public-keys` write, or the URL of CloudTrail's endpoint"
        )
    return _ask_endpoint(given or options["endpoint_url"] or "", options, opened, request)


def _read_keys_file(name: str) -> Sequence[PublicKey]:
    from opentrail.verification.public_keys_file import read_public_keys  # noqa: PLC0415  not for --help

    try:
        keys = read_public_keys(Path(name))
    except ConfigError as error:
        writers = "`opentrail keys export` and `aws cloudtrail list-public-keys` write such files"
        raise ConfigError(f"{error}; {writers}") from None
    if not keys:
        raise ConfigError(f"--public-keys {name}: there is not one public key in the file")
    return keys


def _ask_endpoint(
    endpoint: str, options: dict[str, Any], opened: OpenedSource, request: VerifyRequest
) -> tuple[Sequence[PublicKey], str]:
    from opentrail.core.digest_keys import LATEST_BACKFILL  # noqa: PLC0415  not for --help
    from opentrail.verification import public_keys_file as asked  # noqa: PLC0415  the same
    from opentrail.verification.discovery import find_folders  # noqa: PLC0415  the same

    now = datetime.now(UTC)
    question = asked.KeyQuestion(
        endpoint_url=endpoint,
        profile=options["profile"] or "",
        regions=tuple(sorted({folder.region for folder in find_folders(opened.source, request)})),
        start=request.start - _KEYS_BEFORE if request.start else asked.FIRST_KEYS,
        end=min(request.end + LATEST_BACKFILL, now) if request.end else now,
    )
    try:
        keys = asked.ask_public_keys(question, now=now, cache=asked.default_cache(os.environ))
    except ConfigError as error:
        raise ConfigError(f"{error}; --public-keys names a file of them, or another endpoint") from None
    named = asked.endpoint_of(question) or "AWS"
    if question.regions and not keys:
        regions = ", ".join(question.regions)
        raise ConfigError(f"{named} has not one public key for {regions} in that time: name others by --public-keys")
    return keys, f"ListPublicKeys of {named}"


def _verify(opened: OpenedSource, options: dict[str, Any], subject: Subject) -> int:
    if not options["report"]:
        return _verify_and_tell(opened, options, subject, None)
    from opentrail.cli.verify_report import Reporter  # noqa: PLC0415  only for a report

    reporter = Reporter(options["report"], subject, options)
    try:
        return _verify_and_tell(opened, options, subject, reporter)
    finally:
        reporter.close()


def _verify_and_tell(opened: OpenedSource, options: dict[str, Any], subject: Subject, reporter: Reporter | None) -> int:
    from opentrail.cli.verify_output import HumanOutput, JsonOutput  # noqa: PLC0415  not for --help
    from opentrail.verification.watched_source import WatchedSource  # noqa: PLC0415  the same

    output: Output = JsonOutput(subject) if options["json"] else HumanOutput(subject, is_quiet=options["quiet"])
    source = WatchedSource(opened.source)
    verification = _prepare(source, opened, options, subject, output=output, reporter=reporter)
    output.begin()
    result = _run(verification, source, output, options)
    if result is None:
        return INTERRUPTED
    output.finish(result)
    if reporter is not None:
        try:
            with interrupted_by_signals():
                reporter.write(result)
        except (StoreError, KeyboardInterrupt):
            _leave_checkpoint(verification, options, "verified, but the report was not written")
            raise
    if options["resume"]:
        _resume_file(options).unlink(missing_ok=True)
    return result.exit_code


def _prepare(
    source: WatchedSource,
    opened: OpenedSource,
    options: dict[str, Any],
    subject: Subject,
    *,
    output: Output,
    reporter: Reporter | None,
) -> Verification:
    """The verification whose findings go to ``output`` and ``reporter``.  Raises ``ConfigError``."""
    from opentrail.verification.engine import Verification  # noqa: PLC0415  not for --help

    def on_finding(trail: TrailFolder | None, finding: Finding) -> None:
        output.add(trail, finding)
        if reporter is not None:
            reporter.add(trail, finding)

    resumed = read_checkpoint(_resume_file(options)) if options["resume"] else None
    try:
        return Verification(
            source,
            subject.request,
            subject.public_keys,
            on_finding=on_finding,
            checked_at=datetime.now(UTC),
            clock=time.monotonic,
            resumed=resumed,
            beside=opened.findings,
            objects=output if options["verbose"] else None,
        )
    except OpentrailError as error:
        if resumed is None:
            raise
        raise ConfigError(f"--resume: {_resume_file(options)}: {error}; go on with the options of then") from None


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


def _resume_file(options: dict[str, Any]) -> Path:
    return options["resume_file"] or Path(DEFAULT_NAME)


def _leave_checkpoint(verification: Verification, options: dict[str, Any], how: str) -> str:
    return leave_checkpoint(_resume_file(options), verification.checkpoint(), how)
