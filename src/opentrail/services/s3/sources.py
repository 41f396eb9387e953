"""The source of a copy: ``x-amz-copy-source``."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from opentrail.services.s3.faults import invalid_argument


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySource:
    """A bucket and a key."""

    bucket: str
    key: str


def parse_copy_source(header: str) -> CopySource:
    """The bucket and key that ``header`` names: ``bucket/key``, percent-encoded, perhaps with ``?versionId=null``.

    Raises ``ServiceFault`` InvalidArgument.
    """
    path, mark, version = header.partition("?versionId=")
    bucket, slash, key = unquote(path).removeprefix("/").partition("/")
    if not slash or not bucket or not key or bucket.startswith("arn:"):
        message = "Copy Source must mention the source bucket and key: sourcebucket/sourcekey"
        raise invalid_argument(message, "x-amz-copy-source", header)
    if mark and version != "null":
        raise invalid_argument("Invalid version id specified", "x-amz-copy-source", header)
    return CopySource(bucket=bucket, key=key)
