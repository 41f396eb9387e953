"""Organizations as boto3 sees it: who may call what, what there is, and every refusal with its code and reason."""

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from sqlalchemy import Engine

from opentrail.core.identity import root_identity
from opentrail.services.base import Service
from opentrail.services.organizations import ORGANIZATIONS_OPERATIONS, OrganizationsDeps
from opentrail.state.accounts import Account, Accounts
from opentrail.state.database import open_database
from opentrail.state.entities import Role
from opentrail.state.identities import Identities
from opentrail.state.organizations import Organizations
from opentrail.state.secret_cipher import SecretCipher

MANAGEMENT, OTHER = "123456789012", "210987654321"
CREATED = datetime(2020, 1, 1, tzinfo=UTC)
DENY = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "s3:*", "Resource": "*"}]})
SCP = "SERVICE_CONTROL_POLICY"
TRAIL = "cloudtrail.amazonaws.com"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(f"sqlite:///{tmp_path / 'state.db'}")
    yield engine
    engine.dispose()


@pytest.fixture
def deps(engine: Engine) -> OrganizationsDeps:
    identities = Identities(engine, SecretCipher(b"k" * 32))
    accounts = Accounts(engine, identities.forget)
    accounts.create(Account(account_id=MANAGEMENT, name="main", email="main@example.com", created=CREATED))
    accounts.create(Account(account_id=OTHER, name="other", email="other@example.com", created=CREATED))
    return OrganizationsDeps(
        organizations=Organizations(engine), accounts=accounts, identities=identities, random_bytes=os.urandom
    )


Client = Callable[[str], Any]


@pytest.fixture
def client(endpoint: Any, deps: OrganizationsDeps) -> Client:
    """Clients that call as the root user of an account."""
    endpoint.services["organizations"] = Service(name="organizations", operations=ORGANIZATIONS_OPERATIONS, deps=deps)
    return lambda account_id: endpoint.client("organizations", identity=root_identity(account_id))


@pytest.fixture
def bare(client: Client) -> Any:
    """The management account's client, of a new organization."""
    organizations = client(MANAGEMENT)
    organizations.create_organization()
    return organizations


@pytest.fixture
def org(bare: Any) -> Any:
    """The same, with service control policies enabled."""
    bare.enable_policy_type(RootId=root_of(bare), PolicyType=SCP)
    return bare


def root_of(org: Any) -> str:
    root_id: str = org.list_roots()["Roots"][0]["Id"]
    return root_id


def make_account(org: Any, name: str = "dev", **parameters: Any) -> str:
    request = org.create_account(AccountName=name, Email=f"{name}@example.com", **parameters)["CreateAccountStatus"]
    status = org.describe_create_account_status(CreateAccountRequestId=request["Id"])["CreateAccountStatus"]
    assert status["State"] == "SUCCEEDED", status
    account_id: str = status["AccountId"]
    return account_id


def make_unit(org: Any, name: str, parent: str = "") -> str:
    unit = org.create_organizational_unit(ParentId=parent or root_of(org), Name=name)["OrganizationalUnit"]
    unit_id: str = unit["Id"]
    return unit_id


def make_policy(org: Any, name: str = "no-s3", content: str = DENY) -> str:
    made = org.create_policy(Name=name, Description="", Type=SCP, Content=content)
    policy_id: str = made["Policy"]["PolicySummary"]["Id"]
    return policy_id


def refusal(operation: Callable[..., object], **parameters: object) -> tuple[str, str]:
    """The code (without ``Exception``) and the reason of a call that must fail."""
    with pytest.raises(ClientError) as caught:
        operation(**parameters)
    response: Any = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert response["Error"]["Message"]
    return response["Error"]["Code"].removesuffix("Exception"), response.get("Reason", "")


def test_an_organization_comes_and_goes(client: Client) -> None:
    org = client(MANAGEMENT)
    made = org.create_organization()["Organization"]
    assert made["Id"].startswith("o-")
    assert made["Arn"] == f"arn:aws:organizations::{MANAGEMENT}:organization/{made['Id']}"
    assert made["MasterAccountArn"] == f"arn:aws:organizations::{MANAGEMENT}:account/{made['Id']}/{MANAGEMENT}"
    assert (made["MasterAccountId"], made["MasterAccountEmail"]) == (MANAGEMENT, "main@example.com")
    assert (made["FeatureSet"], made["AvailablePolicyTypes"]) == ("ALL", [{"Type": SCP, "Status": "ENABLED"}])
    assert org.describe_organization()["Organization"] == made
    root = org.list_roots()["Roots"][0]
    assert (root["Name"], root["PolicyTypes"]) == ("Root", [])
    assert root["Arn"] == f"arn:aws:organizations::{MANAGEMENT}:root/{made['Id']}/{root['Id']}"
    account = org.describe_account(AccountId=MANAGEMENT)["Account"]
    assert (account["Name"], account["Status"], account["State"]) == ("main", "ACTIVE", "ACTIVE")
    assert account["Paths"] == [f"{made['Id']}/{root['Id']}/{MANAGEMENT}/"]
    assert refusal(org.create_organization) == ("AlreadyInOrganization", "")
    org.delete_organization()
    assert refusal(org.describe_organization) == ("AWSOrganizationsNotInUse", "")
    org.create_organization(FeatureSet="CONSOLIDATED_BILLING")


