"""What IAM keeps for a whole account, as boto3 sees it: alias, passwords, counts; and that no password is recorded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

PASSWORD, OTHER_PASSWORD = "Correct-horse-1", "Battery-staple-2"


def code_of(operation: Any, **parameters: Any) -> tuple[str, int]:
    """The error's code and HTTP status of a call that must fail."""
    return message_of(operation, **parameters)[:2]


def message_of(operation: Any, **parameters: Any) -> tuple[str, int, str]:
    with pytest.raises(ClientError) as caught:
        operation(**parameters)
    response = caught.value.response
    error = response["Error"]
    return error["Code"], response["ResponseMetadata"]["HTTPStatusCode"], error["Message"]


def test_an_account_has_one_alias(local: Any) -> None:
    iam = local.client("iam")
    assert iam.list_account_aliases()["AccountAliases"] == []
    iam.create_account_alias(AccountAlias="first-alias")
    iam.create_account_alias(AccountAlias="acme")
    assert iam.list_account_aliases()["AccountAliases"] == ["acme"]
    assert [page["AccountAliases"] for page in iam.get_paginator("list_account_aliases").paginate()] == [["acme"]]
    assert message_of(iam.create_account_alias, AccountAlias="acme") == (
        "EntityAlreadyExists",
        409,
        "The account alias acme already exists.",
    )
    assert message_of(iam.delete_account_alias, AccountAlias="first-alias") == (
        "NoSuchEntity",
        404,
        "The account alias with name first-alias cannot be found.",
    )
    iam.delete_account_alias(AccountAlias="acme")
    assert iam.list_account_aliases()["AccountAliases"] == []


@pytest.mark.parametrize("alias", ["-abc", "abc-", "a--b", "Abc", "a_b", "123456789012", "ä-b"])
def test_what_can_be_no_alias_is_refused(local: Any, alias: str) -> None:
    assert code_of(local.client("iam").create_account_alias, AccountAlias=alias) == ("ValidationError", 400)


def test_the_password_policy_of_an_account(local: Any) -> None:
    iam = local.client("iam")
    account = local.client("sts").get_caller_identity()["Account"]
    missing = ("NoSuchEntity", 404, f"The Password Policy with domain name {account} cannot be found.")
    assert message_of(iam.get_account_password_policy) == missing
    assert message_of(iam.delete_account_password_policy) == missing
    iam.update_account_password_policy(MinimumPasswordLength=14, RequireSymbols=True, MaxPasswordAge=90)
    assert iam.get_account_password_policy()["PasswordPolicy"] == {
        "MinimumPasswordLength": 14,
        "RequireSymbols": True,
        "RequireNumbers": False,
        "RequireUppercaseCharacters": False,
        "RequireLowercaseCharacters": False,
        "AllowUsersToChangePassword": False,
        "ExpirePasswords": True,
        "MaxPasswordAge": 90,
    }
    iam.update_account_password_policy(PasswordReusePrevention=3, HardExpiry=True)  # all the rest goes back
    policy = iam.get_account_password_policy()["PasswordPolicy"]
    assert (policy["MinimumPasswordLength"], policy["RequireSymbols"], policy["ExpirePasswords"]) == (6, False, False)
    assert (policy["PasswordReusePrevention"], policy["HardExpiry"]) == (3, True)
    assert "MaxPasswordAge" not in policy
    iam.delete_account_password_policy()
    assert code_of(iam.get_account_password_policy) == ("NoSuchEntity", 404)


@pytest.mark.parametrize(
    "setting", [{"MinimumPasswordLength": 129}, {"MaxPasswordAge": 1096}, {"PasswordReusePrevention": 25}]
)
def test_a_password_policy_out_of_range_is_refused(local: Any, setting: dict[str, int]) -> None:
    fault = message_of(local.client("iam").update_account_password_policy, **setting)
    name = next(iter(setting))
    assert fault[:2] == ("ValidationError", 400)
    assert f"at '{name[0].lower()}{name[1:]}' failed to satisfy constraint" in fault[2]


def test_a_login_profile_comes_and_goes(local: Any) -> None:
    iam = local.client("iam")
    iam.create_user(UserName="alice")
    missing = ("NoSuchEntity", 404, "Login Profile for User alice cannot be found.")
    assert message_of(iam.get_login_profile, UserName="alice") == missing
    assert message_of(iam.delete_login_profile, UserName="alice") == missing
    assert message_of(iam.update_login_profile, UserName="alice", Password=PASSWORD) == missing
    made = iam.create_login_profile(UserName="alice", Password=PASSWORD, PasswordResetRequired=True)["LoginProfile"]
    assert (made["UserName"], made["PasswordResetRequired"]) == ("alice", True)
    assert iam.get_login_profile(UserName="ALICE")["LoginProfile"] == made
    assert message_of(iam.create_login_profile, UserName="alice", Password=PASSWORD) == (
        "EntityAlreadyExists",
        409,
        "Login Profile for user alice already exists.",
    )
    iam.update_login_profile(UserName="alice", PasswordResetRequired=False)
    assert iam.get_login_profile(UserName="alice")["LoginProfile"]["PasswordResetRequired"] is False
    assert message_of(iam.delete_user, UserName="alice") == (
        "DeleteConflict",
        409,
        "Cannot delete entity, must delete login profile first.",
    )
    iam.delete_login_profile(UserName="alice")
    iam.delete_user(UserName="alice")
    assert code_of(iam.create_login_profile, UserName="alice", Password=PASSWORD) == ("NoSuchEntity", 404)


