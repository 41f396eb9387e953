"""The pytest plugin, as the tests of somebody else's program use it: each in a pytest of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = "pytester"

OPTIONS = ("-p", "no:cacheprovider", "-p", "no:randomly", "-W", "error")


def run(pytester: pytest.Pytester, source: str, *options: str) -> pytest.RunResult:
    """Run ``source`` as a test module in a process of its own."""
    pytester.makepyfile(source)
    return pytester.runpytest_subprocess(*OPTIONS, *options)


FINDS_WHAT_ITS_CODE_CALLED = """
import pytest
from botocore.exceptions import ClientError

def cover_tracks(cloudtrail, name):
    cloudtrail.delete_trail(Name=name)

def test_detection(opentrail_trail):
    trail = opentrail_trail
    cover_tracks(trail.client("cloudtrail"), trail.name)
    (event,) = trail.assert_recorded("DeleteTrail", parameters={"name": trail.name}, error=False, count=1)
    assert event["eventSource"] == "cloudtrail.amazonaws.com"
    assert event["recipientAccountId"] == trail.account_id
    assert [each["eventName"] for each in trail.events()] == ["DeleteTrail"]

def test_policy(opentrail_trail):
    trail = opentrail_trail
    allow = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    deny = {"Effect": "Deny", "Action": "cloudtrail:StopLogging", "Resource": "*"}
    dev = trail.user("dev", [allow, deny])
    with pytest.raises(ClientError, match="explicit deny"):
        dev.client("cloudtrail").stop_logging(Name=trail.name)
    dev.client("s3").list_buckets()
    trail.assert_recorded("StopLogging", error="AccessDenied", user="dev", source="cloudtrail")
    trail.assert_not_recorded("StopLogging", error=False)
    trail.assert_not_recorded("CreateUser")
    assert [each["eventName"] for each in trail.events(user="dev", error=False)] == ["ListBuckets"]
    trail.clear()
    assert trail.events() == []

def test_names_are_free_again(opentrail_trail):
    s3 = opentrail_trail.client("s3")
    s3.create_bucket(Bucket="shared-name")
    s3.put_object(Bucket="shared-name", Key="k", Body=b"x")
    s3.create_multipart_upload(Bucket="shared-name", Key="m")

@pytest.mark.parametrize("turn", range(3))
def test_again(opentrail_trail, turn):
    opentrail_trail.client("s3").create_bucket(Bucket="shared-name")
    assert len(opentrail_trail.events()) == 1
"""

DELIVERS_AND_VALIDATES = """
import gzip, json

def test_files(opentrail_trail):
    trail = opentrail_trail
    trail.client("sts").get_caller_identity()
    trail.client("sts", region="eu-west-1").get_caller_identity()
    files = trail.flush()
    assert {file.key.split("/")[3] for file in files} == {"us-east-1", "eu-west-1"}
    assert files == trail.log_files()
    names = [record["eventName"] for file in files for record in file.records]
    assert names.count("GetCallerIdentity") == 2
    found = trail.client("s3").get_object(Bucket=trail.bucket, Key=files[0].key)["Body"].read()
    assert found == files[0].data
    assert trail.validate() == []

def test_a_forgery_is_found(opentrail_trail):
    trail = opentrail_trail
    trail.client("sts").get_caller_identity()
    (file,) = trail.flush()
    assert trail.validate() == []
    records = [record for record in file.records if record["eventName"] != "GetCallerIdentity"]
    forged = gzip.compress(json.dumps({"Records": records}).encode())
    trail.overwrite(file.key, forged)
    (finding,) = trail.validate()
    assert finding.key == file.key
    assert finding.code == "log-file-changed"
"""

SENDS_EVERY_CLIENT_OF_THE_PROCESS = """
import boto3, os, subprocess, sys

boto3.setup_default_session(aws_access_key_id="AKIDOLD", aws_secret_access_key="old", region_name="eu-west-3")

