"""ListObjects, ListObjectsV2 and ListObjectVersions: one page of a bucket's keys, with common prefixes.

Rules: a page holds at most 1,000 entries, keys and common prefixes counted alike; a key behind a delimiter is rolled up
into its common prefix; a page goes on after the last key or prefix of the one before.  A prefix with many keys is left
by one jump.  Source: Amazon S3 API reference; user guide, "Organizing objects using prefixes".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

from opentrail.core.wire.calls import ApiCall
from opentrail.services.s3.buckets import decode_token, encode_token
from opentrail.services.s3.deps import S3Deps
from opentrail.services.s3.faults import invalid_argument
from opentrail.services.s3.names import canonical_id
from opentrail.services.s3.requests import require_bucket
from opentrail.state.buckets import Bucket
from opentrail.stores.base import ObjectInfo, ObjectStore

MAX_KEYS = 1000
_PATIENCE = 50  # so many keys below one common prefix are read before the rest is jumped over


@dataclass(slots=True, kw_only=True)
class Page:
    """What one call lists: objects with their keys, common prefixes, and where the next page begins."""

    objects: list[tuple[str, ObjectInfo]] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    truncated: bool = False
    last: str = ""  # the last key or common prefix

    @property
    def size(self) -> int:
        """Entries so far."""
        return len(self.objects) + len(self.prefixes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A listing call: its bucket and the parameters that all versions of it share."""

    bucket: Bucket
    prefix: str
    delimiter: str
    max_keys: int
    url: bool  # names are percent-encoded

    def encode(self, name: str) -> str:
        """``name`` as the client asked for names."""
        return quote_plus(name, safe="/*") if self.url else name

    def members(self, page: Page) -> dict[str, Any]:
        """The output members that all versions share."""
        members: dict[str, Any] = {
            "Name": self.bucket.name,
            "Prefix": self.encode(self.prefix),
            "MaxKeys": self.max_keys,
            "IsTruncated": page.truncated,
        }
        if self.delimiter:
            members["Delimiter"] = self.encode(self.delimiter)
        if self.url:
            members["EncodingType"] = "url"
        if page.prefixes:
            members["CommonPrefixes"] = [{"Prefix": self.encode(prefix)} for prefix in page.prefixes]
        return members

    def describe(self, key: str, info: ObjectInfo, *, owner: bool) -> dict[str, Any]:
        """One object of the page."""
        described: dict[str, Any] = {
            "Key": self.encode(key),
            "LastModified": info.last_modified,
            "ETag": f'"{info.etag}"',
            "Size": info.size,
            "StorageClass": "STANDARD",
        }
        if owner:
            described["Owner"] = {"ID": canonical_id(self.bucket.owner)}
        return described


