"""Which calls are Opentrail's own and which are forwarded, known to a model or not; each has its one record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from opentrail.core.errors import ConfigError
from opentrail.server.config import load_settings
from opentrail.server.serving import serve_on_thread
from opentrail.testing.stub_upstream import Script, StubConnection, StubUpstream, run_stub_upstream
from opentrail.testing.upstream_trail import UpstreamTrail, run_upstream_trail


@contextmanager
def _serve(folder: Path, stub: StubUpstream, **flags: str) -> Iterator[UpstreamTrail]:
    """Opentrail as ``flags`` have it; its clients call as root."""
    settings = load_settings({"port": "0", "data_dir": str(folder / "data"), **flags}, {}, None)
    with serve_on_thread(settings) as endpoint:
        trail = UpstreamTrail(endpoint, stub, signs=True)
        yield trail
        trail.close()


@contextmanager
def _two_upstreams() -> Iterator[tuple[StubUpstream, StubUpstream]]:
    with run_stub_upstream() as storage, run_stub_upstream() as rest:
        yield storage, rest


def test_a_service_is_own_unless_an_upstream_is_named_for_it(tmp_path: Path) -> None:
    with (
        _two_upstreams() as (storage, rest),
        _serve(tmp_path, rest, upstream=f"s3={storage.url} *={rest.url}") as trail,
    ):
        assert trail.client("sts").get_caller_identity()["Account"]
        assert trail.client("iam").list_users()["Users"] == []
        assert (storage.requests, rest.requests) == ([], [])
        trail.client("s3").put_object(Bucket="bucket", Key="k", Body=b"c")
        trail.client("dynamodb").delete_table(TableName="t")
        trail.client("lambda").delete_function(FunctionName="f")
        assert [request.line for request in storage.requests] == ["PUT /bucket/k HTTP/1.1"]
        assert [request.line.split(" ")[0] for request in rest.requests] == ["POST", "DELETE"]
        names = [record["eventName"] for record in trail.local.records()]
        assert names == ["GetCallerIdentity", "ListUsers", "PutObject", "DeleteTable", "DeleteFunction20150331"]


def test_own_leaves_opentrail_what_it_names(tmp_path: Path) -> None:
    with run_stub_upstream() as rest, _serve(tmp_path, rest, upstream=f"*={rest.url}", own="cloudtrail,sts") as trail:
        trail.client("sts").get_caller_identity()
        assert trail.client("cloudtrail").describe_trails()["trailList"] == []
        assert rest.requests == []
        trail.client("lambda").delete_function(FunctionName="f")
        trail.client("s3").put_object(Bucket="bucket", Key="k", Body=b"c")
        assert len(rest.requests) == 2
        assert len(trail.local.records()) == 4


def test_without_an_upstream_for_it_a_service_is_not_implemented(tmp_path: Path) -> None:
    with run_stub_upstream() as storage, _serve(tmp_path, storage, upstream=f"s3={storage.url}") as trail:
        client = trail.client("lambda")
        with pytest.raises(client.exceptions.ClientError) as caught:
            client.delete_function(FunctionName="f")
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
        assert storage.requests == []
        assert trail.record()["errorCode"] == "NotImplemented"


def test_own_buckets_stay_where_s3_is_forwarded(tmp_path: Path) -> None:
    with (
        run_stub_upstream() as storage,
        _serve(tmp_path, storage, upstream=f"s3={storage.url}", own_buckets="logs") as trail,
    ):
        s3 = trail.client("s3")
        s3.create_bucket(Bucket="logs")
        s3.put_object(Bucket="logs", Key="k", Body=b"own")
        assert s3.get_object(Bucket="logs", Key="k")["Body"].read() == b"own"
        assert storage.requests == []
        for name in ("logs2", "log", "logs.x"):
            s3.put_object(Bucket=name, Key="logs/k", Body=b"theirs")
        assert [request.path for request in storage.requests] == ["/logs2/logs/k", "/log/logs/k", "/logs.x/logs/k"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"own": "lambda"}, "none of Opentrail's services"),
        ({"own": "s3", "upstream": "s3=http://x"}, "named in both"),
        ({"own_buckets": "logs"}, "where S3 is forwarded"),
    ],
)
def test_settings_that_contradict_each_other(tmp_path: Path, flags: dict[str, str], words: str) -> None:
    with run_stub_upstream() as stub, pytest.raises(ConfigError, match=words), _serve(tmp_path, stub, **flags):
        pass


@pytest.fixture(scope="module", params=[False, True], ids=["pass-through", "re-sign"])
def trail(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpstreamTrail]:
    folder = tmp_path_factory.mktemp("routing")
    with run_stub_upstream() as stub, run_upstream_trail(folder, stub, signs=request.param) as found:
        yield found


def _answer(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d Status\r\nx-amzn-requestid: THEIRS\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)


def _answer_with(status: int, body: bytes) -> Script:
    def script(connection: StubConnection) -> None:
        while connection.read() is not None:
            connection.send(_answer(status, body))

    return script


class Unknown(NamedTuple):
    """A request that no model knows, and how its record names it ("" where a model may know better)."""

    service: str
    method: str
    target: str
    body: bytes
    headers: dict[str, str]
    name: str = ""


JSON = {"content_type": "application/json"}
MAKE_COFFEE = {"x_amz_target": "DynamoDB_20120810.MakeCoffee", "content_type": "application/x-amz-json-1.0"}
UNKNOWN = [
    Unknown("dynamodb", "POST", "/", b'{"Cups": 2}', MAKE_COFFEE, "MakeCoffee"),
    Unknown("iam2", "POST", "/brew/now", b'{"Cups": 2}', JSON, "UnknownOperation"),
    Unknown("lambda", "PATCH", "/2099-01-01/coffee", b'{"Cups": 2}', JSON),
    Unknown("s3", "PATCH", "/bucket/k?coffee=1", b"beans", {}),
]


@pytest.mark.parametrize("asked", UNKNOWN, ids=lambda asked: asked.service)
def test_what_no_model_knows_is_forwarded_and_recorded(trail: UpstreamTrail, asked: Unknown) -> None:
    service, method, target, body, headers, name = asked
    trail.play(_answer_with(200, b'{"Done": true}'))
    head = trail.signed_head(
        method, target, f"content-length: {len(body)}", "connection: close", service=service, body=body, **headers
    )
    answer = trail.ask(head + body)
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    assert answer.endswith(b'\r\n\r\n{"Done": true}')
    assert b"x-amzn-requestid: THEIRS" in answer
    (request,) = trail.stub.requests
    assert (request.line, request.body) == (f"{method} {target} HTTP/1.1", body)
    assert trail.is_signed(request, service)
    record = trail.record()
    assert record["eventSource"] == f"{service}.amazonaws.com"
    assert record["requestID"] == "THEIRS"
    assert trail.intents() == 1, "what nobody knows may change something"
    assert record["eventName"] == name or not name
    assert "beans" not in json.dumps(record)


def test_an_error_of_an_unknown_operation_is_theirs(trail: UpstreamTrail) -> None:
    trail.play(_answer_with(400, b'{"__type": "NoCoffeeException", "message": "We are out of beans"}'))
    body = b"{}"
    head = trail.signed_head(
        "POST", "/", "content-length: 2", "connection: close", service="dynamodb", body=body,
        x_amz_target="DynamoDB_20120810.MakeCoffee", content_type="application/x-amz-json-1.0",
    )  # fmt: skip
    with trail.connect() as connection:
        connection.sendall(head + body)
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 400 ")
    record = trail.record()
    assert (record["errorCode"], record["errorMessage"]) == ("NoCoffeeException", "We are out of beans")