def test_environment(opentrail_env, monkeypatch):
    boto3.client("sts").get_caller_identity()
    program = "import boto3; boto3.resource('s3').create_bucket(Bucket='from-a-process')"
    subprocess.run([sys.executable, "-c", program], check=True, env=dict(os.environ))
    opentrail_env.assert_recorded("CreateBucket", parameters={"bucketName": "from-a-process"})
    assert opentrail_env.session.resource("s3").Bucket("from-a-process").creation_date
    opentrail_env.assert_recorded("GetCallerIdentity", user="root", region="us-east-1")

def test_after_it(monkeypatch):
    assert "AWS_ENDPOINT_URL" not in os.environ
    assert boto3.DEFAULT_SESSION.region_name == "eu-west-3"
"""


def test_programs_of_all_kinds_are_tested(pytester: pytest.Pytester) -> None:
    """All in one run, and so one after the other on one server."""
    pytester.makepyfile(
        test_finds=FINDS_WHAT_ITS_CODE_CALLED,
        test_files=DELIVERS_AND_VALIDATES,
        test_environment=SENDS_EVERY_CLIENT_OF_THE_PROCESS,
    )
    pytester.runpytest_subprocess(*OPTIONS).assert_outcomes(passed=10)


def test_a_failing_test_shows_what_came_nearest(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        def test_missing(opentrail_trail):
            opentrail_trail.client("s3").create_bucket(Bucket="right")
            opentrail_trail.assert_recorded("CreateBucket", parameters={"bucketName": "wrong"})

        def test_too_often(opentrail_trail):
            opentrail_trail.client("sts").get_caller_identity()
            opentrail_trail.assert_not_recorded("Get*")

        def test_nothing(opentrail_trail):
            opentrail_trail.assert_recorded("GetObject", within=0.1)
        """,
    )
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        [
            "*not recorded: CreateBucket with parameters={'bucketName': 'wrong'}",
            "*1 event was recorded; nearest:",
            "*s3.amazonaws.com CreateBucket in us-east-1 by root: ok*",
            '*requestParameters.bucketName is "right", not "wrong"',
            "*Opentrail recorded 1 event*",
            "*recorded once, not 0: Get[*]",
            "*no event was recorded at all",
        ]
    )
    result.stdout.no_fnmatch_line("*in assert_recorded*")


def test_calls_that_moto_answers_are_recorded(pytester: pytest.Pytester) -> None:
    pytest.importorskip("moto")
    result = run(
        pytester,
        """
        import boto3, pytest
        from botocore.exceptions import ClientError
        from moto import mock_aws

        @mock_aws
        def test_beside_a_mock(opentrail_trail):
            boto3.client("sqs", region_name="us-east-1").create_queue(QueueName="mocked")
            opentrail_trail.client("s3").create_bucket(Bucket="recorded")
            assert [each["eventName"] for each in opentrail_trail.events()] == ["CreateBucket"]
            watched = boto3.client("sqs", region_name="eu-west-1")
            opentrail_trail.watch(watched)
            watched.create_queue(QueueName="watched")
            opentrail_trail.assert_recorded("CreateQueue", parameters={"queueName": "watched"}, region="eu-west-1")

        def test_mocked_services(opentrail_moto):
            s3 = boto3.client("s3", region_name="us-east-1")
            s3.create_bucket(Bucket="mocked")
            s3.put_object(Bucket="mocked", Key="a/b", Body=b"x")
            assert s3.get_object(Bucket="mocked", Key="a/b")["Body"].read() == b"x"
            with pytest.raises(ClientError):
                s3.get_object(Bucket="mocked", Key="nothing")
            boto3.client("ec2", "eu-west-1").run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1)
            boto3.resource("dynamodb", "us-east-1").create_table(
                TableName="t",
                AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
                KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
                BillingMode="PAY_PER_REQUEST",
            )
            opentrail_moto.assert_recorded("PutObject", parameters={"bucketName": "mocked", "key": "a/b"})
            opentrail_moto.assert_recorded("GetObject", error="NoSuchKey", parameters={"key": "nothing"}, count=1)
            (event,) = opentrail_moto.assert_recorded("RunInstances", source="ec2", region="eu-west-1")
            assert event["responseElements"]["instancesSet"]["items"][0]["imageId"] == "ami-12345678"
            opentrail_moto.assert_recorded("CreateTable", response={"tableDescription": {"tableName": "t"}})
            pools = boto3.client("cognito-idp", region_name="eu-west-1")
            pool = pools.create_user_pool(PoolName="p")["UserPool"]["Id"]
            client = pools.create_user_pool_client(UserPoolId=pool, ClientName="c")["UserPoolClient"]["ClientId"]
            pools.sign_up(ClientId=client, Username="u", Password="Passw0rd!!")  # a call that nobody signs
            opentrail_moto.assert_recorded("SignUp", source="cognito-idp", region="eu-west-1")
            assert opentrail_moto.flush()
            assert opentrail_moto.validate() == []

        def test_after_it(opentrail_trail):
            with mock_aws():
                boto3.client("sqs", region_name="us-east-1").list_queues()
            assert opentrail_trail.events() == []
        """,
    )
    result.assert_outcomes(passed=3)


