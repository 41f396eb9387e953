"""What an account has set for itself in IAM: its alias and its password policy.

An alias is unique over all accounts; an account has one at most (IAM user guide, "Your AWS account ID and its alias").
"""

from __future__ import annotations

import json
from dataclasses import asdict

from sqlalchemy import Column, Engine, ForeignKey, String, Table, Text, delete, select
from sqlalchemy.exc import IntegrityError

from opentrail.core.passwords import PasswordPolicy
from opentrail.state.database import metadata, transaction, write_row

account_aliases = Table(
    "account_aliases",
    metadata,
    Column("account_id", ForeignKey("accounts.account_id"), primary_key=True),
    Column("alias", String, nullable=False, unique=True),
)
password_policies = Table(
    "password_policies",
    metadata,
    Column("account_id", ForeignKey("accounts.account_id"), primary_key=True),
    Column("policy", Text, nullable=False),  # JSON object of PasswordPolicy's fields
)


class AccountSettings:
    """The IAM settings of all accounts.  Every method may raise ``StorageError``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def alias(self, account_id: str) -> str | None:
        """An account's alias."""
        query = select(account_aliases.c.alias).where(account_aliases.c.account_id == account_id)
        with transaction(self._engine) as connection:
            return connection.execute(query).scalar()

    def set_alias(self, account_id: str, alias: str) -> bool:
        """Give an account an alias in place of the one it has; False where any account has this one already."""
        try:
            with transaction(self._engine) as connection:
                taken = select(account_aliases.c.account_id).where(account_aliases.c.alias == alias)
                if connection.execute(taken).first() is not None:
                    return False
                write_row(connection, account_aliases, {"account_id": account_id}, {"alias": alias})
        except IntegrityError:  # taken in this very moment
            return False
        return True

    def remove_alias(self, account_id: str, alias: str) -> bool:
        """Take the alias from its account; False where the account does not have it."""
        same = (account_aliases.c.account_id == account_id) & (account_aliases.c.alias == alias)
        with transaction(self._engine) as connection:
            return connection.execute(delete(account_aliases).where(same)).rowcount == 1

    def password_policy(self, account_id: str) -> PasswordPolicy | None:
        """An account's own password policy; None where AWS's default one counts."""
        query = select(password_policies.c.policy).where(password_policies.c.account_id == account_id)
        with transaction(self._engine) as connection:
            text = connection.execute(query).scalar()
        return None if text is None else PasswordPolicy(**json.loads(text))

    def set_password_policy(self, account_id: str, policy: PasswordPolicy) -> None:
        """Write an account's password policy over the one it had."""
        text = json.dumps(asdict(policy))
        with transaction(self._engine) as connection:
            write_row(connection, password_policies, {"account_id": account_id}, {"policy": text})

    def remove_password_policy(self, account_id: str) -> bool:
        """Go back to AWS's default policy; False where that is the one that counts."""
        own = password_policies.c.account_id == account_id
        with transaction(self._engine) as connection:
            return connection.execute(delete(password_policies).where(own)).rowcount == 1
