"""The role by which the management account enters an account that it has created.

Source: AWS Organizations user guide, "Accessing member accounts in your organization".
"""

from __future__ import annotations

import json
from datetime import datetime

from opentrail.core.credentials import UNIQUE_ID_BYTES, format_unique_id
from opentrail.services.organizations.caller import OrganizationsDeps
from opentrail.state.entities import EntityKind, Role

DEFAULT_ROLE_NAME = "OrganizationAccountAccessRole"
ADMINISTRATOR_ACCESS = "arn:aws:iam::aws:policy/AdministratorAccess"


def make_access_role(deps: OrganizationsDeps, account_id: str, name: str, *, trusted: str, now: datetime) -> None:
    """Make the role ``name``, which the account ``trusted`` may assume and which may do everything.

    Nothing happens where it is there.  Raises ``StorageError``.
    """
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{trusted}:root"},
        "Action": "sts:AssumeRole",
    }
    role = Role(
        entity_id=format_unique_id("AROA", deps.random_bytes(UNIQUE_ID_BYTES)),
        account_id=account_id,
        name=name,
        trust_policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
        created=now.replace(microsecond=0),
    )
    with deps.identities.changing(account_id) as iam:
        if iam.entities.find(account_id, EntityKind.ROLE, name) is None:
            iam.entities.add(role)
            iam.policies.attach(role.entity_id, ADMINISTRATOR_ACCESS)
