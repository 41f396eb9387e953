"""IAM's pages: ``MaxItems`` and an opaque ``Marker`` that names the last item of the page before.

An item that goes away between two pages moves nothing: the next page begins behind where it stood.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from opentrail.services.iam.faults import validation_error

_Item = TypeVar("_Item")

DEFAULT_ITEMS = 100
_NAME_BYTES = 200  # a marker has at most 320 characters


def max_items(parameters: Mapping[str, Any]) -> int:
    """How many items the caller takes at most."""
    return int(parameters.get("MaxItems") or DEFAULT_ITEMS)


def parse_marker(parameters: Mapping[str, Any]) -> str:
    """The item after which the page begins (``""``: the first page).  Raises ``ServiceFault`` ValidationError."""
    try:
        marker = _read_marker(parameters).decode()
    except ValueError:
        raise validation_error("Invalid Marker.") from None
    if not marker.isprintable():  # not every database takes such a text
        raise validation_error("Invalid Marker.")
    return marker


def page_members(
    items: Sequence[_Item], limit: int, name_of: Callable[[_Item], str]
) -> tuple[Sequence[_Item], Mapping[str, Any]]:
    """The page out of ``items``, which begin behind its marker, and the answer's IsTruncated and Marker."""
    page = items[:limit]
    if len(items) <= limit:
        return page, {"IsTruncated": False}
    marker = base64.urlsafe_b64encode(_place(name_of(page[-1]))).decode()
    return page, {"IsTruncated": True, "Marker": marker}


def paginate(
    items: Sequence[_Item], parameters: Mapping[str, Any], name_of: Callable[[_Item], str]
) -> tuple[Sequence[_Item], Mapping[str, Any]]:
    """The asked page of all ``items``, by their distinct names, and IsTruncated and Marker.

    Raises ``ServiceFault`` ValidationError.
    """
    after = _read_marker(parameters)
    later = sorted((item for item in items if _place(name_of(item)) > after), key=lambda item: _place(name_of(item)))
    return page_members(later, max_items(parameters), name_of)


def _place(name: str) -> bytes:
    """Where a name stands among others: its own bytes, or where they are too many for a marker, their beginning."""
    data = name.encode()
    return data if len(data) <= _NAME_BYTES else data[:_NAME_BYTES] + hashlib.sha256(data).digest()


def _read_marker(parameters: Mapping[str, Any]) -> bytes:
    try:
        return base64.b64decode(parameters.get("Marker") or "", altchars=b"-_", validate=True)
    except ValueError:
        raise validation_error("Invalid Marker.") from None
