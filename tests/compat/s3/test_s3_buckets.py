"""Buckets, their policies, and who may do what, through boto3 and the real policy engine."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from opentrail.core.identity import ANONYMOUS, service_identity
from opentrail.services.s3 import S3_OPERATIONS

Fault = Callable[..., Mapping[str, Any]]
OTHER_ACCOUNT = "210987654321"


def policy_of(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(actions: str | list[str], resource: str, **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": {"AWS": OTHER_ACCOUNT}, "Action": actions, "Resource": resource, **more}


class TestCreate:
    def test_in_each_region(self, endpoint: Any, fault_of: Fault) -> None:
        east, west = endpoint.client(), endpoint.client("eu-west-1")
        constraint = {"LocationConstraint": "eu-west-1"}
        assert east.create_bucket(Bucket="plain")["Location"] == "/plain"
        east.create_bucket(Bucket="from-east", CreateBucketConfiguration=constraint)
        west.create_bucket(Bucket="from-west", CreateBucketConfiguration=constraint)
        assert east.get_bucket_location(Bucket="plain")["LocationConstraint"] is None
        for name in ("from-east", "from-west"):
            assert east.get_bucket_location(Bucket=name)["LocationConstraint"] == "eu-west-1"
        assert west.head_bucket(Bucket="from-west")["BucketRegion"] == "eu-west-1"
        for client, configuration in (
            (west, None),
            (west, {"LocationConstraint": "eu-central-1"}),
        ):
            parameters = {"CreateBucketConfiguration": configuration} if configuration else {}
            fault = fault_of(client.create_bucket, Bucket="wrong", **parameters)
            assert fault["Code"] == "IllegalLocationConstraintException"
        for name in ("us-east-1", "nowhere"):
            configuration = {"LocationConstraint": name}
            fault = fault_of(east.create_bucket, Bucket="wrong", CreateBucketConfiguration=configuration)
            assert fault["Code"] == "InvalidLocationConstraint"

    def test_twice(self, endpoint: Any, fault_of: Fault) -> None:
        mine, theirs = endpoint.client(), endpoint.client(account=OTHER_ACCOUNT)
        mine.create_bucket(Bucket="mine")
        mine.create_bucket(Bucket="mine")  # us-east-1 alone answers so
        fault = fault_of(theirs.create_bucket, Bucket="mine")
        assert (fault["Code"], fault["Status"]) == ("BucketAlreadyExists", 409)
        west = endpoint.client("eu-west-1")
        configuration = {"LocationConstraint": "eu-west-1"}
        west.create_bucket(Bucket="west", CreateBucketConfiguration=configuration)
        fault = fault_of(west.create_bucket, Bucket="west", CreateBucketConfiguration=configuration)
        assert (fault["Code"], fault["Status"]) == ("BucketAlreadyOwnedByYou", 409)

    @pytest.mark.parametrize(
        "name", ["UPPER", "-a1", "a1-", "a..b", "1.2.3.4", "xn--abc", "a_b", "abc-s3alias", "abc--ol-s3", "a" * 64]
    )
    def test_names_that_may_not_be(self, s3: Any, fault_of: Fault, name: str) -> None:
        assert fault_of(s3.create_bucket, Bucket=name)["Code"] == "InvalidBucketName"

    def test_settings_that_are_not_there(self, s3: Any, fault_of: Fault) -> None:
        assert fault_of(s3.create_bucket, Bucket="abc", ObjectLockEnabledForBucket=True)["Code"] == "NotImplemented"
        assert fault_of(s3.create_bucket, Bucket="abc", ObjectOwnership="ObjectWriter")["Code"] == "NotImplemented"
        fault = fault_of(s3.create_bucket, Bucket="abc", ACL="public-read")
        assert fault["Code"] == "InvalidBucketAclWithObjectOwnership"
        s3.create_bucket(
            Bucket="tagged",
            ACL="private",
            ObjectOwnership="BucketOwnerEnforced",
            CreateBucketConfiguration={"Tags": [{"Key": "a", "Value": "b"}]},
        )
        assert s3.get_bucket_tagging(Bucket="tagged")["TagSet"] == [{"Key": "a", "Value": "b"}]


class TestDelete:
    def test_only_when_empty(self, s3: Any, bucket: str, fault_of: Fault) -> None:
        s3.put_object(Bucket=bucket, Key="k", Body=b"x")
        fault = fault_of(s3.delete_bucket, Bucket=bucket)
        assert (fault["Code"], fault["Status"], fault["BucketName"]) == ("BucketNotEmpty", 409, bucket)
        s3.put_object(Bucket=bucket, Key="k", Body=b"y")
        s3.delete_object(Bucket=bucket, Key="k")
        s3.delete_bucket(Bucket=bucket)
        assert fault_of(s3.head_bucket, Bucket=bucket)["Status"] == 404
        assert fault_of(s3.delete_bucket, Bucket=bucket)["Code"] == "NoSuchBucket"

    def test_with_its_uploads(self, s3: Any, endpoint: Any, bucket: str) -> None:
        upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
        s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"x")
        s3.delete_bucket(Bucket=bucket)
        assert list(endpoint.deps.store.list("")) == []

    def test_while_objects_are_put(self, endpoint: Any) -> None:
        """No object survives its bucket: a later owner of the name would find it."""
        s3 = endpoint.client()
        for _ in range(5):
            s3.create_bucket(Bucket="racing")
            stop = threading.Event()

            def put(client: Any, name: str, stop: threading.Event) -> None:
                number = 0
                while not stop.is_set():
                    number += 1
                    try:
                        client.put_object(Bucket="racing", Key=f"{name}{number}", Body=b"x")
                        client.delete_object(Bucket="racing", Key=f"{name}{number}")
                    except client.exceptions.ClientError as error:
                        if error.response["Error"]["Code"] not in ("NoSuchBucket", "OperationAborted"):
                            raise

            threads = [threading.Thread(target=put, args=(endpoint.client(), name, stop)) for name in "ab"]
            for thread in threads:
                thread.start()
            while True:
                try:
                    s3.delete_bucket(Bucket="racing")
                except s3.exceptions.ClientError:
                    continue
                break
            stop.set()
            for thread in threads:
                thread.join()
            assert list(endpoint.deps.store.list("racing/")) == []


def test_list(endpoint: Any, fault_of: Fault) -> None:
    s3, theirs = endpoint.client(), endpoint.client(account=OTHER_ACCOUNT)
    names = ["alpha", "beta-1", "beta-2", "gamma"]
    for name in reversed(names):
        s3.create_bucket(Bucket=name)
    theirs.create_bucket(Bucket="theirs")
    assert [each["Name"] for each in s3.list_buckets()["Buckets"]] == names
    pages = s3.get_paginator("list_buckets").paginate(PaginationConfig={"PageSize": 3})
    assert [[each["Name"] for each in page["Buckets"]] for page in pages] == [names[:3], names[3:]]
    assert [each["Name"] for each in s3.list_buckets(Prefix="beta")["Buckets"]] == ["beta-1", "beta-2"]
    assert fault_of(s3.list_buckets, ContinuationToken="???")["Code"] == "InvalidArgument"


def test_what_is_the_same_for_all_buckets(s3: Any, bucket: str) -> None:
    acl = s3.get_bucket_acl(Bucket=bucket)
    assert acl["Grants"] == [
        {"Grantee": {"ID": acl["Owner"]["ID"], "Type": "CanonicalUser"}, "Permission": "FULL_CONTROL"}
    ]
    rules = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
    assert rules == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)


class TestPolicy:
    def test_is_kept_as_it_is(self, s3: Any, bucket: str, fault_of: Fault) -> None:
        assert fault_of(s3.get_bucket_policy, Bucket=bucket)["Code"] == "NoSuchBucketPolicy"
        assert fault_of(s3.get_bucket_policy_status, Bucket=bucket)["Code"] == "NoSuchBucketPolicy"
        policy = policy_of(allow("s3:GetObject", f"arn:aws:s3:::{bucket}/*"))
        s3.put_bucket_policy(Bucket=bucket, Policy=policy)
        assert s3.get_bucket_policy(Bucket=bucket)["Policy"] == policy
        assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"] is False
        s3.delete_bucket_policy(Bucket=bucket)
        assert fault_of(s3.get_bucket_policy, Bucket=bucket)["Code"] == "NoSuchBucketPolicy"
        s3.delete_bucket_policy(Bucket=bucket)

    @pytest.mark.parametrize(
        "policy",
        [
            "",
            "not JSON",
            "{}",
            policy_of(allow("s3:GetObject", "arn:aws:s3:::another-bucket/*")),
            policy_of(allow("ec2:RunInstances", "arn:aws:s3:::log-bucket")),
            policy_of({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::log-bucket/*"}),
            policy_of(allow("s3:GetObject", "arn:aws:s3:::log-bucket/" + "x" * 21_000)),
        ],
    )
    def test_must_be_one(self, s3: Any, bucket: str, fault_of: Fault, policy: str) -> None:
        assert fault_of(s3.put_bucket_policy, Bucket=bucket, Policy=policy)["Code"] == "MalformedPolicy"

    def test_opens_the_bucket_to_another_account(self, endpoint: Any, bucket: str, fault_of: Fault) -> None:
        s3, theirs = endpoint.client(), endpoint.client(account=OTHER_ACCOUNT)
        s3.put_object(Bucket=bucket, Key="shared/k", Body=b"x")
        assert fault_of(theirs.get_object, Bucket=bucket, Key="shared/k")["Code"] == "AccessDenied"
        s3.put_bucket_policy(
            Bucket=bucket,
            Policy=policy_of(
                allow(["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], f"arn:aws:s3:::{bucket}/shared/*"),
                allow(
                    "s3:ListBucket",
                    f"arn:aws:s3:::{bucket}",
                    Condition={"StringLike": {"s3:prefix": "shared/*"}, "NumericLessThanEquals": {"s3:max-keys": 10}},
                ),
            ),
        )
        assert theirs.get_object(Bucket=bucket, Key="shared/k")["Body"].read() == b"x"
        assert fault_of(theirs.get_object, Bucket=bucket, Key="k")["Code"] == "AccessDenied"
        theirs.list_objects_v2(Bucket=bucket, Prefix="shared/", MaxKeys=10)
        assert fault_of(theirs.list_objects_v2, Bucket=bucket, Prefix="shared/", MaxKeys=11)["Code"] == "AccessDenied"
        assert fault_of(theirs.list_objects_v2, Bucket=bucket)["Code"] == "AccessDenied"
        objects = [{"Key": "shared/k"}, {"Key": "private"}]
        result = theirs.delete_objects(Bucket=bucket, Delete={"Objects": objects})
        assert [each["Key"] for each in result["Deleted"]] == ["shared/k"]
        assert [(each["Key"], each["Code"]) for each in result["Errors"]] == [("private", "AccessDenied")]

    def test_belongs_to_the_owner(self, endpoint: Any, bucket: str, fault_of: Fault) -> None:
        """Another account may be granted the action and still may not; the owner's root is never locked out."""
        s3, theirs = endpoint.client(), endpoint.client(account=OTHER_ACCOUNT)
        grant = allow("s3:*", f"arn:aws:s3:::{bucket}")
        everybody = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{bucket}"}
        s3.put_bucket_policy(Bucket=bucket, Policy=policy_of(grant))
        fault = fault_of(theirs.get_bucket_policy, Bucket=bucket)
        assert (fault["Code"], fault["Status"]) == ("MethodNotAllowed", 405)
        s3.put_bucket_policy(Bucket=bucket, Policy=policy_of(everybody))
        assert fault_of(s3.list_objects_v2, Bucket=bucket)["Code"] == "AccessDenied"
        assert s3.get_bucket_policy(Bucket=bucket)["Policy"] == policy_of(everybody)
        s3.delete_bucket_policy(Bucket=bucket)
        s3.list_objects_v2(Bucket=bucket)

    def test_whether_a_key_exists_is_told_to_those_who_may_list(
        self, endpoint: Any, bucket: str, fault_of: Fault
    ) -> None:
        s3, theirs = endpoint.client(), endpoint.client(account=OTHER_ACCOUNT)
        reading = allow("s3:GetObject", f"arn:aws:s3:::{bucket}/*")
        s3.put_bucket_policy(Bucket=bucket, Policy=policy_of(reading))
        assert fault_of(theirs.get_object, Bucket=bucket, Key="none")["Code"] == "AccessDenied"
        assert fault_of(theirs.head_object, Bucket=bucket, Key="none")["Status"] == 403
        listing = allow("s3:ListBucket", f"arn:aws:s3:::{bucket}")
        s3.put_bucket_policy(Bucket=bucket, Policy=policy_of(reading, listing))
        assert fault_of(theirs.get_object, Bucket=bucket, Key="none")["Code"] == "NoSuchKey"

    def test_lets_cloudtrail_deliver(self, endpoint: Any, bucket: str, fault_of: Fault) -> None:
        s3 = endpoint.client()
        service = endpoint.client(identity=service_identity("cloudtrail.amazonaws.com"))
        parameters = {"Bucket": bucket, "Key": "AWSLogs/123456789012/k", "Body": b"x"}
        full = {"ACL": "bucket-owner-full-control"}
        assert fault_of(service.put_object, **parameters, **full)["Code"] == "AccessDenied"
        principal = {"Service": "cloudtrail.amazonaws.com"}
        s3.put_bucket_policy(
            Bucket=bucket,
            Policy=policy_of(
                allow("s3:GetBucketAcl", f"arn:aws:s3:::{bucket}", Principal=principal),
                allow(
                    "s3:PutObject",
                    f"arn:aws:s3:::{bucket}/AWSLogs/123456789012/*",
                    Principal=principal,
                    Condition={"StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}},
                ),
            ),
        )
        assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"] is False
        service.get_bucket_acl(Bucket=bucket)
        service.put_object(**parameters, **full)
        assert fault_of(service.put_object, **parameters)["Code"] == "AccessDenied"


class TestPublicAccess:
    def public(self, bucket: str) -> str:
        return policy_of(allow("s3:GetObject", f"arn:aws:s3:::{bucket}/*", Principal="*"))

    def test_is_blocked_from_the_start(self, endpoint: Any, bucket: str, fault_of: Fault) -> None:
        s3, nobody = endpoint.client(), endpoint.client(identity=ANONYMOUS)
        assert set(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values()) == {True}
        fault = fault_of(s3.put_bucket_policy, Bucket=bucket, Policy=self.public(bucket))
        assert (fault["Code"], fault["Status"]) == ("AccessDenied", 403)
        assert "BlockPublicPolicy" in fault["Message"]
        s3.put_object(Bucket=bucket, Key="k", Body=b"x")
        s3.delete_public_access_block(Bucket=bucket)
        fault = fault_of(s3.get_public_access_block, Bucket=bucket)
        assert fault["Code"] == "NoSuchPublicAccessBlockConfiguration"
        s3.put_bucket_policy(Bucket=bucket, Policy=self.public(bucket))
        assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"] is True
        assert nobody.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
        fault = fault_of(nobody.get_object, Bucket=bucket, Key="k", ResponseContentType="text/html")
        assert fault["Code"] == "InvalidRequest"
        assert fault_of(nobody.list_objects_v2, Bucket=bucket)["Code"] == "AccessDenied"

    def test_is_restricted_afterwards(self, endpoint: Any, bucket: str, fault_of: Fault) -> None:
        s3 = endpoint.client()
        s3.put_object(Bucket=bucket, Key="k", Body=b"x")
        s3.delete_public_access_block(Bucket=bucket)
        s3.put_bucket_policy(Bucket=bucket, Policy=self.public(bucket))
        restrict = {"RestrictPublicBuckets": True}
        s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=restrict)
        assert s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"] == {
            "BlockPublicAcls": False,
            "IgnorePublicAcls": False,
            "BlockPublicPolicy": False,
            "RestrictPublicBuckets": True,
        }
        for caller in (endpoint.client(identity=ANONYMOUS), endpoint.client(account=OTHER_ACCOUNT)):
            assert fault_of(caller.get_object, Bucket=bucket, Key="k")["Code"] == "AccessDenied"
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


