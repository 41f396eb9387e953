"""Which trail a call of CloudTrail's means, and the permission that it needs.

Rules (CloudTrail API reference, DescribeTrails, GetTrailStatus, StopLogging):

* A name means a trail of the caller's account whose home is the call's region; an ARN means that trail, wherever its
  home is, also an organization trail of the caller's organization.
* What changes a trail must be called in its home region.  A multi-region trail is seen in every other region as a
  shadow: naming it there in such a call is an ``InvalidHomeRegionException``.
"""

from __future__ import annotations

from collections.abc import Callable

from opentrail.core.errors import ServiceFault
from opentrail.core.trails import Trail, check_trail_name, parse_trail_arn, trail_arn
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import Permission
from opentrail.services.cloudtrail.deps import CloudTrailDeps
from opentrail.services.cloudtrail.organization_trails import check_administers, organization_id_of
from opentrail.state.trails import TrailRevision


def arn_of(call: ApiCall, name_or_arn: str) -> str:
    """The ARN that a call means.

    Raises ``ServiceFault`` InvalidTrailNameException or CloudTrailARNInvalidException.
    """
    if name_or_arn.startswith("arn:"):
        parse_trail_arn(name_or_arn)
        return name_or_arn
    check_trail_name(name_or_arn)
    return trail_arn(call.region, call.account_id, name_or_arn)


def find_trail(call: ApiCall, deps: CloudTrailDeps, name_or_arn: str) -> TrailRevision:
    """The trail that a reading call means.

    Raises ``ServiceFault``, TrailNotFoundException among others.
    """
    arn = arn_of(call, name_or_arn)
    revision = deps.trails.find(arn)
    if revision is None or not is_seen(call, deps, revision.trail):
        raise trail_not_found(call, arn)
    return revision


def is_seen(call: ApiCall, deps: CloudTrailDeps, trail: Trail) -> bool:
    """Whether the caller's account sees the trail: it is its own, or its organization's."""
    if trail.account_id == call.account_id:
        return True
    return trail.is_organization and trail.organization_id == organization_id_of(call.account_id, deps)


def find_trail_at_home(call: ApiCall, deps: CloudTrailDeps, name_or_arn: str) -> TrailRevision:
    """The trail that a changing call means: made in its home region, by an account that may change it.

    Raises ``ServiceFault``: InvalidHomeRegionException or NotOrganizationMasterAccountException among others.
    """
    if not name_or_arn.startswith("arn:"):
        shadow = _find_shadow(call, deps, name_or_arn)
        if shadow is not None:
            raise _wrong_region(call, shadow)
    revision = find_trail(call, deps, name_or_arn)
    check_administers(call, deps, revision.trail)
    if revision.trail.home_region != call.region:
        raise _wrong_region(call, revision)
    return revision


def _find_shadow(call: ApiCall, deps: CloudTrailDeps, name: str) -> TrailRevision | None:
    for each in deps.trails.of_account(call.account_id):
        trail = each.trail
        if trail.name == name and trail.is_multi_region and trail.home_region != call.region:
            return each
    return None


def _wrong_region(call: ApiCall, revision: TrailRevision) -> ServiceFault:
    trail = revision.trail
    return ServiceFault(
        "InvalidHomeRegionException",
        f"{call.operation.name} cannot be called on trail {trail.name} in region {call.region}:"
        f" call it in the trail's home region, {trail.home_region}.",
    )


def trail_not_found(call: ApiCall, arn: str) -> ServiceFault:
    """The fault for a trail that is not there."""
    return ServiceFault("TrailNotFoundException", f"Unknown trail: {arn} for the user: {call.account_id}")


def trail_permission(action: str, member: str = "Name") -> Callable[[ApiCall, CloudTrailDeps], tuple[Permission, ...]]:
    """The permission for ``cloudtrail:action`` on the trail that the parameter ``member`` means."""

    def permissions(call: ApiCall, deps: CloudTrailDeps) -> tuple[Permission, ...]:
        text = call.parameters[member]
        arn = arn_of(call, text)
        if not text.startswith("arn:"):
            shadow = _find_shadow(call, deps, text)
            arn = shadow.trail.arn if shadow else arn
        return (Permission(action=f"cloudtrail:{action}", resource=arn),)

    return permissions


def any_resource_permission(action: str) -> Callable[[ApiCall, CloudTrailDeps], tuple[Permission, ...]]:
    """The permission for ``cloudtrail:action``, which knows no resources."""
    return lambda _call, _deps: (Permission(action=f"cloudtrail:{action}", resource="*"),)
