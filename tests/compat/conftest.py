"""boto3 as the judge of the services, without a socket: its requests go straight through the wire layer to a handler.

Signatures, authorisation and recording are the server's and are left out here; a client calls as the identity that it
is made with.  What each call would have needed is kept in ``Endpoint.permissions``.
"""

from __future__ import annotations

import io
import itertools
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config

from opentrail.core.errors import ServiceFault
from opentrail.core.http import HttpRequest, HttpResponse
from opentrail.core.identity import Identity, root_identity
from opentrail.core.wire.calls import ApiCall
from opentrail.core.wire.faults import format_fault
from opentrail.core.wire.protocols import format_response, parse_request
from opentrail.core.wire.routing import Scope, identify
from opentrail.server.catalog import BotocoreCatalog
from opentrail.services.base import Permission, Service
from opentrail.services.iam import IAM_OPERATIONS, IamDeps
from opentrail.services.iam.account_state import AccountState
from opentrail.state.account_settings import AccountSettings
from opentrail.state.accounts import Account, Accounts
from opentrail.state.credential_reports import CredentialReports
from opentrail.state.database import open_database
from opentrail.state.identities import Identities
from opentrail.state.secret_cipher import SecretCipher
from opentrail.testing.prepared_requests import read_prepared

ACCOUNT = "123456789012"


class _Raw(io.BytesIO):
    """What urllib3 would hand to botocore."""

    def stream(self, **_options: object) -> Iterator[bytes]:
        yield self.read()


class Endpoint:
    """An endpoint inside the test.  ``now`` moves on by a second a call, unless a test sets it."""

    def __init__(self, catalog: BotocoreCatalog) -> None:
        self.catalog = catalog
        self.services: dict[str, Service[Any]] = {}
        self.permissions: tuple[Permission, ...] = ()
        self.now = datetime(2024, 5, 1, 12, tzinfo=UTC)
        self._numbers = itertools.count(1)

    def client(self, service: str, region: str = "us-east-1", identity: Identity | None = None) -> Any:
        """A boto3 client of ``service`` that calls as ``identity`` (the account's root)."""
        caller = identity or root_identity(ACCOUNT, "AKIAROOT")
        connect: Callable[..., Any] = boto3.client  # its overloads want the service's name as a literal
        client = connect(
            service,
            region_name=region,
            endpoint_url="http://127.0.0.1:1",
            aws_access_key_id="AKIAROOT",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )

        def answer(request: AWSPreparedRequest, **_event: object) -> AWSResponse:
            response = self.handle(*read_prepared(request), service, region, caller)
            body = response.body if isinstance(response.body, bytes) else b"".join(response.body)
            headers = HTTPHeaders.from_pairs(response.headers)
            return AWSResponse(request.url, response.status, headers, _Raw(body))

        client.meta.events.register("before-send", answer)
        return client

    def handle(self, request: HttpRequest, body: bytes, service: str, region: str, identity: Identity) -> HttpResponse:
        """The answer to one request."""
        self.now += timedelta(seconds=1)
        number = next(self._numbers)
        request_id = f"{number:032x}"
        route = identify(request, body, Scope(signing_name=service, region=region), self.catalog)
        assert route.operation is not None
        entry = self.services[service].operations[route.operation.name]
        try:
            call = ApiCall(
                operation=route.operation,
                parameters=parse_request(route, request, body),
                identity=identity,
                region=region,
                now=self.now,
                event_id=f"00000000-0000-4000-8000-{number:012}",
                request_id=request_id,
                request=request,
            )
            self.permissions = entry.permissions(call, self.services[service].deps)
            return format_response(route, entry.handler(call, self.services[service].deps), request_id)
        except ServiceFault as fault:
            return format_fault(route, fault, request_id)


@pytest.fixture(scope="session")
def catalog() -> BotocoreCatalog:
    return BotocoreCatalog()


@pytest.fixture
def endpoint(catalog: BotocoreCatalog) -> Endpoint:
    return Endpoint(catalog)


@pytest.fixture
def run_example() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a script of ``examples`` as a newcomer would, to its end; ``variables`` name further commands for it."""
    root = Path(__file__).resolve().parents[2]

    def run(name: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "OPENTRAIL_"))}
        environment["OPENTRAIL"] = str(Path(sys.executable).with_name("opentrail"))
        command = [sys.executable] * name.endswith(".py") + [str(root / "examples" / name)]
        done = subprocess.run(
            command, env=environment | variables, capture_output=True, text=True, timeout=280, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def fault_of() -> Callable[..., Mapping[str, Any]]:
    """Call something that must fail; its error's Code and Message, and the HTTP status."""

    def call(operation: Callable[..., object], **parameters: object) -> Mapping[str, Any]:
        from botocore.exceptions import ClientError

        with pytest.raises(ClientError) as caught:
            operation(**parameters)
        response = caught.value.response
        return {**response["Error"], "Status": response["ResponseMetadata"]["HTTPStatusCode"]}

    return call


@pytest.fixture
def iam_deps(tmp_path: Path) -> Iterator[IamDeps]:
    """What IAM needs, and its account."""
    engine = open_database(f"sqlite:///{tmp_path / 'state.db'}")
    accounts = Accounts(engine)
    accounts.create(Account(account_id=ACCOUNT, name="first", created=datetime(2020, 1, 1, tzinfo=UTC)))
    yield IamDeps(
        accounts=accounts,
        identities=Identities(engine, SecretCipher(b"k" * 32)),
        random_bytes=random.Random(7).randbytes,
        account=AccountState(
            settings=AccountSettings(engine),
            credential_reports=CredentialReports(engine),
            service_control=lambda _account_id: (),
            membership=lambda _account_id: None,
        ),
    )
    engine.dispose()


@pytest.fixture
def served(endpoint: Endpoint, iam_deps: IamDeps) -> Endpoint:
    """The endpoint, with IAM."""
    endpoint.services["iam"] = Service(name="iam", operations=IAM_OPERATIONS, deps=iam_deps)
    return endpoint


@pytest.fixture
def iam(served: Endpoint) -> Any:
    """The account's root user's client."""
    return served.client("iam")
