"""Policies: parsing them, their conditions, and the decision over all that bear on a request."""

from opentrail.core.policy.bucket_policy import is_public, parse_bucket_policy
from opentrail.core.policy.context import call_context, principal_context
from opentrail.core.policy.document import Effect, PolicyDocument, PolicyType, Statement, parse_policy
from opentrail.core.policy.evaluate import (
    AuthorizationRequest,
    Decision,
    Near,
    Policy,
    PolicyKind,
    PolicySet,
    evaluate,
)

__all__ = [
    "AuthorizationRequest",
    "Decision",
    "Effect",
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
    "parse_bucket_policy",
    "parse_policy",
    "principal_context",
]
