"""Holding what was delivered against what the clients of a load saw.

Rules: everything is read through the endpoint; what is wrong is an ``AssertionError`` that says which call or object.
"""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from opentrail.core.findings import FindingCode
from opentrail.testing.delivered_trail import TRAIL, DeliveredTrail, count_by, fetch_trail, more_than_once
from opentrail.testing.live_server import HOME, LiveServer
from opentrail.testing.load import Load, content_of


def check_load(server: LiveServer, load: Load) -> DeliveredTrail:
    """Deliver what is left; then hold the log bucket, the objects and the users against what the clients saw."""
    done = server.run("flush", "--digest")
    assert done.returncode == 0, done.stderr + server.log()[-2000:]
    trail = fetch_trail(server)
    records = list(trail.records())
    by_request = count_by(records, "requestID")
    assert more_than_once(count_by(records, "eventID")) == []
    assert more_than_once(by_request) == []
    answered = load.answered()
    lost = {request_id: answered[request_id] for request_id in answered.keys() - by_request.keys()}
    assert lost == {}, f"{len(lost)} of {len(answered)} answered calls are in no record"
    recovered = set(re.findall(r"recovered the record of \S+ (\S+):", server.log()))
    unknown = {record["eventID"] for record in records if record.get("errorCode") == "OutcomeUnknown"}
    assert unknown == recovered
    _check_objects(server, load, records)
    _check_users(server, records)
    check_chains(trail)
    assert "Traceback" not in server.log()
    return trail


def check_chains(trail: DeliveredTrail) -> None:
    """In each region one chain of digests from the first to the last, with nothing to complain of."""
    verified = trail.verify()
    assert verified.objections() == []
    assert verified.result.exit_code == 0
    starts = [chain for chain, each in verified.told if each.code is FindingCode.CHAIN_STARTED]
    assert sorted(chain.folder.region for chain in starts if chain) == trail.regions()


def _check_objects(server: LiveServer, load: Load, records: list[dict[str, Any]]) -> None:
    """Every acknowledged object is there with its content, every deleted one gone, every present one in a record."""
    s3 = server.client("s3")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=load.bucket)
    present = {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", [])}
    names = {"PutObject", "CompleteMultipartUpload"}
    written = {
        record["requestParameters"]["key"]
        for record in records
        if record["eventName"] in names and record["requestParameters"]["bucketName"] == load.bucket
    }
    assert present.keys() - written == set(), "objects without a trace"
    for client in load.clients:
        expected = client.objects
        assert {key: present.get(key) for key in expected.there} == expected.there
        assert present.keys() & expected.gone == set()
        for key, size in expected.there.items():
            data = s3.get_object(Bucket=load.bucket, Key=key)["Body"].read()
            assert data == content_of(key, size), key


def _check_users(server: LiveServer, records: list[dict[str, Any]]) -> None:
    pages = server.client("iam").get_paginator("list_users").paginate()
    present = {user["UserName"] for page in pages for user in page["Users"]}
    made = {record["requestParameters"]["userName"] for record in records if record["eventName"] == "CreateUser"}
    assert present - made == set(), "users without a trace"


def let_the_cli_judge(server: LiveServer) -> None:
    """Let the unmodified AWS CLI say that every digest and log file is valid."""
    account = server.client("sts").get_caller_identity()["Account"]
    arn = f"arn:aws:cloudtrail:{HOME}:{account}:trail/{TRAIL}"
    start = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    aws = Path(sys.executable).with_name("aws")
    done = server.aws(aws, "cloudtrail", "validate-logs", "--trail-arn", arn, "--start-time", start, "--verbose")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"(\d+)/\1 digest files valid", done.stdout), done.stdout
    assert re.search(r"(\d+)/\1 log files valid", done.stdout), done.stdout
    assert "INVALID" not in done.stdout + done.stderr
