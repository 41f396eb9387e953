"""A request of which the resource, or the action, is not known: an Allow must cover it, a Deny applies where it may."""

from __future__ import annotations

import json
from typing import Any

import pytest

from opentrail.core.identity import Identity, IdentityType
from opentrail.core.policy import AuthorizationRequest, Policy, PolicySet, PolicyType, evaluate, parse_policy

ACCOUNT = "123456789012"
ALICE = Identity(
    type=IdentityType.IAM_USER,
    principal_id="AIDAEXAMPLEALICE0",
    arn=f"arn:aws:iam::{ACCOUNT}:user/alice",
    account_id=ACCOUNT,
    user_name="alice",
)
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1"
ALLOW = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def _may(*statements: dict[str, Any], any_resource: bool = False, any_action: bool = False) -> bool:
    text = json.dumps({"Version": "2012-10-17", "Statement": statements})
    policies = PolicySet(identity=(Policy(name="p", document=parse_policy(text, PolicyType.IDENTITY)),))
    request = AuthorizationRequest(
        principal=ALICE, action="kms:Decrypt", resource="*", any_resource=any_resource, any_action=any_action
    )
    return evaluate(request, policies).allowed


@pytest.mark.parametrize(
    ("deny", "applies"),
    [
        ({"Action": "kms:Decrypt", "Resource": KEY}, True),
        ({"Action": "kms:*", "Resource": "arn:aws:kms:*:*:alias/x"}, True),
        ({"Action": "*", "Resource": "arn:aws:s3:::bucket"}, False),
        ({"Action": "*", "NotResource": KEY}, True),
        ({"Action": "kms:Encrypt", "Resource": KEY}, False),
        ({"NotAction": "kms:Decrypt", "Resource": KEY}, False),
        ({"Action": "kms:*", "Resource": KEY, "Condition": {"StringEquals": {"aws:userid": "x"}}}, False),
    ],
)
def test_a_deny_of_a_resource_of_the_service(deny: dict[str, Any], *, applies: bool) -> None:
    statement = {"Effect": "Deny", **deny}
    assert _may(ALLOW, statement, any_resource=True) is not applies
    assert _may(ALLOW, statement) is ("NotResource" not in deny), "a request that is about * meets no other Deny"


@pytest.mark.parametrize(
    ("deny", "applies"),
    [
        ({"Action": "kms:Encrypt", "Resource": "*"}, True),
        ({"Action": "kms:Enc*", "Resource": "*"}, True),
        ({"NotAction": "s3:*", "Resource": "*"}, True),
        ({"Action": "s3:*", "Resource": "*"}, False),
        ({"Action": "kms:Encrypt", "Resource": KEY}, False),
    ],
)
def test_a_deny_of_an_action_of_the_service(deny: dict[str, Any], *, applies: bool) -> None:
    assert _may(ALLOW, {"Effect": "Deny", **deny}, any_action=True) is not applies


def test_an_allow_of_one_resource_is_no_allow_of_an_unknown_one() -> None:
    assert not _may({"Effect": "Allow", "Action": "kms:*", "Resource": KEY}, any_resource=True)
