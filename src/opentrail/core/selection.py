"""Does a trail record an event?  Compiled once a revision of a trail, asked for every event.

Two questions, the cheap one first: ``decide`` looks at the ``Route`` alone, which is known before the record is
parsed, and says yes, no, or None: the record is needed.  ``matches`` looks at the record and always knows.  Where
``decide`` answers, ``matches`` answers the same.

Rules (user guide: "Logging management events", "Filtering data events", "Concepts: global service events"):

* A trail that is not logging records nothing; a trail records events of its own account, an organization trail those of
  every account that was in its organization while the call was made.
* A single-region trail records its home region, a multi-region trail all.  Events of global services are recorded as
  us-east-1 and reach a trail that includes them and is multi-region or at home in us-east-1.
* The selectors of a trail are alternatives; the conditions of one advanced selector hold together.
* Events from outside AWS (``ActivityAuditLog``) are selected as management events are: trails have no selectors for
  them (ADR 14).
* ``resources.type`` and ``resources.ARN`` must hold for one and the same resource of the record.
* A field that the record lacks satisfies no selecting operator and no deselecting one's refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from opentrail.core.events import ACTIVITY, DATA, MANAGEMENT
from opentrail.core.selectors import (
    DEFAULT_SELECTORS,
    AdvancedEventSelector,
    EventSelector,
    FieldSelector,
    ReadWriteType,
)
from opentrail.core.trails import Trail

Record = Mapping[str, Any]
_Subject = TypeVar("_Subject")

GLOBAL_REGION = "us-east-1"
GLOBAL_EVENT_SOURCES = frozenset(
    {
        "cloudfront.amazonaws.com",
        "iam.amazonaws.com",
        "organizations.amazonaws.com",
        "route53.amazonaws.com",
        "sts.amazonaws.com",
    }
)

_S3 = "s3.amazonaws.com"
_S3_OBJECT = "AWS::S3::Object"
_DELIVERY_PRINCIPAL = "cloudtrail.amazonaws.com"


class Route(NamedTuple):
    """What is known of an event without its record; the values are those of the record's fields."""

    account_id: str  # recipientAccountId
    region: str  # awsRegion
    category: str  # eventCategory
    read_only: bool
    event_source: str
    event_type: str
    own: bool = False  # CloudTrail's own call, to deliver
    organization_ids: tuple[str, ...] = ()  # that the account was in; no record says it


def route_of(record: Record, organization_ids: tuple[str, ...] = ()) -> Route:
    """The route of a record; one of an old version, without ``eventCategory``, is read as its other fields imply."""
    event_type = record.get("eventType", "")
    identity = _object(record, "userIdentity")
    return Route(
        account_id=record.get("recipientAccountId") or identity.get("accountId", ""),
        region=record.get("awsRegion", ""),
        category=record.get("eventCategory") or _implied_category(record, event_type),
        read_only=_is_true(record.get("readOnly", False)),
        event_source=record.get("eventSource", ""),
        event_type=event_type,
        own=identity.get("invokedBy") == _DELIVERY_PRINCIPAL,
        organization_ids=organization_ids,
    )


def _implied_category(record: Record, event_type: str) -> str:
    if event_type == "AwsCloudTrailInsight":
        return "Insight"
    if event_type == "AwsVpceEvent":
        return "NetworkActivity"
    return DATA if record.get("managementEvent") is False else MANAGEMENT


def _is_true(value: object) -> bool:
    return value is True or value == "true"


def _object(record: Record, field: str) -> Record:
    """The object in ``field``; an empty one where the record has none (EC2 writes ``""`` for an empty request)."""
    value = record.get(field)
    return value if isinstance(value, Mapping) else {}


