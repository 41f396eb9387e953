"""A client of PutAuditEvents in the standard library: one connection, kept open, requests signed with Version 4.

Source: CloudTrail Data API reference, PutAuditEvents; IAM user guide, "Create a signed AWS API request".
"""

from __future__ import annotations

import base64
import encodings.idna  # noqa: F401  a socket's name needs it: a process that forks amid its import could never connect
import http.client
import json
import os
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from opentrail.core.channels import parse_channel_arn
from opentrail.core.errors import ServiceFault, StorageError
from opentrail.core.events import encode_json
from opentrail.core.http import Headers, HttpRequest
from opentrail.core.sigv4 import canonical_request, sign, signing_key, string_to_sign
from opentrail.core.sigv4.canonical import canonical_headers, canonical_path

MAX_EVENTS = 100
MAX_BYTES = 900_000  # of a call's eventData; quotes and checksums make more of it, and 1 MB is the limit
_SERVICE = "cloudtrail-data"
_TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """An access key, of a session where it has a token."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)


def environment_credentials() -> Credentials:
    """The access key in ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY`` and ``AWS_SESSION_TOKEN``.

    Raises ``StorageError`` where there is none.
    """
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    access_key_id, secret, token = (os.environ.get(name, "") for name in names)
    if not access_key_id or not secret:
        raise StorageError("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set", retryable=True)
    return Credentials(access_key_id=access_key_id, secret_access_key=secret, session_token=token)


class AuditEvent(NamedTuple):
    """An event on its way: ``event_data`` is its JSON text, ``entry`` the JSON of both as a call takes them along."""

    id: str
    event_data: str
    entry: bytes


def encode_event(identifier: str, event_data: bytes) -> bytes:
    """The bytes of an event in a spool; ``decode_event`` is the inverse."""
    return b"%b\n%b" % (identifier.encode(), event_data)


def decode_event(data: bytes) -> AuditEvent:
    """The event that ``encode_event`` wrote."""
    identifier, _, octets = data.partition(b"\n")
    event_id, text = identifier.decode(), octets.decode()
    checksum = base64.b64encode(sha256(octets).digest()).decode()
    entry = encode_json({"id": event_id, "eventData": text, "eventDataChecksum": checksum})
    return AuditEvent(event_id, text, entry)


def split_calls(events: Sequence[AuditEvent]) -> Iterator[list[AuditEvent]]:
    """``events`` in calls that stay within 1 MB as they are sent: quotes within a text take twice their room."""
    part: list[AuditEvent] = []
    size = 0
    for each in events:
        if part and size + len(each.entry) > MAX_BYTES:
            yield part
            part, size = [], 0
        part.append(each)
        size += len(each.entry) + 1
    yield part


class PutAuditEvents:
    """Calls PutAuditEvents of ``endpoint`` (``https://host:port``) on a channel.  For one thread.

    ``credentials`` is asked before every call, so keys may change; ``ca_file`` holds the certificates to trust.
    """

    def __init__(
        self,
        *,
        endpoint: str,
        channel_arn: str,
        credentials: Callable[[], Credentials],
        external_id: str = "",
        ca_file: str = "",
    ) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"endpoint {endpoint!r} is not the URL of a server, http://127.0.0.1:4577")
        self._host, self._port, self._tls = parts.hostname, parts.port, parts.scheme == "https"
        self._netloc = parts.netloc.rpartition("@")[2]
        self._path = f"{parts.path.rstrip('/')}/PutAuditEvents"
        self._region = parse_channel_arn(channel_arn).region
        query = {"channelArn": channel_arn, **({"externalId": external_id} if external_id else {})}
        self._query = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        self._credentials = credentials
        self._ca_file = ca_file
        self._connection: http.client.HTTPConnection | None = None

    def put(self, events: Sequence[AuditEvent]) -> Mapping[str, ServiceFault]:
        """Send ``events``, at most 100; what was wrong with those that were not taken, by id.

        Raises ``StorageError`` where nobody answered, ``ServiceFault`` where the whole call was refused.
        """
        body = b'{"auditEvents":[%b]}' % b",".join([each.entry for each in events])
        status, data = self._exchange(body)
        try:
            answer = json.loads(data)
            if status == 200:
                return _read_faults(answer, events)
            code = str(answer.get("__type") or answer.get("code") or "").rpartition("#")[2]
            message = str(answer.get("message") or answer.get("Message") or "")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise StorageError(f"the answer, of status {status}, is not PutAuditEvents'", retryable=True) from None
        raise ServiceFault(code or f"HTTP {status}", message, status=status)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(self, body: bytes) -> tuple[int, bytes]:
        headers = self._sign(body, self._credentials(), datetime.now(UTC))
        fresh = self._connection is None
        try:
            return self._send(body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if fresh:
                raise StorageError(f"PutAuditEvents: {type(error).__name__}: {error}", retryable=True) from error
        try:  # a connection that was kept may have been closed meanwhile; the ids make a second try harmless
            return self._send(body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise StorageError(f"PutAuditEvents: {type(error).__name__}: {error}", retryable=True) from error

    def _send(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = self._connect()
        self._connection.request("POST", f"{self._path}?{self._query}", body, dict(headers))
        response = self._connection.getresponse()
        return response.status, response.read()

    def _connect(self) -> http.client.HTTPConnection:
        if self._tls:
            context = ssl.create_default_context(cafile=self._ca_file or None)
            return http.client.HTTPSConnection(self._host, self._port, timeout=_TIMEOUT_SECONDS, context=context)
        return http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_SECONDS)

    def _sign(self, body: bytes, credentials: Credentials, now: datetime) -> dict[str, str]:
        timestamp = now.strftime("%Y%m%dT%H%M%SZ")
        headers = {"content-type": "application/json", "host": self._netloc, "x-amz-date": timestamp}
        if credentials.session_token:
            headers["x-amz-security-token"] = credentials.session_token
        request = HttpRequest(method="POST", path=self._path, query=self._query, headers=Headers(headers.items()))
        names = tuple(sorted(headers))
        values = canonical_headers(request.headers)
        canonical = canonical_request(request, canonical_path(self._path), values, names, sha256(body).hexdigest())
        scope = f"{timestamp[:8]}/{self._region}/{_SERVICE}/aws4_request"
        key = signing_key(credentials.secret_access_key, timestamp[:8], self._region, _SERVICE)
        signature = sign(key, string_to_sign(timestamp, scope, canonical))
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credentials.access_key_id}/{scope}, "
            f"SignedHeaders={';'.join(names)}, Signature={signature}"
        )
        return headers


def _read_faults(answer: Mapping[str, Any], events: Sequence[AuditEvent]) -> dict[str, ServiceFault]:
    """The faults of an answer, by id.  Raises ``KeyError`` where it leaves one of ``events`` out."""
    faults = {each["id"]: ServiceFault(each["errorCode"], each["errorMessage"]) for each in answer["failed"]}
    told = faults.keys() | {each["id"] for each in answer["successful"]}
    for each in events:
        if each.id not in told:
            raise KeyError(each.id)
    return faults
