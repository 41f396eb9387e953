"""Channels and the memory of accepted events: durable, bounded, and never ahead of the database."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine

from opentrail.core.channels import Channel, Destination
from opentrail.core.errors import StorageError
from opentrail.state import channels as module
from opentrail.state.channels import AcceptedEvents, Channels, Ingestion

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CHANNEL = Channel(
    account_id="123456789012",
    region="us-east-1",
    id="c",
    name="orders",
    source="Custom",
    destinations=(Destination("AWS_SERVICE", "cloudtrail.amazonaws.com"),),
    tags={"a": "b"},
    created=NOW,
)
STATUS = Ingestion(attempt_time=NOW, attempt_event_id="x")


def keys(*numbers: int) -> list[bytes]:
    return [UUID(int=number).bytes for number in numbers]


def test_channels_outlive_the_process(engine: Engine) -> None:
    channels = Channels(engine)
    channels.change(CHANNEL.arn, lambda _all: CHANNEL)
    changed = replace(CHANNEL, policy="{}", name="other")
    channels.change(CHANNEL.arn, lambda _all: changed)
    assert Channels(engine).find(CHANNEL.arn) == changed == channels.find(CHANNEL.arn)
    assert Channels(engine).of_account("123456789012", "us-east-1") == [changed]
    channels.change(CHANNEL.arn, lambda _all: None)
    assert channels.find(CHANNEL.arn) is Channels(engine).find(CHANNEL.arn) is None


def test_memory_is_never_ahead_of_the_database(engine: Engine, commit_fault: Any) -> None:
    channels = Channels(engine)
    commit_fault.kept = False
    with pytest.raises(StorageError):
        channels.change(CHANNEL.arn, lambda _all: CHANNEL)
    assert channels.find(CHANNEL.arn) is Channels(engine).find(CHANNEL.arn) is None


def test_accepted_events_are_known_to_the_next_process(engine: Engine) -> None:
    accepted = AcceptedEvents(engine)
    accepted.add(keys(*range(1, 1200)), CHANNEL.arn, STATUS, NOW)
    accepted.add(keys(5, 2000), CHANNEL.arn, STATUS, NOW)
    accepted.add_found(keys(5, 3000), NOW)
    again = AcceptedEvents(engine)
    wanted = keys(*range(1, 1200), 2000, 3000)
    assert again.known([*wanted, *keys(4000)]) == set(wanted)
    assert again.known([]) == set()


def test_what_the_database_did_not_take_is_remembered_and_saved_later(engine: Engine, commit_fault: Any) -> None:
    accepted = AcceptedEvents(engine)
    commit_fault.kept = False
    with pytest.raises(StorageError):
        accepted.add(keys(1), CHANNEL.arn, STATUS, NOW)
    assert accepted.known(keys(1, 2)) == set(keys(1))
    accepted.add(keys(2), CHANNEL.arn, STATUS, NOW)
    assert AcceptedEvents(engine).known(keys(1, 2)) == set(keys(1, 2))


def test_the_memory_is_bounded_by_number_and_by_age(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PRUNE_EVERY", 1)
    monkeypatch.setattr(module, "KEPT_IDS", 10)
    accepted = AcceptedEvents(engine)
    for number in range(30):
        accepted.add(keys(number), CHANNEL.arn, STATUS, NOW)
    assert accepted.known(keys(*range(30))) == set(keys(*range(20, 30)))
    accepted.add(keys(99), CHANNEL.arn, STATUS, NOW + timedelta(days=8))
    assert accepted.known(keys(*range(30), 99)) == set(keys(99))


def test_calls_with_the_same_event_take_turns(engine: Engine) -> None:
    accepted = AcceptedEvents(engine)
    order: list[str] = []
    with accepted.claim(keys(1, 2)):
        second = threading.Thread(target=lambda: _claim(accepted, keys(2, 3), order))
        second.start()
        with accepted.claim(keys(4)):  # another's is free
            order.append("first")
    second.join(10)
    assert order == ["first", "second"]


def _claim(accepted: AcceptedEvents, wanted: list[bytes], order: list[str]) -> None:
    with accepted.claim(wanted):
        order.append("second")


def test_the_last_success_and_the_last_error_are_kept(engine: Engine) -> None:
    accepted = AcceptedEvents(engine)
    assert accepted.ingestion(CHANNEL.arn) is None
    good = Ingestion(attempt_time=NOW, attempt_event_id="a", success_time=NOW, success_event_id="a")
    accepted.add([], CHANNEL.arn, good, NOW)
    later = NOW + timedelta(seconds=1)
    accepted.add([], CHANNEL.arn, Ingestion(attempt_time=later, attempt_event_id="b", error_code="InvalidData"), NOW)
    assert accepted.ingestion(CHANNEL.arn) == replace(
        good, attempt_time=later, attempt_event_id="b", error_code="InvalidData"
    )
