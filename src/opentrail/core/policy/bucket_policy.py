"""What S3 adds to policies: a bucket's policy speaks of that bucket, and may or may not be public.

Source: Amazon S3 user guide, "Blocking public access to your Amazon S3 storage", "The meaning of 'public'"; S3 API
reference, PutBucketPolicy.
"""

from __future__ import annotations

from opentrail.core.errors import ServiceFault
from opentrail.core.policy.conditions import Condition, parse_network
from opentrail.core.policy.document import parse_policy
from opentrail.core.policy.statement import Effect, PolicyDocument, PolicyType, Statement

# Actions on objects whose name does not say so.
_ON_OBJECTS = frozenset({
    "abortmultipartupload", "bypassgovernanceretention", "initiatereplication", "listmultipartuploadparts",
    "objectowneroverridetobucketowner", "replicatedelete", "replicatetags"
})  # fmt: skip

# Keys whose fixed value ties access down.  aws:SourceIp is judged by its blocks.
_RESTRICTING_KEYS = frozenset(
    {
        "aws:principalaccount",
        "aws:principalarn",
        "aws:principalorgid",
        "aws:principalorgpaths",
        "aws:sourceaccount",
        "aws:sourcearn",
        "aws:sourceip",
        "aws:sourceorgid",
        "aws:sourceowner",
        "aws:sourcevpc",
        "aws:sourcevpce",
        "aws:userid",
        "s3:dataaccesspointaccount",
        "s3:dataaccesspointarn",
        "s3:x-amz-server-side-encryption-aws-kms-key-id",
    }
)
_RESTRICTING_OPERATORS = frozenset({
    "ArnEquals", "ArnLike", "IpAddress", "StringEquals", "StringEqualsIgnoreCase", "StringLike"
})  # fmt: skip


def parse_bucket_policy(text: str, bucket: str) -> PolicyDocument:
    """Parse the policy of ``bucket``.

    Raises ``ServiceFault`` MalformedPolicy, also where an action is not S3's or a resource is not in the bucket.
    """
    try:
        document = parse_policy(text, PolicyType.BUCKET)
    except ServiceFault as fault:
        raise malformed_bucket_policy(fault.message) from None
    for statement in document.statements:
        if any(action != "*" and not action.lower().startswith("s3:") for action in statement.actions):
            raise malformed_bucket_policy("Policy has invalid action")
        if not all(_in_bucket(resource, bucket) for resource in statement.resources):
            raise malformed_bucket_policy("Policy has invalid resource")
        if not statement.not_action and not statement.not_resource and not _all_apply(statement):
            raise malformed_bucket_policy("Action does not apply to any resource(s) in statement")
    return document


def malformed_bucket_policy(reason: str) -> ServiceFault:
    """S3's MalformedPolicy; of a principal the message names the kind of fault, and ``Detail`` the principal."""
    message, colon, detail = reason.partition(": ")
    if message != "Invalid principal in policy" or not colon:
        return ServiceFault("MalformedPolicy", reason)
    return ServiceFault("MalformedPolicy", message, fields={"Detail": detail.replace('":"', '" : "', 1)})


def _all_apply(statement: Statement) -> bool:
    """Whether each action can be done to a resource of the statement: to an object, or to the bucket itself."""
    has_object = [("/" in resource) for resource in statement.resources]
    needed = {_is_on_objects(action) for action in statement.actions if "*" not in action and "?" not in action}
    return needed <= set(has_object)


def _is_on_objects(action: str) -> bool:
    name = action.partition(":")[2].lower()
    return ("object" in name and "bucket" not in name) or name in _ON_OBJECTS


def _in_bucket(resource: str, bucket: str) -> bool:
    parts = resource.split(":", 5)
    if len(parts) < 6:
        return False
    name, _, _ = parts[5].partition("/")
    return parts[2] == "s3" and not parts[3] and not parts[4] and name == bucket


def is_public(document: PolicyDocument) -> bool:
    """Whether the policy grants anything to a principal that it does not fix."""
    return any(_is_public(statement) for statement in document.statements)


def _is_public(statement: Statement) -> bool:
    if statement.effect is not Effect.ALLOW:
        return False
    everybody = statement.not_principal or (statement.principals is not None and statement.principals.everybody)
    return everybody and not any(_restricts(condition) for condition in statement.conditions)


def _restricts(condition: Condition) -> bool:
    """Whether the condition lets only fixed values through."""
    if condition.base not in _RESTRICTING_OPERATORS or condition.lookup not in _RESTRICTING_KEYS:
        return False
    if condition.if_exists or condition.quantifier == "ForAllValues:" or not condition.values:
        return False
    return all(_is_fixed(condition.lookup, value) for value in condition.values)


def _is_fixed(key: str, value: str) -> bool:
    if key == "aws:sourceip":
        network = parse_network(value)
        return network is not None and network.prefixlen > 0
    if "${" in value:
        return False
    if key == "s3:dataaccesspointarn":  # any access point of one account
        value = ":".join(value.split(":")[:5])
    return "*" not in value and "?" not in value
