"""XML bodies: elements to parameters, results to text (rest-xml; the answers of query and ec2).

Rules: no document type, so no entities beyond XML's own five; UTF-8 alone; ``MAX_DEPTH`` levels.  Namespaces and
attributes without a member are ignored.  S3 refuses what its schema does not know, other services ignore it; a lenient
reader, for answers that someone else wrote, refuses nobody and leaves out the members that it cannot read.
A reader raises ``FormatError`` and nothing else.  Smithy, "XML bindings".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from xml.etree import ElementTree as ET

from opentrail.core.errors import FormatError
from opentrail.core.wire.model import Shape
from opentrail.core.wire.scalars import Format, at, text_formatter, text_parser

MAX_DEPTH = 100

Element = ET.Element
Read = Callable[[Element], Any]
ReadMember = Callable[[dict[str, Any], Element], None]
Write = Callable[[list[str], Any], None]

#: Where a member of an answer can be but in its body; a path or query is no part of an answer.
OUTSIDE = frozenset({"header", "headers", "statusCode"})

_SPECIAL = re.compile('[&<>"\r\x00-\x08\x0b\x0c\x0e-\x1f]')
_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}


def decode(body: bytes) -> Element:
    """The root element of ``body``.

    Raises ``FormatError``.
    """
    # NUL is in all UTF-16, which the parser would take for what its byte order mark says, document type and all.
    if b"<!DOCTYPE" in body or b"\0" in body:
        raise FormatError("the body declares a document type, or is not UTF-8")
    # Safe: without a document type there is nothing to expand, and the encoding is ours, not the document's.
    parser = ET.XMLParser(encoding="utf-8")  # noqa: S314
    try:
        parser.feed(body)
        root: Element = parser.close()
    except (ET.ParseError, ValueError, LookupError) as error:
        raise FormatError("the body is not well-formed XML") from error
    if body.count(b"<") > MAX_DEPTH:
        _check_depth(root)
    return root


def _check_depth(root: Element) -> None:
    level = [root]
    for _ in range(MAX_DEPTH):
        level = [child for element in level for child in element]
        if not level:
            return
    raise FormatError("the body is nested too deep")


def escape(text: str) -> str:
    """``text`` as element content or attribute value; characters that XML forbids become references, as S3 does."""
    return _SPECIAL.sub(_reference, text) if _SPECIAL.search(text) else text


def _reference(match: re.Match[str]) -> str:
    character = match.group()
    return _NAMED.get(character) or f"&#x{ord(character):x};"


def parse(shape: Shape, body: bytes) -> Any:
    """The parameter of ``shape`` whose element ``body`` is, whatever the element's name.

    Raises ``FormatError``.
    """
    return reader(shape)(decode(body))


def reader(shape: Shape, *, lenient: bool = False) -> Read:
    """The function that turns an element into a parameter of ``shape``."""
    key = "xml-read-lenient" if lenient else "xml-read"
    compiled: Read | None = shape.compiled.get(key)
    if compiled is None:
        compiled = shape.compiled[key] = _READERS.get(shape.type, _scalar_reader)(shape, lenient)
    return compiled


def local_name(tag: str) -> str:
    """An element's name without its namespace."""
    return tag.rpartition("}")[2] if tag[:1] == "{" else tag


def member_element(name: str, shape: Shape) -> str:
    """The element that the member ``name`` is."""
    if shape.names_items and not shape.location_name:
        return shape.member.location_name
    return shape.wire_name(name)


def _unknown_element() -> FormatError:
    return FormatError("unknown element")


def _scalar_reader(shape: Shape, _lenient: bool) -> Read:  # noqa: FBT001  one signature for the table of readers
    parse_text = text_parser(shape)

    def read(element: Element) -> Any:
        if len(element):
            raise FormatError("an element where text is expected")
        text = element.text or ""
        return text if parse_text is None else parse_text(text)

    return read


