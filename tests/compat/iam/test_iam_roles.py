"""Roles: their settings, and whom they trust."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from opentrail.testing.live_server import LiveServer

Fault = Callable[..., dict[str, Any]]
NewName = Callable[[], str]
Trust = Callable[..., str]


def test_settings(iam: Any, new_name: NewName, trust: Trust, fault_of: Fault) -> None:
    name, document = new_name(), trust(Service="ec2.amazonaws.com")
    made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]
    assert made["AssumeRolePolicyDocument"] == json.loads(document)
    role = iam.get_role(RoleName=name)["Role"]
    assert (role["MaxSessionDuration"], role["RoleLastUsed"], "Description" in role) == (3600, {}, False)
    iam.update_role(RoleName=name, Description="what for", MaxSessionDuration=43_200)
    iam.update_role(RoleName=name)
    role = iam.get_role(RoleName=name)["Role"]
    assert (role["MaxSessionDuration"], role["Description"]) == (43_200, "what for")
    assert iam.update_role_description(RoleName=name, Description="new")["Role"]["Description"] == "new"
    iam.update_role(RoleName=name, Description="")
    role = iam.get_role(RoleName=name)["Role"]
    assert (role["MaxSessionDuration"], "Description" in role) == (43_200, False)
    fault = fault_of(iam.update_role, RoleName=name, MaxSessionDuration=43_201)  # botocore itself minds the minimum
    assert (fault["Code"], fault["Status"]) == ("ValidationError", 400)
    listed = next(each for each in iam.list_roles(MaxItems=1000)["Roles"] if each["RoleName"] == name)
    assert listed["AssumeRolePolicyDocument"] == json.loads(document)
    assert "RoleLastUsed" not in listed


def test_another_trust_policy(iam: Any, new_name: NewName, trust: Trust, account: str, fault_of: Fault) -> None:
    name, root = new_name(), f"arn:aws:iam::{account}:root"
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust(Service="ec2.amazonaws.com"))
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=trust(AWS=root))
    assert iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"] == json.loads(trust(AWS=root))
    fault = fault_of(iam.update_assume_role_policy, RoleName=name, PolicyDocument="{}")
    assert (fault["Code"], fault["Status"]) == ("MalformedPolicyDocument", 400)
    assert iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"] == json.loads(trust(AWS=root))
    assert fault_of(iam.update_assume_role_policy, RoleName="none", PolicyDocument=trust(AWS=root))["Status"] == 404


@pytest.mark.parametrize(
    "action", ["s3:GetObject", "*", "sts:TagSessions", "sts:GetCallerIdentity", ["sts:AssumeRole", "s3:*"]]
)
def test_a_trust_policy_is_about_assuming(iam: Any, new_name: NewName, fault_of: Fault, action: object) -> None:
    statement = {"Effect": "Allow", "Principal": "*", "Action": action}
    document = json.dumps({"Version": "2012-10-17", "Statement": statement})
    fault = fault_of(iam.create_role, RoleName=new_name(), AssumeRolePolicyDocument=document)
    assert (fault["Code"], fault["Message"]) == (
        "MalformedPolicyDocument",
        "AssumeRole policy may only specify STS AssumeRole actions.",
    )


@pytest.mark.parametrize(
    "action", ["sts:*", "STS:AssumeRole*", ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]]
)
def test_what_a_trust_policy_may_allow(iam: Any, new_name: NewName, action: object) -> None:
    statement = {"Effect": "Allow", "Principal": "*", "Action": action}
    document = json.dumps({"Version": "2012-10-17", "Statement": statement})
    iam.create_role(RoleName=new_name(), AssumeRolePolicyDocument=document)


def test_a_trust_policy_has_no_resource_and_a_size(iam: Any, new_name: NewName, trust: Trust, fault_of: Fault) -> None:
    statement = {"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": statement})
    fault = fault_of(iam.create_role, RoleName=new_name(), AssumeRolePolicyDocument=document)
    assert (fault["Code"], fault["Message"]) == ("MalformedPolicyDocument", "Has prohibited field Resource")
    accounts = [f"{number:012}" for number in range(150)]
    fault = fault_of(iam.create_role, RoleName=new_name(), AssumeRolePolicyDocument=trust(AWS=accounts))
    assert (fault["Code"], fault["Status"]) == ("LimitExceeded", 409)
    assert fault["Message"] == "Cannot exceed quota for ACLSizePerRole: 2048"


def test_who_is_trusted_must_exist(iam: Any, new_name: NewName, trust: Trust, account: str, fault_of: Fault) -> None:
    user, role = new_name(), new_name()
    iam.create_user(UserName=user, Path="/p/")
    for principal in (
        f"arn:aws:iam::{account}:user/none",
        f"arn:aws:iam::{account}:role/none",
        f"arn:aws:iam::{account}:user/{user}",  # its path is another
        f"arn:aws:iam::{account}:user/p/{user.lower()}",  # ARNs mind the case
        f"arn:aws:iam::210987654321:user/p/{user}",
        "AIDAAAAAAAAAAAAAAAAAA",
    ):
        fault = fault_of(iam.create_role, RoleName=role, AssumeRolePolicyDocument=trust(AWS=principal))
        assert (fault["Code"], fault["Message"]) == (
            "MalformedPolicyDocument",
            f'Invalid principal in policy: "AWS":"{principal}"',
        )
    document = trust(AWS=f"arn:aws:iam::{account}:user/p/{user}")
    made = iam.create_role(RoleName=role, AssumeRolePolicyDocument=document)["Role"]
    assert made["AssumeRolePolicyDocument"] == json.loads(document)


def test_a_namesake_is_not_trusted(iam: Any, new_name: NewName, trust: Trust, account: str) -> None:
    def trusted() -> str:
        document = iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
        principal: str = document["Statement"][0]["Principal"]["AWS"]
        return principal

    user, renamed, role = new_name(), new_name(), new_name()
    user_id = iam.create_user(UserName=user)["User"]["UserId"]
    arn = f"arn:aws:iam::{account}:user/{user}"
    iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust(AWS=arn))
    iam.update_user(UserName=user, NewUserName=renamed)
    assert trusted() == f"arn:aws:iam::{account}:user/{renamed}"
    iam.delete_user(UserName=renamed)
    assert trusted() == user_id
    iam.create_user(UserName=renamed)
    assert trusted() == user_id
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=trust(AWS=f"arn:aws:iam::{account}:user/{renamed}"))
    assert trusted() == f"arn:aws:iam::{account}:user/{renamed}"


@pytest.fixture
def assume(live: LiveServer, iam: Any, new_name: NewName) -> Callable[[str], Callable[[str], Any]]:
    """A function that makes a user of a name who may assume any role; it gives one that assumes one."""

    def make(user: str) -> Callable[[str], Any]:
        iam.create_user(UserName=user)
        statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=document)
        made = iam.create_access_key(UserName=user)["AccessKey"]
        key = {"aws_access_key_id": made["AccessKeyId"], "aws_secret_access_key": made["SecretAccessKey"]}
        return lambda role_arn: live.client("sts", key=key).assume_role(RoleArn=role_arn, RoleSessionName=new_name())

    return make


def delete_user(iam: Any, user: str) -> None:
    for key in iam.list_access_keys(UserName=user)["AccessKeyMetadata"]:
        iam.delete_access_key(UserName=user, AccessKeyId=key["AccessKeyId"])
    iam.delete_user_policy(UserName=user, PolicyName="p")
    iam.delete_user(UserName=user)


def test_a_namesake_cannot_assume(iam: Any, new_name: NewName, trust: Trust, assume: Any, fault_of: Fault) -> None:
    user, role = new_name(), new_name()
    assume_as = assume(user)
    arn = iam.get_user(UserName=user)["User"]["Arn"]
    made = iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust(AWS=arn))["Role"]
    assume_as(made["Arn"])
    delete_user(iam, user)
    assert fault_of(lambda: assume(user)(made["Arn"]))["Code"] == "AccessDenied"
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=trust(AWS=arn))
    fault = fault_of(lambda: assume_as(made["Arn"]))  # the key of the user that is gone
    assert fault["Code"] == "InvalidClientTokenId"


def test_when_a_role_was_last_used(live: LiveServer, iam: Any, new_name: NewName, trust: Trust, assume: Any) -> None:
    role = new_name()
    account = live.client("sts").get_caller_identity()["Account"]
    made = iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust(AWS=account))["Role"]
    credentials = assume(new_name())(made["Arn"])["Credentials"]
    assert iam.get_role(RoleName=role)["Role"]["RoleLastUsed"] == {}
    session = {
        "aws_access_key_id": credentials["AccessKeyId"],
        "aws_secret_access_key": credentials["SecretAccessKey"],
        "aws_session_token": credentials["SessionToken"],
    }
    before = datetime.now(UTC).replace(microsecond=0)
    live.client("sts", "eu-west-1", session).get_caller_identity()
    used = iam.get_role(RoleName=role)["Role"]["RoleLastUsed"]
    assert used["Region"] == "eu-west-1"
    assert before <= used["LastUsedDate"] <= datetime.now(UTC)
