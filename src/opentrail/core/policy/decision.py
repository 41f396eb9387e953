"""The answer to a request, which explains itself: what decided, what is missing, and what came near.

Source of the sentences: IAM user guide, "Troubleshoot access denied error messages".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opentrail.core.policy.conditions import Condition
from opentrail.core.policy.policy_set import AuthorizationRequest, PolicyKind, PolicySet
from opentrail.core.policy.statement import Statement
from opentrail.core.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """An Allow without which the request is denied; ``level`` is that of a service control policy."""

    kind: PolicyKind
    level: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """A statement that spoke of the action and the resource but did not apply, and why."""

    kind: PolicyKind
    policy: str
    statement: Statement
    names_principal: bool
    failed: tuple[Condition, ...]  # the conditions that do not hold

    @property
    def reason(self) -> str:
        """In short: ``principal``, or the first condition, ``StringEquals aws:SourceAccount``."""
        return f"{self.failed[0].operator} {self.failed[0].key}" if self.names_principal else "principal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer: ``statement`` of the policy ``policy`` decided, or, for an implicit deny, none did."""

    allowed: bool
    explicit: bool  # a statement decided
    kind: PolicyKind | None  # the deciding statement's, or, for an implicit deny, the first that is missing
    policy: str
    statement: Statement | None
    missing: tuple[Missing, ...]  # of an implicit deny, in the order of the evaluation
    request: AuthorizationRequest
    policies: PolicySet

    def near(self) -> list[Near]:
        """The statements that would have had a say but for their principal or their conditions; for who asks why."""
        return list(_near(self.request, self.policies))

    def explain(self) -> dict[str, Any]:
        """Why, as JSON.

        ::

            {"allowed": bool, "explicit": bool,
             "principal": "arn:..." | "cloudtrail.amazonaws.com" | "anonymous",
             "action": "s3:GetObject", "resource": "arn:..." | "*",
             "kind": "identity-based policy" | ... | null, "policy": "its name" | null,
             "statement": STATEMENT | null,
             "missing": [{"kind": "service control policy", "level": "ou-..." | null, "text": "no ..."}],
             "near": [{"kind": ..., "policy": ..., "statement": STATEMENT, "namesPrincipal": bool,
                       "conditions": [{"operator": "StringEquals", "key": "aws:SourceAccount",
                                       "wanted": ["123456789012"], "found": ["210987654321"] | null}]}]}

        STATEMENT is ``{"index": 0, "sid": "..." | null, "element": {"Effect": ...}}``, the element as it is stored.
        ``kind``, ``policy`` and ``statement`` are those that decided; of an implicit deny ``kind`` is the first that
        is missing, and all three are null where the root user needs no policy.  ``missing`` lists every Allow that
        the request lacks (empty unless it is an implicit deny); ``near`` the statements that speak of the action and
        the resource but name another principal or have conditions that do not hold (those, and no others); a
        ``found`` of null is a key that the request does not have.
        """
        return {
            "allowed": self.allowed,
            "explicit": self.explicit,
            "principal": principal_name(self.request),
            "action": self.request.action,
            "resource": self.request.resource,
            "kind": self.kind and str(self.kind),
            "policy": self.policy or None,
            "statement": self.statement and _explain_statement(self.statement),
            "missing": [
                {"kind": str(each.kind), "level": each.level or None, "text": self._missing_text(each)}
                for each in self.missing
            ],
            "near": [self._explain_near(each) for each in self.near()],
        }

    def _missing_text(self, missing: Missing) -> str:
        level = f" of {missing.level}" if missing.level else ""
        return f"no {missing.kind}{level} allows the {self.request.action} action"

    def _explain_near(self, near: Near) -> dict[str, Any]:
        return {
            "kind": str(near.kind),
            "policy": near.policy,
            "statement": _explain_statement(near.statement),
            "namesPrincipal": near.names_principal,
            "conditions": [self._explain_condition(condition) for condition in near.failed],
        }

    def _explain_condition(self, condition: Condition) -> dict[str, Any]:
        found = self.request.context.get(condition.lookup)
        return {
            "operator": condition.operator,
            "key": condition.key,
            "wanted": list(condition.values),
            "found": None if found is None else list(found),
        }


def principal_name(request: AuthorizationRequest) -> str:
    """What a message calls the caller: its ARN, its service, or ``anonymous``."""
    principal = request.principal
    return principal.arn or principal.invoked_by or "anonymous"


def _explain_statement(statement: Statement) -> Mapping[str, Any]:
    return {"index": statement.index, "sid": statement.sid or None, "element": statement.element}


def _near(request: AuthorizationRequest, policies: PolicySet) -> Iterator[Near]:
    for kind, policy in policies.all():
        for statement in policy.document.covering(request.action.lower()):
            if not statement.covers_resource(request.resource, request.context):
                continue
            names_principal = bool(statement.naming(request.principal, bounded=policies.boundary is not None))
            failed = statement.failed_conditions(request.context)
            if failed or not names_principal:
                yield Near(
                    kind=kind, policy=policy.name, statement=statement, names_principal=names_principal, failed=failed
                )
