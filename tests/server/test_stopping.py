"""The end of a server: on a signal with calls in flight, or without warning.  What was answered is kept."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from opentrail.journal.base import EntryKind

BUCKET = "stopping-bucket"


def hammer(server: Any, stop_after: float, number: int) -> tuple[set[str], int]:
    """Call from four threads while the server is sent signal ``number``; the request IDs answered, the exit code."""
    answered: set[str] = set()
    server.client("s3").create_bucket(Bucket=BUCKET)
    clients = [(server.client("sts"), server.client("s3")) for _ in range(4)]

    def call(worker: int) -> None:
        sts, s3 = clients[worker]
        for turn in range(100_000):
            try:
                if turn % 2:
                    answer = sts.get_caller_identity()
                else:
                    answer = s3.put_object(Bucket=BUCKET, Key=f"{worker}/{turn}", Body=b"x")
            except (BotoCoreError, ClientError, ResponseParserError):  # the last: of an answer, a part
                return
            answered.add(answer["ResponseMetadata"]["RequestId"])

    threads = [threading.Thread(target=call, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(stop_after)
    code = server.stop(number)
    for thread in threads:
        thread.join()
    return answered, code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_under_load_ends_cleanly(serve: Any, number: int) -> None:
    server = serve()
    answered, code = hammer(server, 0.7, number)
    assert code == 0
    assert len(answered) > 20
    recorded = {record["requestID"] for record in server.records()}
    assert answered <= recorded
    kinds = [entry.kind for entry in server.entries()]
    intents = {entry.event_id for entry in server.entries() if entry.kind is EntryKind.INTENT}
    events = {entry.event_id for entry in server.entries() if entry.kind is EntryKind.EVENT}
    assert EntryKind.RECOVERED not in kinds
    assert intents <= events, "every call that was begun was finished"
    assert "Traceback" not in server.log


def test_killed_under_load_nothing_answered_is_lost(serve: Any) -> None:
    server = serve()
    answered, _ = hammer(server, 0.7, signal.SIGKILL)
    again = serve(data_dir=server.data_dir)
    assert again.stop() == 0
    records = again.records()
    assert answered <= {record["requestID"] for record in records}
    for record in records:
        if record["requestID"] not in answered and record.get("errorCode"):
            assert record["errorCode"] == "OutcomeUnknown"


def begin_upload(server: Any, on_the_wire: Callable[..., bytes], size: int = 4 << 20) -> socket.socket:
    """An upload whose second half is still to come; its intent is durable."""
    body = os.urandom(size)
    data: bytes = on_the_wire(server.sign("PUT", f"/{BUCKET}/upload", service="s3", body=body), close=False)
    connection: socket.socket = server.connect()
    connection.sendall(data[: -size // 2])
    time.sleep(0.4)
    return connection


def test_killed_between_effect_and_record_a_call_leaves_a_trace(serve: Any, on_the_wire: Callable[..., bytes]) -> None:
    server = serve("--account-id", "123456789012")
    server.client("s3").create_bucket(Bucket=BUCKET)
    with begin_upload(server, on_the_wire):
        server.stop(signal.SIGKILL)
    for _ in range(2):  # the second start finds nothing left to do
        again = serve(data_dir=server.data_dir)
        again.stop()
        (record,) = (record for record in again.records() if record["eventName"] == "PutObject")
        assert record["errorCode"] == "OutcomeUnknown"
        assert "outcome is not known" in record["errorMessage"]
        assert record["requestParameters"]["key"] == "upload"
        assert record["userIdentity"]["arn"] == "arn:aws:iam::123456789012:root"
        assert (record["responseElements"], record["recipientAccountId"]) == (None, "123456789012")
        names = list(record)
        assert names.index("errorCode") == names.index("userAgent") + 1, "AWS's order of fields"
    assert again.log.count("recovered") == 0


def test_a_second_signal_cuts_the_clients_not_the_records(serve: Any, on_the_wire: Callable[..., bytes]) -> None:
    server = serve()
    server.client("s3").create_bucket(Bucket=BUCKET)
    with begin_upload(server, on_the_wire):
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert server.process.poll() is None, "a client in the middle of a call is waited for"
        start = time.monotonic()
        assert server.stop(signal.SIGTERM) == 0
        assert time.monotonic() - start < 10
    (record,) = (record for record in server.records() if record["eventName"] == "PutObject")
    assert record["errorCode"] == "RequestTimeout"


def test_idle_connections_do_not_delay_the_end(serve: Any, on_the_wire: Callable[..., bytes]) -> None:
    server = serve()
    request = on_the_wire(server.sign("GET", "/", service="s3"), close=False)
    with server.connect() as idle, server.connect() as used, server.connect() as half:
        used.sendall(request)
        assert used.recv(10) == b"HTTP/1.1 2"
        half.sendall(request[:20])
        start = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - start < 5
        assert idle.recv(1) == b""


def test_a_stop_delivers_what_was_answered(serve: Any) -> None:
    server = serve("--account-id", "123456789012")
    s3, cloudtrail = server.client("s3"), server.client("cloudtrail")
    s3.create_bucket(Bucket="log-bucket")
    arn = "arn:aws:cloudtrail:us-east-1:123456789012:trail/trail"
    principal, condition = {"Service": "cloudtrail.amazonaws.com"}, {"aws:SourceArn": arn}
    statements = [
        {"Effect": "Allow", "Principal": principal, "Action": "s3:GetBucketAcl", "Resource": "arn:aws:s3:::log-bucket",
         "Condition": {"StringEquals": condition}},
        {"Effect": "Allow", "Principal": principal, "Action": "s3:PutObject",
         "Resource": "arn:aws:s3:::log-bucket/AWSLogs/123456789012/*",
         "Condition": {"StringEquals": condition | {"s3:x-amz-acl": "bucket-owner-full-control"}}},
    ]  # fmt: skip
    s3.put_bucket_policy(Bucket="log-bucket", Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))
    cloudtrail.create_trail(Name="trail", S3BucketName="log-bucket")
    cloudtrail.start_logging(Name="trail")
    answer = server.client("sts").get_caller_identity()
    assert server.stop() == 0
    again = serve("--account-id", "123456789012", data_dir=server.data_dir)
    s3 = again.client("s3")
    import gzip

    found = []
    for item in s3.list_objects_v2(Bucket="log-bucket", Prefix="AWSLogs/123456789012/CloudTrail/").get("Contents", ()):
        found += json.loads(gzip.decompress(s3.get_object(Bucket="log-bucket", Key=item["Key"])["Body"].read()))[
            "Records"
        ]
    assert answer["ResponseMetadata"]["RequestId"] in {record["requestID"] for record in found}
