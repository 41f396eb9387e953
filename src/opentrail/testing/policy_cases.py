"""Policy decisions as data: one JSON object a case, which any evaluator of IAM policies can be asked.

A case is ``{"principal": KIND, "action", "resource", "owner": "111122223333", "context": {KEY: [VALUE, ...]},
"identity": [DOCUMENT, ...], "resourcePolicy": DOCUMENT | null, "boundary": DOCUMENT | null, "session": DOCUMENT | null,
"serviceControl": [[DOCUMENT, ...], ...]}``.  KIND is a key of ``PRINCIPALS``; ``resourcePolicy`` is a trust policy
where the action is ``sts:AssumeRole``.  An answer is ``Allowed``, ``ExplicitlyDenied`` or ``ImplicitlyDenied``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from opentrail.core.identity import (
    ANONYMOUS,
    Identity,
    IdentityType,
    Session,
    SessionIssuer,
    root_identity,
    service_identity,
)
from opentrail.core.policy import (
    AuthorizationRequest,
    Decision,
    Policy,
    PolicySet,
    PolicyType,
    evaluate,
    parse_policy,
)

ACCOUNT = "111122223333"
OTHER_ACCOUNT = "444455556666"

Case = Mapping[str, Any]


def _session(kind: IdentityType, resource: str, principal_id: str, issuer: SessionIssuer) -> Identity:
    return Identity(
        type=kind,
        principal_id=principal_id,
        arn=f"arn:aws:sts::{ACCOUNT}:{resource}",
        account_id=ACCOUNT,
        session=Session(creation_date=datetime(2026, 1, 1, tzinfo=UTC), issuer=issuer),
    )


def _issuer(kind: str, principal_id: str, resource: str) -> SessionIssuer:
    name = resource.rpartition("/")[2]
    arn = f"arn:aws:iam::{ACCOUNT}:{resource}"
    return SessionIssuer(type=kind, principal_id=principal_id, arn=arn, account_id=ACCOUNT, user_name=name)


PRINCIPALS: Mapping[str, Identity] = {
    "user": Identity(
        type=IdentityType.IAM_USER,
        principal_id="AIDAEXAMPLEALICE0000A",
        arn=f"arn:aws:iam::{ACCOUNT}:user/alice",
        account_id=ACCOUNT,
        user_name="alice",
    ),
    "role session": _session(
        IdentityType.ASSUMED_ROLE,
        "assumed-role/auditor/today",
        "AROAEXAMPLEAUDITOR00A:today",
        _issuer("Role", "AROAEXAMPLEAUDITOR00A", "role/auditor"),
    ),
    "federated user": _session(
        IdentityType.FEDERATED_USER,
        "federated-user/carol",
        f"{ACCOUNT}:carol",
        _issuer("IAMUser", "AIDAEXAMPLEALICE0000A", "user/alice"),
    ),
    "root": root_identity(ACCOUNT),
    "service": service_identity("cloudtrail.amazonaws.com"),
    "anonymous": ANONYMOUS,
}


def decide(case: Case) -> Decision:
    """Our decision of a case."""
    principal = PRINCIPALS[case["principal"]]
    request = AuthorizationRequest(
        principal=principal,
        action=case["action"],
        resource=case["resource"],
        resource_account=case["owner"],
        context={key.lower(): values for key, values in case["context"].items()},
    )
    return evaluate(request, policies_of(case))


def policies_of(case: Case) -> PolicySet:
    """The policies of a case, compiled."""
    trust = case["action"] == "sts:AssumeRole"
    resource = case["resourcePolicy"]
    return PolicySet(
        identity=_group("identity", case["identity"]),
        resource=()
        if resource is None
        else _group("resource", [resource], PolicyType.TRUST if trust else PolicyType.BUCKET),
        boundary=None if case["boundary"] is None else _group("boundary", [case["boundary"]]),
        session=None if case["session"] is None else _group("session", [case["session"]]),
        service_control=tuple(_group("control", level, PolicyType.CONTROL) for level in case["serviceControl"]),
        resource_must_allow=trust,
    )


def answer(decision: Decision) -> str:
    """A decision in one word."""
    if decision.allowed:
        return "Allowed"
    return "ExplicitlyDenied" if decision.explicit else "ImplicitlyDenied"


def _group(
    name: str, documents: list[dict[str, Any]], policy_type: PolicyType = PolicyType.IDENTITY
) -> tuple[Policy, ...]:
    return tuple(
        Policy(name=f"{name} {number}", document=parse_policy(json.dumps(document), policy_type))
        for number, document in enumerate(documents)
    )
