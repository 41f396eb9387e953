"""``opentrail bucket-policy``: the policy that a bucket needs to take trails' files."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from opentrail.core.errors import ConfigError, ServiceFault
from opentrail.core.policy.log_bucket_policy import (
    MAX_BUCKET_POLICY_BYTES,
    RecordedOrganization,
    log_bucket_policy,
)
from opentrail.core.trails import check_bucket_name, check_prefix, parse_trail_arn

EXAMPLES = """\
examples:
  opentrail bucket-policy --bucket logs --account 111111111111 --account 222222222222 > policy.json
  aws s3api put-bucket-policy --bucket logs --policy file://policy.json
  opentrail bucket-policy --bucket logs --organization o-a1b2c3d4e5 --management-account 111111111111
  opentrail bucket-policy --bucket logs --account 111111111111 --prefix audit \\
    --trail-arn arn:aws:cloudtrail:eu-central-1:111111111111:trail/main
"""

_ACCOUNT_ID = re.compile(r"[0-9]{12}")
_ORGANIZATION_ID = re.compile(r"o-[a-z0-9]{10,32}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--bucket", required=True, help="the bucket's name")
    parser.add_argument(
        "--account", action="append", default=[], metavar="ID", help="an account whose trails deliver; may be repeated"
    )
    parser.add_argument("--prefix", default="", help="the trails' S3KeyPrefix (default: none)")
    parser.add_argument("--organization", default="", metavar="ID", help="an organization (o-...) whose trails deliver")
    parser.add_argument("--management-account", default="", metavar="ID", help="the organization's management account")
    parser.add_argument(
        "--trail-arn",
        action="append",
        default=[],
        metavar="ARN",
        help="allow no other trails than those named (aws:SourceArn); may be repeated",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the policy."""
    accounts: list[str] = arguments.account
    _refuse_fault("--bucket", check_bucket_name, arguments.bucket)
    _refuse_fault("--prefix", check_prefix, arguments.prefix)
    for account_id in accounts:
        _check_form("--account", account_id, _ACCOUNT_ID, "12 digits")
    organization = _read_organization(arguments)
    if not accounts and organization is None:
        raise ConfigError("name at least one --account, or an --organization")
    owners = {*accounts, *([organization.management_account_id] if organization else [])}
    _check_trails(arguments.trail_arn, owners)
    policy = log_bucket_policy(
        arguments.bucket,
        account_ids=accounts,
        prefix=arguments.prefix,
        organization=organization,
        trail_arns=arguments.trail_arn,
    )
    print(_format(policy))
    return 0


def _format(policy: dict[str, Any]) -> str:
    """The policy as text that S3 takes: for people, or without spaces where that would be too long."""
    text = json.dumps(policy, indent=2)
    if len(text) < MAX_BUCKET_POLICY_BYTES:
        return text
    text = json.dumps(policy, separators=(",", ":"))
    if len(text) < MAX_BUCKET_POLICY_BYTES:
        return text
    limit = MAX_BUCKET_POLICY_BYTES
    raise ConfigError(f"the policy has {len(text)} bytes, S3 takes {limit}: name fewer accounts, or an organization")


def _read_organization(arguments: argparse.Namespace) -> RecordedOrganization | None:
    if not arguments.organization and not arguments.management_account:
        return None
    if not arguments.organization or not arguments.management_account:
        raise ConfigError("--organization and --management-account belong together")
    _check_form("--organization", arguments.organization, _ORGANIZATION_ID, "o- and 10 to 32 letters and digits")
    _check_form("--management-account", arguments.management_account, _ACCOUNT_ID, "12 digits")
    return RecordedOrganization(
        organization_id=arguments.organization, management_account_id=arguments.management_account
    )


def _check_trails(trail_arns: Sequence[str], owners: set[str]) -> None:
    """Each trail belongs to an account that is named, and where trails are named, each account has one."""
    without = set(owners)
    for arn in trail_arns:
        _refuse_fault("--trail-arn", parse_trail_arn, arn)
        owner = parse_trail_arn(arn).account_id
        if owner not in owners:
            raise ConfigError(f"--trail-arn {arn}: account {owner} is not among those named")
        without.discard(owner)
    if trail_arns and without:
        raise ConfigError(f"--trail-arn: account {min(without)} is named, and none of its trails is")


def _check_form(option: str, value: str, form: re.Pattern[str], wanted: str) -> None:
    if form.fullmatch(value) is None:
        raise ConfigError(f"{option} {value!r}: {wanted} are expected")


def _refuse_fault(option: str, check: Callable[[str], object], value: str) -> None:
    try:
        check(value)
    except ServiceFault as fault:
        raise ConfigError(f"{option} {value!r}: {fault.message}") from None
