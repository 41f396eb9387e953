"""The HTTP call that a record tells of: what was sent, and what was answered, as far as a record says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from opentrail.core.wire.calls import WireAnswer

CONTENT = "content"

_FORBIDDEN = frozenset(
    {"AccessDenied", "Client.UnauthorizedOperation", "InvalidAccessKeyId", "RequestTimeTooSkewed"}
    | {"SignatureDoesNotMatch"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuiltCall:
    """A request, without what authenticates it, and the answer that an upstream would have given."""

    operation: str  # botocore's name, of which the record may know another
    method: str
    path: str  # percent-encoded
    query: str  # without "?"
    headers: tuple[tuple[str, str], ...]  # names in lower case; with the Host, where the record tells it
    body: bytes
    answer: WireAnswer


def error_status(code: str) -> int:
    """An HTTP status that goes with an error's code; the record does not tell the one that was sent."""
    if code.startswith("Server."):
        return 500
    if code.startswith(("NoSuch", "NotFound")) or code.endswith(("NotFound", "NotFoundError")):
        return 404
    return 403 if code in _FORBIDDEN else 400


def scalar_text(value: Any) -> str:
    """The text that a recorded scalar was on the wire."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)


def element(name: str, value: Any) -> str:
    """The XML of which ``value`` is the JSON (``core/recording/sent_xml.py``), as the element ``name``."""
    if isinstance(value, list):
        return "".join(element(name, each) for each in value)
    if not isinstance(value, Mapping):
        return f"<{name}>{escape(scalar_text(value))}</{name}>"
    attributes, inner = "", ""
    for key, each in value.items():
        if key == CONTENT and not isinstance(each, Mapping | list):
            inner += escape(scalar_text(each))
        elif key.startswith(("xmlns", "xsi:")):
            attributes += f" {key}={quoteattr(scalar_text(each))}"
        else:
            inner += element(key, each)
    return f"<{name}{attributes}>{inner}</{name}>"
