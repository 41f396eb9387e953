"""What temporary credentials are never good for, whatever any policy says.

Sessions that users and root make of their own keys cannot manage identities, nor make further sessions, unless they
were authenticated with a second factor, which nobody has here.  Roles may do both, but for what needs a long-term key.

Source: IAM user guide, "Compare AWS STS credentials"; STS API reference, "GetSessionToken", "GetFederationToken".
"""

from __future__ import annotations

from collections.abc import Mapping

from opentrail.core.errors import ServiceFault
from opentrail.core.identity import IdentityType
from opentrail.core.sigv4 import Family, invalid_token
from opentrail.core.wire.calls import ApiCall

_NEED_LONG_TERM_KEY = frozenset({"GetFederationToken", "GetSessionToken"})
_STS_ALLOWED: Mapping[IdentityType, frozenset[str]] = {
    IdentityType.ROOT: frozenset({"AssumeRole", "GetCallerIdentity"}),
    IdentityType.IAM_USER: frozenset({"AssumeRole", "GetCallerIdentity"}),
    IdentityType.FEDERATED_USER: frozenset({"GetCallerIdentity"}),
}


def refuse_session(call: ApiCall) -> ServiceFault | None:
    """Why a session may not make ``call``; None where it may, as far as this goes."""
    identity = call.identity
    if identity.session is None:
        return None
    service, operation = call.operation.service.name, call.operation.name
    if service == "sts":
        allowed = _STS_ALLOWED.get(identity.type)
        if operation in _NEED_LONG_TERM_KEY or (allowed is not None and operation not in allowed):
            return ServiceFault("AccessDenied", f"Cannot call {operation} with session credentials", status=403)
    elif service == "iam" and identity.type in _STS_ALLOWED and not identity.session.mfa_authenticated:
        return invalid_token(Family.QUERY)
    return None
