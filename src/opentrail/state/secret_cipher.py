"""Secrets at rest: AES-256-SIV under a key derived from the installation's master key.

SIV (RFC 5297) needs no random nonce and stays safe without one, because each secret is bound to the name of what it
belongs to: moved to another row it does not decrypt.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from opentrail.core.errors import ConfigError

MASTER_KEY_BYTES = 32


class SecretCipher:
    """Encrypts short texts, each bound to a name.  ``master_key`` is 32 bytes that the caller keeps."""

    def __init__(self, master_key: bytes) -> None:
        if len(master_key) != MASTER_KEY_BYTES:
            raise ConfigError(f"the master key must be {MASTER_KEY_BYTES} bytes; it has {len(master_key)}")
        derive = HKDF(algorithm=SHA256(), length=64, salt=None, info=b"opentrail access key secrets")
        self._siv = AESSIV(derive.derive(master_key))

    def encrypt(self, name: str, secret: str) -> bytes:
        """``secret`` in a form that only this key and ``name`` open."""
        return self._siv.encrypt(secret.encode(), [name.encode()])

    def decrypt(self, name: str, data: bytes) -> str:
        """The secret.  Raises ``ConfigError`` when the master key is not the one that encrypted it."""
        try:
            return self._siv.decrypt(data, [name.encode()]).decode()
        except InvalidTag:
            raise ConfigError(
                f"the master key does not open the secret of {name}: restore the master key of this database"
            ) from None
