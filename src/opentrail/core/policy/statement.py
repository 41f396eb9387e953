"""The statements of a policy, compiled: which requests they speak of, and whom they name.

Rules: actions match in any case, resources exactly; ``*`` and ``?`` are wildcards in both; a variable without value
matches nothing, and where that decides alone (``NotResource``) an Allow does not apply and a Deny does.  With
``NotPrincipal`` a Deny spares whoever is named himself: a role's name does not spare its sessions, an account's
not its users, and nothing spares an identity that has a permissions boundary.

Source: IAM user guide, "IAM JSON policy elements reference", and of it "AWS JSON policy elements: NotPrincipal".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from opentrail.core.arn import Matcher, compile_wildcard
from opentrail.core.identity import Identity
from opentrail.core.policy.conditions import Condition
from opentrail.core.policy.principals import Naming, Principals
from opentrail.core.policy.templates import Context, VariableText

_REMEMBERED_ACTIONS = 256  # of one document


class VagueRequest(Protocol):
    """What ``Statement.may_deny`` asks of a request (``policy_set.AuthorizationRequest``)."""

    @property
    def resource(self) -> str:
        """An ARN, or ``*``."""
        ...

    @property
    def any_resource(self) -> bool:
        """Whether nobody knows which resource it is about."""
        ...

    @property
    def any_action(self) -> bool:
        """Whether nobody knows which action it is."""
        ...


class PolicyType(StrEnum):
    """What a policy is attached to: that decides its elements and the words of a refusal."""

    IDENTITY = "identity"  # an IAM user, group or role; a permissions boundary
    SESSION = "session"  # handed to STS
    TRUST = "trust"  # who may assume a role
    BUCKET = "bucket"  # S3
    CONTROL = "control"  # Organizations
    CHANNEL = "channel"  # CloudTrail: who may put events into it


class Effect(StrEnum):
    """What a statement does when it applies."""

    ALLOW = "Allow"
    DENY = "Deny"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement: its elements as written, and compiled."""

    index: int  # from 0
    sid: str
    effect: Effect
    principals: Principals | None
    not_principal: bool
    actions: tuple[str, ...]
    not_action: bool
    resources: tuple[str, ...]
    not_resource: bool
    conditions: tuple[Condition, ...]
    exact_actions: frozenset[str]  # lower case
    action_patterns: tuple[Matcher, ...]
    resource_test: Matcher  # of the resources without variables
    dynamic_resources: tuple[VariableText, ...]
    element: Mapping[str, Any] = field(repr=False, compare=False)  # as it was written

    def covers_action(self, action: str) -> bool:
        """Whether the statement speaks of ``action`` (lower case)."""
        found = action in self.exact_actions or any(match(action) for match in self.action_patterns)
        return found is not self.not_action

    def covers_resource(self, resource: str, context: Context) -> bool:
        """Whether the statement speaks of ``resource`` (an ARN or ``*``)."""
        if not self.resources:
            return True  # a trust policy speaks of its role
        found = self.resource_test(resource)
        if self.dynamic_resources and not found:
            tests = [each.matcher(context) for each in self.dynamic_resources]
            found = any(test(resource) for test in tests if test)
            if self.not_resource and not found and None in tests:
                return self.effect is Effect.DENY
        return found is not self.not_resource

    def may_deny(self, request: VagueRequest, action: str, context: Context) -> bool:
        """Whether the statement is a Deny that may speak of what is known of ``request`` (``action``: lower case)."""
        if self.effect is not Effect.DENY:
            return False
        service = action.partition(":")[0]
        if not (self.covers_action(action) or (request.any_action and self._has_action_of(service))):
            return False
        return self.covers_resource(request.resource, context) or (
            request.any_resource and self._has_resource_of(service)
        )

    def _has_action_of(self, service: str) -> bool:
        return self.not_action or any(_may_be(each.lower().partition(":")[0], service) for each in self.actions)

    def _has_resource_of(self, service: str) -> bool:
        return self.not_resource or any(_names_service(each, service) for each in self.resources)

    def naming(self, principal: Identity, *, bounded: bool = False) -> Naming:
        """How the statement names the caller; without a Principal it speaks of whomever it is attached to.

        ``bounded`` says whether the caller has a permissions boundary.
        """
        if self.principals is None:
            return Naming.ITSELF
        naming = self.principals.naming(principal)
        if not self.not_principal:
            return naming
        spared = naming in {Naming.ITSELF, Naming.EVERYBODY} and not bounded
        return Naming.NOT if spared else Naming.EVERYBODY

    def conditions_hold(self, context: Context) -> bool:
        """Whether every condition holds."""
        unresolved = self.effect is Effect.DENY
        for condition in self.conditions:  # noqa: SIM110  a generator costs more than most conditions
            if not condition.holds(context, unresolved=unresolved):
                return False
        return True

    def failed_conditions(self, context: Context) -> tuple[Condition, ...]:
        """The conditions that do not hold."""
        unresolved = self.effect is Effect.DENY
        return tuple(each for each in self.conditions if not each.holds(context, unresolved=unresolved))


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDocument:
    """A policy: ``statements`` in their order."""

    version: str
    id: str
    statements: tuple[Statement, ...]
    type: PolicyType
    _covering: dict[str, tuple[Statement, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def covering(self, action: str) -> tuple[Statement, ...]:
        """The statements that speak of ``action`` (lower case); found once for each action and kept."""
        found = self._covering.get(action)
        if found is None:
            found = tuple(statement for statement in self.statements if statement.covers_action(action))
            if len(self._covering) < _REMEMBERED_ACTIONS:
                self._covering[action] = found
        return found


def _names_service(resource: str, service: str) -> bool:
    """Whether a Resource as written may match ARNs of ``service``; a star before it may reach over its colon."""
    head = resource.split(":", 3)[:3]
    return len(head) < 3 or head[0].endswith("*") or head[1].endswith("*") or _may_be(head[2].lower(), service)


def _may_be(pattern: str, text: str) -> bool:
    return pattern == text or "$" in pattern or compile_wildcard(pattern)(text)
