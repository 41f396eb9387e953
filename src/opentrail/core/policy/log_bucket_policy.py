"""The policy of a bucket that takes the log files of trails: of one account, of several, of an organization.

Rules (CloudTrail user guide, "Amazon S3 bucket policy for CloudTrail", "Setting bucket policy for multiple accounts",
"Creating a trail for an organization with the AWS CLI"):

* CloudTrail may look at the bucket's ACL, and put objects into the folder of each account that is named, one resource a
  line; of an organization, into the organization's folder and that of its management account, which a trail uses that
  stops being the organization's.
* Where trails are named, nothing is accepted on behalf of any other (``aws:SourceArn``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from opentrail.core.layout import account_prefix

MAX_BUCKET_POLICY_BYTES = 20 * 1024  # S3's limit

_PRINCIPAL = {"Service": "cloudtrail.amazonaws.com"}
_LITERAL = re.compile(r"[*?$]")  # what a policy would not take as itself


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedOrganization:
    """An organization whose trails deliver."""

    organization_id: str
    management_account_id: str


def log_bucket_policy(
    bucket: str,
    *,
    account_ids: Collection[str],
    prefix: str = "",
    organization: RecordedOrganization | None = None,
    trail_arns: Sequence[str] = (),
) -> dict[str, Any]:
    """The policy document for ``bucket`` (its name), into which trails with the S3KeyPrefix ``prefix`` deliver.

    ``account_ids`` are those of plain trails; ``trail_arns`` (none: any trail of theirs) are the only ones allowed.
    """
    accounts = dict.fromkeys(account_ids)
    if organization is not None:
        accounts = dict.fromkeys((organization.management_account_id, *account_ids))
    prefix = _LITERAL.sub(r"${\g<0>}", prefix)
    look = _statement("AWSCloudTrailAclCheck20150319", "s3:GetBucketAcl", [f"arn:aws:s3:::{bucket}"], {}, trail_arns)
    folders = [account_prefix(prefix=prefix, organization_id="", account_id=each) for each in accounts]
    statements = [look, _write("AWSCloudTrailWrite20150319", bucket, folders, trail_arns)]
    if organization is not None:
        folder = account_prefix(prefix=prefix, organization_id="", account_id=organization.organization_id)
        statements.append(_write("AWSCloudTrailOrganizationWrite20150319", bucket, [folder], trail_arns))
    return {"Version": "2012-10-17", "Statement": statements}


def _write(sid: str, bucket: str, folders: Sequence[str], trail_arns: Sequence[str]) -> dict[str, Any]:
    resources = [f"arn:aws:s3:::{bucket}/{folder}*" for folder in folders]
    return _statement(sid, "s3:PutObject", resources, {"s3:x-amz-acl": "bucket-owner-full-control"}, trail_arns)


def _statement(
    sid: str, action: str, resources: Sequence[str], equal: dict[str, Any], trail_arns: Sequence[str]
) -> dict[str, Any]:
    conditions = equal | ({"aws:SourceArn": _one_or_list(trail_arns)} if trail_arns else {})
    statement = {
        "Sid": sid,
        "Effect": "Allow",
        "Principal": _PRINCIPAL,
        "Action": action,
        "Resource": _one_or_list(resources),
    }
    return statement | ({"Condition": {"StringEquals": conditions}} if conditions else {})


def _one_or_list(values: Sequence[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else list(values)
