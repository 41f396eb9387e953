"""``kill -9`` at random moments under load: whatever a client saw answered is in exactly one delivered record.

And no effect without a trace: what a killed server changed stands in the trail, as a call or as one of unknown outcome.
"""

from __future__ import annotations

import os
import random
import re
import signal
import threading
import time
from collections.abc import Callable

import pytest
from botocore.exceptions import ClientError

from opentrail.core.findings import Concern, FindingCode, Severity
from opentrail.server.control import call_server
from opentrail.testing.delivered_trail import LOG_BUCKET, TRAIL, fetch_trail, make_trail
from opentrail.testing.live_server import HOME, LiveServer
from opentrail.testing.load import Load, describe
from opentrail.testing.load_check import check_load, let_the_cli_judge

DATA_BUCKET = "load"
# Small segments and short intervals: rotation, trimming, delivery and digests all happen within a round.
OPTIONS = ("--delivery-interval", "1s", "--digest-interval", "5s", "--journal-segment-bytes", "64KB")

MakeServer = Callable[..., LiveServer]


def start_load(server: LiveServer, *, seed: int, clients: int = 6) -> Load:
    server.start()
    make_trail(server, DATA_BUCKET, LOG_BUCKET)  # its own deliveries are data events of the trail, too
    return Load(server, DATA_BUCKET, clients=clients, seed=seed)


def kill_rounds(server: LiveServer, rounds: int, seed: int) -> Load:
    """Load and kills; each round ends dead but the last."""
    draw = random.Random(seed)
    load = start_load(server, seed=seed)
    for number in range(rounds):
        load.begin()
        time.sleep(draw.uniform(0.05, 1.6))
        if draw.random() < 0.15:
            server.run("keys", "rotate")
        if draw.random() < 0.15:
            server.run("flush", "--digest")
        gentle = number % 7 == 6
        cut_short = load.cut_short()
        if gentle:
            assert server.stop(draw.choice((signal.SIGTERM, signal.SIGINT))) == 0
        else:
            server.kill()
        load.end()
        assert not gentle or load.cut_short() == cut_short, "a signal lets calls in flight be answered whole"
        if draw.random() < 0.25:  # and again, before it has found its feet
            server.start(wait=False)
            time.sleep(draw.uniform(0, 0.8))
            server.kill()
        server.start()
    return load


def test_kills_under_load_lose_nothing(make_server: MakeServer) -> None:
    server = make_server(*OPTIONS)
    load = kill_rounds(server, 9, seed=1)
    check_load(server, load)
    let_the_cli_judge(server)
    assert len(load.answered()) > 500, describe(load)
    assert "recovered the record of" in server.log(), "some kills came between an intent and its event"


@pytest.mark.long
@pytest.mark.skipif(not os.environ.get("OPENTRAIL_LONG"), reason="make test-long runs it")
@pytest.mark.timeout(3600)
def test_two_hundred_kills_under_load_lose_nothing(make_server: MakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    server = make_server(*OPTIONS)
    seed = int(os.environ.get("OPENTRAIL_SEED", "0")) or random.randrange(1 << 32)
    print(f"OPENTRAIL_SEED={seed}")  # noqa: T201  pytest shows it when the test fails: it repeats the choices
    load = kill_rounds(server, 200, seed=seed)
    trail = check_load(server, load)
    let_the_cli_judge(server)
    with capsys.disabled():
        print(f"\n200 rounds: {describe(load)}, {len(trail.keys())} log files, {len(trail.digests())} digests")  # noqa: T201  the run's result


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_clean_stop_delivers_everything(make_server: MakeServer, number: signal.Signals) -> None:
    server = make_server("--delivery-interval", "1h")
    load = start_load(server, seed=2, clients=4)
    load.begin()
    time.sleep(1.5)
    assert server.stop(number) == 0
    load.end()
    done = server.run("flush")
    assert (done.returncode, done.stdout) == (0, "0 files delivered, 0 waiting\n"), "the stop had left nothing to do"
    assert load.cut_short() == 0, "calls in flight are answered whole"
    server.start()
    check_load(server, load)


def test_each_session_of_logging_is_one_chain_of_digests(make_server: MakeServer) -> None:
    """Under load, with delivery all the time: no record of a call in flight comes after its chain's last digest."""
    server = make_server("--delivery-interval", "1s", "--digest-interval", "1h")
    load = start_load(server, seed=5, clients=4)
    cloudtrail = server.client("cloudtrail")
    over = threading.Event()

    def flush_on() -> None:
        while not over.is_set():
            call_server(server.data, {"command": "flush"})

    flushing = threading.Thread(target=flush_on)
    flushing.start()
    load.begin()
    for _ in range(40):
        cloudtrail.stop_logging(Name=TRAIL)
        time.sleep(0.05)
        cloudtrail.start_logging(Name=TRAIL)
        time.sleep(0.1)
    load.end()
    over.set()
    flushing.join()
    assert server.run("flush", "--digest").returncode == 0
    delivered = fetch_trail(server)
    verified = delivered.verify()
    assert verified.of(Severity.ERROR) == []
    started = [chain for chain, each in verified.told if each.code is FindingCode.CHAIN_STARTED]
    assert [chain.folder.region for chain in started if chain].count(HOME) == 41
    assert verified.result.exit_code == 0, "and who stopped logging is recorded each time"
    copied = delivered.verify_copy()
    accused = [each for each in copied.findings if each.concern not in {Concern.NOTE, Concern.COVERAGE}]
    assert accused == [], "a copy accuses nobody"
    assert copied.result.exit_code == 2, "but sessions of a single digest cannot be proven"


def test_kills_during_the_first_start_leave_an_installation_that_works(make_server: MakeServer) -> None:
    draw = random.Random(3)
    for number in range(6):
        server = make_server(name=f"data-{number}")
        server.start(wait=False)
        time.sleep(draw.uniform(0.2, 0.7))
        server.kill()
        server.start()
        account = server.client("sts").get_caller_identity()["Account"]
        stranger = server.client("sts", key={"aws_access_key_id": "AKIAOTHER", "aws_secret_access_key": "x"})
        with pytest.raises(ClientError, match="InvalidClientTokenId"):
            stranger.get_caller_identity()
        assert re.fullmatch(r"\d{12}", account)
        server.end()
