"""The tables behind a record: which name, which category, what is hidden and how.

The rules are data, one document a service family (``server/record_rules/*.json``, and a user's own), merged by
``parse_rules``; this module gives them types.  What each key means, and how to add one: ``docs/records.md``.
Source: the CloudTrail user guide and the services' own guides on logging, and what real records show.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from opentrail.core.errors import FormatError
from opentrail.core.recording.adjustments import RESPONSE, Adjustment, adjustment
from opentrail.core.recording.composed import ComposedMember, parse_composed
from opentrail.core.recording.unlisted import SCALARS, unlisted_input
from opentrail.core.wire.model import ServiceModel, Shape

HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"
OMITTED = ""


class Form(StrEnum):
    """How a service's calls are written down."""

    NAMED = "named"  # by the model's member names, the first letter in lower case
    WIRE = "wire"  # by the names on the wire, values as sent
    WRAPPED = "wrapped"  # named, the body within one element (API Gateway)
    EC2 = "ec2"
    S3 = "s3"
    ATTRIBUTES = "attributes"  # named, without what is in an item's attributes (DynamoDB)


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenMember:
    """A member that is hidden though its model does not say so; lists on the way to it are passed through."""

    path: tuple[str, ...]  # of recorded names; "*" is any
    replacement: str  # OMITTED leaves the member out


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRule:
    """Which resource a call names."""

    type: str  # "AWS::KMS::Key", or "" where records show none
    values: tuple[tuple[str, ...], ...]  # where it is told, the first that is there counts: ("result", "KeyId")
    arn: str  # a template for a value that is no ARN: fields partition, region, account, value
    match: re.Pattern[str] | None  # what a value must look like; its named groups are the template's fields
    on_success: bool  # a call that failed has none


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationFacts:
    """What the rules say of one operation, whoever calls it."""

    event_source: str  # "monitoring.amazonaws.com"
    event_name: str  # for a few S3 and Lambda operations not its own name
    denied_event_name: str  # the name where the call is denied
    api_version: str  # "" for a service whose records have none
    read_only: bool  # changes nothing, by AWS's reading
    is_data: bool
    responds: bool  # what it answers is in its record
    form: Form
    replacement: str  # what stands in a hidden value's place; OMITTED leaves the member out
    hoists_response: bool  # the one structure in an answer stands in the answer's place
    hidden_request: tuple[HiddenMember, ...]
    hidden_response: tuple[HiddenMember, ...]
    keeps_labels: bool  # in the wire's form: labels of the path go by their own names
    request: Adjustment | None
    response: Adjustment | None
    resources: tuple[ResourceRule, ...]
    tables: Mapping[str, Any]  # the form's own
    additional: Mapping[str, str]  # of additionalEventData: a member's name -> its text, or where that is told
    arn_member: str  # of responseElements: where the ARN of the first resource stands, "" where it does not
    composed: tuple[ComposedMember, ...]  # of requestParameters: what the service makes of others
    unlisted: Shape | None  # the input of an operation that the service's model does not have


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRules:
    """What the documents say of one service, by its operations' names (``"*"``: all of them)."""

    event_source: str = ""
    event_names: Mapping[str, str] = field(default_factory=dict)
    denied_event_suffix: str = ""
    api_version: str = ""
    is_global: bool = False
    form: Form = Form.NAMED
    replacement: str = HIDDEN
    read_only: frozenset[str] = frozenset()
    not_read_only: frozenset[str] = frozenset()
    data_operations: frozenset[str] = frozenset()
    reads_with_response: frozenset[str] = frozenset()
    hoists_response: bool = False
    hidden_members: Mapping[str, tuple[HiddenMember, ...]] = field(default_factory=dict)
    keeps_labels: bool = False
    only_members: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    member_names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    resources: tuple[tuple[frozenset[str], ResourceRule], ...] = ()
    unlisted: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    additional: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    arn_members: Mapping[str, str] = field(default_factory=dict)
    composed: Mapping[str, tuple[ComposedMember, ...]] = field(default_factory=dict)
    tables: Mapping[str, Any] = field(default_factory=dict)  # the service's form's own

    def facts(self, service: ServiceModel, operation: str, read_prefixes: tuple[str, ...]) -> OperationFacts:
        """What these rules come to for ``operation``."""
        read_only = operation in self.read_only or (
            operation not in self.not_read_only and operation.startswith(read_prefixes)
        )
        event_name = self.event_names.get(operation, operation)
        hidden = (*self.hidden_members.get("*", ()), *self.hidden_members.get(operation, ()))
        adjusted = [
            (key, said.get(operation) or said.get("*") or {})
            for key, said in (
                ("onlyMembers", self.only_members),
                ("memberNames", self.member_names),
                ("defaults", self.defaults),
            )
        ]
        return OperationFacts(
            event_source=self.event_source or f"{service.signing_name or service.endpoint_prefix}.amazonaws.com",
            event_name=event_name,
            denied_event_name=event_name + self.denied_event_suffix,
            api_version=self.api_version,
            read_only=read_only,
            is_data=operation in self.data_operations,
            responds=not read_only or operation in self.reads_with_response,
            form=self.form,
            replacement=self.replacement,
            hoists_response=self.hoists_response,
            hidden_request=tuple(member for member in hidden if member.path[0] != RESPONSE),
            hidden_response=tuple(
                HiddenMember(path=member.path[1:], replacement=member.replacement)
                for member in hidden
                if member.path[0] == RESPONSE
            ),
            keeps_labels=self.keeps_labels,
            request=adjustment(adjusted, of_response=False),
            response=adjustment(adjusted, of_response=True),
            resources=tuple(rule for names, rule in self.resources if "*" in names or operation in names),
            tables=self.tables,
            additional=self.additional.get(operation) or self.additional.get("*") or {},
            arn_member=self.arn_members.get(operation, ""),
            composed=self.composed.get(operation, ()),
            unlisted=unlisted_input(service, operation, self.unlisted[operation])
            if operation in self.unlisted
            else None,
        )


