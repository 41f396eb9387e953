"""A rebuilt call, made again: through the steps of a forwarded call, or through a whole Opentrail and its upstream.

``InProcess`` is the quick one; ``ThroughServer`` signs the request, sends it to a running endpoint, whose upstream is
an HTTP server that answers what it is told, and reads the record out of the journal.  Both must tell the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any, Protocol
from uuid import uuid4

from opentrail.core.errors import ServiceFault
from opentrail.core.http import Headers, HttpRequest, HttpResponse
from opentrail.core.identity import root_identity
from opentrail.core.recording import Recipient, build_event
from opentrail.core.recording.rules import RecordRules
from opentrail.core.wire.calls import ApiCall, WireAnswer
from opentrail.core.wire.protocols import parse_request
from opentrail.core.wire.responses import parse_response
from opentrail.core.wire.routing import Route, Scope, identify
from opentrail.server.call_records import transferred
from opentrail.server.catalog import BotocoreCatalog
from opentrail.server.config import Settings
from opentrail.server.execution import unknown_operation
from opentrail.server.service_table import SERVICES
from opentrail.server.upstream_settings import Upstream
from opentrail.testing.fidelity.rebuild import Rebuilt
from opentrail.testing.local_endpoint import LocalEndpoint, LocalRequest, run_local_endpoint

ACCOUNT = "123456789012"
REGION = "us-east-1"


class Replay(Protocol):
    """What makes calls again."""

    def replay(self, rebuilt: Rebuilt) -> dict[str, Any]:
        """The record of the call, made again."""
        ...


class InProcess:
    """The steps of a forwarded call, without sockets and signatures."""

    def __init__(self, catalog: BotocoreCatalog, rules: RecordRules) -> None:
        self._catalog = catalog
        self._rules = rules

    def replay(self, rebuilt: Rebuilt) -> dict[str, Any]:
        """The record of the call, made again."""
        call, service = rebuilt.call, rebuilt.service
        headers = Headers((*call.headers, ("authorization", "AWS4-HMAC-SHA256")))
        request = HttpRequest(method=call.method, path=call.path, query=call.query, headers=headers)
        scope = Scope(signing_name=service.signing_name, region=REGION)
        route = identify(request, call.body, scope, self._catalog)
        answer = call.answer
        made = ApiCall(
            operation=route.operation or unknown_operation(route),
            parameters=self._parameters(route, request, call.body),
            identity=root_identity(ACCOUNT),
            region=REGION,
            now=datetime.now(UTC),
            event_id=str(uuid4()),
            request_id=str(uuid4()),
            request=request,
            raw_body=call.body,
        )
        outcome = parse_response(route, answer.status, answer.headers, answer.body)
        if service.signing_name == "s3":
            response = HttpResponse(status=answer.status, headers=answer.headers.pairs, body=answer.body)
            outcome = replace(outcome, additional=transferred(made, len(call.body), response))
        return dict(build_event(made, outcome, self._rules, Recipient(account_id=ACCOUNT)).record)

    @staticmethod
    def _parameters(route: Route, request: HttpRequest, body: bytes) -> dict[str, Any]:
        try:
            return parse_request(route, request, body)
        except ServiceFault:
            return {}  # an unknown operation, or what AWS hid so that no reader takes it: recorded with what is known


class ThroughServer:
    """A running Opentrail in front of ``upstream``."""

    def __init__(self, endpoint: LocalEndpoint, upstream: ToldUpstream) -> None:
        self._endpoint = endpoint
        self._upstream = upstream

    def replay(self, rebuilt: Rebuilt) -> dict[str, Any]:
        """The record of the call, made again."""
        call = rebuilt.call
        self._upstream.answer = call.answer
        before = self._endpoint.journal.end
        target = f"{call.path}?{call.query}" if call.query else call.path
        request = LocalRequest(method=call.method, target=target, headers=call.headers, body=call.body)
        self._endpoint.send(request.signed(self._endpoint.key, rebuilt.service.signing_name, REGION))
        (record,) = self._endpoint.records(before)
        return record


class ToldUpstream(ThreadingHTTPServer):
    """An HTTP server that gives every request the answer it was last told."""

    daemon_threads = True
    answer: WireAnswer | None = None


class _ToldHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: the second would wait 40 ms for the first
    server: ToldUpstream

    def handle_one_request(self) -> None:
        """Read a request of any method, and answer it."""
        self.raw_requestline = self.rfile.readline(1 << 16)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        self.rfile.read(int(self.headers.get("content-length", "0")))
        answer = self.server.answer
        assert answer is not None, "the answer is told before the question is asked"
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            if name != "content-length":
                self.send_header(name, value)
        self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)


@contextmanager
def run_through_server() -> Iterator[ThroughServer]:
    """An Opentrail and its upstream, until the block is left."""
    with ToldUpstream(("127.0.0.1", 0), _ToldHandler) as upstream, TemporaryDirectory() as folder:
        Thread(target=upstream.serve_forever, daemon=True).start()
        try:
            forwarded = ("*", *SERVICES)
            settings = Settings(
                data_dir=Path(folder),
                account_id=ACCOUNT,
                domains=("localhost", "amazonaws.com"),
                upstream=tuple(
                    Upstream(service=name, host="127.0.0.1", port=upstream.server_port) for name in forwarded
                ),
            )
            with run_local_endpoint(settings) as endpoint:
                yield ThroughServer(endpoint, upstream)
        finally:
            upstream.shutdown()
