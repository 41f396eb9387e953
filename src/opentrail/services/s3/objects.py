"""PutObject, GetObject, HeadObject, GetObjectAttributes, GetObjectAcl, DeleteObject, DeleteObjects.

Source: Amazon S3 API reference, the operations of these names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import format_datetime
from typing import Any

from opentrail.core.checksums import FULL_OBJECT, Algorithm
from opentrail.core.errors import NoSuchObject, ServiceFault
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OnResult
from opentrail.services.s3.checksums import DEFAULT, declared_checksum
from opentrail.services.s3.conditions import check_delete, check_read, check_write_headers
from opentrail.services.s3.deps import S3Deps, find_object
from opentrail.services.s3.faults import access_denied, invalid_argument, invalid_request, malformed_xml, no_such_key
from opentrail.services.s3.names import canonical_id, check_key, store_key
from opentrail.services.s3.object_metadata import checksum_members, new_metadata, object_members, part_sizes
from opentrail.services.s3.permissions import bucket_permission, object_permission
from opentrail.services.s3.ranges import Span, choose_span
from opentrail.services.s3.requests import check_object_settings, find_bucket, require_bucket
from opentrail.services.s3.writing import payload_data, store_object, store_soon
from opentrail.state.buckets import Bucket
from opentrail.stores.base import ObjectInfo, StoredObject, UnusableKey

MAX_PUT_BYTES = 5 * 1024**3
DELETE_LIMIT = 1000
_SMALL_BODY_BYTES = 256 * 1024
_RACES = 10  # how often a ranged GET looks again when the object is replaced under it
#: Parameter of GetObject and the output member that it overrides.
_OVERRIDES = {
    "ResponseCacheControl": "CacheControl",
    "ResponseContentDisposition": "ContentDisposition",
    "ResponseContentEncoding": "ContentEncoding",
    "ResponseContentLanguage": "ContentLanguage",
    "ResponseContentType": "ContentType",
    "ResponseExpires": "Expires",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Put:
    """A PutObject that was read and may be stored."""

    key: str  # the store's
    data: bytes | Iterator[bytes]
    metadata: dict[str, str]
    algorithm: Algorithm

    def result(self, info: ObjectInfo) -> dict[str, Any]:
        """PutObject's answer."""
        result: dict[str, Any] = {"ETag": f'"{info.etag}"'}
        value = self.metadata.get(self.algorithm.header)
        if value:
            result[self.algorithm.member] = value
            result["ChecksumType"] = FULL_OBJECT
        return result


