"""What each S3 operation needs to be allowed: actions, resources, and S3's own condition keys.

A bucket's policy speaks for its objects too.  With RestrictPublicBuckets, a public policy lets in nobody from another
account but AWS services (user guide, "Blocking public access to your Amazon S3 storage").  The root user of the owner's
account may always read, put and delete the policy, so that nobody locks himself out.

Source: Service authorization reference, "Actions, resources, and condition keys for Amazon S3".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

from opentrail.core.errors import ServiceFault
from opentrail.core.identity import IdentityType
from opentrail.core.policy import is_public, parse_bucket_policy
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import Permission
from opentrail.services.s3.deps import S3Deps, find_object
from opentrail.services.s3.names import bucket_arn, object_arn, store_key
from opentrail.services.s3.object_metadata import tags_of
from opentrail.services.s3.requests import find_bucket
from opentrail.services.s3.sources import parse_copy_source
from opentrail.services.s3.tags import parse_tag_header
from opentrail.state.buckets import Bucket

Permissions = Callable[[ApiCall, S3Deps], tuple[Permission, ...]]
LateKey = Callable[[str], list[str] | None]

_EXISTING_TAG = "s3:existingobjecttag/"

#: Parameter and the condition key that it is.
_CONDITION_KEYS = {
    "ACL": "s3:x-amz-acl",
    "CopySource": "s3:x-amz-copy-source",
    "Delimiter": "s3:delimiter",
    "IfMatch": "s3:if-match",
    "IfNoneMatch": "s3:if-none-match",
    "MaxKeys": "s3:max-keys",
    "MetadataDirective": "s3:x-amz-metadata-directive",
    "ObjectOwnership": "s3:x-amz-object-ownership",
    "Prefix": "s3:prefix",
    "ServerSideEncryption": "s3:x-amz-server-side-encryption",
    "StorageClass": "s3:x-amz-storage-class",
    "VersionId": "s3:versionid",
}

#: Actions on an object that have another name when the call names a version.
VERSIONED_ACTIONS = {
    "s3:DeleteObject": "s3:DeleteObjectVersion",
    "s3:DeleteObjectTagging": "s3:DeleteObjectVersionTagging",
    "s3:GetObject": "s3:GetObjectVersion",
    "s3:GetObjectAcl": "s3:GetObjectVersionAcl",
    "s3:GetObjectAttributes": "s3:GetObjectVersionAttributes",
    "s3:GetObjectTagging": "s3:GetObjectVersionTagging",
    "s3:PutObjectTagging": "s3:PutObjectVersionTagging",
}


def on_bucket(*actions: str) -> Permissions:
    """The permissions of an operation on its bucket."""

    def permissions(call: ApiCall, deps: S3Deps) -> tuple[Permission, ...]:
        bucket = find_bucket(deps, call.parameters["Bucket"])
        return tuple(bucket_permission(call, bucket, action) for action in actions)

    return permissions


def on_object(*actions: str) -> Permissions:
    """The permissions of an operation on its object."""

    def permissions(call: ApiCall, deps: S3Deps) -> tuple[Permission, ...]:
        bucket = find_bucket(deps, call.parameters["Bucket"])
        context = object_context(call)
        key, versioned = call.parameters["Key"], "VersionId" in call.parameters
        late = partial(_existing_tag, call.parameters["Bucket"], key, deps)
        return tuple(
            object_permission(
                call, bucket, VERSIONED_ACTIONS.get(each, each) if versioned else each, key, context, late=late
            )
            for each in actions
        )

    return permissions


def to_put(call: ApiCall, deps: S3Deps) -> tuple[Permission, ...]:
    """PutObject, CreateMultipartUpload and the target of a copy: tags need their own permission."""
    return (_PUT_WITH_TAGS if call.parameters.get("Tagging") else _PUT)(call, deps)


def to_copy(call: ApiCall, deps: S3Deps) -> tuple[Permission, ...]:
    """CopyObject and UploadPartCopy: reading the source, then writing the target."""
    source = parse_copy_source(call.parameters["CopySource"])
    bucket = find_bucket(deps, source.bucket)
    late = partial(_existing_tag, source.bucket, source.key, deps)
    reading = object_permission(call, bucket, "s3:GetObject", source.key, late=late)
    return (reading, *to_put(call, deps))


_PUT = on_object("s3:PutObject")
_PUT_WITH_TAGS = on_object("s3:PutObject", "s3:PutObjectTagging")


def to_create_bucket(call: ApiCall, _deps: S3Deps) -> tuple[Permission, ...]:
    """CreateBucket, in the caller's own account."""
    configuration = call.parameters.get("CreateBucketConfiguration") or {}
    context = _parameter_context(call.parameters)
    if configuration.get("LocationConstraint"):
        context["s3:locationconstraint"] = [configuration["LocationConstraint"]]
    return (Permission(action="s3:CreateBucket", resource=bucket_arn(call.parameters["Bucket"]), context=context),)


