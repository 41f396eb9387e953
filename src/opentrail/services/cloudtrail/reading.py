"""GetTrail, DescribeTrails and ListTrails.  They answer from memory."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from opentrail.core.errors import ServiceFault
from opentrail.core.trails import Trail
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry
from opentrail.services.cloudtrail.lookup import (
    CloudTrailDeps,
    any_resource_permission,
    arn_of,
    find_trail,
    trail_permission,
)
from opentrail.services.cloudtrail.settings import describe_settings

TRAILS_PER_PAGE = 100


def get_trail(call: ApiCall, deps: CloudTrailDeps) -> Mapping[str, Any]:
    """GetTrail."""
    return {"Trail": _describe(find_trail(call, deps, call.parameters["Name"]).trail)}


def describe_trails(call: ApiCall, deps: CloudTrailDeps) -> Mapping[str, Any]:
    """DescribeTrails: those named, or all seen in the region; shadows too unless the caller declines them.

    What is not found is left out.
    """
    names = call.parameters.get("trailNameList") or ()
    shadows = call.parameters.get("includeShadowTrails", True)
    trails = [each.trail for each in deps.trails.of_account(call.account_id)]
    if names:
        asked = {arn_of(call, each) for each in names}
        trails = [each for each in trails if each.arn in asked]
    else:
        trails = [each for each in trails if each.exists_in(call.region)]
    return {"trailList": [_describe(each) for each in trails if shadows or each.home_region == call.region]}


def list_trails(call: ApiCall, deps: CloudTrailDeps) -> Mapping[str, Any]:
    """ListTrails: all trails of the account, whatever their region, by ARN."""
    after = _parse_token(call.parameters.get("NextToken") or "")
    trails = [each.trail for each in deps.trails.of_account(call.account_id) if each.trail.arn > after]
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
