"""GetAccountAuthorizationDetails: one answer with all that the single calls tell, in sections and in pages."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

READ_ONLY = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
DOCUMENT = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
LISTS = ("UserDetailList", "GroupDetailList", "RoleDetailList", "Policies")


@pytest.fixture
def iam(local: Any) -> Any:
    """An account with something of everything."""
    iam = local.client("iam")
    document = json.dumps(DOCUMENT)
    own = iam.create_policy(PolicyName="own", PolicyDocument=document)["Policy"]["Arn"]
    iam.create_policy_version(PolicyArn=own, PolicyDocument=document, SetAsDefault=True)
    iam.create_group(GroupName="readers", Path="/team/")
    iam.attach_group_policy(GroupName="readers", PolicyArn=READ_ONLY)
    iam.put_group_policy(GroupName="readers", PolicyName="gp", PolicyDocument=document)
    for name in ("alice", "Bob", "carol"):
        iam.create_user(UserName=name, Tags=[{"Key": "Name", "Value": name}])
    iam.add_user_to_group(GroupName="readers", UserName="alice")
    iam.put_user_policy(UserName="alice", PolicyName="up", PolicyDocument=document)
    iam.attach_user_policy(UserName="alice", PolicyArn=own)
    iam.put_user_permissions_boundary(UserName="alice", PermissionsBoundary=own)
    iam.create_role(RoleName="machine", AssumeRolePolicyDocument=json.dumps(TRUST), Description="for machines")
    iam.put_role_policy(RoleName="machine", PolicyName="rp", PolicyDocument=document)
    iam.create_instance_profile(InstanceProfileName="box")
    iam.add_role_to_instance_profile(InstanceProfileName="box", RoleName="machine")
    return iam


def test_it_tells_what_the_single_calls_tell(iam: Any) -> None:
    details = iam.get_account_authorization_details()
    assert details["IsTruncated"] is False
    alice, bob, _ = details["UserDetailList"]
    user = iam.get_user(UserName="alice")["User"]
    assert {name: alice[name] for name in user} == user
    assert alice["GroupList"] == ["readers"]
    assert alice["UserPolicyList"] == [{"PolicyName": "up", "PolicyDocument": DOCUMENT}]
    attached = iam.list_attached_user_policies(UserName="alice")["AttachedPolicies"]
    assert alice["AttachedManagedPolicies"] == attached
    assert alice["PermissionsBoundary"]["PermissionsBoundaryArn"] == attached[0]["PolicyArn"]
    assert "UserPolicyList" not in bob
    assert (bob["UserName"], bob["GroupList"], bob["AttachedManagedPolicies"]) == ("Bob", [], [])
    (group,) = details["GroupDetailList"]
    assert group["Path"] == "/team/"
    assert group["GroupPolicyList"] == [{"PolicyName": "gp", "PolicyDocument": DOCUMENT}]
    assert group["AttachedManagedPolicies"] == [{"PolicyName": "AmazonS3ReadOnlyAccess", "PolicyArn": READ_ONLY}]
    (role,) = details["RoleDetailList"]
    assert role["AssumeRolePolicyDocument"] == TRUST
    assert role["RolePolicyList"] == [{"PolicyName": "rp", "PolicyDocument": DOCUMENT}]
    assert [each["InstanceProfileName"] for each in role["InstanceProfileList"]] == ["box"]
    assert role["RoleLastUsed"] == {}
    own, published = details["Policies"]
    policy = iam.get_policy(PolicyArn=own["Arn"])["Policy"]
    assert {name: value for name, value in policy.items() if name != "Tags"}.items() <= own.items()
    assert [version["VersionId"] for version in own["PolicyVersionList"]] == ["v2", "v1"]
    assert [version["IsDefaultVersion"] for version in own["PolicyVersionList"]] == [True, False]
    assert (published["PolicyName"], published["AttachmentCount"]) == ("AmazonS3ReadOnlyAccess", 1)
    assert published["PolicyVersionList"][0]["Document"]["Version"] == "2012-10-17"


@pytest.mark.parametrize(
    ("kinds", "filled"),
    [
        (["User"], {"UserDetailList": 3}),
        (["Group", "Role"], {"GroupDetailList": 1, "RoleDetailList": 1}),
        (["LocalManagedPolicy"], {"Policies": 1}),
        (["AWSManagedPolicy"], {"Policies": 1}),
        (["AWSManagedPolicy", "LocalManagedPolicy", "User"], {"Policies": 2, "UserDetailList": 3}),
    ],
)
def test_the_filter_chooses_sections(iam: Any, kinds: list[str], filled: dict[str, int]) -> None:
    details = iam.get_account_authorization_details(Filter=kinds)
    assert {name: len(details[name]) for name in LISTS if details[name]} == filled


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_pages_hold_everything_once(iam: Any, size: int) -> None:
    whole = iam.get_account_authorization_details()
    pages = list(iam.get_paginator("get_account_authorization_details").paginate(PaginationConfig={"PageSize": size}))
    assert all(sum(len(page[name]) for name in LISTS) == size for page in pages[:-1])
    for name in LISTS:
        assert [item for page in pages for item in page[name]] == whole[name]


def test_a_page_of_a_filtered_answer_goes_on_where_it_ended(iam: Any) -> None:
    first = iam.get_account_authorization_details(Filter=["User", "LocalManagedPolicy"], MaxItems=3)
    assert first["IsTruncated"] is True
    rest = iam.get_account_authorization_details(Filter=["User", "LocalManagedPolicy"], Marker=first["Marker"])
    assert [policy["PolicyName"] for policy in rest["Policies"]] == ["own"]
    assert rest["UserDetailList"] == []


@pytest.mark.parametrize("marker", ["!", "bm90aGluZw==", "Tm8vYQ=="])
def test_a_marker_that_is_none_is_refused(local: Any, marker: str) -> None:
    with pytest.raises(ClientError, match=r"ValidationError.*Invalid Marker"):
        local.client("iam").get_account_authorization_details(Marker=marker)
