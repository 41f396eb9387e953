"""GetTrail, DescribeTrails and ListTrails.  They answer from memory."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from opentrail.core.errors import ServiceFault
from opentrail.core.trails import Trail
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry
from opentrail.services.cloudtrail.deps import CloudTrailDeps
from opentrail.services.cloudtrail.lookup import (
    any_resource_permission,
    arn_of,
    find_trail,
    trail_permission,
)
from opentrail.services.cloudtrail.organization_trails import organization_id_of
from opentrail.services.cloudtrail.settings import describe_settings

TRAILS_PER_PAGE = 100


def get_trail(call: ApiCall, deps: CloudTrailDeps) -> Mapping[str, Any]:
    """GetTrail."""
    return {"Trail": _describe(find_trail(call, deps, call.parameters["Name"]).trail)}


def describe_trails(call: ApiCall, deps: CloudTrailDeps) -> Mapping[str, Any]:
    """DescribeTrails: those named, or all seen in the region; shadows too unless the caller declines them.

    A shadow is a trail of another region, or, in a member account, the organization's.  What is not found is left out.
    """
    names = call.parameters.get("trailNameList") or ()
    shadows = call.parameters.get("includeShadowTrails", True)
    trails = _seen(call, deps)
    if names:
        asked = {arn_of(call, each) for each in names}
        trails = [each for each in trails if each.arn in asked]
    else:
        trails = [each for each in trails if each.exists_in(call.region)]
    here = (call.region, call.account_id)
    return {"trailList": [_describe(each) for each in trails if shadows or (each.home_region, each.account_id) == here]}


def list_trails(call: ApiCall, deps: CloudTrailDeps) -> Mapping[str, Any]:
    """ListTrails: all trails of the account and its organization, whatever their region, by ARN."""
    after = _parse_token(call.parameters.get("NextToken") or "")
    trails = [each for each in _seen(call, deps) if each.arn > after]
    page = trails[:TRAILS_PER_PAGE]
    answer: dict[str, Any] = {
        "Trails": [{"TrailARN": each.arn, "Name": each.name, "HomeRegion": each.home_region} for each in page]
    }
    if len(trails) > len(page):
        answer["NextToken"] = base64.urlsafe_b64encode(page[-1].arn.encode()).decode()
    return answer


def _parse_token(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise ServiceFault("InvalidNextTokenException", "NextToken is not one that ListTrails gave.") from None


def _seen(call: ApiCall, deps: CloudTrailDeps) -> list[Trail]:
    """The trails that the caller's account sees, by ARN."""
    return [each.trail for each in deps.trails.seen_by(call.account_id, organization_id_of(call.account_id, deps))]


def _describe(trail: Trail) -> dict[str, Any]:
    return {
        **describe_settings(trail),
        "HomeRegion": trail.home_region,
        "HasCustomEventSelectors": trail.has_custom_event_selectors,
        "HasInsightSelectors": False,  # there are no Insights
    }


READING_OPERATIONS: Mapping[str, OperationEntry[CloudTrailDeps]] = {
    "GetTrail": OperationEntry(
        handler=get_trail, permissions=trail_permission("GetTrail"), writes=False, blocking=False
    ),
    "DescribeTrails": OperationEntry(
        handler=describe_trails, permissions=any_resource_permission("DescribeTrails"), writes=False, blocking=False
    ),
    "ListTrails": OperationEntry(
        handler=list_trails, permissions=any_resource_permission("ListTrails"), writes=False, blocking=False
    ),
}
