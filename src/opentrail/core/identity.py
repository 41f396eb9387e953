"""Who makes a call: the values behind a record's ``userIdentity``.

The forms are those of the CloudTrail user guide, "CloudTrail userIdentity element".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class IdentityType(StrEnum):
    """The ``type`` of a ``userIdentity``."""

    ROOT = "Root"
    IAM_USER = "IAMUser"
    ASSUMED_ROLE = "AssumedRole"
    FEDERATED_USER = "FederatedUser"
    AWS_SERVICE = "AWSService"
    AWS_ACCOUNT = "AWSAccount"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionIssuer:
    """The role or user whose temporary credentials sign a call."""

    type: str  # "Role", "IAMUser", "Root"
    principal_id: str
    arn: str
    account_id: str
    user_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session of temporary credentials."""

    issuer: SessionIssuer | None = None
    creation_date: datetime
    mfa_authenticated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """An authenticated caller (or, with ``type`` AWSAccount and account ``anonymous``, nobody in particular)."""

    type: IdentityType
    principal_id: str = ""
    arn: str = ""
    account_id: str = ""
    access_key_id: str = ""
    user_name: str = ""
    invoked_by: str = ""  # service principal, "cloudtrail.amazonaws.com"
    session: Session | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_service(self) -> bool:
        """Whether a service calls on its own behalf."""
        return self.type is IdentityType.AWS_SERVICE

    @property
    def is_anonymous(self) -> bool:
        """Whether the call carries no credentials."""
        return self.type is IdentityType.AWS_ACCOUNT and self.account_id == "anonymous"


def root_identity(account_id: str, access_key_id: str = "") -> Identity:
    """The account's root user; its principal is the account itself."""
    return Identity(
        type=IdentityType.ROOT,
        principal_id=account_id,
        arn=f"arn:aws:iam::{account_id}:root",
        account_id=account_id,
        access_key_id=access_key_id,
    )


def service_identity(principal: str) -> Identity:
    """A service that acts on its own: ``principal`` such as ``cloudtrail.amazonaws.com``."""
    return Identity(type=IdentityType.AWS_SERVICE, invoked_by=principal)


ANONYMOUS = Identity(type=IdentityType.AWS_ACCOUNT, account_id="anonymous")
