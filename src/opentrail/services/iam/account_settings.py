"""The account's alias and its password policy."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from opentrail.core.errors import ServiceFault
from opentrail.core.identity import IdentityType
from opentrail.core.passwords import PasswordPolicy
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry, Permission
from opentrail.services.iam.account_state import account_permission
from opentrail.services.iam.caller import IamDeps
from opentrail.services.iam.faults import already_exists, cannot_be_found, no_such_entity, validation_error

_ACCOUNT_NUMBER = re.compile(r"[0-9]{12}")


def create_account_alias(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """CreateAccountAlias, in place of the alias that the account has."""
    alias = call.parameters["AccountAlias"]
    if _ACCOUNT_NUMBER.fullmatch(alias):
        raise validation_error("The account alias must not be an account number: AccountAlias.")
    if not deps.account.settings.set_alias(call.account_id, alias):
        raise already_exists(f"The account alias {alias} already exists.")
    return {}


def delete_account_alias(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """DeleteAccountAlias."""
    alias = call.parameters["AccountAlias"]
    if not deps.account.settings.remove_alias(call.account_id, alias):
        raise cannot_be_found("account alias", alias)
    return {}


def list_account_aliases(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """ListAccountAliases: there is one at most."""
    alias = deps.account.settings.alias(call.account_id)
    return {"AccountAliases": [alias] if alias else [], "IsTruncated": False}


def get_account_password_policy(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """GetAccountPasswordPolicy; AWS's default policy is none of the account's own."""
    policy = deps.account.settings.password_policy(call.account_id)
    if policy is None:
        raise _no_password_policy(call)
    described: dict[str, Any] = {
        "MinimumPasswordLength": policy.minimum_length,
        "RequireSymbols": policy.require_symbols,
        "RequireNumbers": policy.require_numbers,
        "RequireUppercaseCharacters": policy.require_uppercase,
        "RequireLowercaseCharacters": policy.require_lowercase,
        "AllowUsersToChangePassword": policy.allow_users_to_change,
        "ExpirePasswords": policy.max_age_days > 0,
        "MaxPasswordAge": policy.max_age_days or None,
        "PasswordReusePrevention": policy.reuse_prevention or None,
        "HardExpiry": policy.hard_expiry,
    }
    return {"PasswordPolicy": {name: value for name, value in described.items() if value is not None}}


def update_account_password_policy(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """UpdateAccountPasswordPolicy: what is not given goes back to its default."""
    given = call.parameters
    policy = PasswordPolicy(
        minimum_length=given.get("MinimumPasswordLength", 6),
        require_symbols=given.get("RequireSymbols", False),
        require_numbers=given.get("RequireNumbers", False),
        require_uppercase=given.get("RequireUppercaseCharacters", False),
        require_lowercase=given.get("RequireLowercaseCharacters", False),
        allow_users_to_change=given.get("AllowUsersToChangePassword", False),
        max_age_days=given.get("MaxPasswordAge", 0),
        reuse_prevention=given.get("PasswordReusePrevention", 0),
        hard_expiry=given.get("HardExpiry"),
    )
    deps.account.settings.set_password_policy(call.account_id, policy)
    return {}


def delete_account_password_policy(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """DeleteAccountPasswordPolicy: AWS's default policy counts again."""
    if not deps.account.settings.remove_password_policy(call.account_id):
        raise _no_password_policy(call)
    return {}


def granted_to_every_user(call: ApiCall, deps: IamDeps, needed: Permission) -> Permission:
    """``needed``, granted by the account itself where its password policy lets users change their own passwords.

    The grant stands in a resource's policy: it needs no policy of the user's, and a Deny in one still decides.
    """
    policy = deps.account.settings.password_policy(call.account_id)
    if policy is None or not policy.allow_users_to_change or call.identity.type is not IdentityType.IAM_USER:
        return needed
    user = call.identity.principal_id  # an ARN may hold what a policy takes for wildcards
    allow = {"Effect": "Allow", "Principal": {"AWS": user}, "Action": needed.action, "Resource": "*"}
    return replace(needed, resource_policy=json.dumps({"Version": "2012-10-17", "Statement": allow}))


def _get_password_policy_permissions(call: ApiCall, deps: IamDeps) -> tuple[Permission, ...]:
    return (granted_to_every_user(call, deps, Permission(action="iam:GetAccountPasswordPolicy", resource="*")),)


def _no_password_policy(call: ApiCall) -> ServiceFault:
    return no_such_entity(f"The Password Policy with domain name {call.account_id} cannot be found.")


ACCOUNT_SETTING_OPERATIONS: Mapping[str, OperationEntry[IamDeps]] = {
    name: OperationEntry(handler=handler, permissions=account_permission(name), writes=writes)
    for name, handler, writes in (
        ("CreateAccountAlias", create_account_alias, True),
        ("DeleteAccountAlias", delete_account_alias, True),
        ("ListAccountAliases", list_account_aliases, False),
        ("UpdateAccountPasswordPolicy", update_account_password_policy, True),
        ("DeleteAccountPasswordPolicy", delete_account_password_policy, True),
    )
} | {
    "GetAccountPasswordPolicy": OperationEntry(
        handler=get_account_password_policy, permissions=_get_password_policy_permissions, writes=False
    )
}
