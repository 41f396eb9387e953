"""Whatever is sent to the front door is answered by the rules of ``testing.front_door``.

Coverage-guided and for as long as one likes: ``python tests/fuzz/atheris_front_door.py SECONDS``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opentrail.server.config import Settings
from opentrail.server.service_table import SERVICES
from opentrail.testing.front_door import FrontDoorOracle, prepare
from opentrail.testing.local_endpoint import LocalEndpoint, LocalRequest, run_local_endpoint
from opentrail.testing.request_maker import TEXTS, make_anything, make_call, make_foreign_call, operations_of

FOREIGN = ("ec2", "dynamodb", "lambda", "route53", "cloudwatch", "sqs")
EXAMPLES = 20 if not os.environ.get("OPENTRAIL_LONG") else 1000
SETTINGS = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])

randoms = st.randoms(use_true_random=False)
latin = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEndpoint]:
    folder = tmp_path_factory.mktemp("fuzz")
    with run_local_endpoint(Settings(data_dir=folder / "data", account_id="123456789012")) as running:
        yield running


@pytest.fixture
def words(endpoint: LocalEndpoint) -> tuple[str, ...]:
    return TEXTS + prepare(FrontDoorOracle(endpoint), endpoint) * 5


@pytest.mark.parametrize(("service", "operation"), operations_of(SERVICES))
def test_calls_of_real_operations(
    service: str, operation: str, endpoint: LocalEndpoint, words: tuple[str, ...]
) -> None:
    oracle = FrontDoorOracle(endpoint)
    model = endpoint.runtime.door.catalog.service(service)

    @given(randoms)
    @SETTINGS
    def run(random: Random) -> None:
        request = make_call(random, model, model.operations[operation], words)
        oracle.check(request.signed(endpoint.key, model.signing_name, "us-east-1"), proven=True)

    run()


@pytest.mark.parametrize("service", FOREIGN)
def test_calls_of_services_that_are_not_here(service: str, endpoint: LocalEndpoint) -> None:
    oracle = FrontDoorOracle(endpoint)
    model = endpoint.runtime.door.catalog.service(service)

    @given(randoms)
    @SETTINGS
    def run(random: Random) -> None:
        request = make_foreign_call(random, endpoint.runtime.door.catalog, service)
        oracle.check(request.signed(endpoint.key, model.signing_name, "eu-west-1"), proven=True)

    run()


@pytest.mark.parametrize("service", ["s3", "sts", "cloudtrail", "monitoring", "execute-api", "nothing"])
def test_anything_signed(service: str, endpoint: LocalEndpoint) -> None:
    oracle = FrontDoorOracle(endpoint)

    @given(randoms)
    @SETTINGS
    def run(random: Random) -> None:
        # Not every such request can be proven: a header may be what makes it unreadable as a signed one.
        oracle.check(make_anything(random).signed(endpoint.key, service, "us-east-1"), proven=False)

    run()


def test_anything_unsigned(endpoint: LocalEndpoint) -> None:
    oracle = FrontDoorOracle(endpoint)

    @given(randoms)
    @settings(SETTINGS, max_examples=EXAMPLES * 5)
    def run(random: Random) -> None:
        oracle.check(make_anything(random), proven=False)

    run()


def test_arbitrary_bytes_for_words(endpoint: LocalEndpoint) -> None:
    oracle = FrontDoorOracle(endpoint)
    names = st.text(
        st.characters(codec="ascii", categories=["Ll", "Nd"], include_characters="-"), min_size=1, max_size=30
    )
    fields = st.lists(st.tuples(names | st.just("authorization"), latin), max_size=6)
    targets = latin.map(lambda text: "/" + text.replace(" ", "").replace("#", ""))

    @given(
        st.text(st.characters(codec="ascii", categories=["Lu"]), min_size=1, max_size=8), targets, fields, st.binary()
    )
    @settings(SETTINGS, max_examples=EXAMPLES * 5)
    def run(method: str, target: str, headers: list[tuple[str, str]], body: bytes) -> None:
        request = LocalRequest(method=method, target=target, headers=headers, body=body)
        oracle.check(request, proven=False)
        oracle.check(request.signed(endpoint.key, "s3", "us-east-1"), proven=False)

    run()
