"""Managed policies, their versions, and who uses them."""

import json
from collections.abc import Callable
from typing import Any

import pytest

Fault = Callable[..., dict[str, Any]]
NewName = Callable[[], str]
Policy = Callable[..., str]
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"


@pytest.fixture
def new_policy(iam: Any, new_name: NewName, policy: Policy) -> Callable[..., str]:
    """Make a policy; its ARN."""

    def make(**parameters: object) -> str:
        made = iam.create_policy(**{"PolicyName": new_name(), "PolicyDocument": policy(), **parameters})
        arn: str = made["Policy"]["Arn"]
        return arn

    return make


def test_a_policy_comes_and_goes(iam: Any, new_name: NewName, policy: Policy, account: str, fault_of: Fault) -> None:
    name, tags = new_name(), [{"Key": "a", "Value": "b"}]
    made = iam.create_policy(PolicyName=name, Path="/p/q/", PolicyDocument=policy(), Description="what for", Tags=tags)[
        "Policy"
    ]
    assert made["Arn"] == f"arn:aws:iam::{account}:policy/p/q/{name}"
    assert made["PolicyId"].startswith("ANPA")
    assert (made["DefaultVersionId"], made["AttachmentCount"], made["IsAttachable"]) == ("v1", 0, True)
    found = iam.get_policy(PolicyArn=made["Arn"])["Policy"]
    assert found == {**made, "Description": "what for"}
    iam.get_waiter("policy_exists").wait(PolicyArn=made["Arn"], WaiterConfig={"Delay": 1, "MaxAttempts": 1})
    fault = fault_of(iam.create_policy, PolicyName=name.upper(), PolicyDocument=policy())
    assert (fault["Code"], fault["Status"]) == ("EntityAlreadyExists", 409)
    assert fault["Message"] == f"A policy called {name.upper()} already exists. Duplicate names are not allowed."
    iam.delete_policy(PolicyArn=made["Arn"])
    for operation in (iam.get_policy, iam.delete_policy, iam.list_policy_versions, iam.list_policy_tags):
        fault = fault_of(operation, PolicyArn=made["Arn"])
        assert (fault["Code"], fault["Status"]) == ("NoSuchEntity", 404)
        assert fault["Message"] == f"Policy {made['Arn']} was not found."


def test_tags_of_a_policy(iam: Any, new_policy: Callable[..., str]) -> None:
    arn = new_policy(Tags=[{"Key": "a", "Value": "1"}])
    iam.tag_policy(PolicyArn=arn, Tags=[{"Key": "b", "Value": "2"}])
    iam.untag_policy(PolicyArn=arn, TagKeys=["A"])
    assert iam.list_policy_tags(PolicyArn=arn)["Tags"] == [{"Key": "b", "Value": "2"}]
    assert iam.get_policy(PolicyArn=arn)["Policy"]["Tags"] == [{"Key": "b", "Value": "2"}]


