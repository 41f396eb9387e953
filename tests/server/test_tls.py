"""TLS with a certificate of the user's: served, recorded, and not disturbed by those who speak something else."""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import SSLError
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from opentrail.testing.certificates import make_certificate


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    return make_certificate(tmp_path_factory.mktemp("tls"), "server")


@pytest.fixture
def secure(serve: Any, certificate: tuple[Path, Path]) -> Any:
    cert, private = certificate
    return serve("--tls-cert", str(cert), "--tls-key", str(private))


def test_records_say_how_the_call_was_protected(secure: Any, certificate: tuple[Path, Path]) -> None:
    assert secure.url.startswith("https://")
    verify = str(certificate[0])
    secure.client("sts", verify=verify).get_caller_identity()
    secure.client("s3", verify=verify).create_bucket(Bucket="bucket")
    context = ssl.create_default_context(cafile=verify)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with context.wrap_socket(secure.connect(), server_hostname="127.0.0.1") as older:
        cipher = older.cipher()
        assert cipher is not None
        signed = secure.sign("GET", "/", service="s3")
        lines = [f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{secure.port}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in signed.headers.items()]
        older.sendall("\r\n".join([*lines, "", ""]).encode())
        assert older.recv(20).startswith(b"HTTP/1.1 200")
    assert secure.stop() == 0
    host = f"127.0.0.1:{secure.port}"
    identity, bucket, listed = secure.records()
    assert identity["tlsDetails"]["tlsVersion"] == "TLSv1.3"
    assert identity["tlsDetails"]["cipherSuite"].startswith("TLS_")
    assert identity["tlsDetails"]["clientProvidedHostHeader"] == host
    assert bucket["additionalEventData"]["CipherSuite"] == bucket["tlsDetails"]["cipherSuite"]
    assert listed["tlsDetails"] == {
        "tlsVersion": "TLSv1.2",
        "cipherSuite": cipher[0],
        "clientProvidedHostHeader": host,
    }


def test_a_client_that_does_not_trust_it_is_no_record(secure: Any) -> None:
    with pytest.raises(SSLError):
        secure.client("sts").get_caller_identity()
    secure.stop()
    assert secure.records() == []


def test_something_else_on_the_port_hurts_nobody(secure: Any, certificate: tuple[Path, Path]) -> None:
    quiet = secure.log
    with secure.connect() as silent, secure.connect() as gone:
        gone.close()
        for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00" * 50, b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"):
            with secure.connect() as connection:
                connection.sendall(data)
                try:
                    while connection.recv(1000):
                        pass
                except ConnectionResetError:
                    pass
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(ssl.SSLError), secure.connect() as connection:
            old.wrap_socket(connection)
        secure.client("sts", verify=str(certificate[0])).get_caller_identity()
        silent.close()
    time.sleep(0.2)
    assert secure.log == quiet, "what a stranger sends costs no line in the log"
    assert secure.stop() == 0


@pytest.mark.parametrize("case", ["missing", "not PEM", "mismatch", "encrypted"])
def test_a_certificate_that_cannot_be_served_is_named(
    case: str, certificate: tuple[Path, Path], run_opentrail: Any, tmp_path: Path
) -> None:
    cert, private = certificate
    other = tmp_path / "other.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    if case == "not PEM":
        other.write_text("nonsense")
    elif case != "missing":
        sealed: Any = (
            serialization.BestAvailableEncryption(b"secret") if case == "encrypted" else serialization.NoEncryption()
        )
        other.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealed))
    done = run_opentrail("serve", "--port", "0", "--tls-cert", str(cert), "--tls-key", str(other))
    assert done.returncode == 2
    assert "--tls-key" in done.stderr
    assert str(other) in done.stderr
    assert "Traceback" not in done.stderr
    assert private.exists()
