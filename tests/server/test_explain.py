"""``opentrail explain``: why a recorded call was allowed or denied, at the time when it was made."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError

from opentrail.cli.explain import run as run_explain
from opentrail.server.decision_log import DECISIONS
from opentrail.server.explanation import explain_event

READ = {"Sid": "Reading", "Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bkt/open/*"}


def events(local: Any, name: str) -> list[dict[str, Any]]:
    return [record for record in local.records() if record["eventName"] == name]


def explain(local: Any, event_id: str) -> dict[str, Any]:
    """What the log of a local endpoint says of an event."""
    local.runtime.decisions.flush()
    found = explain_event(local.runtime.settings.data_dir / DECISIONS, event_id)
    assert found is not None
    return found


@pytest.fixture
def bucket(local: Any) -> Any:
    s3 = local.client("s3")
    s3.create_bucket(Bucket="bkt")
    for key in ("open/k", "shut/k"):
        s3.put_object(Bucket="bkt", Key=key, Body=b"x")
    return s3


@pytest.mark.usefixtures("bucket")
def test_an_allowed_call_names_the_statement(local: Any) -> None:
    alice = local.new_user("alice", READ)
    local.client("s3", alice).get_object(Bucket="bkt", Key="open/k")
    found = explain(local, events(local, "GetObject")[-1]["eventID"])
    assert (found["allowed"], found["operation"], found["fault"]) == (True, "s3:GetObject", None)
    (decision,) = found["decisions"]
    assert decision["kind"] == "identity-based policy"
    assert decision["policy"] == "p"
    assert decision["statement"] == {"index": 0, "sid": "Reading", "element": READ}
    assert decision["resource"] == "arn:aws:s3:::bkt/open/k"
    assert decision["context"]["aws:username"] == ["alice"]
    assert decision["context"]["s3:authtype"] == ["REST-HEADER"]
    assert not decision["changed"]


@pytest.mark.usefixtures("bucket")
def test_a_denied_call_says_what_is_missing_and_what_came_near(local: Any) -> None:
    wants = {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}
    alice = local.new_user("alice", {**READ, "Resource": "*", "Condition": wants})
    with pytest.raises(ClientError, match="no identity-based policy allows the s3:GetObject action"):
        local.client("s3", alice).get_object(Bucket="bkt", Key="shut/k")
    found = explain(local, events(local, "GetObject")[-1]["eventID"])
    assert (found["allowed"], found["fault"]["code"]) == (False, "AccessDenied")
    (decision,) = found["decisions"]
    assert [each["kind"] for each in decision["missing"]] == ["identity-based policy"]
    (near,) = decision["near"]
    source = decision["context"]["aws:sourceip"]
    assert near["conditions"] == [
        {"operator": "IpAddress", "key": "aws:SourceIp", "wanted": ["10.0.0.0/8"], "found": source}
    ]


@pytest.mark.usefixtures("bucket")
def test_policies_are_those_of_the_time_of_the_call(local: Any) -> None:
    alice = local.new_user("alice", READ)
    iam, theirs = local.client("iam"), local.client("s3", alice)
    theirs.get_object(Bucket="bkt", Key="open/k")
    deny = {"Effect": "Deny", "Action": "*", "Resource": "*", "Sid": "Never"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
    iam.put_user_policy(UserName="alice", PolicyName="p", PolicyDocument=document)
    with pytest.raises(ClientError, match="with an explicit deny in an identity-based policy"):
        theirs.get_object(Bucket="bkt", Key="open/k")
    iam.delete_user_policy(UserName="alice", PolicyName="p")
    before, after = (explain(local, each["eventID"]) for each in events(local, "GetObject"))
    assert [each["decisions"][0]["statement"]["sid"] for each in (before, after)] == ["Reading", "Never"]
    assert [each["allowed"] for each in (before, after)] == [True, False]


def test_a_bucket_policy_and_the_tags_that_it_asks_for(local: Any, bucket: Any) -> None:
    bucket.put_object_tagging(Bucket="bkt", Key="open/k", Tagging={"TagSet": [{"Key": "Class", "Value": "public"}]})
    alice = local.new_user("alice")
    statement = {
        "Sid": "ByTag",
        "Effect": "Allow",
        "Principal": {"AWS": local.client("iam").get_user(UserName="alice")["User"]["Arn"]},
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::bkt/*",
        "Condition": {"StringEquals": {"s3:ExistingObjectTag/class": "public"}},
    }
    bucket.put_bucket_policy(Bucket="bkt", Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    theirs = local.client("s3", alice)
    theirs.get_object(Bucket="bkt", Key="open/k")
    with pytest.raises(ClientError, match="AccessDenied"):
        theirs.get_object(Bucket="bkt", Key="shut/k")
    allowed, denied = (explain(local, each["eventID"])["decisions"][0] for each in events(local, "GetObject"))
    assert allowed["kind"] == "resource-based policy"
    assert allowed["context"]["s3:existingobjecttag/class"] == ["public"]
    (near,) = [each for each in denied["near"] if each["statement"]["sid"] == "ByTag"]
    assert near["conditions"][0]["found"] is None


def test_an_identity_policy_is_given_the_tags_of_an_object(local: Any, bucket: Any) -> None:
    bucket.put_object_tagging(Bucket="bkt", Key="open/k", Tagging={"TagSet": [{"Key": "Class", "Value": "public"}]})
    wants = {"StringEquals": {"s3:ExistingObjectTag/Class": "public"}}
    theirs = local.client("s3", local.new_user("alice", {**READ, "Resource": "*", "Condition": wants}))
    theirs.get_object(Bucket="bkt", Key="open/k")
    with pytest.raises(ClientError, match="AccessDenied"):
        theirs.get_object(Bucket="bkt", Key="shut/k")


def test_root_needs_no_policy_and_identity_no_permission(local: Any, bucket: Any) -> None:
    bucket.list_buckets()
    found = explain(local, events(local, "ListBuckets")[-1]["eventID"])
    (decision,) = found["decisions"]
    assert (found["allowed"], decision["kind"], decision["missing"]) == (True, None, [])
    local.client("sts").get_caller_identity()
    found = explain(local, events(local, "GetCallerIdentity")[-1]["eventID"])
    assert (found["allowed"], found["decisions"]) == (True, [])


@pytest.mark.usefixtures("bucket")
def test_a_call_of_a_service(local: Any) -> None:
    with pytest.raises(ClientError, match="InsufficientS3BucketPolicy"):
        local.client("cloudtrail").create_trail(Name="trail", S3BucketName="bkt")
    found = explain(local, events(local, "GetBucketAcl")[-1]["eventID"])
    (decision,) = found["decisions"]
    assert (found["principal"], found["allowed"]) == ("cloudtrail.amazonaws.com", False)
    assert [each["kind"] for each in decision["missing"]] == ["resource-based policy"]
    assert decision["context"]["aws:sourcearn"][0].endswith(":trail/trail")


@pytest.mark.usefixtures("bucket")
def test_each_key_of_a_bulk_deletion_is_a_decision(local: Any) -> None:
    delete = {"Effect": "Allow", "Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::bkt/open/*"}
    theirs = local.client("s3", local.new_user("alice", delete))
    answer = theirs.delete_objects(Bucket="bkt", Delete={"Objects": [{"Key": "open/k"}, {"Key": "shut/k"}]})
    assert [each["Key"] for each in answer["Errors"]] == ["shut/k"]
    found = explain(local, events(local, "DeleteObjects")[-1]["eventID"])
    assert [(each["resource"][-6:], each["allowed"], each["within"]) for each in found["decisions"]] == [
        ("open/k", True, True),
        ("shut/k", False, True),
    ]


def test_a_call_that_no_policy_was_asked_about(local: Any) -> None:
    with pytest.raises(ClientError, match="NoSuchBucket"):
        local.client("s3").list_objects_v2(Bucket="nowhere")
    record = next(record for record in local.records() if record.get("errorCode") == "NoSuchBucket")
    found = explain(local, record["eventID"])
    assert (found["allowed"], found["fault"]["code"], found["decisions"]) == (False, "NoSuchBucket", [])


@pytest.mark.usefixtures("bucket")
def test_the_log_holds_no_secret_and_is_nobody_elses(local: Any) -> None:
    key = local.new_user("alice", READ)
    url = local.client("s3", key).generate_presigned_url("get_object", Params={"Bucket": "bkt", "Key": "open/k"})
    (signature,) = parse_qs(urlsplit(url).query)["Signature"]
    status, _, body = local.request(AWSRequest("GET", url).prepare())
    assert status == 200, body
    local.runtime.decisions.flush()
    folder = local.runtime.settings.data_dir / DECISIONS
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        text = path.read_text()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert all(secret not in text for secret in (key.secret, local.key.secret, signature))


def test_what_is_kept_is_bounded(local_with: Callable[..., Any]) -> None:
    local = local_with(decision_bytes=64 << 10)
    sts = local.client("sts")
    for _ in range(400):
        sts.get_caller_identity()
        local.runtime.decisions.flush()
    folder = local.runtime.settings.data_dir / DECISIONS
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 72 << 10
    records = events(local, "GetCallerIdentity")
    assert explain_event(folder, records[0]["eventID"]) is None
    assert explain_event(folder, records[-1]["eventID"]) is not None
    assert local.runtime.decisions.lost == 0


def test_nothing_is_kept_where_nothing_is_wanted(local_with: Callable[..., Any]) -> None:
    local = local_with(decision_bytes=0)
    local.client("sts").get_caller_identity()
    local.runtime.decisions.flush()
    assert not (local.runtime.settings.data_dir / DECISIONS).exists()


def test_what_the_disk_does_not_take_costs_no_call(local: Any, caplog: pytest.LogCaptureFixture) -> None:
    folder = local.runtime.settings.data_dir / DECISIONS
    local.runtime.decisions.flush()
    (folder.parent / "moved").mkdir()
    if folder.exists():
        for path in folder.iterdir():
            path.rename(folder.parent / "moved" / path.name)
        folder.rmdir()
    folder.write_text("in the way")
    local.runtime.decisions._end_segment()
    local.client("sts").get_caller_identity()
    local.runtime.decisions.flush()
    assert local.runtime.decisions.lost > 0
    assert "decisions cannot be kept" in caplog.text


def test_a_line_that_a_crash_cut_is_passed_over(local: Any, bucket: Any) -> None:
    bucket.list_buckets()
    event_id = events(local, "ListBuckets")[-1]["eventID"]
    assert explain(local, event_id)
    (path,) = (local.runtime.settings.data_dir / DECISIONS).iterdir()
    with path.open("ab") as file:
        file.write(b'{"event":"' + event_id.encode() + b'","time":1')
    assert explain(local, event_id)["allowed"]


def test_the_command_with_a_running_and_a_stopped_server(
    serve: Any, run_opentrail: Any, run_opentrail_here: Any
) -> None:
    server = serve()
    server.client("sts").get_caller_identity()
    with pytest.raises(ClientError):
        server.client("s3").get_object(Bucket="none", Key="k")
    server.client("s3").list_buckets()
    options = ("--data-dir", str(server.data_dir))
    running = _event_ids(server.data_dir, deadline=20)
    done = run_opentrail("explain", running[-1], *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ALLOWED  s3:ListBuckets  ")
    assert "the root user of the account needs no policy" in done.stdout
    assert "\x1b" not in done.stdout
    assert server.stop() == 0
    listed = next(record for record in server.records() if record["eventName"] == "ListBuckets")
    done = run_opentrail_here("explain", listed["eventID"], "--json", *options)
    explanation = json.loads(done.stdout)
    assert (done.returncode, explanation["allowed"], explanation["eventID"]) == (0, True, listed["eventID"])
    missing = next(record for record in server.records() if record.get("errorCode") == "NoSuchBucket")
    done = run_opentrail_here("explain", missing["eventID"], *options)
    assert "answered before any policy was asked" in done.stdout


def _event_ids(data: Path, *, deadline: float, count: int = 3) -> list[str]:
    """The events in the decision log, as soon as there are ``count``."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        lines = [line for path in (data / DECISIONS).glob("*.jsonl") for line in path.read_text().splitlines()]
        found = [json.loads(line)["event"] for line in lines if line.startswith('{"event"') and line.endswith("}")]
        if len(found) >= count:
            return found
        time.sleep(0.05)
    raise AssertionError("the decisions were not written")


