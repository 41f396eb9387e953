"""``opentrail account``: the accounts of this installation, each with root credentials of its own."""

from __future__ import annotations

import argparse
import json
from datetime import datetime
from pathlib import Path
from typing import Any

from opentrail.cli.options import add_settings, read_settings, require_data
from opentrail.core.errors import ConfigError
from opentrail.server.control import call_server

EXAMPLES = """\
examples:
  opentrail account create audit                  its root credentials become the profile [audit] of DATA/credentials
  opentrail account create audit --email audit@example.com --credentials ~/.aws/credentials
  opentrail account list
  opentrail account show audit --json
  opentrail account close 123456789012            its keys and sessions stop working at once, for good

`create` given again after it was interrupted goes on from there.  What a closed account did stays where it was
delivered.

exit codes: 0 done, 2 it could not be done
"""

_LABELS = (
    ("account", "account_id"),
    ("name", "name"),
    ("e-mail", "email"),
    ("status", "status"),
    ("created", "created"),
    ("organization", "organization_id"),
    ("managed by", "management_account_id"),
    ("path", "organization_path"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "action", choices=("create", "list", "show", "close"), help="make an account, show all or one, or close one"
    )
    parser.add_argument(
        "account", nargs="?", metavar="ACCOUNT", help="create: the new account's name; show, close: its name or ID"
    )
    parser.add_argument("--account-id", metavar="ID", help="create: 12 digits (default: drawn at random)")
    parser.add_argument("--email", metavar="ADDRESS", help="create: by which Organizations may invite the account")
    parser.add_argument(
        "--credentials",
        metavar="FILE",
        help="create: AWS credentials file that gets the profile (default: credentials in the data folder)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_settings(parser, ("data_dir", "object_store", "state_url", "key_passphrase_file"))


def run(arguments: argparse.Namespace) -> int:
    """Create, list, show or close."""
    request = _request(arguments)
    settings = read_settings(arguments)
    require_data(settings)
    answer = call_server(settings.data_dir, request)
    if answer is None:
        from opentrail.server.runtime import open_runtime  # noqa: PLC0415  only without a server

        with open_runtime(settings) as runtime:
            answer = dict(runtime.commands()[request["command"]](request))
    if arguments.json:
        print(json.dumps(answer, indent=2))
    elif arguments.action == "list":
        _print_table(answer["accounts"])
    elif arguments.action == "create":
        _print_created(answer)
    else:
        _print_account(answer["account"])
    return 0


def _request(arguments: argparse.Namespace) -> dict[str, str]:
    """What the server is asked.  Raises ``ConfigError`` for options that do not go together."""
    action = arguments.action
    if (arguments.account is None) is not (action == "list"):
        raise ConfigError("`list` takes no ACCOUNT" if action == "list" else f"`{action}` needs an ACCOUNT")
    options = {name: getattr(arguments, name) for name in ("account_id", "email", "credentials")}
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]
    if given and action != "create":
        raise ConfigError(f"{', '.join(given)}: of use to `create` alone")
    if action != "create":
        return {"command": f"account-{action}", "account": arguments.account or ""}
    path = str(Path(arguments.credentials).absolute()) if arguments.credentials else ""
    return {
        "command": "account-create",
        "name": arguments.account,
        "account_id": arguments.account_id or "",
        "email": arguments.email or "",
        "credentials": path,
    }


def _print_created(answer: dict[str, Any]) -> None:
    account = answer["account"]
    print(f"made account {account['account_id']} ({account['name']})")
    print(f"its root credentials are the profile [{answer['profile']}] in {answer['credentials']}")


def _print_table(accounts: list[dict[str, Any]]) -> None:
    print(f"{'ACCOUNT':14} {'STATUS':10} {'CREATED':21} {'ORGANIZATION':14} NAME")
    for each in accounts:
        organization = each["organization_id"] or "-"
        print(
            f"{each['account_id']:14} {each['status']:10} {_short(each['created']):21} {organization:14} {each['name']}"
        )


def _print_account(account: dict[str, Any]) -> None:
    shown = {**account, "created": _short(account["created"])}
    for label, name in _LABELS:
        if shown[name]:
            print(f"{label + ':':14} {shown[name]}")
    print(f"{'root keys:':14} {', '.join(account['root_access_keys']) or 'none'}")


def _short(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%dT%H:%M:%SZ}"
