"""CopyObject, and the source of UploadPartCopy.

The object is copied with its metadata unless told otherwise, always under a new checksum of the whole and a new etag.
Source: Amazon S3 API reference, CopyObject.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opentrail.core.checksums import FULL_OBJECT
from opentrail.core.errors import NoSuchObject
from opentrail.core.wire.calls import ApiCall
from opentrail.services.s3.checksums import DEFAULT, add_checksum, algorithm_named, summed
from opentrail.services.s3.conditions import check_copy_source, check_write_headers
from opentrail.services.s3.deps import S3Deps
from opentrail.services.s3.faults import access_denied, invalid_argument, invalid_request
from opentrail.services.s3.names import store_key
from opentrail.services.s3.object_metadata import (
    CHECKSUM_TYPE,
    TAGGING,
    checksum_members,
    checksum_of,
    new_metadata,
    without_state,
)
from opentrail.services.s3.objects import MAX_PUT_BYTES, missing_key
from opentrail.services.s3.requests import check_object_settings, find_bucket, require_bucket
from opentrail.services.s3.sources import parse_copy_source
from opentrail.services.s3.writing import store_object
from opentrail.stores.base import StoredObject, UnusableKey


def copy_object(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """CopyObject."""
    parameters = call.parameters
    require_bucket(call, deps)
    check_object_settings(call)
    check_write_headers(parameters)
    replaces = _directive(parameters, "MetadataDirective", "x-amz-metadata-directive")
    replaces_tags = _directive(parameters, "TaggingDirective", "x-amz-tagging-directive")
    source = parse_copy_source(parameters["CopySource"])
    if (source.bucket, source.key) == (parameters["Bucket"], parameters["Key"]) and not replaces:
        raise invalid_request(
            "This copy request is illegal because it is trying to copy an object to itself without changing the "
            "object's metadata, storage class, website redirect location or encryption attributes."
        )
    stored = open_source(call, deps)
    if stored.info.size > MAX_PUT_BYTES:
        message = "The specified copy source is larger than the maximum allowable size for a copy source: "
        raise invalid_request(f"{message}{MAX_PUT_BYTES}")
    metadata = _metadata(call, stored, replaces=replaces, replaces_tags=replaces_tags)
    data = _with_checksum(call, stored, metadata)
    info = store_object(deps, store_key(parameters["Bucket"], parameters["Key"]), data, metadata, target=parameters)
    result = {"ETag": f'"{info.etag}"', "LastModified": info.last_modified} | checksum_members(metadata)
    return {"CopyObjectResult": result}


def open_source(call: ApiCall, deps: S3Deps, *, start: int = 0, end: int | None = None) -> StoredObject:
    """The object that the call copies from, if the call's conditions let it.

    Raises ``ServiceFault`` NoSuchBucket, NoSuchKey, AccessDenied or PreconditionFailed.
    """
    source = parse_copy_source(call.parameters["CopySource"])
    bucket = find_bucket(deps, source.bucket)
    expected = call.parameters.get("ExpectedSourceBucketOwner")
    if expected is not None and expected != bucket.owner:
        raise access_denied()
    try:
        stored = deps.store.get(store_key(source.bucket, source.key), start=start, end=end)
    except (NoSuchObject, UnusableKey):
        raise missing_key(call, deps, source.bucket, source.key) from None
    check_copy_source(call.parameters, stored.info)
    return stored


def _directive(parameters: Mapping[str, Any], name: str, header: str) -> bool:
    """Whether a directive says REPLACE."""
    value = parameters.get(name, "COPY")
    if value not in ("COPY", "REPLACE"):
        raise invalid_argument(f"Unknown {name[:-9].lower()} directive.", header, value)
    return bool(value == "REPLACE")


def _metadata(call: ApiCall, stored: StoredObject, *, replaces: bool, replaces_tags: bool) -> dict[str, str]:
    kept = without_state(stored.info.metadata)
    tags = kept.pop(TAGGING, None)
    given = new_metadata(call)
    given_tags = given.pop(TAGGING, None)
    metadata = given if replaces else kept
    tags = given_tags if replaces_tags else tags
    if tags is not None:
        metadata[TAGGING] = tags
    return metadata


def _with_checksum(call: ApiCall, stored: StoredObject, metadata: dict[str, str]) -> Iterator[bytes]:
    """The data; their checksum is the source's where that is of the whole and of the wanted kind, else a new one."""
    found = checksum_of(stored.info.metadata)
    named = call.parameters.get("ChecksumAlgorithm")
    algorithm = algorithm_named(named) if named else found[0] if found else DEFAULT
    whole = stored.info.metadata.get(CHECKSUM_TYPE, FULL_OBJECT) == FULL_OBJECT
    if found is not None and found[0] is algorithm and whole:
        add_checksum(metadata, algorithm, found[1])
        return stored.chunks
    return summed(stored.chunks, algorithm, metadata)
