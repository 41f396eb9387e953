"""STS: who calls, and temporary credentials.

Nothing here changes anything: credentials are in their own token, and nobody has that before the call is recorded and
answered.
"""

from collections.abc import Mapping

from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry, Permission
from opentrail.services.sts.deps import IssuerKeys, StsDeps
from opentrail.services.sts.own_sessions import federation_permissions, get_federation_token, get_session_token
from opentrail.services.sts.questions import decode_authorization_message, get_access_key_info, get_caller_identity
from opentrail.services.sts.roles import assume_role, assume_role_permissions
from opentrail.services.sts.web_identity import (
    assume_role_with_web_identity,
    prove_bearer,
    web_identity_permissions,
)

__all__ = ["STS_OPERATIONS", "IssuerKeys", "StsDeps"]


def _nothing(_call: ApiCall, _deps: StsDeps) -> tuple[Permission, ...]:
    return ()


def _action(call: ApiCall, _deps: StsDeps) -> tuple[Permission, ...]:
    """The action of the operation's name, which has no resource."""
    return (Permission(action=f"sts:{call.operation.name}", resource="*"),)


STS_OPERATIONS: Mapping[str, OperationEntry[StsDeps]] = {
    "AssumeRole": OperationEntry(
        handler=assume_role, permissions=assume_role_permissions, writes=False, permissions_block=True
    ),
    "AssumeRoleWithWebIdentity": OperationEntry(
        handler=assume_role_with_web_identity,
        permissions=web_identity_permissions,
        writes=False,
        permissions_block=True,
        bearer=prove_bearer,
    ),
    "DecodeAuthorizationMessage": OperationEntry(
        handler=decode_authorization_message, permissions=_action, writes=False, blocking=False
    ),
    "GetAccessKeyInfo": OperationEntry(handler=get_access_key_info, permissions=_action, writes=False, blocking=False),
    "GetCallerIdentity": OperationEntry(
        handler=get_caller_identity, permissions=_nothing, writes=False, blocking=False
    ),
    "GetFederationToken": OperationEntry(
        handler=get_federation_token, permissions=federation_permissions, writes=False
    ),
    "GetSessionToken": OperationEntry(  # what authenticates a user cannot be forbidden by a policy
        handler=get_session_token, permissions=_nothing, writes=False, blocking=False
    ),
}
