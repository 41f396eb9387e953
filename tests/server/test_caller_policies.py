"""Every kind of policy bears on the very next call: boundaries, sessions, service control policies, conditions."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from opentrail.core.policy import PolicyType
from opentrail.core.recording.sharing import copy_event_id
from opentrail.server.caller_policies import CompiledPolicies
from opentrail.server.decision_log import DECISIONS
from opentrail.server.explanation import explain_event

ADMIN = {"Effect": "Allow", "Action": "*", "Resource": "*"}
READ_ONLY = "arn:aws:iam::aws:policy/ReadOnlyAccess"


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def refusal(call: Callable[..., Any], **parameters: Any) -> str:
    """What the refusal of a call says."""
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    error = caught.value.response["Error"]
    assert error["Code"] in {"AccessDenied", "AccessDeniedException"}, error
    return str(error["Message"])


@pytest.fixture
def session_of(local: Any) -> Callable[[dict[str, Any]], Any]:
    """A key of the test's kind with the credentials of an STS answer."""

    def make(answer: dict[str, Any]) -> Any:
        given = answer["Credentials"]
        return type(local.key)(id=given["AccessKeyId"], secret=given["SecretAccessKey"], token=given["SessionToken"])

    return make


@pytest.fixture
def admin(local: Any) -> Any:
    return local.new_user("admin", ADMIN)


def test_compiled_policies_fill_no_memory() -> None:
    texts = [document({**ADMIN, "Sid": f"S{number}"}) for number in range(10)]
    compiled = CompiledPolicies(3 * len(texts[0]))
    first = [compiled.compile(text, PolicyType.IDENTITY) for text in texts]
    again = [compiled.compile(text, PolicyType.IDENTITY) for text in reversed(texts)]
    assert [old is new for old, new in zip(first, reversed(again), strict=True)] == [False] * 7 + [True] * 3


def new_role(local: Any, name: str, account_id: str, *statements: dict[str, Any]) -> str:
    """The ARN of a role that ``account_id`` may assume and that may do what ``statements`` say."""
    iam = local.client("iam")
    trust = document({"Effect": "Allow", "Principal": {"AWS": account_id}, "Action": "sts:AssumeRole"})
    arn: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    if statements:
        iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=document(*statements))
    return arn


def test_groups_and_managed_policies_grant_and_stop_granting(local: Any) -> None:
    iam = local.client("iam")
    theirs = local.client("s3", local.new_user("alice"))
    refusal(theirs.list_buckets)
    iam.create_group(GroupName="readers")
    iam.attach_group_policy(GroupName="readers", PolicyArn=READ_ONLY)
    iam.add_user_to_group(GroupName="readers", UserName="alice")
    theirs.list_buckets()
    iam.detach_group_policy(GroupName="readers", PolicyArn=READ_ONLY)
    refusal(theirs.list_buckets)
    iam.attach_user_policy(UserName="alice", PolicyArn=READ_ONLY)
    theirs.list_buckets()
    iam.remove_user_from_group(GroupName="readers", UserName="alice")
    iam.detach_user_policy(UserName="alice", PolicyArn=READ_ONLY)
    refusal(theirs.list_buckets)


def test_a_boundary_limits_from_the_next_call_on(local: Any, admin: Any) -> None:
    iam, theirs = local.client("iam"), local.client("s3", admin)
    theirs.create_bucket(Bucket="bkt")
    iam.put_user_permissions_boundary(UserName="admin", PermissionsBoundary=READ_ONLY)
    assert refusal(theirs.put_object, Bucket="bkt", Key="k").endswith(
        "because no permissions boundary allows the s3:PutObject action"
    )
    theirs.list_buckets()
    iam.delete_user_permissions_boundary(UserName="admin")
    theirs.put_object(Bucket="bkt", Key="k")


def test_a_key_that_is_switched_off_or_deleted(local: Any, admin: Any) -> None:
    iam, theirs = local.client("iam"), local.client("s3", admin)
    theirs.list_buckets()
    iam.update_access_key(UserName="admin", AccessKeyId=admin.id, Status="Inactive")
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        theirs.list_buckets()
    iam.update_access_key(UserName="admin", AccessKeyId=admin.id, Status="Active")
    theirs.list_buckets()
    iam.delete_access_key(UserName="admin", AccessKeyId=admin.id)
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        theirs.list_buckets()


def test_a_session_policy_limits_a_role(local: Any, admin: Any, session_of: Any) -> None:
    account = local.runtime.account_id
    arn = new_role(local, "app", account, ADMIN)
    assume = local.client("sts", admin).assume_role
    s3 = local.client("s3", session_of(assume(RoleArn=arn, RoleSessionName="free")))
    s3.create_bucket(Bucket="bkt")
    policy = document({"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"})
    limited = local.client("s3", session_of(assume(RoleArn=arn, RoleSessionName="tied", Policy=policy)))
    limited.list_buckets()
    assert "because no session policy allows" in refusal(limited.put_object, Bucket="bkt", Key="k")
    managed = session_of(assume(RoleArn=arn, RoleSessionName="reads", PolicyArns=[{"arn": READ_ONLY}]))
    local.client("s3", managed).list_objects_v2(Bucket="bkt")
    assert "because no session policy allows" in refusal(local.client("s3", managed).put_object, Bucket="bkt", Key="k")


