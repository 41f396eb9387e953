"""How the services differ in their records: forms, hidden members, errors, resources, and what no model has."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from opentrail.core.errors import ServiceFault
from opentrail.core.http import Headers, HttpRequest
from opentrail.core.identity import root_identity
from opentrail.core.recording import Recipient, build_event, encode_record, parse_rules
from opentrail.core.recording.rules import RecordRules
from opentrail.core.wire.calls import ApiCall, Outcome, WireAnswer
from opentrail.core.wire.model import Operation, ServiceModel, Shape
from opentrail.server.catalog import BotocoreCatalog
from opentrail.server.recording_rules import load_rules

ACCOUNT = "123456789012"
CATALOG = BotocoreCatalog()
RULES = load_rules()
NOW = datetime(2026, 3, 4, 5, 6, 7, 890123, UTC)
SECRET = 'planted-Secret/4711+"x"'
MESSAGE = "It went wrong."


def record(
    operation: Operation,
    parameters: Mapping[str, Any],
    outcome: Outcome | None = None,
    *,
    rules: RecordRules = RULES,
    body: bytes = b"",
    path: str = "/",
) -> dict[str, Any]:
    call = ApiCall(
        operation=operation,
        parameters=parameters,
        identity=root_identity(ACCOUNT),
        region="eu-central-1",
        now=NOW,
        event_id="00000000-0000-4000-8000-000000000001",
        request_id="00000000-0000-4000-8000-000000000002",
        request=HttpRequest(method="POST", path=path, headers=Headers([("host", "h"), ("user-agent", "u")])),
        raw_body=body,
    )
    event = build_event(call, outcome or Outcome(result={}), rules, Recipient(account_id=ACCOUNT))
    told: dict[str, Any] = json.loads(encode_record(event))
    return told


def of(name: str) -> Operation:
    service, _, operation = name.partition(".")
    return CATALOG.service(service).operations[operation]


def test_a_service_in_the_wires_form_is_recorded_as_it_was_sent() -> None:
    told = record(
        of("devops-guru.SearchInsights"),
        {"StartTimeRange": {"FromTime": NOW, "ToTime": NOW}, "Type": "PROACTIVE", "MaxResults": 5},
    )
    sent = {"FromTime": 1772600767.89, "ToTime": 1772600767.89}
    assert told["requestParameters"] == {"StartTimeRange": sent, "Type": "PROACTIVE", "MaxResults": 5}


def test_labels_stay_encoded_and_query_values_are_text_in_the_wires_form() -> None:
    told = record(of("eks.ListNodegroups"), {"clusterName": "a/b c", "maxResults": 5})
    assert told["requestParameters"] == {"name": "a%2Fb%20c", "maxResults": "5"}


def test_a_rest_service_in_the_wires_form_tells_its_error_as_a_response() -> None:
    fault = Outcome(fault=ServiceFault("ResourceInUseException", MESSAGE))
    told = record(of("eks.CreateCluster"), {"name": "c"}, fault)
    assert told["responseElements"] == {"message": MESSAGE}
    assert "errorMessage" not in told
    assert record(of("eks.DescribeCluster"), {"name": "c"}, fault)["responseElements"] is None
    told = record(
        of("ce.GetCostAndUsage"), {"Granularity": "DAILY"}, Outcome(fault=ServiceFault("AccessDenied", "No."))
    )
    assert (told["errorMessage"], told["requestParameters"]) == ("No.", {"Granularity": "DAILY"})


def test_api_gateway_wraps_its_body() -> None:
    told = record(of("apigateway.CreateStage"), {"restApiId": "r", "stageName": "s", "deploymentId": "d"})
    wrapped = {"stageName": "s", "deploymentId": "d"}
    assert told["requestParameters"] == {"restApiId": "r", "createStageInput": wrapped, "template": False}


def test_one_structure_is_hoisted_and_a_scalar_is_not() -> None:
    told = record(of("rds.DeleteDBSnapshot"), {}, Outcome(result={"DBSnapshot": {"Port": 1}}))
    assert told["responseElements"] == {"port": 1}
    told = record(of("rds.ModifyDBParameterGroup"), {}, Outcome(result={"DBParameterGroupName": "g"}))
    assert told["responseElements"] == {"dBParameterGroupName": "g"}


@pytest.mark.parametrize(
    ("name", "parameters", "recorded"),
    [
        ("cloudformation.CreateStack", {"StackName": "s", "TemplateBody": SECRET}, {"stackName": "s"}),
        (
            "cloudformation.UpdateStack",
            {"Parameters": [{"ParameterKey": "k", "ParameterValue": SECRET}]},
            {"parameters": [{"parameterKey": "k"}]},
        ),
        ("iam.EnableMFADevice", {"UserName": "u", "AuthenticationCode1": SECRET}, {"userName": "u"}),
        ("iam.CreateLoginProfile", {"UserName": "u", "Password": SECRET}, {"userName": "u"}),
        (
            "sns.Publish",
            {"TopicArn": "t", "Message": SECRET},
            {"topicArn": "t", "message": "HIDDEN_DUE_TO_SECURITY_REASONS"},
        ),
        ("bedrock-runtime.InvokeModel", {"modelId": "m", "accept": SECRET}, {"modelId": "m"}),
        (
            "ssm.SendCommand",
            {"DocumentName": "d", "Parameters": {"commands": [SECRET]}},
            {"documentName": "d", "parameters": "HIDDEN_DUE_TO_SECURITY_REASONS", "interactive": False},
        ),
    ],
)
def test_what_is_hidden_is_nowhere(name: str, parameters: dict[str, Any], recorded: dict[str, Any]) -> None:
    fault = Outcome(fault=ServiceFault("ValidationException", f"No {SECRET}, nor {json.dumps(SECRET)}."))
    told = record(of(name), parameters, fault)
    assert told["requestParameters"] == recorded
    if (
        name != "bedrock-runtime.InvokeModel"
    ):  # there everything but the model is left out, message and all the rest stay
        assert "Secret" not in json.dumps(told)


@pytest.mark.parametrize(
    ("name", "code", "status", "recorded"),
    [
        ("iam.GetUser", "NoSuchEntity", 404, "NoSuchEntityException"),
        ("sqs.SendMessage", "QueueDoesNotExist", 400, "QueueDoesNotExist"),
        ("ec2.RunInstances", "UnauthorizedOperation", 403, "Client.UnauthorizedOperation"),
        ("ec2.RunInstances", "InternalError", 500, "Server.InternalError"),
        ("kms.Decrypt", "AccessDeniedException", 400, "AccessDenied"),
        ("s3.GetObject", "NoSuchKey", 404, "NoSuchKey"),
    ],
)
def test_errors_go_by_the_names_of_their_shapes(name: str, code: str, status: int, recorded: str) -> None:
    told = record(of(name), {}, Outcome(fault=ServiceFault(code, MESSAGE, status=status)))
    assert told["errorCode"] == recorded
    assert "apiVersion" not in told


def test_a_denied_call_of_cloudfront_goes_by_another_name() -> None:
    denied = Outcome(fault=ServiceFault("AccessDenied", "No."))
    assert record(of("cloudfront.ListDistributions"), {}, denied)["eventName"] == "ListDistributions2020_05_31"
    assert record(of("cloudfront.ListDistributions"), {})["eventName"] == "ListDistributions"
    assert record(of("cloudfront.ListDistributions"), {})["apiVersion"] == "2020_05_31"


@pytest.mark.parametrize(
    ("name", "parameters", "result", "arns"),
    [
        ("kms.Decrypt", {}, {"KeyId": f"arn:aws:kms:r:{ACCOUNT}:key/k"}, [f"arn:aws:kms:r:{ACCOUNT}:key/k"]),
        ("kms.Encrypt", {"KeyId": "alias/a"}, {}, []),
        (
            "ssm.GetParameters",
            {"Names": ["/a/b", "c"]},
            {},
            [f"arn:aws:ssm:eu-central-1:{ACCOUNT}:parameter/{name}" for name in ("a/b", "c")],
        ),
        (
            "sqs.SendMessage",
            {"QueueUrl": f"https://sqs.eu-central-1.amazonaws.com/{ACCOUNT}/q"},
            {},
            [f"arn:aws:sqs:eu-central-1:{ACCOUNT}:q"],
        ),
        ("dynamodb.GetItem", {"TableName": "t"}, {}, [f"arn:aws:dynamodb:eu-central-1:{ACCOUNT}:table/t"]),
        ("lambda.Invoke", {"FunctionName": "f"}, {}, [f"arn:aws:lambda:eu-central-1:{ACCOUNT}:function:f"]),
        ("iam.GetUser", {"UserName": "u"}, {}, []),
    ],
)
def test_resources_are_those_that_the_call_names(
    name: str, parameters: dict[str, Any], result: dict[str, Any], arns: list[str]
) -> None:
    resources = record(of(name), parameters, Outcome(result=result)).get("resources", [])
    assert [each["ARN"] for each in resources] == arns
    assert all(each["accountId"] == ACCOUNT for each in resources)


def test_calls_on_items_and_messages_are_data_events() -> None:
    for name in ("dynamodb.PutItem", "sqs.SendMessage", "sns.Publish", "lambda.Invoke"):
        told = record(of(name), {})
        assert (told["eventCategory"], told["managementEvent"]) == ("Data", False)
    assert record(of("dynamodb.CreateTable"), {})["eventCategory"] == "Management"


def test_times_stay_as_sent_where_a_rest_model_asks_for_iso_8601() -> None:
    result = {"trustAnchor": {"createdAt": NOW}}
    told = record(of("rolesanywhere.CreateTrustAnchor"), {}, Outcome(result=result))
    assert told["responseElements"] == {"trustAnchor": {"createdAt": "2026-03-04T05:06:07.890123Z"}}
    told = record(of("iam.CreateUser"), {}, Outcome(result={"User": {"CreateDate": NOW}}))
    assert told["responseElements"] == {"user": {"createDate": "Mar 4, 2026, 5:06:07 AM"}}


def test_the_id_of_a_forwarded_call_is_the_upstreams() -> None:
    answer = WireAnswer(status=200, headers=Headers([("x-amzn-requestid", "theirs")]))
    assert record(of("iam.GetUser"), {}, Outcome(result={}, answer=answer))["requestID"] == "theirs"


def unknown(service: str, operation: str) -> Operation:
    known = CATALOG.service(service)
    metadata = {"apiVersion": "1", "protocol": known.protocol, "endpointPrefix": known.endpoint_prefix}
    document = {"metadata": metadata, "operations": {operation: {}}}
    return ServiceModel(document, service).operations[operation]


def test_of_an_unknown_operation_only_what_the_rules_describe_is_recorded() -> None:
    body = json.dumps({"InstanceId": "i", "Password": SECRET}).encode()
    told = record(unknown("ssm", "UpdateInstanceInformation"), {}, body=body)
    assert (told["eventSource"], told["eventName"]) == ("ssm.amazonaws.com", "UpdateInstanceInformation")
    assert told["requestParameters"] == {"instanceId": "i"}
    told = record(unknown("ssm", "SomethingNew"), {}, body=body)
    assert (told["eventName"], told["requestParameters"], told["responseElements"]) == ("SomethingNew", None, None)
    form = b"Action=DescribeRecommendations&Filters.member.1.Name=n&Filters.member.1.Values.member.1=v"
    told = record(unknown("rds", "DescribeRecommendations"), {}, body=form)
    assert told["requestParameters"] == {"filters": [{"name": "n", "values": ["v"]}]}
    assert record(unknown("ssm", "UpdateInstanceInformation"), {}, body=b"\xff{")["requestParameters"] is None


def test_names_and_defaults_are_adjusted_where_the_rules_say_so() -> None:
    said = {
        "defaults": {"GetUser": {"a": {"b": 1}, "response.user.c": 2}},
        "memberNames": {"GetUser": {"userName": "u"}},
    }
    rules = parse_rules([{"services": {"iam": {**said, "notReadOnly": ["GetUser"]}}}])
    told = record(of("iam.GetUser"), {"UserName": "n"}, Outcome(result={"User": {"Path": "/"}}), rules=rules)
    assert told["requestParameters"] == {"u": "n", "a": {"b": 1}}
    assert told["responseElements"] == {"user": {"path": "/", "c": 2}}


class SecretMaker:
    """Values with the secret in every sensitive text, and plain ones beside."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def value(self, shape: Shape, depth: int = 0, *, hidden: bool = False) -> Any:
        hidden = hidden or shape.sensitive
        if shape.type == "structure":
            members = shape.members.items() if depth < 5 else ()
            chosen = [each for each in members if each[1].sensitive or self._random.random() < 0.5]
            return {name: self.value(member, depth + 1, hidden=hidden) for name, member in chosen}
        if shape.type == "list":
            return [self.value(shape.member, depth + 1, hidden=hidden)] if depth < 5 else []
        if shape.type == "map":
            key = SECRET if shape.key.sensitive else "key"
            return {key: self.value(shape.value, depth + 1, hidden=hidden)} if depth < 5 else {}
        if shape.type in ("string", "character"):
            return SECRET if hidden else "plain"
        return {"timestamp": NOW, "blob": SECRET.encode(), "boolean": True}.get(shape.type, 1)


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(sorted(set(CATALOG.names()) - {"s3", "s3control"})), seed=st.integers(0, 10**6))
@example(name="resource-explorer-2", seed=29)  # a list of secrets in the query
def test_any_operation_of_any_service_is_recorded_without_its_secrets(name: str, seed: int) -> None:
    operations = list(CATALOG.service(name).operations.values())
    operation, make = operations[seed % len(operations)], SecretMaker(seed)
    parameters = make.value(operation.input) if operation.input else {}
    result = make.value(operation.output) if operation.output else {}
    fault = ServiceFault("AccessDenied" if seed % 2 else "Other", f"Refused: {SECRET}")
    for outcome in (Outcome(result=result), Outcome(fault=fault)):
        told = record(operation, parameters, outcome)
        assert told["eventSource"].endswith(".amazonaws.com")
        if outcome.fault is None or any(SECRET in text for text in _texts(parameters)):
            assert "planted-Secret" not in json.dumps(told), operation


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in (*value.keys(), *value.values()) for text in _texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []
