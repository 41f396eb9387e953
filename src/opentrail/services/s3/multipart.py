"""Multipart uploads: an object out of parts that come in any order.

A part is stored under a key of its own for each sending (``names.part_key``), then its row names it; so a part that is
sent again while the upload is completed changes nothing under the reader.  Completing reads the parts in order into one
new object, then removes the parts, then forgets the upload: after a crash in between the object is there, and the
upload is still listed for AbortMultipartUpload.

Source: Amazon S3 user guide, "Uploading and copying objects using multipart upload", "Checking object integrity".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from opentrail.core.checksums import (
    ALGORITHMS,
    COMPOSITE,
    FULL_OBJECT,
    Algorithm,
    composite_checksum,
    decode_checksum,
    full_object_checksum,
    require_type,
)
from opentrail.core.errors import ServiceFault
from opentrail.core.wire.calls import ApiCall
from opentrail.services.s3.checksums import (
    DEFAULT,
    add_checksum,
    algorithm_named,
    declared_checksum,
    summed,
)
from opentrail.services.s3.conditions import check_write_headers
from opentrail.services.s3.copying import open_source
from opentrail.services.s3.deps import S3Deps
from opentrail.services.s3.faults import invalid_argument, invalid_request, malformed_xml, no_such_bucket
from opentrail.services.s3.names import part_key, store_key, upload_prefix
from opentrail.services.s3.object_metadata import ETAG, PARTS, checksum_members, format_parts, new_metadata
from opentrail.services.s3.objects import MAX_PUT_BYTES, check_length
from opentrail.services.s3.ranges import MAX_PART, parse_copy_range
from opentrail.services.s3.requests import check_object_settings, require_bucket
from opentrail.services.s3.writing import store_object, store_payload
from opentrail.state.buckets import Part, Upload
from opentrail.stores.base import ObjectInfo

MIN_PART_BYTES = 5 * 1024**2
MAX_OBJECT_BYTES = 5 * 1024**4


def create_multipart_upload(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """CreateMultipartUpload."""
    parameters = call.parameters
    bucket = require_bucket(call, deps)
    check_object_settings(call)
    named = parameters.get("ChecksumAlgorithm")
    algorithm = algorithm_named(named) if named else None
    kind = parameters.get("ChecksumType")
    if kind is not None and algorithm is None:
        raise invalid_request(
            "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header."
        )
    if algorithm is not None:
        kind = kind or algorithm.default_type
        require_type(algorithm, kind)
    upload = Upload(
        upload_id=call.event_id.replace("-", ""),
        bucket=bucket.name,
        key=parameters["Key"],
        initiator=call.identity.arn,
        initiated=call.now,
        metadata=new_metadata(call),
        checksum_algorithm=algorithm.name if algorithm else "",
        checksum_type=kind or "",
    )
    if not deps.buckets.create_upload(upload):
        raise no_such_bucket(bucket.name)
    result = {"Bucket": bucket.name, "Key": upload.key, "UploadId": upload.upload_id}
    return result | _checksum_settings(upload)


def upload_part(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """UploadPart."""
    upload = _require_upload(call, deps)
    number = _part_number(call)
    check_length(call)
    algorithm = _algorithm_of(upload)
    declared, checksum = declared_checksum(call.parameters, call.request.headers)
    if upload.checksum_algorithm and declared is not None and declared is not algorithm:
        names = f"{algorithm.name.lower()}, actual checksum Type: {declared.name.lower()}"
        raise invalid_request(f"Checksum Type mismatch occurred, expected checksum Type: {names}")
    metadata: dict[str, str] = {}
    key = part_key(upload.upload_id, number, call.event_id)
    target = {"Bucket": upload.bucket, "Key": upload.key}
    known = checksum if declared is algorithm else ""
    info = store_payload(deps, call.payload, key, metadata, algorithm=algorithm, checksum=known, target=target)
    part = _keep_part(deps, upload, number, info, metadata[algorithm.header])
    result = {"ETag": f'"{part.etag}"'}
    if upload.checksum_algorithm:
        result[algorithm.member] = part.checksum
    elif declared is not None and checksum:
        result[declared.member] = checksum
    return result


def upload_part_copy(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """UploadPartCopy."""
    upload = _require_upload(call, deps)
    number = _part_number(call)
    stored = open_source(call, deps)
    start, end = 0, stored.info.size
    if "CopySourceRange" in call.parameters:
        start, end = parse_copy_range(call.parameters["CopySourceRange"], stored.info.size)
        version = (stored.info.etag, stored.info.last_modified)
        stored = open_source(call, deps, start=start, end=end)
        if (stored.info.etag, stored.info.last_modified) != version:
            raise ServiceFault("SlowDown", "Please reduce your request rate.", status=503)
    if end - start > MAX_PUT_BYTES:
        message = "The specified copy source is larger than the maximum allowable size for a copy source: "
        raise invalid_request(f"{message}{MAX_PUT_BYTES}")
    algorithm = _algorithm_of(upload)
    metadata: dict[str, str] = {}
    info = store_object(
        deps,
        part_key(upload.upload_id, number, call.event_id),
        summed(stored.chunks, algorithm, metadata),
        metadata,
        target={"Bucket": upload.bucket, "Key": upload.key},
    )
    part = _keep_part(deps, upload, number, info, metadata[algorithm.header])
    result: dict[str, Any] = {"ETag": f'"{part.etag}"', "LastModified": part.modified}
    if upload.checksum_algorithm:
        result[algorithm.member] = part.checksum
    return {"CopyPartResult": result}


def complete_multipart_upload(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """CompleteMultipartUpload."""
    parameters = call.parameters
    check_write_headers(parameters)
    with deps.upload_locks.of(parameters["UploadId"]):
        upload = _require_upload(call, deps)
        chosen = _choose_parts(call, upload, deps.buckets.parts_of(upload.upload_id))
        metadata = _complete_metadata(upload, chosen)
        _check_whole(parameters, upload, chosen, metadata)
        key = store_key(upload.bucket, upload.key)
        info = store_object(deps, key, _assembled(deps, chosen), metadata, target=parameters)
        _forget(deps, upload)
    host = call.request.host
    result = {
        "Location": f"{'https' if call.request.tls else 'http'}://{host}/{upload.bucket}/{upload.key}",
        "Bucket": upload.bucket,
        "Key": upload.key,
        "ETag": f'"{info.etag}"',
    }
    return result | checksum_members(metadata)


def abort_multipart_upload(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """AbortMultipartUpload."""
    with deps.upload_locks.of(call.parameters["UploadId"]):
        upload = _require_upload(call, deps)
        when = call.parameters.get("IfMatchInitiatedTime")
        if when is not None and when.replace(microsecond=0) != upload.initiated.replace(microsecond=0):
            message = "At least one of the pre-conditions you specified did not hold"
            fields = {"Condition": "x-amz-if-match-initiated-time"}
            raise ServiceFault("PreconditionFailed", message, status=412, fields=fields)
        _forget(deps, upload)
    return {}


def _require_upload(call: ApiCall, deps: S3Deps) -> Upload:
    require_bucket(call, deps)
    return find_upload(call, deps)


def find_upload(call: ApiCall, deps: S3Deps) -> Upload:
    """The upload that the call names.  Raises ``ServiceFault`` NoSuchUpload."""
    parameters = call.parameters
    upload = deps.buckets.find_upload(parameters["UploadId"])
    if upload is None or (upload.bucket, upload.key) != (parameters["Bucket"], parameters["Key"]):
        message = (
            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or "
            "completed."
        )
        raise ServiceFault("NoSuchUpload", message, status=404, fields={"UploadId": parameters["UploadId"]})
    return upload


def _part_number(call: ApiCall) -> int:
    number: int = call.parameters["PartNumber"]
    if not 1 <= number <= MAX_PART:
        message = f"Part number must be an integer between 1 and {MAX_PART}, inclusive"
        raise invalid_argument(message, "partNumber", number)
    return number


def _algorithm_of(upload: Upload) -> Algorithm:
    return ALGORITHMS[upload.checksum_algorithm] if upload.checksum_algorithm else DEFAULT


def _checksum_settings(upload: Upload) -> dict[str, str]:
    if not upload.checksum_algorithm:
        return {}
    return {"ChecksumAlgorithm": upload.checksum_algorithm, "ChecksumType": upload.checksum_type}


def _keep_part(deps: S3Deps, upload: Upload, number: int, info: ObjectInfo, checksum: str) -> Part:
    """Make the stored part the upload's; the one that had its number is removed."""
    part = Part(
        number=number,
        store_key=info.key,
        etag=info.etag,
        size=info.size,
        checksum=checksum,
        modified=info.last_modified,
    )
    with deps.upload_locks.of(upload.upload_id):  # not while the upload is completed
        kept, previous = deps.buckets.put_part(upload.upload_id, part)
        unwanted = previous.store_key if previous is not None else "" if kept else part.store_key
        if unwanted:
            deps.store.delete(unwanted)
    if not kept:
        raise ServiceFault("NoSuchUpload", "The specified upload does not exist.", status=404)
    return part


