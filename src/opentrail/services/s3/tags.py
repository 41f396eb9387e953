"""Tag sets of buckets and objects: their rules and their text form.

Source: Amazon S3 user guide, "Categorizing your objects using tags".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from opentrail.core.errors import ServiceFault
from opentrail.services.s3.faults import invalid_argument

OBJECT_TAGS, BUCKET_TAGS = 10, 50
KEY_LIMIT, VALUE_LIMIT = 128, 256  # characters


def parse_tag_set(tag_set: Sequence[Mapping[str, Any]], limit: int) -> dict[str, str]:
    """The tags of a ``Tagging`` document.  Raises ``ServiceFault`` InvalidTag or BadRequest."""
    pairs = [(str(tag.get("Key", "")), str(tag.get("Value", ""))) for tag in tag_set]
    return _checked(pairs, limit)


def parse_tag_header(header: str) -> dict[str, str]:
    """The tags of an ``x-amz-tagging`` header, a query string.  Raises ``ServiceFault``."""
    try:
        pairs = parse_qsl(header, keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        message = "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without "
        raise invalid_argument(message + "tag name duplicates.", "x-amz-tagging", header) from None
    return _checked(pairs, OBJECT_TAGS)


def parse_tags(text: str) -> dict[str, str]:
    """Tags in their stored form."""
    tags: dict[str, str] = json.loads(text)
    return tags


def format_tags(tags: Mapping[str, str]) -> str:
    """Tags in their stored form, a JSON object: the shortest that holds any tag."""
    return json.dumps(dict(tags), ensure_ascii=False, separators=(",", ":"))


def tag_members(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as a ``TagSet``."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _checked(pairs: Sequence[tuple[str, str]], limit: int) -> dict[str, str]:
    if len(pairs) > limit:
        what = "Object" if limit == OBJECT_TAGS else "Bucket"
        raise ServiceFault("BadRequest", f"{what} tags cannot be greater than {limit}")
    tags: dict[str, str] = {}
    for key, value in pairs:
        if not 1 <= len(key) <= KEY_LIMIT:
            raise ServiceFault("InvalidTag", "The TagKey you have provided is invalid", fields={"TagKey": key[:200]})
        if len(value) > VALUE_LIMIT:
            raise ServiceFault("InvalidTag", "The TagValue you have provided is invalid", fields={"TagKey": key})
        if key.lower().startswith("aws:"):
            raise ServiceFault("InvalidTag", "System tags cannot be added/updated by requester", fields={"TagKey": key})
        if key in tags:
            message = "Cannot provide multiple Tags with the same key"
            raise ServiceFault("InvalidTag", message, fields={"TagKey": key})
        tags[key] = value
    return tags
