"""CreateTrail, UpdateTrail and DeleteTrail: a trail's settings, and what CloudTrail refuses in them.

Destinations that this endpoint does not have (SNS, KMS, CloudWatch Logs) are refused with the error that AWS gives for
one that does not exist: accepting them and delivering nothing would be a lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from opentrail.core.errors import ServiceFault
from opentrail.core.trails import (
    Trail,
    check_bucket_name,
    check_global_events,
    check_prefix,
    check_tags,
    check_trail_name,
    trail_arn,
)
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry, Permission
from opentrail.services.cloudtrail.deps import CloudTrailDeps
from opentrail.services.cloudtrail.lookup import (
    find_trail_at_home,
    trail_not_found,
    trail_permission,
)
from opentrail.services.cloudtrail.organization_trails import (
    folders_of,
    organization_to_record,
    wanted_organization_id,
)
from opentrail.state.trails import Snapshot

TRAILS_PER_REGION = 5


def create_trail(call: ApiCall, deps: CloudTrailDeps) -> Mapping[str, Any]:
    """CreateTrail.  The new trail does not log until StartLogging."""
    name = call.parameters["Name"]
    check_trail_name(name)
    bare = Trail(account_id=call.account_id, home_region=call.region, name=name, bucket="")
    if call.parameters.get("IsOrganizationTrail"):
        organization = organization_to_record(call, deps)
        bare = replace(
            bare, account_id=organization.management_account_id, organization_id=organization.organization_id
        )
    tags = [(tag["Key"], tag.get("Value") or "") for tag in call.parameters.get("TagsList") or ()]
    trail = replace(_apply_settings(bare, call.parameters), tags=check_tags(tags, {}))
    _check_settings(trail)
    _check_room(trail, deps.trails.current, new=True)
    deps.check_bucket(trail.bucket, folders_of(trail, deps), trail.arn)

    def create(trails: Snapshot) -> Trail:
        _check_room(trail, trails, new=True)
        return trail

    deps.trails.change(trail.arn, call.now, create)
    deps.deliveries.forget(trail.arn)  # of an earlier trail of this name
    return describe_settings(trail)


def update_trail(call: ApiCall, deps: CloudTrailDeps) -> Mapping[str, Any]:
    """UpdateTrail: the settings that the call names; the others stay."""
    present = find_trail_at_home(call, deps, call.parameters["Name"]).trail
    organization_id = wanted_organization_id(call, deps, present)
    wanted = replace(_apply_settings(present, call.parameters), organization_id=organization_id)
    _check_settings(wanted)
    deps.check_bucket(wanted.bucket, folders_of(wanted, deps), wanted.arn)

    def update(trails: Snapshot) -> Trail:
        revision = trails.get(present.arn)
        if revision is None:
            raise trail_not_found(call, present.arn)
        updated = replace(_apply_settings(revision.trail, call.parameters), organization_id=organization_id)
        _check_settings(updated)
        _check_room(updated, trails, new=False)
        return updated

    revision = deps.trails.change(present.arn, call.now, update)
    assert revision is not None, "an update leaves a trail"
    return describe_settings(revision.trail)


def delete_trail(call: ApiCall, deps: CloudTrailDeps) -> Mapping[str, Any]:
    """DeleteTrail, logging or not; what it has delivered stays."""
    arn = find_trail_at_home(call, deps, call.parameters["Name"]).trail.arn
    deps.trails.change(arn, call.now, lambda _trails: None)
    deps.deliveries.forget(arn)
    return {}


def describe_settings(trail: Trail) -> dict[str, Any]:
    """The settings as CreateTrail and UpdateTrail answer them; optional text only where it is set."""
    described: dict[str, Any] = {
        "Name": trail.name,
        "S3BucketName": trail.bucket,
        "IncludeGlobalServiceEvents": trail.include_global_service_events,
        "IsMultiRegionTrail": trail.is_multi_region,
        "TrailARN": trail.arn,
        "LogFileValidationEnabled": trail.log_file_validation_enabled,
        "IsOrganizationTrail": trail.is_organization,
        "RecursiveLogging": trail.recursive_logging,
    }
    optional = {
        "S3KeyPrefix": trail.prefix,
        "SnsTopicName": trail.sns_topic_arn.rpartition(":")[2],
        "SnsTopicARN": trail.sns_topic_arn,
        "CloudWatchLogsLogGroupArn": trail.cloud_watch_logs_log_group_arn,
        "CloudWatchLogsRoleArn": trail.cloud_watch_logs_role_arn,
        "KmsKeyId": trail.kms_key_id,
    }
    return described | {name: value for name, value in optional.items() if value}


_SETTINGS = {  # the API's member -> the attribute of Trail
    "S3BucketName": "bucket",
    "S3KeyPrefix": "prefix",
    "IncludeGlobalServiceEvents": "include_global_service_events",
    "IsMultiRegionTrail": "is_multi_region",
    "EnableLogFileValidation": "log_file_validation_enabled",
    "RecursiveLogging": "recursive_logging",
}

_UNAVAILABLE = {  # a member that asks for what is not here -> the code of AWS's answer, and ours to the reader
    "SnsTopicName": ("InvalidSnsTopicNameException", "SNS topic {value} does not exist: this endpoint has no SNS."),
    "CloudWatchLogsLogGroupArn": (
        "InvalidCloudWatchLogsLogGroupArnException",
        "CloudWatch Logs log group {value} does not exist: this endpoint has no CloudWatch Logs.",
    ),
    "CloudWatchLogsRoleArn": (
        "InvalidCloudWatchLogsRoleArnException",
        "CloudWatchLogsRoleArn {value} cannot be used: this endpoint has no CloudWatch Logs.",
    ),
    "KmsKeyId": ("KmsKeyNotFoundException", "KMS key {value} does not exist: this endpoint has no KMS."),
}


def _apply_settings(trail: Trail, parameters: Mapping[str, Any]) -> Trail:
    for member, (code, message) in _UNAVAILABLE.items():
        value = parameters.get(member)
        if value:  # an empty one takes away what is not there
            raise ServiceFault(code, message.format(value=value))
    given = {attribute: parameters[member] for member, attribute in _SETTINGS.items() if member in parameters}
    return replace(trail, **given)


def _check_settings(trail: Trail) -> None:
    check_bucket_name(trail.bucket)
    check_prefix(trail.prefix)
    check_global_events(
        is_multi_region=trail.is_multi_region, include_global_service_events=trail.include_global_service_events
    )


def _check_room(trail: Trail, trails: Snapshot, *, new: bool) -> None:
    """Refuse a trail whose name is in use where it is seen, or for which a region has no room, shadows counted."""
    if new and trail.arn in trails:
        raise _already_exists(trail)
    others = [
        each.trail for arn, each in trails.items() if each.trail.account_id == trail.account_id and arn != trail.arn
    ]
    if any(each.name == trail.name and (each.is_multi_region or trail.is_multi_region) for each in others):
        raise _already_exists(trail)
    regions = (
        {trail.home_region, *(each.home_region for each in others)} if trail.is_multi_region else {trail.home_region}
    )
    for region in sorted(regions):
        if sum(each.exists_in(region) for each in others) >= TRAILS_PER_REGION:
            raise ServiceFault(
                "MaximumNumberOfTrailsExceededException",
                f"User: {trail.account_id} already has {TRAILS_PER_REGION} trails in {region}.",
            )


def _already_exists(trail: Trail) -> ServiceFault:
    return ServiceFault(
        "TrailAlreadyExistsException", f"Trail {trail.name} already exists for customer: {trail.account_id}"
    )


def _create_permissions(call: ApiCall, deps: CloudTrailDeps) -> tuple[Permission, ...]:
    name = call.parameters["Name"]
    check_trail_name(name)
    tags = call.parameters.get("TagsList") or ()
    context = {f"aws:requesttag/{tag['Key'].lower()}": [tag.get("Value") or ""] for tag in tags}
    if tags:
        context["aws:tagkeys"] = [tag["Key"] for tag in tags]
    membership = deps.organizations.membership(call.account_id) if call.parameters.get("IsOrganizationTrail") else None
    owner = membership.management_account_id if membership else call.account_id
    arn = trail_arn(call.region, owner, name)
    return (Permission(action="cloudtrail:CreateTrail", resource=arn, context=context),)


SETTINGS_OPERATIONS: Mapping[str, OperationEntry[CloudTrailDeps]] = {
    "CreateTrail": OperationEntry(handler=create_trail, permissions=_create_permissions, writes=True),
    "UpdateTrail": OperationEntry(handler=update_trail, permissions=trail_permission("UpdateTrail"), writes=True),
    "DeleteTrail": OperationEntry(handler=delete_trail, permissions=trail_permission("DeleteTrail"), writes=True),
}
