"""Objects through boto3: what is put is what comes back, in ranges, under conditions, copied, listed and deleted."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

Fault = Callable[..., Mapping[str, Any]]
NINES = "9" * 5000  # a number that is longer than Python reads


def test_an_object_with_everything_comes_back(s3: Any, bucket: str) -> None:
    body = b"hello, log"
    expires = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    put = s3.put_object(
        Bucket=bucket,
        Key="AWSLogs/a b+c/é.json.gz",
        Body=body,
        ContentType="application/json",
        ContentEncoding="gzip",
        ContentLanguage="en",
        ContentDisposition="attachment",
        CacheControl="no-store",
        Expires=expires,
        Metadata={"Signature": "ab12", "signature-algorithm": "SHA256withRSA"},
        Tagging="k=v&empty=&a%20b=c%2Bd",
    )
    assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    for got in (
        s3.get_object(Bucket=bucket, Key="AWSLogs/a b+c/é.json.gz"),
        s3.head_object(Bucket=bucket, Key="AWSLogs/a b+c/é.json.gz"),
    ):
        assert got["ETag"] == put["ETag"]
        assert got["ContentLength"] == len(body)
        assert got["ContentType"] == "application/json"
        assert got["ContentEncoding"] == "gzip"
        assert got["ContentLanguage"] == "en"
        assert got["ContentDisposition"] == "attachment"
        assert got["CacheControl"] == "no-store"
        assert got["Expires"] == expires
        assert got["Metadata"] == {"signature": "ab12", "signature-algorithm": "SHA256withRSA"}
        assert got["TagCount"] == 3
        assert got["AcceptRanges"] == "bytes"
        assert abs(got["LastModified"] - datetime.now(UTC)) < timedelta(minutes=5)
    assert s3.get_object(Bucket=bucket, Key="AWSLogs/a b+c/é.json.gz")["Body"].read() == body
    tags = s3.get_object_tagging(Bucket=bucket, Key="AWSLogs/a b+c/é.json.gz")["TagSet"]
    assert tags == [{"Key": "k", "Value": "v"}, {"Key": "empty", "Value": ""}, {"Key": "a b", "Value": "c+d"}]


def test_the_empty_object(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="folder/")
    got = s3.get_object(Bucket=bucket, Key="folder/")
    assert (got["Body"].read(), got["ContentType"]) == (b"", "binary/octet-stream")
    assert [each["Key"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["folder/"]


def test_what_is_missing_is_named(s3: Any, bucket: str, fault_of: Fault) -> None:
    fault = fault_of(s3.get_object, Bucket=bucket, Key="none")
    assert (fault["Code"], fault["Status"], fault["Key"]) == ("NoSuchKey", 404, "none")
    assert fault["Message"] == "The specified key does not exist."
    assert fault_of(s3.head_object, Bucket=bucket, Key="none")["Code"] == "404"
    fault = fault_of(s3.get_object, Bucket="no-such-bucket", Key="none")
    assert (fault["Code"], fault["Status"], fault["BucketName"]) == ("NoSuchBucket", 404, "no-such-bucket")
    assert fault_of(s3.put_object, Bucket="no-such-bucket", Key="k", Body=b"")["Code"] == "NoSuchBucket"


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=2-4", 2, 5),
        ("bytes=5-", 5, 10),
        ("bytes=7-100", 7, 10),
        ("bytes=-3", 7, 10),
        ("bytes=-100", 0, 10),
        (f"bytes=2-{NINES}", 2, 10),
        (f"bytes=-{NINES}", 0, 10),
        ("bytes=" + "0" * 5000 + "2-4", 2, 5),
    ],
)
def test_ranges(s3: Any, bucket: str, header: str, start: int, end: int) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    got = s3.get_object(Bucket=bucket, Key="k", Range=header)
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert got["ContentRange"] == f"bytes {start}-{end - 1}/10"
    assert got["Body"].read() == b"0123456789"[start:end]
    head = s3.head_object(Bucket=bucket, Key="k", Range=header)
    assert (head["ContentLength"], head["ContentRange"]) == (end - start, got["ContentRange"])


@pytest.mark.parametrize("header", ["bytes=0-1,3-4", "bytes=5-2", "lines=1-2", "bytes=a-b", "bytes="])
def test_what_is_no_single_range_is_passed_over(s3: Any, bucket: str, header: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    got = s3.get_object(Bucket=bucket, Key="k", Range=header)
    assert (got["ResponseMetadata"]["HTTPStatusCode"], got["Body"].read()) == (200, b"0123456789")


@pytest.mark.parametrize(
    ("body", "header"),
    [(b"0123456789", "bytes=10-"), (b"", "bytes=0-"), (b"01", "bytes=-0"), (b"01", f"bytes={NINES}-")],
)
def test_a_range_outside_the_object(s3: Any, bucket: str, fault_of: Fault, body: bytes, header: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=body)
    fault = fault_of(s3.get_object, Bucket=bucket, Key="k", Range=header)
    assert (fault["Code"], fault["Status"]) == ("InvalidRange", 416)
    assert (fault["ActualObjectSize"], fault["RangeRequested"]) == (str(len(body)), header)


class TestConditions:
    @pytest.fixture
    def etag(self, s3: Any, bucket: str) -> str:
        return str(s3.put_object(Bucket=bucket, Key="k", Body=b"data")["ETag"])

    def test_reading(self, s3: Any, bucket: str, fault_of: Fault, etag: str) -> None:
        modified = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
        before, after = modified - timedelta(seconds=1), modified + timedelta(seconds=1)
        cases: list[tuple[dict[str, Any], int]] = [
            ({"IfMatch": etag}, 200),
            ({"IfMatch": etag.strip('"')}, 200),
            ({"IfMatch": "*"}, 200),
            ({"IfMatch": '"x", ' + etag}, 200),
            ({"IfMatch": '"x"'}, 412),
            ({"IfNoneMatch": '"x"'}, 200),
            ({"IfNoneMatch": etag}, 304),
            ({"IfNoneMatch": "*"}, 304),
            ({"IfModifiedSince": before}, 200),
            ({"IfModifiedSince": modified}, 304),
            ({"IfUnmodifiedSince": modified}, 200),
            ({"IfUnmodifiedSince": before}, 412),
            ({"IfMatch": etag, "IfUnmodifiedSince": before}, 200),  # If-Match decides
            ({"IfNoneMatch": '"x"', "IfModifiedSince": after}, 200),  # If-None-Match decides
            ({"IfMatch": '"x"', "IfNoneMatch": etag}, 412),  # the first that fails
            ({"IfUnmodifiedSince": after, "IfNoneMatch": etag}, 304),
        ]
        for condition, status in cases:
            for read in (s3.get_object, s3.head_object):
                if status == 200:
                    assert read(Bucket=bucket, Key="k", **condition)["ETag"] == etag, condition
                else:
                    assert fault_of(read, Bucket=bucket, Key="k", **condition)["Status"] == status, condition

    def test_not_modified_says_which_version(self, s3: Any, bucket: str, etag: str) -> None:
        with pytest.raises(ClientError) as caught:
            s3.get_object(Bucket=bucket, Key="k", IfNoneMatch=etag)
        assert caught.value.response["ResponseMetadata"]["HTTPHeaders"]["etag"] == etag

    def test_writing(self, s3: Any, bucket: str, fault_of: Fault, etag: str) -> None:
        fault = fault_of(s3.put_object, Bucket=bucket, Key="k", Body=b"x", IfNoneMatch="*")
        assert (fault["Code"], fault["Status"], fault["Condition"]) == ("PreconditionFailed", 412, "If-None-Match")
        assert fault_of(s3.put_object, Bucket=bucket, Key="k", Body=b"x", IfMatch='"x"')["Status"] == 412
        assert fault_of(s3.put_object, Bucket=bucket, Key="new", Body=b"x", IfMatch='"x"')["Code"] == "NoSuchKey"
        assert fault_of(s3.put_object, Bucket=bucket, Key="k", Body=b"x", IfNoneMatch=etag)["Code"] == "NotImplemented"
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"data"
        s3.put_object(Bucket=bucket, Key="new", Body=b"x", IfNoneMatch="*")
        s3.put_object(Bucket=bucket, Key="k", Body=b"changed", IfMatch=etag)
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"changed"

    def test_a_large_body_under_a_condition(self, s3: Any, bucket: str, fault_of: Fault, etag: str) -> None:
        large = b"x" * 3_000_000
        assert fault_of(s3.put_object, Bucket=bucket, Key="k", Body=large, IfNoneMatch="*")["Status"] == 412
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"data"
        s3.put_object(Bucket=bucket, Key="k", Body=large, IfMatch=etag)
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == large

    def test_deleting(self, s3: Any, bucket: str, fault_of: Fault, etag: str) -> None:
        assert fault_of(s3.delete_object, Bucket=bucket, Key="k", IfMatch='"x"')["Code"] == "PreconditionFailed"
        s3.delete_object(Bucket=bucket, Key="k", IfMatch=etag)
        assert fault_of(s3.get_object, Bucket=bucket, Key="k")["Code"] == "NoSuchKey"


def test_response_headers_can_be_chosen(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ContentType="text/plain")
    got = s3.get_object(
        Bucket=bucket, Key="k", ResponseContentType="text/html", ResponseContentDisposition="inline; filename=x"
    )
    assert (got["ContentType"], got["ContentDisposition"]) == ("text/html", "inline; filename=x")


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
@pytest.mark.parametrize("size", [100, 3_000_000])
def test_checksums_are_kept_and_given_back(s3: Any, bucket: str, algorithm: str, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    put = s3.put_object(Bucket=bucket, Key="k", Body=body, ChecksumAlgorithm=algorithm)
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert got[f"Checksum{algorithm}"] == put[f"Checksum{algorithm}"]
    assert got["ChecksumType"] == "FULL_OBJECT"
    assert got["Body"].read() == body  # which botocore compares
    attributes = s3.get_object_attributes(
        Bucket=bucket, Key="k", ObjectAttributes=["ETag", "Checksum", "ObjectSize", "StorageClass", "ObjectParts"]
    )
    assert attributes["Checksum"][f"Checksum{algorithm}"] == put[f"Checksum{algorithm}"]
    assert (attributes["ObjectSize"], attributes["ETag"]) == (len(body), put["ETag"].strip('"'))
    assert "ObjectParts" not in attributes


@pytest.mark.parametrize("size", [100, 3_000_000])
def test_a_client_without_checksums_gets_one_from_s3(endpoint: Any, s3: Any, bucket: str, size: int) -> None:
    old = endpoint.client(request_checksum_calculation="when_required")
    put = old.put_object(Bucket=bucket, Key="k", Body=b"x" * size)
    assert put["ChecksumCRC64NVME"]
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["ChecksumCRC64NVME"] == put["ChecksumCRC64NVME"]
    assert got["Body"].read() == b"x" * size


@pytest.mark.parametrize("size", [100, 3_000_000])
def test_a_damaged_upload_leaves_nothing(s3: Any, bucket: str, fault_of: Fault, size: int) -> None:
    fault = fault_of(s3.put_object, Bucket=bucket, Key="k", Body=b"x" * size, ChecksumCRC32="AAAAAA==")
    assert fault["Code"] == "BadDigest"
    fault = fault_of(s3.put_object, Bucket=bucket, Key="k", Body=b"x" * size, ContentMD5="rL0Y20zC+Fzt72VPzMSk2A==")
    assert fault["Code"] == "BadDigest"
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_limits(s3: Any, bucket: str, fault_of: Fault) -> None:
    fault = fault_of(s3.put_object, Bucket=bucket, Key="k" * 1025, Body=b"")
    assert (fault["Code"], fault["MaxSizeAllowed"]) == ("KeyTooLongError", "1024")
    s3.put_object(Bucket=bucket, Key="é" * 512, Body=b"", Metadata={"a": "x" * 2047})
    assert fault_of(s3.put_object, Bucket=bucket, Key="k", Body=b"", Metadata={"a": "x" * 2048})["Code"] == (
        "MetadataTooLarge"
    )
    ten = "&".join(f"k{number}=v" for number in range(10))
    s3.put_object(Bucket=bucket, Key="k", Body=b"", Tagging=ten)
    assert fault_of(s3.put_object, Bucket=bucket, Key="k", Body=b"", Tagging=ten + "&k10=v")["Code"] == "BadRequest"
    assert fault_of(s3.put_object, Bucket=bucket, Key="k", Body=b"", Tagging="a=b&a=c")["Code"] == "InvalidTag"
    assert fault_of(s3.put_object, Bucket=bucket, Key="k", Body=b"", Tagging="aws:a=b")["Code"] == "InvalidTag"


def test_the_longest_metadata_and_tags_together(s3: Any, bucket: str) -> None:
    tags = [{"Key": f"{number}" + "k" * 127, "Value": "=" * 256} for number in range(10)]
    metadata = {"a": "x" * 2047}
    s3.put_object(Bucket=bucket, Key="k", Body=b"", Metadata=metadata, ContentDisposition="d" * 2000)
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": tags})
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == tags
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"] == metadata


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"ServerSideEncryption": "AES256"}, "NotImplemented"),
        ({"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "k"}, "NotImplemented"),
        ({"ObjectLockLegalHoldStatus": "ON"}, "NotImplemented"),
        ({"WebsiteRedirectLocation": "/x"}, "NotImplemented"),
        ({"StorageClass": "GLACIER"}, "NotImplemented"),
        ({"StorageClass": "NONSENSE"}, "InvalidStorageClass"),
        ({"ACL": "public-read"}, "AccessControlListNotSupported"),
        ({"GrantRead": "id=x"}, "AccessControlListNotSupported"),
        ({"ExpectedBucketOwner": "999999999999"}, "AccessDenied"),
    ],
)
def test_what_would_change_the_meaning_is_refused(
    s3: Any, bucket: str, fault_of: Fault, parameters: dict[str, str], code: str
) -> None:
    assert fault_of(s3.put_object, Bucket=bucket, Key="k", Body=b"x", **parameters)["Code"] == code
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_what_means_what_is_anyway_is_accepted(s3: Any, bucket: str) -> None:
    s3.put_object(
        Bucket=bucket,
        Key="k",
        Body=b"x",
        ACL="bucket-owner-full-control",
        StorageClass="STANDARD",
        ExpectedBucketOwner="123456789012",
    )
    acl = s3.get_object_acl(Bucket=bucket, Key="k")
    assert [grant["Permission"] for grant in acl["Grants"]] == ["FULL_CONTROL"]
    assert acl["Grants"][0]["Grantee"]["ID"] == acl["Owner"]["ID"] == s3.list_buckets()["Owner"]["ID"]
    assert s3.get_object(Bucket=bucket, Key="k", VersionId="null")["Body"].read() == b"x"


class TestCopy:
    @pytest.fixture
    def source(self, s3: Any, bucket: str) -> dict[str, str]:
        key = "a b/é+%2F"
        s3.put_object(Bucket=bucket, Key=key, Body=b"data", Metadata={"m": "1"}, ContentType="text/x", Tagging="t=1")
        return {"Bucket": bucket, "Key": key}

    def test_with_its_metadata(self, s3: Any, source: dict[str, str]) -> None:
        s3.create_bucket(Bucket="other-bucket")
        result = s3.copy_object(Bucket="other-bucket", Key="copy", CopySource=source)["CopyObjectResult"]
        got = s3.get_object(Bucket="other-bucket", Key="copy")
        assert (got["Body"].read(), got["Metadata"], got["ContentType"]) == (b"data", {"m": "1"}, "text/x")
        assert (got["ETag"], got["TagCount"]) == (result["ETag"], 1)
        assert result["ChecksumCRC32"] == got["ChecksumCRC32"]

    def test_with_other_metadata(self, s3: Any, bucket: str, source: dict[str, str]) -> None:
        s3.copy_object(
            Bucket=bucket,
            Key="copy",
            CopySource=source,
            MetadataDirective="REPLACE",
            Metadata={"m": "2"},
            TaggingDirective="REPLACE",
            Tagging="t=2&u=3",
            ChecksumAlgorithm="SHA256",
        )
        got = s3.get_object(Bucket=bucket, Key="copy")
        assert (got["Metadata"], got["ContentType"], got["TagCount"]) == ({"m": "2"}, "binary/octet-stream", 2)
        assert got["ChecksumSHA256"]
        assert got["Body"].read() == b"data"

    def test_onto_itself(self, s3: Any, source: dict[str, str], fault_of: Fault) -> None:
        assert fault_of(s3.copy_object, **source, CopySource=source)["Code"] == "InvalidRequest"
        s3.copy_object(**source, CopySource=source, MetadataDirective="REPLACE", Metadata={"m": "3"})
        got = s3.get_object(**source)
        assert (got["Body"].read(), got["Metadata"]) == (b"data", {"m": "3"})

    def test_under_conditions(self, s3: Any, bucket: str, source: dict[str, str], fault_of: Fault) -> None:
        etag = s3.head_object(**source)["ETag"]
        copy = {"Bucket": bucket, "Key": "copy", "CopySource": source}
        assert fault_of(s3.copy_object, **copy, CopySourceIfMatch='"x"')["Status"] == 412
        assert fault_of(s3.copy_object, **copy, CopySourceIfNoneMatch=etag)["Status"] == 412
        past = datetime(2020, 1, 1, tzinfo=UTC)
        assert fault_of(s3.copy_object, **copy, CopySourceIfUnmodifiedSince=past)["Status"] == 412
        s3.copy_object(**copy, CopySourceIfMatch=etag, CopySourceIfUnmodifiedSince=past)
        assert fault_of(s3.copy_object, **copy, IfNoneMatch="*")["Status"] == 412

    def test_of_nothing(self, s3: Any, bucket: str, fault_of: Fault) -> None:
        assert fault_of(s3.copy_object, Bucket=bucket, Key="k", CopySource=f"{bucket}/none")["Code"] == "NoSuchKey"
        assert fault_of(s3.copy_object, Bucket=bucket, Key="k", CopySource="no-such/none")["Code"] == "NoSuchBucket"
        assert fault_of(s3.copy_object, Bucket=bucket, Key="k", CopySource="nokey")["Code"] == "InvalidArgument"


class TestTags:
    def test_of_objects(self, s3: Any, bucket: str, fault_of: Fault) -> None:
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", Metadata={"a": "b"})
        before = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
        tags = [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}]
        s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": tags})
        after = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
        assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == tags
        assert after["TagCount"] == 2
        for name in ("ETag", "LastModified", "Metadata", "ChecksumCRC32"):
            assert after[name] == before[name]
        s3.delete_object_tagging(Bucket=bucket, Key="k")
        assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []
        fault = fault_of(s3.put_object_tagging, Bucket=bucket, Key="none", Tagging={"TagSet": []})
        assert fault["Code"] == "NoSuchKey"

    def test_of_buckets(self, s3: Any, bucket: str, fault_of: Fault) -> None:
        assert fault_of(s3.get_bucket_tagging, Bucket=bucket)["Code"] == "NoSuchTagSet"
        tags = [{"Key": "team", "Value": "audit"}]
        s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})
        assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags
        s3.delete_bucket_tagging(Bucket=bucket)
        assert fault_of(s3.get_bucket_tagging, Bucket=bucket)["Code"] == "NoSuchTagSet"


class TestDeleteMany:
    def test_reports_each_key(self, s3: Any, bucket: str) -> None:
        for key in "abc":
            s3.put_object(Bucket=bucket, Key=key, Body=b"x")
        objects = [{"Key": "a"}, {"Key": "none"}, {"Key": "b", "ETag": '"x"'}, {"Key": "k" * 1025}]
        result = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects})
        assert [each["Key"] for each in result["Deleted"]] == ["a", "none"]
        assert [each["Code"] for each in result["Errors"]] == ["PreconditionFailed", "KeyTooLongError"]
        result = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "b"}], "Quiet": True})
        assert not result.get("Deleted")
        assert not result.get("Errors")
        assert [each["Key"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["c"]

    def test_of_too_many(self, s3: Any, bucket: str, fault_of: Fault) -> None:
        objects = [{"Key": str(number)} for number in range(1001)]
        assert fault_of(s3.delete_objects, Bucket=bucket, Delete={"Objects": objects})["Code"] == "MalformedXML"


def test_the_transfer_manager(s3: Any, bucket: str) -> None:
    """boto3's own upload_fileobj, copy and download_fileobj, in parts."""
    from boto3.s3.transfer import TransferConfig

    config = TransferConfig(multipart_threshold=6 * 1024**2, multipart_chunksize=6 * 1024**2, use_threads=False)
    body = bytes(range(256)) * 60_000
    s3.upload_fileobj(io.BytesIO(body), bucket, "large", Config=config, ExtraArgs={"Metadata": {"a": "b"}})
    s3.copy({"Bucket": bucket, "Key": "large"}, bucket, "copy", Config=config)
    for key in ("large", "copy"):
        target = io.BytesIO()
        s3.download_fileobj(bucket, key, target, Config=config)
        assert target.getvalue() == body
        head = s3.head_object(Bucket=bucket, Key=key)
        assert head["ETag"].endswith('-3"')
        assert head["Metadata"] == {"a": "b"}
    assert not s3.list_multipart_uploads(Bucket=bucket).get("Uploads")
