"""Which condition keys policies ask about: the ``GetContextKeysFor...`` operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opentrail.core.policy import PolicyType
from opentrail.core.policy.context_keys import distinct_keys, document_keys
from opentrail.core.policy.simulation import Source
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry
from opentrail.services.iam.account_state import account_permission
from opentrail.services.iam.caller import IamDeps
from opentrail.services.iam.principal_policies import find_principal, principal_policies
from opentrail.services.iam.simulation import on_policy_source
from opentrail.services.iam.simulation_inputs import read_policies, to_source
from opentrail.services.iam.simulation_limits import check_policy_size


def get_context_keys_for_custom_policy(call: ApiCall, _deps: IamDeps) -> Mapping[str, Any]:
    """GetContextKeysForCustomPolicy."""
    check_policy_size(call.parameters)
    return _context_keys(read_policies(call.parameters, "PolicyInputList"))


def get_context_keys_for_principal_policy(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """GetContextKeysForPrincipalPolicy: of a user, with its groups, or of a group or role."""
    check_policy_size(call.parameters)
    with deps.identities.reading() as iam:
        entity = find_principal(call, iam, call.parameters["PolicySourceArn"])
        policies = list(principal_policies(iam, entity))
    own = [to_source(each.source_id, each.text, PolicyType.IDENTITY, place=each.source_id) for each in policies]
    return _context_keys([*own, *read_policies(call.parameters, "PolicyInputList")])


def _context_keys(sources: Sequence[Source]) -> Mapping[str, Any]:
    keys = distinct_keys(key for source in sources for key in document_keys(source.policy.document))
    return {"ContextKeyNames": keys}


CONTEXT_KEY_OPERATIONS: Mapping[str, OperationEntry[IamDeps]] = {
    "GetContextKeysForCustomPolicy": OperationEntry(
        handler=get_context_keys_for_custom_policy,
        permissions=account_permission("GetContextKeysForCustomPolicy"),
        writes=False,
    ),
    "GetContextKeysForPrincipalPolicy": OperationEntry(
        handler=get_context_keys_for_principal_policy,
        permissions=on_policy_source("GetContextKeysForPrincipalPolicy"),
        writes=False,
    ),
}