def list_objects(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """ListObjects (version 1)."""
    listing = _listing(call, deps)
    marker = call.parameters.get("Marker", "")
    page = read_page(deps.store, listing, marker)
    result = listing.members(page) | {"Marker": listing.encode(marker)}
    if page.objects:
        result["Contents"] = [listing.describe(key, info, owner=True) for key, info in page.objects]
    if page.truncated and listing.delimiter:
        result["NextMarker"] = listing.encode(page.last)
    return result


def list_objects_v2(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """ListObjectsV2."""
    parameters = call.parameters
    listing = _listing(call, deps)
    token = parameters.get("ContinuationToken")
    if token == "":
        raise invalid_argument("The continuation token provided is incorrect", "continuation-token", "")
    after = parameters.get("StartAfter", "") if token is None else decode_token(token)
    page = read_page(deps.store, listing, after)
    result = listing.members(page) | {"KeyCount": page.size}
    if page.objects:
        owner = bool(parameters.get("FetchOwner"))
        result["Contents"] = [listing.describe(key, info, owner=owner) for key, info in page.objects]
    if "StartAfter" in parameters:
        result["StartAfter"] = listing.encode(parameters["StartAfter"])
    if token is not None:
        result["ContinuationToken"] = token
    if page.truncated:
        result["NextContinuationToken"] = encode_token(page.last)
    return result


def list_object_versions(call: ApiCall, deps: S3Deps) -> Mapping[str, Any]:
    """ListObjectVersions of a bucket that keeps none: each object is its only version, ``null``."""
    parameters = call.parameters
    listing = _listing(call, deps)
    if "VersionIdMarker" in parameters and not parameters.get("KeyMarker"):
        message = "A version-id marker cannot be specified without a key marker."
        raise invalid_argument(message, "version-id-marker", parameters["VersionIdMarker"])
    marker = parameters.get("KeyMarker", "")
    page = read_page(deps.store, listing, marker)
    result = listing.members(page) | {"KeyMarker": listing.encode(marker)}
    result["VersionIdMarker"] = parameters.get("VersionIdMarker", "")
    if page.objects:
        version = {"VersionId": "null", "IsLatest": True}
        result["Versions"] = [listing.describe(key, info, owner=True) | version for key, info in page.objects]
    if page.truncated:
        result["NextKeyMarker"] = listing.encode(page.last)
        if page.objects and page.objects[-1][0] == page.last:
            result["NextVersionIdMarker"] = "null"
    return result


def read_page(store: ObjectStore, listing: Listing, after: str) -> Page:
    """The page that begins after ``after``, a key or a common prefix."""
    page = Page()
    if not listing.max_keys:
        return page
    delimiter, start = listing.delimiter, len(listing.prefix)
    at = after.find(delimiter, start) if delimiter else -1
    behind = after if 0 <= at == len(after) - len(delimiter) else ""  # else it is a key, whatever it ends with
    for key, info in _keys(store, listing, after, behind):
        at = key.find(delimiter, start) if delimiter else -1
        entry = key if at < 0 else key[: at + len(delimiter)]
        if at >= 0 and page.prefixes and page.prefixes[-1] == entry:
            continue
        if page.size == listing.max_keys:
            page.truncated = True
            return page
        if at < 0:
            page.objects.append((key, info))
        else:
            page.prefixes.append(entry)
        page.last = entry
    return page


def _keys(store: ObjectStore, listing: Listing, after: str, behind: str) -> Iterator[tuple[str, ObjectInfo]]:
    """Keys from ``after`` on without those below ``behind``; of a common prefix with many keys not all are yielded."""
    root = listing.bucket.name + "/"
    position, delimiter, start = root + after if after else "", listing.delimiter, len(listing.prefix)
    jumping = True
    while jumping:
        jumping = False
        below, count = behind, 0
        for info in store.list(root + listing.prefix, start_after=position):
            key = info.key[len(root) :]
            if below and key.startswith(below):
                count += 1
            else:
                at = key.find(delimiter, start) if delimiter else -1
                below, count = ("" if at < 0 else key[: at + len(delimiter)]), 0
            if not behind or not key.startswith(behind):
                yield key, info
            if below and count > _PATIENCE and position != (over := root + below + "\U0010ffff"):
                position, jumping, behind = over, True, below
                break


def _listing(call: ApiCall, deps: S3Deps) -> Listing:
    parameters = call.parameters
    bucket = require_bucket(call, deps)
    max_keys = parameters.get("MaxKeys", MAX_KEYS)
    if not 0 <= max_keys < 2**31:
        message = "Argument maxKeys must be an integer between 0 and 2147483647"
        raise invalid_argument(message, "max-keys", max_keys)
    encoding = parameters.get("EncodingType")
    if encoding not in (None, "url"):
        raise invalid_argument("Invalid Encoding Method specified in Request", "encoding-type", encoding)
    return Listing(
        bucket=bucket,
        prefix=parameters.get("Prefix", ""),
        delimiter=parameters.get("Delimiter", ""),
        max_keys=min(max_keys, MAX_KEYS),
        url=encoding == "url",
    )
