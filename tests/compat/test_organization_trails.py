"""Organization trails as boto3 sees them: from the management account, a delegated administrator, a member, outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from opentrail.core.errors import ServiceFault
from opentrail.core.identity import root_identity
from opentrail.core.organizations import Delegation, Member, Organization, ServiceAccess, Unit
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import Permission, Service
from opentrail.services.cloudtrail import CLOUDTRAIL_OPERATIONS, CloudTrailDeps
from opentrail.state.accounts import Account, Accounts
from opentrail.state.channels import AcceptedEvents, Channels
from opentrail.state.database import open_database
from opentrail.state.deliveries import Channel, Deliveries
from opentrail.state.organizations import Organizations
from opentrail.state.trails import Trails

MANAGEMENT, DELEGATE, MEMBER, OUTSIDER = "111111111111", "222222222222", "333333333333", "444444444444"
ORGANIZATION, CLOUDTRAIL = "o-a1b2c3d4e5", "cloudtrail.amazonaws.com"
ARN = f"arn:aws:cloudtrail:us-east-1:{MANAGEMENT}:trail/company"
NOW = datetime(2024, 1, 1, tzinfo=UTC)
FOLDERS = [f"AWSLogs/{ORGANIZATION}/{account}/" for account in (MANAGEMENT, DELEGATE, MEMBER)]

Fault = Callable[..., dict[str, Any]]


@dataclass
class World:
    """An organization, and the clients of its accounts and of one outside.  ``serve`` comes first."""

    endpoint: Any
    checked: list[tuple[str, Sequence[str], str]] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)  # permissions that the caller lacks
    deps: CloudTrailDeps = field(init=False)

    def serve(self, deps: CloudTrailDeps) -> None:
        self.deps = deps
        service = Service(name="cloudtrail", operations=CLOUDTRAIL_OPERATIONS, deps=deps)
        self.endpoint.services["cloudtrail"] = service

    def check_bucket(self, bucket: str, folders: Sequence[str], trail_arn: str) -> None:
        self.checked.append((bucket, folders, trail_arn))

    def authorise(self, _call: ApiCall, permission: Permission) -> ServiceFault | None:
        return ServiceFault("AccessDenied") if permission.action in self.missing else None

    def client(self, account: str, region: str = "us-east-1") -> Any:
        return self.endpoint.client("cloudtrail", region, root_identity(account, "AKIAROOT"))

    def change(self, **changes: Any) -> None:
        self.deps.organizations.change(ORGANIZATION, lambda organization: replace(organization, **changes))


@pytest.fixture
def world(tmp_path: Path, endpoint: Any) -> Iterator[World]:
    engine = open_database(f"sqlite:///{tmp_path / 'state.db'}")
    accounts = Accounts(engine)
    for account in (MANAGEMENT, DELEGATE, MEMBER, OUTSIDER):
        accounts.create(Account(account_id=account, name=account, email=f"{account}@example.com", created=NOW))
    organizations = Organizations(engine)
    root = Unit(unit_id="r-ab12", parent_id="", name="Root")
    organizations.create(
        Organization(
            organization_id=ORGANIZATION,
            management_account_id=MANAGEMENT,
            feature_set="ALL",
            units={root.unit_id: root},
            members={
                each: Member(account_id=each, parent_id=root.unit_id, joined_method="CREATED", joined=NOW)
                for each in (MANAGEMENT, DELEGATE, MEMBER)
            },
            services={CLOUDTRAIL: ServiceAccess(service_principal=CLOUDTRAIL, enabled=NOW)},
            delegations={
                (DELEGATE, CLOUDTRAIL): Delegation(account_id=DELEGATE, service_principal=CLOUDTRAIL, enabled=NOW)
            },
        )
    )
    made = World(endpoint=endpoint)
    made.serve(
        CloudTrailDeps(
            trails=Trails(engine),
            deliveries=Deliveries(engine),
            organizations=organizations,
            check_bucket=made.check_bucket,
            public_keys=lambda _region, _start, _end: (),
            authorise=made.authorise,
            channels=Channels(engine),
            accepted=AcceptedEvents(engine),
            unique_id_of=lambda _name: None,
            arn_of=lambda _unique_id: None,
        )
    )
    yield made
    engine.dispose()


def create(client: Any, name: str = "company", **settings: Any) -> dict[str, Any]:
    made: dict[str, Any] = client.create_trail(
        **{"Name": name, "S3BucketName": "logs", "IsOrganizationTrail": True, **settings}
    )
    return made


@pytest.mark.parametrize("maker", [MANAGEMENT, DELEGATE])
def test_the_management_account_owns_the_trail_whoever_made_it(world: World, maker: str) -> None:
    made = create(world.client(maker), S3KeyPrefix="p")
    assert (made["TrailARN"], made["IsOrganizationTrail"]) == (ARN, True)
    assert world.checked == [("logs", [f"p/{folder}" for folder in FOLDERS], ARN)]
    trail = world.client(MANAGEMENT).get_trail(Name="company")["Trail"]
    assert (trail["TrailARN"], trail["HomeRegion"], trail["IsOrganizationTrail"]) == (ARN, "us-east-1", True)


def test_every_account_sees_it_and_an_outsider_does_not(world: World, fault_of: Fault) -> None:
    create(world.client(MANAGEMENT), IsMultiRegionTrail=True)
    world.client(MEMBER).create_trail(Name="own", S3BucketName="logs")
    for account in (MANAGEMENT, DELEGATE, MEMBER):
        client = world.client(account)
        assert client.get_trail(Name=ARN)["Trail"]["Name"] == "company"
        assert client.get_trail_status(Name=ARN)["IsLogging"] is False
        assert client.get_event_selectors(TrailName=ARN)["TrailARN"] == ARN
        assert ARN in [each["TrailARN"] for each in client.list_trails()["Trails"]]
        assert ARN in [each["TrailARN"] for each in client.describe_trails()["trailList"]]
        assert [each["TrailARN"] for each in client.describe_trails(trailNameList=[ARN])["trailList"]] == [ARN]
        assert client.list_tags(ResourceIdList=[ARN])["ResourceTagList"] == [{"ResourceId": ARN, "TagsList": []}]
    outsider = world.client(OUTSIDER)
    assert outsider.list_trails()["Trails"] == []
    assert outsider.describe_trails(trailNameList=[ARN])["trailList"] == []
    assert fault_of(outsider.get_trail, Name=ARN)["Code"] == "TrailNotFoundException"
    assert fault_of(outsider.get_trail_status, Name=ARN)["Code"] == "TrailNotFoundException"
    assert fault_of(outsider.list_tags, ResourceIdList=[ARN])["Code"] == "CloudTrailARNInvalidException"
    assert fault_of(outsider.update_trail, Name=ARN)["Code"] == "TrailNotFoundException"


def test_in_a_member_account_it_is_a_shadow(world: World, fault_of: Fault) -> None:
    create(world.client(MANAGEMENT))
    own = world.client(MEMBER).create_trail(Name="own", S3BucketName="logs")["TrailARN"]
    member = world.client(MEMBER)
    without = member.describe_trails(includeShadowTrails=False)["trailList"]
    assert [each["TrailARN"] for each in without] == [own]
    management = world.client(MANAGEMENT).describe_trails(includeShadowTrails=False)["trailList"]
    assert [each["TrailARN"] for each in management] == [ARN]
    assert fault_of(member.get_trail, Name="company")["Code"] == "TrailNotFoundException", "it takes the ARN"
    elsewhere = world.client(MEMBER, "eu-central-1").describe_trails()["trailList"]
    assert elsewhere == [], "a trail of one region is seen there alone"


def test_a_member_changes_nothing(world: World, fault_of: Fault) -> None:
    create(world.client(MANAGEMENT))
    before = world.deps.trails.generation
    tag = {"ResourceId": ARN, "TagsList": [{"Key": "k", "Value": "v"}]}
    changes: list[tuple[str, dict[str, Any]]] = [
        ("update_trail", {"Name": ARN, "S3KeyPrefix": "mine"}),
        ("delete_trail", {"Name": ARN}),
        ("start_logging", {"Name": ARN}),
        ("stop_logging", {"Name": ARN}),
        ("put_event_selectors", {"TrailName": ARN, "EventSelectors": [{"ReadWriteType": "ReadOnly"}]}),
        ("add_tags", tag),
        ("remove_tags", tag),
    ]
    for name, parameters in changes:
        fault = fault_of(getattr(world.client(MEMBER), name), **parameters)
        assert fault["Code"] == "NotOrganizationMasterAccountException", name
    assert world.deps.trails.generation == before
    for name, parameters in changes[::-1]:  # the delegated administrator does all of it
        if name != "delete_trail":
            getattr(world.client(DELEGATE), name)(**parameters)
    world.client(DELEGATE).delete_trail(Name=ARN)
    assert world.client(MANAGEMENT).list_trails()["Trails"] == []


def test_what_stands_in_the_way_of_an_organization_trail(world: World, fault_of: Fault) -> None:
    def code(account: str) -> str:
        return str(fault_of(create, client=world.client(account))["Code"])

    assert code(OUTSIDER) == "OrganizationsNotInUseException"
    assert code(MEMBER) == "NotOrganizationMasterAccountException"
    world.missing = {"organizations:DescribeOrganization"}
    assert code(MANAGEMENT) == "InsufficientDependencyServiceAccessPermissionException"
    world.missing = set()
    world.change(services={})
    assert code(MANAGEMENT) == code(DELEGATE) == "CloudTrailAccessNotEnabledException"
    world.change(feature_set="CONSOLIDATED_BILLING")
    assert code(MANAGEMENT) == "OrganizationNotInAllFeaturesModeException"
    world.change(delegations={})
    assert code(DELEGATE) == "NotOrganizationMasterAccountException"
    assert world.checked == []


def test_only_the_management_account_converts(world: World, fault_of: Fault) -> None:
    management, delegate = world.client(MANAGEMENT), world.client(DELEGATE)
    management.create_trail(Name="company", S3BucketName="logs")
    assert fault_of(delegate.update_trail, Name=ARN, IsOrganizationTrail=True)["Code"] == "TrailNotFoundException"
    assert management.update_trail(Name="company", IsOrganizationTrail=True)["IsOrganizationTrail"] is True
    assert world.checked[-1] == ("logs", FOLDERS, ARN)
    assert delegate.update_trail(Name=ARN, IsOrganizationTrail=True, S3KeyPrefix="p")["S3KeyPrefix"] == "p"
    fault = fault_of(delegate.update_trail, Name=ARN, IsOrganizationTrail=False)
    assert fault["Code"] == "NotOrganizationMasterAccountException"
    assert management.update_trail(Name="company", IsOrganizationTrail=False)["IsOrganizationTrail"] is False
    assert world.checked[-1] == ("logs", [f"p/AWSLogs/{MANAGEMENT}/"], ARN)
    assert world.client(MEMBER).list_trails()["Trails"] == []
    delegate.create_trail(Name="own", S3BucketName="logs")
    fault = fault_of(delegate.update_trail, Name="own", IsOrganizationTrail=True)
    assert fault["Code"] == "NotOrganizationMasterAccountException"
    member = world.client(MEMBER)
    member.create_trail(Name="own", S3BucketName="logs", IsOrganizationTrail=False)
    fault = fault_of(member.update_trail, Name="own", IsOrganizationTrail=True)
    assert fault["Code"] == "NotOrganizationMasterAccountException"


def test_names_and_quotas_are_the_management_account_s(world: World, fault_of: Fault) -> None:
    member, delegate = world.client(MEMBER), world.client(DELEGATE)
    for number in range(5):
        member.create_trail(Name=f"own-{number}", S3BucketName="logs")
    member.delete_trail(Name="own-0")
    member.create_trail(Name="company", S3BucketName="logs")  # a name belongs to an account
    create(delegate)
    assert fault_of(create, client=delegate)["Code"] == "TrailAlreadyExistsException"
    assert len(member.list_trails()["Trails"]) == 6, "a full account sees the organization's trail all the same"
    for number in range(4):
        create(delegate, f"company-{number}")
    fault = fault_of(world.client(MANAGEMENT).create_trail, Name="sixth", S3BucketName="logs")
    assert fault["Code"] == "MaximumNumberOfTrailsExceededException"
    assert fault_of(create, client=delegate, name="sixth")["Code"] == "MaximumNumberOfTrailsExceededException"


def test_each_account_has_its_own_delivery_status(world: World) -> None:
    create(world.client(MANAGEMENT))
    deliveries = world.deps.deliveries
    deliveries.record(ARN, MANAGEMENT, "us-east-1", Channel.LOG_FILES, now=NOW)
    deliveries.record(ARN, MEMBER, "us-east-1", Channel.LOG_FILES, now=NOW, error="AccessDenied")
    assert world.client(MANAGEMENT).get_trail_status(Name=ARN)["LatestDeliveryTime"] == NOW
    assert world.client(MEMBER).get_trail_status(Name=ARN)["LatestDeliveryError"] == "AccessDenied"
    assert "LatestDeliveryError" not in world.client(MANAGEMENT).get_trail_status(Name=ARN)


def test_who_leaves_sees_it_no_more(world: World, fault_of: Fault) -> None:
    create(world.client(MANAGEMENT))
    organization = world.deps.organizations.find(ORGANIZATION)
    assert organization is not None
    world.change(members={key: each for key, each in organization.members.items() if key != MEMBER})
    assert world.client(MEMBER).list_trails()["Trails"] == []
    assert fault_of(world.client(MEMBER).get_trail, Name=ARN)["Code"] == "TrailNotFoundException"


def test_the_permission_names_the_trail_to_be(world: World) -> None:
    create(world.client(DELEGATE), TagsList=[{"Key": "k", "Value": "v"}])
    (permission,) = world.endpoint.permissions
    assert (permission.action, permission.resource) == ("cloudtrail:CreateTrail", ARN)
    assert world.client(MEMBER).list_tags(ResourceIdList=[ARN])["ResourceTagList"][0]["TagsList"] == [
        {"Key": "k", "Value": "v"}
    ]


@pytest.mark.parametrize("prefix", ["AWSLogs", "AWSLogs/111111111111", "p/AWSLogs/111111111111", "AWSLogs/"])
def test_no_prefix_leads_into_another_account_s_folder(world: World, fault_of: Fault, prefix: str) -> None:
    fault = fault_of(world.client(OUTSIDER).create_trail, Name="own", S3BucketName="logs", S3KeyPrefix=prefix)
    assert fault["Code"] == "InvalidS3PrefixException"
