"""Instance profiles: a name under which a role is handed to machines."""

from collections.abc import Callable
from typing import Any

Fault = Callable[..., dict[str, Any]]
NewName = Callable[[], str]
Trust = Callable[..., str]


def test_a_profile_comes_and_goes(iam: Any, new_name: NewName, account: str, fault_of: Fault) -> None:
    name, tags = new_name(), [{"Key": "a", "Value": "b"}]
    made = iam.create_instance_profile(InstanceProfileName=name, Path="/p/", Tags=tags)["InstanceProfile"]
    assert made["Arn"] == f"arn:aws:iam::{account}:instance-profile/p/{name}"
    assert made["InstanceProfileId"].startswith("AIPA")
    assert made["Roles"] == []
    assert iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"] == made
    iam.get_waiter("instance_profile_exists").wait(
        InstanceProfileName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 1}
    )
    fault = fault_of(iam.create_instance_profile, InstanceProfileName=name)
    assert (fault["Code"], fault["Message"]) == ("EntityAlreadyExists", f"Instance Profile {name} already exists.")
    iam.tag_instance_profile(InstanceProfileName=name, Tags=[{"Key": "c", "Value": "d"}])
    iam.untag_instance_profile(InstanceProfileName=name, TagKeys=["a"])
    assert iam.list_instance_profile_tags(InstanceProfileName=name)["Tags"] == [{"Key": "c", "Value": "d"}]
    iam.delete_instance_profile(InstanceProfileName=name)
    fault = fault_of(iam.get_instance_profile, InstanceProfileName=name)
    assert (fault["Status"], fault["Message"]) == (404, f"Instance Profile {name} cannot be found.")


def test_the_role_in_it(iam: Any, new_name: NewName, trust: Trust, fault_of: Fault) -> None:
    names, roles = sorted([new_name(), new_name()]), [new_name(), new_name()]
    for role in roles:
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust(Service="ec2.amazonaws.com"))
    for name in names:
        iam.create_instance_profile(InstanceProfileName=name)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=roles[0])
    held = iam.get_instance_profile(InstanceProfileName=names[0])["InstanceProfile"]["Roles"]
    assert [role["RoleName"] for role in held] == [roles[0]]
    fault = fault_of(iam.add_role_to_instance_profile, InstanceProfileName=names[0], RoleName=roles[1])
    assert (fault["Code"], fault["Message"]) == (
        "LimitExceeded",
        "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1",
    )
    paginator = iam.get_paginator("list_instance_profiles_for_role")
    pages = list(paginator.paginate(RoleName=roles[0], PaginationConfig={"PageSize": 1}))
    assert [page["InstanceProfiles"][0]["InstanceProfileName"] for page in pages] == names
    for refused in (
        fault_of(iam.delete_role, RoleName=roles[0]),
        fault_of(iam.delete_instance_profile, InstanceProfileName=names[0]),
    ):
        assert (refused["Code"], refused["Message"]) == (
            "DeleteConflict",
            "Cannot delete entity, must remove roles from instance profile first.",
        )
    fault = fault_of(iam.remove_role_from_instance_profile, InstanceProfileName=names[0], RoleName=roles[1])
    assert (fault["Code"], fault["Status"]) == ("NoSuchEntity", 404)
    for name in names:
        iam.remove_role_from_instance_profile(InstanceProfileName=name, RoleName=roles[0])
    iam.delete_role(RoleName=roles[0])


def test_lists_of_profiles(iam: Any, new_name: NewName) -> None:
    path = f"/{new_name()}/"
    names = sorted(new_name() for _ in range(3))
    for name in names:
        iam.create_instance_profile(InstanceProfileName=name, Path=path)
    paginator = iam.get_paginator("list_instance_profiles")
    pages = list(paginator.paginate(PathPrefix=path, PaginationConfig={"PageSize": 2}))
    listed = [[profile["InstanceProfileName"] for profile in page["InstanceProfiles"]] for page in pages]
    assert listed == [names[:2], names[2:]]
