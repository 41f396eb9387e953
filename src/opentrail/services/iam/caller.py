"""What IAM's operations depend on, and the user that they act on where they name none: their caller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from opentrail.core.credentials import UNIQUE_ID_BYTES, format_unique_id
from opentrail.core.identity import IdentityType
from opentrail.core.wire.calls import ApiCall
from opentrail.services.iam.account_state import AccountState
from opentrail.services.iam.faults import validation_error
from opentrail.services.iam.kinds import USER
from opentrail.state.accounts import Accounts
from opentrail.state.entities import Entity
from opentrail.state.identities import Iam, Identities


@dataclass(frozen=True, slots=True, kw_only=True)
class IamDeps:
    """What IAM needs.  ``random_bytes(n)`` gives the bytes of new ids and secrets."""

    accounts: Accounts
    identities: Identities
    random_bytes: Callable[[int], bytes]
    account: AccountState

    def new_id(self, prefix: str) -> str:
        """A new unique id."""
        return format_unique_id(prefix, self.random_bytes(UNIQUE_ID_BYTES))


def user_or_caller(call: ApiCall, iam: Iam) -> Entity | None:
    """The user that the call names, or else its caller; None for the account's root user.

    Raises ``ServiceFault`` NoSuchEntity, or ValidationError for a caller that is no user.
    """
    if call.parameters.get(USER.name_member):
        return USER.require(call, iam)
    if call.identity.type is IdentityType.ROOT:
        return None
    user = iam.entities.find_id(call.identity.principal_id)
    if user is None:
        raise validation_error("Must specify userName when calling with non-User credentials")
    return user
