"""A bucket's policy trusts a user, not a name: who is deleted and created again is a stranger."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

ACCOUNT = "111111111111"
USER = f"arn:aws:iam::{ACCOUNT}:user/staff/alice"
BUCKET = "shared-bucket"


def policy_for(*principals: str) -> str:
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": list(principals)},
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{BUCKET}/*",
        "Condition": {"ArnLike": {"aws:PrincipalArn": USER}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def statement_of(s3: Any) -> dict[str, Any]:
    document = json.loads(s3.get_bucket_policy(Bucket=BUCKET)["Policy"])
    found: dict[str, Any] = document["Statement"][0]
    return found


def error_of(call: Callable[..., object], **parameters: Any) -> Mapping[str, Any]:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    error: Mapping[str, Any] = caught.value.response["Error"]
    return error


def test_a_namesake_is_not_trusted(local_with: Callable[..., Any]) -> None:
    local = local_with(account_id=ACCOUNT)
    iam, s3 = local.client("iam"), local.client("s3")

    def new_alice() -> tuple[str, Any]:
        user = iam.create_user(UserName="alice", Path="/staff/")["User"]
        made = iam.create_access_key(UserName="alice")["AccessKey"]
        key = type(local.key)(id=made["AccessKeyId"], secret=made["SecretAccessKey"])
        return user["UserId"], local.client("s3", key)

    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="k", Body=b"text")
    unique_id, alice = new_alice()
    s3.put_bucket_policy(Bucket=BUCKET, Policy=policy_for(USER, ACCOUNT))
    assert alice.get_object(Bucket=BUCKET, Key="k")["Body"].read() == b"text"
    assert statement_of(s3)["Principal"] == {"AWS": [USER, ACCOUNT]}

    iam.update_user(UserName="alice", NewUserName="alicia")
    renamed = statement_of(s3)
    assert renamed["Principal"]["AWS"][0] == USER.replace("alice", "alicia")
    assert renamed["Condition"] == {"ArnLike": {"aws:PrincipalArn": USER}}  # goes by the name
    iam.update_user(UserName="alicia", NewUserName="alice")

    for key in iam.list_access_keys(UserName="alice")["AccessKeyMetadata"]:
        iam.delete_access_key(UserName="alice", AccessKeyId=key["AccessKeyId"])
    iam.delete_user(UserName="alice")
    _, namesake = new_alice()
    assert error_of(namesake.get_object, Bucket=BUCKET, Key="k")["Code"] == "AccessDenied"
    assert statement_of(s3)["Principal"] == {"AWS": [unique_id, ACCOUNT]}

    kept = s3.get_bucket_policy(Bucket=BUCKET)["Policy"]
    error = error_of(s3.put_bucket_policy, Bucket=BUCKET, Policy=kept)
    assert (error["Code"], error["Message"]) == ("MalformedPolicy", "Invalid principal in policy")
    assert error["Detail"] == f'"AWS" : "{unique_id}"'
    s3.put_bucket_policy(Bucket=BUCKET, Policy=policy_for(USER))
    assert namesake.get_object(Bucket=BUCKET, Key="k")["Body"].read() == b"text"


@pytest.mark.parametrize(
    "name",
    [
        f"arn:aws:iam::{ACCOUNT}:user/nobody",
        f"arn:aws:iam::{ACCOUNT}:user/alice",  # another path
        f"arn:aws:iam::{ACCOUNT}:role/nobody",
        "arn:aws:iam::999999999999:user/alice",
        "AIDAAAAAAAAAAAAAAAAAA",
    ],
)
def test_who_does_not_exist_cannot_be_named(local_with: Callable[..., Any], name: str) -> None:
    local = local_with(account_id=ACCOUNT)
    local.client("iam").create_user(UserName="alice", Path="/staff/")
    s3 = local.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    error = error_of(s3.put_bucket_policy, Bucket=BUCKET, Policy=policy_for(name))
    assert (error["Code"], error["Detail"]) == ("MalformedPolicy", f'"AWS" : "{name}"')
