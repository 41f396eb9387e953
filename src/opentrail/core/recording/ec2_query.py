"""An EC2 request as it was sent: its form, its names on the wire, and what of it is secret.

Source: Amazon EC2 API reference, "Query requests" (the names that belong to authentication are no parameters);
Smithy, "AWS EC2 query protocol" (a member goes by its query name, or by its location name with a capital).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opentrail.core.errors import FormatError
from opentrail.core.recording.redaction import collect_texts
from opentrail.core.wire import codec_query
from opentrail.core.wire.calls import ApiCall
from opentrail.core.wire.codec_query import Tree
from opentrail.core.wire.model import Shape

_NO_PARAMETERS = frozenset(
    {"Action", "Version", "AWSAccessKeyId", "Signature", "SignatureMethod", "SignatureVersion", "Timestamp", "Expires"}
    | {"SecurityToken"}
)
_SIGNATURE = "x-amz-"
_MAX_FORM_BYTES = 1024 * 1024


def sent_parameters(call: ApiCall) -> Tree:
    """The names and values of the form or query, nested at their dots; empty for a form that cannot be read."""
    form = call.raw_body if call.request.method == "POST" else call.request.query.encode()
    if len(form) > _MAX_FORM_BYTES:  # too much for any record
        return {}
    try:
        tree = codec_query.decode(form.decode())
    except (FormatError, UnicodeDecodeError):
        return {}
    return {
        name: value
        for name, value in tree.items()
        if name and name not in _NO_PARAMETERS and not name.lower().startswith(_SIGNATURE)
    }


def request_members(shape: Shape | None) -> Mapping[str, Shape]:
    """The members of a structure by their names in a query."""
    if shape is None or shape.type != "structure":
        return {}
    known: dict[str, Shape] | None = shape.compiled.get("ec2-request-names")
    if known is None:
        known = {}
        for name, member in shape.members.items():
            wire_name = member.query_name or capitalised(member.location_name or name)
            known.setdefault(wire_name, member)
        shape.compiled["ec2-request-names"] = known
    return known


def answer_members(shape: Shape | None) -> Mapping[str, Shape]:
    """The members of a structure by the names of their elements in an answer."""
    if shape is None or shape.type != "structure":
        return {}
    known: dict[str, Shape] | None = shape.compiled.get("ec2-answer-names")
    if known is None:
        known = {member.wire_name(name): member for name, member in shape.members.items()}
        shape.compiled["ec2-answer-names"] = known
    return known


def item_shape(shape: Shape | None) -> Shape | None:
    """The shape of a list's items, where there is one."""
    return shape.member if shape is not None and shape.type == "list" else None


def numbered(value: Any) -> list[tuple[int, Any]] | None:
    """The branches of ``value`` by their indices, in order; ``None`` where it is no list on the wire."""
    if not isinstance(value, Mapping):
        return None
    names = [name for name in value if name]
    if not names or not all(name.isascii() and name.isdigit() and len(name) < 10 for name in names):
        return None
    return sorted(((int(name), value[name]) for name in names), key=lambda item: item[0])


def own_text(value: Any) -> str | None:
    """The text of a name itself, which may have further names below it; ``None`` where it has none."""
    text = value.get("") if isinstance(value, Mapping) else value
    return text if isinstance(text, str) else None


def capitalised(name: str) -> str:
    """The name with its first letter in upper case."""
    return name[:1].upper() + name[1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """What is hidden, and how: what the model calls sensitive, and names that always are."""

    names: frozenset[str]  # in lower case
    replacement: str
    texts: list[str]  # of all that was hidden, filled on the way

    def are_in(self, name: str, shape: Shape | None) -> bool:
        """Whether a member of this name and shape is hidden."""
        return name.lower() in self.names or (shape is not None and shape.sensitive)

    def hide(self, value: Any) -> str:
        """What stands in the place of ``value``."""
        collect_texts(value, self.texts)
        return self.replacement
