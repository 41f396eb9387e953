"""``opentrail keys``: the keys that sign digests."""

from __future__ import annotations

import argparse
import base64
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from opentrail.cli.options import add_settings, read_settings, require_data
from opentrail.core.arn import is_region
from opentrail.core.errors import ConfigError
from opentrail.core.public_keys import PublicKey, encode_public_keys
from opentrail.server.control import call_server
from opentrail.verification.public_keys_file import FIRST_KEYS, KeyQuestion, ask_public_keys, write_public_keys

EXAMPLES = """\
examples:
  opentrail keys list
  opentrail keys list --json --data-dir /var/lib/opentrail
  opentrail keys rotate --region eu-central-1
  opentrail keys export -o keys.json                  of this installation, for `opentrail verify --public-keys`
  opentrail keys export -o keys.json --from-aws --region eu-west-1,us-east-1      of these regions of AWS
  opentrail keys export -o keys.json --endpoint-url https://opentrail.example:4577 --region eu-west-1
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "action",
        choices=("list", "rotate", "export"),
        help="show the keys, begin to sign with a new one, or write the public keys into a file",
    )
    parser.add_argument(
        "--region", metavar="NAME,...", help="only these regions' keys (default: of every region that has keys)"
    )
    parser.add_argument("--json", action="store_true", help="print the keys as JSON")
    parser.add_argument("-o", "--output", metavar="FILE", help="export: the file to write (default: standard output)")
    parser.add_argument(
        "--from-aws", action="store_true", help="export: ask CloudTrail's endpoint, with the usual AWS configuration"
    )
    parser.add_argument("--endpoint-url", metavar="URL", help="export: the same, at this endpoint")
    parser.add_argument("--profile", metavar="NAME", help="export: the same, with this profile of it")
    add_settings(parser, ("data_dir", "object_store", "state_url", "key_passphrase_file"))


def run(arguments: argparse.Namespace) -> int:
    """List, rotate or export."""
    if arguments.action == "export" and (arguments.from_aws or arguments.endpoint_url or arguments.profile):
        _export(_ask_endpoint(arguments), arguments.output)
        return 0
    settings = read_settings(arguments)
    try:
        require_data(settings)
    except ConfigError as error:
        if arguments.action != "export":
            raise
        raise ConfigError(
            f"{error}; for the keys of another CloudTrail give --from-aws, --endpoint-url or --profile"
        ) from None
    command = "keys-rotate" if arguments.action == "rotate" else "keys-list"
    request: dict[str, Any] = {"command": command, "regions": _listed(arguments.region)}
    answer = call_server(settings.data_dir, request)
    if answer is None:
        from opentrail.server.runtime import open_runtime  # noqa: PLC0415  only without a server

        with open_runtime(settings) as runtime:
            answer = dict(runtime.commands()[request["command"]](request))
    keys: list[dict[str, Any]] = answer["keys"]
    if arguments.action == "export":
        _export([_public_key(key) for key in keys], arguments.output)
        return 0
    if arguments.json:
        print(json.dumps({"keys": keys}, indent=2))
        return 0
    print(f"{'REGION':16} {'FINGERPRINT':34} {'VALID FROM':21} {'VALID UNTIL':21} SIGNS")
    for key in keys:
        start, end = (_short(key[name]) for name in ("validity_start", "validity_end"))
        print(f"{key['region']:16} {key['fingerprint']:34} {start:21} {end:21} {'yes' if key['signs'] else 'no'}")
    return 0


def _export(keys: Sequence[PublicKey], output: str | None) -> None:
    if not keys:
        raise ConfigError("there is no public key yet: the first digest of a region makes one; nothing was written")
    if output is None:
        print(encode_public_keys(keys).decode(), end="")
    else:
        write_public_keys(Path(output), keys)


def _public_key(row: dict[str, Any]) -> PublicKey:
    return PublicKey(
        value=base64.b64decode(row["value"]),
        fingerprint=row["fingerprint"],
        validity_start=datetime.fromisoformat(row["validity_start"]),
        validity_end=datetime.fromisoformat(row["validity_end"]),
    )


def _ask_endpoint(arguments: argparse.Namespace) -> Sequence[PublicKey]:
    region = arguments.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    regions = _listed(region)
    if not regions:
        raise ConfigError("--region: name the region whose keys are wanted; each has its own")
    for name in regions:
        if not is_region(name):
            raise ConfigError(f"--region: a region is expected, such as eu-west-1, not {name!r}")
    now = datetime.now(UTC)
    question = KeyQuestion(
        endpoint_url=arguments.endpoint_url or "",
        profile=arguments.profile or "",
        regions=regions,
        start=FIRST_KEYS,
        end=now,
    )
    return ask_public_keys(question, now=now, cache=None)


def _listed(regions: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (regions or "").split(",") if name.strip())


def _short(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%dT%H:%M:%SZ}"
