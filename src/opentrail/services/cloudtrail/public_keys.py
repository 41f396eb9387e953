"""ListPublicKeys: with what the digests of a region can be verified."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentrail.core.errors import ServiceFault
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry
from opentrail.services.cloudtrail.deps import CloudTrailDeps
from opentrail.services.cloudtrail.lookup import any_resource_permission


def list_public_keys(call: ApiCall, deps: CloudTrailDeps) -> Mapping[str, Any]:
    """ListPublicKeys of the call's region; a bound of the range that is not given is now."""
    if call.parameters.get("NextToken"):
        raise ServiceFault("InvalidTokenException", "NextToken is reserved for future use.")
    start = call.parameters.get("StartTime", call.now)
    end = call.parameters.get("EndTime", call.now)
    if start > end:
        raise ServiceFault("InvalidTimeRangeException", "StartTime must not be after EndTime.")
    return {
        "PublicKeyList": [
            {
                "Value": key.value,
                "ValidityStartTime": key.validity_start,
                "ValidityEndTime": key.validity_end,
                "Fingerprint": key.fingerprint,
            }
            for key in deps.public_keys(call.region, start, end)
        ]
    }


PUBLIC_KEY_OPERATIONS: Mapping[str, OperationEntry[CloudTrailDeps]] = {
    "ListPublicKeys": OperationEntry(
        handler=list_public_keys, permissions=any_resource_permission("ListPublicKeys"), writes=False
    ),
}