def test_versions(iam: Any, new_policy: Callable[..., str], policy: Policy, fault_of: Fault) -> None:
    arn = new_policy()

    def default() -> str:
        version: str = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        return version

    made = iam.create_policy_version(PolicyArn=arn, PolicyDocument=policy("s3:*"))["PolicyVersion"]
    assert (made["VersionId"], made["IsDefaultVersion"], default()) == ("v2", False, "v1")
    made = iam.create_policy_version(PolicyArn=arn, PolicyDocument=policy("sts:*"), SetAsDefault=True)["PolicyVersion"]
    assert (made["VersionId"], made["IsDefaultVersion"], default()) == ("v3", True, "v3")
    found = iam.get_policy_version(PolicyArn=arn, VersionId="v2")["PolicyVersion"]
    assert found["Document"] == json.loads(policy("s3:*"))
    fault = fault_of(iam.delete_policy_version, PolicyArn=arn, VersionId="v3")
    assert (fault["Code"], fault["Message"]) == ("DeleteConflict", "Cannot delete the default version of a policy.")
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v1")
    iam.delete_policy_version(PolicyArn=arn, VersionId="v3")
    for _ in range(3):
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=policy())
    fault = fault_of(iam.create_policy_version, PolicyArn=arn, PolicyDocument=policy())
    assert (fault["Code"], fault["Status"]) == ("LimitExceeded", 409)
    assert "up to 5 versions" in fault["Message"]
    pages = list(iam.get_paginator("list_policy_versions").paginate(PolicyArn=arn, PaginationConfig={"PageSize": 2}))
    listed = [[version["VersionId"] for version in page["Versions"]] for page in pages]
    assert listed == [["v6", "v5"], ["v4", "v2"], ["v1"]]  # v3 is never given again
    assert "Document" not in pages[0]["Versions"][0]
    fault = fault_of(iam.delete_policy, PolicyArn=arn)
    assert (fault["Code"], fault["Status"]) == ("DeleteConflict", 409)
    assert "more than one version" in fault["Message"]
    for version in ("v3", "v99"):
        for operation in (iam.get_policy_version, iam.set_default_policy_version, iam.delete_policy_version):
            fault = fault_of(operation, PolicyArn=arn, VersionId=version)
            assert (fault["Code"], fault["Message"]) == (
                "NoSuchEntity",
                f"Policy {arn} version {version} does not exist or is not attachable.",
            )
    assert fault_of(iam.get_policy_version, PolicyArn=arn, VersionId="1")["Code"] == "ValidationError"


def test_the_size_of_a_policy(
    iam: Any, new_name: NewName, new_policy: Callable[..., str], policy: Policy, fault_of: Fault
) -> None:
    empty = len(policy(Sid="").replace(" ", ""))
    largest = policy(Sid="a" * (6144 - empty)).replace(" ", " \n\t ")
    arn = new_policy(PolicyDocument=largest)
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=largest)
    larger = largest.replace("aaa", "aaaa", 1)
    for refused in (
        fault_of(iam.create_policy, PolicyName=new_name(), PolicyDocument=larger),
        fault_of(iam.create_policy_version, PolicyArn=arn, PolicyDocument=larger),
    ):
        assert (refused["Code"], refused["Status"]) == ("LimitExceeded", 409)
        assert refused["Message"] == "Cannot exceed quota for PolicySize: 6144"
    for operation, named in (
        (iam.create_policy, {"PolicyName": new_name()}),
        (iam.create_policy_version, {"PolicyArn": arn}),
    ):
        fault = fault_of(operation, PolicyDocument='{"Version": "2012-10-17"}', **named)
        assert (fault["Code"], fault["Status"]) == ("MalformedPolicyDocument", 400)


def test_lists_of_policies(iam: Any, new_name: NewName, new_policy: Callable[..., str]) -> None:
    path, user = f"/{new_name()}/", new_name()
    attached, boundary, unused = (new_policy(Path=path) for _ in range(3))
    iam.create_user(UserName=user, PermissionsBoundary=boundary)
    iam.attach_user_policy(UserName=user, PolicyArn=attached)

    def listed(**parameters: object) -> list[str]:
        pages = iam.get_paginator("list_policies").paginate(**parameters, PaginationConfig={"PageSize": 2})
        return [policy["Arn"] for page in pages for policy in page["Policies"]]

    assert set(listed(PathPrefix=path)) == {attached, boundary, unused}
    assert listed(PathPrefix=path, OnlyAttached=True) == [attached]
    assert listed(PathPrefix=path, PolicyUsageFilter="PermissionsPolicy") == [attached]
    assert listed(PathPrefix=path, PolicyUsageFilter="PermissionsBoundary") == [boundary]
    assert listed(PathPrefix=path, Scope="AWS") == []
    aws, local = listed(Scope="AWS"), listed(Scope="Local")
    assert ADMINISTRATOR in aws
    assert {arn.split(":")[4] for arn in aws} == {"aws"}
    assert attached in local
    assert sorted(listed(Scope="All")) == sorted(listed()) == sorted([*aws, *local])


