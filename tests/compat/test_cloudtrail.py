"""Trails as boto3 sees them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from opentrail.core.errors import ServiceFault
from opentrail.core.identity import root_identity
from opentrail.core.public_keys import PublicKey
from opentrail.services.base import Service
from opentrail.services.cloudtrail import CLOUDTRAIL_OPERATIONS, CloudTrailDeps
from opentrail.state.channels import AcceptedEvents, Channels
from opentrail.state.database import open_database
from opentrail.state.deliveries import Channel, Deliveries
from opentrail.state.organizations import Organizations
from opentrail.state.trails import Trails

ACCOUNT = "123456789012"
ARN = "arn:aws:cloudtrail:us-east-1:123456789012:trail/my-trail"
EPOCH = datetime(2024, 1, 1, tzinfo=UTC)

Fault = Callable[..., dict[str, Any]]


@dataclass
class World:
    """What lies around CloudTrail: buckets that take files, and keys that were used."""

    buckets: set[str] = field(default_factory=lambda: {"bucket", "other-bucket"})
    checked: list[tuple[str, Sequence[str], str]] = field(default_factory=list)
    keys: list[tuple[str, PublicKey]] = field(default_factory=list)

    def check_bucket(self, bucket: str, folders: Sequence[str], trail_arn: str) -> None:
        self.checked.append((bucket, folders, trail_arn))
        if bucket not in self.buckets:
            raise ServiceFault("S3BucketDoesNotExistException", f"S3 bucket {bucket} does not exist!")

    def public_keys(self, region: str, start: datetime, end: datetime) -> list[PublicKey]:
        return [key for place, key in self.keys if place == region and key.is_valid_in(start, end)]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def trail_deps(tmp_path: Path, world: World) -> Iterator[CloudTrailDeps]:
    engine = open_database(f"sqlite:///{tmp_path / 'state.db'}")
    yield CloudTrailDeps(
        trails=Trails(engine),
        deliveries=Deliveries(engine),
        organizations=Organizations(engine),
        check_bucket=world.check_bucket,
        public_keys=world.public_keys,
        authorise=lambda _call, _permission: None,
        channels=Channels(engine),
        accepted=AcceptedEvents(engine),
        unique_id_of=lambda _name: None,
        arn_of=lambda _unique_id: None,
    )
    engine.dispose()


@pytest.fixture
def served(endpoint: Any, trail_deps: CloudTrailDeps) -> Any:
    operations = CLOUDTRAIL_OPERATIONS
    endpoint.services["cloudtrail"] = Service(name="cloudtrail", operations=operations, deps=trail_deps)
    return endpoint


@pytest.fixture
def client(served: Any) -> Any:
    return served.client("cloudtrail")


@pytest.fixture
def frankfurt(served: Any) -> Any:
    return served.client("cloudtrail", "eu-central-1")


def create(client: Any, name: str = "my-trail", **settings: Any) -> dict[str, Any]:
    answer: dict[str, Any] = client.create_trail(Name=name, S3BucketName="bucket", **settings)
    answer.pop("ResponseMetadata")
    return answer


def names(answer: dict[str, Any]) -> list[str]:
    return [each["Name"] for each in answer["trailList"]]


def test_a_trail_is_created_with_the_apis_defaults(client: Any, served: Any, world: World) -> None:
    assert create(client) == {
        "Name": "my-trail",
        "S3BucketName": "bucket",
        "IncludeGlobalServiceEvents": True,
        "IsMultiRegionTrail": False,
        "TrailARN": ARN,
        "LogFileValidationEnabled": False,
        "IsOrganizationTrail": False,
        "RecursiveLogging": True,
    }
    assert world.checked == [("bucket", [f"AWSLogs/{ACCOUNT}/"], ARN)]
    assert [(each.action, each.resource) for each in served.permissions] == [("cloudtrail:CreateTrail", ARN)]
    assert client.get_trail(Name="my-trail")["Trail"] == {
        "Name": "my-trail",
        "S3BucketName": "bucket",
        "IncludeGlobalServiceEvents": True,
        "IsMultiRegionTrail": False,
        "HomeRegion": "us-east-1",
        "TrailARN": ARN,
        "LogFileValidationEnabled": False,
        "HasCustomEventSelectors": False,
        "HasInsightSelectors": False,
        "IsOrganizationTrail": False,
        "RecursiveLogging": True,
    }
    assert client.get_trail_status(Name="my-trail")["IsLogging"] is False


def test_all_settings_come_back(client: Any, world: World) -> None:
    answer = create(
        client,
        S3KeyPrefix="team/logs",
        IsMultiRegionTrail=True,
        IncludeGlobalServiceEvents=True,
        EnableLogFileValidation=True,
        RecursiveLogging=False,
        TagsList=[{"Key": "Owner", "Value": "Mary"}],
    )
    assert answer["S3KeyPrefix"] == "team/logs"
    assert answer["IsMultiRegionTrail"] is True
    assert answer["LogFileValidationEnabled"] is True
    assert answer["RecursiveLogging"] is False
    assert world.checked == [("bucket", [f"team/logs/AWSLogs/{ACCOUNT}/"], ARN)]
    tags = client.list_tags(ResourceIdList=[ARN])["ResourceTagList"]
    assert tags == [{"ResourceId": ARN, "TagsList": [{"Key": "Owner", "Value": "Mary"}]}]


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"Name": "ab"}, "InvalidTrailNameException"),
        ({"Name": ARN}, "InvalidTrailNameException"),
        ({"S3BucketName": "Bad_Bucket"}, "InvalidS3BucketNameException"),
        ({"S3KeyPrefix": "p" * 201}, "InvalidS3PrefixException"),
        ({"S3BucketName": "no-such-bucket"}, "S3BucketDoesNotExistException"),
        (
            {"IsMultiRegionTrail": True, "IncludeGlobalServiceEvents": False},
            "InvalidParameterCombinationException",
        ),
        ({"SnsTopicName": "topic"}, "InvalidSnsTopicNameException"),
        ({"KmsKeyId": "alias/key"}, "KmsKeyNotFoundException"),
        ({"CloudWatchLogsLogGroupArn": "arn:aws:logs:x"}, "InvalidCloudWatchLogsLogGroupArnException"),
        ({"CloudWatchLogsRoleArn": "arn:aws:iam::1:role/x"}, "InvalidCloudWatchLogsRoleArnException"),
        ({"IsOrganizationTrail": True}, "OrganizationsNotInUseException"),
        ({"TagsList": [{"Key": "a"}, {"Key": "a"}]}, "InvalidTagParameterException"),
    ],
)
def test_a_trail_that_cannot_be_is_not_created(
    client: Any, fault_of: Fault, settings: dict[str, Any], code: str
) -> None:
    fault = fault_of(client.create_trail, **{"Name": "my-trail", "S3BucketName": "bucket", **settings})
    assert (fault["Code"], fault["Status"]) == (code, 400)
    assert client.describe_trails()["trailList"] == []


def test_a_name_is_used_once_where_it_is_seen(client: Any, frankfurt: Any, fault_of: Fault) -> None:
    create(client)
    fault = fault_of(create, client=client)
    assert (fault["Code"], fault["Message"]) == (
        "TrailAlreadyExistsException",
        "Trail my-trail already exists for customer: 123456789012",
    )
    create(frankfurt)  # the same name in another region is another trail
    assert fault_of(client.update_trail, Name="my-trail", IsMultiRegionTrail=True)["Code"] == (
        "TrailAlreadyExistsException"
    )
    create(client, "everywhere", IsMultiRegionTrail=True)
    assert fault_of(create, client=frankfurt, name="everywhere")["Code"] == "TrailAlreadyExistsException"
    create(frankfurt, "local")
    fault = fault_of(create, client=client, name="local", IsMultiRegionTrail=True)
    assert fault["Code"] == "TrailAlreadyExistsException"


def test_a_region_has_five_trails_shadows_counted(client: Any, frankfurt: Any, fault_of: Fault) -> None:
    create(frankfurt, "shadow", IsMultiRegionTrail=True)
    for number in range(4):
        create(client, f"trail-{number}")
    fault = fault_of(create, client=client, name="trail-5")
    assert (fault["Code"], fault["Message"]) == (
        "MaximumNumberOfTrailsExceededException",
        "User: 123456789012 already has 5 trails in us-east-1.",
    )
    create(frankfurt, "local")
    fault = fault_of(create, client=frankfurt, name="everywhere", IsMultiRegionTrail=True)
    assert "in us-east-1" in fault["Message"]  # its shadow has no room there
    assert fault_of(frankfurt.update_trail, Name="local", IsMultiRegionTrail=True)["Code"] == (
        "MaximumNumberOfTrailsExceededException"
    )
    client.delete_trail(Name="trail-0")
    frankfurt.update_trail(Name="local", IsMultiRegionTrail=True)


def test_trails_of_other_accounts_are_unknown(served: Any, client: Any, fault_of: Fault) -> None:
    create(client)
    stranger = served.client("cloudtrail", identity=root_identity("210987654321"))
    for name in ("my-trail", ARN):
        assert fault_of(stranger.get_trail, Name=name)["Code"] == "TrailNotFoundException"
    assert fault_of(stranger.delete_trail, Name=ARN)["Code"] == "TrailNotFoundException"
    assert fault_of(stranger.list_tags, ResourceIdList=[ARN])["Code"] == "CloudTrailARNInvalidException"
    assert stranger.describe_trails(trailNameList=[ARN])["trailList"] == []
    create(stranger)


def test_an_unknown_trail_is_named_by_its_arn(frankfurt: Any, fault_of: Fault) -> None:
    for operation in (
        frankfurt.get_trail,
        frankfurt.get_trail_status,
        frankfurt.start_logging,
        frankfurt.stop_logging,
        frankfurt.delete_trail,
        frankfurt.update_trail,
    ):
        fault = fault_of(operation, Name="none-such")
        assert (fault["Code"], fault["Message"]) == (
            "TrailNotFoundException",
            "Unknown trail: arn:aws:cloudtrail:eu-central-1:123456789012:trail/none-such for the user: 123456789012",
        )
    for operation in (frankfurt.get_event_selectors, frankfurt.put_event_selectors):
        assert fault_of(operation, TrailName="none-such")["Code"] == "TrailNotFoundException"


def test_names_and_arns_are_checked_before_they_are_looked_up(client: Any, fault_of: Fault) -> None:
    for text, code in (("x", "InvalidTrailNameException"), ("arn:aws:s3:::x", "CloudTrailARNInvalidException")):
        assert fault_of(client.get_trail, Name=text)["Code"] == code
        assert fault_of(client.get_event_selectors, TrailName=text)["Code"] == code
        assert fault_of(client.describe_trails, trailNameList=[text])["Code"] == code


def test_an_update_changes_what_it_names(client: Any, world: World, fault_of: Fault) -> None:
    create(client, S3KeyPrefix="one", EnableLogFileValidation=True)
    answer = client.update_trail(Name=ARN, S3BucketName="other-bucket", IsMultiRegionTrail=True)
    assert (answer["S3BucketName"], answer["S3KeyPrefix"]) == ("other-bucket", "one")
    assert answer["LogFileValidationEnabled"] is True
    assert world.checked[-1] == ("other-bucket", [f"one/AWSLogs/{ACCOUNT}/"], ARN)
    answer = client.update_trail(Name="my-trail", S3KeyPrefix="", EnableLogFileValidation=False, KmsKeyId="")
    assert "S3KeyPrefix" not in answer
    assert answer["LogFileValidationEnabled"] is False
    assert fault_of(client.update_trail, Name="my-trail", IncludeGlobalServiceEvents=False) == {
        "Code": "InvalidParameterCombinationException",
        "Message": "Multi-Region trail must include global service events.",
        "Status": 400,
    }
    world.buckets.clear()
    assert fault_of(client.update_trail, Name="my-trail")["Code"] == "S3BucketDoesNotExistException"
    answer = client.get_trail(Name="my-trail")["Trail"]
    assert answer["IncludeGlobalServiceEvents"] is True


def test_what_changes_a_trail_is_called_at_home(client: Any, frankfurt: Any, fault_of: Fault) -> None:
    create(client, IsMultiRegionTrail=True)
    create(client, "local")
    local = ARN.replace("my-trail", "local")
    for name in ("my-trail", ARN, local):
        for operation in (
            frankfurt.start_logging,
            frankfurt.stop_logging,
            frankfurt.update_trail,
            frankfurt.delete_trail,
        ):
            fault = fault_of(operation, Name=name)
            assert fault["Code"] == "InvalidHomeRegionException"
            assert "us-east-1" in fault["Message"]
        fault = fault_of(frankfurt.put_event_selectors, TrailName=name, EventSelectors=[{}])
        assert fault["Code"] == "InvalidHomeRegionException"
    assert fault_of(frankfurt.delete_trail, Name="local")["Code"] == "TrailNotFoundException"


def test_a_denied_call_on_a_shadow_is_about_the_trail_itself(client: Any, served: Any, fault_of: Fault) -> None:
    create(client, IsMultiRegionTrail=True)
    fault_of(served.client("cloudtrail", "eu-central-1").stop_logging, Name="my-trail")
    assert [(each.action, each.resource) for each in served.permissions] == [("cloudtrail:StopLogging", ARN)]


def test_shadow_trails_are_described_unless_declined(client: Any, frankfurt: Any) -> None:
    create(client, "everywhere", IsMultiRegionTrail=True)
    create(client, "local")
    create(frankfurt, "german")
    assert names(client.describe_trails()) == ["everywhere", "local"]
    assert names(frankfurt.describe_trails()) == ["german", "everywhere"]
    assert names(frankfurt.describe_trails(includeShadowTrails=False)) == ["german"]
    assert frankfurt.describe_trails(trailNameList=["everywhere", "none-such"])["trailList"] == []
    arns = [ARN.replace("my-trail", name) for name in ("everywhere", "local")]
    found = frankfurt.describe_trails(trailNameList=[*arns, "german"])
    assert sorted(names(found)) == ["everywhere", "german", "local"]
    assert {each["HomeRegion"] for each in found["trailList"]} == {"us-east-1", "eu-central-1"}
    assert names(frankfurt.describe_trails(trailNameList=arns, includeShadowTrails=False)) == []


def test_all_trails_of_the_account_are_listed_in_pages(served: Any, client: Any, fault_of: Fault) -> None:
    regions = [f"region-{number:02}" for number in range(21)]
    for region in regions:
        for number in range(5):
            create(served.client("cloudtrail", region), f"trail-{number}")
    pages = list(client.get_paginator("list_trails").paginate())
    assert [len(page["Trails"]) for page in pages] == [100, 5]
    listed = [each for page in pages for each in page["Trails"]]
    assert len({each["TrailARN"] for each in listed}) == 105
    assert {each["HomeRegion"] for each in listed} == set(regions)
    assert fault_of(client.list_trails, NextToken="!!")["Code"] == "InvalidNextTokenException"


def test_logging_starts_and_stops(client: Any, served: Any, trail_deps: CloudTrailDeps) -> None:
    create(client)
    client.start_logging(Name="my-trail")
    started = served.now
    client.start_logging(Name=ARN)  # changes nothing
    status = client.get_trail_status(Name="my-trail")
    assert (status["IsLogging"], status["StartLoggingTime"]) == (True, started)
    assert status["TimeLoggingStarted"] == started.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert status["TimeLoggingStopped"] == ""
    assert "StopLoggingTime" not in status
    generation = trail_deps.trails.generation
    client.stop_logging(Name="my-trail")
    stopped = served.now
    status = client.get_trail_status(Name="my-trail")
    assert (status["IsLogging"], status["StartLoggingTime"], status["StopLoggingTime"]) == (False, started, stopped)
    assert trail_deps.trails.at(generation)[ARN].trail.is_logging
    assert not trail_deps.trails.at(generation + 1)[ARN].trail.is_logging


def test_status_tells_deliveries_of_the_region(client: Any, frankfurt: Any, trail_deps: CloudTrailDeps) -> None:
    create(client, IsMultiRegionTrail=True)
    answer = client.get_trail_status(Name="my-trail")
    answer.pop("ResponseMetadata")
    assert answer == {
        "IsLogging": False,
        "LatestDeliveryAttemptTime": "",
        "LatestDeliveryAttemptSucceeded": "",
        "LatestNotificationAttemptTime": "",
        "LatestNotificationAttemptSucceeded": "",
        "TimeLoggingStarted": "",
        "TimeLoggingStopped": "",
    }
    later = EPOCH + timedelta(minutes=5)
    record = trail_deps.deliveries.record
    record(ARN, ACCOUNT, "us-east-1", Channel.LOG_FILES, now=EPOCH)
    record(ARN, ACCOUNT, "us-east-1", Channel.LOG_FILES, now=later, error="NoSuchBucket")
    record(ARN, ACCOUNT, "us-east-1", Channel.DIGESTS, now=later)
    record(ARN, ACCOUNT, "eu-central-1", Channel.DIGESTS, now=later, error="AccessDenied")
    status = client.get_trail_status(Name="my-trail")
    assert (status["LatestDeliveryTime"], status["LatestDeliveryError"]) == (EPOCH, "NoSuchBucket")
    assert status["LatestDeliveryAttemptTime"] == "2024-01-01T00:05:00Z"
    assert status["LatestDeliveryAttemptSucceeded"] == "2024-01-01T00:00:00Z"
    assert status["LatestDigestDeliveryTime"] == later
    assert "LatestDigestDeliveryError" not in status
    status = frankfurt.get_trail_status(Name=ARN)
    assert status["LatestDigestDeliveryError"] == "AccessDenied"
    assert "LatestDeliveryTime" not in status
    record(ARN, ACCOUNT, "us-east-1", Channel.LOG_FILES, now=later)
    assert "LatestDeliveryError" not in client.get_trail_status(Name="my-trail")


def test_a_trail_is_deleted_logging_or_not(client: Any, trail_deps: CloudTrailDeps, fault_of: Fault) -> None:
    create(client)
    client.start_logging(Name="my-trail")
    trail_deps.deliveries.record(ARN, ACCOUNT, "us-east-1", Channel.LOG_FILES, now=EPOCH)
    client.delete_trail(Name="my-trail")
    assert fault_of(client.get_trail, Name="my-trail")["Code"] == "TrailNotFoundException"
    create(client)
    assert client.get_trail_status(Name="my-trail")["LatestDeliveryAttemptTime"] == ""


def test_selectors_replace_each_other(client: Any, served: Any, fault_of: Fault) -> None:
    create(client)
    default = {
        "ReadWriteType": "All",
        "IncludeManagementEvents": True,
        "DataResources": [],
        "ExcludeManagementEventSources": [],
    }
    answer = client.get_event_selectors(TrailName="my-trail")
    assert (answer["TrailARN"], answer["EventSelectors"]) == (ARN, [default])
    assert "AdvancedEventSelectors" not in answer
    advanced = [
        {
            "Name": "writes",
            "FieldSelectors": [
                {"Field": "eventCategory", "Equals": ["Data"]},
                {"Field": "resources.type", "Equals": ["AWS::S3::Object"]},
                {"Field": "resources.ARN", "StartsWith": ["arn:aws:s3:::bucket/"], "NotEndsWith": [".tmp"]},
            ],
        }
    ]
    answer = client.put_event_selectors(TrailName="my-trail", AdvancedEventSelectors=advanced)
    assert (answer["TrailARN"], answer["AdvancedEventSelectors"]) == (ARN, advanced)
    assert (served.permissions[0].action, served.permissions[0].resource) == ("cloudtrail:PutEventSelectors", ARN)
    answer = client.get_event_selectors(TrailName=ARN)
    assert answer["AdvancedEventSelectors"] == advanced
    assert "EventSelectors" not in answer
    assert client.get_trail(Name="my-trail")["Trail"]["HasCustomEventSelectors"] is True
    basic = [{"ReadWriteType": "WriteOnly"}]
    answer = client.put_event_selectors(TrailName=ARN, EventSelectors=basic)
    assert answer["EventSelectors"] == [default | {"ReadWriteType": "WriteOnly"}]
    assert "AdvancedEventSelectors" not in client.get_event_selectors(TrailName="my-trail")
    refused: list[dict[str, Any]] = [
        {},
        {"EventSelectors": []},
        {"AdvancedEventSelectors": []},
        {"EventSelectors": basic, "AdvancedEventSelectors": advanced},
        {"EventSelectors": [{"ReadWriteType": "read-only"}]},
    ]
    for wrong in refused:
        fault = fault_of(client.put_event_selectors, TrailName="my-trail", **wrong)
        assert (fault["Code"], fault["Status"]) == ("InvalidEventSelectorsException", 400)
    assert client.get_event_selectors(TrailName=ARN)["EventSelectors"][0]["ReadWriteType"] == "WriteOnly"


def test_selectors_of_a_shadow_are_read_by_its_arn(client: Any, frankfurt: Any, fault_of: Fault) -> None:
    create(client, IsMultiRegionTrail=True)
    assert fault_of(frankfurt.get_event_selectors, TrailName="my-trail")["Code"] == "TrailNotFoundException"
    assert frankfurt.get_event_selectors(TrailName=ARN)["TrailARN"] == ARN
    assert frankfurt.get_trail(Name=ARN)["Trail"]["HomeRegion"] == "us-east-1"


def test_tags(client: Any, served: Any, frankfurt: Any, fault_of: Fault) -> None:
    create(client)
    client.add_tags(ResourceId=ARN, TagsList=[{"Key": "Owner", "Value": "Mary"}, {"Key": "bare"}])
    permission = served.permissions[0]
    assert (permission.action, permission.resource) == ("cloudtrail:AddTags", ARN)
    assert permission.context == {"aws:requesttag/owner": ["Mary"], "aws:tagkeys": ["Owner", "bare"]}
    client.add_tags(ResourceId=ARN, TagsList=[{"Key": "Owner", "Value": "Bob"}])
    listed = client.list_tags(ResourceIdList=[ARN])["ResourceTagList"]
    assert listed == [{"ResourceId": ARN, "TagsList": [{"Key": "Owner", "Value": "Bob"}, {"Key": "bare"}]}]
    client.remove_tags(ResourceId=ARN, TagsList=[{"Key": "Owner"}, {"Key": "none"}])
    assert client.list_tags(ResourceIdList=[ARN])["ResourceTagList"][0]["TagsList"] == [{"Key": "bare"}]
    fault = fault_of(frankfurt.add_tags, ResourceId=ARN, TagsList=[{"Key": "a"}])
    assert (fault["Code"], fault["Message"]) == (
        "CloudTrailARNInvalidException",
        "Region in ARN is wrong, you can only access resources in region eu-central-1.",
    )
    unknown = ARN.replace("my-trail", "none-such")
    assert fault_of(client.add_tags, ResourceId=unknown, TagsList=[{"Key": "a"}])["Code"] == "ResourceNotFoundException"
    assert fault_of(client.list_tags, ResourceIdList=["my-trail"])["Code"] == "CloudTrailARNInvalidException"
    assert fault_of(client.list_tags, ResourceIdList=[ARN] * 21)["Code"] == "ValidationException"
    many = [{"Key": f"k{number}", "Value": "v"} for number in range(50)]
    assert fault_of(client.add_tags, ResourceId=ARN, TagsList=many)["Code"] == "TagsLimitExceededException"


def test_listing_no_tags_needs_the_permission_as_well(client: Any, served: Any) -> None:
    assert client.list_tags(ResourceIdList=[])["ResourceTagList"] == []
    assert [(each.action, each.resource) for each in served.permissions] == [("cloudtrail:ListTags", "*")]


def test_no_other_form_of_a_channels_arn_gets_around_a_policy(client: Any, served: Any) -> None:
    destination = {"Type": "AWS_SERVICE", "Location": "cloudtrail.amazonaws.com"}
    arn = client.create_channel(Name="orders", Source="Custom", Destinations=[destination])["ChannelArn"]
    form = arn.replace("arn:aws:", "arn:aws-cn:")
    client.add_tags(ResourceId=form, TagsList=[{"Key": "a"}])
    assert [each.resource for each in served.permissions] == [arn]
    client.list_tags(ResourceIdList=[form])
    assert [each.resource for each in served.permissions] == [arn]
    client.remove_tags(ResourceId=form, TagsList=[{"Key": "a"}])
    assert [each.resource for each in served.permissions] == [arn]


def test_public_keys_are_those_of_the_region_and_range(client: Any, served: Any, world: World, fault_of: Fault) -> None:
    def key(start: datetime, end: datetime, name: str) -> PublicKey:
        return PublicKey(value=name.encode(), fingerprint=name * 32, validity_start=start, validity_end=end)

    year = timedelta(days=366)
    old, new = key(EPOCH - year, EPOCH, "a"), key(EPOCH, EPOCH + year, "b")
    world.keys = [("us-east-1", old), ("us-east-1", new), ("eu-central-1", key(EPOCH, EPOCH + year, "c"))]
    (current,) = client.list_public_keys()["PublicKeyList"]
    assert current == {
        "Value": b"b",
        "ValidityStartTime": EPOCH,
        "ValidityEndTime": EPOCH + year,
        "Fingerprint": "b" * 32,
    }
    found = client.list_public_keys(StartTime=EPOCH - timedelta(days=1))["PublicKeyList"]
    assert [each["Value"] for each in found] == [b"a", b"b"]
    past = client.list_public_keys(StartTime=EPOCH - timedelta(days=9), EndTime=EPOCH - timedelta(days=8))
    assert [each["Value"] for each in past["PublicKeyList"]] == [b"a"]
    elsewhere = served.client("cloudtrail", "eu-central-1").list_public_keys()["PublicKeyList"]
    assert [each["Value"] for each in elsewhere] == [b"c"]
    fault = fault_of(client.list_public_keys, StartTime=EPOCH, EndTime=EPOCH - year)
    assert fault["Code"] == "InvalidTimeRangeException"
    assert fault_of(client.list_public_keys, NextToken="x")["Code"] == "InvalidTokenException"


def test_trails_survive_a_restart(client: Any, served: Any, trail_deps: CloudTrailDeps, tmp_path: Path) -> None:
    create(client, S3KeyPrefix="p", TagsList=[{"Key": "Owner", "Value": "Mary"}])
    client.start_logging(Name="my-trail")
    before = (client.get_trail(Name=ARN)["Trail"], client.get_trail_status(Name=ARN)["StartLoggingTime"])
    engine = open_database(f"sqlite:///{tmp_path / 'state.db'}")
    reopened = CloudTrailDeps(
        trails=Trails(engine),
        deliveries=Deliveries(engine),
        organizations=Organizations(engine),
        check_bucket=trail_deps.check_bucket,
        public_keys=trail_deps.public_keys,
        authorise=trail_deps.authorise,
        channels=Channels(engine),
        accepted=AcceptedEvents(engine),
        unique_id_of=lambda _name: None,
        arn_of=lambda _unique_id: None,
    )
    served.services["cloudtrail"] = Service(name="cloudtrail", operations=CLOUDTRAIL_OPERATIONS, deps=reopened)
    assert (client.get_trail(Name=ARN)["Trail"], client.get_trail_status(Name=ARN)["StartLoggingTime"]) == before
    engine.dispose()


def test_what_reads_answers_at_once_and_what_writes_is_marked() -> None:
    reads = {name for name, entry in CLOUDTRAIL_OPERATIONS.items() if not entry.writes}
    assert all(name.startswith(("Get", "List", "Describe")) for name in reads)
    assert all(entry.blocking for entry in CLOUDTRAIL_OPERATIONS.values() if entry.writes)
    assert not any(CLOUDTRAIL_OPERATIONS[name].blocking for name in reads - {"ListPublicKeys", "GetChannel"})