def test_passwords_meet_the_policy_of_the_account(local: Any) -> None:
    iam = local.client("iam")
    iam.create_user(UserName="alice")
    fault = message_of(iam.create_login_profile, UserName="alice", Password="short-1")
    assert fault == ("PasswordPolicyViolation", 400, "Password should have a minimum length of 8")
    iam.update_account_password_policy(MinimumPasswordLength=6, RequireNumbers=True, PasswordReusePrevention=2)
    fault = message_of(iam.create_login_profile, UserName="alice", Password="letters-only")
    assert fault == ("PasswordPolicyViolation", 400, "Password should have at least one number")
    iam.create_login_profile(UserName="alice", Password="first-1")
    for password in ("second-2", "third-3"):
        iam.update_login_profile(UserName="alice", Password=password)
    for password in ("second-2", "third-3"):
        assert code_of(iam.update_login_profile, UserName="alice", Password=password)[0] == "PasswordPolicyViolation"
    iam.update_login_profile(UserName="alice", Password="first-1")  # two others came between


def test_users_change_their_own_passwords(local: Any) -> None:
    iam = local.client("iam")
    key = local.new_user("alice")
    alice = local.client("iam", key)
    iam.create_login_profile(UserName="alice", Password=PASSWORD, PasswordResetRequired=True)
    change = {"OldPassword": PASSWORD, "NewPassword": OTHER_PASSWORD}
    denied = message_of(alice.change_password, **change)
    assert denied[:2] == ("AccessDenied", 403)
    assert "is not authorized to perform: iam:ChangePassword" in denied[2]
    iam.update_account_password_policy(AllowUsersToChangePassword=True, MinimumPasswordLength=8)
    assert alice.get_account_password_policy()["PasswordPolicy"]["MinimumPasswordLength"] == 8
    wrong = message_of(alice.change_password, OldPassword="wrong", NewPassword=OTHER_PASSWORD)
    assert wrong == ("AccessDenied", 403, "The old password was incorrect.")
    alice.change_password(**change)
    assert iam.get_login_profile(UserName="alice")["LoginProfile"]["PasswordResetRequired"] is False
    assert message_of(alice.change_password, **change)[2] == "The old password was incorrect."
    deny = {"Effect": "Deny", "Action": "iam:ChangePassword", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": deny})
    iam.put_user_policy(UserName="alice", PolicyName="no", PolicyDocument=document)
    assert "explicit deny" in message_of(alice.change_password, OldPassword=OTHER_PASSWORD, NewPassword=PASSWORD)[2]
    assert code_of(iam.change_password, **change) == ("InvalidUserType", 400)


def test_a_path_full_of_wildcards_keeps_nobody_from_the_own_password(local: Any) -> None:
    iam = local.client("iam")
    iam.create_user(UserName="alice", Path="/a*b?${aws:username}/")
    made = iam.create_access_key(UserName="alice")["AccessKey"]
    alice = local.client("iam", type(local.key)(id=made["AccessKeyId"], secret=made["SecretAccessKey"]))
    iam.create_login_profile(UserName="alice", Password=PASSWORD)
    iam.update_account_password_policy(AllowUsersToChangePassword=True, MinimumPasswordLength=8)
    alice.change_password(OldPassword=PASSWORD, NewPassword=OTHER_PASSWORD)


def test_no_password_is_in_any_record_or_log(local: Any, caplog: pytest.LogCaptureFixture) -> None:
    iam = local.client("iam")
    key = local.new_user("alice", {"Effect": "Allow", "Action": "iam:*", "Resource": "*"})
    alice = local.client("iam", key)
    iam.create_login_profile(UserName="alice", Password=PASSWORD)
    alice.change_password(OldPassword=PASSWORD, NewPassword=OTHER_PASSWORD)
    iam.update_login_profile(UserName="alice", Password=PASSWORD, PasswordResetRequired=False)
    message_of(alice.change_password, OldPassword="secret-that-is-wrong", NewPassword=OTHER_PASSWORD)
    message_of(iam.update_login_profile, UserName="alice", Password="tooweak")
    records = local.records()
    written = json.dumps(records) + caplog.text
    for secret in (PASSWORD, OTHER_PASSWORD, "secret-that-is-wrong", "tooweak", "$scrypt$"):
        assert secret not in written
    by_name = {record["eventName"]: record for record in records if "errorCode" not in record}
    assert by_name["CreateLoginProfile"]["requestParameters"] == {"userName": "alice"}
    assert by_name["UpdateLoginProfile"]["requestParameters"] == {"userName": "alice", "passwordResetRequired": False}
    assert by_name["ChangePassword"]["requestParameters"] is None
    assert by_name["ChangePassword"]["userIdentity"]["userName"] == "alice"


def test_the_summary_counts_what_is_there(local: Any) -> None:
    iam = local.client("iam")
    before = iam.get_account_summary()["SummaryMap"]
    assert (before["Users"], before["AccountAccessKeysPresent"]) == (0, 1)
    assert (before["UsersQuota"], before["GroupsQuota"], before["RolesQuota"]) == (5000, 300, 1000)
    assert (before["PolicySizeQuota"], before["VersionsPerPolicyQuota"]) == (6144, 5)
    document = json.dumps(
        {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}
    )
    trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    for name in ("a", "b"):
        iam.create_user(UserName=name)
    iam.create_group(GroupName="g")
    iam.create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": trust}))
    arn = iam.create_policy(PolicyName="p", PolicyDocument=document)["Policy"]["Arn"]
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=document)
    iam.create_instance_profile(InstanceProfileName="i")
    iam.create_open_id_connect_provider(Url="https://idp.example.com")
    after = iam.get_account_summary()["SummaryMap"]
    changed = {name: value for name, value in after.items() if before[name] != value}
    assert changed == {
        "Users": 2,
        "Groups": 1,
        "Roles": 1,
        "Policies": 1,
        "PolicyVersionsInUse": 2,
        "InstanceProfiles": 1,
        "Providers": 1,
    }
