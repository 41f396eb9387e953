"""Bucket policies and the public access block.

Source: Amazon S3 API reference; user guide, "Blocking public access to your Amazon S3 storage".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from opentrail.core.errors import FormatError, ServiceFault
from opentrail.core.policy import malformed_bucket_policy, parse_bucket_policy, pin_principals, unpin_principals
from opentrail.core.wire.calls import ApiCall
from opentrail.services.s3.deps import S3Deps
from opentrail.services.s3.faults import access_denied, malformed_xml, no_such_bucket
from opentrail.services.s3.names import bucket_arn
from opentrail.services.s3.permissions import is_public_policy
from opentrail.services.s3.requests import require_bucket
from opentrail.state.buckets import Bucket, PublicAccessBlock

POLICY_LIMIT_BYTES = 20 * 1024

#: Member and field of the public access block.
_SETTINGS = {
    "BlockPublicAcls": "block_public_acls",
    "IgnorePublicAcls": "ignore_public_acls",
    "BlockPublicPolicy": "block_public_policy",
    "RestrictPublicBuckets": "restrict_public_buckets",
}


def put_bucket_policy(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """PutBucketPolicy."""
    bucket = _owned_bucket(call, deps)
    policy = call.parameters.get("Policy") or ""
    if len(policy.encode("utf-8", "replace")) > POLICY_LIMIT_BYTES:
        raise ServiceFault("MalformedPolicy", "Policy exceeds the maximum allowed document size.")
    parse_bucket_policy(policy, bucket.name)
    block = bucket.public_access_block
    if block is not None and block.block_public_policy and is_public_policy(policy, bucket.name):
        message = (
            f"User: {call.identity.arn} is not authorized to perform: s3:PutBucketPolicy on resource: "
            f'"{bucket_arn(bucket.name)}" because public policies are prevented by the BlockPublicPolicy setting in S3 '
            "Block Public Access."
        )
        raise access_denied(message)
    try:
        pinned = pin_principals(policy, deps.unique_id_of)
    except FormatError as error:
        raise malformed_bucket_policy(str(error)) from None
    _change(deps, bucket, policy=pinned)
    return {}


def get_bucket_policy(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """GetBucketPolicy: the text as it was put, users and roles by the ARNs that they have now."""
    return {"Policy": unpin_principals(_policy(_owned_bucket(call, deps)), deps.arn_of)}


def delete_bucket_policy(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """DeleteBucketPolicy; no policy is no error."""
    _change(deps, _owned_bucket(call, deps), policy=None)
    return {}


def get_bucket_policy_status(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """GetBucketPolicyStatus."""
    bucket = require_bucket(call, deps)
    return {"PolicyStatus": {"IsPublic": is_public_policy(_policy(bucket), bucket.name)}}


def put_public_access_block(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """PutPublicAccessBlock: a setting that is left out is off."""
    bucket = require_bucket(call, deps)
    given = call.parameters.get("PublicAccessBlockConfiguration")
    if not isinstance(given, Mapping):
        raise malformed_xml()
    settings = {field: bool(given.get(member)) for member, field in _SETTINGS.items()}
    _change(deps, bucket, public_access_block=replace(PublicAccessBlock(), **settings))
    return {}


def get_public_access_block(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """GetPublicAccessBlock."""
    bucket = require_bucket(call, deps)
    block = bucket.public_access_block
    if block is None:
        message = "The public access block configuration was not found"
        fields = {"BucketName": bucket.name}
        raise ServiceFault("NoSuchPublicAccessBlockConfiguration", message, status=404, fields=fields)
    return {"PublicAccessBlockConfiguration": {member: getattr(block, field) for member, field in _SETTINGS.items()}}


def delete_public_access_block(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """DeletePublicAccessBlock."""
    _change(deps, require_bucket(call, deps), public_access_block=None)
    return {}


def _owned_bucket(call: ApiCall, deps: S3Deps) -> Bucket:
    """The bucket, to an identity of its owner's account alone, whatever the policy grants to others."""
    bucket = require_bucket(call, deps)
    if call.account_id != bucket.owner:
        message = "The specified method is not allowed against this resource."
        raise ServiceFault("MethodNotAllowed", message, status=405)
    return bucket


def _policy(bucket: Bucket) -> str:
    if bucket.policy is None:
        message = "The bucket policy does not exist"
        raise ServiceFault("NoSuchBucketPolicy", message, status=404, fields={"BucketName": bucket.name})
    return bucket.policy


def _change(deps: S3Deps, bucket: Bucket, **changes: Any) -> None:
    if deps.buckets.change(bucket.name, **changes) is None:
        raise no_such_bucket(bucket.name)
