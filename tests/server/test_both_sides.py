"""A call that touches two accounts stands in the trails of both: its caller's, and that of the resource's owner."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from opentrail.core.policy.log_bucket_policy import log_bucket_policy
from opentrail.testing.company import Tenant, fetch_records, first_account, make_account
from opentrail.testing.live_server import HOME, LiveServer


def select_data(tenant: Tenant, *buckets: str) -> None:
    """Let the trail record the data events of these buckets."""
    data = [{"Type": "AWS::S3::Object", "Values": [f"arn:aws:s3:::{bucket}/" for bucket in buckets]}]
    selector = {"ReadWriteType": "All", "IncludeManagementEvents": True, "DataResources": data}
    tenant.client("cloudtrail").put_event_selectors(TrailName="main", EventSelectors=[selector])


class Pair:
    """Two accounts, each with a trail of its own into a bucket of its own."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        self.owner, self.caller = first_account(server), make_account(server, "caller")
        for tenant, bucket in ((self.owner, "owner-logs"), (self.caller, "caller-logs")):
            tenant.make_bucket(bucket, log_bucket_policy(bucket, account_ids=[tenant.account_id]))
            cloudtrail = tenant.client("cloudtrail")
            cloudtrail.create_trail(Name="main", S3BucketName=bucket, IsMultiRegionTrail=True)
            cloudtrail.start_logging(Name="main")
            select_data(tenant, "shared", "private", *(["own"] if tenant is self.caller else []))

    def records(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """What the caller's and the owner's trails hold."""
        self.server.flush()
        return (
            [record for _, record in fetch_records(self.caller, "caller-logs")],
            [record for _, record in fetch_records(self.owner, "owner-logs")],
        )


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    server = LiveServer(tmp_path / "data", "--delivery-interval", "1h")
    server.start()
    try:
        yield Pair(server)
    finally:
        server.end()


def refused(operation: Callable[..., Any], **parameters: Any) -> str:
    with pytest.raises(ClientError) as caught:
        operation(**parameters)
    return str(caught.value.response["Error"]["Code"])


def shared(records: list[dict[str, Any]], name: str = "") -> dict[str, dict[str, Any]]:
    """The records with a sharedEventID, by it."""
    return {
        each["sharedEventID"]: each for each in records if "sharedEventID" in each and name in {"", each["eventName"]}
    }


def test_every_kind_of_access_to_another_account_s_bucket(pair: Pair) -> None:
    owner, caller = pair.owner, pair.caller
    everything = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": caller.account_id},
                "Action": "s3:*",
                "Resource": ["arn:aws:s3:::shared", "arn:aws:s3:::shared/*"],
            }
        ],
    }
    owner.make_bucket("shared", everything)
    owner.make_bucket("private")
    caller.make_bucket("own")
    s3 = caller.client("s3")
    s3.put_object(Bucket="shared", Key="k", Body=b"content")
    s3.get_object(Bucket="shared", Key="k")["Body"].read()
    s3.list_objects_v2(Bucket="shared")
    s3.get_bucket_acl(Bucket="shared")
    s3.copy_object(Bucket="own", Key="copy", CopySource="shared/k")
    s3.delete_objects(Bucket="shared", Delete={"Objects": [{"Key": "k"}]})
    assert refused(s3.get_object, Bucket="shared", Key="gone") == "NoSuchKey"
    assert refused(s3.put_object, Bucket="private", Key="k", Body=b"") == "AccessDenied"
    assert refused(s3.get_bucket_acl, Bucket="private") == "AccessDenied"
    assert refused(s3.get_object, Bucket="nowhere", Key="k") == "NoSuchBucket"
    owner.client("s3").put_object(Bucket="shared", Key="mine", Body=b"")

    own_records, owner_records = pair.records()
    mine, theirs = shared(own_records), shared(owner_records)
    assert Counter((each["eventName"], each.get("errorCode", "")) for each in theirs.values()) == {
        ("PutObject", ""): 1,
        ("GetObject", ""): 1,
        ("ListObjects", ""): 1,
        ("GetBucketAcl", ""): 1,
        ("CopyObject", ""): 1,  # into the caller's bucket, from the owner's
        ("DeleteObjects", ""): 1,
        ("GetObject", "NoSuchKey"): 1,
        ("PutObject", "AccessDenied"): 1,
        ("GetBucketAcl", "AccessDenied"): 1,
    }
    assert mine.keys() == theirs.keys()
    for shared_id, copy in theirs.items():
        original = mine[shared_id]
        assert original["eventID"] != copy["eventID"]
        assert original["recipientAccountId"] == caller.account_id
        assert copy["recipientAccountId"] == owner.account_id
        assert original["userIdentity"]["type"] == "Root"
        expected = {"type": "AWSAccount", "principalId": caller.account_id, "accountId": caller.account_id}
        assert copy["userIdentity"] == expected
        own = {"eventID", "userIdentity", "recipientAccountId"}
        assert {name: original[name] for name in original if name not in own} == {
            name: copy[name] for name in copy if name not in own
        }
        (bucket,) = (each for each in copy["resources"] if each["type"] == "AWS::S3::Bucket")
        written_to = caller if copy["eventName"] == "CopyObject" else owner
        assert bucket["accountId"] == written_to.account_id
    assert [each for each in own_records if each.get("errorCode") == "NoSuchBucket" and "sharedEventID" in each] == []
    (alone,) = (each for each in owner_records if (each.get("requestParameters") or {}).get("key") == "mine")
    assert "sharedEventID" not in alone