def test_consolidated_billing_has_no_policies(client: Client) -> None:
    org = client(MANAGEMENT)
    assert org.create_organization(FeatureSet="CONSOLIDATED_BILLING")["Organization"]["AvailablePolicyTypes"] == []
    all_features = ("ConstraintViolation", "ORGANIZATION_NOT_IN_ALL_FEATURES_MODE")
    assert refusal(org.enable_policy_type, RootId=root_of(org), PolicyType=SCP) == all_features
    assert refusal(org.enable_aws_service_access, ServicePrincipal=TRAIL) == all_features
    refused = refusal(org.create_policy, Name="p", Description="", Type=SCP, Content=DENY)
    assert refused == ("PolicyTypeNotAvailableForOrganization", "")


def test_without_an_organization_every_operation_says_so(client: Client) -> None:
    other = client(OTHER)
    for operation in (
        other.describe_organization,
        other.delete_organization,
        other.list_accounts,
        other.list_roots,
        other.leave_organization,
        other.list_handshakes_for_organization,
        other.list_create_account_status,
        other.list_aws_service_access_for_organization,
    ):
        assert refusal(operation) == ("AWSOrganizationsNotInUse", "")
    assert other.list_handshakes_for_account()["Handshakes"] == []


def test_a_created_account_can_be_entered_by_the_management_account(org: Any, deps: OrganizationsDeps) -> None:
    request = org.create_account(AccountName="dev", Email="dev@example.com", Tags=[{"Key": "team", "Value": "a"}])
    status = request["CreateAccountStatus"]
    assert (status["State"], status["AccountName"], "AccountId" in status) == ("IN_PROGRESS", "dev", False)
    done = org.describe_create_account_status(CreateAccountRequestId=status["Id"])["CreateAccountStatus"]
    assert (done["State"], done["RequestedTimestamp"]) == ("SUCCEEDED", status["RequestedTimestamp"])
    account = org.describe_account(AccountId=done["AccountId"])["Account"]
    assert (account["Name"], account["Email"], account["JoinedMethod"]) == ("dev", "dev@example.com", "CREATED")
    assert org.list_tags_for_resource(ResourceId=account["Id"])["Tags"] == [{"Key": "team", "Value": "a"}]
    role = deps.identities.find_role(account["Id"], "OrganizationAccountAccessRole")
    assert isinstance(role, Role)
    statement = json.loads(role.trust_policy)["Statement"][0]
    assert statement["Principal"] == {"AWS": f"arn:aws:iam::{MANAGEMENT}:root"}
    with deps.identities.reading() as iam:
        assert iam.policies.attached(role.entity_id) == ["arn:aws:iam::aws:policy/AdministratorAccess"]


def test_the_role_may_have_another_name(org: Any, deps: OrganizationsDeps) -> None:
    account_id = make_account(org, RoleName="Entry")
    assert deps.identities.find_role(account_id, "Entry") is not None
    assert deps.identities.find_role(account_id, "OrganizationAccountAccessRole") is None


def test_an_email_address_has_one_account(org: Any) -> None:
    make_account(org)
    request = org.create_account(AccountName="again", Email="DEV@example.com")["CreateAccountStatus"]
    status = org.describe_create_account_status(CreateAccountRequestId=request["Id"])["CreateAccountStatus"]
    assert (status["State"], status["FailureReason"], "AccountId" in status) == (
        "FAILED",
        "EMAIL_ALREADY_EXISTS",
        False,
    )
    listed = org.list_create_account_status(States=["FAILED"])["CreateAccountStatuses"]
    assert [each["Id"] for each in listed] == [request["Id"]]
    assert len(org.list_accounts()["Accounts"]) == 2
    assert refusal(org.describe_create_account_status, CreateAccountRequestId="car-" + "0" * 32) == (
        "CreateAccountStatusNotFound",
        "",
    )


def test_an_interrupted_creation_is_finished_by_whoever_asks(
    org: Any, deps: OrganizationsDeps, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_account: Account) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(deps.accounts, "create", fail)
        with pytest.raises(KeyboardInterrupt):
            org.create_account(AccountName="dev", Email="dev@example.com")
    assert Organizations(engine).all()[0].requests, "what was asked is kept"
    [status] = org.list_create_account_status()["CreateAccountStatuses"]
    assert status["State"] == "SUCCEEDED"
    assert {each["Name"] for each in org.list_accounts()["Accounts"]} == {"main", "dev"}


