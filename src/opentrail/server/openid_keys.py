"""The public keys of OpenID Connect issuers, fetched from where each issuer publishes them, and kept for a while.

Rules: HTTPS alone, no redirects, a short time and few bytes for each answer, so that an issuer can neither hold a call
nor fill memory; an answer is kept for ``KEPT_SECONDS`` and is fetched anew, at most once in ``PATIENCE_SECONDS``, when
a token names a key that is not among it (keys are rotated) or the issuer did not answer.

An issuer may be within the operator's own network.  One on the internet cannot send us there: keys on another host are
then at public addresses alone, and of why a host did not answer only the log tells.

An issuer's certificate is one that the system trusts (``SSL_CERT_FILE`` names another store), or has behind it a
certificate whose thumbprint the IAM provider lists, which is then the only authority.

Source: OpenID Connect Discovery 1.0, section 4; RFC 7517; IAM user guide, "Obtain the thumbprint for an OpenID Connect
identity provider".
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address
from typing import Any
from urllib.parse import urlsplit

import orjson

from opentrail.core.errors import FormatError, StorageError

log = logging.getLogger("opentrail.openid")

TIMEOUT_SECONDS = 5.0  # of a connection, all in all; an issuer's keys take two
MAX_ANSWER_BYTES = 256 << 10
MAX_KEYS = 100  # of each issuer, as IAM has it
MAX_ISSUERS = 1000  # kept in memory
KEPT_SECONDS = 3600.0
PATIENCE_SECONDS = 10.0

Key = Mapping[str, Any]
Fetch = Callable[[str, Sequence[str], str], bytes]
_Address = tuple[socket.AddressFamily, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Published:
    keys: tuple[Key, ...] = ()
    fetched: float  # seconds of the monotonic clock
    tried: float
    failure: str = ""
    is_away: bool = False  # the failure: no answer, rather than one that cannot be used


class OpenIdKeys:
    """The keys of issuers (``services.sts.IssuerKeys``); ``fetch`` is called as ``fetch_document`` is."""

    def __init__(self, monotonic: Callable[[], float], fetch: Fetch | None = None) -> None:
        self._monotonic = monotonic
        self._fetch = fetch or fetch_document
        self._published: dict[tuple[str, tuple[str, ...]], _Published] = {}
        self._turns: dict[str, threading.Lock] = {}  # by issuer: those who wait for the same keys ask once
        self._lock = threading.Lock()

    def find(self, issuer: str, thumbprints: Sequence[str], key_id: str) -> Sequence[Key]:
        """The keys of ``issuer``.  Raises ``StorageError``, ``FormatError``, as the protocol says."""
        wanted = issuer, tuple(thumbprints)
        published = self._published.get(wanted)
        if published is None or self._is_stale(published, key_id):
            with self._turn(issuer):
                published = self._published.get(wanted)
                if published is None or self._is_stale(published, key_id):
                    published = self._renew(*wanted)
        if published.is_away:
            raise StorageError(published.failure, retryable=True)
        if published.failure:
            raise FormatError(published.failure)
        return published.keys

    def _is_stale(self, published: _Published, key_id: str) -> bool:
        now = self._monotonic()
        is_known = not key_id or any(key.get("kid") == key_id for key in published.keys)
        is_old = now - published.fetched >= KEPT_SECONDS or published.failure or not is_known
        return bool(is_old) and now - published.tried >= PATIENCE_SECONDS

    def _renew(self, issuer: str, thumbprints: tuple[str, ...]) -> _Published:
        """Ask the issuer; a failure is remembered too: a burst of calls must not become a burst of questions."""
        before = self._published.get((issuer, thumbprints))
        try:
            keys = self._discover(issuer, thumbprints)
            now = self._monotonic()
            published = _Published(keys=keys, fetched=now, tried=now)
        except (StorageError, FormatError) as error:
            log.warning("no keys of %s: %s", issuer, error)
            now = self._monotonic()
            if before is not None and not before.failure and now - before.fetched < KEPT_SECONDS:
                published = replace(before, tried=now)  # whoever names keys that do not exist spoils nobody else's
            else:
                is_away = isinstance(error, StorageError)
                published = _Published(fetched=now, tried=now, failure=str(error), is_away=is_away)
        with self._lock:
            if len(self._published) >= MAX_ISSUERS:
                self._published.clear()
            self._published[issuer, thumbprints] = published
        return published

    def _discover(self, issuer: str, thumbprints: tuple[str, ...]) -> tuple[Key, ...]:
        url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        configuration = _json_object(self._fetch(url, thumbprints, ""), "the issuer's configuration")
        if str(configuration.get("issuer", "")).rstrip("/") != issuer.rstrip("/"):
            raise FormatError("the issuer's configuration names another issuer")
        keys_url = configuration.get("jwks_uri")
        if not isinstance(keys_url, str):
            raise FormatError("the issuer's configuration has no jwks_uri")
        # a certificate that is named for the issuer vouches for the issuer's host alone
        is_own = urlsplit(keys_url).netloc == urlsplit(url).netloc
        fetched = self._fetch(keys_url, thumbprints if is_own else (), "" if is_own else url)
        keys = _json_object(fetched, "the issuer's key set").get("keys")
        if not isinstance(keys, list):
            raise FormatError("the issuer's key set has no keys")
        return tuple(key for key in keys[:MAX_KEYS] if isinstance(key, dict))

    def _turn(self, issuer: str) -> threading.Lock:
        with self._lock:
            if len(self._turns) >= MAX_ISSUERS:
                self._turns = {name: turn for name, turn in self._turns.items() if turn.locked()}
            return self._turns.setdefault(issuer, threading.Lock())


def fetch_document(url: str, thumbprints: Sequence[str], named_by: str = "") -> bytes:
    """The body at ``url`` (HTTPS), which a document at ``named_by`` (on another host) may have named.

    Raises ``StorageError`` where it cannot be had now, ``FormatError`` for a URL or a certificate that will not do.
    """
    host, port, target = _split(url)
    addresses = _resolve(host, port)
    if named_by and not all(map(_is_public, addresses)) and all(map(_is_public, _resolve(*_split(named_by)[:2]))):
        raise FormatError("an issuer on the internet has no keys within a private network")
    try:
        return _get(host, addresses, target, ssl.create_default_context())
    except ssl.SSLCertVerificationError:
        anchor = _listed_certificate(host, addresses, thumbprints)
        if anchor is None:
            raise FormatError(
                "the issuer's certificate is not one that the system or a thumbprint vouches for"
            ) from None
    context = ssl.create_default_context(cadata=anchor)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # what is listed is trusted, whoever signed it
    try:
        return _get(host, addresses, target, context)
    except ssl.SSLCertVerificationError:
        raise FormatError("the issuer's certificate does not go with the one whose thumbprint is listed") from None


def _split(url: str) -> tuple[str, int, str]:
    """Host, port and target of an ``https`` URL.  Raises ``FormatError``."""
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port or 443
    except ValueError:
        host, port = None, 0
    if parts.scheme != "https" or not host or not url.isascii() or not url.isprintable() or " " in url:
        raise FormatError("an issuer's documents are at https:// addresses")
    return host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _resolve(host: str, port: int) -> list[_Address]:
    """The addresses of ``host``, to be connected to as they are: a second question may be answered otherwise.

    Raises ``StorageError``.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise StorageError(f"{host}: {type(error).__name__}", retryable=True) from None
    return [(family, address) for family, _, _, _, address in found]


