"""The AWS managed policies that come with Opentrail: what of them is AWS's, and that all can be used."""

from __future__ import annotations

import json
import re

import pytest

from opentrail.core.identity import Identity, IdentityType
from opentrail.core.policy import AuthorizationRequest, Policy, PolicySet, PolicyType, evaluate, parse_policy
from opentrail.state.aws_managed_policies import AwsManagedPolicy, aws_managed_policies

POLICIES = aws_managed_policies()
USER = Identity(
    type=IdentityType.IAM_USER,
    principal_id="AIDAALICE",
    arn="arn:aws:iam::123456789012:user/alice",
    account_id="123456789012",
    user_name="alice",
)


def named(name: str) -> AwsManagedPolicy:
    return next(policy for policy in POLICIES.values() if policy.name == name)


def test_they_are_many_and_distinct() -> None:
    assert len(POLICIES) >= 30
    assert len({policy.policy_id for policy in POLICIES.values()}) == len(POLICIES)
    assert [policy.name for policy in POLICIES.values()] == sorted(policy.name for policy in POLICIES.values())


@pytest.mark.parametrize("policy", POLICIES.values(), ids=lambda policy: policy.name)
def test_each_is_well_formed(policy: AwsManagedPolicy) -> None:
    assert policy.arn == f"arn:aws:iam::aws:policy{policy.path}{policy.name}"
    assert re.fullmatch(r"ANPA[A-Z2-7]{17}", policy.policy_id)
    assert re.fullmatch(r"v[1-9][0-9]*", policy.version_id)
    assert policy.description
    assert policy.created <= policy.updated
    assert parse_policy(policy.document, PolicyType.IDENTITY).statements


def test_facts_that_aws_publishes() -> None:
    administrator = named("AdministratorAccess")
    assert administrator.policy_id == "ANPAIWMBCKSKIEE64ZLYK"
    assert administrator.created.isoformat() == "2015-02-06T18:39:46+00:00"
    assert json.loads(administrator.document)["Statement"] == [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
    assert named("ViewOnlyAccess").arn == "arn:aws:iam::aws:policy/job-function/ViewOnlyAccess"
    reading = json.loads(named("AWSCloudTrail_ReadOnlyAccess").document)["Statement"][0]["Action"]
    assert sorted(reading) == ["cloudtrail:Describe*", "cloudtrail:Get*", "cloudtrail:List*", "cloudtrail:LookupEvents"]


@pytest.mark.parametrize(
    ("name", "allowed", "refused"),
    [
        ("PowerUserAccess", ["s3:PutObject", "organizations:DescribeOrganization"], ["iam:CreateUser"]),
        ("ReadOnlyAccess", ["s3:GetObject", "iam:GetUser", "cloudtrail:LookupEvents"], ["s3:PutObject"]),
        ("IAMReadOnlyAccess", ["iam:ListUsers", "iam:SimulatePrincipalPolicy"], ["iam:CreateUser"]),
        ("IAMFullAccess", ["iam:CreateUser", "organizations:DescribeAccount"], ["s3:GetObject"]),
        ("SecurityAudit", ["iam:GenerateCredentialReport", "s3:GetBucketPolicy"], ["s3:GetObject"]),
        ("ViewOnlyAccess", ["s3:ListAllMyBuckets", "iam:ListRoles"], ["s3:GetObject"]),
        ("AWSCloudTrail_FullAccess", ["cloudtrail:StopLogging"], ["s3:GetObject"]),
    ],
)
def test_what_they_allow(name: str, allowed: list[str], refused: list[str]) -> None:
    document = parse_policy(named(name).document, PolicyType.IDENTITY)
    policies = PolicySet(identity=(Policy(name=name, document=document),))
    for action in allowed + refused:
        decision = evaluate(AuthorizationRequest(principal=USER, action=action, resource="*"), policies)
        assert decision.allowed is (action in allowed), action