def test_settings_come_from_the_ini_file_and_the_command_line(pytester: pytest.Pytester) -> None:
    pytester.makeini(
        """
        [pytest]
        opentrail_region = eu-central-1
        opentrail_settings =
            account_id = 111122223333
            max-body-bytes = 1KB
        """
    )
    source = """
        import pytest
        from botocore.exceptions import ClientError

        def test_settings(opentrail_server, opentrail_trail):
            assert opentrail_server.runtime.account_id == "111122223333"
            assert opentrail_server.runtime.settings.max_body_bytes == 2048
            assert opentrail_trail.client("sts").meta.region_name == "eu-central-1"
            assert opentrail_trail.arn.split(":")[3] == "eu-central-1"
        """
    run(pytester, source, "--opentrail-settings", "max_body_bytes=2KB").assert_outcomes(passed=1)
    wrong = run(pytester, source, "--opentrail-settings", "no-equals-sign")
    wrong.assert_outcomes(errors=1)
    wrong.stdout.fnmatch_lines(["*opentrail_settings: name=value is expected*"])


def test_nothing_is_imported_for_tests_that_do_not_ask_and_boto3_only_for_clients(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import sys, urllib.request
        import pytest

        def test_plain():
            ours = {name for name in sys.modules if name.startswith("opentrail.")}
            assert ours == {"opentrail.testing", "opentrail.testing.pytest_plugin"}
            assert "boto3" not in sys.modules

        def test_without_boto3_the_error_says_what_to_install(opentrail_trail, monkeypatch):
            monkeypatch.setitem(sys.modules, "boto3", None)
            with pytest.raises(Exception, match="boto3 is not installed"):
                opentrail_trail.client("s3")
            assert opentrail_trail.events() == []
            with urllib.request.urlopen(f"{opentrail_trail.endpoint_url}/healthz") as answer:
                assert answer.read() == b"ok\\n"
        """,
    )
    result.assert_outcomes(passed=2)


def test_processes_of_xdist_do_not_meet(pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    source = """
        import pytest

        @pytest.mark.parametrize("turn", range(6))
        def test_turn(opentrail_trail, turn):
            opentrail_trail.client("s3").create_bucket(Bucket="same-name")
            opentrail_trail.assert_recorded("CreateBucket", count=1)
        """
    run(pytester, source, "-n", "2").assert_outcomes(passed=6)


def test_what_needs_no_test_library_can_be_imported_without_one(tmp_path: Path) -> None:
    program = """
import importlib, pkgutil, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"pytest", "_pytest", "hypothesis", "moto"}:
            raise ImportError(name)

sys.meta_path.insert(0, Absent())
import opentrail.testing

for module in pkgutil.iter_modules(opentrail.testing.__path__):
    try:
        importlib.import_module(f"opentrail.testing.{module.name}")
    except ImportError:
        print(module.name)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert set(done.stdout.split()) == {"journal_contract", "policy_strategies", "pytest_plugin", "store_contract"}
