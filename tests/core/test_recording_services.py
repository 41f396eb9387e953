"""What single services tell otherwise: KMS its key, SQL left out, copies their source, consoles' defaults."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from opentrail.core.errors import ServiceFault
from opentrail.core.http import Headers, HttpRequest
from opentrail.core.identity import Identity, IdentityType, Session, SessionIssuer, WebIdentity, root_identity
from opentrail.core.recording import Recipient, build_event, describe_identity
from opentrail.core.recording.rules import RecordRules, parse_rules
from opentrail.core.wire.calls import ApiCall, Outcome
from opentrail.server.catalog import BotocoreCatalog
from opentrail.server.recording_rules import load_rules

ACCOUNT = "123456789012"
CATALOG = BotocoreCatalog()
KEY_ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
KEY = f"arn:aws:kms:eu-central-1:{ACCOUNT}:key/{KEY_ID}"
OTHER_KEY = f"arn:aws:kms:eu-central-1:{ACCOUNT}:key/0987dcba-09fe-87dc-65ba-ab0987654321"
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.fixture(scope="module")
def rules() -> RecordRules:
    return load_rules()


def record_of(
    rules: RecordRules,
    service: str,
    operation: str,
    parameters: Mapping[str, Any],
    outcome: Outcome | None = None,
    *,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    call = ApiCall(
        operation=CATALOG.service(service).operations[operation],
        parameters=parameters,
        identity=root_identity(ACCOUNT),
        region="eu-central-1",
        now=NOW,
        event_id="00000000-0000-4000-8000-000000000001",
        request_id="00000000-0000-4000-8000-000000000002",
        request=HttpRequest(
            method="POST", path="/", query="", headers=Headers({"host": "localhost", **(headers or {})}.items())
        ),
    )
    recipient = Recipient(account_id=ACCOUNT, resource_account=ACCOUNT)
    return dict(build_event(call, outcome or Outcome(result={}), rules, recipient).record)


def arns(record: Mapping[str, Any]) -> list[str]:
    return [each["ARN"] for each in record.get("resources", ())]


@pytest.mark.parametrize(
    ("operation", "parameters", "result", "told"),
    [
        ("DisableKey", {"KeyId": KEY_ID}, {}, {"keyId": KEY}),
        ("CreateAlias", {"AliasName": "alias/a", "TargetKeyId": KEY_ID}, {}, {"keyId": KEY}),
        ("CreateGrant", {"KeyId": KEY}, {"GrantId": "g"}, {"grantId": "g", "keyId": KEY}),
        ("DisableKey", {"KeyId": "alias/a"}, {}, None),  # which key that is, nobody said
        ("DisableKeyRotation", {"KeyId": KEY_ID}, {}, {"keyId": KEY}),  # as all that change a key do since 2022
    ],
)
def test_kms_tells_the_key_that_was_changed(
    rules: RecordRules, operation: str, parameters: dict[str, Any], result: dict[str, Any], told: object
) -> None:
    record = record_of(rules, "kms", operation, parameters, Outcome(result=result))
    assert record["responseElements"] == told


def test_a_refused_change_of_a_key_tells_none(rules: RecordRules) -> None:
    fault = ServiceFault("DisabledException", "no", status=400)
    record = record_of(rules, "kms", "CreateAlias", {"TargetKeyId": KEY}, Outcome(fault=fault))
    assert record["responseElements"] is None


def test_kms_tells_the_algorithm_nobody_named_and_both_keys_of_a_reencryption(rules: RecordRules) -> None:
    assert record_of(rules, "kms", "Decrypt", {})["requestParameters"] == {"encryptionAlgorithm": "SYMMETRIC_DEFAULT"}
    outcome = Outcome(result={"SourceKeyId": KEY, "KeyId": OTHER_KEY})
    record = record_of(rules, "kms", "ReEncrypt", {"DestinationKeyId": "alias/b"}, outcome)
    assert arns(record) == [KEY, OTHER_KEY]
    assert record["requestParameters"] == {
        "destinationKeyId": "alias/b",
        "sourceEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "destinationEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
    }


def test_further_facts_are_texts_or_places(rules: RecordRules) -> None:
    decrypted = record_of(rules, "kms", "Decrypt", {}, Outcome(result={"KeyMaterialId": "m", "KeyId": KEY}))
    assert decrypted["additionalEventData"] == {"keyMaterialId": "m"}
    assert "additionalEventData" not in record_of(rules, "kms", "Decrypt", {})
    changed = record_of(rules, "route53", "ChangeResourceRecordSets", {})
    assert changed["additionalEventData"] == {"Note": "Do not use to reconstruct hosted zone"}
    scaled = record_of(rules, "application-autoscaling", "RegisterScalableTarget", {}, Outcome(additional={"x": 1}))
    assert scaled["additionalEventData"] == {"service": "application-autoscaling", "x": 1}


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "told"),
    [
        ("athena", "StartQueryExecution", {"QueryString": "SELECT x"}, {"queryString": "***OMITTED***"}),
        ("redshift-data", "ExecuteStatement", {"Sql": "SELECT x"}, {"sql": "***OMITTED***"}),
        (
            "glue",
            "CreateConnection",
            {"ConnectionInput": {"Name": "n", "ConnectionProperties": {"PASSWORD": "secret-1"}}},
            {"connectionInput": {"name": "n"}},
        ),
        (
            "sagemaker-featurestore-runtime",
            "PutRecord",
            {"FeatureGroupName": "g", "Record": []},
            {"featureGroupName": "g"},
        ),
        (
            "rds",
            "ModifyDBCluster",
            {"DBClusterIdentifier": "c"},
            {
                "dBClusterIdentifier": "c",
                "applyImmediately": False,
                "allowMajorVersionUpgrade": False,
                "allowEngineModeChange": False,
            },
        ),
        ("lambda", "CreateFunction", {"FunctionName": "f", "Publish": True}, {"functionName": "f", "publish": True}),
        ("events", "DeleteRule", {"Name": "r"}, {"name": "r", "force": False}),
    ],
)
def test_parameters_that_are_hidden_or_told_though_nobody_sent_them(
    rules: RecordRules, service: str, operation: str, parameters: dict[str, Any], told: dict[str, Any]
) -> None:
    assert record_of(rules, service, operation, parameters)["requestParameters"] == told


def test_credentials_of_an_identity_pool_are_told_without_their_secret(rules: RecordRules) -> None:
    result = {"IdentityId": "i", "Credentials": {"AccessKeyId": "ASIA", "SecretKey": "s3cr3t", "SessionToken": "t0ken"}}
    record = record_of(rules, "cognito-identity", "GetCredentialsForIdentity", {}, Outcome(result=result))
    assert record["responseElements"] == {
        "identityId": "i",
        "credentials": {"accessKeyId": "ASIA", "sessionToken": "t0ken"},
    }
    assert (record["readOnly"], record["managementEvent"]) == (False, False)


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("/from/a%20b?versionId=1", ["arn:aws:s3:::from/a b"]),
        ("from/k", ["arn:aws:s3:::from/k"]),
        ("arn:aws:s3:eu-central-1:123456789012:accesspoint/p/object/k", []),
        ("nothing", []),
    ],
)
def test_a_copy_names_the_object_that_it_is_made_of(rules: RecordRules, source: str, named: list[str]) -> None:
    record = record_of(rules, "s3", "CopyObject", {"Bucket": "b", "Key": "k"}, headers={"x-amz-copy-source": source})
    assert arns(record) == ["arn:aws:s3:::b/k", "arn:aws:s3:::b", *named]


def test_resources_without_a_type_and_the_provider_of_a_saml_session(rules: RecordRules) -> None:
    pushed = record_of(rules, "ecr", "PutImage", {"repositoryName": "r"})
    assert pushed["resources"] == [{"accountId": ACCOUNT, "ARN": f"arn:aws:ecr:eu-central-1:{ACCOUNT}:repository/r"}]
    role, provider = f"arn:aws:iam::{ACCOUNT}:role/r", f"arn:aws:iam::{ACCOUNT}:saml-provider/p"
    record = record_of(rules, "sts", "AssumeRoleWithSAML", {"RoleArn": role, "PrincipalArn": provider})
    assert [each["type"] for each in record["resources"]] == ["AWS::IAM::Role", "AWS::IAM::SAMLProvider"]


def test_what_is_not_shown_does_not_stand_in_an_error_either(rules: RecordRules) -> None:
    fault = ServiceFault("ValidationException", "the prompt 'tell me a long story' is blocked", status=400)
    messages = [{"role": "user", "content": [{"text": "tell me a long story"}]}]
    record = record_of(
        rules, "bedrock-runtime", "Converse", {"modelId": "m", "messages": messages}, Outcome(fault=fault)
    )
    assert record["requestParameters"] == {"modelId": "m"}
    assert record["errorMessage"] == "the prompt '***' is blocked"


def test_a_rule_counts_more_than_the_models_own_word() -> None:
    said = {"services": {"cognito-identity": {"hiddenMembers": {"GetOpenIdToken": {"response.token": "omit"}}}}}
    result = {"IdentityId": "i", "Token": "s3cr3t"}
    record = record_of(parse_rules([said]), "cognito-identity", "GetOpenIdToken", {}, Outcome(result=result))
    assert record["responseElements"] == {"identityId": "i"}


WEB = WebIdentity(
    provider_arn=f"arn:aws:iam::{ACCOUNT}:oidc-provider/accounts.example.org",
    issuer="accounts.example.org",
    claims={"aud": ("app",), "sub": ("alice",)},
)


@pytest.mark.parametrize(
    ("identity", "told"),
    [
        (Identity(type=IdentityType.UNKNOWN), {"type": "Unknown"}),
        (
            Identity(type=IdentityType.UNKNOWN, account_id=ACCOUNT, access_key_id="AKIAGONE"),
            {"type": "Unknown", "accountId": ACCOUNT, "accessKeyId": "AKIAGONE"},
        ),
        (
            Identity(type=IdentityType.AWS_SERVICE, invoked_by="config.amazonaws.com", account_id=ACCOUNT),
            {"type": "AWSService", "invokedBy": "config.amazonaws.com"},
        ),
        (
            Identity(
                type=IdentityType.WEB_IDENTITY_USER, principal_id="p:app:alice", user_name="alice", web_identity=WEB
            ),
            {
                "type": "WebIdentityUser",
                "principalId": "p:app:alice",
                "userName": "alice",
                "identityProvider": f"arn:aws:iam::{ACCOUNT}:oidc-provider/accounts.example.org",
            },
        ),
        (
            Identity(
                type=IdentityType.FEDERATED_USER,
                principal_id=f"{ACCOUNT}:carol",
                arn=f"arn:aws:sts::{ACCOUNT}:federated-user/carol",
                account_id=ACCOUNT,
                access_key_id="ASIAEXAMPLE",
                session=Session(
                    creation_date=NOW,
                    issuer=SessionIssuer(
                        type="IAMUser",
                        principal_id="AIDAEXAMPLE",
                        arn=f"arn:aws:iam::{ACCOUNT}:user/bob",
                        account_id=ACCOUNT,
                        user_name="bob",
                    ),
                ),
            ),
            {
                "type": "FederatedUser",
                "principalId": f"{ACCOUNT}:carol",
                "arn": f"arn:aws:sts::{ACCOUNT}:federated-user/carol",
                "accountId": ACCOUNT,
                "accessKeyId": "ASIAEXAMPLE",
                "sessionContext": {
                    "sessionIssuer": {
                        "type": "IAMUser",
                        "principalId": "AIDAEXAMPLE",
                        "arn": f"arn:aws:iam::{ACCOUNT}:user/bob",
                        "accountId": ACCOUNT,
                        "userName": "bob",
                    },
                    "attributes": {"creationDate": "2026-03-04T05:06:07Z", "mfaAuthenticated": "false"},
                },
            },
        ),
    ],
    ids=lambda each: each["type"] + str(len(each)) if isinstance(each, dict) else "",
)
def test_who_called(identity: Identity, told: dict[str, Any]) -> None:
    assert describe_identity(identity) == told


def test_a_broker_does_not_tell_its_users_passwords(rules: RecordRules) -> None:
    users = [{"Username": "alice", "Password": "correct-horse-battery"}]
    record = record_of(rules, "mq", "CreateBroker", {"BrokerName": "b", "Users": users})
    assert record["eventSource"] == "amazonmq.amazonaws.com"
    assert record["requestParameters"] == {"brokerName": "b", "users": [{"username": "alice", "password": "***"}]}


def test_directory_data_goes_by_the_directory(rules: RecordRules) -> None:
    record = record_of(rules, "ds-data", "ListGroups", {"DirectoryId": "d-1234567890", "NextToken": "tokentoken"})
    assert record["eventSource"] == "ds.amazonaws.com"
    assert record["requestParameters"] == {"directoryId": "d-1234567890", "nextToken": "REDACTED"}
    arn = f"arn:aws:ds:eu-central-1:{ACCOUNT}:directory/d-1234567890"
    assert record["resources"] == [{"accountId": ACCOUNT, "type": "AWS::DirectoryService::MicrosoftAD", "ARN": arn}]


@pytest.mark.parametrize(("service", "name"), [("greengrass", "Message"), ("kafka", "message")])
def test_an_errors_message_has_its_models_name(rules: RecordRules, service: str, name: str) -> None:
    operation = {"greengrass": "AssociateServiceRoleToAccount", "kafka": "DeleteCluster"}[service]
    fault = ServiceFault("BadRequestException", "That is invalid.", status=400)
    record = record_of(rules, service, operation, {}, Outcome(fault=fault))
    assert record["responseElements"] == {name: "That is invalid."}
    assert "errorMessage" not in record
