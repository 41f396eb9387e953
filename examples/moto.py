"""A look-alike of AWS with a trail in front of it: a dozen services of moto, each call recorded as AWS would have.

Run it with `.venv/bin/python examples/moto.py` (it needs `pip install moto[server] awscli boto3`).  Opentrail decides
who may do what, by its own IAM, and signs what it lets through with moto's key; nothing is changed in moto or in its
clients.  Everything happens on this machine, in a folder of its own that is removed at the end.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

BIN = Path(sys.executable).parent
COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ
LOG_BUCKET, REGION = "moto-trail-logs", "eu-central-1"
START_SECONDS = 60
Running = tuple[Path, subprocess.Popen[bytes]]


def paint(code: str, text: str) -> str:
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def title(number: int, text: str) -> None:
    print(f"\n{paint('1;36', f'{number}. {text}')}")


def say(text: str) -> None:
    print(f"   {text}")


class Endpoint:
    """Opentrail with moto behind it, and who calls it."""

    def __init__(self, data: Path, url: str) -> None:
        self.data = data
        self.url = url
        self.root = read_credentials(data)
        self.endings: Counter[str] = Counter()

    def client(self, service: str, key: Mapping[str, str] | None = None) -> Any:
        config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
        session = boto3.Session(**(key or self.root), region_name=REGION)
        return session.client(service, endpoint_url=self.url, config=config)

    def call(self, who: str, function: Any, /, **parameters: Any) -> dict[str, Any]:
        """Make one call, say who made it and how it ended; an error gives an empty answer."""
        text = f"{function.__self__.meta.service_model.service_name} {function.__name__}"
        try:
            answer = function(**parameters)
        except ClientError as error:
            self._tell(who, text, error.response["Error"]["Code"])
            return {}
        self._tell(who, text, "")
        return dict(answer)

    def aws(self, who: str, *words: str, key: Mapping[str, str] | None = None, shown: bool = True) -> str:
        """Run the unmodified AWS CLI."""
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self.data),
            "AWS_ENDPOINT_URL": self.url,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_PAGER": "",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            **{name.upper(): value for name, value in (key or self.root).items()},
        }
        command = [BIN / "aws", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
        if shown:
            found = re.search(r"\((\w[\w.]*)\) when calling", done.stderr)
            ending = "" if done.returncode == 0 else found[1] if found else "failed"
            self._tell(who, " ".join(("aws", *words)), ending)
        return done.stdout + done.stderr

    def _tell(self, who: str, text: str, error: str) -> None:
        self.endings[error] += 1
        print(f"   {who:>7}  {text:58.58} {paint('31', error) if error else paint('32', 'ok')}")


def main() -> int:
    started = time.monotonic()
    print(paint("1", "Opentrail in front of moto: any API, recorded as AWS would have"))
    folder = Path(tempfile.mkdtemp(prefix="opentrail-moto-"))
    try:
        with running_moto(folder) as moto, running_opentrail(folder, moto) as url:
            endpoint = Endpoint(folder / "data", url)
            trail_arn = make_trail(endpoint)
            developer = make_developer(endpoint)
            call_services(endpoint)
            call_as(endpoint, developer)
            records = deliver(endpoint)
            show(records)
            valid = validate(endpoint, trail_arn)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    services = {record["eventSource"] for record in records}
    failed = sum(endpoint.endings.values()) - endpoint.endings[""]
    print(
        f"\n{paint('1;32', 'Done')} in {time.monotonic() - started:.0f} s: {sum(endpoint.endings.values())} calls of "
        f"{len(services)} services, {failed} of them refused or failed; {len(records)} records."
    )
    return 0 if valid else 1


@contextmanager
def running_moto(folder: Path) -> Iterator[str]:
    """`moto_server` on a free port; its URL."""
    title(1, "Start moto, and Opentrail in front of it")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with running(folder / "moto.log", [BIN / "moto_server", "-H", "127.0.0.1", "-p", str(port)], {}) as log:
        wait_for(log, "Running on")
        say(f"moto_server on {url}")
        yield url


@contextmanager
def running_opentrail(folder: Path, moto: str) -> Iterator[str]:
    """`opentrail serve` that forwards what is not its own to moto, signed with moto's key; its URL."""
    command = [BIN / "opentrail", "serve", "--port", "0", "--data-dir", folder / "data", "--upstream", f"*={moto}"]
    key = {"ACCESS_KEY_ID": "testing", "SECRET_ACCESS_KEY": "testing"}  # any will do: moto takes all
    settings = {f"OPENTRAIL_UPSTREAM_ANY_{name}": value for name, value in key.items()}
    say("opentrail serve --upstream '*=http://127.0.0.1:...'   (its own: cloudtrail, iam, organizations, s3, sts)")
    with running(folder / "opentrail.log", command, settings) as log:
        url = wait_for(log, r"listens on (\S+)")
        say(f"listening on {url}")
        yield url


@contextmanager
def running(log: Path, command: list[Any], settings: Mapping[str, str]) -> Iterator[Running]:
    """A server with its log, until the block is left."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "OPENTRAIL_"))}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={**environment, **settings})
    try:
        yield log, process
    finally:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        process.kill()
        process.wait()


def wait_for(server: Running, pattern: str) -> str:
    """Wait for a line in the log; what its group holds, or the whole of it."""
    log, process = server
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        found = re.search(pattern, log.read_text())
        if found:
            return found[found.re.groups]
        time.sleep(0.05)
    raise SystemExit(f"{log.stem} did not start:\n{log.read_text()}")


def read_credentials(data: Path) -> dict[str, str]:
    found = dict(re.findall(r"(aws_\w+) = (\S+)", (data / "credentials").read_text()))
    return {name: found[name] for name in ("aws_access_key_id", "aws_secret_access_key")}


def make_trail(endpoint: Endpoint) -> str:
    title(2, "A trail of all regions, with validation; its bucket stays with Opentrail")
    account = endpoint.call("root", endpoint.client("sts").get_caller_identity)["Account"]
    s3, cloudtrail = endpoint.client("s3"), endpoint.client("cloudtrail")
    endpoint.call("root", s3.create_bucket, Bucket=LOG_BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    principal = {"Service": "cloudtrail.amazonaws.com"}
    bucket = f"arn:aws:s3:::{LOG_BUCKET}"
    owner = {"StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}}
    look = {"Effect": "Allow", "Principal": principal, "Action": "s3:GetBucketAcl", "Resource": bucket}
    put = {"Effect": "Allow", "Principal": principal, "Action": "s3:PutObject", "Condition": owner}
    statements = [look, put | {"Resource": f"{bucket}/AWSLogs/{account}/*"}]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    endpoint.call("root", s3.put_bucket_policy, Bucket=LOG_BUCKET, Policy=policy)
    made = endpoint.call(
        "root",
        cloudtrail.create_trail,
        Name="moto",
        S3BucketName=LOG_BUCKET,
        IsMultiRegionTrail=True,
        EnableLogFileValidation=True,
    )
    endpoint.call("root", cloudtrail.start_logging, Name="moto")
    return str(made["TrailARN"])


def make_developer(endpoint: Endpoint) -> dict[str, str]:
    title(3, "A user who may use queues and tables, and look at instances")
    iam = endpoint.client("iam")
    endpoint.call("root", iam.create_user, UserName="dev")
    allowed = {"Effect": "Allow", "Action": ["sqs:*", "dynamodb:*", "ec2:Describe*"], "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    endpoint.call("root", iam.put_user_policy, UserName="dev", PolicyName="dev", PolicyDocument=document)
    key = endpoint.call("root", iam.create_access_key, UserName="dev")["AccessKey"]
    return {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}


def call_services(endpoint: Endpoint) -> None:
    title(4, "A dozen services that Opentrail knows nothing of but their models")
    ec2, dynamodb = endpoint.client("ec2"), endpoint.client("dynamodb")
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "web"}]}]
    group = endpoint.call("root", ec2.create_security_group, GroupName="web", Description="web servers")["GroupId"]
    rule = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    endpoint.call("root", ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=[rule])
    started = {"ImageId": "ami-12c6146b", "InstanceType": "t3.micro", "SecurityGroupIds": [group]}
    endpoint.call("root", ec2.run_instances, MinCount=1, MaxCount=1, TagSpecifications=tags, **started)
    endpoint.call("root", ec2.terminate_instances, InstanceIds=["i-00000000000000000"])
    attributes = [{"AttributeName": "id", "AttributeType": "S"}]
    schema = [{"AttributeName": "id", "KeyType": "HASH"}]
    table = {"AttributeDefinitions": attributes, "KeySchema": schema, "BillingMode": "PAY_PER_REQUEST"}
    endpoint.call("root", dynamodb.create_table, TableName="orders", **table)
    endpoint.call("root", dynamodb.create_table, TableName="orders", **table)
    key = endpoint.call("root", endpoint.client("kms").create_key, Description="orders")["KeyMetadata"]["KeyId"]
    endpoint.call("root", endpoint.client("kms").schedule_key_deletion, KeyId=key, PendingWindowInDays=7)
    secrets, ssm = endpoint.client("secretsmanager"), endpoint.client("ssm")
    endpoint.call("root", secrets.create_secret, Name="database", SecretString="correct horse battery staple")
    endpoint.call("root", ssm.put_parameter, Name="/database/password", Type="SecureString", Value="hunter22222")
    queue = endpoint.call("root", endpoint.client("sqs").create_queue, QueueName="orders")["QueueUrl"]
    endpoint.call("root", endpoint.client("sqs").send_message, QueueUrl=queue, MessageBody="an order")
    topic = endpoint.call("root", endpoint.client("sns").create_topic, Name="orders")["TopicArn"]
    endpoint.call("root", endpoint.client("sns").publish, TopicArn=topic, Message="an order came in")
    endpoint.call("root", endpoint.client("logs").create_log_group, logGroupName="/orders")
    endpoint.call("root", endpoint.client("kinesis").create_stream, StreamName="orders", ShardCount=1)
    endpoint.call("root", endpoint.client("events").put_rule, Name="nightly", ScheduleExpression="rate(1 day)")
    endpoint.call("root", endpoint.client("ecr").create_repository, repositoryName="orders")
    endpoint.call(
        "root",
        endpoint.client("route53").create_hosted_zone,
        Name="example.com",
        CallerReference=datetime.now(UTC).isoformat(),
    )
    functions = endpoint.client("lambda")
    role = "arn:aws:iam::123456789012:role/orders"
    function = {"FunctionName": "orders", "Runtime": "python3.13", "Role": role, "Handler": "main.run"}
    endpoint.call("root", functions.create_function, Code={"ZipFile": zipped("main.py")}, **function)
    endpoint.call("root", functions.get_function, FunctionName="returns")
    endpoint.aws("root", "ec2", "describe-instances")
    endpoint.aws("root", "lambda", "list-functions")
    endpoint.aws("root", "dynamodb", "describe-table", "--table-name", "returns")


def call_as(endpoint: Endpoint, developer: dict[str, str]) -> None:
    title(5, "The same endpoint for the developer: Opentrail's IAM decides, before moto hears of it")
    sqs = endpoint.client("sqs", developer)
    queue = endpoint.call("dev", sqs.get_queue_url, QueueName="orders")["QueueUrl"]
    endpoint.call("dev", sqs.send_message, QueueUrl=queue, MessageBody="another order")
    endpoint.call("dev", endpoint.client("dynamodb", developer).list_tables)
    endpoint.call("dev", endpoint.client("ec2", developer).describe_security_groups)
    endpoint.call("dev", endpoint.client("ec2", developer).terminate_instances, InstanceIds=["i-00000000000000000"])
    endpoint.call("dev", endpoint.client("secretsmanager", developer).get_secret_value, SecretId="database")
    endpoint.aws("dev", "kms", "list-keys", key=developer)
    endpoint.aws("dev", "lambda", "delete-function", "--function-name", "orders", key=developer)


def zipped(name: str) -> bytes:
    data = BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(name, "def run(event, context): ...\n")
    return data.getvalue()


def deliver(endpoint: Endpoint) -> list[dict[str, Any]]:
    title(6, "Deliver, and read the log files")
    command = [BIN / "opentrail", "flush", "--digest", "--data-dir", endpoint.data]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    say(f"opentrail flush --digest   ->   {done.stdout.strip()}")
    s3 = endpoint.client("s3")
    records: list[dict[str, Any]] = []
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=LOG_BUCKET):
        for item in page.get("Contents", []):
            if "/CloudTrail/" in item["Key"]:
                body = s3.get_object(Bucket=LOG_BUCKET, Key=item["Key"])["Body"].read()
                records += json.loads(gzip.decompress(body))["Records"]
    for source, count in sorted(Counter(record["eventSource"] for record in records).items()):
        here = [record for record in records if record["eventSource"] == source]
        errors = Counter(record["errorCode"] for record in here if "errorCode" in record)
        told = ", ".join(f"{code} {number}" for code, number in errors.items())
        say(f"{source:34} {count:3} record{'s' if count > 1 else ' '}  {paint('31', told)}".rstrip())
    return records


def show(records: list[dict[str, Any]]) -> None:
    title(7, "Some of the records")
    chosen = (
        ("RunInstances", None, ("eventName", "requestParameters", "readOnly")),
        ("CreateTable", "ResourceInUseException", ("eventName", "errorCode", "errorMessage", "requestParameters")),
        ("PutParameter", None, ("eventName", "requestParameters", "responseElements")),
        ("GetSecretValue", "AccessDenied", ("eventName", "userIdentity", "errorCode", "errorMessage")),
    )
    for name, code, members in chosen:
        found = (each for each in records if each["eventName"] == name and each.get("errorCode") == code)
        record = next(found, {})
        shown = json.dumps({member: record.get(member) for member in members}, indent=2)
        say(shown.replace("\n", "\n   "))
    text = json.dumps(records)
    hidden = not any(secret in text for secret in ("correct horse", "hunter22222"))
    say(f"the secret and the password are {'in none of them' if hidden else paint('1;31', 'in one of them')}")


def validate(endpoint: Endpoint, trail_arn: str) -> bool:
    title(8, "Prove that nothing was changed, with the unmodified AWS CLI")
    start = (datetime.now(UTC) - timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    output = endpoint.aws(
        "root", "cloudtrail", "validate-logs", "--trail-arn", trail_arn, "--start-time", start, shown=False
    )
    for line in filter(None, map(str.strip, output.splitlines())):
        print(f"   | {line}")
    return "INVALID" not in output and re.search(r"(\d+)/\1 log files valid", output) is not None


if __name__ == "__main__":
    sys.exit(main())
