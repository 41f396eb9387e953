"""Opentrail from end to end, in under two minutes: calls, records, log files, digests, proof, and a forgery found.

Run it with `make demo`.  Everything happens on this machine, in a folder of its own that is removed at the end
(`make demo KEEP=1` leaves the server running).
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

BIN = Path(sys.executable).parent
COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ
LOG_BUCKET, DATA_BUCKET = "demo-trail-logs", "demo-reports"


def paint(code: str, text: str) -> str:
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def title(number: int, text: str) -> None:
    print(f"\n{paint('1;36', f'{number}. {text}')}")


def say(text: str) -> None:
    print(f"   {text}")


class Demo:
    """One server, its root user, and the users made on the way."""

    def __init__(self, folder: Path, url: str) -> None:
        self.data = folder / "data"
        self.url = url
        self.root = boto3.Session(**self._read_credentials(), region_name="eu-central-1")
        self.calls = 0
        self.denied = 0

    def client(self, name: str, session: boto3.Session | None = None, region: str | None = None) -> Any:
        chosen = session or self.root
        config = Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"})
        return chosen.client(name, endpoint_url=self.url, region_name=region, config=config)

    def call(self, who: str, text: str, function: Any, /, **parameters: Any) -> Any:
        """Make one call, say who made it and how it ended."""
        self.calls += 1
        try:
            result = function(**parameters)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            self.denied += code == "AccessDenied"
            print(f"   {who:>7}  {text:58} {paint('31', code)}")
            return None
        print(f"   {who:>7}  {text:58} {paint('32', 'ok')}")
        return result

    def aws(self, who: str, *words: str, credentials: dict[str, str] | None = None, shown: bool = True) -> str:
        """Run the unmodified AWS CLI."""
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self.data),
            "AWS_ENDPOINT_URL": self.url,
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_PAGER": "",
            "AWS_SHARED_CREDENTIALS_FILE": str(self.data / "credentials"),
            "AWS_CONFIG_FILE": str(self.data / "no-config"),
        }
        for name, value in (credentials or {}).items():
            environment[name.upper()] = value
        done = subprocess.run(
            [BIN / "aws", *words], env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        if shown:
            self.calls += 1
            found = re.search(r"\((\w+)\) when calling", done.stderr)
            ending = paint("32", "ok") if done.returncode == 0 else paint("31", found[1] if found else "failed")
            self.denied += bool(found and found[1] == "AccessDenied")
            print(f"   {who:>7}  {'aws ' + ' '.join(words):58.58} {ending}")
        return done.stdout + done.stderr

    def _read_credentials(self) -> dict[str, str]:
        text = (self.data / "credentials").read_text()
        found = dict(re.findall(r"(aws_\w+) = (\S+)", text))
        return {name: found[name] for name in ("aws_access_key_id", "aws_secret_access_key")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="leave the server running")
    keep = parser.parse_args().keep
    started = time.monotonic()
    print(paint("1", "Opentrail: the open, self-hosted CloudTrail"))
    folder = Path(tempfile.mkdtemp(prefix="opentrail-demo-"))
    with running_server(folder, keep=keep) as (url, process):
        demo = Demo(folder, url)
        trail_arn = set_up(demo)
        make_calls(demo)
        deliver(demo)
        victim = show_bucket(demo)
        show_record(demo)
        valid = validate(demo, 6, "Prove that nothing was changed", trail_arn)
        tamper(demo, victim)
        invalid = validate(demo, 8, "Prove it again", trail_arn)
        succeeded = "INVALID" not in valid and re.search(r"(\d+)/\1 log files valid", valid) and victim in invalid
        finish(demo, folder, process, keep=keep, seconds=time.monotonic() - started)
    if not succeeded:
        print(paint("1;31", "The demonstration did not go as it should: please report its output."))
        return 1
    return 0


@contextmanager
def running_server(folder: Path, *, keep: bool) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """`opentrail serve` on a free port, with its log in the folder."""
    title(1, "Start the endpoint")
    command = [BIN / "opentrail", "serve", "--port", "0", "--data-dir", folder / "data", "--delivery-interval", "1h"]
    say("opentrail serve --port 0 --data-dir ...   (one endpoint for every service and region)")
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=keep)
    try:
        url = wait_for_url(process, log)
        say(f"listening on {url}, root credentials in data/credentials")
        yield url, process
    finally:
        if not keep or sys.exc_info()[0] is not None:
            process.send_signal(signal.SIGINT)
            process.wait(60)
            shutil.rmtree(folder, ignore_errors=True)


def wait_for_url(process: subprocess.Popen[bytes], log: Path) -> str:
    for _ in range(600):
        found = re.search(r"listens on (\S+)", log.read_text())
        if found:
            return found[1]
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise SystemExit(f"the server did not start:\n{log.read_text()}")


def set_up(demo: Demo) -> str:
    title(2, "Make a bucket for the logs, and a trail")
    s3, cloudtrail = demo.client("s3"), demo.client("cloudtrail")
    account = demo.client("sts").get_caller_identity()["Account"]
    where = {"LocationConstraint": "eu-central-1"}
    for bucket in (LOG_BUCKET, DATA_BUCKET):
        demo.call("root", f"s3 CreateBucket {bucket}", s3.create_bucket, Bucket=bucket, CreateBucketConfiguration=where)
    principal = {"Service": "cloudtrail.amazonaws.com"}
    put_on = f"arn:aws:s3:::{LOG_BUCKET}/AWSLogs/{account}/*"
    owner = {"StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}}
    statements = [
        {
            "Effect": "Allow",
            "Principal": principal,
            "Action": "s3:GetBucketAcl",
            "Resource": f"arn:aws:s3:::{LOG_BUCKET}",
        },
        {"Effect": "Allow", "Principal": principal, "Action": "s3:PutObject", "Resource": put_on, "Condition": owner},
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    trail = {"Name": "demo", "S3BucketName": LOG_BUCKET, "IsMultiRegionTrail": True, "EnableLogFileValidation": True}
    demo.call("root", "cloudtrail CreateTrail, before the bucket allows it", cloudtrail.create_trail, **trail)
    demo.call(
        "root", "s3 PutBucketPolicy: CloudTrail may write", s3.put_bucket_policy, Bucket=LOG_BUCKET, Policy=policy
    )
    made = demo.call("root", "cloudtrail CreateTrail demo, all regions, validated", cloudtrail.create_trail, **trail)
    selector = {
        "ReadWriteType": "All",
        "IncludeManagementEvents": True,
        "DataResources": [{"Type": "AWS::S3::Object", "Values": [f"arn:aws:s3:::{DATA_BUCKET}/"]}],
    }
    demo.call(
        "root",
        f"cloudtrail PutEventSelectors: objects of {DATA_BUCKET} too",
        cloudtrail.put_event_selectors,
        TrailName="demo",
        EventSelectors=[selector],
    )
    demo.call("root", "cloudtrail StartLogging", cloudtrail.start_logging, Name="demo")
    return str(made["TrailARN"])


def make_calls(demo: Demo) -> None:
    title(3, "A few dozen calls by different people, some denied")
    iam = demo.client("iam")
    reader = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": ["*"]}
    writer = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{DATA_BUCKET}/drafts/*"}
    users: dict[str, boto3.Session] = {}
    keys: dict[str, dict[str, str]] = {}
    for name, statements in (("alice", [reader, writer]), ("bob", [reader]), ("mallory", [])):
        demo.call("root", f"iam CreateUser {name}", iam.create_user, UserName=name)
        if statements:
            document = json.dumps({"Version": "2012-10-17", "Statement": statements})
            demo.call(
                "root",
                f"iam PutUserPolicy {name}",
                iam.put_user_policy,
                UserName=name,
                PolicyName="demo",
                PolicyDocument=document,
            )
        key = demo.call("root", f"iam CreateAccessKey {name}", iam.create_access_key, UserName=name)["AccessKey"]
        pair = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
        users[name], keys[name] = boto3.Session(**pair, region_name="eu-central-1"), pair
    alice, bob, mallory = (demo.client("s3", users[name]) for name in ("alice", "bob", "mallory"))
    for number in range(1, 4):
        key = f"drafts/report-{number}.txt"
        demo.call("alice", f"s3 PutObject {key}", alice.put_object, Bucket=DATA_BUCKET, Key=key, Body=b"figures")
    demo.call(
        "alice", "s3 PutObject final/report.txt", alice.put_object, Bucket=DATA_BUCKET, Key="final/r.txt", Body=b"x"
    )
    demo.call("bob", "s3 GetObject drafts/report-1.txt", bob.get_object, Bucket=DATA_BUCKET, Key="drafts/report-1.txt")
    demo.call(
        "bob", "s3 DeleteObject drafts/report-1.txt", bob.delete_object, Bucket=DATA_BUCKET, Key="drafts/report-1.txt"
    )
    demo.call("mallory", "s3 ListBuckets", mallory.list_buckets)
    demo.call(
        "mallory", "s3 GetObject drafts/report-2.txt", mallory.get_object, Bucket=DATA_BUCKET, Key="drafts/report-2.txt"
    )
    stop = demo.client("cloudtrail", users["mallory"]).stop_logging
    demo.call("mallory", "cloudtrail StopLogging (covering her tracks)", stop, Name="demo")
    for region in ("us-east-1", "ap-southeast-2"):
        identify = demo.client("sts", users["bob"], region).get_caller_identity
        demo.call("bob", f"sts GetCallerIdentity in {region}", identify)
    demo.aws("alice", "sts", "get-caller-identity", credentials=keys["alice"])
    demo.aws("bob", "s3", "ls", f"s3://{DATA_BUCKET}/drafts/", credentials=keys["bob"])
    demo.aws("mallory", "iam", "list-users", credentials=keys["mallory"])
    demo.aws("root", "iam", "list-access-keys", "--user-name", "mallory")
    demo.aws("root", "cloudtrail", "get-trail-status", "--name", "demo")
    print(
        f"   {demo.calls} calls so far, {demo.denied} of them denied: each was durably recorded before it was answered"
    )


def deliver(demo: Demo) -> None:
    title(4, "Deliver (every 5 minutes by itself; now, because we ask)")
    flush(demo)
    s3 = demo.client("s3")
    for number in range(1, 4):
        key = f"drafts/report-{number}.txt"
        demo.call("root", f"s3 GetObject {key}", s3.get_object, Bucket=DATA_BUCKET, Key=key)
    flush(demo)


def flush(demo: Demo) -> None:
    command = [BIN / "opentrail", "flush", "--digest", "--data-dir", demo.data]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    say(f"opentrail flush --digest   ->   {done.stdout.strip()}")


def show_bucket(demo: Demo) -> str:
    """Draw the bucket's tree; returns the key of the largest log file."""
    title(5, f"The log bucket, as every CloudTrail reader knows it: s3://{LOG_BUCKET}")
    pages = demo.client("s3").get_paginator("list_objects_v2").paginate(Bucket=LOG_BUCKET)
    sizes = {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", [])}
    tree: dict[str, Any] = {}
    for key in sizes:
        node = tree
        for part in key.split("/"):
            node = node.setdefault(part, {})
    draw(tree, "   ", "", sizes)
    logs = [key for key in sizes if "/CloudTrail/" in key]
    return max(logs, key=lambda key: sizes[key])


def draw(node: dict[str, Any], indent: str, path: str, sizes: dict[str, int]) -> None:
    items = list(node.items())
    for number, item in enumerate(items):
        last = number == len(items) - 1
        name, children = join_single_folders(*item)
        here = f"{path}/{name}" if path else name
        shown = f"{name}  {paint('2', f'{sizes[here]} bytes')}" if here in sizes else paint("34", f"{name}/")
        print(f"{indent}{'└── ' if last else '├── '}{shown}")
        draw(children, indent + ("    " if last else "│   "), here, sizes)


def join_single_folders(name: str, children: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Folders that hold one folder and nothing else share a line."""
    while len(children) == 1:
        ((only, deeper),) = children.items()
        if not deeper:
            break
        name, children = f"{name}/{only}", deeper
    return name, children


def show_record(demo: Demo) -> None:
    say("")
    say("one record, Mallory's attempt to stop the trail:")
    s3 = demo.client("s3")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=LOG_BUCKET)
    for item in (item for page in pages for item in page.get("Contents", []) if "/CloudTrail/" in item["Key"]):
        body = s3.get_object(Bucket=LOG_BUCKET, Key=item["Key"])["Body"].read()
        for record in json.loads(gzip.decompress(body))["Records"]:
            if record["eventName"] == "StopLogging" and "errorCode" in record:
                print(colour_json(json.dumps(record, indent=2)))
                return
    raise SystemExit("the record of StopLogging is missing")


def colour_json(text: str) -> str:
    lines = []
    for line in text.splitlines():
        painted = re.sub(r'^(\s*)("[^"]+")(:)', lambda m: m[1] + paint("36", m[2]) + m[3], line)
        if re.search(r'"(errorCode|errorMessage)"', line):
            painted = paint("31", line)
        lines.append("     " + painted)
    return "\n".join(lines)


def validate(demo: Demo, number: int, text: str, trail_arn: str) -> str:
    title(number, text)
    start = (datetime.now(UTC) - timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    say("aws cloudtrail validate-logs --trail-arn ... --start-time ...   (the unmodified AWS CLI)")
    words = ("cloudtrail", "validate-logs", "--trail-arn", trail_arn, "--start-time", start)
    output = demo.aws("root", *words, shown=False)
    for line in filter(None, (line.strip() for line in output.splitlines())):
        bad = "INVALID" in line or ("invalid" in line.lower() and "0 invalid" not in line.lower())
        print("   | " + paint("1;31" if bad else "32" if "valid" in line else "0", line))
    return output


def tamper(demo: Demo, key: str) -> None:
    title(7, "Be the attacker: change one byte of a log file, on the disk")
    path = demo.data / "objects" / LOG_BUCKET / key
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x01
    path.write_bytes(data)
    say(f"byte {len(data) // 2} of .../{path.name}")


def finish(demo: Demo, folder: Path, process: subprocess.Popen[bytes], *, keep: bool, seconds: float) -> None:
    print(f"\n{paint('1;32', 'Done')} in {seconds:.0f} s: {demo.calls} calls, {demo.denied} denied, one forgery found.")
    print("\nWhat to try next")
    if keep:
        print(f"   the server still runs (process {process.pid}); its folder is {folder}")
        print(f"   export AWS_SHARED_CREDENTIALS_FILE={demo.data}/credentials AWS_ENDPOINT_URL={demo.url}")
        print(f"   aws s3 ls --recursive s3://{LOG_BUCKET}/")
        print(f"   kill -INT {process.pid} ends it")
    else:
        print("   make demo KEEP=1                       leave the server running and look around")
        print("   .venv/bin/opentrail serve              your own endpoint, data in ./opentrail-data")
        print("   .venv/bin/opentrail serve --help       every setting, with examples")
    print("   docs/quick-start.md                    point your own clients at it")


if __name__ == "__main__":
    sys.exit(main())
