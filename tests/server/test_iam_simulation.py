"""The policy simulator as boto3 sees it, and against real calls: what it says is what the endpoint then does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opentrail.services.iam import simulation_limits

OTHER = "210987654321"
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
READ_S3 = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
BUCKET, KEY = "simulated-bucket", "a/object"


def document(*statements: Mapping[str, Any], indent: int | None = None) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)}, indent=indent)


def allow(action: str | list[str], resource: str = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: str | list[str], resource: str = "*", **more: Any) -> dict[str, Any]:
    return {**allow(action, resource, **more), "Effect": "Deny"}


def fault_of(operation: Any, **parameters: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        operation(**parameters)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def outcome_of(call: Callable[[], object]) -> str:
    """What a real call comes to, in the simulator's words."""
    try:
        call()
    except ClientError as error:
        if not error.response["Error"]["Code"].startswith("AccessDenied"):
            raise
        return "explicitDeny" if "explicit deny" in error.response["Error"]["Message"] else "implicitDeny"
    return "allowed"


def one(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The only result of an answer."""
    (result,) = answer["EvaluationResults"]
    found: dict[str, Any] = result
    return found


def simulate(iam: Any, *policies: str, action: str = "s3:GetObject", **more: Any) -> dict[str, Any]:
    return one(iam.simulate_custom_policy(PolicyInputList=list(policies), ActionNames=[action], **more))


@pytest.fixture
def iam(local: Any) -> Any:
    return local.client("iam")


@pytest.fixture
def account(local: Any) -> str:
    number: str = local.client("sts").get_caller_identity()["Account"]
    return number


def test_the_aws_cli_s_example(iam: Any) -> None:
    text = (
        '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"dynamodb:*","Resource":"*",'
        '"Condition":{"DateGreaterThan":{"aws:CurrentTime":"2018-08-16T12:00:00Z"}}}}'
    )

    def at(time: str) -> dict[str, Any]:
        entry = {"ContextKeyName": "aws:CurrentTime", "ContextKeyValues": [time], "ContextKeyType": "date"}
        return simulate(iam, text, action="dynamodb:CreateBackup", ContextEntries=[entry])

    assert at("2019-04-25T11:00:00Z") == {
        "EvalActionName": "dynamodb:CreateBackup",
        "EvalResourceName": "*",
        "EvalDecision": "allowed",
        "MatchedStatements": [
            {
                "SourcePolicyId": "PolicyInputList.1",
                "SourcePolicyType": "IAM Policy",
                "StartPosition": {"Line": 1, "Column": 38},
                "EndPosition": {"Line": 1, "Column": 167},
            }
        ],
        "MissingContextValues": [],
    }
    refused = at("2014-04-25T11:00:00Z")
    assert (refused["EvalDecision"], refused["MatchedStatements"]) == ("implicitDeny", [])
    missing = simulate(iam, text, action="dynamodb:CreateBackup")
    assert (missing["EvalDecision"], missing["MissingContextValues"]) == ("implicitDeny", ["aws:CurrentTime"])


def test_an_explicit_deny_is_all_that_matched(iam: Any) -> None:
    policies = (document(allow("s3:*")), document(allow("s3:GetObject"), deny("s3:Get*")))
    result = simulate(iam, *policies)
    assert result["EvalDecision"] == "explicitDeny"
    (matched,) = result["MatchedStatements"]
    assert matched["SourcePolicyId"] == "PolicyInputList.2"
    first = json.dumps({"Version": "2012-10-17", "Statement": [allow("s3:GetObject")]})
    assert matched["StartPosition"]["Column"] == len(first) - 1
    assert simulate(iam, *policies, action="s3:PutObject")["EvalDecision"] == "allowed"
    assert simulate(iam, *policies, action="iam:GetUser")["EvalDecision"] == "implicitDeny"


def test_each_resource_has_its_own_result_and_the_most_restrictive_stands_above(iam: Any) -> None:
    arns = [f"arn:aws:s3:::b/{name}" for name in ("open", "other", "secret")]
    policy = document(allow("s3:*", arns[0]), deny("s3:*", arns[2]), indent=1)
    result = simulate(iam, policy, ResourceArns=arns)
    specific = result["ResourceSpecificResults"]
    assert [each["EvalResourceName"] for each in specific] == arns
    assert [each["EvalResourceDecision"] for each in specific] == ["allowed", "implicitDeny", "explicitDeny"]
    assert (result["EvalResourceName"], result["EvalDecision"]) == ("*", "explicitDeny")
    assert result["MatchedStatements"] == specific[2]["MatchedStatements"]
    assert result["EvalDecisionDetails"] == {}
    assert simulate(iam, policy, ResourceArns=arns[:2])["EvalDecision"] == "implicitDeny"
    assert simulate(iam, policy, ResourceArns=arns[:1])["EvalDecision"] == "allowed"


def test_context_values_that_nobody_gave_are_named(iam: Any) -> None:
    own = "arn:aws:s3:::b/${aws:PrincipalTag/Home}/*"
    conditions = {"StringEquals": {"s3:ExistingObjectTag/x": "${aws:userid}"}, "Bool": {"aws:SecureTransport": "true"}}
    policy = document(allow("s3:GetObject", own), allow("s3:*", Condition=conditions), allow("iam:*", own))
    result = simulate(iam, policy, ResourceArns=["arn:aws:s3:::b/h/1"])
    names = ["aws:PrincipalTag/Home", "s3:ExistingObjectTag/x", "aws:userid", "aws:SecureTransport"]
    assert result["MissingContextValues"] == names
    assert result["ResourceSpecificResults"][0]["MissingContextValues"] == names
    home = {"ContextKeyName": "AWS:principaltag/home", "ContextKeyValues": ["h"], "ContextKeyType": "string"}
    given_home = simulate(iam, policy, ResourceArns=["arn:aws:s3:::b/h/1"], ContextEntries=[home])
    assert (given_home["EvalDecision"], given_home["MissingContextValues"]) == ("allowed", names[1:])
    keys = iam.get_context_keys_for_custom_policy(PolicyInputList=[policy, policy])["ContextKeyNames"]
    assert keys == names


def test_a_permissions_boundary_limits_and_is_told(iam: Any) -> None:
    policy, boundary = document(allow("*")), document(allow("s3:*"))
    limited: dict[str, Any] = {"PermissionsBoundaryPolicyInputList": [boundary]}
    inside = simulate(iam, policy, **limited)
    assert inside["EvalDecision"] == "allowed"
    assert inside["PermissionsBoundaryDecisionDetail"] == {"AllowedByPermissionsBoundary": True}
    outside = simulate(iam, policy, action="iam:GetUser", **limited)
    assert outside["EvalDecision"] == "implicitDeny"
    assert outside["PermissionsBoundaryDecisionDetail"] == {"AllowedByPermissionsBoundary": False}
    assert "PermissionsBoundaryDecisionDetail" not in simulate(iam, policy)


def test_service_control_policies_bind_level_by_level(iam: Any) -> None:
    everything, only_s3 = document(allow("*")), document(allow("s3:*"))
    levels = [{"ServiceControlPolicyInputList": [text]} for text in (everything, only_s3)]
    bound: dict[str, Any] = {"OrderedOrganizationPolicyInputList": levels}
    inside, outside = simulate(iam, everything, **bound), simulate(iam, everything, action="iam:GetUser", **bound)
    assert (inside["EvalDecision"], outside["EvalDecision"]) == ("allowed", "implicitDeny")
    assert inside["OrganizationsDecisionDetail"] == {"AllowedByOrganizations": True}
    assert outside["OrganizationsDecisionDetail"] == {"AllowedByOrganizations": False}
    assert [each["SourcePolicyId"] for each in inside["MatchedStatements"]] == ["PolicyInputList.1"]


def test_another_account_s_resource_needs_both_sides(iam: Any, account: str) -> None:
    iam.create_user(UserName="alice")
    alice = f"arn:aws:iam::{account}:user/alice"
    arn = "arn:aws:s3:::theirs/k"
    named = document({**allow("s3:GetObject", arn), "Principal": {"AWS": alice}})
    more: dict[str, Any] = {"ResourceArns": [arn], "CallerArn": alice, "ResourceOwner": f"arn:aws:iam::{OTHER}:root"}
    grants = document(allow("s3:*"))
    both = simulate(iam, grants, ResourcePolicy=named, **more)
    assert both["EvalDecision"] == "allowed"
    assert both["EvalDecisionDetails"] == {"IAM Policy": "allowed", "Resource Policy": "allowed"}
    assert {each["SourcePolicyId"] for each in both["MatchedStatements"]} == {"PolicyInputList.1", "ResourcePolicy"}
    assert {each["SourcePolicyType"] for each in both["MatchedStatements"]} == {"IAM Policy", "Resource Policy"}
    theirs_only = simulate(iam, document(allow("iam:*")), ResourcePolicy=named, **more)
    assert theirs_only["EvalDecision"] == "implicitDeny"
    assert theirs_only["EvalDecisionDetails"] == {"IAM Policy": "implicitDeny", "Resource Policy": "allowed"}
    ours_only = simulate(iam, grants, **more)
    assert ours_only["EvalDecisionDetails"] == {"IAM Policy": "allowed", "Resource Policy": "implicitDeny"}
    same = simulate(iam, document(allow("iam:*")), ResourcePolicy=named, **{**more, "ResourceOwner": account})
    assert (same["EvalDecision"], same["EvalDecisionDetails"]) == ("allowed", {})


def test_the_policies_of_a_user_its_groups_and_a_role_are_found(iam: Any, account: str) -> None:
    iam.create_user(UserName="alice", Path="/team/", Tags=[{"Key": "Home", "Value": "h"}])
    iam.create_group(GroupName="readers")
    iam.add_user_to_group(GroupName="readers", UserName="alice")
    iam.attach_group_policy(GroupName="readers", PolicyArn=READ_S3)
    iam.put_group_policy(GroupName="readers", PolicyName="gp", PolicyDocument=document(allow("iam:GetUser")))
    own = document(allow("cloudtrail:*", Condition={"StringEquals": {"aws:username": "alice"}}))
    iam.put_user_policy(UserName="alice", PolicyName="up", PolicyDocument=own)
    alice = f"arn:aws:iam::{account}:user/team/alice"

    def sources(principal: str, action: str) -> list[str]:
        answer = iam.simulate_principal_policy(PolicySourceArn=principal, ActionNames=[action])
        return [each["SourcePolicyId"] for each in one(answer)["MatchedStatements"]]

    assert sources(alice, "cloudtrail:StopLogging") == ["user_alice_up"]
    assert sources(alice, "iam:GetUser") == ["group_readers_gp"]
    assert sources(alice, "s3:GetObject") == ["AmazonS3ReadOnlyAccess"]
    assert sources(alice, "s3:PutObject") == []
    group = f"arn:aws:iam::{account}:group/readers"
    assert sources(group, "s3:GetObject") == ["AmazonS3ReadOnlyAccess"]
    assert sources(group, "cloudtrail:StopLogging") == []
    trust = {"Effect": "Allow", "Principal": {"AWS": account}, "Action": "sts:AssumeRole"}
    iam.create_role(RoleName="r", AssumeRolePolicyDocument=document(trust))
    iam.put_role_policy(RoleName="r", PolicyName="rp", PolicyDocument=document(allow("s3:*")))
    assert sources(f"arn:aws:iam::{account}:role/r", "s3:PutObject") == ["role_r_rp"]
    keys = iam.get_context_keys_for_principal_policy(PolicySourceArn=alice, PolicyInputList=[
        document(allow("s3:*", "arn:aws:s3:::${aws:userid}"))
    ])["ContextKeyNames"]  # fmt: skip
    assert keys == ["aws:username", "aws:userid"]


def test_what_is_left_out_grants_nothing(iam: Any, account: str) -> None:
    iam.create_user(UserName="alice")
    iam.attach_user_policy(UserName="alice", PolicyArn=READ_S3)
    iam.put_user_policy(UserName="alice", PolicyName="inline", PolicyDocument=document(allow("iam:*")))
    iam.put_user_permissions_boundary(UserName="alice", PermissionsBoundary=READ_S3)

    def decisions(*exclusions: Mapping[str, Any]) -> list[str]:
        answer = iam.simulate_principal_policy(
            PolicySourceArn=f"arn:aws:iam::{account}:user/alice",
            ActionNames=["s3:GetObject", "iam:GetUser"],
            PolicyExclusionList=list(exclusions),
        )
        return [result["EvalDecision"] for result in answer["EvaluationResults"]]

    inline = {"PolicyName": "inline", "AttachmentType": "user", "AttachmentName": "alice"}
    no_boundary = {"PolicyType": "permission-boundary"}
    assert decisions() == ["allowed", "implicitDeny"]
    assert decisions(no_boundary) == ["allowed", "allowed"]
    assert decisions(no_boundary, {"PolicyType": "inline"}) == ["allowed", "implicitDeny"]
    assert decisions(no_boundary, {"InlinePolicyIdentifier": inline}) == ["allowed", "implicitDeny"]
    assert decisions({"PolicyType": "aws-managed"}) == ["implicitDeny", "implicitDeny"]
    assert decisions({"PolicyArn": "arn:aws:iam::aws:policy/AmazonS3*"}) == ["implicitDeny", "implicitDeny"]
    assert decisions({"PolicyType": "user-managed"}, {"PolicyType": "rcp"}) == ["allowed", "implicitDeny"]
    for wrong in ("arn:aws:iam::*:policy/AmazonS3", "arn:aws:iam::aws:policy/A*S3*", "x" * 20):
        with pytest.raises(ClientError, match=r"InvalidInput.*PolicyExclusionList"):
            decisions({"PolicyArn": wrong})


def test_an_exclusion_that_is_two_at_once_is_refused(local: Any, iam: Any, account: str) -> None:
    iam.create_user(UserName="alice")
    form = {
        "Action": "SimulatePrincipalPolicy",
        "Version": "2010-05-08",
        "PolicySourceArn": f"arn:aws:iam::{account}:user/alice",
        "ActionNames.member.1": "s3:GetObject",
        "PolicyExclusionList.member.1.PolicyType": "inline",
        "PolicyExclusionList.member.1.PolicyArn": READ_S3,
    }
    headers = {"content-type": "application/x-www-form-urlencoded"}
    request = local.sign("POST", "/", service="iam", body=urlencode(form).encode(), headers=headers)
    status, _, body = local.request(request)
    assert (status, b"<Code>InvalidInput</Code>" in body, b"exactly one" in body) == (400, True, True)


def test_results_come_in_pages(iam: Any) -> None:
    actions = [f"s3:Action{number}" for number in range(7)]
    request = {"PolicyInputList": [document(allow("s3:*"))], "ActionNames": actions}
    pages = list(iam.get_paginator("simulate_custom_policy").paginate(**request, PaginationConfig={"PageSize": 3}))
    assert [len(page["EvaluationResults"]) for page in pages] == [3, 3, 1]
    assert [each["EvalActionName"] for page in pages for each in page["EvaluationResults"]] == actions


def test_a_page_ends_early_where_its_actions_have_many_resources(iam: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation_limits, "DECISIONS_PER_PAGE", 10)
    request = {
        "PolicyInputList": [document(allow("s3:*"))],
        "ActionNames": [f"s3:Action{number}" for number in range(5)],
        "ResourceArns": [f"arn:aws:s3:::b/{number}" for number in range(4)],
    }
    pages = list(iam.get_paginator("simulate_custom_policy").paginate(**request))
    assert [len(page["EvaluationResults"]) for page in pages] == [2, 2, 1]
    assert [each["EvalActionName"] for page in pages for each in page["EvaluationResults"]] == request["ActionNames"]


def test_a_page_ends_early_where_policies_are_long(iam: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation_limits, "ELEMENTS_PER_PAGE", 12)
    actions = [f"s3:Action{number}" for number in range(5)]
    request = {"PolicyInputList": [document(allow("s3:*"), allow("s3:Get*"), deny("sqs:*"))], "ActionNames": actions}
    pages = list(iam.get_paginator("simulate_custom_policy").paginate(**request))
    assert [each["EvalActionName"] for page in pages for each in page["EvaluationResults"]] == actions
    assert [len(page["EvaluationResults"]) for page in pages] == [2, 2, 1]


@pytest.mark.parametrize(
    ("policy", "more"),
    [
        (document(*[allow("*")] * 2000), {"ResourceArns": [f"arn:aws:s3:::b/{number}" for number in range(2000)]}),
        (
            document(allow("*", Condition={"StringLike": {"aws:x": "*" + "a?" * 60_000 + "b"}})),
            {
                "ContextEntries": [
                    {"ContextKeyName": "aws:x", "ContextKeyType": "string", "ContextKeyValues": ["a" * 1_000_000]}
                ]
            },
        ),
    ],
    ids=["every statement told for every resource", "a long value that almost matches"],
)
def test_one_call_cannot_ask_for_hours_of_work(iam: Any, policy: str, more: Mapping[str, Any]) -> None:
    code, message = fault_of(iam.simulate_custom_policy, PolicyInputList=[policy], ActionNames=["s3:GetObject"], **more)
    assert (code, message.partition(":")[0]) == ("InvalidInput", "ResourceArns")


@pytest.mark.parametrize("operation", ["simulate_custom_policy", "get_context_keys_for_custom_policy"])
def test_no_call_brings_more_policies_than_anybody_has(iam: Any, operation: str) -> None:
    policies = [document(allow("s3:*", "arn:aws:s3:::" + "b" * 100_000))] * 11
    actions = {"ActionNames": ["s3:GetObject"]} if operation.startswith("simulate") else {}
    code, message = fault_of(getattr(iam, operation), PolicyInputList=policies, **actions)
    assert (code, message.partition(":")[0]) == ("InvalidInput", "PolicyInputList")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = ["Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Principal", "Condition", "x"]
VALUES = JSON | st.sampled_from(
    ["Allow", "Deny", "*", "s3:*", "arn:aws:s3:::${aws:username}", {"StringLike": {"aws:username": ["${", "*"]}}]
)
DOCUMENTS = st.fixed_dictionaries(
    {"Version": st.just("2012-10-17"), "Statement": st.lists(st.dictionaries(st.sampled_from(MEMBERS), VALUES)) | JSON}
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(DOCUMENTS.map(json.dumps) | st.text(max_size=30), st.booleans())
def test_whatever_is_given_as_a_policy_is_simulated_or_refused(iam: Any, text: str, resource: bool) -> None:
    policies = [document(allow("s3:*"))]
    given_text = {"ResourcePolicy": text} if resource else {"PolicyInputList": [*policies, text]}
    caller = {"CallerArn": f"arn:aws:iam::{OTHER}:user/x"} if resource else {}
    if not text:
        return
    try:
        iam.simulate_custom_policy(
            **{"PolicyInputList": policies, "ActionNames": ["s3:GetObject"], **given_text, **caller}
        )
    except ClientError as error:
        found = error.response["Error"]
        if found["Code"] not in {"InvalidInput", "ValidationError"}:
            raise


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"ActionNames": ["s3:*"]}, "ActionNames"),
        ({"ActionNames": ["GetObject"]}, "ActionNames"),
        ({"ActionNames": []}, "ActionNames"),
        ({"ResourceArns": ["bucket"]}, "ResourceArns"),
        ({"ResourceOwner": "somebody"}, "ResourceOwner"),
        ({"PolicyInputList": ["{}"]}, "PolicyInputList.1"),
        ({"PolicyInputList": [document(allow("s3:*")), document({"Effect": "Allow"})]}, "PolicyInputList.2"),
        ({"PermissionsBoundaryPolicyInputList": [document(allow("s3:*"))] * 2}, "PermissionsBoundaryPolicyInputList"),
        ({"ResourcePolicy": document(allow("s3:*"))}, "ResourcePolicy"),
        ({"ResourcePolicy": document({**allow("s3:*"), "Principal": "*"})}, "CallerArn"),
        ({"CallerArn": "arn:aws:sts::123456789012:assumed-role/r/s"}, "Invalid Entity Arn"),
        ({"ResourceHandlingOption": "EC2-Nothing"}, "ResourceHandlingOption"),
        ({"ResourceHandlingOption": "EC2-VPC-EBS"}, "image, instance, network-interface, security-group, volume"),
        ({"ContextEntries": [{"ContextKeyName": "nokey", "ContextKeyValues": ["x"]}]}, "ContextEntries"),
        (
            {"ContextEntries": [{"ContextKeyName": "a:key", "ContextKeyValues": ["x"], "ContextKeyType": "date"}]},
            "a:key",
        ),
        (
            {"ContextEntries": [{"ContextKeyName": "a:key", "ContextKeyValues": ["1", "x"],
                                 "ContextKeyType": "numericList"}]},
            "numericList",
        ),
        (
            {"ContextEntries": [{"ContextKeyName": name, "ContextKeyValues": ["x"]} for name in ("a:kkk", "A:KKK")]},
            "twice",
        ),
    ],
)  # fmt: skip
def test_input_that_cannot_be_used_is_refused_by_name(server: Any, wrong: dict[str, Any], names: str) -> None:
    iam = server.client("iam")
    right = {"PolicyInputList": [document(allow("s3:*"))], "ActionNames": ["s3:GetObject"]}
    code, message = fault_of(iam.simulate_custom_policy, **{**right, **wrong})
    assert code == "InvalidInput"
    assert names in message


def test_principals_that_are_not_there(iam: Any, account: str) -> None:
    simulate_for = iam.simulate_principal_policy
    request = {"ActionNames": ["s3:GetObject"]}
    for kind in ("user", "group", "role"):
        code, message = fault_of(simulate_for, PolicySourceArn=f"arn:aws:iam::{account}:{kind}/nobody", **request)
        assert (code, message) == ("NoSuchEntity", f"The {kind} with name nobody cannot be found.")
    iam.create_user(UserName="alice", Path="/team/")
    for arn in (f"arn:aws:iam::{account}:user/alice", f"arn:aws:iam::{OTHER}:user/team/alice"):
        assert fault_of(simulate_for, PolicySourceArn=arn, **request)[0] == "NoSuchEntity"
    for arn in (f"arn:aws:iam::{account}:root", f"arn:aws:sts::{account}:assumed-role/r/s", "x" * 20):
        assert fault_of(simulate_for, PolicySourceArn=arn, **request) == (
            "InvalidInput",
            f"Invalid Entity Arn: {arn} does not clearly define entity type and name.",
        )


def test_whoever_simulates_needs_the_permission_on_the_principal(local: Any, iam: Any, account: str) -> None:
    own = f"arn:aws:iam::{account}:user/alice"
    alice = local.client("iam", local.new_user("alice", allow("iam:SimulatePrincipalPolicy", own)))
    iam.create_user(UserName="bob")
    actions = ["iam:SimulatePrincipalPolicy"]
    answer = alice.simulate_principal_policy(PolicySourceArn=own, ActionNames=actions, ResourceArns=[own])
    assert one(answer)["EvalDecision"] == "allowed"
    for name in ("bob", "nobody"):
        arn = f"arn:aws:iam::{account}:user/{name}"
        assert fault_of(alice.simulate_principal_policy, PolicySourceArn=arn, ActionNames=actions)[0] == "AccessDenied"
    assert fault_of(alice.simulate_custom_policy, PolicyInputList=["{}"], ActionNames=actions)[0] == "AccessDenied"


ACTIONS = ["s3:ListBucket", "s3:GetObject", "s3:Get*", "s3:*", "iam:GetUser", "iam:*", "cloudtrail:DescribeTrails", "*"]
RESOURCES = [
    "*", f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*", f"arn:aws:s3:::{BUCKET}/${{aws:username}}/*",
    "arn:aws:s3:::other*", "arn:aws:iam::*:user/${aws:username}",
]  # fmt: skip
CONDITIONS: list[dict[str, Any]] = [
    {},
    {"StringEquals": {"aws:username": "alice"}},
    {"StringNotEquals": {"aws:username": "alice"}},
    {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/alice"}},
    {"Bool": {"aws:SecureTransport": "true"}},
    {"StringLike": {"aws:PrincipalTag/Team": "r*"}},
    {"Null": {"aws:PrincipalTag/Team": "true"}},
]
STATEMENTS = st.builds(
    lambda effect, negated, action, resource, condition: {
        "Effect": effect,
        "NotAction" if negated and effect == "Deny" else "Action": action,
        "Resource": resource,
        **({"Condition": condition} if condition else {}),
    },
    st.sampled_from(["Allow", "Allow", "Deny"]),
    st.booleans(),
    st.sampled_from(ACTIONS),
    st.sampled_from(RESOURCES),
    st.sampled_from(CONDITIONS),
)
POLICIES = st.lists(STATEMENTS, min_size=1, max_size=3)


def calls_of(local: Any, key: Any, principal: str, iam_read: Callable[[Any], object]) -> dict[tuple[str, str], Any]:
    """Real calls, each under the action and the resource that it needs."""
    s3, iam, cloudtrail = (local.client(name, key) for name in ("s3", "iam", "cloudtrail"))
    return {
        ("s3:ListBucket", f"arn:aws:s3:::{BUCKET}"): lambda: s3.list_objects_v2(Bucket=BUCKET),
        ("s3:GetObject", f"arn:aws:s3:::{BUCKET}/{KEY}"): lambda: s3.get_object(Bucket=BUCKET, Key=KEY),
        (f"iam:Get{principal.split(':')[5].split('/', maxsplit=1)[0].capitalize()}", principal): lambda: iam_read(iam),
        ("cloudtrail:DescribeTrails", "*"): cloudtrail.describe_trails,
    }


def judge(iam: Any, principal: str, calls: Mapping[tuple[str, str], Any], bucket_policy: str) -> None:
    """Each call is simulated first and must come to what the simulator says."""
    transport = {"ContextKeyName": "aws:SecureTransport", "ContextKeyValues": ["false"], "ContextKeyType": "boolean"}
    for (action, resource), call in calls.items():
        owned = {"ResourcePolicy": bucket_policy} if bucket_policy and action.startswith("s3:") else {}
        result = one(
            iam.simulate_principal_policy(
                PolicySourceArn=principal,
                ActionNames=[action],
                ResourceArns=[resource],
                ContextEntries=[transport],
                **owned,
            )
        )
        assert result["EvalDecision"] == outcome_of(call), action


def set_bucket_policy(s3: Any, principals: list[str], data: st.DataObject) -> str:
    """Give the bucket a policy, or none; its text."""
    if not data.draw(st.booleans(), "bucket policy"):
        s3.delete_bucket_policy(Bucket=BUCKET)
        return ""
    statement = {
        "Effect": data.draw(st.sampled_from(["Allow", "Deny"])),
        "Principal": {"AWS": data.draw(st.sampled_from(principals))},
        "Action": data.draw(st.sampled_from(["s3:GetObject", "s3:ListBucket", "s3:*"])),
        "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"],
    }
    text = document(statement)
    s3.put_bucket_policy(Bucket=BUCKET, Policy=text)
    return text


MANY = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture
def bucket(local: Any) -> Any:
    """Root's S3 client, and a bucket with an object."""
    s3 = local.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=b"x")
    return s3


