"""Service models come into memory for those who may call, and off the event loop: not for everybody who asks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from opentrail.server.catalog import BotocoreCatalog
from opentrail.server.config import Settings, load_settings
from opentrail.testing.local_endpoint import Key, LocalEndpoint, LocalRequest, run_local_endpoint

STRANGER = Key(id="AKIAIOSFODNN7EXAMPLE", secret="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
FORM = ("content-type", "application/x-www-form-urlencoded; charset=utf-8")
DESCRIBE_REGIONS = LocalRequest(
    method="POST", target="/", headers=[FORM], body=b"Action=DescribeRegions&Version=2016-11-15"
)
LIST_TABLES = LocalRequest(
    method="POST",
    target="/",
    headers=[("content-type", "application/x-amz-json-1.0"), ("x-amz-target", "DynamoDB_20120810.ListTables")],
    body=b"{}",
)
LIST_FUNCTIONS = LocalRequest(method="GET", target="/2015-03-31/functions")
LIST_METRICS = LocalRequest(
    method="POST",
    target="/service/GraniteServiceVersion20100801/operation/ListMetrics",
    headers=[("smithy-protocol", "rpc-v2-cbor"), ("content-type", "application/cbor")],
    body=b"\xa0",
)
REQUESTS = {
    "ec2": DESCRIBE_REGIONS,
    "dynamodb": LIST_TABLES,
    "lambda": LIST_FUNCTIONS,
    "cloudwatch": LIST_METRICS,
}
SIGNING_NAMES = {"cloudwatch": "monitoring"}
REFUSALS = {
    "ec2": b"<Code>AuthFailure</Code>",
    "dynamodb": b"UnrecognizedClientException",
    "lambda": b"security token included in the request is invalid",
    "cloudwatch": b"UnrecognizedClientException",
}


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEndpoint]:
    with run_local_endpoint(Settings(data_dir=tmp_path_factory.mktemp("data"))) as started:
        yield started


@pytest.mark.parametrize("service", list(REQUESTS))
def test_who_is_not_proven_loads_no_model(endpoint: LocalEndpoint, service: str) -> None:
    """And is refused in the words of the service's protocol all the same."""
    request, signing_name = REQUESTS[service], SIGNING_NAMES.get(service, service)
    wrong = Key(id=endpoint.key.id, secret=STRANGER.secret)
    stranger = endpoint.send(request.signed(STRANGER, signing_name, "us-east-1"))
    impostor = endpoint.send(request.signed(wrong, signing_name, "us-east-1"))
    nobody = endpoint.send(request)
    assert [answer.status // 100 for answer in (stranger, impostor, nobody)] == [4, 4, 4]
    assert REFUSALS[service] in stranger.body
    assert endpoint.runtime.door.catalog.loaded(service) is None


@pytest.mark.parametrize("service", list(REQUESTS))
def test_who_is_proven_is_answered_with_the_model(endpoint: LocalEndpoint, service: str) -> None:
    signing_name = SIGNING_NAMES.get(service, service)
    answer = endpoint.send(REQUESTS[service].signed(endpoint.key, signing_name, "us-east-1"))
    assert b"is not implemented." in answer.body
    assert endpoint.runtime.door.catalog.loaded(service) is not None
    record = endpoint.records()[-1]
    assert record["eventName"] in {"DescribeRegions", "ListTables", "ListFunctions20150331", "ListMetrics"}


def test_an_upstream_that_judges_signatures_is_asked_about_strangers(tmp_path: Path) -> None:
    """Their calls are recorded, so the model is needed; it is for the upstream to refuse them."""
    settings = load_settings({"data_dir": str(tmp_path), "upstream": "dynamodb=http://127.0.0.1:1"}, {}, None)
    with run_local_endpoint(settings) as endpoint:
        answer = endpoint.send(LIST_TABLES.signed(STRANGER, "dynamodb", "us-east-1"))
        assert answer.status == 503
        assert endpoint.records()[-1]["eventName"] == "ListTables"
        assert endpoint.send(DESCRIBE_REGIONS.signed(STRANGER, "ec2", "us-east-1")).status == 401
        assert endpoint.runtime.door.catalog.loaded("ec2") is None


def test_a_model_that_many_ask_for_is_read_once() -> None:
    catalog = BotocoreCatalog()
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(id(catalog.service("iam")))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
