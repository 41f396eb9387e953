"""Records as JSON, and the routes beside them."""

from __future__ import annotations

import json
import string
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentrail.core.errors import FormatError
from opentrail.core.events import (
    EntryRoute,
    Event,
    encode_event,
    encode_json,
    format_route,
    format_time,
    parse_event,
    parse_route,
    parse_time,
)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
WORDS = st.text(alphabet=string.ascii_lowercase + string.digits + ".-_", max_size=20)


@given(st.dictionaries(st.text(), JSON_VALUES, max_size=6))
def test_a_record_survives_encoding_and_parsing(record: dict[str, object]) -> None:
    assert parse_event(encode_event(Event(record=record))).record == record


@pytest.mark.parametrize("value", ["\ud800", {"a": "x\udfff"}, 2**70, [-(2**64)]])
def test_what_orjson_refuses_is_encoded_all_the_same(value: object) -> None:
    assert json.loads(encode_json(value)) == value


@given(st.binary())
def test_any_bytes_are_a_record_or_a_format_error(data: bytes) -> None:
    try:
        event = parse_event(data)
    except FormatError:
        return
    assert isinstance(event.record, dict)


@given(
    st.builds(
        EntryRoute,
        before=st.integers(0, 2**40),
        generation=st.integers(0, 2**40),
        account_id=st.text(string.digits, min_size=12, max_size=12),
        region=WORDS,
        category=st.sampled_from(["Management", "Data"]),
        read_only=st.booleans(),
        event_source=WORDS,
        event_type=WORDS,
        own=st.booleans(),
    )
)
def test_a_route_survives_formatting_and_parsing(route: EntryRoute) -> None:
    assert parse_route(format_route(route)) == route


@given(st.binary())
def test_any_bytes_are_a_route_or_a_format_error(data: bytes) -> None:
    try:
        parse_route(data)
    except FormatError:
        return


def test_a_separator_in_a_route_is_refused() -> None:
    with pytest.raises(FormatError):
        format_route(EntryRoute(1, 1, "1" * 12, "eu|west", "Data", True, "s3.amazonaws.com", "AwsApiCall"))


@given(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001  bounds are naive
def test_times_are_cut_to_whole_seconds(moment: datetime) -> None:
    assert parse_time(format_time(moment)) == moment.replace(microsecond=0)


@given(st.text())
def test_any_text_is_a_time_or_a_format_error(text: str) -> None:
    try:
        parse_time(text)
    except FormatError:
        return
