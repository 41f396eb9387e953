"""Policy documents: JSON text to typed, compiled statements, strictly by the grammar.

Rules: what the grammar does not know is refused, never passed over, and so is a key given twice; a refusal is a
``ServiceFault`` whose code and words are those of the place that holds the policy (IAM's MalformedPolicyDocument, S3's
MalformedPolicy).  A parsed document is immutable and compiled: parse once, evaluate often.

Source: IAM user guide, "Grammar of the IAM JSON policy language".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from opentrail.core.arn import PARTITIONS, Matcher, compile_wildcard
from opentrail.core.errors import FormatError, ServiceFault
from opentrail.core.policy.conditions import Condition, compile_condition
from opentrail.core.policy.principals import Principals, parse_principals
from opentrail.core.policy.templates import Context, Template, parse_template

VERSIONS = ("2012-10-17", "2008-10-17")

_SID = re.compile(r"[0-9A-Za-z]*")
_VENDOR = re.compile(r"[A-Za-z0-9-]+")
_DOCUMENT_KEYS = frozenset({"Version", "Id", "Statement"})
_STATEMENT_KEYS = frozenset({
    "Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"
})  # fmt: skip


class PolicyType(StrEnum):
    """What a policy is attached to: that decides its elements and the words of a refusal."""

    IDENTITY = "identity"  # an IAM user, group or role; a permissions boundary; a session
    TRUST = "trust"  # who may assume a role
    BUCKET = "bucket"  # S3
    CONTROL = "control"  # Organizations


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grammar:
    code: str
    has_principal: bool
    has_resource: bool
    sid: re.Pattern[str] | None = None
    versions: tuple[str, ...] = VERSIONS
    max_characters: int = 131_072  # the API's own limit on the text; quotas are smaller


_GRAMMARS: Mapping[PolicyType, _Grammar] = {
    PolicyType.IDENTITY: _Grammar(
        code="MalformedPolicyDocument", has_principal=False, has_resource=True, sid=_SID, versions=VERSIONS[:1]
    ),
    PolicyType.TRUST: _Grammar(code="MalformedPolicyDocument", has_principal=True, has_resource=False, sid=_SID),
    PolicyType.BUCKET: _Grammar(code="MalformedPolicy", has_principal=True, has_resource=True, max_characters=20_480),
    PolicyType.CONTROL: _Grammar(
        code="MalformedPolicyDocumentException", has_principal=False, has_resource=True, sid=_SID, max_characters=10_240
    ),
}


class Effect(StrEnum):
    """What a statement does when it applies."""

    ALLOW = "Allow"
    DENY = "Deny"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement: its elements as written, and compiled."""

    index: int  # from 0
    sid: str
    effect: Effect
    principals: Principals | None
    not_principal: bool
    actions: tuple[str, ...]
    not_action: bool
    resources: tuple[str, ...]
    not_resource: bool
    conditions: tuple[Condition, ...]
    exact_actions: frozenset[str]  # lower case
    action_patterns: tuple[Matcher, ...]
    static_resources: tuple[Matcher, ...]
    dynamic_resources: tuple[Template, ...]

    def covers_action(self, action: str) -> bool:
        """Whether the statement speaks of ``action`` (lower case)."""
        found = action in self.exact_actions or any(match(action) for match in self.action_patterns)
        return found is not self.not_action

    def covers_resource(self, resource: str, context: Context) -> bool:
        """Whether the statement speaks of ``resource`` (an ARN or ``*``)."""
        if not self.resources:
            return True  # a trust policy speaks of its role
        found = any(match(resource) for match in self.static_resources)
        if self.dynamic_resources and not found:
            matchers = [template.matcher(context) for template in self.dynamic_resources]
            if self.not_resource and None in matchers:
                return self.effect is Effect.DENY
            found = any(match(resource) for match in matchers if match)
        return found is not self.not_resource

    def failed_condition(self, context: Context) -> Condition | None:
        """The first condition that does not hold, or None where all hold."""
        unresolved = self.effect is Effect.DENY
        for condition in self.conditions:
            if not condition.holds(context, unresolved=unresolved):
                return condition
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDocument:
    """A policy: ``statements`` in their order."""

    version: str
    id: str
    statements: tuple[Statement, ...]
    type: PolicyType


