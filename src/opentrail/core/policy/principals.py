"""The Principal element of a resource's policy: whom a statement speaks of, and how directly.

Rules: how a caller is named decides what else limits it, so a match is a ``Naming``; an account (its number or its root
ARN) names all of its identities, but only lets the account itself grant; ``"*"`` and ``{"AWS": "*"}`` are everybody,
the unsigned included.

Source: IAM user guide, "AWS JSON policy elements: Principal".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from opentrail.core.arn import parse_arn
from opentrail.core.errors import FormatError
from opentrail.core.identity import Identity, IdentityType

_ACCOUNT = re.compile(r"[0-9]{12}")
_UNIQUE_ID = re.compile(r"A(?:IDA|ROA)[A-Z0-9]{12,124}")
_SERVICE = re.compile(r"[a-z0-9.-]+\.amazonaws\.com(?:\.cn)?")
_CANONICAL = re.compile(r"[0-9a-f]{64}")
_KINDS = ("AWS", "Service", "Federated", "CanonicalUser")


class Naming(IntEnum):
    """How a statement names a caller, the more direct the higher."""

    NOT = 0
    ACCOUNT = 1  # the caller's account, which must grant it itself
    EVERYBODY = 2
    ISSUER = 3  # the role or user behind the caller's session
    ITSELF = 4  # the user, the session, the service


@dataclass(frozen=True, slots=True, kw_only=True)
class Principals:
    """A parsed Principal or NotPrincipal."""

    everybody: bool = False
    accounts: frozenset[str] = frozenset()
    arns: frozenset[str] = frozenset()
    unique_ids: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()
    federated: frozenset[str] = frozenset()
    canonical_users: frozenset[str] = frozenset()

    def naming(self, identity: Identity) -> Naming:
        """How these principals name ``identity``, at the most direct.

        Everybody is everybody with credentials of AWS or none at all: who shows but another issuer's token is named by
        that issuer alone.
        """
        if identity.web_identity is not None:
            issuers = {identity.web_identity.provider_arn, identity.web_identity.issuer}
            return Naming.ITSELF if issuers & self.federated else Naming.NOT
        if identity.is_anonymous:
            named = Naming.NOT
        elif identity.is_service:
            named = Naming.ITSELF if identity.invoked_by in self.services else Naming.NOT
        else:
            named = self._naming_in_account(identity)
        return max(named, Naming.EVERYBODY) if self.everybody else named

    def _naming_in_account(self, identity: Identity) -> Naming:
        if identity.arn in self.arns or identity.principal_id in self.unique_ids:
            return Naming.ITSELF
        issuer = identity.session.issuer if identity.session else None
        if issuer and (issuer.arn in self.arns or issuer.principal_id in self.unique_ids):
            return Naming.ISSUER
        if identity.account_id not in self.accounts:
            return Naming.NOT
        return Naming.ITSELF if identity.type is IdentityType.ROOT else Naming.ACCOUNT


def parse_principals(element: object) -> Principals:
    """Parse a Principal element.  Raises ``FormatError`` that names the part at fault."""
    if element == "*":
        return Principals(everybody=True)
    if not isinstance(element, Mapping) or not element:
        raise FormatError("Invalid principal in policy")
    sets: dict[str, set[str]] = {
        name: set() for name in ("accounts", "arns", "unique_ids", "services", "federated", "canonical_users")
    }
    everybody = False
    for kind, value in element.items():
        values = [value] if isinstance(value, str) else value
        if kind not in _KINDS or not isinstance(values, list) or not values:
            raise FormatError("Invalid principal in policy")
        for item in values:
            if kind == "AWS" and item == "*":
                everybody = True
            else:
                place = _place(kind, item)
                sets[place].add(item.split(":")[4] if place == "accounts" and ":" in item else item)
    return Principals(everybody=everybody, **{name: frozenset(items) for name, items in sets.items()})


def names_entity(item: str) -> bool:
    """Whether an item of ``Principal.AWS`` names a user or a role, by its ARN or its unique id."""
    if _UNIQUE_ID.fullmatch(item):
        return True
    return _aws_place(item) == "arns" and item.split(":")[2] == "iam"


def _place(kind: str, item: object) -> str:
    """Which set of ``Principals`` an item belongs to."""
    if isinstance(item, str):
        if kind == "AWS":
            place = _aws_place(item)
            if place:
                return place
        elif kind == "Service" and _SERVICE.fullmatch(item):
            return "services"
        elif kind == "CanonicalUser" and _CANONICAL.fullmatch(item):
            return "canonical_users"
        elif kind == "Federated" and item and "*" not in item:
            return "federated"
    raise FormatError(f'Invalid principal in policy: "{kind}":"{item}"')


def _aws_place(item: str) -> str:
    if _ACCOUNT.fullmatch(item):
        return "accounts"
    if _UNIQUE_ID.fullmatch(item):
        return "unique_ids"
    try:
        arn = parse_arn(item)
    except FormatError:
        return ""
    if arn.partition != "aws" or not _ACCOUNT.fullmatch(arn.account) or "*" in arn.resource or "?" in arn.resource:
        return ""  # an account of another partition is another account, whatever its number
    if arn.service == "iam" and arn.resource == "root":
        return "accounts"
    kinds = {"iam": ("user", "role"), "sts": ("assumed-role", "federated-user")}
    return "arns" if arn.resource_type in kinds.get(arn.service, ()) else ""
