"""``opentrail keys``: the keys that sign digests."""

from __future__ import annotations

import argparse
import json
from datetime import datetime
from typing import Any

from opentrail.cli.options import add_settings, read_settings, require_data
from opentrail.server.control import call_server

EXAMPLES = """\
examples:
  opentrail keys list
  opentrail keys list --json --data-dir /var/lib/opentrail
  opentrail keys rotate --region eu-central-1
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("action", choices=("list", "rotate"), help="show the keys, or begin to sign with a new one")
    parser.add_argument("--region", help="only this region's keys (default: every region that has keys)")
    parser.add_argument("--json", action="store_true", help="print the keys as JSON")
    add_settings(parser, ("data_dir", "object_store", "state_url", "key_passphrase_file"))


def run(arguments: argparse.Namespace) -> int:
    """List or rotate."""
    settings = read_settings(arguments)
    require_data(settings)
    request = {"command": f"keys-{arguments.action}", "region": arguments.region or ""}
    answer = call_server(settings.data_dir, request)
    if answer is None:
        from opentrail.server.runtime import open_runtime  # noqa: PLC0415  only without a server

        with open_runtime(settings) as runtime:
            answer = dict(runtime.commands()[request["command"]](request))
    keys: list[dict[str, Any]] = answer["keys"]
    if arguments.json:
        print(json.dumps({"keys": keys}, indent=2))
        return 0
    print(f"{'REGION':16} {'FINGERPRINT':34} {'VALID FROM':21} {'VALID UNTIL':21} SIGNS")
    for key in keys:
        start, end = (_short(key[name]) for name in ("validity_start", "validity_end"))
        print(f"{key['region']:16} {key['fingerprint']:34} {start:21} {end:21} {'yes' if key['signs'] else 'no'}")
    return 0


def _short(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%dT%H:%M:%SZ}"
