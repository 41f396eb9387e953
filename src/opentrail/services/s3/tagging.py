"""Tags of buckets and of objects, by operations of their own.

An object's tags are part of its metadata; changing them leaves its data, its etag and its time as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentrail.core.errors import ServiceFault
from opentrail.core.wire.calls import ApiCall
from opentrail.services.s3.deps import S3Deps
from opentrail.services.s3.faults import no_such_bucket
from opentrail.services.s3.names import store_key
from opentrail.services.s3.object_metadata import ETAG, TAGGING, tags_of
from opentrail.services.s3.objects import find_or_refuse
from opentrail.services.s3.requests import require_bucket
from opentrail.services.s3.tags import BUCKET_TAGS, OBJECT_TAGS, format_tags, parse_tag_set, tag_members
from opentrail.services.s3.writing import check_open


def get_bucket_tagging(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """GetBucketTagging."""
    bucket = require_bucket(call, deps)
    if not bucket.tags:
        fields = {"BucketName": bucket.name}
        raise ServiceFault("NoSuchTagSet", "The TagSet does not exist", status=404, fields=fields)
    return {"TagSet": tag_members(bucket.tags)}


def put_bucket_tagging(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """PutBucketTagging."""
    return _tag_bucket(call, deps, parse_tag_set(call.parameters["Tagging"].get("TagSet") or (), BUCKET_TAGS))


def delete_bucket_tagging(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """DeleteBucketTagging."""
    return _tag_bucket(call, deps, {})


def get_object_tagging(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """GetObjectTagging."""
    require_bucket(call, deps)
    info = find_or_refuse(call, deps, call.parameters["Key"])
    return {"TagSet": tag_members(tags_of(info.metadata))}


def put_object_tagging(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """PutObjectTagging."""
    return _tag_object(call, deps, parse_tag_set(call.parameters["Tagging"].get("TagSet") or (), OBJECT_TAGS))


def delete_object_tagging(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """DeleteObjectTagging."""
    return _tag_object(call, deps, {})


def _tag_bucket(call: ApiCall, deps: S3Deps, tags: Mapping[str, str]) -> Mapping[str, Any]:
    bucket = require_bucket(call, deps)
    if deps.buckets.change(bucket.name, tags=tags) is None:
        raise no_such_bucket(bucket.name)
    return {}


def _tag_object(call: ApiCall, deps: S3Deps, tags: Mapping[str, str]) -> Mapping[str, Any]:
    bucket = require_bucket(call, deps)
    key = store_key(bucket.name, call.parameters["Key"])
    with deps.locks.of(key):
        check_open(deps, bucket.name)
        info = find_or_refuse(call, deps, call.parameters["Key"])
        metadata = {name: value for name, value in info.metadata.items() if name != TAGGING} | {ETAG: info.etag}
        if tags:
            metadata[TAGGING] = format_tags(tags)
        deps.store.replace_metadata(key, metadata)
    return {}
