"""Requests that two readers could read in two ways: ``ambiguous_head``, ``ambiguous_body``.

What is recorded and authorised is what Opentrail reads; what is done is what the upstream reads.  The AWS protocols do
not say which of two values counts, and implementations differ: one takes the first, one the last, one looks for an
``Action`` in the query before it looks at ``X-Amz-Target``, one lets a header replace the method.  So a request that
says a thing twice, or in two places, is refused, in the protocol's own words and in both modes.  No AWS client sends
one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import partial
from typing import Any

import orjson

from opentrail.core.errors import FormatError, ServiceFault
from opentrail.core.http import HttpRequest
from opentrail.core.wire.binding import input_binding
from opentrail.core.wire.codec_query import decode_pairs
from opentrail.core.wire.inflate import inflate_body
from opentrail.core.wire.model import Operation, Shape
from opentrail.core.wire.protocols import PROTOCOLS
from opentrail.core.wire.routing import Route

_FORM = frozenset({"query", "ec2"})
_JSON = frozenset({"json", "rest-json"})
_SINGLE = frozenset({"authorization", "content-md5", "content-type", "host", "range", "date", "smithy-protocol"})

#: Headers by which web frameworks replace the method or the path of a request; no AWS client sends them.
_REPLACING = frozenset(
    {"x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url"}
)
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_LEADING_ZEROS = re.compile(r"\.0+(?=[0-9])")


def ambiguous_head(route: Route, request: HttpRequest) -> ServiceFault | None:
    """Why the head of ``request`` could be read in two ways; None where it cannot."""
    names = [name for name, _ in request.headers.pairs]
    distinct = set(names)
    if len(distinct) < len(names):
        twice = next((name for name in names if _is_single(name) and names.count(name) > 1), "")
        if twice:
            return _invalid(f"The header {twice} was sent more than once.")
    replacing = distinct & _REPLACING
    if replacing:
        return _invalid(f"The header {min(replacing)} is not supported.")
    is_known = route.service.name != "unknown"  # whoever knows the service knows its protocol
    if is_known and "x-amz-target" in distinct and (route.protocol != "json" or "smithy-protocol" in distinct):
        return _invalid("The header x-amz-target names an operation of another protocol than the request's.")
    if is_known and "smithy-protocol" in distinct and route.protocol != "smithy-rpc-v2-cbor":
        return _invalid("The header smithy-protocol names another protocol than the request's.")
    return _ambiguous_query(route, request.query) if request.query else None


def ambiguous_body(route: Route, request: HttpRequest, document: bytes) -> ServiceFault | None:
    """Why ``document``, the body of ``request``, could be read in two ways; None where it cannot.

    A body that cannot be read at all is for the protocol's reader to refuse.
    """
    operation = route.operation
    try:
        if route.protocol in _FORM or (operation is None and route.operation_name and not _is_json(document)):
            found = _repeated_in_form(route, document, request.query if request.method == "POST" else "")
        elif document and route.protocol in _JSON:
            if operation is not None and operation.request_compression:
                document = inflate_body(request, document)
            found = "" if _is_of_the_users_making(operation) else _repeated_in_json(document, operation)
        else:
            return None
    except (FormatError, ServiceFault, UnicodeDecodeError):
        return None
    return PROTOCOLS[route.protocol].refuse(route, FormatError(found)) if found else None


def _is_single(name: str) -> bool:
    return name in _SINGLE or (name.startswith("x-amz-") and not name.startswith("x-amz-meta-"))


def _invalid(text: str) -> ServiceFault:
    return ServiceFault("InvalidRequest", text)


def _ambiguous_query(route: Route, query: str) -> ServiceFault | None:
    """A parameter that is for one value and has two, or an ``Action`` where none is read."""
    try:
        names = [name for name, _ in decode_pairs(query)]
    except FormatError:
        return None  # for the protocol's reader to refuse
    operation = route.operation
    is_form = route.protocol in _FORM
    if len(set(names)) < len(names) and (is_form or operation is not None or route.service.name == "s3"):
        may_repeat = None if is_form or operation is None else partial(_may_repeat, operation)
        twice = _first_repeated(name for name in names if not (may_repeat and may_repeat(name)))
        if twice:
            return ServiceFault("InvalidArgument", f"The query parameter {twice!r} was given more than once.")
    names_action = not is_form and operation is not None and any(name.lower() == "action" for name in names)
    if operation is not None and names_action and "Action" not in input_binding(operation).query:
        return _invalid("The query names an Action, which is none of this protocol's parameters.")
    return None


def _may_repeat(operation: Operation, name: str) -> bool:
    """Whether the query parameter ``name`` of ``operation`` may come more than once: a list's, or a map's of lists."""
    shape, binding = operation.input, input_binding(operation)
    if shape is None or binding.query_map:
        return True
    return name in binding.query and shape.members[binding.query[name][0]].type == "list"


def _first_repeated(names: Iterable[str]) -> str:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return ""


def _repeated_in_form(route: Route, document: bytes, query: str) -> str:
    """What a form says twice: names differ by more than case and an index's leading zeros."""
    pairs = decode_pairs(f"{document.decode()}&{query}")
    twice = _first_repeated(_LEADING_ZEROS.sub(".", name).lower() for name, _ in pairs)
    if twice:
        return f"the parameter {twice!r} was given more than once"
    action = next((value for name, value in pairs if name == "Action"), route.operation_name)
    return "" if action == route.operation_name else "the parameter Action is not the operation's plain name"


