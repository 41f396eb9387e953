"""Login profiles: users' passwords.  They open no door of this endpoint; they are kept, changed and reported.

Rules: a password must meet the account's password policy when it is set; of it only a slow hash is kept; hashes are
made outside transactions, and written only over what they were made for.

Source: IAM API reference; IAM user guide, "Manage passwords for IAM users".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from threading import BoundedSemaphore
from typing import Any

from opentrail.core.errors import ServiceFault
from opentrail.core.identity import IdentityType
from opentrail.core.passwords import (
    MAX_REMEMBERED,
    SALT_BYTES,
    PasswordPolicy,
    hash_password,
    is_password,
    password_fault,
    salt_of,
)
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry, Permission
from opentrail.services.iam.account_settings import granted_to_every_user
from opentrail.services.iam.caller import IamDeps, user_or_caller
from opentrail.services.iam.faults import already_exists, no_such_entity, validation_error
from opentrail.services.iam.kinds import USER
from opentrail.services.iam.permissions import on_user_or_caller
from opentrail.state.entities import Entity
from opentrail.state.login_profiles import LoginProfile, LoginProfiles

_HASHING = BoundedSemaphore(2)  # a hash takes 32 MB and a fifth of a second of a core: a flood of calls waits in line


def create_login_profile(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """CreateLoginProfile; without a name, for the caller."""
    user = _user(call, deps)
    password = call.parameters.get("Password")
    if not password:
        raise validation_error("Must specify Password.")
    _check(call, deps, password, deps.account.settings.password_policy(call.account_id))
    now = call.now.replace(microsecond=0)
    profile = LoginProfile(
        user_id=user.entity_id,
        password=_hash(password, deps.random_bytes(SALT_BYTES)),
        reset_required=bool(call.parameters.get("PasswordResetRequired")),
        created=now,
        changed=now,
    )
    with deps.identities.changing(call.account_id) as iam:
        if iam.entities.find_id(user.entity_id) is None:
            raise USER.no_such(user.name)
        profiles = LoginProfiles(iam.connection)
        if profiles.find(user.entity_id) is not None:
            raise already_exists(f"Login Profile for user {user.name} already exists.")
        profiles.add(profile)
    return {"LoginProfile": _describe(user, profile)}


def get_login_profile(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """GetLoginProfile; without a name, the caller's."""
    user = _user(call, deps)
    return {"LoginProfile": _describe(user, _find(deps, user))}


def update_login_profile(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """UpdateLoginProfile: another password, or whether the next sign-in must set one."""
    user = _user(call, deps)
    profile = _find(deps, user)
    password, reset_required = call.parameters.get("Password"), call.parameters.get("PasswordResetRequired")
    changed = profile
    if password:
        changed = _with_password(call, deps, profile, password)
    if reset_required is not None:
        changed = replace(changed, reset_required=reset_required)
    _write(call, deps, user, profile, changed)
    return {}


def delete_login_profile(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """DeleteLoginProfile; without a name, the caller's."""
    user = _user(call, deps)
    with deps.identities.changing(call.account_id) as iam:
        if not LoginProfiles(iam.connection).remove(user.entity_id):
            raise _no_profile(user)
    return {}


def change_password(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """ChangePassword: a user's own, who knows the old one."""
    if call.identity.type is not IdentityType.IAM_USER:
        raise ServiceFault("InvalidUserType", "Only IAM Users can change their own password")
    user = _user(call, deps)
    profile = _find(deps, user)
    if not _is_one_of(call.parameters["OldPassword"], [profile.password]):
        raise ServiceFault("AccessDenied", "The old password was incorrect.", status=403)
    changed = _with_password(call, deps, profile, call.parameters["NewPassword"])
    _write(call, deps, user, profile, replace(changed, reset_required=False))
    return {}


def _user(call: ApiCall, deps: IamDeps) -> Entity:
    with deps.identities.reading() as iam:
        user = user_or_caller(call, iam)
    if user is None:
        raise validation_error("Must specify userName when calling with non-User credentials")
    return user


def _find(deps: IamDeps, user: Entity) -> LoginProfile:
    with deps.identities.reading() as iam:
        profile = LoginProfiles(iam.connection).find(user.entity_id)
    if profile is None:
        raise _no_profile(user)
    return profile


def _with_password(call: ApiCall, deps: IamDeps, profile: LoginProfile, password: str) -> LoginProfile:
    """The profile with a new password, which the policy allows."""
    policy = deps.account.settings.password_policy(call.account_id)
    _check(call, deps, password, policy)
    former = (profile.password, *profile.former_passwords)[:MAX_REMEMBERED]
    if policy and policy.reuse_prevention and _is_one_of(password, former[: policy.reuse_prevention]):
        raise _violation("Password has been used previously and cannot be reused")
    encoded = _hash(password, salt_of(profile.password))
    return replace(profile, password=encoded, former_passwords=former, changed=call.now.replace(microsecond=0))


def _check(call: ApiCall, deps: IamDeps, password: str, policy: PasswordPolicy | None) -> None:
    account = deps.accounts.find(call.account_id)
    fault = password_fault(password, policy, (account.name, account.email) if account else ())
    if fault:
        raise _violation(fault)


def _hash(password: str, salt: bytes) -> str:
    with _HASHING:
        return hash_password(password, salt)


def _is_one_of(password: str, encoded: Sequence[str]) -> bool:
    with _HASHING:
        return is_password(password, encoded)


def _write(call: ApiCall, deps: IamDeps, user: Entity, before: LoginProfile, after: LoginProfile) -> None:
    """Write ``after`` over ``before``, unless somebody was faster."""
    with deps.identities.changing(call.account_id) as iam:
        profiles = LoginProfiles(iam.connection)
        current = profiles.find(user.entity_id)
        if current is None:
            raise _no_profile(user)
        if current != before:
            raise ServiceFault(
                "EntityTemporarilyUnmodifiable",
                f"Login Profile for User {user.name} cannot be modified while another call changes it.",
                status=409,
            )
        profiles.update(after)


def _describe(user: Entity, profile: LoginProfile) -> dict[str, Any]:
    return {
        "UserName": user.name,
        "CreateDate": profile.created,
        "PasswordResetRequired": profile.reset_required,
    }


def _violation(message: str) -> ServiceFault:
    return ServiceFault("PasswordPolicyViolation", message, status=400)


def _no_profile(user: Entity) -> ServiceFault:
    return no_such_entity(f"Login Profile for User {user.name} cannot be found.")


def _change_permissions(call: ApiCall, deps: IamDeps) -> tuple[Permission, ...]:
    """The user's own policies, or the account's password policy, which can let every user change its own password."""
    (needed,) = on_user_or_caller("ChangePassword")(call, deps)
    return (granted_to_every_user(call, deps, needed),)


LOGIN_PROFILE_OPERATIONS: Mapping[str, OperationEntry[IamDeps]] = {
    "CreateLoginProfile": OperationEntry(
        handler=create_login_profile, permissions=on_user_or_caller("CreateLoginProfile"), writes=True
    ),
    "GetLoginProfile": OperationEntry(
        handler=get_login_profile, permissions=on_user_or_caller("GetLoginProfile"), writes=False
    ),
    "UpdateLoginProfile": OperationEntry(
        handler=update_login_profile, permissions=on_user_or_caller("UpdateLoginProfile"), writes=True
    ),
    "DeleteLoginProfile": OperationEntry(
        handler=delete_login_profile, permissions=on_user_or_caller("DeleteLoginProfile"), writes=True
    ),
    "ChangePassword": OperationEntry(handler=change_password, permissions=_change_permissions, writes=True),
}
