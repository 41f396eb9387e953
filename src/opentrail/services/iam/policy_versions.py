"""Versions of managed policies: up to five, one of them the default, which is the one that grants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from opentrail.core.errors import ServiceFault
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry
from opentrail.services.iam.caller import IamDeps
from opentrail.services.iam.documents import check_managed_policy, encode_document
from opentrail.services.iam.faults import delete_conflict, limit_exceeded, no_such_entity
from opentrail.services.iam.paging import paginate
from opentrail.services.iam.permissions import on_policy
from opentrail.services.iam.policy_arns import require_own, require_policy
from opentrail.state.identities import Iam
from opentrail.state.managed_policies import ManagedPolicy, PolicyVersion

VERSIONS_PER_POLICY = 5


def create_policy_version(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """CreatePolicyVersion."""
    document, created = call.parameters["PolicyDocument"], call.now.replace(microsecond=0)
    check_managed_policy(document)
    with deps.identities.changing(call.account_id) as iam:
        policy = require_own(call, iam)
        if len(iam.managed.versions(policy)) >= VERSIONS_PER_POLICY:
            raise limit_exceeded(
                f"A managed policy can have up to {VERSIONS_PER_POLICY} versions. Before you create a new version, you "
                "must delete an existing version."
            )
        version = PolicyVersion(number=policy.last_version + 1, document=document, created=created)
        default = version.number if call.parameters.get("SetAsDefault") else policy.default_version
        changed = replace(policy, last_version=version.number, default_version=default, updated=created)
        iam.managed.add_version(policy.policy_id, version)
        iam.managed.update(changed)
    return {"PolicyVersion": describe_version(version, changed)}


def get_policy_version(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """GetPolicyVersion, with its document."""
    with deps.identities.reading() as iam:
        policy = require_policy(call, iam)
        version = _require_version(policy, call, iam)
    return {"PolicyVersion": {"Document": encode_document(version.document), **describe_version(version, policy)}}


def list_policy_versions(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """ListPolicyVersions, the newest first."""
    with deps.identities.reading() as iam:
        policy = require_policy(call, iam)
        versions = iam.managed.versions(policy)
    page, members = paginate(versions, call.parameters, lambda version: f"{policy.last_version - version.number:010}")
    return {"Versions": [describe_version(version, policy) for version in page], **members}


def set_default_policy_version(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """SetDefaultPolicyVersion."""
    with deps.identities.changing(call.account_id) as iam:
        policy = require_own(call, iam)
        iam.managed.update(replace(policy, default_version=_require_version(policy, call, iam).number))
    return {}


def delete_policy_version(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """DeletePolicyVersion; the default goes with its policy only."""
    with deps.identities.changing(call.account_id) as iam:
        policy = require_own(call, iam)
        version = _require_version(policy, call, iam)
        if version.number == policy.default_version:
            raise delete_conflict("Cannot delete the default version of a policy.")
        iam.managed.remove_version(policy.policy_id, version.number)
    return {}


def _require_version(policy: ManagedPolicy, call: ApiCall, iam: Iam) -> PolicyVersion:
    wanted = call.parameters["VersionId"]
    for version in iam.managed.versions(policy):
        if version.version_id == wanted:
            return version
    raise _no_such_version(policy, wanted)


def _no_such_version(policy: ManagedPolicy, version_id: str) -> ServiceFault:
    return no_such_entity(f"Policy {policy.arn} version {version_id} does not exist or is not attachable.")


def describe_version(version: PolicyVersion, policy: ManagedPolicy) -> dict[str, Any]:
    """A version as lists show it."""
    return {
        "VersionId": version.version_id,
        "IsDefaultVersion": version.number == policy.default_version,
        "CreateDate": version.created,
    }


POLICY_VERSION_OPERATIONS: Mapping[str, OperationEntry[IamDeps]] = {
    name: OperationEntry(handler=handler, permissions=on_policy(name), writes=writes)
    for name, handler, writes in (
        ("CreatePolicyVersion", create_policy_version, True),
        ("GetPolicyVersion", get_policy_version, False),
        ("ListPolicyVersions", list_policy_versions, False),
        ("SetDefaultPolicyVersion", set_default_policy_version, True),
        ("DeletePolicyVersion", delete_policy_version, True),
    )
}
