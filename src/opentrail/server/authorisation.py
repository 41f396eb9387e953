"""May the caller do this?  Gathers the policies that bear on a call and asks the policy engine.

Each operation says which actions on which resources it needs (``services.base.OperationEntry.permissions``); all of
them must be allowed.  What the caller brings is put together by ``caller_policies``, the condition keys by
``condition_context``, the refusal by ``denials``.  Every decision is handed to ``note``, which must return at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from datetime import datetime
from typing import Any

from opentrail.core.errors import FormatError, ServiceFault
from opentrail.core.identity import Identity
from opentrail.core.policy import (
    AuthorizationRequest,
    Decision,
    PolicySet,
    PolicyType,
    evaluate,
    parse_policy,
    principal_context,
)
from opentrail.core.values import dataclass
from opentrail.core.wire.calls import ApiCall
from opentrail.server.caller_policies import CallerPolicies, Standing, resource_policies, with_resource
from opentrail.server.condition_context import CallKeys, RequestContext, RequestKeys, service_call_keys
from opentrail.server.decisions import JudgedCall, judged_call
from opentrail.server.denials import access_denied, denial
from opentrail.services.base import OperationEntry, Permission


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``owner`` is the account of the resource, as far as it is known; ``fault`` says no.

    ``others`` own what the call needs beside it (the source of a copy).
    """

    owner: str = ""
    others: tuple[str, ...] = ()
    fault: ServiceFault | None = None


def keep_nothing(_judged: JudgedCall) -> None:
    """Keep no decisions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authoriser:
    """Decides calls.  ``seal`` makes the message that a refusal carries, ``note`` keeps what was decided."""

    callers: CallerPolicies
    clock: Callable[[], datetime]
    request_keys: RequestKeys = field(default_factory=dict)
    seal: Callable[[Decision], str] | None = None
    note: Callable[[JudgedCall], None] = keep_nothing

    def is_ready(self, identity: Identity) -> bool:
        """Whether ``identity`` can be judged from memory; if not, judging blocks and belongs on a thread."""
        return self.callers.is_ready(identity)

    def authorise(self, call: ApiCall, entry: OperationEntry[Any], deps: Any) -> Verdict:
        """Whether ``call`` may be carried out.  Raises ``StorageError``."""
        if call.identity.is_anonymous and not entry.anonymous:
            return self.refuse(call, access_denied(call.operation.service, "Access Denied"))
        try:
            permissions = entry.permissions(call, deps)
        except ServiceFault as refused:
            return self.refuse(call, refused)
        standing = self.callers.of(call.identity)
        owner, others = _owners(permissions)
        if not owner and entry.owner is not None:
            owner = entry.owner(call, deps)
        if not permissions:
            self.note(judged_call(call, standing, (), None))
            return Verdict(owner=owner)
        fault = None
        decisions: list[tuple[Decision, Permission]] = []
        keys = CallKeys(call, self.request_keys, self.callers.membership)
        for permission in permissions:
            decision = self._decide(permission, standing, keys)
            decisions.append((decision, permission))
            if not decision.allowed:
                fault = self._denial(decision, call)
                break
        self.note(judged_call(call, standing, tuple(decisions), fault))
        return Verdict(owner=owner, others=others, fault=fault)

    def refuse(self, call: ApiCall, fault: ServiceFault) -> Verdict:
        """The verdict on a call that is answered with ``fault`` before any policy is asked."""
        self.note(judged_call(call, self.callers.of(call.identity), (), fault))
        return Verdict(fault=fault)

    def refusal(self, call: ApiCall, permission: Permission) -> ServiceFault | None:
        """What the caller would be refused with, for a decision that a service makes while it works."""
        standing = self.callers.of(call.identity)
        keys = CallKeys(call, self.request_keys, self.callers.membership)
        decision = self._decide(permission, standing, keys)
        fault = None if decision.allowed else self._denial(decision, call)
        self.note(judged_call(call, standing, ((decision, permission),), fault, within=True))
        return fault

    def decide(self, request: AuthorizationRequest, *, resource_policy: str | None) -> Decision:
        """The decision on ``request`` of a principal without policies of its own (a service)."""
        policy = resource_policies(request.resource, resource_policy, PolicyType.BUCKET)
        return evaluate(request, PolicySet(resource=policy))

    def service_context(self, principal: Identity, source_arn: str) -> dict[str, list[str]]:
        """The condition keys of a call that a service makes on behalf of ``source_arn``."""
        return principal_context(principal) | service_call_keys(source_arn, self.clock(), self.callers.membership)

    def _decide(self, permission: Permission, standing: Standing, keys: CallKeys) -> Decision:
        identity = standing.identity
        owner = permission.resource_account or identity.account_id
        request = AuthorizationRequest(
            principal=identity,
            action=permission.action,
            resource=permission.resource,
            resource_account=permission.resource_account,
            context=RequestContext(standing.context, keys, permission, owner),
            any_resource=permission.any_resource,
            any_action=permission.any_action,
        )
        policies = standing.policies
        text, must_allow = permission.resource_policy, permission.resource_must_allow
        if text or must_allow:
            resource = resource_policies(permission.resource, text, permission.resource_policy_type)
            policies = with_resource(policies, resource, must_allow=must_allow)
        return evaluate(request, policies)

    def _denial(self, decision: Decision, call: ApiCall) -> ServiceFault:
        sealed = ""
        if self.seal is not None and call.identity.account_id and not call.identity.is_anonymous:
            sealed = self.seal(decision)
        return denial(decision, call.operation.service, is_kin=self._is_kin(decision.request), sealed=sealed)

    def _is_kin(self, request: AuthorizationRequest) -> bool:
        """Whether the resource belongs to the caller's account, or to one of the same organization."""
        if request.is_same_account:
            return True
        own, other = (
            self.callers.membership(account) for account in (request.principal.account_id, request.resource_account)
        )
        return own is not None and other is not None and own.organization_id == other.organization_id


def _owners(permissions: tuple[Permission, ...]) -> tuple[str, tuple[str, ...]]:
    """Who owns the resource that a call is about, which is the last it needs, and the owners of the others."""
    if not permissions:
        return "", ()
    owner = permissions[-1].resource_account
    if len(permissions) == 1:
        return owner, ()
    return owner, tuple(
        {each.resource_account: None for each in permissions if each.resource_account not in {"", owner}}
    )


def check_session_policy(text: str) -> None:
    """Refuse a document that is no session policy.  Raises ``FormatError`` with AWS's reason."""
    try:
        parse_policy(text, PolicyType.SESSION)
    except ServiceFault as fault:
        raise FormatError(fault.message) from fault
