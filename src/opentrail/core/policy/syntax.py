"""What an Action and a Resource may look like, in the words of the service that refuses them.

Rules: each function raises ``FormatError`` with AWS's sentence, or returns.  IAM completes an ARN that leaves segments
out at its end, STS does not; IAM knows that its own resources and S3's have no region, and how its own begin.

Source: IAM user guide, "IAM JSON policy elements: Action", "...: Resource", "Amazon S3 bucket policies"; the sentences
are those that the services answer.
"""

from __future__ import annotations

import re

from opentrail.core.arn import PARTITIONS
from opentrail.core.errors import FormatError

NO_VENDOR = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."

_VENDOR = re.compile(r"[A-Za-z0-9.-]+")
_UNKNOWN_PARTITION = re.compile(r"[*?]|\$\{")
_IAM_PATHS = (
    "user/",
    "federated-user/",
    "role/",
    "group/",
    "instance-profile/",
    "mfa/",
    "server-certificate/",
    "policy/",
    "sms-mfa/",
    "saml-provider/",
    "oidc-provider/",
    "report/",
    "access-report/",
)


def check_action(action: str) -> None:
    """Refuse what is no action: ``*``, or ``vendor:Name`` with wildcards in the name."""
    if action == "*":
        return
    vendor, colon, name = action.partition(":")
    if not colon or not vendor or not name:
        raise FormatError(NO_VENDOR)
    if ":" in name:
        raise FormatError("Actions/Condition can contain only one colon.")
    if not _VENDOR.fullmatch(vendor):
        raise FormatError(f"Vendor {vendor} is not valid")


def check_trust_action(action: str) -> None:
    """Refuse what a role's trust policy cannot speak of."""
    check_action(action)
    if not action.lower().startswith("sts:"):
        raise FormatError("AssumeRole policy may only specify STS AssumeRole actions.")


def check_bucket_action(action: str) -> None:
    """Refuse what is no action of S3."""
    try:
        check_action(action)
    except FormatError:
        raise FormatError("Policy has invalid action") from None


def check_resource(resource: str) -> None:
    """Refuse what is no resource: ``*`` or an ARN with wildcards and variables."""
    if resource == "*":
        return
    parts = resource.split(":", 5)
    if parts[0] != "arn" or len(parts) < 2:
        raise FormatError(f'Resource {resource} must be in ARN format or "*".')
    partition, *rest = parts[1:]
    if partition not in PARTITIONS and not _UNKNOWN_PARTITION.search(partition):
        complete = ":".join([partition, *rest, *["*"] * (4 - len(rest))])
        raise FormatError(f'Partition "{partition}" is not valid for resource "arn:{complete}".')
    if not rest or "*" in rest[0] or "?" in rest[0]:
        raise FormatError("Resource vendor must be fully qualified and cannot contain regexes.")
    if not rest[0] or (len(rest) < 4 and "::" in resource):
        raise FormatError("The policy failed legacy parsing")
    vendor, region, _, path = [*rest, *["*"] * (4 - len(rest))]
    if vendor == "iam":
        _check_iam_resource(resource, region, path)
    elif vendor == "s3" and region and not path.startswith("accesspoint/"):
        raise FormatError(f"Resource {resource} can not contain region information.")


def _check_iam_resource(resource: str, region: str, path: str) -> None:
    if region:
        raise FormatError(f"IAM resource {resource} cannot contain region information.")
    if path != "*" and not path.startswith(_IAM_PATHS):
        raise FormatError(f'IAM resource path must either be "*" or start with {", ".join(_IAM_PATHS)}.')


def check_complete_resource(resource: str) -> None:
    """Refuse, for a session policy, also an ARN that leaves segments out."""
    check_resource(resource)
    if resource != "*" and resource.count(":") < 5:
        raise FormatError(f'Resource {resource} must be in ARN format or "*".')


def check_bucket_resource(resource: str) -> None:
    """Refuse what cannot be a bucket or an object."""
    try:
        check_resource(resource)
    except FormatError:
        raise FormatError("Policy has invalid resource") from None
