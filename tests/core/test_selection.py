"""Which trail records which event: the user guide's rules and examples, real records, and a naive reader as judge.

Real records: ../shared/data/records (data of several public projects; see its README); skipped where it is absent.
"""

import gzip
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentrail.core.selection import CompiledSelector, Route, compile_selector, route_of, selects
from opentrail.core.selectors import parse_advanced_event_selectors, parse_event_selectors
from opentrail.core.trails import Trail

RECORDS = Path(__file__).resolve().parents[2] / "../shared/data/records"
ACCOUNT = "123456789012"
TRAIL = Trail(account_id=ACCOUNT, home_region="us-east-1", name="trail", bucket="log-bucket", is_logging=True)
EVERYWHERE = replace(TRAIL, is_multi_region=True)


def record(**fields: Any) -> dict[str, Any]:
    return {
        "eventSource": "ec2.amazonaws.com",
        "eventName": "RunInstances",
        "awsRegion": "us-east-1",
        "readOnly": False,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "eventCategory": "Management",
        "recipientAccountId": ACCOUNT,
    } | fields


def s3_object(name: str, key: str, *, read_only: bool = False, **fields: Any) -> dict[str, Any]:
    bucket = key.partition("/")[0]
    return record(
        eventSource="s3.amazonaws.com",
        eventName=name,
        readOnly=read_only,
        managementEvent=False,
        eventCategory="Data",
        resources=[
            {"type": "AWS::S3::Object", "ARN": f"arn:aws:s3:::{key}"},
            {"accountId": ACCOUNT, "type": "AWS::S3::Bucket", "ARN": f"arn:aws:s3:::{bucket}"},
        ],
        requestParameters={"bucketName": bucket, "key": key.partition("/")[2]},
        **fields,
    )


def basic(trail: Trail, *members: dict[str, Any]) -> Trail:
    return replace(trail, event_selectors=parse_event_selectors(list(members)))


def advanced(trail: Trail, *field_selectors: list[dict[str, Any]]) -> Trail:
    members = [{"FieldSelectors": fields} for fields in field_selectors]
    return replace(trail, advanced_event_selectors=parse_advanced_event_selectors(members))


def data_of(kind: str, *fields: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"Field": "eventCategory", "Equals": ["Data"]},
        {"Field": "resources.type", "Equals": [kind]},
        *fields,
    ]


def test_a_trail_without_selectors_records_management_events_and_nothing_else() -> None:
    assert selects(TRAIL, record())
    assert selects(TRAIL, record(readOnly=True))
    assert not selects(TRAIL, s3_object("PutObject", "bucket/key"))
    assert not selects(TRAIL, record(eventCategory="Insight", eventType="AwsCloudTrailInsight"))
    assert not selects(TRAIL, record(eventCategory="NetworkActivity", eventType="AwsVpceEvent"))


def test_a_trail_records_only_while_it_logs_and_only_its_account() -> None:
    assert not selects(replace(TRAIL, is_logging=False), record())
    assert not selects(TRAIL, record(recipientAccountId="210987654321"))


def test_an_organization_trail_records_every_account_that_was_in_the_organization() -> None:
    trail = replace(TRAIL, organization_id="o-a1b2c3d4e5")
    theirs = record(recipientAccountId="210987654321")
    cases = {(): False, ("o-other",): False, ("o-a1b2c3d4e5",): True, ("o-other", "o-a1b2c3d4e5"): True}
    for organization_ids, expected in cases.items():
        assert selects(trail, theirs, organization_ids) is expected
        assert compile_selector(trail).decide(route_of(theirs, organization_ids)) is expected
        assert not selects(TRAIL, theirs, organization_ids), "a plain trail never does"
        assert not selects(replace(trail, is_logging=False), theirs, organization_ids)
        assert selects(trail, record(), organization_ids), "its own account, whatever became of the organization"
    elsewhere = record(recipientAccountId="210987654321", awsRegion="eu-west-1")
    assert not selects(trail, elsewhere, ("o-a1b2c3d4e5",)), "the region counts all the same"