def test_who_uses_a_policy(
    iam: Any, new_name: NewName, new_policy: Callable[..., str], trust: Callable[..., str], fault_of: Fault
) -> None:
    arn, path = new_policy(), f"/{new_name()}/"
    users, group, role, bounded = sorted([new_name(), new_name()]), new_name(), new_name(), new_name()
    for user in users:
        iam.create_user(UserName=user, Path=path)
        iam.attach_user_policy(UserName=user, PolicyArn=arn)
    iam.create_group(GroupName=group)
    iam.attach_group_policy(GroupName=group, PolicyArn=arn)
    document = trust(Service="ec2.amazonaws.com")
    iam.create_role(RoleName=role, AssumeRolePolicyDocument=document)
    iam.attach_role_policy(RoleName=role, PolicyArn=arn)
    iam.create_role(RoleName=bounded, AssumeRolePolicyDocument=document, PermissionsBoundary=arn)

    def named(**parameters: object) -> dict[str, list[str]]:
        pages = list(
            iam.get_paginator("list_entities_for_policy").paginate(
                PolicyArn=arn, **parameters, PaginationConfig={"PageSize": 2}
            )
        )
        return {
            noun: [entity[f"{noun}Name"] for page in pages for entity in page[f"Policy{noun}s"]]
            for noun in ("User", "Group", "Role")
        }

    assert named() == {"User": users, "Group": [group], "Role": sorted([role, bounded])}
    assert named(EntityFilter="Role") == {"User": [], "Group": [], "Role": sorted([role, bounded])}
    assert named(PolicyUsageFilter="PermissionsPolicy") == {"User": users, "Group": [group], "Role": [role]}
    assert named(PolicyUsageFilter="PermissionsBoundary") == {"User": [], "Group": [], "Role": [bounded]}
    assert named(PathPrefix=path) == {"User": users, "Group": [], "Role": []}
    found = iam.get_policy(PolicyArn=arn)["Policy"]
    assert (found["AttachmentCount"], found["PermissionsBoundaryUsageCount"]) == (4, 1)
    assert fault_of(iam.delete_policy, PolicyArn=arn)["Code"] == "DeleteConflict"


def test_aws_managed_policies_can_be_read_but_not_changed(iam: Any, policy: Policy, fault_of: Fault) -> None:
    found = iam.get_policy(PolicyArn=ADMINISTRATOR)["Policy"]
    assert found["PolicyName"] == "AdministratorAccess"
    version = iam.get_policy_version(PolicyArn=ADMINISTRATOR, VersionId=found["DefaultVersionId"])["PolicyVersion"]
    assert version["Document"]["Statement"] == [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
    for operation, parameters in (
        (iam.delete_policy, {}),
        (iam.create_policy_version, {"PolicyDocument": policy()}),
        (iam.set_default_policy_version, {"VersionId": "v1"}),
        (iam.delete_policy_version, {"VersionId": "v1"}),
        (iam.tag_policy, {"Tags": [{"Key": "a", "Value": "b"}]}),
    ):
        fault = fault_of(operation, PolicyArn=ADMINISTRATOR, **parameters)
        assert (fault["Code"], fault["Status"]) == ("AccessDenied", 403)


def test_policies_of_others_are_out_of_reach(iam: Any, fault_of: Fault) -> None:
    fault = fault_of(iam.get_policy, PolicyArn="arn:aws:iam::210987654321:policy/theirs")
    assert (fault["Code"], fault["Status"]) == ("AccessDenied", 403)
    fault = fault_of(iam.get_policy, PolicyArn="arn:aws:s3:::some-bucket-name")
    assert (fault["Code"], fault["Status"]) == ("InvalidInput", 400)
