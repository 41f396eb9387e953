"""Which resources a call names: a record's ``resources``, by the rules' tables.

A resource is told by a member of the request or of the result: as an ARN, or as a name that a template makes one of.
What neither is (an alias of a key) is left out: a record names no resource that the call may not have meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from opentrail.core.recording.rules import ResourceRule
from opentrail.core.wire.calls import ApiCall, Outcome

_RESULT = "result"
_ANY, _KEYS = "*", "#"  # a member of any name; the keys of a map


def named_resources(call: ApiCall, outcome: Outcome, rules: Iterable[ResourceRule], owner: str) -> list[dict[str, str]]:
    """The resources of ``call``; ``owner`` is the account that a name without one is in."""
    resources: list[dict[str, str]] = []
    for rule in rules:
        if rule.on_success and outcome.result is None:
            continue
        for path in rule.values:
            found = [_resource(call, rule, value, owner) for value in dict.fromkeys(_values(call, outcome, path))]
            if any(found):
                resources.extend(resource for resource in found if resource)
                break
    return resources


def told_values(call: ApiCall, outcome: Outcome, said: Mapping[str, str]) -> dict[str, str]:
    """What ``said`` comes to: each name with its text or, where that is a place in braces, with what is told there."""
    values: dict[str, str] = {}
    for name, text in said.items():
        if text.startswith("{") and text.endswith("}"):
            found = _values(call, outcome, tuple(text[1:-1].split(".")))
            values |= {name: found[0]} if found else {}
        else:
            values[name] = text
    return values


def _values(call: ApiCall, outcome: Outcome, path: tuple[str, ...]) -> list[str]:
    """The texts that a member holds: one, or those of a list; lists on the way are passed through."""
    values: list[Any] = [call.parameters]
    if path[0] == _RESULT:
        values, path = [outcome.result], path[1:]
    for name in path:
        within = [each for each in values if isinstance(each, Mapping)]
        values = []
        for each in within:
            inside = list(each) if name == _KEYS else list(each.values()) if name == _ANY else [each.get(name)]
            for found in inside:
                values += found if isinstance(found, list) else [found]
    return [value for value in values if isinstance(value, str) and value]


def _resource(call: ApiCall, rule: ResourceRule, value: str, owner: str) -> dict[str, str]:
    match = rule.match.fullmatch(value) if rule.match is not None else None
    if rule.match is not None and match is None:
        return {}
    arn = value
    if not value.startswith("arn:"):
        names = {"partition": "aws", "region": call.region, "account": owner, "value": value.lstrip("/")}
        arn = rule.arn.format(**names | (match.groupdict("") if match is not None else {}))
    if arn.count(":") < 5:
        return {}
    resource = {"accountId": arn.split(":")[4], "type": rule.type, "ARN": arn}
    return {name: text for name, text in resource.items() if text}