def test_a_role_that_is_deleted_ends_its_sessions(local: Any, admin: Any, session_of: Any) -> None:
    arn = new_role(local, "app", local.runtime.account_id, ADMIN)
    session = session_of(local.client("sts", admin).assume_role(RoleArn=arn, RoleSessionName="session"))
    s3, iam = local.client("s3", session), local.client("iam")
    s3.list_buckets()
    iam.delete_role_policy(RoleName="app", PolicyName="p")
    refusal(s3.list_buckets)
    iam.delete_role(RoleName="app")
    with pytest.raises(ClientError):
        s3.list_buckets()


def test_sessions_of_users_and_federated_users(local: Any, session_of: Any) -> None:
    list_only = {"Effect": "Allow", "Action": ["s3:ListAllMyBuckets", "sts:GetFederationToken"], "Resource": "*"}
    alice = local.new_user("alice", list_only)
    sts = local.client("sts", alice)
    own = local.client("s3", session_of(sts.get_session_token()))
    own.list_buckets()
    assert "no identity-based policy" in refusal(own.create_bucket, Bucket="bkt")
    bare = local.client("s3", session_of(sts.get_federation_token(Name="bob")))
    assert "because no session policy allows" in refusal(bare.list_buckets)
    given = local.client("s3", session_of(sts.get_federation_token(Name="bob", Policy=document(ADMIN))))
    given.list_buckets()
    assert "no identity-based policy" in refusal(given.create_bucket, Bucket="bkt")
    rooted = local.client("sts").get_federation_token(Name="carol", Policy=document(ADMIN))
    local.client("s3", session_of(rooted)).create_bucket(Bucket="bkt")
    local.client("iam").delete_user_policy(UserName="alice", PolicyName="p")
    for client in (own, given):
        assert "no identity-based policy" in refusal(client.list_buckets)


@pytest.fixture
def member(local: Any, admin: Any, session_of: Any) -> Any:
    """A session that may do everything in an account of the first account's organization, and the account's id."""
    organizations = local.client("organizations")
    organizations.create_organization()
    organizations.enable_policy_type(
        RootId=organizations.list_roots()["Roots"][0]["Id"], PolicyType="SERVICE_CONTROL_POLICY"
    )
    request = organizations.create_account(AccountName="second", Email="second@example.com")["CreateAccountStatus"]
    deadline = time.monotonic() + 10
    while request["State"] == "IN_PROGRESS":
        assert time.monotonic() < deadline
        request = organizations.describe_create_account_status(CreateAccountRequestId=request["Id"])[
            "CreateAccountStatus"
        ]
    account = request["AccountId"]
    arn = f"arn:aws:iam::{account}:role/OrganizationAccountAccessRole"
    return account, session_of(local.client("sts", admin).assume_role(RoleArn=arn, RoleSessionName="session"))


def attach(local: Any, target: str, **statement: Any) -> str:
    organizations = local.client("organizations")
    made = organizations.create_policy(
        Name="limit", Description="", Type="SERVICE_CONTROL_POLICY", Content=document(statement)
    )
    summary = made["Policy"]["PolicySummary"]
    organizations.attach_policy(PolicyId=summary["Id"], TargetId=target)
    return str(summary["Arn"])


def test_a_service_control_policy_binds_a_member(local: Any, member: Any) -> None:
    account, key = member
    s3, organizations = local.client("s3", key), local.client("organizations")
    s3.create_bucket(Bucket="theirs")
    arn = attach(local, account, Sid="No", Effect="Deny", Action="s3:PutObject", Resource="*")
    message = refusal(s3.put_object, Bucket="theirs", Key="k")
    assert message.endswith(f"with an explicit deny in a service control policy: {arn}")
    organizations.detach_policy(PolicyId=arn.rpartition("/")[2], TargetId=account)
    s3.put_object(Bucket="theirs", Key="k")
    root = organizations.list_roots()["Roots"][0]["Id"]
    only = attach_only(organizations, root)
    assert refusal(s3.list_buckets).endswith("because no service control policy allows the s3:ListAllMyBuckets action")
    local.client("s3").list_buckets()  # the management account is not bound
    organizations.attach_policy(PolicyId="p-FullAWSAccess", TargetId=root)
    s3.list_buckets()
    assert only


def attach_only(organizations: Any, target: str) -> str:
    """Leave ``target`` with a policy that allows IAM alone."""
    content = document({"Effect": "Allow", "Action": "iam:*", "Resource": "*"})
    made = organizations.create_policy(Name="only", Description="", Type="SERVICE_CONTROL_POLICY", Content=content)[
        "Policy"
    ]["PolicySummary"]["Id"]
    organizations.attach_policy(PolicyId=made, TargetId=target)
    organizations.detach_policy(PolicyId="p-FullAWSAccess", TargetId=target)
    return str(made)


