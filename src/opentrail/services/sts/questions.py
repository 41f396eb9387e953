"""What STS tells about callers, keys and refusals.  Source: STS API reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentrail.core.credentials import parse_access_key_account
from opentrail.core.errors import FormatError, ServiceFault
from opentrail.core.wire.calls import ApiCall
from opentrail.services.sts.deps import StsDeps


def get_caller_identity(call: ApiCall, _deps: StsDeps) -> Mapping[str, Any]:
    """GetCallerIdentity.  Anyone who can sign may ask, whatever any policy says."""
    return {"UserId": call.identity.principal_id, "Account": call.account_id, "Arn": call.identity.arn}


def get_access_key_info(call: ApiCall, _deps: StsDeps) -> Mapping[str, Any]:
    """GetAccessKeyInfo: the account that a key's ID carries, whether or not there is such a key."""
    try:
        return {"Account": parse_access_key_account(call.parameters["AccessKeyId"])}
    except FormatError as error:
        raise ServiceFault("ValidationError", f"AccessKeyId: {error}") from None


def decode_authorization_message(call: ApiCall, deps: StsDeps) -> Mapping[str, Any]:
    """DecodeAuthorizationMessage."""
    message = deps.open_message(call.account_id, call.parameters["EncodedMessage"])
    if message is None:
        raise ServiceFault("InvalidAuthorizationMessageException", "Message is not valid")
    return {"DecodedMessage": message}
