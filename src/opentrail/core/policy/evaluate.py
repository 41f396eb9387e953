"""Whether a caller may do what it asks: AWS's evaluation logic over every kind of policy.

Rules, in their order:

1. A Deny that applies in any policy decides.  Nothing overrules it.  Of a request whose action or resource is not known
   (``any_action``, ``any_resource``) it applies where it may.
2. Service control policies: every level must allow.  They bind identities, not services and not the unsigned.
3. Services, the unsigned and who has but a web identity have no policies of their own: the resource's policy must
   allow.
4. The root user may do everything in its account, and asks other accounts' resources like anybody.
5. Same account: an identity policy or the resource's policy must allow, and the permissions boundary and the session
   policies, where there are any, must allow too.  A resource's policy that names the user or session itself is enough
   without them; one that names only the account lets the account decide and is no grant.
6. Another account: the identity's side (identity policies, boundary, session) and the resource's policy must allow.

A decision is a value that explains itself (``decision``).  Documents are compiled once by ``document.parse_policy``;
the caller keeps them.  Source: IAM user guide, "Policy evaluation logic" and its sections on single accounts and
cross-account requests.
"""

from __future__ import annotations

from opentrail.core.identity import Identity, IdentityType
from opentrail.core.policy.decision import Decision, Missing
from opentrail.core.policy.policy_set import AuthorizationRequest, Policy, PolicyKind, PolicySet
from opentrail.core.policy.principals import Naming
from opentrail.core.policy.statement import Effect, Statement
from opentrail.core.values import dataclass


@dataclass(frozen=True, slots=True)
class _Hit:
    """A statement that applies."""

    kind: PolicyKind
    policy: str
    statement: Statement
    naming: Naming


def evaluate(request: AuthorizationRequest, policies: PolicySet) -> Decision:
    """Decide one request."""
    allows: dict[PolicyKind, _Hit] = {}
    missing: list[Missing] = []
    groups = [
        (PolicyKind.RESOURCE, policies.resource),
        (PolicyKind.IDENTITY, policies.identity),
        (PolicyKind.BOUNDARY, policies.boundary or ()),
        (PolicyKind.SESSION, policies.session or ()),
    ]
    action = request.action.lower()
    levels = policies.service_control if _has_own_policies(request.principal) else ()
    for index, level in enumerate(levels):
        deny, allow = _scan(request, action, PolicyKind.SERVICE_CONTROL, level)
        if deny:
            return _decide(request, policies, hit=deny)
        if allow is None:
            missing.append(Missing(kind=PolicyKind.SERVICE_CONTROL, level=policies.level_name(index)))
    for kind, group in groups:
        if not group:
            continue
        deny, allow = _scan(request, action, kind, group, bounded=policies.boundary is not None)
        if deny:
            return _decide(request, policies, hit=deny)
        if allow:
            allows[kind] = allow
    grant, lacking = _grant(request, policies, allows)
    missing += [Missing(kind=kind) for kind in lacking]
    assert missing or grant or request.principal.has_root_rights, (
        "an Allow without a statement is the root user's alone"
    )
    return _decide(request, policies, hit=None if missing else grant, missing=tuple(missing))


def _decide(
    request: AuthorizationRequest, policies: PolicySet, *, hit: _Hit | None, missing: tuple[Missing, ...] = ()
) -> Decision:
    """The decision by ``hit``, by what is missing, or, without either, by the root user's own right."""
    return Decision(
        allowed=not missing and (hit is None or hit.statement.effect is Effect.ALLOW),
        explicit=hit is not None,
        kind=hit.kind if hit else missing[0].kind if missing else None,
        policy=hit.policy if hit else "",
        statement=hit.statement if hit else None,
        missing=missing,
        request=request,
        policies=policies,
    )


def _has_own_policies(principal: Identity) -> bool:
    return not (principal.is_anonymous or principal.is_service or principal.type is IdentityType.WEB_IDENTITY_USER)


def _grant(
    request: AuthorizationRequest, policies: PolicySet, allows: dict[PolicyKind, _Hit]
) -> tuple[_Hit | None, list[PolicyKind]]:
    """What grants the request, and which kinds of policies would have to allow it and do not."""
    resource = allows.get(PolicyKind.RESOURCE)
    if not _has_own_policies(request.principal):
        return resource, [] if resource else [PolicyKind.RESOURCE]
    must_allow = [PolicyKind.RESOURCE] if policies.resource_must_allow and resource is None else []
    is_root = request.principal.has_root_rights
    own = _lacking_limits(policies, allows) if is_root else _lacking_own(policies, allows)
    if not request.is_same_account:
        return resource, own if resource else [*must_allow, *own, *([] if must_allow else [PolicyKind.RESOURCE])]
    if is_root:
        return resource if policies.resource_must_allow else None, [*must_allow, *own]
    if resource and resource.naming is Naming.ITSELF:
        return resource, []
    if resource and resource.naming > Naming.ACCOUNT and PolicyKind.IDENTITY not in allows:
        return resource, _lacking_limits(policies, allows)
    return allows.get(PolicyKind.IDENTITY), [*must_allow, *own]


def _lacking_own(policies: PolicySet, allows: dict[PolicyKind, _Hit]) -> list[PolicyKind]:
    """Which policies on the identity's side do not allow."""
    identity = [] if PolicyKind.IDENTITY in allows else [PolicyKind.IDENTITY]
    return identity + _lacking_limits(policies, allows)


def _lacking_limits(policies: PolicySet, allows: dict[PolicyKind, _Hit]) -> list[PolicyKind]:
    """Which of the policies that limit an identity do not allow."""
    return [
        kind
        for kind, group in ((PolicyKind.BOUNDARY, policies.boundary), (PolicyKind.SESSION, policies.session))
        if group is not None and kind not in allows
    ]


def _scan(
    request: AuthorizationRequest, action: str, kind: PolicyKind, group: tuple[Policy, ...], *, bounded: bool = False
) -> tuple[_Hit | None, _Hit | None]:
    """The first Deny of ``group`` that applies, and its Allow that names the caller most directly."""
    best: _Hit | None = None
    if request.any_resource or request.any_action:
        deny = _possible_deny(request, action, kind, group, bounded=bounded)
        if deny is not None:
            return deny, None
    for policy in group:
        for statement in policy.document.covering(action):
            if not statement.covers_resource(request.resource, request.context):
                continue
            naming = statement.naming(request.principal, bounded=bounded)
            if not naming or not statement.conditions_hold(request.context):
                continue
            if statement.effect is Effect.DENY:
                return _Hit(kind, policy.name, statement, naming), best
            if best is None or naming > best.naming:
                best = _Hit(kind, policy.name, statement, naming)
    return None, best


def _possible_deny(
    request: AuthorizationRequest, action: str, kind: PolicyKind, group: tuple[Policy, ...], *, bounded: bool
) -> _Hit | None:
    """The first Deny of ``group`` that may speak of a request of which something is not known."""
    for policy in group:
        for statement in policy.document.statements:
            if not statement.may_deny(request, action, request.context):
                continue
            naming = statement.naming(request.principal, bounded=bounded)
            if naming and statement.conditions_hold(request.context):
                return _Hit(kind, policy.name, statement, naming)
    return None
