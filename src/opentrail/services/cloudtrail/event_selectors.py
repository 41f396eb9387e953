"""PutEventSelectors and GetEventSelectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from opentrail.core.errors import ServiceFault
from opentrail.core.selectors import (
    DEFAULT_SELECTORS,
    format_advanced_event_selectors,
    format_event_selectors,
    parse_advanced_event_selectors,
    parse_event_selectors,
)
from opentrail.core.trails import Trail
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry
from opentrail.services.cloudtrail.deps import CloudTrailDeps
from opentrail.services.cloudtrail.lookup import (
    find_trail,
    find_trail_at_home,
    trail_not_found,
    trail_permission,
)
from opentrail.state.trails import Snapshot


def put_event_selectors(call: ApiCall, deps: CloudTrailDeps) -> Mapping[str, Any]:
    """PutEventSelectors: selectors of one kind replace those of both kinds."""
    arn = find_trail_at_home(call, deps, call.parameters["TrailName"]).trail.arn
    select = _parse_selectors(call.parameters)

    def put(trails: Snapshot) -> Trail:
        if arn not in trails:
            raise trail_not_found(call, arn)
        return select(trails[arn].trail)

    revision = deps.trails.change(arn, call.now, put)
    assert revision is not None, "new selectors leave a trail"
    return _describe(revision.trail)


def _parse_selectors(parameters: Mapping[str, Any]) -> Callable[[Trail], Trail]:
    basic, advanced = parameters.get("EventSelectors"), parameters.get("AdvancedEventSelectors")
    if basic and advanced:
        raise ServiceFault(
            "InvalidEventSelectorsException",
            "Specify either EventSelectors or AdvancedEventSelectors for your trail, not both.",
        )
    if advanced is not None and not basic:
        parsed_advanced = parse_advanced_event_selectors(advanced)
        return lambda trail: replace(trail, event_selectors=(), advanced_event_selectors=parsed_advanced)
    parsed = parse_event_selectors(basic or ())
    return lambda trail: replace(trail, event_selectors=parsed, advanced_event_selectors=())


def get_event_selectors(call: ApiCall, deps: CloudTrailDeps) -> Mapping[str, Any]:
    """GetEventSelectors; a trail that was given none has the default one."""
    return _describe(find_trail(call, deps, call.parameters["TrailName"]).trail)


def _describe(trail: Trail) -> dict[str, Any]:
    if trail.advanced_event_selectors:
        selectors = {"AdvancedEventSelectors": format_advanced_event_selectors(trail.advanced_event_selectors)}
    else:
        selectors = {"EventSelectors": format_event_selectors(trail.event_selectors or DEFAULT_SELECTORS)}
    return {"TrailARN": trail.arn, **selectors}


SELECTOR_OPERATIONS: Mapping[str, OperationEntry[CloudTrailDeps]] = {
    "PutEventSelectors": OperationEntry(
        handler=put_event_selectors, permissions=trail_permission("PutEventSelectors", "TrailName"), writes=True
    ),
    "GetEventSelectors": OperationEntry(
        handler=get_event_selectors,
        permissions=trail_permission("GetEventSelectors", "TrailName"),
        writes=False,
        blocking=False,
    ),
}
