"""``opentrail evidence``: pack what proves a span of a trail into one file that verifies anywhere."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opentrail.cli.verify import find_public_keys, open_named_source, request_of
from opentrail.cli.verify_options import SOURCE_OPTIONS, VERIFY_OPTIONS, add_options, read_options
from opentrail.core.errors import ConfigError

if TYPE_CHECKING:  # `opentrail evidence --help` must not wait for them
    from opentrail.verification.packing import Packing
    from opentrail.verification.result import VerifyResult

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

_OPTIONS: Final = (*SOURCE_OPTIONS, *(option for option in VERIFY_OPTIONS if option.name in {"jobs", "progress"}))
_EVERY_SECONDS: Final = 0.2


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
    if options["start"] is None or options["end"] is None:
        raise ConfigError("--start and --end: say which time the evidence is to tell of")
    if output.exists() and not arguments.force:
        raise ConfigError(f"{output} is there already: --force replaces it")
    opened = open_named_source(arguments.source, options)
    from opentrail.verification.packing import Packing  # noqa: PLC0415  not for --help

    try:
        request = request_of(options, opened)
        keys, origin = find_public_keys(options, opened, request)
        packing = Packing(
            source=opened.source,
            request=request,
            public_keys=keys,
            keys_origin=origin,
            name=output.name,
            version=version("opentrail"),
            made_at=datetime.now(UTC),
            clock=time.monotonic,
        )
        is_shown = options["progress"] or sys.stderr.isatty()
        result = _pack(packing, output, is_forced=arguments.force, is_shown=is_shown)
    finally:
        opened.source.close()
    _tell(result, output)
    return result.exit_code


def _pack(packing: Packing, output: Path, *, is_forced: bool, is_shown: bool) -> VerifyResult:
    from opentrail.verification.output_file import replaced  # noqa: PLC0415  not for --help
    from opentrail.verification.packing import pack  # noqa: PLC0415

    with (
        _terminated_like_interrupted(),
        _progress(is_shown=is_shown) as progress,
        replaced(output, overwrite=is_forced) as file,
    ):
        return pack(packing, file, file.name, progress)


def _tell(result: VerifyResult, output: Path) -> None:
    from opentrail.core.findings import RULES, Concern, counted  # noqa: PLC0415  not for --help

    digests = sum(chain.digests.valid for chain in result.chains)
    log_files = sum(chain.log_files.valid for chain in result.chains)
    print(
        f"{output}: {output.stat().st_size:,} bytes, {counted(len(result.chains), 'chain')}, "
        f"{counted(digests, 'digest')} and {counted(log_files, 'log file')} as delivered"
    )
    for code, count in sorted(result.findings.items()):
        if RULES[code].concern is not Concern.NOTE:
            print(f"  {code.value}: {count:,}")
    print(f"what it holds is {result.verdict.value.replace('-', ' ')}; `opentrail verify {output.name}` tells more")


@contextmanager
def _progress(*, is_shown: bool) -> Iterator[Callable[[int, int], None]]:
    """Shows on stderr how much was packed, and when verification begins to take its time."""
    last = time.monotonic()

    def show(count: int, size: int) -> None:
        nonlocal last
        now = time.monotonic()
        if is_shown and now - last >= _EVERY_SECONDS:
            last = now
            sys.stderr.write(f"\rpacked {count:,} objects, {size / 1e6:,.0f} MB\x1b[K")
            sys.stderr.flush()

    try:
        yield show
    finally:
        if is_shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does: what was half written is removed."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
