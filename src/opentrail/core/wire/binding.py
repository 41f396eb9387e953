"""Members that live outside the body: in the path, the query, the headers, the status (rest-json, rest-xml).

Each operation's bindings are compiled once and kept in ``Operation.compiled``.  Rules:

* Absent is absent: a header or query parameter that is not there makes no member.
* A map bound to the query holds every query parameter but the template's own and the signature's
  (Smithy, ``httpQueryParams``).
* ``aws-chunked`` is how a signed body travels, not what it is: it never shows in a member.
* No control character leaves in a header, whatever a result holds.

A reader raises ``FormatError`` and nothing else.  Smithy, "HTTP bindings"; RFC 9110 (fields), RFC 2047 (S3 metadata).
"""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header
from typing import Any
from urllib.parse import unquote_to_bytes

from opentrail.core.errors import FormatError
from opentrail.core.http import Headers
from opentrail.core.wire import codec_json
from opentrail.core.wire.codec_query import decode_pairs
from opentrail.core.wire.model import Operation, Shape
from opentrail.core.wire.scalars import at, parse_timestamp, text_formatter, text_parser

Parse = Callable[[str], Any]

#: RFC 9110: a recipient ignores these where the date is none.
_IGNORED_IF_INVALID = frozenset({"if-modified-since", "if-unmodified-since"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_LIST_ITEM = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([^,]*))\s*(?:,|$)')
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputBinding:
    """Where each member of an operation's input comes from; ``(wire name, member, reader)`` each."""

    labels: tuple[tuple[str, str, Parse], ...]
    query: Mapping[str, tuple[str, Callable[[list[str]], Any]]]
    query_map: tuple[str, Callable[[Mapping[str, list[str]]], Any]] | None
    headers: Mapping[str, tuple[str, Parse]]
    prefixes: tuple[tuple[str, str], ...]  # (header prefix, member)
    payload: str  # the member that is the body, or ""
    body: frozenset[str]  # the members that are in the body: no other may come from there


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputBinding:
    """Where each member of an operation's output goes."""

    headers: Mapping[str, tuple[str, Callable[[Any], str]]]  # member -> (header, writer)
    prefixes: Mapping[str, str]  # member -> header prefix
    status: str  # the member that is the status, or ""
    payload: str
    body: bool


def input_binding(operation: Operation) -> InputBinding:
    """The bindings of ``operation``'s input, compiled once."""
    compiled: InputBinding | None = operation.compiled.get("input-binding")
    if compiled is None:
        compiled = operation.compiled["input-binding"] = _compile_input(operation)
    return compiled


def output_binding(shape: Shape) -> OutputBinding:
    """The bindings of an output or exception ``shape``, compiled once."""
    compiled: OutputBinding | None = shape.compiled.get("output-binding")
    if compiled is None:
        compiled = shape.compiled["output-binding"] = _compile_output(shape)
    return compiled


def _compile_input(operation: Operation) -> InputBinding:
    shape = operation.input
    labels, query, headers, prefixes, query_map, body = [], {}, {}, [], None, []
    for name, member in shape.members.items() if shape else ():
        wire_name = member.wire_name(name)
        if member.location == "uri":
            labels.append((wire_name, name, _text_reader(member)))
        elif member.location == "querystring" and member.type == "map":
            literals = {part.partition("=")[0] for part in operation.request_uri.partition("?")[2].split("&")}
            query_map = (name, _query_map_reader(member, literals))
        elif member.location == "querystring":
            query[wire_name] = (name, _query_reader(member))
        elif member.location == "header":
            headers[wire_name.lower()] = (name, _header_reader(member, wire_name.lower()))
        elif member.location == "headers":
            prefixes.append((wire_name.lower() if member.location_name else "", name))
        else:
            body.append(name)
    return InputBinding(
        labels=tuple(labels),
        query=query,
        query_map=query_map,
        headers=headers,
        prefixes=tuple(prefixes),
        payload=shape.payload if shape else "",
        body=frozenset(body),
    )


def _text_reader(shape: Shape) -> Parse:
    return text_parser(shape) or _same


def _same(text: str) -> str:
    return text


def _query_reader(shape: Shape) -> Callable[[list[str]], Any]:
    if shape.type == "list":
        parse_item = _text_reader(shape.member)
        return lambda texts: [parse_item(text) for text in texts]
    parse_text = _text_reader(shape)
    return lambda texts: parse_text(texts[0])


def _query_map_reader(shape: Shape, literals: Collection[str]) -> Callable[[Mapping[str, list[str]]], Any]:
    parse_value = _query_reader(shape.value)
    return lambda query: {
        name: parse_value(texts)
        for name, texts in query.items()
        if name not in literals and not name.lower().startswith("x-amz-")
    }


def _header_reader(shape: Shape, header: str) -> Parse:
    if shape.jsonvalue:
        return _read_json_value
    if shape.type == "list":
        return _header_list_reader(shape.member)
    if shape.type in ("string", "character"):
        return header_text
    if header in _IGNORED_IF_INVALID:
        return _read_lenient_date
    return _text_reader(shape)


def _read_json_value(text: str) -> Any:
    try:
        return codec_json.decode(b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise FormatError("not JSON in base64") from error


def _read_lenient_date(text: str) -> Any:
    try:
        return parse_timestamp(text)
    except FormatError:
        return None


def _header_list_reader(shape: Shape) -> Parse:
    parse_item = _text_reader(shape)
    if shape.type == "timestamp" and shape.timestamp_format in ("", "rfc822"):
        return lambda text: [parse_item(item) for item in _split_dates(text)]
    return lambda text: [parse_item(item) for item in split_list(text)]


def _split_dates(text: str) -> list[str]:
    """HTTP dates hold one comma each."""
    parts = [part.strip() for part in text.split(",")]
    return [", ".join(parts[index : index + 2]) for index in range(0, len(parts), 2)] if text else []


def split_list(text: str) -> list[str]:
    """The items of a header that is a list: separated by commas, quoted where they hold one (RFC 9110, 5.6)."""
    if '"' not in text:
        return [item.strip() for item in text.split(",")] if text.strip() else []
    items, position = [], 0
    while position < len(text):
        match = _LIST_ITEM.match(text, position)
        if match is None:
            raise FormatError("not a list")
        quoted, plain = match.groups()
        items.append(plain.strip() if quoted is None else _ESCAPED.sub(r"\1", quoted))
        position = match.end()
    return items


def header_text(value: str) -> str:
    """A header's value as text: UTF-8 where its bytes are, else Latin-1."""
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _metadata_text(value: str) -> str:
    """A metadata header as text; S3 decodes RFC 2047 words."""
    if "=?" not in value:
        return header_text(value)
    try:
        parts = decode_header(value)
        return "".join(part if isinstance(part, str) else part.decode(charset or "latin-1") for part, charset in parts)
    except (HeaderParseError, UnicodeError, LookupError, ValueError):
        return value


def decode_label(text: str) -> str:
    """A path segment as text.

    Raises ``FormatError`` where its bytes are no UTF-8.
    """
    if "%" not in text:
        return text
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError as error:
        raise FormatError("percent-encoded text is not UTF-8") from error


def read_members(operation: Operation, labels: Mapping[str, str], query: str, headers: Headers) -> dict[str, Any]:
    """The members of ``operation``'s input that are outside the body; ``labels`` and ``query`` are percent-encoded.

    Raises ``FormatError``.
    """
    binding = input_binding(operation)
    result: dict[str, Any] = {}
    for label, name, parse in binding.labels:
        text = labels.get(label)
        if text is not None:
            result[name] = _parse_at(label, parse, decode_label(text))
    if query:
        _read_query(binding, query, result)
    if binding.headers:
        for header, text in _fields(binding, headers).items():
            name, parse = binding.headers[header]
            value = _parse_at(header, parse, text)
            if value is not None:
                result[name] = value
    for prefix, name in binding.prefixes:
        _read_prefixed(prefix, name, headers, result)
    return result


def _parse_at(place: str, parse: Callable[[Any], Any], wire: Any) -> Any:
    try:
        return parse(wire)
    except FormatError as error:
        raise at(place, error) from None


def _read_query(binding: InputBinding, query: str, result: dict[str, Any]) -> None:
    texts: dict[str, list[str]] = {}
    for name, value in decode_pairs(query):
        texts.setdefault(name, []).append(value)
    for name, values in texts.items():
        field = binding.query.get(name)
        if field is not None:
            result[field[0]] = _parse_at(name, field[1], values)
    if binding.query_map is not None:
        name, read_map = binding.query_map
        result[name] = read_map(texts)


def _fields(binding: InputBinding, headers: Headers) -> dict[str, str]:
    """The fields that are bound to members, lines of one name joined."""
    fields: dict[str, str] = {}
    for name, value in headers.pairs:
        if name in binding.headers:
            fields[name] = f"{fields[name]},{value}" if name in fields else value
    if "aws-chunked" in fields.get("content-encoding", ""):
        codings = [coding for coding in split_list(fields.pop("content-encoding")) if coding != "aws-chunked"]
        if codings:
            fields["content-encoding"] = ",".join(codings)
    if "content-length" in fields:
        fields["content-length"] = headers.get("x-amz-decoded-content-length", fields["content-length"])
    return fields


def _read_prefixed(prefix: str, name: str, headers: Headers, result: dict[str, Any]) -> None:
    found: dict[str, str] = {}
    for header, value in headers.pairs:
        if header.startswith(prefix) and len(header) > len(prefix):
            key = header[len(prefix) :]
            text = _metadata_text(value)
            found[key] = f"{found[key]},{text}" if key in found else text
    if found:
        result[name] = found


def _compile_output(shape: Shape) -> OutputBinding:
    headers, prefixes, status, body = {}, {}, "", False
    for name, member in shape.members.items():
        wire_name = member.wire_name(name)
        if member.location == "header":
            headers[name] = (wire_name, _header_writer(member))
        elif member.location == "headers":
            prefixes[name] = wire_name if member.location_name else ""
        elif member.location == "statusCode":
            status = name
        else:
            body = True
    return OutputBinding(headers=headers, prefixes=prefixes, status=status, payload=shape.payload, body=body)


def _header_writer(shape: Shape) -> Callable[[Any], str]:
    if shape.jsonvalue:
        return lambda value: b64encode(json.dumps(value, separators=(",", ":")).encode()).decode("ascii")
    if shape.type == "list":
        format_item = text_formatter(shape.member, "rfc822")
        quoted = shape.member.type == "string"
        return lambda value: ", ".join(_quote(format_item(item)) if quoted else format_item(item) for item in value)
    return text_formatter(shape, "rfc822")


def _quote(text: str) -> str:
    if '"' not in text and "," not in text:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def safe_header(text: str) -> str:
    """``text`` fit to be a header's value: no control characters, UTF-8 bytes where it is not Latin-1 text."""
    if _CONTROL.search(text):
        text = _CONTROL.sub(" ", text)
    return text if text.isascii() else text.encode("utf-8", "replace").decode("latin-1")


def _metadata_header(text: str) -> str:
    """Metadata beyond ASCII leaves as an RFC 2047 word, as S3 sends it."""
    if text.isascii():
        return safe_header(text)
    return f"=?UTF-8?B?{b64encode(text.encode('utf-8', 'replace')).decode('ascii')}?="


def write_headers(shape: Shape, result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The headers that ``result``, a value of ``shape``, is bound to."""
    binding = output_binding(shape)
    headers = []
    for name, value in result.items():
        if value is None:
            continue
        field = binding.headers.get(name)
        if field is not None:
            headers.append((field[0], safe_header(field[1](value))))
        elif name in binding.prefixes:
            prefix = binding.prefixes[name]
            headers.extend((safe_header(prefix + key), _metadata_header(str(item))) for key, item in value.items())
    return headers


def read_outside(shape: Shape, status: int, headers: Headers) -> dict[str, Any]:
    """The members of an output or exception ``shape`` that its answer's status and headers hold.

    What cannot be read is left out: the answer is someone else's.
    """
    binding = output_binding(shape)
    result: dict[str, Any] = {binding.status: status} if binding.status else {}
    for name, (header, _) in binding.headers.items():
        lowered = header.lower()
        if lowered in headers:
            with suppress(FormatError):
                result[name] = _header_reader(shape.members[name], "")(", ".join(headers.get_all(lowered)))
    for name, prefix in binding.prefixes.items():
        _read_prefixed(prefix.lower(), name, headers, result)
    return result