def test_a_closed_account_stays_listed(org: Any) -> None:
    account_id = make_account(org)
    org.close_account(AccountId=account_id)
    account = org.describe_account(AccountId=account_id)["Account"]
    assert (account["Status"], account["State"]) == ("SUSPENDED", "CLOSED")
    assert refusal(org.close_account, AccountId=account_id) == ("AccountAlreadyClosed", "")
    assert refusal(org.close_account, AccountId=OTHER) == ("AccountNotFound", "")
    closing = ("ConstraintViolation", "CANNOT_CLOSE_MANAGEMENT_ACCOUNT")
    assert refusal(org.close_account, AccountId=MANAGEMENT) == closing


def test_accounts_leave_or_are_removed(org: Any, client: Client) -> None:
    first, second = make_account(org, "first"), make_account(org, "second")
    assert refusal(org.delete_organization) == ("OrganizationNotEmpty", "")
    org.remove_account_from_organization(AccountId=first)
    client(second).leave_organization()
    assert refusal(client(second).describe_organization) == ("AWSOrganizationsNotInUse", "")
    assert refusal(org.remove_account_from_organization, AccountId=first) == ("AccountNotFound", "")
    leaving = ("MasterCannotLeaveOrganization", "")
    assert refusal(org.leave_organization) == leaving
    assert refusal(org.remove_account_from_organization, AccountId=MANAGEMENT) == leaving
    org.delete_organization()


def test_an_account_that_exists_joins_by_invitation(org: Any, client: Client) -> None:
    tags = [{"Key": "k", "Value": "v"}]
    invited = org.invite_account_to_organization(Target={"Id": OTHER, "Type": "ACCOUNT"}, Notes="hello", Tags=tags)
    handshake = invited["Handshake"]
    organization_id = org.describe_organization()["Organization"]["Id"]
    assert handshake["Arn"] == (
        f"arn:aws:organizations::{MANAGEMENT}:handshake/{organization_id}/invite/{handshake['Id']}"
    )
    assert (handshake["State"], handshake["Action"]) == ("OPEN", "INVITE")
    assert handshake["ExpirationTimestamp"] - handshake["RequestedTimestamp"] == timedelta(days=15)
    assert handshake["Parties"] == [
        {"Id": organization_id, "Type": "ORGANIZATION"},
        {"Id": OTHER, "Type": "ACCOUNT"},
    ]
    assert [each["Type"] for each in handshake["Resources"]] == ["ORGANIZATION", "ACCOUNT", "NOTES"]
    other = client(OTHER)
    assert other.describe_handshake(HandshakeId=handshake["Id"])["Handshake"] == handshake
    assert other.list_handshakes_for_account()["Handshakes"] == [handshake]
    assert refusal(org.accept_handshake, HandshakeId=handshake["Id"]) == ("AccessDenied", "")
    assert refusal(other.cancel_handshake, HandshakeId=handshake["Id"]) == ("AccessDenied", "")
    duplicate = refusal(org.invite_account_to_organization, Target={"Id": "other@example.com", "Type": "EMAIL"})
    assert duplicate == ("DuplicateHandshake", "")
    assert other.accept_handshake(HandshakeId=handshake["Id"])["Handshake"]["State"] == "ACCEPTED"
    assert org.describe_account(AccountId=OTHER)["Account"]["JoinedMethod"] == "INVITED"
    assert org.list_tags_for_resource(ResourceId=OTHER)["Tags"] == tags
    assert refusal(other.accept_handshake, HandshakeId=handshake["Id"]) == ("HandshakeAlreadyInState", "")
    assert refusal(other.decline_handshake, HandshakeId=handshake["Id"]) == ("InvalidHandshakeTransition", "")
    again = refusal(org.invite_account_to_organization, Target={"Id": OTHER, "Type": "ACCOUNT"})
    assert again == ("HandshakeConstraintViolation", "ALREADY_IN_AN_ORGANIZATION")


def test_invitations_are_declined_canceled_or_expire(org: Any, client: Client, endpoint: Any) -> None:
    def invite() -> str:
        made = org.invite_account_to_organization(Target={"Id": "other@example.com", "Type": "EMAIL"})
        handshake_id: str = made["Handshake"]["Id"]
        return handshake_id

    other = client(OTHER)
    declined = invite()
    assert other.decline_handshake(HandshakeId=declined)["Handshake"]["State"] == "DECLINED"
    canceled = invite()
    assert org.cancel_handshake(HandshakeId=canceled)["Handshake"]["State"] == "CANCELED"
    assert refusal(other.accept_handshake, HandshakeId=canceled) == ("InvalidHandshakeTransition", "")
    expired = invite()
    endpoint.now += timedelta(days=15)
    assert refusal(other.accept_handshake, HandshakeId=expired) == ("InvalidHandshakeTransition", "")
    states = {each["Id"]: each["State"] for each in org.list_handshakes_for_organization()["Handshakes"]}
    assert states == {declined: "DECLINED", canceled: "CANCELED", expired: "EXPIRED"}
    assert org.list_handshakes_for_organization(Filter={"ActionType": "ENABLE_ALL_FEATURES"})["Handshakes"] == []