_NO_RULES = ServiceRules()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRules:
    """How calls become records: the rules of each service, by botocore's name."""

    services: Mapping[str, ServiceRules]
    read_prefixes: tuple[str, ...]  # an operation whose name begins so only reads
    _known: dict[tuple[str, str], OperationFacts] = field(default_factory=dict, init=False, repr=False, compare=False)

    def facts(self, service: ServiceModel, operation: str) -> OperationFacts:
        """What the rules say of ``operation``, worked out once for each that the model knows."""
        name = (service.name, operation)
        facts = self._known.get(name)
        if facts is None:
            rules = self.of(service.name)
            facts = rules.facts(service, operation, self.read_prefixes)
            # Names that clients made up would fill the memory; an operation without a model has no model's protocol.
            if operation in service.operations and operation not in rules.unlisted:
                self._known[name] = facts
        return facts

    def of(self, service: str) -> ServiceRules:
        """The rules of ``service`` (botocore's name)."""
        return self.services.get(service, _NO_RULES)

    def region(self, service: str, region: str) -> str:
        """``awsRegion``: that of the endpoint, for global services us-east-1."""
        return "us-east-1" if self.of(service).is_global else region


def parse_rules(documents: Iterable[Mapping[str, Any]]) -> RecordRules:
    """The rules of all ``documents`` together: what a later one says of a service joins the rest, and counts more.

    Raises ``FormatError``, which names the service and the key.
    """
    prefixes: list[str] = []
    merged: dict[str, dict[str, Any]] = {}
    for document in documents:
        _check_keys("a record rules document", document, {"about", "readOnlyPrefixes", "services"})
        prefixes.extend(_texts("readOnlyPrefixes", document.get("readOnlyPrefixes", [])))
        for name, said in _mapping("services", document.get("services", {})).items():
            merged[name] = _merge(merged.get(name, {}), _mapping(name, said))
    services = {name: _parse_service(name, said) for name, said in merged.items()}
    return RecordRules(services=services, read_prefixes=tuple(prefixes))


def _merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Both, the second's word where they differ: mappings within them are merged, lists joined."""
    merged = dict(first)
    for name, value in second.items():
        known = merged.get(name)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            merged[name] = _merge(known, value)
        elif isinstance(known, list) and isinstance(value, list):
            merged[name] = [*known, *value]
        else:
            merged[name] = value
    return merged


def _parse_service(name: str, said: Mapping[str, Any]) -> ServiceRules:
    _check_keys(name, said, _SERVICE_KEYS)
    values: dict[str, Any] = {}
    for key, value in said.items():
        attribute, parse = _SERVICE_KEYS[key]
        values[attribute] = parse(f"{name}: {key}", value)
    return ServiceRules(**values)


def _check_keys(place: str, said: Mapping[str, Any], known: Iterable[str]) -> None:
    unknown = sorted(set(said) - set(known))
    if unknown:
        raise FormatError(f"{place}: there is no key {unknown[0]!r}; there are {', '.join(sorted(known))}")


