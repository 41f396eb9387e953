"""Who is denied a forwarded call reads it in the service's own words, and the upstream hears nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from botocore.exceptions import ClientError

from opentrail.testing.local_endpoint import Key
from opentrail.testing.stub_upstream import run_stub_upstream
from opentrail.testing.upstream_trail import UpstreamTrail, run_upstream_trail


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpstreamTrail]:
    folder = tmp_path_factory.mktemp("denials")
    with run_stub_upstream() as stub, run_upstream_trail(folder, stub, signs=True) as found:
        yield found


@pytest.fixture(scope="module")
def alice(trail: UpstreamTrail) -> Key:
    return trail.new_user("alice")


def _arn(service: str, resource: str) -> str:
    return f"arn:aws:{service}:us-east-1:{{account}}:{resource}"


class Case(NamedTuple):
    """A call, and what is said of it: code, status, action and resource ("" for none)."""

    service: str
    call: Callable[[Any], Any]
    code: str
    status: int
    action: str
    resource: str


CASES = [
    Case("s3", lambda s3: s3.get_object(Bucket="b", Key="a/k"), "AccessDenied", 403, "s3:GetObject",
     '"arn:aws:s3:::b/a/k"'),
    Case("s3", lambda s3: s3.list_objects_v2(Bucket="b"), "AccessDenied", 403, "s3:ListBucket", '"arn:aws:s3:::b"'),
    Case("s3", lambda s3: s3.list_buckets(), "AccessDenied", 403, "s3:ListAllMyBuckets", ""),
    Case("lambda", lambda each: each.get_function(FunctionName="f"), "AccessDeniedException", 403,
     "lambda:GetFunction", _arn("lambda", "function:f")),
    Case("lambda", lambda each: each.get_function(FunctionName="111122223333:function:f"), "AccessDeniedException", 403,
     "lambda:GetFunction", "arn:aws:lambda:us-east-1:111122223333:function:f"),
    Case("sqs", lambda each: each.purge_queue(QueueUrl="http://x/1/q/?a=b/c"), "AccessDenied", 403, "sqs:purgequeue",
     _arn("sqs", "q")),
    Case("dynamodb", lambda each: each.delete_table(TableName="t"), "AccessDeniedException", 400,
     "dynamodb:DeleteTable", _arn("dynamodb", "table/t")),
    Case("sqs", lambda each: each.purge_queue(QueueUrl="http://x/1/q"), "AccessDenied", 403, "sqs:purgequeue",
     _arn("sqs", "q")),
    Case("sns", lambda each: each.delete_topic(TopicArn="arn:aws:sns:us-east-1:111122223333:t"), "AuthorizationError",
     403, "SNS:DeleteTopic", "arn:aws:sns:us-east-1:111122223333:t"),
    Case("cloudwatch", lambda each: each.delete_alarms(AlarmNames=["a"]), "AccessDenied", 403,
     "cloudwatch:DeleteAlarms", ""),
    Case("autoscaling", lambda each: each.describe_tags(), "AccessDenied", 403, "autoscaling:DescribeTags", ""),
    Case("route53", lambda each: each.list_hosted_zones(), "AccessDenied", 403, "route53:ListHostedZones", ""),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.action)
def test_a_denial_is_the_services(trail: UpstreamTrail, alice: Key, case: Case) -> None:
    service, call, code, status, action, resource = case
    client = trail.client(service, alice)
    trail.forget()
    with pytest.raises(ClientError) as caught:
        call(client)
    error = caught.value.response
    assert (error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
    record = trail.record()
    account = record["userIdentity"]["accountId"]
    where = f" on resource: {resource.format(account=account)}" if resource else ""
    sentence = f"User: arn:aws:iam::{account}:user/alice is not authorized to perform: {action}{where} "
    assert error["Error"]["Message"] == f"{sentence}because no identity-based policy allows the {action} action"
    assert record["errorCode"].removesuffix("Exception") == code.removesuffix("Exception")
    assert record["errorMessage"] == error["Error"]["Message"]
    assert record["userIdentity"]["userName"] == "alice"
    assert trail.stub.requests == []


def test_a_denial_of_ec2s(trail: UpstreamTrail, alice: Key) -> None:
    client = trail.client("ec2", alice)
    trail.forget()
    with pytest.raises(ClientError) as caught:
        client.create_vpc(CidrBlock="10.0.0.0/16")
    error = caught.value.response
    assert (error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]) == ("UnauthorizedOperation", 403)
    told, _, sealed = error["Error"]["Message"].partition(". Encoded authorization failure message: ")
    record = trail.record()
    user = f"arn:aws:iam::{record['userIdentity']['accountId']}:user/alice"
    assert told == (
        f"You are not authorized to perform this operation. User: {user} is not authorized to perform: "
        "ec2:CreateVpc because no identity-based policy allows the ec2:CreateVpc action"
    )
    assert record["errorCode"] == "Client.UnauthorizedOperation"
    assert record["errorMessage"].startswith(told)
    decoded = trail.client("sts").decode_authorization_message(EncodedMessage=sealed)["DecodedMessage"]
    assert '"ec2:CreateVpc"' in decoded
    assert trail.stub.requests == []