def test_what_has_ended_is_told_of_for_a_while_and_kept_no_longer(
    org: Any, client: Client, endpoint: Any, engine: Engine
) -> None:
    """Handshakes for 30 days after their end, CreateAccount for 90: what nobody can ask for does not pile up."""

    def invite() -> str:
        made = org.invite_account_to_organization(Target={"Id": OTHER, "Type": "ACCOUNT"})
        handshake_id: str = made["Handshake"]["Id"]
        return handshake_id

    def listed(organizations: Any) -> list[str]:
        paginator = organizations.get_paginator(
            "list_handshakes_for_account" if organizations is other else "list_handshakes_for_organization"
        )
        return sorted(each["Id"] for page in paginator.paginate() for each in page["Handshakes"])

    other = client(OTHER)
    request = org.create_account(AccountName="dev", Email="dev@example.com")["CreateAccountStatus"]["Id"]
    declined = invite()
    other.decline_handshake(HandshakeId=declined)
    expired = invite()
    endpoint.now += timedelta(days=29)
    assert listed(org) == listed(other) == sorted([declined, expired])
    endpoint.now += timedelta(days=1)
    assert listed(org) == listed(other) == [expired], "which ended after 15 days"
    assert refusal(other.describe_handshake, HandshakeId=declined) == ("HandshakeNotFound", "")
    assert refusal(other.accept_handshake, HandshakeId=declined) == ("HandshakeNotFound", "")
    endpoint.now += timedelta(days=15)
    last = invite()
    assert listed(org) == listed(other) == [last]
    endpoint.now += timedelta(days=44)
    assert org.describe_create_account_status(CreateAccountRequestId=request)["CreateAccountStatus"]["Id"] == request
    endpoint.now += timedelta(days=1)
    asked = refusal(org.describe_create_account_status, CreateAccountRequestId=request)
    assert asked == ("CreateAccountStatusNotFound", "")
    assert org.list_create_account_status()["CreateAccountStatuses"] == []
    fresh = org.create_account(AccountName="new", Email="new@example.com")["CreateAccountStatus"]["Id"]
    (stored,) = Organizations(engine).all()
    assert (set(stored.requests), set(stored.invitations)) == ({fresh}, set())


def test_only_accounts_that_exist_are_invited(org: Any, client: Client) -> None:
    unknown = ("InvalidInput", "TARGET_NOT_SUPPORTED")
    for target in ({"Id": "000000000001", "Type": "ACCOUNT"}, {"Id": "nobody@example.com", "Type": "EMAIL"}):
        assert refusal(org.invite_account_to_organization, Target=target) == unknown
    wrong = refusal(org.invite_account_to_organization, Target={"Id": "o-1234567890", "Type": "ORGANIZATION"})
    assert wrong == ("InvalidInput", "INVALID_PARTY_TYPE_TARGET")
    handshake = org.invite_account_to_organization(Target={"Id": OTHER, "Type": "ACCOUNT"})["Handshake"]
    stranger = client(make_account(org))
    assert refusal(stranger.describe_handshake, HandshakeId=handshake["Id"]) == ("HandshakeNotFound", "")
    assert refusal(org.describe_handshake, HandshakeId="h-12345678") == ("HandshakeNotFound", "")


def test_units_nest_five_deep(org: Any) -> None:
    root_id, parent = root_of(org), ""
    organization_id = org.describe_organization()["Organization"]["Id"]
    ids = []
    for level in range(5):
        parent = make_unit(org, f"level {level}", parent)
        ids.append(parent)
        assert parent.startswith(f"ou-{root_id.removeprefix('r-')}-")
    too_deep = refusal(org.create_organizational_unit, ParentId=parent, Name="level 5")
    assert too_deep == ("ConstraintViolation", "OU_DEPTH_LIMIT_EXCEEDED")
    unit = org.describe_organizational_unit(OrganizationalUnitId=ids[1])["OrganizationalUnit"]
    assert unit["Path"] == f"{organization_id}/{root_id}/{ids[0]}/{ids[1]}/"
    assert unit["Arn"] == f"arn:aws:organizations::{MANAGEMENT}:ou/{organization_id}/{ids[1]}"
    assert org.list_parents(ChildId=ids[1])["Parents"] == [{"Id": ids[0], "Type": "ORGANIZATIONAL_UNIT"}]
    assert org.list_parents(ChildId=ids[0])["Parents"] == [{"Id": root_id, "Type": "ROOT"}]


def test_units_are_renamed_and_removed(org: Any) -> None:
    first, second = make_unit(org, "first"), make_unit(org, "second")
    assert refusal(org.create_organizational_unit, ParentId=root_of(org), Name="first") == (
        "DuplicateOrganizationalUnit",
        "",
    )
    make_unit(org, "first", first)  # elsewhere the name is free
    assert refusal(org.update_organizational_unit, OrganizationalUnitId=second, Name="first") == (
        "DuplicateOrganizationalUnit",
        "",
    )
    assert refusal(org.delete_organizational_unit, OrganizationalUnitId=first) == ("OrganizationalUnitNotEmpty", "")
    renamed = org.update_organizational_unit(OrganizationalUnitId=second, Name="third")["OrganizationalUnit"]
    assert renamed["Name"] == "third"
    org.delete_organizational_unit(OrganizationalUnitId=second)
    missing = ("OrganizationalUnitNotFound", "")
    assert refusal(org.describe_organizational_unit, OrganizationalUnitId=second) == missing
    assert refusal(org.delete_organizational_unit, OrganizationalUnitId=second) == missing
    assert refusal(org.create_organizational_unit, ParentId=second, Name="x") == ("ParentNotFound", "")