def _is_public(address: _Address) -> bool:
    found = ip_address(address[1][0].partition("%")[0])
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return found.is_global


def _get(host: str, addresses: Sequence[_Address], target: str, context: ssl.SSLContext) -> bytes:
    try:
        with _connected(host, addresses, context) as secured:
            connection = http.client.HTTPConnection(host, addresses[0][1][1])
            connection.sock = secured
            connection.request("GET", target, headers={"accept": "application/json", "connection": "close"})
            with connection.getresponse() as response:
                status, data = response.status, response.read(MAX_ANSWER_BYTES + 1)
    except ssl.SSLCertVerificationError:
        raise
    except (OSError, http.client.HTTPException) as error:
        raise StorageError(f"{host}: {type(error).__name__}", retryable=True) from None
    if status != http.HTTPStatus.OK:
        raise StorageError(f"{host} answered with status {status}", retryable=True)
    if len(data) > MAX_ANSWER_BYTES:
        raise FormatError(f"an issuer's document is at most {MAX_ANSWER_BYTES} bytes")
    return data


def _listed_certificate(host: str, addresses: Sequence[_Address], thumbprints: Sequence[str]) -> bytes | None:
    """The certificate (DER) of those that ``host`` shows whose thumbprint is listed.  Raises ``StorageError``."""
    if not thumbprints:
        return None
    listed = {each.lower() for each in thumbprints}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # this connection only shows certificates; the next one proves them
    try:
        with _connected(host, addresses, context) as secured:
            shown = _shown_chain(secured)
    except OSError as error:
        raise StorageError(f"{host}: {type(error).__name__}", retryable=True) from None
    return next((each for each in shown if hashlib.sha1(each, usedforsecurity=False).hexdigest() in listed), None)


@contextmanager
def _connected(host: str, addresses: Sequence[_Address], context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    """A connection to one of ``addresses`` that is cut ``TIMEOUT_SECONDS`` after the first was tried, however many
    there are and however slowly the other side goes on talking.
    """  # noqa: D205  one sentence, too long for a line
    end = time.monotonic() + TIMEOUT_SECONDS
    raw = _connect(addresses, end)
    with context.wrap_socket(raw, server_hostname=host, do_handshake_on_connect=False) as secured:
        timer = threading.Timer(max(0.0, end - time.monotonic()), _cut, [secured])
        timer.daemon = True
        timer.start()
        try:
            secured.do_handshake()
            yield secured
        finally:
            timer.cancel()


def _connect(addresses: Sequence[_Address], end: float) -> socket.socket:
    failure: OSError = TimeoutError()
    for family, address in addresses:
        left = end - time.monotonic()
        if left <= 0:
            break
        raw = socket.socket(family, socket.SOCK_STREAM)
        raw.settimeout(left)
        try:
            raw.connect(address)
        except OSError as error:
            raw.close()
            failure = error
        else:
            return raw
    raise failure


def _cut(connection: ssl.SSLSocket) -> None:
    with suppress(OSError):  # it has ended by itself
        socket.socket.shutdown(connection, socket.SHUT_RDWR)  # below TLS, which another thread is using


def _shown_chain(connection: ssl.SSLSocket) -> list[bytes]:
    """The certificates (DER) that the other side shows, its own first."""
    if hasattr(connection, "get_unverified_chain"):  # Python 3.13
        chain: list[bytes] = connection.get_unverified_chain()
        return chain
    shown = connection._sslobj.get_unverified_chain()  # type: ignore[attr-defined]  # noqa: SLF001  before, it is private
    return [ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in shown]


def _json_object(data: bytes, what: str) -> Mapping[str, Any]:
    try:
        document = orjson.loads(data)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise FormatError(f"{what} is no JSON object")
    return document
