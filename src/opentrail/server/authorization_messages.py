"""Sealed authorization messages: why a call was denied, for those alone who may decode it.

A refusal carries the reasons in a header, sealed so that its caller cannot read them; STS's DecodeAuthorizationMessage
opens them for callers of the same account.  A message is base64url text of a nonce and AES-256-GCM (NIST SP 800-38D)
over deflated JSON, under a key that HKDF (RFC 5869) derives from the installation's master key, bound to the account.

Rules: statements of another account's resource policy are not told; a message fits into EncodedMessage (10,240
characters) and into the 8 KB that many HTTP clients allow a header, so that what is too large goes without its
conditions, then without its statements, and where what was asked for is no ARN that can be, with its beginning alone.

Source: STS API reference, DecodeAuthorizationMessage; decoded messages as AWS's users quote them.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from opentrail.core.events import encode_json
from opentrail.core.policy import Decision, PolicyKind, Statement

HEADER = "x-opentrail-authorization-message"
MAX_CHARACTERS = 7680

_NONCE_BYTES = 12
_MAX_RESOURCE_CHARACTERS = 1024  # of a resource that is no ARN anyway: those are shorter than a message
_MAX_JSON_BYTES = 1 << 20  # a sealed message is our own and is never this large


class AuthorizationMessages:
    """Seals and opens messages.  ``random_bytes(n)`` gives the nonces."""

    def __init__(self, master_key: bytes, random_bytes: Callable[[int], bytes]) -> None:
        derive = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"opentrail authorization messages")
        self._cipher = AESGCM(derive.derive(master_key))
        self._random_bytes = random_bytes

    def seal(self, decision: Decision) -> str:
        """The message of ``decision``, which its caller's account alone can open."""
        account = decision.request.principal.account_id
        message = authorization_message(decision)
        text = self._seal(account, message)
        if len(text) > MAX_CHARACTERS:
            message["context"]["conditions"] = {"items": []}
            text = self._seal(account, message)
        if len(text) > MAX_CHARACTERS:
            message["matchedStatements"] = {"items": []}
            text = self._seal(account, message)
        if len(text) > MAX_CHARACTERS:
            message["context"]["resource"] = decision.request.resource[:_MAX_RESOURCE_CHARACTERS]
            text = self._seal(account, message)
        return text

    def open(self, account_id: str, text: str) -> str | None:
        """The JSON of a message of this account; None for anything else."""
        try:
            data = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
            packed = self._cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], account_id.encode())
        except (ValueError, InvalidTag):  # UnicodeEncodeError and binascii.Error are ValueErrors
            return None
        return zlib.decompressobj().decompress(packed, _MAX_JSON_BYTES).decode()

    def _seal(self, account_id: str, message: dict[str, Any]) -> str:
        nonce = self._random_bytes(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, zlib.compress(encode_json(message), 1), account_id.encode())
        return base64.urlsafe_b64encode(nonce + sealed).rstrip(b"=").decode()


def authorization_message(decision: Decision) -> dict[str, Any]:
    """A decision in the form of AWS's decoded messages."""
    request = decision.request
    principal = request.principal
    told = decision.kind is not PolicyKind.RESOURCE or request.is_same_account
    statements = [decision.statement] if decision.statement is not None and told else []
    return {
        "allowed": decision.allowed,
        "explicitDeny": decision.explicit and not decision.allowed,
        "matchedStatements": {"items": [_statement(each) for each in statements]},
        "failures": {"items": []},
        "context": {
            "principal": {"id": principal.principal_id, "name": principal.user_name, "arn": principal.arn},
            "action": request.action,
            "resource": request.resource,
            "conditions": {
                "items": [{"key": key, "values": _values(list(values))} for key, values in request.context.items()]
            },
        },
    }


def _statement(statement: Statement) -> dict[str, Any]:
    return {
        "statementId": statement.sid,
        "effect": statement.effect.upper(),
        "principals": {"items": []},
        "principalGroups": {"items": []},
        "actions": _values(list(statement.actions)),
        "resources": _values(list(statement.resources)),
        "conditions": {
            "items": [
                {"key": condition.key, "value": {"operator": condition.operator, **_values(list(condition.values))}}
                for condition in statement.conditions
            ]
        },
    }


def _values(values: list[str]) -> dict[str, Any]:
    return {"items": [{"value": value} for value in values]}
