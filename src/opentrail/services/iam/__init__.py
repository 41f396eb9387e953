"""IAM: users, their access keys, inline policies and tags."""

from dataclasses import replace

from opentrail.services.iam.caller import IamDeps
from opentrail.services.iam.keys import KEY_OPERATIONS
from opentrail.services.iam.policies import POLICY_OPERATIONS
from opentrail.services.iam.users import USER_OPERATIONS

IAM_OPERATIONS = {
    name: replace(entry, permissions_block=True)  # who may do it depends on the user that it is done to
    for name, entry in {**USER_OPERATIONS, **KEY_OPERATIONS, **POLICY_OPERATIONS}.items()
}

__all__ = ["IAM_OPERATIONS", "IamDeps"]
