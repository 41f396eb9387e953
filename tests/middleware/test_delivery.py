"""From an application's call to Opentrail's journal: each event once, whoever was away or killed in between."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError

from opentrail.core.errors import StorageError
from opentrail.middleware import Credentials, UserIdentity, record_calls
from opentrail.middleware.put_audit_events import PutAuditEvents, decode_event, encode_event
from opentrail.testing.live_server import free_port

Wait = Callable[..., None]


def data(collector: Any, number: int = 0, **fields: Any) -> dict[str, Any]:
    return {
        "version": "1.0",
        "userIdentity": {"type": "User", "principalId": "mary"},
        "eventSource": "orders.example.com",
        "eventName": "CreateOrder",
        "eventTime": "2026-01-02T03:04:05Z",
        "UID": f"u-{number}",
        "recipientAccountId": collector.account_id,
        **fields,
    }


def uids(events: list[dict[str, Any]]) -> list[str]:
    return [each["eventData"]["UID"] for each in events]


def test_events_are_delivered_in_order(collector: Any, tmp_path: Path) -> None:
    log = collector.audit_log(tmp_path / "spools")
    for number in range(250):
        log.write(data(collector, number))
    assert log.flush()
    log.close()
    events = collector.events()
    assert uids(events) == [f"u-{number}" for number in range(250)]
    assert events[0]["metadata"]["channelARN"] == collector.channel_arn
    assert (events[0]["eventSource"], events[0]["eventName"]) == ("orders.example.com", "CreateOrder")


def test_opentrail_is_away_then_back(collector: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = collector.audit_log(tmp_path / "spools")
    log.write(data(collector, 0))
    assert log.flush()
    collector.server.kill()
    for number in range(1, 150):
        log.write(data(collector, number))
    time.sleep(0.5)
    assert len([each for each in caplog.records if "events wait" in each.message]) == 1, "told once"
    collector.server.start()
    assert log.flush()
    log.close()
    assert sorted(uids(collector.events())) == sorted(f"u-{number}" for number in range(150))


def test_opentrail_is_killed_again_and_again_while_events_come(collector: Any, tmp_path: Path) -> None:
    log = collector.audit_log(tmp_path / "spools", durable=False)
    over = threading.Event()
    written: list[str] = []

    def write() -> None:
        while not over.is_set():
            log.write(data(collector, len(written)))
            written.append(f"u-{len(written)}")
            time.sleep(0.001)

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(3):
        time.sleep(0.4)
        collector.server.kill()
        collector.server.start()
    over.set()
    writer.join()
    assert log.flush(60)
    log.close()
    assert uids(collector.events()) == written


def test_an_event_that_will_never_be_taken_does_not_hold_up_the_others(collector: Any, tmp_path: Path) -> None:
    log = collector.audit_log(tmp_path / "spools")
    log.write(data(collector, 0))
    log.write(data(collector, 1, sourceIPAddress="nowhere"))
    log.write(data(collector, 2, recipientAccountId="111111111111"))
    log.write(data(collector, 3))
    assert log.flush()
    log.close()
    (rejected,) = (tmp_path / "spools").glob("worker-*/rejected")
    told = [json.loads(line) for line in rejected.read_text().splitlines()]
    assert [each["errorCode"] for each in told] == ["InvalidData", "InvalidRecipient"]
    assert uids(collector.events()) == ["u-0", "u-3"]


def test_large_events_go_in_several_calls(collector: Any, tmp_path: Path) -> None:
    log = collector.audit_log(tmp_path / "spools")
    for number in range(30):
        log.write(data(collector, number, requestParameters={"text": '"\\' * 24_000}))
    assert log.flush(60)
    log.close()
    assert len(collector.events()) == 30


def test_an_event_that_no_call_could_take_is_refused_at_once(collector: Any, tmp_path: Path) -> None:
    """Else it would stand in the way of all that come after it."""
    log = collector.audit_log(tmp_path / "spools")
    for text in ("x" * 1_100_000, '"' * 600_000):
        with pytest.raises(StorageError, match="at most"):
            log.write(data(collector, additionalEventData={"text": text}))
    log.write(data(collector, 1, additionalEventData={"text": '"' * 500_000}))  # too long for Opentrail, not for a call
    log.write(data(collector, 2))
    assert log.flush(30)
    log.close()
    assert uids(collector.events()) == ["u-2"]


@pytest.mark.parametrize(
    "answer", [b"{}", b'{"successful": [], "failed": []}', b'{"successful": [{"id": "other", "eventID": "e"}]}', b"[]"]
)
def test_an_event_of_which_an_answer_says_nothing_is_not_taken(answer: bytes) -> None:
    """From a proxy, say, that has an opinion of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        client = PutAuditEvents(
            endpoint=f"http://127.0.0.1:{server.server_port}",
            channel_arn="arn:aws:cloudtrail:us-east-1:123456789012:channel/c",
            credentials=lambda: Credentials(access_key_id="AKIA", secret_access_key="secret"),
        )
        with pytest.raises(StorageError, match="not PutAuditEvents'"):
            client.put([decode_event(encode_event("mine", b"{}"))])
        client.close()
        server.shutdown()


