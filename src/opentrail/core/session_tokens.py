"""Session tokens: everything about a session, sealed so that only this installation opens it.

A token is opaque to its bearer and needs no row in any database: it holds the session's secret access key, whose
session it is and what limits it.  Rules:

* It is sealed with AES-256-SIV (RFC 5297) under a key that HKDF (RFC 5869) derives from the installation's master key,
  and bound to its access key ID: with another ID, or with any byte changed, it does not open.
* There is one text for a token: Base64 that could be written otherwise is refused.
* Whether it has expired, and whether its role or user is still there, is for whoever opens it to say.
"""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from opentrail.core.errors import FormatError
from opentrail.core.identity import Identity, IdentityType, Session, SessionIssuer, WebIdentity

MAX_TOKEN_CHARACTERS = 8192  # what ``seal`` makes is shorter: packed policies and tags are bounded

_VERSION = b"\x01"  # the first byte; another form of content gets another one
_TAG_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCredentials:
    """What a token holds: ``identity`` has a session that expires, and no tags but the session's own."""

    access_key_id: str
    secret: str = field(repr=False)
    identity: Identity


class SessionTokens:
    """Seals and opens tokens.  ``master_key`` is the installation's; the same one opens what it sealed."""

    def __init__(self, master_key: bytes) -> None:
        derive = HKDF(algorithm=SHA256(), length=64, salt=None, info=b"opentrail session tokens")
        self._siv = AESSIV(derive.derive(master_key))

    def seal(self, credentials: SessionCredentials, *, minimum_characters: int = 0) -> str:
        """The token of ``credentials``: Base64 text, padded where it would be shorter than ``minimum_characters``.

        No nonce: the secret in it makes every token different, and SIV needs no more than that.
        """
        content = zlib.compress(orjson.dumps(_describe(credentials)))
        content = content.ljust(-(-minimum_characters * 3 // 4) - _TAG_BYTES - len(_VERSION), b"\0")
        sealed = self._siv.encrypt(content, [_VERSION, credentials.access_key_id.encode()])
        token = b64encode(_VERSION + sealed).decode()
        assert len(token) <= MAX_TOKEN_CHARACTERS, "what goes into a token is bounded"
        return token

    def open(self, token: str, access_key_id: str) -> SessionCredentials:
        """What ``token`` holds.  Raises ``FormatError`` where it is none of ``access_key_id``'s, and nothing else."""
        data = _decode(token)
        if data[:1] != _VERSION or len(data) <= 1 + _TAG_BYTES:
            raise FormatError("not a session token")
        try:
            content = self._siv.decrypt(data[1:], [_VERSION, access_key_id.encode("utf-8", "replace")])
        except InvalidTag:
            raise FormatError("the session token does not belong to the access key") from None
        return _read(access_key_id, orjson.loads(zlib.decompressobj().decompress(content)))  # padding may follow


def _decode(token: str) -> bytes:
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise FormatError("a session token is shorter")
    try:
        data = b64decode(token, validate=True)
    except ValueError:
        raise FormatError("a session token is Base64 text") from None
    if b64encode(data).decode() != token:
        raise FormatError("a session token is written in one way only")
    return data


def _describe(credentials: SessionCredentials) -> dict[str, Any]:
    identity, session = credentials.identity, credentials.identity.session
    assert session is not None, "a session token is a session's"
    assert session.expiration is not None, "a session ends"
    issuer, web_identity = session.issuer, session.web_identity
    content: dict[str, Any] = {
        "secret": credentials.secret,
        "type": identity.type.value,
        "principal": [identity.principal_id, identity.arn, identity.account_id, identity.user_name],
        "issuer": None,
        "web": None,
        "times": [int(session.creation_date.timestamp()), int(session.expiration.timestamp())],
        "mfa": session.mfa_authenticated,
        "name": session.name,
        "policy": session.policy,
        "policy_arns": session.policy_arns,
        "tags": dict(session.tags),
        "transitive": [list(session.tags).index(key) for key in session.transitive_tag_keys],
        "source": session.source_identity,
    }
    if issuer is not None:
        content["issuer"] = [issuer.type, issuer.principal_id, issuer.arn, issuer.account_id, issuer.user_name]
    if web_identity is not None:
        content["web"] = [web_identity.provider_arn, web_identity.issuer, dict(web_identity.claims)]
    return content


def _read(access_key_id: str, content: Mapping[str, Any]) -> SessionCredentials:
    principal_id, arn, account_id, user_name = content["principal"]
    creation, expiration = (datetime.fromtimestamp(seconds, UTC) for seconds in content["times"])
    session = Session(
        issuer=_issuer(*content["issuer"]) if content["issuer"] else None,
        creation_date=creation,
        expiration=expiration,
        mfa_authenticated=content["mfa"],
        name=content["name"],
        policy=content["policy"],
        policy_arns=tuple(content["policy_arns"]),
        tags=content["tags"],
        transitive_tag_keys=tuple(list(content["tags"])[at] for at in content["transitive"]),
        source_identity=content["source"],
        web_identity=_web_identity(*content["web"]) if content["web"] else None,
    )
    identity = Identity(
        type=IdentityType(content["type"]),
        principal_id=principal_id,
        arn=arn,
        account_id=account_id,
        access_key_id=access_key_id,
        user_name=user_name,
        session=session,
        tags=session.tags,
    )
    return SessionCredentials(access_key_id=access_key_id, secret=content["secret"], identity=identity)


def _issuer(kind: str, principal_id: str, arn: str, account_id: str, user_name: str) -> SessionIssuer:
    return SessionIssuer(type=kind, principal_id=principal_id, arn=arn, account_id=account_id, user_name=user_name)


def _web_identity(provider_arn: str, issuer: str, claims: Mapping[str, list[str]]) -> WebIdentity:
    values = {name: tuple(each) for name, each in claims.items()}
    return WebIdentity(provider_arn=provider_arn, issuer=issuer, claims=values)
