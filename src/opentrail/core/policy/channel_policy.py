"""What CloudTrail adds to policies: a channel's policy speaks of that channel, and of PutAuditEvents alone.

Source: CloudTrail API reference, PutResourcePolicy; CloudTrail user guide, "Resource-based policy examples for
channels".
"""

from __future__ import annotations

from opentrail.core.errors import ServiceFault
from opentrail.core.policy.document import parse_policy
from opentrail.core.policy.principals import Principals
from opentrail.core.policy.statement import PolicyDocument, PolicyType

_MAX_STATEMENTS = 20
_MAX_PRINCIPALS = 50
_MAX_POLICY_CHARACTERS = 8192


def parse_channel_policy(text: str, arn: str) -> PolicyDocument:
    """Parse the resource policy of the channel ``arn``.

    Raises ``ServiceFault`` ResourcePolicyNotValidException, also where a statement speaks of anything but putting audit
    events into this channel.
    """
    if not 1 <= len(text) <= _MAX_POLICY_CHARACTERS:
        raise _policy_fault(f"A resource policy has 1 to {_MAX_POLICY_CHARACTERS} characters.")
    document = parse_policy(text, PolicyType.CHANNEL)
    if len(document.statements) > _MAX_STATEMENTS:
        raise _policy_fault(f"A resource policy can have up to {_MAX_STATEMENTS} statements.")
    for statement in document.statements:
        principals = statement.principals
        if principals is not None and _count(principals) > _MAX_PRINCIPALS:
            raise _policy_fault(f"A statement can have up to {_MAX_PRINCIPALS} principals.")
        if statement.not_resource or set(statement.resources) != {arn}:
            raise _policy_fault(f"The Resource of every statement must be the channel itself, {arn}.")
        if statement.not_action or {each.lower() for each in statement.actions} != {"cloudtrail-data:putauditevents"}:
            raise _policy_fault("The only Action of a channel's policy is cloudtrail-data:PutAuditEvents.")
    return document


def _count(principals: Principals) -> int:
    return sum(len(each) for each in (principals.accounts, principals.arns, principals.unique_ids, principals.services))


def _policy_fault(text: str) -> ServiceFault:
    return ServiceFault("ResourcePolicyNotValidException", text)
