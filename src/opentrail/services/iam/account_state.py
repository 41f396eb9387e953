"""What IAM's operations on a whole account work with, and how their permissions look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from opentrail.core.organizations import Membership
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import Permission
from opentrail.state.account_settings import AccountSettings
from opentrail.state.credential_reports import CredentialReports
from opentrail.state.grants import NamedPolicy

Levels = tuple[tuple[NamedPolicy, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState:
    """State beside users, groups, roles and policies.

    ``service_control(account_id)`` gives the service control policies that bind an account, one tuple a level from the
    organization's root down; ``membership(account_id)`` the organization that it is in.
    """

    settings: AccountSettings
    credential_reports: CredentialReports
    service_control: Callable[[str], Levels]
    membership: Callable[[str], Membership | None]


def account_permission(action: str) -> Callable[[ApiCall, object], tuple[Permission, ...]]:
    """The permission for ``iam:action``, which knows no resources."""
    needed = (Permission(action=f"iam:{action}", resource="*"),)
    return lambda _call, _deps: needed
