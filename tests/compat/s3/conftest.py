"""boto3 as the judge of S3, without a socket: payloads are decoded and policies decided as the server does it."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config

from opentrail.core.errors import ServiceFault
from opentrail.core.http import HttpRequest, HttpResponse
from opentrail.core.identity import ANONYMOUS, Identity, root_identity
from opentrail.core.wire.calls import ApiCall
from opentrail.core.wire.faults import format_fault
from opentrail.core.wire.protocols import format_response, parse_request
from opentrail.core.wire.routing import Scope, identify
from opentrail.server.authorisation import Authoriser
from opentrail.server.caller_policies import CallerPolicies
from opentrail.server.catalog import BotocoreCatalog
from opentrail.server.payloads import payload_decoder
from opentrail.services.base import OperationEntry, Permission
from opentrail.services.s3 import S3_OPERATIONS, S3Deps
from opentrail.state.buckets import Buckets
from opentrail.state.database import open_database
from opentrail.state.grants import NO_GRANTS
from opentrail.stores.base import ObjectStore
from opentrail.stores.local import LocalStore
from opentrail.stores.memory import MemoryStore
from opentrail.testing.prepared_requests import read_prepared

ACCOUNT, OTHER_ACCOUNT = "123456789012", "210987654321"


class _Raw(io.BytesIO):
    """What urllib3 would hand to botocore."""

    def stream(self, amt: int = 65536, **_options: object) -> Iterator[bytes]:
        while block := self.read(amt):
            yield block


class Payload:
    """A payload that comes in small pieces and fails at its end, if it fails."""

    def __init__(self, request: HttpRequest, body: bytes) -> None:
        self._decoder = payload_decoder(request, None, "", covers_body=True)
        self._pieces = (body[at : at + 300_000] for at in range(0, len(body), 300_000))
        self._rest = b""
        self.length = self._decoder.length if self._decoder.length is not None else len(body)

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(1 << 20), b""))
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                self._rest = self._decoder.finish()
                break
            self._rest = self._decoder.feed(piece)
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def without_policies() -> CallerPolicies:
    """No caller has policies of its own."""
    return CallerPolicies(
        grants=lambda _id: NO_GRANTS,
        known_grants=lambda _id: NO_GRANTS,
        policy_text=lambda _arn: None,
        service_control=lambda _account: (),
        membership=lambda _account: None,
    )


class Endpoint:
    """S3 inside the test.  ``now`` moves on by a second a call; ``policies`` are those of IAM users, by access key."""

    def __init__(self, catalog: BotocoreCatalog, store: ObjectStore, buckets: Buckets) -> None:
        self.catalog = catalog
        self.now = datetime(2024, 5, 1, 12, tzinfo=UTC)
        self.permissions: tuple[Permission, ...] = ()
        self.authoriser = Authoriser(callers=without_policies(), clock=lambda: self.now)
        self.deps = S3Deps(
            store=store,
            buckets=buckets,
            authorise=self._refusal,
            unique_id_of=str,  # every name exists, and is its own unique id
            arn_of=str,
        )
        self._numbers = itertools.count(1)

    def client(
        self, region: str = "us-east-1", identity: Identity | None = None, account: str = ACCOUNT, **config: Any
    ) -> Any:
        """A boto3 client that calls as ``identity`` (``account``'s root)."""
        caller = identity or root_identity(account, "AKIAROOT")
        settings: dict[str, Any] = {"retries": {"total_max_attempts": 1}, "s3": {"addressing_style": "path"}}
        if caller is ANONYMOUS:
            settings["signature_version"] = UNSIGNED
        client = boto3.client(
            "s3",
            region_name=region,
            endpoint_url="http://127.0.0.1:1",
            aws_access_key_id="AKIAROOT",
            aws_secret_access_key="secret",
            config=Config(**settings | config),
        )

        def answer(request: AWSPreparedRequest, **_event: object) -> AWSResponse:
            response = self.handle(*read_prepared(request), region, caller)
            body = response.body if isinstance(response.body, bytes) else b"".join(response.body)
            raw = _Raw(b"" if request.method == "HEAD" else body)
            return AWSResponse(request.url, response.status, HTTPHeaders.from_pairs(response.headers), raw)

        client.meta.events.register("before-send", answer)
        return client

    def handle(self, request: HttpRequest, body: bytes, region: str, identity: Identity) -> HttpResponse:
        """The answer to one request."""
        self.now += timedelta(seconds=1)
        number = next(self._numbers)
        request_id = f"{number:016X}"
        route = identify(request, None, Scope(signing_name="s3", region=region), self.catalog)
        try:
            assert route.operation is not None
            entry = S3_OPERATIONS[route.operation.name]
            streaming = route.operation.streaming_input is not None
            call = ApiCall(
                operation=route.operation,
                parameters=parse_request(route, request, b"" if streaming else body),
                identity=identity,
                region=region,
                now=self.now,
                event_id=f"00000000-0000-4000-8000-{number:012}",
                request_id=request_id,
                request=request,
                payload=Payload(request, body) if streaming else None,
            )
            self.permissions = entry.permissions(call, self.deps)
            verdict = self.authoriser.authorise(call, entry, self.deps)
            if verdict.fault is not None:
                raise verdict.fault
            return format_response(route, entry.handler(call, self.deps), request_id)
        except ServiceFault as fault:
            return format_fault(route, fault, request_id)

    def _refusal(self, call: ApiCall, permission: Permission) -> ServiceFault | None:
        entry = S3_OPERATIONS[call.operation.name]
        asked = replace(entry, permissions=lambda _call, _deps: (permission,))
        return self.authoriser.authorise(call, _as_entry(asked), self.deps).fault


def _as_entry(entry: OperationEntry[S3Deps]) -> OperationEntry[Any]:
    return entry


@pytest.fixture(params=["memory", "local"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    opened: ObjectStore = MemoryStore() if request.param == "memory" else LocalStore(tmp_path / "objects")
    yield opened
    opened.close()


@pytest.fixture
def endpoint(catalog: BotocoreCatalog, store: ObjectStore) -> Iterator[Endpoint]:
    engine = open_database("sqlite://")
    yield Endpoint(catalog, store, Buckets(engine))
    engine.dispose()


@pytest.fixture
def s3(endpoint: Endpoint) -> Any:
    """A client of the account's root user."""
    return endpoint.client()


@pytest.fixture
def bucket(s3: Any) -> str:
    s3.create_bucket(Bucket="log-bucket")
    return "log-bucket"
