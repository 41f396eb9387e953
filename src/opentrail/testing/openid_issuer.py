"""An OpenID Connect issuer on 127.0.0.1: its discovery document, its keys, and the tokens that it signs.

Tokens are put together with ``cryptography`` alone, not with the library that is to judge them.  The certificate is the
issuer's own, so that whoever trusts it does so for its thumbprint.
"""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from opentrail.testing.certificates import HOST, make_certificate


class OpenIdIssuer:
    """An issuer; ``url`` is what its tokens call it.  Every answer is ``answers[path]``: a status and a body."""

    def __init__(self, port: int, certificate: Path, thumbprint: str) -> None:
        self.url = f"https://{HOST}:{port}"
        self.certificate = certificate
        self.thumbprint = thumbprint
        self.asked: list[str] = []
        self.keys: dict[str, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey] = {}
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.add_key("first")
        self.publish()

    @property
    def name(self) -> str:
        """The issuer as ARNs and condition keys name it."""
        return self.url.removeprefix("https://")

    def add_key(self, key_id: str, *, elliptic: bool = False) -> None:
        """Make a key; ``publish`` tells others of it."""
        self.keys[key_id] = (
            ec.generate_private_key(ec.SECP256R1()) if elliptic else rsa.generate_private_key(65537, 2048)
        )

    def publish(self) -> None:
        """Offer the discovery document and every key."""
        configuration = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        self.answers["/.well-known/openid-configuration"] = 200, json.dumps(configuration).encode()
        self.answers["/keys"] = 200, json.dumps({"keys": [_jwk(name, key) for name, key in self.keys.items()]}).encode()

    def token(
        self, claims: Mapping[str, Any], *, key_id: str = "first", header: Mapping[str, Any] | None = None
    ) -> str:
        """A signed token with ``claims``; ``header`` replaces parts of its header."""
        key = self.keys[key_id]
        algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
        head = {"alg": algorithm, "kid": key_id, "typ": "JWT", **(header or {})}
        signed = f"{_encode(json.dumps(head).encode())}.{_encode(json.dumps(dict(claims)).encode())}"
        return f"{signed}.{_encode(_sign(key, signed.encode()))}"

    def claims(self, now: datetime, **others: Any) -> dict[str, Any]:
        """The claims of an ordinary token made at ``now``; those in ``others`` replace or (None) remove them."""
        start = int(now.timestamp())
        claims = {
            "iss": self.url,
            "sub": "repo:example/app:ref:main",
            "aud": "sts.amazonaws.com",
            "iat": start,
            "exp": start + 300,
            **others,
        }
        return {name: value for name, value in claims.items() if value is not None}


@contextmanager
def run_openid_issuer(folder: Path) -> Iterator[OpenIdIssuer]:
    """An issuer until the block is left; its certificate and key lie in ``folder``."""
    certificate, key = make_certificate(folder, "issuer")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = _Server((HOST, 0), _Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    shown = ssl.PEM_cert_to_DER_cert(certificate.read_text())
    thumbprint = hashlib.sha1(shown, usedforsecurity=False).hexdigest()
    issuer = OpenIdIssuer(server.server_address[1], certificate, thumbprint)
    server.issuer = issuer
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    issuer: OpenIdIssuer


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer as the issuer says."""
        assert isinstance(self.server, _Server)
        issuer = self.server.issuer
        issuer.asked.append(self.path)
        status, body = issuer.answers.get(self.path, (404, b"{}"))
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if status == 302:
            self.send_header("location", f"{issuer.url}/keys")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the standard library's name
        """Say nothing."""


def _sign(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    first, second = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return first.to_bytes(32) + second.to_bytes(32)


def _jwk(key_id: str, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> dict[str, str]:
    if isinstance(key, rsa.RSAPrivateKey):
        public = key.public_key().public_numbers()
        return {"kty": "RSA", "kid": key_id, "use": "sig", "n": _number(public.n), "e": _number(public.e)}
    point = key.public_key().public_numbers()
    x, y = (_encode(each.to_bytes(32)) for each in (point.x, point.y))
    return {"kty": "EC", "crv": "P-256", "kid": key_id, "use": "sig", "x": x, "y": y}


def _number(value: int) -> str:
    return _encode(value.to_bytes((value.bit_length() + 7) // 8))


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
