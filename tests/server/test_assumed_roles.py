"""AssumeRole as boto3 sees it: who may, what the session then is and may do, what limits it, and what ends it."""

from __future__ import annotations

import configparser
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.exceptions import ClientError

A, B = "111111111111", "222222222222"
ALLOW_ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def document(*statements: Mapping[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def trust(principal: object, *actions: str, **condition: Any) -> str:
    statement = {"Effect": "Allow", "Principal": principal, "Action": list(actions) or ["sts:AssumeRole"]}
    return document({**statement, "Condition": condition} if condition else statement)


class World:
    """An installation in which users and roles are made with few words."""

    def __init__(self, local: Any, make_key: Callable[..., Any]) -> None:
        self.local = local
        self.make_key = make_key
        self.iam = local.client("iam")

    def role(self, name: str, trust_policy: str, *statements: Mapping[str, Any], **settings: Any) -> str:
        arn = self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust_policy, **settings)["Role"]["Arn"]
        if statements:
            self.iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=document(*statements))
        return str(arn)

    def assume(self, key: Any, arn: str, name: str = "session", **parameters: Any) -> Any:
        answer = self.local.client("sts", key).assume_role(RoleArn=arn, RoleSessionName=name, **parameters)
        return self.key(answer)

    def key(self, answer: Mapping[str, Any]) -> Any:
        made = answer["Credentials"]
        return self.make_key(id=made["AccessKeyId"], secret=made["SecretAccessKey"], token=made["SessionToken"])

    def last_record(self) -> dict[str, Any]:
        return dict(self.local.records()[-1])


@pytest.fixture
def world(local_with: Callable[..., Any]) -> World:
    local = local_with(account_id=A)
    return World(local, type(local.key))


