"""Chains of an organization trail: one for each account, as long as the account is in the organization."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from opentrail.core.events import format_time
from opentrail.core.layout import parse_digest_key
from opentrail.core.recording import shared_copy
from opentrail.core.trails import Trail
from opentrail.testing.follower_room import ORGANIZATION, FollowerRoom, open_follower_room

MANAGEMENT, ALPHA, BETA, OUTSIDER = "111111111111", "222222222222", "333333333333", "444444444444"
TRAIL = Trail(
    account_id=MANAGEMENT,
    home_region="eu-central-1",
    name="company",
    bucket="logs",
    organization_id=ORGANIZATION,
    is_logging=True,
    log_file_validation_enabled=True,
)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[FollowerRoom]:
    with open_follower_room(tmp_path, TRAIL) as room:
        room.members = {MANAGEMENT, ALPHA, BETA}
        yield room


def test_each_account_has_its_own_folder_and_chain(room: FollowerRoom) -> None:
    events = [(account, room.record(account)["eventID"]) for account in (MANAGEMENT, ALPHA, BETA)]
    room.record(OUTSIDER)
    room.deliver()
    assert room.delivered() == [(ORGANIZATION, *event) for event in events]
    room.deliver(3600)
    folders = [parse_digest_key(key).trail.folder for key in room.staged("digest")]
    assert {(each.organization_id, each.account_id) for each in folders} == {
        (ORGANIZATION, each) for each in room.members
    }
    for key, digest in room.staged("digest").items():
        assert digest["awsAccountId"] == parse_digest_key(key).trail.folder.account_id
        assert len(digest["logFiles"]) == 1


def test_both_sides_of_a_call_stand_in_their_own_folders(room: FollowerRoom) -> None:
    record = room.record(ALPHA, MANAGEMENT, OUTSIDER)
    room.deliver()
    copy = shared_copy(record, MANAGEMENT)
    assert sorted(room.delivered()) == [
        (ORGANIZATION, MANAGEMENT, copy["eventID"]),
        (ORGANIZATION, ALPHA, record["eventID"]),
    ]
    contents = [each for content in room.staged("log").values() for each in content["Records"]]
    assert copy in contents


def test_an_outsider_s_call_reaches_the_member_that_it_touches(room: FollowerRoom) -> None:
    record = room.record(OUTSIDER, BETA)
    room.deliver()
    assert room.delivered() == [(ORGANIZATION, BETA, shared_copy(record, BETA)["eventID"])]


def test_who_leaves_gets_a_last_digest_and_who_comes_back_a_new_chain(room: FollowerRoom) -> None:
    room.deliver()
    event = room.record(ALPHA)["eventID"]
    room.members.remove(ALPHA)
    room.record(ALPHA)  # no longer the organization's
    room.deliver()
    assert room.delivered() == [(ORGANIZATION, ALPHA, event)]
    assert room.chains() == {MANAGEMENT, BETA}
    (last,) = room.staged("digest").values()
    assert (last["awsAccountId"], len(last["logFiles"])) == (ALPHA, 1)
    for _ in range(3):
        room.deliver(3600)
    assert len(room.digests(ALPHA)) == 1
    room.members.add(ALPHA)
    back = room.record(ALPHA)["eventID"]
    room.deliver(3600)
    digests = room.digests(ALPHA)
    assert (ORGANIZATION, ALPHA, back) in room.delivered()
    room.deliver(3600)
    digests = room.digests(ALPHA)
    assert [each["previousDigestS3Object"] is None for each in digests] == [True, True, *[False] * (len(digests) - 2)]
    assert digests[1]["digestStartTime"] > last["digestEndTime"], "nothing is vouched for while it was away"


def test_who_joins_late_has_no_digests_of_the_time_before(room: FollowerRoom) -> None:
    room.deliver()
    for _ in range(5):
        room.deliver(3600)
    room.members.add(OUTSIDER)
    joined = format_time(room.now)
    room.deliver(3600)
    room.deliver(3600)
    digests = room.digests(OUTSIDER)
    assert [each["digestStartTime"] >= joined for each in digests] == [True]


def test_a_trail_that_turns_plain_begins_anew_in_its_own_folder(room: FollowerRoom) -> None:
    inside = room.record(ALPHA)["eventID"], room.record(MANAGEMENT)["eventID"]
    room.change(organization_id="")
    room.record(ALPHA)
    alone = room.record(MANAGEMENT)["eventID"]
    room.deliver()
    assert sorted(room.delivered()) == sorted(
        [(ORGANIZATION, ALPHA, inside[0]), (ORGANIZATION, MANAGEMENT, inside[1]), ("", MANAGEMENT, alone)]
    )
    assert [(chain.key.account_id, chain.organization_id) for chain in room.ledger.chains()] == [(MANAGEMENT, "")]
    room.change()
    again = room.record(ALPHA)["eventID"]
    room.deliver()
    assert (ORGANIZATION, ALPHA, again) in room.delivered()
    assert room.chains() == room.members


def test_a_trail_whose_organization_is_gone_becomes_a_plain_one(room: FollowerRoom) -> None:
    room.trails.release(lambda _account, _organization: True, room.now)
    assert room.trails.current[TRAIL.arn].trail.is_organization
    room.trails.release(lambda _account, _organization: False, room.now)
    assert not room.trails.current[TRAIL.arn].trail.is_organization
    generation = room.trails.generation
    room.trails.release(lambda _account, _organization: False, room.now)
    assert room.trails.generation == generation
