"""Signed GET requests to an AWS endpoint over connections that are kept: what S3 is asked with.

Rules: requests are signed with Signature Version 4 (``core.sigv4``).  What fails for a moment (a timeout, a reset, 429,
500, 502, 503, 504), within a body too where the caller takes it whole, is tried again with growing pauses; what a
server says for good is an ``AwsFault``.  One that is overloaded to the last attempt, and has answered nothing since, is
asked once for whatever else: many threads must not each learn that for themselves.  Credentials that have expired are
looked for once more.  After ``close`` nothing waits.
"""

from __future__ import annotations

import random
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote
from weakref import WeakSet

from opentrail.core.errors import ConfigError, StoreError
from opentrail.core.sigv4 import EMPTY_SHA256, sign, signing_key, string_to_sign
from opentrail.verification.aws_faults import EXPIRED, AwsFault, decode_fault
from opentrail.verification.http_connection import PATIENCE, HttpAnswer, HttpConnection, Origin
from opentrail.verification.s3_hosts import find_proxy
from opentrail.verification.s3_settings import AwsCredentials, AwsSettings

_ATTEMPTS: Final = 5
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 5.0
_MOST_ERROR_BYTES: Final = 64 * 1024
_UNRESERVED: Final = "-_.~"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Whom to ask and in which region the request is signed."""

    origin: Origin
    region: str
    service: str


class AwsClient:
    """Asks AWS endpoints; for any number of threads, each of which has its own connection."""

    def __init__(self, settings: AwsSettings) -> None:
        self._settings = settings
        self._tls: ssl.SSLContext | None = None
        self._random = random.Random()  # noqa: S311  pauses
        self._is_refused = False  # a request was, to its last attempt, and nothing was answered since
        self.reopen()

    def get(self, target: Target, path: str, query: str = "") -> HttpAnswer:
        """GET ``path`` (encoded) with ``query`` (canonical: encoded and sorted); the answer's body is still to come.

        Raises ``AwsFault``, or ``StoreError`` when the endpoint cannot be reached.
        """
        return self.ask(target, path, query, lambda answer: answer)

    def ask(self, target: Target, path: str, query: str, take: Callable[[HttpAnswer], T]) -> T:
        """What ``take`` makes of the answer; it reads the body, and asks again by raising a retryable ``StoreError``.

        Raises ``AwsFault``, ``StoreError``.
        """
        source = self._settings.credentials
        for attempt in range(_ATTEMPTS):
            if attempt:
                pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2**attempt)
                self._closed.wait(pause * self._random.uniform(0.5, 1.0))
            if self._closed.is_set():
                raise StoreError("the source was closed", retryable=True)
            credentials = source.get() if source else None  # botocore has its own attempts, and may ask a person
            try:
                taken = take(self._try_signed(target, path, query, credentials))
            except StoreError as error:
                is_last = attempt == _ATTEMPTS - 1
                if isinstance(error, AwsFault) and error.is_of_the_server:
                    self._is_refused = self._is_refused or is_last
                    is_last = self._is_refused
                is_passing = error.is_passing if isinstance(error, AwsFault) else error.retryable
                if not is_passing or is_last:
                    raise
            else:
                self._is_refused = False
                return taken
        raise AssertionError("the last attempt returns or raises")

    def reopen(self) -> None:
        """Take no connection over from the parent process."""
        self._local = threading.local()
        self._closed = threading.Event()
        self._is_refused = False
        self._lock = threading.Lock()
        self._connections: WeakSet[HttpConnection] = WeakSet()

    def close(self) -> None:
        """End every connection; whoever waits for an answer hears of it at once."""
        self._closed.set()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.abort()
        self._drop()

    def _try_signed(self, target: Target, path: str, query: str, credentials: AwsCredentials | None) -> HttpAnswer:
        """An answer that is none of an error; asked once more where there are newer credentials."""
        source = self._settings.credentials
        try:
            return self._try(target, path, query, credentials)
        except AwsFault as fault:
            if source is None or credentials is None or fault.code not in EXPIRED or not source.renew(credentials):
                raise
            return self._try(target, path, query, source.get())

    def _try(self, target: Target, path: str, query: str, credentials: AwsCredentials | None) -> HttpAnswer:
        payer = self._settings.request_payer
        line, fields = (f"{path}?{query}" if query else path), _fields(target, path, query, credentials, payer)
        connection: HttpConnection | None = getattr(self._local, "connection", None)
        if connection is None or not connection.is_usable or self._local.origin != target.origin:
            connection = self._connect(target.origin)
        is_old = connection.is_used
        try:
            answer = connection.get(line, fields)
        except StoreError:
            if not is_old or self._closed.is_set():
                raise
            answer = self._connect(target.origin).get(line, fields)  # the server had closed it, as it may
        if answer.status != 200:
            body = read_whole(answer.chunks(), _MOST_ERROR_BYTES)
            raise decode_fault(answer.status, answer.fields.get("x-amz-bucket-region", ""), body)
        return answer

    def _connect(self, origin: Origin) -> HttpConnection:
        self._drop()
        if origin.is_tls and self._tls is None:
            self._tls = _open_tls(self._settings.ca_bundle)
        tls = self._tls if origin.is_tls else None
        connection = HttpConnection(origin, tls, proxy=find_proxy(origin), patience=PATIENCE)
        with self._lock:
            self._connections.add(connection)
        if self._closed.is_set():  # meanwhile
            connection.abort()
        self._local.connection, self._local.origin = connection, origin
        return connection

    def _drop(self) -> None:
        """Close this thread's connection."""
        connection: HttpConnection | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None


