"""Byte ranges and part numbers: which bytes of an object a GET or HEAD asks for.

S3 answers one range; what is no well-formed single range is passed over (RFC 9110, section 14.2), as S3 does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opentrail.core.errors import ServiceFault
from opentrail.services.s3.faults import invalid_argument, invalid_request
from opentrail.services.s3.object_metadata import part_sizes
from opentrail.stores.base import ObjectInfo

_RANGE = re.compile(r"bytes=(?:([0-9]+)-([0-9]*)|-([0-9]+))", re.ASCII)
MAX_PART = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Bytes ``start`` to ``end`` (exclusive) of ``size``; ``parts_count`` where a part was asked for by number."""

    start: int
    end: int
    size: int
    partial: bool
    parts_count: int | None = None

    @property
    def members(self) -> dict[str, Any]:
        """The output members that say what is sent."""
        members: dict[str, Any] = {"ContentLength": self.end - self.start}
        if self.partial:
            members["ContentRange"] = f"bytes {self.start}-{self.end - 1}/{self.size}"
        if self.parts_count is not None:
            members["PartsCount"] = self.parts_count
        return members


def choose_span(parameters: Mapping[str, Any], info: ObjectInfo) -> Span:
    """The bytes that a GetObject or HeadObject asks for.

    Raises ``ServiceFault`` InvalidRange, InvalidPartNumber, InvalidRequest or InvalidArgument.
    """
    number = parameters.get("PartNumber")
    header = parameters.get("Range")
    if number is None:
        return _range_span(header, info.size) if header else _whole(info.size)
    if header:
        raise invalid_request("Cannot specify both Range header and partNumber query parameter")
    if not 1 <= number <= MAX_PART:
        message = f"Part number must be an integer between 1 and {MAX_PART}, inclusive"
        raise invalid_argument(message, "partNumber", number)
    return _part_span(number, info)


def parse_copy_range(text: str, size: int) -> tuple[int, int]:
    """The ``bytes=first-last`` of UploadPartCopy as start and exclusive end.  Raises ``ServiceFault``."""
    found = re.fullmatch(r"bytes=([0-9]+)-([0-9]+)", text, re.ASCII)
    start, last = (_offset(found[1]), _offset(found[2])) if found is not None else (1, 0)
    if start > last:
        message = "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the "
        raise invalid_argument(
            message + "zero-based offsets of the first and last bytes to copy", "x-amz-copy-source-range", text
        )
    if last >= size:
        message = f"Range specified is not valid for source object of size: {size}"
        raise invalid_argument(message, "x-amz-copy-source-range", text)
    return start, last + 1


def _whole(size: int) -> Span:
    return Span(start=0, end=size, size=size, partial=False)


def _range_span(header: str, size: int) -> Span:
    found = _RANGE.fullmatch(header.strip())
    if found is None:
        return _whole(size)
    first, last, suffix = found.groups()
    if suffix is not None:
        start, end = max(0, size - _offset(suffix)), size
    else:
        start, end = _offset(first), min(_offset(last) + 1, size) if last else size
        if last and _offset(last) < start:
            return _whole(size)
    if start >= size or start >= end:
        fields = {"RangeRequested": header, "ActualObjectSize": str(size)}
        headers = (("content-range", f"bytes */{size}"),)
        message = "The requested range is not satisfiable"
        raise ServiceFault("InvalidRange", message, status=416, fields=fields, headers=headers)
    return Span(start=start, end=end, size=size, partial=True)


def _offset(digits: str) -> int:
    """The number; of one that is longer than any offset as much as lies beyond them all."""
    return int(digits.lstrip("0")[:20] or "0")


def _part_span(number: int, info: ObjectInfo) -> Span:
    sizes = part_sizes(info)
    if number > max(1, len(sizes)):
        fields = {"PartNumberRequested": str(number), "ActualPartCount": str(max(1, len(sizes)))}
        message = "The requested partnumber is not satisfiable"
        raise ServiceFault("InvalidPartNumber", message, status=416, fields=fields)
    if not sizes:
        return Span(start=0, end=info.size, size=info.size, partial=info.size > 0)
    start = sum(sizes[: number - 1])
    end = start + sizes[number - 1]
    return Span(start=start, end=end, size=info.size, partial=end > start, parts_count=len(sizes))
