"""Clocks that step: back an hour, forward a day, a restart at the very end of a window.

The whole server runs in this process, with sockets, on a clock that the test moves; clients sign by the same clock.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from opentrail.core.layout import parse_digest_key, parse_log_key
from opentrail.testing.clock import FakeClock
from opentrail.testing.clock_server import ClockServer, signing_by
from opentrail.testing.delivered_trail import DeliveredTrail, count_by, fetch_trail, make_trail, more_than_once
from opentrail.testing.live_server import HOME, LiveServer
from opentrail.testing.load_check import check_chains

HOUR = 3600


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    """A clock that begins now, so that a client with a clock of its own (the AWS CLI) can call at the end."""
    made = FakeClock(datetime.now(UTC).replace(microsecond=0))
    with signing_by(made):
        yield made


@pytest.fixture
def server(tmp_path: Path, clock: FakeClock) -> Iterator[ClockServer]:
    made = ClockServer(tmp_path / "data", clock)
    made.start()
    try:
        make_trail(made)
        yield made
    finally:
        made.end()


class Caller:
    """Makes calls and remembers them, with the time at which they were made."""

    def __init__(self, server: ClockServer) -> None:
        self.server = server
        self.answered: dict[str, str] = {}

    def call(self, times: int = 3) -> None:
        for _ in range(times):
            answer = self.server.client("sts").get_caller_identity()
            stamp = f"{self.server.clock.now():%Y-%m-%dT%H:%M:%SZ}"
            self.answered[answer["ResponseMetadata"]["RequestId"]] = stamp

    def check(self) -> DeliveredTrail:
        self.server.flush(digest=True)
        trail = fetch_trail(self.server)
        records = list(trail.records())
        assert more_than_once(count_by(records, "eventID")) == []
        times = {record["requestID"]: record["eventTime"] for record in records if record.get("requestID")}
        assert {id_: times.get(id_) for id_ in self.answered} == self.answered
        check_chains(trail)
        return trail


def digest_ends(trail: DeliveredTrail) -> list[datetime]:
    return [parse_digest_key(key).end_time for key in trail.digests(HOME)]


def test_a_clock_that_steps_back_an_hour(server: ClockServer, clock: FakeClock) -> None:
    caller = Caller(server)
    caller.call()
    clock.advance(HOUR + 10)
    caller.call()
    server.flush()
    order = fetch_trail(server).keys()
    highest = clock.now()
    clock.step(-HOUR)
    for _ in range(4):
        caller.call()
        clock.advance(600)
        server.flush()
        order += sorted(set(fetch_trail(server).keys()) - set(order))
    assert order == sorted(order), "names go on where they were"
    assert len(order) >= 5, "delivery goes on while the clock is behind"
    times = [parse_log_key(key).delivered_at for key in order]
    assert times == sorted(times)
    server.end()  # a restart with a clock that is still behind
    server.start()
    caller.call()
    clock.advance(2 * HOUR)
    assert clock.now() > highest
    caller.call()
    trail = caller.check()
    ends = digest_ends(trail)
    assert ends == sorted(set(ends))
    assert any(highest < end <= clock.now() for end in ends), "digests go on when the clock has come back"


def test_a_clock_that_jumps_forward_a_day_and_back(server: ClockServer, clock: FakeClock) -> None:
    caller = Caller(server)
    begun = clock.now()
    caller.call()
    clock.advance(HOUR + 10)
    server.flush()
    clock.step(24 * HOUR)
    caller.call()
    server.flush()
    assert len(digest_ends(fetch_trail(server))) == 25, "a digest for each hour that seemed to pass, empty or not"
    caller.call()
    server.flush()
    clock.step(-24 * HOUR - HOUR - 10)  # the present again, by which the AWS CLI signs
    caller.call()
    server.flush()
    caller.call()
    trail = caller.check()
    assert digest_ends(trail)[-1] > begun + timedelta(hours=25)
    status = server.client("cloudtrail").get_trail_status(Name="main")
    assert "LatestDeliveryError" not in status
    judge(server, begun - timedelta(hours=1), begun + timedelta(days=2))


def judge(server: LiveServer, start: datetime, end: datetime) -> None:
    arn = server.client("cloudtrail").describe_trails()["trailList"][0]["TrailARN"]
    times = ["--start-time", f"{start:%Y-%m-%dT%H:%M:%SZ}", "--end-time", f"{end:%Y-%m-%dT%H:%M:%SZ}"]
    aws = Path(sys.executable).with_name("aws")
    done = server.aws(aws, "cloudtrail", "validate-logs", "--trail-arn", arn, *times, "--verbose")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"(\d+)/\1 digest files valid", done.stdout), done.stdout
    assert re.search(r"(\d+)/\1 log files valid", done.stdout), done.stdout


@pytest.mark.parametrize("early", [1, 0, -1])
def test_a_restart_at_the_end_of_a_window(server: ClockServer, clock: FakeClock, early: int) -> None:
    caller = Caller(server)
    started: datetime = server.client("cloudtrail").get_trail_status(Name="main")["StartLoggingTime"]
    windows = [started + timedelta(hours=hour) for hour in range(1, 4)]
    for number, end in enumerate(windows, 1):
        caller.call()
        clock.advance((end - timedelta(seconds=early) - clock.now()).total_seconds())
        server.end()  # delivers
        digests = list((server.data / "objects").rglob("*_CloudTrail-Digest_*.json.gz"))
        assert len(digests) == number - (early > 0), "the window that was over has its digest"
        server.start()
        caller.call()
        server.flush()
    over = [end for end in windows if end <= clock.now()]
    assert digest_ends(caller.check())[: len(over)] == over