def _structure_reader(shape: Shape, lenient: bool) -> Read:  # noqa: FBT001  one signature for the table of readers
    fields: dict[str, ReadMember] | None = None
    attributes: dict[str, tuple[str, Any]] = {}
    strict = shape.service.name == "s3" and not lenient

    def compile_members() -> dict[str, ReadMember]:
        compiled = {}
        for name, member in shape.members.items():
            if member.xml_attribute:
                attributes[member.wire_name(name).rpartition(":")[2]] = (name, text_parser(member))
            elif not member.location or (lenient and member.location not in OUTSIDE):
                compiled[member_element(name, member)] = _member_reader(name, member, lenient=lenient)
        return compiled

    def read(element: Element) -> dict[str, Any]:
        nonlocal fields
        if fields is None:
            fields = compile_members()
        result: dict[str, Any] = {}
        tag = ""
        try:
            for child in element:
                tag = local_name(child.tag)
                read_member = fields.get(tag)
                if read_member is not None:
                    read_member(result, child)
                elif strict:
                    raise _unknown_element()
        except FormatError as error:
            raise at(tag, error) from None
        if attributes:
            _read_attributes(attributes, element, result)
        return result

    return read


def _read_attributes(attributes: Mapping[str, tuple[str, Any]], element: Element, result: dict[str, Any]) -> None:
    for key, text in element.attrib.items():
        field = attributes.get(local_name(key))
        if field is not None:
            result[field[0]] = text if field[1] is None else field[1](text)


def _member_reader(name: str, shape: Shape, *, lenient: bool) -> ReadMember:
    """How a child element becomes the member ``name``: flattened ones gather, any other may come once."""
    if shape.flattened and shape.type == "list":

        def gather_item(result: dict[str, Any], child: Element) -> None:
            result.setdefault(name, []).append(reader(shape.member, lenient=lenient)(child))

        return _leniently(gather_item) if lenient else gather_item
    if shape.flattened and shape.type == "map":

        def gather_entry(result: dict[str, Any], child: Element) -> None:
            _read_entry(shape, child, result.setdefault(name, {}), lenient=lenient)

        return _leniently(gather_entry) if lenient else gather_entry

    def read_once(result: dict[str, Any], child: Element) -> None:
        if name in result:
            raise FormatError("more than one element")
        result[name] = reader(shape, lenient=lenient)(child)

    return _leniently(read_once) if lenient else read_once


def _leniently(read_member: ReadMember) -> ReadMember:
    def read(result: dict[str, Any], child: Element) -> None:
        with suppress(FormatError):
            read_member(result, child)

    return read


def _list_reader(shape: Shape, lenient: bool) -> Read:  # noqa: FBT001  one signature for the table of readers
    strict = shape.service.name == "s3" and not lenient
    item_name = shape.member.wire_name("member")

    def read(element: Element) -> list[Any]:
        read_item = reader(shape.member, lenient=lenient)
        result: list[Any] = []
        try:
            for child in element:
                if strict and local_name(child.tag) != item_name:
                    raise _unknown_element()
                result.append(read_item(child))
        except FormatError as error:
            raise at(f"[{len(result)}]", error) from None
        return result

    return read


def _map_reader(shape: Shape, lenient: bool) -> Read:  # noqa: FBT001  one signature for the table of readers
    def read(element: Element) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for entry in element:
            _read_entry(shape, entry, result, lenient=lenient)
        return result

    return read


def _read_entry(shape: Shape, entry: Element, result: dict[str, Any], *, lenient: bool) -> None:
    parts = {local_name(child.tag): child for child in entry}
    try:
        key = parts[shape.key.wire_name("key")]
        value = parts[shape.value.wire_name("value")]
    except KeyError as error:
        raise FormatError("a map entry without key or value") from error
    result[reader(shape.key)(key)] = reader(shape.value, lenient=lenient)(value)


_READERS: dict[str, Callable[[Shape, bool], Read]] = {
    "structure": _structure_reader,
    "list": _list_reader,
    "map": _map_reader,
}


def format(shape: Shape, value: Any, name: str, namespace: str = "") -> str:  # noqa: A001  the codecs' pair of verbs
    """A value of ``shape`` as the element ``name``, in ``namespace`` where one is given."""
    out: list[str] = []
    writer(shape, name, namespace)(out, value)
    return "".join(out)


def members(shape: Shape, value: Mapping[str, Any]) -> str:
    """A structure's members as elements, without an element around them."""
    writers: dict[str, Write | None] | None = shape.compiled.get("xml-members")
    if writers is None:
        writers = shape.compiled["xml-members"] = _member_writers(shape)
    out: list[str] = []
    for name, item in value.items():
        assert name in writers, f"{shape.name} has no member {name}"
        write = writers[name]
        if item is not None and write is not None:
            write(out, item)
    return "".join(out)


def _member_writers(shape: Shape) -> dict[str, Write | None]:
    """How each member of a structure is written; None for one that is no element."""
    return {
        name: None
        if member.xml_attribute or member.location in OUTSIDE
        else writer(member, member_element(name, member))
        for name, member in shape.members.items()
    }


