"""What PutEventSelectors takes and refuses, as the API reference and AWS's answers that users quote have it."""

from typing import Any

import pytest

from opentrail.core.errors import ServiceFault
from opentrail.core.selectors import (
    DEFAULT_SELECTORS,
    EventSelector,
    format_advanced_event_selectors,
    format_event_selectors,
    parse_advanced_event_selectors,
    parse_event_selectors,
)

Member = dict[str, Any]


def refused(parse: Any, members: list[Member]) -> str:
    with pytest.raises(ServiceFault, match="InvalidEventSelectorsException") as caught:
        parse(members)
    assert caught.value.status == 400
    return caught.value.message


def data(kind: str, *values: str) -> Member:
    return {"DataResources": [{"Type": kind, "Values": list(values)}]}


def advanced(*fields: Member, name: str = "") -> Member:
    return {"Name": name, "FieldSelectors": list(fields)} if name else {"FieldSelectors": list(fields)}


def field(name: str, **operators: list[str]) -> Member:
    return {"Field": name, **operators}


MANAGEMENT = field("eventCategory", Equals=["Management"])
DATA = field("eventCategory", Equals=["Data"])
NETWORK = field("eventCategory", Equals=["NetworkActivity"])
S3_OBJECT = field("resources.type", Equals=["AWS::S3::Object"])


def test_an_empty_selector_is_the_default_one() -> None:
    assert parse_event_selectors([{}]) == DEFAULT_SELECTORS
    assert format_event_selectors(DEFAULT_SELECTORS) == [
        {
            "ReadWriteType": "All",
            "IncludeManagementEvents": True,
            "DataResources": [],
            "ExcludeManagementEventSources": [],
        }
    ]


def test_basic_selectors_come_back_as_they_were_given() -> None:
    members = [
        {
            "ReadWriteType": "WriteOnly",
            "IncludeManagementEvents": False,
            "DataResources": [
                {"Type": "AWS::S3::Object", "Values": ["arn:aws:s3:::mybucket/prefix", "arn:aws:s3:::mybucket2/"]},
                {
                    "Type": "AWS::Lambda::Function",
                    "Values": ["arn:aws:lambda:us-west-2:999999999999:function:hello-world-python-function"],
                },
                {"Type": "AWS::DynamoDB::Table", "Values": ["arn:aws:dynamodb"]},
            ],
            "ExcludeManagementEventSources": ["kms.amazonaws.com", "rdsdata.amazonaws.com"],
        },
        {
            "ReadWriteType": "ReadOnly",
            "IncludeManagementEvents": True,
            "DataResources": [],
            "ExcludeManagementEventSources": [],
        },
    ]
    assert format_event_selectors(parse_event_selectors(members)) == members


@pytest.mark.parametrize("count", [0, 6])
def test_a_trail_has_one_to_five_basic_selectors(count: int) -> None:
    assert "1 to 5" in refused(parse_event_selectors, [{}] * count)
    assert len(parse_event_selectors([{}] * 5)) == 5


def test_a_trail_has_at_most_250_data_resources() -> None:
    values = [f"arn:aws:s3:::bucket-{number}/" for number in range(250)]
    assert parse_event_selectors([data("AWS::S3::Object", *values)])
    many = [data("AWS::S3::Object", *values[:200]), data("AWS::S3::Object", *values[:51])]
    assert refused(parse_event_selectors, many) == (
        "Specify a valid number of DataResources.Values (0 to 250) for all your selectors."
    )


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("AWS::S3::Object", "arn:aws:s3"),
        ("AWS::S3::Object", "arn:aws:s3:::"),
        ("AWS::S3::Object", "arn:aws:s3:::my.bucket/"),
        ("AWS::S3::Object", "arn:aws:s3:::bucket/any/thing *\n"),
        ("AWS::Lambda::Function", "arn:aws:lambda"),
        ("AWS::Lambda::Function", "arn:aws:lambda:us-east-1:123456789012:function:f:$LATEST"),
        ("AWS::DynamoDB::Table", "arn:aws:dynamodb:us-east-1:123456789012:table/My_Table.1"),
    ],
)
def test_a_data_resource_is_taken(kind: str, value: str) -> None:
    assert parse_event_selectors([data(kind, value)])[0].data_resources[0].values == (value,)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("AWS::S3::Object", "arn:aws:s3:::bucket"),  # no slash: seen in AWS's answers, as are the next five
        ("AWS::S3::Object", "arn:aws:s3:::*"),
        ("AWS::S3::Object", "arn:aws:s3:::*/*"),
        ("AWS::S3::Object", "arn:aws:s3:::/"),
        ("AWS::S3::Object", "secureapp-logs/*"),
        ("AWS::Lambda::Function", "arn:aws:lambda:*"),
        ("AWS::DynamoDB::Table", "arn:aws:s3:::bucket/"),
    ],
)
def test_a_data_resource_is_refused_in_aws_words(kind: str, value: str) -> None:
    assert refused(parse_event_selectors, [data(kind, value)]) == f"Value {value} for DataResources.Values is invalid."


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (data("AWS::S3::Bucket", "x"), "Value AWS::S3::Bucket for DataResources.Type is invalid."),
        ({"ReadWriteType": "read-only"}, "Value read-only for ReadWriteType is invalid."),
        (
            {"ExcludeManagementEventSources": ["s3.amazonaws.com"]},
            "Value s3.amazonaws.com for ExcludeManagementEventSources is invalid.",
        ),
    ],
)
def test_other_basic_members_are_checked(member: Member, words: str) -> None:
    assert refused(parse_event_selectors, [member]) == words