@pytest.mark.parametrize(
    ("home", "multi", "included", "regional", "elsewhere", "iam"),
    [
        ("us-east-1", False, True, True, False, True),
        ("us-east-1", False, False, True, False, False),
        ("us-east-1", True, True, True, True, True),
        ("eu-west-1", False, True, False, True, False),  # global events reach single-region trails at home only
        ("eu-west-1", True, True, True, True, True),
    ],
)
def test_regions_and_global_service_events(
    home: str, *, multi: bool, included: bool, regional: bool, elsewhere: bool, iam: bool
) -> None:
    trail = replace(TRAIL, home_region=home, is_multi_region=multi, include_global_service_events=included)
    assert selects(trail, record()) is regional
    assert selects(trail, record(awsRegion="eu-west-1")) is elsewhere
    assert selects(trail, record(eventSource="iam.amazonaws.com", eventName="CreateUser")) is iam


def test_a_regional_sts_endpoint_is_not_global() -> None:
    trail = replace(TRAIL, home_region="eu-west-1")
    assert selects(trail, record(eventSource="sts.amazonaws.com", awsRegion="eu-west-1"))
    assert not selects(trail, record(eventSource="sts.amazonaws.com", awsRegion="us-east-1"))


def test_the_read_write_type_of_a_basic_selector() -> None:
    # the API reference's example: GetConsoleOutput is read-only, RunInstances is not
    trail = basic(TRAIL, {"ReadWriteType": "WriteOnly"})
    assert selects(trail, record(eventName="RunInstances"))
    assert not selects(trail, record(eventName="GetConsoleOutput", readOnly=True))
    assert selects(basic(TRAIL, {"ReadWriteType": "WriteOnly"}, {"ReadWriteType": "ReadOnly"}), record(readOnly=True))


def test_excluded_sources_are_left_out_of_management_events() -> None:
    trail = basic(TRAIL, {"ExcludeManagementEventSources": ["kms.amazonaws.com"]})
    assert not selects(trail, record(eventSource="kms.amazonaws.com", eventName="Decrypt", readOnly=True))
    assert selects(trail, record(eventSource="rdsdata.amazonaws.com"))


def test_the_user_guides_examples_of_basic_s3_data_events() -> None:
    # "Logging data events": an empty prefix takes the bucket, a prefix what begins so, WriteOnly no GetObject
    whole = basic(TRAIL, {"DataResources": [{"Type": "AWS::S3::Object", "Values": ["arn:aws:s3:::bucket-1/"]}]})
    assert selects(whole, s3_object("PutObject", "bucket-1/image.png"))
    assert not selects(whole, s3_object("PutObject", "bucket-10/image.png"))
    images = basic(
        TRAIL,
        {
            "ReadWriteType": "WriteOnly",
            "DataResources": [{"Type": "AWS::S3::Object", "Values": ["arn:aws:s3:::bucket-3/my-images"]}],
        },
    )
    assert selects(images, s3_object("DeleteObject", "bucket-3/my-images/example.jpg"))
    assert not selects(images, s3_object("DeleteObject", "bucket-3/my-videos/example.avi"))
    assert not selects(images, s3_object("GetObject", "bucket-3/my-images/example.jpg", read_only=True))


@pytest.mark.parametrize("value", ["arn:aws:s3", "arn:aws:s3:::"])
def test_all_buckets(value: str) -> None:
    trail = basic(TRAIL, {"DataResources": [{"Type": "AWS::S3::Object", "Values": [value]}]})
    assert selects(trail, s3_object("PutObject", "any/thing"))


def test_a_lambda_function_is_named_exactly_or_all_are() -> None:
    def invoke(name: str) -> dict[str, Any]:
        arn = f"arn:aws:lambda:us-west-2:111111111111:function:{name}"
        resources = [{"type": "AWS::Lambda::Function", "ARN": arn}]
        return record(eventSource="lambda.amazonaws.com", eventCategory="Data", resources=resources)

    one = "arn:aws:lambda:us-west-2:111111111111:function:helloworld"
    trail = basic(TRAIL, {"DataResources": [{"Type": "AWS::Lambda::Function", "Values": [one]}]})
    assert selects(trail, invoke("helloworld"))
    assert not selects(trail, invoke("helloworld2"))
    every = basic(TRAIL, {"DataResources": [{"Type": "AWS::Lambda::Function", "Values": ["arn:aws:lambda"]}]})
    assert selects(every, invoke("helloworld2"))
    assert not selects(every, s3_object("PutObject", "bucket/key"))