@pytest.fixture
def alice(local: Any, iam: Any) -> tuple[str, Any]:
    """A user in a group: its ARN and its key."""
    key = local.new_user("alice")
    iam.tag_user(UserName="alice", Tags=[{"Key": "Team", "Value": "red"}])
    iam.create_group(GroupName="g")
    iam.add_user_to_group(GroupName="g", UserName="alice")
    return iam.get_user(UserName="alice")["User"]["Arn"], key


@pytest.fixture
def role(local: Any, iam: Any, account: str) -> tuple[str, Any]:
    """A role: its ARN and the key of a session of it."""
    trust = {"Effect": "Allow", "Principal": {"AWS": account}, "Action": "sts:AssumeRole"}
    tags = [{"Key": "Team", "Value": "red"}]
    arn = iam.create_role(RoleName="alice", AssumeRolePolicyDocument=document(trust), Tags=tags)["Role"]["Arn"]
    return arn, assume(local, local.new_user("caller", allow("sts:AssumeRole")), arn)


def assume(local: Any, caller: Any, arn: str) -> Any:
    """The key of a new session of a role."""
    assumed = local.client("sts", caller).assume_role(RoleArn=arn, RoleSessionName="session")["Credentials"]
    return type(caller)(id=assumed["AccessKeyId"], secret=assumed["SecretAccessKey"], token=assumed["SessionToken"])


