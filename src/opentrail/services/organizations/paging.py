"""Organizations' pages: ``MaxResults`` (up to 20) and an opaque ``NextToken`` that names the last item before."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from opentrail.services.organizations.faults import invalid_input

_Item = TypeVar("_Item")

PAGE_ITEMS = 20


def paginate(
    items: Iterable[_Item], parameters: Mapping[str, Any], key_of: Callable[[_Item], str]
) -> tuple[list[_Item], dict[str, str]]:
    """The asked page of ``items`` in the order of their distinct keys, and the answer's NextToken.

    Raises ``ServiceFault`` InvalidInputException.
    """
    try:
        after = base64.b64decode(parameters.get("NextToken") or "", altchars=b"-_", validate=True).decode()
    except ValueError:
        raise invalid_input("INVALID_NEXT_TOKEN") from None
    rest = sorted((each for each in items if key_of(each) > after), key=key_of)
    limit = parameters.get("MaxResults") or PAGE_ITEMS
    page = rest[:limit]
    if len(rest) <= limit:
        return page, {}
    return page, {"NextToken": base64.urlsafe_b64encode(key_of(page[-1]).encode()).decode()}