def test_a_wrong_key_waits_until_it_is_right(collector: Any, tmp_path: Path) -> None:
    right = collector.key
    collector.key = type(right)(access_key_id=right.access_key_id, secret_access_key="wrong")
    log = collector.audit_log(tmp_path / "spools")
    log.write(data(collector))
    assert not log.flush(1)
    collector.key = right
    assert log.flush()
    log.close()
    assert len(collector.events()) == 1


def test_what_a_dead_process_left_is_delivered_by_the_next(collector: Any, tmp_path: Path) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    logs = [collector.audit_log(tmp_path / "spools", endpoint=away) for _ in range(3)]
    for number, log in enumerate(logs):
        log.write(data(collector, number))
    for log in logs:
        log.close(0)
    assert len(list((tmp_path / "spools").glob("worker-*"))) == 3, "a spool each"
    heir = collector.audit_log(tmp_path / "spools")
    heir.write(data(collector, 9))
    assert heir.flush()
    deadline = time.monotonic() + 20
    left = list((tmp_path / "spools").glob("worker-*/*.spool"))
    while any((path.parent / "cursor").read_bytes() == b"" for path in left):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    heir.close()
    assert sorted(uids(collector.events())) == ["u-0", "u-1", "u-2", "u-9"]


def test_a_forked_child_has_a_spool_of_its_own(collector: Any, tmp_path: Path) -> None:
    program = """
import os, sys
from opentrail.middleware import AuditLog
log = AuditLog(sys.argv[1], endpoint=sys.argv[2], channel_arn=sys.argv[3])
event = {"version": "1.0", "userIdentity": {"type": "User", "principalId": "mary"}, "eventName": "E",
    "eventSource": "orders.example.com", "eventTime": "2026-01-02T03:04:05Z", "recipientAccountId": sys.argv[4]}
log.write({**event, "UID": "parent"})
children = []
for number in range(3):
    pid = os.fork()
    if pid == 0:
        log.write({**event, "UID": f"child-{number}"})
        assert log.flush(30)
        os._exit(0)
    children.append(pid)
codes = [os.waitpid(pid, 0)[1] for pid in children]
assert log.flush(30)
sys.exit(any(codes))
"""
    arguments = [str(tmp_path / "spools"), collector.server.url, collector.channel_arn, collector.account_id]
    subprocess.run([sys.executable, "-c", program, *arguments], env=environment(collector), timeout=60, check=True)
    assert sorted(uids(collector.events())) == ["child-0", "child-1", "child-2", "parent"]


APP = """
import sys
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from opentrail.middleware import Api, ASGIMiddleware, AuditLog

async def create_order(request):
    return PlainTextResponse(request.path_params["number"])

log = AuditLog(sys.argv[1], endpoint=sys.argv[2], channel_arn=sys.argv[3])
api = Api(event_source="orders.example.com", parameters={"*": ["path.number"]})
app = ASGIMiddleware(Starlette(routes=[Route("/orders/{number}", create_order)]), audit_log=log, api=api)
uvicorn.run(app, port=int(sys.argv[4]), log_level="warning")
"""


def environment(collector: Any) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "AWS_ACCESS_KEY_ID": collector.key.access_key_id,
        "AWS_SECRET_ACCESS_KEY": collector.key.secret_access_key,
    }


