"""Managed policies by their ARNs: an account's own, and AWS's, which every account sees."""

from __future__ import annotations

import re

from opentrail.core.errors import ServiceFault
from opentrail.core.wire.calls import ApiCall
from opentrail.services.iam.faults import invalid_input, no_such_entity
from opentrail.state.identities import Iam
from opentrail.state.managed_policies import AWS_ACCOUNT, ManagedPolicy

_ARN = re.compile(r"arn:aws:iam::(aws|[0-9]{12}):policy(?:/[\w.,+@=-]+)+", re.ASCII)


def policy_account(arn: str) -> str:
    """Whose policy an ARN names: an account's number, or ``aws``.  Raises ``ServiceFault`` InvalidInput."""
    match = _ARN.fullmatch(arn)
    if match is None:
        raise invalid_input(f"ARN {arn} is not valid.")
    return match[1]


def find_attachable(arn: str, account_id: str, iam: Iam) -> ManagedPolicy | None:
    """The policy with this ARN, if the account can attach it.  Raises ``ServiceFault`` InvalidInput."""
    return iam.managed.find(arn) if policy_account(arn) in {AWS_ACCOUNT, account_id} else None


def not_found(arn: str) -> ServiceFault:
    """The fault for a policy that is not there, or not attached."""
    return no_such_entity(f"Policy {arn} was not found.")


def require_policy(call: ApiCall, iam: Iam) -> ManagedPolicy:
    """The policy that the call names, the account's own or AWS's.  Raises ``ServiceFault``."""
    arn = call.parameters["PolicyArn"]
    policy = find_attachable(arn, call.account_id, iam)
    if policy is None:
        raise not_found(arn)
    return policy


def require_own(call: ApiCall, iam: Iam) -> ManagedPolicy:
    """The policy that the call would change.  Raises ``ServiceFault``, for AWS's own AccessDenied."""
    policy = require_policy(call, iam)
    if policy.account_id == AWS_ACCOUNT:
        action = f"iam:{call.operation.name}"
        text = f"User: {call.identity.arn} is not authorized to perform: {action} on resource: policy {policy.arn}"
        raise ServiceFault("AccessDenied", text, status=403)
    return policy
