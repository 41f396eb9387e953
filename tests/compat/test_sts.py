"""STS as boto3 sees it."""

from typing import Any

import pytest

from opentrail.core.identity import Identity, IdentityType
from opentrail.services.base import Service
from opentrail.services.sts import STS_OPERATIONS

USER = Identity(
    type=IdentityType.IAM_USER,
    principal_id="AIDAALICE",
    arn="arn:aws:iam::123456789012:user/Alice",
    account_id="123456789012",
    user_name="Alice",
)


@pytest.fixture
def sts(endpoint: Any) -> Any:
    without_state: Any = None  # who calls is known without
    endpoint.services["sts"] = Service(name="sts", operations=STS_OPERATIONS, deps=without_state)
    return endpoint


def test_a_user_and_root_learn_who_they_are(sts: Any) -> None:
    answer = sts.client("sts", identity=USER).get_caller_identity()
    assert (answer["UserId"], answer["Account"], answer["Arn"]) == ("AIDAALICE", "123456789012", USER.arn)
    answer = sts.client("sts").get_caller_identity()
    assert (answer["UserId"], answer["Arn"]) == ("123456789012", "arn:aws:iam::123456789012:root")


def test_nobody_needs_a_permission_for_that(sts: Any) -> None:
    sts.client("sts", identity=USER).get_caller_identity()
    assert sts.permissions == ()