def test_a_bucket_for_the_whole_organization(local: Any, member: Any) -> None:
    _, key = member
    mine, theirs = local.client("s3"), local.client("s3", key)
    mine.create_bucket(Bucket="shared")
    mine.put_object(Bucket="shared", Key="k", Body=b"x")
    assert "because no resource-based policy allows" in refusal(theirs.get_object, Bucket="shared", Key="k")
    organization = local.client("organizations").describe_organization()["Organization"]["Id"]
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::shared/*",
        "Condition": {
            "StringEquals": {"aws:PrincipalOrgID": organization},
            "ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": f"{organization}/r-*/"},
        },
    }
    mine.delete_public_access_block(Bucket="shared")
    mine.put_bucket_policy(Bucket="shared", Policy=document(statement))
    assert theirs.get_object(Bucket="shared", Key="k")["Body"].read() == b"x"


def test_both_sides_of_a_call_find_its_explanation(local: Any, member: Any) -> None:
    _, key = member
    local.client("s3").create_bucket(Bucket="shared")
    refusal(local.client("s3", key).list_objects_v2, Bucket="shared")
    record = next(each for each in local.records() if "sharedEventID" in each and each["eventName"] == "ListObjects")
    local.runtime.decisions.flush()
    shared = record["sharedEventID"]
    for event_id in (record["eventID"], shared, copy_event_id(shared, local.runtime.account_id)):
        found = explain_event(local.runtime.settings.data_dir / DECISIONS, event_id)
        assert found is not None
        assert (found["eventID"], found["allowed"]) == (record["eventID"], False)
        (decision,) = found["decisions"]
        assert decision["resourceAccount"] == local.runtime.account_id
        assert [each["kind"] for each in decision["missing"]] == ["resource-based policy"]
        assert decision["context"]["aws:resourceorgid"] == decision["context"]["aws:principalorgid"]


@pytest.mark.parametrize(
    ("condition", "allowed"),
    [
        ({"StringEquals": {"aws:RequestedRegion": "us-east-1"}}, True),
        ({"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}, False),
        ({"Bool": {"aws:SecureTransport": "true"}}, False),
        ({"Bool": {"aws:ViaAWSService": "false"}}, True),
        ({"Bool": {"aws:PrincipalIsAWSService": "false"}}, True),
        ({"Null": {"aws:CalledVia": "true"}}, True),
        ({"StringLike": {"aws:UserAgent": "Boto3/*"}}, True),
        ({"StringEquals": {"s3:authType": "REST-HEADER", "s3:signatureversion": "AWS4-HMAC-SHA256"}}, True),
        ({"NumericLessThan": {"s3:signatureAge": "600000"}}, True),
        ({"StringEquals": {"s3:prefix": "home/"}}, True),
        ({"StringEquals": {"s3:prefix": "away/"}}, False),
        ({"StringEquals": {"s3:delimiter": "/"}}, True),
        ({"NumericLessThanEquals": {"s3:max-keys": "10"}}, True),
        ({"NumericLessThanEquals": {"s3:max-keys": "9"}}, False),
        ({"StringEquals": {"aws:ResourceAccount": "${aws:PrincipalAccount}"}}, True),
        ({"Null": {"aws:ResourceOrgID": "true", "aws:PrincipalOrgID": "true"}}, True),
        ({"StringEquals": {"s3:x-amz-content-sha256": "UNSIGNED-PAYLOAD"}}, False),
        ({"Null": {"s3:TlsVersion": "true"}}, True),
    ],
)
def test_condition_keys_of_the_call(local: Any, condition: dict[str, Any], allowed: bool) -> None:
    local.client("s3").create_bucket(Bucket="bkt")
    statement = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*", "Condition": condition}
    s3 = local.client("s3", local.new_user("alice", statement))
    asked = {"Bucket": "bkt", "Prefix": "home/", "Delimiter": "/", "MaxKeys": 10}
    if allowed:
        s3.list_objects_v2(**asked)
    else:
        refusal(s3.list_objects_v2, **asked)


def test_condition_keys_of_iam(local: Any) -> None:
    only = {"ArnEquals": {"iam:PolicyARN": READ_ONLY}}
    tagged = {"StringEquals": {"aws:ResourceTag/team": "blue"}}
    alice = local.new_user(
        "alice",
        {"Effect": "Allow", "Action": "iam:AttachUserPolicy", "Resource": "*", "Condition": only},
        {"Effect": "Allow", "Action": "iam:DeleteUser", "Resource": "*", "Condition": tagged},
    )
    iam, theirs = local.client("iam"), local.client("iam", alice)
    for name, team in (("blue", "blue"), ("red", "red")):
        iam.create_user(UserName=name, Tags=[{"Key": "team", "Value": team}])
    refusal(theirs.attach_user_policy, UserName="red", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
    theirs.attach_user_policy(UserName="red", PolicyArn=READ_ONLY)
    refusal(theirs.delete_user, UserName="red")
    theirs.delete_user(UserName="blue")