def to_list_buckets(_call: ApiCall, _deps: S3Deps) -> tuple[Permission, ...]:
    """ListBuckets."""
    return (Permission(action="s3:ListAllMyBuckets", resource="*"),)


def to_delete_many(call: ApiCall, deps: S3Deps) -> tuple[Permission, ...]:
    """DeleteObjects: nothing for the call as a whole; its handler asks for each key."""
    find_bucket(deps, call.parameters["Bucket"])
    return ()


def bucket_owner(call: ApiCall, deps: S3Deps) -> str:
    """The account that owns the bucket of the call."""
    return find_bucket(deps, call.parameters["Bucket"]).owner


def on_policy(action: str) -> Permissions:
    """The permission of an operation on the bucket's policy."""

    def permissions(call: ApiCall, deps: S3Deps) -> tuple[Permission, ...]:
        bucket = find_bucket(deps, call.parameters["Bucket"])
        identity = call.identity
        is_owner = identity.type is IdentityType.ROOT and identity.account_id == bucket.owner
        policy = None if is_owner else _effective_policy(call, bucket)
        return (_permission(bucket, action, bucket_arn(bucket.name), policy, {}),)

    return permissions


def bucket_permission(call: ApiCall, bucket: Bucket, action: str) -> Permission:
    """``action`` on ``bucket``."""
    policy = _effective_policy(call, bucket)
    return _permission(bucket, action, bucket_arn(bucket.name), policy, _parameter_context(call.parameters))


def object_permission(
    call: ApiCall,
    bucket: Bucket,
    action: str,
    key: str,
    context: Mapping[str, list[str]] | None = None,
    *,
    late: LateKey | None = None,
) -> Permission:
    """``action`` on the object ``key`` of ``bucket``."""
    policy = _effective_policy(call, bucket)
    return _permission(bucket, action, object_arn(bucket.name, key), policy, context or {}, late=late)


@lru_cache(maxsize=1024)
def is_public_policy(policy: str, bucket: str) -> bool:
    """Whether the bucket's policy is public; one that cannot be read any more counts as public."""
    try:
        return is_public(parse_bucket_policy(policy, bucket))
    except ServiceFault:
        return True


def _permission(
    bucket: Bucket,
    action: str,
    resource: str,
    policy: str | None,
    context: Mapping[str, list[str]],
    *,
    late: LateKey | None = None,
) -> Permission:
    return Permission(
        action=action,
        resource=resource,
        resource_account=bucket.owner,
        resource_policy=policy,
        context={**context, "s3:resourceaccount": [bucket.owner]},
        late=late,
    )


def _effective_policy(call: ApiCall, bucket: Bucket) -> str | None:
    policy, block = bucket.policy, bucket.public_access_block
    if policy is None or block is None or not block.restrict_public_buckets:
        return policy
    if call.identity.is_service or call.identity.account_id == bucket.owner:
        return policy
    return None if is_public_policy(policy, bucket.name) else policy


def _parameter_context(parameters: Mapping[str, Any]) -> dict[str, list[str]]:
    return {_CONDITION_KEYS[name]: [str(parameters[name])] for name in parameters.keys() & _CONDITION_KEYS.keys()}


def object_context(call: ApiCall) -> dict[str, list[str]]:
    """S3's condition keys that the parameters of ``call`` are."""
    parameters = call.parameters
    context = _parameter_context(parameters)
    if parameters.get("Tagging"):
        tags = _requested_tags(parameters["Tagging"])
        context["s3:requestobjecttagkeys"] = list(tags)
        context |= {f"s3:requestobjecttag/{name.lower()}": [value] for name, value in tags.items()}
    return context


def _requested_tags(tagging: Any) -> dict[str, str]:
    if isinstance(tagging, str):
        return parse_tag_header(tagging)
    return {str(tag.get("Key", "")): str(tag.get("Value", "")) for tag in tagging.get("TagSet") or ()}


def _existing_tag(bucket: str, key: str, deps: S3Deps, name: str) -> list[str] | None:
    """The value of the condition key ``name``, where it is a tag that the object has: a look into the store."""
    if not name.startswith(_EXISTING_TAG):
        return None
    info = find_object(deps, store_key(bucket, key))
    tags = {} if info is None else {tag.lower(): value for tag, value in tags_of(info.metadata).items()}
    value = tags.get(name.removeprefix(_EXISTING_TAG))
    return None if value is None else [value]