def parse_policy(text: str, policy_type: PolicyType) -> PolicyDocument:
    """Parse and compile a policy document.  Raises ``ServiceFault`` with the type's code and AWS's reason."""
    grammar = _GRAMMARS[policy_type]
    try:
        return _parse_document(text, policy_type, grammar)
    except FormatError as error:
        raise ServiceFault(grammar.code, str(error), status=400) from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) != len(pairs):
        raise FormatError("Syntax errors in policy.")
    return keys


def _refuse_constant(_: str) -> None:
    raise FormatError("Syntax errors in policy.")


def _parse_document(text: str, policy_type: PolicyType, grammar: _Grammar) -> PolicyDocument:
    bucket = policy_type is PolicyType.BUCKET
    if len(text.encode("utf-8", "surrogatepass")) > grammar.max_characters:
        raise FormatError("Policy exceeds the maximum allowed document size.")
    if bucket and not text.startswith("{"):
        raise FormatError("Policies must be valid JSON and the first byte must be '{'")
    try:
        document = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        invalid = "Policies must be valid JSON and the first byte must be '{'" if bucket else "Syntax errors in policy."
        raise FormatError(invalid) from None
    if not isinstance(document, dict):
        raise FormatError("Syntax errors in policy.")
    _require_known(document, _DOCUMENT_KEYS)
    version = document.get("Version", VERSIONS[1])
    if version not in VERSIONS:
        raise FormatError("The policy must contain a valid version string")
    if version not in grammar.versions:
        raise FormatError("Policy document must be version 2012-10-17 or greater.")
    identifier = document.get("Id", "")
    statements = document.get("Statement")
    if statements is None:
        raise FormatError("Missing required field Statement" if bucket else "Syntax errors in policy.")
    items = statements if isinstance(statements, list) else [statements]
    if not isinstance(identifier, str) or not items:
        raise FormatError("Syntax errors in policy.")
    variables = version == VERSIONS[0]
    parsed = tuple(_parse_statement(item, index, grammar, variables=variables) for index, item in enumerate(items))
    sids = [statement.sid for statement in parsed if statement.sid]
    if len(set(sids)) != len(sids):
        raise FormatError("Statement IDs (SID) in a single policy must be unique.")
    return PolicyDocument(version=version, id=identifier, statements=parsed, type=policy_type)


def _require_known(element: dict[str, Any], known: Iterable[str]) -> None:
    for key in element:
        if key not in known:
            raise FormatError(f"Unknown field {key}")


def _parse_statement(element: object, index: int, grammar: _Grammar, *, variables: bool) -> Statement:
    if not isinstance(element, dict):
        raise FormatError("Syntax errors in policy.")
    _require_known(element, _STATEMENT_KEYS)
    sid = element.get("Sid", "")
    if not isinstance(sid, str):
        raise FormatError("Syntax errors in policy.")
    if grammar.sid and not grammar.sid.fullmatch(sid):
        raise FormatError(
            "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression "
            "[0-9A-Za-z]*"
        )
    effect = element.get("Effect")
    if effect is None:
        raise FormatError("Missing required field Effect")
    if effect not in (Effect.ALLOW, Effect.DENY):
        raise FormatError(f"Invalid effect: {effect}")
    principals, not_principal = _parse_principal(element, grammar)
    not_action, actions = _one_of(element, "Action", "Policy statement must contain actions.", _check_action)
    if grammar.has_resource:
        not_resource, resources = _one_of(
            element, "Resource", "Policy statement must contain resources.", _check_resource
        )
    else:
        not_resource, resources = False, ()
        if "Resource" in element or "NotResource" in element:
            raise FormatError("Has prohibited field Resource")
    templates = [parse_template(resource, variables=variables) for resource in resources]
    static = [template.matcher({}) for template in templates if template.is_static]
    lowered = [action.lower() for action in actions]
    return Statement(
        index=index,
        sid=sid,
        effect=Effect(effect),
        principals=principals,
        not_principal=not_principal,
        actions=actions,
        not_action=not_action,
        resources=resources,
        not_resource=not_resource,
        conditions=_parse_conditions(element.get("Condition", {}), variables=variables),
        exact_actions=frozenset(action for action in lowered if "*" not in action and "?" not in action),
        action_patterns=tuple(compile_wildcard(action) for action in lowered if "*" in action or "?" in action),
        static_resources=tuple(matcher for matcher in static if matcher),
        dynamic_resources=tuple(template for template in templates if not template.is_static),
    )


