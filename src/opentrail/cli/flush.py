"""``opentrail flush``: deliver now."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from opentrail.cli.options import add_settings, read_settings, require_data
from opentrail.server.control import call_server

EXAMPLES = """\
examples:
  opentrail flush                                 log files of all that was answered so far
  opentrail flush --digest --data-dir /var/lib/opentrail
  opentrail flush --digest --json

exit codes: 0 all is delivered, 1 something waits for its bucket, 2 nothing could be done
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--digest", action="store_true", help="write a digest file for each trail as well")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_settings(parser, ("data_dir", "object_store", "state_url", "key_passphrase_file"))


def run(arguments: argparse.Namespace) -> int:
    """Ask the server that runs on the data folder, or deliver from here where none does."""
    settings = read_settings(arguments)
    require_data(settings)
    answer: Mapping[str, Any] | None = call_server(settings.data_dir, {"command": "flush", "digest": arguments.digest})
    if answer is None:
        from opentrail.server.runtime import open_runtime  # noqa: PLC0415  only without a server

        with open_runtime(settings) as runtime:
            answer = runtime.flush(digest=arguments.digest)
    if arguments.json:
        print(json.dumps(answer))
    else:
        waiting = answer["waiting"]
        print(f"{answer['delivered']} file{'' if answer['delivered'] == 1 else 's'} delivered, {waiting} waiting")
        if waiting:
            text = "what waits is kept and tried again; get-trail-status and the server's log say what is wrong"
            print(text, file=sys.stderr)
    return 1 if answer["waiting"] else 0
