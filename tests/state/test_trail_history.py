"""Trails by generation: every past state can be asked for, also after a restart, whoever changed it."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine

from opentrail.core.errors import ServiceFault, StorageError
from opentrail.core.selection import Route
from opentrail.core.trails import Trail
from opentrail.state.database import metadata, open_database
from opentrail.state.deliveries import Channel, Deliveries
from opentrail.state.trails import Snapshot, TrailRevision, Trails

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
TRAIL = Trail(account_id="123456789012", home_region="us-east-1", name="first", bucket="bucket")
OTHER = replace(TRAIL, name="second")
ROUTE = Route("123456789012", "us-east-1", "Management", False, "ec2.amazonaws.com", "AwsApiCall")


def put(trails: Trails, trail: Trail, now: datetime = NOW) -> TrailRevision:
    revision = trails.change(trail.arn, now, lambda _: trail)
    assert revision is not None
    return revision


def delete(trails: Trails, trail: Trail) -> None:
    assert trails.change(trail.arn, NOW, lambda _: None) is None


def test_every_change_is_a_generation(engine: Engine) -> None:
    trails = Trails(engine)
    assert trails.generation == 0
    assert trails.current == {}
    put(trails, TRAIL)
    put(trails, replace(TRAIL, is_logging=True))
    put(trails, OTHER)
    delete(trails, TRAIL)
    assert trails.generation == 4
    names = [sorted(each.trail.name for each in trails.at(generation).values()) for generation in range(5)]
    assert names == [[], ["first"], ["first"], ["first", "second"], ["second"]]
    assert [trails.at(generation)[TRAIL.arn].trail.is_logging for generation in (1, 2, 3)] == [False, True, True]


def test_a_change_that_changes_nothing_is_none(engine: Engine) -> None:
    trails = Trails(engine)
    revision = put(trails, TRAIL)
    assert put(trails, TRAIL) == revision
    delete(trails, OTHER)
    assert trails.generation == 1


def test_a_change_that_is_refused_leaves_everything_as_it_was(engine: Engine) -> None:
    trails = Trails(engine)
    put(trails, TRAIL)

    def refuse(seen: Snapshot) -> Trail:
        assert set(seen) == {TRAIL.arn}
        raise ServiceFault("TrailAlreadyExistsException")

    with pytest.raises(ServiceFault):
        trails.change(OTHER.arn, NOW, refuse)
    assert (trails.generation, set(trails.current)) == (1, {TRAIL.arn})


def test_sessions_and_chains(engine: Engine) -> None:
    trails = Trails(engine)
    later = NOW + timedelta(hours=1)
    revision = put(trails, TRAIL)
    assert (revision.session, revision.chain, revision.started) == (None, None, None)
    revision = put(trails, replace(TRAIL, is_logging=True), later)
    assert (revision.session, revision.chain, revision.started) == (2, 2, later)
    revision = put(trails, replace(revision.trail, prefix="p"))
    assert (revision.session, revision.chain, revision.started) == (2, 2, later)  # goes on
    revision = put(trails, replace(revision.trail, log_file_validation_enabled=True))
    assert (revision.session, revision.chain) == (2, 4)  # a chain of digests begins within the session
    revision = put(trails, replace(revision.trail, is_logging=False), later)
    assert (revision.session, revision.chain, revision.started, revision.stopped) == (None, None, later, later)
    revision = put(trails, replace(revision.trail, is_logging=True))
    assert (revision.session, revision.chain, revision.started, revision.stopped) == (6, 6, NOW, later)


def test_a_trail_of_the_same_name_is_another_trail(engine: Engine) -> None:
    trails = Trails(engine)
    first = put(trails, TRAIL)
    delete(trails, TRAIL)
    second = put(trails, TRAIL)
    assert (first.created_generation, second.created_generation) == (1, 3)


def test_each_revision_selects_as_it_did(engine: Engine) -> None:
    trails = Trails(engine)
    put(trails, replace(TRAIL, is_logging=True))
    put(trails, TRAIL)
    assert [trails.at(generation)[TRAIL.arn].selector.decide(ROUTE) for generation in (1, 2)] == [True, False]
    reopened = Trails(engine)
    assert [reopened.at(generation)[TRAIL.arn].selector.decide(ROUTE) for generation in (1, 2)] == [True, False]


def test_trails_of_an_account_in_order(engine: Engine) -> None:
    trails = Trails(engine)
    foreign = replace(TRAIL, account_id="210987654321")
    for trail in (OTHER, foreign, TRAIL):
        put(trails, trail)
    assert [each.trail.name for each in trails.of_account("123456789012")] == ["first", "second"]
    assert trails.find(foreign.arn) is not None
    assert trails.find("arn:aws:cloudtrail:us-east-1:123456789012:trail/none") is None


def test_the_past_is_forgotten_up_to_a_generation(engine: Engine) -> None:
    trails = Trails(engine)
    for number in range(1, 6):
        put(trails, replace(TRAIL, prefix=str(number)))
    put(trails, OTHER)
    delete(trails, OTHER)
    trails.forget_before(3)
    for known in (trails, Trails(engine)):
        assert [known.at(generation)[TRAIL.arn].trail.prefix for generation in (3, 4, 5)] == ["3", "4", "5"]
        assert OTHER.arn in known.at(6)
        with pytest.raises(AssertionError):
            known.at(2)
    trails.forget_before(7)
    assert set(Trails(engine).at(7)) == {TRAIL.arn}
    with pytest.raises(AssertionError):
        trails.at(8)


def test_another_process_sees_and_may_make_changes(engine: Engine) -> None:
    here, there = Trails(engine), Trails(engine)
    put(here, TRAIL)
    put(there, OTHER)  # it had not seen the first
    assert there.generation == 2
    assert set(there.current) == {TRAIL.arn, OTHER.arn}
    assert here.generation == 1
    here.refresh()
    assert here.current == there.current


def test_writers_take_turns(engine: Engine) -> None:
    trails = [Trails(engine), Trails(engine)]

    def add_tags(known: Trails, letter: str) -> None:
        for number in range(10):
            known.change(TRAIL.arn, NOW, partial(merge, {f"{letter}{number}": ""}))

    def merge(tag: Mapping[str, str], seen: Snapshot) -> Trail:
        trail = seen[TRAIL.arn].trail if TRAIL.arn in seen else TRAIL
        return replace(trail, tags={**trail.tags, **tag})

    threads = [
        threading.Thread(target=add_tags, args=(trails[number % 2], letter)) for number, letter in enumerate("abc")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    result = Trails(engine)
    assert result.generation == 30
    assert len(result.current[TRAIL.arn].trail.tags) == 30
    assert [len(result.at(generation)[TRAIL.arn].trail.tags) for generation in range(1, 31)] == list(range(1, 31))


_steps = st.lists(
    st.tuples(
        st.sampled_from(["first", "second", "third"]),
        st.sampled_from(["put", "put", "put", "delete", "forget"]),
        st.booleans(),
        st.booleans(),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_steps)
def test_memory_and_database_tell_the_same_story(steps: list[tuple[str, str, bool, bool]]) -> None:
    engine = create_engine("sqlite://")
    metadata.create_all(engine)
    trails = Trails(engine)
    story: list[dict[str, Trail]] = [{}]
    first_known = 0
    for name, action, is_logging, validation in steps:
        trail = replace(TRAIL, name=name, is_logging=is_logging, log_file_validation_enabled=validation)
        if action == "forget":
            first_known = max(first_known, len(story) // 2)
            trails.forget_before(first_known)
            continue
        now = dict(story[-1])
        if action == "put":
            now[trail.arn] = trail
            put(trails, trail)
        else:
            now.pop(trail.arn, None)
            delete(trails, trail)
        if now != story[-1]:
            story.append(now)
    reopened = Trails(engine)
    assert trails.generation == reopened.generation == len(story) - 1
    for generation in range(first_known, len(story)):
        for known in (trails, reopened):
            snapshot = known.at(generation)
            assert {arn: each.trail for arn, each in snapshot.items()} == story[generation]
            for each in snapshot.values():
                assert (each.session is None) == (each.chain is None) == (not each.trail.is_logging)
                assert each.session is None or each.chain is None or each.session <= each.chain <= each.generation
        assert trails.at(generation) == reopened.at(generation)
    engine.dispose()


def test_a_database_that_is_gone_is_a_storage_error(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("gone") / "state.db"
    engine = open_database(f"sqlite:///{path}")
    trails = Trails(engine)
    engine.dispose()
    path.unlink()
    with pytest.raises(StorageError):
        put(trails, TRAIL)
    assert trails.generation == 0
    engine.dispose()


def test_the_latest_deliveries(engine: Engine) -> None:
    deliveries = Deliveries(engine)
    later = NOW + timedelta(minutes=5)
    account = TRAIL.account_id
    deliveries.record(TRAIL.arn, account, "us-east-1", Channel.LOG_FILES, now=NOW)
    deliveries.record(TRAIL.arn, account, "us-east-1", Channel.LOG_FILES, now=later, error="NoSuchBucket")
    deliveries.record(TRAIL.arn, account, "eu-west-1", Channel.DIGESTS, now=NOW, error="AccessDenied")
    deliveries.record(TRAIL.arn, "222222222222", "us-east-1", Channel.DIGESTS, now=NOW)  # a member's
    deliveries.record(OTHER.arn, account, "us-east-1", Channel.LOG_FILES, now=NOW)
    deliveries.save()
    for known in (deliveries, Deliveries(engine)):
        status = known.status(TRAIL.arn, account, "us-east-1", Channel.LOG_FILES)
        assert (status.attempted, status.delivered, status.error) == (later, NOW, "NoSuchBucket")
        status = known.status(TRAIL.arn, account, "eu-west-1", Channel.DIGESTS)
        assert (status.attempted, status.delivered, status.error) == (NOW, None, "AccessDenied")
        status = known.status(TRAIL.arn, account, "us-east-1", Channel.DIGESTS)
        assert (status.attempted, status.delivered, status.error) == (None, None, "")
    deliveries.record(TRAIL.arn, account, "us-east-1", Channel.LOG_FILES, now=later)
    assert deliveries.status(TRAIL.arn, account, "us-east-1", Channel.LOG_FILES).error == ""
    deliveries.forget(TRAIL.arn)
    deliveries.save()
    for known in (deliveries, Deliveries(engine)):
        assert known.status(TRAIL.arn, account, "us-east-1", Channel.LOG_FILES).attempted is None
        assert known.status(OTHER.arn, account, "us-east-1", Channel.LOG_FILES).delivered == NOW


@pytest.mark.parametrize("kept", [False, True])
def test_a_commit_of_unknown_outcome_leaves_memory_and_database_agreed(
    engine: Engine, commit_fault: Any, *, kept: bool
) -> None:
    trails = Trails(engine)
    put(trails, TRAIL)
    commit_fault.kept = kept
    with pytest.raises(StorageError):
        put(trails, replace(TRAIL, is_logging=True))
    for known in (trails, Trails(engine)):
        assert known.generation == (2 if kept else 1)
        assert known.current[TRAIL.arn].trail.is_logging is kept
    put(trails, replace(TRAIL, prefix="p"))
    assert Trails(engine).current == trails.current