def test_accounts_move(org: Any) -> None:
    root_id, unit, account_id = root_of(org), make_unit(org, "team"), make_account(org)
    move = {"AccountId": account_id, "SourceParentId": root_id, "DestinationParentId": unit}
    org.move_account(**move)
    assert [each["Id"] for each in org.list_accounts_for_parent(ParentId=unit)["Accounts"]] == [account_id]
    assert org.list_children(ParentId=unit, ChildType="ACCOUNT")["Children"] == [{"Id": account_id, "Type": "ACCOUNT"}]
    assert org.list_children(ParentId=unit, ChildType="ORGANIZATIONAL_UNIT")["Children"] == []
    assert [
        each["Id"] for each in org.list_organizational_units_for_parent(ParentId=root_id)["OrganizationalUnits"]
    ] == [unit]
    assert org.list_parents(ChildId=account_id)["Parents"] == [{"Id": unit, "Type": "ORGANIZATIONAL_UNIT"}]
    nowhere = "ou-" + root_id.removeprefix("r-") + "-00000000"
    assert refusal(org.move_account, **move) == ("DuplicateAccount", "")
    assert refusal(org.move_account, **{**move, "AccountId": OTHER}) == ("AccountNotFound", "")
    assert refusal(org.move_account, **{**move, "SourceParentId": nowhere}) == ("SourceParentNotFound", "")
    assert refusal(org.move_account, **{**move, "DestinationParentId": nowhere}) == ("DestinationParentNotFound", "")
    assert refusal(org.list_children, ParentId=nowhere, ChildType="ACCOUNT") == ("ParentNotFound", "")
    assert refusal(org.list_parents, ChildId=nowhere) == ("ChildNotFound", "")
    assert refusal(org.delete_organizational_unit, OrganizationalUnitId=unit) == ("OrganizationalUnitNotEmpty", "")


def test_policies_come_and_go(org: Any) -> None:
    made = org.create_policy(Name="no-s3", Description="none", Type=SCP, Content=DENY)["Policy"]
    summary = made["PolicySummary"]
    organization_id = org.describe_organization()["Organization"]["Id"]
    assert summary["Arn"] == (
        f"arn:aws:organizations::{MANAGEMENT}:policy/{organization_id}/service_control_policy/{summary['Id']}"
    )
    assert (summary["Name"], summary["Type"], summary["AwsManaged"]) == ("no-s3", SCP, False)
    assert made["Content"] == DENY
    assert org.describe_policy(PolicyId=summary["Id"])["Policy"] == made
    updated = org.update_policy(PolicyId=summary["Id"], Description="")["Policy"]["PolicySummary"]
    assert (updated["Name"], updated["Description"]) == ("no-s3", "")
    listed = org.list_policies(Filter=SCP)["Policies"]
    assert {each["Name"] for each in listed} == {"FullAWSAccess", "no-s3"}
    assert org.list_policies(Filter="TAG_POLICY")["Policies"] == []
    org.delete_policy(PolicyId=summary["Id"])
    assert refusal(org.describe_policy, PolicyId=summary["Id"]) == ("PolicyNotFound", "")