def test_a_call_on_a_bucket_as_a_whole_concerns_objects_of_that_bucket() -> None:
    bucket = {"type": "AWS::S3::Bucket", "ARN": "arn:aws:s3:::bucket-1", "accountId": ACCOUNT}
    listing = s3_object("ListObjects", "bucket-1/", read_only=True) | {"resources": [bucket]}
    prefix = {"type": "AWS::S3::Object", "ARNPrefix": "arn:aws:s3:::bucket-1/"}
    for each in (listing, listing | {"resources": [prefix, bucket]}):
        for value, expected in (("bucket-1/", True), ("bucket-1/logs", False), ("bucket-2/", False)):
            values = [f"arn:aws:s3:::{value}"]
            trail = basic(TRAIL, {"DataResources": [{"Type": "AWS::S3::Object", "Values": values}]})
            assert selects(trail, each) is expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("amzn-s3-demo-bucket/object1", True),
        ("amzn-s3-demo-bucket/object2", True),
        ("amzn-s3-demo-bucket1/object3", True),
        ("amzn-s3-demo-bucket/deselectObject4", False),
        ("amzn-s3-demo-bucket/object5", False),
        ("amzn-s3-demo-bucket/object6", False),
        ("amzn-s3-demo-bucket1/object7", False),
    ],
)
def test_the_user_guides_example_of_many_conditions_on_one_field(key: str, *, expected: bool) -> None:
    # "Filtering data events by using advanced event selectors", resources.ARN
    conditions = {
        "Field": "resources.ARN",
        "Equals": ["arn:aws:s3:::amzn-s3-demo-bucket/object1"],
        "StartsWith": ["arn:aws:s3:::amzn-s3-demo-bucket/"],
        "EndsWith": ["object3"],
        "NotStartsWith": ["arn:aws:s3:::amzn-s3-demo-bucket/deselect"],
        "NotEndsWith": ["object5"],
        "NotEquals": ["arn:aws:s3:::amzn-s3-demo-bucket/object6"],
    }
    assert selects(advanced(TRAIL, data_of("AWS::S3::Object", conditions)), s3_object("PutObject", key)) is expected


def test_the_user_guides_example_that_leaves_a_role_out() -> None:
    role = "arn:aws:sts::123456789012:assumed-role/bucket-scanner-role"
    trail = advanced(TRAIL, data_of("AWS::S3::Object", {"Field": "userIdentity.arn", "NotStartsWith": [role]}))
    scan = s3_object("GetObject", "bucket/key", read_only=True, userIdentity={"arn": f"{role}/session"})
    assert not selects(trail, scan)
    assert selects(trail, s3_object("GetObject", "bucket/key", userIdentity={"arn": "arn:aws:iam::1:user/x"}))
    assert selects(trail, s3_object("GetObject", "bucket/key", userIdentity={"type": "AWSService"}))


def test_advanced_management_selectors_are_alternatives() -> None:
    trail = advanced(
        TRAIL,
        [{"Field": "eventCategory", "Equals": ["Management"]}, {"Field": "readOnly", "Equals": ["false"]}],
        [
            {"Field": "eventCategory", "Equals": ["Management"]},
            {"Field": "eventSource", "NotEquals": ["kms.amazonaws.com"]},
        ],
    )
    assert selects(trail, record(eventSource="kms.amazonaws.com", readOnly=False))
    assert not selects(trail, record(eventSource="kms.amazonaws.com", readOnly=True))
    assert selects(trail, record(readOnly=True))
    assert not selects(trail, s3_object("PutObject", "bucket/key"))


def test_console_sessions() -> None:
    only = advanced(TRAIL, data_of("AWS::S3::Object", {"Field": "sessionCredentialFromConsole", "Equals": ["true"]}))
    none = advanced(TRAIL, data_of("AWS::S3::Object", {"Field": "sessionCredentialFromConsole", "NotEquals": ["true"]}))
    plain = s3_object("GetObject", "bucket/key")
    for value in (True, "true"):
        console = plain | {"sessionCredentialFromConsole": value}
        assert (selects(only, console), selects(none, console)) == (True, False)
    assert (selects(only, plain), selects(none, plain)) == (False, True)


