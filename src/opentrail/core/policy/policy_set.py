"""What a decision is made from: one request, and every policy that may speak on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from enum import StrEnum

from opentrail.core.identity import Identity
from opentrail.core.policy.statement import PolicyDocument
from opentrail.core.policy.templates import Context
from opentrail.core.values import dataclass


class PolicyKind(StrEnum):
    """The kinds of policies that bear on a request, in the words of AWS's messages."""

    SERVICE_CONTROL = "service control policy"
    RESOURCE = "resource-based policy"
    IDENTITY = "identity-based policy"
    BOUNDARY = "permissions boundary"
    SESSION = "session policy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A compiled document under the name that a decision calls it by (a policy's ARN or name, a bucket's ARN)."""

    name: str
    document: PolicyDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySet:
    """Everything that may speak on one request.

    ``boundary`` and ``session`` are None where there is none: an empty tuple allows nothing.  ``service_control`` has
    one tuple a level, from the organization's root down to the account; it is empty outside organizations and for the
    management account.  ``level_names`` names the levels (``r-...``, ``ou-...``, the account's number) for who asks
    why; without it they go by their place.  ``resource_must_allow`` is for resources whose own policy is the only way
    in (a role's trust policy, a KMS key).
    """

    identity: tuple[Policy, ...] = ()
    resource: tuple[Policy, ...] = ()
    boundary: tuple[Policy, ...] | None = None
    session: tuple[Policy, ...] | None = None
    service_control: tuple[tuple[Policy, ...], ...] = ()
    level_names: tuple[str, ...] = ()
    resource_must_allow: bool = False

    def all(self) -> Iterator[tuple[PolicyKind, Policy]]:
        """Every policy with its kind, in the order in which an explicit deny is looked for."""
        for level in self.service_control:
            for policy in level:
                yield PolicyKind.SERVICE_CONTROL, policy
        for kind, policies in (
            (PolicyKind.RESOURCE, self.resource),
            (PolicyKind.IDENTITY, self.identity),
            (PolicyKind.BOUNDARY, self.boundary or ()),
            (PolicyKind.SESSION, self.session or ()),
        ):
            for policy in policies:
                yield kind, policy

    def level_name(self, index: int) -> str:
        """What a level of ``service_control`` is called."""
        return self.level_names[index] if index < len(self.level_names) else f"level {index + 1}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRequest:
    """What is asked: ``context`` maps lower-case condition keys to their values (``policy.context`` makes them).

    ``any_resource``, ``any_action``: the call is about a resource, or is an action, of the service, and nobody knows
    which.  An Allow must then cover what ``resource`` and ``action`` say; a Deny that may speak of the call does.
    """

    principal: Identity
    action: str  # "s3:GetObject"
    resource: str  # an ARN, or "*" for an action without resources
    resource_account: str = ""  # its owner; "": the caller's own account
    context: Context = field(default_factory=dict)
    any_resource: bool = False
    any_action: bool = False

    @property
    def is_same_account(self) -> bool:
        """Whether the resource belongs to the caller's account."""
        return not self.resource_account or self.resource_account == self.principal.account_id
