"""Buckets: create, look at, list, remove; and what is the same for every bucket (ACL, ownership, versioning).

Any region's endpoint serves a bucket of any region: there is one endpoint, so nobody is sent elsewhere.
Source: Amazon S3 API reference, the operations of these names.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from opentrail.core.errors import ServiceFault
from opentrail.core.wire.calls import ApiCall
from opentrail.services.s3.deps import S3Deps
from opentrail.services.s3.faults import invalid_argument, not_implemented
from opentrail.services.s3.names import bucket_arn, canonical_id, check_bucket_name, upload_prefix
from opentrail.services.s3.objects import owner_acl
from opentrail.services.s3.requests import refuse_unsupported, require_bucket
from opentrail.services.s3.tags import BUCKET_TAGS, parse_tag_set
from opentrail.state.buckets import Bucket

HOME = "us-east-1"  # the region without a location constraint
MAX_BUCKETS = 10_000

_REGION = re.compile(r"[a-z]{2,}(?:-[a-z]+)+-[0-9]+")


def create_bucket(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """CreateBucket."""
    parameters = call.parameters
    name = parameters["Bucket"]
    refuse_unsupported(call)
    check_bucket_name(name)
    _check_settings(parameters)
    configuration = parameters.get("CreateBucketConfiguration") or {}
    bucket = Bucket(
        name=name,
        owner=call.account_id,
        region=_location(call.region, configuration),
        created=call.now,
        tags=parse_tag_set(configuration.get("Tags") or (), BUCKET_TAGS),
    )
    existing = deps.buckets.create(bucket)
    if existing is not None and existing.owner != call.account_id:
        message = (
            "The requested bucket name is not available. The bucket namespace is shared by all users of the system. "
            "Please select a different name and try again."
        )
        raise ServiceFault("BucketAlreadyExists", message, status=409, fields={"BucketName": name})
    if existing is not None and not (existing.region == HOME and call.region == HOME):  # there it succeeds again
        message = "Your previous request to create the named bucket succeeded and you already own it."
        raise ServiceFault("BucketAlreadyOwnedByYou", message, status=409, fields={"BucketName": name})
    return {"Location": f"/{name}", "BucketArn": bucket_arn(name)}


def head_bucket(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """HeadBucket."""
    bucket = require_bucket(call, deps)
    return {"BucketArn": bucket_arn(bucket.name), "BucketRegion": bucket.region, "AccessPointAlias": False}


def delete_bucket(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """DeleteBucket: of an empty bucket; unfinished uploads go with it.

    Writers are kept out while the bucket is looked through; those that were on their last step are waited for.
    """
    bucket = require_bucket(call, deps)
    with deps.buckets.closing(bucket.name) as first:
        if not first:
            message = "A conflicting conditional operation is currently in progress against this resource."
            raise ServiceFault("OperationAborted", message, status=409)
        deps.locks.wait_for_all()
        if next(deps.store.list(bucket.name + "/"), None) is not None:
            message = "The bucket you tried to delete is not empty"
            raise ServiceFault("BucketNotEmpty", message, status=409, fields={"BucketName": bucket.name})
        uploads = deps.buckets.uploads_of(bucket.name)
        deps.buckets.delete(bucket.name)
    for upload in uploads:
        for part in list(deps.store.list(upload_prefix(upload.upload_id))):
            deps.store.delete(part.key)
    return {}


def list_buckets(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """ListBuckets, in pages where the call asks for them."""
    parameters = call.parameters
    limit = parameters.get("MaxBuckets", MAX_BUCKETS)
    if not 1 <= limit <= MAX_BUCKETS:
        raise invalid_argument(f"Argument max-buckets must be between 1 and {MAX_BUCKETS}", "max-buckets", limit)
    prefix, region = parameters.get("Prefix", ""), parameters.get("BucketRegion")
    after = decode_token(parameters["ContinuationToken"]) if "ContinuationToken" in parameters else ""
    found = [
        bucket
        for bucket in deps.buckets.owned_by(call.account_id)
        if bucket.name > after and bucket.name.startswith(prefix) and region in (None, bucket.region)
    ]
    result: dict[str, Any] = {
        "Buckets": [_listed(bucket, paged="MaxBuckets" in parameters) for bucket in found[:limit]],
        "Owner": {"ID": canonical_id(call.account_id)},
    }
    if len(found) > limit:
        result["ContinuationToken"] = encode_token(found[limit - 1].name)
    if prefix:
        result["Prefix"] = prefix
    return result


def get_bucket_location(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """GetBucketLocation: nothing for us-east-1."""
    bucket = require_bucket(call, deps)
    return {} if bucket.region == HOME else {"LocationConstraint": bucket.region}


def get_bucket_acl(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """GetBucketAcl: the owner has full control, and there are no other grants."""
    return owner_acl(require_bucket(call, deps).owner)


def get_bucket_ownership_controls(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """GetBucketOwnershipControls: always enforced."""
    require_bucket(call, deps)
    return {"OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}}


def get_bucket_versioning(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """GetBucketVersioning: never enabled, which S3 says by saying nothing."""
    require_bucket(call, deps)
    return {}


def encode_token(text: str) -> str:
    """A continuation token for what comes after ``text``."""
    return base64.urlsafe_b64encode(text.encode()).decode()


def decode_token(token: str) -> str:
    """The text of a token.  Raises ``ServiceFault`` InvalidArgument."""
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        message = "The continuation token provided is incorrect"
        raise invalid_argument(message, "continuation-token", token) from None


def _listed(bucket: Bucket, *, paged: bool) -> dict[str, Any]:
    listed: dict[str, Any] = {"Name": bucket.name, "CreationDate": bucket.created}
    return listed | {"BucketRegion": bucket.region, "BucketArn": bucket_arn(bucket.name)} if paged else listed


def _check_settings(parameters: Mapping[str, Any]) -> None:
    if parameters.get("ObjectLockEnabledForBucket"):
        raise not_implemented("x-amz-bucket-object-lock-enabled")
    if parameters.get("ObjectOwnership", "BucketOwnerEnforced") != "BucketOwnerEnforced":
        raise not_implemented("x-amz-object-ownership")
    grants = [name for name in parameters if name.startswith("Grant")]
    if parameters.get("ACL", "private") != "private" or grants:
        message = "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting"
        raise ServiceFault("InvalidBucketAclWithObjectOwnership", message)
    configuration = parameters.get("CreateBucketConfiguration") or {}
    for name in ("Location", "Bucket"):
        if name in configuration:
            raise not_implemented(f"CreateBucketConfiguration.{name}")


def _location(region: str, configuration: Mapping[str, Any]) -> str:
    """The region of a new bucket: the constraint and the endpoint's region must agree, but for us-east-1."""
    constraint = configuration.get("LocationConstraint")
    if constraint is None:
        if region in (HOME, "aws-global", ""):
            return HOME
        message = (
            "The unspecified location constraint is incompatible for the region specific endpoint this request was "
            "sent to."
        )
        raise ServiceFault("IllegalLocationConstraintException", message)
    wanted = "eu-west-1" if constraint == "EU" else str(constraint)
    if wanted == HOME or not _REGION.fullmatch(wanted):
        fields = {"LocationConstraint": str(constraint)}
        raise ServiceFault("InvalidLocationConstraint", "The specified location-constraint is not valid", fields=fields)
    if region not in (HOME, "aws-global", "", wanted):
        message = (
            f"The {constraint} location constraint is incompatible for the region specific endpoint this request was "
            "sent to."
        )
        raise ServiceFault("IllegalLocationConstraintException", message)
    return wanted