class CompiledSelector:
    """A trail's selection, ready to be asked; built by ``compile_selector``."""

    __slots__ = ("_account_id", "_clauses", "_delivery_bucket", "_organization_id", "_regions", "_takes_global")

    def __init__(self, trail: Trail) -> None:
        self._account_id = trail.account_id if trail.is_logging else None
        self._organization_id = trail.organization_id if trail.is_logging else ""
        self._regions = None if trail.is_multi_region else frozenset({trail.home_region})
        self._takes_global = trail.include_global_service_events and trail.exists_in(GLOBAL_REGION)
        self._delivery_bucket = "" if trail.recursive_logging else trail.bucket
        self._clauses = _compile_clauses(trail)

    def decide(self, route: Route) -> bool | None:
        """Whether an event with this route is recorded; None where only its record can tell."""
        if not self._reaches(route):
            return False
        answer: bool | None = False
        for clause in self._clauses.get(_key(route), ()):
            if clause.takes(route):
                if clause.condition is None:
                    answer = True
                    break
                answer = None
        return None if answer and self._delivery_bucket and route.own else answer

    def matches(self, record: Record, organization_ids: tuple[str, ...] = ()) -> bool:
        """Whether the event of ``record``, whose account was in these organizations, is recorded."""
        route = route_of(record, organization_ids)
        if not self._reaches(route) or self._is_own_delivery(record, route):
            return False
        return any(
            clause.takes(route) and (clause.condition is None or clause.condition(record))
            for clause in self._clauses.get(_key(route), ())
        )

    def _reaches(self, route: Route) -> bool:
        if route.account_id != self._account_id and (
            not self._organization_id or self._organization_id not in route.organization_ids
        ):
            return False
        if route.region == GLOBAL_REGION and route.event_source in GLOBAL_EVENT_SOURCES:
            return self._takes_global
        return self._regions is None or route.region in self._regions

    def _is_own_delivery(self, record: Record, route: Route) -> bool:
        if not (self._delivery_bucket and route.own):
            return False
        return bool(_object(record, "requestParameters").get("bucketName") == self._delivery_bucket)


def compile_selector(trail: Trail) -> CompiledSelector:
    """Prepare ``trail`` for many events; costs some microseconds."""
    return CompiledSelector(trail)


def selects(trail: Trail, record: Record, organization_ids: tuple[str, ...] = ()) -> bool:
    """Whether ``trail`` records the event of ``record`` (for a single question)."""
    return compile_selector(trail).matches(record, organization_ids)


class _Clause(NamedTuple):
    """One selector for one category and one value of readOnly: a test of the route, then one of the record."""

    takes: Callable[[Route], bool]
    condition: Callable[[Record], bool] | None  # None: the route has told all


_Key = tuple[str, bool]  # category, read_only


def _key(route: Route) -> _Key:
    return MANAGEMENT if route.category == ACTIVITY else route.category, route.read_only


def _compile_clauses(trail: Trail) -> Mapping[_Key, Sequence[_Clause]]:
    clauses: dict[_Key, list[_Clause]] = {}
    compiled: Iterator[tuple[str, Sequence[bool], _Clause]]
    if trail.advanced_event_selectors:
        compiled = (_compile_advanced(each) for each in trail.advanced_event_selectors)
    else:
        compiled = (part for each in trail.event_selectors or DEFAULT_SELECTORS for part in _compile_basic(each))
    for category, read_only_values, clause in compiled:
        for read_only in read_only_values:
            clauses.setdefault((category, read_only), []).append(clause)
    return clauses


_READ_ONLY_VALUES: Mapping[ReadWriteType, Sequence[bool]] = {
    ReadWriteType.READ_ONLY: (True,),
    ReadWriteType.WRITE_ONLY: (False,),
    ReadWriteType.ALL: (True, False),
}


def _compile_basic(selector: EventSelector) -> Iterator[tuple[str, Sequence[bool], _Clause]]:
    read_only_values = _READ_ONLY_VALUES[selector.read_write_type]
    if selector.include_management_events:
        excluded = frozenset(selector.exclude_management_event_sources)
        takes = _take_all if not excluded else lambda route: route.event_source not in excluded
        yield MANAGEMENT, read_only_values, _Clause(takes, None)
    for resource in selector.data_resources:
        if resource.values:
            accepts = _arn_test(resource.type, resource.values)
            yield DATA, read_only_values, _Clause(_take_all, _resource_test(resource.type, accepts))


def _take_all(_route: Route) -> bool:
    return True