def test_the_command_refuses_what_it_cannot_find(local: Any, run_opentrail_here: Any) -> None:
    options = ("--data-dir", str(local.runtime.settings.data_dir))
    done = run_opentrail_here("explain", str(uuid4()), *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert "nothing is known of" in done.stderr
    done = run_opentrail_here("explain", "../../etc/passwd", *options)
    assert done.returncode == 2
    assert "a UUID is expected" in done.stderr
    done = run_opentrail_here("explain", str(uuid4()), "--data-dir", "nowhere")
    assert done.returncode == 2


def test_colour_is_for_terminals(
    local: Any, bucket: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentrail.cli.main import build_parser

    bucket.list_buckets()
    event_id = events(local, "ListBuckets")[-1]["eventID"]
    local.runtime.decisions.flush()
    data = str(local.runtime.settings.data_dir)
    arguments = build_parser("explain").parse_args(["explain", event_id, "--data-dir", data])
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert run_explain(arguments) == 0
    assert "\x1b[1;32mALLOWED\x1b[0m" in capsys.readouterr().out
    monkeypatch.setitem(os.environ, "NO_COLOR", "1")
    assert run_explain(arguments) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_a_kill_loses_the_last_moments_and_nothing_else(serve: Any, run_opentrail_here: Any) -> None:
    server = serve()
    sts = server.client("sts")
    for _ in range(3):
        sts.get_caller_identity()
    kept = _event_ids(server.data_dir, deadline=20)
    server.process.kill()
    server.process.wait(30)
    (path,) = (server.data_dir / DECISIONS).iterdir()
    with path.open("ab") as file:
        file.write(b'{"event":"cut')
    again = serve(data_dir=server.data_dir)
    again.client("sts").get_caller_identity()
    _event_ids(again.data_dir, deadline=20, count=4)
    for event_id in kept:
        assert run_opentrail_here("explain", event_id, "--data-dir", str(server.data_dir)).returncode == 0
    assert again.stop() == 0
    assert len(again.records()) == 4
