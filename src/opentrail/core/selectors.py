"""Event selectors: their values, the API's form of them, and CloudTrail's rules for what may be written.

A trail has basic selectors or advanced ones, never both; with neither it records all management events.  ``parse_*``
turn the members of ``PutEventSelectors`` into values and refuse what CloudTrail refuses, with
``InvalidEventSelectorsException``; ``format_*`` are their inverse, as ``GetEventSelectors`` answers.

Source: CloudTrail API reference, EventSelector, DataResource, AdvancedEventSelector and AdvancedFieldSelector (fields
of trails, not those of event data stores).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from opentrail.core.errors import ServiceFault

MAX_SELECTORS = 5  # basic selectors of a trail
MAX_DATA_RESOURCES = 250  # values over all basic selectors of a trail
MAX_ADVANCED_VALUES = 500  # values over all conditions of all advanced selectors of a trail

EXCLUDABLE_SOURCES = frozenset({"kms.amazonaws.com", "rdsdata.amazonaws.com"})


class ReadWriteType(StrEnum):
    """Which of the events a basic selector takes."""

    READ_ONLY = "ReadOnly"
    WRITE_ONLY = "WriteOnly"
    ALL = "All"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataResource:
    """Resources of one ``type`` (``AWS::S3::Object``) whose data events are recorded: ARNs, or beginnings of ARNs."""

    type: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSelector:
    """A basic selector."""

    read_write_type: ReadWriteType = ReadWriteType.ALL
    include_management_events: bool = True
    data_resources: tuple[DataResource, ...] = ()
    exclude_management_event_sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldSelector:
    """Conditions on one field of the record; the attributes are the API's operators in snake case.

    The selecting operators are alternatives (any value of any of them will do); a match of any deselecting one refuses
    the event (user guide, "How CloudTrail evaluates multiple conditions for a field").
    """

    field: str
    equals: tuple[str, ...] = ()
    starts_with: tuple[str, ...] = ()
    ends_with: tuple[str, ...] = ()
    not_equals: tuple[str, ...] = ()
    not_starts_with: tuple[str, ...] = ()
    not_ends_with: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvancedEventSelector:
    """An advanced selector: all its field selectors must hold."""

    name: str = ""
    field_selectors: tuple[FieldSelector, ...]

    @property
    def category(self) -> str:
        """The event category that it takes: Management, Data or NetworkActivity."""
        return next(each.equals[0] for each in self.field_selectors if each.field == "eventCategory")


DEFAULT_SELECTORS = (EventSelector(),)

_OPERATORS = {  # the API's member -> the attribute of FieldSelector, in the API's order
    "Equals": "equals",
    "StartsWith": "starts_with",
    "EndsWith": "ends_with",
    "NotEquals": "not_equals",
    "NotStartsWith": "not_starts_with",
    "NotEndsWith": "not_ends_with",
}
_ANY = frozenset(_OPERATORS)
_EQUALS = frozenset({"Equals"})
_READ_WRITE_TYPES = frozenset(each.value for each in ReadWriteType)
_BOOLEANS = frozenset({"true", "false"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _FieldRule:
    """What CloudTrail allows for one field in one category."""

    operators: frozenset[str] = _ANY
    values: frozenset[str] | None = None  # None: any
    single: bool = False  # exactly one value, and the field only once
    required: bool = False


_CATEGORY = _FieldRule(
    operators=_EQUALS, values=frozenset({"Management", "Data", "NetworkActivity"}), single=True, required=True
)
_READ_ONLY = _FieldRule(operators=_EQUALS, values=_BOOLEANS, single=True)

_FIELD_RULES: Mapping[str, Mapping[str, _FieldRule]] = {
    "Management": {
        "eventCategory": _CATEGORY,
        "readOnly": _READ_ONLY,
        "eventSource": _FieldRule(operators=frozenset({"NotEquals"}), values=EXCLUDABLE_SOURCES),
    },
    "Data": {
        "eventCategory": _CATEGORY,
        "resources.type": _FieldRule(operators=_EQUALS, single=True, required=True),
        "readOnly": _READ_ONLY,
        "eventName": _FieldRule(),
        "eventSource": _FieldRule(),
        "eventType": _FieldRule(),
        "resources.ARN": _FieldRule(),
        "userIdentity.arn": _FieldRule(),
        "sessionCredentialFromConsole": _FieldRule(operators=frozenset({"Equals", "NotEquals"}), values=_BOOLEANS),
    },
    "NetworkActivity": {
        "eventCategory": _CATEGORY,
        "eventSource": _FieldRule(operators=_EQUALS, single=True, required=True),
        "eventName": _FieldRule(),
        "errorCode": _FieldRule(operators=_EQUALS, values=frozenset({"VpceAccessDenied"})),
        "vpcEndpointId": _FieldRule(),
    },
}

_RESOURCE_TYPE = re.compile(r"AWS::[A-Za-z0-9]+::[A-Za-z0-9]+")
_DATA_RESOURCE_VALUES: Mapping[str, re.Pattern[str]] = {
    "AWS::S3::Object": re.compile(r"arn:aws[a-z-]*:s3(:::([A-Za-z0-9._-]{3,255}/.*)?)?", re.DOTALL),
    "AWS::Lambda::Function": re.compile(
        r"arn:aws[a-z-]*:lambda(:[a-z0-9-]+:\d{12}:function:[A-Za-z0-9_-]{1,140}(:[A-Za-z0-9_$-]+)?)?"
    ),
    "AWS::DynamoDB::Table": re.compile(r"arn:aws[a-z-]*:dynamodb(:[a-z0-9-]+:\d{12}:table/[A-Za-z0-9._-]{3,255})?"),
}


def parse_event_selectors(members: Sequence[Mapping[str, Any]]) -> tuple[EventSelector, ...]:
    """The basic selectors of a ``PutEventSelectors`` call.

    Raises ``ServiceFault`` InvalidEventSelectorsException.
    """
    if not 1 <= len(members) <= MAX_SELECTORS:
        raise _invalid(f"Specify a valid number of selectors (1 to {MAX_SELECTORS}) for your trail.")
    selectors = tuple(_parse_event_selector(each) for each in members)
    values = sum(len(resource.values) for each in selectors for resource in each.data_resources)
    if values > MAX_DATA_RESOURCES:
        raise _invalid(
            f"Specify a valid number of DataResources.Values (0 to {MAX_DATA_RESOURCES}) for all your selectors."
        )
    return selectors


def _parse_event_selector(member: Mapping[str, Any]) -> EventSelector:
    read_write = member.get("ReadWriteType", ReadWriteType.ALL.value)
    if read_write not in _READ_WRITE_TYPES:
        raise _invalid_value(read_write, "ReadWriteType")
    excluded = tuple(member.get("ExcludeManagementEventSources") or ())
    for source in excluded:
        if source not in EXCLUDABLE_SOURCES:
            raise _invalid_value(source, "ExcludeManagementEventSources")
    return EventSelector(
        read_write_type=ReadWriteType(read_write),
        include_management_events=bool(member.get("IncludeManagementEvents", True)),
        data_resources=tuple(_parse_data_resource(each) for each in member.get("DataResources") or ()),
        exclude_management_event_sources=tuple(dict.fromkeys(excluded)),
    )


def _parse_data_resource(member: Mapping[str, Any]) -> DataResource:
    kind = member.get("Type", "")
    pattern = _DATA_RESOURCE_VALUES.get(kind)
    if pattern is None:
        raise _invalid_value(kind, "DataResources.Type")
    values = tuple(member.get("Values") or ())
    for value in values:
        if pattern.fullmatch(value) is None:
            raise _invalid_value(value, "DataResources.Values")
    return DataResource(type=kind, values=values)


def parse_advanced_event_selectors(members: Sequence[Mapping[str, Any]]) -> tuple[AdvancedEventSelector, ...]:
    """The advanced selectors of a ``PutEventSelectors`` call.

    Raises ``ServiceFault`` InvalidEventSelectorsException.
    """
    if not members:
        raise _invalid("Specify at least one advanced event selector for your trail.")
    selectors = tuple(_parse_advanced(each) for each in members)
    values = sum(
        len(getattr(field, attribute))
        for each in selectors
        for field in each.field_selectors
        for attribute in _OPERATORS.values()
    )
    if values > MAX_ADVANCED_VALUES:
        raise _invalid(
            f"Specify at most {MAX_ADVANCED_VALUES} values for all conditions of all advanced event selectors;"
            f" there are {values}."
        )
    return selectors


def _parse_advanced(member: Mapping[str, Any]) -> AdvancedEventSelector:
    fields = tuple(_parse_field(each) for each in member.get("FieldSelectors") or ())
    categories = [each for each in fields if each.field == "eventCategory"]
    if len(categories) != 1:
        raise _invalid("An advanced event selector must have exactly one field selector for eventCategory.")
    _check_field(categories[0], _CATEGORY)
    category = categories[0].equals[0]
    rules = _FIELD_RULES[category]
    for each in fields:
        rule = rules.get(each.field)
        if rule is None:
            raise _invalid(f"Field {each.field} is not supported for eventCategory {category}.")
        _check_field(each, rule)
    _check_occurrences(fields, rules, category)
    return AdvancedEventSelector(name=member.get("Name") or "", field_selectors=fields)


def _parse_field(member: Mapping[str, Any]) -> FieldSelector:
    field = FieldSelector(
        field=member.get("Field", ""),
        **{attribute: tuple(member.get(name) or ()) for name, attribute in _OPERATORS.items()},
    )
    if not _used_operators(field):
        raise _invalid(f"Field {field.field} has no operator with a value.")
    return field


def _used_operators(field: FieldSelector) -> list[str]:
    return [name for name, attribute in _OPERATORS.items() if getattr(field, attribute)]


def _check_field(field: FieldSelector, rule: _FieldRule) -> None:
    used = _used_operators(field)
    for operator in used:
        if operator not in rule.operators:
            allowed = ", ".join(name for name in _OPERATORS if name in rule.operators)
            raise _invalid(f"Operator {operator} is not supported for field {field.field}; use {allowed}.")
    values = [value for name in used for value in getattr(field, _OPERATORS[name])]
    if rule.single and len(values) != 1:
        raise _invalid(f"Field {field.field} must have exactly one value.")
    for value in values:
        bad_type = field.field == "resources.type" and _RESOURCE_TYPE.fullmatch(value) is None
        if bad_type or not value or (rule.values is not None and value not in rule.values):
            raise _invalid_value(value, field.field)


def _check_occurrences(fields: Sequence[FieldSelector], rules: Mapping[str, _FieldRule], category: str) -> None:
    for name, rule in rules.items():
        count = sum(each.field == name for each in fields)
        if rule.required and count == 0:
            raise _invalid(f"Field {name} is required for eventCategory {category}.")
        if rule.single and count > 1:
            raise _invalid(f"Field {name} can be used only once in an advanced event selector.")


def format_event_selectors(selectors: Sequence[EventSelector]) -> list[dict[str, Any]]:
    """The API's form of basic selectors, every member written."""
    return [
        {
            "ReadWriteType": each.read_write_type.value,
            "IncludeManagementEvents": each.include_management_events,
            "DataResources": [{"Type": r.type, "Values": list(r.values)} for r in each.data_resources],
            "ExcludeManagementEventSources": list(each.exclude_management_event_sources),
        }
        for each in selectors
    ]


def format_advanced_event_selectors(selectors: Sequence[AdvancedEventSelector]) -> list[dict[str, Any]]:
    """The API's form of advanced selectors: only the operators that are used."""
    return [
        ({"Name": each.name} if each.name else {})
        | {
            "FieldSelectors": [
                {"Field": f.field} | {name: list(getattr(f, _OPERATORS[name])) for name in _used_operators(f)}
                for f in each.field_selectors
            ]
        }
        for each in selectors
    ]


def _invalid(message: str) -> ServiceFault:
    return ServiceFault("InvalidEventSelectorsException", message)


def _invalid_value(value: object, member: str) -> ServiceFault:
    return _invalid(f"Value {value} for {member} is invalid.")