def _fields(target: Target, path: str, query: str, credentials: AwsCredentials | None, payer: str) -> str:
    """The request's fields, signed with ``credentials``; lines."""
    authority = target.origin.authority
    if credentials is None:
        return f"host: {authority}\r\n"
    timestamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    fields = {"host": authority, "x-amz-content-sha256": EMPTY_SHA256, "x-amz-date": timestamp}
    if payer:
        fields["x-amz-request-payer"] = payer
    if credentials.session_token:
        fields["x-amz-security-token"] = credentials.session_token
    signed = ";".join(fields)
    lines = "".join([f"{name}:{value}\n" for name, value in fields.items()])
    scope = f"{timestamp[:8]}/{target.region}/{target.service}/aws4_request"
    text = string_to_sign(timestamp, scope, f"GET\n{path}\n{query}\n{lines}\n{signed}\n{EMPTY_SHA256}")
    key = signing_key(credentials.secret_access_key, timestamp[:8], target.region, target.service)
    return (
        lines.replace("\n", "\r\n")
        + f"authorization: AWS4-HMAC-SHA256 Credential={credentials.access_key_id}/{scope}, "
        f"SignedHeaders={signed}, Signature={sign(key, text)}\r\n"
    )


def _open_tls(ca_bundle: str) -> ssl.SSLContext:
    is_folder = Path(ca_bundle).is_dir() if ca_bundle else False
    try:
        if is_folder:
            return ssl.create_default_context(capath=ca_bundle)
        return ssl.create_default_context(cafile=ca_bundle or None)
    except OSError as error:
        raise ConfigError(f"AWS_CA_BUNDLE {ca_bundle}: {error.strerror or error}") from None


def encode_path(text: str) -> str:
    """A key as a path spells it, slashes kept."""
    return quote(text, safe="/" + _UNRESERVED, errors="surrogateescape")


def encode_query(parameters: dict[str, str]) -> str:
    """Parameters as a canonical query."""
    pairs = [
        (quote(name, safe=_UNRESERVED), quote(value, safe=_UNRESERVED, errors="surrogateescape"))
        for name, value in parameters.items()
    ]
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def read_whole(chunks: Iterator[bytes], limit: int) -> bytes:
    """The body, at most one piece more than ``limit``."""
    pieces: list[bytes] = []
    size = 0
    for chunk in chunks:
        pieces.append(chunk)
        size += len(chunk)
        if size > limit:
            break
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
