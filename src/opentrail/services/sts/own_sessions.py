"""GetSessionToken and GetFederationToken: what users, and root, make of their own long-term keys.

Rules: only a long-term key makes such sessions; root's last an hour at most; a federated user may do what its user and
the session's policies both allow, which without any such policy is nothing.

Source: STS API reference, "GetSessionToken", "GetFederationToken".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentrail.core.identity import IdentityType
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import Permission
from opentrail.services.sts.deps import StsDeps
from opentrail.services.sts.issuing import issue_federation, issue_own_session
from opentrail.services.sts.session_parameters import (
    read_session_parameters,
    read_tags,
    require_no_device,
    tag_context,
)

OWN_SECONDS = 43_200  # unless the call asks for something else
ROOT_SECONDS = 3600  # at most


def get_session_token(call: ApiCall, deps: StsDeps) -> Mapping[str, Any]:
    """GetSessionToken."""
    require_no_device(call.parameters)
    return issue_own_session(call, deps, seconds=_seconds(call))


def federation_permissions(call: ApiCall, _deps: StsDeps) -> tuple[Permission, ...]:
    """``sts:GetFederationToken`` on the federated user, and ``sts:TagSession`` where it gets tags."""
    tags = read_tags(call.parameters.get("Tags") or ())
    context = tag_context(tags)
    if call.parameters.get("DurationSeconds") is not None:
        context["sts:durationseconds"] = [str(call.parameters["DurationSeconds"])]
    resource = f"arn:aws:sts::{call.account_id}:federated-user/{call.parameters['Name']}"
    actions = ("GetFederationToken", "TagSession") if tags else ("GetFederationToken",)
    return tuple(Permission(action=f"sts:{action}", resource=resource, context=context) for action in actions)


def get_federation_token(call: ApiCall, deps: StsDeps) -> Mapping[str, Any]:
    """GetFederationToken."""
    tags = read_tags(call.parameters.get("Tags") or ())
    parameters = read_session_parameters(call, deps, call.account_id, tags=tags)
    return issue_federation(call, deps, seconds=_seconds(call), parameters=parameters)


def _seconds(call: ApiCall) -> int:
    is_root = call.identity.type is IdentityType.ROOT
    seconds: int = call.parameters.get("DurationSeconds") or OWN_SECONDS
    return min(seconds, ROOT_SECONDS) if is_root else seconds
