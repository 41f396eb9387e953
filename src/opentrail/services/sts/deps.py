"""What STS's operations share: their dependencies, and how long the credentials that they issue live."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from opentrail.core.session_tokens import SessionTokens
from opentrail.state.identities import Identities
from opentrail.state.oidc_providers import OidcProviders


class IssuerKeys(Protocol):
    """Where the public keys of OpenID Connect issuers come from."""

    def find(self, issuer: str, thumbprints: Sequence[str], key_id: str) -> Sequence[Mapping[str, Any]]:
        """The keys (JWKs, RFC 7517) of ``issuer`` (a URL); looked up anew where none of them is called ``key_id``.

        ``thumbprints`` are SHA-1 of certificates, in hexadecimal, one of which must stand behind the issuer's where no
        authority that the system trusts does.  Raises ``StorageError`` where the issuer does not answer,
        ``FormatError`` where what it answers cannot be used.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class StsDeps:
    """What STS needs.

    ``random_bytes(n)`` gives the bytes of new ids and secrets; ``check_policy(text)`` raises ``FormatError`` for a
    document that is no session policy; ``open_message(account_id, text)`` is what an encoded authorization message of
    this account says, or None where it is none.
    """

    identities: Identities
    providers: OidcProviders
    tokens: SessionTokens
    issuer_keys: IssuerKeys
    random_bytes: Callable[[int], bytes]
    check_policy: Callable[[str], None]
    open_message: Callable[[str, str], str | None]
