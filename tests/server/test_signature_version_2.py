"""URLs that the AWS CLI and boto3 sign for us-east-1 when nothing tells them otherwise: Signature Version 2."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree as ET

import boto3
import pytest
from botocore.config import Config

BODY = b"a puppy"


def fetch(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, bytes, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data=body, method=method, headers=named)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read(), answer.headers
    except HTTPError as error:
        with error:
            return error.code, error.read(), error.headers


def error_of(body: bytes) -> dict[str, str]:
    return {element.tag: element.text or "" for element in ET.fromstring(body)}


@pytest.fixture
def serving(serve: Any) -> Any:
    """A server with a bucket and an object in it."""
    server = serve()
    s3 = server.client("s3")
    s3.create_bucket(Bucket="pets")
    s3.put_object(Bucket="pets", Key="photos/a puppy+é.jpg", Body=BODY)
    return server


def plain_client(server: Any, **config: Any) -> Any:
    """boto3 as people set it up: no signature version, us-east-1."""
    return boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url=server.url,
        aws_access_key_id=server.key.id,
        aws_secret_access_key=server.key.secret,
        config=Config(**config),
    )


def presign(server: Any, *options: str) -> str:
    """What ``aws s3 presign`` prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {
        "AWS_ACCESS_KEY_ID": server.key.id,
        "AWS_SECRET_ACCESS_KEY": server.key.secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
    }
    command = [str(Path(sys.executable).parent / "aws"), "--endpoint-url", server.url, "s3", "presign", *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def test_aws_s3_presign(serving: Any) -> None:
    url = presign(serving, "s3://pets/photos/a puppy+é.jpg", "--expires-in", "600")
    assert set(parse_qs(urlsplit(url).query)) == {"AWSAccessKeyId", "Signature", "Expires"}
    assert fetch(url)[:2] == (200, BODY)

    status, body, _ = fetch(url.replace("puppy", "kitten"))
    fault = error_of(body)
    assert (status, fault["Code"]) == (403, "SignatureDoesNotMatch")
    assert "kitten" in fault["StringToSign"]
    assert serving.key.secret not in body.decode()
    for other, code in [
        (url.replace("Expires=", "Expires=1"), "AccessDenied"),  # no longer a date
        (url.replace("Signature=", "Signature=A"), "SignatureDoesNotMatch"),
        (url.replace(serving.key.id, "AKIAIOSFODNN7EXAMPLE"), "InvalidAccessKeyId"),
        (url + "&acl", "SignatureDoesNotMatch"),
        (url + "&Signature=x", "AccessDenied"),
        (url + "&X-Amz-Algorithm=AWS4-HMAC-SHA256", "InvalidArgument"),
    ]:
        assert error_of(fetch(other)[1])["Code"] == code
    assert fetch(url, "PUT", b"a wolf")[0] == 403
    assert error_of(fetch(url, Authorization="AWS a:b")[1])["Code"] == "InvalidArgument"

    expired = presign(serving, "s3://pets/photos/a puppy+é.jpg", "--expires-in", "-1")
    status, body, _ = fetch(expired)
    fault = error_of(body)
    assert (status, fault["Code"], fault["Message"]) == (403, "AccessDenied", "Request has expired")
    assert fault["Expires"] < fault["ServerTime"]

    serving.stop()
    records = [record for record in serving.records() if record["eventName"] == "GetObject"]
    assert len(records) == 1, "refused calls are in no trail"
    record = records[0]
    assert record["requestParameters"] == {
        "bucketName": "pets",
        "Host": urlsplit(url).netloc,
        "key": "photos/a puppy+é.jpg",
        "Expires": parse_qs(urlsplit(url).query)["Expires"][0],
    }
    assert record["userIdentity"]["accessKeyId"] == serving.key.id
    assert (record["awsRegion"], record["eventSource"]) == ("us-east-1", "s3.amazonaws.com")
    extra = record["additionalEventData"]
    assert (extra["SignatureVersion"], extra["AuthenticationMethod"]) == ("SigV2", "QueryString")
    assert extra["bytesTransferredOut"] == len(BODY)


def test_boto3_urls_write_list_and_copy(serving: Any) -> None:
    client = plain_client(serving)

    def url_for(operation: str, **parameters: Any) -> str:
        url: str = client.generate_presigned_url(operation, Params={"Bucket": "pets", **parameters})
        assert "AWSAccessKeyId=" in url
        return url

    # The metadata travel in the URL alone; the Content-Type must be sent, as with S3.
    put = url_for("put_object", Key="k", ContentType="text/plain", Metadata={"name": "Rex"})
    assert fetch(put, "PUT", b"woof", Content_Type="text/html")[0] == 403
    assert fetch(put, "PUT", b"woof", Content_Type="text/plain")[0] == 200
    found = client.get_object(Bucket="pets", Key="k")
    assert (found["Metadata"], found["ContentType"], found["Body"].read()) == ({"name": "Rex"}, "text/plain", b"woof")

    # The source of a copy travels in the URL too: taken for a plain PUT, it would empty the object.
    copy = url_for("copy_object", Key="copy", CopySource={"Bucket": "pets", "Key": "k"})
    assert fetch(copy, "PUT")[0] == 200  # urllib gives a body a Content-Type, which would be signed
    assert client.get_object(Bucket="pets", Key="copy")["Body"].read() == b"woof"

    status, body, _ = fetch(url_for("list_objects_v2", Prefix="k"))  # a bucket in path style
    assert status == 200
    assert b"<Key>k</Key>" in body
    assert fetch(url_for("head_object", Key="k"), "HEAD")[0] == 200
    disposition = 'attachment; filename="a b.txt"'
    status, _, headers = fetch(url_for("get_object", Key="k", ResponseContentDisposition=disposition))
    assert (status, headers["content-disposition"]) == (200, disposition)
    with_token = boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url=serving.url,
        aws_access_key_id=serving.key.id,
        aws_secret_access_key=serving.key.secret,
        aws_session_token="stolen",
    ).generate_presigned_url("get_object", Params={"Bucket": "pets", "Key": "k"})
    assert error_of(fetch(with_token)[1])["Code"] == "InvalidToken"
    assert fetch(url_for("delete_object", Key="k"), "DELETE")[0] == 204

    serving.stop()
    records = [each for each in serving.records() if each["additionalEventData"].get("SignatureVersion") == "SigV2"]
    assert [each["eventName"] for each in records] == [
        "PutObject",
        "CopyObject",
        "ListObjects",
        "HeadObject",
        "GetObject",
        "DeleteObject",
    ]
    assert records[1]["requestParameters"]["x-amz-copy-source"] == "pets/k"
    for record in records:
        assert record["additionalEventData"]["AuthenticationMethod"] == "QueryString"
        names = {name.lower() for name in record["requestParameters"]}
        assert names.isdisjoint({"signature", "awsaccesskeyid", "x-amz-security-token"})


def test_a_bucket_in_the_host_name(serving: Any) -> None:
    client = plain_client(serving, s3={"addressing_style": "path"})
    url = client.generate_presigned_url("get_object", Params={"Bucket": "pets", "Key": "photos/a puppy+é.jpg"})
    parts = urlsplit(url)
    path = parts.path.removeprefix("/pets")
    virtual = f"{serving.url}{path}?{parts.query}"
    assert fetch(virtual, Host=f"pets.localhost:{parts.port}")[:2] == (200, BODY)
    assert fetch(virtual, Host=f"cats.localhost:{parts.port}")[0] == 403


def test_the_authorization_header_of_signature_version_2_is_refused(serving: Any) -> None:
    client = plain_client(serving, signature_version="s3")
    with pytest.raises(client.exceptions.ClientError, match="not supported"):
        client.list_buckets()
