"""Managed policies attached to users, groups and roles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry
from opentrail.services.iam.caller import IamDeps
from opentrail.services.iam.faults import no_such_entity, quota_exceeded
from opentrail.services.iam.kinds import KINDS, Kind
from opentrail.services.iam.paging import paginate
from opentrail.services.iam.permissions import on_entity, policy_arn, present_boundary
from opentrail.services.iam.policy_arns import find_attachable, not_found, policy_account

POLICIES_PER_ENTITY = 10


def _attachment_operations(kind: Kind) -> Mapping[str, OperationEntry[IamDeps]]:
    def attach(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
        arn = call.parameters["PolicyArn"]
        with deps.identities.changing(call.account_id) as iam:
            entity = kind.require(call, iam)
            if find_attachable(arn, call.account_id, iam) is None:
                raise no_such_entity(f"Policy {arn} does not exist or is not attachable.")
            attached = iam.policies.attached(entity.entity_id)
            if arn in attached:
                return {}
            if len(attached) >= POLICIES_PER_ENTITY:
                raise quota_exceeded(f"PoliciesPer{kind.noun}", POLICIES_PER_ENTITY)
            iam.policies.attach(entity.entity_id, arn)
        return {}

    def detach(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
        arn = call.parameters["PolicyArn"]
        policy_account(arn)
        with deps.identities.changing(call.account_id) as iam:
            if not iam.policies.detach(kind.require(call, iam).entity_id, arn):
                raise not_found(arn)
        return {}

    def list_attached(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
        prefix = call.parameters.get("PathPrefix") or "/"
        with deps.identities.reading() as iam:
            arns = iam.policies.attached(kind.require(call, iam).entity_id)
        attached = [_split(arn) for arn in arns if arn.partition(":policy")[2].startswith(prefix)]
        page, members = paginate(attached, call.parameters, lambda each: f"{each[0]}:{each[1]}")
        listed = [{"PolicyName": name, "PolicyArn": arn} for name, arn in page]
        return {"AttachedPolicies": listed, **members}

    changes = (policy_arn, present_boundary)
    return {
        f"Attach{kind.noun}Policy": OperationEntry(
            handler=attach, permissions=on_entity(kind, f"Attach{kind.noun}Policy", *changes), writes=True
        ),
        f"Detach{kind.noun}Policy": OperationEntry(
            handler=detach, permissions=on_entity(kind, f"Detach{kind.noun}Policy", *changes), writes=True
        ),
        f"ListAttached{kind.noun}Policies": OperationEntry(
            handler=list_attached, permissions=on_entity(kind, f"ListAttached{kind.noun}Policies"), writes=False
        ),
    }


def _split(arn: str) -> tuple[str, str]:
    """A policy's name and its ARN."""
    return arn.rpartition("/")[2], arn


ATTACHMENT_OPERATIONS: Mapping[str, OperationEntry[IamDeps]] = {
    name: entry for kind in KINDS for name, entry in _attachment_operations(kind).items()
}
