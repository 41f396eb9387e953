"""Selectors on real traffic: a table of selectors, and what each takes by a reading of the record that is its own.

Real records: ../shared/data/records (see its README), skipped where it is absent; data events, of which it has few, are
made by the rules of records out of calls, as a running Opentrail makes them.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from opentrail.core.http import Headers, HttpRequest
from opentrail.core.identity import root_identity
from opentrail.core.recording import Recipient, build_event
from opentrail.core.selection import compile_selector, route_of
from opentrail.core.selectors import parse_advanced_event_selectors, parse_event_selectors
from opentrail.core.trails import Trail
from opentrail.core.wire.calls import ApiCall, Outcome
from opentrail.server.catalog import BotocoreCatalog
from opentrail.server.recording_rules import load_rules

Record = Mapping[str, Any]

FOLDER = Path(__file__).resolve().parents[2] / "../shared/data/records"
ACCOUNT, REGION = "123456789012", "us-east-1"
INVICTUS = "123837392027"
QUEUE = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/orders"
DIRECTORY = "logs--use1-az4--x-s3"
CATALOG, RULES = BotocoreCatalog(), load_rules()


def trail(account: str, *, basic: Any = None, advanced: Any = None) -> Trail:
    return Trail(
        account_id=account,
        home_region=REGION,
        name="trail",
        bucket="the-bucket-of-the-trail",
        is_logging=True,
        is_multi_region=True,
        event_selectors=parse_event_selectors(basic) if basic else (),
        advanced_event_selectors=parse_advanced_event_selectors(advanced) if advanced else (),
    )


def made(service: str, operation: str, parameters: Mapping[str, Any], host: str = "", **more: Any) -> Record:
    """The record of a call, as a running Opentrail makes it."""
    headers = Headers([("host", host)] if host else [])
    call = ApiCall(
        operation=CATALOG.service(service).operations[operation],
        parameters=parameters,
        identity=more.pop("identity", root_identity(ACCOUNT)),
        region=REGION,
        now=datetime(2026, 3, 4, tzinfo=UTC),
        event_id="00000000-0000-4000-8000-000000000000",
        request_id="11111111-0000-4000-8000-000000000000",
        request=HttpRequest(method="POST", path="/", query="", headers=headers),
        raw_body=b"",
    )
    recipient = Recipient(account_id=ACCOUNT, resource_account=ACCOUNT)
    return dict(build_event(call, Outcome(result={}), RULES, recipient).record) | more


PUT = {"PutRequest": {"Item": {"id": {"S": "1"}}}}
EVENTS: dict[str, Record] = {
    "put": made("s3", "PutObject", {"Bucket": "sales", "Key": "2026/a.csv"}),
    "get": made("s3", "GetObject", {"Bucket": "sales", "Key": "2025/a.csv"}),
    "list": made("s3", "ListObjectsV2", {"Bucket": "sales"}),
    "delete-many": made("s3", "DeleteObjects", {"Bucket": "staff"}),
    "get-acl": made("s3", "GetBucketAcl", {"Bucket": "sales"}),
    "access-point": made(
        "s3", "GetObject", {"Bucket": "x", "Key": "k"}, f"reports-{ACCOUNT}.s3-accesspoint.{REGION}.amazonaws.com"
    ),
    "directory": made("s3", "GetObject", {"Bucket": DIRECTORY, "Key": "k"}),
    "outposts": {
        **made("s3", "PutObject", {"Bucket": "sales", "Key": "k"}),
        "eventSource": "s3-outposts.amazonaws.com",
        "resources": [
            {"type": "AWS::S3Outposts::Object", "ARN": f"arn:aws:s3-outposts:{REGION}:{ACCOUNT}:outpost/o/b"}
        ],
    },
    "invoke": made("lambda", "Invoke", {"FunctionName": "report"}),
    "invoke-other": made("lambda", "Invoke", {"FunctionName": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:other"}),
    "create-function": made("lambda", "CreateFunction", {"FunctionName": "report"}),
    "put-item": made("dynamodb", "PutItem", {"TableName": "orders", "Item": {"id": {"S": "1"}}}),
    "batch": made("dynamodb", "BatchWriteItem", {"RequestItems": {"stock": [PUT], "orders": [PUT]}}),
    "transaction": made(
        "dynamodb", "TransactWriteItems", {"TransactItems": [{"Delete": {"TableName": "stock", "Key": {}}}]}
    ),
    "create-table": made("dynamodb", "CreateTable", {"TableName": "orders"}),
    "send": made("sqs", "SendMessage", {"QueueUrl": QUEUE, "MessageBody": "m"}),
    "decrypt": made("kms", "Decrypt", {"CiphertextBlob": b"1"}),
    "sql": made("rds-data", "ExecuteStatement", {"resourceArn": "arn:a", "secretArn": "arn:s", "sql": "select"}),
    "without-read-only": {
        name: value
        for name, value in made("s3", "GetObject", {"Bucket": "sales", "Key": "k"}).items()
        if name != "readOnly"
    },
    "from-console": made("s3", "GetObject", {"Bucket": "sales", "Key": "k"}, sessionCredentialFromConsole="true"),
    "of-a-role": made(
        "s3",
        "GetObject",
        {"Bucket": "sales", "Key": "k"},
        userIdentity={"type": "AssumedRole", "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/backup/s"},
    ),
}
S3_OBJECTS = {"put", "get", "list", "delete-many", "without-read-only", "from-console", "of-a-role"}
OF_SALES = S3_OBJECTS - {"delete-many"}
MANAGEMENT = {"get-acl", "create-function", "create-table", "decrypt", "sql"}


def on(field: str, **operators: list[str]) -> dict[str, Any]:
    return {"Field": field, **operators}


def data(kind: str, *fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    common = [on("eventCategory", Equals=["Data"]), on("resources.type", Equals=[kind])]
    return [{"FieldSelectors": [*common, *fields]}]


def basic_data(kind: str, *values: str, read_write: str = "All", management: bool = False) -> list[dict[str, Any]]:
    resources = [{"Type": kind, "Values": list(values)}]
    return [{"ReadWriteType": read_write, "IncludeManagementEvents": management, "DataResources": resources}]


ROLE = f"arn:aws:sts::{ACCOUNT}:assumed-role/backup/"
REPORT = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:report"
OBJECT, FUNCTION, TABLE = "AWS::S3::Object", "AWS::Lambda::Function", "AWS::DynamoDB::Table"
SALES = "arn:aws:s3:::sales/"


@pytest.mark.parametrize(
    ("selectors", "taken"),
    [
        ({}, MANAGEMENT),
        ({"basic": [{"ReadWriteType": "ReadOnly"}]}, {"get-acl", "decrypt"}),
        ({"basic": [{"ExcludeManagementEventSources": ["kms.amazonaws.com"]}]}, MANAGEMENT - {"decrypt"}),
        ({"basic": [{"ExcludeManagementEventSources": ["rdsdata.amazonaws.com"]}]}, MANAGEMENT - {"sql"}),
        ({"basic": basic_data(OBJECT, "arn:aws:s3")}, S3_OBJECTS),
        ({"basic": basic_data(OBJECT, "arn:aws:s3:::")}, S3_OBJECTS),
        ({"basic": basic_data(OBJECT, SALES)}, OF_SALES),
        ({"basic": basic_data(OBJECT, f"{SALES}2026")}, {"put"}),
        ({"basic": basic_data(OBJECT, SALES, read_write="WriteOnly")}, {"put", "without-read-only"}),
        ({"basic": basic_data(OBJECT, SALES, management=True)}, OF_SALES | MANAGEMENT),
        ({"basic": basic_data(FUNCTION, "arn:aws:lambda")}, {"invoke", "invoke-other"}),
        ({"basic": basic_data(FUNCTION, REPORT)}, {"invoke"}),
        ({"basic": basic_data(TABLE, "arn:aws:dynamodb")}, {"put-item", "batch", "transaction"}),
        ({"basic": basic_data(TABLE, f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/stock")}, {"batch", "transaction"}),
        ({"advanced": data(OBJECT)}, S3_OBJECTS),
        (
            {"advanced": data(OBJECT, on("readOnly", Equals=["true"]))},
            S3_OBJECTS - {"put", "delete-many", "without-read-only"},
        ),
        ({"advanced": data(OBJECT, on("readOnly", Equals=["false"]))}, {"put", "delete-many", "without-read-only"}),
        ({"advanced": data(OBJECT, on("eventName", Equals=["PutObject", "DeleteObjects"]))}, {"put", "delete-many"}),
        ({"advanced": data(OBJECT, on("eventName", NotStartsWith=["Get", "List"]))}, {"put", "delete-many"}),
        ({"advanced": data(OBJECT, on("resources.ARN", StartsWith=[SALES]))}, OF_SALES),
        ({"advanced": data(OBJECT, on("resources.ARN", NotStartsWith=[SALES]))}, {"delete-many"}),
        ({"advanced": data(OBJECT, on("resources.ARN", EndsWith=[".csv"]))}, {"put", "get"}),
        (
            {"advanced": data(OBJECT, on("resources.ARN", StartsWith=[SALES], NotEndsWith=[".csv", "/"]))},
            {"without-read-only", "from-console", "of-a-role"},
        ),
        ({"advanced": data(OBJECT, on("userIdentity.arn", NotStartsWith=[ROLE]))}, S3_OBJECTS - {"of-a-role"}),
        ({"advanced": data(OBJECT, on("userIdentity.arn", Equals=[f"{ROLE}s"]))}, {"of-a-role"}),
        ({"advanced": data(OBJECT, on("sessionCredentialFromConsole", Equals=["true"]))}, {"from-console"}),
        ({"advanced": data(OBJECT, on("eventSource", NotEquals=["s3.amazonaws.com"]))}, set()),
        ({"advanced": data("AWS::S3::AccessPoint")}, {"access-point"}),
        (
            {"advanced": data("AWS::S3::AccessPoint", on("resources.ARN", EndsWith=["accesspoint/reports"]))},
            {"access-point"},
        ),
        ({"advanced": data("AWS::S3Express::Object")}, {"directory"}),
        ({"advanced": data("AWS::S3Outposts::Object")}, {"outposts"}),
        ({"advanced": data(FUNCTION, on("resources.ARN", NotEquals=[REPORT]))}, {"invoke-other"}),
        ({"advanced": data(TABLE, on("eventName", StartsWith=["Batch"]))}, {"batch"}),
        ({"advanced": data("AWS::SQS::Queue")}, {"send"}),
        (
            {"advanced": data(OBJECT, on("eventName", Equals=["PutObject"])) + data(TABLE)},
            {"put", "put-item", "batch", "transaction"},
        ),
    ],
)
def test_what_a_trail_takes_of_made_records(selectors: dict[str, Any], taken: set[str]) -> None:
    selector = compile_selector(trail(ACCOUNT, **selectors))
    assert {name for name, record in EVENTS.items() if selector.matches(record)} == taken
    for record in EVENTS.values():
        assert selector.decide(route_of(record)) in {None, selector.matches(record)}


def real_records() -> list[Record]:
    if not FOLDER.is_dir():
        pytest.skip("the shared records are not beside this checkout")
    paths = sorted(FOLDER.glob("*.ndjson.gz"))
    return [json.loads(line) for path in paths for line in gzip.decompress(path.read_bytes()).splitlines()]


def management(record: Record) -> bool:
    return record.get("managementEvent", True) is True and record["eventType"] != "AwsCloudTrailInsight"


def read(record: Record) -> bool:
    return record.get("readOnly") is True


REAL: list[tuple[dict[str, Any], Callable[[Record], bool]]] = [
    ({}, management),
    ({"basic": [{"ReadWriteType": "ReadOnly"}]}, lambda record: management(record) and read(record)),
    ({"basic": [{"ReadWriteType": "WriteOnly"}]}, lambda record: management(record) and not read(record)),
    (
        {"basic": [{"ReadWriteType": "WriteOnly", "ExcludeManagementEventSources": ["kms.amazonaws.com"]}]},
        lambda record: management(record) and not read(record) and record["eventSource"] != "kms.amazonaws.com",
    ),
    (
        {
            "advanced": [
                {
                    "FieldSelectors": [
                        on("eventCategory", Equals=["Management"]),
                        on("eventSource", NotEquals=["kms.amazonaws.com", "rdsdata.amazonaws.com"]),
                        on("readOnly", Equals=["true"]),
                    ]
                }
            ]
        },
        lambda record: management(record) and read(record) and record["eventSource"] != "kms.amazonaws.com",
    ),
    (
        {"advanced": data("AWS::S3::Object", on("eventName", StartsWith=["Head"]))},
        lambda record: not management(record) and record["eventName"].startswith("Head") and "resources" in record,
    ),
]


@pytest.mark.parametrize(("selectors", "expected"), REAL)
def test_what_a_trail_takes_of_real_records(selectors: dict[str, Any], expected: Callable[[Record], bool]) -> None:
    selector = compile_selector(trail(INVICTUS, **selectors))
    own = [each for each in real_records() if each.get("recipientAccountId") == INVICTUS]
    assert len(own) > 2800
    for each in own:
        assert selector.matches(each) == expected(each), each["eventID"]
