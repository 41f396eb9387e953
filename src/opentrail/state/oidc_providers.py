"""OpenID Connect identity providers: whose tokens an account trusts.

A provider is found by its account and its issuer's URL, written as IAM writes it in ARNs: without ``https://``.
Source: IAM user guide, "Create an OpenID Connect (OIDC) identity provider in IAM".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    ForeignKey,
    RowMapping,
    String,
    Table,
    delete,
    insert,
    select,
    update,
)

from opentrail.state.columns import Instant, JsonList, JsonObject
from opentrail.state.database import metadata, transaction

SCHEME = "https://"

oidc_providers = Table(
    "oidc_providers",
    metadata,
    Column("account_id", ForeignKey("accounts.account_id"), primary_key=True),
    Column("url", String, primary_key=True),
    Column("client_ids", JsonList, nullable=False),
    Column("thumbprints", JsonList, nullable=False),
    Column("tags", JsonObject, nullable=False),
    Column("created", Instant, nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcProvider:
    """A provider; ``client_ids`` are the audiences that its tokens may name, in the order in which they came."""

    account_id: str
    url: str  # the issuer without https://, "idp.example.com/realms/main"
    client_ids: tuple[str, ...] = ()
    thumbprints: tuple[str, ...] = ()  # SHA-1 of certificates, 40 hexadecimal digits
    tags: Mapping[str, str] = field(default_factory=dict)
    created: datetime

    @property
    def arn(self) -> str:
        """``arn:aws:iam::123456789012:oidc-provider/idp.example.com/realms/main``."""
        return f"arn:aws:iam::{self.account_id}:oidc-provider/{self.url}"


class OidcProviders:
    """The providers as those ask who prove tokens."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(self, account_id: str, url: str) -> OidcProvider | None:
        """The account's provider for the issuer ``url``, with or without its ``https://``.  Raises ``StorageError``."""
        with transaction(self._engine) as connection:
            return OidcProviderTable(connection).find(account_id, url.removeprefix(SCHEME))


class OidcProviderTable:
    """The providers of all accounts, within a transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, account_id: str, url: str) -> OidcProvider | None:
        """The account's provider for an issuer."""
        row = self._connection.execute(select(oidc_providers).where(_same(account_id, url))).mappings().first()
        return _provider(row) if row else None

    def list(self, account_id: str) -> Sequence[OidcProvider]:
        """An account's providers, by URL."""
        query = select(oidc_providers).where(oidc_providers.c.account_id == account_id).order_by(oidc_providers.c.url)
        return [_provider(row) for row in self._connection.execute(query).mappings()]

    def add(self, provider: OidcProvider) -> None:
        """Add a provider, whose URL is new to its account."""
        values = {"account_id": provider.account_id, "url": provider.url, "created": provider.created}
        self._connection.execute(insert(oidc_providers).values(values | _settings(provider)))

    def update(self, provider: OidcProvider) -> None:
        """Write a provider's client IDs, thumbprints and tags over what was there."""
        same = _same(provider.account_id, provider.url)
        self._connection.execute(update(oidc_providers).where(same).values(_settings(provider)))

    def remove(self, account_id: str, url: str) -> bool:
        """Remove a provider; False where there is none."""
        return self._connection.execute(delete(oidc_providers).where(_same(account_id, url))).rowcount == 1


def _same(account_id: str, url: str) -> ColumnElement[bool]:
    return (oidc_providers.c.account_id == account_id) & (oidc_providers.c.url == url)


def _settings(provider: OidcProvider) -> dict[str, Any]:
    return {
        "client_ids": provider.client_ids,
        "thumbprints": provider.thumbprints,
        "tags": provider.tags,
    }


def _provider(row: RowMapping) -> OidcProvider:
    return OidcProvider(**row)
