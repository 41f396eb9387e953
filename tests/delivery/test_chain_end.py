"""When a chain of digests ends: after the last record that belongs to it, also that of a call still in flight."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from opentrail.core.trails import Trail
from opentrail.testing.follower_room import ORGANIZATION, FollowerRoom, open_follower_room

ACCOUNT, MEMBER = "123456789012", "222222222222"
TRAIL = Trail(
    account_id=ACCOUNT,
    home_region="eu-central-1",
    name="main",
    bucket="logs",
    is_logging=True,
    log_file_validation_enabled=True,
)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[FollowerRoom]:
    with open_follower_room(tmp_path, TRAIL) as room:
        yield room


def test_a_call_in_flight_keeps_its_chain_open(room: FollowerRoom) -> None:
    began = room.trails.generation
    room.record(ACCOUNT)
    room.change(is_logging=False)  # StopLogging has taken effect, and its record is on its way
    room.take()
    room.close_windows(began)
    assert room.chains() == {ACCOUNT}
    room.record(ACCOUNT, before=began)
    room.take()
    room.close_windows()
    assert not room.chains()
    (digest,) = room.digests(ACCOUNT)
    assert len(digest["logFiles"]) == 2, "one digest, which names the file of the last record as well"


def test_a_chain_ends_when_nothing_is_in_flight(room: FollowerRoom) -> None:
    began = room.trails.generation
    room.close_windows(began)
    room.change(is_logging=False)
    room.record(ACCOUNT, before=began)
    room.close_windows()
    assert room.chains() == {ACCOUNT}, "its last record is not taken"
    room.take()
    room.close_windows()
    assert not room.chains()


def test_a_call_in_flight_keeps_the_chain_of_an_account_that_leaves_its_organization(room: FollowerRoom) -> None:
    """The record of LeaveOrganization, say, which the journal refused for a while: it belongs to the member's chain."""
    room.members = {ACCOUNT, MEMBER}
    room.change(organization_id=ORGANIZATION)
    room.record(MEMBER)
    began = room.trails.generation
    room.members.remove(MEMBER)
    for _ in range(3):
        room.deliver(oldest_generation=min(began, room.trails.generation))
    assert room.chains() == {ACCOUNT, MEMBER}
    late = room.record(MEMBER, before=began, left=True)
    for _ in range(2):
        room.deliver()
    assert (ORGANIZATION, MEMBER, late["eventID"]) in room.delivered()
    assert room.chains() == {ACCOUNT}
    digests = room.digests(MEMBER)
    assert [digest["previousDigestS3Object"] is None for digest in digests] == [True, *[False] * (len(digests) - 1)]
    assert sum(len(digest["logFiles"]) for digest in digests) == 2
    generation = room.trails.generation
    room.deliver()
    assert room.trails.generation == generation, "made once"


def test_digests_of_an_earlier_chain_come_before_those_of_a_later_one(room: FollowerRoom) -> None:
    """The trail stops and starts before anything is delivered, and the server is away for hours then."""
    room.record(ACCOUNT)
    room.change(is_logging=False)
    room.change()
    room.record(ACCOUNT)
    room.deliver(3 * 3600 + 5)
    room.deliver(3600)
    check_order(room)
    assert sum(len(digest["logFiles"]) for digest in room.digests(ACCOUNT)) == 2


def test_a_call_in_flight_keeps_the_digests_of_the_next_chain_back(room: FollowerRoom) -> None:
    """Its record belongs to the chain before, whose last digest must name its file and come first."""
    room.record(ACCOUNT)
    began = room.trails.generation
    room.change(is_logging=False)
    room.change()
    room.record(ACCOUNT)
    for _ in range(3):
        room.deliver(3600, oldest_generation=began)
    room.record(ACCOUNT, before=began)
    for _ in range(3):
        room.deliver(3600)
    check_order(room)
    assert sum(len(digest["logFiles"]) for digest in room.digests(ACCOUNT)) == 3


def test_a_chain_ends_under_load(room: FollowerRoom) -> None:
    """There is always something in the journal that is not taken yet."""
    room.record(ACCOUNT)
    room.change(is_logging=False)
    room.change()
    room.close_windows()
    room.take()
    room.record(ACCOUNT)
    room.close_windows()
    assert [chain.key.chain for chain in room.ledger.chains()] == [room.trails.generation]


def check_order(room: FollowerRoom) -> None:
    """Each digest starts a chain or names the one before it in the order of names, by which everybody reads them."""
    digests = dict(sorted(room.staged("digest").items()))
    for (before, after), digest in zip(pairwise((None, *digests)), digests.values(), strict=True):
        assert digest["previousDigestS3Object"] in (None, before), after
    assert [digest["previousDigestS3Object"] for digest in digests.values()].count(None) == 2


def test_who_comes_back_before_the_chain_is_over_goes_on_with_it(room: FollowerRoom) -> None:
    room.members = {ACCOUNT, MEMBER}
    room.change(organization_id=ORGANIZATION)
    began = room.trails.generation
    room.deliver()
    room.members.remove(MEMBER)
    room.deliver(oldest_generation=began)
    room.members.add(MEMBER)
    room.record(MEMBER)
    room.deliver(3600)
    assert room.chains() == {ACCOUNT, MEMBER}
    assert [len(digest["logFiles"]) for digest in room.digests(MEMBER)] == [0]
    room.deliver(3600)
    assert [len(digest["logFiles"]) for digest in room.digests(MEMBER)] == [0, 1]
