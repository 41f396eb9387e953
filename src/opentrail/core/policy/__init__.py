"""Policies: parsing them, their conditions, and the decision over all that bear on a request."""

from opentrail.core.policy.bucket_policy import is_public, malformed_bucket_policy, parse_bucket_policy
from opentrail.core.policy.channel_policy import parse_channel_policy
from opentrail.core.policy.context import call_context, principal_context
from opentrail.core.policy.decision import Decision, Missing, Near
from opentrail.core.policy.document import parse_policy
from opentrail.core.policy.evaluate import evaluate
from opentrail.core.policy.pinning import pin_principals, unpin_principals
from opentrail.core.policy.policy_set import AuthorizationRequest, Policy, PolicyKind, PolicySet
from opentrail.core.policy.statement import Effect, PolicyDocument, PolicyType, Statement

__all__ = [
    "AuthorizationRequest",
    "Decision",
    "Effect",
    "Missing",
    "Near",
    "Policy",
    "PolicyDocument",
    "PolicyKind",
    "PolicySet",
    "PolicyType",
    "Statement",
    "call_context",
    "evaluate",
    "is_public",
    "malformed_bucket_policy",
    "parse_bucket_policy",
    "parse_channel_policy",
    "parse_policy",
    "pin_principals",
    "principal_context",
    "unpin_principals",
]
