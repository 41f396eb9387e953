"""Permissions boundaries of users and roles: a managed policy beyond which nothing is granted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry
from opentrail.services.iam.caller import IamDeps
from opentrail.services.iam.faults import no_such_entity
from opentrail.services.iam.kinds import ROLE, USER, Kind
from opentrail.services.iam.permissions import on_entity, present_boundary, requested_boundary
from opentrail.services.iam.policy_arns import find_attachable
from opentrail.state.identities import Iam


def check_boundary(arn: str | None, call: ApiCall, iam: Iam) -> None:
    """Refuse what is no managed policy that the account can use; None is no boundary.

    Raises ``ServiceFault`` NoSuchEntity or InvalidInput.
    """
    if arn is not None and find_attachable(arn, call.account_id, iam) is None:
        raise no_such_entity(f"Scope ARN: {arn} does not exist or is not attachable.")


def _boundary_operations(kind: Kind) -> Mapping[str, OperationEntry[IamDeps]]:
    def write(call: ApiCall, deps: IamDeps, boundary: str | None) -> Mapping[str, Any]:
        with deps.identities.changing(call.account_id) as iam:
            entity = kind.require(call, iam)
            check_boundary(boundary, call, iam)
            iam.entities.update(replace(entity, boundary=boundary))
        return {}

    name = f"{kind.noun}PermissionsBoundary"
    return {
        f"Put{name}": OperationEntry(
            handler=lambda call, deps: write(call, deps, call.parameters["PermissionsBoundary"]),
            permissions=on_entity(kind, f"Put{name}", requested_boundary),
            writes=True,
        ),
        f"Delete{name}": OperationEntry(
            handler=lambda call, deps: write(call, deps, None),
            permissions=on_entity(kind, f"Delete{name}", present_boundary),
            writes=True,
        ),
    }


BOUNDARY_OPERATIONS: Mapping[str, OperationEntry[IamDeps]] = {
    **_boundary_operations(USER),
    **_boundary_operations(ROLE),
}