def test_a_trail_without_recursive_logging_leaves_its_own_deliveries_out() -> None:
    members = {"DataResources": [{"Type": "AWS::S3::Object", "Values": ["arn:aws:s3"]}]}
    quiet = replace(basic(TRAIL, members), recursive_logging=False)
    service = {"type": "AWSService", "invokedBy": "cloudtrail.amazonaws.com"}
    delivery = s3_object("PutObject", "log-bucket/AWSLogs/file", userIdentity=service)
    assert selects(replace(quiet, recursive_logging=True), delivery)
    assert not selects(quiet, delivery)
    assert selects(quiet, s3_object("PutObject", "log-bucket/mine", userIdentity={"type": "IAMUser"}))
    assert selects(quiet, s3_object("PutObject", "other-bucket/AWSLogs/file", userIdentity=service))


def test_a_record_may_have_anything_in_its_fields() -> None:
    trail = advanced(replace(TRAIL, recursive_logging=False), data_of("AWS::S3::Object"))
    odd = s3_object("PutObject", "bucket/key") | {"userIdentity": "x", "requestParameters": "", "resources": None}
    assert not selects(trail, odd)
    assert not selects(trail, {})


# The same rules once more, as one would first write them down: the judge of the compiled form.


def naive(trail: Trail, event: Mapping[str, Any]) -> bool:
    region, source = event["awsRegion"], event["eventSource"]
    is_global = region == "us-east-1" and source in {"iam.amazonaws.com", "sts.amazonaws.com"}
    if is_global:
        at_home = trail.is_multi_region or trail.home_region == "us-east-1"
        reached = trail.include_global_service_events and at_home
    else:
        reached = trail.is_multi_region or trail.home_region == region
    if not trail.is_logging or event["recipientAccountId"] != trail.account_id or not reached:
        return False
    by_cloudtrail = event.get("userIdentity", {}).get("invokedBy") == "cloudtrail.amazonaws.com"
    on_own_bucket = event.get("requestParameters", {}).get("bucketName") == trail.bucket
    if not trail.recursive_logging and by_cloudtrail and on_own_bucket:
        return False
    if trail.advanced_event_selectors:
        return any(_naive_advanced(each.field_selectors, event) for each in trail.advanced_event_selectors)
    selectors = trail.event_selectors or parse_event_selectors([{}])
    return any(_naive_basic(each, event) for each in selectors)


def _naive_basic(selector: Any, event: Mapping[str, Any]) -> bool:
    wanted = {"All": (True, False), "ReadOnly": (True,), "WriteOnly": (False,)}[selector.read_write_type]
    if event["readOnly"] not in wanted:
        return False
    if event["eventCategory"] == "Management":
        excluded = event["eventSource"] in selector.exclude_management_event_sources
        return bool(selector.include_management_events and not excluded)
    for resource in selector.data_resources:
        for each in event.get("resources", ()):
            for value in resource.values if each["type"] == resource.type else ():
                arn = each["ARN"]
                if resource.type == "AWS::S3::Object" or value.count(":") < 3:
                    if arn.startswith(value):
                        return True
                elif arn == value:
                    return True
    return False


def _naive_advanced(fields: Any, event: Mapping[str, Any]) -> bool:
    resources = [{}, *event.get("resources", ())]
    return any(all(_naive_field(field, event, resource) for field in fields) for resource in resources)


def _naive_field(field: Any, event: Mapping[str, Any], resource: Mapping[str, str]) -> bool:
    value = {
        "eventCategory": event["eventCategory"],
        "readOnly": str(event["readOnly"]).lower(),
        "eventSource": event["eventSource"],
        "eventName": event["eventName"],
        "eventType": event["eventType"],
        "userIdentity.arn": event.get("userIdentity", {}).get("arn"),
        "resources.type": resource.get("type"),
        "resources.ARN": resource.get("ARN"),
    }[field.field]
    selecting = [*field.equals, *field.starts_with, *field.ends_with]
    text = value or ""
    selected = value is not None and (
        text in field.equals
        or any(text.startswith(each) for each in field.starts_with)
        or any(text.endswith(each) for each in field.ends_with)
    )
    deselected = value is not None and (
        text in field.not_equals
        or any(text.startswith(each) for each in field.not_starts_with)
        or any(text.endswith(each) for each in field.not_ends_with)
    )
    return (selected or not selecting) and not deselected


