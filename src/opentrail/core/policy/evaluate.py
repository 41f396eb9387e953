"""Whether a caller may do what it asks: AWS's evaluation logic over every kind of policy.

Rules, in their order:

1. A Deny that applies in any policy decides.  Nothing overrules it.
2. Service control policies: every level must allow.  They bind identities, not services and not the unsigned.
3. Services and the unsigned have no policies of their own: the resource's policy must allow.
4. The root user may do everything in its account, and asks other accounts' resources like anybody.
5. Same account: an identity policy or the resource's policy must allow, and the permissions boundary and the session
   policies, where there are any, must allow too.  A resource's policy that names the user or session itself is enough
   without them; one that names only the account lets the account decide and is no grant.
6. Another account: the identity's side (identity policies, boundary, session) and the resource's policy must allow.

A decision is a value that explains itself.  Documents are compiled once by ``document.parse_policy``; the caller keeps
them.  Source: IAM user guide, "Policy evaluation logic" and its sections on single accounts and cross-account requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from opentrail.core.identity import Identity, IdentityType
from opentrail.core.policy.document import Effect, PolicyDocument, Statement
from opentrail.core.policy.principals import Naming
from opentrail.core.policy.templates import Context


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
    management account.  ``resource_must_allow`` is for resources whose own policy is the only way in (a role's trust
    policy, a KMS key).
    """

    identity: tuple[Policy, ...] = ()
    resource: tuple[Policy, ...] = ()
    boundary: tuple[Policy, ...] | None = None
    session: tuple[Policy, ...] | None = None
    service_control: tuple[tuple[Policy, ...], ...] = ()
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


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRequest:
    """What is asked: ``context`` maps lower-case condition keys to their values (``policy.context`` makes them)."""

    principal: Identity
    action: str  # "s3:GetObject"
    resource: str  # an ARN, or "*" for an action without resources
    resource_account: str = ""  # its owner; "": the caller's own account
    context: Context = field(default_factory=dict)

    @property
    def is_same_account(self) -> bool:
        """Whether the resource belongs to the caller's account."""
        return not self.resource_account or self.resource_account == self.principal.account_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """A statement that spoke of the action and the resource but did not apply, and why."""

    kind: PolicyKind
    policy: str
    statement: Statement
    reason: str  # "principal", or the condition: "StringEquals aws:SourceAccount"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer: ``statement`` of the policy ``policy`` decided, or, for an implicit deny, none did."""

    allowed: bool
    explicit: bool  # a statement decided; False: an implicit deny, or the root user's own right
    kind: PolicyKind | None  # whose statement decided; of an implicit deny: who did not allow
    policy: str
    statement: Statement | None
    request: AuthorizationRequest
    policies: PolicySet

    def near(self) -> list[Near]:
        """The statements that would have decided but for their principal or one condition; for who asks why."""
        found = []
        action = self.request.action.lower()
        for kind, policy in self.policies.all():
            for statement in policy.document.statements:
                if not _covers(statement, self.request, action):
                    continue
                condition = statement.failed_condition(self.request.context)
                if not _naming(statement, self.request.principal):
                    found.append(Near(kind=kind, policy=policy.name, statement=statement, reason="principal"))
                elif condition:
                    reason = f"{condition.operator} {condition.key}"
                    found.append(Near(kind=kind, policy=policy.name, statement=statement, reason=reason))
        return found

    def denied_message(self, *, quote_resource: bool = False) -> str:
        """AWS's AccessDenied text; S3 puts the resource in double quotes.  Only for a decision that denies."""
        assert not self.allowed, "an allowed request has no AccessDenied message"
        request = self.request
        principal = request.principal
        user = principal.arn or principal.invoked_by or "anonymous"
        resource = f'"{request.resource}"' if quote_resource else request.resource
        if self.explicit:
            article = "an" if self.kind is PolicyKind.IDENTITY else "a"
            reason = f"with an explicit deny in {article} {self.kind}"
        else:
            reason = f"because no {self.kind} allows the {request.action} action"
        return f"User: {user} is not authorized to perform: {request.action} on resource: {resource} {reason}"


@dataclass(frozen=True, slots=True)
class _Hit:
    kind: PolicyKind
    policy: str
    statement: Statement
    naming: Naming


def evaluate(request: AuthorizationRequest, policies: PolicySet) -> Decision:
    """Decide one request."""
    deny, allows = _scan(request, policies)
    if deny:
        return _decide(request, policies, deny, allowed=False)
    principal = request.principal
    resource = allows.get(PolicyKind.RESOURCE)
    if principal.is_anonymous or principal.is_service:
        return _decide(request, policies, resource, PolicyKind.RESOURCE, allowed=resource is not None)
    if policies.service_control and PolicyKind.SERVICE_CONTROL not in allows:
        return _decide(request, policies, None, PolicyKind.SERVICE_CONTROL, allowed=False)
    if resource is None and policies.resource_must_allow:
        return _decide(request, policies, None, PolicyKind.RESOURCE, allowed=False)
    decide = _decide_same_account if request.is_same_account else _decide_cross_account
    return decide(request, policies, allows, resource)


