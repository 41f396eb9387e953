"""What operators look at: health, metrics, the log."""

from __future__ import annotations

import json
import urllib.request
from typing import Any
from urllib.error import HTTPError

import pytest
from prometheus_client.parser import text_string_to_metric_families


def get(url: str, method: str = "GET") -> tuple[int, str, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=20) as answer:
            return answer.status, answer.headers["content-type"], answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.headers["content-type"], error.read().decode()


def samples(server: Any) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    status, content_type, text = get(server.url + "/metrics")
    assert status == 200
    assert content_type.startswith("text/plain; version=")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_health(server: Any) -> None:
    assert get(server.url + "/healthz") == (200, "text/plain; charset=utf-8", "ok\n")
    assert get(server.url + "/healthz", "HEAD")[0] == 200


def test_metrics_count_calls_and_refusals(server: Any) -> None:
    before = samples(server)
    server.client("sts").get_caller_identity()
    get(server.url + "/some-bucket")  # anonymous: no account's, so in no trail, but a call all the same
    stranger = type(server.key)(id="AKIA" + "X" * 16, secret="s" * 40)
    with pytest.raises(Exception, match="InvalidClientTokenId"):
        server.client("sts", stranger).get_caller_identity()
    after = samples(server)

    def grew(name: str, **labels: str) -> float:
        key = (name, tuple(sorted(labels.items())))
        return after.get(key, 0) - before.get(key, 0)

    assert grew("opentrail_calls_total", service="sts", operation="GetCallerIdentity", status="200") == 1
    assert grew("opentrail_unauthenticated_calls_total", code="InvalidClientTokenId") == 1
    assert grew("opentrail_journal_entries_total") == 1
    assert grew("opentrail_journal_position") == 1
    for name in ("opentrail_owed_events", "opentrail_unrecorded_calls_total", "opentrail_undelivered_objects"):
        assert after[name, ()] == 0


def test_names_from_clients_are_no_labels(server: Any) -> None:
    """Else anyone with a key could grow the server's memory, and the scraper's."""
    for number in range(3):
        for service in ("sts", f"service-{number}"):
            body = f"Action=Operation{number}&Version=2011-06-15".encode()
            request = server.sign("POST", "/", service=service, body=body)
            urllib_request = urllib.request.Request(
                request.url, data=body, headers=dict(request.headers), method="POST"
            )
            with pytest.raises(HTTPError):
                urllib.request.urlopen(urllib_request, timeout=20)
    labels = [dict(key[1]) for key in samples(server) if key[0] == "opentrail_calls_total"]
    assert {each["operation"] for each in labels} <= {"unknown", "GetCallerIdentity", "ListObjects", "HeadBucket"}
    assert {each["service"] for each in labels} <= {"sts", "s3", "unknown"}


@pytest.mark.parametrize("name", ["metrics", "healthz"])
def test_a_bucket_may_have_their_name(server: Any, name: str) -> None:
    s3 = server.client("s3")
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key="k", Body=b"v")
    assert s3.get_object(Bucket=name, Key="k")["Body"].read() == b"v"
    assert [each["Key"] for each in s3.list_objects_v2(Bucket=name)["Contents"]] == ["k"]
    s3.head_bucket(Bucket=name)


def test_a_json_log_is_one_object_a_line_and_holds_no_secret(serve: Any) -> None:
    server = serve("--log-format", "json", "--log-level", "debug")
    secret = server.key.secret
    iam = server.client("iam")
    iam.create_user(UserName="alice")
    made = iam.create_access_key(UserName="alice")["AccessKey"]
    alice = type(server.key)(id=made["AccessKeyId"], secret=made["SecretAccessKey"])
    with pytest.raises(Exception, match="AccessDenied"):
        server.client("s3", alice).create_bucket(Bucket="alices")
    wrong = type(server.key)(id=alice.id, secret=secret)
    with pytest.raises(Exception, match="SignatureDoesNotMatch"):
        server.client("sts", wrong).get_caller_identity()
    request = server.sign("GET", "/", service="s3")
    signature = request.headers["Authorization"].rpartition("=")[2]
    server.exchange(b"GET / HTTP/1.1\r\nAuthorization: " + secret.encode() + b"\r\nConnection: close\r\n\r\n")
    server.exchange(secret.encode() + b"\r\n\r\n")
    get(f"{server.url}/?X-Amz-Signature={signature}&X-Amz-Security-Token={secret}")
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.log.splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    assert any(line.get("url") == server.url for line in lines)
    for text in (secret, alice.secret, signature):
        assert text not in server.log
        assert text not in json.dumps(server.records())


def test_a_text_log_says_where_it_listens_whatever_the_level(serve: Any) -> None:
    server = serve("--log-level", "error")
    assert f"Opentrail listens on {server.url} (account " in server.log
    assert f"AWS_ENDPOINT_URL={server.url}" in server.log


def test_a_client_cannot_fill_the_log(serve: Any) -> None:
    server = serve()
    quiet = len(server.log)
    for data in (
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nUpgrade: x\r\nConnection: close, upgrade\r\n\r\n",
        b"\x16\x03\x01",
    ):
        server.exchange(data + b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert len(server.log) == quiet
