"""An object's metadata between S3's members and the store: headers, user metadata, tags, checksum, parts.

In the store everything is text under the name of the header that carries it (``stores.base``); ``x-amz-tagging`` is the
tags as a JSON object, ``x-amz-mp-parts`` the sizes of the parts of a multipart upload (``8388608*3,17``: runs of equal
sizes).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from opentrail.core.checksums import BY_HEADER, FULL_OBJECT, Algorithm
from opentrail.core.errors import ServiceFault
from opentrail.core.wire.calls import ApiCall
from opentrail.services.s3.tags import format_tags, parse_tag_header, parse_tags
from opentrail.stores.base import ObjectInfo

LIMIT_BYTES = 2048
DEFAULT_TYPE = "binary/octet-stream"

CHECKSUM_TYPE, ETAG, PARTS, TAGGING = "x-amz-checksum-type", "etag", "x-amz-mp-parts", "x-amz-tagging"
_USER = "x-amz-meta-"
_PARTS_LIMIT = 2048  # characters; a layout that needs more is not kept
#: Output member and the name in the store.
HEADER_MEMBERS = {
    "CacheControl": "cache-control",
    "ContentDisposition": "content-disposition",
    "ContentEncoding": "content-encoding",
    "ContentLanguage": "content-language",
    "ContentType": "content-type",
    "Expires": "expires",
}


def new_metadata(call: ApiCall) -> dict[str, str]:
    """The metadata that a PutObject, CopyObject or CreateMultipartUpload gives its object.

    Raises ``ServiceFault`` MetadataTooLarge, InvalidTag or BadRequest.
    """
    parameters = call.parameters
    metadata: dict[str, str] = {}
    for member, name in HEADER_MEMBERS.items():
        value = parameters.get(member)
        if value:
            metadata[name] = value
    if "content-encoding" in metadata:
        _drop_chunking(metadata)
    _check_size(metadata.items())
    if "Metadata" in parameters:
        _add_user_metadata(metadata, parameters["Metadata"])
    if parameters.get("Tagging"):
        metadata[TAGGING] = format_tags(parse_tag_header(parameters["Tagging"]))
    return metadata


def object_members(info: ObjectInfo) -> dict[str, Any]:
    """The output members of GetObject and HeadObject that come from the object itself."""
    metadata = info.metadata
    members: dict[str, Any] = {
        "AcceptRanges": "bytes",
        "LastModified": info.last_modified,
        "ETag": f'"{info.etag}"',
        "ContentType": DEFAULT_TYPE,
        "Metadata": user_metadata(metadata),
    }
    for member, name in HEADER_MEMBERS.items():
        if name in metadata:
            members[member] = metadata[name]
    tags = tags_of(metadata)
    if tags:
        members["TagCount"] = len(tags)
    return members


def user_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """The entries that are the user's, without their prefix."""
    return {name[len(_USER) :]: value for name, value in metadata.items() if name.startswith(_USER)}


def tags_of(metadata: Mapping[str, str]) -> dict[str, str]:
    """The object's tags."""
    text = metadata.get(TAGGING)
    return parse_tags(text) if text else {}


def checksum_of(metadata: Mapping[str, str]) -> tuple[Algorithm, str] | None:
    """The object's checksum, where it has one."""
    for name, algorithm in BY_HEADER.items():
        if name in metadata:
            return algorithm, metadata[name]
    return None


def checksum_members(metadata: Mapping[str, str]) -> dict[str, str]:
    """The output members for the object's checksum."""
    found = checksum_of(metadata)
    if found is None:
        return {}
    algorithm, value = found
    return {algorithm.member: value, "ChecksumType": metadata.get(CHECKSUM_TYPE, FULL_OBJECT)}


def without_state(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata without what belongs to the bytes of one upload (etag, checksum, parts): what a copy takes over."""
    own = {ETAG, PARTS, CHECKSUM_TYPE}
    return {name: value for name, value in metadata.items() if name not in own and name not in BY_HEADER}


def format_parts(sizes: Iterable[int]) -> str | None:
    """The layout of a multipart object as text, or None where it is too irregular to be kept."""
    runs = [(size, len(list(group))) for size, group in groupby(sizes)]
    text = ",".join(f"{size}*{count}" if count > 1 else str(size) for size, count in runs)
    return text if len(text) <= _PARTS_LIMIT else None


def part_sizes(info: ObjectInfo) -> list[int]:
    """The sizes of the object's parts; none for an object that was put at once, or whose layout is not known."""
    sizes: list[int] = []
    for run in filter(None, info.metadata.get(PARTS, "").split(",")):
        size, _, count = run.partition("*")
        sizes += [int(size)] * int(count or 1)
    return sizes if sum(sizes) == info.size else []


def _add_user_metadata(metadata: dict[str, str], given: Mapping[str, str]) -> None:
    _check_size(given.items())
    for name, value in given.items():
        metadata[_USER + name.lower()] = value


def _check_size(pairs: Iterable[tuple[str, str]]) -> None:
    """System and user metadata have the same limit, each for itself."""
    size = sum(len(text.encode("utf-8", "replace")) for pair in pairs for text in pair)
    if size > LIMIT_BYTES:
        message = "Your metadata headers exceed the maximum allowed metadata size"
        fields = {"Size": str(size), "MaxSizeAllowed": str(LIMIT_BYTES)}
        raise ServiceFault("MetadataTooLarge", message, fields=fields)


def _drop_chunking(metadata: dict[str, str]) -> None:
    """``aws-chunked`` is how the body travelled, no property of the object."""
    codings = [coding.strip() for coding in metadata["content-encoding"].split(",")]
    kept = [coding for coding in codings if coding and coding.lower() != "aws-chunked"]
    if kept == codings:
        return
    if kept:
        metadata["content-encoding"] = ",".join(kept)
    else:
        del metadata["content-encoding"]
