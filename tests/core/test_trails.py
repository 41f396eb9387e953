"""Names, ARNs and settings of trails, against the rules of the CloudTrail API reference."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentrail.core.errors import ServiceFault
from opentrail.core.selectors import (
    AdvancedEventSelector,
    DataResource,
    EventSelector,
    FieldSelector,
    ReadWriteType,
)
from opentrail.core.trails import (
    Trail,
    check_bucket_name,
    check_global_events,
    check_prefix,
    check_tags,
    check_trail_name,
    format_trail,
    parse_trail,
    parse_trail_arn,
    trail_arn,
)

ARN = "arn:aws:cloudtrail:us-east-2:123456789012:trail/MyTrail"


@pytest.mark.parametrize("name", ["abc", "MyTrail", "a.b-c_d", "0" * 128, "192.168.5.4a", "1.2.3", "my-trail.2024"])
def test_a_name_within_the_rules_is_taken(name: str) -> None:
    check_trail_name(name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "too short. Minimum allowed length: 3 characters. Specified name length: 0"),
        ("ab", "too short"),
        ("a" * 129, "too long. Maximum allowed length: 128 characters. Specified name length: 129"),
        ("-abc", "must starts with"),
        ("éab", "must starts with"),
        ("abc.", "must ends with"),
        ("a b", "can only contain"),
        ("abc\n1", "can only contain"),
        ("aéb", "can only contain"),
        ("my-_namespace", "adjacent"),
        ("my--namespace", "adjacent"),
        ("192.168.5.4", "IP address"),
    ],
)
def test_a_name_that_breaks_a_rule_is_refused_with_that_rule(name: str, words: str) -> None:
    with pytest.raises(ServiceFault, match="InvalidTrailNameException") as caught:
        check_trail_name(name)
    assert words in caught.value.message
    assert caught.value.status == 400


def test_an_arn_is_read_as_it_is_written() -> None:
    assert parse_trail_arn(ARN) == ("us-east-2", "123456789012", "MyTrail")
    assert trail_arn(*parse_trail_arn(ARN)) == ARN


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("arn:aws:cloudtrail:us-east-2:12345:trail/MyTrail", "CloudTrailARNInvalidException"),
        ("arn:aws:s3:::bucket", "CloudTrailARNInvalidException"),
        ("arn:aws:cloudtrail:us-east-2:123456789012:eventdatastore/EXAMPLE", "CloudTrailARNInvalidException"),
        ("arn:aws:cloudtrail:us-east-2:123456789012:trail/", "CloudTrailARNInvalidException"),
        ("arn:aws:cloudtrail:us-east-2:123456789012:trail/x", "InvalidTrailNameException"),
        ("arn:aws:cloudtrail:us-east-2:123456789012:trail/a/b/c", "InvalidTrailNameException"),
    ],
)
def test_an_arn_of_anything_else_is_refused(text: str, code: str) -> None:
    with pytest.raises(ServiceFault, match=code):
        parse_trail_arn(text)


@given(st.text(max_size=140))
def test_any_text_is_an_arn_or_a_fault(text: str) -> None:
    try:
        parts = parse_trail_arn(text)
    except ServiceFault as fault:
        assert fault.code in {"CloudTrailARNInvalidException", "InvalidTrailNameException"}  # noqa: PT017
    else:
        assert trail_arn(*parts) == text


@pytest.mark.parametrize("name", ["my-bucket", "a.b.c", "123"])
def test_a_bucket_name_within_the_rules_is_taken(name: str) -> None:
    check_bucket_name(name)


@pytest.mark.parametrize("name", ["", "ab", "a" * 64, "My-Bucket", "my_bucket", "-ab", "ab-", "a..b", "10.0.0.1"])
def test_a_bucket_name_that_breaks_a_rule_is_refused(name: str) -> None:
    with pytest.raises(ServiceFault, match="InvalidS3BucketNameException"):
        check_bucket_name(name)


def test_a_prefix_has_at_most_200_characters() -> None:
    check_prefix("p" * 200)
    check_prefix("")
    check_prefix("team/ä logs")
    for prefix in ("p" * 201, "a\nb", "a\x00"):
        with pytest.raises(ServiceFault, match="InvalidS3PrefixException"):
            check_prefix(prefix)


def test_a_multi_region_trail_includes_global_events() -> None:
    for multi, included in ((True, True), (False, True), (False, False)):
        check_global_events(is_multi_region=multi, include_global_service_events=included)
    with pytest.raises(ServiceFault, match="Multi-Region trail must include global service events"):
        check_global_events(is_multi_region=True, include_global_service_events=False)


def test_tags_are_written_over_those_that_are_there() -> None:
    assert check_tags([("Owner", "Mary"), ("new", "")], {"Owner": "Bob", "kept": "x"}) == {
        "Owner": "Mary",
        "new": "",
        "kept": "x",
    }


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ([("a", "1"), ("a", "2")], "InvalidTagParameterException"),
        ([("aws:a", "1")], "InvalidTagParameterException"),
        ([("AWS:a", "1")], "InvalidTagParameterException"),
        ([("a", "<script>")], "InvalidTagParameterException"),
        ([(f"k{n}", "") for n in range(51)], "TagsLimitExceededException"),
    ],
)
def test_tags_beyond_the_rules_are_refused(tags: list[tuple[str, str]], code: str) -> None:
    with pytest.raises(ServiceFault, match=code):
        check_tags(tags, {})


_text = st.text(max_size=12)
_values = st.lists(_text, max_size=3).map(tuple)
_selectors = st.builds(
    EventSelector,
    read_write_type=st.sampled_from(ReadWriteType),
    include_management_events=st.booleans(),
    data_resources=st.lists(st.builds(DataResource, type=_text, values=_values), max_size=2).map(tuple),
    exclude_management_event_sources=_values,
)
_advanced = st.builds(
    AdvancedEventSelector,
    name=_text,
    field_selectors=st.lists(
        st.builds(
            FieldSelector,
            field=_text,
            equals=_values,
            starts_with=_values,
            ends_with=_values,
            not_equals=_values,
            not_starts_with=_values,
            not_ends_with=_values,
        ),
        max_size=2,
    ).map(tuple),
)
_trails = st.builds(
    Trail,
    account_id=st.just("123456789012"),
    home_region=st.just("eu-west-1"),
    name=_text,
    bucket=_text,
    prefix=_text,
    is_multi_region=st.booleans(),
    log_file_validation_enabled=st.booleans(),
    recursive_logging=st.booleans(),
    is_logging=st.booleans(),
    tags=st.dictionaries(_text, _text, max_size=3),
    event_selectors=st.lists(_selectors, max_size=2).map(tuple),
    advanced_event_selectors=st.lists(_advanced, max_size=2).map(tuple),
)


@given(_trails)
def test_what_is_kept_of_a_trail_is_all_of_it(trail: Trail) -> None:
    assert parse_trail(format_trail(trail)) == trail


def test_a_trail_that_is_seen_in_a_region() -> None:
    trail = Trail(account_id="123456789012", home_region="eu-west-1", name="abc", bucket="b")
    assert trail.exists_in("eu-west-1")
    assert not trail.exists_in("us-east-1")
    assert dataclasses.replace(trail, is_multi_region=True).exists_in("us-east-1")


def test_only_selectors_other_than_the_default_are_custom() -> None:
    trail = Trail(account_id="123456789012", home_region="eu-west-1", name="abc", bucket="b")
    assert not trail.has_custom_event_selectors
    assert not dataclasses.replace(trail, event_selectors=(EventSelector(),)).has_custom_event_selectors
    reads = EventSelector(read_write_type=ReadWriteType.READ_ONLY)
    assert dataclasses.replace(trail, event_selectors=(reads,)).has_custom_event_selectors
