"""What IAM's policies grant, from the next call on: whoever changes them uses another connection than who is judged."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from opentrail.testing.live_server import LiveServer

Fault = Callable[..., dict[str, Any]]
NewName = Callable[[], str]
Policy = Callable[..., str]


class Person:
    """A user with an access key of its own."""

    def __init__(self, live: LiveServer, name: str, **parameters: object) -> None:
        root = live.client("iam")
        self.name = name
        self._live = live
        root.create_user(UserName=name, **parameters)
        made = root.create_access_key(UserName=name)["AccessKey"]
        self._key: Mapping[str, str] = {
            "aws_access_key_id": made["AccessKeyId"],
            "aws_secret_access_key": made["SecretAccessKey"],
        }

    def client(self, service: str) -> Any:
        return self._live.client(service, key=self._key)

    def may_list_buckets(self) -> bool:
        try:
            self.client("s3").list_buckets()
        except ClientError as error:
            if error.response["Error"]["Code"] == "AccessDenied":
                return False
            raise
        return True


@pytest.fixture
def person(live: LiveServer, new_name: NewName) -> Person:
    return Person(live, new_name())


@pytest.fixture
def allowed_to(live: LiveServer, iam: Any, new_name: NewName) -> Callable[..., Any]:
    """An IAM client of a new user to whom these statements are granted."""

    def make(*statements: Mapping[str, object]) -> Any:
        person = Person(live, new_name())
        document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        iam.put_user_policy(UserName=person.name, PolicyName="p", PolicyDocument=document)
        return person.client("iam")

    return make


def test_an_inline_policy(iam: Any, person: Person, policy: Policy) -> None:
    assert not person.may_list_buckets()
    iam.put_user_policy(UserName=person.name, PolicyName="p", PolicyDocument=policy())
    assert person.may_list_buckets()
    iam.put_user_policy(UserName=person.name, PolicyName="q", PolicyDocument=policy(Effect="Deny"))
    assert not person.may_list_buckets()
    iam.delete_user_policy(UserName=person.name, PolicyName="q")
    assert person.may_list_buckets()
    iam.delete_user_policy(UserName=person.name, PolicyName="p")
    assert not person.may_list_buckets()


def test_an_attached_policy_and_its_default_version(
    iam: Any, person: Person, new_name: NewName, policy: Policy
) -> None:
    arn = iam.create_policy(PolicyName=new_name(), PolicyDocument=policy())["Policy"]["Arn"]
    assert not person.may_list_buckets()
    iam.attach_user_policy(UserName=person.name, PolicyArn=arn)
    assert person.may_list_buckets()
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=policy("s3:GetObject"))
    assert person.may_list_buckets()
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v2")
    assert not person.may_list_buckets()
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=policy("s3:*"), SetAsDefault=True)
    assert person.may_list_buckets()
    iam.detach_user_policy(UserName=person.name, PolicyArn=arn)
    assert not person.may_list_buckets()
    iam.attach_user_policy(UserName=person.name, PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
    assert person.may_list_buckets()


def test_what_a_group_is_granted(iam: Any, person: Person, new_name: NewName, policy: Policy) -> None:
    group = new_name()
    arn = iam.create_policy(PolicyName=new_name(), PolicyDocument=policy())["Policy"]["Arn"]
    iam.create_group(GroupName=group)
    iam.put_group_policy(GroupName=group, PolicyName="p", PolicyDocument=policy())
    assert not person.may_list_buckets()
    iam.add_user_to_group(GroupName=group, UserName=person.name)
    assert person.may_list_buckets()
    iam.delete_group_policy(GroupName=group, PolicyName="p")
    assert not person.may_list_buckets()
    iam.attach_group_policy(GroupName=group, PolicyArn=arn)
    assert person.may_list_buckets()
    iam.update_group(GroupName=group, NewGroupName=f"{group}-new")
    iam.update_user(UserName=person.name, NewPath="/elsewhere/")
    assert person.may_list_buckets()
    iam.remove_user_from_group(GroupName=f"{group}-new", UserName=person.name)
    assert not person.may_list_buckets()


def test_a_boundary_limits(iam: Any, person: Person, new_name: NewName, policy: Policy) -> None:
    narrow, wide = (
        iam.create_policy(PolicyName=new_name(), PolicyDocument=policy(action))["Policy"]["Arn"]
        for action in ("s3:GetObject", "s3:*")
    )
    iam.put_user_policy(UserName=person.name, PolicyName="p", PolicyDocument=policy())
    assert person.may_list_buckets()
    iam.put_user_permissions_boundary(UserName=person.name, PermissionsBoundary=narrow)
    assert not person.may_list_buckets()
    iam.put_user_permissions_boundary(UserName=person.name, PermissionsBoundary=wide)
    assert person.may_list_buckets()
    iam.create_policy_version(PolicyArn=wide, PolicyDocument=policy("sts:*"), SetAsDefault=True)
    assert not person.may_list_buckets()
    iam.delete_user_permissions_boundary(UserName=person.name)
    assert person.may_list_buckets()


def test_a_namesake_inherits_nothing(live: LiveServer, iam: Any, new_name: NewName, policy: Policy) -> None:
    name = new_name()
    first = Person(live, name)
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy())
    assert first.may_list_buckets()
    iam.delete_user_policy(UserName=name, PolicyName="p")
    for key in iam.list_access_keys(UserName=name)["AccessKeyMetadata"]:
        iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
    iam.delete_user(UserName=name)
    assert not Person(live, name).may_list_buckets()


def test_permissions_are_for_paths(iam: Any, allowed_to: Any, new_name: NewName, account: str, fault_of: Fault) -> None:
    path = f"/{new_name()}/"
    under = f"arn:aws:iam::{account}:user{path}*"
    client = allowed_to({"Effect": "Allow", "Action": "iam:*", "Resource": under})
    name, other = new_name(), new_name()
    client.create_user(UserName=name, Path=path)
    iam.create_user(UserName=other)
    for operation, parameters in (
        (client.create_user, {"UserName": new_name()}),
        (client.create_user, {"UserName": new_name(), "Path": "/other/"}),
        (client.get_user, {"UserName": other}),
        (client.delete_user, {"UserName": other}),
        (client.update_user, {"UserName": name, "NewPath": "/"}),
        (client.list_users, {}),
        (client.list_groups, {}),
    ):
        assert fault_of(operation, **parameters)["Code"] == "AccessDenied"
    client.update_user(UserName=name, NewPath=f"{path}sub/")
    assert [user["UserName"] for user in client.list_users(PathPrefix=path)["Users"]] == [name]
    client.delete_user(UserName=name)


def test_conditions_on_what_is_attached(iam: Any, allowed_to: Any, new_name: NewName, fault_of: Fault) -> None:
    user, read_only = new_name(), "arn:aws:iam::aws:policy/ReadOnlyAccess"
    iam.create_user(UserName=user)
    client = allowed_to(
        {
            "Effect": "Allow",
            "Action": ["iam:AttachUserPolicy", "iam:DetachUserPolicy"],
            "Resource": "*",
            "Condition": {"ArnEquals": {"iam:PolicyARN": read_only}},
        }
    )
    administrator = "arn:aws:iam::aws:policy/AdministratorAccess"
    client.attach_user_policy(UserName=user, PolicyArn=read_only)
    assert fault_of(client.attach_user_policy, UserName=user, PolicyArn=administrator)["Code"] == "AccessDenied"
    client.detach_user_policy(UserName=user, PolicyArn=read_only)


def test_delegation_within_a_boundary(
    iam: Any, allowed_to: Any, new_name: NewName, policy: Policy, fault_of: Fault
) -> None:
    boundary = iam.create_policy(PolicyName=new_name(), PolicyDocument=policy())["Policy"]["Arn"]
    client = allowed_to(
        {
            "Effect": "Allow",
            "Action": ["iam:CreateUser", "iam:PutUserPolicy", "iam:PutUserPermissionsBoundary"],
            "Resource": "*",
            "Condition": {"StringEquals": {"iam:PermissionsBoundary": boundary}},
        }
    )
    name, free = new_name(), new_name()
    iam.create_user(UserName=free)
    assert fault_of(client.create_user, UserName=name)["Code"] == "AccessDenied"
    client.create_user(UserName=name, PermissionsBoundary=boundary)
    client.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy("*"))
    client.put_user_permissions_boundary(UserName=free, PermissionsBoundary=boundary)
    other = "arn:aws:iam::aws:policy/AdministratorAccess"
    for operation, parameters in (
        (client.put_user_permissions_boundary, {"UserName": name, "PermissionsBoundary": other}),
        (client.delete_user_permissions_boundary, {"UserName": name}),
        (client.create_user, {"UserName": new_name(), "PermissionsBoundary": other}),
    ):
        assert fault_of(operation, **parameters)["Code"] == "AccessDenied"


def test_conditions_on_tags(iam: Any, allowed_to: Any, new_name: NewName, fault_of: Fault) -> None:
    mine, theirs = new_name(), new_name()
    iam.create_user(UserName=mine, Tags=[{"Key": "Team", "Value": "a"}])
    iam.create_user(UserName=theirs, Tags=[{"Key": "Team", "Value": "b"}])
    client = allowed_to(
        {
            "Effect": "Allow",
            "Action": ["iam:GetUser", "iam:CreateAccessKey"],
            "Resource": "*",
            "Condition": {"StringEquals": {"iam:ResourceTag/team": "a"}},
        },
        {
            "Effect": "Allow",
            "Action": ["iam:CreateUser", "iam:TagUser"],
            "Resource": "*",
            "Condition": {"StringEquals": {"aws:RequestTag/Team": "a"}},
        },
    )
    client.get_user(UserName=mine)
    assert fault_of(client.get_user, UserName=theirs)["Code"] == "AccessDenied"
    client.create_user(UserName=new_name(), Tags=[{"Key": "Team", "Value": "a"}])
    assert fault_of(client.create_user, UserName=new_name())["Code"] == "AccessDenied"
    fault = fault_of(client.create_user, UserName=new_name(), Tags=[{"Key": "Team", "Value": "b"}])
    assert fault["Code"] == "AccessDenied"


def test_who_hands_a_role_to_machines_must_pass_it(
    iam: Any, allowed_to: Any, new_name: NewName, trust: Callable[..., str], fault_of: Fault
) -> None:
    role, profile = new_name(), new_name()
    made = iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust(Service="ec2.amazonaws.com"))["Role"]
    iam.create_instance_profile(InstanceProfileName=profile)
    adding = {"Effect": "Allow", "Action": "iam:AddRoleToInstanceProfile", "Resource": "*"}
    passing = {
        "Effect": "Allow",
        "Action": "iam:PassRole",
        "Resource": made["Arn"],
        "Condition": {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
    }
    call = {"InstanceProfileName": profile, "RoleName": role}
    assert fault_of(allowed_to(adding).add_role_to_instance_profile, **call)["Code"] == "AccessDenied"
    allowed_to(adding, passing).add_role_to_instance_profile(**call)


def test_policies_are_listed_to_who_may_list_all(allowed_to: Any, account: str, fault_of: Fault) -> None:
    all_policies = {"Effect": "Allow", "Action": "iam:ListPolicies", "Resource": "*"}
    some_policies = {**all_policies, "Resource": f"arn:aws:iam::{account}:policy/*"}
    assert allowed_to(all_policies).list_policies(Scope="AWS")["Policies"]
    assert fault_of(allowed_to(some_policies).list_policies)["Code"] == "AccessDenied"
