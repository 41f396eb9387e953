"""Calls that boto3 makes to somebody else, recorded as AWS would have: for what moto's mocks answer.

A client's request and the answer to it are all that a record is made of (``core.recording``), so whoever answers may
be a mock within the process.  Rules:

* Each attempt of a call is one record, made before the client goes on; the account's root user made it.
* What goes to Opentrail's own endpoint records itself and is left alone.
* A client is watched from the moment it is handed in; inside ``watch_new_clients``, from when it is made.

Source: botocore's event system, ``before-send`` and ``response-received``.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from opentrail.core.errors import ServiceFault
from opentrail.core.http import Headers, HttpRequest
from opentrail.core.identity import root_identity
from opentrail.core.recording import Recipient, build_event
from opentrail.core.sigv4 import peek_scope
from opentrail.core.wire.calls import ApiCall
from opentrail.core.wire.protocols import parse_request
from opentrail.core.wire.responses import parse_response
from opentrail.core.wire.routing import Route, Scope, identify
from opentrail.core.wire.s3 import DEFAULT_DOMAINS
from opentrail.server.runtime import Runtime
from opentrail.testing.callers import import_boto
from opentrail.testing.prepared_requests import read_prepared

_CREDENTIAL = re.compile(r"Credential=([A-Za-z0-9]{1,128})/")
_REGION = re.compile(r"\.([a-z]{2}(?:-[a-z]+)+-\d)\.")
_SENT, _ANSWERED = "before-send", "response-received"


class CallWatcher:
    """Records what the clients that it watches do, as the root user of ``account_id``.

    ``endpoint_url`` is Opentrail's own.
    """

    def __init__(self, runtime: Runtime, account_id: str, endpoint_url: str) -> None:
        self._runtime = runtime
        self._account_id = account_id
        self._endpoint_url = endpoint_url
        self._sent = threading.local()  # a client may serve several threads

    def watch(self, client: Any) -> None:
        """Record what a boto3 or botocore client (or a resource's) does from now on."""
        events = getattr(client.meta, "client", client).meta.events
        events.register(_SENT, self._send, unique_id=f"opentrail-{id(self)}-sent")
        events.register(_ANSWERED, self._answer, unique_id=f"opentrail-{id(self)}-answered")

    @contextmanager
    def watch_new_clients(self) -> Iterator[None]:
        """Watch every client of every session that is made within the block."""
        handlers: list[Any] = import_boto("botocore.handlers").BUILTIN_HANDLERS  # moto's own place
        boto3 = import_boto("boto3")
        added: list[Any] = [(_SENT, self._send), (_ANSWERED, self._answer)]
        default, boto3.DEFAULT_SESSION = boto3.DEFAULT_SESSION, None  # the next one asks for the handlers anew
        handlers += added
        try:
            yield
        finally:
            for each in added:
                handlers.remove(each)
            boto3.DEFAULT_SESSION = default

    def _send(self, request: Any, **_event: object) -> None:
        self._sent.request = None if request.url.startswith(self._endpoint_url) else read_prepared(request)

    def _answer(self, response_dict: Any, **_event: object) -> None:
        sent, self._sent.request = getattr(self._sent, "request", None), None
        if sent is None or response_dict is None:
            return
        body = response_dict["body"]
        self._record(
            *sent,
            status=response_dict["status_code"],
            headers=Headers([(name.lower(), value) for name, value in response_dict["headers"].items()]),
            body=body if isinstance(body, bytes) else b"",  # a stream is its client's
        )

    def _record(self, request: HttpRequest, data: bytes, *, status: int, headers: Headers, body: bytes) -> None:
        door = self._runtime.door
        claimed = peek_scope(request)
        scope = Scope(signing_name=claimed.service, region=claimed.region) if claimed else None
        route = identify(request, data, scope, door.catalog, s3_domains=DEFAULT_DOMAINS)
        if route.operation is None:
            return  # newer than the models here
        if route.operation.streaming_input is not None:
            data = b""
        call = ApiCall(
            operation=route.operation,
            parameters=_parameters(route, request, data),
            identity=root_identity(self._account_id, _access_key_id(request)),
            region=claimed.region if claimed else _region_of(request.host),
            now=datetime.now(UTC),
            event_id=door.identifiers.event_id(),
            request_id=door.identifiers.request_id(),
            request=request,
            raw_body=data,
        )
        outcome = parse_response(route, status, headers, body)
        recipient = Recipient(account_id=self._account_id, resource_account=self._account_id)
        before = door.recorder.begin()
        try:
            event = build_event(call, outcome, door.rules, recipient)
            door.recorder.record_now(event, before, happened=True, own=False)
        finally:
            door.recorder.end(before)


def _region_of(host: str) -> str:
    """The region that the host of an unsigned call names: ``cognito-idp.eu-west-1.amazonaws.com``."""
    found = _REGION.search(host)
    return found[1] if found else "us-east-1"


def _access_key_id(request: HttpRequest) -> str:
    found = _CREDENTIAL.search(request.headers.get("authorization"))
    return found[1] if found else ""


def _parameters(route: Route, request: HttpRequest, data: bytes) -> dict[str, Any]:
    """The parameters; none where the model does not know them as they were sent."""
    try:
        return parse_request(route, request, data)
    except ServiceFault:
        return {}
