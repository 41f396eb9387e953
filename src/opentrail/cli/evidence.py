"""``opentrail evidence``: pack what proves a span of a trail into one file that verifies anywhere."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from opentrail.cli.progress import packing_line, search_line, status_line, verify_line
from opentrail.cli.signals import INTERRUPTED, interrupted_by_signals
from opentrail.cli.terminal import wrapped
from opentrail.cli.verify import find_public_keys, is_bar_shown, is_own, open_named_source, request_of
from opentrail.cli.verify_options import SOURCE_OPTIONS, VERIFY_OPTIONS, add_options, read_options
from opentrail.core.errors import ConfigError

if TYPE_CHECKING:  # `opentrail evidence --help` must not wait for them
    from opentrail.verification.packing import Packing, PackingState
    from opentrail.verification.result import VerifyResult
    from opentrail.verification.watched_source import WatchedSource

EXAMPLES = """\
examples:
  opentrail evidence s3://my-trail-bucket --start 2026-05-01 --end 2026-05-07 -o case-17.zip
  opentrail evidence /mnt/copy --public-keys keys.json --account-id 111122223333 \\
      --start 2026-05-01T08:00:00Z --end 2026-05-01T18:00:00Z -o case-17.zip
  opentrail verify case-17.zip

FILE.zip holds log files, the digests that prove them, public keys, a report and a manifest (docs/evidence.md): all that
tells of the time from --start to --end.  It is verified before it gets its name.
exit codes: 0 made, and valid; 1 made, and tampered or incomplete; 2 not made, or not to be checked; 130 interrupted
"""

_TAKEN: Final = {"jobs", "progress", "quiet"}
_OPTIONS: Final = (*SOURCE_OPTIONS, *(option for option in VERIFY_OPTIONS if option.name in _TAKEN))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("source", metavar="SOURCE", help="where the trail lies, as for `opentrail verify`")
    parser.add_argument("-o", "--output", metavar="FILE.zip", type=Path, required=True, help="the bundle to write")
    parser.add_argument("--force", action="store_true", help="replace a file that is there already")
    add_options(parser, _OPTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Pack, and verify what was packed."""
    options = read_options(arguments, _OPTIONS)
    output: Path = arguments.output
    _check_asked(options, output, is_forced=arguments.force)
    opened = open_named_source(arguments.source, options)
    from opentrail.verification.packing import Packing, PackingState  # noqa: PLC0415  not for --help
    from opentrail.verification.watched_source import WatchedSource  # noqa: PLC0415  the same

    source, state = WatchedSource(opened.source), PackingState()
    try:
        with (
            status_line(partial(_line, source, state), is_shown=is_bar_shown(options)),
            interrupted_by_signals() as check_signals,
        ):
            request = request_of(options, opened)
            keys, origin = find_public_keys(options, opened, request)
            packing = Packing(
                source=source,
                request=request,
                public_keys=keys,
                keys_origin=origin,
                keys_came_along=is_own(keys, opened),
                name=output.name,
                version=version("opentrail"),
                made_at=datetime.now(UTC),
                clock=time.monotonic,
            )
            result = _pack(packing, output, state, check_signals, is_forced=arguments.force)
    except KeyboardInterrupt:
        print("opentrail evidence: interrupted; no bundle was written", file=sys.stderr)
        return INTERRUPTED
    finally:
        opened.source.close()
    if not options["quiet"]:
        _tell(result, packing, output, state)
    print(f"what it holds is {result.verdict.value.replace('-', ' ')}; `opentrail verify {output}` tells more")
    return result.exit_code


def _check_asked(options: dict[str, Any], output: Path, *, is_forced: bool) -> None:
    """Raises ``ConfigError`` for what cannot become a bundle, before the long work begins."""
    from opentrail.verification.output_file import check_place  # noqa: PLC0415  not for --help

    if options["start"] is None or options["end"] is None:
        raise ConfigError("--start and --end: say which time the evidence is to tell of")
    check_place(output, "-o")
    if output.exists() and not is_forced:
        raise ConfigError(f"{output} is there already: --force replaces it")


def _pack(
    packing: Packing, output: Path, state: PackingState, check_signals: Callable[[], None], *, is_forced: bool
) -> VerifyResult:
    from opentrail.verification.output_file import replaced  # noqa: PLC0415  not for --help
    from opentrail.verification.packing import pack  # noqa: PLC0415  the same

    with replaced(output, overwrite=is_forced) as file:
        result = pack(packing, file, file.name, state)
        check_signals()
    return result


def _line(source: WatchedSource, state: PackingState, seconds: float) -> str:
    """How far it is: looking for digests, packing, or verifying what was packed."""
    if state.verification is not None:
        return "verifying " + verify_line(state.verification.progress(), time.monotonic() - state.verifying_since)
    collected = state.collected
    if not collected.objects:
        return search_line(source.listed, seconds)
    return packing_line(collected.share, collected.objects, collected.size, seconds)


def _tell(result: VerifyResult, packing: Packing, output: Path, state: PackingState) -> None:
    from opentrail.core.events import format_time  # noqa: PLC0415  not for --help
    from opentrail.core.findings import RULES, Concern, counted  # noqa: PLC0415  the same
    from opentrail.verification.output_file import sha256_of  # noqa: PLC0415  the same

    digests = sum(chain.digests.valid for chain in result.chains)
    log_files = sum(chain.log_files.valid for chain in result.chains)
    what = (
        f"{output.stat().st_size:,} bytes, {counted(len(result.chains), 'chain')}, {counted(digests, 'digest')} and "
        f"{counted(log_files, 'log file')} as delivered"
    )
    start, end = (format_time(moment) if moment else "" for moment in (result.start, result.end))
    filters = ", ".join(f"{name} {value}" for name, value in packing.request.filters())
    rows = [("bundle", f"{output}: {what}"), ("source", packing.source.name)]
    rows += [("digests", f"that end from {start} to {end}")]
    rows += [("only", filters)] if filters else []
    rows += [("keys", f"{counted(len(packing.public_keys), 'public key')}, from {packing.keys_origin}")]
    for key, why in state.collected.left_out[:1]:
        more = f", and {counted(state.left_out - 1, 'more object')}" if state.left_out > 1 else ""
        rows += [("without", f"{key}: {why}{more} (the manifest and the reports name them)")]
    rows += [("sha256", sha256_of(output))]
    for name, text in rows:
        print(wrapped(text, first=f"{name:9}", indent=" " * 9))
    for code, count in sorted(result.findings.items()):
        if RULES[code].concern is not Concern.NOTE:
            print(f"  {code.value}: {count:,}")
