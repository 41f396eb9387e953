"""AWS managed policies: the documents behind ``arn:aws:iam::aws:policy/...``.

Rules: they are data (``aws_managed_policies.json``, as ``GetPolicy`` and ``GetPolicyVersion`` answer them), read at
the first question and kept; each has its default version alone.  Of ReadOnlyAccess, SecurityAudit and ViewOnlyAccess
the data holds the services that audit trails and their neighbourhood are made of, not all of AWS's.  A ``PolicyId``
that AWS does not publish is derived from the policy's ARN.

Source: the AWS managed policy reference guide.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files

ARN_PREFIX = "arn:aws:iam::aws:policy"


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsManagedPolicy:
    """One policy with its default version; ``document`` is JSON text two spaces a level."""

    arn: str
    name: str
    path: str
    policy_id: str  # ANPA...
    version_id: str  # "v3"
    description: str
    created: datetime
    updated: datetime  # when the default version was made
    document: str


@cache
def aws_managed_policies() -> Mapping[str, AwsManagedPolicy]:
    """Every AWS managed policy of this endpoint by its ARN, in the order of their names."""
    entries = json.loads((files("opentrail.state") / "aws_managed_policies.json").read_bytes())
    policies = [
        AwsManagedPolicy(
            arn=f"{ARN_PREFIX}{entry['Path']}{entry['PolicyName']}",
            name=entry["PolicyName"],
            path=entry["Path"],
            policy_id=entry["PolicyId"],
            version_id=entry["DefaultVersionId"],
            description=entry["Description"],
            created=datetime.fromisoformat(entry["CreateDate"]),
            updated=datetime.fromisoformat(entry["UpdateDate"]),
            document=json.dumps(entry["Document"], indent=2),
        )
        for entry in entries
    ]
    return {policy.arn: policy for policy in policies}
