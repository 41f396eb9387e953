"""Who signs digests."""

from __future__ import annotations

from typing import Protocol


class Signer(Protocol):
    """A private key that signs (RSASSA-PKCS1-v1_5 with SHA-256)."""

    @property
    def fingerprint(self) -> str:
        """The name of its public key in digests and in ``ListPublicKeys``: 32 hex digits."""
        ...

    def sign(self, data: bytes) -> bytes:
        """The signature over ``data``."""
        ...
