"""The global condition keys of a request: what every policy may ask about the caller and the call.

Rules: keys are lower case; a key that does not apply is absent, never empty; ``aws:PrincipalArn`` of a session is its
role's ARN.  Source: IAM user guide, "AWS global condition context keys".
"""

from __future__ import annotations

from datetime import UTC, datetime

from opentrail.core.identity import Identity, IdentityType

_PRINCIPAL_TYPES = {
    IdentityType.ROOT: "Account",
    IdentityType.IAM_USER: "User",
    IdentityType.ASSUMED_ROLE: "AssumedRole",
    IdentityType.FEDERATED_USER: "FederatedUser",
}


def principal_context(identity: Identity) -> dict[str, list[str]]:
    """The keys that describe ``identity``."""
    context = {"aws:principalisawsservice": ["true" if identity.is_service else "false"]}
    if identity.is_anonymous:
        context["aws:principaltype"] = ["Anonymous"]
        return context
    if identity.is_service:
        context["aws:principalservicename"] = [identity.invoked_by]
        return context
    issuer = identity.session.issuer if identity.session else None
    is_role = identity.type is IdentityType.ASSUMED_ROLE
    context["aws:principalarn"] = [issuer.arn if issuer and is_role else identity.arn]
    context["aws:principalaccount"] = [identity.account_id]
    context["aws:userid"] = [identity.principal_id]
    principal_type = _PRINCIPAL_TYPES.get(identity.type)
    if principal_type:
        context["aws:principaltype"] = [principal_type]
    if identity.type is IdentityType.IAM_USER:
        context["aws:username"] = [identity.user_name]
    if identity.session:
        context["aws:multifactorauthpresent"] = ["true" if identity.session.mfa_authenticated else "false"]
        context["aws:tokenissuetime"] = [_iso(identity.session.creation_date)]
    for name, value in identity.tags.items():
        context[f"aws:principaltag/{name.lower()}"] = [value]
    return context


def call_context(
    *,
    now: datetime,
    source_ip: str = "",
    secure_transport: bool = False,
    region: str = "",
    user_agent: str = "",
    referer: str = "",
    source_arn: str = "",
    source_account: str = "",
) -> dict[str, list[str]]:
    """The keys that describe the call; ``now`` is aware, empty texts leave their key out."""
    context = {
        "aws:currenttime": [_iso(now)],
        "aws:epochtime": [str(int(now.timestamp()))],
        "aws:securetransport": ["true" if secure_transport else "false"],
        "aws:viaawsservice": ["false"],
    }
    for key, value in (
        ("aws:sourceip", source_ip),
        ("aws:requestedregion", region),
        ("aws:useragent", user_agent),
        ("aws:referer", referer),
        ("aws:sourcearn", source_arn),
        ("aws:sourceaccount", source_account),
    ):
        if value:
            context[key] = [value]
    return context


def _iso(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
