"""May the caller do this?  Gathers the policies that bear on a call and asks the policy engine.

Each operation says which actions on which resources it needs (``services.base.OperationEntry.permissions``); all of
them must be allowed.  Policies are compiled once for each text and kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from opentrail.core.errors import FormatError, ServiceFault
from opentrail.core.identity import Identity, IdentityType
from opentrail.core.policy import (
    AuthorizationRequest,
    Decision,
    Policy,
    PolicyDocument,
    PolicySet,
    PolicyType,
    call_context,
    evaluate,
    parse_policy,
    principal_context,
)
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry, Permission
from opentrail.state.identities import KeyRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``owner`` is the account of the resource, as far as it is known; ``fault`` says no."""

    owner: str = ""
    fault: ServiceFault | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Authoriser:
    """Decides calls.  ``find_key`` knows the policies of the user behind an access key."""

    find_key: Callable[[str], KeyRecord | None]
    clock: Callable[[], datetime]

    def authorise(self, call: ApiCall, entry: OperationEntry[Any], deps: Any) -> Verdict:
        """Whether ``call`` may be carried out."""
        if call.identity.is_anonymous and not entry.anonymous:
            return Verdict(fault=ServiceFault("AccessDenied", "Access Denied", status=403))
        try:
            permissions = entry.permissions(call, deps)
        except ServiceFault as fault:
            return Verdict(fault=fault)
        owner = next((each.resource_account for each in permissions if each.resource_account), "")
        context: Mapping[str, list[str]] = {}
        for permission in permissions:
            context = context or self._context(call)
            decision = self._decide(call, permission, context)
            if not decision.allowed:
                return Verdict(owner=owner, fault=denial(decision, s3=call.operation.service.name == "s3"))
        return Verdict(owner=owner)

    def refusal(self, call: ApiCall, permission: Permission) -> ServiceFault | None:
        """What the caller would be refused with, for a decision that a service makes while it works."""
        decision = self._decide(call, permission, self._context(call))
        return None if decision.allowed else denial(decision, s3=call.operation.service.name == "s3")

    def decide(self, request: AuthorizationRequest, *, resource_policy: str | None) -> Decision:
        """The decision on ``request`` of a principal without policies of its own (a service)."""
        return evaluate(request, PolicySet(resource=_resource_policies(request.resource, resource_policy)))

    def service_context(self, principal: Identity, source_arn: str) -> dict[str, list[str]]:
        """The condition keys of a call that a service makes on behalf of ``source_arn``."""
        account = source_arn.split(":")[4] if source_arn.count(":") >= 5 else ""
        call = call_context(now=self.clock(), source_arn=source_arn, source_account=account, secure_transport=True)
        return principal_context(principal) | call

    def _context(self, call: ApiCall) -> dict[str, list[str]]:
        if call.identity.is_service:
            return self.service_context(call.identity, call.source_arn)
        headers = call.request.headers
        return principal_context(call.identity) | call_context(
            now=call.now,
            source_ip=call.request.source_ip,
            secure_transport=call.request.tls is not None,
            region=call.region,
            user_agent=headers.get("user-agent"),
            referer=headers.get("referer"),
        )

    def _decide(self, call: ApiCall, permission: Permission, context: Mapping[str, list[str]]) -> Decision:
        request = AuthorizationRequest(
            principal=call.identity,
            action=permission.action,
            resource=permission.resource,
            resource_account=permission.resource_account,
            context={**context, **permission.context},
        )
        policies = PolicySet(
            identity=self._identity_policies(call.identity),
            resource=_resource_policies(permission.resource, permission.resource_policy),
        )
        return evaluate(request, policies)

    def _identity_policies(self, identity: Identity) -> tuple[Policy, ...]:
        if identity.type is not IdentityType.IAM_USER:
            return ()
        key = self.find_key(identity.access_key_id)
        if key is None:
            return ()
        return tuple(
            Policy(name=name, document=_compile(text, PolicyType.IDENTITY)) for name, text in key.policies.items()
        )


def check_identity_policy(text: str) -> None:
    """Refuse a document that is no identity-based policy.  Raises ``FormatError`` with AWS's reason."""
    try:
        parse_policy(text, PolicyType.IDENTITY)
    except ServiceFault as fault:
        raise FormatError(fault.message) from fault


def denial(decision: Decision, *, s3: bool) -> ServiceFault:
    """The AccessDenied of a decision, with its reason."""
    if decision.request.principal.is_anonymous:
        return ServiceFault("AccessDenied", "Access Denied", status=403)
    text = decision.denied_message(quote_resource=s3)
    return ServiceFault("AccessDenied", text, status=403)


def _resource_policies(resource: str, text: str | None) -> tuple[Policy, ...]:
    if not text:
        return ()
    return (Policy(name=resource, document=_compile(text, PolicyType.BUCKET)),)


@lru_cache(maxsize=4096)
def _compile(text: str, policy_type: PolicyType) -> PolicyDocument:
    return parse_policy(text, policy_type)