def test_policies_that_cannot_be(org: Any) -> None:
    policy_id = make_policy(org)
    create = {"Name": "second", "Description": "", "Type": SCP, "Content": DENY}
    assert refusal(org.create_policy, **{**create, "Name": "no-s3"}) == ("DuplicatePolicy", "")
    assert refusal(org.create_policy, **{**create, "Name": "FullAWSAccess"}) == ("DuplicatePolicy", "")
    other_type = refusal(org.create_policy, **{**create, "Type": "TAG_POLICY"})
    assert other_type == ("PolicyTypeNotAvailableForOrganization", "")
    too_long = refusal(org.create_policy, **{**create, "Content": DENY + " " * 5120})
    assert too_long == ("ConstraintViolation", "POLICY_CONTENT_LIMIT_EXCEEDED")
    statements: list[object] = [
        "not json",
        {"Version": "2012-10-17", "Statement": [{"Effect": "Maybe", "Action": "*", "Resource": "*"}]},
        {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"}]},
    ]
    for content in statements:
        refused = refusal(org.create_policy, **{**create, "Content": json.dumps(content)})
        assert refused == ("MalformedPolicyDocument", "")
    assert refusal(org.update_policy, PolicyId=policy_id, Content="{}") == ("MalformedPolicyDocument", "")
    immutable = ("InvalidInput", "IMMUTABLE_POLICY")
    assert refusal(org.update_policy, PolicyId="p-FullAWSAccess", Name="x") == immutable
    assert refusal(org.delete_policy, PolicyId="p-FullAWSAccess") == immutable
    assert org.describe_policy(PolicyId="p-FullAWSAccess")["Policy"]["PolicySummary"]["Arn"] == (
        "arn:aws:organizations::aws:policy/service_control_policy/p-FullAWSAccess"
    )


def test_policies_are_attached_and_detached(org: Any) -> None:
    root_id, account_id, policy_id = root_of(org), make_account(org), make_policy(org)
    unit = make_unit(org, "team")
    for target in (root_id, account_id, unit):
        assert [each["Id"] for each in org.list_policies_for_target(TargetId=target, Filter=SCP)["Policies"]] == [
            "p-FullAWSAccess"
        ]
        org.attach_policy(PolicyId=policy_id, TargetId=target)
    targets = org.list_targets_for_policy(PolicyId=policy_id)["Targets"]
    assert {(each["TargetId"], each["Type"], each["Name"]) for each in targets} == {
        (root_id, "ROOT", "Root"),
        (unit, "ORGANIZATIONAL_UNIT", "team"),
        (account_id, "ACCOUNT", "dev"),
    }
    assert refusal(org.attach_policy, PolicyId=policy_id, TargetId=unit) == ("DuplicatePolicyAttachment", "")
    assert refusal(org.delete_policy, PolicyId=policy_id) == ("PolicyInUse", "")
    org.detach_policy(PolicyId="p-FullAWSAccess", TargetId=unit)
    assert refusal(org.detach_policy, PolicyId="p-FullAWSAccess", TargetId=unit) == ("PolicyNotAttached", "")
    last = refusal(org.detach_policy, PolicyId=policy_id, TargetId=unit)
    assert last == ("ConstraintViolation", "MIN_POLICY_TYPE_ATTACHMENT_LIMIT_EXCEEDED")
    assert refusal(org.attach_policy, PolicyId="p-00000000", TargetId=unit) == ("PolicyNotFound", "")
    assert refusal(org.attach_policy, PolicyId=policy_id, TargetId=OTHER) == ("TargetNotFound", "")
    for number in range(4):
        org.attach_policy(PolicyId=make_policy(org, f"policy {number}"), TargetId=unit)
    full = refusal(org.attach_policy, PolicyId="p-FullAWSAccess", TargetId=unit)
    assert full == ("ConstraintViolation", "MAX_POLICY_TYPE_ATTACHMENT_LIMIT_EXCEEDED")


def test_the_policy_type_is_enabled_and_disabled(bare: Any) -> None:
    root_id = root_of(bare)
    policy_id = make_policy(bare)
    assert refusal(bare.attach_policy, PolicyId=policy_id, TargetId=root_id) == ("PolicyTypeNotEnabled", "")
    assert refusal(bare.disable_policy_type, RootId=root_id, PolicyType=SCP) == ("PolicyTypeNotEnabled", "")
    assert refusal(bare.enable_policy_type, RootId="r-0000x", PolicyType=SCP) == ("RootNotFound", "")
    tags = refusal(bare.enable_policy_type, RootId=root_id, PolicyType="TAG_POLICY")
    assert tags == ("PolicyTypeNotAvailableForOrganization", "")
    enabled = bare.enable_policy_type(RootId=root_id, PolicyType=SCP)["Root"]
    assert enabled["PolicyTypes"] == [{"Type": SCP, "Status": "ENABLED"}]
    assert refusal(bare.enable_policy_type, RootId=root_id, PolicyType=SCP) == ("PolicyTypeAlreadyEnabled", "")
    bare.attach_policy(PolicyId=policy_id, TargetId=root_id)
    assert bare.disable_policy_type(RootId=root_id, PolicyType=SCP)["Root"]["PolicyTypes"] == []
    bare.delete_policy(PolicyId=policy_id)  # it was detached


def test_services_get_access_and_administrators(org: Any, client: Client) -> None:
    account_id = make_account(org)
    register = {"AccountId": account_id, "ServicePrincipal": TRAIL}
    assert refusal(org.register_delegated_administrator, **register) == (
        "ConstraintViolation",
        "SERVICE_ACCESS_NOT_ENABLED",
    )
    unknown = refusal(org.enable_aws_service_access, ServicePrincipal="cloudtrail")
    assert unknown == ("InvalidInput", "UNRECOGNIZED_SERVICE_PRINCIPAL")
    org.enable_aws_service_access(ServicePrincipal=TRAIL)
    org.enable_aws_service_access(ServicePrincipal=TRAIL)
    assert [
        each["ServicePrincipal"] for each in org.list_aws_service_access_for_organization()["EnabledServicePrincipals"]
    ] == [TRAIL]
    assert refusal(org.list_delegated_services_for_account, AccountId=account_id) == ("AccountNotRegistered", "")
    org.register_delegated_administrator(**register)
    assert refusal(org.register_delegated_administrator, **register) == ("AccountAlreadyRegistered", "")
    master = refusal(org.register_delegated_administrator, AccountId=MANAGEMENT, ServicePrincipal=TRAIL)
    assert master == ("ConstraintViolation", "CANNOT_REGISTER_MASTER_AS_DELEGATED_ADMINISTRATOR")
    [administrator] = org.list_delegated_administrators(ServicePrincipal=TRAIL)["DelegatedAdministrators"]
    assert (administrator["Id"], administrator["Name"]) == (account_id, "dev")
    assert org.list_delegated_administrators(ServicePrincipal="config.amazonaws.com")["DelegatedAdministrators"] == []
    [service] = org.list_delegated_services_for_account(AccountId=account_id)["DelegatedServices"]
    assert (service["ServicePrincipal"], service["DelegationEnabledDate"]) == (
        TRAIL,
        administrator["DelegationEnabledDate"],
    )
    in_use = refusal(org.disable_aws_service_access, ServicePrincipal=TRAIL)
    assert in_use == ("ConstraintViolation", "DELEGATED_ADMINISTRATOR_EXISTS_FOR_THIS_SERVICE")
    staying = refusal(client(account_id).leave_organization)
    assert staying == ("ConstraintViolation", "CANNOT_REMOVE_DELEGATED_ADMINISTRATOR_FROM_ORG")
    assert client(account_id).list_accounts()["Accounts"], "a delegated administrator reads"
    assert refusal(client(account_id).create_policy, Name="p", Description="", Type=SCP, Content=DENY) == (
        "AccessDenied",
        "",
    )
    org.deregister_delegated_administrator(**register)
    assert refusal(org.deregister_delegated_administrator, **register) == ("AccountNotRegistered", "")
    org.disable_aws_service_access(ServicePrincipal=TRAIL)
    assert org.list_aws_service_access_for_organization()["EnabledServicePrincipals"] == []


def test_a_closed_account_administers_nothing(org: Any) -> None:
    account_id = make_account(org)
    org.enable_aws_service_access(ServicePrincipal=TRAIL)
    org.close_account(AccountId=account_id)
    refused = refusal(org.register_delegated_administrator, AccountId=account_id, ServicePrincipal=TRAIL)
    assert refused == ("ConstraintViolation", "CANNOT_REGISTER_SUSPENDED_ACCOUNT_AS_DELEGATED_ADMINISTRATOR")


def test_a_member_reads_its_organization_and_nothing_else(org: Any, client: Client) -> None:
    member = client(make_account(org))
    assert member.describe_organization() is not None
    denied = ("AccessDenied", "")
    root_id = root_of(org)
    assert refusal(member.list_accounts) == denied
    assert refusal(member.list_roots) == denied
    assert refusal(member.delete_organization) == denied
    assert refusal(member.create_account, AccountName="x", Email="x@example.com") == denied
    assert refusal(member.create_organizational_unit, ParentId=root_id, Name="x") == denied
    assert refusal(member.attach_policy, PolicyId="p-FullAWSAccess", TargetId=root_id) == denied
    assert refusal(member.close_account, AccountId=MANAGEMENT) == denied
    assert refusal(member.invite_account_to_organization, Target={"Id": OTHER, "Type": "ACCOUNT"}) == denied
    assert refusal(member.tag_resource, ResourceId=root_id, Tags=[{"Key": "a", "Value": "b"}]) == denied
    assert refusal(member.create_organization) == ("AlreadyInOrganization", "")


def test_texts_that_nothing_can_hold(org: Any) -> None:
    root_id, wrong = root_of(org), ("InvalidInput", "INVALID_PATTERN")
    assert refusal(org.create_organizational_unit, ParentId=root_id, Name="a\0") == wrong
    assert refusal(org.create_policy, Name="a\0", Description="", Type=SCP, Content=DENY) == wrong
    assert refusal(org.update_policy, PolicyId=make_policy(org), Description="\0") == wrong
    target = {"Id": OTHER, "Type": "ACCOUNT"}
    assert refusal(org.invite_account_to_organization, Target=target, Notes="\0") == wrong
    assert refusal(org.invite_account_to_organization, Target={**target, "Id": "\0"}) == wrong
    unit = org.create_organizational_unit(ParentId=root_id, Name="Ünit \U0001f600")["OrganizationalUnit"]
    assert unit["Name"] == "Ünit \U0001f600"


def test_tags(org: Any) -> None:
    for resource_id in (root_of(org), make_unit(org, "team"), make_account(org), make_policy(org)):
        tags = [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}]
        org.tag_resource(ResourceId=resource_id, Tags=tags)
        org.tag_resource(ResourceId=resource_id, Tags=[{"Key": "a", "Value": "2"}])
        org.untag_resource(ResourceId=resource_id, TagKeys=["b", "none"])
        assert org.list_tags_for_resource(ResourceId=resource_id)["Tags"] == [{"Key": "a", "Value": "2"}]
    tag: Callable[..., object] = org.tag_resource
    twice = refusal(tag, ResourceId=MANAGEMENT, Tags=[{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}])
    assert twice == ("InvalidInput", "DUPLICATE_TAG_KEY")
    reserved = refusal(tag, ResourceId=MANAGEMENT, Tags=[{"Key": "aws:x", "Value": "1"}])
    assert reserved == ("InvalidInput", "INVALID_SYSTEM_TAGS_PARAMETER")
    odd = refusal(tag, ResourceId=MANAGEMENT, Tags=[{"Key": "a", "Value": "<b>"}])
    assert odd == ("InvalidInput", "INVALID_PATTERN")
    tag(ResourceId=MANAGEMENT, Tags=[{"Key": "Kosten Straße", "Value": "a_b.c:d/e=f+g-h@i 1"}])
    many = [{"Key": str(number), "Value": ""} for number in range(51)]
    assert refusal(tag, ResourceId=MANAGEMENT, Tags=many) == ("ConstraintViolation", "MAX_TAG_LIMIT_EXCEEDED")
    assert refusal(tag, ResourceId=OTHER, Tags=[{"Key": "a", "Value": "1"}]) == ("TargetNotFound", "")
    assert refusal(org.list_tags_for_resource, ResourceId="p-00000000") == ("TargetNotFound", "")