def _choose_parts(call: ApiCall, upload: Upload, parts: Sequence[Part]) -> list[Part]:
    """The parts that the call lists, in its order.

    Raises ``ServiceFault`` MalformedXML, InvalidPart, InvalidPartOrder, EntityTooSmall or EntityTooLarge.
    """
    listed = (call.parameters.get("MultipartUpload") or {}).get("Parts") or []
    if not 1 <= len(listed) <= MAX_PART:
        raise malformed_xml()
    known = {part.number: part for part in parts}
    algorithm = _algorithm_of(upload)
    chosen: list[Part] = []
    for each in listed:
        number, etag = each.get("PartNumber", 0), each.get("ETag", "").strip('"')
        if chosen and number <= chosen[-1].number:
            message = "The list of parts was not in ascending order. Parts must be ordered by part number."
            raise ServiceFault("InvalidPartOrder", message, fields={"UploadId": upload.upload_id})
        part = known.get(number)
        if part is None or part.etag != etag or each.get(algorithm.member, part.checksum) != part.checksum:
            message = (
                "One or more of the specified parts could not be found.  The part may not have been uploaded, or the "
                "specified entity tag may not match the part's entity tag."
            )
            fields = {"UploadId": upload.upload_id, "PartNumber": str(number), "ETag": etag}
            raise ServiceFault("InvalidPart", message, fields=fields)
        chosen.append(part)
    _check_sizes(chosen)
    return chosen


