"""Access keys of users and of the root user.  A secret is shown once, by the call that makes the key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentrail.core.credentials import ACCESS_KEY_ID_BYTES, SECRET_BYTES, format_access_key_id, format_secret
from opentrail.core.errors import ServiceFault
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry, Permission
from opentrail.services.iam.caller import IamDeps, user_or_caller
from opentrail.services.iam.faults import no_such_entity, quota_exceeded, validation_error
from opentrail.services.iam.paging import paginate
from opentrail.services.iam.permissions import on_user_or_caller
from opentrail.state.access_keys import AccessKey
from opentrail.state.entities import Entity
from opentrail.state.identities import KEYS_PER_USER, Iam


def create_access_key(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """CreateAccessKey."""
    with deps.identities.reading() as iam:
        user = user_or_caller(call, iam)
    key = AccessKey(
        access_key_id=format_access_key_id(call.account_id, deps.random_bytes(ACCESS_KEY_ID_BYTES)),
        account_id=call.account_id,
        user_id=user.entity_id if user else None,
        created=call.now.replace(microsecond=0),
    )
    secret = format_secret(deps.random_bytes(SECRET_BYTES))
    if not deps.identities.create_key(key, secret):
        raise quota_exceeded("AccessKeysPerUser", KEYS_PER_USER)
    return {"AccessKey": {**_describe(key, user), "SecretAccessKey": secret}}


def list_access_keys(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """ListAccessKeys, by their ids."""
    with deps.identities.reading() as iam:
        user = user_or_caller(call, iam)
        keys = iam.access_keys.of_owner(call.account_id, user.entity_id if user else None)
    page, members = paginate(keys, call.parameters, lambda key: key.access_key_id)
    return {"AccessKeyMetadata": [_describe(key, user) for key in page], **members}


def update_access_key(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """UpdateAccessKey: Active or Inactive."""
    status = call.parameters["Status"]
    if status not in {"Active", "Inactive"}:  # the model knows Expired as well, which nobody can set
        raise validation_error(f"The status of an access key is Active or Inactive, not {status}.")
    with deps.identities.changing(call.account_id) as iam:
        iam.access_keys.set_status(_require_key(call, iam).access_key_id, status)
    return {}


def delete_access_key(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """DeleteAccessKey."""
    with deps.identities.changing(call.account_id) as iam:
        iam.access_keys.remove(_require_key(call, iam).access_key_id)
    return {}


def get_access_key_last_used(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """GetAccessKeyLastUsed; a key that was never used has ``N/A`` for service and region, and no date."""
    with deps.identities.reading() as iam:
        key = _find_in_account(call, iam)
        user = iam.entities.find_id(key.user_id) if key.user_id else None
    use = key.last_use
    last_used = (
        {"LastUsedDate": use.time.replace(microsecond=0), "ServiceName": use.service, "Region": use.region}
        if use
        else {"ServiceName": "N/A", "Region": "N/A"}
    )
    return {**({"UserName": user.name} if user else {}), "AccessKeyLastUsed": last_used}


def _require_key(call: ApiCall, iam: Iam) -> AccessKey:
    """The key that the call names, if it belongs to the user it names.  Raises ``ServiceFault``."""
    user = user_or_caller(call, iam)
    key = _find_in_account(call, iam)
    if key.user_id != (user.entity_id if user else None):
        raise _no_such_key(key.access_key_id)
    return key


def _find_in_account(call: ApiCall, iam: Iam) -> AccessKey:
    access_key_id = call.parameters["AccessKeyId"]
    key = iam.access_keys.find(access_key_id)
    if key is None or key.account_id != call.account_id:
        raise _no_such_key(access_key_id)
    return key


def _no_such_key(access_key_id: str) -> ServiceFault:
    return no_such_entity(f"The Access Key with id {access_key_id} cannot be found.")


def _describe(key: AccessKey, user: Entity | None) -> dict[str, Any]:
    name = {"UserName": user.name} if user else {}  # the root user has none
    return {**name, "AccessKeyId": key.access_key_id, "Status": key.status, "CreateDate": key.created}


def _last_used_permissions(call: ApiCall, deps: IamDeps) -> tuple[Permission, ...]:
    with deps.identities.reading() as iam:
        key = iam.access_keys.find(call.parameters["AccessKeyId"])
        user = iam.entities.find_id(key.user_id) if key and key.user_id else None
    known = user is not None and user.account_id == call.account_id
    resource = user.arn if user and known else f"arn:aws:iam::{call.account_id}:user/"
    return (Permission(action="iam:GetAccessKeyLastUsed", resource=resource),)


KEY_OPERATIONS: Mapping[str, OperationEntry[IamDeps]] = {
    "GetAccessKeyLastUsed": OperationEntry(
        handler=get_access_key_last_used, permissions=_last_used_permissions, writes=False
    ),
    **{
        name: OperationEntry(handler=handler, permissions=on_user_or_caller(name), writes=writes)
        for name, handler, writes in (
            ("CreateAccessKey", create_access_key, True),
            ("ListAccessKeys", list_access_keys, False),
            ("UpdateAccessKey", update_access_key, True),
            ("DeleteAccessKey", delete_access_key, True),
        )
    },
}
