"""Multipart uploads through boto3."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import pytest

Fault = Callable[..., Mapping[str, Any]]
PART = 5 * 1024**2


def upload_parts(s3: Any, bucket: str, key: str, bodies: list[bytes], **parameters: Any) -> dict[str, Any]:
    """Send ``bodies`` as the parts of a new upload; what CompleteMultipartUpload needs."""
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key, **parameters)["UploadId"]
    target = {"Bucket": bucket, "Key": key, "UploadId": upload}
    parts = []
    for number, body in enumerate(bodies, 1):
        algorithm = parameters.get("ChecksumAlgorithm")
        extra = {"ChecksumAlgorithm": algorithm} if algorithm else {}
        sent = s3.upload_part(**target, PartNumber=number, Body=body, **extra)
        checksum = {name: value for name, value in sent.items() if name.startswith("Checksum")}
        parts.append({"PartNumber": number, "ETag": sent["ETag"], **checksum})
    return {**target, "MultipartUpload": {"Parts": parts}}


def test_parts_become_one_object(s3: Any, bucket: str) -> None:
    bodies = [b"a" * PART, b"b" * PART, b"c" * 10]
    complete = upload_parts(s3, bucket, "k", bodies, Metadata={"m": "1"}, ContentType="text/x", Tagging="a=b")
    result = s3.complete_multipart_upload(**complete)
    digest = hashlib.md5(b"".join(hashlib.md5(body).digest() for body in bodies)).hexdigest()
    assert result["ETag"] == f'"{digest}-3"'
    assert (result["Bucket"], result["Key"]) == (bucket, "k")
    assert result["Location"].endswith(f"/{bucket}/k")
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == b"".join(bodies)
    assert (got["Metadata"], got["ContentType"], got["TagCount"], got["ETag"]) == (
        {"m": "1"}, "text/x", 1, result["ETag"],
    )  # fmt: skip
    assert s3.list_objects_v2(Bucket=bucket)["Contents"][0]["ETag"] == result["ETag"]
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_nothing_is_left_of_finished_uploads(s3: Any, endpoint: Any, bucket: str) -> None:
    s3.complete_multipart_upload(**upload_parts(s3, bucket, "k", [b"x"]))
    left = upload_parts(s3, bucket, "other", [b"x"])
    left.pop("MultipartUpload")
    s3.upload_part(**left, PartNumber=1, Body=b"again")
    s3.abort_multipart_upload(**left)
    assert [info.key for info in endpoint.deps.store.list("")] == [f"{bucket}/k"]


def test_parts_by_number(s3: Any, bucket: str, fault_of: Fault) -> None:
    bodies = [b"a" * PART, b"b" * PART, b"c" * 10]
    s3.complete_multipart_upload(**upload_parts(s3, bucket, "k", bodies))
    for number, body in enumerate(bodies, 1):
        got = s3.get_object(Bucket=bucket, Key="k", PartNumber=number)
        assert (got["PartsCount"], got["ContentLength"]) == (3, len(body))
        assert got["Body"].read() == body
    assert s3.head_object(Bucket=bucket, Key="k", PartNumber=1)["PartsCount"] == 3
    fault = fault_of(s3.get_object, Bucket=bucket, Key="k", PartNumber=4)
    assert (fault["Code"], fault["Status"]) == ("InvalidPartNumber", 416)
    assert fault_of(s3.get_object, Bucket=bucket, Key="k", PartNumber=1, Range="bytes=0-1")["Code"] == "InvalidRequest"
    attributes = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["ObjectParts"])
    assert attributes["ObjectParts"]["TotalPartsCount"] == 3
    s3.put_object(Bucket=bucket, Key="single", Body=b"one")
    assert s3.get_object(Bucket=bucket, Key="single", PartNumber=1)["Body"].read() == b"one"
    assert fault_of(s3.get_object, Bucket=bucket, Key="single", PartNumber=2)["Status"] == 416


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [("CRC32", None), ("CRC32", "FULL_OBJECT"), ("CRC32C", "COMPOSITE"), ("CRC64NVME", None), ("SHA256", None)],
)
def test_checksums_of_the_whole(s3: Any, bucket: str, algorithm: str, kind: str | None) -> None:
    bodies = [b"a" * PART, b"b" * 1000]
    extra = {"ChecksumType": kind} if kind else {}
    complete = upload_parts(s3, bucket, "k", bodies, ChecksumAlgorithm=algorithm, **extra)
    result = s3.complete_multipart_upload(**complete)
    expected = kind or ("FULL_OBJECT" if algorithm == "CRC64NVME" else "COMPOSITE")
    assert result["ChecksumType"] == expected
    value = result[f"Checksum{algorithm}"]
    assert value.endswith("-2") == (expected == "COMPOSITE")
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert got["Body"].read() == b"".join(bodies)  # which botocore compares with a checksum of the whole
    assert got[f"Checksum{algorithm}"] == value
    if expected == "FULL_OBJECT":
        single = s3.put_object(Bucket=bucket, Key="s", Body=b"".join(bodies), ChecksumAlgorithm=algorithm)
        assert single[f"Checksum{algorithm}"] == value


def test_what_cannot_be_completed(s3: Any, bucket: str, fault_of: Fault) -> None:
    complete = upload_parts(s3, bucket, "k", [b"a" * 10, b"b" * 10], ChecksumAlgorithm="CRC32")
    target = {name: complete[name] for name in ("Bucket", "Key", "UploadId")}
    first, second = complete["MultipartUpload"]["Parts"]

    def code(parts: list[dict[str, Any]], **parameters: Any) -> Any:
        fault = fault_of(s3.complete_multipart_upload, **target, MultipartUpload={"Parts": parts}, **parameters)
        return fault["Code"]

    assert code([first, second]) == "EntityTooSmall"
    assert code([second, first]) == "InvalidPartOrder"
    assert code([first, first]) == "InvalidPartOrder"
    assert code([{**first, "ETag": '"0"'}]) == "InvalidPart"
    assert code([{**first, "PartNumber": 7}]) == "InvalidPart"
    assert code([{**first, "ChecksumCRC32": "AAAAAA=="}]) == "InvalidPart"
    assert code([]) == "MalformedXML"
    assert code([first], MpuObjectSize=11) == "InvalidRequest"
    s3.put_object(Bucket=bucket, Key="k", Body=b"there")
    assert code([first], IfNoneMatch="*") == "PreconditionFailed"
    wrong = {**target, "UploadId": "none"}
    fault = fault_of(s3.complete_multipart_upload, **wrong, MultipartUpload={"Parts": [first]})
    assert (fault["Code"], fault["UploadId"]) == ("NoSuchUpload", "none")
    s3.complete_multipart_upload(**target, MultipartUpload={"Parts": [second]})
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"b" * 10
    assert fault_of(s3.upload_part, **target, PartNumber=1, Body=b"x")["Code"] == "NoSuchUpload"


def test_a_part_is_replaced(s3: Any, bucket: str) -> None:
    complete = upload_parts(s3, bucket, "k", [b"old"])
    target = {name: complete[name] for name in ("Bucket", "Key", "UploadId")}
    part = s3.upload_part(**target, PartNumber=1, Body=b"new")
    s3.complete_multipart_upload(**target, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"new"


def test_parts_are_copied(s3: Any, bucket: str, fault_of: Fault) -> None:
    s3.put_object(Bucket=bucket, Key="source", Body=b"0123456789")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    target = {"Bucket": bucket, "Key": "k", "UploadId": upload, "PartNumber": 1}
    source = {"CopySource": f"{bucket}/source"}
    part = s3.upload_part_copy(**target, **source, CopySourceRange="bytes=2-4")["CopyPartResult"]
    for wrong in ("bytes=4-2", "bytes=2-10", "bytes=2-" + "9" * 5000, "2-4", "bytes=2-"):
        assert fault_of(s3.upload_part_copy, **target, **source, CopySourceRange=wrong)["Code"] == "InvalidArgument"
    assert fault_of(s3.upload_part_copy, **target, **source, CopySourceIfMatch='"x"')["Status"] == 412
    target.pop("PartNumber")
    s3.complete_multipart_upload(**target, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"234"


def test_a_damaged_part_is_not_kept(s3: Any, bucket: str, fault_of: Fault) -> None:
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    target = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    fault = fault_of(s3.upload_part, **target, PartNumber=1, Body=b"x" * 2_000_000, ChecksumCRC32="AAAAAA==")
    assert fault["Code"] == "BadDigest"
    for number in (0, 10_001):
        assert fault_of(s3.upload_part, **target, PartNumber=number, Body=b"x")["Code"] == "InvalidArgument"
    assert "Parts" not in s3.list_parts(**target)


def test_lists(s3: Any, bucket: str) -> None:
    keys = ["a", "a", "b/1", "b/2", "c d"]
    uploads = [s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"] for key in keys]
    pages = s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, PaginationConfig={"PageSize": 1})
    listed = [(each["Key"], each["UploadId"]) for page in pages for each in page["Uploads"]]
    assert sorted(listed) == sorted(zip(keys, uploads, strict=True))
    page = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/", Prefix="b")
    assert [each["Prefix"] for each in page["CommonPrefixes"]] == ["b/"]
    target = {"Bucket": bucket, "Key": "a", "UploadId": uploads[0]}
    for number in (3, 1, 2):
        s3.upload_part(**target, PartNumber=number, Body=b"x" * number)
    pages = s3.get_paginator("list_parts").paginate(**target, PaginationConfig={"PageSize": 2})
    parts = [(each["PartNumber"], each["Size"]) for page in pages for each in page["Parts"]]
    assert parts == [(1, 1), (2, 2), (3, 3)]