@MANY
@given(st.data())
def test_what_the_simulator_says_of_a_user_is_what_the_endpoint_does(
    local: Any, iam: Any, bucket: Any, alice: tuple[str, Any], data: st.DataObject
) -> None:
    arn, key = alice
    iam.put_user_policy(UserName="alice", PolicyName="p", PolicyDocument=document(*data.draw(POLICIES, "user")))
    iam.put_group_policy(GroupName="g", PolicyName="p", PolicyDocument=document(*data.draw(POLICIES, "group")))
    if data.draw(st.booleans(), "bounded"):
        iam.put_user_permissions_boundary(UserName="alice", PermissionsBoundary=READ_S3)
    else:
        iam.delete_user_permissions_boundary(UserName="alice")
    bucket_policy = set_bucket_policy(bucket, [arn, arn.split(":")[4]], data)
    calls = calls_of(local, key, arn, lambda client: client.get_user(UserName="alice"))
    judge(iam, arn, calls, bucket_policy)


@MANY
@given(st.data())
def test_what_the_simulator_says_of_a_role_is_what_its_session_may(
    local: Any, iam: Any, bucket: Any, role: tuple[str, Any], data: st.DataObject
) -> None:
    arn, key = role
    iam.put_role_policy(RoleName="alice", PolicyName="p", PolicyDocument=document(*data.draw(POLICIES, "role")))
    if data.draw(st.booleans(), "bounded"):
        iam.put_role_permissions_boundary(RoleName="alice", PermissionsBoundary=READ_S3)
    else:
        iam.delete_role_permissions_boundary(RoleName="alice")
    bucket_policy = set_bucket_policy(bucket, [arn, arn.split(":")[4]], data)
    calls = calls_of(local, key, arn, lambda client: client.get_role(RoleName="alice"))
    judge(iam, arn, calls, bucket_policy)


