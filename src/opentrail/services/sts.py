"""STS: who am I.  Anyone who can sign may ask, whatever any policy says (STS API reference, GetCallerIdentity)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry, Permission


def get_caller_identity(call: ApiCall, _deps: None) -> Mapping[str, Any]:
    """GetCallerIdentity."""
    return {"UserId": call.identity.principal_id, "Account": call.account_id, "Arn": call.identity.arn}


def _nothing(_call: ApiCall, _deps: None) -> tuple[Permission, ...]:
    return ()


STS_OPERATIONS: Mapping[str, OperationEntry[None]] = {
    "GetCallerIdentity": OperationEntry(
        handler=get_caller_identity, permissions=_nothing, writes=False, blocking=False
    ),
}
