"""The generated pages of the documentation: settings, commands, supported operations.

``make docs`` writes them; a test compares them with what this module would write, so none of them can grow stale.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import fields
from pathlib import Path

from opentrail.cli.main import COMMANDS, build_parser
from opentrail.server.catalog import BotocoreCatalog
from opentrail.server.config import Settings
from opentrail.server.service_table import SERVICES

_NOT_LISTED = """\
What is not listed answers with its protocol's own error (`NotImplemented`, HTTP 501, or `UnknownOperationException`,
HTTP 400), and is recorded all the same."""
_SHORT_AND_LONG = re.compile(r"^  (-[a-z]) (\S+), (--\S+ \2)(?: +|\n {24})", re.MULTILINE)
_HELP_COLUMN = 24
_NOTE = "<!-- made by `make docs`; change the code, not this page -->\n"


def configuration_page() -> str:
    """``docs/configuration.md``: every setting."""
    rows = ["| flag | variable | TOML | default | |", "|---|---|---|---|---|"]
    for item in fields(Settings):
        dashed = item.name.replace("_", "-")
        default = ",".join(item.default) if isinstance(item.default, tuple) else item.default
        shown = "" if default in ("", None) else f"`{default}`"
        metavar = item.metadata["metavar"].replace("|", "\\|")
        cells = (f"`--{dashed} {metavar}`", f"`OPENTRAIL_{item.name.upper()}`", f"`{dashed}`", shown)
        rows.append(f"| {' | '.join(cells)} | {item.metadata['help']} |")
    table = "\n".join(rows)
    return f"""{_NOTE}
# Configuration

Every setting can be given as a flag of `opentrail serve`, as an environment variable, or in a TOML file named with
`--config FILE` (or `OPENTRAIL_CONFIG`). A flag beats a variable, a variable beats the file. Durations are written
`90s`, `5m`, `1h`, `30d`; sizes `64KB`, `10MB`. In TOML a list may be an array.

{table}

```toml
# opentrail.toml
port = 4577
data-dir = "/var/lib/opentrail"
delivery-interval = "5m"
digest-interval = "1h"
log-format = "json"
domains = ["s3.example.org", "localhost"]
```

## What lies in the data folder

| | |
|---|---|
| `credentials` | the root user's access key in AWS's credentials format (mode 0600); delete it once you have it |
| `decisions/` | why calls were allowed or denied, for `opentrail explain` (mode 0600) |
| `journal/` | the records of answered calls, until they are delivered |
| `ledger.db` | what delivery has promised and not yet put into a bucket |
| `state.db` | accounts, users, keys, trails, buckets |
| `objects/` | the buckets, as folders and files (unless `--object-store` names another place) |
| `keys/` | the RSA keys that sign digests, a folder a region (mode 0600) |
| `master.key` | encrypts the secrets of access keys in `state.db` (mode 0600; sealed with `--key-passphrase-file`) |
| `control.sock`, `control.json` | how `opentrail flush` and `opentrail keys` reach the running server |
"""


def commands_page() -> str:
    """``docs/commands.md``: what each command prints for ``--help``."""
    parts = [
        f"{_NOTE}\n# Commands\n\nExit codes: 0 done, 1 bad news that the command was asked for, 2 could not be done.\n"
    ]
    for name in COMMANDS:
        parser = build_parser(name)
        (subparsers,) = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))  # noqa: SLF001  argparse has no public way to its subparsers
        text = _SHORT_AND_LONG.sub(_name_once, subparsers.choices[name].format_help().rstrip())
        parts.append(f"## opentrail {name}\n\n```\n{text}\n```\n")
    return "\n".join(parts)


def _name_once(option: re.Match[str]) -> str:
    """An option with its value's name behind the long form alone, as Python writes it from 3.13 on."""
    start = f"  {option[1]}, {option[3]}"
    end = " " * _HELP_COLUMN
    return f"{start:{_HELP_COLUMN}}" if len(start) <= _HELP_COLUMN - 2 else f"{start}\n{end}"


def operations_page() -> str:
    """``docs/operations.md``: every operation that is implemented, and how many its service has."""
    catalog = BotocoreCatalog()
    parts = [f"{_NOTE}\n# Supported operations\n\n{_NOT_LISTED}\n"]
    for name, operations in sorted(SERVICES.items()):
        model = catalog.service(name)
        parts.append(f"## {name}: {len(operations)} of {len(model.operations)}\n")
        parts.append("| operation | changes something | unsigned calls |\n|---|---|---|")
        parts.extend(
            f"| {operation} | {'yes' if entry.writes else ''} | {'yes' if entry.anonymous else ''} |"
            for operation, entry in sorted(operations.items())
        )
        parts.append("")
    return "\n".join(parts)


PAGES = {
    "configuration.md": configuration_page,
    "commands.md": commands_page,
    "operations.md": operations_page,
}


def main(folder: str) -> None:
    """Write every page into ``folder``."""
    for name, make in PAGES.items():
        Path(folder, name).write_text(make(), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
