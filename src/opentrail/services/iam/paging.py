"""IAM's pages: ``MaxItems`` and an opaque ``Marker`` that names the last item of the page before."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from opentrail.core.errors import ServiceFault

_Item = TypeVar("_Item")

DEFAULT_ITEMS = 100


def max_items(parameters: Mapping[str, Any]) -> int:
    """How many items the caller takes at most."""
    return int(parameters.get("MaxItems") or DEFAULT_ITEMS)


def parse_marker(parameters: Mapping[str, Any]) -> str:
    """The item after which the page begins (``""``: the first page).

    Raises ``ServiceFault`` ValidationError.
    """
    try:
        return base64.b64decode(parameters.get("Marker") or "", altchars=b"-_", validate=True).decode()
    except ValueError:
        raise ServiceFault("ValidationError", "Invalid Marker.") from None


def page_members(
    items: Sequence[_Item], limit: int, name_of: Callable[[_Item], str]
) -> tuple[Sequence[_Item], Mapping[str, Any]]:
    """The page out of ``items``, which begin behind its marker, and the answer's IsTruncated and Marker."""
    page = items[:limit]
    if len(items) <= limit:
        return page, {"IsTruncated": False}
    marker = base64.urlsafe_b64encode(name_of(page[-1]).encode()).decode()
    return page, {"IsTruncated": True, "Marker": marker}


def paginate(
    items: Sequence[_Item], parameters: Mapping[str, Any], name_of: Callable[[_Item], str]
) -> tuple[Sequence[_Item], Mapping[str, Any]]:
    """The asked page of all ``items``, which are sorted by their distinct names, and IsTruncated and Marker.

    Raises ``ServiceFault`` ValidationError.
    """
    after = parse_marker(parameters)
    return page_members([each for each in items if name_of(each) > after], max_items(parameters), name_of)