def _parse_principal(element: dict[str, Any], grammar: _Grammar) -> tuple[Principals | None, bool]:
    present = [name for name in ("Principal", "NotPrincipal") if name in element]
    if not grammar.has_principal:
        if present:
            raise FormatError("Policy document should not specify a principal.")
        return None, False
    if not present:
        raise FormatError("Missing required field Principal")
    if len(present) > 1:
        raise FormatError("Syntax errors in policy.")
    return parse_principals(element[present[0]]), present[0] == "NotPrincipal"


def _one_of(
    element: dict[str, Any], name: str, missing: str, check: Callable[[str], None]
) -> tuple[bool, tuple[str, ...]]:
    """Whether it is ``Not<name>`` that the statement holds, and its values."""
    present = [key for key in (name, f"Not{name}") if key in element]
    if len(present) > 1:
        raise FormatError("Syntax errors in policy.")
    values = element[present[0]] if present else []
    if isinstance(values, str):
        values = [values]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise FormatError("Syntax errors in policy.")
    if not values:
        raise FormatError(missing)
    for value in values:
        check(value)
    return present[0] != name, tuple(values)


def _check_action(action: str) -> None:
    if action == "*":
        return
    vendor, colon, name = action.partition(":")
    if not colon or not vendor or not name:
        raise FormatError("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
    if ":" in name:
        raise FormatError("Actions/Condition can contain only one colon.")
    if not _VENDOR.fullmatch(vendor):
        raise FormatError(f"Vendor {vendor} is not valid")


def _check_resource(resource: str) -> None:
    if resource == "*":
        return
    parts = resource.split(":", 5)
    if parts[0] != "arn" or (len(parts) < 6 and not resource.endswith("*")) or len(parts) < 2:
        raise FormatError(f'Resource {resource} must be in ARN format or "*".')
    if parts[1] not in PARTITIONS and not re.search(r"[*?]|\$\{", parts[1]):
        raise FormatError(f'Partition "{parts[1]}" is not valid for resource "{resource}".')


def _parse_conditions(element: object, *, variables: bool) -> tuple[Condition, ...]:
    if not isinstance(element, dict):
        raise FormatError("Syntax errors in policy.")
    conditions = []
    for operator, keys in element.items():
        if not isinstance(keys, dict) or not keys:
            raise FormatError("Syntax errors in policy.")
        for key, values in keys.items():
            if ":" not in key:
                raise FormatError("Policy has an invalid condition key")
            conditions.append(compile_condition(operator, key, _condition_values(values), variables=variables))
    return tuple(conditions)


def _condition_values(values: object) -> tuple[str, ...]:
    items = values if isinstance(values, list) else [values]
    texts = []
    for item in items:
        if isinstance(item, bool):
            texts.append("true" if item else "false")
        elif isinstance(item, (str, int, float)):
            texts.append(str(item))
        else:
            raise FormatError("Syntax errors in policy.")
    return tuple(texts)
