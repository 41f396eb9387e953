"""Inline policies of users, groups and roles: kept as they were written, answered percent-encoded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry
from opentrail.services.iam.caller import IamDeps
from opentrail.services.iam.documents import check_identity_policy, encode_document, size
from opentrail.services.iam.faults import cannot_be_found, limit_exceeded
from opentrail.services.iam.kinds import KINDS, Kind
from opentrail.services.iam.paging import paginate
from opentrail.services.iam.permissions import on_entity, present_boundary


def _inline_operations(kind: Kind) -> Mapping[str, OperationEntry[IamDeps]]:
    def put(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
        name, document = call.parameters["PolicyName"], call.parameters["PolicyDocument"]
        check_identity_policy(document)
        with deps.identities.changing(call.account_id) as iam:
            entity = kind.require(call, iam)
            documents = {**iam.policies.inline(entity.entity_id), name: document}
            if sum(map(size, documents.values())) > kind.policy_characters:
                limit = f"{kind.policy_characters} bytes exceeded for {kind.kind} {entity.name}"
                raise limit_exceeded(f"Maximum policy size of {limit}")
            iam.policies.put_inline(entity.entity_id, name, document)
        return {}

    def get(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
        name = call.parameters["PolicyName"]
        with deps.identities.reading() as iam:
            entity = kind.require(call, iam)
            document = iam.policies.inline(entity.entity_id).get(name)
        if document is None:
            raise cannot_be_found(f"{kind.kind} policy", name)
        return {kind.name_member: entity.name, "PolicyName": name, "PolicyDocument": encode_document(document)}

    def list_names(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
        with deps.identities.reading() as iam:
            names = list(iam.policies.inline(kind.require(call, iam).entity_id))
        page, members = paginate(names, call.parameters, str)
        return {"PolicyNames": list(page), **members}

    def delete(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
        name = call.parameters["PolicyName"]
        with deps.identities.changing(call.account_id) as iam:
            if not iam.policies.remove_inline(kind.require(call, iam).entity_id, name):
                raise cannot_be_found(f"{kind.kind} policy", name)
        return {}

    return {
        f"Put{kind.noun}Policy": OperationEntry(
            handler=put, permissions=on_entity(kind, f"Put{kind.noun}Policy", present_boundary), writes=True
        ),
        f"Get{kind.noun}Policy": OperationEntry(
            handler=get, permissions=on_entity(kind, f"Get{kind.noun}Policy"), writes=False
        ),
        f"List{kind.noun}Policies": OperationEntry(
            handler=list_names, permissions=on_entity(kind, f"List{kind.noun}Policies"), writes=False
        ),
        f"Delete{kind.noun}Policy": OperationEntry(
            handler=delete, permissions=on_entity(kind, f"Delete{kind.noun}Policy", present_boundary), writes=True
        ),
    }


INLINE_POLICY_OPERATIONS: Mapping[str, OperationEntry[IamDeps]] = {
    name: entry for kind in KINDS for name, entry in _inline_operations(kind).items()
}
