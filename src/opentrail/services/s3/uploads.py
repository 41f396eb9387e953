"""ListParts and ListMultipartUploads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus

from opentrail.core.checksums import ALGORITHMS
from opentrail.core.wire.calls import ApiCall
from opentrail.services.s3.deps import S3Deps
from opentrail.services.s3.faults import invalid_argument
from opentrail.services.s3.multipart import find_upload
from opentrail.services.s3.names import canonical_id
from opentrail.services.s3.requests import require_bucket
from opentrail.state.buckets import Bucket, Upload

MAX_ENTRIES = 1000


def list_parts(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """ListParts."""
    parameters = call.parameters
    bucket = require_bucket(call, deps)
    upload = find_upload(call, deps)
    limit = _limit(parameters, "MaxParts", "max-parts")
    marker = int(parameters.get("PartNumberMarker") or 0)
    found = [part for part in deps.buckets.parts_of(upload.upload_id) if part.number > marker]
    checksum = ALGORITHMS[upload.checksum_algorithm].member if upload.checksum_algorithm else ""
    listed = [
        {"PartNumber": part.number, "LastModified": part.modified, "ETag": f'"{part.etag}"', "Size": part.size}
        | ({checksum: part.checksum} if checksum else {})
        for part in found[:limit]
    ]
    result: dict[str, Any] = {
        "Bucket": bucket.name,
        "Key": upload.key,
        "UploadId": upload.upload_id,
        "PartNumberMarker": marker,
        "NextPartNumberMarker": found[:limit][-1].number if found[:limit] else 0,
        "MaxParts": limit,
        "IsTruncated": len(found) > limit,
        "StorageClass": "STANDARD",
    }
    if listed:
        result["Parts"] = listed
    if checksum:
        result |= {"ChecksumAlgorithm": upload.checksum_algorithm, "ChecksumType": upload.checksum_type}
    return result | _people(upload, bucket)


def list_multipart_uploads(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """ListMultipartUploads."""
    parameters = call.parameters
    bucket = require_bucket(call, deps)
    limit = _limit(parameters, "MaxUploads", "max-uploads")
    prefix, delimiter = parameters.get("Prefix", ""), parameters.get("Delimiter", "")
    key_marker = parameters.get("KeyMarker", "")
    id_marker = parameters.get("UploadIdMarker", "") if key_marker else ""
    url = parameters.get("EncodingType") == "url"
    found = _after(deps.buckets.uploads_of(bucket.name), prefix, key_marker, id_marker)
    uploads: list[dict[str, Any]] = []
    prefixes: list[str] = []
    last_key = last_id = ""
    truncated = False
    for upload in found:
        at = upload.key.find(delimiter, len(prefix)) if delimiter else -1
        common = "" if at < 0 else upload.key[: at + len(delimiter)]
        if common and (common == key_marker or common in prefixes):
            continue
        if len(uploads) + len(prefixes) >= limit:
            truncated = True
            break
        if common:
            prefixes.append(common)
            last_key, last_id = common, ""
        else:
            uploads.append(_listed(upload, bucket, url=url))
            last_key, last_id = upload.key, upload.upload_id
    result: dict[str, Any] = {
        "Bucket": bucket.name,
        "KeyMarker": _name(key_marker, url=url),
        "UploadIdMarker": id_marker,
        "Prefix": _name(prefix, url=url),
        "MaxUploads": limit,
        "IsTruncated": truncated,
    }
    if delimiter:
        result["Delimiter"] = _name(delimiter, url=url)
    if url:
        result["EncodingType"] = "url"
    if uploads:
        result["Uploads"] = uploads
    if prefixes:
        result["CommonPrefixes"] = [{"Prefix": _name(each, url=url)} for each in prefixes]
    if truncated:
        result |= {"NextKeyMarker": _name(last_key, url=url), "NextUploadIdMarker": last_id}
    return result


def _after(uploads: list[Upload], prefix: str, key_marker: str, id_marker: str) -> list[Upload]:
    """The uploads below ``prefix`` that come after the markers; an id marker goes on within its key."""
    marker = key_marker.encode()
    after = [each for each in uploads if each.key.startswith(prefix) and each.key.encode() > marker]
    if id_marker:
        same = [each for each in uploads if each.key == key_marker and each.key.startswith(prefix)]
        ids = [each.upload_id for each in same]
        after = (same[ids.index(id_marker) + 1 :] if id_marker in ids else []) + after
    return after


def _listed(upload: Upload, bucket: Bucket, *, url: bool) -> dict[str, Any]:
    listed = {
        "UploadId": upload.upload_id,
        "Key": _name(upload.key, url=url),
        "Initiated": upload.initiated,
        "StorageClass": "STANDARD",
    } | _people(upload, bucket)
    if upload.checksum_algorithm:
        listed |= {"ChecksumAlgorithm": upload.checksum_algorithm, "ChecksumType": upload.checksum_type}
    return listed


def _people(upload: Upload, bucket: Bucket) -> dict[str, Any]:
    name = upload.initiator.rpartition(":")[2]
    return {
        "Initiator": {"ID": upload.initiator, "DisplayName": name},
        "Owner": {"ID": canonical_id(bucket.owner)},
    }


def _name(name: str, *, url: bool) -> str:
    return quote_plus(name, safe="/*") if url else name


def _limit(parameters: Mapping[str, Any], member: str, argument: str) -> int:
    value: int = parameters.get(member, MAX_ENTRIES)
    if not 0 <= value < 2**31:
        raise invalid_argument(f"Argument {argument} must be an integer between 0 and 2147483647", argument, value)
    return min(value, MAX_ENTRIES)
