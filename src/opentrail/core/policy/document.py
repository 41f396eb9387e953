"""Policy documents: JSON text to typed, compiled statements, strictly by the grammar.

Rules: what the grammar does not know is refused, never passed over, and so is a key given twice; a refusal is a
``ServiceFault`` whose code and words are those of the place that holds the policy (IAM's MalformedPolicyDocument, S3's
MalformedPolicy).  Anything but a good policy ends in that fault, whatever the text is.  A parsed document is immutable
and compiled: parse once, evaluate often.

Source: IAM user guide, "Grammar of the IAM JSON policy language"; of the elements the pages named in ``statement``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from opentrail.core.arn import compile_wildcard
from opentrail.core.errors import FormatError, ServiceFault
from opentrail.core.policy.arn_patterns import compile_resources
from opentrail.core.policy.conditions import Condition, compile_condition
from opentrail.core.policy.principals import Principals, parse_principals
from opentrail.core.policy.statement import Effect, PolicyDocument, PolicyType, Statement
from opentrail.core.policy.syntax import (
    NO_VENDOR,
    check_action,
    check_bucket_action,
    check_bucket_resource,
    check_complete_resource,
    check_resource,
    check_trust_action,
)
from opentrail.core.policy.templates import parse_template

VERSIONS = ("2012-10-17", "2008-10-17")

_SYNTAX = "Syntax errors in policy."
_NO_JSON = "Policies must be valid JSON and the first byte must be '{'"  # S3's
_SID = re.compile(r"[0-9A-Za-z]*")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
_DOCUMENT_KEYS = frozenset({"Version", "Id", "Statement"})
_STATEMENT_KEYS = frozenset({
    "Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grammar:
    """What a place allows in its policies, and its words where it does not."""

    code: str
    has_principal: bool
    has_not_principal: bool = False
    has_resource: bool = True
    sid: re.Pattern[str] | None = _SID
    versions: tuple[str, ...] = VERSIONS
    max_bytes: int = 131_072  # the API's own limit on the text; quotas are smaller
    first_brace: bool = False
    preamble: str = ""
    no_action: str = "Policy statement must contain actions."
    no_resource: str = "Policy statement must contain resources."
    no_vendor: str = NO_VENDOR
    check_action: Callable[[str], None] = check_action
    check_resource: Callable[[str], None] = check_resource


_GRAMMARS: Mapping[PolicyType, _Grammar] = {
    PolicyType.IDENTITY: _Grammar(code="MalformedPolicyDocument", has_principal=False, versions=VERSIONS[:1]),
    PolicyType.SESSION: _Grammar(
        code="MalformedPolicyDocument",
        has_principal=False,
        versions=VERSIONS[:1],
        check_resource=check_complete_resource,
    ),
    PolicyType.TRUST: _Grammar(
        code="MalformedPolicyDocument", has_principal=True, has_resource=False, check_action=check_trust_action
    ),
    PolicyType.BUCKET: _Grammar(
        code="MalformedPolicy",
        has_principal=True,
        has_not_principal=True,
        sid=None,
        max_bytes=20_480,
        first_brace=True,
        no_action="Missing required field Action",
        no_resource="Missing required field Resource",
        no_vendor="Policy has an invalid condition key",
        check_action=check_bucket_action,
        check_resource=check_bucket_resource,
    ),
    PolicyType.CONTROL: _Grammar(
        code="MalformedPolicyDocumentException",
        has_principal=False,
        max_bytes=10_240,
        preamble="The provided policy document does not meet the requirements of the specified policy type. ",
    ),
    PolicyType.CHANNEL: _Grammar(
        code="ResourcePolicyNotValidException",
        has_principal=True,
        max_bytes=32_768,
        check_resource=check_complete_resource,
    ),
}


def parse_policy(text: str, policy_type: PolicyType) -> PolicyDocument:
    """Parse and compile a policy document.  Raises ``ServiceFault`` with the type's code and AWS's reason."""
    grammar = _GRAMMARS[policy_type]
    try:
        return _parse_document(text, policy_type, grammar)
    except FormatError as error:
        raise ServiceFault(grammar.code, f"{grammar.preamble}{error}", status=400) from error


def _parse_document(text: str, policy_type: PolicyType, grammar: _Grammar) -> PolicyDocument:
    document = _read(text, grammar, _NO_JSON if policy_type is PolicyType.BUCKET else _SYNTAX)
    _require_known(document, _DOCUMENT_KEYS)
    version = document.get("Version", VERSIONS[1])
    if version not in VERSIONS:
        raise FormatError("The policy must contain a valid version string")
    if version not in grammar.versions:
        raise FormatError("Policy document must be version 2012-10-17 or greater.")
    identifier = document.get("Id", "")
    if "Statement" not in document:
        raise FormatError("Missing required field Statement" if policy_type is PolicyType.BUCKET else _SYNTAX)
    statements = document["Statement"]
    items = statements if isinstance(statements, list) else [statements]
    if not isinstance(identifier, str) or not items:
        raise FormatError(_SYNTAX)
    variables = version == VERSIONS[0]
    parsed = tuple(_parse_statement(item, index, grammar, variables=variables) for index, item in enumerate(items))
    sids = [statement.sid for statement in parsed if statement.sid]
    if len(set(sids)) != len(sids):
        raise FormatError("Statement IDs (SID) in a single policy must be unique.")
    return PolicyDocument(version=version, id=identifier, statements=parsed, type=policy_type)


def _read(text: str, grammar: _Grammar, invalid: str) -> dict[str, Any]:
    """The JSON object that the text is."""
    if len(text.encode("utf-8", "surrogatepass")) > grammar.max_bytes:
        raise FormatError("Policy exceeds the maximum allowed document size.")
    if grammar.first_brace and not text.startswith("{"):
        raise FormatError(invalid)
    try:
        document = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
        if _SURROGATE.search(text):  # half a character could be stored nowhere
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise FormatError(invalid) from None
    if not isinstance(document, dict):
        raise FormatError(_SYNTAX)
    return document


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) != len(pairs):
        raise FormatError(_SYNTAX)
    return keys


def _refuse_constant(_: str) -> None:
    raise FormatError(_SYNTAX)


def _require_known(element: dict[str, Any], known: Iterable[str]) -> None:
    for key in element:
        if key not in known:
            raise FormatError(f"Unknown field {key}")


def _parse_statement(element: object, index: int, grammar: _Grammar, *, variables: bool) -> Statement:
    if not isinstance(element, dict):
        raise FormatError(_SYNTAX)
    _require_known(element, _STATEMENT_KEYS)
    effect = _parse_effect(element)
    principals, not_principal = _parse_principal(element, grammar, effect)
    not_action, actions = _one_of(element, "Action", grammar.no_action)
    not_resource, resources = _parse_resource(element, grammar)
    for action in actions:
        grammar.check_action(action)
    for resource in resources:
        grammar.check_resource(resource)
    templates = [parse_template(resource, variables=variables) for resource in resources]
    resource_test, dynamic_resources = compile_resources(templates)
    lowered = [action.lower() for action in actions]
    return Statement(
        index=index,
        sid=_parse_sid(element, grammar),
        effect=effect,
        principals=principals,
        not_principal=not_principal,
        actions=actions,
        not_action=not_action,
        resources=resources,
        not_resource=not_resource,
        conditions=_parse_conditions(element.get("Condition", {}), grammar, variables=variables),
        exact_actions=frozenset(action for action in lowered if "*" not in action and "?" not in action),
        action_patterns=tuple(compile_wildcard(action) for action in lowered if "*" in action or "?" in action),
        resource_test=resource_test,
        dynamic_resources=dynamic_resources,
        element=element,
    )


def _parse_sid(element: dict[str, Any], grammar: _Grammar) -> str:
    sid = element.get("Sid", "")
    if not isinstance(sid, str):
        raise FormatError(_SYNTAX)
    if grammar.sid and not grammar.sid.fullmatch(sid):
        raise FormatError(
            "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression "
            "[0-9A-Za-z]*"
        )
    return sid


def _parse_effect(element: dict[str, Any]) -> Effect:
    effect = element.get("Effect")
    if effect is None:
        raise FormatError("Missing required field Effect")
    if effect not in (Effect.ALLOW, Effect.DENY):
        raise FormatError(f"Invalid effect: {effect}")
    return Effect(effect)


def _parse_principal(element: dict[str, Any], grammar: _Grammar, effect: Effect) -> tuple[Principals | None, bool]:
    present = [name for name in ("Principal", "NotPrincipal") if name in element]
    if not grammar.has_principal:
        if present:
            raise FormatError("Policy document should not specify a principal.")
        return None, False
    if not present:
        raise FormatError("Missing required field Principal")
    if len(present) > 1:
        raise FormatError(_SYNTAX)
    negated = present[0] == "NotPrincipal"
    if negated and not grammar.has_not_principal:
        raise FormatError("Has prohibited field NotPrincipal")
    if negated and effect is Effect.ALLOW:
        raise FormatError("Allow with NotPrincipal is not supported.")
    return parse_principals(element[present[0]]), negated


def _parse_resource(element: dict[str, Any], grammar: _Grammar) -> tuple[bool, tuple[str, ...]]:
    if grammar.has_resource:
        return _one_of(element, "Resource", grammar.no_resource)
    if "Resource" in element or "NotResource" in element:
        raise FormatError("Has prohibited field Resource")
    return False, ()


def _one_of(element: dict[str, Any], name: str, missing: str) -> tuple[bool, tuple[str, ...]]:
    """Whether it is ``Not<name>`` that the statement holds, and its values."""
    present = [key for key in (name, f"Not{name}") if key in element]
    if len(present) > 1:
        raise FormatError(_SYNTAX)
    values = element[present[0]] if present else []
    if isinstance(values, str):
        values = [values]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise FormatError(_SYNTAX)
    if not values:
        raise FormatError(missing)
    return present[0] != name, tuple(values)


def _parse_conditions(element: object, grammar: _Grammar, *, variables: bool) -> tuple[Condition, ...]:
    if not isinstance(element, dict):
        raise FormatError(_SYNTAX)
    conditions = []
    for operator, keys in element.items():
        if not isinstance(keys, dict) or not keys:
            raise FormatError(_SYNTAX)
        for key, values in keys.items():
            if not all(key.partition(":")):
                raise FormatError(grammar.no_vendor)
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
            raise FormatError(_SYNTAX)
    return tuple(texts)