def _arn_test(kind: str, values: Sequence[str]) -> Callable[[str], bool]:
    """S3 values are beginnings of ARNs; other values are whole ARNs, unless they name only the service."""
    if kind == _S3_OBJECT:
        beginnings = tuple(values)
    else:
        beginnings = tuple(f"{value}:" for value in values if value.count(":") == 2)
    exact = frozenset(values)
    return lambda arn: arn in exact or arn.startswith(beginnings)


def _compile_advanced(selector: AdvancedEventSelector) -> tuple[str, Sequence[bool], _Clause]:
    read_only_values: Sequence[bool] = (True, False)
    route_tests: list[Callable[[Route], bool]] = []
    record_tests: list[Callable[[Record], bool]] = []
    arn_tests: list[Callable[[str], bool]] = []
    resource_type = ""
    for field in selector.field_selectors:
        if field.field == "readOnly":
            read_only_values = (field.equals[0] == "true",)
        elif field.field == "resources.type":
            resource_type = field.equals[0]
        elif field.field == "resources.ARN":
            arn_tests.append(_field_test(field))
        elif field.field in _ROUTE_FIELDS:
            route_tests.append(_apply(_field_test(field), _ROUTE_FIELDS[field.field]))
        elif field.field != "eventCategory":
            record_tests.append(_apply(_field_test(field), _RECORD_FIELDS[field.field]))
    if resource_type:
        record_tests.append(_resource_test(resource_type, _all_of(arn_tests)))
    condition = _all_of(record_tests) if record_tests else None
    return selector.category, read_only_values, _Clause(_all_of(route_tests), condition)


_ROUTE_FIELDS: Mapping[str, Callable[[Route], str]] = {
    "eventSource": lambda route: route.event_source,
    "eventType": lambda route: route.event_type,
}

_RECORD_FIELDS: Mapping[str, Callable[[Record], str]] = {  # "" where the record has no such field
    "eventName": lambda record: record.get("eventName") or "",
    "errorCode": lambda record: record.get("errorCode") or "",
    "vpcEndpointId": lambda record: record.get("vpcEndpointId") or "",
    "userIdentity.arn": lambda record: _object(record, "userIdentity").get("arn") or "",
    "sessionCredentialFromConsole": lambda record: str(record.get("sessionCredentialFromConsole") or "").lower(),
}


def _apply(test: Callable[[str], bool], value_of: Callable[[_Subject], str]) -> Callable[[_Subject], bool]:
    return lambda subject: test(value_of(subject))


def _all_of(tests: Sequence[Callable[[_Subject], bool]]) -> Callable[[_Subject], bool]:
    if len(tests) == 1:
        return tests[0]
    return lambda subject: all(test(subject) for test in tests)


def _field_test(field: FieldSelector) -> Callable[[str], bool]:
    """The conditions on one field; values are never empty, so a missing field (``""``) meets none of them."""
    equals, not_equals = frozenset(field.equals), frozenset(field.not_equals)
    selecting = bool(field.equals or field.starts_with or field.ends_with)

    def test(value: str) -> bool:
        if selecting and not (
            value in equals or value.startswith(field.starts_with) or value.endswith(field.ends_with)
        ):
            return False
        return not (
            value in not_equals or value.startswith(field.not_starts_with) or value.endswith(field.not_ends_with)
        )

    return test


def _resource_test(kind: str, accepts: Callable[[str], bool]) -> Callable[[Record], bool]:
    return lambda record: any(accepts(arn) for arn in _resource_arns(record, kind))


def _resource_arns(record: Record, kind: str) -> list[str]:
    """The ARNs (or, for a listing, the beginning of ARNs) of the record's resources of type ``kind``.

    A record of S3 data that names its bucket alone concerns objects of that bucket without naming one: ``bucket/``.
    """
    resources = record.get("resources") or ()
    arns = [each.get("ARN") or each.get("ARNPrefix") or "" for each in resources if each.get("type") == kind]
    if not arns and kind == _S3_OBJECT and record.get("eventSource") == _S3:
        arns = [f"{each['ARN']}/" for each in resources if each.get("type") == "AWS::S3::Bucket" and each.get("ARN")]
    return arns
