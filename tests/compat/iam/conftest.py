"""IAM on a running server: every call is signed, authorised, recorded and answered over a socket."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from opentrail.testing.live_server import LiveServer


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """One server for the tests of a module; each works with names of its own."""
    server = LiveServer(tmp_path_factory.mktemp("iam") / "data")
    server.start()
    yield server
    server.end()


@pytest.fixture
def iam(live: LiveServer) -> Any:
    return live.client("iam")


@pytest.fixture(scope="module")
def account(live: LiveServer) -> str:
    account_id: str = live.client("sts").get_caller_identity()["Account"]
    return account_id


@pytest.fixture(scope="session")
def new_name() -> Callable[[], str]:
    """A name that no test has had."""
    numbers = itertools.count(1)
    return lambda: f"Name-{next(numbers)}"


@pytest.fixture(scope="session")
def policy() -> Callable[..., str]:
    """A policy document of one statement, which allows unless it is told otherwise."""

    def document(action: str | list[str] = "s3:ListAllMyBuckets", **parts: object) -> str:
        statement = {"Effect": "Allow", "Action": action, "Resource": "*", **parts}
        return json.dumps({"Version": "2012-10-17", "Statement": [statement]})

    return document


@pytest.fixture(scope="session")
def trust() -> Callable[..., str]:
    """A trust policy for principals, of one statement."""

    def document(**principal: object) -> str:
        statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
        return json.dumps({"Version": "2012-10-17", "Statement": [statement]})

    return document


class Twin:
    """One of IAM's kinds of entities through boto3, whatever the kind: ``call("Attach{}Policy", PolicyArn=...)``."""

    def __init__(self, iam: Any, noun: str, creation: Mapping[str, str]) -> None:
        self.iam = iam
        self.noun = noun
        self._creation = creation

    def create(self, name: str, **parameters: object) -> Any:
        return self.on(name, "Create{}", **self._creation, **parameters)[self.noun]

    def on(self, name: str, call: str, **parameters: object) -> Any:
        """Call an operation on the entity of this name; ``{}`` in the name of the operation is the kind."""
        return self.operation(call)(**{f"{self.noun}Name": name}, **parameters)

    def operation(self, operation: str) -> Any:
        methods = self.iam.meta.method_to_api_mapping
        wanted = operation.format(self.noun)
        return getattr(self.iam, next(method for method, name in methods.items() if name == wanted))

    def pages(self, operation: str, **parameters: object) -> list[Any]:
        """All pages of a list, two items each."""
        methods = {name: method for method, name in self.iam.meta.method_to_api_mapping.items()}
        paginator = self.iam.get_paginator(methods[operation.format(self.noun)])
        return list(paginator.paginate(**parameters, PaginationConfig={"PageSize": 2}))


@pytest.fixture(params=["User", "Group", "Role"])
def twin(request: pytest.FixtureRequest, iam: Any, trust: Callable[..., str]) -> Twin:
    creation = {"AssumeRolePolicyDocument": trust(Service="ec2.amazonaws.com")} if request.param == "Role" else {}
    return Twin(iam, request.param, creation)
