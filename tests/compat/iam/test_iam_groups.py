"""Groups and who belongs to them."""

from collections.abc import Callable
from typing import Any

Fault = Callable[..., dict[str, Any]]
NewName = Callable[[], str]


def test_members(iam: Any, new_name: NewName, fault_of: Fault) -> None:
    group, users = new_name(), sorted(new_name() for _ in range(3))
    iam.create_group(GroupName=group)
    for user in (*users, users[0]):  # one that is in it already stays
        if user not in {each["UserName"] for each in iam.get_group(GroupName=group)["Users"]}:
            iam.create_user(UserName=user, Tags=[{"Key": "a", "Value": "b"}])
        iam.add_user_to_group(GroupName=group, UserName=user)
    pages = list(iam.get_paginator("get_group").paginate(GroupName=group, PaginationConfig={"PageSize": 2}))
    assert [[user["UserName"] for user in page["Users"]] for page in pages] == [users[:2], users[2:]]
    assert {page["Group"]["GroupName"] for page in pages} == {group}
    assert "Tags" not in pages[0]["Users"][0]
    fault = fault_of(iam.delete_group, GroupName=group)
    assert (fault["Code"], fault["Status"]) == ("DeleteConflict", 409)
    assert fault["Message"] == "Cannot delete entity, must remove users from group first."
    fault = fault_of(iam.delete_user, UserName=users[0])
    assert fault["Message"] == "Cannot delete entity, must remove users from group first."
    for user in users:
        iam.remove_user_from_group(GroupName=group, UserName=user)
        assert fault_of(iam.remove_user_from_group, GroupName=group, UserName=user)["Code"] == "NoSuchEntity"
        iam.delete_user(UserName=user)
    iam.delete_group(GroupName=group)


def test_group_and_user_must_be_there(iam: Any, new_name: NewName, fault_of: Fault) -> None:
    group, user = new_name(), new_name()
    iam.create_group(GroupName=group)
    iam.create_user(UserName=user)
    for operation in (iam.add_user_to_group, iam.remove_user_from_group):
        fault = fault_of(operation, GroupName="none", UserName=user)
        assert fault["Message"] == "The group with name none cannot be found."
        fault = fault_of(operation, GroupName=group, UserName="none")
        assert fault["Message"] == "The user with name none cannot be found."


def test_a_user_has_up_to_ten_groups(iam: Any, new_name: NewName, fault_of: Fault) -> None:
    user, groups = new_name(), sorted(new_name() for _ in range(11))
    iam.create_user(UserName=user)
    for group in groups:
        iam.create_group(GroupName=group)
    for group in groups[:10]:
        iam.add_user_to_group(GroupName=group, UserName=user)
    fault = fault_of(iam.add_user_to_group, GroupName=groups[10], UserName=user)
    assert (fault["Code"], fault["Status"]) == ("LimitExceeded", 409)
    assert fault["Message"] == "Cannot exceed quota for GroupsPerUser: 10"
    iam.add_user_to_group(GroupName=groups[0], UserName=user)
    paginator = iam.get_paginator("list_groups_for_user")
    pages = list(paginator.paginate(UserName=user, PaginationConfig={"PageSize": 4}))
    assert [group["GroupName"] for page in pages for group in page["Groups"]] == groups[:10]
