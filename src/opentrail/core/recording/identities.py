"""Who called, as a record says it: the ``userIdentity`` element.

Source: CloudTrail user guide, "CloudTrail userIdentity element".
"""

from __future__ import annotations

from typing import Any

from opentrail.core.events import format_time
from opentrail.core.identity import Identity, IdentityType, Session


def describe_identity(identity: Identity) -> dict[str, Any]:
    """The ``userIdentity`` element (CloudTrail user guide, "CloudTrail userIdentity element")."""
    if identity.type is IdentityType.AWS_SERVICE:
        return {"type": "AWSService", "invokedBy": identity.invoked_by}
    if identity.type is IdentityType.AWS_ACCOUNT:
        return {"type": "AWSAccount", "principalId": identity.principal_id, "accountId": identity.account_id}
    if identity.web_identity is not None:
        return {
            "type": identity.type.value,
            "principalId": identity.principal_id,
            "userName": identity.user_name,
            "identityProvider": identity.web_identity.provider_arn,
        }
    element: dict[str, Any] = {
        "type": identity.type.value,
        "principalId": identity.principal_id,
        "arn": identity.arn,
        "accountId": identity.account_id,
        "accessKeyId": identity.access_key_id,
    }
    if identity.type is IdentityType.IAM_USER:
        element["userName"] = identity.user_name
    if identity.session is not None:
        element["sessionContext"] = _session_context(identity.session)
    if identity.invoked_by:
        element["invokedBy"] = identity.invoked_by
    return {name: value for name, value in element.items() if value != ""}


def _session_context(session: Session) -> dict[str, Any]:
    context: dict[str, Any] = {}
    issuer, web_identity = session.issuer, session.web_identity
    if issuer is not None:
        context["sessionIssuer"] = {
            "type": issuer.type,
            "principalId": issuer.principal_id,
            "arn": issuer.arn,
            "accountId": issuer.account_id,
        }
        if issuer.user_name:
            context["sessionIssuer"]["userName"] = issuer.user_name
    if web_identity is not None:
        shown = {"aud": web_identity.audience, "sub": web_identity.subject}
        context["webIdFederationData"] = {
            "federatedProvider": web_identity.provider_arn,
            "attributes": {f"{web_identity.issuer}:{name}": value for name, value in shown.items()},
        }
    context["attributes"] = {
        "creationDate": format_time(session.creation_date),
        "mfaAuthenticated": "true" if session.mfa_authenticated else "false",
    }
    if session.source_identity:
        context["sourceIdentity"] = session.source_identity
    return context
