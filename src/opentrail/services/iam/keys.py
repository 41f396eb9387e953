"""Access keys of users and of the root user.  A secret is shown once, by the call that makes the key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentrail.core.credentials import ACCESS_KEY_ID_BYTES, SECRET_BYTES, format_access_key_id, format_secret
from opentrail.core.errors import ServiceFault
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry, Permission
from opentrail.services.iam.caller import IamDeps, find_user_or_caller, user_permission
from opentrail.services.iam.paging import paginate
from opentrail.state.identities import KEYS_PER_USER, AccessKey
from opentrail.state.users import User


def create_access_key(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """CreateAccessKey."""
    user = find_user_or_caller(call, deps)
    key = AccessKey(
        access_key_id=format_access_key_id(call.account_id, deps.random_bytes(ACCESS_KEY_ID_BYTES)),
        account_id=call.account_id,
        user_id=user.user_id if user else None,
        created=call.now.replace(microsecond=0),
    )
    secret = format_secret(deps.random_bytes(SECRET_BYTES))
    if not deps.identities.create_key(key, secret):
        raise ServiceFault("LimitExceeded", f"Cannot exceed quota for AccessKeysPerUser: {KEYS_PER_USER}", status=409)
    return {"AccessKey": {**_describe(key, user), "SecretAccessKey": secret}}


def list_access_keys(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """ListAccessKeys."""
    user = find_user_or_caller(call, deps)
    keys = deps.identities.keys_of(call.account_id, user.user_id if user else None)
    by_id = sorted(keys, key=lambda key: key.access_key_id)
    page, members = paginate(by_id, call.parameters, lambda key: key.access_key_id)
    return {"AccessKeyMetadata": [_describe(key, user) for key in page], **members}


def update_access_key(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """UpdateAccessKey: Active or Inactive."""
    status = call.parameters["Status"]
    if status not in {"Active", "Inactive"}:
        raise ServiceFault("ValidationError", f"The status of an access key is Active or Inactive, not {status}.")
    deps.identities.set_active(_find_key(call, deps).access_key_id, active=status == "Active")
    return {}


def delete_access_key(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """DeleteAccessKey."""
    deps.identities.delete_key(_find_key(call, deps).access_key_id)
    return {}


def get_access_key_last_used(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """GetAccessKeyLastUsed; a key that was never used has ``N/A`` for service and region, and no date."""
    key = _find_in_account(call, deps)
    user = deps.identities.users.find_id(key.user_id) if key.user_id else None
    use = key.last_use
    last_used = (
        {"LastUsedDate": use.time.replace(microsecond=0), "ServiceName": use.service, "Region": use.region}
        if use
        else {"ServiceName": "N/A", "Region": "N/A"}
    )
    return {**({"UserName": user.name} if user else {}), "AccessKeyLastUsed": last_used}


def _find_key(call: ApiCall, deps: IamDeps) -> AccessKey:
    """The key that the call names, if it belongs to the user it names."""
    user = find_user_or_caller(call, deps)
    key = _find_in_account(call, deps)
    if key.user_id != (user.user_id if user else None):
        raise _no_such_key(key.access_key_id)
    return key


def _find_in_account(call: ApiCall, deps: IamDeps) -> AccessKey:
    access_key_id = call.parameters["AccessKeyId"]
    key = deps.identities.describe_key(access_key_id)
    if key is None or key.account_id != call.account_id:
        raise _no_such_key(access_key_id)
    return key


def _no_such_key(access_key_id: str) -> ServiceFault:
    return ServiceFault("NoSuchEntity", f"The Access Key with id {access_key_id} cannot be found.", status=404)


def _describe(key: AccessKey, user: User | None) -> dict[str, Any]:
    name = {"UserName": user.name} if user else {}  # the root user has none
    return {**name, "AccessKeyId": key.access_key_id, "Status": key.status, "CreateDate": key.created}


def _last_used_permissions(call: ApiCall, deps: IamDeps) -> tuple[Permission, ...]:
    key = deps.identities.describe_key(call.parameters["AccessKeyId"])
    user = deps.identities.users.find_id(key.user_id) if key and key.user_id else None
    known = user is not None and user.account_id == call.account_id
    resource = user.arn if user and known else f"arn:aws:iam::{call.account_id}:user/"
    return (Permission(action="iam:GetAccessKeyLastUsed", resource=resource),)


KEY_OPERATIONS: Mapping[str, OperationEntry[IamDeps]] = {
    "CreateAccessKey": OperationEntry(
        handler=create_access_key, permissions=user_permission("CreateAccessKey"), writes=True
    ),
    "ListAccessKeys": OperationEntry(
        handler=list_access_keys, permissions=user_permission("ListAccessKeys"), writes=False
    ),
    "UpdateAccessKey": OperationEntry(
        handler=update_access_key, permissions=user_permission("UpdateAccessKey"), writes=True
    ),
    "DeleteAccessKey": OperationEntry(
        handler=delete_access_key, permissions=user_permission("DeleteAccessKey"), writes=True
    ),
    "GetAccessKeyLastUsed": OperationEntry(
        handler=get_access_key_last_used, permissions=_last_used_permissions, writes=False
    ),
}
