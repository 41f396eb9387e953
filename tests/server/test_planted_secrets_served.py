"""No secret on the disk or in the log of a server that forwards: all that it writes, searched for what was planted."""

from __future__ import annotations

import gzip
import http.client
import json
import logging
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

import botocore.session
import pytest

from opentrail.core.http import HttpResponse
from opentrail.server.catalog import BotocoreCatalog
from opentrail.server.config import load_settings
from opentrail.server.serving import ThreadedEndpoint, serve_on_thread
from opentrail.stores.base import ObjectStore
from opentrail.testing.delivered_trail import LOG_BUCKET, log_bucket_policy
from opentrail.testing.local_endpoint import LocalEndpoint, LocalRequest
from opentrail.testing.planted_answers import ALSO_HIDDEN, SERVICES, is_shown, make_answers
from opentrail.testing.planted_calls import PlantedCall, PlantedService
from opentrail.testing.planted_secrets import Planter

#: Without OPENTRAIL_LONG: a few services of each protocol.
SOME = frozenset({"bedrock-runtime", "cloudformation", "ds", "kms", "lambda", "rds", "s3", "secretsmanager", "sts"})
ACCOUNT = "123456789012"
#: Clients' loggers, which may say more; and the one that a server switches off and pytest on.
NOT_OURS = ("boto", "urllib3", "uvicorn.access")
TARGET = "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101."


class Upstream(ThreadingHTTPServer):
    """Answers every request with ``answer``."""

    daemon_threads = True
    answer = HttpResponse(status=200, headers=(), body=b"")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: the second would wait 40 ms for the first
    server: Upstream

    def handle_one_request(self) -> None:
        """One request, whatever its method: the answer that the test has set."""
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        self.rfile.read(int(self.headers.get("content-length") or 0))
        answer = self.server.answer
        assert isinstance(answer.body, bytes)
        self.send_response(answer.status)
        for name, value in answer.headers:
            if name.lower() != "content-length":
                self.send_header(name, value)
        self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, *_words: object) -> None:
        """Nothing."""


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def endpoint(tmp_path: Path, upstream: Upstream) -> Iterator[ThreadedEndpoint]:
    settings = {
        "data_dir": str(tmp_path / "data"),
        "port": "0",
        "account_id": ACCOUNT,
        "upstream": f"*=http://127.0.0.1:{upstream.server_address[1]}",
        "own": "cloudtrail",
        "own_buckets": LOG_BUCKET,
    }
    with serve_on_thread(load_settings(settings, {}, None)) as served:
        yield served


def make_trail(endpoint: ThreadedEndpoint) -> None:
    """A trail of management and data events, whose log files will lie in the data folder."""
    local = LocalEndpoint(endpoint.runtime, endpoint.loop)

    def call(service: str, method: str, target: str, body: str, *headers: tuple[str, str]) -> None:
        request = LocalRequest(method=method, target=target, headers=headers, body=body.encode())
        answer = local.send(request.signed(local.key, service, "us-east-1"))
        assert answer.status == 200 or method == "PUT", answer.body

    call("s3", "PUT", f"/{LOG_BUCKET}", "")
    call("s3", "PUT", f"/{LOG_BUCKET}?policy", log_bucket_policy(ACCOUNT))
    for operation, parameters in (
        ("CreateTrail", {"Name": "all", "S3BucketName": LOG_BUCKET, "IsMultiRegionTrail": True}),
        ("StartLogging", {"Name": "all"}),
    ):
        headers = (("x-amz-target", TARGET + operation), ("content-type", "application/x-amz-json-1.1"))
        call("cloudtrail", "POST", "/", json.dumps(parameters), *headers)


def send(connection: http.client.HTTPConnection, call: PlantedCall) -> int:
    """Send a planted call as its client would have; the answer's status."""
    request = call.request
    target = f"{request.path}?{request.query}" if request.query else request.path
    connection.putrequest(request.method, target, skip_host=True, skip_accept_encoding=True)
    for name, value in request.headers:
        if name not in {"content-length", "transfer-encoding", "expect"}:
            connection.putheader(name, value.encode("latin-1", "replace"))
    connection.putheader("content-length", str(len(call.body)))
    connection.endheaders(call.body)
    with connection.getresponse() as answer:
        answer.read()
        return answer.status


def written(folder: Path, store: ObjectStore) -> Iterator[tuple[str, str]]:
    """Every file under ``folder`` as text, and every delivered file, unpacked."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes().decode("latin-1")
    for info in store.list(f"{LOG_BUCKET}/AWSLogs/"):
        yield info.key, gzip.decompress(b"".join(store.get(info.key).chunks)).decode()


#: Nobody signs its calls, and what is not signed is taken for S3's: only a user agent that repeats a secret shows it.
UNSIGNED = frozenset({"sso-oidc"})
TRIED = [each for each in SERVICES if each in SOME or (os.environ.get("OPENTRAIL_LONG") and each not in UNSIGNED)]


@pytest.mark.parametrize("service", TRIED)
def test_nothing_that_a_server_writes_shows_what_is_sensitive(
    service: str, endpoint: ThreadedEndpoint, upstream: Upstream, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    make_trail(endpoint)
    models = botocore.session.Session()
    address = urlsplit(endpoint.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    planter = Planter()
    sent = 0
    before = endpoint.runtime.journal.end
    answered = 0
    for sent, call in enumerate(PlantedService(service, BotocoreCatalog(), ALSO_HIDDEN).calls(planter), 1):
        _, upstream.answer = next(islice(make_answers(call, models), sent % 2, None))
        answered += send(connection, call) < 500
    connection.close()
    assert sent
    assert endpoint.runtime.journal.end - before >= sent
    assert answered >= sent * 0.9
    assert endpoint.runtime.flush(digest=True)["delivered"]
    endpoint.runtime.decisions.flush()
    texts = dict(written(tmp_path / "data", endpoint.runtime.door.services["s3"].deps.store))
    assert any("/CloudTrail/" in name for name in texts)
    ours = [line for line in caplog.records if not line.name.startswith(NOT_OURS)]
    texts["the log"] = "\n".join(map(logging.Formatter("%(message)s").format, ours))
    found = [(name, place) for name, text in texts.items() for place in planter.found_in(text) if not is_shown(place)]
    assert found == []