def test_the_source_of_a_copy_is_its_owner_s_concern(pair: Pair) -> None:
    owner, caller = pair.owner, pair.caller
    owner.make_bucket("private")
    owner.client("s3").put_object(Bucket="private", Key="k", Body=b"secret")
    caller.make_bucket("own")
    select_data(owner, "own")
    copy = caller.client("s3").copy_object
    assert refused(copy, Bucket="own", Key="copy", CopySource="private/k") == "AccessDenied"
    own_records, owner_records = pair.records()
    assert shared(own_records).keys() == shared(owner_records).keys() != set()
    (record,) = shared(owner_records).values()
    assert (record["eventName"], record["errorCode"]) == ("CopyObject", "AccessDenied")
    assert record["resources"][1] == {
        "accountId": caller.account_id,
        "type": "AWS::S3::Bucket",
        "ARN": "arn:aws:s3:::own",
    }


def test_assuming_a_role_of_another_account(pair: Pair) -> None:
    owner, caller = pair.owner, pair.caller
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": caller.account_id}, "Action": "sts:AssumeRole"},
        ],
    }
    iam = owner.client("iam")
    arn = iam.create_role(RoleName="reader", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    trust["Statement"][0]["Principal"] = {"AWS": owner.account_id}  # type: ignore[index]
    closed = iam.create_role(RoleName="closed", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    may = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}]}
    users = caller.client("iam")
    user = users.create_user(UserName="alice")["User"]
    users.put_user_policy(UserName="alice", PolicyName="assume", PolicyDocument=json.dumps(may))
    made = users.create_access_key(UserName="alice")["AccessKey"]
    key = {"aws_access_key_id": made["AccessKeyId"], "aws_secret_access_key": made["SecretAccessKey"]}
    sts = pair.server.client("sts", HOME, key)
    session = sts.assume_role(RoleArn=arn, RoleSessionName="session")
    unknown = arn.replace("reader", "nobody")
    nowhere = arn.replace(owner.account_id, "999999999999")
    for target in (closed, unknown, nowhere):
        assert refused(sts.assume_role, RoleArn=target, RoleSessionName="session") == "AccessDenied"

    own_records, owner_records = pair.records()
    (copy,) = shared(owner_records).values()
    original = shared(own_records)[copy["sharedEventID"]]
    assert copy["eventName"] == "AssumeRole"
    assert original["userIdentity"]["userName"] == "alice"
    assert copy["userIdentity"] == {
        "type": "AWSAccount",
        "principalId": user["UserId"],
        "accountId": caller.account_id,
    }
    assert copy["resources"] == [{"accountId": owner.account_id, "type": "AWS::IAM::Role", "ARN": arn}]
    assert copy["responseElements"]["credentials"]["accessKeyId"] == session["Credentials"]["AccessKeyId"]
    assert session["Credentials"]["SecretAccessKey"] not in json.dumps(own_records + owner_records)
    attempts = [each for each in own_records if each["eventName"] == "AssumeRole"]
    assert Counter(each.get("errorCode", "") for each in attempts) == {"": 1, "AccessDenied": 3}
    assert len(shared(own_records)) == 1, "what was refused stands with the caller alone"


def test_delivery_into_another_account_s_bucket_is_seen_by_both(pair: Pair) -> None:
    owner, caller = pair.owner, pair.caller
    owner.make_bucket("gathered", log_bucket_policy("gathered", account_ids=[caller.account_id]))
    select_data(owner, "gathered")
    select_data(caller, "gathered")
    cloudtrail = caller.client("cloudtrail")
    cloudtrail.create_trail(Name="second", S3BucketName="gathered")
    cloudtrail.start_logging(Name="second")
    pair.records()
    cloudtrail.list_trails()
    owner.client("cloudtrail").list_trails()
    own_records, owner_records = pair.records()
    for name in ("GetBucketAcl", "PutObject"):
        mine, theirs = shared(own_records, name), shared(owner_records, name)
        assert mine.keys() == theirs.keys() != set(), name
        for records, tenant in ((mine, caller), (theirs, owner)):
            for record in records.values():
                assert record["userIdentity"] == {"type": "AWSService", "invokedBy": "cloudtrail.amazonaws.com"}
                assert record["recipientAccountId"] == tenant.account_id
        ids = [each["eventID"] for each in (*mine.values(), *theirs.values())]
        assert len(ids) == len(set(ids))


def test_an_unsigned_call_is_the_owner_s_alone_whatever_the_operation(pair: Pair) -> None:
    owner = pair.owner
    anybody = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": "*", "Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::shared/*"}
        ],
    }
    owner.make_bucket("shared")
    s3 = owner.client("s3")
    s3.delete_public_access_block(Bucket="shared")
    s3.put_bucket_policy(Bucket="shared", Policy=json.dumps(anybody))
    s3.put_object(Bucket="shared", Key="k", Body=b"")
    body = b'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Object><Key>k</Key></Object></Delete>'
    request = urllib.request.Request(f"{pair.server.url}/shared?delete", data=body, method="POST")
    with urllib.request.urlopen(request) as answer:
        assert b"<Deleted>" in answer.read()
    own_records, owner_records = pair.records()
    (record,) = (each for each in owner_records if each["eventName"] == "DeleteObjects")
    assert record["userIdentity"]["accountId"] == "anonymous"
    assert "sharedEventID" not in record
    assert [each for each in own_records if each["eventName"] == "DeleteObjects"] == []