def test_service_control_policies_of_the_organization_are_part_of_the_simulation(local: Any) -> None:
    organizations = local.client("organizations")
    organizations.create_organization(FeatureSet="ALL")
    (root,) = organizations.list_roots()["Roots"]
    organizations.enable_policy_type(RootId=root["Id"], PolicyType="SERVICE_CONTROL_POLICY")
    created = organizations.create_account(Email="member@example.com", AccountName="member")["CreateAccountStatus"]
    member = organizations.describe_create_account_status(CreateAccountRequestId=created["Id"])["CreateAccountStatus"][
        "AccountId"
    ]
    caller = local.new_user("caller", allow("sts:AssumeRole"))
    arn = f"arn:aws:iam::{member}:role/OrganizationAccountAccessRole"
    key = assume(local, caller, arn)
    iam, cloudtrail = local.client("iam", key), local.client("cloudtrail", key)

    def simulated() -> dict[str, Any]:
        return one(iam.simulate_principal_policy(PolicySourceArn=arn, ActionNames=["cloudtrail:DescribeTrails"]))

    before = simulated()
    assert before["EvalDecision"] == outcome_of(cloudtrail.describe_trails) == "allowed"
    assert before["OrganizationsDecisionDetail"] == {"AllowedByOrganizations": True}
    policy = organizations.create_policy(
        Name="no-trails", Description="", Type="SERVICE_CONTROL_POLICY", Content=document(deny("cloudtrail:*"))
    )["Policy"]["PolicySummary"]["Id"]
    organizations.attach_policy(PolicyId=policy, TargetId=member)
    after = simulated()
    assert after["EvalDecision"] == outcome_of(cloudtrail.describe_trails) == "explicitDeny"
    assert after["OrganizationsDecisionDetail"] == {"AllowedByOrganizations": False}
    without = iam.simulate_principal_policy(
        PolicySourceArn=arn,
        ActionNames=["cloudtrail:DescribeTrails"],
        PolicyExclusionList=[{"PolicyType": "scp"}],
    )
    assert one(without)["EvalDecision"] == "allowed"
