"""Signed GET requests to an AWS endpoint over connections that are kept: what S3 is asked with.

Rules: requests are signed with Signature Version 4 (``core.sigv4``).  What fails for a moment (a timeout, a reset, 429,
500, 502, 503, 504) is tried again with growing pauses; what a server says for good is an ``AwsFault``.
"""

from __future__ import annotations

import random
import re
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from opentrail.core.errors import ConfigError, StoreError
from opentrail.core.sigv4 import EMPTY_SHA256, sign, signing_key, string_to_sign
from opentrail.verification.http_connection import HttpAnswer, HttpConnection, Origin
from opentrail.verification.s3_settings import AwsSettings

_ATTEMPTS: Final = 5
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 5.0
_RETRIED: Final = frozenset({429, 500, 502, 503, 504})
_MOST_ERROR_BYTES: Final = 64 * 1024
_CODE: Final = re.compile(r"<Code>([^<]{1,100})</Code>")
_MESSAGE: Final = re.compile(r"<Message>([^<]{1,500})</Message>")
_REGION: Final = re.compile(r"<Region>([a-z0-9-]{1,40})</Region>")
_UNRESERVED: Final = "-_.~"


class AwsFault(StoreError):  # noqa: N818  an answer, as ServiceFault
    """The server's answer is an error.  ``region`` is the one that it sends the caller to, if it does."""

    def __init__(self, status: int, code: str, message: str, region: str = "") -> None:
        text = f"{code} (HTTP {status})" if code else f"HTTP {status}"
        super().__init__(f"{text}: {message}" if message else text, retryable=status in _RETRIED)
        self.status = status
        self.code = code
        self.region = region


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
        self._local = threading.local()
        self._tls: ssl.SSLContext | None = None
        self._random = random.Random()  # noqa: S311  pauses

    def get(self, target: Target, path: str, query: str = "") -> HttpAnswer:
        """GET ``path`` (encoded) with ``query`` (canonical: encoded and sorted); the answer's body is still to come.

        Raises ``AwsFault``, or ``StoreError`` when the endpoint cannot be reached.
        """
        for attempt in range(_ATTEMPTS):
            if attempt:
                pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2**attempt)
                time.sleep(pause * self._random.uniform(0.5, 1.0))
            try:
                answer = self._try(target, path, query)
            except StoreError as error:
                if not error.retryable or attempt == _ATTEMPTS - 1:
                    raise
                continue
            if answer.status == 200:
                return answer
            fault = _fault(answer)
            if answer.status not in _RETRIED or attempt == _ATTEMPTS - 1:
                raise fault
        raise AssertionError("the last attempt returns or raises")

    def reopen(self) -> None:
        """Take no connection over from the parent process."""
        self._local = threading.local()

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def _try(self, target: Target, path: str, query: str) -> HttpAnswer:
        request = self._request(target, path, query)
        connection: HttpConnection | None = getattr(self._local, "connection", None)
        if connection is None or not connection.is_usable or self._local.origin != target.origin:
            connection = self._connect(target.origin)
        is_old = connection.is_used
        try:
            return connection.get(request)
        except StoreError:
            if not is_old:
                raise
            return self._connect(target.origin).get(request)  # the server had closed it, as it may

    def _connect(self, origin: Origin) -> HttpConnection:
        self.close()
        if origin.is_tls and self._tls is None:
            self._tls = _open_tls(self._settings.ca_bundle)
        connection = HttpConnection(origin, self._tls if origin.is_tls else None)
        self._local.connection, self._local.origin = connection, origin
        return connection

    def _request(self, target: Target, path: str, query: str) -> bytes:
        authority = target.origin.authority
        line = f"GET {path}?{query} HTTP/1.1\r\n" if query else f"GET {path} HTTP/1.1\r\n"
        if self._settings.credentials is None:
            return f"{line}host: {authority}\r\n\r\n".encode("latin-1")
        credentials = self._settings.credentials()
        timestamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        fields = {"host": authority, "x-amz-content-sha256": EMPTY_SHA256, "x-amz-date": timestamp}
        if credentials.session_token:
            fields["x-amz-security-token"] = credentials.session_token
        signed = ";".join(fields)
        lines = "".join([f"{name}:{value}\n" for name, value in fields.items()])
        scope = f"{timestamp[:8]}/{target.region}/{target.service}/aws4_request"
        text = string_to_sign(timestamp, scope, f"GET\n{path}\n{query}\n{lines}\n{signed}\n{EMPTY_SHA256}")
        key = signing_key(credentials.secret_access_key, timestamp[:8], target.region, target.service)
        return (
            line
            + lines.replace("\n", "\r\n")
            + f"authorization: AWS4-HMAC-SHA256 Credential={credentials.access_key_id}/{scope}, "
            f"SignedHeaders={signed}, Signature={sign(key, text)}\r\n\r\n"
        ).encode("latin-1")


def _open_tls(ca_bundle: str) -> ssl.SSLContext:
    try:
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
    data = b""
    for chunk in chunks:
        data = data + chunk if data else chunk
        if len(data) > limit:
            break
    return data


def _fault(answer: HttpAnswer) -> AwsFault:
    text = read_whole(answer.chunks(), _MOST_ERROR_BYTES).decode("utf-8", "replace")
    code, message, region = (pattern.search(text) for pattern in (_CODE, _MESSAGE, _REGION))
    found = answer.fields.get("x-amz-bucket-region") or (region[1] if region else "")
    return AwsFault(answer.status, code[1] if code else "", message[1] if message else "", found)
