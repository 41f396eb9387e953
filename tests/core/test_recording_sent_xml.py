"""XML becomes the JSON that org.json makes of it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentrail.core.errors import FormatError
from opentrail.core.recording.sent_xml import MAX_DEPTH, decode, typed


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("null", None),
        ("7", 7),
        ("-7", -7),
        ("0", 0),
        ("-0", "-0"),
        ("007", "007"),
        ("+7", "+7"),
        ("0.5", 0.5),
        ("1.10", "1.10"),
        ("1e3", "1e3"),
        ("12345678.5", "12345678.5"),
        ("9223372036854775807", 9223372036854775807),
        ("9223372036854775808", "9223372036854775808"),
        ("\u0667", "\u0667"),
        ("", ""),
        ("text", "text"),
    ],
)
def test_scalars_have_the_types_that_they_read_as(text: str, value: Any) -> None:
    result = typed(text)
    assert (type(result), result) == (type(value), value)


@pytest.mark.parametrize(
    ("document", "value"),
    [
        ("<a/>", ("a", "")),
        ("<a> 7 </a>", ("a", 7)),
        ("<a><b>1</b></a>", ("a", {"b": 1})),
        ("<a><b>1</b><c/><b>2</b><b>x</b></a>", ("a", {"b": [1, 2, "x"], "c": ""})),
        ('<a xmlns="u:1"><b/></a>', ("a", {"xmlns": "u:1", "b": ""})),
        ('<a x="1">text</a>', ("a", {"x": 1, "content": "text"})),
        ("<a>one<b/>two</a>", ("a", {"b": "", "content": "onetwo"})),
        (
            '<G xmlns:xsi="u:x" xsi:type="Group"><URI>all &amp; sundry</URI></G>',
            ("G", {"xmlns:xsi": "u:x", "xsi:type": "Group", "URI": "all & sundry"}),
        ),
        ("<p:a><p:b>1</p:b></p:a>", ("p:a", {"p:b": 1})),
        ("<a><![CDATA[<7>]]></a>", ("a", "<7>")),
    ],
)
def test_elements_become_objects(document: str, value: tuple[str, Any]) -> None:
    assert decode(document.encode()) == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"text",
        b"<a>",
        b"<a></b>",
        b"<a>&unknown;</a>",
        b'<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>',
        "<a/>".encode("utf-16"),
        b"<a/><b/>",
        b"<a>" * (MAX_DEPTH + 1) + b"</a>" * (MAX_DEPTH + 1),
    ],
)
def test_what_is_no_plain_xml_is_refused(body: bytes) -> None:
    with pytest.raises(FormatError):
        decode(body)


@given(st.binary(max_size=100) | st.text(alphabet="<>/a&;'\"= x!-[]", max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with suppress(FormatError):
        name, _ = decode(body)
        assert name
