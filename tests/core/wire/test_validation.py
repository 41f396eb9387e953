"""Constraints of real models, in the words of AWS's services."""

from __future__ import annotations

from typing import Any

import pytest

from opentrail.core.wire.validation import format_violations, validate
from opentrail.server.catalog import BotocoreCatalog


def _message(catalog: BotocoreCatalog, service: str, operation: str, parameters: dict[str, Any]) -> str:
    return format_violations(validate(catalog.service(service).operations[operation], parameters))


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "violation"),
    [
        ("iam", "CreateUser", {"UserName": "x" * 65},
         f"Value '{'x' * 65}' at 'userName' | Member must have length less than or equal to 64"),
        ("iam", "CreateUser", {}, "Value null at 'userName' | Member must not be null"),
        ("iam", "CreateUser", {"UserName": "a b"},
         r"Value 'a b' at 'userName' | Member must satisfy regular expression pattern: [\w+=,.@-]+"),
        ("iam", "ListUsers", {"MaxItems": 0},
         "Value '0' at 'maxItems' | Member must have value greater than or equal to 1"),
        ("iam", "TagUser", {"UserName": "u", "Tags": [{"Key": "", "Value": ""}]},
         "Value '' at 'tags.1.member.key' | Member must have length greater than or equal to 1"),
        ("cloudtrail", "PutEventSelectors", {"TrailName": "t", "EventSelectors": [{"ReadWriteType": "Some"}]},
         ("Value 'Some' at 'eventSelectors.1.member.readWriteType' | "
          "Member must satisfy enum value set: [ReadOnly, WriteOnly, All]")),
    ],
)  # fmt: skip
def test_messages(
    *, catalog: BotocoreCatalog, service: str, operation: str, parameters: dict[str, Any], violation: str
) -> None:
    told = violation.replace(" | ", " failed to satisfy constraint: ")
    assert _message(catalog, service, operation, parameters) == f"1 validation error detected: {told}"


def test_all_violations_are_told_at_once(catalog: BotocoreCatalog) -> None:
    message = _message(catalog, "iam", "TagUser", {"Tags": [{"Key": "k"}]})
    assert message.startswith("2 validation errors detected: Value null at 'userName'")
    assert "; Value null at 'tags.1.member.value' failed" in message


def test_a_sensitive_value_is_not_told(catalog: BotocoreCatalog) -> None:
    message = _message(catalog, "iam", "CreateLoginProfile", {"UserName": "u", "Password": "\x01secret"})
    assert "secret" not in message
    assert "Value at 'password' failed to satisfy constraint" in message


def test_enumerations_can_be_left_open(catalog: BotocoreCatalog) -> None:
    operation = catalog.service("cloudtrail").operations["PutEventSelectors"]
    parameters = {"TrailName": "t", "EventSelectors": [{"ReadWriteType": "Some"}]}
    assert validate(operation, parameters, enums=False) == []


def test_a_streaming_member_is_not_missing(catalog: BotocoreCatalog) -> None:
    operation = catalog.service("s3").operations["WriteGetObjectResponse"]
    assert validate(operation, {"RequestRoute": "r", "RequestToken": "t"}) == []


def test_good_parameters_violate_nothing(catalog: BotocoreCatalog) -> None:
    operation = catalog.service("cloudtrail").operations["CreateTrail"]
    assert validate(operation, {"Name": "t", "S3BucketName": "b", "TagsList": [{"Key": "k", "Value": "v"}]}) == []


def test_a_pattern_cannot_be_made_to_take_long(catalog: BotocoreCatalog) -> None:
    operation = catalog.service("iam").operations["CreateUser"]
    assert len(validate(operation, {"UserName": "a" * 100_000 + " "})) == 1  # its length; its pattern is not tried
