"""Putting staged objects into buckets: order, back-off, and what is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from opentrail.core.errors import ServiceFault, StoreError
from opentrail.delivery.courier import MAX_BACKOFF_SECONDS, Courier, Delivery
from opentrail.delivery.ledger import ChainKey, Ledger, ObjectToPut, StagedObject
from opentrail.testing.clock import FakeClock


class Buckets:
    """Buckets in memory, some of which refuse."""

    def __init__(self) -> None:
        self.refusing: dict[str, Exception] = {}
        self.attempts: list[str] = []
        self.contents: list[str] = []

    def put(self, item: StagedObject) -> None:
        self.attempts.append(item.key)
        if item.bucket in self.refusing:
            raise self.refusing[item.bucket]
        self.contents.append(item.key)


class Desk:
    """A ledger with a courier."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.ledger = Ledger(f"sqlite:///{folder / 'ledger.db'}")
        self.buckets = Buckets()
        self.told: list[Delivery] = []
        self.courier = Courier(
            ledger=self.ledger,
            bucket=self.buckets,
            report=self.told.append,
            clock=self.clock.now,
            monotonic=self.clock.monotonic,
        )

    def stage(self, trail: str, *keys: str) -> None:
        key = ChainKey(trail_arn=trail, chain=1, account_id="123456789012", region="eu-west-1")
        with self.ledger.transaction() as transaction:
            chain = transaction.open_chain(key, validated=True, started_at=0, bucket=trail, prefix="")
            for name in keys:
                transaction.stage(chain, ObjectToPut(kind="log", bucket=trail, key=name, body=b"x"))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.ledger.close()


def test_a_chain_is_delivered_in_order(desk: Desk) -> None:
    desk.stage("a", "1", "2", "3")
    assert desk.courier.run() == 3
    assert desk.buckets.contents == ["1", "2", "3"]
    assert desk.ledger.waiting() == 0
    assert desk.courier.run() == 0


def test_a_refused_object_holds_its_chain_and_no_other(desk: Desk) -> None:
    desk.stage("a", "a1", "a2")
    desk.stage("b", "b1")
    desk.buckets.refusing["a"] = ServiceFault("NoSuchBucket", "gone", status=404)
    assert desk.courier.run() == 1
    assert desk.buckets.contents == ["b1"]
    assert desk.ledger.waiting() == 2
    assert [(each.trail_arn, each.error) for each in desk.told] == [("a", "NoSuchBucket"), ("b", "")]


def test_retries_back_off_and_stop_growing(desk: Desk) -> None:
    desk.stage("a", "a1")
    desk.buckets.refusing["a"] = StoreError("away", retryable=True)
    waits = []
    for _ in range(14):
        attempts = len(desk.buckets.attempts)
        waited = 0
        while len(desk.buckets.attempts) == attempts:
            desk.courier.run()
            desk.clock.advance(1)
            waited += 1
        waits.append(waited)
    assert waits[1] < waits[2] < waits[3]
    assert max(waits) <= MAX_BACKOFF_SECONDS + 1
    assert waits[-1] >= MAX_BACKOFF_SECONDS - 1
    del desk.buckets.refusing["a"]
    assert desk.courier.run(now_all=True) == 1


def test_a_flush_does_not_wait_for_a_back_off(desk: Desk) -> None:
    desk.stage("a", "a1")
    desk.buckets.refusing["a"] = StoreError("away", retryable=True)
    desk.courier.run()
    del desk.buckets.refusing["a"]
    assert desk.courier.run() == 0
    assert desk.courier.run(now_all=True) == 1
    assert desk.told[-1].error == ""


def test_a_success_ends_the_back_off(desk: Desk) -> None:
    desk.stage("a", "a1")
    desk.buckets.refusing["a"] = StoreError("away", retryable=True)
    desk.courier.run()
    del desk.buckets.refusing["a"]
    desk.clock.advance(2)
    desk.courier.run()
    desk.stage("a", "a2")
    assert desk.courier.run() == 1


def test_metadata_and_bytes_survive_the_ledger(desk: Desk) -> None:
    key = ChainKey(trail_arn="a", chain=1, account_id="123456789012", region="eu-west-1")
    item = ObjectToPut(kind="digest", bucket="a", key="k", body=bytes(range(256)), metadata={"signature": "00ff"})
    with desk.ledger.transaction() as transaction:
        chain = transaction.open_chain(key, validated=True, started_at=0, bucket="a", prefix="p")
        transaction.stage(chain, item)
    staged = desk.ledger.next_staged(chain.id)
    assert staged is not None
    assert (staged.body, staged.metadata, staged.chain.prefix) == (item.body, {"signature": "00ff"}, "p")


def test_a_server_that_stops_does_not_wait_for_one_dead_bucket_after_the_other(desk: Desk) -> None:
    class Hanging(Buckets):
        def put(self, item: StagedObject) -> None:
            desk.clock.advance(30)
            super().put(item)

    desk.courier._bucket = desk.buckets = Hanging()
    for trail in "abcdefgh":
        desk.stage(trail, trail)
        desk.buckets.refusing[trail] = StoreError("the store hangs", retryable=True)
    desk.courier.hurry()
    assert desk.courier.run() == 0
    assert desk.buckets.attempts == ["a"]
    desk.buckets.refusing.clear()
    assert desk.courier.run(now_all=True) == 8, "what is delivered costs no patience"