def _decide_same_account(
    request: AuthorizationRequest, policies: PolicySet, allows: dict[PolicyKind, _Hit], resource: _Hit | None
) -> Decision:
    if request.principal.type is IdentityType.ROOT:
        return _decide(request, policies, None, allowed=True)
    if resource and resource.naming is Naming.ITSELF:
        return _decide(request, policies, resource, allowed=True)
    grant = allows.get(PolicyKind.IDENTITY)
    if grant is None and resource and resource.naming > Naming.ACCOUNT:
        grant = resource
    missing = PolicyKind.IDENTITY if grant is None else _missing_limit(policies, allows)
    return _decide(request, policies, None if missing else grant, missing, allowed=missing is None)


def _decide_cross_account(
    request: AuthorizationRequest, policies: PolicySet, allows: dict[PolicyKind, _Hit], resource: _Hit | None
) -> Decision:
    missing: PolicyKind | None = None
    if request.principal.type is not IdentityType.ROOT:
        missing = _missing_limit(policies, allows) if PolicyKind.IDENTITY in allows else PolicyKind.IDENTITY
    if missing is None and resource is None:
        missing = PolicyKind.RESOURCE
    return _decide(request, policies, None if missing else resource, missing, allowed=missing is None)


def _missing_limit(policies: PolicySet, allows: dict[PolicyKind, _Hit]) -> PolicyKind | None:
    """Which of the policies that limit an identity does not allow."""
    if policies.boundary is not None and PolicyKind.BOUNDARY not in allows:
        return PolicyKind.BOUNDARY
    if policies.session is not None and PolicyKind.SESSION not in allows:
        return PolicyKind.SESSION
    return None


def _decide(
    request: AuthorizationRequest,
    policies: PolicySet,
    hit: _Hit | None,
    kind: PolicyKind | None = None,
    *,
    allowed: bool,
) -> Decision:
    return Decision(
        allowed=allowed,
        explicit=hit is not None,
        kind=hit.kind if hit else kind,
        policy=hit.policy if hit else "",
        statement=hit.statement if hit else None,
        request=request,
        policies=policies,
    )


def _scan(request: AuthorizationRequest, policies: PolicySet) -> tuple[_Hit | None, dict[PolicyKind, _Hit]]:
    """The first Deny that applies, and for each kind its Allow that names the caller most directly.

    Service control policies are among the latter only when every level allows.
    """
    action = request.action.lower()
    principal = request.principal
    allows: dict[PolicyKind, _Hit] = {}
    if not principal.is_anonymous and not principal.is_service:
        complete = True
        for level in policies.service_control:
            deny, allow = _scan_policies(request, action, PolicyKind.SERVICE_CONTROL, level)
            if deny:
                return deny, {}
            complete = complete and allow is not None
            if allow:
                allows[PolicyKind.SERVICE_CONTROL] = allow
        if not complete:
            allows.pop(PolicyKind.SERVICE_CONTROL, None)
    for kind, group in (
        (PolicyKind.RESOURCE, policies.resource),
        (PolicyKind.IDENTITY, policies.identity),
        (PolicyKind.BOUNDARY, policies.boundary),
        (PolicyKind.SESSION, policies.session),
    ):
        deny, allow = _scan_policies(request, action, kind, group or ())
        if deny:
            return deny, {}
        if allow:
            allows[kind] = allow
    return None, allows


def _scan_policies(
    request: AuthorizationRequest, action: str, kind: PolicyKind, group: tuple[Policy, ...]
) -> tuple[_Hit | None, _Hit | None]:
    """The first Deny of ``group`` that applies, and its most direct Allow."""
    best: _Hit | None = None
    for policy in group:
        for statement in policy.document.statements:
            if not _covers(statement, request, action):
                continue
            naming = _naming(statement, request.principal)
            if not naming or statement.failed_condition(request.context):
                continue
            if statement.effect is Effect.DENY:
                return _Hit(kind, policy.name, statement, naming), best
            if best is None or naming > best.naming:
                best = _Hit(kind, policy.name, statement, naming)
    return None, best


def _covers(statement: Statement, request: AuthorizationRequest, action: str) -> bool:
    return statement.covers_action(action) and statement.covers_resource(request.resource, request.context)


def _naming(statement: Statement, principal: Identity) -> Naming:
    """How ``statement`` names the caller; without a Principal it speaks of whomever it is attached to."""
    if statement.principals is None:
        return Naming.ITSELF
    naming = statement.principals.naming(principal)
    if not statement.not_principal:
        return naming
    return Naming.EVERYBODY if naming is Naming.NOT else Naming.NOT
