"""What policies would decide: one simulated request, told in the detail of the policy simulator.

Rules: the decision is ``evaluate``'s and nobody else's; here it is only told which statements brought it about, which
condition keys nobody gave, and what each kind of policy says by itself.  Of service control policies and permissions
boundaries neither statements nor keys are told; AWS does not tell them either.

Source: IAM API reference, ``SimulateCustomPolicy`` and its ``EvaluationResult``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from opentrail.core.identity import Identity
from opentrail.core.policy.context_keys import distinct_keys, statement_keys
from opentrail.core.policy.evaluate import evaluate
from opentrail.core.policy.policy_set import AuthorizationRequest, Policy, PolicySet
from opentrail.core.policy.positions import Span, statement_spans
from opentrail.core.policy.principals import Naming
from opentrail.core.policy.statement import Effect, Statement


class EvalDecision(StrEnum):
    """IAM's words for a simulated decision, the most restrictive last."""

    ALLOWED = "allowed"
    IMPLICIT_DENY = "implicitDeny"
    EXPLICIT_DENY = "explicitDeny"


class SourceType(StrEnum):
    """What AWS's simulator calls the kinds of policies, in ``SourcePolicyType`` and ``EvalDecisionDetails``."""

    IDENTITY = "IAM Policy"
    RESOURCE = "Resource Policy"
    BOUNDARY = "Permissions Boundary Policy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A policy of the simulation; ``policy.name`` is its ``SourcePolicyId``, ``text`` the document as it is written."""

    policy: Policy
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedStatement:
    """A statement that brought about the decision."""

    source_id: str
    source_type: SourceType
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """Everything but the action and the resource.  ``boundary`` is None where there is none."""

    principal: Identity
    identity: tuple[Source, ...]
    boundary: tuple[Source, ...] | None = None
    resource: tuple[Source, ...] = ()
    service_control: tuple[tuple[Policy, ...], ...] = ()  # from the organization's root down; empty outside one
    context: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def policies(self) -> PolicySet:
        """The policies as the engine takes them."""
        return PolicySet(
            identity=_policies(self.identity),
            resource=_policies(self.resource),
            boundary=None if self.boundary is None else _policies(self.boundary),
            service_control=self.service_control,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedDecision:
    """The outcome for one action on one resource.

    ``allowed_by_boundary`` and ``allowed_by_organization`` are None where there is none; ``details`` says for a request
    across accounts what each kind of policy decides by itself.
    """

    resource: str
    decision: EvalDecision
    matched: tuple[MatchedStatement, ...]
    missing_keys: tuple[str, ...]
    allowed_by_boundary: bool | None
    allowed_by_organization: bool | None
    details: Mapping[SourceType, EvalDecision]


def simulate(simulation: Simulation, action: str, resource: str, resource_account: str) -> SimulatedDecision:
    """What would be decided on ``action`` (``s3:GetObject``) on ``resource`` (an ARN or ``*``) of an account."""
    request = AuthorizationRequest(
        principal=simulation.principal,
        action=action,
        resource=resource,
        resource_account=resource_account,
        context=simulation.context,
    )
    decision = evaluate(request, simulation.policies)
    if decision.allowed:
        word, effect = EvalDecision.ALLOWED, Effect.ALLOW
    else:
        word = EvalDecision.EXPLICIT_DENY if decision.explicit else EvalDecision.IMPLICIT_DENY
        effect = Effect.DENY
    boundary = None if simulation.boundary is None else _policies(simulation.boundary)
    kinds = {SourceType.IDENTITY: _policies(simulation.identity), SourceType.RESOURCE: _policies(simulation.resource)}
    if boundary is not None:
        kinds[SourceType.BOUNDARY] = boundary
    levels = [_word(request, level) for level in simulation.service_control]
    return SimulatedDecision(
        resource=resource,
        decision=word,
        matched=tuple(_matched(request, simulation, effect)),
        missing_keys=tuple(_missing_keys(request, (*simulation.identity, *simulation.resource))),
        allowed_by_boundary=None if boundary is None else _word(request, boundary) is EvalDecision.ALLOWED,
        allowed_by_organization=all(level is EvalDecision.ALLOWED for level in levels) if levels else None,
        details={} if request.is_same_account else {kind: _word(request, group) for kind, group in kinds.items()},
    )


def most_restrictive(decisions: Iterable[EvalDecision]) -> EvalDecision:
    """The decision that outweighs the others."""
    order = list(EvalDecision)
    return max(decisions, key=order.index)


def _policies(sources: tuple[Source, ...]) -> tuple[Policy, ...]:
    return tuple(source.policy for source in sources)


def _applying(request: AuthorizationRequest, policy: Policy) -> Iterator[Statement]:
    """The statements of a policy that apply to the request."""
    for statement in policy.document.covering(request.action.lower()):
        if (
            statement.covers_resource(request.resource, request.context)
            and statement.naming(request.principal)
            and statement.conditions_hold(request.context)
        ):
            yield statement


def _word(request: AuthorizationRequest, policies: tuple[Policy, ...]) -> EvalDecision:
    """What policies of one kind decide by themselves."""
    effects = {statement.effect for policy in policies for statement in _applying(request, policy)}
    if Effect.DENY in effects:
        return EvalDecision.EXPLICIT_DENY
    return EvalDecision.ALLOWED if Effect.ALLOW in effects else EvalDecision.IMPLICIT_DENY


def _matched(request: AuthorizationRequest, simulation: Simulation, effect: Effect) -> Iterator[MatchedStatement]:
    """The statements of ``effect`` that apply."""
    for kind, sources in ((SourceType.IDENTITY, simulation.identity), (SourceType.RESOURCE, simulation.resource)):
        for source in sources:
            found = [each for each in _applying(request, source.policy) if each.effect is effect]
            if kind is SourceType.RESOURCE and effect is Effect.ALLOW and request.is_same_account:
                found = [each for each in found if each.naming(request.principal) is not Naming.ACCOUNT]  # no grant
            spans = statement_spans(source.text) if found else ()
            for statement in found:
                span = spans[statement.index]
                yield MatchedStatement(source_id=source.policy.name, source_type=kind, span=span)


def _missing_keys(request: AuthorizationRequest, sources: Iterable[Source]) -> list[str]:
    """The keys that the statements on this action ask about and the context does not have."""
    action = request.action.lower()
    return distinct_keys(
        key
        for source in sources
        for statement in source.policy.document.covering(action)
        if statement.dynamic_resources or statement.covers_resource(request.resource, request.context)
        for key in statement_keys(statement)
        if key.lower() not in request.context
    )
