"""What a policy simulation is given: actions, resources, condition keys, and policies as text.

Rules: whatever cannot be used is refused with InvalidInput and the parameter's name; nothing is passed over.

Source: IAM API reference, ``SimulateCustomPolicy``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opentrail.core.errors import FormatError, ServiceFault
from opentrail.core.policy import Policy, PolicyType, parse_policy
from opentrail.core.policy.conditions import compile_condition
from opentrail.core.policy.simulation import Source
from opentrail.services.iam.faults import invalid_input

ANY_RESOURCE = "*"

_ACTION = re.compile(r"[A-Za-z0-9-]+:[^\s*?:]+")
_ACCOUNT = re.compile(r"[0-9]{12}")
_OWNER = re.compile(r"arn:[a-z0-9-]+:iam::([0-9]{12}):root|([0-9]{12})")
_KEY = re.compile(r"[A-Za-z0-9-]+:\S+")
_PROBE = "aws:probe"

_EC2 = frozenset({"instance", "image", "security-group"})

#: A scenario of EC2 and the types of resources that it needs.
HANDLING_OPTIONS: Mapping[str, frozenset[str]] = {
    "EC2-Classic-InstanceStore": _EC2,
    "EC2-Classic-EBS": _EC2 | {"volume"},
    "EC2-VPC-InstanceStore": _EC2 | {"network-interface"},
    "EC2-VPC-InstanceStore-Subnet": _EC2 | {"network-interface", "subnet"},
    "EC2-VPC-EBS": _EC2 | {"network-interface", "volume"},
    "EC2-VPC-EBS-Subnet": _EC2 | {"network-interface", "subnet", "volume"},
}


def _is_readable(operator: str) -> Callable[[str], bool]:
    """Whether ``operator`` can read a value: one that it can read equals itself."""

    def is_readable(value: str) -> bool:
        try:
            condition = compile_condition(operator, _PROBE, (value,), variables=False)
        except FormatError:
            return False
        return condition.holds({_PROBE: [value]})

    return is_readable


#: What a value of a context entry's type must look like.
_VALUE_TYPES: Mapping[str, Callable[[str], bool]] = {
    "string": lambda _value: True,
    "numeric": _is_readable("NumericEquals"),
    "boolean": _is_readable("Bool"),
    "ip": _is_readable("IpAddress"),
    "binary": _is_readable("BinaryEquals"),
    "date": _is_readable("DateEquals"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """The resources to simulate; ``owner`` is the account of those whose ARNs name none."""

    arns: tuple[str, ...]
    owner: str

    @property
    def are_given(self) -> bool:
        """Whether any resource is asked for by name."""
        return self.arns != (ANY_RESOURCE,)

    def account_of(self, arn: str) -> str:
        """The account that owns a resource."""
        parts = arn.split(":", 5)
        return parts[4] if len(parts) == 6 and _ACCOUNT.fullmatch(parts[4]) else self.owner


def read_actions(parameters: Mapping[str, Any]) -> Sequence[str]:
    """``ActionNames``."""
    actions: Sequence[str] = parameters["ActionNames"]
    if not actions:
        raise invalid_input("ActionNames: name at least one action.")
    for action in actions:
        if not _ACTION.fullmatch(action):
            raise invalid_input(f"ActionNames: {action} is not an action such as iam:CreateUser, without wildcards.")
    return actions


def read_resources(parameters: Mapping[str, Any], caller_account: str) -> Resources:
    """``ResourceArns``, ``ResourceOwner`` and ``ResourceHandlingOption``."""
    arns = tuple(parameters.get("ResourceArns") or (ANY_RESOURCE,))
    for arn in arns:
        if arn != ANY_RESOURCE and (not arn.startswith("arn:") or arn.count(":") < 5):
            raise invalid_input(f"ResourceArns: {arn} is neither an ARN nor *.")
    _check_handling(parameters.get("ResourceHandlingOption"), arns)
    owner = parameters.get("ResourceOwner")
    if owner is None:
        return Resources(arns=arns, owner=caller_account)
    match = _OWNER.fullmatch(owner)
    if match is None:
        raise invalid_input(f"ResourceOwner: {owner} is not the ARN of an account, arn:aws:iam::123456789012:root.")
    return Resources(arns=arns, owner=match[1] or match[2])


def read_context(parameters: Mapping[str, Any]) -> dict[str, list[str]]:
    """``ContextEntries``: values by key in lower case."""
    context: dict[str, list[str]] = {}
    for entry in parameters.get("ContextEntries") or ():
        name, values = entry.get("ContextKeyName", ""), list(entry.get("ContextKeyValues") or ())
        value_type = entry.get("ContextKeyType", "string")
        if not _KEY.fullmatch(name):
            raise invalid_input(f"ContextEntries: {name!r} is not the name of a condition key.")
        if name.lower() in context:
            raise invalid_input(f"ContextEntries: {name} is given twice.")
        is_value = _VALUE_TYPES[value_type.removesuffix("List")]
        if not all(is_value(value) for value in values):
            raise invalid_input(f"ContextEntries: a value of {name} is not of the type {value_type}.")
        if values:
            context[name.lower()] = values
    return context


def read_policies(parameters: Mapping[str, Any], name: str) -> tuple[Source, ...]:
    """The identity-based policies of the list ``name``: ``PolicyInputList.1`` and so on."""
    texts = parameters.get(name) or ()
    return tuple(
        to_source(f"{name}.{number}", text, PolicyType.IDENTITY, place=f"{name}.{number}")
        for number, text in enumerate(texts, 1)
    )


def read_resource_policy(parameters: Mapping[str, Any]) -> tuple[Source, ...]:
    """``ResourcePolicy``."""
    text = parameters.get("ResourcePolicy")
    return (to_source("ResourcePolicy", text, PolicyType.BUCKET, place="ResourcePolicy"),) if text else ()


def read_boundary(parameters: Mapping[str, Any]) -> tuple[Source, ...] | None:
    """``PermissionsBoundaryPolicyInputList``; None where it is not given."""
    sources = read_policies(parameters, "PermissionsBoundaryPolicyInputList")
    if len(sources) > 1:
        raise invalid_input("PermissionsBoundaryPolicyInputList: an entity has one permissions boundary.")
    return sources or None


def read_levels(parameters: Mapping[str, Any]) -> tuple[tuple[Policy, ...], ...]:
    """``OrderedOrganizationPolicyInputList``: service control policies, one tuple a level from the root down."""
    return tuple(
        tuple(
            to_source("", text, PolicyType.CONTROL, place=f"OrderedOrganizationPolicyInputList.{level}").policy
            for text in each.get("ServiceControlPolicyInputList") or ()
        )
        for level, each in enumerate(parameters.get("OrderedOrganizationPolicyInputList") or (), 1)
    )


def to_source(source_id: str, text: str, policy_type: PolicyType, *, place: str) -> Source:
    """A policy's text, compiled.  Raises ``ServiceFault`` InvalidInput that names its ``place``."""
    try:
        document = parse_policy(text, policy_type)
    except ServiceFault as fault:
        raise invalid_input(f"{place}: {fault.message}") from fault
    return Source(policy=Policy(name=source_id, document=document), text=text)


def _check_handling(option: str | None, arns: Sequence[str]) -> None:
    if option is None:
        return
    needed = HANDLING_OPTIONS.get(option)
    if needed is None:
        raise invalid_input(f"ResourceHandlingOption: {option} is not one of {', '.join(HANDLING_OPTIONS)}.")
    present = {arn.split(":", 5)[5].partition("/")[0] for arn in arns if arn != ANY_RESOURCE}
    missing = sorted(needed - present)
    if missing:
        raise invalid_input(f"ResourceHandlingOption: {option} needs resources of the types {', '.join(missing)}.")
