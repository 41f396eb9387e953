"""Organizations on the live endpoint: created accounts are entered, policies bind them, closed accounts are shut."""

from __future__ import annotations

import configparser
import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

SCP = "SERVICE_CONTROL_POLICY"


class World:
    """An organization with one member, and clients of both accounts."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.org = server.client("organizations")
        self.management: str = server.client("sts").get_caller_identity()["Account"]
        self.org.create_organization()
        self.root: str = self.org.list_roots()["Roots"][0]["Id"]
        self.org.enable_policy_type(RootId=self.root, PolicyType=SCP)
        iam = server.client("iam")
        iam.create_user(UserName="admin")
        iam.attach_user_policy(UserName="admin", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
        self.admin = iam.create_access_key(UserName="admin")["AccessKey"]
        self.member = self.make_account("member")

    def make_account(self, name: str) -> str:
        """A new member; its ID."""
        request = self.org.create_account(AccountName=name, Email=f"{name}@example.com")["CreateAccountStatus"]
        status = self.org.describe_create_account_status(CreateAccountRequestId=request["Id"])
        account_id: str = status["CreateAccountStatus"]["AccountId"]
        return account_id

    def connect(self, service: str, credentials: Any) -> Any:
        """A client with an access key, or with the credentials of a session."""
        make: Callable[..., Any] = boto3.client  # its overloads want the service's name as a literal
        client = make(
            service,
            region_name="us-east-1",
            endpoint_url=self.server.url,
            aws_access_key_id=credentials["AccessKeyId"],
            aws_secret_access_key=credentials["SecretAccessKey"],
            aws_session_token=credentials.get("SessionToken"),
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )
        self.server.clients.append(client)
        return client

    def enter(self, account_id: str) -> Any:
        """Credentials in a member, by the role that came with it."""
        arn = f"arn:aws:iam::{account_id}:role/OrganizationAccountAccessRole"
        sts = self.connect("sts", self.admin)
        return sts.assume_role(RoleArn=arn, RoleSessionName="admin")["Credentials"]

    def attach(self, name: str, *statements: dict[str, Any], target: str) -> str:
        """A new policy, attached; its ID."""
        content = json.dumps({"Version": "2012-10-17", "Statement": statements})
        made = self.org.create_policy(Name=name, Description="", Type=SCP, Content=content)
        policy_id: str = made["Policy"]["PolicySummary"]["Id"]
        self.org.attach_policy(PolicyId=policy_id, TargetId=target)
        return policy_id


@pytest.fixture(scope="module")
def world(server: Any) -> World:
    return World(server)


def denied(operation: Callable[..., object], **parameters: object) -> str:
    """The message of a call that must be denied."""
    with pytest.raises(ClientError) as caught:
        operation(**parameters)
    error = caught.value.response["Error"]
    assert error["Code"] in {"AccessDenied", "AccessDeniedException"}, error
    return error["Message"]


def test_a_member_is_bound_by_a_deny_and_the_management_account_is_not(world: World) -> None:
    member = world.connect("s3", world.enter(world.member))
    member.create_bucket(Bucket="member-bucket")
    policy_id = world.attach("no-s3", {"Effect": "Deny", "Action": "s3:ListBucket", "Resource": "*"}, target=world.root)
    message = denied(member.list_objects_v2, Bucket="member-bucket")
    role = f"arn:aws:sts::{world.member}:assumed-role/OrganizationAccountAccessRole/admin"
    assert message.startswith(f"User: {role} is not authorized to perform: s3:ListBucket")
    assert "with an explicit deny in a service control policy" in message
    own = world.server.client("s3")
    own.create_bucket(Bucket="management-bucket")
    own.list_objects_v2(Bucket="management-bucket")
    world.org.detach_policy(PolicyId=policy_id, TargetId=world.root)
    member.list_objects_v2(Bucket="member-bucket")


def test_every_level_must_allow(world: World) -> None:
    account_id = world.make_account("levels")
    unit = world.org.create_organizational_unit(ParentId=world.root, Name="levels")["OrganizationalUnit"]["Id"]
    world.org.move_account(AccountId=account_id, SourceParentId=world.root, DestinationParentId=unit)
    entered = world.enter(account_id)
    world.attach("only-iam", {"Effect": "Allow", "Action": ["iam:*", "sts:*"], "Resource": "*"}, target=unit)
    world.org.detach_policy(PolicyId="p-FullAWSAccess", TargetId=unit)
    world.connect("iam", entered).list_users()
    message = denied(world.connect("s3", entered).list_buckets)
    assert "because no service control policy allows the s3:ListAllMyBuckets action" in message
    world.org.move_account(AccountId=account_id, SourceParentId=unit, DestinationParentId=world.root)
    world.connect("s3", entered).list_buckets()


def test_a_members_root_user_is_bound_too(world: World, run_opentrail_here: Any) -> None:
    done = run_opentrail_here("account", "create", "joiner", "--data-dir", str(world.server.data_dir), "--json")
    account_id = json.loads(done.stdout)["account"]["account_id"]
    profile = _profile(world.server.data_dir / "credentials", "joiner")
    joiner = world.connect("organizations", profile)
    invited = world.org.invite_account_to_organization(Target={"Id": account_id, "Type": "ACCOUNT"})["Handshake"]
    joiner.accept_handshake(HandshakeId=invited["Id"])
    s3 = world.connect("s3", profile)
    s3.list_buckets()
    world.attach("no-lists", {"Effect": "Deny", "Action": "s3:ListAllMyBuckets", "Resource": "*"}, target=account_id)
    assert "with an explicit deny in a service control policy" in denied(s3.list_buckets)
    joiner.leave_organization()
    s3.list_buckets()


def test_a_closed_account_is_shut_at_once(world: World) -> None:
    account_id = world.make_account("closing")
    entered = world.enter(account_id)
    iam = world.connect("iam", entered)
    iam.create_user(UserName="keeper")
    iam.attach_user_policy(UserName="keeper", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
    key = iam.create_access_key(UserName="keeper")["AccessKey"]
    keeper = world.connect("sts", key)
    session = world.connect("sts", entered)
    assert keeper.get_caller_identity()["Account"] == session.get_caller_identity()["Account"] == account_id
    world.org.close_account(AccountId=account_id)
    for client in (keeper, session):
        with pytest.raises(ClientError) as caught:
            client.get_caller_identity()
        assert caught.value.response["Error"]["Code"] == "InvalidClientTokenId"
    with pytest.raises(ClientError) as caught:
        world.enter(account_id)
    assert caught.value.response["Error"]["Code"] == "AccessDenied"
    assert world.org.describe_account(AccountId=account_id)["Account"]["Status"] == "SUSPENDED"


def test_policies_decide_who_may_manage_the_organization(world: World) -> None:
    iam = world.server.client("iam")
    iam.create_user(UserName="reader")
    statement = {"Effect": "Allow", "Action": "organizations:Describe*", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=document)
    reader = world.connect("organizations", iam.create_access_key(UserName="reader")["AccessKey"])
    assert reader.describe_account(AccountId=world.member)["Account"]["Id"] == world.member
    assert "organizations:ListAccounts" in denied(reader.list_accounts)
    assert "organizations:CloseAccount" in denied(reader.close_account, AccountId=world.member)


@pytest.mark.parametrize(
    ("operation", "parameters", "reason"),
    [
        ("describe_account", {"AccountId": "12"}, "INVALID_PATTERN"),
        (
            "create_policy",
            {"Name": "x", "Description": "", "Type": "NO_POLICY", "Content": "{}"},
            "INVALID_ENUM_POLICY_TYPE",
        ),
        ("list_children", {"ParentId": "r-1234", "ChildType": "TREE"}, "INVALID_ENUM"),
        ("list_accounts", {"MaxResults": 21}, "MAX_VALUE_EXCEEDED"),
        ("list_accounts", {"MaxResults": 0}, "MIN_VALUE_EXCEEDED"),
        ("create_account", {"AccountName": "x" * 51, "Email": "long@example.com"}, "MAX_LENGTH_EXCEEDED"),
        ("create_organizational_unit", {"ParentId": "r-1234", "Name": ""}, "MIN_LENGTH_EXCEEDED"),
        ("describe_organizational_unit", {}, "INPUT_REQUIRED"),
        ("create_account", {"AccountName": "x", "Email": "x@example.com", "RoleName": "a/b"}, "INVALID_PATTERN"),
    ],
)
def test_what_the_model_forbids(world: World, operation: str, parameters: dict[str, Any], reason: str) -> None:
    client = world.server.client("organizations", parameter_validation=False)
    with pytest.raises(ClientError) as caught:
        getattr(client, operation)(**parameters)
    response: Any = caught.value.response
    assert (response["Error"]["Code"], response["Reason"]) == ("InvalidInputException", reason)
    assert "failed to satisfy constraint" in response["Error"]["Message"]


def _profile(path: Any, name: str) -> dict[str, str]:
    parser = configparser.ConfigParser()
    parser.read(path)
    words = parser[name]
    return {"AccessKeyId": words["aws_access_key_id"], "SecretAccessKey": words["aws_secret_access_key"]}


def test_every_step_is_in_the_record(serve: Any) -> None:
    server = serve()
    org = server.client("organizations")
    org.create_organization()
    org.create_account(AccountName="Secret Project", Email="secret@example.com")
    with pytest.raises(ClientError):
        org.describe_account(AccountId="000000000000")
    assert server.stop() == 0
    records = {each["eventName"]: each for each in server.records()}
    made = records["CreateAccount"]
    assert (made["eventSource"], made["awsRegion"]) == ("organizations.amazonaws.com", "us-east-1")
    assert made["responseElements"]["createAccountStatus"]["state"] == "IN_PROGRESS"
    assert "secret@example.com" not in json.dumps(records)
    assert "Secret Project" not in json.dumps(records)
    assert records["DescribeAccount"]["errorCode"] == "AccountNotFoundException"