SOURCES = ["s3.amazonaws.com", "kms.amazonaws.com", "iam.amazonaws.com", "lambda.amazonaws.com"]
KEYS = ["alpha/a1", "alpha/b1", "beta/a1", "beta/a1b"]
NAMES = ["PutObject", "GetObject", "Put"]
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:f"
USERS = ["arn:aws:iam::123456789012:user/a", "arn:aws:iam::123456789012:user/b"]
TEXTS = {
    "eventName": NAMES,
    "eventSource": [*SOURCES, "s3", "kms."],
    "eventType": ["AwsApiCall", "AwsServiceEvent"],
    "userIdentity.arn": [*USERS, "arn:aws:iam", "/a"],
    "resources.ARN": [*(f"arn:aws:s3:::{key}" for key in KEYS), "arn:aws:s3:::alpha/", "1", "1b"],
}
OPERATORS = ["Equals", "StartsWith", "EndsWith", "NotEquals", "NotStartsWith", "NotEndsWith"]


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, Any]:
    name = draw(st.sampled_from(sorted(TEXTS)))
    values = st.lists(st.sampled_from(TEXTS[name]), min_size=1, max_size=2)
    return {"Field": name, **draw(st.dictionaries(st.sampled_from(OPERATORS), values, min_size=1, max_size=3))}


_read_only = st.sampled_from(
    [[], [{"Field": "readOnly", "Equals": ["true"]}], [{"Field": "readOnly", "Equals": ["false"]}]]
)
_excluded = st.lists(st.sampled_from(["kms.amazonaws.com", "rdsdata.amazonaws.com"]), unique=True, max_size=2)


@st.composite
def advanced_members(draw: st.DrawFn) -> dict[str, Any]:
    fields: list[dict[str, Any]] = list(draw(_read_only))
    if draw(st.booleans()):
        kind = draw(st.sampled_from(["AWS::S3::Object", "AWS::S3::Bucket", "AWS::Lambda::Function"]))
        fields = [*data_of(kind), *fields, *draw(st.lists(conditions(), max_size=3))]
    else:
        fields.append({"Field": "eventCategory", "Equals": ["Management"]})
        excluded = draw(_excluded)
        fields += [{"Field": "eventSource", "NotEquals": excluded}] if excluded else []
    return {"FieldSelectors": draw(st.permutations(fields))}


_basic_members = st.fixed_dictionaries(
    {},
    optional={
        "ReadWriteType": st.sampled_from(["All", "ReadOnly", "WriteOnly"]),
        "IncludeManagementEvents": st.booleans(),
        "ExcludeManagementEventSources": _excluded,
        "DataResources": st.lists(
            st.sampled_from(
                [
                    {"Type": "AWS::S3::Object", "Values": ["arn:aws:s3"]},
                    {"Type": "AWS::S3::Object", "Values": ["arn:aws:s3:::alpha/", "arn:aws:s3:::beta/a1"]},
                    {"Type": "AWS::S3::Object", "Values": []},
                    {"Type": "AWS::Lambda::Function", "Values": ["arn:aws:lambda"]},
                    {"Type": "AWS::Lambda::Function", "Values": [FUNCTION]},
                ]
            ),
            max_size=2,
        ),
    },
)


