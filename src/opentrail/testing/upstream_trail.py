"""Opentrail in front of a scripted upstream, in either mode: what its client sees, and the one record of each call.

Rules: one call at a time; after each, exactly one record and no open intent (``record`` asserts both).  The upstream's
key is never Opentrail's, so that who signed can be told (``is_signed_for``, with botocore as the judge).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from opentrail.journal.base import EntryKind
from opentrail.server.config import Settings
from opentrail.server.serving import ThreadedEndpoint, serve_on_thread
from opentrail.server.upstream_settings import Upstream, UpstreamKey
from opentrail.testing.local_endpoint import Key, LocalEndpoint
from opentrail.testing.stub_upstream import Script, StubRequest, StubUpstream

UPSTREAM_KEY: Final = UpstreamKey(access_key_id="AKIDBEHIND", secret="secret-behind", session_token="token-behind")  # noqa: S106  the stub's
STRANGER: Final = Key(id="AKIDUPSTREAM", secret="secret")  # noqa: S106  a key that Opentrail does not have
_WAIT_SECONDS: Final = 10
_SIGNERS: Final[Mapping[str, type[SigV4Auth]]] = {"s3": S3SigV4Auth}


class UpstreamTrail:
    """The endpoint before ``stub``.  ``key`` is what its clients sign with: where Opentrail signs anew, the root's."""

    def __init__(self, endpoint: ThreadedEndpoint, stub: StubUpstream, *, signs: bool) -> None:
        self.endpoint = endpoint
        self.stub = stub
        self.signs = signs
        self.local = LocalEndpoint(endpoint.runtime, endpoint.loop)
        self.key = self.local.key if signs else STRANGER
        self.port = int(endpoint.url.rpartition(":")[2])
        self.seen = 0
        self._clients: list[Any] = []

    def client(self, service: str, key: Key | None = None, **config: Any) -> Any:
        """A boto3 client that does not try again."""
        make: Callable[..., Any] = boto3.client  # its overloads want the service's name as a literal
        key = key or self.key
        options: dict[str, Any] = {
            "retries": {"total_max_attempts": 1},
            "s3": {"addressing_style": "path"},
            "read_timeout": 30,
        }
        made = make(
            service,
            region_name="us-east-1",
            endpoint_url=self.endpoint.url,
            aws_access_key_id=key.id,
            aws_secret_access_key=key.secret,
            config=Config(**(options | config)),
        )
        self._clients.append(made)
        return made

    def new_user(self, name: str) -> Key:
        """A key of a new IAM user, who may do nothing yet."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        made = iam.create_access_key(UserName=name)["AccessKey"]
        return Key(id=made["AccessKeyId"], secret=made["SecretAccessKey"])

    def signed_head(
        self, method: str, target: str, *more: str, service: str = "s3", body: bytes = b"", **headers: str
    ) -> bytes:
        """A request's head, signed, with ``headers`` (``x_amz_acl`` is ``x-amz-acl``) and then the lines ``more``.

        What frames a body is for ``more`` to say.
        """
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = AWSRequest(method, self.endpoint.url + target, headers=named, data=body)
        claimed = named.pop("x-amz-content-sha256", "")
        signer: type[SigV4Auth] = _claiming(claimed) if claimed else _SIGNERS.get(service, SigV4Auth)
        signer(Credentials(self.key.id, self.key.secret), service, "us-east-1").add_auth(request)
        fields = [f"{name}: {value}" for name, value in request.headers.items()]
        lines = [f"{method} {target} HTTP/1.1", f"host: 127.0.0.1:{self.port}", *fields, *more, "", ""]
        return "\r\n".join(lines).encode("latin-1")

    def connect(self) -> socket.socket:
        """A bare connection to the endpoint."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def ask(self, data: bytes) -> bytes:
        """All that comes back for ``data``, up to the connection's end."""
        with self.connect() as connection:
            connection.sendall(data)
            return b"".join(iter(lambda: connection.recv(1 << 16), b""))

    def close(self) -> None:
        """Close the clients."""
        for client in self._clients:
            client.close()

    def play(self, script: Script) -> None:
        """What the upstream does next; records from before are forgotten."""
        self.stub.play(script)
        self.forget()

    def forget(self) -> None:
        """Let records from before be forgotten."""
        self.seen = self.endpoint.runtime.journal.end

    def record(self) -> dict[str, Any]:
        """The one record of the one call since ``forget`` (or ``play``); waits for it."""
        deadline = time.monotonic() + _WAIT_SECONDS
        while not (records := self.local.records(self.seen)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(records) == 1, [(each["eventName"], each.get("errorCode")) for each in records]
        recorder = self.endpoint.runtime.door.recorder
        while recorder.oldest_open_intent() is not None and time.monotonic() < deadline:
            time.sleep(0.01)  # the journal shows the record a moment before the intent is taken off
        assert recorder.oldest_open_intent() is None
        return records[0]

    def intents(self) -> int:
        """How many intents were left since ``forget``."""
        return sum(entry.kind is EntryKind.INTENT for entry in self.local.entries(self.seen))

    def is_signed(self, request: StubRequest, service: str = "s3") -> bool:
        """Whether what came to the upstream is signed by whoever should have: the client, or Opentrail."""
        key = UPSTREAM_KEY if self.signs else self.key
        host = self.stub.url if self.signs else self.endpoint.url
        key_id = key.access_key_id if isinstance(key, UpstreamKey) else key.id
        return is_signed_by(request, host, Credentials(key_id, key.secret), service)


def _claiming(payload_hash: str) -> type[SigV4Auth]:
    """S3's signer for a payload that is not hashed at once: botocore's own says what it hashed."""

    class Claiming(S3SigV4Auth):
        def payload(self, request: AWSRequest) -> str:  # noqa: ARG002  botocore's signature
            return payload_hash

    return Claiming


def is_signed_by(request: StubRequest, url: str, credentials: Credentials, service: str) -> bool:
    """Whether botocore would have signed ``request``, which was sent to ``url``, the same way (us-east-1)."""
    given = request.headers["authorization"]
    fields = dict(part.strip().split("=", 1) for part in given.partition(" ")[2].split(","))
    names = fields["SignedHeaders"].split(";")
    target = request.line.split(" ")[1]
    signed = AWSRequest(request.line.split(" ")[0], url + target, headers={}, data=request.body)
    for name in names:
        if name != "host":
            signed.headers[name] = request.headers[name]
    signed.context["timestamp"] = request.headers["x-amz-date"]
    signer = _SIGNERS.get(service, SigV4Auth)(credentials, service, "us-east-1")
    path, _, query = target.partition("?")
    pairs = tuple(tuple(pair.split("=", 1)) for pair in query.split("&")) if query else ()
    assert "?" not in path
    assert all(len(pair) == 2 for pair in pairs), "every parameter has a value"
    text = signer.string_to_sign(signed, signer.canonical_request(signed))
    return bool(fields["Signature"] == signer.signature(text, signed)) and request.headers["host"] == url[7:]


@contextmanager
def run_upstream_trail(
    folder: Path, stub: StubUpstream, *, signs: bool = False, **options: Any
) -> Iterator[UpstreamTrail]:
    """The endpoint on the data folder ``folder`` in front of ``stub``; all services but CloudTrail are the upstream's.

    Where Opentrail signs anew (``signs``), it has IAM and STS of its own as well.  ``options`` are ``Upstream``'s.
    """
    wanted = {
        "host": "127.0.0.1",
        "port": stub.port,
        "connect_timeout": 1,
        "read_timeout": 5,
        "tls": stub.url.startswith("https"),
        **options,
    }
    upstream = Upstream(service="*", key=UPSTREAM_KEY if signs else None, **wanted)
    own = ("cloudtrail", "iam", "sts") if signs else ("cloudtrail",)
    made = Settings(port=0, data_dir=folder / "data", upstream=(upstream,), own=own)
    with serve_on_thread(made) as endpoint:
        trail = UpstreamTrail(endpoint, stub, signs=signs)
        yield trail
        trail.close()
