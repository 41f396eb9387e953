"""AWS as far as a client's configuration shows: hosts, certificates and a proxy, all on this machine.

``PretendAws`` is an HTTP proxy that reaches nobody.  Whatever host a client asks it for, it is that host, with a
certificate of its own authority: so a test sees which hosts a client goes to, and what it sends to each.  With
``host`` it is that one, without a proxy between.
"""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from opentrail.testing.certificates import general_name

_DAY: Final = timedelta(days=1)
_MAX_PIECE_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as it came: ``host`` without a port, ``target`` without scheme and host; names in lower case."""

    host: str
    target: str
    fields: dict[str, str] = field(repr=False)


Answer = Callable[[Asked], bytes]  # the whole HTTP answer


class Authority:
    """Signs a certificate for any host; who is to trust them is given ``file``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of the tests")])
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()
        self.file = folder / "authority.pem"
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        made = self._builder(self._name, self._key.public_key())
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
        certificate = made.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def context(self, host: str) -> ssl.SSLContext:
        """What a server that is ``host`` (a name or an address) speaks TLS with."""
        with self._lock:
            if host not in self._contexts:
                self._contexts[host] = self._make(host)
            return self._contexts[host]

    def _make(self, host: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._builder(x509.Name([]), key.public_key())
        made = made.add_extension(x509.SubjectAlternativeName([general_name(host)]), critical=True)
        certificate = made.sign(self._key, hashes.SHA256())
        path = self._folder / f"{host}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + _DAY)
            .add_extension(signer, critical=False)  # RFC 5280 asks for it, and Python does from 3.13 on
        )


class PretendAws:
    """Serves while the block runs.  ``host`` is whom it is for those who connect without asking for anybody."""

    def __init__(self, authority: Authority, answer: Answer, *, host: str = "") -> None:
        self.asked: list[Asked] = []
        self.logins: list[str] = []  # with which clients came to the proxy
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.aws, self._server.authority, self._server.answer = self, authority, answer
        self._server.host = host
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        """On 127.0.0.1."""
        return int(self._server.server_address[1])

    def answer_with(self, answer: Answer) -> None:
        """Answer so from now on."""
        self._server.answer = answer

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    aws: PretendAws
    authority: Authority
    answer: Answer
    host: str


class _Handler(socketserver.BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        """Serve one connection."""
        host = self.server.host
        try:
            if not host:
                target, fields = _read_request(self.request)
                self.server.aws.logins.append(fields.get("proxy-authorization", ""))
                if "://" in target:
                    self._serve_plain(target, fields)
                    return
                host = target.rpartition(":")[0]
                self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with self.server.authority.context(host).wrap_socket(self.request, server_side=True) as stream:
                while True:
                    self._answer(stream, host, *_read_request(stream))
        except (OSError, EOFError):
            return  # the client has gone, or does not trust the certificate

    def _serve_plain(self, target: str, fields: dict[str, str]) -> None:
        while True:
            parts = urlsplit(target)
            path = f"{parts.path}?{parts.query}" if parts.query else parts.path
            self._answer(self.request, parts.hostname or "", path, fields)
            target, fields = _read_request(self.request)

    def _answer(self, stream: socket.socket, host: str, target: str, fields: dict[str, str]) -> None:
        asked = Asked(host=host, target=target, fields=fields)
        self.server.aws.asked.append(asked)
        stream.sendall(self.server.answer(asked))


def _read_request(stream: socket.socket) -> tuple[str, dict[str, str]]:
    """A request's target and fields; nobody looks at its body.  Raises ``EOFError``."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _receive(stream)
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    left = int(fields.get("content-length", "0")) - len(body)
    while left > 0:
        left -= len(_receive(stream))
    return first.split(" ")[1], fields


def _receive(stream: socket.socket) -> bytes:
    piece = stream.recv(_MAX_PIECE_BYTES)
    if not piece:
        raise EOFError
    return piece