def _is_json(document: bytes) -> bool:
    return document.lstrip()[:1] in {b"{", b"["}


def _is_of_the_users_making(operation: Operation | None) -> bool:
    """Whether the body is one member that no model describes: what a Lambda function is invoked with."""
    payload = "" if operation is None else input_binding(operation).payload
    if operation is None or operation.input is None or not payload:
        return False
    return operation.input.members[payload].type != "structure"


def _repeated_in_json(document: bytes, operation: Operation | None) -> str:
    """What a JSON document says twice: a key of one object, or a member's name in another case beside its own."""
    try:
        value = orjson.loads(document)
    except orjson.JSONDecodeError:
        return _repeated_slowly(document)
    pairs = _count_pairs(value)
    # Each pair has a colon, and all others stand in strings: no key was lost where there are as many as pairs.
    if document.count(b":") != pairs and _STRING.sub(b"", document).count(b":") != pairs:
        return "an object has a key twice"
    if operation is not None and type(value) is dict:
        members = _members_by_case(operation)
        for key in value:
            if members.get(key.lower(), key) != key:
                return f"the member {members[key.lower()]} is spelled {key!r}"
    return ""


def _repeated_slowly(document: bytes) -> str:
    """The same of what orjson does not read: other encodings, numbers out of range."""
    repeated: list[str] = []

    def see(pairs: list[tuple[str, Any]]) -> None:
        repeated.extend(filter(None, [_first_repeated(name for name, _ in pairs)]))

    try:
        json.loads(document, object_pairs_hook=see)
    except (ValueError, RecursionError):
        return ""
    return "an object has a key twice" if repeated else ""


def _count_pairs(value: Any) -> int:
    """How many keys the objects within ``value`` have together."""
    count = 0
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            count += len(item)
            waiting += [each for each in item.values() if isinstance(each, dict | list)]
        elif isinstance(item, list):
            waiting += [each for each in item if isinstance(each, dict | list)]
    return count


def _members_by_case(operation: Operation) -> dict[str, str]:
    """The members that a document of ``operation`` may have, by their names in lower case; each compiled once."""
    known: dict[str, str] | None = operation.compiled.get("members-by-case")
    if known is None:
        known = operation.compiled["members-by-case"] = _find_members(operation.input)
        if operation.input is not None and input_binding(operation).payload:
            known.clear()  # the document is one member's, which may be a map with any keys
    return known


def _find_members(shape: Shape | None) -> dict[str, str]:
    names = [] if shape is None else [member.wire_name(name) for name, member in shape.members.items()]
    lowered = {name.lower(): name for name in names}
    return lowered if len(lowered) == len(names) else {}  # where a model has both spellings, both are good
