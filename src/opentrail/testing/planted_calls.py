"""Calls of every operation of a service by botocore, and answers to them, with secrets planted in both.

Rules: boto3 makes the requests, its checks of parameters switched off; nothing is sent, each request goes to ``answer``
as its client would have sent it.  What signs a call, and what a caller or a proxy may put into a head, is planted too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.awsrequest import AWSPreparedRequest
from botocore.config import Config
from botocore.model import OperationModel

from opentrail.core.http import Headers, HttpRequest
from opentrail.core.sigv4 import peek_scope
from opentrail.core.wire.routing import Catalog, Route, Scope, identify
from opentrail.testing.planted_secrets import Planter, is_planted, texts_in
from opentrail.testing.prepared_requests import read_prepared

REGION = "us-east-1"

#: Members that choose another endpoint or signature instead of describing the call.
_NOT_FILLED = frozenset({"EndpointId"})
#: What a client or a proxy may put into a head, beside the signature, that no record should show.
_SECRET_HEADERS = ("cookie", "proxy-authorization", "x-amz-security-token", "x-forwarded-access-token")


class _NotSentError(Exception):
    """The request went to ``answer``, and its client needs none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedCall:
    """A request as sent, the route that it takes, and whose secrets it holds.

    ``secrets`` are those of its parameters: what an echo would repeat.
    """

    name: str  # "ssm.PutParameter"
    request: HttpRequest
    body: bytes
    route: Route
    planter: Planter
    secrets: tuple[str, ...]


class PlantedService:
    """The operations of ``service`` (botocore's name).  ``also`` are places of members to hide beyond the model's."""

    def __init__(self, service: str, catalog: Catalog, also: frozenset[str]) -> None:
        self.service = service
        self._catalog = catalog
        self._also = also
        connect: Callable[..., Any] = boto3.client  # its overloads want the service's name as a literal
        self._client = connect(
            service,
            region_name=REGION,
            endpoint_url="http://127.0.0.1:1",
            aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
            aws_secret_access_key="Pl4nt9999999secret",  # noqa: S106  no secret, a marked one
            config=Config(
                parameter_validation=False,
                retries={"total_max_attempts": 1},
                s3={"addressing_style": "path"},
                inject_host_prefix=False,
            ),
        )
        self._client.meta.events.register("before-send", self._take)
        self._taken: AWSPreparedRequest | None = None
        self._model = self._client.meta.service_model

    def calls(self, planter: Planter) -> Iterator[PlantedCall]:
        """A call of each operation, full of secrets of ``planter``."""
        for name in self._model.operation_names:
            operation = self._model.operation_model(name)
            place = f"{self.service}.{name}"
            parameters = planter.fill(operation.input_shape, place, self._also)
            parameters = {name: value for name, value in parameters.items() if name not in _NOT_FILLED}
            request, body = self._make(name, parameters)
            secrets = tuple(filter(is_planted, texts_in(parameters)))
            request = _with_secret_headers(request, secrets, planter)
            claimed = peek_scope(request)
            scope = Scope(signing_name=claimed.service, region=REGION) if claimed else None
            route = identify(request, body, scope or self._unsigned(operation), self._catalog)
            if route.operation is None:
                continue  # of another service than this one's endpoint (S3 on Outposts)
            yield PlantedCall(name=place, request=request, body=body, route=route, planter=planter, secrets=secrets)

    def _make(self, name: str, parameters: dict[str, Any]) -> tuple[HttpRequest, bytes]:
        self._taken = None
        with suppress(_NotSentError):
            self._client._make_api_call(name, parameters)  # noqa: SLF001  what a client's methods call
        assert self._taken is not None, f"{name} was not sent"
        return read_prepared(self._taken)

    def _take(self, request: AWSPreparedRequest, **_event: object) -> None:
        self._taken = request
        raise _NotSentError

    def _unsigned(self, operation: OperationModel) -> Scope:
        return Scope(signing_name=operation.service_model.signing_name, region=REGION)


def _with_secret_headers(request: HttpRequest, secrets: tuple[str, ...], planter: Planter) -> HttpRequest:
    """The request of a client that repeats a secret in its user agent and carries credentials in other headers."""
    replaced = {"user-agent", *_SECRET_HEADERS}
    pairs = [(name, value) for name, value in request.headers if name not in replaced]
    pairs += [(name, planter.secret(f"header {name}")) for name in _SECRET_HEADERS]
    echo = next((text for text in secrets if text.isascii()), "")
    pairs.append(("user-agent", f"app/1.0 ({echo})"))
    return HttpRequest(
        method=request.method,
        path=request.path,
        query=request.query,
        headers=Headers(pairs),
        source_ip="192.0.2.1",
    )
