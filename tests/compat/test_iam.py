"""IAM users, keys and policies as boto3 sees them."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from opentrail.core.identity import Identity, IdentityType
from opentrail.services.iam import IAM_OPERATIONS, IamDeps

ACCOUNT = "123456789012"
CREATED = datetime(2020, 1, 1, tzinfo=UTC)
POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}

Fault = Callable[..., dict[str, Any]]


def sign_in(served: Any, deps: IamDeps, access_key_id: str) -> Any:
    """A client that calls as the owner of a key."""
    record = deps.identities.find_key(access_key_id)
    assert record is not None
    return served.client("iam", identity=record.identity)


def test_a_user_comes_and_goes(iam: Any, served: Any) -> None:
    made = iam.create_user(UserName="Alice", Path="/team/a/", Tags=[{"Key": "Dept", "Value": "IT"}])["User"]
    assert made["Arn"] == "arn:aws:iam::123456789012:user/team/a/Alice"
    assert made["UserId"].startswith("AIDA")
    assert len(made["UserId"]) == 21
    assert made["CreateDate"] == served.now
    assert made["Tags"] == [{"Key": "Dept", "Value": "IT"}]
    assert iam.get_user(UserName="alice")["User"] == made
    iam.delete_user(UserName="Alice")
    assert iam.list_users()["Users"] == []


def test_users_have_the_root_path_by_default(iam: Any) -> None:
    assert iam.create_user(UserName="Alice")["User"]["Path"] == "/"


def test_errors_about_users_are_awss(iam: Any, fault_of: Fault) -> None:
    iam.create_user(UserName="Alice")
    assert fault_of(iam.create_user, UserName="ALICE") == {
        "Type": "Sender",
        "Code": "EntityAlreadyExists",
        "Message": "User with name ALICE already exists.",
        "Status": 409,
    }
    expected = {
        "Type": "Sender",
        "Code": "NoSuchEntity",
        "Message": "The user with name Bob cannot be found.",
        "Status": 404,
    }
    for operation in (iam.get_user, iam.delete_user, iam.list_access_keys, iam.list_user_policies, iam.list_user_tags):
        assert fault_of(operation, UserName="Bob") == expected
    boundary = "arn:aws:iam::aws:policy/ReadOnlyAccess"
    fault = fault_of(iam.create_user, UserName="Bob", PermissionsBoundary=boundary)
    assert (fault["Code"], fault["Message"]) == (
        "NoSuchEntity",
        f"Scope ARN: {boundary} does not exist or is not attachable.",
    )


def test_get_user_without_a_name_is_the_caller(served: Any, iam: Any, iam_deps: IamDeps, fault_of: Fault) -> None:
    assert iam.get_user()["User"] == {
        "UserId": ACCOUNT,
        "Arn": "arn:aws:iam::123456789012:root",
        "CreateDate": CREATED,
    }
    iam.create_user(UserName="Alice")
    key = iam.create_access_key(UserName="Alice")["AccessKey"]
    alice = sign_in(served, iam_deps, key["AccessKeyId"])
    assert alice.get_user()["User"]["UserName"] == "Alice"
    assert served.permissions[0].resource == "arn:aws:iam::123456789012:user/Alice"
    role = Identity(type=IdentityType.ASSUMED_ROLE, principal_id="AROAX:s", account_id=ACCOUNT, arn="arn:aws:sts::x")
    assert fault_of(served.client("iam", identity=role).get_user)["Code"] == "ValidationError"


def test_users_are_listed_by_name_and_in_pages(iam: Any, fault_of: Fault) -> None:
    for name, path in (("b", "/x/"), ("A", "/"), ("c", "/x/y/"), ("d", "/")):
        iam.create_user(UserName=name, Path=path)
    pages = list(iam.get_paginator("list_users").paginate(PaginationConfig={"PageSize": 3}))
    assert [[user["UserName"] for user in page["Users"]] for page in pages] == [["A", "b", "c"], ["d"]]
    assert [page["IsTruncated"] for page in pages] == [True, False]
    assert [user["UserName"] for user in iam.list_users(PathPrefix="/x/")["Users"]] == ["b", "c"]
    assert fault_of(iam.list_users, Marker="!!")["Code"] == "ValidationError"


def test_a_user_is_renamed_with_all_that_is_its(served: Any, iam: Any, iam_deps: IamDeps, fault_of: Fault) -> None:
    iam.create_user(UserName="Alice")
    iam.create_user(UserName="Bob")
    key = iam.create_access_key(UserName="Alice")["AccessKey"]["AccessKeyId"]
    assert fault_of(iam.update_user, UserName="Alice", NewUserName="bob")["Code"] == "EntityAlreadyExists"
    iam.update_user(UserName="Alice", NewUserName="Carol", NewPath="/new/")
    assert [each.resource for each in served.permissions] == [
        "arn:aws:iam::123456789012:user/Alice",
        "arn:aws:iam::123456789012:user/new/Carol",
    ]
    record = iam_deps.identities.find_key(key)
    assert record is not None
    assert record.identity.arn == "arn:aws:iam::123456789012:user/new/Carol"
    assert iam.list_access_keys(UserName="Carol")["AccessKeyMetadata"][0]["AccessKeyId"] == key


def test_a_user_with_keys_or_policies_cannot_be_deleted(iam: Any, fault_of: Fault) -> None:
    iam.create_user(UserName="Alice")
    key = iam.create_access_key(UserName="Alice")["AccessKey"]["AccessKeyId"]
    iam.put_user_policy(UserName="Alice", PolicyName="p", PolicyDocument=json.dumps(POLICY))
    fault = fault_of(iam.delete_user, UserName="Alice")
    assert (fault["Code"], fault["Status"]) == ("DeleteConflict", 409)
    assert fault["Message"] == "Cannot delete entity, must delete access keys first."
    iam.delete_access_key(UserName="Alice", AccessKeyId=key)
    fault = fault_of(iam.delete_user, UserName="Alice")
    assert fault["Message"] == "Cannot delete entity, must delete policies first."
    iam.delete_user_policy(UserName="Alice", PolicyName="p")
    iam.delete_user(UserName="Alice")


def test_access_keys(iam: Any, iam_deps: IamDeps, fault_of: Fault) -> None:
    iam.create_user(UserName="Alice")
    made = [iam.create_access_key(UserName="Alice")["AccessKey"] for _ in range(2)]
    assert made[0]["UserName"] == "Alice"
    assert made[0]["Status"] == "Active"
    assert len(made[0]["SecretAccessKey"]) == 40
    record = iam_deps.identities.find_key(made[0]["AccessKeyId"])
    assert record is not None
    assert record.secret == made[0]["SecretAccessKey"]
    fault = fault_of(iam.create_access_key, UserName="Alice")
    assert (fault["Code"], fault["Status"]) == ("LimitExceeded", 409)
    assert fault["Message"] == "Cannot exceed quota for AccessKeysPerUser: 2"
    listed = iam.list_access_keys(UserName="Alice")["AccessKeyMetadata"]
    assert {each["AccessKeyId"] for each in listed} == {each["AccessKeyId"] for each in made}
    assert "SecretAccessKey" not in listed[0]
    iam.update_access_key(UserName="Alice", AccessKeyId=made[0]["AccessKeyId"], Status="Inactive")
    record = iam_deps.identities.find_key(made[0]["AccessKeyId"])
    assert record is not None
    assert not record.is_active
    iam.delete_access_key(UserName="Alice", AccessKeyId=made[0]["AccessKeyId"])
    assert iam_deps.identities.find_key(made[0]["AccessKeyId"]) is None


def test_keys_belong_to_the_user_that_is_named(iam: Any, fault_of: Fault) -> None:
    for name in ("Alice", "Bob"):
        iam.create_user(UserName=name)
    key = iam.create_access_key(UserName="Alice")["AccessKey"]["AccessKeyId"]
    expected = {
        "Type": "Sender",
        "Code": "NoSuchEntity",
        "Message": f"The Access Key with id {key} cannot be found.",
        "Status": 404,
    }
    assert fault_of(iam.delete_access_key, UserName="Bob", AccessKeyId=key) == expected
    assert fault_of(iam.delete_access_key, AccessKeyId=key) == expected  # root's own keys
    assert fault_of(iam.update_access_key, UserName="Bob", AccessKeyId=key, Status="Inactive") == expected
    assert fault_of(iam.get_access_key_last_used, AccessKeyId="A" * 20)["Code"] == "NoSuchEntity"


def test_root_has_keys_of_its_own(iam: Any, iam_deps: IamDeps) -> None:
    made = iam.create_access_key()["AccessKey"]
    assert "UserName" not in made
    record = iam_deps.identities.find_key(made["AccessKeyId"])
    assert record is not None
    assert record.identity.type is IdentityType.ROOT
    assert [each["AccessKeyId"] for each in iam.list_access_keys()["AccessKeyMetadata"]] == [made["AccessKeyId"]]
    iam.update_access_key(AccessKeyId=made["AccessKeyId"], Status="Inactive")
    iam.delete_access_key(AccessKeyId=made["AccessKeyId"])


def test_users_manage_their_own_keys(served: Any, iam: Any, iam_deps: IamDeps) -> None:
    iam.create_user(UserName="Alice")
    first = iam.create_access_key(UserName="Alice")["AccessKey"]["AccessKeyId"]
    alice = sign_in(served, iam_deps, first)
    second = alice.create_access_key()["AccessKey"]
    assert second["UserName"] == "Alice"
    alice.delete_access_key(AccessKeyId=first)
    assert [each["AccessKeyId"] for each in alice.list_access_keys()["AccessKeyMetadata"]] == [second["AccessKeyId"]]


def test_when_a_key_was_last_used(served: Any, iam: Any, iam_deps: IamDeps) -> None:
    iam.create_user(UserName="Alice")
    key = iam.create_access_key(UserName="Alice")["AccessKey"]["AccessKeyId"]
    answer = iam.get_access_key_last_used(AccessKeyId=key)
    assert answer["UserName"] == "Alice"
    assert answer["AccessKeyLastUsed"] == {"ServiceName": "N/A", "Region": "N/A"}
    assert served.permissions[0].resource == "arn:aws:iam::123456789012:user/Alice"
    iam_deps.identities.note_use(key, "s3", "eu-west-1", CREATED + timedelta(microseconds=5))
    assert iam.get_access_key_last_used(AccessKeyId=key)["AccessKeyLastUsed"] == {
        "LastUsedDate": CREATED,
        "ServiceName": "s3",
        "Region": "eu-west-1",
    }


def test_inline_policies(iam: Any, fault_of: Fault) -> None:
    iam.create_user(UserName="Alice")
    iam.put_user_policy(UserName="Alice", PolicyName="b", PolicyDocument=json.dumps(POLICY))
    iam.put_user_policy(UserName="Alice", PolicyName="a", PolicyDocument=json.dumps(POLICY, indent=2))
    assert iam.list_user_policies(UserName="Alice")["PolicyNames"] == ["a", "b"]
    got = iam.get_user_policy(UserName="Alice", PolicyName="a")
    assert got["PolicyDocument"] == POLICY  # botocore undoes the percent-encoding and reads the JSON
    iam.delete_user_policy(UserName="Alice", PolicyName="a")
    for operation in (iam.get_user_policy, iam.delete_user_policy):
        fault = fault_of(operation, UserName="Alice", PolicyName="a")
        assert (fault["Code"], fault["Status"]) == ("NoSuchEntity", 404)
        assert fault["Message"] == "The user policy with name a cannot be found."


def test_a_policy_that_is_none_or_too_much_is_refused(iam: Any, fault_of: Fault) -> None:
    iam.create_user(UserName="Alice")
    fault = fault_of(iam.put_user_policy, UserName="Alice", PolicyName="p", PolicyDocument="{")
    assert (fault["Code"], fault["Message"], fault["Status"]) == (
        "MalformedPolicyDocument",
        "Syntax errors in policy.",
        400,
    )
    statement = {"Sid": "a" * 900, "Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
    spaced = json.dumps({"Version": "2012-10-17", "Statement": statement}) + " " * 5000  # white space does not count
    iam.put_user_policy(UserName="Alice", PolicyName="one", PolicyDocument=spaced)
    iam.put_user_policy(UserName="Alice", PolicyName="one", PolicyDocument=spaced)
    iam.put_user_policy(UserName="Alice", PolicyName="two", PolicyDocument=spaced)
    fault = fault_of(iam.put_user_policy, UserName="Alice", PolicyName="three", PolicyDocument=json.dumps(POLICY))
    assert (fault["Code"], fault["Message"]) == (
        "LimitExceeded",
        "Maximum policy size of 2048 bytes exceeded for user Alice",
    )


def test_tags(served: Any, iam: Any, fault_of: Fault) -> None:
    iam.create_user(UserName="Alice", Tags=[{"Key": "Dept", "Value": "IT"}])
    iam.tag_user(UserName="Alice", Tags=[{"Key": "dept", "Value": "HR"}, {"Key": "b", "Value": ""}])
    permission = served.permissions[0]
    assert (permission.action, permission.resource) == ("iam:TagUser", "arn:aws:iam::123456789012:user/Alice")
    assert permission.context["aws:requesttag/dept"] == ["HR"]
    assert permission.context["aws:resourcetag/dept"] == ["IT"]
    assert permission.context["aws:tagkeys"] == ["dept", "b"]
    assert iam.list_user_tags(UserName="Alice")["Tags"] == [{"Key": "b", "Value": ""}, {"Key": "dept", "Value": "HR"}]
    iam.untag_user(UserName="Alice", TagKeys=["DEPT", "none"])
    assert iam.list_user_tags(UserName="Alice")["Tags"] == [{"Key": "b", "Value": ""}]
    twice = [{"Key": "a", "Value": "1"}, {"Key": "A", "Value": "2"}]
    assert fault_of(iam.tag_user, UserName="Alice", Tags=twice)["Code"] == "InvalidInput"
    assert fault_of(iam.tag_user, UserName="Alice", Tags=[{"Key": "aws:a", "Value": "1"}])["Code"] == "InvalidInput"
    many = [{"Key": f"k{number}", "Value": ""} for number in range(50)]
    assert fault_of(iam.tag_user, UserName="Alice", Tags=many)["Code"] == "LimitExceeded"


def test_creating_a_tagged_user_needs_both_permissions(served: Any, iam: Any) -> None:
    iam.create_user(UserName="Alice", Path="/p/", Tags=[{"Key": "Dept", "Value": "IT"}])
    assert [(each.action, each.resource) for each in served.permissions] == [
        ("iam:CreateUser", "arn:aws:iam::123456789012:user/p/Alice"),
        ("iam:TagUser", "arn:aws:iam::123456789012:user/p/Alice"),
    ]


def test_what_writes_is_marked() -> None:
    reads = {name for name, entry in IAM_OPERATIONS.items() if not entry.writes}
    assert all(name.startswith(("Get", "List", "Simulate")) for name in reads)
    assert not any(name.startswith(("Get", "List", "Simulate")) for name in set(IAM_OPERATIONS) - reads)


def test_an_account_has_up_to_300_groups(iam: Any, fault_of: Fault) -> None:
    for number in range(300):
        iam.create_group(GroupName=f"group-{number}")
    fault = fault_of(iam.create_group, GroupName="one-more")
    assert (fault["Code"], fault["Message"], fault["Status"]) == (
        "LimitExceeded",
        "Cannot exceed quota for GroupsPerAccount: 300",
        409,
    )
    iam.delete_group(GroupName="group-7")
    iam.create_group(GroupName="one-more")
    pages = list(iam.get_paginator("list_groups").paginate())
    assert [len(page["Groups"]) for page in pages] == [100, 100, 100]


def test_a_page_goes_on_where_an_item_was(iam: Any) -> None:
    for name in "abcd":
        iam.create_group(GroupName=name)
    first = iam.list_groups(MaxItems=2)
    iam.delete_group(GroupName="b")
    second = iam.list_groups(MaxItems=2, Marker=first["Marker"])
    assert [group["GroupName"] for group in second["Groups"]] == ["c", "d"]