ADVANCED = [
    advanced(MANAGEMENT, name="all management"),
    advanced(
        MANAGEMENT,
        field("readOnly", Equals=["false"]),
        field("eventSource", NotEquals=["kms.amazonaws.com", "rdsdata.amazonaws.com"]),
    ),
    advanced(
        DATA,
        S3_OBJECT,
        field("eventName", Equals=["PutObject"], NotStartsWith=["Delete"]),
        field("resources.ARN", StartsWith=["arn:aws:s3:::a/"], EndsWith=[".csv"], NotEndsWith=["tmp"]),
        field("userIdentity.arn", NotEquals=["arn:aws:iam::123456789012:user/scanner"]),
        field("eventSource", StartsWith=["s3."]),
        field("eventType", NotEquals=["AwsServiceEvent"]),
        field("sessionCredentialFromConsole", NotEquals=["true"]),
        field("readOnly", Equals=["true"]),
    ),
    advanced(
        NETWORK,
        field("eventSource", Equals=["ec2.amazonaws.com"]),
        field("errorCode", Equals=["VpceAccessDenied"]),
        field("vpcEndpointId", StartsWith=["vpce-"]),
        field("eventName", NotEquals=["X"]),
    ),
]


def test_advanced_selectors_come_back_as_they_were_given() -> None:
    parsed = parse_advanced_event_selectors(ADVANCED)
    assert format_advanced_event_selectors(parsed) == ADVANCED
    assert [each.category for each in parsed] == ["Management", "Management", "Data", "NetworkActivity"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ([], "exactly one field selector for eventCategory"),
        ([S3_OBJECT], "exactly one field selector for eventCategory"),
        ([MANAGEMENT, DATA], "exactly one field selector for eventCategory"),
        ([field("eventCategory", Equals=["Insight"])], "Value Insight for eventCategory is invalid."),
        ([field("eventCategory", NotEquals=["Data"])], "Operator NotEquals is not supported for field eventCategory"),
        ([field("eventCategory", Equals=["Data", "Management"])], "exactly one value"),
        ([MANAGEMENT, field("eventName", Equals=["X"])], "Field eventName is not supported for eventCategory Manag"),
        ([MANAGEMENT, field("eventSource", Equals=["kms.amazonaws.com"])], "Operator Equals is not supported"),
        ([MANAGEMENT, field("eventSource", NotEquals=["s3.amazonaws.com"])], "Value s3.amazonaws.com"),
        ([MANAGEMENT, field("readOnly", Equals=["maybe"])], "Value maybe for readOnly is invalid."),
        ([MANAGEMENT, field("readOnly", NotEquals=["true"])], "Operator NotEquals is not supported for field readOnly"),
        ([MANAGEMENT, field("readOnly", Equals=["true", "false"])], "exactly one value"),
        ([DATA], "Field resources.type is required"),
        ([DATA, S3_OBJECT, S3_OBJECT], "Field resources.type can be used only once"),
        ([DATA, field("resources.type", Equals=["AWS::S3::Object", "AWS::DynamoDB::Table"])], "exactly one value"),
        ([DATA, field("resources.type", StartsWith=["AWS::S3"])], "Operator StartsWith is not supported"),
        ([DATA, field("resources.type", Equals=["S3"])], "Value S3 for resources.type is invalid."),
        ([DATA, S3_OBJECT, field("errorCode", Equals=["VpceAccessDenied"])], "errorCode is not supported"),
        ([DATA, S3_OBJECT, field("sessionCredentialFromConsole", StartsWith=["t"])], "Operator StartsWith"),
        ([DATA, S3_OBJECT, field("eventName")], "Field eventName has no operator with a value."),
        ([DATA, S3_OBJECT, field("eventName", Equals=[""])], "Value  for eventName is invalid."),
        ([DATA, S3_OBJECT, field("nonsense", Equals=["x"])], "Field nonsense is not supported"),
        ([NETWORK], "Field eventSource is required"),
        ([NETWORK, field("eventSource", Equals=["a", "b"])], "exactly one value"),
        (
            [NETWORK, field("eventSource", Equals=["a"]), field("errorCode", Equals=["AccessDenied"])],
            "Value AccessDenied for errorCode is invalid.",
        ),
    ],
)
def test_an_advanced_selector_beyond_the_rules_is_refused(fields: list[Member], words: str) -> None:
    assert words in refused(parse_advanced_event_selectors, [advanced(*fields)])


def test_advanced_selectors_hold_at_most_500_values() -> None:
    def selector(values: int) -> Member:
        return advanced(DATA, S3_OBJECT, field("eventName", Equals=[f"E{n}" for n in range(values)]))

    assert parse_advanced_event_selectors([selector(248), selector(248)])  # 2 more each: category and type
    assert "500 values" in refused(parse_advanced_event_selectors, [selector(248), selector(249)])
    assert "at least one" in refused(parse_advanced_event_selectors, [])


def test_selectors_are_values() -> None:
    assert parse_event_selectors([{}]) == (EventSelector(),)
    assert hash(parse_advanced_event_selectors(ADVANCED))
