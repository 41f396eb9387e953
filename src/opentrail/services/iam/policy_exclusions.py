"""``PolicyExclusionList``: which of a principal's policies a simulation leaves out.

Source: IAM API reference, ``PolicyIdentifier``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opentrail.core.arn import compile_wildcard
from opentrail.services.iam.faults import invalid_input
from opentrail.services.iam.principal_policies import AWS_POLICY_PREFIX, PrincipalPolicy

Excludes = Callable[[PrincipalPolicy], bool]

#: Policies beside those of the principal itself, by ``PolicyType``.
BOUNDARY_TYPE = "permission-boundary"
SERVICE_CONTROL_TYPE = "scp"

_TYPES: Mapping[str, Excludes] = {
    "inline": lambda policy: not policy.arn,
    "aws-managed": lambda policy: policy.arn.startswith(AWS_POLICY_PREFIX),
    "user-managed": lambda policy: bool(policy.arn) and not policy.arn.startswith(AWS_POLICY_PREFIX),
}
_ONE_OF = ("PolicyType", "PolicyArn", "InlinePolicyIdentifier")


def excluded_types(identifiers: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """The types that are left out as a whole."""
    return frozenset(each["PolicyType"] for each in identifiers if each.get("PolicyType"))


def read_exclusions(identifiers: Sequence[Mapping[str, Any]]) -> Excludes:
    """Whether a principal's policy is left out.  Raises ``ServiceFault`` InvalidInput for what identifies none."""
    tests = [_read(identifier) for identifier in identifiers]
    return lambda policy: any(test(policy) for test in tests)


def _read(identifier: Mapping[str, Any]) -> Excludes:
    given = [name for name in _ONE_OF if identifier.get(name)]
    if len(given) != 1:
        raise invalid_input(f"PolicyExclusionList: give exactly one of {', '.join(_ONE_OF)}.")
    value = identifier[given[0]]
    if given[0] == "PolicyType":
        return _TYPES.get(value, lambda _policy: False)  # the other types are no policies of the principal's own
    if given[0] == "PolicyArn":
        fixed, _, name = value.rpartition("/")
        if not value.startswith("arn:") or "*" in fixed or "?" in fixed:
            raise invalid_input(f"PolicyExclusionList: {value} is not the ARN of a managed policy.")
        matches = _wildcard(value)
        return lambda policy: matches(policy.arn)
    kind, name = value["AttachmentType"], value["PolicyName"]
    is_holder = _wildcard(value["AttachmentName"])
    return lambda policy: (
        not policy.arn and policy.name == name and policy.entity.kind == kind and is_holder(policy.entity.name)
    )


def _wildcard(pattern: str) -> Callable[[str], bool]:
    if pattern.count("*") > 1:
        raise invalid_input(f"PolicyExclusionList: {pattern} has more than one *.")
    return compile_wildcard(pattern)
