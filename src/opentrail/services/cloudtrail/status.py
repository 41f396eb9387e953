"""StartLogging, StopLogging and GetTrailStatus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from opentrail.core.events import format_time
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
from opentrail.state.deliveries import Channel
from opentrail.state.trails import Snapshot


def start_logging(call: ApiCall, deps: CloudTrailDeps) -> Mapping[str, Any]:
    """StartLogging; nothing happens where the trail is logging."""
    _set_logging(call, deps, is_logging=True)
    return {}


def stop_logging(call: ApiCall, deps: CloudTrailDeps) -> Mapping[str, Any]:
    """StopLogging; nothing happens where the trail is not logging."""
    _set_logging(call, deps, is_logging=False)
    return {}


def _set_logging(call: ApiCall, deps: CloudTrailDeps, *, is_logging: bool) -> None:
    arn = find_trail_at_home(call, deps, call.parameters["Name"]).trail.arn

    def change(trails: Snapshot) -> Trail:
        if arn not in trails:
            raise trail_not_found(call, arn)
        return replace(trails[arn].trail, is_logging=is_logging)

    deps.trails.change(arn, call.now, change)


def get_trail_status(call: ApiCall, deps: CloudTrailDeps) -> Mapping[str, Any]:
    """GetTrailStatus, of the caller's account and the call's region where the trail is seen there, else of its home.

    Times that never were are left out; the fields that AWS calls "no longer in use" are text, empty for never.
    """
    revision = find_trail(call, deps, call.parameters["Name"])
    trail = revision.trail
    region = call.region if trail.exists_in(call.region) else trail.home_region
    files, digests, notifications, log_events = (
        deps.deliveries.status(trail.arn, call.account_id, region, each)
        for each in (Channel.LOG_FILES, Channel.DIGESTS, Channel.NOTIFICATIONS, Channel.CLOUD_WATCH_LOGS)
    )
    optional = {
        "LatestDeliveryError": files.error,
        "LatestDeliveryTime": files.delivered,
        "LatestDigestDeliveryError": digests.error,
        "LatestDigestDeliveryTime": digests.delivered,
        "LatestNotificationError": notifications.error,
        "LatestNotificationTime": notifications.delivered,
        "LatestCloudWatchLogsDeliveryError": log_events.error,
        "LatestCloudWatchLogsDeliveryTime": log_events.delivered,
        "StartLoggingTime": revision.started,
        "StopLoggingTime": revision.stopped,
    }
    return {
        "IsLogging": trail.is_logging,
        **{name: value for name, value in optional.items() if value},
        "LatestDeliveryAttemptTime": _text(files.attempted),
        "LatestDeliveryAttemptSucceeded": _text(files.delivered),
        "LatestNotificationAttemptTime": _text(notifications.attempted),
        "LatestNotificationAttemptSucceeded": _text(notifications.delivered),
        "TimeLoggingStarted": _text(revision.started),
        "TimeLoggingStopped": _text(revision.stopped),
    }


def _text(moment: datetime | None) -> str:
    return format_time(moment) if moment else ""


LOGGING_OPERATIONS: Mapping[str, OperationEntry[CloudTrailDeps]] = {
    "StartLogging": OperationEntry(handler=start_logging, permissions=trail_permission("StartLogging"), writes=True),
    "StopLogging": OperationEntry(handler=stop_logging, permissions=trail_permission("StopLogging"), writes=True),
    "GetTrailStatus": OperationEntry(
        handler=get_trail_status, permissions=trail_permission("GetTrailStatus"), writes=False, blocking=False
    ),
}
