"""Who makes a call: the values behind a record's ``userIdentity``.

The forms are those of the CloudTrail user guide, "CloudTrail userIdentity element".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum

from opentrail.core.values import dataclass


class IdentityType(StrEnum):
    """The ``type`` of a ``userIdentity``."""

    ROOT = "Root"
    IAM_USER = "IAMUser"
    ASSUMED_ROLE = "AssumedRole"
    FEDERATED_USER = "FederatedUser"
    WEB_IDENTITY_USER = "WebIdentityUser"
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
class WebIdentity:
    """What a proven OpenID Connect token says of its bearer, and wants the bearer's session to have.

    ``claims`` are those that are condition keys (``aud``, ``sub``), each with its values; the keys' prefix is
    ``issuer``.
    """

    provider_arn: str  # arn:aws:iam::ACCOUNT:oidc-provider/ISSUER
    issuer: str  # the provider's URL without "https://"
    claims: Mapping[str, tuple[str, ...]]
    session_tags: Mapping[str, str] = field(default_factory=dict)
    transitive_tag_keys: tuple[str, ...] = ()
    source_identity: str = ""

    @property
    def subject(self) -> str:
        """The token's ``sub``."""
        return self.claims["sub"][0]

    @property
    def audience(self) -> str:
        """The audience (client ID) that the token was accepted for."""
        return self.claims["aud"][0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session of temporary credentials: what its token says, and nobody can change.

    Its own policies (``policy``, ``policy_arns``) only ever limit what its issuer may do (``Identity.is_limited``).
    """

    issuer: SessionIssuer | None = None
    creation_date: datetime
    expiration: datetime | None = None
    mfa_authenticated: bool = False
    name: str = ""  # RoleSessionName, or a federated user's name
    policy: str = ""  # the inline session policy's JSON text
    policy_arns: tuple[str, ...] = ()  # managed policies that limit the session as well
    tags: Mapping[str, str] = field(default_factory=dict)  # the session's own
    transitive_tag_keys: tuple[str, ...] = ()  # those of ``tags`` that further roles in a chain inherit
    source_identity: str = ""
    web_identity: WebIdentity | None = None


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
    web_identity: WebIdentity | None = None  # of a WebIdentityUser, who has no session yet
    tags: Mapping[str, str] = field(default_factory=dict)  # aws:PrincipalTag: the user's or role's, then the session's

    @property
    def is_service(self) -> bool:
        """Whether a service calls on its own behalf."""
        return self.type is IdentityType.AWS_SERVICE

    @property
    def is_anonymous(self) -> bool:
        """Whether the call carries no credentials."""
        return self.type is IdentityType.AWS_ACCOUNT and self.account_id == "anonymous"

    @property
    def grantee_id(self) -> str:
        """The unique id of the user or role whose IAM policies speak for this identity; "": it has none."""
        if self.type is IdentityType.IAM_USER:
            return self.principal_id
        issuer = self.session.issuer if self.session else None
        return issuer.principal_id if issuer and issuer.type in {"Role", "IAMUser"} else ""

    @property
    def has_root_rights(self) -> bool:
        """Whether its rights are the root user's: it is root, or root federated it (session policies then limit it)."""
        if self.type is IdentityType.FEDERATED_USER:
            return self.session is not None and self.session.issuer is not None and self.session.issuer.type == "Root"
        return self.type is IdentityType.ROOT

    @property
    def is_limited(self) -> bool:
        """Whether session policies must allow what it does; a federated user that was given none may do nothing."""
        session = self.session
        if session is None:
            return False
        return self.type is IdentityType.FEDERATED_USER or bool(session.policy or session.policy_arns)


def root_identity(account_id: str, access_key_id: str = "") -> Identity:
    """The account's root user; its principal is the account itself."""
    return Identity(
        type=IdentityType.ROOT,
        principal_id=account_id,
        arn=f"arn:aws:iam::{account_id}:root",
        account_id=account_id,
        access_key_id=access_key_id,
    )


def web_identity_user(account_id: str, web_identity: WebIdentity) -> Identity:
    """The bearer of a proven token, in the account whose provider vouches for it."""
    return Identity(
        type=IdentityType.WEB_IDENTITY_USER,
        principal_id=f"{web_identity.provider_arn}:{web_identity.audience}:{web_identity.subject}",
        account_id=account_id,
        user_name=web_identity.subject,
        web_identity=web_identity,
    )


def service_identity(principal: str) -> Identity:
    """A service that acts on its own: ``principal`` such as ``cloudtrail.amazonaws.com``."""
    return Identity(type=IdentityType.AWS_SERVICE, invoked_by=principal)


ANONYMOUS = Identity(type=IdentityType.AWS_ACCOUNT, account_id="anonymous")