def _check_sizes(chosen: Sequence[Part]) -> None:
    for part in chosen[:-1]:
        if part.size < MIN_PART_BYTES:
            fields = {
                "ProposedSize": str(part.size),
                "MinSizeAllowed": str(MIN_PART_BYTES),
                "PartNumber": str(part.number),
                "ETag": part.etag,
            }
            message = "Your proposed upload is smaller than the minimum allowed size"
            raise ServiceFault("EntityTooSmall", message, fields=fields)
    size = sum(part.size for part in chosen)
    if size > MAX_OBJECT_BYTES:
        fields = {"ProposedSize": str(size), "MaxSizeAllowed": str(MAX_OBJECT_BYTES)}
        raise ServiceFault("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size", fields=fields)


def _complete_metadata(upload: Upload, chosen: Sequence[Part]) -> dict[str, str]:
    """The object's metadata: the upload's, with etag, checksum and layout of the parts."""
    metadata = dict(upload.metadata)
    digest = hashlib.md5(usedforsecurity=False)
    for part in chosen:
        digest.update(_etag_bytes(part.etag))
    metadata[ETAG] = f"{digest.hexdigest()}-{len(chosen)}"
    layout = format_parts(part.size for part in chosen)
    if layout is not None:
        metadata[PARTS] = layout
    algorithm = _algorithm_of(upload)
    digests = [decode_checksum(part.checksum, algorithm.size) or b"" for part in chosen]
    if upload.checksum_type == COMPOSITE:
        add_checksum(metadata, algorithm, composite_checksum(algorithm, digests), COMPOSITE)
    else:
        sizes = [part.size for part in chosen]
        whole = full_object_checksum(algorithm, list(zip(digests, sizes, strict=True)))
        add_checksum(metadata, algorithm, whole, FULL_OBJECT)
    return metadata


def _etag_bytes(etag: str) -> bytes:
    """A part's MD5; of a store whose marks are none, the mark itself."""
    try:
        return bytes.fromhex(etag)
    except ValueError:
        return etag.encode()


def _check_whole(
    parameters: Mapping[str, Any], upload: Upload, chosen: Sequence[Part], metadata: Mapping[str, str]
) -> None:
    """Compare what the call says of the whole object.  Raises ``ServiceFault`` BadDigest or InvalidRequest."""
    size = parameters.get("MpuObjectSize")
    if size is not None and size != sum(part.size for part in chosen):
        raise invalid_request("The provided 'x-amz-mp-object-size' header does not match what was computed.")
    kind = parameters.get("ChecksumType")
    if kind is not None and upload.checksum_type and kind != upload.checksum_type:
        message = f"The upload was created using the {upload.checksum_type} checksum mode."
        raise invalid_request(f"{message} The complete request must use the same checksum mode.")
    algorithm = _algorithm_of(upload)
    given = parameters.get(algorithm.member)
    if given is not None and given.partition("-")[0] != metadata[algorithm.header].partition("-")[0]:
        raise ServiceFault("BadDigest", f"The {algorithm.name} you specified did not match the calculated checksum.")


def _assembled(deps: S3Deps, chosen: Sequence[Part]) -> Iterator[bytes]:
    for part in chosen:
        yield from deps.store.get(part.store_key).chunks


def _forget(deps: S3Deps, upload: Upload) -> None:
    """Remove the upload's parts, those of lost sendings too, then the upload: it is found as long as there are any."""
    for part in list(deps.store.list(upload_prefix(upload.upload_id))):
        deps.store.delete(part.key)
    deps.buckets.delete_upload(upload.upload_id)