def put_object(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """PutObject."""
    put = _read_put(call, deps)
    return put.result(store_object(deps, put.key, put.data, put.metadata, target=call.parameters))


def begin_put_object(call: ApiCall, deps: S3Deps, done: OnResult) -> None:
    """PutObject; what is small waits for the disk together with others, and holds no thread meanwhile."""
    put = _read_put(call, deps)
    if not isinstance(put.data, bytes):
        done(put.result(store_object(deps, put.key, put.data, put.metadata, target=call.parameters)), None)
        return

    def stored(info: ObjectInfo | None, error: Exception | None) -> None:
        done(put.result(info) if info is not None else None, error)

    store_soon(deps, put.key, put.data, put.metadata, target=call.parameters, done=stored)


def _read_put(call: ApiCall, deps: S3Deps) -> _Put:
    parameters = call.parameters
    require_bucket(call, deps)
    check_object_settings(call)
    check_write_headers(parameters)
    check_length(call)
    metadata = new_metadata(call)
    declared, checksum = declared_checksum(parameters, call.request.headers)
    algorithm = declared or DEFAULT
    return _Put(
        key=store_key(parameters["Bucket"], parameters["Key"]),
        data=payload_data(call.payload, metadata, algorithm=algorithm, checksum=checksum),
        metadata=metadata,
        algorithm=algorithm,
    )


def check_length(call: ApiCall) -> None:
    """Raise ``ServiceFault`` EntityTooLarge for a payload over 5 GiB, MissingContentLength for an unknown one."""
    length = 0 if call.payload is None else call.payload.length
    if length is None:
        raise ServiceFault("MissingContentLength", "You must provide the Content-Length HTTP header.", status=411)
    if length > MAX_PUT_BYTES:
        fields = {"ProposedSize": str(length), "MaxSizeAllowed": str(MAX_PUT_BYTES)}
        raise ServiceFault("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size", fields=fields)


def get_object(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """GetObject."""
    parameters = call.parameters
    require_bucket(call, deps)
    overrides = _overrides(parameters)
    if overrides and call.identity.is_anonymous:
        raise invalid_request("Request specific response headers cannot be used for anonymous GET requests.")
    stored, span = _open(call, deps)
    body: Any = stored.chunks
    if span.end - span.start <= _SMALL_BODY_BYTES:
        body = b"".join(stored.chunks)
    return _described(call, stored.info, span) | overrides | {"Body": body}


def head_object(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """HeadObject."""
    require_bucket(call, deps)
    info = find_or_refuse(call, deps, call.parameters["Key"])
    check_read(call.parameters, info)
    return _described(call, info, choose_span(call.parameters, info)) | _overrides(call.parameters)


def get_object_attributes(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """GetObjectAttributes."""
    require_bucket(call, deps)
    info = find_or_refuse(call, deps, call.parameters["Key"])
    wanted = call.parameters["ObjectAttributes"]
    checksum = checksum_members(info.metadata)
    found: dict[str, Any] = {"ETag": info.etag, "StorageClass": "STANDARD", "ObjectSize": info.size}
    if checksum:
        found["Checksum"] = checksum
    if sizes := part_sizes(info):
        found["ObjectParts"] = {"TotalPartsCount": len(sizes)}
    unknown = [name for name in wanted if name not in ("ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize")]
    if unknown or not wanted:
        name = ",".join(wanted)
        raise invalid_argument("Invalid attribute name specified.", "x-amz-object-attributes", name)
    return {"LastModified": info.last_modified} | {name: found[name] for name in wanted if name in found}


def get_object_acl(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """GetObjectAcl: the bucket's owner owns every object and nobody else is granted anything by an ACL."""
    bucket = require_bucket(call, deps)
    find_or_refuse(call, deps, call.parameters["Key"])
    return owner_acl(bucket.owner)


def delete_object(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """DeleteObject."""
    require_bucket(call, deps)
    _delete(deps, call.parameters["Bucket"], call.parameters["Key"], call.parameters)
    return {}


def delete_objects(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """DeleteObjects: every key is authorised and deleted for itself; what fails is reported beside what succeeds."""
    bucket = require_bucket(call, deps)
    asked = call.parameters["Delete"].get("Objects") or []
    if not 1 <= len(asked) <= DELETE_LIMIT:
        raise malformed_xml()
    deleted: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    for each in asked:
        try:
            _delete_listed(call, deps, bucket, each)
        except ServiceFault as fault:
            errors.append({"Key": each.get("Key", ""), "Code": fault.code, "Message": fault.message})
        else:
            deleted.append({"Key": each["Key"]})
    result: dict[str, Any] = {"Errors": errors} if errors else {}
    if deleted and not call.parameters["Delete"].get("Quiet"):
        result["Deleted"] = deleted
    return result


def owner_acl(account: str) -> dict[str, Any]:
    """The ACL of a bucket, or an object in it, whose ownership is enforced."""
    owner = canonical_id(account)
    grantee = {"ID": owner, "Type": "CanonicalUser"}
    return {"Owner": {"ID": owner}, "Grants": [{"Grantee": grantee, "Permission": "FULL_CONTROL"}]}


def find_or_refuse(call: ApiCall, deps: S3Deps, key: str) -> ObjectInfo:
    """The object ``key`` of the call's bucket.

    Raises ``ServiceFault`` NoSuchKey, or AccessDenied for a caller who may not list the bucket: whether the key exists
    is then none of its business.
    """
    try:
        return deps.store.head(store_key(call.parameters["Bucket"], key))
    except (NoSuchObject, UnusableKey):
        raise missing_key(call, deps, call.parameters["Bucket"], key) from None


def missing_key(call: ApiCall, deps: S3Deps, bucket: str, key: str) -> ServiceFault:
    """What a caller hears of a key that is not there."""
    found = deps.buckets.find(bucket)
    if found is not None and deps.authorise(call, bucket_permission(call, found, "s3:ListBucket")) is not None:
        return access_denied()
    return no_such_key(key)


def _open(call: ApiCall, deps: S3Deps) -> tuple[StoredObject, Span]:
    """The object and the part of it that the call asks for, of one and the same version."""
    parameters = call.parameters
    key = store_key(parameters["Bucket"], parameters["Key"])
    if "Range" not in parameters and "PartNumber" not in parameters:
        try:
            stored = deps.store.get(key)
        except (NoSuchObject, UnusableKey):
            raise missing_key(call, deps, parameters["Bucket"], parameters["Key"]) from None
        check_read(parameters, stored.info)
        return stored, choose_span(parameters, stored.info)
    for _ in range(_RACES):
        info = find_or_refuse(call, deps, parameters["Key"])
        check_read(parameters, info)
        span = choose_span(parameters, info)
        try:
            stored = deps.store.get(key, start=span.start, end=span.end)
        except NoSuchObject:
            continue
        if (stored.info.etag, stored.info.last_modified) == (info.etag, info.last_modified):
            return stored, span
    raise ServiceFault("SlowDown", "Please reduce your request rate.", status=503)


def _described(call: ApiCall, info: ObjectInfo, span: Span) -> dict[str, Any]:
    members = object_members(info) | span.members
    whole = not span.partial or span.end - span.start == span.size
    if call.parameters.get("ChecksumMode") == "ENABLED" and whole:
        members |= checksum_members(info.metadata)
    return members


def _overrides(parameters: Mapping[str, Any]) -> dict[str, str]:
    """The output members that the call itself gives."""
    given = {member: parameters[name] for name, member in _OVERRIDES.items() if name in parameters}
    if "Expires" in given:
        given["Expires"] = format_datetime(given["Expires"].astimezone(UTC), usegmt=True)
    return given


def _delete_listed(call: ApiCall, deps: S3Deps, bucket: Bucket, each: Mapping[str, Any]) -> None:
    key = each.get("Key", "")
    if not key:
        raise ServiceFault("UserKeyMustBeSpecified", "You must specify a key.")
    check_key(key)
    if each.get("VersionId", "null") != "null":
        raise ServiceFault("NoSuchVersion", "The specified version does not exist.")
    refusal = deps.authorise(call, object_permission(call, bucket, "s3:DeleteObject", key))
    if refusal is not None:
        raise refusal
    _delete(deps, bucket.name, key, each)


def _delete(deps: S3Deps, bucket: str, key: str, conditions: Mapping[str, Any]) -> None:
    name = store_key(bucket, key)
    with deps.locks.of(name):
        find_bucket(deps, bucket)
        if any(each in conditions for each in _DELETE_CONDITIONS):
            check_delete(conditions, find_object(deps, name), key)
        try:
            deps.store.delete(name)
        except UnusableKey:
            return  # such a key was never put


_DELETE_CONDITIONS = frozenset({
    "ETag", "IfMatch", "IfMatchLastModifiedTime", "IfMatchSize", "LastModifiedTime", "Size"
})  # fmt: skip