def test_pages(org: Any) -> None:
    ids = {make_account(org, f"account-{number:02}") for number in range(24)} | {MANAGEMENT}
    first = org.list_accounts()
    assert len(first["Accounts"]) == 20
    listed = [
        account["Id"]
        for page in org.get_paginator("list_accounts").paginate(PaginationConfig={"PageSize": 7})
        for account in page["Accounts"]
    ]
    assert len(listed) == len(ids)
    assert set(listed) == ids
    statuses = org.get_paginator("list_create_account_status").paginate().build_full_result()["CreateAccountStatuses"]
    assert len(statuses) == 24
    children = org.get_paginator("list_children").paginate(ParentId=root_of(org), ChildType="ACCOUNT")
    assert {each["Id"] for each in children.build_full_result()["Children"]} == ids
    targets = org.get_paginator("list_targets_for_policy").paginate(PolicyId="p-FullAWSAccess").build_full_result()
    assert len(targets["Targets"]) == 26
    assert refusal(org.list_accounts, NextToken="\x7f") == ("InvalidInput", "INVALID_NEXT_TOKEN")


def test_what_each_operation_needs(org: Any, endpoint: Any) -> None:
    organization_id, root_id = org.describe_organization()["Organization"]["Id"], root_of(org)
    account_id, policy_id = make_account(org), make_policy(org)
    org.tag_resource(ResourceId=account_id, Tags=[{"Key": "Team", "Value": "a"}])
    org.attach_policy(PolicyId=policy_id, TargetId=account_id)
    prefix = f"arn:aws:organizations::{MANAGEMENT}"
    assert [(each.action, each.resource) for each in endpoint.permissions] == [
        ("organizations:AttachPolicy", f"{prefix}:policy/{organization_id}/service_control_policy/{policy_id}"),
        ("organizations:AttachPolicy", f"{prefix}:account/{organization_id}/{account_id}"),
    ]
    assert endpoint.permissions[0].context["organizations:policytype"] == [SCP]
    assert endpoint.permissions[1].context["aws:resourcetag/team"] == ["a"]
    org.list_organizational_units_for_parent(ParentId=root_id)
    assert endpoint.permissions[0].resource == f"{prefix}:root/{organization_id}/{root_id}"
    org.enable_aws_service_access(ServicePrincipal=TRAIL)
    assert endpoint.permissions[0].resource == "*"
    assert endpoint.permissions[0].context == {"organizations:serviceprincipal": [TRAIL]}


def test_what_was_done_is_there_after_a_restart(org: Any, engine: Engine) -> None:
    unit, policy_id = make_unit(org, "team"), make_policy(org)
    account_id = make_account(org, Tags=[{"Key": "a", "Value": "1"}])
    org.move_account(AccountId=account_id, SourceParentId=root_of(org), DestinationParentId=unit)
    org.attach_policy(PolicyId=policy_id, TargetId=unit)
    org.enable_aws_service_access(ServicePrincipal=TRAIL)
    org.register_delegated_administrator(AccountId=account_id, ServicePrincipal=TRAIL)
    org.invite_account_to_organization(Target={"Id": OTHER, "Type": "ACCOUNT"})
    before = [
        org.describe_organization()["Organization"]["Id"],
        account_id,
        unit,
        policy_id,
    ]
    [read] = Organizations(engine).all()
    assert [read.organization_id, *read.members.keys() - {MANAGEMENT}] == before[:2]
    assert read.units[unit].policy_ids == ("p-FullAWSAccess", policy_id)
    assert read.members[account_id].parent_id == unit
    assert read.members[account_id].tags == {"a": "1"}
    assert list(read.delegations) == [(account_id, TRAIL)]
    assert [each.account_id for each in read.invitations.values()] == [OTHER]
