"""What a record says a call was about: ``resources``, ``additionalEventData``, and what a service makes of a name."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from opentrail.core.errors import FormatError, ServiceFault
from opentrail.core.http import Headers, HttpRequest
from opentrail.core.identity import root_identity
from opentrail.core.recording import Recipient, build_event, parse_rules
from opentrail.core.wire.calls import ApiCall, Outcome, WireAnswer
from opentrail.core.wire.model import Operation, ServiceModel
from opentrail.server.catalog import BotocoreCatalog
from opentrail.server.recording_rules import load_rules

CATALOG, RULES = BotocoreCatalog(), load_rules()
ACCOUNT, REGION = "123456789012", "us-west-2"
DIRECTORY = "logs--usw2-az1--x-s3"
DIRECTORY_ARN = f"arn:aws:s3express:{REGION}:{ACCOUNT}:bucket/{DIRECTORY}"
AES, KMS = {"x-amz-server-side-encryption": "AES256"}, {"x-amz-server-side-encryption": "aws:kms"}
CUSTOMER = {"x-amz-server-side-encryption-customer-algorithm": "AES256"}


def record(
    name: str,
    parameters: Mapping[str, Any],
    *,
    result: Mapping[str, Any] | None = None,
    fault: ServiceFault | None = None,
    answered: Mapping[str, str] | None = None,
    operation: Operation | None = None,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    service, _, operation_name = name.partition(".")
    call = ApiCall(
        operation=operation or CATALOG.service(service).operations[operation_name],
        parameters=parameters,
        identity=root_identity(ACCOUNT),
        region=REGION,
        now=datetime(2026, 3, 4, tzinfo=UTC),
        event_id="00000000-0000-4000-8000-000000000000",
        request_id="11111111-0000-4000-8000-000000000000",
        request=HttpRequest(method="POST", path="/", query="", headers=Headers((headers or {}).items())),
        raw_body=body,
    )
    answer = WireAnswer(status=200, headers=Headers(answered.items())) if answered is not None else None
    outcome = Outcome(result=None if fault else dict(result or {}), fault=fault, answer=answer)
    return dict(build_event(call, outcome, RULES, Recipient(account_id=ACCOUNT, resource_account=ACCOUNT)).record)


def arns(told: Mapping[str, Any]) -> list[str]:
    return [each.get("ARN") or each["ARNPrefix"] for each in told.get("resources", ())]


@pytest.mark.parametrize("operation", ["ListObjectsV2", "ListObjectVersions", "DeleteObjects", "HeadBucket"])
def test_a_data_event_that_names_no_object_tells_where_all_of_them_begin(operation: str) -> None:
    assert record(f"s3.{operation}", {"Bucket": "b"})["resources"] == [
        {"type": "AWS::S3::Object", "ARNPrefix": "arn:aws:s3:::b/"},
        {"accountId": ACCOUNT, "type": "AWS::S3::Bucket", "ARN": "arn:aws:s3:::b"},
    ]


def test_a_call_on_the_bucket_itself_tells_the_bucket_alone() -> None:
    assert arns(record("s3.GetBucketAcl", {"Bucket": "b"})) == ["arn:aws:s3:::b"]


def test_a_directory_bucket_has_a_source_types_and_a_zone_of_its_own() -> None:
    told = record("s3.GetObject", {"Bucket": DIRECTORY, "Key": "k"})
    assert told["eventSource"] == "s3express.amazonaws.com"
    assert told["additionalEventData"] == {"availabilityZone": "usw2-az1"}
    assert told["resources"] == [
        {"type": "AWS::S3Express::Object", "ARNPrefix": f"{DIRECTORY_ARN}/"},
        {"accountId": ACCOUNT, "type": "AWS::S3Express::DirectoryBucket", "ARN": DIRECTORY_ARN},
    ]
    assert arns(record("s3.GetBucketPolicy", {"Bucket": DIRECTORY})) == [DIRECTORY_ARN]
    assert record("s3.ListDirectoryBuckets", {})["eventSource"] == "s3express.amazonaws.com"
    assert record("s3.ListBuckets", {})["eventSource"] == "s3.amazonaws.com"


def test_a_session_of_a_directory_bucket_is_told_by_its_key_and_not_its_secrets() -> None:
    credentials = {
        "AccessKeyId": "ASIAEXAMPLE",
        "SecretAccessKey": "planted-secret-1",
        "SessionToken": "planted-secret-2",
        "Expiration": datetime(2024, 3, 20, 23, 16, 9, tzinfo=UTC),
    }
    told = record("s3.CreateSession", {"Bucket": DIRECTORY}, result={"Credentials": credentials})
    assert (told["readOnly"], told["eventCategory"]) == (True, "Data")
    expiration = "Mar 20, 2024, 11:16:09 PM"
    assert told["responseElements"] == {"credentials": {"accessKeyId": "ASIAEXAMPLE", "expiration": expiration}}
    assert "planted" not in str(told)


@pytest.mark.parametrize(
    ("host", "bucket"),
    [
        (f"ap-{ACCOUNT}.s3-accesspoint.{REGION}.amazonaws.com", f"ap-{ACCOUNT}"),
        ("", f"arn:aws:s3:{REGION}:{ACCOUNT}:accesspoint/ap"),
    ],
)
def test_through_an_access_point_it_is_the_access_point_that_is_told(host: str, bucket: str) -> None:
    told = record("s3.GetObject", {"Bucket": bucket, "Key": "k"}, headers={"host": host} if host else {})
    arn = f"arn:aws:s3:{REGION}:{ACCOUNT}:accesspoint/ap"
    assert told["resources"] == [{"accountId": ACCOUNT, "type": "AWS::S3::AccessPoint", "ARN": arn}]


@pytest.mark.parametrize(
    ("asked", "answered", "applied"),
    [
        ({}, AES, "Default_SSE_S3"),
        (AES, AES, "SSE_S3"),
        (KMS, KMS, "SSE_KMS"),
        ({}, KMS, "Default_SSE_KMS"),
        (CUSTOMER, CUSTOMER, "SSE_C"),
        ({}, {}, None),
    ],
)
def test_how_an_object_was_encrypted(asked: dict[str, str], answered: dict[str, str], applied: str | None) -> None:
    told = record("s3.PutObject", {"Bucket": "b", "Key": "k"}, answered=answered, headers=asked)
    assert told.get("additionalEventData", {}).get("SSEApplied") == applied
    refused = record(
        "s3.PutObject", {"Bucket": "b", "Key": "k"}, fault=ServiceFault("AccessDenied", "no"), headers=asked
    )
    assert "additionalEventData" not in refused


PUT = {"PutRequest": {"Item": {"id": {"S": "1"}}}}
SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:s"
TABLE = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/"


@pytest.mark.parametrize(
    ("name", "parameters", "told"),
    [
        ("dynamodb.BatchWriteItem", {"RequestItems": {"a": [PUT], "b": [PUT]}}, [TABLE + "a", TABLE + "b"]),
        ("dynamodb.BatchGetItem", {"RequestItems": {"a": {"Keys": []}}}, [TABLE + "a"]),
        (
            "dynamodb.TransactWriteItems",
            {"TransactItems": [{"Put": {"TableName": name}} for name in "aab"]},
            [TABLE + "a", TABLE + "b"],
        ),
        ("dynamodb.GetItem", {"TableName": "a", "Key": {}}, [TABLE + "a"]),
        ("ecr-public.PutImage", {"repositoryName": "r"}, [f"arn:aws:ecr-public::{ACCOUNT}:repository/r"]),
        (
            "sqs.SetQueueAttributes",
            {"QueueUrl": f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/q"},
            [f"arn:aws:sqs:{REGION}:{ACCOUNT}:q"],
        ),
        ("secretsmanager.GetSecretValue", {"SecretId": SECRET}, [SECRET]),
        ("secretsmanager.GetSecretValue", {"SecretId": "s"}, []),
    ],
)
def test_the_resources_that_a_call_names(name: str, parameters: dict[str, Any], told: list[str]) -> None:
    assert arns(record(name, parameters)) == told


def test_an_operation_that_no_model_has_names_its_resources_too() -> None:
    name = "UpdateInstanceAssociationStatus"
    metadata = {"apiVersion": "1", "protocol": "json", "endpointPrefix": "ssm"}
    unlisted = ServiceModel({"metadata": metadata, "operations": {name: {}}}, "ssm").operations[name]
    told = record("ssm.", {}, operation=unlisted, body=b'{"AssociationId":"a","InstanceId":"i-1"}')
    assert arns(told) == [
        f"arn:aws:ssm:{REGION}:{ACCOUNT}:association/a",
        f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/i-1",
    ]
    assert told["requestParameters"] == {"associationId": "a", "instanceId": "i-1"}


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("report", {"partition": "aws", "region": REGION, "account": ACCOUNT}),
        ("210987654321:function:report", {"partition": "aws", "region": REGION, "account": "210987654321"}),
        (
            "arn:aws-cn:lambda:cn-north-1:210987654321:function:report",
            {"partition": "aws-cn", "region": "cn-north-1", "account": "210987654321"},
        ),
    ],
)
def test_lambda_takes_a_functions_name_apart(name: str, prefix: dict[str, str]) -> None:
    told = record("lambda.UpdateFunctionCode", {"FunctionName": name})["requestParameters"]
    composed = {"arnPrefix": prefix, "relativeId": {"functionName": "report"}, "functionQualifier": {}}
    assert told == {"functionName": name, "fullyQualifiedArn": composed, "publish": False, "dryRun": False}
    denied = record("lambda.UpdateFunctionCode", {"FunctionName": name}, fault=ServiceFault("AccessDenied", "no"))
    assert denied["requestParameters"] is None


@pytest.mark.parametrize(
    "said",
    [
        [],
        {"A": []},
        {"A": {"m": {"of": "B", "match": "(", "value": ""}}},
        {"A": {"m": {"of": "B"}}},
        {"A": {"m": {"of": "B", "match": "b", "value": "{unknown}"}}},
    ],
)
def test_composed_members_that_are_none_are_refused(said: Any) -> None:
    with pytest.raises(FormatError, match="lambda: composedMembers"):
        parse_rules([{"services": {"lambda": {"composedMembers": said}}}])


def test_families_that_the_blind_trial_brought() -> None:
    asked = record("connect.GetContactAttributes", {"InstanceId": "i", "InitialContactId": "c"})["requestParameters"]
    assert asked == {"InstanceId": "i", "InitialContactId": "c"}
    spoken = record("polly.SynthesizeSpeech", {"Text": "between us", "VoiceId": "Kendra", "OutputFormat": "mp3"})
    assert spoken["requestParameters"] == {"text": "**********", "voiceId": "Kendra", "outputFormat": "mp3"}
    policy = record("secretsmanager.PutResourcePolicy", {"SecretId": "s"}, result={"ARN": "arn:s", "Name": "s"})
    assert policy["responseElements"] == {"arn": "arn:s", "name": "s"}
    query = record(
        "rds-data.ExecuteStatement",
        {"resourceArn": "arn:c", "secretArn": "arn:s", "sql": "select secret", "database": "payroll"},
        result={"records": [[{"stringValue": "secret"}]], "numberOfRecordsUpdated": 0},
    )
    assert (query["eventSource"], query["responseElements"]) == ("rdsdata.amazonaws.com", None)
    assert query["requestParameters"] == {
        "continueAfterTimeout": False,
        "database": "**********",
        "includeResultMetadata": False,
        "parameters": [],
        "resourceArn": "arn:c",
        "secretArn": "arn:s",
        "sql": "**********",
    }