def code_of(call: Callable[..., object], **parameters: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    return str(caught.value.response["Error"]["Code"])


def message_of(call: Callable[..., object], **parameters: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    return str(caught.value.response["Error"]["Message"])


def test_a_session_is_the_role_and_may_do_what_the_role_may(world: World) -> None:
    alice = world.local.new_user("alice", {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"})
    arn = world.role(
        "Reader", trust({"AWS": A}), {"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}, Path="/app/"
    )
    assert arn == f"arn:aws:iam::{A}:role/app/Reader"
    answer = world.local.client("sts", alice).assume_role(RoleArn=arn, RoleSessionName="me@work")
    role_id = world.iam.get_role(RoleName="Reader")["Role"]["RoleId"]
    expected = {"AssumedRoleId": f"{role_id}:me@work", "Arn": f"arn:aws:sts::{A}:assumed-role/Reader/me@work"}
    assert answer["AssumedRoleUser"] == expected
    assert "PackedPolicySize" not in answer
    assert answer["Credentials"]["AccessKeyId"].startswith("ASIA")

    session = world.key(answer)
    who = world.local.client("sts", session).get_caller_identity()
    assert (who["UserId"], who["Account"], who["Arn"]) == (expected["AssumedRoleId"], A, expected["Arn"])
    world.local.client("s3", session).list_buckets()
    assert code_of(world.local.client("s3", session).create_bucket, Bucket="bucket") == "AccessDenied"
    assert code_of(world.local.client("s3", alice).list_buckets) == "AccessDenied"


def test_the_record_says_whose_session_it_was(world: World) -> None:
    alice = world.local.new_user("alice", ALLOW_ALL)
    arn = world.role("Reader", trust({"AWS": A}), ALLOW_ALL)
    session = world.assume(alice, arn)
    record = world.last_record()
    assert record["userIdentity"]["type"] == "IAMUser"
    assert (record["eventName"], record["readOnly"]) == ("AssumeRole", True)
    assert record["resources"] == [{"accountId": A, "type": "AWS::IAM::Role", "ARN": arn}]
    assert record["requestParameters"] == {"roleArn": arn, "roleSessionName": "session"}
    assert set(record["responseElements"]["credentials"]) == {"accessKeyId", "expiration", "sessionToken"}
    assert record["responseElements"]["credentials"]["accessKeyId"] == session.id

    world.local.client("s3", session).list_buckets()
    role_id = world.iam.get_role(RoleName="Reader")["Role"]["RoleId"]
    record = next(each for each in world.local.records() if each["eventName"] == "ListBuckets")
    context = record["userIdentity"].pop("sessionContext")
    assert record["userIdentity"] == {
        "type": "AssumedRole",
        "principalId": f"{role_id}:session",
        "arn": f"arn:aws:sts::{A}:assumed-role/Reader/session",
        "accountId": A,
        "accessKeyId": session.id,
    }
    assert context["sessionIssuer"] == {
        "type": "Role", "principalId": role_id, "arn": arn, "accountId": A, "userName": "Reader"
    }  # fmt: skip
    assert context["attributes"]["mfaAuthenticated"] == "false"
    assert "sourceIdentity" not in context
    assert world.iam.get_role(RoleName="Reader")["Role"]["RoleLastUsed"]["Region"] == "us-east-1"


def test_only_whom_the_role_trusts_and_the_account_allows_may_assume_it(world: World) -> None:
    trusted = world.local.new_user("trusted")
    allowed = world.local.new_user("allowed", {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"})
    nobody = world.local.new_user("nobody")
    by_name = world.role("ByName", trust({"AWS": f"arn:aws:iam::{A}:user/trusted"}))
    by_account = world.role("ByAccount", trust({"AWS": A}))
    world.assume(trusted, by_name)  # a trust policy that names a user of its account is enough
    world.assume(allowed, by_account)
    for key, arn in ((nobody, by_account), (trusted, by_account), (allowed, by_name), (nobody, by_name)):
        client = world.local.client("sts", key)
        assert code_of(client.assume_role, RoleArn=arn, RoleSessionName="session") == "AccessDenied"
        record = world.last_record()
        assert (record["eventName"], record["errorCode"]) == ("AssumeRole", "AccessDenied")
        assert record["requestParameters"] is None
        assert "resources" not in record
    missing = f"arn:aws:iam::{A}:role/Missing"
    client = world.local.client("sts", allowed)
    assert code_of(client.assume_role, RoleArn=missing, RoleSessionName="session") == "AccessDenied"
    wrong_path = f"arn:aws:iam::{A}:role/path/ByAccount"
    assert code_of(client.assume_role, RoleArn=wrong_path, RoleSessionName="session") == "AccessDenied"


def test_root_assumes_no_roles(world: World) -> None:
    arn = world.role("Reader", trust({"AWS": A}))
    root = world.local.client("sts")
    message = message_of(root.assume_role, RoleArn=arn, RoleSessionName="session")
    assert message == "Roles may not be assumed by root accounts."


@pytest.mark.parametrize(
    "arn",
    [
        f"arn:aws:iam::{A}:user/someone-else",
        f"arn:aws:sts::{A}:assumed-role/Reader/session",
        "arn:aws:iam:::role/Reader-of-nobody",
        "this is no ARN whatsoever",
        f"arn:aws:iam::{A}:role/a/",
        "arn:aws:iam::aws:role/Reader",
    ],
)
def test_what_is_no_roles_arn_is_told(world: World, arn: str) -> None:
    alice = world.local.new_user("alice", ALLOW_ALL)
    client = world.local.client("sts", alice)
    with pytest.raises(ClientError) as caught:
        client.assume_role(RoleArn=arn, RoleSessionName="session")
    assert caught.value.response["Error"] == {
        "Type": "Sender",
        "Code": "ValidationError",
        "Message": f"{arn} is invalid",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RoleSessionName", "a"),
        ("RoleSessionName", "a" * 65),
        ("RoleSessionName", "white space"),
        ("RoleSessionName", "slash/"),
        ("RoleSessionName", "ünïcode"),
        ("DurationSeconds", "899"),
        ("DurationSeconds", "43201"),
        ("ExternalId", "a"),
        ("ExternalId", "no spaces"),
        ("SourceIdentity", "a"),
        ("TokenCode", "12345"),
    ],
)
def test_parameters_follow_the_models_rules(world: World, name: str, value: str) -> None:
    arn = f"arn:aws:iam::{A}:role/Reader"
    form = {"Action": "AssumeRole", "Version": "2011-06-15", "RoleArn": arn, "RoleSessionName": "session", name: value}
    headers = {"content-type": "application/x-www-form-urlencoded"}
    request = world.local.sign("POST", "/", service="sts", headers=headers, body=urlencode(form).encode())
    status, _, body = world.local.request(request)
    assert status == 400
    assert b"<Code>ValidationError</Code>" in body
    assert f"'{name[:1].lower()}{name[1:]}' failed to satisfy constraint".encode() in body.replace(b"&apos;", b"'")


def test_an_external_id_must_be_the_one(world: World) -> None:
    alice = world.local.new_user("alice", ALLOW_ALL)
    arn = world.role("Reader", trust({"AWS": A}, StringEquals={"sts:ExternalId": "Unique-ID"}))
    client = world.local.client("sts", alice)
    assert code_of(client.assume_role, RoleArn=arn, RoleSessionName="session") == "AccessDenied"
    assert code_of(client.assume_role, RoleArn=arn, RoleSessionName="session", ExternalId="unique-id") == "AccessDenied"
    world.assume(alice, arn, ExternalId="Unique-ID")


def test_sessions_last_as_long_as_their_role_allows(world: World) -> None:
    alice = world.local.new_user("alice", ALLOW_ALL)
    arn = world.role("Reader", trust({"AWS": A}), ALLOW_ALL, MaxSessionDuration=7200)
    client = world.local.client("sts", alice)
    message = message_of(client.assume_role, RoleArn=arn, RoleSessionName="session", DurationSeconds=7201)
    assert message == "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
    session = world.assume(alice, arn, DurationSeconds=7200)
    chained = world.local.client("sts", session)
    message = message_of(chained.assume_role, RoleArn=arn, RoleSessionName="chained", DurationSeconds=3601)
    expected = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."
    assert message == expected
    world.assume(session, arn, "chained", DurationSeconds=3600)


def test_a_device_that_nobody_has_proves_nothing(world: World) -> None:
    alice = world.local.new_user("alice", ALLOW_ALL)
    arn = world.role("Reader", trust({"AWS": A}))
    device = {"SerialNumber": f"arn:aws:iam::{A}:mfa/alice", "TokenCode": "123456"}
    client = world.local.client("sts", alice)
    with pytest.raises(ClientError, match="MultiFactorAuthentication failed") as caught:
        client.assume_role(RoleArn=arn, RoleSessionName="session", **device)
    assert caught.value.response["Error"]["Code"] == "AccessDenied"
    assert code_of(client.get_session_token, **device) == "AccessDenied"
    assert code_of(client.get_session_token, SerialNumber=device["SerialNumber"]) == "ValidationError"
    strict = world.role("Strict", trust({"AWS": A}, Bool={"aws:MultiFactorAuthPresent": "true"}))
    assert code_of(client.assume_role, RoleArn=strict, RoleSessionName="session") == "AccessDenied"


def test_session_policies_only_ever_limit(world: World) -> None:
    alice = world.local.new_user("alice", ALLOW_ALL)
    arn = world.role("Lister", trust({"AWS": A}), {"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"})
    everything = world.assume(alice, arn, Policy=document(ALLOW_ALL))
    world.local.client("s3", everything).list_buckets()
    assert code_of(world.local.client("s3", everything).create_bucket, Bucket="bucket") == "AccessDenied"
    nothing = world.assume(alice, arn, Policy=document({"Effect": "Allow", "Action": "iam:*", "Resource": "*"}))
    assert code_of(world.local.client("s3", nothing).list_buckets) == "AccessDenied"
    assert code_of(world.local.client("iam", nothing).list_users) == "AccessDenied"

    by_arn = world.assume(alice, arn, PolicyArns=[{"arn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}])
    world.local.client("s3", by_arn).list_buckets()
    created = world.iam.create_policy(
        PolicyName="deny", PolicyDocument=document(ALLOW_ALL | {"Effect": "Deny", "Action": "s3:*"})
    )
    denied = world.assume(alice, arn, Policy=document(ALLOW_ALL), PolicyArns=[{"arn": created["Policy"]["Arn"]}])
    assert code_of(world.local.client("s3", denied).list_buckets) == "AccessDenied"


def test_session_policies_have_limits(world: World) -> None:
    alice = world.local.new_user("alice", ALLOW_ALL)
    arn = world.role("Reader", trust({"AWS": A}))
    client = world.local.client("sts", alice)

    def code(**parameters: Any) -> str:
        return code_of(client.assume_role, RoleArn=arn, RoleSessionName="session", **parameters)

    assert code(Policy="{") == "MalformedPolicyDocument"
    assert code(Policy=trust({"AWS": A})) == "MalformedPolicyDocument"
    padded = document(ALLOW_ALL)
    assert code(Policy=padded + " " * (2049 - len(padded))) == "ValidationError"
    world.assume(alice, arn, Policy=padded + " " * (2048 - len(padded)))
    read_only = {"arn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}
    assert code(PolicyArns=[read_only] * 11) == "ValidationError"
    assert code(PolicyArns=[{"arn": f"arn:aws:iam::{A}:policy/missing"}]) == "ValidationError"
    assert code(PolicyArns=[{"arn": f"arn:aws:iam::{B}:policy/of-another-account"}]) == "ValidationError"
    answer = client.assume_role(RoleArn=arn, RoleSessionName="session", Policy=padded, PolicyArns=[read_only])
    assert 1 <= answer["PackedPolicySize"] <= 10


def test_tags_beyond_what_a_token_holds_are_refused(world: World) -> None:
    alice = world.local.new_user("alice", ALLOW_ALL)
    arn = world.role("Reader", trust({"AWS": A}, "sts:AssumeRole", "sts:TagSession"))
    random = Random(1)
    letters = [chr(code) for code in range(0x4E00, 0x9FFF)]  # what does not compress
    tags = [{"Key": f"key{number}", "Value": "".join(random.choices(letters, k=150))} for number in range(50)]
    client = world.local.client("sts", alice)
    with pytest.raises(ClientError, match=r"consumes [0-9]+% of allotted space") as caught:
        client.assume_role(RoleArn=arn, RoleSessionName="session", Tags=tags)
    assert caught.value.response["Error"]["Code"] == "PackedPolicyTooLarge"


def test_session_tags_need_a_permission_and_become_principal_tags(world: World) -> None:
    alice = world.local.new_user("alice", ALLOW_ALL)
    tags = [{"Key": "Team", "Value": "Blue"}]
    strict = world.role("Strict", trust({"AWS": A}))
    client = world.local.client("sts", alice)
    message = message_of(client.assume_role, RoleArn=strict, RoleSessionName="session", Tags=tags)
    assert "sts:TagSession" in message
    by_tag = {"StringEquals": {"aws:PrincipalTag/team": "Blue"}}
    arn = world.role(
        "Tagged",
        trust({"AWS": A}, "sts:AssumeRole", "sts:TagSession"),
        {**ALLOW_ALL, "Condition": by_tag},
        Tags=[{"Key": "team", "Value": "Red"}],
    )
    world.local.client("s3", world.assume(alice, arn, Tags=tags)).list_buckets()
    assert code_of(world.local.client("s3", world.assume(alice, arn)).list_buckets) == "AccessDenied"


@pytest.mark.parametrize(
    ("tags", "transitive", "code"),
    [
        ([("Team", "1"), ("team", "2")], [], "InvalidParameterValue"),
        ([("Te*m", "1")], [], "ValidationError"),
        ([("aws:team", "1")], [], "InvalidParameterValue"),
        ([("Team", "a;b")], [], "ValidationError"),
        ([("Team", "1")], ["Other"], "InvalidParameterValue"),
        ([(f"k{number}", "") for number in range(51)], [], "ValidationError"),
    ],
)
def test_bad_tags_are_told(world: World, tags: list[tuple[str, str]], transitive: list[str], code: str) -> None:
    alice = world.local.new_user("alice", ALLOW_ALL)
    arn = world.role("Reader", trust({"AWS": A}, "sts:AssumeRole", "sts:TagSession"))
    given = [{"Key": key, "Value": value} for key, value in tags]
    client = world.local.client("sts", alice)
    call = {"RoleArn": arn, "RoleSessionName": "session", "Tags": given, "TransitiveTagKeys": transitive}
    assert code_of(client.assume_role, **call) == code


def test_transitive_tags_go_on_through_a_chain_and_cannot_be_replaced(world: World) -> None:
    alice = world.local.new_user("alice", ALLOW_ALL)
    both = ("sts:AssumeRole", "sts:TagSession")
    first = world.role("First", trust({"AWS": A}, *both), ALLOW_ALL)
    blue = {"StringEquals": {"aws:RequestTag/team": "Blue"}}
    second = world.role("Second", trust({"AWS": A}, *both, **blue), ALLOW_ALL)
    untagged = world.role("Untagged", trust({"AWS": A}), ALLOW_ALL)
    tags = [{"Key": "Team", "Value": "Blue"}, {"Key": "Plain", "Value": "1"}]
    session = world.assume(alice, first, Tags=tags, TransitiveTagKeys=["team"])
    client = world.local.client("sts", session)
    again = [{"Key": "TEAM", "Value": "Red"}]
    assert code_of(client.assume_role, RoleArn=second, RoleSessionName="s2", Tags=again) == "InvalidParameterValue"
    assert code_of(client.assume_role, RoleArn=untagged, RoleSessionName="s2") == "AccessDenied"
    chained = world.assume(session, second, "s2")
    only_blue = {
        **ALLOW_ALL,
        "Condition": {"StringEquals": {"aws:PrincipalTag/Team": "Blue"}, "Null": {"aws:PrincipalTag/Plain": "true"}},
    }
    world.iam.put_role_policy(RoleName="Second", PolicyName="p", PolicyDocument=document(only_blue))
    world.local.client("s3", chained).list_buckets()


def test_a_source_identity_is_set_once_and_stays(world: World) -> None:
    alice = world.local.new_user("alice", ALLOW_ALL)
    both = ("sts:AssumeRole", "sts:SetSourceIdentity")
    first = world.role("First", trust({"AWS": A}, *both, StringLike={"sts:SourceIdentity": "a*"}), ALLOW_ALL)
    second = world.role("Second", trust({"AWS": A}, *both), ALLOW_ALL)
    without = world.role("Without", trust({"AWS": A}), ALLOW_ALL)
    client = world.local.client("sts", alice)
    for arn, source in ((first, "bob"), (without, "alice")):
        code = code_of(client.assume_role, RoleArn=arn, RoleSessionName="session", SourceIdentity=source)
        assert code == "AccessDenied"
    answer = client.assume_role(RoleArn=first, RoleSessionName="session", SourceIdentity="alice")
    assert answer["SourceIdentity"] == "alice"
    session = world.key(answer)
    chained = world.local.client("sts", session)
    assert code_of(chained.assume_role, RoleArn=without, RoleSessionName="s2") == "AccessDenied"
    code = code_of(chained.assume_role, RoleArn=second, RoleSessionName="s2", SourceIdentity="mallory")
    assert code == "AccessDenied"
    answer = chained.assume_role(RoleArn=second, RoleSessionName="s2")
    assert answer["SourceIdentity"] == "alice"
    only_alice = {**ALLOW_ALL, "Condition": {"StringEquals": {"aws:SourceIdentity": "alice"}}}
    world.iam.put_role_policy(RoleName="Second", PolicyName="p", PolicyDocument=document(only_alice))
    world.local.client("s3", world.key(answer)).list_buckets()
    record = next(each for each in world.local.records() if each["eventName"] == "ListBuckets")
    assert record["userIdentity"]["sessionContext"]["sourceIdentity"] == "alice"


def test_a_sessions_name_and_role_are_condition_keys(world: World) -> None:
    alice = world.local.new_user("alice", ALLOW_ALL)
    pairs = {
        "aws:PrincipalArn": f"arn:aws:iam::{A}:role/Reader",
        "aws:PrincipalType": "AssumedRole",
        "aws:RoleSessionName": "me",
    }
    arn = world.role(
        "Reader",
        trust({"AWS": A}, StringEquals={"sts:RoleSessionName": "${aws:username}"}),
        {**ALLOW_ALL, "Condition": {"StringEquals": pairs, "StringLike": {"aws:userid": "AROA*:me"}}},
    )
    assert code_of(world.local.client("sts", alice).assume_role, RoleArn=arn, RoleSessionName="me") == "AccessDenied"
    world.iam.update_assume_role_policy(RoleName="Reader", PolicyDocument=trust({"AWS": A}))
    world.local.client("s3", world.assume(alice, arn, "me")).list_buckets()
    assert code_of(world.local.client("s3", world.assume(alice, arn, "you")).list_buckets) == "AccessDenied"


def test_revoked_sessions_and_those_of_a_deleted_role_are_useless(world: World) -> None:
    alice = world.local.new_user("alice", ALLOW_ALL)
    arn = world.role("Reader", trust({"AWS": A}), ALLOW_ALL)
    session = world.assume(alice, arn)
    s3 = world.local.client("s3", session)
    s3.list_buckets()
    revoke = {
        **ALLOW_ALL,
        "Effect": "Deny",
        "Condition": {"DateLessThan": {"aws:TokenIssueTime": "2999-01-01T00:00:00Z"}},
    }
    world.iam.put_role_policy(RoleName="Reader", PolicyName="AWSRevokeOlderSessions", PolicyDocument=document(revoke))
    assert code_of(s3.list_buckets) == "AccessDenied"
    world.iam.delete_role_policy(RoleName="Reader", PolicyName="AWSRevokeOlderSessions")
    s3.list_buckets()

    world.iam.delete_role_policy(RoleName="Reader", PolicyName="p")
    world.iam.delete_role(RoleName="Reader")
    for service, operation, code in (
        ("s3", "list_buckets", "InvalidToken"),
        ("sts", "get_caller_identity", "InvalidClientTokenId"),
        ("cloudtrail", "describe_trails", "UnrecognizedClientException"),
    ):
        assert code_of(getattr(world.local.client(service, session), operation)) == code
    world.role("Reader", trust({"AWS": A}), ALLOW_ALL)  # a namesake, with an id of its own
    assert code_of(s3.list_buckets) == "InvalidToken"


def test_nothing_secret_is_kept_or_logged(world: World, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    alice = world.local.new_user("alice", ALLOW_ALL)
    arn = world.role("Reader", trust({"AWS": A}), ALLOW_ALL)
    keys = [
        world.assume(alice, arn),
        world.key(world.local.client("sts", alice).get_session_token()),
        world.key(world.local.client("sts", alice).get_federation_token(Name="bob")),
    ]
    for key in keys:
        world.local.client("sts", key).get_caller_identity()
        world.local.client("s3", key).generate_presigned_url("list_buckets")
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    journal = [bytes(entry.payload) for entry in world.local.entries()]
    for key in keys:
        assert key.secret.encode() not in kept
        assert not any(key.secret.encode() in payload for payload in journal)
        assert key.secret not in caplog.text
        assert key.token not in caplog.text
        # As at AWS, the record of the call that gave a token out shows it; it proves nothing without the secret.
        (shown,) = (json.loads(payload) for payload in journal if key.token.encode() in payload)
        assert shown["responseElements"]["credentials"]["sessionToken"] == key.token
        assert kept.count(key.token.encode()) == 1


def test_across_accounts_both_sides_must_agree(world: World) -> None:
    local = world.local
    local.runtime.commands()["account-create"]({"name": "second", "account_id": B})
    profiles = configparser.ConfigParser()
    profiles.read(local.runtime.settings.data_dir / "credentials")
    profile = profiles["second"]
    root_b = world.make_key(id=profile["aws_access_key_id"], secret=profile["aws_secret_access_key"])
    iam_b = local.client("iam", root_b)
    arn = iam_b.create_role(RoleName="Shared", AssumeRolePolicyDocument=trust({"AWS": A}))["Role"]["Arn"]
    iam_b.put_role_policy(RoleName="Shared", PolicyName="p", PolicyDocument=document(ALLOW_ALL))
    alice = local.new_user("alice")
    sts = local.client("sts", alice)
    assert code_of(sts.assume_role, RoleArn=arn, RoleSessionName="session") == "AccessDenied"
    grant = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": arn}
    world.iam.put_user_policy(UserName="alice", PolicyName="p", PolicyDocument=document(grant))
    session = world.assume(alice, arn)
    assert local.client("sts", session).get_caller_identity()["Account"] == B

    iam_b.update_assume_role_policy(RoleName="Shared", PolicyDocument=trust({"AWS": B}))
    assert code_of(sts.assume_role, RoleArn=arn, RoleSessionName="session") == "AccessDenied"
    by_name = trust({"AWS": f"arn:aws:iam::{A}:user/alice"})
    iam_b.update_assume_role_policy(RoleName="Shared", PolicyDocument=by_name)
    world.assume(alice, arn)
    world.iam.delete_user_policy(UserName="alice", PolicyName="p")
    assert code_of(sts.assume_role, RoleArn=arn, RoleSessionName="session") == "AccessDenied"

    local.runtime.commands()["account-close"]({"account": B})
    assert code_of(local.client("sts", session).get_caller_identity) == "InvalidClientTokenId"
