"""Records as JSON, and the routes beside them."""

from __future__ import annotations

import json
import string
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentrail.core.errors import FormatError
from opentrail.core.events import (
    EntryRoute,
    Event,
    Receiver,
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
ACCOUNTS = st.text(string.digits, min_size=12, max_size=12)
ORGANIZATIONS = st.lists(WORDS, max_size=2).map(tuple)


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
        account_id=ACCOUNTS,
        region=WORDS,
        category=st.sampled_from(["Management", "Data"]),
        read_only=st.booleans(),
        event_source=WORDS,
        event_type=WORDS,
        own=st.booleans(),
        organization_ids=ORGANIZATIONS,
        shared_with=st.lists(st.builds(Receiver, ACCOUNTS, ORGANIZATIONS), max_size=3).map(tuple),
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


@pytest.mark.parametrize(
    "changes",
    [
        {"region": "eu|west"},
        {"account_id": "1,2"},
        {"organization_ids": ("o-a/o-b",)},
        {"shared_with": (Receiver("2" * 12, ("o-a,o-b",)),)},
    ],
)
def test_a_separator_in_a_route_is_refused(changes: dict[str, Any]) -> None:
    route = EntryRoute(1, 1, "1" * 12, "eu-west-1", "Data", True, "s3.amazonaws.com", "AwsApiCall")
    with pytest.raises(FormatError):
        format_route(route._replace(**changes))


def test_a_route_names_the_account_of_its_record_first() -> None:
    other = Receiver("2" * 12, ("o-b",))
    route = EntryRoute(1, 1, "1" * 12, "eu-west-1", "Data", True, "s3.amazonaws.com", "AwsApiCall", False, (), (other,))
    assert route.receivers == (Receiver("1" * 12), other)
    assert b"|111111111111,222222222222/o-b|" in format_route(route)


@given(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001  bounds are naive
def test_times_are_cut_to_whole_seconds(moment: datetime) -> None:
    assert parse_time(format_time(moment)) == moment.replace(microsecond=0)


@given(st.text())
def test_any_text_is_a_time_or_a_format_error(text: str) -> None:
    try:
        parse_time(text)
    except FormatError:
        return