@st.composite
def trails(draw: st.DrawFn) -> Trail:
    multi = draw(st.booleans())
    trail = replace(
        TRAIL,
        bucket=draw(st.sampled_from(["alpha", "log-bucket"])),
        home_region=draw(st.sampled_from(["us-east-1", "eu-west-1"])),
        is_multi_region=multi,
        include_global_service_events=multi or draw(st.booleans()),
        is_logging=draw(st.sampled_from([True, True, True, False])),
        recursive_logging=draw(st.booleans()),
    )
    if draw(st.booleans()):
        members = draw(st.lists(advanced_members(), min_size=1, max_size=3))
        return replace(trail, advanced_event_selectors=parse_advanced_event_selectors(members))
    return replace(trail, event_selectors=parse_event_selectors(draw(st.lists(_basic_members, min_size=1, max_size=3))))


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "eventSource": draw(st.sampled_from(SOURCES)),
        "eventName": draw(st.sampled_from(NAMES)),
        "awsRegion": draw(st.sampled_from(["us-east-1", "eu-west-1"])),
        "eventType": draw(st.sampled_from(["AwsApiCall", "AwsServiceEvent"])),
        "recipientAccountId": draw(st.sampled_from([ACCOUNT, ACCOUNT, ACCOUNT, "210987654321"])),
        "userIdentity": draw(
            st.sampled_from([*({"arn": arn} for arn in USERS), {"invokedBy": "cloudtrail.amazonaws.com"}])
        ),
    }
    read_only = draw(st.booleans())
    if draw(st.booleans()):
        return record(readOnly=read_only, **fields)
    event = s3_object("x", draw(st.sampled_from(KEYS)), read_only=read_only) | fields
    if draw(st.booleans()):
        event["resources"] = [
            {"type": "AWS::Lambda::Function", "ARN": draw(st.sampled_from([FUNCTION, FUNCTION + "2"]))}
        ]
    return event


@given(trails(), st.lists(events(), min_size=1, max_size=8))
def test_the_compiled_selector_agrees_with_the_naive_reader(trail: Trail, candidates: list[dict[str, Any]]) -> None:
    selector = compile_selector(trail)
    for event in candidates:
        expected = naive(trail, event)
        assert selector.matches(event) is expected
        assert selector.decide(route_of(event)) in {None, expected}


def test_the_route_decides_all_management_events() -> None:
    selector = compile_selector(
        basic(TRAIL, {"DataResources": [{"Type": "AWS::S3::Object", "Values": ["arn:aws:s3"]}]})
    )
    assert selector.decide(route_of(record())) is True
    assert selector.decide(route_of(record(awsRegion="eu-west-1"))) is False
    assert selector.decide(route_of(s3_object("PutObject", "a-bucket/k"))) is None
    assert compile_selector(TRAIL).decide(route_of(s3_object("PutObject", "a-bucket/k"))) is False


def read_real_records() -> list[dict[str, Any]]:
    if not RECORDS.is_dir():
        pytest.skip(f"no real records: {RECORDS} is absent")
    lines = (
        line for path in sorted(RECORDS.glob("*.ndjson.gz")) for line in gzip.decompress(path.read_bytes()).splitlines()
    )
    return [json.loads(line) for line in lines]


def decide_all(selector: CompiledSelector, records: list[dict[str, Any]]) -> int:
    """How many records the selector takes; decide and matches agree on each."""
    taken = 0
    for each in records:
        answer = selector.matches(each)
        assert selector.decide(route_of(each)) in {None, answer}
        taken += answer
    return taken


def test_real_records() -> None:
    records = read_real_records()
    account = "123837392027"  # the account of the invictus set
    own = [each for each in records if route_of(each).account_id == account]
    assert len(own) > 2800
    everything = replace(EVERYWHERE, account_id=account)
    assert decide_all(compile_selector(everything), records) == sum(
        route_of(each).category == "Management" for each in own
    )
    writes = decide_all(compile_selector(basic(everything, {"ReadWriteType": "WriteOnly"})), records)
    assert writes == sum(each.get("readOnly") is not True for each in own if route_of(each).category == "Management")
    without_kms = compile_selector(basic(everything, {"ExcludeManagementEventSources": ["kms.amazonaws.com"]}))
    assert decide_all(without_kms, records) == sum(
        each["eventSource"] != "kms.amazonaws.com" for each in own if route_of(each).category == "Management"
    )
    regions = {each["awsRegion"] for each in own}
    by_region = sum(
        decide_all(compile_selector(replace(TRAIL, account_id=account, home_region=region)), records)
        for region in regions
    )
    assert by_region == decide_all(compile_selector(everything), records)  # each event has exactly one home


def test_old_records_have_a_category_too() -> None:
    assert route_of({"eventType": "AwsConsoleSignIn"}).category == "Management"
    assert route_of({"eventType": "AwsCloudTrailInsight"}).category == "Insight"
    assert route_of({"eventType": "AwsVpceEvent"}).category == "NetworkActivity"
    assert route_of({"managementEvent": False}).category == "Data"
    assert route_of({"userIdentity": {"accountId": "1"}, "readOnly": "true"}) == Route(
        "1", "", "Management", True, "", ""
    )
