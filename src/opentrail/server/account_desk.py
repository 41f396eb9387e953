"""Accounts for the operator: made with root credentials, listed, shown, closed (``opentrail account``).

Making an account takes three steps: the account, its profile in the credentials file, its root key.  What a crash
leaves of them nobody can enter, and the same command, given again, goes on from there with the key that the file holds.
"""

from __future__ import annotations

import logging
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from opentrail.core.credentials import (
    ACCESS_KEY_ID_BYTES,
    SECRET_BYTES,
    format_access_key_id,
    format_secret,
    parse_access_key_account,
)
from opentrail.core.errors import ConfigError, FormatError
from opentrail.server.control import Command
from opentrail.server.credentials_file import Profile, add_profile, find_profile
from opentrail.state.access_keys import AccessKey
from opentrail.state.accounts import Account, Accounts
from opentrail.state.entities import EntityKind
from opentrail.state.identities import Identities
from opentrail.state.organizations import Organizations

log = logging.getLogger("opentrail.accounts")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@+=,-]{0,49}")  # it becomes a profile's name
_EMAIL = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+")
_ACCOUNT_ID = re.compile(r"[0-9]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountDesk:
    """Carries out the operator's commands.  ``credentials`` is the data folder's file, the default for new profiles."""

    accounts: Accounts
    identities: Identities
    organizations: Organizations
    credentials: Path
    clock: Callable[[], datetime]
    turn: threading.Lock = field(default_factory=threading.Lock)  # of those who make and close accounts

    def commands(self) -> Mapping[str, Command]:
        """What the control socket offers."""
        return {
            "account-create": self.create,
            "account-list": lambda _request: {"accounts": [self._describe(each) for each in self.accounts.all()]},
            "account-show": lambda request: {"account": self._describe(self._find(str(request.get("account"))))},
            "account-close": self.close,
        }

    def create(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make an account: ``name``, and if wanted ``account_id``, ``email``, ``credentials`` (a path).

        Raises ``ConfigError`` for what is taken or cannot be used, and ``StorageError``.
        """
        name, email = str(request.get("name") or ""), str(request.get("email") or "")
        path = Path(str(request.get("credentials") or self.credentials))
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{name!r} cannot be an account's name: 1 to 50 letters, digits, spaces and ._@+=,- are expected, "
                "the first a letter or digit"
            )
        if email and (not _EMAIL.fullmatch(email) or len(email) > 64):
            raise ConfigError(f"--email: {email!r} is not an e-mail address of up to 64 characters")
        if not path.parent.is_dir():
            raise ConfigError(f"--credentials {path}: there is no folder {path.parent}")
        with self.turn:
            account = self._begin(name, email, str(request.get("account_id") or ""))
            profile = self._offer(path, account)
            if self.accounts.find(account.account_id) is None and not self.accounts.create(account):
                raise ConfigError(f"--email: {email} belongs to another account")
            if find_profile(path, name) is None:
                add_profile(path, profile)
            key = AccessKey(
                access_key_id=profile.access_key_id, account_id=account.account_id, user_id=None, created=self.clock()
            )
            self.identities.create_key(key, profile.secret)
        log.info("made account %s (%s); its root credentials are in %s", account.account_id, name, path)
        return {"account": self._describe(account), "profile": name, "credentials": str(path)}

    def close(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Close ``account``, given by its id or name: its keys stop working at once.

        Raises ``ConfigError`` where that must not be, and ``StorageError``.
        """
        with self.turn:
            account = self._find(str(request.get("account")))
            organization = self.organizations.of_account(account.account_id)
            if account.status != "ACTIVE":
                raise ConfigError(f"account {account.account_id} is closed already")
            if organization is not None and organization.management_account_id == account.account_id:
                raise ConfigError(
                    f"account {account.account_id} manages the organization {organization.organization_id}: "
                    "delete that first"
                )
            if all(each.status != "ACTIVE" for each in self.accounts.all() if each != account):
                raise ConfigError(f"account {account.account_id} is the last one: nobody could sign in any more")
            self.accounts.close(account.account_id)
        log.info("closed account %s (%s)", account.account_id, account.name)
        return {"account": self._describe(self._find(account.account_id))}

    def _begin(self, name: str, email: str, account_id: str) -> Account:
        """The account to be: a new one, or one of this name that was begun and that nobody can enter."""
        if account_id and not _ACCOUNT_ID.fullmatch(account_id):
            raise ConfigError(f"--account-id: an account ID is 12 digits; {account_id!r} is not")
        for each in self.accounts.named(name):
            asked = each.email == email and account_id in {"", each.account_id}
            if not asked or each.status != "ACTIVE" or self._is_in_use(each.account_id):
                raise ConfigError(f"there is an account named {each.name} already: {each.account_id} ({each.status})")
            return each
        taken = self.accounts.find(account_id) if account_id else None
        if taken is not None:
            raise ConfigError(f"--account-id: {account_id} is taken by {taken.name}")
        if email and self.accounts.find_by_email(email) is not None:
            raise ConfigError(f"--email: {email} belongs to another account")
        return Account(account_id=account_id or self._draw_id(), name=name, email=email, created=self.clock())

    def _offer(self, path: Path, account: Account) -> Profile:
        """The account's profile to be: a new one, or the one that the file holds since the account was begun."""
        profile = find_profile(path, account.name)
        if profile is None:
            key_id = format_access_key_id(account.account_id, secrets.token_bytes(ACCESS_KEY_ID_BYTES))
            secret = format_secret(secrets.token_bytes(SECRET_BYTES))
            return Profile(name=account.name, access_key_id=key_id, secret=secret)
        if self.accounts.find(account.account_id) is None or not _belongs_to(profile, account):
            raise ConfigError(
                f"--credentials {path}: there is a profile [{account.name}] already; name another file, or the account "
                "otherwise"
            )
        return profile

    def _is_in_use(self, account_id: str) -> bool:
        """Whether anybody can enter an account, or it is somebody's."""
        if self.organizations.of_account(account_id) or self.identities.keys_of(account_id, None):
            return True
        with self.identities.reading() as iam:
            return any(iam.entities.count(account_id, kind) for kind in EntityKind)

    def _draw_id(self) -> str:
        while True:
            account_id = f"{secrets.randbelow(10**12):012}"
            if self.accounts.find(account_id) is None:
                return account_id

    def _find(self, account: str) -> Account:
        """The account with this id, or else of this name."""
        found = self.accounts.find(account)
        named = [found] if found else self.accounts.named(account)
        if not named:
            raise ConfigError(f"there is no account {account}; `opentrail account list` shows those there are")
        if len(named) > 1:
            ids = ", ".join(each.account_id for each in named)
            raise ConfigError(f"several accounts are named {account}: say which by its ID ({ids})")
        return named[0]

    def _describe(self, account: Account) -> dict[str, Any]:
        membership = self.organizations.membership(account.account_id)
        keys = self.identities.keys_of(account.account_id, None)
        return {
            "account_id": account.account_id,
            "name": account.name,
            "email": account.email,
            "status": account.status,
            "created": account.created.isoformat(),
            "organization_id": membership.organization_id if membership else "",
            "management_account_id": membership.management_account_id if membership else "",
            "organization_path": membership.path if membership else "",
            "root_access_keys": [key.access_key_id for key in keys],
        }


def _belongs_to(profile: Profile, account: Account) -> bool:
    """Whether a profile's key was made for the account."""
    try:
        return bool(profile.secret) and parse_access_key_account(profile.access_key_id) == account.account_id
    except FormatError:
        return False