def writer(shape: Shape, name: str, namespace: str = "") -> Write:
    """The function that appends a value of ``shape`` as the element ``name`` to a list of text."""
    key = ("xml-write", name, namespace)
    compiled: Write | None = shape.compiled.get(key)
    if compiled is None:
        make = _WRITERS.get(shape.type, _scalar_writer)
        compiled = shape.compiled[key] = make(shape, name, _opening(shape, name, namespace))
    return compiled


def _opening(shape: Shape, name: str, namespace: str) -> str:
    """The start tag without its closing bracket."""
    if shape.xml_namespace is not None:
        return f'<{name} {shape.xml_namespace.attribute}="{escape(shape.xml_namespace.uri)}"'
    return f'<{name} xmlns="{escape(namespace)}"' if namespace else f"<{name}"


def _timestamp_default(shape: Shape) -> str:
    return "iso8601-milliseconds" if shape.service.name == "s3" else "iso8601"


def _scalar_writer(shape: Shape, name: str, opening: str) -> Write:
    start, end = f"{opening}>", f"</{name}>"
    if shape.type in ("string", "character"):
        return lambda out, value: out.append(f"{start}{escape(value)}{end}")
    to_text: Format = text_formatter(shape, _timestamp_default(shape))
    return lambda out, value: out.append(f"{start}{to_text(value)}{end}")


def _structure_writer(shape: Shape, name: str, opening: str) -> Write:
    fields: dict[str, Write | None] | None = None
    attributes: dict[str, tuple[str, Format]] = {}
    end = f"</{name}>"

    def compile_members() -> dict[str, Write | None]:
        for member_name, member in shape.members.items():
            if member.xml_attribute:
                attributes[member_name] = (member.wire_name(member_name), text_formatter(member, "iso8601"))
        return _member_writers(shape)

    def write(out: list[str], value: Mapping[str, Any]) -> None:
        nonlocal fields
        if fields is None:
            fields = compile_members()
        out.append(_start_tag(opening, attributes, value))
        for member_name, item in value.items():
            assert member_name in fields, f"{shape.name} has no member {member_name}"
            write_member = fields[member_name]
            if item is not None and write_member is not None:
                write_member(out, item)
        out.append(end)

    return write


def _start_tag(opening: str, attributes: Mapping[str, tuple[str, Format]], value: Mapping[str, Any]) -> str:
    if not attributes:
        return f"{opening}>"
    texts = [
        f' {wire_name}="{escape(to_text(value[name]))}"'
        for name, (wire_name, to_text) in attributes.items()
        if value.get(name) is not None
    ]
    # A prefixed attribute needs its prefix declared; the member's structure carries the declaration (S3's xsi:type).
    return f"{opening}{''.join(texts)}>"


def _list_writer(shape: Shape, name: str, opening: str) -> Write:
    if shape.flattened:
        return lambda out, value: _write_all(out, value, writer(shape.member, name, _namespace_uri(shape)))
    start, end = f"{opening}>", f"</{name}>"
    item_name = shape.member.wire_name("member")

    def write(out: list[str], value: Any) -> None:
        out.append(start)
        _write_all(out, value, writer(shape.member, item_name))
        out.append(end)

    return write


def _namespace_uri(shape: Shape) -> str:
    return "" if shape.xml_namespace is None or shape.xml_namespace.prefix else shape.xml_namespace.uri


def _write_all(out: list[str], value: Any, write_item: Write) -> None:
    for item in value:
        if item is not None:
            write_item(out, item)


def _map_writer(shape: Shape, name: str, opening: str) -> Write:
    entry_start, entry_end = (f"{opening}>", f"</{name}>") if shape.flattened else ("<entry>", "</entry>")
    start, end = ("", "") if shape.flattened else (f"{opening}>", f"</{name}>")
    key_name, value_name = shape.key.wire_name("key"), shape.value.wire_name("value")

    def write(out: list[str], value: Mapping[str, Any]) -> None:
        write_key, write_value = writer(shape.key, key_name), writer(shape.value, value_name)
        out.append(start)
        for key, item in value.items():
            if item is not None:
                out.append(entry_start)
                write_key(out, key)
                write_value(out, item)
                out.append(entry_end)
        out.append(end)

    return write


_WRITERS: dict[str, Callable[[Shape, str, str], Write]] = {
    "structure": _structure_writer,
    "list": _list_writer,
    "map": _map_writer,
}
