"""``opentrail``: the command line.  Each command is a module with ``HELP``, ``add_arguments`` and ``run``.

Modules are imported when their command is called, so that ``opentrail --help`` starts in milliseconds.  Exit codes:
0 done, 1 the command's own bad news (it says which), 2 it could not be carried out, 130 Ctrl-C, 141 a closed pipe.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from opentrail.core.errors import OpentrailError

COMMANDS = {
    "serve": "run the endpoint: answer calls, record them, deliver log files and digests",
    "flush": "deliver now what is recorded, and return when it is delivered",
    "verify": "check that a trail is whole and unchanged, wherever it lies: no server needed",
    "evidence": "pack what proves a span of a trail into one file, which `opentrail verify` checks anywhere",
    "bucket-policy": "print the policy that a bucket needs to take the log files of accounts or of an organization",
    "explain": "tell why a recorded call was allowed or denied: which statement of which policy, and what is missing",
    "keys": "list and rotate the keys that sign digests",
    "account": "make, list, show and close accounts",
}


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser; only ``command`` (None: every one) gets its arguments."""
    parser = argparse.ArgumentParser(
        prog="opentrail",
        allow_abbrev=False,
        description="Opentrail, the open, self-hosted CloudTrail.",
        epilog="`opentrail COMMAND --help` shows a command's options and examples.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, text in COMMANDS.items():
        chosen = command is None or name == command
        module = importlib.import_module(_module_of(name)) if chosen else None
        sub = commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=module.EXAMPLES if module else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,  # what is short for one setting today may be short for two tomorrow
        )
        if module is not None:
            module.add_arguments(sub)
            sub.set_defaults(command_parser=sub)
    return parser


def _module_of(command: str) -> str:
    return f"opentrail.cli.{command.replace('-', '_')}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    _open_missing_streams()
    words = sys.argv[1:] if argv is None else list(argv)
    command = next((word for word in words if word in COMMANDS), "")
    parser = build_parser(command)
    arguments, unknown = parser.parse_known_args(words)
    if unknown:  # the usage that helps is the command's own
        getattr(arguments, "command_parser", parser).error(f"unrecognized arguments: {' '.join(unknown)}")
    if arguments.version:
        from importlib.metadata import version  # noqa: PLC0415  start-up time: only --version needs it

        print(version("opentrail"))
        return 0
    if arguments.command is None:
        parser.print_help()
        return 2
    return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    try:
        module = importlib.import_module(_module_of(arguments.command))
        code: int = module.run(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor will the interpreter's last flush fail
        return 141
    except (OpentrailError, OSError) as error:
        if isinstance(error, OSError):  # the world: such as a full disk where standard output goes
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        from opentrail.cli.terminal import printable  # noqa: PLC0415  start-up time

        said = printable(str(error), keep="\n")
        print(f"opentrail {arguments.command}: {said}", file=sys.stderr)
        return 2
    except Exception:  # noqa: BLE001  a mistake of ours ends with 2 too: Python's own 1 would be the command's bad news
        traceback.print_exc()
        return 2
    return code


def _open_missing_streams() -> None:
    """Where standard output or error is closed (``>&-``) what is said goes nowhere, and takes no file's descriptor."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  open to the end


if __name__ == "__main__":
    sys.exit(main())
