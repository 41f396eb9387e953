"""DynamoDB's calls on items: which attributes were meant is told, what is in them is not, but for keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentrail.core.errors import ServiceFault
from opentrail.core.http import Headers, HttpRequest
from opentrail.core.identity import root_identity
from opentrail.core.recording import Recipient, build_event
from opentrail.core.recording.attributes import REDACTED, redact_statement
from opentrail.core.recording.rules import RecordRules
from opentrail.core.wire.calls import ApiCall, Outcome
from opentrail.server.catalog import BotocoreCatalog
from opentrail.server.recording_rules import load_rules

ACCOUNT = "123456789012"
DYNAMODB = BotocoreCatalog().service("dynamodb")
PRIVATE = "private-value-4711"
ITEM = {"Artist": {"S": "Acme"}, "Notes": {"S": PRIVATE}, "More": {"M": {"Deep": {"L": [{"S": PRIVATE}]}}}}
KEY = {"Artist": {"S": "Acme"}, "Year": {"N": "1999"}}
PLAIN = {"Artist": "Acme", "Year": "1999"}
VALUES = {":v": {"S": PRIVATE}}


@pytest.fixture(scope="module")
def rules() -> RecordRules:
    return load_rules()


def record_of(
    rules: RecordRules, operation: str, parameters: Mapping[str, Any], outcome: Outcome | None = None
) -> dict[str, Any]:
    call = ApiCall(
        operation=DYNAMODB.operations[operation],
        parameters=parameters,
        identity=root_identity(ACCOUNT),
        region="eu-central-1",
        now=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
        event_id="00000000-0000-4000-8000-000000000001",
        request_id="00000000-0000-4000-8000-000000000002",
        request=HttpRequest(method="POST", path="/", query="", headers=Headers([("host", "localhost")])),
    )
    record = dict(build_event(call, outcome or Outcome(result={}), rules, Recipient(account_id=ACCOUNT)).record)
    assert PRIVATE not in json.dumps(record)
    return record


@pytest.mark.parametrize(
    ("operation", "parameters", "told"),
    [
        (
            "PutItem",
            {"TableName": "Music", "Item": ITEM, "ExpressionAttributeValues": VALUES, "ReturnValues": "NONE"},
            {"tableName": "Music", "item": ["Artist", "Notes", "More"], "returnValues": "NONE"},
        ),
        (
            "UpdateItem",
            {
                "TableName": "Music",
                "Key": KEY,
                "UpdateExpression": "SET #n = :v",
                "ExpressionAttributeNames": {"#n": "Notes"},
                "ExpressionAttributeValues": VALUES,
                "AttributeUpdates": {"Notes": {"Value": {"S": PRIVATE}, "Action": "PUT"}},
                "Expected": {"Notes": {"Value": {"S": PRIVATE}, "Exists": True}},
            },
            {
                "tableName": "Music",
                "key": PLAIN,
                "updateExpression": "SET #n = :v",
                "expressionAttributeNames": {"#n": "Notes"},
                "attributeUpdates": {"Notes": {"action": "PUT"}},
                "expected": {"Notes": {"exists": True}},
            },
        ),
        (
            "Query",
            {
                "TableName": "Music",
                "KeyConditionExpression": "Artist = :v",
                "ExpressionAttributeValues": VALUES,
                "ExclusiveStartKey": KEY,
                "Limit": 5,
                "KeyConditions": {"Artist": {"AttributeValueList": [{"S": PRIVATE}], "ComparisonOperator": "EQ"}},
            },
            {
                "tableName": "Music",
                "keyConditionExpression": "Artist = :v",
                "exclusiveStartKey": PLAIN,
                "limit": 5,
                "keyConditions": {"Artist": {"comparisonOperator": "EQ"}},
            },
        ),
        (
            "TransactWriteItems",
            {
                "TransactItems": [
                    {"Put": {"TableName": "Music", "Item": ITEM, "ExpressionAttributeValues": VALUES}},
                    {"Delete": {"TableName": "Music", "Key": KEY}},
                ],
                "ReturnConsumedCapacity": "TOTAL",
            },
            {
                "requestItems": [
                    {"operation": "Put", "tableName": "Music", "items": ["Artist", "Notes", "More"]},
                    {"operation": "Delete", "tableName": "Music", "key": PLAIN},
                ],
                "returnConsumedCapacity": "TOTAL",
            },
        ),
        (
            "BatchWriteItem",
            {"RequestItems": {"Music": [{"PutRequest": {"Item": ITEM}}, {"DeleteRequest": {"Key": KEY}}]}},
            {
                "requestItems": [
                    {"operation": "Put", "tableName": "Music", "items": ["Artist", "Notes", "More"]},
                    {"operation": "Delete", "tableName": "Music", "key": PLAIN},
                ]
            },
        ),
        (
            "BatchGetItem",
            {"RequestItems": {"Music": {"Keys": [KEY, {"Artist": {"B": b"\xff"}}], "ConsistentRead": True}}},
            {"requestItems": [{"tableName": "Music", "keys": [PLAIN, {}], "consistentRead": True}]},
        ),
        (
            "BatchExecuteStatement",
            {
                "Statements": [
                    {"Statement": f"UPDATE Music SET Notes = '{PRIVATE}'"},
                    {"Statement": "SELECT * FROM Music WHERE Artist = ?", "Parameters": [{"S": PRIVATE}]},
                ]
            },
            {
                "requestItems": [
                    {"statement": f"UPDATE Music SET Notes = {REDACTED}"},
                    {"statement": "SELECT * FROM Music WHERE Artist = ?"},
                ]
            },
        ),
        (
            "ExecuteStatement",
            {"Statement": f"INSERT INTO Music VALUE {{'Artist': '{PRIVATE}'}}", "Parameters": [{"S": PRIVATE}]},
            {"statement": f"INSERT INTO Music VALUE {{'Artist': {REDACTED}}}"},
        ),
    ],
)
def test_what_is_told_of_items(
    rules: RecordRules, operation: str, parameters: dict[str, Any], told: dict[str, Any]
) -> None:
    record = record_of(rules, operation, parameters, Outcome(result={"Attributes": ITEM}))
    assert record["requestParameters"] == told
    assert record["responseElements"] is None
    assert record["eventCategory"] == "Data"


def test_an_error_does_not_repeat_what_an_item_holds(rules: RecordRules) -> None:
    fault = ServiceFault("ValidationException", f"Type mismatch: {PRIVATE} is no number; Acme", status=400)
    record = record_of(rules, "PutItem", {"TableName": "Music", "Item": ITEM}, Outcome(fault=fault))
    assert record["errorMessage"] == "Type mismatch: *** is no number; Acme"


def test_a_call_on_a_table_is_told_as_any_other(rules: RecordRules) -> None:
    result = {"TableDescription": {"TableName": "Music", "TableStatus": "DELETING"}}
    record = record_of(rules, "DeleteTable", {"TableName": "Music"}, Outcome(result=result))
    assert record["responseElements"] == {"tableDescription": {"tableName": "Music", "tableStatus": "DELETING"}}
    assert record["eventCategory"] == "Management"
    arn = f"arn:aws:dynamodb:eu-central-1:{ACCOUNT}:table/Music"
    assert record["resources"] == [{"accountId": ACCOUNT, "type": "AWS::DynamoDB::Table", "ARN": arn}]


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (
            "SELECT * FROM Music WHERE A = 'it''s' AND \"B'C\" = 2.5",
            f'SELECT * FROM Music WHERE A = {REDACTED} AND "B\'C" = {REDACTED}',
        ),
        ("SELECT * FROM t1 WHERE n = -3", f"SELECT * FROM t1 WHERE n = {REDACTED}"),
        ("VALUE {'A' : 'x', 'B':'y'}", f"VALUE {{'A' : {REDACTED}, 'B':{REDACTED}}}"),
        ("A = 'without an end", f"A = {REDACTED}"),
    ],
)
def test_literals_of_a_statement_are_hidden_and_names_are_not(statement: str, told: str) -> None:
    assert redact_statement(statement) == told


@given(st.text(alphabet='ab "=,{}', max_size=20), st.text(alphabet="xyz' :", min_size=1, max_size=20))
def test_no_text_of_a_statement_is_left(around: str, text: str) -> None:
    quoted = text.replace("'", "''")
    if around.count('"') % 2 == 0:
        told = redact_statement(f"{around}A='{quoted}' AND B")
        assert told == redact_statement(around) + f"A={REDACTED} AND B"
