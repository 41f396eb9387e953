"""Parameters that break the model: refused in AWS's words by the service's front end, where the service does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError


@pytest.fixture
def careless(local: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``local`` with clients that send what they are given."""
    import boto3

    make: Any = boto3.client

    def client(*arguments: Any, **options: Any) -> Any:
        options["config"] = options["config"].merge(Config(parameter_validation=False))
        return make(*arguments, **options)

    monkeypatch.setattr(boto3, "client", client)
    return local


def fault(call: Any, **parameters: Any) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], response["Error"]["Message"]


def test_iam_refuses_what_the_model_does_not_allow(careless: Any) -> None:
    iam = careless.client("iam")
    pattern = r"Member must satisfy regular expression pattern: [\w+=,.@-]+"
    assert fault(iam.create_user, UserName="a b") == (
        400,
        "ValidationError",
        f"1 validation error detected: Value 'a b' at 'userName' failed to satisfy constraint: {pattern}",
    )
    assert fault(iam.create_user) == (
        400,
        "ValidationError",
        "1 validation error detected: Value null at 'userName' failed to satisfy constraint: Member must not be null",
    )
    long = "x" * 65
    text = (
        f"Value '{long}' at 'userName' failed to satisfy constraint: Member must have length less than or equal to 64"
    )
    assert fault(iam.create_user, UserName=long)[2] == f"1 validation error detected: {text}"
    status, code, message = fault(iam.put_user_policy, UserName="a b", PolicyName="", PolicyDocument="{}")
    assert (status, code) == (400, "ValidationError")
    assert message.startswith("3 validation errors detected: ")
    _, code, message = fault(iam.create_user, UserName="a", Tags=[{"Key": "k"}])
    assert (code, "at 'tags.1.member.value'" in message) == ("ValidationError", True)
    _, code, message = fault(iam.update_access_key, AccessKeyId="AKIA" + "X" * 16, Status="Perhaps")
    assert (code, "enum value set: [Active, Inactive" in message) == ("ValidationError", True)
    assert all(record["errorCode"] == "ValidationError" for record in careless.records())


def test_a_check_of_the_services_own_wins(careless: Any) -> None:
    cloudtrail, iam = careless.client("cloudtrail"), careless.client("iam")
    assert fault(cloudtrail.get_trail, Name="a")[1] == "InvalidTrailNameException"
    assert fault(cloudtrail.get_trail, Name="x" * 200)[1] == "InvalidTrailNameException"
    iam.create_user(UserName="alice")
    assert (
        fault(iam.put_user_policy, UserName="alice", PolicyName="p", PolicyDocument="{")[1] == "MalformedPolicyDocument"
    )


def test_cloudtrail_misses_what_is_missing(careless: Any) -> None:
    cloudtrail = careless.client("cloudtrail")
    status, code, message = fault(cloudtrail.create_trail, Name="trail")
    assert (status, code) == (400, "ValidationException")
    assert message.endswith("Value null at 's3BucketName' failed to satisfy constraint: Member must not be null")
    assert fault(cloudtrail.add_tags, ResourceId="x", TagsList=[{"Value": "v"}])[1] == "ValidationException"


def test_s3_refuses_a_document_that_is_not_whole(local: Any) -> None:
    s3 = local.client("s3")
    s3.create_bucket(Bucket="bucket")
    for path, body, code in (
        ("?tagging", b"", "MissingRequestBodyError"),
        ("?tagging", b"<Tagging/>", "MalformedXML"),
        ("?tagging", b"<Tagging><TagSet><Tag><Key>k</Key></Tag></TagSet></Tagging>", "MalformedXML"),
        ("?publicAccessBlock", b"", "MissingRequestBodyError"),
    ):
        request = local.sign("PUT", f"/bucket{path}", service="s3", body=body)
        status, _, answer = local.request(request)
        assert (status, f"<Code>{code}</Code>".encode() in answer) == (400, True), answer


def test_nothing_that_is_wrong_reaches_a_policy(careless: Any) -> None:
    """Who may do a thing can depend on what it is done to: a request that does not say that is refused before."""
    alice = careless.new_user("alice")
    assert fault(careless.client("iam", alice).delete_user)[1] == "ValidationError"
    assert fault(careless.client("iam", alice).delete_user, UserName="bob")[1] == "AccessDenied"


def test_a_secret_is_not_told_back(careless: Any) -> None:
    document = json.dumps({"Version": "2012-10-17"}) + "\N{BELL}"
    _, _, message = fault(careless.client("iam").put_user_policy, UserName="a", PolicyName="p", PolicyDocument=document)
    assert "policyDocument" in message
