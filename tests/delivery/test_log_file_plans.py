"""Which journal entries go into which log file."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from opentrail.core.events import EntryRoute, format_route
from opentrail.core.logfiles import decode_log_file, log_file_size
from opentrail.core.selection import compile_selector
from opentrail.core.selectors import parse_event_selectors
from opentrail.core.trails import Trail
from opentrail.delivery.log_files import Group, GroupKey, Selection, encode_group, plan
from opentrail.journal.base import EntryKind, StoredEntry
from opentrail.state.trails import TrailRevision

ACCOUNT, REGION = "123456789012", "eu-central-1"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = GroupKey("arn", 1, ACCOUNT, REGION, "bucket", "")


def revision(name: str, chain: int | None = 1, **settings: Any) -> TrailRevision:
    trail = Trail(
        account_id=ACCOUNT,
        home_region=REGION,
        name=name,
        bucket=f"{name}-bucket",
        is_logging=chain is not None,
        **settings,
    )
    return TrailRevision(
        trail=trail,
        generation=1,
        created_generation=1,
        session=chain,
        chain=chain,
        created=NOW,
        started=NOW,
        stopped=None,
        selector=compile_selector(trail),
    )


def at(*generations: Mapping[str, TrailRevision]) -> Selection:
    """A selection over the trails of generation 0, 1, 2 ..."""
    return Selection(lambda number: MappingProxyType(dict(generations[number])))


def entry(
    position: int,
    *,
    before: int = 0,
    generation: int = 0,
    kind: EntryKind = EntryKind.EVENT,
    own: bool = False,
    category: str = "Management",
    resource: str = "",
) -> StoredEntry:
    source = "s3.amazonaws.com" if category == "Data" else "iam.amazonaws.com"
    record: dict[str, Any] = {
        "eventID": str(uuid.UUID(int=position)),
        "awsRegion": REGION,
        "recipientAccountId": ACCOUNT,
        "eventSource": source,
        "eventCategory": category,
        "eventType": "AwsApiCall",
        "readOnly": False,
    }
    if resource:
        record["resources"] = [{"type": "AWS::S3::Object", "ARN": resource}]
    route = EntryRoute(before, generation, ACCOUNT, REGION, category, False, source, "AwsApiCall", own)
    data = json.dumps(record).encode()
    return StoredEntry(position, kind, format_route(route), position * 1000, uuid.UUID(int=position).bytes, data)


def positions(group: Group) -> list[int]:
    return [uuid.UUID(json.loads(bytes(record))["eventID"]).int for record in group.records]


def test_intents_are_passed_over_and_move_the_cursor() -> None:
    made = plan(
        [entry(1, kind=EntryKind.INTENT), entry(2), entry(3, kind=EntryKind.INTENT)],
        at({"a": revision("a")}),
        after=0,
        generation=0,
    )
    assert [positions(group) for group in made.groups] == [[2]]
    assert made.position == 3


def test_recovered_events_are_delivered() -> None:
    made = plan([entry(1, kind=EntryKind.RECOVERED)], at({"a": revision("a")}), after=0, generation=0)
    assert [positions(group) for group in made.groups] == [[1]]


def test_each_trail_has_a_group_of_its_own() -> None:
    made = plan([entry(1), entry(2)], at({"a": revision("a"), "b": revision("b")}), after=0, generation=0)
    assert {group.key.bucket: positions(group) for group in made.groups} == {"a-bucket": [1, 2], "b-bucket": [1, 2]}


def test_the_generation_of_the_call_decides_not_that_of_today() -> None:
    logging, stopped = {"a": revision("a")}, {"a": revision("a", chain=None)}
    selection = at(logging, stopped)
    made = plan([entry(1, generation=0), entry(2, before=1, generation=1)], selection, after=0, generation=0)
    assert [positions(group) for group in made.groups] == [[1]]
    assert made.generation == 1


def test_the_call_that_stops_a_trail_stands_in_it_once() -> None:
    logging, stopped = {"a": revision("a")}, {"a": revision("a", chain=None)}
    made = plan([entry(1, before=0, generation=1)], at(logging, stopped), after=0, generation=0)
    assert [positions(group) for group in made.groups] == [[1]]
    both = plan([entry(1, before=0, generation=1)], at(logging, logging), after=0, generation=0)
    assert [positions(group) for group in both.groups] == [[1]]


def test_a_call_that_moves_a_trail_to_another_bucket_is_delivered_once() -> None:
    moved = revision("a")
    other = TrailRevision(
        trail=Trail(account_id=ACCOUNT, home_region=REGION, name="a", bucket="elsewhere", is_logging=True),
        generation=2,
        created_generation=1,
        session=1,
        chain=1,
        created=NOW,
        started=NOW,
        stopped=None,
        selector=moved.selector,
    )
    made = plan([entry(1, before=0, generation=1)], at({"a": moved}, {"a": other}), after=0, generation=0)
    assert sum(len(group.records) for group in made.groups) == 1


def test_only_the_record_tells_whether_a_data_event_is_selected() -> None:
    selectors = parse_event_selectors(
        [
            {
                "IncludeManagementEvents": False,
                "DataResources": [{"Type": "AWS::S3::Object", "Values": ["arn:aws:s3:::wanted/"]}],
            }
        ]
    )
    entries = [
        entry(1, category="Data", resource="arn:aws:s3:::wanted/k"),
        entry(2, category="Data", resource="arn:aws:s3:::other/k"),
        entry(3),
    ]
    made = plan(entries, at({"a": revision("a", event_selectors=selectors)}), after=0, generation=0)
    assert [positions(group) for group in made.groups] == [[1]]


def test_own_deliveries_are_kept_apart() -> None:
    made = plan([entry(1, own=True), entry(2)], at({"a": revision("a")}), after=0, generation=0)
    (group,) = made.groups
    assert positions(group) == [2]
    assert [time_ms for time_ms, _ in group.own] == [1000]


def test_times_span_all_records_in_any_order() -> None:
    made = plan([entry(5), entry(2), entry(9), entry(3)], at({"a": revision("a")}), after=0, generation=0)
    (group,) = made.groups
    assert (group.oldest_ms, group.newest_ms) == (2000, 9000)


@given(st.lists(st.integers(2, 60), min_size=1, max_size=40), st.integers(120, 400))
def test_files_of_a_group_keep_the_limit_the_order_and_every_record(sizes: list[int], limit: int) -> None:
    group = Group(key=KEY)
    records = [json.dumps({"n": number, "p": "x" * size}).encode() for number, size in enumerate(sizes)]
    for number, record in enumerate(records):
        group.add(number, record)
    parts = encode_group(group, limit)
    decoded = [decode_log_file(part.content.data) for part in parts]
    assert [record["n"] for part in decoded for record in part] == list(range(len(sizes)))
    assert all(part.content.size <= limit for part in parts)
    for first, second in zip(parts, decoded[1:], strict=False):
        joined = first.content.size + len(json.dumps(second[0])) + 1
        assert joined > limit, "a file is closed only when the next record does not fit"
    assert log_file_size(group.size, len(records)) <= limit or len(parts) > 1