def start_app(collector: Any, folder: Path, endpoint: str) -> tuple[subprocess.Popen[bytes], int]:
    port = free_port()
    command = [sys.executable, "-c", APP, str(folder), endpoint, collector.channel_arn, str(port)]
    process = subprocess.Popen(command, env=environment(collector), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while True:
        with suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.connect()
            connection.close()
            return process, port
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_app_killed_between_answer_and_delivery_loses_no_answered_call(collector: Any, tmp_path: Path) -> None:
    answered: list[str] = []
    for turn in range(3):
        # Turn by turn: Opentrail is away, is away, is there; so some events were sent when the app is killed.
        endpoint = collector.server.url if turn == 2 else f"http://127.0.0.1:{free_port()}"
        process, port = start_app(collector, tmp_path / "spools", endpoint)
        stop = threading.Timer(0.7, os.kill, (process.pid, signal.SIGKILL))
        stop.start()
        number = 0
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with suppress(OSError, http.client.HTTPException):
            while True:
                connection.request("GET", f"/orders/{turn}-{number}")
                assert connection.getresponse().read() == f"{turn}-{number}".encode()
                answered.append(f"{turn}-{number}")
                number += 1
        connection.close()
        process.wait(30)
        assert process.returncode == -signal.SIGKILL
    heir = collector.audit_log(tmp_path / "spools")
    heir.check()
    assert heir.flush(60)
    heir.close()
    found = [each["eventData"]["requestParameters"]["number"] for each in collector.events()]
    assert len(set(found)) == len(found)
    assert set(answered) <= set(found)
    assert len(found) <= len(answered) + 3, "at most the call that was under way in each turn"


def test_a_programs_own_aws_calls(collector: Any, tmp_path: Path) -> None:
    log = collector.audit_log(tmp_path / "spools")
    key = collector.server.root_key()
    connect: Callable[..., Any] = boto3.client
    quick = Config(retries={"total_max_attempts": 1}, connect_timeout=2)
    iam = connect("iam", region_name="us-east-1", endpoint_url=collector.server.url, config=quick, **key)
    away = connect("s3", region_name="eu-west-1", endpoint_url=f"http://127.0.0.1:{free_port()}", config=quick, **key)
    for client in (iam, away):
        record_calls(
            client,
            audit_log=log,
            event_source="billing.example.com",
            identity=UserIdentity(type="Program", principal_id="billing"),
            parameters={"iam.CreateUser": ["UserName", "Tags[].Key"], "GetUser": ["UserName"]},
            results={"CreateAccessKey": ["AccessKey.AccessKeyId"]},
        )
    iam.create_user(UserName="mary", Tags=[{"Key": "a", "Value": "s3cr3t"}])
    made = iam.create_access_key(UserName="mary")["AccessKey"]
    with pytest.raises(ClientError):
        iam.get_user(UserName="nobody")
    with pytest.raises(EndpointConnectionError):
        away.list_buckets()
    assert log.flush()
    log.close()
    iam.close()
    away.close()
    events = [each["eventData"] for each in collector.events()]
    assert [each["eventName"] for each in events] == ["CreateUser", "CreateAccessKey", "GetUser", "ListBuckets"]
    user, access_key, missing, unreached = events
    assert user["requestParameters"] == {"UserName": "mary", "Tags": [{"Key": "a"}]}
    assert user["additionalEventData"]["awsService"] == "iam.amazonaws.com"
    assert access_key["responseElements"] == {"AccessKey": {"AccessKeyId": made["AccessKeyId"]}}
    assert "requestParameters" not in access_key
    assert missing["errorCode"] == "NoSuchEntity"
    assert missing["additionalEventData"]["readOnly"] is True
    assert unreached["errorCode"] == "EndpointConnectionError"
    assert "s3cr3t" not in json.dumps(events)
    assert made["SecretAccessKey"] not in json.dumps(events)


def test_settings_that_cannot_be_used_are_told_at_once(collector: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        collector.audit_log(tmp_path, endpoint="127.0.0.1:4577")
    collector.channel_arn = "orders"
    with pytest.raises(ValueError, match="channel_arn"):
        collector.audit_log(tmp_path)


def test_the_middleware_imports_nothing_heavy() -> None:
    program = "import sys, opentrail.middleware; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"botocore", "boto3", "sqlalchemy", "uvicorn", "uvloop", "obstore", "cryptography", "starlette", "django"}
    assert heavy.isdisjoint(loaded)
    assert PutAuditEvents.__module__ == "opentrail.middleware.put_audit_events"
