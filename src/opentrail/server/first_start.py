"""The first start: the master key, the first account, and its root user's credentials in a file for AWS clients."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from opentrail.core.credentials import format_access_key_id, format_secret
from opentrail.core.errors import ConfigError
from opentrail.state.access_keys import AccessKey
from opentrail.state.accounts import Account, Accounts
from opentrail.state.entities import EntityKind
from opentrail.state.identities import Identities
from opentrail.state.secret_cipher import MASTER_KEY_BYTES

log = logging.getLogger("opentrail.first_start")

_SALT_BYTES = 16
_NONCE_BYTES = 12
_SEALED = b"opentrail-sealed-1\n"  # marks a master key that a passphrase opens


def read_master_key(path: Path, passphrase: bytes | None) -> bytes:
    """The key that encrypts secrets in the database, made at the first start, mode 0600.

    With a passphrase it is sealed: AES-256-GCM under a key that scrypt derives (RFC 7914; n 2^15, r 8, p 1).
    Raises ``ConfigError`` where the file and the passphrase do not go together.
    """
    if not path.exists():
        key = secrets.token_bytes(MASTER_KEY_BYTES)
        write_secret_file(path, _seal(key, passphrase) if passphrase else key)
        return key
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"{path} may be read by others: chmod 600 it")
    data = path.read_bytes()
    if data.startswith(_SEALED):
        if passphrase is None:
            raise ConfigError(f"{path} is encrypted: name the passphrase's file with --key-passphrase-file")
        return _open(data, passphrase, path)
    if passphrase is not None:
        raise ConfigError(
            f"{path} is not encrypted, but --key-passphrase-file is given; it works from the first start on"
        )
    if len(data) != MASTER_KEY_BYTES:
        raise ConfigError(f"{path} is damaged; restore it, the secrets of all access keys need it")
    return data


def make_first_account(
    *,
    accounts: Accounts,
    identities: Identities,
    account_id: str,
    credentials: Path,
    now: datetime,
    draw: Callable[[int], int] = secrets.randbelow,
) -> str:
    """Make the first account with a root access key, where there is no account yet; returns the first account's ID.

    The credentials file comes first, the key last: a crash in between leaves an account that nobody can enter, and the
    next start, which finds neither a root key nor a user, goes on from there.
    """
    existing = accounts.all()
    if existing and _has_identity(identities, existing[0].account_id):
        if account_id and account_id not in {account.account_id for account in existing}:
            raise ConfigError(f"--account-id {account_id}: the data folder belongs to account {existing[0].account_id}")
        return existing[0].account_id
    begun = existing[0].account_id if existing else ""
    chosen = account_id or begun or "".join(str(draw(10)) for _ in range(12))
    key_id, secret = format_access_key_id(chosen, secrets.token_bytes(5)), format_secret(secrets.token_bytes(30))
    text = f"[default]\naws_access_key_id = {key_id}\naws_secret_access_key = {secret}\nregion = us-east-1\n"
    write_secret_file(credentials, text.encode())
    accounts.create(Account(account_id=chosen, name="root", created=now))
    identities.create_key(AccessKey(access_key_id=key_id, account_id=chosen, user_id=None, created=now), secret)
    log.info("made account %s; its root credentials are in %s", chosen, credentials)
    return chosen


def _has_identity(identities: Identities, account_id: str) -> bool:
    """Whether anybody can sign in an account: its root user, or a user."""
    if identities.keys_of(account_id, None):
        return True
    with identities.reading() as iam:
        return iam.entities.count(account_id, EntityKind.USER) > 0


def write_secret_file(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` with mode 0600, whole or not at all, durable when it returns."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _derive(passphrase: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=1 << 15, r=8, p=1).derive(passphrase)


def _seal(key: bytes, passphrase: bytes) -> bytes:
    salt, nonce = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_NONCE_BYTES)
    return _SEALED + salt + nonce + AESGCM(_derive(passphrase, salt)).encrypt(nonce, key, _SEALED)


def _open(data: bytes, passphrase: bytes, path: Path) -> bytes:
    rest = data[len(_SEALED) :]
    salt, nonce, sealed = rest[:_SALT_BYTES], rest[_SALT_BYTES:][:_NONCE_BYTES], rest[_SALT_BYTES + _NONCE_BYTES :]
    try:
        return AESGCM(_derive(passphrase, salt)).decrypt(nonce, sealed, _SEALED)
    except (InvalidTag, ValueError):
        raise ConfigError(f"{path}: the passphrase in --key-passphrase-file is not the one that sealed it") from None