def _mapping(place: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise FormatError(f"{place}: an object is expected")
    return value


def _text(place: str, value: Any) -> str:
    if not isinstance(value, str):
        raise FormatError(f"{place}: text is expected")
    return value


def _boolean(place: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise FormatError(f"{place}: true or false is expected")
    return value


def _texts(place: str, value: Any) -> list[str]:
    if not isinstance(value, list):
        raise FormatError(f"{place}: a list of texts is expected")
    return [_text(place, item) for item in value]


def _names(place: str, value: Any) -> frozenset[str]:
    return frozenset(_texts(place, value))


def _text_map(place: str, value: Any) -> dict[str, str]:
    return {key: _text(f"{place}: {key}", item) for key, item in _mapping(place, value).items()}


def _form(place: str, value: Any) -> Form:
    try:
        return Form(_text(place, value))
    except ValueError:
        raise FormatError(f"{place}: one of {', '.join(Form)} is expected") from None


def _replacement(place: str, value: Any) -> str:
    text = _text(place, value)
    if not text:
        raise FormatError(f'{place}: what stands in place of a hidden value is expected, or "omit"')
    return OMITTED if text == "omit" else text


def _hidden_members(place: str, value: Any) -> dict[str, tuple[HiddenMember, ...]]:
    return {
        operation: tuple(
            HiddenMember(
                path=tuple(_member_name(part) for part in path.split(".")),
                replacement=_replacement(f"{place}: {operation}: {path}", replacement),
            )
            for path, replacement in _mapping(f"{place}: {operation}", members).items()
        )
        for operation, members in _mapping(place, value).items()
    }


def _member_name(part: str) -> str:
    """A step of a path as records name it: ``Parameters[]`` is ``parameters``."""
    part = part.removesuffix("[]")
    return part[:1].lower() + part[1:]


def _only_members(place: str, value: Any) -> dict[str, Mapping[str, Any]]:
    return {
        operation: dict.fromkeys(_texts(f"{place}: {operation}", names), True)
        for operation, names in _mapping(place, value).items()
    }


def _by_operation(
    place: str, value: Any, parse: Callable[[str, Any], Mapping[str, Any]]
) -> dict[str, Mapping[str, Any]]:
    return {operation: parse(f"{place}: {operation}", said) for operation, said in _mapping(place, value).items()}


def _unlisted(place: str, value: Any) -> dict[str, Mapping[str, Any]]:
    described = _by_operation(place, value, _mapping)
    for operation, members in described.items():
        _check_described(f"{place}: {operation}", members)
    return described


def _check_described(place: str, described: Any) -> None:
    if isinstance(described, Mapping):
        for name, each in described.items():
            _check_described(f"{place}: {name}", each)
    elif isinstance(described, list) and len(described) == 1:
        _check_described(place, described[0])
    elif not isinstance(described, str) or described not in SCALARS:
        raise FormatError(f"{place}: one of {', '.join(sorted(SCALARS))}, a list of one such, or an object is expected")


def _resources(place: str, value: Any) -> tuple[tuple[frozenset[str], ResourceRule], ...]:
    if not isinstance(value, list):
        raise FormatError(f"{place}: a list of objects is expected")
    return tuple(_resource(place, _mapping(place, item)) for item in value)


def _resource(place: str, said: Mapping[str, Any]) -> tuple[frozenset[str], ResourceRule]:
    _check_keys(place, said, {"operations", "type", "values", "arn", "match", "onlyOnSuccess"})
    try:
        match = re.compile(_text(place, said["match"])) if "match" in said else None
        arn = _text(place, said.get("arn", ""))
        groups = match.groupindex if match is not None else {}
        arn.format(**dict.fromkeys({"partition", "region", "account", "value", *groups}, ""))
    except (re.error, KeyError, IndexError, ValueError) as error:
        raise FormatError(f"{place}: {error}") from None
    rule = ResourceRule(
        type=_text(place, said.get("type", "")),
        values=tuple(tuple(path.split(".")) for path in _texts(place, said.get("values", []))),
        arn=arn,
        match=match,
        on_success=_boolean(place, said.get("onlyOnSuccess", False)),
    )
    return _names(place, said.get("operations", ["*"])), rule


#: Each key of a service's rules: the attribute that it fills, and how it is read.
_SERVICE_KEYS: Mapping[str, tuple[str, Callable[[str, Any], Any]]] = {
    "eventSource": ("event_source", _text),
    "eventNames": ("event_names", _text_map),
    "deniedEventSuffix": ("denied_event_suffix", _text),
    "apiVersion": ("api_version", _text),
    "global": ("is_global", _boolean),
    "form": ("form", _form),
    "hidden": ("replacement", _replacement),
    "readOnly": ("read_only", _names),
    "notReadOnly": ("not_read_only", _names),
    "dataOperations": ("data_operations", _names),
    "readsWithResponse": ("reads_with_response", _names),
    "hoistsResponse": ("hoists_response", _boolean),
    "hiddenMembers": ("hidden_members", _hidden_members),
    "keepsLabels": ("keeps_labels", _boolean),
    "onlyMembers": ("only_members", _only_members),
    "memberNames": ("member_names", lambda place, value: _by_operation(place, value, _text_map)),
    "defaults": ("defaults", lambda place, value: _by_operation(place, value, _mapping)),
    "resources": ("resources", _resources),
    "additionalEventData": ("additional", lambda place, value: _by_operation(place, value, _text_map)),
    "respondsWithArn": ("arn_members", _text_map),
    "composedMembers": ("composed", parse_composed),
    "tables": ("tables", _mapping),
    "unlistedOperations": ("unlisted", _unlisted),
}
