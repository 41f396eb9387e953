"""Conditional requests: RFC 9110, section 13, as S3 applies it.

Order of evaluation (13.2.2): If-Match, or else If-Unmodified-Since; then If-None-Match, or else If-Modified-Since.
Times are compared in whole seconds, as HTTP dates are.  Writes know If-Match and ``If-None-Match: *`` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from email.utils import format_datetime
from typing import Any

from opentrail.core.errors import ServiceFault
from opentrail.services.s3.faults import no_such_key, not_implemented, precondition_failed
from opentrail.stores.base import ObjectInfo


def check_read(parameters: Mapping[str, Any], info: ObjectInfo) -> None:
    """Raise ``ServiceFault`` PreconditionFailed or (status 304) NotModified where the object is not asked for."""
    modified = info.last_modified.replace(microsecond=0)
    if "IfMatch" in parameters:
        if not matches(parameters["IfMatch"], info.etag):
            raise precondition_failed("If-Match")
    elif _is_after(modified, parameters.get("IfUnmodifiedSince")):
        raise precondition_failed("If-Unmodified-Since")
    if "IfNoneMatch" in parameters:
        if matches(parameters["IfNoneMatch"], info.etag):
            raise _not_modified(info)
    elif "IfModifiedSince" in parameters and not _is_after(modified, parameters["IfModifiedSince"]):
        raise _not_modified(info)


def check_copy_source(parameters: Mapping[str, Any], info: ObjectInfo) -> None:
    """The same for the source of a copy, where every condition that fails is 412.

    If-Match alone decides where it holds, and If-None-Match where it fails (S3 API reference, CopyObject).
    """
    modified = info.last_modified.replace(microsecond=0)
    if "CopySourceIfMatch" in parameters:
        if not matches(parameters["CopySourceIfMatch"], info.etag):
            raise precondition_failed("x-amz-copy-source-If-Match")
    elif _is_after(modified, parameters.get("CopySourceIfUnmodifiedSince")):
        raise precondition_failed("x-amz-copy-source-If-Unmodified-Since")
    if "CopySourceIfNoneMatch" in parameters:
        if matches(parameters["CopySourceIfNoneMatch"], info.etag):
            raise precondition_failed("x-amz-copy-source-If-None-Match")
    elif "CopySourceIfModifiedSince" in parameters and not _is_after(modified, parameters["CopySourceIfModifiedSince"]):
        raise precondition_failed("x-amz-copy-source-If-Modified-Since")


def check_write_headers(parameters: Mapping[str, Any]) -> None:
    """Raise ``ServiceFault`` NotImplemented for the conditions that S3 does not know on writes."""
    if parameters.get("IfNoneMatch", "*") != "*":
        raise not_implemented("If-None-Match")
    if "IfNoneMatch" in parameters and "IfMatch" in parameters:
        raise not_implemented("If-Match,If-None-Match")


def is_conditional(parameters: Mapping[str, Any]) -> bool:
    """Whether a write depends on what is there."""
    return "IfMatch" in parameters or "IfNoneMatch" in parameters


def check_write(parameters: Mapping[str, Any], current: ObjectInfo | None, key: str) -> None:
    """Raise ``ServiceFault`` PreconditionFailed or NoSuchKey where ``current`` must not be written over."""
    if "IfNoneMatch" in parameters and current is not None:
        raise precondition_failed("If-None-Match")
    if "IfMatch" in parameters:
        if current is None:
            raise no_such_key(key)
        if not matches(parameters["IfMatch"], current.etag):
            raise precondition_failed("If-Match")


def check_delete(parameters: Mapping[str, Any], current: ObjectInfo | None, key: str) -> None:
    """The same for DeleteObject and each object of DeleteObjects."""
    etag = parameters.get("IfMatch", parameters.get("ETag"))
    if etag is not None and current is None and etag.strip() != "*":
        raise no_such_key(key)
    if etag is not None and (current is None or not matches(etag, current.etag)):
        raise precondition_failed("If-Match")
    size = parameters.get("IfMatchSize", parameters.get("Size"))
    if size is not None and (current is None or current.size != size):
        raise precondition_failed("x-amz-if-match-size")
    modified = parameters.get("IfMatchLastModifiedTime", parameters.get("LastModifiedTime"))
    if modified is not None and (
        current is None or current.last_modified.replace(microsecond=0) != modified.replace(microsecond=0)
    ):
        raise precondition_failed("x-amz-if-match-last-modified-time")


def matches(header: str, etag: str) -> bool:
    """Whether one of the entity tags in ``header`` is ``etag``, or it is ``*``; quotes may be missing, as S3 allows."""
    for each in header.split(","):
        tag = each.strip()
        if tag == "*" or tag.removeprefix("W/").strip('"') == etag:
            return True
    return False


def _is_after(modified: datetime, when: datetime | None) -> bool:
    return when is not None and modified > when


def _not_modified(info: ObjectInfo) -> ServiceFault:
    headers = (("etag", f'"{info.etag}"'), ("last-modified", format_datetime(info.last_modified, usegmt=True)))
    return ServiceFault("NotModified", "Not Modified", status=304, headers=headers)