def test_one_of_many_conditional_puts_wins(endpoint: Any, bucket: str) -> None:
    """``If-None-Match: *`` is a lock: of ten that try at once, one gets it."""
    won: list[int] = []

    def put(number: int, size: int) -> None:
        client = endpoint.client()
        try:
            client.put_object(Bucket=bucket, Key="lock", Body=b"%d" % number * size, IfNoneMatch="*")
        except client.exceptions.ClientError as error:
            assert error.response["Error"]["Code"] == "PreconditionFailed"  # noqa: PT017  others must not be raised
        else:
            won.append(number)

    threads = [threading.Thread(target=put, args=(number, 1 + number % 2 * 2_000_000)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert endpoint.client().get_object(Bucket=bucket, Key="lock")["Body"].read(1) == b"%d" % won[0]


def test_what_survives_a_restart(endpoint: Any, bucket: str, s3: Any) -> None:
    """Another reader of the same database knows the bucket as it was left."""
    from opentrail.state.buckets import Buckets

    policy = policy_of(allow("s3:GetObject", f"arn:aws:s3:::{bucket}/*"))
    s3.put_bucket_policy(Bucket=bucket, Policy=policy)
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    s3.delete_public_access_block(Bucket=bucket)
    again = Buckets(endpoint.deps.buckets._engine)
    assert again.find(bucket) == endpoint.deps.buckets.find(bucket)


def test_every_operation_is_one_of_s3s(endpoint: Any) -> None:
    model = endpoint.catalog.service("s3")
    for name, entry in S3_OPERATIONS.items():
        assert model.operations[name].http_method in ("GET", "HEAD") or entry.writes, name
        assert entry.blocking or not entry.writes, name
