"""Sealed authorization messages: what a refusal carries, and who may read it."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from opentrail.core.identity import Identity, IdentityType
from opentrail.core.policy import AuthorizationRequest, Decision, Policy, PolicySet, PolicyType, evaluate, parse_policy
from opentrail.server.authorization_messages import HEADER, MAX_CHARACTERS, AuthorizationMessages

ACCOUNT, OTHER = "123456789012", "210987654321"
ALICE = Identity(
    type=IdentityType.IAM_USER,
    principal_id="AIDAALICE",
    arn=f"arn:aws:iam::{ACCOUNT}:user/alice",
    account_id=ACCOUNT,
    user_name="alice",
)
MESSAGES = AuthorizationMessages(b"k" * 32, os.urandom)
DENY = {"Sid": "Never", "Effect": "Deny", "Action": "s3:*", "Resource": "*", "Condition": {"Bool": {"aws:x": "true"}}}


def decide(*, bucket_of: str = "", context: dict[str, list[str]] | None = None, **statement: Any) -> Decision:
    """The decision on a read, with one Deny: in alice's policy, or in the bucket's policy of ``bucket_of``."""
    place = PolicyType.BUCKET if bucket_of else PolicyType.IDENTITY
    text = json.dumps({"Version": "2012-10-17", "Statement": [{**DENY, **statement}]})
    policies = (Policy(name="p", document=parse_policy(text, place)),)
    request = AuthorizationRequest(
        principal=ALICE,
        action="s3:GetObject",
        resource="arn:aws:s3:::bkt/k",
        resource_account=bucket_of,
        context={"aws:x": ["true"], **(context or {})},
    )
    return evaluate(request, PolicySet(resource=policies) if bucket_of else PolicySet(identity=policies))


def test_a_message_has_the_form_of_awss() -> None:
    text = MESSAGES.open(ACCOUNT, MESSAGES.seal(decide()))
    assert text is not None
    assert json.loads(text) == {
        "allowed": False,
        "explicitDeny": True,
        "matchedStatements": {
            "items": [
                {
                    "statementId": "Never",
                    "effect": "DENY",
                    "principals": {"items": []},
                    "principalGroups": {"items": []},
                    "actions": {"items": [{"value": "s3:*"}]},
                    "resources": {"items": [{"value": "*"}]},
                    "conditions": {
                        "items": [{"key": "aws:x", "value": {"operator": "Bool", "items": [{"value": "true"}]}}]
                    },
                }
            ]
        },
        "failures": {"items": []},
        "context": {
            "principal": {"id": "AIDAALICE", "name": "alice", "arn": ALICE.arn},
            "action": "s3:GetObject",
            "resource": "arn:aws:s3:::bkt/k",
            "conditions": {"items": [{"key": "aws:x", "values": {"items": [{"value": "true"}]}}]},
        },
    }


def test_no_other_account_and_no_other_server_opens_it() -> None:
    text = MESSAGES.seal(decide())
    assert MESSAGES.open(OTHER, text) is None
    assert AuthorizationMessages(b"l" * 32, os.urandom).open(ACCOUNT, text) is None
    assert "alice" not in base64.urlsafe_b64decode(text + "==").decode("latin-1")


@given(st.text(max_size=200))
def test_anything_else_is_no_message(text: str) -> None:
    assert MESSAGES.open(ACCOUNT, text) is None


@given(st.data())
def test_a_changed_message_is_none(data: st.DataObject) -> None:
    raw = bytearray(base64.urlsafe_b64decode(MESSAGES.seal(decide()) + "=="))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    assert MESSAGES.open(ACCOUNT, base64.urlsafe_b64encode(raw).decode()) is None


def test_a_large_message_goes_without_its_conditions_and_statements() -> None:
    noise = {f"aws:principaltag/{number}": [os.urandom(100).hex()] for number in range(60)}
    sealed = MESSAGES.seal(decide(context=noise))
    assert len(sealed) <= MAX_CHARACTERS
    opened = json.loads(MESSAGES.open(ACCOUNT, sealed) or "")
    assert opened["context"]["conditions"] == {"items": []}
    assert len(opened["matchedStatements"]["items"]) == 1
    resources = [f"arn:aws:s3:::bkt/{os.urandom(100).hex()}" for _ in range(60)] + ["*"]
    sealed = MESSAGES.seal(decide(Resource=resources))
    assert len(sealed) <= MAX_CHARACTERS
    opened = json.loads(MESSAGES.open(ACCOUNT, sealed) or "")
    assert (opened["matchedStatements"], opened["explicitDeny"]) == ({"items": []}, True)


def test_an_endless_resource_makes_no_endless_header(local: Any) -> None:
    nobody = local.client("cloudtrail", local.new_user("nobody"))
    arn = f"arn:aws:cloudtrail:us-east-1:{ACCOUNT}:trail/{os.urandom(50_000).hex()}"
    code, sealed = refused(nobody.add_tags, ResourceId=arn, TagsList=[{"Key": "a"}])
    assert (code, len(sealed) <= MAX_CHARACTERS) == ("AccessDeniedException", True)
    answer = local.client("sts").decode_authorization_message(EncodedMessage=sealed)
    shown = json.loads(answer["DecodedMessage"])["context"]["resource"]
    assert arn.startswith(shown)


def test_another_accounts_policy_is_not_told() -> None:
    opened = json.loads(MESSAGES.open(ACCOUNT, MESSAGES.seal(decide(bucket_of=OTHER, Principal="*"))) or "")
    assert (opened["matchedStatements"], opened["explicitDeny"]) == ({"items": []}, True)
    opened = json.loads(MESSAGES.open(ACCOUNT, MESSAGES.seal(decide(bucket_of=ACCOUNT, Principal="*"))) or "")
    assert opened["matchedStatements"]["items"][0]["statementId"] == "Never"


def refused(call: Any, **parameters: Any) -> tuple[str, str]:
    """Code and sealed message of a refusal."""
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPHeaders"].get(HEADER, "")


def test_a_refusal_carries_its_message_and_sts_decodes_it(local: Any) -> None:
    local.client("s3").create_bucket(Bucket="bkt")
    alice = local.new_user("alice", {"Sid": "No", "Effect": "Deny", "Action": "*", "Resource": "*"})
    for service, operation, parameters, action in (
        ("s3", "list_objects_v2", {"Bucket": "bkt"}, "s3:ListBucket"),
        ("s3", "head_bucket", {"Bucket": "bkt"}, "s3:ListBucket"),
        ("iam", "list_users", {}, "iam:ListUsers"),
        ("cloudtrail", "describe_trails", {}, "cloudtrail:DescribeTrails"),
    ):
        _, sealed = refused(getattr(local.client(service, alice), operation), **parameters)
        decoded = local.client("sts").decode_authorization_message(EncodedMessage=sealed)
        message = json.loads(decoded["DecodedMessage"])
        assert message["context"]["action"] == action
        assert message["matchedStatements"]["items"][0]["statementId"] == "No"
    code, _ = refused(local.client("sts", alice).decode_authorization_message, EncodedMessage=sealed)
    assert code == "AccessDenied"
    code, _ = refused(local.client("sts").decode_authorization_message, EncodedMessage=sealed[:-8] + "AAAAAAAA")
    assert code == "InvalidAuthorizationMessageException"


def test_nobody_in_particular_gets_no_message(local: Any) -> None:
    local.client("s3").create_bucket(Bucket="bkt")
    status, headers, _ = local.send("GET", "/bkt/k", [(b"host", b"127.0.0.1:4577")])
    assert status == 403
    assert HEADER not in {name.lower() for name, _ in headers}
